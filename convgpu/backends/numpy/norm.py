"""Normalisation, piece by piece: a piece of x fits the cache, so that memory is read once for all steps on it.

A piece has some rows of one `outer`, or some whole outers (geometry/norm.py). Its statistics are found in two passes,
the mean and then the squares of the differences from it; the statistics of pieces are combined in float64 or wider.
Half types are computed in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ...dtypes import accumulator, is_half
from ...geometry import NormGeometry
from ...summation import mean as mean_of
from ...summation import total, unit_scale
from .. import epilogue
from .workers import parallel_for

__all__ = ["norm_apply", "norm_apply_add", "norm_dgrad", "norm_fold", "norm_infer", "norm_stats"]

PIECE = 1 << 16  # elements: some arrays of them lie in the second cache of a core
LANES = 1024  # elements of an inner loop of NumPy, where channels alone are too few to hide what a loop costs

Array = np.ndarray


class _Affine(NamedTuple):
    """((x * unit - centre) * factor + shift) * scale + offset, with the axes of `geo.split`.

    unit: 1, or less where x - mean might overflow. scale, offset: None where factor and shift have them already; where
    each `outer` has statistics of its own, these would become as large as x.
    """

    centre: Array
    factor: Array
    shift: Array | float
    unit: float = 1.0
    scale: Array | None = None
    offset: Array | None = None


class _Pieces:
    """The pieces of an x, and how arrays of x's size and of its parameters are seen piece by piece.

    Arrays of parameters have the axes of `geo.split`, of size 1 where they do not depend on one.
    """

    def __init__(self, geo: NormGeometry):
        self.geo = geo
        per_row = geo.channels * geo.inner
        rows = max(PIECE // max(per_row, 1), 1)
        self.flat = geo.outer == 1 and geo.inner == 1 and geo.groups == geo.channels
        self.repeats = max(LANES // max(per_row, 1), 1) if self.flat else 1
        rows = -(-rows // self.repeats) * self.repeats
        if rows >= geo.rows:
            step = max(rows // max(geo.rows, 1), 1)
            self.parts = [(o, min(o + step, geo.outer), 0, geo.rows) for o in range(0, geo.outer, step)]
        else:
            self.parts = [(o, o + 1, r, min(r + rows, geo.rows)) for o in range(geo.outer)
                          for r in range(0, geo.rows, rows)]
        if geo.size == 0:
            self.parts = []
        self.elements = max([(b - a) * (d - c) * per_row for a, b, c, d in self.parts], default=0)

    def run(self, body: Callable[..., None], buffers: int, dtype: np.dtype) -> None:
        """Call body(i, buffers...) for every piece, with working arrays in the piece's shape."""
        def with_memory(i: int, memory: Array) -> None:
            a, b, c, d = self.parts[i]
            n = (b - a) * (d - c) * self.geo.channels * self.geo.inner
            flat = memory[:buffers * self.elements * dtype.itemsize].view(dtype)
            body(i, *[self._shaped(flat[k * self.elements:k * self.elements + n], i) for k in range(buffers)])

        parallel_for(len(self.parts), with_memory, max(buffers * self.elements * dtype.itemsize, 1))

    def of(self, x: Array, i: int) -> Array:
        """Piece i of an array of x's size."""
        a, b, c, d = self.parts[i]
        return self._shaped(x.reshape(self.geo.outer, self.geo.rows, -1)[a:b, c:d], i)

    def each(self, values: Array | float, i: int) -> Array | float:
        """Parameters as they meet piece i."""
        if not isinstance(values, np.ndarray):
            return values
        if self.flat:
            return np.tile(values.reshape(-1), self._repeats(i))
        a, b, _, _ = self.parts[i]
        return values[a:b] if values.shape[0] > 1 else values

    def channel_sums(self, piece: Array, i: int) -> Array:
        """Sums over rows and inner, with the axes of `geo.split`."""
        if self.flat:
            return total(piece, (0,)).reshape(-1, self.geo.channels).sum(0).reshape(1, 1, -1, 1, 1)
        return total(piece, (1, 4), True)

    def group_sums(self, piece: Array, i: int) -> Array:
        """Sums over the elements that share a mean, with the axes of `geo.split`."""
        return self.channel_sums(piece, i) if self.flat else total(piece, (1, 3, 4), True)

    def _repeats(self, i: int) -> int:
        _, _, c, d = self.parts[i]
        return self.repeats if (d - c) % self.repeats == 0 else 1

    def _shaped(self, x: Array, i: int) -> Array:
        if self.flat:
            return x.reshape(-1, self._repeats(i) * self.geo.channels)
        a, b, c, d = self.parts[i]
        return x.reshape(b - a, d - c, *self.geo.split[2:])


