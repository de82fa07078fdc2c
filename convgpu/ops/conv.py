"""Convolution (correlation of images with filters), its gradients, and the functions built from it.

    y[n, p, k] = sum_{r, c} x[n, p*stride + r*dilation - before, c] * w[r, c, k]      (p, r: one index per spatial axis)

Each of {fprop, dgrad, wgrad} is linear in both of its operands, and its gradients are the two others, so that
derivatives of any order come from the declarations below. Transposed convolution is dgrad used as a forward function.
Taps in the padding are skipped, never multiplied. In the place of a bias, dgrad takes another gradient of the same x,
of the shape of gx.
"""

from __future__ import annotations

from typing import Any

from ..dtypes import check_same_float
from ..geometry import ConvGeometry, conv_geometry, conv_transpose_geometry, is_channels_last
from ..op import Op
from ..tensor import Tensor, as_tensor
from . import activation as act
from . import folding
from .joining import pad
from .rank import of_rank
from .shape import broadcast_to, reshape, transpose
from .shape import flip as flip_axes

fprop = Op("conv_fprop", "x, w, bias=None; geo, activation=None -> y")
dgrad = Op("conv_dgrad", "gy, w, bias=None; geo, activation=None -> gx")
wgrad = Op("conv_wgrad", "x, gy; geo -> gw")
channel_sum = Op("channel_sum", "gy; channels_last -> gb")

fprop.pull_back(lambda g, y, activation: act.grad_from_output(activation, g, y), "activation")
dgrad.pull_back(lambda g, gx, activation: act.grad_from_output(activation, g, gx), "activation")
fprop.vjp(x=lambda g, w, geo: dgrad(g, w, geo=geo),
          w=lambda g, x, geo: wgrad(x, g, geo),
          bias=lambda g, geo: channel_sum(g, geo.channels_last))
fprop.vjp_onto(x=lambda g, total, w, geo: dgrad(g, w, total, geo) if geo.takes_addend else None)
dgrad.vjp(gy=lambda g, w, geo: fprop(g, w, geo=geo),
          w=lambda g, gy, geo: wgrad(g, gy, geo),
          bias=lambda g, bias, geo: channel_sum(g, geo.channels_last) if bias.ndim == 1 else g)
wgrad.vjp(x=lambda g, gy, geo: dgrad(gy, g, geo=geo),
          gy=lambda g, x, geo: fprop(x, g, geo=geo))
channel_sum.vjp(gy=lambda g, gy, channels_last: _over_pixels(g, gy.shape, channels_last))


def _over_pixels(g: Tensor, shape: tuple[int, ...], channels_last: bool) -> Tensor:
    """Repeat one value per channel for every pixel."""
    return broadcast_to(g if channels_last else reshape(g, (-1, *(1,) * (len(shape) - 2))), shape)


def conv(x: Any, w: Any, bias: Any = None, *, stride: Any = 1, padding: Any = "valid", dilation: Any = 1,
         groups: int = 1, flip: bool = False, activation: str | None = None,
         data_format: str = "channels_last") -> Tensor:
    """Convolution (correlation) of a batch of 1-D, 2-D or 3-D images with filters.

    y[n, p, k] = bias[k] + sum over r, c of x[n, p*stride + r*dilation - before, c] * w[r, c, k]

    Args:
        x: channels_last (N, spatial..., C); channels_first (N, C, spatial...).
        w: channels_last (spatial..., C/groups, K); channels_first (K, C/groups, spatial...).
        bias: (K,).
        stride, dilation: an integer, or one integer per spatial axis.
        padding: "valid", "same" (the output has ceil(n/stride) pixels; an odd pixel is added at the end), "full", an
            integer, one integer per axis, or one (before, after) pair per axis.
        groups: channels and filters are split into this many independent parts.
        flip: flip the filters along every spatial axis first: the convolution of signal processing.
        activation: an activation by name ("relu", "tanh", ...), applied to the result.
        data_format: "channels_last" or "channels_first".

    Returns:
        (N, out..., K) or (N, K, out...), out = floor((n + before + after - dilation*(f-1) - 1) / stride) + 1. All
        operands and the result have one floating dtype; half types accumulate in float32.

    Raises:
        TypeError: mixed or non-floating dtypes. ValueError: shapes or options that do not fit together.

    >>> import numpy as np
    >>> x = np.zeros((1, 6, 6, 1), "float32"); x[:, :, :3] = 10
    >>> w = np.array([1, 0, -1], "float32").reshape(1, 3, 1, 1).repeat(3, axis=0)
    >>> conv(x, w)[0, 0, :, 0]
    Tensor([ 0., 30., 30.,  0.], dtype=float32)
    """
    return _conv("conv", x, w, bias, stride, padding, dilation, groups, flip, activation, data_format)


