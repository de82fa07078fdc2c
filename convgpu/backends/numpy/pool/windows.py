"""What the tiles of pooling share: tables of the pixels that taps read, and the part of the source that a tile needs.

Images are (B, spatial..., C) here; channels_first images are N*C images of one channel. A pass reduces the windows
along one axis. One np.take fetches tap t of all windows, in whole pixels or rows at once, where a ufunc would copy
strided operands piecemeal into buffers. A tap in the padding fetches the nearest tap of its window that is inside the
image: that tap cannot change a maximum, and in a sum the value is set to zero.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np

from ....geometry import PoolGeometry
from ..kept import kept
from ..tiles import Blocks, Box

# Elements of a tile's largest array: large enough to hide the cost of a NumPy call, small enough for the cache.
TILE = 2**17

Made = TypeVar("Made")


# --- the taps of an axis


class Axis:
    """The source pixel that each tap of each output fetches along one axis.

    table[t, o] is the pixel of tap t of output o; where the tap lies outside, it is the nearest tap of the window that
    lies inside. inside[t, o] says which case holds. first[o] is the first tap inside.
    """

    def __init__(self, table: np.ndarray, inside: np.ndarray):
        self.table, self.inside = table, inside
        self.first = inside.argmax(axis=0)
        self.taps, self.outputs = table.shape
        self.outside = [np.flatnonzero(~row).tolist() for row in inside]
        self.is_identity = self.taps == 1 and bool((table == np.arange(self.outputs)).all() and inside.all())


@kept
def windows(geo: PoolGeometry, axis: int) -> Axis:
    """The taps of each window, which compute y from x."""
    o, t = np.arange(geo.output[axis]), np.arange(geo.window[axis])[:, None]
    start = geo.start(axis, o)
    pixel = start + t * geo.dilation[axis]
    inside = (pixel >= 0) & (pixel < geo.size[axis]) & (t < geo.length(axis, o))
    first, last = inside.argmax(axis=0), len(t) - 1 - inside[::-1].argmax(axis=0)
    return Axis(start + np.clip(t, first, last) * geo.dilation[axis], inside)


@kept
def coverage(geo: PoolGeometry, axis: int) -> Axis:
    """The windows that cover each pixel, which compute x's gradient from y's; the transpose of `windows`."""
    forward = windows(geo, axis)
    t, o = np.nonzero(forward.inside)
    pixel = forward.table[t, o]
    order = np.lexsort((o, pixel))
    o, pixel = o[order], pixel[order]
    count = np.bincount(pixel, minlength=geo.size[axis])
    # the number of the window among the windows of its pixel
    turn = np.arange(len(pixel)) - (np.cumsum(count) - count)[pixel]
    table = np.zeros((count.max(), len(count)), np.int64)
    table[turn, pixel] = o
    inside = np.arange(len(table))[:, None] < count
    covered = np.maximum.accumulate(np.where(count > 0, np.arange(len(count)), 0))
    table[0] = table[0, covered]  # an uncovered pixel fetches the same window as its neighbour
    return Axis(np.where(inside, table, table[0]), inside)


Taps = Callable[[PoolGeometry, int], Axis]  # `windows` or `coverage`


@kept
def _same_axis(table: bytes, inside: bytes, taps: int) -> Axis:
    """One shared object for all equal axes, so that interior tiles share their indices."""
    return Axis(np.frombuffer(table, np.int64).reshape(taps, -1), np.frombuffer(inside, bool).reshape(taps, -1))


@kept
def _part(taps: Taps, geo: PoolGeometry, axis: int, lo: int, hi: int) -> tuple[slice, Axis]:
    """For outputs lo to hi of an axis: the source pixels that they need, and the taps numbered within these pixels."""
    whole = taps(geo, axis)
    table = whole.table[:, lo:hi]
    begin, end = int(table.min()), int(table.max()) + 1
    return slice(begin, end), _same_axis((table - begin).tobytes(), whole.inside[:, lo:hi].tobytes(), whole.taps)


@kept
def _index(axis: Axis, rows: int, n: int) -> list[np.ndarray]:
    """For each tap, the pixel that each output fetches, in `rows` rows of n pixels each."""
    return [(taps + (np.arange(rows) * n)[:, None]).reshape(-1) for taps in axis.table]


@kept
def _tap_by_tap_index(axes: tuple[Axis, ...], images: int, sizes: tuple[int, ...]) -> list[np.ndarray]:
    """For each tap of the last axis, the pixels that the outputs along it fetch, row by row. The rows are ordered by
    (tap of the axis before, ..., tap of the first axis, image, outputs of the first axis, ...).
    """
    rows = np.arange(images)
    for axis, n in zip(axes[:-1], sizes):
        rows = rows[..., None] * n + axis.table.reshape(axis.taps, *(1,) * rows.ndim, axis.outputs)
    return [(rows[..., None] * sizes[-1] + taps).reshape(-1) for taps in axes[-1].table]


@kept
def _chained_index(rows: Axis, columns: Axis, width: int) -> list[np.ndarray]:
    """For each tap of the columns, the pixel that each output along them fetches, for rows in the order of `_chain`."""
    order = np.array(_chain(rows)[0])
    return [(order[:, None] * width + taps).reshape(-1) for taps in columns.table]


@kept
def _chain(axis: Axis) -> tuple[list[int], list[int]]:
    """Pixels in an order in which every tap finds the pixels of its outputs one after the other, and each tap's start.

    Taps whose distance is a multiple of the stride share most of their pixels: with stride 2, all even or all odd.
    """
    chains: list[list[tuple[int, bool]]] = []
    places = []
    for pixels, inside in zip(axis.table.tolist(), axis.inside.tolist()):
        wanted = list(zip(pixels, inside))
        shared = len(wanted) - 1
        number = next((n for n, chain in enumerate(chains) if chain[len(chain) - shared:] == wanted[:shared]), None)
        if number is None:
            places.append((len(chains), 0))
            chains.append(wanted)
        else:
            chains[number].append(wanted[-1])
            places.append((number, len(chains[number]) - len(wanted)))
    starts = list(itertools.accumulate([len(chain) for chain in chains], initial=0))
    return [pixel for chain in chains for pixel, _ in chain], [starts[n] + begin for n, begin in places]


# --- tiles


class Pass(NamedTuple):
    """The reduction of one axis of a tile to (rows, outputs, elements).

    `rows` stands for the axes before the reduced one, `elements` for the axes after it and the channels.

    `fetched` returns, for each tap, the index that takes it from (pixels, elements). Where the previous pass has left
    every tap in one contiguous run, `begins` holds the run's first element instead.
    """

    axis: Axis
    rows: int
    elements: int
    fetched: Callable[[], list[np.ndarray]] | None
    begins: Sequence[int] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of the result."""
        return self.rows, self.axis.outputs, self.elements

    @property
    def size(self) -> int:
        """The elements of the result."""
        return self.rows * self.axis.outputs * self.elements

    def taps(self, v: np.ndarray) -> Callable[[int, np.ndarray], np.ndarray]:
        """A function of t and a buffer that returns tap t of all outputs: a view of v if possible, else a copy."""
        if self.fetched is None:
            begins, size = self.begins, self.size
            return lambda t, buffer: v[begins[t]:begins[t] + size]
        index, pixels = self.fetched(), v.reshape(-1, self.elements)

        def take(t: int, buffer: np.ndarray) -> np.ndarray:
            pixels.take(index[t], 0, buffer.reshape(-1, self.elements), "clip")
            return buffer

        return take


