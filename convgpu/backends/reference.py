"""The plain statement of every op: written to be read and to be right. What everything else is tested against.

Sums are taken in float64 whatever the dtype, and rounded once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np

from ..dtypes import accumulator
from ..geometry import ConvGeometry, PoolGeometry
from .epilogue import finish
from .reference_gemm import gemm, matmul  # noqa: F401 - part of this backend

# --- convolution: for every tap of the filter, a matrix product over the channels of the pixels that it meets


def conv_fprop(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geo: ConvGeometry,
               activation: str | None) -> np.ndarray:
    """y[n, p, k] = activation(bias[k] + sum over r, c of x[n, p*stride + r*dilation - before, c] * w[r, c, k])."""
    xs, ws = _images(x, geo), _filters(w, geo)
    y = np.zeros((geo.batch, *geo.output, geo.filters))
    for tap, at_x, at_y in _taps(geo):
        for c, k in _groups(geo):
            y[at_y][..., k] += xs[at_x][..., c] @ ws[tap][:, k]
    finish(y, None if bias is None else bias.astype(np.float64), activation)
    return _from_last(y, geo.channels_last, x.dtype)


def conv_dgrad(gy: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geo: ConvGeometry,
               activation: str | None) -> np.ndarray:
    """gx[n, p*stride + r*dilation - before, c] += sum over k of gy[n, p, k] * w[r, c, k], for every p and r.

    Then activation(gx + bias): a transposed convolution has them.
    """
    gs, ws = _images(gy, geo), _filters(w, geo)
    gx = np.zeros((geo.batch, *geo.size, geo.channels))
    for tap, at_x, at_y in _taps(geo):
        for c, k in _groups(geo):
            gx[at_x][..., c] += gs[at_y][..., k] @ ws[tap][:, k].T
    finish(gx, None if bias is None else bias.astype(np.float64), activation)
    return _from_last(gx, geo.channels_last, gy.dtype)


def conv_wgrad(x: np.ndarray, gy: np.ndarray, geo: ConvGeometry) -> np.ndarray:
    """gw[r, c, k] = sum over n, p of x[n, p*stride + r*dilation - before, c] * gy[n, p, k]."""
    xs, gs = _images(x, geo), _images(gy, geo)
    gw = np.zeros((*geo.kernel, geo.channels // geo.groups, geo.filters))
    pixels = tuple(range(1 + geo.rank))
    for tap, at_x, at_y in _taps(geo):
        for c, k in _groups(geo):
            gw[tap][:, k] = np.tensordot(xs[at_x][..., c], gs[at_y][..., k], axes=(pixels, pixels))
    if not geo.channels_last:
        gw = np.moveaxis(gw, (-1, -2), (0, 1))
    return np.ascontiguousarray(gw, x.dtype)


def _taps(geo: ConvGeometry) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]]:
    """Per tap of the filter: its index, the pixels of x that it meets, the outputs that it contributes to."""
    for tap in itertools.product(*map(range, geo.kernel)):
        at_x, at_y = [slice(None)], [slice(None)]
        for r, n, out, s, (before, _), d in zip(tap, geo.size, geo.output, geo.stride, geo.padding, geo.dilation):
            shift = r * d - before  # output p meets pixel p*s + shift, if that is in [0, n)
            first = max(-(shift // s), 0)
            stop = min((n - 1 - shift) // s + 1, out)
            count = max(stop - first, 0)
            start = first * s + shift
            at_y.append(slice(first, first + count))
            at_x.append(slice(start, start + (count - 1) * s + 1, s) if count else slice(0, 0))
        yield tap, tuple(at_x), tuple(at_y)


def _groups(geo: ConvGeometry) -> list[tuple[slice, slice]]:
    """Per group: its channels of x, its filters."""
    c, k = geo.channels // geo.groups, geo.filters // geo.groups
    return [(slice(g * c, (g + 1) * c), slice(g * k, (g + 1) * k)) for g in range(geo.groups)]


def _images(x: np.ndarray, geo: ConvGeometry) -> np.ndarray:
    """Images as (N, spatial..., C)."""
    return (x if geo.channels_last else np.moveaxis(x, 1, -1)).astype(np.float64, copy=False)


def _filters(w: np.ndarray, geo: ConvGeometry) -> np.ndarray:
    """Filters as (spatial..., C/groups, K)."""
    return (w if geo.channels_last else np.moveaxis(w, (0, 1), (-1, -2))).astype(np.float64, copy=False)


def _from_last(y: np.ndarray, channels_last: bool, dtype: np.dtype) -> np.ndarray:
    """(N, spatial..., C) in the caller's layout and dtype."""
    return np.ascontiguousarray(y if channels_last else np.moveaxis(y, -1, 1), dtype)


# --- pooling: for every output, one tap of its window after the other, in row-major order