# --- statistics


def norm_stats(x: Array, running_mean: Array | None, running_var: Array | None, geo: NormGeometry, epsilon: float,
               momentum: float, correction: int) -> tuple[Array | None, ...]:
    """The mean and what is left of it, rstd, and what the running statistics have learned."""
    kept = accumulator(x.dtype)
    n = max(geo.count, 1)
    with np.errstate(all="ignore"):
        mean, rest, var = _moments(x, geo)
        rstd = 1 / np.sqrt(var + epsilon)
        limits = np.finfo(kept)
        beyond = ~(var < limits.max) | (var < limits.tiny / limits.eps if epsilon < limits.tiny / limits.eps else False)
        if beyond.any():
            scaled = _scaled_moments(x, geo, epsilon)
            mean, rest, var, rstd = (np.where(beyond, a, b) for a, b in zip(scaled, (mean, rest, var, rstd)))
        high = (mean + rest).astype(kept)
        stats = np.stack([high, ((mean - high) + rest).astype(kept)]), rstd.astype(kept)
        if running_mean is None or running_var is None:
            return (*stats, None, None)
        unbiased = var.reshape(-1) * (n / max(n - correction, 1))
        return (*stats, (momentum * running_mean + (1 - momentum) * (mean + rest).reshape(-1)).astype(kept),
                (momentum * running_var + (1 - momentum) * unbiased).astype(kept))


def _moments(x: Array, geo: NormGeometry) -> tuple[Array, Array, Array]:
    """The mean as a sum of two, and the variance, in a wide dtype; NaN where there is an Inf."""
    kept, pieces = accumulator(x.dtype), _Pieces(geo)
    wide = np.dtype(np.float64 if kept == np.float32 else np.longdouble)
    found: list[Any] = [None] * len(pieces.parts)

    def moments(i: int, d: Array) -> None:
        piece = pieces.of(x, i)
        if is_half(x.dtype):
            np.copyto(d, piece)
            piece = d
        a, b, _, _ = pieces.parts[i]
        n = piece.size // ((b - a) * geo.groups)
        first = pieces.group_sums(piece, i) / n
        if not np.isfinite(first).all():
            first = mean_of(piece.reshape(b - a, -1, *geo.split[2:]), (1, 3, 4), True)
        np.subtract(piece, pieces.each(first, i) if pieces.flat else first, out=d)
        rest = pieces.group_sums(d, i) / n
        if rest.any():
            d -= pieces.each(rest, i) if pieces.flat else rest
        np.square(d, out=d)
        found[i] = n, first, rest, pieces.group_sums(d, i)

    pieces.run(moments, 1, kept)
    pivot, apart, squares = (np.zeros(geo.statistics, wide) for _ in range(3))  # the mean is pivot + apart
    counts = np.zeros((geo.outer, 1))
    for (a, b, _, _), (n, first, rest, m2) in zip(pieces.parts, found):
        first, rest, m2 = (part.reshape(b - a, geo.groups).astype(wide) for part in (first, rest, m2))
        if not counts[a]:
            pivot[a:b] = first
        weight = n / (counts[a:b] + n)
        delta = (first - pivot[a:b]) + (rest - apart[a:b])
        squares[a:b] += m2 + delta * delta * (counts[a:b] * weight)
        apart[a:b] += delta * weight
        counts[a:b] += n
    return pivot, apart, squares / max(geo.count, 1)


def _scaled_moments(x: Array, geo: NormGeometry, epsilon: float) -> tuple[Array, Array, Array, Array]:
    """The mean as a sum of two, the variance, and rstd, from values that are scaled to about 1 first: their squares
    neither overflow nor vanish.
    """
    kept = accumulator(x.dtype)
    split = x.reshape(geo.split).astype(kept)
    unit = unit_scale(np.max(np.abs(split), axis=(1, 3, 4), keepdims=True))
    mean, rest, var = _moments(split * unit, geo)
    unit = unit.reshape(geo.statistics).astype(mean.dtype)
    divisor = np.hypot(np.sqrt(var), unit * math.sqrt(epsilon)) if epsilon else np.sqrt(var)
    return mean / unit, rest / unit, var / unit / unit, unit / divisor


# --- the affine step


def norm_apply(x: Array, mean: Array, rstd: Array, scale: Array | None, offset: Array | None, geo: NormGeometry,
               activation: str | None) -> Array:
    """activation((x - mean) * rstd * scale + offset)."""
    return _applied(x, _affine(mean, rstd, scale, offset, geo), None, geo, activation)


