"""Average pooling and its gradient on NumPy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ....dtypes import accumulator
from ....geometry import PoolGeometry
from ..kept import kept
from ..workers import parallel_for
from . import long_windows
from .windows import TILE, Arena, Pass, Tiling, coverage, fetch, images_of, once_per_memory, tiling, windows

# The number of terms that are added in one sequence. Longer sums add up such sums, which keeps float32 errors small.
SEQUENCE = 64
# The pixels that one product with a vector of ones adds, and the pixels of an image that are summed at a time.
DOT, CHUNK = 128, 128 * 128


def avg_pool(x: np.ndarray, geo: PoolGeometry) -> np.ndarray:
    """The average of every window."""
    y = np.empty(geo.y_shape, x.dtype)
    if not y.size:
        return y
    images = images_of(x, geo.size, geo)
    if geo.is_global:
        _global_average(images, y.reshape(-1, images.shape[-1]))
        return y
    if long_windows.is_long(geo):
        total = long_windows.sums(images, [long_windows.spans(geo, a) for a in range(geo.rank)], accumulator(x.dtype))
        _divide(total, geo, _whole(total), total)
        y.reshape(total.shape)[...] = total
        return y
    _pool(images, tiling(windows, geo), y, after=lambda total, t, out: _divide(total, geo, t.box, out))
    return y


def avg_pool_dgrad(gy: np.ndarray, geo: PoolGeometry) -> np.ndarray:
    """For every pixel, the sum of gy / divisor over the windows that cover the pixel."""
    gx = np.empty(geo.x_shape, gy.dtype)
    if not gy.size:
        gx.fill(0)
        return gx
    images = images_of(gy, geo.output, geo)
    if long_windows.is_long(geo):
        shares = images.astype(accumulator(gy.dtype))
        _divide(shares, geo, _whole(shares), shares)
        total = long_windows.sums(shares, [long_windows.covering(geo, a) for a in range(geo.rank)], shares.dtype)
        gx.reshape(total.shape)[...] = total
        return gx
    _pool(images, tiling(coverage, geo), gx,
          before=lambda v, t, out: _divide(v, geo, [(s.start, s.stop) for s in t.source], out))
    return gx


def _whole(images: np.ndarray) -> list[tuple[int, int]]:
    return [(0, n) for n in images.shape[:-1]]


def _pool(images: np.ndarray, plan: Tiling, y: np.ndarray, before: Callable[..., None] | None = None,
          after: Callable[..., None] | None = None) -> None:
    """y = the sums of all windows; `before` changes a tile's source in place, and `after` its sums."""
    ys, dtype = y.reshape(-1), accumulator(y.dtype)

    @once_per_memory
    def buffers_in(memory: np.ndarray) -> list[np.ndarray]:
        arena = Arena(memory)
        return [arena.empty(plan.source, dtype), *[arena.empty(plan.largest_pass, dtype) for _ in range(4)]]

    def tile(i: int, memory: np.ndarray) -> None:
        t, (buffer, tap, sequence, *values) = plan.tiles[i], buffers_in(memory)
        v = fetch(images, t, buffer)
        if before is not None:
            part = buffer[:v.size].reshape(v.shape)
            before(v, t, part)
            v = part
        v, out = v.reshape(-1), ys[t.start * plan.channels:t.stop * plan.channels]
        for n, step in enumerate(t.passes):
            direct = n == len(t.passes) - 1 and out.dtype == dtype
            total = out if direct else values[n % 2][:step.size]
            _sum_along(step, v, total, tap[:step.size], sequence[:step.size])
            v = total
        if after is not None:
            after(v, t, v)
        if not direct:
            np.copyto(out, v, casting="same_kind")

    parallel_for(len(plan.tiles), tile, scratch=(4 * plan.largest_pass + plan.source) * dtype.itemsize + 5 * 64)


@kept
def _divisors(geo: PoolGeometry) -> np.ndarray | int:
    """The divisors of the windows' sums: one number where all are equal, else one per output, as (outputs..., 1)."""
    product = np.ones((), np.int64)
    for a in range(geo.rank):
        if geo.count_include_pad:
            last = geo.size[a] + geo.padding[a][1] - geo.start(a, np.arange(geo.output[a]))
            count = np.minimum(geo.window[a], last)
        else:
            count = long_windows.spans(geo, a).taps
        product = product[..., None] * count
    return int(product.flat[0]) if (product == product.flat[0]).all() else product[..., None]


def _divide(total: np.ndarray, geo: PoolGeometry, box: Sequence[tuple[int, int]], out: np.ndarray) -> None:
    """Divide each window's sum by the window's divisor; `box` says which images and outputs `total` holds."""
    divisors = _divisors(geo)
    if isinstance(divisors, int):
        np.divide(total, divisors, out=out)
    else:
        shape = (box[0][1] - box[0][0], *[hi - lo for lo, hi in box[1:]], -1)
        part = divisors[*[slice(lo, hi) for lo, hi in box[1:]]].astype(total.dtype)
        np.divide(total.reshape(shape), part, out=out.reshape(shape))


def _sum_along(step: Pass, v: np.ndarray, y: np.ndarray, buffer: np.ndarray, sequence: np.ndarray) -> None:
    """y = the sum of every window along one axis."""
    taps, outside = step.taps(v), step.axis.outside

    def fetch_tap(t: int, into: np.ndarray) -> np.ndarray:
        tap = taps(t, into)
        for o in outside[t]:
            tap.reshape(step.shape)[:, o] = 0
        return tap

    count = step.axis.taps
    for first in range(0, count, SEQUENCE):
        total = sequence if first else y
        terms = fetch_tap(first, total)
        for t in range(first + 1, min(first + SEQUENCE, count)):
            np.add(terms, fetch_tap(t, buffer), total)
            terms = total
        if first:
            np.add(y, terms, y)
        elif terms is not y:
            np.copyto(y, terms)


def _global_average(images: np.ndarray, y: np.ndarray) -> None:
    """The average of every image, computed for a chunk of its pixels at a time."""
    pixels = images.reshape(images.shape[0], -1, images.shape[-1])
    batch, count, channels = pixels.shape
    dtype = accumulator(pixels.dtype)
    group = max(TILE // (count * channels), 1) if count <= CHUNK else 1

    def tile(i: int) -> None:
        part = pixels[i * group:(i + 1) * group]
        sums = [_sum_pixels(part[:, s:s + CHUNK].astype(dtype, copy=False)) for s in range(0, count, CHUNK)]
        y[i * group:(i + 1) * group] = _sum_pixels(np.stack(sums, axis=1)) / count

    parallel_for(-(-batch // group), tile)


def _sum_pixels(v: np.ndarray) -> np.ndarray:
    """(B, S, C) summed over S by products with ones: BLAS adds fastest, and DOT terms at a time are accurate enough."""
    batch, count, channels = v.shape
    if count > DOT:
        whole = count // DOT * DOT
        head = _sum_pixels(v[:, :whole].reshape(-1, DOT, channels)).reshape(batch, -1, channels)
        return _sum_pixels(np.concatenate([head, v[:, whole:]], axis=1) if whole < count else head)
    if channels == 1:
        return v[..., 0] @ np.ones((count, 1), v.dtype)
    return (np.ones((1, count), v.dtype) @ v)[:, 0]