def _conv(name: str, x: Any, w: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int, flip: bool,
          activation: str | None, data_format: str) -> Tensor:
    x, w, bias = as_tensor(x, name), as_tensor(w, name), None if bias is None else as_tensor(bias, name)
    check_same_float(name, x=x, w=w, bias=bias)
    geo = conv_geometry(name, x.shape, w.shape, stride, padding, dilation, groups, data_format)
    _check_bias(name, bias, geo.filters)
    if flip:
        w = flip_axes(w, _spatial_axes_of_w(geo))
    fused, after = act.split(name, activation)
    y = folding.later(x, w, bias, geo, fprop) if activation is None else None
    return after(fprop(x, w, bias, geo, fused)) if y is None else y


def _check_bias(name: str, bias: Tensor | None, filters: int) -> None:
    if bias is not None and bias.shape != (filters,):
        raise ValueError(f"{name}: expected bias of shape (K,) == ({filters},), got {bias.shape}")


def _spatial_axes_of_w(geo: ConvGeometry) -> tuple[int, ...]:
    return tuple(range(geo.rank)) if geo.channels_last else tuple(range(2, 2 + geo.rank))


def conv_transpose(x: Any, w: Any, bias: Any = None, *, stride: Any = 1, padding: Any = "valid",
                   output_padding: Any = None, dilation: Any = 1, groups: int = 1, activation: str | None = None,
                   data_format: str = "channels_last") -> Tensor:
    """Transposed convolution: the gradient of `conv` with respect to its input, used as a forward function.

    <conv(z, w), x> = <z, conv_transpose(x, w)> for all z, where conv has the same stride, padding, dilation and groups.

    Args:
        x: channels_last (N, spatial..., C_in); channels_first (N, C_in, spatial...).
        w: the weights of the convolution that is transposed: channels_last (spatial..., C_out/groups, C_in);
            channels_first (C_in, C_out/groups, spatial...).
        bias: (C_out,).
        padding: the padding of the convolution that is transposed. "valid": out = (n-1)*stride + dilation*(f-1) + 1 +
            output_padding; "same": out = n*stride, and no output_padding; numbers shrink the output by before + after.
        output_padding: pixels added at the end of each axis, fewer than stride or dilation.

    Returns:
        (N, out..., C_out) or (N, C_out, out...). Half types accumulate in float32 and are rounded once.

    Raises:
        TypeError: mixed or non-floating dtypes. ValueError: shapes or options that do not fit together, an
            output_padding that is too large, or an output without pixels.

    >>> import numpy as np
    >>> conv_transpose(np.ones((1, 2, 1)), np.ones((2, 1, 1)), stride=2)[0, :, 0]
    Tensor([1., 1., 1., 1.], dtype=float64)
    """
    name = "conv_transpose"
    x, w, bias = as_tensor(x, name), as_tensor(w, name), None if bias is None else as_tensor(bias, name)
    check_same_float(name, x=x, w=w, bias=bias)
    geo = conv_transpose_geometry(name, x.shape, w.shape, stride, padding, output_padding, dilation, groups,
                                  data_format)
    _check_bias(name, bias, geo.channels)
    if x.shape != geo.y_shape:  # with output_padding >= stride, no tap of x reaches the last pixels
        x = pad(x, [(0, m - n) for n, m in zip(x.shape, geo.y_shape)])
    fused, after = act.split(name, activation)
    return after(dgrad(x, w, bias, geo, fused))


