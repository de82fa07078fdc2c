"""The gradient of convolution's filters: im2col and matrix products, summed over tiles of pixels.

gw[r, c, k] = sum over n, p of x[n, p*stride + r*dilation - before, c] * gy[n, p, k]

A unit is a block of gw and a segment of the pixels; one thread adds up its tiles in order. Segments are added in order
at the end. How many there are follows from the geometry, so the sum is the same at any number of threads.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from .operands import Columns, PixelBuffer, aligned, by_taps, merged
from .tiles import Block, Blocks, Gather, Pixels, images
from .workers import parallel_for

PIXELS = 1024  # of a tile
COLUMNS = 1 << 19  # elements of a tile's columns
BLOCK = 1 << 18  # elements of gw that one thread adds up at a time
SEGMENTS = 16
SEGMENTS_BYTES = 8 << 20  # of all segments' sums
RUN = 32  # tiles added up before the sum is added to the sum of such runs: keeps chains short
WORK = 1 << 21  # multiply-adds below which a unit is not worth a thread
SHORT_RUN = 24  # floats: shorter runs of channels are packed with the pixels fastest


class _Tile(NamedTuple):
    block: Block
    columns: Columns | None
    gradients: PixelBuffer


class _Plan:
    """The units of one geometry, and where each operand lies in a thread's scratch memory."""

    def __init__(self, gather: Gather, filters: int, dtype: np.dtype, channels_last: bool, ready: bool, gy_ready: bool,
                 gw_ready: bool):
        self.gather, self.dtype, self.channels_last = gather, dtype, channels_last
        run = gather.channels * (gather.kernel[-1] if gather.dilation[-1] == 1 else 1)
        self.planar = not channels_last or run < SHORT_RUN
        self.in_place = ready and gather.pointwise
        self.direct = ready and gather.inside and (self.planar != channels_last or gather.channels == 1 == gather.groups)
        kernel = (*gather.kernel, gather.channels) if channels_last else (gather.channels, *gather.kernel)
        per_image = math.prod(gather.output)
        total = gather.batch * per_image

        self.filters = Blocks((filters,), 4096)
        self.taps = Blocks(kernel, max(BLOCK // self.filters.largest, min(16, gather.taps)))
        block = self.taps.largest * self.filters.largest
        self.groups = Blocks((gather.groups,), max(BLOCK // (block * 4), 1))
        width = (self.taps.largest + self.filters.largest) * self.groups.largest
        pixels = max(min(PIXELS, COLUMNS // width), 1)
        if not channels_last and (self.in_place or per_image >= 256):
            pixels = min(pixels, per_image)
        self.tiles = Blocks((gather.batch, *gather.output), pixels)
        self.gy_in_place = gy_ready and (channels_last or self.tiles.parts[0] == 1)

        self.blocks = Blocks((self.groups.count, self.taps.count, self.filters.count), 1)
        segments = min(SEGMENTS, self.tiles.count, total * gather.taps * filters * gather.groups // WORK,
                       SEGMENTS_BYTES // (gather.groups * gather.taps * filters * dtype.itemsize))
        self.segments = Blocks((self.tiles.count,), -(-self.tiles.count // max(segments, 1)))
        self.gw_in_place = gw_ready and self.segments.count == 1
        self._remembered: dict[tuple[int, int, int], _Tile] = {}

        # scratch memory, in order: partial results of a tile, of a run of tiles, of the segment; gy; columns
        sums = aligned(self.groups.largest * block * dtype.itemsize)
        self.run_at, self.segment_at, self.gy_at = sums, 2 * sums, 3 * sums
        self.columns_at = self.gy_at
        first = self.tile(0, 0, 0, 0)
        self.columns_at += 0 if self.gy_in_place else first.gradients.bytes
        self.scratch = self.columns_at + (0 if first.columns is None else first.columns.bytes)
        self._remembered.clear()

    def tile(self, i: int, group: int, taps: int, filters: int) -> _Tile:
        """The i-th tile of pixels, for one block of gw."""
        key = i, group, taps
        tile = self._remembered.get(key) if self.filters.count == 1 else None
        if tile is None:
            block, groups = self.tiles[i], self.groups[group].box[0]
            columns = None if self.in_place else Columns(
                self.gather, block.box, self.taps[taps].box, groups, self.dtype, self.planar, self.channels_last,
                self.direct, self.columns_at)
            gradients = PixelBuffer(block.box, groups, self.filters[filters].box[0], self.dtype, not self.channels_last,
                                    self.gy_at)
            tile = _Tile(block, columns, gradients)
            if len(self._remembered) < 64:
                self._remembered[key] = tile
        return tile


_plan = lru_cache(maxsize=1024)(_Plan)


def weight_gradient(x: np.ndarray, gy: np.ndarray, gather: Gather, gw: np.ndarray, channels_last: bool,
                    dtype: np.dtype) -> None:
    """gw, seen as (groups, taps..., C, K), becomes the sum over all pixels of x's columns times gy."""
    groups = gather.groups
    gw_matrix = merged(by_taps(gw, channels_last)) if gw.dtype == dtype else None
    plan = _plan(gather, gw.shape[-1], dtype, channels_last, x.dtype == dtype and x.flags.c_contiguous,
                 gy.dtype == dtype and gy.flags.c_contiguous, gw_matrix is not None)
    x_view, gy_view = images(x, groups, channels_last), images(gy, groups, channels_last)
    x_pixels = Pixels(x, groups, channels_last) if plan.in_place else None
    gy_pixels = Pixels(gy, groups, channels_last) if plan.gy_in_place else None
    segments = plan.segments.count
    shape = gather.groups, gather.taps, gw.shape[-1]
    sums = None if plan.gw_in_place else np.empty((segments, *shape), dtype)

    def product(t: int, block: tuple[int, int, int], memory: np.ndarray, out: np.ndarray) -> None:
        tile = plan.tile(t, *block)
        (start, stop, box), g = tile.block, slice(*plan.groups[block[0]].box[0])
        taps, k = (slice(b.start, b.stop) for b in (plan.taps[block[1]], plan.filters[block[2]]))
        if x_pixels is not None:
            columns = x_pixels.matrix(start, stop)[g, :, taps]
        else:
            columns = tile.columns.pack(x, x_view, memory)
        if gy_pixels is not None:
            gradients = gy_pixels.matrix(start, stop)[g, :, k]
        else:
            tile.gradients.images(memory)[...] = gy_view[(*tile.gradients.box, g, k)]
            gradients = tile.gradients.matrix(memory)
        np.matmul(columns.transpose(0, 2, 1), gradients, out=out)

    def compute(i: int, memory: np.ndarray) -> None:
        b, segment = divmod(i, segments)
        block = tuple([a for a, _ in plan.blocks[b].box])
        at = tuple([slice(p.start, p.stop) for p in (plan.groups[block[0]], plan.taps[block[1]], plan.filters[block[2]])])
        out = gw_matrix[at] if sums is None else sums[(segment, *at)]
        first, last, _ = plan.segments[segment]
        part = np.ndarray(out.shape, dtype, memory)
        run = out if last - first <= RUN else np.ndarray(out.shape, dtype, memory, plan.run_at)
        for t in range(first, last):
            in_run = (t - first) % RUN
            product(t, block, memory, run if in_run == 0 else part)
            if in_run:
                run += part
            if run is not out and (in_run == RUN - 1 or t == last - 1):
                if t - first < RUN:
                    out[...] = run
                else:
                    out += run

    with np.errstate(invalid="ignore"):  # Inf in gy times the zeros of padding: conv_wgrad looks for what that gives
        parallel_for(plan.blocks.count * segments, compute, plan.scratch)
    if sums is not None:
        total = sums[0] if segments == 1 else np.add.reduce(sums, axis=0)
        taps_in_order = by_taps(gw, channels_last)
        taps_in_order[...] = total.reshape(taps_in_order.shape)
