"""The rules that convolution and pooling share: output size, padding, and the values that an option may have."""

from __future__ import annotations

import operator
from typing import Any

DATA_FORMATS = ("channels_last", "channels_first")
Pairs = tuple[tuple[int, int], ...]


def extent(f: int, dilation: int) -> int:
    """The pixels that a filter of f taps spans: dilation * (f - 1) + 1."""
    return dilation * (f - 1) + 1


def output_size(n: int, f: int, stride: int, dilation: int, pad: tuple[int, int]) -> int:
    """The formula of the output size, used everywhere: floor((n + before + after - extent) / stride) + 1, at least 0.

    >>> output_size(227, 11, 4, 1, (0, 0))
    55
    """
    return max((n + pad[0] + pad[1] - extent(f, dilation)) // stride + 1, 0)


def frozen(op: str, name: str, option: Any) -> Any:
    """An option of strings and integers in a form that can be a cache key: lists as tuples, integers as int.

    Other types raise an error here: 1.0 equals 1 and would find the cache entry of 1.
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
    """Whether the format is channels_last; an error unless it is one of the two formats."""
    if data_format not in DATA_FORMATS:
        raise ValueError(f"{op}: expected data_format 'channels_last' or 'channels_first', got {data_format!r}")
    return data_format == "channels_last"


def positive(op: str, name: str, value: Any, least: int = 1) -> int:
    """An integer option, which must be at least `least`."""
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
    """Padding as ((before, after), ...), from "valid", "same", "full", an int, one int per axis or one pair per axis.
    """
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


class DoesNotFit(ValueError):
    """The error for a filter or window that is larger than its padded input."""


def check_fits(op: str, size: tuple[int, ...], kernel: tuple[int, ...], dilation: tuple[int, ...], padding: Pairs,
               where: str, what: str = "filter", hint: str = "") -> None:
    """Raise where a filter or window is larger than its padded input."""
    spans = tuple(map(extent, kernel, dilation))
    padded = tuple(n + a + b for n, (a, b) in zip(size, padding))
    if any(span > n for span, n in zip(spans, padded)):
        raise DoesNotFit(f"{op}: the {what} spans {spans} pixels, larger than the padded input {padded} {where}; "
                         f"use a larger input, a smaller network, or padding='same'{hint}")


def split_image_shape(op: str, x_shape: tuple[int, ...], channels_last: bool) -> tuple[int, int, tuple[int, ...]]:
    """(batch, channels, spatial sizes) of a batch of images."""
    if not 3 <= len(x_shape) <= 5:
        raise ValueError(f"{op}: expected x of 3 to 5 axes (batch, 1 to 3 spatial, channels), got shape {x_shape}")
    if channels_last:
        return x_shape[0], x_shape[-1], x_shape[1:-1]
    return x_shape[0], x_shape[1], x_shape[2:]


def image_shape(batch: int, size: tuple[int, ...], channels: int, channels_last: bool) -> tuple[int, ...]:
    """The shape of a batch of images."""
    return (batch, *size, channels) if channels_last else (batch, channels, *size)