def max_pool(x: np.ndarray, geo: PoolGeometry, with_offsets: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """y[n, p, c] = the largest pixel of window p: the first NaN if there is one, else the first of equal values.

    Also, if asked for, the winner's offset: the row-major position of its tap in the window, skipped taps counted.
    """
    xs = (x if geo.channels_last else np.moveaxis(x, 1, -1)).astype(accumulator(x.dtype), copy=False)
    y = np.empty((geo.batch, *geo.output, geo.channels), xs.dtype)
    offsets = np.empty(y.shape, geo.offset_dtype)
    for p in np.ndindex(geo.output):
        (offset, pixel), *others = _window(geo, p)
        best = xs[:, *pixel]
        winner = np.full(best.shape, offset)
        for offset, pixel in others:
            value = xs[:, *pixel]
            wins = (value > best) | (value != value) & (best == best)
            best, winner = np.where(wins, value, best), np.where(wins, offset, winner)
        y[:, *p], offsets[:, *p] = best, winner
    return _from_last(y, geo.channels_last, x.dtype), (
        _from_last(offsets, geo.channels_last, offsets.dtype) if with_offsets else None)


def max_pool_dgrad(gy: np.ndarray, offsets: np.ndarray, geo: PoolGeometry) -> np.ndarray:
    """gx[winner of window p] += gy[n, p, c]."""
    gs, os = (a if geo.channels_last else np.moveaxis(a, 1, -1) for a in (gy.astype(np.float64), offsets))
    gx = np.zeros((geo.batch, *geo.size, geo.channels))
    for p in np.ndindex(geo.output):
        for offset, pixel in _window(geo, p):
            gx[:, *pixel] += np.where(os[:, *p] == offset, gs[:, *p], 0)
    return _from_last(gx, geo.channels_last, gy.dtype)


def max_pool_gather(x: np.ndarray, offsets: np.ndarray, geo: PoolGeometry) -> np.ndarray:
    """y[n, p, c] = x[winner of window p]."""
    xs, os = (a if geo.channels_last else np.moveaxis(a, 1, -1) for a in (x, offsets))
    y = np.zeros((geo.batch, *geo.output, geo.channels), x.dtype)
    for p in np.ndindex(geo.output):
        for offset, pixel in _window(geo, p):
            y[:, *p] = np.where(os[:, *p] == offset, xs[:, *pixel], y[:, *p])
    return _from_last(y, geo.channels_last, x.dtype)


def max_pool_indices(offsets: np.ndarray, geo: PoolGeometry) -> np.ndarray:
    """indices[n, p, c] = the flat index, over the spatial axes of x, of the winner of window p."""
    os = offsets if geo.channels_last else np.moveaxis(offsets, 1, -1)
    indices = np.zeros(os.shape, np.int64)
    for p in np.ndindex(geo.output):
        for offset, pixel in _window(geo, p):
            indices[:, *p][os[:, *p] == offset] = np.ravel_multi_index(pixel, geo.size)
    return _from_last(indices, geo.channels_last, indices.dtype)


def avg_pool(x: np.ndarray, geo: PoolGeometry) -> np.ndarray:
    """y[n, p, c] = the sum of the pixels of window p over its divisor."""
    xs = (x if geo.channels_last else np.moveaxis(x, 1, -1)).astype(np.float64)
    y = np.zeros((geo.batch, *geo.output, geo.channels))
    for p in np.ndindex(geo.output):
        for _, pixel in _window(geo, p):
            y[:, *p] += xs[:, *pixel]
        y[:, *p] /= _divisor(geo, p)
    return _from_last(y, geo.channels_last, x.dtype)


def avg_pool_dgrad(gy: np.ndarray, geo: PoolGeometry) -> np.ndarray:
    """gx[every pixel of window p] += gy[n, p, c] / divisor."""
    gs = (gy if geo.channels_last else np.moveaxis(gy, 1, -1)).astype(np.float64)
    gx = np.zeros((geo.batch, *geo.size, geo.channels))
    for p in np.ndindex(geo.output):
        for _, pixel in _window(geo, p):
            gx[:, *pixel] += gs[:, *p] / _divisor(geo, p)
    return _from_last(gx, geo.channels_last, gy.dtype)


def _window(geo: PoolGeometry, p: tuple[int, ...]) -> list[tuple[int, tuple[int, ...]]]:
    """The taps of window p that lie inside the input, in row-major order: (offset in the window, pixel)."""
    taps = []
    for offset, tap in enumerate(np.ndindex(geo.window)):
        pixel = tuple(geo.start(a, o) + i * d for a, (o, i, d) in enumerate(zip(p, tap, geo.dilation)))
        if (all(0 <= v < n for v, n in zip(pixel, geo.size))
                and all(i < geo.length(a, o) for a, (o, i) in enumerate(zip(p, tap)))):
            taps.append((offset, pixel))
    return taps


def _divisor(geo: PoolGeometry, p: tuple[int, ...]) -> int:
    """The taps of window p inside the input, or inside the input and its padding."""
    if not geo.count_include_pad:
        return len(_window(geo, p))
    ends = [n + after - geo.start(a, o) for a, (o, n, (_, after)) in enumerate(zip(p, geo.size, geo.padding))]
    return math.prod(min(f, end) for f, end in zip(geo.window, ends))
