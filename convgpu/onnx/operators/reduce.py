"""Reductions along axes, running sums, and the places of extremes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import numpy as cnp
from ...dtypes import is_float, is_half
from ...ops.softmax import logsumexp
from ...tensor import Tensor
from ..image import host, ints
from ..node import Node


def over(function: Callable[..., Tensor], nothing: Callable[[Tensor], Tensor] = lambda x: x) -> Callable[..., Tensor]:
    """An operator that reduces axes, given by an attribute or by an input; by default all of them.

    `nothing` is what the operator does to single elements where it is told to reduce no axis.
    """
    def run(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
        given = ints(axes) if axes is not None else node.get("axes")
        if not given and node.get("noop_with_empty_axes", 0):
            return nothing(x)
        chosen = tuple([a % x.ndim for a in _checked(node, given, x)]) if given else tuple(range(x.ndim))
        y = function(x, chosen, keepdims=bool(node.get("keepdims", 1)))
        return y if y.dtype == x.dtype else y.astype(x.dtype)

    return run


def _checked(node: Node, axes: list[int], x: Tensor) -> list[int]:
    if not all([-x.ndim <= a < x.ndim for a in axes]):
        raise node.wrong(f"axes of {x.ndim} axes", axes)
    return axes


def wide(x: Tensor) -> Tensor:
    """Half types as float32; the operators above round their results once."""
    return x.astype("float32") if is_half(x.dtype) else x


def sum_of_magnitudes(x: Tensor, axes: Any, keepdims: bool) -> Tensor:
    """The sum of |x|."""
    return cnp.sum(cnp.abs(wide(x)), axes, keepdims=keepdims)


def root_of_squares(x: Tensor, axes: Any, keepdims: bool) -> Tensor:
    """The root of the sum of squares."""
    return cnp.sqrt(sum_of_squares(x, axes, keepdims))


def sum_of_squares(x: Tensor, axes: Any, keepdims: bool) -> Tensor:
    """The sum of squares."""
    return cnp.sum(cnp.square(wide(x)), axes, keepdims=keepdims)


def log_of_sum(x: Tensor, axes: Any, keepdims: bool) -> Tensor:
    """The logarithm of the sum."""
    return cnp.log(cnp.sum(wide(x), axes, keepdims=keepdims))


def log_of_sum_of_exp(x: Tensor, axes: Any, keepdims: bool) -> Tensor:
    """The logarithm of the sum of exp(x); that of no elements is -inf."""
    if any([x.shape[a] == 0 for a in axes]):
        return log_of_sum(cnp.exp(x), axes, keepdims)
    return logsumexp(x if is_float(x.dtype) else x.astype("float64"), axes, keepdims=keepdims)


def average(x: Tensor, axes: Any, keepdims: bool) -> Tensor:
    """The average; of integers it is rounded towards 0."""
    return cnp.mean(wide(x), axes, keepdims=keepdims)


def extreme(function: Callable[..., Tensor], largest: bool) -> Callable[..., Tensor]:
    """The largest or the smallest element; of no elements, the limit of the dtype."""
    def run(x: Tensor, axes: Any, keepdims: bool) -> Tensor:
        if any([x.shape[a] == 0 for a in axes]):
            shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes]
            return cnp.full(tuple(shape), _limit(x.dtype, not largest), x.dtype)
        if x.dtype == bool:
            return function(x.astype("int8"), axes, keepdims=keepdims)
        return function(x, axes, keepdims=keepdims)

    return run


def _limit(dtype: np.dtype, upper: bool) -> Any:
    if dtype.kind == "b":
        return upper
    if is_float(dtype):
        return math.inf if upper else -math.inf
    return np.iinfo(dtype).max if upper else np.iinfo(dtype).min


def place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The index of an extreme along an axis: of the first one, or of the last one."""
    def run(node: Node, x: Tensor) -> Tensor:
        axis, keepdims = node.get("axis", 0), bool(node.get("keepdims", 1))
        if node.get("select_last_index", 0):
            return x.shape[axis] - 1 - function(cnp.flip(x, axis), axis, keepdims=keepdims)
        return function(x, axis, keepdims=keepdims)

    return run


def running(function: Callable[..., Tensor], neutral: int) -> Callable[..., Tensor]:
    """A running sum or product along an axis, also from the end, and also without the element itself."""
    def run(node: Node, x: Tensor, axis: Tensor) -> Tensor:
        a = int(host(axis).item())
        if not -x.ndim <= a < x.ndim:
            raise node.wrong(f"an axis of {x.ndim} axes", a)
        a %= x.ndim
        backwards = node.get("reverse", 0)
        y = function(cnp.flip(x, a) if backwards else x, a)
        if node.get("exclusive", 0):
            widths = [(int(i == a), 0) for i in range(x.ndim)]
            y = cnp.pad(y, widths, constant_values=neutral)[(slice(None),) * a + (slice(0, x.shape[a]),)]
        return (cnp.flip(y, a) if backwards else y).astype(x.dtype)

    return run


def top_k(node: Node, x: Tensor, k: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The k largest or smallest elements along an axis, in order, and their indices; of equal ones the first."""
    axis = node.get("axis", -1) % x.ndim
    count = node.get("k") if k is None else ints(k)[0]
    if not 0 <= count <= x.shape[axis]:
        raise node.wrong(f"k from 0 to {x.shape[axis]}, the size of the axis", count)
    key = x
    if node.get("largest", 1):  # the order of -x, which for integers is that of ~x, without overflow
        key = -x if is_float(x.dtype) else cnp.invert(x)
    order = cnp.argsort(key, axis)[(slice(None),) * axis + (slice(0, count),)]
    return cnp.take_along_axis(x, order, axis), order
