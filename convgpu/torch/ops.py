"""convgpu's ops as ops of PyTorch: `torch.ops.convgpu.conv` and others, with shapes for tracing and gradients.

Tensors have PyTorch's shapes: images (N, C, spatial...), filters (K, C/groups, spatial...). An op computes in the
memory format that its first images have. Padding is a list with one (before, after) after the other. The gradients are
ops too, and have gradients of their own: those of a convolution are convolutions, y is linear in x and in w.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..dtypes import accumulator
from ..geometry import (
    ConvGeometry,
    PoolGeometry,
    adaptive_pool_geometry,
    batch_norm_geometry,
    conv_geometry,
    pool_geometry,
)
from .arrays import OFFSETS, empty_images, images, is_channels_last, run, to_images, to_numpy, to_torch

Sizes = list[int]


def _pairs(flat: Sizes) -> list[tuple[int, int]]:
    return list(zip(flat[::2], flat[1::2]))


# --- convolution


def _conv_geometry(batch: int, size: Any, channels: int, w: Any, stride: Sizes, padding: Sizes, dilation: Sizes,
                   groups: int, last: bool) -> ConvGeometry:
    """The geometry for images of `size` pixels and filters of PyTorch's shape w."""
    k, c, *kernel = w
    x_shape = (batch, *size, channels) if last else (batch, channels, *size)
    w_shape = (*kernel, c, k) if last else (k, c, *kernel)
    return conv_geometry("convgpu.torch.conv", x_shape, w_shape, tuple(stride), _pairs(padding), tuple(dilation),
                         groups, "channels_last" if last else "channels_first")


def _filters(w: Tensor, last: bool) -> Any:
    """Filters as a backend takes them: (spatial..., C/groups, K) in channels_last."""
    return to_numpy(w.movedim((0, 1), (-1, -2)) if last else w)


@torch.library.custom_op("convgpu::conv", mutates_args=(), device_types="cpu")
def conv(x: Tensor, w: Tensor, bias: Tensor | None, stride: Sizes, padding: Sizes, dilation: Sizes,
         groups: int) -> Tensor:
    """y[n, k, p] = bias[k] + sum over c, r of x[n, c, p*stride + r*dilation - before] * w[k, c, r]."""
    last = is_channels_last(x)
    geo = _conv_geometry(x.shape[0], x.shape[2:], x.shape[1], w.shape, stride, padding, dilation, groups, last)
    return to_images(run("conv_fprop", [images(x, last), _filters(w, last), None if bias is None else to_numpy(bias)],
                         geo, None), last)


