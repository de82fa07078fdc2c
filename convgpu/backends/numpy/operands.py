"""The operands of a tile's matrix product: columns gathered from images, blocks of pixels, blocks of filters.

Each class is a plan: it knows shapes, strides and offsets into a thread's scratch memory, is made once per geometry,
and is then applied to arrays. All give matrices (groups, rows, columns) that BLAS takes as they are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from .tiles import Block, Blocks, Box, Gather

Slices = tuple[slice, ...]

_CHECKED = 1 << 20  # elements that a search for Inf and NaN takes at once


def strides_of(sizes: Sequence[int], order: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """The strides of a dense array whose axes lie in memory in this order, the last one fastest."""
    strides, step = [0] * len(sizes), itemsize
    for axis in reversed(order):
        strides[axis] = step
        step *= sizes[axis]
    return tuple(strides)


def aligned(size: int) -> int:
    """The size rounded up to whole cache lines."""
    return -(-size // 64) * 64


class PixelBuffer:
    """Scratch memory for a tile of images, seen as (N, spatial..., groups, C) and as a matrix (groups, pixels, C)."""

    def __init__(self, box: Box, groups: tuple[int, int], channels: tuple[int, int], dtype: np.dtype, planar: bool,
                 offset: int):
        sizes = tuple([b - a for a, b in (*box, groups, channels)])
        rank = len(box)
        order = (rank, rank + 1, *range(rank)) if planar else range(rank + 2)
        strides = strides_of(sizes, order, dtype.itemsize)
        pixels = math.prod(sizes[:rank])
        self._args = sizes, dtype, offset, strides
        self._matrix_args = ((sizes[rank], pixels, sizes[rank + 1]), dtype, offset,
                             (strides[rank], strides[rank - 1], strides[rank + 1]))
        self.box = tuple([slice(a, b) for a, b in box])
        self.bytes = aligned(math.prod(sizes) * dtype.itemsize)

    def images(self, memory: np.ndarray) -> np.ndarray:
        """The buffer as images."""
        shape, dtype, offset, strides = self._args
        return np.ndarray(shape, dtype, memory, offset, strides)

    def matrix(self, memory: np.ndarray) -> np.ndarray:
        """The buffer as matrices."""
        shape, dtype, offset, strides = self._matrix_args
        return np.ndarray(shape, dtype, memory, offset, strides)


class Region:
    """What the windows of a block of output pixels cover of a source, padded and converted in scratch memory.

    Or the source itself (`direct`: it is dense, of the right dtype, and no window reaches outside). `planar`: pixels
    vary fastest in memory, else channels do.
    """

    def __init__(self, gather: Gather, pixels: Box, kernel: Box, groups: tuple[int, int], channels: tuple[int, int],
                 dtype: np.dtype, planar: bool, direct: bool, offset: int):
        rank = len(kernel)
        spans = [(q - p - 1) * step + (s - r - 1) * d + 1 for (p, q), (r, s), step, d
                 in zip(pixels[1:], kernel, gather.step, gather.dilation)]
        self.sizes = (pixels[0][1] - pixels[0][0], *spans, groups[1] - groups[0], channels[1] - channels[0])
        stored = (gather.batch, *gather.size, gather.groups, gather.channels) if direct else self.sizes
        order = [0, rank + 1, rank + 2, *range(1, rank + 1)] if planar else [*range(rank + 3)]
        self.strides = strides_of(stored, order, dtype.itemsize)
        self.bytes = 0 if direct else aligned(math.prod(self.sizes) * dtype.itemsize)

        source, inside = [], []
        for (a, _), (r, _), step, d, before, n, spread, span in zip(
                pixels[1:], kernel, gather.step, gather.dilation, gather.before, gather.size, gather.spread, spans):
            start = a * step + r * d - before  # of the region, in the source spread out
            first, last = max(-(-start // spread), 0), min(-(-(start + span) // spread), n)
            source.append(slice(first, max(first, last)))
            begin = first * spread - start
            inside.append(slice(begin, begin + (last - first - 1) * spread + 1, spread) if last > first else slice(0, 0))
        self._source = (slice(*pixels[0]), *source, slice(*groups), slice(*channels))
        self._inside = (slice(None), *inside)
        self._clipped = any(len(range(*s.indices(n))) != n for s, n in zip(inside, spans))
        self._dtype = dtype
        self.offset = sum(s.start * m for s, m in zip(self._source, self.strides)) if direct else offset
        self.direct = direct

    def load(self, x: np.ndarray, view: np.ndarray, memory: np.ndarray) -> np.ndarray:
        """The memory in which windows are found at `offset`, with `strides`."""
        if self.direct:
            return x
        image = np.ndarray(self.sizes, self._dtype, memory, self.offset, self.strides)
        if self._clipped:
            image.fill(0)
        image[self._inside] = view[self._source]
        return memory


class Columns:
    """im2col: the columns (groups, pixels, taps) that a block of output pixels gathers through a block of taps.

    Where windows overlap, they are read from a Region by one assignment; else each tap is copied by itself.
    """

    def __init__(self, gather: Gather, pixels: Box, taps: Box, groups: tuple[int, int], dtype: np.dtype, planar: bool,
                 channels_last: bool, direct: bool, offset: int):
        rank = len(gather.size)
        kernel, channels = (taps[:-1], taps[-1]) if channels_last else (taps[1:], taps[0])
        self._gather, self._pixels, self._kernel = gather, pixels, kernel
        self._outer, self._channels = slice(*pixels[0]), (slice(*groups), slice(*channels))
        region = Region(gather, pixels, kernel, groups, channels, dtype, not channels_last if direct else planar, direct,
                        offset)
        n, *p, g, c = [b - a for a, b in (*pixels, groups, channels)]
        r = [b - a for a, b in kernel]
        overlapping = direct or math.prod(region.sizes[1:-2]) <= math.prod(p) * math.prod(r)
        self._region = region if overlapping else None
        offset += region.bytes if overlapping else 0

        shape = (n, *p, *r, g, c)
        pixel_axes, kernel_axes = [*range(rank + 1)], [*range(rank + 1, 2 * rank + 1)]
        tap_axes = [*kernel_axes, 2 * rank + 2] if channels_last else [2 * rank + 2, *kernel_axes]
        order = [2 * rank + 1, *(tap_axes + pixel_axes if planar else pixel_axes + tap_axes)]
        strides = strides_of(shape, order, dtype.itemsize)
        self._columns = shape, dtype, offset, strides
        self._matrix = ((g, n * math.prod(p), math.prod(r) * c), dtype, offset,
                        (strides[2 * rank + 1], strides[rank], strides[tap_axes[-1]]))
        spatial = region.strides[1:-2]
        self._windows = (region.strides[0], *[m * step for m, step in zip(spatial, gather.step)],
                         *[m * d for m, d in zip(spatial, gather.dilation)], *region.strides[-2:])
        self.bytes = (region.bytes if overlapping else 0) + aligned(math.prod(shape) * dtype.itemsize)

    def pack(self, x: np.ndarray, view: np.ndarray, memory: np.ndarray) -> np.ndarray:
        """The columns of images `x`; `view` is x as (N, spatial..., groups, C)."""
        shape, dtype, offset, strides = self._columns
        columns = np.ndarray(shape, dtype, memory, offset, strides)
        if self._region is None:
            self._pack_taps(view, columns)
        else:
            columns[...] = np.ndarray(shape, dtype, self._region.load(x, view, memory), self._region.offset, self._windows)
        shape, dtype, offset, strides = self._matrix
        return np.ndarray(shape, dtype, memory, offset, strides)

    def _pack_taps(self, view: np.ndarray, columns: np.ndarray) -> None:
        if not self._gather.inside:
            columns.fill(0)
        for tap in itertools.product(*[range(b - a) for a, b in self._kernel]):
            at_source, at_pixels = self._gather.meet(self._pixels, [a + r for r, (a, _) in zip(tap, self._kernel)])
            columns[(slice(None), *at_pixels, *tap)] = view[(self._outer, *at_source, *self._channels)]


class Filters:
    """Filters (groups, taps..., C, K) as matrices (groups, taps, K), in blocks.

    As one view of the caller's array where BLAS can read it as it is; as one converted copy where that is small; else
    each block is copied to scratch memory when it is needed.
    """

    LIMIT = 14 * 2**20  # bytes of the converted copy

    def __init__(self, view: np.ndarray, dtype: np.dtype, channels_last: bool):
        self._view = by_taps(view, channels_last)
        self.dtype, self.count = dtype, view.shape[-1]
        self.matrix: np.ndarray | None = merged(self._view) if view.dtype == dtype else None
        if self.matrix is None and view.size * dtype.itemsize <= self.LIMIT:
            self.matrix = merged(np.ascontiguousarray(self._view, dtype))

    def block(self, groups: tuple[int, int], taps: Block, filters: tuple[int, int], memory: np.ndarray) -> np.ndarray:
        """The matrices of a block of groups, taps and filters; a copy made for it lies at the start of the memory."""
        if self.matrix is not None:
            return self.matrix[groups[0]:groups[1], taps.start:taps.stop, filters[0]:filters[1]]
        box = (slice(*groups), *[slice(a, b) for a, b in taps.box], slice(*filters))
        block = self._view[box]
        copy = np.ndarray(block.shape, self.dtype, memory)
        copy[...] = block
        return copy.reshape(block.shape[0], -1, block.shape[-1])

    def finite(self) -> bool:
        """Whether no filter holds Inf or NaN."""
        whole = self._view if self.matrix is None else self.matrix
        if whole.size <= _CHECKED:
            return bool(np.isfinite(whole).all())
        return all(bool(np.isfinite(whole[tuple(slice(a, b) for a, b in part.box)]).all())
                   for part in Blocks(whole.shape, _CHECKED))


def by_taps(view: np.ndarray, channels_last: bool) -> np.ndarray:
    """Filters (groups, taps..., C, K) with their taps in the order in which columns have them: that of the memory."""
    return view if channels_last else view.transpose(0, view.ndim - 2, *range(1, view.ndim - 2), view.ndim - 1)


def merged(view: np.ndarray) -> np.ndarray | None:
    """Filters (groups, taps..., K) as matrices (groups, taps, K), if BLAS can read and write these in place."""
    shape = view.shape[0], math.prod(view.shape[1:-1]), view.shape[-1]
    expected = None
    for n, stride in zip(reversed(view.shape[1:-1]), reversed(view.strides[1:-1])):
        if n > 1:
            if stride != (expected or stride):
                return None
            expected = stride * n
    flat = np.reshape(view, shape)  # a view, by the check above
    rows, columns = flat.strides[1:]
    item = flat.itemsize
    readable = (columns == item and rows % item == 0 and rows >= shape[2] * item) or (
        rows == item and columns % item == 0 and columns >= shape[1] * item)
    return flat if readable else None
