"""check_grad compares gradients with central differences, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import tree
from .arguments import function
from .creation import zeros_like
from .dtypes import is_float
from .gradients import grad
from .tensor import Tensor, as_tensor, tensor

_STEP = 1e-5  # a share of max(1, |x|): it balances truncation (step^2) against rounding (eps / step) at about 1e-10


def check_grad(f: Callable[..., Any], *inputs: Any, order: int = 1, tolerance: float = 1e-6) -> float:
    """Compare the gradient of <v, f(*inputs)> for a random v with central differences; return the worst error.

    Args:
        f: a function that returns a Tensor, or nested dicts, lists and tuples of them; it must be smooth near the
            inputs (no kink within 1e-5).
        inputs: floating inputs are converted to float64 and differentiated; other inputs are passed on unchanged. An
            input may be nested dicts, lists and tuples of tensors and arrays; a list of numbers stands for one array.
        order: 2 also checks the gradient of the gradient, and so on.
        tolerance: the largest allowed |gradient - difference| / (1 + max(|gradient|, |difference|)).

    Raises:
        AssertionError: a gradient is wrong; the message names the worst element of the worst input.

    >>> import convgpu as cg
    >>> check_grad(cg.tanh, [0.1, 0.2], order=2) < 1e-8
    True
    >>> check_grad(lambda p: cg.linear(p["x"], p["w"]), {"x": cg.ones((2, 3)), "w": cg.ones((3, 4))}) < 1e-8
    True
    """
    function("check_grad", f)
    if any(_is_tree(x) for x in inputs):
        leaves: list[Any] = []

        def number(leaf: Any) -> int:
            leaves.append(leaf)
            return len(leaves) - 1

        places = [tree.map(number, x) if _is_tree(x) else number(x) for x in inputs]

        def of_leaves(*values: Any) -> Any:
            return f(*tree.map(values.__getitem__, places))

        return check_grad(of_leaves, *leaves, order=order, tolerance=tolerance)
    xs = [_as_float64(x) for x in inputs]
    if not any(isinstance(x, Tensor) and x.requires_grad for x in xs):
        raise ValueError("check_grad: expected at least one floating input, got "
                         f"{', '.join(str(getattr(x, 'dtype', type(x).__name__)) for x in xs) or 'none'}")
    worst = _check_first_order(f, xs, tolerance, f"check_grad (order {order})" if order > 1 else "check_grad")
    if order > 1:
        def gradient(*args: Any) -> list[Tensor]:
            return _gradient(f, list(args), create_graph=True)

        worst = max(worst, check_grad(gradient, *xs, order=order - 1, tolerance=tolerance))
    return worst


def _is_tree(x: Any) -> bool:
    """Whether x is a structure with tensors or arrays in it, not one array that is written as lists of numbers."""
    if isinstance(x, dict):
        return True
    return isinstance(x, (list, tuple)) and any(isinstance(part, (Tensor, np.ndarray)) or _is_tree(part) for part in x)


def _as_float64(x: Any) -> Any:
    if not isinstance(x, (Tensor, np.ndarray, list, tuple, float)):
        return x
    t = as_tensor(x, "check_grad")
    return tensor(t, dtype=np.float64, requires_grad=True) if is_float(t.dtype) else t


def _weighted(f: Callable[..., Any], xs: list[Any]) -> Tensor:
    """<v, f(xs)> with the same random v at every call."""
    ys = f(*xs)
    rng = np.random.default_rng(0)
    terms = [(y * tensor(rng.standard_normal(y.shape), device=y.device)).sum()
             for y in tree.leaves(ys) if isinstance(y, Tensor) and is_float(y.dtype)]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _gradient(f: Callable[..., Any], xs: list[Any], create_graph: bool) -> list[Tensor]:
    value = _weighted(f, xs)
    inputs = [x for x in xs if isinstance(x, Tensor) and x.requires_grad]
    if not value.requires_grad:  # the value is a constant, like the second derivative of a linear function
        return [zeros_like(x) for x in inputs]
    return grad(value, inputs, create_graph=create_graph)


def _check_first_order(f: Callable[..., Any], xs: list[Any], tolerance: float, name: str) -> float:
    analytic = iter(_gradient(f, xs, create_graph=False))
    worst, where = 0.0, ""
    for i, x in enumerate(xs):
        if not (isinstance(x, Tensor) and x.requires_grad):
            continue
        gradient = next(analytic).numpy()
        for at in np.ndindex(x.shape):
            difference = _central_difference(f, xs, i, at)
            ours = float(gradient[at])
            error = abs(ours - difference) / (1 + max(abs(ours), abs(difference)))
            if not error <= worst:  # this comparison is false for NaN, so that NaN counts as worst
                worst = float("inf") if np.isnan(error) else error
                where = f"input {i}, element {at}: gradient {ours:.9g}, central difference {difference:.9g}"
    if worst > tolerance:
        raise AssertionError(f"{name}: expected an error of at most {tolerance:g}, got {worst:.3g} at {where}")
    return worst


def _central_difference(f: Callable[..., Any], xs: list[Any], i: int, at: tuple[int, ...]) -> float:
    values = []
    x = xs[i].numpy()
    step = _STEP * max(1.0, abs(float(x[at])))
    for sign in (1, -1):
        moved = x.copy()
        moved[at] += sign * step
        nudged = tensor(moved, device=xs[i].device, requires_grad=True)
        values.append(_weighted(f, [*xs[:i], nudged, *xs[i + 1:]]).item())
    return (values[0] - values[1]) / (2 * step)
