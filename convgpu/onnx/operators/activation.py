"""Activations, which treat every element by itself, and softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import numpy as cnp
from ...ops import activation as act
from ...ops.loss import one_hot
from ...ops.softmax import log_softmax as _log_softmax
from ...ops.softmax import softmax as _softmax
from ...tensor import Tensor
from ..image import Value, on_each, plain, together
from ..node import Node
from .elementwise import in_float32


@on_each
def elu(node: Node, x: Tensor) -> Tensor:
    """x where x > 0, else alpha * (exp(x) - 1)."""
    return act.elu(x, node.get("alpha", 1.0))


@on_each
@in_float32
def selu(node: Node, x: Tensor) -> Tensor:
    """gamma * elu(x, alpha)."""
    return act.elu(x, node.get("alpha", act.SELU_ALPHA)) * node.get("gamma", act.SELU_SCALE)


@on_each
@in_float32
def celu(node: Node, x: Tensor) -> Tensor:
    """max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)."""
    alpha = node.get("alpha", 1.0)
    return act.elu(x / alpha) * alpha


@on_each
def leaky_relu(node: Node, x: Tensor) -> Tensor:
    """x where x > 0, else alpha * x."""
    return act.leaky_relu(x, node.get("alpha", 0.01))


def prelu(node: Node, x: Value, slope: Value) -> Value:
    """x where x > 0, else slope * x; a slope for each channel may stand without its spatial axes before opset 7."""
    if node.opset < 7 and slope.ndim == 1 and slope.size > 1:
        slope = cnp.reshape(plain(slope), (slope.size,) + (1,) * (x.ndim - 2))
    return together(lambda x, s: cnp.where(x < 0, x * s, x), x, slope)


@on_each
def thresholded_relu(node: Node, x: Tensor) -> Tensor:
    """x where x > alpha, else 0."""
    return cnp.where(x > node.get("alpha", 1.0), x, 0)


@on_each
@in_float32
def hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    """alpha * x + beta, limited to [0, 1]."""
    return cnp.clip(x * node.get("alpha", 0.2) + node.get("beta", 0.5), 0, 1)


@on_each
@in_float32
def hard_swish(node: Node, x: Tensor) -> Tensor:
    """x * hard_sigmoid(x), with the slope 1/6."""
    return x * act.hard_sigmoid(x)


@on_each
@in_float32
def softsign(node: Node, x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return x / (1 + cnp.abs(x))


@on_each
@in_float32
def mish(node: Node, x: Tensor) -> Tensor:
    """x * tanh(softplus(x))."""
    return x * act.tanh(act.softplus(x))


@on_each
@in_float32
def swish(node: Node, x: Tensor) -> Tensor:
    """x * sigmoid(alpha * x)."""
    alpha = node.get("alpha", 1.0)
    return act.silu(x) if alpha == 1 else x * act.sigmoid(alpha * x)


@on_each
def gelu(node: Node, x: Tensor) -> Tensor:
    """x * cdf(x), with the normal distribution function, or its approximation by tanh."""
    return act.gelu(x, node.get("approximate", "none") == "tanh")


@on_each
@in_float32
def shrink(node: Node, x: Tensor) -> Tensor:
    """x moved towards 0 by bias, and 0 where |x| <= lambd."""
    limit, bias = node.get("lambd", 0.5), node.get("bias", 0.0)
    return cnp.where(x < -limit, x + bias, cnp.where(x > limit, x - bias, 0)).astype(x.dtype)


def softmax(node: Node, x: Tensor) -> Tensor:
    """exp(x) / sum of exp(x) along an axis; before opset 13 along all axes from that one on."""
    return _along(node, x, _softmax)


def log_softmax(node: Node, x: Tensor) -> Tensor:
    """The logarithm of softmax."""
    return _along(node, x, _log_softmax)


def hardmax(node: Node, x: Tensor) -> Tensor:
    """1 at the first largest value along an axis, and 0 elsewhere."""
    return _along(node, x, lambda x, axis: cnp.moveaxis(
        one_hot(cnp.argmax(x, axis), x.shape[axis]), -1, axis).astype(x.dtype))


def _along(node: Node, x: Tensor, function: Any) -> Tensor:
    axis = node.get("axis", -1 if node.opset >= 13 else 1)
    if not -x.ndim <= axis <= x.ndim or node.opset >= 13 and axis == x.ndim:
        raise node.wrong(f"an axis of {x.ndim} axes", axis)
    if node.opset >= 13 or axis in (-1, x.ndim - 1):
        return function(x, axis=axis)
    rows = math.prod(x.shape[:axis % x.ndim if axis < x.ndim else axis])
    return function(x.reshape(rows, x.size // rows if rows else 0), axis=-1).reshape(x.shape)


def finite_ratio(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and 0 where b is 0."""
    safe = cnp.where(b == 0, np.asarray(1, b.dtype), b)
    return cnp.where(b == 0, np.asarray(0, a.dtype), a / safe)
