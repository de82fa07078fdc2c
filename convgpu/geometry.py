"""The geometry of convolution and pooling: one value that holds all sizes, checked once, for 1-D to 3-D.

Output size per axis: floor((n + before + after - (d*(f-1) + 1)) / s) + 1, for an input of n, filter of f, stride s,
dilation d and padding (before, after). "same" is ceil(n / s), the odd pixel of padding at the end.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

DATA_FORMATS = ("channels_last", "channels_first")
Pairs = tuple[tuple[int, int], ...]


def extent(f: int, dilation: int) -> int:
    """The pixels that a filter of f taps spans: dilation * (f - 1) + 1."""
    return dilation * (f - 1) + 1


def output_size(n: int, f: int, stride: int, dilation: int, pad: tuple[int, int]) -> int:
    """The one output-size formula: floor((n + before + after - extent) / stride) + 1, at least 0.

    >>> output_size(227, 11, 4, 1, (0, 0))
    55
    """
    return max((n + pad[0] + pad[1] - extent(f, dilation)) // stride + 1, 0)


@dataclass(frozen=True)
class ConvGeometry:
    """Sizes and options of one convolution y = conv(x, w), shared by fprop, dgrad and wgrad.

    Spatial tuples have one entry per axis (D, H, W; the last ones in 1-D and 2-D). `channels_last`: x is
    (N, spatial..., C), w (spatial..., C/groups, K), y (N, spatial..., K); otherwise x is (N, C, spatial...),
    w (K, C/groups, spatial...), y (N, K, spatial...).
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
        return _image_shape(self.batch, self.size, self.channels, self.channels_last)

    @cached_property
    def w_shape(self) -> tuple[int, ...]:
        """The shape of the filters."""
        c = self.channels // self.groups
        return (*self.kernel, c, self.filters) if self.channels_last else (self.filters, c, *self.kernel)

    @cached_property
    def y_shape(self) -> tuple[int, ...]:
        """The shape of the output."""
        return _image_shape(self.batch, self.output, self.filters, self.channels_last)

    @cached_property
    def macs(self) -> int:
        """Multiply-adds of each direction, padding taps counted."""
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
    _check_ranks(op, x_shape, w_shape)
    where = f"(x={x_shape}, w={w_shape})"
    channels, size = (x_shape[-1], x_shape[1:-1]) if last else (x_shape[1], x_shape[2:])
    kernel, w_channels, filters = ((w_shape[:-2], w_shape[-2], w_shape[-1]) if last
                                   else (w_shape[2:], w_shape[1], w_shape[0]))
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
    if padding != "same":  # whose output is ceil(n / s) whatever the filter, even for n = 0
        check_fits(op, size, kernel, dilations, pads, where)
    return ConvGeometry(x_shape[0], channels, filters, size, kernel, strides, pads, dilations, groups, last)


def conv_transpose_geometry(op: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...], stride: Any, padding: Any,
                            output_padding: Any, dilation: Any, groups: int, data_format: str) -> ConvGeometry:
    """The geometry of the convolution whose input gradient conv_transpose(x, w) is: its y is our x.

    Output size per axis: (n - 1) * s - before - after + d*(f-1) + 1 + output_padding; "same" gives n * s.
    An output_padding of a stride or more (below a larger dilation) leaves pixels at the end that no tap of x reaches:
    there the y of that convolution is longer than x.
    """
    return _checked(_conv_transpose_geometry, op, x_shape, w_shape, frozen(op, "stride", stride),
                    frozen(op, "padding", padding), frozen(op, "output_padding", output_padding),
                    frozen(op, "dilation", dilation), frozen(op, "groups", groups), data_format)


@lru_cache(maxsize=4096)
def _conv_transpose_geometry(op: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...], stride: Any, padding: Any,
                             output_padding: Any, dilation: Any, groups: int, data_format: str) -> ConvGeometry:
    last = is_channels_last(op, data_format)
    _check_ranks(op, x_shape, w_shape)
    where = f"(x={x_shape}, w={w_shape})"
    filters, size = (x_shape[-1], x_shape[1:-1]) if last else (x_shape[1], x_shape[2:])
    kernel, w_filters, out = (w_shape[:-2], w_shape[-1], w_shape[-2]) if last else (w_shape[2:], w_shape[0], w_shape[1])
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
        # what output_padding adds it first takes from the padding after: the same output, seen from the same pixels
        pads = tuple((a, max(b - e, 0)) for (a, b), e in zip(pads, extra))
    return ConvGeometry(x_shape[0], out * groups, filters, outs, kernel, strides, pads, dilations, groups, last)


