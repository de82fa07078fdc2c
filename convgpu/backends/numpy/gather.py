"""Convolution as a gather: im2col in tiles that stay in cache, each followed by its matrix product and epilogue.

y[n, p, k] = activation(bias[k] + sum over r, c of x[n, p*step + r*dilation - before, c] * w[r, c, k])

fprop is this; so is dgrad at stride 1, over gy and the flipped filters. A kernel of one tap at stride 1 is a matrix
product of the images as they lie. Tiles are ranges of output pixels; each is computed by one thread.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ..epilogue import finish
from .operands import Columns, Filters, PixelBuffer, aligned
from .tiles import Block, Blocks, Gather, Pixels, images
from .workers import parallel_for

TILE = 1 << 20  # bytes of a tile's columns and results
LARGEST_TILE = 4 << 20  # where that leaves fewer pixels than PIXELS
PIXELS = 256  # rows for which BLAS is at its speed
TAPS = 1 << 18  # the longest sum taken at once
FILTERS = 4096  # columns of one matrix product
COPIED = 1 << 20  # filter elements that a thread copies at once where they are not ready
REMEMBERED = 64  # tiles of a plan whose layout is kept
WORK = 1 << 21  # multiply-adds below which a tile is not worth a thread
SHORT_RUN = 24  # floats: shorter runs of channels are packed with the pixels fastest


def pixels_per_tile(total: int, taps: int, filters: int, itemsize: int) -> int:
    """How many pixels of `total` a tile has: what fits in the cache, but enough for BLAS, and work for several threads."""
    each = (taps + filters) * itemsize
    pixels = max(TILE // each, min(PIXELS, LARGEST_TILE // each), 1)
    return min(pixels, max(total // 8, WORK // max(taps * filters, 1), 1))


class _Unit(NamedTuple):
    """What one thread computes: a block of groups of a tile of pixels."""

    groups: tuple[int, int]
    tile: Block
    columns: list[Columns]  # per block of taps
    results: list[PixelBuffer]  # per block of filters


class _Plan:
    """The units of one geometry, and where each operand lies in a thread's scratch memory."""

    def __init__(self, gather: Gather, filters: int, dtype: np.dtype, channels_last: bool, ready: bool, out_ready: bool,
                 filters_ready: bool):
        self.gather, self.dtype, self.channels_last = gather, dtype, channels_last
        run = gather.channels * (gather.kernel[-1] if gather.dilation[-1] == 1 else 1)
        self.planar = not channels_last or run < SHORT_RUN
        self.in_place = ready and gather.pointwise
        self.direct = ready and gather.inside and (self.planar != channels_last or gather.channels == 1 == gather.groups)
        kernel = (*gather.kernel, gather.channels) if channels_last else (gather.channels, *gather.kernel)
        self.taps = Blocks(kernel, TAPS)
        self.filters = Blocks((filters,), FILTERS if filters_ready else max(COPIED // self.taps.largest, 1))
        row = self.taps.largest + self.filters.largest
        self.groups = Blocks((gather.groups,), max(TILE // (64 * row * dtype.itemsize), 1))
        self.tiles = Blocks((gather.batch, *gather.output), self._pixels_per_tile())
        self.out_in_place = out_ready and (channels_last or self.tiles.parts[0] == 1)
        self.units = self.groups.count * self.tiles.count
        self._remembered: dict[int, _Unit] = {}

        # scratch memory, in order: filters, results, partial results, columns; the first unit is the largest
        groups, filters = self.groups.largest, self.filters.largest
        results = aligned(groups * self.tiles.largest * filters * dtype.itemsize)
        self.results_at = 0 if filters_ready else aligned(groups * self.taps.largest * filters * dtype.itemsize)
        self.partial_at = self.results_at + (0 if self.out_in_place else results)
        self.columns_at = self.partial_at + (results if self.taps.count > 1 else 0)
        self.scratch = max(self.columns_at + (0 if self.in_place else self.unit(0).columns[0].bytes), 1)

    def _pixels_per_tile(self) -> int:
        per_image, groups = math.prod(self.gather.output), self.groups.largest
        pixels = pixels_per_tile(self.gather.batch * per_image, self.taps.largest * groups, self.filters.largest * groups,
                                 self.dtype.itemsize)
        if not self.channels_last and (self.in_place or per_image >= PIXELS):
            return min(pixels, per_image)  # so that results can be written where they belong
        return pixels

    def unit(self, i: int) -> _Unit:
        """The i-th unit."""
        unit = self._remembered.get(i)
        if unit is None:
            group, tile = divmod(i, self.tiles.count)
            groups, block = self.groups[group].box[0], self.tiles[tile]
            columns = [Columns(self.gather, block.box, taps.box, groups, self.dtype, self.planar, self.channels_last,
                               self.direct, self.columns_at) for taps in ([] if self.in_place else self.taps.all)]
            results = [PixelBuffer(block.box, groups, f.box[0], self.dtype, not self.channels_last, self.results_at)
                       for f in self.filters.all]
            unit = _Unit(groups, block, columns, results)
            if len(self._remembered) < REMEMBERED:
                self._remembered[i] = unit
        return unit


_plan = lru_cache(maxsize=1024)(_Plan)


def convolve(x: np.ndarray, w: Filters, bias: np.ndarray | None, gather: Gather, activation: str | None, y: np.ndarray,
             channels_last: bool) -> None:
    """y = activation(bias + what it gathers from x through the filters w)."""
    dtype = w.dtype
    plan = _plan(gather, w.count, dtype, channels_last, x.dtype == dtype and x.flags.c_contiguous, y.dtype == dtype,
                 w.matrix is not None)
    x_view, y_view = images(x, gather.groups, channels_last), images(y, gather.groups, channels_last)
    x_pixels = Pixels(x, gather.groups, channels_last) if plan.in_place else None
    y_pixels = Pixels(y, gather.groups, channels_last) if plan.out_in_place else None
    bias_rows = None if bias is None else bias.astype(dtype, copy=False).reshape(gather.groups, 1, w.count)

    def compute(i: int, memory: np.ndarray) -> None:
        unit = plan.unit(i)
        groups, tile = slice(*unit.groups), unit.tile
        columns = x_pixels.matrix(tile.start, tile.stop)[groups] if x_pixels is not None else None
        for filters, buffer in zip(plan.filters.all, unit.results):
            k = slice(filters.start, filters.stop)
            out = buffer.matrix(memory) if y_pixels is None else y_pixels.matrix(tile.start, tile.stop)[groups, :, k]
            for j, taps in enumerate(plan.taps.all):
                if x_pixels is not None:
                    operand = columns[:, :, taps.start:taps.stop]
                elif columns is None or len(unit.columns) > 1:
                    operand = columns = unit.columns[j].pack(x, x_view, memory)
                block = w.block(unit.groups, taps, filters.box[0], memory)
                if j == 0:
                    np.matmul(operand, block, out=out)
                else:
                    partial = np.ndarray(out.shape, dtype, memory, plan.partial_at)
                    out += np.matmul(operand, block, out=partial)
            finish(out, None if bias_rows is None else bias_rows[groups, :, k], activation)
            if y_pixels is None:
                y_view[(*buffer.box, groups, k)] = buffer.images(memory)

    parallel_for(plan.units, compute, plan.scratch)
