"""Facts about the ops of convolution: conv_fprop, conv_dgrad, conv_wgrad, channel_sum."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from .. import autograd
from ..backends import reference
from ..backends.numpy import conv as numpy_conv
from ..cases import conv as cases
from ..cases.problem import Arrays, Problem, ends, some_of
from ..dtypes import DTypeLike, accumulator, as_dtype
from ..geometry import ConvGeometry, is_channels_last
from ..ops import conv as ops
from ..ops import folding, norm
from ..ops.activation import relu
from ..recorder import Call, Shape
from ..roofline import Gpu, Work, additions_on, products_on
from ..settings import workspace_limit
from ..tensor import Tensor
from .facts import Bound, Facts, Family, device_of, drawn, slack_of

# --- the results of a call, and its cost


def _results(call: Call) -> tuple[tuple[Shape, str]]:
    geo = call.statics[0]
    shapes = {"conv_fprop": geo.y_shape, "conv_norm": geo.y_shape, "conv_dgrad": geo.x_shape, "conv_wgrad": geo.w_shape}
    return (shapes[call.op], call.dtype),


def conv_work(op: str, geo: ConvGeometry, dtype: DTypeLike, precision: str = "float32") -> Work:
    """The work of "conv_fprop", "conv_dgrad" or "conv_wgrad"; depthwise convolutions use no tensor cores.

    Args:
        precision: how float32 products are computed: as "float32" or as "tf32".
    """
    touched = geo.batch * geo.channels * math.prod(map(pixels_met, geo.size, geo.kernel, geo.stride, geo.dilation,
                                                       (before for before, _ in geo.padding), geo.output))
    x = touched if op != "conv_dgrad" else math.prod(geo.x_shape)  # dgrad writes x's gradient everywhere
    elements = x + math.prod(geo.w_shape) + math.prod(geo.y_shape)
    depthwise = geo.groups > 1 and geo.channels == geo.groups
    unit = "float64" if as_dtype(dtype) == "float64" else "float32"
    return Work(2 * geo.macs, unit if depthwise else products_on(dtype, precision),
                elements * as_dtype(dtype).itemsize)


def pixels_met(n: int, f: int, stride: int, dilation: int, before: int, out: int) -> int:
    """How many of an axis's n pixels are read by some tap of the filter for some output."""
    met = np.zeros(n, bool)
    for shift in (r * dilation - before for r in range(f)):  # output p reads pixel p*stride + shift, if there is one
        met[shift % stride if shift < 0 else shift:max(shift + (out - 1) * stride + 1, 0):stride] = True
    return int(met.sum())


def _product(call: Call) -> tuple[int, int, int, int]:
    geo = call.statics[0]
    taps, pixels = math.prod(geo.kernel), geo.batch * math.prod(geo.output)
    c, k = geo.channels // geo.groups, geo.filters // geo.groups
    gradients = {"conv_wgrad": (taps * c, k, pixels), "conv_dgrad": (geo.batch * math.prod(geo.size), c, taps * k)}
    return geo.groups, *gradients.get(call.op, (pixels, k, taps * c))


# --- plans and methods


def _plan(native: Any, call: Call, gpu: Gpu | None, precision: str) -> Any:
    op = "conv_fprop" if call.op == "conv_norm" else call.op
    return native.module.plan_conv(op, native.geometry(call.statics[0]), call.dtype, precision=precision,
                                   device=device_of(native, gpu), limit=workspace_limit())


def _method(call: Call) -> str:
    """The method where no Inf or NaN meets padding."""
    geo, backward = call.statics[0], call.op == "conv_dgrad"
    size = accumulator(as_dtype(call.dtype)).itemsize
    method = numpy_conv._backward(geo, size) if backward else numpy_conv._forward(geo)
    if method.empty:
        return "no sums to take"
    if method.depthwise:
        return "sums over windows"
    if method.scatters:
        return "matrix products and col2im, tile by tile"
    return ("" if method.gather.pointwise else "im2col and ") + "matrix products, tile by tile"


# --- error bounds, and the part of a large call that is compared


def _bound(call: Call) -> Bound:
    geo = call.statics[0]
    if call.op == "conv_wgrad":
        return Bound(geo.batch * math.prod(geo.output), call.statics)
    inputs = geo.filters if call.op == "conv_dgrad" else geo.channels
    length = math.prod(geo.kernel) * inputs // max(geo.groups, 1) + 1
    if call.op == "conv_norm":
        return Bound(length, (), magnitude=partial(_of_normed, geo))
    return Bound(length, (geo, None), slack_of(call.statics[1]))


def _of_normed(geo: ConvGeometry, x: Any, w: Any, folded: Any, residual: Any) -> np.ndarray:
    """What the errors of conv_norm are proportional to; the slope of silu is at most 1.1."""
    return 1.2 * reference.conv_norm(x, w, folded, residual, geo, None)


