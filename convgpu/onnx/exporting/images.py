"""Convolution, pooling and normalisation, which ONNX knows in (N, C, spatial...) alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...geometry import ConvGeometry, NormGeometry, PoolGeometry
from .elementwise import activated
from .tracing import Call
from .writer import Order, Value, Writer, channels_first, plain


def _refused(what: str) -> NotImplementedError:
    return NotImplementedError(f"convgpu.onnx.export: {what} is not implemented")


def _image_order(geo: Any, rank: int) -> Order:
    return channels_first(rank) if geo.channels_last else plain(rank)


def _conv_options(geo: ConvGeometry) -> dict[str, Any]:
    return {"strides": list(geo.stride), "dilations": list(geo.dilation), "group": geo.groups,
            "pads": [*[a for a, _ in geo.padding], *[b for _, b in geo.padding]], "kernel_shape": list(geo.kernel)}


def _filters(w: Writer, array: Any, geo: ConvGeometry) -> str:
    rank = array.ndim
    return w.read(w.value(array), (rank - 1, rank - 2, *range(rank - 2)) if geo.channels_last else plain(rank))


def conv(w: Writer, call: Call) -> None:
    """conv_fprop."""
    (x, filters, bias), y = call.inputs, call.outputs[0]
    geo: ConvGeometry = call.statics["geo"]
    order = _image_order(geo, y.ndim)
    names = [w.read(w.value(x), order), _filters(w, filters, geo)]
    if bias is not None:
        names.append(w.read(w.value(bias)))
    name = w.node("Conv", names, **_conv_options(geo))
    w.result(y, activated(w, name, y.dtype, call.statics["activation"]), order)


def conv_transpose(w: Writer, call: Call) -> None:
    """conv_dgrad, the transposed convolution."""
    (gy, filters, bias), gx = call.inputs, call.outputs[0]
    geo: ConvGeometry = call.statics["geo"]
    if bias is not None and bias.ndim != 1:
        raise _refused("a transposed convolution on top of another gradient")
    order = _image_order(geo, gx.ndim)
    extra = [n - ((o - 1) * s + d * (k - 1) + 1 - a - b) for n, o, s, d, k, (a, b) in zip(
        geo.size, geo.output, geo.stride, geo.dilation, geo.kernel, geo.padding)]
    names = [w.read(w.value(gy), order), _filters(w, filters, geo)]
    if bias is not None:
        names.append(w.read(w.value(bias)))
    name = w.node("ConvTranspose", names, output_padding=extra, **_conv_options(geo))
    w.result(gx, activated(w, name, gx.dtype, call.statics["activation"]), order)


# --- pooling


def _pool_options(geo: PoolGeometry) -> dict[str, Any]:
    if geo.adaptive:
        raise _refused("pooling to a size that does not divide the image's")
    ends = [(o - 1) * s + d * (k - 1) + 1 - n - a for o, s, d, k, n, (a, _) in zip(
        geo.output, geo.stride, geo.dilation, geo.window, geo.size, geo.padding)]
    after = [max(b, e) for (_, b), e in zip(geo.padding, ends)]
    if geo.count_include_pad and after != [b for _, b in geo.padding]:
        raise _refused("average pooling with ceil_mode and count_include_pad")
    return {"kernel_shape": list(geo.window), "strides": list(geo.stride), "dilations": list(geo.dilation),
            "pads": [*[a for a, _ in geo.padding], *after]}


def max_pool(w: Writer, call: Call) -> None:
    """The largest value of every window."""
    _pooled(w, call, "MaxPool")


def avg_pool(w: Writer, call: Call) -> None:
    """The average of every window."""
    _pooled(w, call, "AveragePool", count_include_pad=int(call.statics["geo"].count_include_pad))


def lp_pool(w: Writer, call: Call) -> None:
    """The p-norm of every window."""
    p = call.statics["norm_type"]
    if p != int(p):
        raise _refused(f"pooling with the norm {p}")
    _pooled(w, call, "LpPool", p=int(p))


def _pooled(w: Writer, call: Call, op: str, **attributes: Any) -> None:
    geo: PoolGeometry = call.statics["geo"]
    x, y = call.inputs[0], call.outputs[0]
    order = _image_order(geo, y.ndim)
    name = w.read(w.value(x), order)
    if geo.is_global and op != "LpPool":
        w.result(y, w.node(f"Global{op}", [name]), order)
    else:
        w.result(y, w.node(op, [name], **_pool_options(geo), **attributes), order)


# --- normalisation


def _channel_axis(shape: tuple[int, ...], geo: NormGeometry) -> int:
    """The axis of the channels, of a normalisation with one mean for each of them."""
    if geo.channels == 1:  # of one channel, all elements are seen as one run
        return len(shape) - 1 if shape[-1] == 1 else 1
    return next(a for a in range(len(shape)) if shape[a] == geo.channels and math.prod(shape[a + 1:]) == geo.inner)


def _per_channel(w: Writer, array: Any, count: int, fill: float, dtype: np.dtype, shape: tuple[int, ...]) -> str:
    if array is None:
        return w.constant(np.full(shape, fill, dtype))
    value = w.value(array)
    if value.array is not None:
        values = np.broadcast_to(value.array.reshape(-1).astype(dtype), (count,)).reshape(shape)
        return w.constant(values, value.label)
    name = w.read(value, None, dtype)
    return name if value.shape == shape else w.node("Reshape", [name, w.ints(shape)])


def norm_infer(w: Writer, call: Call) -> None:
    """Normalisation with given statistics."""
    (x, mean, var, scale, offset, residual), y = call.inputs, call.outputs[0]
    geo: NormGeometry = call.statics["geo"]
    axis = _channel_axis(x.shape, geo)
    order = channels_first(x.ndim) if axis == x.ndim - 1 else plain(x.ndim)
    if order[1] != axis:
        raise _refused(f"batch normalisation along axis {axis} of {x.ndim}")
    channels = x.shape[axis]
    names = [_per_channel(w, p, channels, fill, np.dtype(y.dtype if p is None else p.dtype), (channels,))
             for p, fill in ((scale, 1), (offset, 0), (mean, 0), (var, 1))]
    name = w.node("BatchNormalization", [w.read(w.value(x), order), *names], epsilon=call.statics["epsilon"])
    _finish(w, call, name, residual, order)


def _finish(w: Writer, call: Call, name: str, residual: Any, order: Order) -> None:
    y = call.outputs[0]
    if residual is not None:
        name = w.node("Add", [name, w.read(w.value(residual), order)])
    w.result(y, activated(w, name, y.dtype, call.statics["activation"]), order)


def norm_stats(w: Writer, call: Call) -> None:
    """Statistics, which are written with the normalisation that uses them."""
    x = w.value(call.inputs[0])
    for output in call.outputs:
        if output is not None:
            value = w.keep(output, Value(output.shape, output.dtype))
            value.source = x, call.statics


def norm_apply(w: Writer, call: Call) -> None:
    """Normalisation with x's own statistics: that of layers, groups or instances."""
    x, mean, rstd, scale, offset, *residual = call.inputs
    geo: NormGeometry = call.statics["geo"]
    value, found = w.value(x), w.value(rstd).source
    if found is None or found[0] is not value:
        raise _refused("normalisation with the statistics of another tensor")
    epsilon, y = found[1]["epsilon"], call.outputs[0]
    if geo.rows == geo.groups == geo.inner == 1:
        axis = next(a for a in range(x.ndim) if math.prod(x.shape[a:]) == geo.channels)
        names = [_per_channel(w, p, geo.channels, fill, y.dtype, x.shape[axis:])
                 for p, fill in ((scale, 1), (offset, 0))]
        name = w.node("LayerNormalization", [w.read(value), *names], axis=axis, epsilon=epsilon)
        return _finish(w, call, name, residual[0] if residual else None, plain(x.ndim))
    if geo.outer == 1 and (geo.groups == geo.channels):
        return _by_batch(w, call, value, geo, epsilon)
    last = geo.inner == 1 and x.shape[-1] == geo.channels
    order = channels_first(x.ndim) if last else plain(x.ndim)
    names = [_per_channel(w, p, geo.channels, fill, y.dtype, (geo.channels,))
             for p, fill in ((scale, 1), (offset, 0))]
    name = w.node("GroupNormalization", [w.read(value, order), *names], num_groups=geo.groups, epsilon=epsilon)
    return _finish(w, call, name, residual[0] if residual else None, order)


