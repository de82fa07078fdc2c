"""The input gradient as a scatter (col2im): matrix products compute what each output pixel contributes to its window.

gx[n, p*stride + r*dilation - before, c] += sum over k of gy[n, p, k] * w[r, c, k], for every p and r

A unit of work is a tile of gx that one thread owns. The thread computes all contributions to its tile, in order; tiles
never write to the same pixels of gx, though they repeat some work where their windows overlap in gy. Contributions to
padding are dropped.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...geometry import extent
from ..epilogue import finish
from .kept import kept
from .operands import Filters, PixelBuffer, aligned, multiply, strides_of
from .tiles import Blocks, Box, Gather, Pixels, images
from .workers import parallel_for

TILE = 1 << 20  # bytes of the contributions that are computed at a time
LARGEST_TILE = 4 << 20  # bytes of a tile of gx
WIDEST_TILE = 16 << 20  # bytes of a tile of gx where a few windows already need so many
WORK = 1 << 21  # multiply-adds below which a tile is not worth a thread
PIXELS = 256  # the number of rows from which BLAS reaches its full speed
TAPS = 1 << 18
FILTERS = 4096
COPIED = 1 << 20
SHORT_RUN = 16  # with fewer channels, pixels vary fastest in memory
SHORT_ROW = 16  # with shorter rows of pixels and at least as many images in a tile, the batch varies fastest
IMAGES = 32  # images in such a tile


class _Plan:
    """The tiles of one geometry, and where each operand lies in a thread's scratch memory."""

    def __init__(self, gather: Gather, filters: int, dtype: np.dtype, channels_last: bool, filters_ready: bool):
        self.gather, self.dtype, self.channels_last = gather, dtype, channels_last
        self.planar = not channels_last or gather.channels < SHORT_RUN
        kernel = (*gather.kernel, gather.channels) if channels_last else (gather.channels, *gather.kernel)
        self.taps = Blocks(kernel, TAPS)
        copied = max(min(COPIED // self.taps.largest, FILTERS), 1)
        self.filters = Blocks((filters,), FILTERS if filters_ready else copied)
        row = self.taps.largest + self.filters.largest
        self.groups = Blocks((gather.groups,), max(TILE // (64 * row * dtype.itemsize), 1))
        each = row * self.groups.largest * dtype.itemsize
        self.pixels = max(TILE // each, min(PIXELS, LARGEST_TILE // each), 1)
        self.tiles = Blocks((gather.batch, *gather.size), self._tile_size())
        # for small images the batch varies fastest, so that additions run along long rows
        self.batch_last = self.planar and gather.output[-1] < SHORT_ROW and self.tiles.parts[0] >= SHORT_ROW
        if self.batch_last:
            self.pixels = max(self.pixels, LARGEST_TILE // each)
        self.gy_pixels = Pixels(gather.batch, gather.output, gather.groups, filters, dtype, channels_last)
        self.units = self.groups.count * self.tiles.count

        groups = self.groups.largest
        size = dtype.itemsize * groups
        self.gx_at = 0 if filters_ready else aligned(size * self.taps.largest * self.filters.largest)
        self.gy_at = self.gx_at + aligned(size * self.tiles.largest * gather.channels)
        self.columns_at = self.gy_at + aligned(size * self.pixels * self.filters.largest)
        self.scratch = self.columns_at + aligned(size * self.pixels * self.taps.largest)

    def _tile_size(self) -> int:
        """The pixels of gx in a tile: several rounds of contributions, tiles enough for several threads, many windows.

        A tile's border repeats the work of a window's width, so that a tile narrower than a window would multiply the
        work.
        """
        gather = self.gather
        each = gather.channels * self.groups.largest * self.dtype.itemsize
        total, step = gather.batch * math.prod(gather.size), math.prod(gather.step)
        work = math.prod(gather.kernel) * gather.channels * self.filters.largest * self.groups.largest // step
        pixels = min(max(self.pixels * step, TILE // 2 // each, 1), LARGEST_TILE // each,
                     max(total // 8, WORK // max(work, 1)))
        window = extent(gather.kernel[0], gather.dilation[0]) * math.prod(gather.size[1:])
        wide = min(3 * window, math.prod(gather.size), WIDEST_TILE // each)
        if self.planar and gather.output[-1] < SHORT_ROW:
            wide = max(wide, min(IMAGES * math.prod(gather.size), LARGEST_TILE // each))
        return max(pixels, wide, 1)

    def sources(self, box: Box) -> Box:
        """The output pixels whose windows reach into a box of gx."""
        gather = self.gather
        ranges = [box[0]]
        for (a, b), f, step, d, before, n in zip(box[1:], gather.kernel, gather.step, gather.dilation, gather.before,
                                                 gather.output):
            first = max(-(-(a + before - (f - 1) * d) // step), 0)
            ranges.append((first, max(min((b - 1 + before) // step + 1, n), first)))
        return tuple(ranges)

    def rounds(self, sources: Box) -> list[Box]:
        """The output pixels cut into parts whose contributions fit in the cache."""
        axes = [*range(1, len(sources)), 0] if self.batch_last else [*range(len(sources))]
        rounds = []
        for part in Blocks([sources[i][1] - sources[i][0] for i in axes], self.pixels):
            ranges = dict(zip(axes, part.box))
            rounds.append(tuple([(first + ranges[i][0], first + ranges[i][1]) for i, (first, _) in enumerate(sources)]))
        return rounds

    def contributions(self, pixels: Box, taps: Box, groups: int, memory: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scratch memory for what a block of output pixels contributes to a block of taps.

        It is seen as images of windows (N, spatial..., kernel..., groups, C), and as matrices (groups, pixels, taps).
        """
        rank = len(pixels) - 1
        kernel, channels = (taps[:-1], taps[-1]) if self.channels_last else (taps[1:], taps[0])
        shape = tuple([b - a for a, b in (*pixels, *kernel, (0, groups), channels)])
        pixel_axes = [*range(1, rank + 1), 0] if self.batch_last else [*range(rank + 1)]
        kernel_axes = [*range(rank + 1, 2 * rank + 1)]
        tap_axes = [*kernel_axes, 2 * rank + 2] if self.channels_last else [2 * rank + 2, *kernel_axes]
        order = [2 * rank + 1, *(tap_axes + pixel_axes if self.planar else pixel_axes + tap_axes)]
        strides = strides_of(shape, order, self.dtype.itemsize)
        matrix = groups, math.prod(shape[:rank + 1]), math.prod(shape[rank + 1:2 * rank + 1]) * shape[-1]
        matrix_strides = strides[2 * rank + 1], strides[pixel_axes[-1]], strides[tap_axes[-1]]
        return (np.ndarray(shape, self.dtype, memory, self.columns_at, strides),
                np.ndarray(matrix, self.dtype, memory, self.columns_at, matrix_strides))


_plan = kept(_Plan)


def scatter(gy: np.ndarray, w: Filters, bias: np.ndarray | None, gather: Gather, activation: str | None, gx: np.ndarray,
            channels_last: bool) -> None:
    """gx = activation(bias + what gy contributes through the filters w), where `gather` computes y from x."""
    dtype = w.dtype
    plan = _plan(gather, w.count, dtype, channels_last, w.matrix is not None)
    gx_view, gy_view = images(gx, gather.groups, channels_last), images(gy, gather.groups, channels_last)
    in_place = gx.dtype == dtype and not plan.batch_last and (
        plan.planar != channels_last or gather.channels * gather.groups == 1)
    gy_ready = gy.dtype == dtype and gy.flags.c_contiguous and not plan.batch_last
    bias_rows = None if bias is None else bias.astype(dtype, copy=False).reshape(gather.groups, gather.channels)

    def gradients(pixels: Box, groups: tuple[int, int], filters: tuple[int, int], memory: np.ndarray) -> np.ndarray:
        flat = _flat(pixels, (gather.batch, *gather.output), channels_last) if gy_ready else None
        if flat is not None:
            return plan.gy_pixels.matrix(gy, *flat, groups, filters)
        buffer = PixelBuffer(pixels, groups, filters, dtype, not channels_last, plan.gy_at, plan.batch_last)
        at: Any = (*buffer.box, slice(*groups), slice(*filters))
        buffer.images(memory)[...] = gy_view[at]
        return buffer.matrix(memory)

    def compute(i: int, memory: np.ndarray) -> None:
        group, t = divmod(i, plan.tiles.count)
        groups, tile = plan.groups[group].box[0], plan.tiles[t].box
        buffer = PixelBuffer(tile, groups, (0, gather.channels), dtype, plan.planar, plan.gx_at, plan.batch_last)
        target = gx_view[(*buffer.box, slice(*groups))] if in_place else buffer.images(memory)
        target[...] = 0
        origin = [a for a, _ in tile[1:]]
        local = gather._replace(before=tuple([b + a for a, b in zip(origin, gather.before)]),
                                size=tuple([b - a for a, b in tile[1:]]))
        sources = plan.sources(tile)
        for pixels in plan.rounds(sources):
            batch = slice(pixels[0][0] - tile[0][0], pixels[0][1] - tile[0][0])
            for filters in plan.filters.all:
                operand = gradients(pixels, groups, filters.box[0], memory)
                for taps in plan.taps.all:
                    windows, matrix = plan.contributions(pixels, taps.box, groups[1] - groups[0], memory)
                    block = w.block(groups, taps, filters.box[0], memory)
                    multiply(operand, block.transpose(0, 2, 1), matrix)
                    kernel, channels = (taps.box[:-1], taps.box[-1]) if channels_last else (taps.box[1:], taps.box[0])
                    for at_target, at_pixels, at_taps in local.meetings(pixels, kernel):
                        to: Any = (batch, *at_target, slice(None), slice(*channels))
                        of: Any = (slice(None), *at_pixels, *at_taps)
                        target[to] += windows[of]
        finish(target, None if bias_rows is None else bias_rows[slice(*groups)], activation)
        if not in_place:
            gx_view[(*buffer.box, slice(*groups))] = target

    parallel_for(plan.units, compute, plan.scratch)


def _flat(box: Box, sizes: tuple[int, ...], channels_last: bool) -> tuple[int, int] | None:
    """The flat range of a box, if it is contiguous in row-major order (and, with channels first, within one image)."""
    if not channels_last and box[0][1] - box[0][0] != 1:
        return None
    start, count, whole = 0, 1, True  # whole: the inner axes visited so far are covered completely
    for (a, b), n in zip(reversed(box), reversed(sizes)):
        if not whole and b - a != 1:
            return None
        whole = whole and b - a == n
        count *= b - a
    for (a, _), n in zip(box, sizes):
        start = start * n + a
    return start, start + count
