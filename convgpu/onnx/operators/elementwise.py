"""Operators on single elements: arithmetic, comparison, logic, bits, and conversions of dtype."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import numpy as cnp
from ...dtypes import is_float, is_half
from ...ops.gaussian import normal_cdf
from ...tensor import Tensor
from ..image import Image, Value, host, on_each, plain, together
from ..node import SUPPORTED, Node, dtype_of, type_name


def two(function: Callable[[Any, Any], Tensor]) -> Callable[..., Value]:
    """An operator on two inputs that broadcast; before opset 7 the second is placed by the attribute axis."""
    def run(node: Node, a: Value, b: Value) -> Value:
        if node.opset < 7 and node.get("broadcast", 0):
            a, b = plain(a), _placed(node, plain(a), plain(b))
        return together(function, a, b)

    return run


def _placed(node: Node, a: Tensor, b: Tensor) -> Tensor:
    axis = node.get("axis")
    if axis is None:
        return b
    after = a.ndim - axis % max(a.ndim, 1) - b.ndim
    if after < 0:
        raise node.wrong("inputs that broadcast from the attribute axis on", f"{a.shape} and {b.shape}, axis={axis}")
    return cnp.reshape(b, b.shape + (1,) * after)


def several(function: Callable[[Any, Any], Tensor]) -> Callable[..., Value]:
    """An operator that joins any number of inputs, which broadcast, two at a time."""
    def run(node: Node, *xs: Value) -> Value:
        return functools.reduce(lambda a, b: together(function, a, b), xs)

    return run


def add(a: Any, b: Any) -> Tensor:
    """a + b; as an operator of tensors it is computed together with what is deferred."""
    return a + b


def mean(node: Node, *xs: Value) -> Value:
    """The average of all inputs."""
    total = several(add)(node, *xs)
    return Image(total.native / len(xs)) if isinstance(total, Image) else total / len(xs)


@two
def div(a: Tensor, b: Tensor) -> Tensor:
    """a / b; the quotient of integers is rounded towards 0."""
    if is_float(a.dtype):
        return cnp.divide(a, b)
    if a.dtype.kind == "u":
        return cnp.floor_divide(a, b)
    quotient = cnp.floor_divide(a, b)
    inexact = cnp.multiply(quotient, b) != a
    return (quotient + cnp.logical_and(inexact, cnp.less(a, 0) != cnp.less(b, 0)).astype(a.dtype)).astype(a.dtype)


def mod(node: Node, a: Value, b: Value) -> Value:
    """The remainder with the sign of b, or of a with fmod=1."""
    return together(cnp.fmod if node.get("fmod", 0) else cnp.mod, a, b)


@two
def power(a: Tensor, b: Tensor) -> Tensor:
    """a to the power b, in a's dtype."""
    if not is_float(a.dtype) and is_float(b.dtype):
        return cnp.trunc(cnp.power(a.astype("float64"), b.astype("float64"))).astype(a.dtype)
    return cnp.power(a, b.astype(a.dtype) if is_float(a.dtype) else b).astype(a.dtype)


def bit_shift(node: Node, a: Value, b: Value) -> Value:
    """The bits of a moved by b places."""
    return together(cnp.left_shift if node.get("direction") == "LEFT" else cnp.right_shift, a, b)


def where(node: Node, condition: Value, a: Value, b: Value) -> Value:
    """a where the condition holds, else b."""
    return together(cnp.where, condition, a, b)


def clip(node: Node, x: Value, low: Value = None, high: Value = None) -> Value:
    """x limited to [low, high]; both limits are optional."""
    low, high = node.get("min") if low is None else low, node.get("max") if high is None else high
    return _clip(node, x, *[limit.item() if isinstance(limit, Tensor) else limit for limit in (low, high)])


@on_each
def _clip(node: Node, x: Tensor, low: float | None, high: float | None) -> Tensor:
    from ...ops.activation import relu, relu6

    if is_float(x.dtype) and low == 0 and high in (None, 6, math.inf):
        return relu6(x) if high == 6 else relu(x)
    x = x if low is None else cnp.maximum(x, np.asarray(low, x.dtype))
    return x if high is None else cnp.minimum(x, np.asarray(high, x.dtype))


@on_each
def is_inf(node: Node, x: Tensor) -> Tensor:
    """Whether x is infinite, of the signs that the attributes ask for."""
    positive, negative = node.get("detect_positive", 1), node.get("detect_negative", 1)
    if positive and negative:
        return cnp.isinf(x)
    if positive or negative:
        return (cnp.isposinf if positive else cnp.isneginf)(x)
    return cnp.isnan(x) & False


def erf(x: Tensor) -> Tensor:
    """2 cdf(sqrt(2) x) - 1, with the normal distribution function cdf, in float64."""
    wide = x.astype("float64")
    return (2 * normal_cdf(wide * math.sqrt(2)) - 1).astype(x.dtype)


def rounded(x: Tensor) -> Tensor:
    """x rounded to the nearest integer, of two the even one."""
    return cnp.rint(x)


def in_float32(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function composed of several: half types are computed in float32 and rounded once."""
    @functools.wraps(function)
    def run(node: Node, x: Tensor, *others: Any) -> Tensor:
        if not is_half(x.dtype):
            return function(node, x, *others)
        wide = [o.astype("float32") if isinstance(o, Tensor) and is_half(o.dtype) else o for o in others]
        return function(node, x.astype("float32"), *wide).astype(x.dtype)

    return run


def identity(node: Node, x: Value) -> Value:
    """x itself."""
    return x


def cast(node: Node, x: Value) -> Value:
    """x in another dtype."""
    wanted = node.get("to")
    if wanted not in SUPPORTED:
        raise node.refuse(f"the element type {type_name(wanted)}")
    return _cast(node, x, dtype_of(wanted))


def cast_like(node: Node, x: Value, like: Value) -> Value:
    """x in the dtype of another tensor."""
    return _cast(node, x, like.dtype)


@on_each
def _cast(node: Node, x: Tensor, dtype: np.dtype) -> Tensor:
    return x if x.dtype == dtype else x.astype(dtype)


def dropout(node: Node, x: Value, ratio: Value = None, training: Value = None) -> Any:
    """x itself, or in training x with elements set to 0 by chance, of the seed of the attribute where there is one."""
    rate = node.get("ratio", 0.5) if ratio is None else float(host(ratio).item())
    if training is not None and bool(host(training).item()) and rate != 0:
        return _dropped(node, plain(x), rate)
    if not node.wants(1):
        return x
    return x, cnp.ones(x.shape, "bool" if node.opset >= 10 else x.dtype)


def _dropped(node: Node, x: Tensor, rate: float) -> Any:
    if "seed" not in node.attributes:
        raise node.refuse("dropout in training without the attribute seed")
    kept = cnp.asarray(np.random.RandomState(int(node.get("seed"))).uniform(0, 1, x.shape) >= rate).to(x.device)
    return x * kept.astype(x.dtype) * cnp.asarray(np.asarray(1 / (1 - rate), x.dtype)), kept