def _by_batch(w: Writer, call: Call, x: Value, geo: NormGeometry, epsilon: float) -> None:
    """Normalisation with the statistics of this batch, which ONNX has no operator for outside of training."""
    _, _, _, scale, offset, *residual = call.inputs
    y, axis = call.outputs[0], _channel_axis(x.shape, geo)
    order = channels_first(x.ndim) if axis == x.ndim - 1 else plain(x.ndim)
    place = order.index(axis)
    axes = w.ints([a for a in range(x.ndim) if a != place])
    name, shape = w.read(x, order), tuple([-1 if a == place else 1 for a in range(x.ndim)])
    centred = w.node("Sub", [name, w.node("ReduceMean", [name, axes])])
    var = w.node("ReduceMean", [w.node("Mul", [centred, centred]), axes])
    deviation = w.node("Sqrt", [w.node("Add", [var, w.constant(np.asarray(epsilon, y.dtype))])])
    name = w.node("Div", [centred, deviation])
    for op, p in (("Mul", scale), ("Add", offset)):
        if p is not None:
            factor = w.node("Reshape", [w.read(w.value(p), None, y.dtype), w.ints(shape)])
            name = w.node(op, [name, factor])
    _finish(w, call, name, residual[0] if residual else None, order)


def window_sum(w: Writer, call: Call) -> None:
    """The sum of neighbours along an axis, as in local response normalisation."""
    x, y = w.value(call.inputs[0]), call.outputs[0]
    axis, before, after = (call.statics[n] for n in ("axis", "before", "after"))
    pads = [before if a == axis else 0 for a in range(x.ndim)] + [after if a == axis else 0 for a in range(x.ndim)]
    padded = w.node("Pad", [w.read(x), w.ints(pads)])
    parts = [w.node("Slice", [padded, w.ints([i]), w.ints([i + x.shape[axis]]), w.ints([axis])])
             for i in range(before + after + 1)]
    w.result(y, w.node("Sum", parts))
