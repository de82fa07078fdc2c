"""The gradient of a convolution's filters, by im2col and matrix products that are summed over tiles of pixels.

gw[r, c, k] = sum over n, p of x[n, p*stride + r*dilation - before, c] * gy[n, p, k]

A unit of work is a block of gw and a segment of the pixels; one thread adds up its tiles in order. At the end the
segments are added in order. The number of segments follows from the geometry, so that any number of threads gives the
same sum.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .kept import kept, size_with
from .operands import Columns, Packing, PixelBuffer, aligned, filter_gradient, multiply
from .tiles import Block, Blocks, Gather, Pixels, images
from .workers import parallel_for

PIXELS = 1024  # pixels of a tile
MOST_PIXELS = 8192  # pixels of a tile where there are few taps and filters
COLUMNS = 1 << 19  # elements of a tile's columns
BLOCK = 1 << 18  # elements of gw that one thread adds up at a time
SEGMENTS = 16
SEGMENTS_BYTES = 8 << 20  # bytes of the sums of all segments
RUN = 32  # tiles that are added up to one run; runs are then added up, which keeps chains of additions short
REMEMBERED = 32  # how many tiles of a plan keep their layout
WORK = 1 << 20  # multiply-adds below which a unit is not worth a thread


class _Part(NamedTuple):
    """A block of gw."""

    groups: tuple[int, int]
    taps: Block
    filters: tuple[int, int]
    at: tuple[slice, slice, slice]  # the block's place in gw seen as matrices


class _Tile(NamedTuple):
    """A tile of pixels, and the operands that are packed from it for one block of gw."""

    block: Block
    columns: Columns | None
    gradients: PixelBuffer


class _Plan:
    """The units of work of one geometry, and where each operand lies in a thread's scratch memory."""

    def __init__(self, gather: Gather, filters: int, dtype: np.dtype, channels_last: bool, ready: bool, gy_ready: bool,
                 gw_ready: bool):
        self.gather, self.dtype, self.channels_last = gather, dtype, channels_last
        self.packing = Packing(gather, channels_last, ready)
        per_image = math.prod(gather.output)
        total = gather.batch * per_image

        self.filters = Blocks((filters,), 4096)
        self.taps = Blocks(self.packing.taps, max(BLOCK // self.filters.largest, min(16, gather.taps)))
        block = self.taps.largest * self.filters.largest
        self.groups = Blocks((gather.groups,), max(BLOCK // (block * 4), 1))
        width = (self.taps.largest + self.filters.largest) * self.groups.largest
        most = max(PIXELS, min(MOST_PIXELS, 4 * WORK // (block * self.groups.largest)))
        pixels = max(min(most, COLUMNS // width), 1)
        if not channels_last and (self.packing.in_place or per_image >= 256):
            pixels = min(pixels, per_image)
        self.tiles = Blocks((gather.batch, *gather.output), pixels)
        self.gy_in_place = gy_ready and (channels_last or self.tiles.parts[0] == 1)
        self.x_pixels = Pixels(gather.batch, gather.size, gather.groups, gather.channels, dtype, channels_last)
        self.gy_pixels = Pixels(gather.batch, gather.output, gather.groups, filters, dtype, channels_last)

        self.parts = [_Part((g.start, g.stop), t, (k.start, k.stop),
                            (slice(g.start, g.stop), slice(t.start, t.stop), slice(k.start, k.stop)))
                      for g in self.groups for t in self.taps for k in self.filters]
        segments = min(SEGMENTS, self.tiles.count, total * gather.taps * filters * gather.groups // WORK,
                       SEGMENTS_BYTES // (gather.groups * gather.taps * filters * dtype.itemsize))
        self.segments = Blocks((self.tiles.count,), -(-self.tiles.count // max(segments, 1)))
        self.gw_in_place = gw_ready and self.segments.count == 1  # otherwise units add up in scratch memory
        self.runs = [(segment.start, segment.stop) for segment in self.segments]
        self._remembered: dict[tuple[int, int], _Tile] = {}

        # scratch memory holds in order: product of a tile, sum of a run of tiles, sum of all runs, gy, columns
        sums = aligned(self.groups.largest * block * dtype.itemsize)
        self.run_at, self.total_at, self.gy_at = sums, 2 * sums, 3 * sums
        self.columns_at = self.gy_at
        first = self.tile(0, 0)
        self.columns_at += 0 if self.gy_in_place else first.gradients.bytes
        self.scratch = self.columns_at + (0 if first.columns is None else first.columns.bytes)
        self._remembered.clear()

    def tile(self, i: int, p: int) -> _Tile:
        """The i-th tile of pixels, for the p-th block of gw."""
        tile = self._remembered.get((i, p))
        if tile is None:
            block, part = self.tiles[i], self.parts[p]
            columns = None if self.packing.in_place else Columns(
                self.gather, self.packing, block.box, part.taps.box, part.groups, self.dtype, self.channels_last,
                self.columns_at)
            tile = _Tile(block, columns, PixelBuffer(block.box, part.groups, part.filters, self.dtype,
                                                     not self.channels_last, self.gy_at))
            if len(self._remembered) < REMEMBERED:
                self._remembered[i, p] = tile
        return tile


_plan = kept(_Plan, size=lambda plan: size_with(plan, plan.tile(0, 0), REMEMBERED))


def weight_gradient(x: np.ndarray, gy: np.ndarray, gather: Gather, gw: np.ndarray, channels_last: bool,
                    dtype: np.dtype) -> None:
    """gw becomes the product of x's columns and gy, summed over all pixels."""
    gw_matrix = filter_gradient(gw, gather.groups, channels_last)
    shape = gw_matrix.shape
    plan = _plan(gather, shape[-1], dtype, channels_last, x.dtype == dtype and x.flags.c_contiguous,
                 gy.dtype == dtype and gy.flags.c_contiguous, gw.dtype == dtype)
    in_place, gy_in_place = plan.packing.in_place, plan.gy_in_place
    x_view = x if plan.packing.direct or in_place else images(x, gather.groups, channels_last)
    gy_view = gy if gy_in_place else images(gy, gather.groups, channels_last)
    segments = plan.segments.count
    sums = np.empty((segments, *shape), dtype) if segments > 1 else None

    def product(t: int, p: int, memory: np.ndarray, out: np.ndarray) -> None:
        (start, stop, _), packed, buffer = plan.tile(t, p)
        groups, taps, k, _ = plan.parts[p]
        if packed is None:
            columns = plan.x_pixels.matrix(x, start, stop, groups, (taps.start, taps.stop))
        else:
            columns = packed.pack(x, x_view, memory)
        if gy_in_place:
            gradients = plan.gy_pixels.matrix(gy, start, stop, groups, k)
        else:
            at: Any = (*buffer.box, slice(*groups), slice(*k))
            buffer.images(memory)[...] = gy_view[at]
            gradients = buffer.matrix(memory)
        multiply(columns.transpose(0, 2, 1), gradients, out)

    def compute(i: int, memory: np.ndarray) -> None:
        p, segment = divmod(i, segments)
        at = plan.parts[p].at
        out = gw_matrix[at] if sums is None else sums[segment][at]
        if sums is None and not plan.gw_in_place:
            out = np.ndarray(out.shape, dtype, memory, plan.total_at)
        first, last = plan.runs[segment]
        part = np.ndarray(out.shape, dtype, memory)
        run = out if last - first <= RUN else np.ndarray(out.shape, dtype, memory, plan.run_at)
        # Inf in gy times the zeros of padding gives NaN, which conv_wgrad looks for
        with np.errstate(invalid="ignore"):
            for t in range(first, last):
                in_run = (t - first) % RUN
                product(t, p, memory, run if in_run == 0 else part)
                if in_run:
                    run += part
                if run is not out and (in_run == RUN - 1 or t == last - 1):
                    if t - first < RUN:
                        out[...] = run
                    else:
                        out += run
        if sums is None and not plan.gw_in_place:
            gw_matrix[at] = out

    parallel_for(len(plan.parts) * segments, compute, plan.scratch)
    if sums is not None:
        gw_matrix[...] = np.add.reduce(sums, axis=0)
