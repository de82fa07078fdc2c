"""Convolution as a gather: im2col in tiles that stay in cache; each tile is followed by a matrix product and epilogue.

y[n, p, k] = activation(bias[k] + sum over r, c of x[n, p*step + r*dilation - before, c] * w[r, c, k])

fprop has this form, and so has dgrad at stride 1, with gy and the flipped filters. A kernel of one tap at stride 1 is a
matrix product of the images without any copy. A tile is a range of output pixels that one thread computes.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..epilogue import finish
from .kept import kept, size_with
from .operands import Columns, Filters, Packing, PixelBuffer, aligned, multiply
from .tiles import Block, Blocks, Gather, Pixels, images
from .workers import parallel_for

TILE = 2 << 20  # bytes of a tile's columns and results
LARGEST_TILE = 4 << 20  # bytes of a tile, where TILE would leave fewer pixels than PIXELS
PIXELS = 256  # the number of rows from which BLAS reaches its full speed
TAPS = 1 << 18  # the longest sum that is taken at once
FILTERS = 4096  # columns of one matrix product
COPIED = 1 << 20  # elements of the filters that a thread copies at once where BLAS cannot read them as they are
REMEMBERED = 32  # how many tiles of a plan keep their layout
WORK = 1 << 21  # multiply-adds below which a tile is not worth a thread


def pixels_per_tile(total: int, taps: int, filters: int, itemsize: int) -> int:
    """The number of pixels in a tile: few enough for the cache, enough for BLAS, and with work for every thread."""
    each = (taps + filters) * itemsize
    pixels = max(TILE // each, min(PIXELS, LARGEST_TILE // each), 1)
    return min(pixels, max(total // 8, WORK // max(taps * filters, 1), PIXELS // 2))


class _Unit(NamedTuple):
    """The work of one thread: a block of groups of a tile of pixels."""

    groups: tuple[int, int]
    tile: Block
    columns: list[Columns]  # one entry for each block of taps
    results: list[PixelBuffer]  # one entry for each block of filters


class Plan:
    """The units of work of one geometry, and where each operand lies in a thread's scratch memory.

    `ready`, `out_ready`, `filters_ready`: x, y and the filters are dense and have the dtype that is computed in.
    """

    def __init__(self, gather: Gather, filters: int, dtype: np.dtype, channels_last: bool, ready: bool, out_ready: bool,
                 filters_ready: bool):
        self.gather, self.dtype, self.channels_last = gather, dtype, channels_last
        self.packing = Packing(gather, channels_last, ready)
        self.taps = Blocks(self.packing.taps, TAPS)
        self.filters = Blocks((filters,), FILTERS if filters_ready else max(COPIED // self.taps.largest, 1))
        row = self.taps.largest + self.filters.largest
        self.groups = Blocks((gather.groups,), max(TILE // (64 * row * dtype.itemsize), 1))
        self.tiles = Blocks((gather.batch, *gather.output), self._pixels_per_tile())
        self.out_in_place = out_ready and (channels_last or self.tiles.parts[0] == 1)
        self.x_pixels = Pixels(gather.batch, gather.size, gather.groups, gather.channels, dtype, channels_last)
        self.y_pixels = Pixels(gather.batch, gather.output, gather.groups, filters, dtype, channels_last)
        self.units = self.groups.count * self.tiles.count
        self._remembered: dict[int, _Unit] = {}

        # scratch memory holds, in this order: filters, results, partial results, columns; the first unit is the largest
        groups, columns = self.groups.largest, self.filters.largest
        results = aligned(groups * self.tiles.largest * columns * dtype.itemsize)
        self.results_at = 0 if filters_ready else aligned(groups * self.taps.largest * columns * dtype.itemsize)
        self.partial_at = self.results_at + (0 if self.out_in_place else results)
        self.columns_at = self.partial_at + (results if self.taps.count > 1 else 0)
        self.scratch = max(self.columns_at + (0 if self.packing.in_place else self.unit(0).columns[0].bytes), 64)

    def _pixels_per_tile(self) -> int:
        per_image, groups = math.prod(self.gather.output), self.groups.largest
        pixels = pixels_per_tile(self.gather.batch * per_image, self.taps.largest * groups,
                                 self.filters.largest * groups, self.dtype.itemsize)
        if not self.channels_last and (self.packing.in_place or per_image >= PIXELS):
            return min(pixels, per_image)  # so that results can be written directly to y
        return pixels

    def unit(self, i: int) -> _Unit:
        """The i-th unit."""
        unit = self._remembered.get(i)
        if unit is None:
            group, tile = divmod(i, self.tiles.count)
            groups, block = self.groups[group].box[0], self.tiles[tile]
            columns = [] if self.packing.in_place else [
                Columns(self.gather, self.packing, block.box, taps.box, groups, self.dtype, self.channels_last,
                        self.columns_at) for taps in self.taps.all]
            results = [PixelBuffer(block.box, groups, f.box[0], self.dtype, not self.channels_last, self.results_at)
                       for f in self.filters.all]
            unit = _Unit(groups, block, columns, results)
            if len(self._remembered) < REMEMBERED:
                self._remembered[i] = unit
        return unit


_plan = kept(Plan, size=lambda plan: size_with(plan, plan.unit(0), min(plan.units, REMEMBERED)))


def convolve(x: np.ndarray, w: Filters, bias: np.ndarray | None, gather: Gather, activation: str | None, y: np.ndarray,
             channels_last: bool) -> None:
    """y = activation(bias + the values gathered from x and multiplied by the filters w)."""
    dtype = w.dtype
    plan = _plan(gather, w.count, dtype, channels_last, x.dtype == dtype and x.flags.c_contiguous, y.dtype == dtype,
                 w.matrix is not None)
    in_place, out_in_place = plan.packing.in_place, plan.out_in_place
    x_view = x if plan.packing.direct or in_place else images(x, gather.groups, channels_last)
    y_view = y if out_in_place else images(y, gather.groups, channels_last)
    bias_rows = None if bias is None else bias.astype(dtype, copy=False).reshape(gather.groups, 1, w.count)

    def compute(i: int, memory: np.ndarray) -> None:
        groups, tile, packed, results = plan.unit(i)
        columns: np.ndarray | None = None
        for filters, buffer in zip(plan.filters.all, results):
            k = filters.box[0]
            out = (plan.y_pixels.matrix(y, tile.start, tile.stop, groups, k) if out_in_place else buffer.matrix(memory))
            for j, taps in enumerate(plan.taps.all):
                if in_place:
                    columns = plan.x_pixels.matrix(x, tile.start, tile.stop, groups, (taps.start, taps.stop))
                elif columns is None or len(packed) > 1:
                    columns = packed[j].pack(x, x_view, memory)
                block = w.block(groups, taps, k, memory)
                if j == 0:
                    multiply(columns, block, out)
                else:
                    partial = np.ndarray(out.shape, dtype, memory, plan.partial_at)
                    out += multiply(columns, block, partial)
            if bias_rows is not None or activation is not None:
                finish(out, None if bias_rows is None else bias_rows[slice(*groups), :, slice(*k)], activation)
            if not out_in_place:
                at: Any = (*buffer.box, slice(*groups), slice(*k))
                y_view[at] = buffer.images(memory)

    parallel_for(plan.units, compute, plan.scratch)