def _check_ranks(op: str, x_shape: tuple[int, ...], w_shape: tuple[int, ...]) -> None:
    if not 3 <= len(x_shape) <= 5:
        raise ValueError(f"{op}: expected x of 3 to 5 axes (batch, 1 to 3 spatial, channels), got shape {x_shape}")
    if len(w_shape) != len(x_shape):
        raise ValueError(f"{op}: expected w of {len(x_shape)} axes like x, got shapes (x={x_shape}, w={w_shape})")


def _steps_of(op: str, kernel: tuple[int, ...], stride: Any, dilation: Any,
              where: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Stride and dilation per axis, of a filter that has taps."""
    if 0 in kernel:
        raise ValueError(f"{op}: expected a filter of at least one tap per axis, got {kernel} {where}")
    return per_axis(op, "stride", stride, len(kernel)), per_axis(op, "dilation", dilation, len(kernel))


def _checked(geometry: Callable[..., ConvGeometry], *arguments: Any) -> ConvGeometry:
    """The geometry; the error of shapes that would fit in the other data format says so."""
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
        return _image_shape(self.batch, self.size, self.channels, self.channels_last)

    @cached_property
    def y_shape(self) -> tuple[int, ...]:
        """The shape of the output."""
        return _image_shape(self.batch, self.output, self.channels, self.channels_last)

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
        """The number of taps of output o (an integer or an array of them), skipped ones counted."""
        if self.adaptive:
            return -(-(o + 1) * self.size[axis] // self.output[axis]) - self.start(axis, o)
        return self.window[axis]


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
    last, n, channels, spatial = _pool_input(op, x_shape, data_format)
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
    """output_size; with ceil_mode, one more if pixels are left over and it starts before the end of the input."""
    out = output_size(n, f, stride, dilation, pad)
    left_over = (n + sum(pad) - extent(f, dilation)) % stride
    return out + 1 if ceil_mode and left_over and out * stride < n + pad[0] else out


def _some_window_is_empty(n: int, f: int, stride: int, dilation: int, before: int, out: int) -> bool:
    """Whether some window of an axis covers no pixel: it ends before the first, starts after the last, or its taps
    step over an input shorter than the dilation."""
    if before > dilation * (f - 1) or (out - 1) * stride - before >= n:
        return True
    in_padding = -(-before // stride)  # so many windows start before pixel 0; the first that each meets is periodic
    return n < dilation and any((o * stride - before) % dilation >= n for o in range(min(in_padding, dilation)))


def adaptive_pool_geometry(op: str, x_shape: tuple[int, ...], output: Any, data_format: str) -> PoolGeometry:
    """The geometry of a pooling to a given output size: an ordinary one where the output divides the input."""
    is_channels_last(op, data_format)
    return _adaptive_pool_geometry(op, x_shape, frozen(op, "output_size", output), data_format)


@lru_cache(maxsize=4096)
def _adaptive_pool_geometry(op: str, x_shape: tuple[int, ...], output: Any, data_format: str) -> PoolGeometry:
    last, n, channels, spatial = _pool_input(op, x_shape, data_format)
    rank = len(spatial)
    outs = per_axis(op, "output_size", output, rank)
    if 0 in spatial:
        raise ValueError(f"{op}: expected at least one pixel along every spatial axis, got x={x_shape}")
    uneven = any(m % out for m, out in zip(spatial, outs))
    window = tuple(map(_longest_adaptive_window, spatial, outs))
    ones, none = (1,) * rank, ((0, 0),) * rank
    return PoolGeometry(n, channels, spatial, window, ones if uneven else window, none, ones, outs, uneven, False, last)


def _longest_adaptive_window(n: int, out: int) -> int:
    """The largest ceil((o+1)*n/out) - floor(o*n/out): floor(n/out), plus a pixel that is begun at one end, or at both.

    >>> _longest_adaptive_window(8, 3), _longest_adaptive_window(7, 3), _longest_adaptive_window(6, 3)
    (4, 3, 2)
    """
    whole, rest = divmod(n, out)
    return whole + (0 if not rest else 1 if rest == math.gcd(n, out) else 2)


def _pool_input(op: str, x_shape: tuple[int, ...], data_format: str) -> tuple[bool, int, int, tuple[int, ...]]:
    last = is_channels_last(op, data_format)
    if not 3 <= len(x_shape) <= 5:
        raise ValueError(f"{op}: expected x of 3 to 5 axes (batch, 1 to 3 spatial, channels), got shape {x_shape}")
    channels, spatial = (x_shape[-1], x_shape[1:-1]) if last else (x_shape[1], x_shape[2:])
    return last, x_shape[0], channels, spatial


# --- the rules that both share


def frozen(op: str, name: str, option: Any) -> Any:
    """An option of strings and integers in a form that a cache can be keyed by: lists as tuples, integers as int.

    Anything else is refused here: 1.0 equals 1 and would find the entry of 1.
    """
    if option is None or type(option) in (int, str):
        return option
    if isinstance(option, (list, tuple)):
        return tuple([frozen(op, name, o) for o in option])
    try:
        return int(operator.index(option))
    except TypeError:
        raise TypeError(f"{op}: expected {name} to be an integer or a sequence of them, got {option!r}") from None


def is_channels_last(op: str, data_format: str) -> bool:
    """Whether the format is channels_last; an error for anything but the two formats."""
    if data_format not in DATA_FORMATS:
        raise ValueError(f"{op}: expected data_format 'channels_last' or 'channels_first', got {data_format!r}")
    return data_format == "channels_last"


def positive(op: str, name: str, value: Any, least: int = 1) -> int:
    """An integer option of at least `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{op}: expected {name} to be an integer, got {value!r}") from None
    if number < least:
        raise ValueError(f"{op}: expected {name} >= {least}, got {value}")
    return number


def per_axis(op: str, name: str, value: Any, rank: int, least: int = 1) -> tuple[int, ...]:
    """An option as one integer per spatial axis."""
    if not isinstance(value, (tuple, list)):
        return (positive(op, name, value, least),) * rank
    if len(value) != rank:
        raise ValueError(f"{op}: expected {name} to be an integer or {rank} of them, one per spatial axis, got {value}")
    return tuple(positive(op, name, v, least) for v in value)


def padding_pairs(op: str, padding: Any, size: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...],
                  dilation: tuple[int, ...]) -> Pairs:
    """Padding as ((before, after), ...): "valid" | "same" | "full" | int | one int per axis | one pair per axis."""
    rank = len(size)
    if isinstance(padding, str):
        if padding == "valid":
            return ((0, 0),) * rank
        if padding == "full":
            return tuple((extent(f, d) - 1,) * 2 for f, d in zip(kernel, dilation))
        if padding == "same":
            totals = [max((-(-n // s) - 1) * s + extent(f, d) - n, 0)
                      for n, f, s, d in zip(size, kernel, stride, dilation)]
            return tuple((t // 2, t - t // 2) for t in totals)
        raise ValueError(f"{op}: expected padding 'valid', 'same', 'full', or numbers, got {padding!r}")
    if not isinstance(padding, (tuple, list)):
        padding = (padding,) * rank
    if len(padding) != rank:
        raise ValueError(f"{op}: expected padding to be an integer, or for each of {rank} spatial axes an integer or a "
                         f"(before, after) pair, got {padding}")
    pairs = []
    for p in padding:
        pair = tuple(p) if isinstance(p, (tuple, list)) else (p, p)
        if len(pair) != 2:
            raise ValueError(f"{op}: expected padding pairs (before, after), got {p}")
        pairs.append((positive(op, "padding", pair[0], 0), positive(op, "padding", pair[1], 0)))
    return tuple(pairs)


def check_fits(op: str, size: tuple[int, ...], kernel: tuple[int, ...], dilation: tuple[int, ...], padding: Pairs,
               where: str, what: str = "filter", hint: str = "") -> None:
    """Raise where a filter or window is larger than its padded input."""
    spans = tuple(map(extent, kernel, dilation))
    padded = tuple(n + a + b for n, (a, b) in zip(size, padding))
    if any(span > n for span, n in zip(spans, padded)):
        raise ValueError(f"{op}: the {what} spans {spans} pixels, larger than the padded input {padded} {where}; "
                         f"use a larger input, a smaller network, or padding='same'{hint}")


def _image_shape(batch: int, size: tuple[int, ...], channels: int, last: bool) -> tuple[int, ...]:
    return (batch, *size, channels) if last else (batch, channels, *size)
