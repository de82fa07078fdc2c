"""How the work of a convolution is cut into boxes of pixels and of filter taps, and the views of arrays that they name.

In this package images are always seen as (N, spatial..., groups, C) and filters as (groups, taps..., C, K), with C and
K per group, whatever the layout in memory. These are views; only the copies that tiles make have an order that is fast
for BLAS.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ...geometry import ConvGeometry, extent

Box = tuple[tuple[int, int], ...]  # a half-open range per axis


class Block(NamedTuple):
    """One part of a box of sizes: its range of flat indices in row-major order, and its range along each axis."""

    start: int
    stop: int
    box: Box


class Blocks:
    """A box of sizes cut into parts of at most `limit` elements, each of them contiguous in row-major order."""

    def __init__(self, sizes: Sequence[int], limit: int):
        self.sizes = tuple(sizes)
        self.parts: tuple[int, ...] = ()  # the length of a part along each axis
        for n in reversed(self.sizes):
            count = -(-n // max(limit, 1))
            self.parts = (-(-n // count), *self.parts) if n else (0, *self.parts)
            limit = limit // n if count == 1 and n else 1
        self.counts: tuple[int, ...] = tuple(-(-n // part) if part else 0 for n, part in zip(self.sizes, self.parts))
        self.count = math.prod(self.counts)
        self.largest = math.prod(self.parts)

    @cached_property
    def all(self) -> list[Block]:
        """Every part, in row-major order."""
        return list(self)

    def __iter__(self) -> Iterator[Block]:
        return (self[i] for i in range(self.count))

    def __getitem__(self, i: int) -> Block:
        box: Box = ()
        for n, part, count in zip(reversed(self.sizes), reversed(self.parts), reversed(self.counts)):
            i, j = divmod(i, count)
            box = ((j * part, min(j * part + part, n)), *box)
        start = 0
        for n, (first, _) in zip(self.sizes, box):
            start = start * n + first
        return Block(start, start + math.prod([b - a for a, b in box]), box)


class Gather(NamedTuple):
    """The source pixel that output pixel p reads at tap r, along each spatial axis: p * step + r * dilation - before.

    `spread`: the distance between the source's pixels, with zeros between them.
    """

    batch: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    step: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]
    output: tuple[int, ...]
    groups: int
    channels: int  # the channels of the source in each group
    spread: tuple[int, ...]

    @property
    def taps(self) -> int:
        """The number of terms of each sum."""
        return math.prod(self.kernel) * self.channels

    @property
    def inside(self) -> bool:
        """Whether every tap of every output lies on a pixel of the source."""
        return set(self.spread) == {1} and all([
            before <= 0 and (out - 1) * step + (f - 1) * d - before < n for n, f, step, d, before, out
            in zip(self.size, self.kernel, self.step, self.dilation, self.before, self.output)])

    @property
    def pointwise(self) -> bool:
        """Whether every output pixel reads only the source pixel at its own place."""
        return self.size == self.output and set(self.kernel + self.step) == {1} and not any(self.before)

    def meet(self, pixels: Box, tap: Sequence[int]) -> tuple[list[slice], list[slice]]:
        """For one tap and a box of outputs, along each spatial axis: slices of the source pixels, and of their readers.

        The first axis of `pixels` is the batch. Outputs whose tap lies outside the source are left out.
        """
        at_source, at_pixels = [], []
        for (a, b), r, step, d, before, n in zip(pixels[1:], tap, self.step, self.dilation, self.before, self.size):
            shift = r * d - before  # output p reads pixel p * step + shift, if that is in [0, n)
            first = max(-(shift // step), a)
            stop = max(min((n - 1 - shift) // step + 1, b), first)
            start = first * step + shift
            at_pixels.append(slice(first - a, stop - a))
            at_source.append(slice(start, start + (stop - first - 1) * step + 1, step) if stop > first else slice(0, 0))
        return at_source, at_pixels

    def meetings(self, pixels: Box, kernel: Box) -> Iterator[tuple[list[slice], list[Any], list[Any]]]:
        """Everything that a box of outputs (batch first) reads through a box of taps, in few large pieces.

        Each piece names source pixels, outputs and taps (the last two counted from the start of their boxes). A piece
        is one tap with all outputs, or one output with all taps, whichever gives fewer pieces.
        """
        def size(box: Box) -> int:
            return math.prod([b - a for a, b in box])

        if size(kernel) <= size(pixels[1:]):
            for tap in itertools.product(*[range(*r) for r in kernel]):
                at_source, at_pixels = self.meet(pixels, tap)
                yield at_source, at_pixels, [r - a for r, (a, _) in zip(tap, kernel)]
        else:  # in p * step + r * dilation, outputs and taps can change places
            swapped = self._replace(step=self.dilation, dilation=self.step)
            for pixel in itertools.product(*[range(*p) for p in pixels[1:]]):
                at_source, at_taps = swapped.meet((pixels[0], *kernel), pixel)
                yield at_source, [p - a for p, (a, _) in zip(pixel, pixels[1:])], at_taps


def forward(geo: ConvGeometry) -> Gather:
    """The gather that computes y from x."""
    before = tuple([a for a, _ in geo.padding])
    return Gather(geo.batch, geo.size, geo.kernel, geo.stride, geo.dilation, before, geo.output, geo.groups,
                  geo.channels // geo.groups, (1,) * geo.rank)


def backward(geo: ConvGeometry) -> Gather:
    """The gather that computes gx from gy spread out by the stride; taps are numbered in reverse."""
    before = tuple(extent(f, d) - 1 - a for f, d, (a, _) in zip(geo.kernel, geo.dilation, geo.padding))
    return Gather(geo.batch, geo.output, geo.kernel, (1,) * geo.rank, geo.dilation, before, geo.size, geo.groups,
                  geo.filters // geo.groups, geo.stride)


def images(x: np.ndarray, groups: int, channels_last: bool) -> np.ndarray:
    """The view (N, spatial..., groups, C) of images."""
    rank = x.ndim - 2
    if channels_last:
        return x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    return x.reshape(x.shape[0], groups, x.shape[1] // groups, *x.shape[2:]).transpose(0, *range(3, 3 + rank), 1, 2)


def filters(w: np.ndarray, groups: int, channels_last: bool) -> np.ndarray:
    """The view (groups, taps..., C, K) of filters."""
    rank = w.ndim - 2
    if channels_last:
        return w.reshape(*w.shape[:-1], groups, w.shape[-1] // groups).transpose(rank + 1, *range(rank + 1), rank + 2)
    return w.reshape(groups, w.shape[0] // groups, *w.shape[1:]).transpose(0, *range(3, 3 + rank), 2, 1)


class Pixels:
    """Dense images seen as matrices (groups, pixels, C): views that BLAS reads and writes in place."""

    def __init__(self, batch: int, spatial: Sequence[int], groups: int, channels: int, dtype: np.dtype,
                 channels_last: bool):
        item, self._dtype, self._channels_last = dtype.itemsize, dtype, channels_last
        self._per_image = math.prod(spatial)
        self._group, self._channel = (channels * item, item) if channels_last else (
            channels * self._per_image * item, self._per_image * item)
        self._pixel = groups * channels * item if channels_last else item
        self._image = groups * channels * self._per_image * item

    def matrix(self, x: np.ndarray, start: int, stop: int, groups: tuple[int, int],
               channels: tuple[int, int]) -> np.ndarray:
        """Pixels start to stop, numbered through all images; with channels first, they must belong to one image."""
        if self._channels_last:
            offset = start * self._pixel
        else:
            n, first = divmod(start, self._per_image)
            offset = n * self._image + first * self._pixel
        offset += groups[0] * self._group + channels[0] * self._channel
        return np.ndarray((groups[1] - groups[0], stop - start, channels[1] - channels[0]), self._dtype, x, offset,
                          (self._group, self._pixel, self._channel))
