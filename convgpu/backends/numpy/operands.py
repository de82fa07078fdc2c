"""The operands of a tile's matrix product: columns gathered from images, blocks of pixels, blocks of filters.

Each class is a plan: it knows shapes, strides and offsets into a thread's scratch memory, is made once per geometry,
and is then applied to arrays. All classes produce matrices (groups, rows, columns) that BLAS reads without a copy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .gemm import product
from .tiles import Block, Blocks, Box, Gather, filters

Slices = tuple[slice, ...]

_CHECKED = 1 << 20  # elements that a search for Inf and NaN reads at once


_PLAIN = 256  # terms of a sum that BLAS may add up in a plain sequence
_SMALL = 1 << 20  # below so many multiply-adds, some builds of BLAS do not block long sums


def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> np.ndarray:
    """out = a @ b for (groups, M, K) and (groups, K, N); long sums are taken in blocks.

    BLAS by itself blocks the sums of matrix products, but not of products with a vector, and not always of small ones.
    """
    (m, k), n = a.shape[1:], b.shape[2]
    if k > _PLAIN and (m == 1 or n == 1 or m * n * k <= _SMALL):
        product(a, b, out)
        return out
    return np.matmul(a, b, out=out)


def strides_of(sizes: Sequence[int], order: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """The strides of a dense array whose axes lie in memory in the given order; the last one varies fastest.
    """
    strides, step = [0] * len(sizes), itemsize
    for axis in reversed(order):
        strides[axis] = step
        step *= sizes[axis]
    return tuple(strides)


def aligned(size: int) -> int:
    """The size rounded up to whole cache lines."""
    return -(-size // 64) * 64


class Packing:
    """How the columns of one geometry are made; fprop, dgrad and wgrad share these choices."""

    SHORT_RUN = 24  # elements: where runs of channels are shorter, columns are packed with pixels varying fastest

    def __init__(self, gather: Gather, channels_last: bool, ready: bool):
        run = gather.channels * (gather.kernel[-1] if gather.dilation[-1] == 1 else 1)
        self.planar = not channels_last or run < self.SHORT_RUN
        self.in_place = ready and gather.pointwise  # the images themselves are the columns
        suits = self.planar != channels_last or gather.channels == gather.groups == 1
        self.direct = ready and suits and gather.inside  # windows are read from the images themselves
        self.taps = (*gather.kernel, gather.channels) if channels_last else (gather.channels, *gather.kernel)


class PixelBuffer:
    """Scratch memory for a tile of images, seen as (N, spatial..., groups, C) and as a matrix (groups, pixels, C).

    `batch_last`: among the axes of pixels the batch varies fastest, in memory and along the matrix.
    """

    def __init__(self, box: Box, groups: tuple[int, int], channels: tuple[int, int], dtype: np.dtype, planar: bool,
                 offset: int, batch_last: bool = False):
        sizes = tuple([b - a for a, b in (*box, groups, channels)])
        rank = len(box)
        axes = [*range(1, rank), 0] if batch_last else [*range(rank)]
        strides = strides_of(sizes, [rank, rank + 1, *axes] if planar else [*axes, rank, rank + 1], dtype.itemsize)
        pixels = math.prod(sizes[:rank])
        self._args = sizes, dtype, offset, strides
        self._matrix_args = ((sizes[rank], pixels, sizes[rank + 1]), dtype, offset,
                             (strides[rank], strides[axes[-1]], strides[rank + 1]))
        self.box = tuple([slice(a, b) for a, b in box])
        self.bytes = aligned(math.prod(sizes) * dtype.itemsize)

    def images(self, memory: np.ndarray) -> np.ndarray:
        """The buffer seen as images."""
        shape, dtype, offset, strides = self._args
        return np.ndarray(shape, dtype, memory, offset, strides)

    def matrix(self, memory: np.ndarray) -> np.ndarray:
        """The buffer seen as matrices."""
        shape, dtype, offset, strides = self._matrix_args
        return np.ndarray(shape, dtype, memory, offset, strides)


class Region:
    """The part of a source that the windows of a block of output pixels cover, padded and converted in scratch memory.

    With `direct` it is the source itself, which then is dense, has the right dtype, and contains every window. With
    `planar` pixels vary fastest in memory, otherwise channels do.
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
            start = a * step + r * d - before  # the first pixel of the region, in the source spread out
            first, last = max(-(-start // spread), 0), min(-(-(start + span) // spread), n)
            source.append(slice(first, max(first, last)))
            begin = first * spread - start
            end = begin + (last - first - 1) * spread + 1
            inside.append(slice(begin, end, spread) if last > first else slice(0, 0))
        self._source = (slice(*pixels[0]), *source, slice(*groups), slice(*channels))
        self._inside = (slice(None), *inside)
        self._clipped = any(len(range(*s.indices(n))) != n for s, n in zip(inside, spans))
        self._dtype = dtype
        self.offset = sum(s.start * m for s, m in zip(self._source, self.strides)) if direct else offset
        self.direct = direct

    def load(self, x: np.ndarray, view: np.ndarray, memory: np.ndarray) -> np.ndarray:
        """Fill the memory, and return the array in which the windows lie at `offset` with `strides`."""
        if self.direct:
            return x
        image = np.ndarray(self.sizes, self._dtype, memory, self.offset, self.strides)
        if self._clipped:
            image.fill(0)
        image[self._inside] = view[self._source]
        return memory


class Columns:
    """im2col: the columns (groups, pixels, taps) that a block of output pixels reads through a block of taps.

    Where windows overlap, one assignment reads them from a Region; otherwise each tap is copied by itself.
    """

    def __init__(self, gather: Gather, packing: Packing, pixels: Box, taps: Box, groups: tuple[int, int],
                 dtype: np.dtype, channels_last: bool, offset: int):
        planar, direct, rank = packing.planar, packing.direct, len(gather.size)
        kernel, channels = (taps[:-1], taps[-1]) if channels_last else (taps[1:], taps[0])
        self._gather, self._pixels, self._kernel = gather, pixels, kernel
        self._outer, self._channels = slice(*pixels[0]), (slice(*groups), slice(*channels))
        in_memory = not channels_last if direct else planar
        region = Region(gather, pixels, kernel, groups, channels, dtype, in_memory, direct, offset)
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
            source = self._region.load(x, view, memory)
            columns[...] = np.ndarray(shape, dtype, source, self._region.offset, self._windows)
        shape, dtype, offset, strides = self._matrix
        return np.ndarray(shape, dtype, memory, offset, strides)

    def _pack_taps(self, view: np.ndarray, columns: np.ndarray) -> None:
        if not self._gather.inside:
            columns.fill(0)
        for at_source, at_pixels, at_taps in self._gather.meetings(self._pixels, self._kernel):
            to: Any = (slice(None), *at_pixels, *at_taps)
            columns[to] = view[(self._outer, *at_source, *self._channels)]


class Filters:
    """Filters as matrices (groups, taps, K), in blocks.

    Taps are in the same order as in columns: (taps..., C) with channels last, (C, taps...) with channels first. The
    matrices are the caller's array where BLAS can read it directly, or one converted copy where that is small.
    Otherwise each block is copied to scratch memory when it is needed. `flipped` filters gather gx from gy.
    """

    LIMIT = 14 * 2**20  # bytes of the converted copy

    def __init__(self, w: np.ndarray, groups: int, channels_last: bool, dtype: np.dtype, flipped: bool = False):
        self._w, self._groups, self._channels_last, self._flipped = w, groups, channels_last, flipped
        self.dtype = dtype
        k, c = (w.shape[-1], w.shape[-2]) if channels_last else w.shape[:2]
        k //= groups
        self.count = c if flipped else k
        self.matrix: np.ndarray | None = None
        if w.dtype == dtype and w.flags.c_contiguous and not (flipped and w.size != c * k * groups):
            self.matrix = _in_place(w, groups, k, channels_last)
            if flipped:  # with one tap, flipping is a transpose
                self.matrix = self.matrix.transpose(0, 2, 1)
        elif w.size * dtype.itemsize <= self.LIMIT:
            view = self._by_taps()
            self.matrix = view.astype(dtype, order="C").reshape(groups, -1, self.count)

    def view(self) -> np.ndarray:
        """The filters as (groups, taps..., C, K)."""
        view = filters(self._w, self._groups, self._channels_last)
        if not self._flipped:
            return view
        backwards: Any = (slice(None), *[slice(None, None, -1)] * (view.ndim - 3))
        return view[backwards].swapaxes(-1, -2)

    def _by_taps(self) -> np.ndarray:
        view = self.view()
        return view if self._channels_last else view.transpose(0, -2, *range(1, view.ndim - 2), -1)

    def block(self, groups: tuple[int, int], taps: Block, filters: tuple[int, int], memory: np.ndarray) -> np.ndarray:
        """The matrices of a block of groups, taps and filters; where a copy is made, it lies at the start of `memory`.
        """
        if self.matrix is not None:
            return self.matrix[groups[0]:groups[1], taps.start:taps.stop, filters[0]:filters[1]]
        at: Any = (slice(*groups), *[slice(a, b) for a, b in taps.box], slice(*filters))
        block = self._by_taps()[at]
        copy = np.ndarray(block.shape, self.dtype, memory)
        copy[...] = block
        return copy.reshape(block.shape[0], -1, block.shape[-1])

    def finite(self) -> bool:
        """Whether no filter holds Inf or NaN."""
        whole = self._w if self.matrix is None else self.matrix
        if whole.size <= _CHECKED:
            return bool(np.isfinite(whole).all())
        return all(bool(np.isfinite(whole[tuple([slice(a, b) for a, b in part.box])]).all())
                   for part in Blocks(whole.shape, _CHECKED))


def _in_place(w: np.ndarray, groups: int, k: int, channels_last: bool) -> np.ndarray:
    """Dense filters viewed as matrices (groups, taps, K)."""
    item, taps = w.itemsize, w.size // (groups * k)
    strides = (k * item, groups * k * item, item) if channels_last else (k * taps * item, item, taps * item)
    return np.ndarray((groups, taps, k), w.dtype, w, 0, strides)


def filter_gradient(gw: np.ndarray, groups: int, channels_last: bool) -> np.ndarray:
    """The new array of a filter gradient viewed as matrices (groups, taps, K)."""
    return _in_place(gw, groups, gw.shape[-1 if channels_last else 0] // groups, channels_last)
