"""Normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import numpy as cnp
from ...autograd import is_grad_enabled
from ...device import CPU, owns_memory
from ...dtypes import is_float, is_half
from ...ops import activation as act
from ...ops import norm
from ...tensor import Tensor
from ..image import Image, Value, native, native_filters, on_each, plain, together
from ..node import Node
from .activation import finite_ratio
from .convolution import conv_of, filters_of
from .elementwise import in_float32


def batch_norm(node: Node, x: Value, scale: Tensor, offset: Tensor, mean: Tensor, var: Tensor, factor: Value = None,
               summand: Value = None) -> Any:
    """(x - mean) / sqrt(var + epsilon) * scale + offset, with given statistics or with those of the batch.

    A factor and a summand are those of the nodes Mul and Add that follow (convgpu/onnx/fusing.py).
    """
    if factor is not None or summand is not None:
        return _with_factors(node, x, scale, offset, mean, var, factor, summand)
    if node.get("spatial", 1) == 0 and x.ndim > 2:
        raise node.refuse("batch normalisation with a statistic for each pixel")
    training = bool(node.get("training_mode", 0)) if node.opset >= 14 else node.opset < 7 and not node.get("is_test", 0)
    momentum, epsilon = node.get("momentum", 0.9), node.get("epsilon", 1e-5)
    wide = np.dtype(np.float32) if is_half(x.dtype) else x.dtype
    mean, var, scale, offset = [t if t.dtype == kind else t.astype(kind) for t, kind in zip(
        (mean, var, scale, offset), (wide, wide, x.dtype, x.dtype))]
    image = x.ndim > 2
    y, new_mean, new_var = norm.batch_norm(native(x) if image else plain(x), mean, var, scale, offset,
                                           training=training, momentum=momentum, epsilon=epsilon, correction=0)
    result = Image(y) if image else y
    return (result, new_mean, new_var) if training and node.wants(1) else result


def _with_factors(node: Node, x: Value, scale: Tensor, offset: Tensor, mean: Tensor, var: Tensor, factor: Value,
                  summand: Value) -> Value:
    """Numbers of channels go into scale and offset, and others are multiplied and added."""
    if _is_of_channels(factor, x, scale):
        number = plain(factor).reshape(scale.shape)
        scale, offset, factor = scale * number, offset * number, None
    if factor is None and _is_of_channels(summand, x, scale):
        offset, summand = offset + plain(summand).reshape(scale.shape), None
    y = batch_norm(node, x, scale, offset, mean, var)
    if factor is not None:
        y = together(cnp.multiply, y, factor)
    return y if summand is None else together(cnp.add, y, summand)


def _is_of_channels(number: Value, x: Value, scale: Tensor) -> bool:
    """Whether a value has one number for each channel of x, and broadcasts against x so."""
    if number is None or x.ndim < 3 or number.dtype != scale.dtype:
        return False
    return number.shape[-(x.ndim - 1):] == (scale.size, *(1,) * (x.ndim - 2)) and number.size == scale.size and (
        number.ndim <= x.ndim)


def conv_norm(node: Node, x: Value, w: Value, bias: Value, scale: Tensor, offset: Tensor, mean: Tensor, var: Tensor,
              factor: Value = None, summand: Value = None) -> Value:
    """A convolution, the normalisation that follows and an activation (convgpu/onnx/fusing.py).

    On the CPU, where nothing is recorded, the normalisation is multiplied into filters and bias, once for the arrays
    that they come from.
    """
    norm, activation, node_inputs = node.norm, node.activation, (w, bias, scale, offset, mean, var, factor, summand)
    assert norm is not None
    folds = all([number is None or _is_of_channels(number, x, scale) for number in (factor, summand)])
    if folds and x.device == CPU and not is_grad_enabled() and scale.dtype == x.dtype and is_float(x.dtype):
        arrays = [None if t is None else plain(t).array for t in node_inputs]
        kept = node.kept
        if kept is None or any([a is not b for a, b in zip(kept[0], arrays)]):
            kept = arrays, _folded(node, norm, *node_inputs)
            if all([a is None or owns_memory(a) for a in arrays]):
                node.kept = kept
        filters, shift = kept[1]
        return conv_of(node, x, filters, shift, activation)
    y = conv_of(node, x, filters_of(node, x, plain(w)), bias, None)
    y = batch_norm(norm, y, scale, offset, mean, var, factor, summand)
    return y if activation is None else Image(act.NAMES[activation](native(y)))


def _folded(node: Node, norm: Node, w: Value, bias: Value, scale: Tensor, offset: Tensor, mean: Tensor, var: Tensor,
            factor: Value, summand: Value) -> tuple[Tensor, Tensor]:
    """Filters and bias of the convolution that computes the normalisation, too; computed in float64."""
    wide = [None if t is None else plain(t).astype("float64") for t in (bias, scale, offset, mean, var)]
    shift, by, offset64, mean64, var64 = wide
    assert by is not None and offset64 is not None and mean64 is not None and var64 is not None
    by = by / cnp.sqrt(var64 + norm.get("epsilon", 1e-5))
    shift = offset64 + ((0 if shift is None else shift) - mean64) * by
    if factor is not None:
        number = plain(factor).reshape(scale.shape)
        by, shift = by * number, shift * number
    if summand is not None:
        shift = shift + plain(summand).reshape(scale.shape)
    filters = plain(w) if node.native_filters else native_filters(plain(w))
    return (filters.astype("float64") * by).astype(filters.dtype), shift.astype(filters.dtype)


def instance_norm(node: Node, x: Value, scale: Tensor, offset: Tensor) -> Value:
    """Every channel of every image with its own mean and variance."""
    return Image(norm.group_norm(native(x), x.shape[1], scale, offset, epsilon=node.get("epsilon", 1e-5)))


def group_norm(node: Node, x: Value, scale: Tensor, offset: Tensor) -> Value:
    """The channels of every image in groups, each with its own mean and variance."""
    groups, channels = node.get("num_groups"), x.shape[1]
    if scale.size != channels:  # up to opset 20 there is one number for each group
        scale, offset = (cnp.repeat(t, channels // groups) for t in (scale, offset))
    return Image(norm.group_norm(native(x), groups, scale, offset, epsilon=node.get("epsilon", 1e-5)))


def layer_norm(node: Node, x: Tensor, scale: Tensor, offset: Tensor | None = None) -> Any:
    """The axes from one on, with their mean and variance."""
    axis = node.get("axis", -1) % x.ndim
    axes, shape, epsilon = tuple(range(axis, x.ndim)), x.shape[axis:], node.get("epsilon", 1e-5)
    factors = [None if t is None else cnp.broadcast_to(t, shape) if t.shape != shape else t for t in (scale, offset)]
    y = norm.layer_norm(x, *factors, axis=axes, epsilon=epsilon)
    if not (node.wants(1) or node.wants(2)):
        return y
    wide = x.astype("float32") if is_half(x.dtype) else x
    return y, cnp.mean(wide, axes, keepdims=True), 1 / cnp.sqrt(cnp.var(wide, axes, keepdims=True) + epsilon)


@in_float32
def rms_norm(node: Node, x: Tensor, scale: Tensor) -> Tensor:
    """x / sqrt(mean of x^2 + epsilon) * scale, over the axes from one on."""
    axes = tuple(range(node.get("axis", -1) % x.ndim, x.ndim))
    return x / cnp.sqrt(cnp.mean(x * x, axes, keepdims=True) + node.get("epsilon", 1e-5)) * scale


@on_each
def local_response_norm(node: Node, x: Tensor) -> Tensor:
    """x divided by a power of the sum of squares of neighbouring channels; x is in channels_last."""
    return norm.local_response_norm(x, node.get("size"), alpha=node.get("alpha", 1e-4), beta=node.get("beta", 0.75),
                                    k=node.get("bias", 1.0))


def lrn(node: Node, x: Value) -> Value:
    """`local_response_norm`, of images in any layout."""
    return local_response_norm(node, x if isinstance(x, Image) else Image(native(x)))


@in_float32
def mean_variance_norm(node: Node, x: Tensor) -> Tensor:
    """(x - mean) / (standard deviation + 1e-9) over the given axes."""
    axes = tuple(node.get("axes") or (0, 2, 3))
    centred = x - cnp.mean(x, axes, keepdims=True)
    return centred / (cnp.sqrt(cnp.mean(centred * centred, axes, keepdims=True)) + 1e-9)


@in_float32
def lp_norm(node: Node, x: Tensor) -> Tensor:
    """x divided by its norm along an axis; a norm of 0 gives 0."""
    axis = node.get("axis", -1)
    total = (cnp.sum(cnp.abs(x), axis, keepdims=True) if node.get("p", 2) == 1
             else cnp.sqrt(cnp.sum(x * x, axis, keepdims=True)))
    return finite_ratio(x, total)