class Tile(NamedTuple):
    """Outputs start to stop (contiguous pixels, the `box`), the part of the source that they need, and the passes."""

    start: int
    stop: int
    box: Box
    source: tuple[slice, ...]
    passes: list[Pass]  # in the order in which they run, beginning with the last axis


class Tiling:
    """The tiles of one op, and the number of elements that the largest tile needs."""

    def __init__(self, taps: Taps, geo: PoolGeometry, sources: tuple[int, ...], outputs: tuple[int, ...]):
        images = geo.batch * (1 if geo.channels_last else geo.channels)
        self.channels = geo.channels if geo.channels_last else 1
        largest = max(math.prod(sources[:a]) * math.prod(outputs[a:]) for a in range(geo.rank))
        spread = max(largest / math.prod(outputs), 1)
        blocks = Blocks((images, *outputs), max(int(TILE / (self.channels * spread)), 1))
        self.tiles = [self._tile(taps, geo, *block) for block in blocks.all]
        self.source = max(math.prod([s.stop - s.start for s in t.source]) for t in self.tiles) * self.channels
        self.largest_pass = max(p.size for t in self.tiles for p in t.passes)

    def _tile(self, taps: Taps, geo: PoolGeometry, start: int, stop: int, box: Box) -> Tile:
        (first, last), *spatial = box
        parts = [_part(taps, geo, a, lo, hi) for a, (lo, hi) in enumerate(spatial)]
        pixels, axes = tuple(p for p, _ in parts), tuple(a for _, a in parts)
        sizes = tuple(p.stop - p.start for p in pixels)
        if all(axis.taps * axis.outputs <= n for n, axis in zip(sizes, axes[:-1])):
            passes = self._tap_by_tap(axes, last - first, sizes)
        elif len(axes) == 2 and last - first == 1 and len(_chain(axes[0])[0]) <= sizes[0] + axes[0].taps:
            passes = self._chained(*axes, sizes[1])
        else:
            passes = self._in_order(axes, last - first, sizes)
        return Tile(start, stop, box, (slice(first, last), *pixels), passes)

    def _in_order(self, axes: tuple[Axis, ...], images: int, sizes: tuple[int, ...]) -> list[Pass]:
        """Passes that take their taps from rows in the natural order."""
        passes: list[Pass] = []
        elements = self.channels
        for a in reversed(range(len(axes))):
            rows = images * math.prod(sizes[:a])
            if not (axes[a].is_identity and axes[a].outputs == sizes[a]) or (a == 0 and not passes):
                passes.append(Pass(axes[a], rows, elements, partial(_index, axes[a], rows, sizes[a])))
            elements *= axes[a].outputs
        return passes

    def _tap_by_tap(self, axes: tuple[Axis, ...], images: int, sizes: tuple[int, ...]) -> list[Pass]:
        """Passes for windows that do not overlap: the first orders its rows so that each later tap is one run."""
        passes: list[Pass] = []
        elements = self.channels
        for a in reversed(range(len(axes))):
            rows = images * math.prod([axis.taps * axis.outputs for axis in axes[:a]])
            size = rows * axes[a].outputs * elements
            fetched = None if passes else partial(_tap_by_tap_index, axes, images, sizes)
            passes.append(Pass(axes[a], rows, elements, fetched, range(0, axes[a].taps * size, size)))
            elements *= axes[a].outputs
        return passes

    def _chained(self, rows: Axis, columns: Axis, width: int) -> list[Pass]:
        """Passes for windows of one image that overlap: the first takes rows in the order of `_chain`."""
        order, begins = _chain(rows)
        elements = columns.outputs * self.channels
        fetched = partial(_chained_index, rows, columns, width)
        return [Pass(columns, len(order), self.channels, fetched),
                Pass(rows, 1, elements, None, [begin * elements for begin in begins])]


