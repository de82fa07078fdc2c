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
from .widening import floating, wide, widened


def _shifted(x: Any, axes: Axes) -> Any:
    """x minus its largest value."""
    if x.size == 0:
        return x.copy()  # there is no largest value
    with np.errstate(invalid="ignore"):  # inf - inf is meant to be NaN
        return x - np.max(x, axis=axes, keepdims=True)


def _softmax_forward(x: Any, axes: Axes) -> Any:
    e = _shifted(x, axes)
    np.exp(e, out=e)
    e /= total(e, axes, True)
    return e


def _log_softmax_forward(x: Any, axes: Axes) -> Any:
    y = _shifted(x, axes)
    with np.errstate(divide="ignore"):  # the sum of no elements is 0, and its logarithm -inf
        y -= np.log(total(np.exp(y), axes, True))
    return y


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


def _softmax_rule(g: Tensor, y: Tensor, axes: Axes) -> Tensor:
    g, y = wide(g), wide(y)
    return y * (g - (g * y).sum(axis=axes, keepdims=True))


def _log_softmax_rule(g: Tensor, y: Tensor, axes: Axes) -> Tensor:
    g, y = wide(g), wide(y)
    return g - exp(y) * g.sum(axis=axes, keepdims=True)


def _logsumexp_rule(g: Tensor, x: Tensor, y: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    """g * softmax(x), computed without exp(x - y), since y is rounded; 0 where all values along the axes are -inf."""
    nothing = spread(y == -np.inf, x.shape, axes, keepdims)
    g = spread(wide(g), x.shape, axes, keepdims)
    return where(nothing, 0, g) * _softmax(where(nothing, 0, wide(x)), axes)


_softmax = Op("softmax", "x; axes -> y", widened(_softmax_forward)).vjp(x=_softmax_rule)
_log_softmax = Op("log_softmax", "x; axes -> y", widened(_log_softmax_forward)).vjp(x=_log_softmax_rule)
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
    return _softmax(x, (axis_index("softmax", axis, x.ndim),))


def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """log(softmax(x)), computed in one step, which keeps digits that two steps would lose. Arguments as in `softmax`.

    >>> log_softmax([0.0, 0.0, 1000.0])
    Tensor([-1000., -1000.,     0.], dtype=float32)
    """
    x = floating("log_softmax", x)
    return _log_softmax(x, (axis_index("log_softmax", axis, x.ndim),))


def logsumexp(x: Any, axis: int | tuple[int, ...] | None = -1, *, keepdims: bool = False) -> Tensor:
    """The logarithm of the sum of exp(x) over `axis` (one axis, several, or None for all).

    >>> logsumexp([1000.0, 1000.0])
    Tensor(1000.6932, dtype=float32)
    """
    x = floating("logsumexp", x)
    axes = tuple(range(x.ndim)) if axis is None else tuple(sorted(axis_tuple("logsumexp", axis, x.ndim)))
    return _logsumexp(x, axes, keepdims)