def _some(geo: ConvGeometry, few: bool, both: bool = False) -> tuple[ConvGeometry, list[int], list[int]]:
    """The same convolution with fewer channels and filters, and the lists of those kept: whole groups, if any.

    Args:
        both: select channels as well, which a weight gradient allows; else only filters are selected.
    """
    if geo.groups > 1:
        groups = ends(geo.groups, 2 if few else 32)
        c, k = geo.channels // geo.groups, geo.filters // geo.groups
        channels = [g * c + i for g in groups for i in range(c)]
        filters = [g * k + i for g in groups for i in range(k)]
        return replace(geo, groups=len(groups), channels=len(channels), filters=len(filters)), channels, filters
    filters = ends(geo.filters, 2 if few else 64)
    channels = ends(geo.channels, 2 if few else 64) if both else list(range(geo.channels))
    return replace(geo, channels=len(channels), filters=len(filters)), channels, filters


def _images(x: Any, at: list[int], channels: list[int], geo: ConvGeometry) -> Any:
    """The images numbered `at` with the channels numbered `channels`."""
    part = x if len(at) == len(x) else x[at]
    return some_of(part, channels, -1 if geo.channels_last else 1)


def _filters(w: Any, channels: list[int], filters: list[int], geo: ConvGeometry) -> Any:
    """The weights between some channels and some filters; with groups, the axis of channels is that of one group."""
    last = geo.channels_last
    w = some_of(w, filters, -1 if last else 0)
    return w if geo.groups > 1 else some_of(w, channels, -2 if last else 1)


def _part(problem: Problem, arrays: Arrays, results: Arrays, few: bool) -> tuple[Problem, Arrays]:
    """For fprop and dgrad two images, for wgrad all images; in each case some of the result's channels."""
    call, geo = problem.call, problem.call.statics[0]
    few = few or call.dtype == "float64"  # for float64 the reference computes in long double, which is slow
    if call.op == "conv_wgrad":
        part, channels, filters = _some(geo, few, both=True)
        every = list(range(geo.batch))
        x, gy = _images(arrays[0], every, channels, geo), _images(arrays[1], every, filters, geo)
        return Problem.of(call.op, (x, gy), (part,)), (_filters(results[0], channels, filters, geo),)
    fprop = call.op != "conv_dgrad"
    at = ends(geo.batch)[-1:] if few else ends(geo.batch)
    turned = geo if fprop else replace(geo, channels=geo.filters, filters=geo.channels)
    part, inputs, outputs = _some(turned, few)
    part = part if fprop else replace(part, channels=part.filters, filters=part.channels)
    x, w, bias, *residual = arrays
    w = _filters(w, inputs, outputs, geo) if fprop else _filters(w, outputs, inputs, geo)
    if call.op == "conv_norm":
        rest = bias[outputs], *[r if r is None else _images(r, at, outputs, geo) for r in residual]
        return (Problem.of(call.op, (_images(x, at, inputs, geo), w, *rest),
                           (replace(part, batch=len(at)), *call.statics[1:])),
                (_images(results[0], at, outputs, geo),))
    if bias is not None:
        bias = bias[outputs] if bias.ndim == 1 else _images(bias, at, outputs, geo)
    operands = _images(x, at, inputs, geo), w, bias
    return (Problem.of(call.op, operands, (replace(part, batch=len(at)), *call.statics[1:])),
            (_images(results[0], at, outputs, geo),))


# --- the tables of cases

_FUSED = (None, "relu", "tanh", "sigmoid")  # activations that the convolution ops apply
_AFTER_NORM = (None, "relu", "relu6", "silu")  # and those of conv_norm


