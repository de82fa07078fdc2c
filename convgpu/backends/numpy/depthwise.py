"""Depthwise convolution, where each channel has its own filters and sums are too short for a matrix product.

Each tile computes sums of products over sliding windows by one call of np.einsum. Channels lie innermost in memory; at
stride 1 several pixels are joined to a run, so that the innermost loop is long. Tiles of channels-first images are
first put in this order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..epilogue import finish
from .kept import kept, size_with
from .operands import Filters, Region, aligned
from .tiles import Block, Blocks, Gather, filters, images
from .workers import parallel_for

TILE = 1 << 16  # elements of a tile's results
CHANNELS = 2048  # the most channels in one tile
RUN = 2048  # elements of the innermost loop; pixels are joined to runs up to this length
REPEATED = 1 << 20  # elements of the filters after repeating them for each pixel of a run
FILTERS = 1 << 17  # elements of the filters of one block of channels
MULTIPLIER = 8  # the most filters per channel: with more, batched matrix products are as fast
CHAIN = 128  # products that the weight gradient adds up in a plain sequence
SEGMENTS = 16
REMEMBERED = 32  # how many tiles of a plan keep their layout


def suits(gather: Gather, filters: int) -> bool:
    """Whether sums over windows are the faster method: one channel on one side, few on the other."""
    spans = math.prod(gather.step) * math.prod(gather.dilation) * math.prod(gather.spread)
    return gather.groups > 1 and 1 in (gather.channels, filters) and max(gather.channels, filters) <= MULTIPLIER and (
        spans <= 8 and math.prod(gather.kernel) <= FILTERS // 64)


class _Tile:
    """One tile of pixels and channels, with the layout of its windows, results and gradients in memory."""

    def __init__(self, plan: _Plan, groups: tuple[int, int], block: Block):
        gather, run, rank = plan.gather, plan.run, len(plan.gather.size)
        c, item = groups[1] - groups[0], plan.dtype.itemsize
        self.block, self.groups = block, slice(*groups)
        kernel = tuple([(0, f) for f in gather.kernel])
        self.regions = [Region(gather, block.box, kernel, groups, (m, m + 1), plan.dtype, False, plan.direct, 0)
                        for m in range(gather.channels)]
        strides = self.regions[0].strides[:-2]
        sizes = [b - a for a, b in block.box]
        self.shape = (*sizes[:-1], sizes[-1] // run, run * c)  # the shape of the results, with pixels joined to runs
        self.windows = (*self.shape[:-1], *gather.kernel, run * c)
        along = [strides[0], *[m * step for m, step in zip(strides[1:], gather.step)]]
        along[rank] *= run
        self.strides = (*along, *[m * d for m, d in zip(strides[1:], gather.dilation)], item)
        self.box = tuple([slice(a, b) for a, b in block.box])
        self.results_at = self.regions[0].bytes
        self.partial_at = self.results_at + aligned(math.prod(sizes) * c * item)
        self.bytes = self.partial_at + max(aligned(math.prod(sizes) * c * item),
                                           aligned(math.prod(gather.kernel) * run * c * item))


class _Plan:
    """The tiles of one geometry. Of each group, one channel of the source is read at a time."""

    def __init__(self, gather: Gather, dtype: np.dtype, direct: bool, chain: int | None):
        self.gather, self.dtype, self.direct = gather, dtype, direct
        row, taps = gather.output[-1], math.prod(gather.kernel)
        self.groups = Blocks((gather.groups,), max(min(CHANNELS, FILTERS // taps), 1))
        c = self.groups.largest
        pixels = max(TILE // c, 1)
        self.run = 1
        if self.groups.count == 1 and gather.step[-1] == 1 and row <= pixels:
            most = min(RUN // c, REPEATED // (c * taps))
            self.run = max([r for r in range(1, row + 1) if row % r == 0 and r <= most], default=1)
        if chain is not None:
            if row > chain * self.run:
                self.run = 1
            pixels = min(pixels, chain * self.run)
        self.tiles = Blocks((gather.batch, *gather.output), pixels)
        self.units = self.groups.count * self.tiles.count
        segments = SEGMENTS if self.groups.count == 1 else 1
        self.segments = Blocks((self.tiles.count,), -(-self.tiles.count // segments))
        rank = len(gather.size)
        self.subscripts = "npqo"[:rank + 1] + "rst"[:rank] + "c", "rst"[:rank] + "c", "npqo"[:rank + 1] + "c"
        self._remembered: dict[int, _Tile] = {}
        self.scratch = self.tile(0).bytes

    def tile(self, i: int) -> _Tile:
        """The i-th tile; all tiles of a block of channels come before those of the next block."""
        tile = self._remembered.get(i)
        if tile is None:
            group, block = divmod(i, self.tiles.count)
            tile = _Tile(self, self.groups[group].box[0], self.tiles[block])
            if len(self._remembered) < REMEMBERED:
                self._remembered[i] = tile
        return tile

    def windows(self, tile: _Tile, channel: int, x: np.ndarray, view: np.ndarray, memory: np.ndarray) -> np.ndarray:
        """The windows of one channel of each group, as (N, spatial..., kernel..., run)."""
        region = tile.regions[channel]
        source = region.load(x, view, memory)
        return np.ndarray(tile.windows, self.dtype, source, region.offset, tile.strides)


_plan = kept(_Plan, size=lambda plan: size_with(plan, plan.tile(0), min(plan.units, REMEMBERED)))


def _plan_for(x: np.ndarray, gather: Gather, channels_last: bool, dtype: np.dtype, chain: int | None = None) -> _Plan:
    ready = channels_last and gather.channels == 1 and x.dtype == dtype and x.flags.c_contiguous
    return _plan(gather, dtype, ready and gather.inside, chain)


def convolve_depthwise(x: np.ndarray, w: Filters, bias: np.ndarray | None, gather: Gather, activation: str | None,
                       y: np.ndarray, channels_last: bool) -> None:
    """y = activation(bias + the convolution), as in gather.convolve."""
    dtype = w.dtype
    plan = _plan_for(x, gather, channels_last, dtype)
    count = w.count
    x_view, y_view = images(x, gather.groups, channels_last), images(y, gather.groups, channels_last)
    y_rows = y.reshape(-1, gather.groups) if channels_last and count == 1 and y.dtype == dtype else None
    w_view = w.view()
    shared = _filter_rows(w_view, plan.run, dtype) if plan.groups.count == 1 else None
    bias_rows = None if bias is None else bias.astype(dtype, copy=False).reshape(gather.groups, count)
    windows, taps, results = plan.subscripts
    subscripts = f"{windows},{taps}->{results}"

    def compute(i: int, memory: np.ndarray) -> None:
        tile = plan.tile(i)
        start, stop, _ = tile.block
        rows = _filter_rows(w_view[tile.groups], 1, dtype) if shared is None else shared
        for k in range(count):
            if y_rows is not None:
                flat = y_rows[start:stop, tile.groups]
            else:
                flat = np.ndarray((stop - start, tile.groups.stop - tile.groups.start), dtype, memory, tile.results_at)
            out = flat.reshape(tile.shape)
            for channel in range(gather.channels):
                operand = plan.windows(tile, channel, x, x_view, memory)
                factor = rows[channel, k]
                if channel == 0:
                    np.einsum(subscripts, operand, factor, out=out)
                else:
                    partial = np.ndarray(tile.shape, dtype, memory, tile.partial_at)
                    out += np.einsum(subscripts, operand, factor, out=partial)
            finish(flat, None if bias_rows is None else bias_rows[tile.groups, k], activation)
            if y_rows is None:
                at: Any = (*tile.box, tile.groups, k)
                target = y_view[at]
                target[...] = flat.reshape(target.shape)

    parallel_for(plan.units, compute, plan.scratch)


def _filter_rows(w: np.ndarray, run: int, dtype: np.dtype) -> np.ndarray:
    """Filters (groups, taps..., C, K) as (C, K, taps..., run * groups), repeated for each pixel of a run."""
    by_tap = np.moveaxis(w, 0, -1)  # (taps..., C, K, groups)
    *taps, channels, count, groups = by_tap.shape
    rows = np.empty((channels, count, *taps, run, groups), dtype)
    rows[...] = np.moveaxis(by_tap, (-3, -2), (0, 1))[..., None, :]
    return rows.reshape(channels, count, *taps, run * groups)


def weight_gradient_depthwise(x: np.ndarray, gy: np.ndarray, gather: Gather, gw: np.ndarray, channels_last: bool,
                              dtype: np.dtype) -> None:
    """gw becomes the gradient, as in wgrad.weight_gradient; the sums of tiles are added up in float64."""
    plan = _plan_for(x, gather, channels_last, dtype, CHAIN)
    view = filters(gw, gather.groups, channels_last)
    count, segments = view.shape[-1], plan.segments.count
    x_view, gy_view = images(x, gather.groups, channels_last), images(gy, gather.groups, channels_last)
    gy_ready = channels_last and count == 1 and gy.dtype == dtype and gy.flags.c_contiguous
    gy_rows = gy.reshape(-1, gather.groups) if gy_ready else None
    pairs = [(channel, k) for channel in range(gather.channels) for k in range(count)]
    sums = np.zeros((segments, gather.channels, count, *gather.kernel, gather.groups)) if segments > 1 else None
    windows, taps, results = plan.subscripts
    subscripts = f"{windows},{results}->{taps}"

    def compute(i: int, memory: np.ndarray) -> None:
        group, segment = divmod(i, segments)
        first, last, _ = plan.segments[segment]
        mine = slice(*plan.groups[group].box[0])
        shape = gather.channels, count, *gather.kernel, mine.stop - mine.start
        total = np.zeros(shape) if sums is None else sums[segment]
        for t in range(first, last):
            tile = plan.tile(group * plan.tiles.count + t)
            start, stop, _ = tile.block
            c = tile.groups.stop - tile.groups.start
            part = np.ndarray((*gather.kernel, plan.run * c), dtype, memory, tile.partial_at)
            for channel, k in pairs:
                if gy_rows is not None:
                    flat = gy_rows[start:stop, tile.groups]
                else:
                    at: Any = (*tile.box, tile.groups, k)
                    source = gy_view[at]
                    flat = np.ndarray(source.shape, dtype, memory, tile.results_at)
                    flat[...] = source
                operand = plan.windows(tile, channel, x, x_view, memory)
                np.einsum(subscripts, operand, flat.reshape(tile.shape), out=part)
                total[channel, k] += np.add.reduce(part.reshape(*gather.kernel, plan.run, c), axis=-2, dtype=np.float64)

        if sums is None:
            view[mine] = np.moveaxis(total, (0, 1, -1), (-2, -1, 0))

    parallel_for(plan.groups.count * segments, compute, plan.scratch)
    if sums is not None:
        view[...] = np.moveaxis(np.add.reduce(sums, axis=0), (0, 1, -1), (-2, -1, 0))
