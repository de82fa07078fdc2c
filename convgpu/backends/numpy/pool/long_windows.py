"""Pooling by windows of many taps, in log2(taps) passes over the pixels and without a table of taps.

Level k holds, for every pixel, the largest (or the sum) of the 2^k taps that begin there. Each entry of the next level
is computed from two entries of this one. The largest of a window of f taps is the larger of two overlapping runs of 2^k
taps, at its start and at its end. The sum of a window is the sum of the runs whose lengths are the binary digits of f.
So nothing is subtracted, and sums are added in pairs. Axes are reduced one after the other, from the last to the first,
in blocks that stay small.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ....dtypes import accumulator
from ....geometry import PoolGeometry
from ..kept import kept
from ..workers import parallel_for

BLOCK = 2**18  # pixels of a block
LONG = 1024  # taps from which a window counts as long, whatever its stride
TABLE = 1 << 20  # entries from which a table of taps and outputs counts as too large


class Spans(NamedTuple):
    """For each output along an axis: its first pixel, its number of pixels, and its taps in padding before that pixel.
    """

    first: np.ndarray
    taps: np.ndarray
    skipped: np.ndarray
    dilation: int


@kept
def spans(geo: PoolGeometry, axis: int) -> Spans:
    """The pixels of x in each window."""
    o, n, d = np.arange(geo.output[axis]), geo.size[axis], geo.dilation[axis]
    start, length = geo.start(axis, o), geo.length(axis, o)
    skipped = np.maximum(-(start // d), 0)  # the taps at negative pixels
    count = np.minimum((n - 1 - start) // d + 1, length) - skipped
    return Spans(_narrow(start + skipped * d, n), _narrow(count, n), _narrow(skipped, n), d)


def _narrow(places: np.ndarray, size: int) -> np.ndarray:
    """Places along an axis of that size, as int32 where that suffices."""
    return places.astype(np.int32) if size < 2**30 else places


@kept
def covering(geo: PoolGeometry, axis: int) -> Spans:
    """The outputs whose windows cover each pixel of x at dilation 1; the count is 0 where no window covers it."""
    windows = spans(geo, axis)
    pixels = np.arange(geo.size[axis])
    first = np.searchsorted(windows.first + windows.taps, pixels, side="right")
    count = np.maximum(np.searchsorted(windows.first, pixels, side="right") - first, 0)
    n = geo.output[axis]
    return Spans(_narrow(np.where(count, first, 0), n), _narrow(count, n), np.zeros(1, np.int32), 1)


@kept
def is_long(geo: PoolGeometry) -> bool:
    """Whether, along some axis, levels need clearly fewer steps than taps do, or much less memory."""
    return any(f > LONG or f * out > 4 * n * (f.bit_length() + 2) or f * out > max(TABLE, 2 * n)
               for f, out, n in zip(geo.window, geo.output, geo.size))


def max_pool(images: np.ndarray, geo: PoolGeometry, y: np.ndarray, offsets: np.ndarray | None) -> None:
    """The largest pixel of every window, and its offset in the window where `offsets` is given."""
    v, codes, unit = images, None, 1
    for a in reversed(range(geo.rank)):
        rows, elements = math.prod(images.shape[:a + 1]), math.prod(v.shape[a + 2:])
        v, codes = _max_along(v.reshape(rows, geo.size[a], elements), codes, spans(geo, a), unit, offsets is not None)
        v = v.reshape(*images.shape[:a + 1], geo.output[a], *geo.output[a + 1:], images.shape[-1])
        unit *= geo.window[a]
    y[...] = v.reshape(y.shape)
    if offsets is not None and codes is not None:
        offsets[...] = codes.reshape(offsets.shape)


def _max_along(v: np.ndarray, codes: np.ndarray | None, windows: Spans, unit: int,
               with_codes: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """The largest pixel of each window of (rows, pixels, elements), with its code: tap * unit + the code before."""
    shape = len(v), len(windows.first), v.shape[2]
    y, out_codes = np.empty(shape, v.dtype), np.empty(shape, np.int32) if with_codes else None
    before = None if codes is None else codes.reshape(v.shape)

    def block(at: Any) -> None:
        part = v[at].astype(accumulator(v.dtype), copy=False)
        largest, pixel = _max_block(part, windows, with_codes, np.greater)
        y[at] = largest
        if out_codes is None or pixel is None:
            return
        if (largest != largest).any():
            pixel = _max_block(part, windows, True, _greater_or_first_nan)[1]
        assert pixel is not None
        tap = (pixel - windows.first[:, None]) // windows.dilation + windows.skipped[:, None]
        out_codes[at] = tap * unit + (0 if before is None else np.take_along_axis(before[at], pixel, 1))

    _in_blocks(v.shape, block)
    return y, out_codes


def _greater_or_first_nan(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return ~(a <= b) & (b == b)


def _max_block(v: np.ndarray, windows: Spans, with_pixels: bool,
               wins: Callable[..., np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """The largest pixel of each window and its place; among equals it is the first."""
    shape = len(v), len(windows.first), v.shape[2]
    y, places = np.empty(shape, v.dtype), np.empty(shape, np.int32) if with_pixels else None
    pixel = np.broadcast_to(np.arange(v.shape[1], dtype=np.int32)[:, None], v.shape) if with_pixels else None
    levels = np.frexp(windows.taps)[1] - 1
    for k in range(int(levels.max()) + 1):
        if k:
            shift = windows.dilation << (k - 1)
            v, pixel = _larger(v[:, :-shift], v[:, shift:], None if pixel is None else (pixel[:, :-shift],
                                                                                        pixel[:, shift:]), wins)
        at = np.flatnonzero(levels == k)
        if at.size:
            ends = windows.first[at], windows.first[at] + (windows.taps[at] - (1 << k)) * windows.dilation
            y[:, at], place = _larger(v.take(ends[0], 1), v.take(ends[1], 1),
                                      None if pixel is None else [pixel.take(i, 1) for i in ends], wins)
            if places is not None and place is not None:
                places[:, at] = place
    return y, places


def _larger(left: np.ndarray, right: np.ndarray, pixels: Any,
            wins: Callable[..., np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """The larger of two values, and its pixel; the left one where both are equal."""
    place = None if pixels is None else np.where(wins(right, left), pixels[1], pixels[0])
    return np.maximum(left, right), place


def sums(images: np.ndarray, axes: list[Spans], dtype: np.dtype) -> np.ndarray:
    """The sum of every window, in `dtype`."""
    v, lead = images, images.shape[:-1]
    for a in reversed(range(len(axes))):
        v = v.reshape(math.prod(lead[:a + 1]), lead[a + 1], -1)
        v = _sum_along(v, axes[a], dtype)
    return v.reshape(lead[0], *[len(a.first) for a in axes], images.shape[-1])


def _sum_along(v: np.ndarray, windows: Spans, dtype: np.dtype) -> np.ndarray:
    y = np.zeros((len(v), len(windows.first), v.shape[2]), dtype)

    def block(at: Any) -> None:
        level, out, place = v[at].astype(dtype, copy=False), y[at], windows.first.copy()
        with np.errstate(over="ignore", invalid="ignore"):  # overflows may only be in runs that no window uses
            for k in range(int(windows.taps.max()).bit_length()):
                if k:
                    level = level[:, :-(1 << (k - 1))] + level[:, 1 << (k - 1):]
                some = np.flatnonzero(windows.taps >> k & 1)
                if some.size:
                    out[:, some] += level.take(place[some], 1)
                    place[some] += 1 << k

    _in_blocks(v.shape, block)
    return y


def _in_blocks(shape: tuple[int, ...], body: Callable[[Any], None]) -> None:
    """Call body(index of rows and elements) in parallel, for blocks that contain all pixels of an axis."""
    rows, pixels, elements = shape
    width = max(min(BLOCK // max(pixels, 1), elements), 1)
    height = max(min(BLOCK // max(pixels * width, 1), rows), 1)
    starts = [(r, e) for r in range(0, rows, height) for e in range(0, elements, width)]
    parallel_for(len(starts), lambda i: body((slice(starts[i][0], starts[i][0] + height), slice(None),
                                              slice(starts[i][1], starts[i][1] + width))))