@kept
def tiling(taps: Taps, geo: PoolGeometry) -> Tiling:
    """The tiles that compute y from x (`windows`), or spread gy to x's pixels (`coverage`)."""
    sources, outputs = (geo.size, geo.output) if taps is windows else (geo.output, geo.size)
    return Tiling(taps, geo, sources, outputs)


class Arena:
    """Arrays that are cut from one block of memory, one after the other."""

    def __init__(self, memory: np.ndarray):
        self._memory, self._used = memory, 0

    def empty(self, size: int, dtype: np.dtype) -> np.ndarray:
        """An uninitialised array of one axis."""
        array: np.ndarray = np.ndarray(size, dtype, self._memory, self._used)
        self._used += -(-array.nbytes // 64) * 64
        return array


def once_per_memory(make: Callable[[np.ndarray], Made]) -> Callable[[np.ndarray], Made]:
    """`make`, called once for each block of memory that the tiles of one op receive."""
    made: dict[int, Made] = {}

    def get(memory: np.ndarray) -> Made:
        key = id(memory)
        return made[key] if key in made else made.setdefault(key, make(memory))

    return get


def images_of(x: np.ndarray, size: tuple[int, ...], geo: PoolGeometry) -> np.ndarray:
    """x as (B, spatial..., C)."""
    x = np.ascontiguousarray(x)
    if geo.channels_last:
        return x.reshape(geo.batch, *size, geo.channels)
    return x.reshape(geo.batch * geo.channels, *size, 1)


def fetch(images: np.ndarray, tile: Tile, buffer: np.ndarray) -> np.ndarray:
    """The source of a tile as contiguous memory: a view of the images if possible, else a copy."""
    source = images[tile.source]
    if source.flags.c_contiguous and source.dtype == buffer.dtype:
        return source
    copy = buffer[:source.size].reshape(source.shape)
    np.copyto(copy, source)
    return copy