@conv.register_fake
def _(x: Tensor, w: Tensor, bias: Tensor | None, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Tensor:
    out = [(n + before + after - d * (f - 1) - 1) // s + 1
           for n, f, s, d, (before, after) in zip(x.shape[2:], w.shape[2:], stride, dilation, _pairs(padding))]
    return empty_images(x, (x.shape[0], w.shape[0], *out), is_channels_last(x))


@torch.library.custom_op("convgpu::conv_dgrad", mutates_args=(), device_types="cpu")
def conv_dgrad(gy: Tensor, w: Tensor, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes,
               groups: int) -> Tensor:
    """The gradient of `conv` with respect to x, whose images have `size` pixels; also a transposed convolution."""
    last = is_channels_last(gy)
    geo = _conv_geometry(gy.shape[0], size, w.shape[1] * groups, w.shape, stride, padding, dilation, groups, last)
    return to_images(run("conv_dgrad", [images(gy, last), _filters(w, last), None], geo, None), last)


@conv_dgrad.register_fake
def _(gy: Tensor, w: Tensor, size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Tensor:
    return empty_images(gy, (gy.shape[0], w.shape[1] * groups, *size), is_channels_last(gy))


@torch.library.custom_op("convgpu::conv_wgrad", mutates_args=(), device_types="cpu")
def conv_wgrad(x: Tensor, gy: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes,
               groups: int) -> Tensor:
    """The gradient of `conv` with respect to w, whose filters have `kernel` taps."""
    last = is_channels_last(x)
    w = (gy.shape[1], x.shape[1] // groups, *kernel)
    geo = _conv_geometry(x.shape[0], x.shape[2:], x.shape[1], w, stride, padding, dilation, groups, last)
    gw = to_torch(run("conv_wgrad", [images(x, last), images(gy, last)], geo))
    return gw.movedim((-1, -2), (0, 1)).contiguous() if last else gw


@conv_wgrad.register_fake
def _(x: Tensor, gy: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Tensor:
    return x.new_empty((gy.shape[1], x.shape[1] // groups, *kernel))


def _save_first_two(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.options = inputs[2:]


def _conv_backward(ctx: Any, gy: Tensor) -> tuple[Any, ...]:
    (x, w), options = ctx.saved_tensors, ctx.options[1:]
    wanted = ctx.needs_input_grad
    gx = conv_dgrad(gy, w, list(x.shape[2:]), *options) if wanted[0] else None
    gw = conv_wgrad(x, gy, list(w.shape[2:]), *options) if wanted[1] else None
    gb = gy.sum((0, *range(2, gy.dim())), dtype=torch.promote_types(gy.dtype, torch.float32)).to(
        gy.dtype) if wanted[2] else None
    return gx, gw, gb, None, None, None, None


def _conv_dgrad_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    (gy, w), (_, *options) = ctx.saved_tensors, ctx.options
    wanted = ctx.needs_input_grad
    ggy = conv(g, w, None, *options) if wanted[0] else None
    gw = conv_wgrad(g, gy, list(w.shape[2:]), *options) if wanted[1] else None
    return ggy, gw, None, None, None, None, None


def _conv_wgrad_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    (x, gy), (_, *options) = ctx.saved_tensors, ctx.options
    wanted = ctx.needs_input_grad
    gx = conv_dgrad(gy, g, list(x.shape[2:]), *options) if wanted[0] else None
    ggy = conv(x, g, None, *options) if wanted[1] else None
    return gx, ggy, None, None, None, None, None


conv.register_autograd(_conv_backward, setup_context=_save_first_two)
conv_dgrad.register_autograd(_conv_dgrad_backward, setup_context=_save_first_two)
conv_wgrad.register_autograd(_conv_wgrad_backward, setup_context=_save_first_two)


# --- pooling


def _pool_geometry(shape: Any, last: bool, window: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes,
                   ceil_mode: bool, count_include_pad: bool, adaptive: bool) -> PoolGeometry:
    n, c, *size = shape
    x_shape, data_format = ((n, *size, c), "channels_last") if last else ((n, c, *size), "channels_first")
    if adaptive:
        return adaptive_pool_geometry("convgpu.torch.pool", x_shape, tuple(window), data_format)
    return pool_geometry("convgpu.torch.pool", x_shape, tuple(window), tuple(stride), _pairs(padding), tuple(dilation),
                         ceil_mode, count_include_pad, data_format)


@torch.library.custom_op("convgpu::max_pool", mutates_args=(), device_types="cpu")
def max_pool(x: Tensor, window: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes,
             ceil_mode: bool) -> tuple[Tensor, Tensor]:
    """The largest pixel of every window, and its place in the window."""
    last = is_channels_last(x)
    geo = _pool_geometry(x.shape, last, window, stride, padding, dilation, ceil_mode, True, False)
    y, offsets = run("max_pool", [images(x, last)], geo, True)
    return to_images(y, last), to_images(offsets, last)


def _concrete(shape: Any) -> list[int]:
    return [int(n) for n in shape]


@max_pool.register_fake
def _(x: Tensor, window: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes,
      ceil_mode: bool) -> tuple[Tensor, Tensor]:
    last = is_channels_last(x)
    geo = _pool_geometry(_concrete(x.shape), last, window, stride, padding, dilation, ceil_mode, True, False)
    y = empty_images(x, (x.shape[0], x.shape[1], *geo.output), last)
    return y, empty_images(x.new_empty((0,), dtype=OFFSETS[geo.offset_dtype]), tuple(y.shape), last)


@torch.library.custom_op("convgpu::max_pool_dgrad", mutates_args=(), device_types="cpu")
def max_pool_dgrad(gy: Tensor, offsets: Tensor, size: Sizes, window: Sizes, stride: Sizes, padding: Sizes,
                   dilation: Sizes, ceil_mode: bool) -> Tensor:
    """The gradient of `max_pool`: every window gives its gradient to its winner."""
    last = is_channels_last(offsets)
    geo = _pool_geometry((*gy.shape[:2], *size), last, window, stride, padding, dilation, ceil_mode, True, False)
    return to_images(run("max_pool_dgrad", [images(gy, last), images(offsets, last)], geo), last)


@max_pool_dgrad.register_fake
def _(gy: Tensor, offsets: Tensor, size: Sizes, *options: Any) -> Tensor:
    return empty_images(gy, (*gy.shape[:2], *size), is_channels_last(offsets))


@torch.library.custom_op("convgpu::max_pool_gather", mutates_args=(), device_types="cpu")
def max_pool_gather(x: Tensor, offsets: Tensor, window: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes,
                    ceil_mode: bool) -> Tensor:
    """The pixels of x at the places that `max_pool` has found."""
    last = is_channels_last(offsets)
    geo = _pool_geometry(x.shape, last, window, stride, padding, dilation, ceil_mode, True, False)
    return to_images(run("max_pool_gather", [images(x, last), images(offsets, last)], geo), last)


@max_pool_gather.register_fake
def _(x: Tensor, offsets: Tensor, *options: Any) -> Tensor:
    return empty_images(x, tuple(offsets.shape), is_channels_last(offsets))


@torch.library.custom_op("convgpu::max_pool_indices", mutates_args=(), device_types="cpu")
def max_pool_indices(offsets: Tensor, size: Sizes, window: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes,
                     ceil_mode: bool) -> Tensor:
    """The places that `max_pool` has found, as flat indices over the pixels of x."""
    last = is_channels_last(offsets)
    geo = _pool_geometry((*offsets.shape[:2], *size), last, window, stride, padding, dilation, ceil_mode, True, False)
    return to_images(run("max_pool_indices", [images(offsets, last)], geo), last)


@max_pool_indices.register_fake
def _(offsets: Tensor, *options: Any) -> Tensor:
    like = offsets.new_empty((0,), dtype=torch.int64)
    return empty_images(like, tuple(offsets.shape), is_channels_last(offsets))


def _max_pool_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.size, ctx.options = list(inputs[0].shape[2:]), inputs[1:]


def _max_pool_backward(ctx: Any, gy: Tensor, _: Any) -> tuple[Any, ...]:
    return max_pool_dgrad(gy, *ctx.saved_tensors, ctx.size, *ctx.options), None, None, None, None, None


def _save_offsets(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])
    ctx.options, ctx.shape = inputs[2:], inputs[0].shape


def _max_pool_dgrad_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    return (max_pool_gather(g, *ctx.saved_tensors, *ctx.options[1:]), *[None] * 7)


def _max_pool_gather_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    return (max_pool_dgrad(g, *ctx.saved_tensors, list(ctx.shape[2:]), *ctx.options), *[None] * 6)


max_pool.register_autograd(_max_pool_backward, setup_context=_max_pool_setup)
max_pool_dgrad.register_autograd(_max_pool_dgrad_backward, setup_context=_save_offsets)
max_pool_gather.register_autograd(_max_pool_gather_backward, setup_context=_save_offsets)


@torch.library.custom_op("convgpu::avg_pool", mutates_args=(), device_types="cpu")
def avg_pool(x: Tensor, window: Sizes, stride: Sizes, padding: Sizes, ceil_mode: bool, count_include_pad: bool,
             adaptive: bool) -> Tensor:
    """The mean of every window. With `adaptive`, window is the output's size, and the rest means nothing."""
    last = is_channels_last(x)
    geo = _pool_geometry(x.shape, last, window, stride, padding, [1] * len(window), ceil_mode, count_include_pad,
                         adaptive)
    return to_images(run("avg_pool", [images(x, last)], geo), last)


@avg_pool.register_fake
def _(x: Tensor, window: Sizes, stride: Sizes, padding: Sizes, ceil_mode: bool, count_include_pad: bool,
      adaptive: bool) -> Tensor:
    last = is_channels_last(x)
    geo = _pool_geometry(_concrete(x.shape), last, window, stride, padding, [1] * len(window), ceil_mode,
                         count_include_pad, adaptive)
    return empty_images(x, (x.shape[0], x.shape[1], *geo.output), last)


@torch.library.custom_op("convgpu::avg_pool_dgrad", mutates_args=(), device_types="cpu")
def avg_pool_dgrad(gy: Tensor, size: Sizes, window: Sizes, stride: Sizes, padding: Sizes, ceil_mode: bool,
                   count_include_pad: bool, adaptive: bool) -> Tensor:
    """The gradient of `avg_pool`, for images of `size` pixels."""
    last = is_channels_last(gy)
    geo = _pool_geometry((*gy.shape[:2], *size), last, window, stride, padding, [1] * len(window), ceil_mode,
                         count_include_pad, adaptive)
    return to_images(run("avg_pool_dgrad", [images(gy, last)], geo), last)


@avg_pool_dgrad.register_fake
def _(gy: Tensor, size: Sizes, *options: Any) -> Tensor:
    return empty_images(gy, (*gy.shape[:2], *size), is_channels_last(gy))


def _avg_pool_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.size, ctx.options = list(inputs[0].shape[2:]), inputs[1:]


def _avg_pool_dgrad_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.options = inputs[2:]


avg_pool.register_autograd(
    lambda ctx, gy: (avg_pool_dgrad(gy, ctx.size, *ctx.options), *[None] * 6), setup_context=_avg_pool_setup)
avg_pool_dgrad.register_autograd(
    lambda ctx, g: (avg_pool(g, *ctx.options), *[None] * 7), setup_context=_avg_pool_dgrad_setup)


# --- matrix products


@torch.library.custom_op("convgpu::gemm", mutates_args=(), device_types="cpu")
def gemm(a: Tensor, b: Tensor, c: Tensor | None, trans_a: bool, trans_b: bool) -> Tensor:
    """op(a) @ op(b) + c, of matrices; c is a row that is added to each row, or None."""
    return to_torch(run("gemm", [to_numpy(a), to_numpy(b), None if c is None else to_numpy(c)], 1.0, 1.0, trans_a,
                        trans_b, None))


@gemm.register_fake
def _(a: Tensor, b: Tensor, c: Tensor | None, trans_a: bool, trans_b: bool) -> Tensor:
    return a.new_empty((a.shape[1 if trans_a else 0], b.shape[0 if trans_b else 1]))


def _gemm_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])
    ctx.transposed = inputs[3:]


def _gemm_backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
    (a, b), (trans_a, trans_b) = ctx.saved_tensors, ctx.transposed
    wanted = ctx.needs_input_grad
    ga = gb = gc = None
    if wanted[0]:
        ga = gemm(b, g, None, trans_b, True) if trans_a else gemm(g, b, None, False, not trans_b)
    if wanted[1]:
        gb = gemm(g, a, None, True, trans_a) if trans_b else gemm(a, g, None, not trans_a, False)
    if wanted[2]:
        gc = g.sum(0, dtype=torch.promote_types(g.dtype, torch.float32)).to(g.dtype)
    return ga, gb, gc, None, None


gemm.register_autograd(_gemm_backward, setup_context=_gemm_setup)


# --- batch normalisation


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype is torch.float64 else torch.float32


def _norm_geometry(x: Tensor, last: bool) -> Any:
    shape = (x.shape[0], *x.shape[2:], x.shape[1]) if last else tuple(x.shape)
    return batch_norm_geometry(shape, len(shape) - 1 if last else 1)


def _wide_array(p: Tensor | None, x: Any) -> Any:
    return None if p is None else to_numpy(p).astype(accumulator(x.dtype), copy=False)


@torch.library.custom_op("convgpu::batch_norm", mutates_args=(), device_types="cpu")
def batch_norm(x: Tensor, scale: Tensor | None, offset: Tensor | None, running_mean: Tensor | None,
               running_var: Tensor | None, momentum: float,
               epsilon: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(x - mean) * rstd * scale + offset; then mean, rstd, and what running statistics learn from the batch.

    The mean has two rows: what it is rounded to, and what is left of it.
    """
    last = is_channels_last(x)
    array, geo = images(x, last), _norm_geometry(x, last)
    learns = [_wide_array(p, array) for p in (running_mean, running_var)]
    mean, rstd, *new = run("norm_stats", [array, *learns], geo, epsilon, 1 - momentum, 1)
    y = run("norm_apply", [array, mean, rstd, _wide_array(scale, array), _wide_array(offset, array)], geo, None)
    learned = [to_torch(n) if n is not None else x.new_empty((0,), dtype=_wide(x.dtype)) for n in new]
    return to_images(y, last), to_torch(mean), to_torch(rstd), *learned


@batch_norm.register_fake
def _(x: Tensor, scale: Any, offset: Any, running_mean: Any, running_var: Any, momentum: float,
      epsilon: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    c, wide = x.shape[1], _wide(x.dtype)
    new = [x.new_empty((c if p is not None else 0,), dtype=wide) for p in (running_mean, running_var)]
    return (empty_images(x, tuple(x.shape), is_channels_last(x)), x.new_empty((2, 1, c), dtype=wide),
            x.new_empty((1, c), dtype=wide), *new)


@torch.library.custom_op("convgpu::batch_norm_dgrad", mutates_args=(), device_types="cpu")
def batch_norm_dgrad(gy: Tensor, x: Tensor, scale: Tensor | None, mean: Tensor,
                     rstd: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `batch_norm` with respect to x, scale and offset."""
    last = is_channels_last(x)
    array, geo = images(x, last), _norm_geometry(x, last)
    gx, gscale, goffset, _ = run(
        "norm_dgrad", [images(gy, last), array, to_numpy(mean), to_numpy(rstd), _wide_array(scale, array), None, None],
        geo, None, (True, True, True, False))
    return to_images(gx, last), to_torch(gscale), to_torch(goffset)


@batch_norm_dgrad.register_fake
def _(gy: Tensor, x: Tensor, scale: Any, mean: Tensor, rstd: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    gx = empty_images(x, tuple(x.shape), is_channels_last(x))
    return gx, mean.new_empty((x.shape[1],)), mean.new_empty((x.shape[1],))


def _batch_norm_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    x, scale, offset = inputs[:3]
    ctx.save_for_backward(x, scale, *output[1:3])
    ctx.mark_non_differentiable(*output[1:])
    ctx.offset_dtype = None if offset is None else offset.dtype


def _batch_norm_backward(ctx: Any, gy: Tensor, *_: Any) -> tuple[Any, ...]:
    x, scale, mean, rstd = ctx.saved_tensors
    gx, gscale, goffset = batch_norm_dgrad(gy, x, scale, mean, rstd)
    return (gx, None if scale is None else gscale.to(scale.dtype),
            None if ctx.offset_dtype is None else goffset.to(ctx.offset_dtype), None, None, None, None)


def _dgrad_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _dgrad_backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
    """Second order, by PyTorch's own operations: with n elements per channel and xn = (x - mean) * rstd,
    gx = scale * rstd * (gy - m(gy) - xn * m(gy * xn)), gscale = sum(gy * xn), goffset = sum(gy), where the statistics
    are functions of x.
    """
    gy, x, scale, _, rstd = ctx.saved_tensors
    axes, along = (0, *range(2, x.dim())), (1, -1, *[1] * (x.dim() - 2))
    with torch.enable_grad():
        given = [t.detach().requires_grad_() for t in (gy, x)]
        weights = None if scale is None else scale.detach().requires_grad_()
        g, wide = (t.to(_wide(x.dtype)) for t in given)
        n = max(math.prod([x.shape[a] for a in axes]), 1)
        centred = wide - wide.sum(axes, keepdim=True) / n
        var = (centred * centred).sum(axes, keepdim=True) / n
        # the same value as rstd, as a function of x: rstd^-2 = var + epsilon
        inverse = (var + (rstd.reshape(along).double() ** -2 - var.detach().double()).to(var.dtype)) ** -0.5
        xn = centred * inverse
        factor = inverse if weights is None else weights.to(wide.dtype).reshape(along) * inverse
        gx = factor * (g - g.sum(axes, keepdim=True) / n - xn * ((g * xn).sum(axes, keepdim=True) / n))
        outputs = (gx, (g * xn).sum(axes), g.sum(axes))
        inputs = [*given, *([] if weights is None else [weights])]
        found = torch.autograd.grad(outputs, inputs, [h.to(o.dtype) for h, o in zip(gradients, outputs)],
                                    create_graph=torch.is_grad_enabled(), allow_unused=True)
    return found[0], found[1], found[2] if weights is not None else None, None, None


batch_norm.register_autograd(_batch_norm_backward, setup_context=_batch_norm_setup)
batch_norm_dgrad.register_autograd(_dgrad_backward, setup_context=_dgrad_setup)

# Within torch.autocast("cpu"), what is matrix arithmetic runs in the half type, as PyTorch's own layers do.
for _op in (conv, conv_dgrad, conv_wgrad, gemm):
    _op.register_autocast("cpu", torch.bfloat16)
