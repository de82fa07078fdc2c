"""The geometry of pooling: windows of one size, or windows that lead to a given output size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

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
    split_image_shape,
)


@dataclass(frozen=True)
class PoolGeometry:
    """Sizes and options of one pooling: along each spatial axis, tap i of output o is the pixel start(o) + i*dilation.

    start(o) = o*stride - before, and every output has `window` taps. `adaptive`: output o of `out` covers the pixels
    floor(o*n/out) to ceil((o+1)*n/out) - 1, and `window` is the longest of these; stride and padding mean nothing.
    Taps outside the input are skipped. `count_include_pad`: an average divides by the taps inside the input and its
    padding, not by those inside the input alone.
    """

    batch: int
    channels: int
    size: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    output: tuple[int, ...]
    adaptive: bool
    count_include_pad: bool
    channels_last: bool

    @property
    def rank(self) -> int:
        """The number of spatial axes: 1, 2 or 3."""
        return len(self.size)

    @property
    def is_global(self) -> bool:
        """Whether the one window is the whole image."""
        return self.window == self.size and math.prod(self.output) == 1 and not any(map(any, self.padding))

    @cached_property
    def x_shape(self) -> tuple[int, ...]:
        """The shape of the input."""
        return image_shape(self.batch, self.size, self.channels, self.channels_last)

    @cached_property
    def y_shape(self) -> tuple[int, ...]:
        """The shape of the output."""
        return image_shape(self.batch, self.output, self.channels, self.channels_last)

    @cached_property
    def offset_dtype(self) -> str:
        """The smallest of uint8, uint16 and int32 that holds the offset of a tap inside its window."""
        taps = math.prod(self.window)
        return "uint8" if taps <= 2**8 else "uint16" if taps <= 2**16 else "int32"

    def start(self, axis: int, o: Any) -> Any:
        """The pixel of tap 0 of output o (an integer or an array of them); negative in the padding."""
        if self.adaptive:
            return o * self.size[axis] // self.output[axis]
        return o * self.stride[axis] - self.padding[axis][0]

    def length(self, axis: int, o: Any) -> Any:
        """The number of taps of output o (an integer or an array of integers), including skipped ones."""
        if self.adaptive:
            return -(-(o + 1) * self.size[axis] // self.output[axis]) - self.start(axis, o)
        return self.window[axis]

    def taps_inside(self, axis: int) -> np.ndarray:
        """The number of pixels that each output's window covers along an axis, without dilation."""
        o = np.arange(self.output[axis])
        end = np.minimum(self.start(axis, o) + self.length(axis, o), self.size[axis])
        return end - np.maximum(self.start(axis, o), 0)


def pool_geometry(op: str, x_shape: tuple[int, ...], size: Any, stride: Any, padding: Any, dilation: Any,
                  ceil_mode: bool, count_include_pad: bool, data_format: str) -> PoolGeometry:
    """The geometry of a pooling of x, with every rule checked."""
    is_channels_last(op, data_format)
    return _pool_geometry(op, x_shape, frozen(op, "size", size), frozen(op, "stride", stride),
                          frozen(op, "padding", padding), frozen(op, "dilation", dilation), ceil_mode,
                          count_include_pad, data_format)


