"""The geometry of convolution, shared by its three directions and by transposed convolution."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from .options import (
    DATA_FORMATS,
    Pairs,
    check_fits,
    extent,
    frozen,
    image_shape,
    is_channels_last,
    output_size,
    padding_pairs,
    per_axis,
    positive,
    split_image_shape,
)


@dataclass(frozen=True)
class ConvGeometry:
    """Sizes and options of one convolution y = conv(x, w), shared by fprop, dgrad and wgrad.

    Spatial tuples have one entry per axis: (D, H, W) in 3-D, (H, W) in 2-D, (W,) in 1-D. With `channels_last`, x is (N,
    spatial..., C), w (spatial..., C/groups, K), y (N, spatial..., K); otherwise x is (N, C, spatial...), w (K,
    C/groups, spatial...), y (N, K, spatial...).
    """

    batch: int
    channels: int
    filters: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    groups: int
    channels_last: bool

    @property
    def rank(self) -> int:
        """The number of spatial axes: 1, 2 or 3."""
        return len(self.size)

    @cached_property
    def output(self) -> tuple[int, ...]:
        """The spatial size of y."""
        return tuple(map(output_size, self.size, self.kernel, self.stride, self.dilation, self.padding))

    @cached_property
    def x_shape(self) -> tuple[int, ...]:
        """The shape of the input."""
        return image_shape(self.batch, self.size, self.channels, self.channels_last)

    @cached_property
    def w_shape(self) -> tuple[int, ...]:
        """The shape of the filters."""
        c = self.channels // self.groups
        return (*self.kernel, c, self.filters) if self.channels_last else (self.filters, c, *self.kernel)

    @cached_property
    def y_shape(self) -> tuple[int, ...]:
        """The shape of the output."""
        return image_shape(self.batch, self.output, self.filters, self.channels_last)

    @property
    def takes_addend(self) -> bool:
        """Whether the kernels of dgrad add an array of the shape of gx, in the place of a bias."""
        return self.channels_last

    @cached_property
    def macs(self) -> int:
        """Multiply-adds of each direction, including taps in the padding."""
        taps = math.prod(self.kernel) * (self.channels // self.groups)
        return self.batch * math.prod(self.output) * self.filters * taps


def conv_geometry(op: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...], stride: Any, padding: Any, dilation: Any,
                  groups: int, data_format: str) -> ConvGeometry:
    """The geometry of conv(x, w), with every rule checked."""
    return _checked(_conv_geometry, op, x_shape, w_shape, frozen(op, "stride", stride), frozen(op, "padding", padding),
                    frozen(op, "dilation", dilation), frozen(op, "groups", groups), data_format)


@lru_cache(maxsize=4096)
def _conv_geometry(op: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...], stride: Any, padding: Any,
                   dilation: Any, groups: int, data_format: str) -> ConvGeometry:
    last = is_channels_last(op, data_format)
    batch, channels, size = split_image_shape(op, x_shape, last)
    kernel, w_channels, filters = _split_filter_shape(op, w_shape, x_shape, last)
    where = f"(x={x_shape}, w={w_shape})"
    groups = positive(op, "groups", groups)
    if channels % groups or filters % groups:
        raise ValueError(f"{op}: expected groups to divide C and K, got groups={groups}, C={channels}, K={filters} "
                         f"{where}")
    if w_channels != channels // groups:
        axis = len(w_shape) - 2 if last else 1
        raise ValueError(f"{op}: expected w.shape[{axis}] == C/groups == {channels // groups}, got {w_channels} "
                         f"(x={x_shape}, w={w_shape}, groups={groups})")
    strides, dilations = _steps_of(op, kernel, stride, dilation, where)
    pads = padding_pairs(op, padding, size, kernel, strides, dilations)
    if padding != "same":  # the output of "same" is ceil(n / s) whatever the filter, even for n = 0
        check_fits(op, size, kernel, dilations, pads, where)
    return ConvGeometry(batch, channels, filters, size, kernel, strides, pads, dilations, groups, last)


def conv_transpose_geometry(op: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...], stride: Any, padding: Any,
                            output_padding: Any, dilation: Any, groups: int, data_format: str) -> ConvGeometry:
    """The geometry of the convolution whose input gradient is conv_transpose(x, w); its y has the shape of this x.

    The output size per axis is (n - 1) * s - before - after + d*(f-1) + 1 + output_padding; "same" gives n * s. An
    output_padding of a stride or more (below a larger dilation) leaves pixels at the end that no tap of x reaches; the
    y of the returned geometry is then longer than x.
    """
    return _checked(_conv_transpose_geometry, op, x_shape, w_shape, frozen(op, "stride", stride),
                    frozen(op, "padding", padding), frozen(op, "output_padding", output_padding),
                    frozen(op, "dilation", dilation), frozen(op, "groups", groups), data_format)


@lru_cache(maxsize=4096)
def _conv_transpose_geometry(op: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...], stride: Any, padding: Any,
                             output_padding: Any, dilation: Any, groups: int, data_format: str) -> ConvGeometry:
    last = is_channels_last(op, data_format)
    batch, filters, size = split_image_shape(op, x_shape, last)
    kernel, channels, w_filters = _split_filter_shape(op, w_shape, x_shape, last)
    where = f"(x={x_shape}, w={w_shape})"
    groups = positive(op, "groups", groups)
    if w_filters != filters:
        axis = len(w_shape) - 1 if last else 0
        raise ValueError(f"{op}: expected w.shape[{axis}] == C of x == {filters}, got {w_filters} {where}")
    if filters % groups:
        raise ValueError(f"{op}: expected groups to divide C of x, got groups={groups}, C={filters} {where}")
    strides, dilations = _steps_of(op, kernel, stride, dilation, where)
    if padding == "same":
        if output_padding is not None:
            raise ValueError(f"{op}: expected no output_padding with padding='same', whose output is n * stride, "
                             f"got output_padding={output_padding}")
        outs = tuple(n * s for n, s in zip(size, strides))
        pads = padding_pairs(op, "same", outs, kernel, strides, dilations)
    else:
        pads = padding_pairs(op, padding, size, kernel, strides, dilations)
        extra = per_axis(op, "output_padding", 0 if output_padding is None else output_padding, len(size), least=0)
        if any(e >= max(s, d) for e, s, d in zip(extra, strides, dilations)):
            raise ValueError(f"{op}: expected output_padding < max(stride, dilation), got output_padding={extra}, "
                             f"stride={strides}, dilation={dilations}")
        outs = tuple((n - 1) * s - a - b + extent(f, d) + e
                     for n, s, (a, b), f, d, e in zip(size, strides, pads, kernel, dilations, extra))
        if 0 in size or min(outs) < 1:
            raise ValueError(f"{op}: expected x and the output to have at least one pixel per axis, got {size} and "
                             f"{outs} from padding={pads} {where}")
        # output_padding is taken from the padding after, as far as it goes, with the same pixels and output
        pads = tuple((a, max(b - e, 0)) for (a, b), e in zip(pads, extra))
    return ConvGeometry(batch, channels * groups, filters, outs, kernel, strides, pads, dilations, groups, last)


def _split_filter_shape(op: str, w_shape: tuple[int, ...], x_shape: tuple[int, ...],
                        channels_last: bool) -> tuple[tuple[int, ...], int, int]:
    """The parts (kernel, C/groups, K) of a filter shape."""
    if len(w_shape) != len(x_shape):
        raise ValueError(f"{op}: expected w of {len(x_shape)} axes like x, got shapes (x={x_shape}, w={w_shape})")
    return (w_shape[:-2], w_shape[-2], w_shape[-1]) if channels_last else (w_shape[2:], w_shape[1], w_shape[0])


def _steps_of(op: str, kernel: tuple[int, ...], stride: Any, dilation: Any,
              where: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Stride and dilation along each axis; an error for a filter without taps."""
    if 0 in kernel:
        raise ValueError(f"{op}: expected a filter of at least one tap per axis, got {kernel} {where}")
    return per_axis(op, "stride", stride, len(kernel)), per_axis(op, "dilation", dilation, len(kernel))


def _checked(geometry: Callable[..., ConvGeometry], *arguments: Any) -> ConvGeometry:
    """The geometry; if the shapes would fit in the other data format, the error message says so."""
    last = is_channels_last(arguments[0], arguments[-1])
    try:
        return geometry(*arguments)
    except ValueError as error:
        other = DATA_FORMATS[last]
        try:
            geometry(*arguments[:-1], other)
        except ValueError:
            raise error from None
        raise ValueError(f"{error}; did you mean data_format={other!r}?") from None
