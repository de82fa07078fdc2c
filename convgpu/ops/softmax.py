"""Softmax and its logarithm over an axis. The largest value is subtracted first, so that nothing overflows.

Where all values along the axis are -inf, softmax and log_softmax are NaN and logsumexp is -inf, as in PyTorch.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import axis_index, axis_tuple
from ..op import Op
from ..summation import total
from ..tensor import Tensor
from .elementwise import exp, where
from .reduce import Axes, spread
from .shape import reshape, transpose
from .widening import floating, wide, widened


def _logsumexp_forward(x: Any, axes: Axes, keepdims: bool) -> Any:
    if x.size == 0:
        largest = np.zeros_like(x, shape=[1 if i in axes else n for i, n in enumerate(x.shape)])
    else:
        largest = np.max(x, axis=axes, keepdims=True)
        largest = np.where(np.isinf(largest), 0, largest)
    # log(0) is meant to be -inf; exp overflows only beside an infinity
    with np.errstate(divide="ignore", over="ignore"):
        y = np.log(total(np.exp(x - largest), axes, True)) + largest
    return y if keepdims else np.squeeze(y, axes)


# Backends run softmax and its logarithm as one op, and their gradients, which follow from the results, as another.
_softmax = Op("softmax", "x; axis, log_of -> y")
_dgrad = Op("softmax_dgrad", "gy, y; axis, log_of -> gx")
_softmax.vjp(x=lambda g, y, axis, log_of: _dgrad(g, y, axis, log_of))
_dgrad.vjp(gy=lambda g, y, axis, log_of: _of_gradient(g, y, axis, log_of),
           y=lambda g, gy, y, axis, log_of: _of_result(g, gy, y, axis, log_of))


def _of_gradient(g: Tensor, y: Tensor, axis: int, log_of: bool) -> Tensor:
    """The map from gy to gx is symmetric for softmax; for the logarithm its transpose is g - sum of exp(y) * g."""
    if not log_of:
        return _dgrad(g, y, axis, log_of)
    g, y = wide(g), wide(y)
    return g - (exp(y) * g).sum(axis=axis, keepdims=True)


def _of_result(g: Tensor, gy: Tensor, y: Tensor, axis: int, log_of: bool) -> Tensor:
    g, gy, y = wide(g), wide(gy), wide(y)
    if log_of:
        return -g * exp(y) * gy.sum(axis=axis, keepdims=True)
    return g * (gy - (gy * y).sum(axis=axis, keepdims=True)) - gy * (g * y).sum(axis=axis, keepdims=True)


def _logsumexp_rule(g: Tensor, x: Tensor, y: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    """g * softmax(x), computed without exp(x - y), since y is rounded; 0 where all values along the axes are -inf."""
    nothing = spread(y == -np.inf, x.shape, axes, keepdims)
    g = spread(wide(g), x.shape, axes, keepdims)
    return where(nothing, 0, g) * _softmax_over(where(nothing, 0, wide(x)), axes)


def _softmax_over(x: Tensor, axes: Axes) -> Tensor:
    """softmax over several axes, as one axis of a copy in which they are the last."""
    if len(axes) == 1:
        return _softmax(x, axes[0], False)
    order = [a for a in range(x.ndim) if a not in axes] + list(axes)
    moved = transpose(x, order)
    y = _softmax(reshape(moved, (*moved.shape[:x.ndim - len(axes)], -1 if x.size else 0)), x.ndim - len(axes), False)
    return transpose(reshape(y, moved.shape), [order.index(a) for a in range(x.ndim)])


_logsumexp = Op("logsumexp", "x; axes, keepdims -> y", widened(_logsumexp_forward)).vjp(x=_logsumexp_rule)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) / sum of exp(x) over `axis`.

    Args:
        x: any shape, floating; half types are computed in float32 and rounded once.
        axis: the axis along which the result adds up to 1.

    >>> softmax([0.0, 0.0, 1000.0, -1000.0])
    Tensor([0., 0., 1., 0.], dtype=float32)
    """
    x = floating("softmax", x)
    return _softmax(x, axis_index("softmax", axis, x.ndim), False)


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """log(softmax(x)), computed in one step, which keeps digits that two steps would lose. Arguments as in `softmax`.

    >>> log_softmax([0.0, 0.0, 1000.0])
    Tensor([-1000., -1000.,     0.], dtype=float32)
    """
    x = floating("log_softmax", x)
    return _softmax(x, axis_index("log_softmax", axis, x.ndim), True)


def logsumexp(x: Any, axis: int | tuple[int, ...] | None = -1, *, keepdims: bool = False) -> Tensor:
    """The logarithm of the sum of exp(x) over `axis` (one axis, several, or None for all).

    >>> logsumexp([1000.0, 1000.0])
    Tensor(1000.6932, dtype=float32)
    """
    x = floating("logsumexp", x)
    axes = tuple(range(x.ndim)) if axis is None else tuple(sorted(axis_tuple("logsumexp", axis, x.ndim)))
    return _logsumexp(x, axes, keepdims)
