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


class Columns:
    """im2col: the columns (groups, pixels, taps) that a block of output pixels gathers through a block of taps.

    Where windows overlap, their region of the source goes first into a padded copy of the right dtype (unless `direct`:
    the source is dense, of the right dtype, and no window reaches outside), and from there into the columns by one
    assignment; else each tap is copied by itself. `planar`: pixels vary fastest in memory, else channels do.
    """

    def __init__(self, gather: Gather, pixels: Box, taps: Box, groups: tuple[int, int], dtype: np.dtype, planar: bool,
                 channels_last: bool, direct: bool, offset: int):
        rank = len(gather.size)
        kernel, channels = (taps[:-1], taps[-1]) if channels_last else (taps[1:], taps[0])
        self._gather, self._pixels, self._kernel, self._dtype = gather, pixels, kernel, dtype
        self._outer = slice(*pixels[0])
        self._channels = slice(*groups), slice(*channels)
        n, *p, g, c = [b - a for a, b in (*pixels, groups, channels)]
        r = [b - a for a, b in kernel]
        self.direct = direct
        spans = [(m - 1) * step + (f - 1) * d + 1 for m, f, step, d in zip(p, r, gather.step, gather.dilation)]
        self._tapwise = math.prod(spans) > math.prod(p) * math.prod(r)
        self._image = (n, *spans, g, c), self._image_strides((n, *spans, g, c), rank, planar, channels_last), offset
        image_bytes = 0 if direct or self._tapwise else aligned(math.prod(self._image[0]) * dtype.itemsize)
        self._place_region()

        shape = (n, *p, *r, g, c)
        pixel_axes, kernel_axes = [*range(rank + 1)], [*range(rank + 1, 2 * rank + 1)]
        tap_axes = [*kernel_axes, 2 * rank + 2] if channels_last else [2 * rank + 2, *kernel_axes]
        order = [2 * rank + 1, *(tap_axes + pixel_axes if planar else pixel_axes + tap_axes)]
        strides = strides_of(shape, order, dtype.itemsize)
        self._columns = shape, dtype, offset + image_bytes, strides
        self._matrix = ((g, n * math.prod(p), math.prod(r) * c), dtype, offset + image_bytes,
                        (strides[2 * rank + 1], strides[rank], strides[tap_axes[-1]]))
        self._windows = (self._image[1][0], *[m * step for m, step in zip(self._image[1][1:], gather.step)],
                         *[m * d for m, d in zip(self._image[1][1:], gather.dilation)], *self._image[1][-2:])
        self.bytes = image_bytes + aligned(math.prod(shape) * dtype.itemsize)

    def _image_strides(self, axes: tuple[int, ...], rank: int, planar: bool, channels_last: bool) -> tuple[int, ...]:
        """Strides of what the windows are read from, as images (N, spatial..., groups, C)."""
        if self.direct:
            axes = (self._gather.batch, *self._gather.size, self._gather.groups, self._gather.channels)
            planar = not channels_last
        order = [0, rank + 1, rank + 2, *range(1, rank + 1)] if planar else [*range(rank + 3)]
        return strides_of(axes, order, self._dtype.itemsize)

    def _place_region(self) -> None:
        """Which part of the source the windows cover, and where it lies in the padded copy."""
        source: list[slice] = []
        inside: list[slice] = []
        gather = self._gather
        for (a, _), (r, _), step, d, before, size, span in zip(self._pixels[1:], self._kernel, gather.step, gather.dilation,
                                                               gather.before, gather.size, self._image[0][1:]):
            start = a * step + r * d - before
            first, last = max(start, 0), min(start + span, size)
            source.append(slice(first, max(first, last)))
            inside.append(slice(first - start, first - start + max(last - first, 0)))
        self._source = (self._outer, *source, *self._channels)
        self._inside = (slice(None), *inside)
        self._clipped = any(s.stop - s.start != span for s, span in zip(inside, self._image[0][1:]))
        self._base = sum(s.start * m for s, m in zip(self._source, self._image[1])) if self.direct else self._image[2]

    def pack(self, x: np.ndarray, view: np.ndarray, memory: np.ndarray) -> np.ndarray:
        """The columns of images `x`; `view` is x as (N, spatial..., groups, C)."""
        shape, dtype, offset, strides = self._columns
        columns = np.ndarray(shape, dtype, memory, offset, strides)
        if self.direct:
            columns[...] = np.ndarray(shape, dtype, x, self._base, self._windows)
        elif self._tapwise:
            self._pack_taps(view, columns)
        else:
            axes, image_strides, at = self._image
            image = np.ndarray(axes, dtype, memory, at, image_strides)
            if self._clipped:
                image.fill(0)
            image[self._inside] = view[self._source]
            columns[...] = np.ndarray(shape, dtype, memory, at, self._windows)
        return np.ndarray(self._matrix[0], dtype, memory, self._matrix[2], self._matrix[3])

    def _pack_taps(self, view: np.ndarray, columns: np.ndarray) -> None:
        if self._clipped:
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
