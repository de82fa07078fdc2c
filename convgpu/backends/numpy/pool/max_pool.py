"""Max pooling and its gradients on NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ....dtypes import accumulator, is_half
from ....geometry import PoolGeometry, extent
from ..kept import kept
from ..tiles import Blocks, Box
from ..workers import parallel_for
from . import long_windows
from .windows import TILE, Arena, Pass, Tile, Tiling, fetch, images_of, once_per_memory, tiling, windows

# Up to this many taps, comparing masks tap by tap is faster than a scatter.
MASKED_TAPS = 6
# The elements of a half type that a scatter converts to float32 at a time.
IMAGES_OF_HALF = 2**21


def max_pool(x: np.ndarray, geo: PoolGeometry, with_offsets: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """The largest pixel of every window and, if asked for, its offset in the window."""
    y = np.empty(geo.y_shape, x.dtype)
    offsets = np.empty(geo.y_shape, geo.offset_dtype) if with_offsets else None
    if not y.size:
        return y, offsets
    images = images_of(x, geo.size, geo)
    ys = y.reshape(-1, images.shape[-1])
    codes = None if offsets is None else offsets.reshape(-1, images.shape[-1])
    if geo.is_global:
        _global_max(images, ys, codes)
        return y, offsets
    if long_windows.is_long(geo):
        long_windows.max_pool(images, geo, ys, codes)
        return y, offsets
    plan = tiling(windows, geo)
    dtype, code_dtype = accumulator(x.dtype), None if offsets is None else offsets.dtype

    buffers_in = once_per_memory(lambda memory: _Buffers(memory, plan, dtype, code_dtype))

    def tile(i: int, memory: np.ndarray) -> None:
        t, buffers = plan.tiles[i], buffers_in(memory)
        source = fetch(images, t, buffers.source)
        out, out_codes = ys[t.start:t.stop], None if codes is None else codes[t.start:t.stop]
        winners = _max_tile(t, source, out, out_codes, np.greater, buffers)
        largest = np.maximum.reduce(winners) if out_codes is not None else 0
        if largest != largest:
            _max_tile(t, source, out, out_codes, _greater_or_first_nan, buffers)

    parallel_for(len(plan.tiles), tile, scratch=_Buffers.size(plan, dtype, code_dtype))
    return y, offsets


def _greater_or_first_nan(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """a > b, or a is NaN and b is not."""
    np.less_equal(a, b, out=out)
    np.logical_not(out, out=out)
    np.logical_and(out, b == b, out=out)


class _Buffers:
    """The buffers of a tile. Passes use its two buffers of values (and of codes) in turn."""

    def __init__(self, memory: np.ndarray, plan: Tiling, dtype: np.dtype, code_dtype: np.dtype | None):
        arena, most = Arena(memory), plan.largest_pass
        self.tap, *self.values = [arena.empty(most, dtype) for _ in range(3)]
        if code_dtype is not None:
            self.won = arena.empty(most, np.dtype(bool))
            self.tap_code, *self.codes = [arena.empty(most, code_dtype) for _ in range(3)]
        self.source = arena.empty(plan.source, dtype)

    @staticmethod
    def size(plan: Tiling, dtype: np.dtype, code_dtype: np.dtype | None) -> int:
        """The bytes of all buffers."""
        per_element = 3 * dtype.itemsize + (0 if code_dtype is None else 1 + 3 * code_dtype.itemsize)
        return plan.largest_pass * per_element + plan.source * dtype.itemsize + 8 * 64


def _max_tile(tile: Tile, source: np.ndarray, out: np.ndarray, out_codes: np.ndarray | None, wins: Callable[..., Any],
              buffers: _Buffers) -> np.ndarray:
    """Run pass after pass; return the winners before they are rounded back to a half type.

    A code is the winner's offset within the axes reduced so far: tap * unit + the code from the previous pass.
    """
    v, code, unit = source.reshape(-1), None, 1
    for i, step in enumerate(tile.passes):
        last = i == len(tile.passes) - 1
        y = out.reshape(-1) if last and out.dtype == v.dtype else buffers.values[i % 2][:step.size]
        if out_codes is None:
            _max_values(step, v, y, buffers)
        else:
            c = out_codes.reshape(-1) if last else buffers.codes[i % 2][:step.size]
            _max_with_codes(step, unit, v, code, y, c, wins, buffers)
            code, unit = c, unit * step.axis.taps
        v = y
    if out.dtype != v.dtype:
        np.copyto(out.reshape(-1), v, casting="same_kind")
    return v


def _max_values(step: Pass, v: np.ndarray, y: np.ndarray, buffers: _Buffers) -> None:
    """y = the largest tap of every window along one axis."""
    fetch_tap, buffer = step.taps(v), buffers.tap[:step.size]
    best = fetch_tap(0, y)
    for t in range(1, step.axis.taps):
        np.maximum(best, fetch_tap(t, buffer), out=y)
        best = y
    if best is not y:
        np.copyto(y, best)


def _max_with_codes(step: Pass, unit: int, v: np.ndarray, code: np.ndarray | None, y: np.ndarray, c: np.ndarray,
                    wins: Callable[..., Any], buffers: _Buffers) -> None:
    """y and its codes c. Codes grow with the taps, so that the maximum of the codes is that of the latest winner."""
    size = step.size
    fetch_tap, buffer, won, code_buffer = step.taps(v), buffers.tap[:size], buffers.won[:size], buffers.tap_code[:size]
    fetch_code = None if code is None else step.taps(code)
    best, best_code, shift = fetch_tap(0, y), c if fetch_code is None else fetch_code(0, c), np.array(0, c.dtype)
    one_bit = fetch_code is None and c.dtype == np.uint8 and step.axis.taps > 1 and not step.axis.outside[0]
    if fetch_code is None and not one_bit:
        c.fill(0)
    for o in step.axis.outside[0]:  # where tap 0 lies outside, it has fetched the first tap inside
        best_code.reshape(step.shape)[:, o] += c.dtype.type(step.axis.first[o] * unit)
    for t in range(1, step.axis.taps):
        tap = fetch_tap(t, buffer)
        if one_bit and t == 1:  # the comparison itself is the code, since only tap 0 or tap 1 can win
            wins(tap, best, c.view(bool))
            np.maximum(best, tap, out=y)
            best = y
            continue
        wins(tap, best, won)
        np.maximum(best, tap, out=y)
        shift[...] = t * unit
        if fetch_code is None:
            np.multiply(won.view(np.uint8), shift, code_buffer)
        else:
            np.add(fetch_code(t, code_buffer), shift, code_buffer)
            np.multiply(code_buffer, won.view(np.uint8), code_buffer)
        np.maximum(best_code, code_buffer, out=c)
        best, best_code = y, c
    if best is not y:
        np.copyto(y, best)
        np.copyto(c, best_code)


def _global_max(images: np.ndarray, y: np.ndarray, offsets: np.ndarray | None) -> None:
    """The winner of every image by np.argmax, which treats NaN and equal values in the same way."""
    pixels = images.reshape(images.shape[0], -1, images.shape[-1])
    blocks = Blocks((len(pixels), pixels.shape[-1]), max(TILE // pixels.shape[1], 1))

    def tile(i: int) -> None:
        (n0, n1), (c0, c1) = blocks[i].box
        part = pixels[n0:n1, :, c0:c1]
        winner = part.argmax(axis=1)
        y[n0:n1, c0:c1] = np.take_along_axis(part, winner[:, None], axis=1)[:, 0]
        if offsets is not None:
            offsets[n0:n1, c0:c1] = winner

    parallel_for(blocks.count, tile)


def max_pool_dgrad(gy: np.ndarray, offsets: np.ndarray, geo: PoolGeometry) -> np.ndarray:
    """gy added to the winner of every window."""
    disjoint = not geo.adaptive and all(s >= extent(f, d) for s, f, d in zip(geo.stride, geo.window, geo.dilation))
    if not gy.size:
        return np.zeros(geo.x_shape, gy.dtype)
    if disjoint and math.prod(geo.window) <= MASKED_TAPS:
        return _unpool_masked(gy, offsets, geo)
    if is_half(gy.dtype):
        return _unpool_half(gy, offsets, geo)
    gx = np.zeros(geo.x_shape, gy.dtype)
    images, grads = images_of(gx, geo.size, geo), images_of(gy, geo.output, geo)
    codes = images_of(offsets, geo.output, geo)

    def add(group: slice, box: Box, winners: np.ndarray) -> None:
        gradients = grads[group, *[slice(lo, hi) for lo, hi in box[1:]]]
        np.add.at(images[group].reshape(-1), winners.reshape(-1), gradients.reshape(-1))

    _for_winners(codes, geo, images[0].size, add)
    return gx


def _unpool_half(gy: np.ndarray, offsets: np.ndarray, geo: PoolGeometry) -> np.ndarray:
    """Add up in float32, for so few images at a time that these sums take little memory."""
    gx = np.empty(geo.x_shape, gy.dtype)
    count = max(IMAGES_OF_HALF // math.prod(geo.x_shape[1:]), 1)
    for first in range(0, geo.batch, count):
        some = slice(first, first + count)
        gradients = gy[some].astype(np.float32)
        gx[some] = max_pool_dgrad(gradients, offsets[some], replace(geo, batch=len(gradients)))
    return gx


def max_pool_gather(x: np.ndarray, offsets: np.ndarray, geo: PoolGeometry) -> np.ndarray:
    """The pixel of x at the winner of every window."""
    y = np.zeros(geo.y_shape, x.dtype)
    if not y.size:
        return y
    images, ys, codes = images_of(x, geo.size, geo), images_of(y, geo.output, geo), images_of(offsets, geo.output, geo)

    def fetch(group: slice, box: Box, winners: np.ndarray) -> None:
        ys[group, *[slice(lo, hi) for lo, hi in box[1:]]] = images[group].reshape(-1)[winners]

    _for_winners(codes, geo, images[0].size, fetch)
    return y


def max_pool_indices(offsets: np.ndarray, geo: PoolGeometry) -> np.ndarray:
    """The flat index of every winner over the spatial axes of x."""
    codes = images_of(offsets, geo.output, geo)
    starts, steps = _winner_tables(geo, 1)
    return (steps[codes] + starts[..., None]).reshape(offsets.shape)


def _for_winners(codes: np.ndarray, geo: PoolGeometry, image: int, body: Callable[..., None]) -> None:
    """Call body(group of images, block of outputs, flat index of each winner in the group) for each block.

    Groups run in parallel. Windows that overlap add to the same pixels, so that blocks of one group run in order.
    """
    channels = codes.shape[-1]
    starts, steps = _winner_tables(geo, channels)
    blocks = Blocks(codes.shape[:-1], max(TILE // (2 * channels), 1))
    per_group = blocks.count // blocks.counts[0]

    def group(i: int) -> None:
        for block in (blocks[j] for j in range(i * per_group, (i + 1) * per_group)):
            (first, last), *box = block.box
            where = [slice(lo, hi) for lo, hi in box]
            base = (np.arange(last - first) * image).reshape(-1, *(1,) * geo.rank, 1) + starts[*where][..., None]
            winners = np.take(steps, codes[first:last, *where])
            winners += base + np.arange(channels)
            body(slice(first, last), block.box, winners)

    parallel_for(blocks.counts[0], group)


@kept
def _winner_tables(geo: PoolGeometry, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """The flat index in an image of each window's tap 0, and the distance from there to the tap of each offset."""
    starts, steps = np.zeros((), np.int64), np.zeros((), np.int64)
    for a in range(geo.rank):
        unit = math.prod(geo.size[a + 1:]) * channels
        starts = starts[..., None] + geo.start(a, np.arange(geo.output[a])) * unit
        steps = steps[..., None] + np.arange(geo.window[a]) * (geo.dilation[a] * unit)
    return starts, steps.reshape(-1)