def depthwise_conv(x: Any, w: Any, bias: Any = None, *, stride: Any = 1, padding: Any = "valid", dilation: Any = 1,
                   flip: bool = False, activation: str | None = None, data_format: str = "channels_last") -> Tensor:
    """Convolution of each channel with its own filters.

    y[n, p, c*multiplier + m] = bias[c*multiplier + m]
                                + sum over r of x[n, p*stride + r*dilation - before, c] * w[r, c, m]

    Args:
        x: as in `conv`.
        w: (spatial..., C, multiplier) in both data formats.
        bias: (C * multiplier,).

    Returns:
        (N, out..., C * multiplier) or (N, C * multiplier, out...).

    Raises:
        TypeError and ValueError as `conv`.

    >>> import numpy as np
    >>> depthwise_conv(np.ones((1, 3, 2)), np.ones((2, 2, 1)) * [[3.0], [4.0]])[0].tolist()
    [[6.0, 8.0], [6.0, 8.0]]
    """
    return _depthwise("depthwise_conv", x, w, bias, stride, padding, dilation, flip, activation, data_format)


def _depthwise(name: str, x: Any, w: Any, bias: Any, stride: Any, padding: Any, dilation: Any, flip: bool,
               activation: str | None, data_format: str) -> Tensor:
    x, w = as_tensor(x, name), as_tensor(w, name)
    last = is_channels_last(name, data_format)
    rank = w.ndim - 2
    if rank < 1 or x.ndim != w.ndim:
        raise ValueError(f"{name}: expected x and w of the same 3 to 5 axes, got x={x.shape}, w={w.shape}")
    c, multiplier = w.shape[-2:]
    channels, others = (x.shape[-1], x.shape[1]) if last else (x.shape[1], x.shape[-1])
    if c != channels:
        hint = f"; did you mean data_format={'channels_first' if last else 'channels_last'!r}?" if c == others else ""
        raise ValueError(f"{name}: expected w.shape[{rank}] == C == {channels}, got {c} "
                         f"(x={x.shape}, w={w.shape}){hint}")
    w = reshape(w, (*w.shape[:-2], min(c, 1), c * multiplier))
    if not last:
        w = transpose(w, (rank + 1, rank, *range(rank)))
    return _conv(name, x, w, bias, stride, padding, dilation, max(c, 1), flip, activation, data_format)


def separable_conv(x: Any, depthwise: Any, pointwise: Any, bias: Any = None, *, stride: Any = 1,
                   padding: Any = "valid", dilation: Any = 1, activation: str | None = None,
                   data_format: str = "channels_last") -> Tensor:
    """A depthwise convolution followed by a 1x1 convolution that mixes its channels.

    Args:
        x: as in `conv`.
        depthwise: (spatial..., C, multiplier) in both data formats.
        pointwise: the 1x1 weights as in `conv`: channels_last (1..., C*multiplier, K); channels_first
            (K, C*multiplier, 1...).
        bias: (K,).

    Returns:
        (N, out..., K) or (N, K, out...). In half types the result of the depthwise convolution is rounded as well.

    Raises:
        TypeError and ValueError as `conv`; ValueError for pointwise filters of more than one tap.

    >>> import numpy as np
    >>> separable_conv(np.ones((1, 3, 2)), np.ones((2, 2, 1)), np.ones((1, 2, 1)))[0].tolist()
    [[4.0], [4.0]]
    """
    name = "separable_conv"
    pointwise = as_tensor(pointwise, name)
    taps = pointwise.shape[:-2] if is_channels_last(name, data_format) else pointwise.shape[2:]
    if any(f != 1 for f in taps):
        raise ValueError(f"{name}: expected pointwise filters of one tap per axis, got {taps} "
                         f"(pointwise={pointwise.shape})")
    middle = _depthwise(name, x, depthwise, None, stride, padding, dilation, False, None, data_format)
    return _conv(name, middle, pointwise, bias, 1, "valid", 1, 1, False, activation, data_format)


conv1d, conv2d, conv3d = (of_rank(conv, n) for n in (1, 2, 3))
conv_transpose1d, conv_transpose2d, conv_transpose3d = (of_rank(conv_transpose, n) for n in (1, 2, 3))
depthwise_conv1d, depthwise_conv2d, depthwise_conv3d = (of_rank(depthwise_conv, n) for n in (1, 2, 3))
separable_conv1d, separable_conv2d, separable_conv3d = (of_rank(separable_conv, n) for n in (1, 2, 3))
