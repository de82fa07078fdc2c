"""Pooling, in the native layout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import numpy as cnp
from ...dtypes import is_float
from ...geometry import pool_geometry
from ...ops import conv as convs
from ...ops import pool
from ...ops.lp_pool import lp_pool as _lp_pool
from ...tensor import Tensor
from ..image import Image, Value, ints, native, plain
from ..node import Node
from .convolution import Pairs, expect_rank, padding, steps


def _options(node: Node, x: Value) -> tuple[tuple[int, ...], dict[str, Any]]:
    """The size of the window, and the options of convgpu's pooling."""
    rank = expect_rank(node, x)
    kernel = node.get("kernel_shape")
    if not isinstance(kernel, list) or len(kernel) != rank or min(kernel) < 1:
        raise node.wrong(f"a kernel_shape of {rank} positive numbers", kernel)
    strides, dilations = steps(node, rank)
    pads = padding(node, x.shape[2:], kernel, strides, dilations)
    return tuple(kernel), {"stride": tuple(strides), "padding": tuple(pads), "dilation": tuple(dilations),
                           "ceil_mode": bool(node.get("ceil_mode", 0))}


def max_pool(node: Node, x: Value) -> Any:
    """The largest value of every window, and on demand its index among all elements of x."""
    kernel, options = _options(node, x)
    if not node.wants(1):
        return Image(pool.max_pool(native(x), kernel, **options))
    y, places = pool.max_pool(native(x), kernel, return_indices=True, **options)
    indices = Image(places).plain
    size = x.shape[2:]
    if node.get("storage_order", 0):  # the first spatial axis varies fastest
        at = np.unravel_index(indices.numpy(), size)
        indices = cnp.asarray(np.ravel_multi_index(at, size, order="F"))
    planes = np.arange(math.prod(x.shape[:2])).reshape(*x.shape[:2], *(1,) * len(size)) * math.prod(size)
    return Image(y), indices + cnp.asarray(planes).to(indices.device)


def average_pool(node: Node, x: Value) -> Value:
    """The average of every window."""
    kernel, options = _options(node, x)
    inside = not node.get("count_include_pad", 0)
    if set(options["dilation"]) == {1}:
        del options["dilation"]
        return Image(pool.avg_pool(native(x), kernel, count_include_pad=not inside, **options))
    counted = np.ones((1, *x.shape[2:], 1), x.dtype)
    if not inside:
        widths = ((0, 0), *options["padding"], (0, 0))
        counted = np.pad(counted, widths, constant_values=1)
        shifted = {**options, "padding": ((0, 0),) * len(kernel)}
        divisor = _window_sums(cnp.asarray(counted), kernel, shifted)
    else:
        divisor = _window_sums(cnp.asarray(counted), kernel, options)
    return Image(_window_sums(native(x), kernel, options) / divisor.to(x.device))


def _window_sums(x: Tensor, kernel: tuple[int, ...], options: dict[str, Any]) -> Tensor:
    """The sum of every window with dilation: the convolution of each channel with ones."""
    geo = pool_geometry("window_sums", x.shape, kernel, options["stride"], options["padding"], options["dilation"],
                        options["ceil_mode"], False, "channels_last")
    pads: Pairs = []
    for n, k, s, d, (before, _), out in zip(geo.size, kernel, geo.stride, geo.dilation, geo.padding, geo.output):
        pads.append((before, max((out - 1) * s + (k - 1) * d + 1 - n - before, 0)))
    ones = cnp.asarray(np.ones((*kernel, x.shape[-1], 1), x.dtype)).to(x.device)
    y = convs.depthwise_conv(x, ones, stride=geo.stride, padding=tuple(pads), dilation=geo.dilation)
    return y[(slice(None), *[slice(0, o) for o in geo.output])]


def lp_pool(node: Node, x: Value) -> Value:
    """The p-norm of every window."""
    kernel, options = _options(node, x)
    p = node.get("p", 2)
    if set(options["dilation"]) == {1}:
        del options["dilation"]
        return Image(_lp_pool(native(x), p, kernel, **options))
    return Image(cnp.power(_window_sums(cnp.power(cnp.abs(native(x)), p), kernel, options), 1 / p))


def global_average_pool(node: Node, x: Value) -> Value:
    """The average of every channel."""
    return _globally(node, x, lambda x: pool.global_avg_pool(x, keepdims=True), cnp.mean)


def global_max_pool(node: Node, x: Value) -> Value:
    """The largest value of every channel."""
    return _globally(node, x, lambda x: pool.global_max_pool(x, keepdims=True), cnp.max)


def _globally(node: Node, x: Value, pooled: Any, reduced: Any) -> Value:
    if 3 <= x.ndim <= 5 and is_float(x.dtype):
        return Image(pooled(native(x)))
    return reduced(plain(x), tuple(range(2, x.ndim)), keepdims=True)


def global_lp_pool(node: Node, x: Tensor) -> Tensor:
    """The p-norm of every channel."""
    p = node.get("p", 2)
    total = cnp.sum(cnp.power(cnp.abs(x), p), tuple(range(2, x.ndim)), keepdims=True)
    return cnp.power(total, 1 / p).astype(x.dtype)


def max_unpool(node: Node, x: Tensor, indices: Tensor, shape: Tensor | None = None) -> Tensor:
    """Zeros, with each value at the place where max pooling found it."""
    rank = expect_rank(node, x)
    kernel, (strides, dilations) = list(node.get("kernel_shape")), steps(node, rank)
    pads = padding(node, x.shape[2:], kernel, strides, dilations)
    size = [(n - 1) * s + k - sum(p) for n, s, k, p in zip(x.shape[2:], strides, kernel, pads)]
    inferred = (*x.shape[:2], *size)
    wanted = inferred if shape is None else tuple(ints(shape))
    flat = cnp.asarray(np.zeros(math.prod(inferred), x.dtype)).to(x.device)
    y = flat.at[indices.reshape(-1)].set(x.reshape(-1)).reshape(inferred)
    if wanted == inferred:
        return y
    if len(wanted) != x.ndim or any([a < b for a, b in zip(wanted, inferred)]):
        raise node.wrong(f"an output_shape of at least {inferred}", wanted)
    return cnp.pad(y, [(0, a - b) for a, b in zip(wanted, inferred)])