def problems(case: cases.ConvCase, dtype: str, data_format: str) -> Iterator[Problem]:
    """All three directions, the forward with the bias and activation of the case, dgrad on top of another gradient, the
    forward with a normalisation, and the gradient of the bias.
    """
    geo = case.geometry(data_format)
    x, w, gy = (case.draw(shape, role, dtype) for role, shape in (("x", geo.x_shape), ("w", geo.w_shape),
                                                                  ("g", geo.y_shape)))
    forward = "conv_dgrad" if case.form == "conv_transpose" else "conv_fprop"
    for op, image, outputs in (("conv_fprop", x, geo.filters), ("conv_dgrad", gy, geo.channels)):
        bias = case.draw((outputs,), "bias", dtype) if op == forward else None
        activation = _FUSED[zlib.crc32(case.name.encode()) % len(_FUSED)] if op == forward else None
        yield Problem.of(op, (image, w, bias), (geo, activation))
    if geo.takes_addend and forward == "conv_fprop":
        yield Problem.of("conv_dgrad", (gy, w, case.draw(geo.x_shape, "addend", dtype)), (geo, None))
        folded = case.draw((geo.filters, 2), "folded", accumulator(as_dtype(dtype)))
        which = zlib.crc32(case.name.encode())
        residual = case.draw(geo.y_shape, "residual", dtype) if which % 2 else None
        yield Problem.of("conv_norm", (x, w, folded, residual), (geo, _AFTER_NORM[which // 2 % len(_AFTER_NORM)]))
    yield Problem.of("conv_wgrad", (x, gy), (geo,))
    yield Problem.of("channel_sum", (gy,), (geo.channels_last,))


def _work(call: Call, precision: str) -> Work:
    """The work of the convolution; an addend or a residual is read once."""
    op = "conv_fprop" if call.op == "conv_norm" else call.op
    work = conv_work(op, call.statics[0], call.dtype, precision)
    addend = call.shapes[3] if call.op == "conv_norm" else call.shapes[2] if call.op == "conv_dgrad" else None
    if addend is None or len(addend) == 1:
        return work
    return Work(work.flops, work.unit, work.bytes + math.prod(addend) * as_dtype(call.dtype).itemsize)


def normed(x: Tensor, w: Tensor, mean: Tensor, var: Tensor, scale: Tensor | None = None, offset: Tensor | None = None,
           **options: Any) -> Tensor:
    """relu(batch_norm(conv(x, w))) with running statistics, as in inference: one op; a function for `explain`."""
    with autograd.no_grad():
        y = relu(norm.batch_norm(ops.conv(x, w, **options), mean, var, scale, offset, training=False)[0])
        return Tensor(y.array)


def _drawn_with_folded(call: Call) -> Arrays:
    """Random operands, of which factors and shifts have the dtype of sums."""
    x, w, folded, residual = drawn(call)
    return x, w, folded.astype(accumulator(as_dtype(call.dtype))), residual


_conv = partial(Facts, family="conv", results=_results, work=_work, plan=_plan, method=_method, bound=_bound,
    part=_part, explained=ops.conv, example=((8, 56, 56, 64), (3, 3, 64, 64)), product=_product)
ops.fprop.facts = _conv()
ops.dgrad.facts = _conv(direction="dgrad")
folding.conv_norm.facts = _conv(
    kernel="conv_fprop", explained=normed, direction="inference", draw=_drawn_with_folded,
    example=((8, 56, 56, 64), (3, 3, 64, 64), (64,), (64,), (64,), (64,)))
ops.wgrad.facts = _conv(direction="wgrad")


# --- channel_sum: the sum over everything but the channels


def _sum_work(call: Call, precision: str) -> Work:
    (shape,), (channels_last,) = call.shapes, call.statics
    assert shape is not None
    elements, channels = math.prod(shape), shape[-1 if channels_last else 1]
    return Work(elements, additions_on(call.dtype), (elements + channels) * as_dtype(call.dtype).itemsize)


def _sum_plan(native: Any, call: Call, gpu: Gpu | None, precision: str) -> Any:
    return native.module.plan_channel_sum(list(call.shapes[0] or ()), call.statics[0], call.dtype,
                                          device=device_of(native, gpu), limit=workspace_limit())


def _channels(call: Call) -> int:
    shape = call.shapes[0] or ()
    return shape[-1 if call.statics[0] else 1]


def _sum_part(problem: Problem, arrays: Arrays, results: Arrays, few: bool) -> tuple[Problem, Arrays]:
    """Two channels, summed over all images."""
    some = ends(_channels(problem.call))
    g = some_of(arrays[0], some, -1 if problem.call.statics[0] else 1)
    return Problem.of("channel_sum", (g,), problem.call.statics), (results[0][some],)


def channel_sum(x: Tensor, data_format: str = "channels_last") -> Tensor:
    """The sum of images over all axes but the channels; a function for `explain`."""
    return ops.channel_sum(x, is_channels_last("channel_sum", data_format))


ops.channel_sum.facts = Facts(
    family="conv", results=lambda call: (((_channels(call),), call.dtype),), work=_sum_work, plan=_sum_plan,
    method=lambda call: "sums in blocks of 32",
    bound=lambda call: Bound(math.prod(call.shapes[0] or ()) // max(_channels(call), 1), call.statics),
    part=_sum_part, explained=channel_sum, example=((32, 56, 56, 64),), direction="bias")

FAMILY = Family(ops=("conv_fprop", "conv_norm", "conv_dgrad", "conv_wgrad", "channel_sum"), page="convolution.md",
                cases=(*cases.CASES, *cases.LARGE), problems=problems,
                operands=("x", "w", "bias", "depthwise", "pointwise", "mean", "var", "scale", "offset"), tf32=True)