@lru_cache(maxsize=4096)
def _pool_geometry(op: str, x_shape: tuple[int, ...], size: Any, stride: Any, padding: Any, dilation: Any,
                   ceil_mode: bool, count_include_pad: bool, data_format: str) -> PoolGeometry:
    last = is_channels_last(op, data_format)
    n, channels, spatial = split_image_shape(op, x_shape, last)
    rank = len(spatial)
    window = per_axis(op, "size", size, rank)
    strides = window if stride is None else per_axis(op, "stride", stride, rank)
    dilations = per_axis(op, "dilation", dilation, rank)
    pads = padding_pairs(op, padding, spatial, window, strides, dilations)
    spans = tuple(map(extent, window, dilations))
    other = x_shape[2:] if last else x_shape[1:-1]
    hint = (f"; did you mean data_format={DATA_FORMATS[last]!r}?"
            if all(span <= m + a + b for span, m, (a, b) in zip(spans, other, pads)) else "")
    check_fits(op, spatial, window, dilations, pads, f"(x={x_shape})", "window", hint)
    output = tuple(map(_pool_output_size, spatial, window, strides, dilations, pads, (ceil_mode,) * rank))
    for axis in range(rank):
        if _some_window_is_empty(spatial[axis], window[axis], strides[axis], dilations[axis], pads[axis][0],
                                 output[axis]):
            raise ValueError(f"{op}: expected every window to cover a pixel, got one wholly in padding along spatial "
                             f"axis {axis} (x={x_shape}, size={window}, stride={strides}, padding={pads}, "
                             f"dilation={dilations})")
    return PoolGeometry(n, channels, spatial, window, strides, pads, dilations, output, False, count_include_pad, last)


def _pool_output_size(n: int, f: int, stride: int, dilation: int, pad: tuple[int, int], ceil_mode: bool) -> int:
    """output_size, plus one window with ceil_mode if pixels are left over and it starts before the end of the input."""
    out = output_size(n, f, stride, dilation, pad)
    left_over = (n + sum(pad) - extent(f, dilation)) % stride
    return out + 1 if ceil_mode and left_over and out * stride < n + pad[0] else out


def _some_window_is_empty(n: int, f: int, stride: int, dilation: int, before: int, out: int) -> bool:
    """Whether some window of an axis covers no pixel: it ends before the first pixel, starts after the last one, or its
    taps step over an input that is shorter than the dilation.
    """
    if before > dilation * (f - 1) or (out - 1) * stride - before >= n:
        return True
    # the number of windows that start before pixel 0; the first pixel that each reads is periodic
    in_padding = -(-before // stride)
    return n < dilation and any((o * stride - before) % dilation >= n for o in range(min(in_padding, dilation)))


def adaptive_pool_geometry(op: str, x_shape: tuple[int, ...], output: Any, data_format: str) -> PoolGeometry:
    """The geometry of a pooling to a given output size (None: that of the input).

    It is an ordinary pooling where the output divides the input.
    """
    is_channels_last(op, data_format)
    if output is None or (isinstance(output, (tuple, list)) and None in output):
        spatial = split_image_shape(op, x_shape, is_channels_last(op, data_format))[2]
        given = [None] * len(spatial) if output is None else list(output)
        output = [n if o is None else o for o, n in zip(given, spatial)] + given[len(spatial):]
    return _adaptive_pool_geometry(op, x_shape, frozen(op, "output_size", output), data_format)


@lru_cache(maxsize=4096)
def _adaptive_pool_geometry(op: str, x_shape: tuple[int, ...], output: Any, data_format: str) -> PoolGeometry:
    last = is_channels_last(op, data_format)
    n, channels, spatial = split_image_shape(op, x_shape, last)
    rank = len(spatial)
    outs = per_axis(op, "output_size", output, rank)
    if 0 in spatial:
        raise ValueError(f"{op}: expected at least one pixel along every spatial axis, got x={x_shape}")
    uneven = any(m % out for m, out in zip(spatial, outs))
    window = tuple(map(_longest_adaptive_window, spatial, outs))
    ones, none = (1,) * rank, ((0, 0),) * rank
    return PoolGeometry(n, channels, spatial, window, ones if uneven else window, none, ones, outs, uneven, False, last)


def _longest_adaptive_window(n: int, out: int) -> int:
    """The largest ceil((o+1)*n/out) - floor(o*n/out): floor(n/out), plus up to 2 pixels.

    >>> _longest_adaptive_window(8, 3), _longest_adaptive_window(7, 3), _longest_adaptive_window(6, 3)
    (4, 3, 2)
    """
    whole, rest = divmod(n, out)
    return whole + (0 if not rest else 1 if rest == math.gcd(n, out) else 2)
