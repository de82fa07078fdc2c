"""Functions of vectors and of sequences along an axis: cross products, correlation, integrals, slopes, powers, choices.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import axis_index, axis_tuple, number
from ..dtypes import accumulator, is_float, is_half
from ..op import Op
from ..tensor import Tensor, as_tensor
from .conv import conv
from .elementwise import astype, isnan, remainder, where, wide
from .indexing import take
from .joining import concatenate, pad, stack
from .products import cumprod, cumsum, diff
from .reduce import sum as sum_over
from .shape import broadcast_to, expand_dims, flip, moveaxis, reshape
from .sorting import argsort, mixed, searchsorted


def cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Tensor:
    """The cross product of vectors of size 3 (or 2: the third component is 0); two of size 2 give that component alone.

    >>> cross([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    Tensor([0., 0., 1.], dtype=float32)
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = moveaxis(as_tensor(a, "cross"), axisa, -1), moveaxis(as_tensor(b, "cross"), axisb, -1)
    dtype = np.result_type(a.dtype, b.dtype)
    a, b = wide(a), wide(b)
    if {a.shape[-1], b.shape[-1]} - {2, 3}:
        raise ValueError(f"cross: expected vectors of 2 or 3 components, got {a.shape[-1]} and {b.shape[-1]}")
    third = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    if a.shape[-1] == b.shape[-1] == 2:
        return astype(third, dtype)
    a, b = (pad(v, [(0, 0)] * (v.ndim - 1) + [(0, 3 - v.shape[-1])]) for v in (a, b))
    first = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    second = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    return astype(stack([first, second, third], axisc), dtype)


def correlate(a: Any, v: Any, mode: str = "valid") -> Tensor:
    """c[k] = sum over n of a[n + k] * v[n] for two 1-D sequences. "valid" keeps the k at which one lies wholly inside
    the other, "same" as many as the longer has elements, "full" all k at which they overlap.

    >>> correlate([1.0, 2.0, 3.0], [0.0, 1.0])
    Tensor([2., 3.], dtype=float32)
    """
    a, v = as_tensor(a, "correlate"), as_tensor(v, "correlate")
    if mode not in ("valid", "same", "full") or a.ndim != 1 or v.ndim != 1 or not a.size or not v.size:
        raise ValueError(f"correlate: expected two 1-D sequences and mode 'valid', 'same' or 'full', got {a.shape}, "
                         f"{v.shape} and {mode!r}")
    if v.size > a.size:
        return flip(correlate(v, a, mode))
    dtype = np.result_type(a.dtype, v.dtype)
    if not is_float(dtype):
        return _correlate_integers(a, v, mode)
    around = {"valid": (0, 0), "same": (v.size // 2, (v.size - 1) // 2), "full": (v.size - 1,) * 2}[mode]
    images, filters = reshape(astype(a, dtype), (1, a.size, 1)), reshape(astype(v, dtype), (v.size, 1, 1))
    return reshape(conv(images, filters, padding=(around,)), (a.size + sum(around) - v.size + 1,))


_correlate_integers = Op("correlate_integers", "a, v; mode -> y", np.correlate)


def convolve(a: Any, v: Any, mode: str = "full") -> Tensor:
    """c[k] = sum over n of a[n] * v[k - n] for two 1-D sequences, in either order; the modes are those of `correlate`.

    >>> convolve([1.0, 2.0, 3.0], [0.0, 1.0])
    Tensor([0., 1., 2., 3.], dtype=float32)
    """
    a, v = as_tensor(a, "convolve"), as_tensor(v, "convolve")
    if mode not in ("valid", "same", "full") or a.ndim != 1 or v.ndim != 1 or not a.size or not v.size:
        raise ValueError(f"convolve: expected two 1-D sequences and mode 'valid', 'same' or 'full', got {a.shape}, "
                         f"{v.shape} and {mode!r}")
    longer, shorter = (v, a) if v.size > a.size else (a, v)
    return correlate(longer, flip(shorter), mode)


def interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: float | None = None) -> Tensor:
    """The piecewise linear function through the points (xp, fp), at x. Gradients flow to x, xp and fp.

    Args:
        x: of any shape.
        xp: 1-D and ascending; with `period`, in any order.
        fp: the function's values at xp, in its shape.
        left, right: the values below the first and above the last point; by default the values of these points.
        period: the function's period; left and right are then not used.

    Returns:
        The shape of x, in the floating dtype that x, xp and fp promote to (NumPy's result is always float64).

    >>> interp([0.5, 5.0], [0.0, 1.0, 2.0], [0.0, 10.0, 30.0])
    Tensor([ 5., 30.], dtype=float32)
    """
    x, xp, fp = (as_tensor(t, "interp") for t in (x, xp, fp))
    if xp.ndim != 1 or fp.shape != xp.shape or not xp.size:
        raise ValueError(f"interp: expected xp and fp of one 1-D shape with elements, got {xp.shape} and {fp.shape}")
    dtype = np.result_type(x.dtype, xp.dtype, fp.dtype)
    dtype = dtype if is_float(dtype) else np.dtype(np.float64)
    x, xp, fp = (astype(t, accumulator(dtype)) for t in (x, xp, fp))
    if period is not None:
        period = abs(number("interp", "period", period))
        if period == 0:
            raise ValueError("interp: expected a period other than 0, got 0")
        x, xp = remainder(x, period), remainder(xp, period)
        order = argsort(xp)
        xp, fp = take(xp, order), take(fp, order)
        xp = concatenate([xp[-1:] - period, xp, xp[:1] + period])
        fp = concatenate([fp[-1:], fp, fp[:1]])
    last = xp.size - 1
    after = np.clip(searchsorted(xp, x, "right").numpy(), 1, max(last, 1)) if last else np.zeros(x.shape, np.intp)
    before = np.maximum(after - 1, 0)
    x0, x1, f0, f1 = take(xp, before), take(xp, after), take(fp, before), take(fp, after)
    width = x1 - x0
    place = (x - x0) / where(width == 0, 1, width)
    inside = (x >= xp[0]) & (x < xp[last])
    y = mixed(f0, f1, where(inside, place, 0))
    low = fp[0] if left is None or period is not None else _constant("interp", left, x)
    high = fp[last] if right is None or period is not None else _constant("interp", right, x)
    y = where(x < xp[0], low, where(x > xp[last], high, where(x == xp[last], fp[last], y)))
    return astype(where(isnan(x), x, y), dtype)


def unwrap(p: Any, discont: float | None = None, axis: int = -1, *, period: float = 2 * np.pi) -> Tensor:
    """p with multiples of the period added, so that neighbours along `axis` differ by at most half of it.

    Args:
        discont: neighbours that differ by less than this stay as they are; at least, and by default, period / 2.
        period: the size of a full turn.

    The gradient is that of p itself: what is added is piecewise constant.

    >>> unwrap([0.0, 2.0, 0.0], period=3)
    Tensor([ 0., -1.,  0.], dtype=float32)
    """
    p = as_tensor(p, "unwrap")
    whole = not is_float(p.dtype) and isinstance(period, (int, np.integer))
    dtype = p.dtype if whole or is_float(p.dtype) else np.dtype(np.float64)
    p, axis = astype(p, dtype), axis_index("unwrap", axis, p.ndim)
    if p.shape[axis] < 2:
        return p
    steps = diff(wide(p.detach()), 1, axis)
    half = period // 2 if whole else period / 2
    turned = remainder(steps + half, period) - half
    if not whole or period % 2 == 0:  # a step of half a period keeps its sign
        turned = where((turned == -half) & (steps > 0), half, turned)
    turns = where(abs(steps) < (half if discont is None else discont), 0, turned - steps)
    lead = [(0, 0)] * p.ndim
    lead[axis] = (1, 0)
    return astype(wide(p) + astype(pad(cumsum(turns, axis), lead), wide(p).dtype), dtype)


def _constant(op: str, value: Any, x: Tensor) -> Tensor:
    """A number or an array as a Tensor on the device of x; a Tensor stays where it is."""
    return value if isinstance(value, Tensor) else as_tensor(value, op).to(x.device)


def gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """The derivative of f along its axes by differences of second order, at the edges of order `edge_order`.

    Args:
        varargs: the distance between samples, one number for all axes or one entry per axis: a number, or the 1-D
            coordinates of the samples; by default 1.
        axis: an integer or a tuple; by default all axes.
        edge_order: 1 or 2.

    Returns:
        A Tensor in the shape of f for one axis, else a tuple with one per axis.

    >>> gradient([1.0, 2.0, 4.0, 7.0])
    Tensor([1. , 1.5, 2.5, 3. ], dtype=float32)
    """
    f = as_tensor(f, "gradient")
    axes = tuple(range(f.ndim)) if axis is None else axis_tuple("gradient", axis, f.ndim)
    if edge_order not in (1, 2):
        raise ValueError(f"gradient: expected edge_order 1 or 2, got {edge_order!r}")
    if len(varargs) not in (0, 1, len(axes)):
        raise TypeError(f"gradient: expected no distance, one, or one for each of {len(axes)} axes, got {len(varargs)}")
    spacings = [_constant("gradient", s, f) for s in varargs or (1.0,)]
    if len(spacings) == 1 and spacings[0].ndim == 0:
        spacings *= len(axes)
    if len(spacings) != len(axes):
        raise TypeError(f"gradient: expected coordinates for each of {len(axes)} axes, got {len(spacings)}")
    dtype = f.dtype if is_float(f.dtype) else np.dtype(np.float64)
    f = astype(f, accumulator(dtype))
    found = [astype(_slope(f, spacing, a, edge_order), dtype) for a, spacing in zip(axes, spacings)]
    return found[0] if len(axes) == 1 else tuple(found)


def _slope(f: Tensor, spacing: Tensor, axis: int, edge_order: int) -> Tensor:
    """The derivative along one axis. Steps h before and k after a sample give the weights of its two neighbours."""
    n, f = f.shape[axis], moveaxis(f, axis, -1)
    if n < edge_order + 1:
        raise ValueError(f"gradient: expected at least {edge_order + 1} samples along axis {axis}, got shape {f.shape}")
    if spacing.ndim == 0:
        steps = broadcast_to(astype(spacing, f.dtype), (n - 1,))
    elif spacing.shape == (n,):
        steps = diff(astype(spacing, f.dtype))
    else:
        raise ValueError(f"gradient: expected a number or coordinates of shape ({n},) along axis {axis}, got "
                         f"{spacing.shape}")
    rises = diff(f, 1, -1)
    slopes = rises / steps
    h, k = steps[:-1], steps[1:]
    middle = (slopes[..., :-1] * k + slopes[..., 1:] * h) / (h + k)
    first, last = slopes[..., :1], slopes[..., -1:]
    if edge_order == 2:
        bend = (slopes[..., 1:] - slopes[..., :-1]) / (h + k)
        first, last = first - bend[..., :1] * h[:1], last + bend[..., -1:] * k[-1:]
    return moveaxis(concatenate([first, middle, last], -1), -1, axis)


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Tensor:
    """The integral of y along `axis` by the trapezoidal rule, at the points x or at steps of dx.

    >>> trapezoid([1.0, 2.0, 3.0]).item()
    4.0
    """
    y = as_tensor(y, "trapezoid")
    ys, dtype = moveaxis(y, axis, -1), y.dtype
    steps: Any = dx
    if x is not None:
        x = as_tensor(x, "trapezoid")
        dtype = np.result_type(dtype, x.dtype)
        steps = diff(wide(x if x.ndim == 1 else moveaxis(x, axis, -1)), 1, -1)
    y = sum_over(steps * (wide(ys[..., 1:]) + wide(ys[..., :-1])) / 2.0, -1)
    return astype(y, dtype) if is_half(dtype) else y


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Tensor:  # noqa: N803 - NumPy's name
    """A row of powers for each element of a 1-D x, with the highest power first unless `increasing`.

    >>> vander([2.0, 3.0], 3).tolist()
    [[4.0, 2.0, 1.0], [9.0, 3.0, 1.0]]
    """
    x = as_tensor(x, "vander")
    n = x.size if N is None else N
    if x.ndim != 1:
        raise ValueError(f"vander: expected a 1-D sequence, got shape {x.shape}")
    one = as_tensor(np.ones((x.size, 1), x.dtype)).to(x.device)
    powers = concatenate([one, cumprod(broadcast_to(expand_dims(x, 1), (x.size, max(n - 1, 0))), 1)], 1)[:, :n]
    return powers if increasing else flip(powers, 1)


def select(condlist: Any, choicelist: Any, default: Any = 0) -> Tensor:
    """For each element, the choice that belongs to the first condition that holds there; `default` where none holds.

    >>> select([np.array([True, False])], [np.array([1.0, 2.0])], 7).tolist()
    [1.0, 7.0]
    """
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ValueError(f"select: expected as many choices as conditions, got {len(choicelist)} and {len(condlist)}")
    y = default
    for condition, choice in zip(reversed(list(condlist)), reversed(list(choicelist))):
        y = where(condition, choice, y)
    return y