def norm_apply_add(x: Array, mean: Array, rstd: Array, scale: Array | None, offset: Array | None, residual: Array,
                   geo: NormGeometry, activation: str | None) -> Array:
    """activation((x - mean) * rstd * scale + offset + residual)."""
    return _applied(x, _affine(mean, rstd, scale, offset, geo), residual, geo, activation)


def norm_fold(mean: Array, var: Array, scale: Array | None, offset: Array | None, bias: Array | None,
              epsilon: float) -> Array:
    """(factor, shift) of each channel, so that (x + bias - mean) / sqrt(var + epsilon) * scale + offset is
    x * factor + shift.
    """
    folded = np.empty((*mean.shape, 2), mean.dtype)
    with np.errstate(all="ignore"):
        factor = np.divide(1 if scale is None else scale, np.sqrt(var + mean.dtype.type(epsilon)), out=folded[:, 0])
        np.multiply(-mean if bias is None else bias - mean, factor, out=folded[:, 1])
        if offset is not None:
            folded[:, 1] += offset
    return folded


def norm_infer(x: Array, mean: Array, var: Array, scale: Array | None, offset: Array | None, residual: Array | None,
               geo: NormGeometry, activation: str | None, epsilon: float) -> Array:
    """activation((x - mean) / sqrt(var + epsilon) * scale + offset + residual), with statistics of channels."""
    along = (1, 1, geo.groups, geo.channels // max(geo.groups, 1), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = 1 / np.sqrt(var + var.dtype.type(epsilon))
        factor = (factor if scale is None else factor * scale).reshape(along)
    shift = 0.0 if offset is None else offset.reshape(along)
    return _applied(x, _Affine(mean.reshape(along), factor, shift), residual, geo, activation)


def _affine(mean: Array, rstd: Array, scale: Array | None, offset: Array | None, geo: NormGeometry) -> _Affine:
    """xn * scale + offset as one step."""
    each, along = (geo.outer, 1, geo.groups, 1, 1), (1, 1, geo.groups, geo.channels // max(geo.groups, 1), 1)
    limits = np.finfo(mean.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        scale, offset = (None if p is None else p.reshape(along) for p in (scale, offset))
        joined = geo.outer == 1
        factor = rstd.reshape(each) if scale is None or not joined else rstd.reshape(each) * scale
        shift = -mean[1].reshape(each) * factor
        shift = shift if offset is None or not joined else shift + offset
        unit = 0.25 if mean.size and np.max(np.abs(mean[0])) > limits.max * limits.eps / 8 else 1.0
        return _Affine(mean[0].reshape(each) * mean.dtype.type(unit), factor / mean.dtype.type(unit), shift, unit,
                       *((None, None) if joined else (scale, offset)))


def _applied(x: Array, affine: _Affine, residual: Array | None, geo: NormGeometry, activation: str | None) -> Array:
    x = np.ascontiguousarray(x)
    y, pieces, half = np.empty(x.shape, x.dtype), _Pieces(geo), is_half(x.dtype)

    def apply(i: int, memory: Array) -> None:
        out = memory if half else pieces.of(y, i)
        _before(pieces, i, x, affine, out)
        if residual is not None:
            out += pieces.of(residual, i)
        _activate(activation, out)
        if half:
            pieces.of(y, i)[...] = out

    with np.errstate(over="ignore", invalid="ignore"):
        if half:
            pieces.run(apply, 1, accumulator(x.dtype))
        else:
            parallel_for(len(pieces.parts), lambda i: apply(i, x))
    return y


def _before(pieces: _Pieces, i: int, x: Array, affine: _Affine, out: Array) -> None:
    """out = the affine step on piece i of x."""
    piece = pieces.of(x, i)
    if affine.unit != 1:
        piece = np.multiply(piece, affine.unit, out=out)
    np.subtract(piece, pieces.each(affine.centre, i), out=out)
    out *= pieces.each(affine.factor, i)
    out += pieces.each(affine.shift, i)
    if affine.scale is not None:
        out *= pieces.each(affine.scale, i)
    if affine.offset is not None:
        out += pieces.each(affine.offset, i)


def _activate(activation: str | None, v: Array) -> None:
    if activation == "silu":
        s = epilogue.sigmoid(v.copy())
        np.maximum(v, -750, out=v)
        v *= s
    elif activation is not None:
        np.maximum(v, 0, out=v)
        if activation == "relu6":
            np.minimum(v, 6, out=v)


# --- gradients


def norm_dgrad(gy: Array, x: Array, mean: Array, rstd: Array, scale: Array | None, offset: Array | None,
               y: Array | None, geo: NormGeometry, activation: str | None,
               wanted: tuple[bool, ...]) -> tuple[Array | None, ...]:
    """The gradients of x, scale, offset and residual, as far as they are wanted."""
    kept, pieces = accumulator(x.dtype), _Pieces(geo)
    x, gy = np.ascontiguousarray(x), np.ascontiguousarray(gy)
    affine = _affine(mean, rstd, scale, offset, geo)
    each, along = (geo.outer, 1, geo.groups, 1, 1), (1, 1, geo.groups, geo.channels // max(geo.groups, 1), 1)
    plain = _affine(mean, rstd, None, None, geo)
    weights = None if scale is None else scale.reshape(along)
    one = geo.outer == 1 and geo.groups == geo.channels  # the sums of groups are those of channels
    found: list[Any] = [None] * len(pieces.parts)
    results = [np.empty(x.shape, x.dtype) if wanted[k] else None for k in (0, 3)]

    def slopes(i: int, g: Array, d: Array) -> None:
        """g = gy times the activation's slope; d is working memory."""
        np.copyto(g, pieces.of(gy, i))
        if activation is None:
            return
        if y is None:
            _before(pieces, i, x, affine, d)
        else:
            np.copyto(d, pieces.of(y, i))
        _times_slope(activation, g, d)

    def sums(i: int, g: Array, d: Array) -> None:
        slopes(i, g, d)
        if results[1] is not None:
            pieces.of(results[1], i)[...] = g
        _before(pieces, i, x, plain, d)
        d *= g
        channels = [pieces.channel_sums(v, i) if one or wanted[k] else None for k, v in ((1, d), (2, g))]
        groups: list[Any] = [None, None]
        if wanted[0] and not one:
            if weights is not None:
                d *= pieces.each(weights, i)
                g *= pieces.each(weights, i)
            groups = [pieces.group_sums(v, i) for v in (d, g)]
        found[i] = channels, groups

    with np.errstate(over="ignore", invalid="ignore"):
        pieces.run(sums, 2, kept)
        gscale, goffset = (_over_pieces(pieces, [f[0][k] for f in found], kept, along)
                           if one or wanted[1 + k] else None for k in (0, 1))
        gx = results[0]
        if gx is not None:
            n = kept.type(max(geo.count, 1))
            if one:
                means = [s / n if weights is None else s * weights / n for s in (gscale, goffset)]
            else:
                means = [_over_pieces(pieces, [f[1][k] for f in found], kept, each) / n for k in (0, 1)]
            rate = rstd.reshape(each)

            def apply(i: int, g: Array, d: Array) -> None:
                slopes(i, g, d)
                if weights is not None:
                    g *= pieces.each(weights, i)
                _before(pieces, i, x, plain, d)
                d *= pieces.each(means[0], i)
                g -= d
                g -= pieces.each(means[1], i)
                np.multiply(g, pieces.each(rate, i), out=pieces.of(gx, i), casting="same_kind")

            pieces.run(apply, 2, kept)
    flat = [s.reshape(-1) if s is not None and w else None for s, w in ((gscale, wanted[1]), (goffset, wanted[2]))]
    return gx, flat[0], flat[1], results[1]


def _times_slope(activation: str, g: Array, v: Array) -> None:
    """g *= the slope at v, where v becomes working memory; masks of bits keep 0 * inf from becoming NaN."""
    if activation == "silu":
        np.clip(v, -750, 750, out=v)
        s = epilogue.sigmoid(v.copy())
        v *= 1 - s
        v += 1
        v *= s
        g *= v
        return
    closed = v <= 0
    if activation == "relu6":
        closed |= v >= 6
    bits = np.dtype(f"i{g.itemsize}")
    mask = np.negative(np.logical_not(closed).astype(bits))
    words = g.view(bits)
    np.bitwise_and(words, mask, out=words)


def _over_pieces(pieces: _Pieces, parts: list[Array], dtype: np.dtype, shape: tuple[int, ...]) -> Array:
    """The sum of the pieces' sums, which are added in a wide dtype: for each outer, or over them where shape has one.
    """
    result = np.zeros(shape, np.float64 if dtype == np.float32 else np.longdouble)
    for (a, b, _, _), part in zip(pieces.parts, parts):
        if shape[0] == 1:
            result += total(part, (0,), True)
        else:
            result[a:b] += part
    return result.astype(dtype)