def _unpool_masked(gy: np.ndarray, offsets: np.ndarray, geo: PoolGeometry) -> np.ndarray:
    """For windows that do not overlap: each pixel fetches its window's gradient where its tap has won, else 0."""
    gx = np.empty(geo.x_shape, gy.dtype)
    bits = np.dtype(f"i{gy.itemsize}")
    images, grads = images_of(gx, geo.size, geo).view(bits), images_of(gy, geo.output, geo).view(bits)
    codes = images_of(offsets, geo.output, geo)
    channels, taps = images.shape[-1], math.prod(geo.window)
    blocks = Blocks(grads.shape[:-1], max(TILE // (2 * channels), 1))
    grads, codes = grads.reshape(-1, channels), codes.reshape(-1, channels)

    def tile(i: int, memory: np.ndarray) -> None:
        block, arena = blocks[i], Arena(memory)
        pixels = block.stop - block.start
        gradient, code = grads[block.start:block.stop], codes[block.start:block.stop]
        planes = arena.empty((taps * pixels + 1) * channels, bits).reshape(-1, channels)
        won = arena.empty(pixels * channels, np.dtype(bool)).reshape(-1, channels)
        for t in range(taps):
            np.equal(code, t, out=won)
            mask = won.view(np.int8)
            np.negative(mask, out=mask)
            np.bitwise_and(gradient, mask, out=planes[t * pixels:(t + 1) * pixels])
        planes[-1] = 0  # zeros for pixels that no window covers
        (first, last), *box = block.box
        owned = [_owned(geo, a, lo, hi) for a, (lo, hi) in enumerate(box)]
        index = _masked_index(last - first, tuple(hi - lo for lo, hi in box), geo.window, tuple(o.key for o in owned))
        target = images[first:last, *[slice(o.begin, o.end) for o in owned]]
        if target.flags.c_contiguous:
            np.take(planes, index, axis=0, out=target.reshape(-1, channels), mode="clip")
        else:
            target[...] = np.take(planes, index, axis=0).reshape(target.shape)

    most = blocks.largest * channels
    parallel_for(blocks.count, tile, scratch=(taps * most + channels) * gy.itemsize + most + 192)
    return gx


class Owned(NamedTuple):
    """The pixels from begin to end, which belong to a block of disjoint windows along an axis.

    key: for each pixel the number of its window in the block and its tap in the window, or -1 where no tap reads it.
    """

    begin: int
    end: int
    key: tuple[tuple[int, int], ...]


@kept
def _owned(geo: PoolGeometry, axis: int, lo: int, hi: int) -> Owned:
    n, stride, dilation = geo.size[axis], geo.stride[axis], geo.dilation[axis]
    begin = 0 if lo == 0 else geo.start(axis, lo)
    end = n if hi == geo.output[axis] else geo.start(axis, hi)
    key = []
    for pixel in range(begin, end):
        window = min((pixel + geo.padding[axis][0]) // stride, hi - 1)
        tap, between = divmod(pixel - geo.start(axis, window), dilation)
        key.append((window - lo, -1 if between or tap >= geo.window[axis] else tap))
    return Owned(begin, end, tuple(key))


@kept
def _masked_index(images: int, outputs: tuple[int, ...], window: tuple[int, ...],
                  keys: tuple[tuple[tuple[int, int], ...], ...]) -> np.ndarray:
    """For each pixel of a block: its row among the planes [tap, output], or the last row, which is zeros."""
    pixels = images * math.prod(outputs)
    at, tap = np.arange(images), np.zeros(images, np.int64)
    covered = np.ones(images, bool)
    for n, f, key in zip(outputs, window, keys):
        windows, taps = np.array(key, np.int64).reshape(-1, 2).T
        at, tap = at[..., None] * n + windows, tap[..., None] * f + taps
        covered = covered[..., None] & (taps >= 0)
    return np.where(covered, tap * pixels + at, math.prod(window) * pixels).reshape(-1)
