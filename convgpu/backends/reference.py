"""The plain statement of every op, written to be read and to be right. All other backends are tested against it.

Sums are taken in float64 and rounded once, whatever the dtype. Matrix products of float64, and all sums of long double,
are taken in NumPy's long double.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..dtypes import accumulator, as_dtype, is_float
from ..geometry import ConvGeometry, NormGeometry, PoolGeometry
from .epilogue import finish

# --- convolution: for every tap of the filter, a matrix product over the channels of the pixels that the tap reads


def conv_fprop(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geo: ConvGeometry,
               activation: str | None) -> np.ndarray:
    """y[n, p, k] = activation(bias[k] + sum over r, c of x[n, p*stride + r*dilation - before, c] * w[r, c, k])."""
    xs, ws = _images(x, geo), _filters(w, geo)
    y = np.zeros((geo.batch, *geo.output, geo.filters), xs.dtype)
    for tap, at_x, at_y in _taps(geo):
        for c, k in _groups(geo):
            y[at_y][..., k] += xs[at_x][..., c] @ ws[tap][:, k]
    finish(y, None if bias is None else bias.astype(y.dtype), activation)
    return _from_last(y, geo.channels_last, x.dtype)


def conv_norm(x: np.ndarray, w: np.ndarray, folded: np.ndarray, residual: np.ndarray | None, geo: ConvGeometry,
              activation: str | None) -> np.ndarray:
    """y = activation((the sum of x * w) * factor + shift + residual); folded[k] is (factor, shift) of filter k."""
    y = conv_fprop(x.astype(_wide(x.dtype)), w.astype(_wide(x.dtype)), None, geo, None)
    along = (-1,) if geo.channels_last else (-1, *(1,) * geo.rank)
    with np.errstate(invalid="ignore"):
        y = y * folded[:, 0].reshape(along) + folded[:, 1].reshape(along)
    return _norm_activation(activation, y if residual is None else y + residual).astype(x.dtype)


def conv_dgrad(gy: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geo: ConvGeometry,
               activation: str | None) -> np.ndarray:
    """gx[n, p*stride + r*dilation - before, c] += sum over k of gy[n, p, k] * w[r, c, k], for every p and r.

    Then the result is activation(gx + bias), which transposed convolution asks for. A bias of the shape of gx is added
    element by element.
    """
    gs, ws = _images(gy, geo), _filters(w, geo)
    gx = np.zeros((geo.batch, *geo.size, geo.channels), gs.dtype)
    for tap, at_x, at_y in _taps(geo):
        for c, k in _groups(geo):
            gx[at_x][..., c] += gs[at_y][..., k] @ ws[tap][:, k].T
    if bias is not None:
        gx += bias.astype(gx.dtype) if bias.ndim == 1 else _images(bias, geo)
    finish(gx, None, activation)
    return _from_last(gx, geo.channels_last, gy.dtype)


def conv_wgrad(x: np.ndarray, gy: np.ndarray, geo: ConvGeometry) -> np.ndarray:
    """gw[r, c, k] = sum over n, p of x[n, p*stride + r*dilation - before, c] * gy[n, p, k]."""
    xs, gs = _images(x, geo), _images(gy, geo)
    gw = np.zeros((*geo.kernel, geo.channels // geo.groups, geo.filters), xs.dtype)
    pixels = tuple(range(1 + geo.rank))
    for tap, at_x, at_y in _taps(geo):
        for c, k in _groups(geo):
            gw[tap][:, k] = np.tensordot(xs[at_x][..., c], gs[at_y][..., k], axes=(pixels, pixels))
    if not geo.channels_last:
        gw = np.moveaxis(gw, (-1, -2), (0, 1))
    return np.ascontiguousarray(gw, x.dtype)


def channel_sum(gy: np.ndarray, channels_last: bool) -> np.ndarray:
    """gb[c] = the sum of gy over all axes but the channels, which are the last axis (channels_last) or the second."""
    channel = gy.ndim - 1 if channels_last else 1
    wide = gy.astype(np.promote_types(np.float64, gy.dtype) if gy.dtype.kind == "f" else np.float64, copy=False)
    return wide.sum(axis=tuple(a for a in range(gy.ndim) if a != channel)).astype(gy.dtype)


def _taps(geo: ConvGeometry) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]]:
    """For each tap of the filter: its index, the pixels of x that it reads, and the outputs that these contribute to.
    """
    for tap in itertools.product(*map(range, geo.kernel)):
        at_x, at_y = [slice(None)], [slice(None)]
        for r, n, out, s, (before, _), d in zip(tap, geo.size, geo.output, geo.stride, geo.padding, geo.dilation):
            shift = r * d - before  # output p reads pixel p*s + shift, if that is in [0, n)
            first = max(-(shift // s), 0)
            stop = min((n - 1 - shift) // s + 1, out)
            count = max(stop - first, 0)
            start = first * s + shift
            at_y.append(slice(first, first + count))
            at_x.append(slice(start, start + (count - 1) * s + 1, s) if count else slice(0, 0))
        yield tap, tuple(at_x), tuple(at_y)


def _groups(geo: ConvGeometry) -> list[tuple[slice, slice]]:
    """For each group: its channels of x, and its filters."""
    c, k = geo.channels // geo.groups, geo.filters // geo.groups
    return [(slice(g * c, (g + 1) * c), slice(g * k, (g + 1) * k)) for g in range(geo.groups)]


def _images(x: np.ndarray, geo: ConvGeometry | PoolGeometry) -> np.ndarray:
    """Images as (N, spatial..., C), in float64 or wider."""
    return _to_last(x, geo.channels_last).astype(_wide(x.dtype), copy=False)


def _filters(w: np.ndarray, geo: ConvGeometry) -> np.ndarray:
    """Filters as (spatial..., C/groups, K), in float64 or wider."""
    return (w if geo.channels_last else np.moveaxis(w, (0, 1), (-1, -2))).astype(_wide(w.dtype), copy=False)


def _wide(dtype: np.dtype) -> type[np.floating]:
    return np.longdouble if dtype == np.longdouble else np.float64


def _to_last(x: np.ndarray, channels_last: bool) -> np.ndarray:
    """Images in the caller's layout, viewed as (N, spatial..., C)."""
    return x if channels_last else np.moveaxis(x, 1, -1)


def _from_last(y: np.ndarray, channels_last: bool, dtype: np.dtype) -> np.ndarray:
    """Images (N, spatial..., C) converted to the caller's layout and dtype."""
    return np.ascontiguousarray(y if channels_last else np.moveaxis(y, -1, 1), dtype)


# --- pooling: tap after tap of the window, in row-major order, for all outputs at once


def max_pool(x: np.ndarray, geo: PoolGeometry, with_offsets: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """y[n, p, c] = the largest pixel of window p: the first NaN if there is one, else the first of equal values.

    With `with_offsets` also the winner's offset: the row-major number of its tap in the window, counting skipped taps.
    """
    xs = _to_last(x, geo.channels_last).astype(accumulator(x.dtype), copy=False)
    y = np.zeros((geo.batch, *geo.output, geo.channels), xs.dtype)
    winner = np.full(y.shape, -1)
    for offset, at_x, at_y in _window_taps(geo):
        value, best, before = xs[at_x], y[at_y], winner[at_y]
        wins = (before < 0) | (value > best) | (value != value) & (best == best)
        y[at_y], winner[at_y] = np.where(wins, value, best), np.where(wins, offset, before)
    offsets = winner.astype(geo.offset_dtype)
    return (_from_last(y, geo.channels_last, x.dtype),
            _from_last(offsets, geo.channels_last, offsets.dtype) if with_offsets else None)


def max_pool_dgrad(gy: np.ndarray, offsets: np.ndarray, geo: PoolGeometry) -> np.ndarray:
    """gx[winner of window p] += gy[n, p, c]."""
    gs, winner = _images(gy, geo), _to_last(offsets, geo.channels_last)
    gx = np.zeros((geo.batch, *geo.size, geo.channels), gs.dtype)
    for offset, at_x, at_y in _window_taps(geo):
        np.add.at(gx, at_x, np.where(winner[at_y] == offset, gs[at_y], 0))
    return _from_last(gx, geo.channels_last, gy.dtype)


def max_pool_gather(x: np.ndarray, offsets: np.ndarray, geo: PoolGeometry) -> np.ndarray:
    """y[n, p, c] = x[winner of window p]."""
    xs, winner = _to_last(x, geo.channels_last), _to_last(offsets, geo.channels_last)
    y = np.zeros((geo.batch, *geo.output, geo.channels), x.dtype)
    for offset, at_x, at_y in _window_taps(geo):
        y[at_y] = np.where(winner[at_y] == offset, xs[at_x], y[at_y])
    return _from_last(y, geo.channels_last, x.dtype)


def max_pool_indices(offsets: np.ndarray, geo: PoolGeometry) -> np.ndarray:
    """indices[n, p, c] = the flat index, over the spatial axes of x, of the winner of window p."""
    index = np.arange(math.prod(geo.size)).reshape(1, *geo.size, 1)
    index = np.broadcast_to(index, (geo.batch, *geo.size, geo.channels))
    return max_pool_gather(index if geo.channels_last else np.moveaxis(index, -1, 1), offsets, geo)


def avg_pool(x: np.ndarray, geo: PoolGeometry) -> np.ndarray:
    """y[n, p, c] = the sum of the pixels of window p divided by the window's divisor."""
    xs = _images(x, geo)
    y = np.zeros((geo.batch, *geo.output, geo.channels), xs.dtype)
    for _, at_x, at_y in _window_taps(geo):
        y[at_y] += xs[at_x]
    return _from_last(y / _divisors(geo), geo.channels_last, x.dtype)


def avg_pool_dgrad(gy: np.ndarray, geo: PoolGeometry) -> np.ndarray:
    """gx[every pixel of window p] += gy[n, p, c] / divisor."""
    gs = _images(gy, geo) / _divisors(geo)
    gx = np.zeros((geo.batch, *geo.size, geo.channels), gs.dtype)
    for _, at_x, at_y in _window_taps(geo):
        np.add.at(gx, at_x, gs[at_y])
    return _from_last(gx, geo.channels_last, gy.dtype)


def lp_pool(x: np.ndarray, geo: PoolGeometry, norm_type: float) -> np.ndarray:
    """y[n, q, c] = (the sum of |pixel|^p over window q)^(1/p), computed from |pixel| / (largest |pixel| of the window).
    """
    xs = np.abs(_images(x, geo))
    largest = np.zeros((geo.batch, *geo.output, geo.channels), xs.dtype)
    for _, at_x, at_y in _window_taps(geo):
        largest[at_y] = np.maximum(largest[at_y], xs[at_x])
    unit = np.where(np.isfinite(largest) & (largest > 0), largest, 1)
    total = np.zeros_like(largest)
    for _, at_x, at_y in _window_taps(geo):
        total[at_y] += (xs[at_x] / unit[at_y]) ** norm_type
    y = np.where(np.isfinite(largest), unit * total ** (1 / norm_type), largest)
    return _from_last(y, geo.channels_last, x.dtype)


def lp_pool_dgrad(gy: np.ndarray, x: np.ndarray, y: np.ndarray, geo: PoolGeometry, power: float,
                  signed: bool) -> np.ndarray:
    """gx[i] = the sum of gy[q] * f(x[i] / y[q]) over the windows q that contain pixel i."""
    gs, xs, ys = _images(gy, geo), _images(x, geo), _images(y, geo)
    gx = np.zeros(xs.shape, xs.dtype)
    for _, at_x, at_y in _window_taps(geo):
        np.add.at(gx, at_x, gs[at_y] * _power_of_quotient(xs[at_x], ys[at_y], power, signed))
    return _from_last(gx, geo.channels_last, gy.dtype)


def lp_pool_gather(v: np.ndarray, x: np.ndarray, y: np.ndarray, geo: PoolGeometry, power: float,
                   signed: bool) -> np.ndarray:
    """z[q] = the sum of v[i] * f(x[i] / y[q]) over the pixels i of window q."""
    vs, xs, ys = _images(v, geo), _images(x, geo), _images(y, geo)
    z = np.zeros(ys.shape, ys.dtype)
    for _, at_x, at_y in _window_taps(geo):
        z[at_y] += vs[at_x] * _power_of_quotient(xs[at_x], ys[at_y], power, signed)
    return _from_last(z, geo.channels_last, v.dtype)


def _power_of_quotient(x: np.ndarray, y: np.ndarray, power: float, signed: bool) -> np.ndarray:
    """f(x / y) = |x / y|^power, times the sign of x where signed; 0 where y is 0, and where x is 0 and power < 0."""
    nothing = (y == 0) | (x == 0) & (power < 0)
    # inf / inf, and x / inf to a negative power, are meant to be NaN and inf
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.abs(np.where(nothing, 1, x) / np.where(nothing, 1, y)) ** power
    return np.where(nothing, 0, t * np.sign(x) if signed else t)


def _window_taps(geo: PoolGeometry) -> Iterator[tuple[int, tuple[Any, ...], tuple[Any, ...]]]:
    """For each tap: its offset in the window, the pixels of x that it reads, the outputs whose tap is inside the input.
    """
    outputs = [np.arange(out) for out in geo.output]
    for offset, tap in enumerate(itertools.product(*map(range, geo.window))):
        at_x, at_y = [], []
        for a, (i, o, n, d) in enumerate(zip(tap, outputs, geo.size, geo.dilation)):
            pixel = geo.start(a, o) + i * d
            inside = (0 <= pixel) & (pixel < n) & (i < geo.length(a, o))
            at_x.append(pixel[inside])
            at_y.append(o[inside])
        yield offset, (slice(None), *np.ix_(*at_x)), (slice(None), *np.ix_(*at_y))


def _divisors(geo: PoolGeometry) -> np.ndarray:
    """For each window the number of its taps inside the input, or inside input and padding, as (outputs..., 1)."""
    counts = np.zeros(geo.output)
    if geo.count_include_pad:
        ends = [n + after - geo.start(a, np.arange(out))
                for a, (n, out, (_, after)) in enumerate(zip(geo.size, geo.output, geo.padding))]
        counts += math.prod(np.ix_(*[np.minimum(f, end) for f, end in zip(geo.window, ends)]))
    else:
        for _, _, (_, *at_y) in _window_taps(geo):
            counts[tuple(at_y)] += 1
    return counts[..., None]


# --- matrix products


def gemm(a: np.ndarray, b: np.ndarray, c: np.ndarray | None, alpha: float, beta: float, trans_a: bool, trans_b: bool,
         activation: str | None) -> np.ndarray:
    """y = activation(alpha * op(a) @ op(b) + beta * c); with beta = 0, c is not read."""
    wide = _wider(a.dtype)
    y = alpha * ((a.T if trans_a else a).astype(wide) @ (b.T if trans_b else b).astype(wide))
    return finish(y, None if c is None or beta == 0 else beta * c.astype(wide), activation).astype(a.dtype)


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """y[..., m, n] = sum over k of a[..., m, k] * b[..., k, n]; leading axes broadcast. Integers stay integers."""
    if not is_float(a.dtype):
        return np.matmul(a, b)
    wide = _wider(a.dtype)
    return np.matmul(a.astype(wide), b.astype(wide)).astype(a.dtype)


def _wider(dtype: np.dtype) -> type[np.floating]:
    return np.longdouble if dtype.itemsize >= 8 else np.float64


# --- layouts


def nchw_to_nhwc(x: np.ndarray) -> np.ndarray:
    """y[n, p, c] = x[n, c, p]."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def nhwc_to_nchw(x: np.ndarray) -> np.ndarray:
    """y[n, c, p] = x[n, p, c]."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def oihw_to_hwio(w: np.ndarray) -> np.ndarray:
    """y[r, c, k] = w[k, c, r]."""
    return np.ascontiguousarray(np.moveaxis(w, (0, 1), (-1, -2)))


def hwio_to_oihw(w: np.ndarray) -> np.ndarray:
    """y[k, c, r] = w[r, c, k]."""
    return np.ascontiguousarray(np.moveaxis(w, (-1, -2), (0, 1)))


# --- optimizers: the formulas of docs/optim.md, array by array


def sgd_step(arrays: list[np.ndarray], rule: Any) -> tuple[np.ndarray, ...]:
    """p - rate * v, v being momentum * v + g; with Nesterov's momentum p - rate * (g + momentum * v)."""
    given = rule.operands(arrays)
    rate = np.longdouble(given.rate)

    def step(p: np.ndarray, g: np.ndarray, *v: np.ndarray) -> tuple[np.ndarray, ...]:
        g = g + rule.weight_decay * p
        if not rule.momentum:
            return (p - rate * g,)
        if rule.keras:
            moved = rule.momentum * v[0] - rate * g
            return p + (rule.momentum * moved - rate * g if rule.nesterov else moved), moved
        moved = rule.momentum * v[0] + g
        return p - rate * (g + rule.momentum * moved if rule.nesterov else moved), moved

    return _stepped(given, rule, step)


def adam_step(arrays: list[np.ndarray], rule: Any) -> tuple[np.ndarray, ...]:
    """p - rate * mean / (1 - beta1^t) / (sqrt(square / (1 - beta2^t)) + epsilon); Keras corrects after epsilon."""
    given = rule.operands(arrays)
    rate, t = np.longdouble(given.rate), int(given.steps) + 1

    def step(p: np.ndarray, g: np.ndarray, mean: np.ndarray, square: np.ndarray) -> tuple[np.ndarray, ...]:
        if rule.decoupled:
            p = p - rate * rule.weight_decay * p
        else:
            g = g + rule.weight_decay * p
        mean = rule.beta1 * mean + (1 - rule.beta1) * g
        square = rule.beta2 * square + (1 - rule.beta2) * g * g
        correction = np.sqrt(1 - np.longdouble(rule.beta2)**t)
        root = np.sqrt(square) if rule.keras else np.sqrt(square) / correction
        size = rate * (correction if rule.keras else 1) / (1 - np.longdouble(rule.beta1)**t)
        return p - size * mean / (root + rule.epsilon), mean, square

    return _stepped(given, rule, step)


def _stepped(given: Any, rule: Any, step: Any) -> tuple[np.ndarray, ...]:
    """New parameters, slots, copies, step count and loss scale, all gradients clipped first; or the old ones where the
    loss is scaled and a gradient is Inf or NaN.
    """
    finite = given.norm is None or bool(np.isfinite(given.norm))
    skipped = given.scaling is not None and not finite
    rows: list[list[np.ndarray]] = [[], *[[] for _ in given.slots]]
    for p, g, *slots in zip(given.params, given.grads, *given.slots):
        old = [a.astype(np.longdouble) for a in (p, *slots)]
        g = g.astype(np.longdouble)
        if rule.clip_norm is not None and not skipped:
            g = g * np.minimum(np.longdouble(1), rule.clip_norm / (np.longdouble(given.norm) + np.longdouble(1e-6)))
        new = old if skipped else step(old[0], g, *old[1:])
        for row, a, kind in zip(rows, new, (p.dtype, *[accumulator(p.dtype)] * len(slots))):
            row.append(np.asarray(a).astype(kind))
    copies = [] if rule.copies is None else [p.astype(as_dtype(rule.copies)) for p in rows[0]]
    flat = [a for row in rows for a in row]
    steps = np.array(int(given.steps) + (not skipped), np.int64)
    return (*flat, *copies, steps) if given.scaling is None else (
        *flat, *copies, steps, _next_scaling(given.scaling, skipped))


def _next_scaling(scaling: np.ndarray, skipped: bool) -> np.ndarray:
    """Half the scale after a step that was skipped, twice the scale after 2000 that were not."""
    scale, good = float(scaling[0]), float(scaling[1]) + 1
    if skipped:
        return np.array([scale / 2, 0], scaling.dtype)
    if good < 2000:
        return np.array([scale, good], scaling.dtype)
    return np.array([scale if scale * 2 > 3.4e38 else scale * 2, 0], scaling.dtype)


def global_norm(xs: list[np.ndarray]) -> np.ndarray:
    """sqrt(the sum of x^2 over all elements of all arrays)."""
    return np.asarray(np.sqrt(sum(np.square(x.astype(np.longdouble)).sum() for x in xs))).astype(np.float64)


def cast_all(xs: list[np.ndarray], dtype: str, divided: bool) -> tuple[np.ndarray, ...]:
    """y[i] = x[i] in another dtype; with `divided` y[i] = x[i] / d, d being the first element of the last array."""
    *xs, divisor = xs if divided else [*xs, np.ones(1)]
    by = divisor.reshape(-1)[0].astype(np.float64)
    return tuple([np.asarray(x.astype(np.promote_types(np.float64, x.dtype) if x.dtype.kind == "f" else np.float64)
                             / by).astype(as_dtype(dtype)) for x in xs])


# --- reductions


def reduce(x: np.ndarray, function: str, axes: tuple[int, ...], keepdims: bool, shape: tuple[int, ...]) -> np.ndarray:
    """y[k] = the sum, mean, max or min over r of x[k, r], where r runs over the axes."""
    if function in ("max", "min"):
        return np.asarray(getattr(np, function)(x, axis=axes, keepdims=keepdims))
    y = x.astype(_wider(x.dtype)).sum(axis=axes, keepdims=keepdims)
    count = math.prod([shape[a] for a in axes])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(y if function == "sum" else y / count).astype(x.dtype)


# --- softmax and cross-entropy


def softmax(x: np.ndarray, axis: int, log_of: bool) -> np.ndarray:
    """y[k, c] = exp(x[k, c]) / the sum over c of exp(x[k, c]), or its logarithm."""
    largest, total = _statistics(x, axis)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        shifted = x.astype(largest.dtype) - largest
        return (shifted - np.log(total) if log_of else np.exp(shifted) / total).astype(x.dtype)


def softmax_dgrad(gy: np.ndarray, y: np.ndarray, axis: int, log_of: bool) -> np.ndarray:
    """gx[k, c] = y[k, c] * (gy[k, c] - the sum of gy * y); of the logarithm gy[k, c] - exp(y[k, c]) * the sum of gy."""
    gs, ys = gy.astype(_wider(gy.dtype)), y.astype(_wider(y.dtype))
    with np.errstate(over="ignore", invalid="ignore"):
        if log_of:
            return (gs - np.exp(ys) * gs.sum(axis, keepdims=True)).astype(gy.dtype)
        return (ys * (gs - (gs * ys).sum(axis, keepdims=True))).astype(gy.dtype)


def cross_entropy(x: np.ndarray, labels: np.ndarray, axis: int, smoothing: float,
                  reduction: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """loss[k] = -sum over c of target[k, c] * log_softmax(x)[k, c], the largest x and the sum of exp(x - largest), and
    whether a label is not in [0, classes).
    """
    largest, total = _statistics(x, axis)
    targets, classes = _targets(labels, axis, x.shape[axis], smoothing), x.shape[axis]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        logs = x.astype(largest.dtype) - largest - np.log(total)
        losses = -np.where(targets == 0, 0, targets * logs).sum(axis)
        y = losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.sum() / labels.size \
            if labels.size else np.nan
        y = np.asarray(y).astype(accumulator(x.dtype))
    statistics = np.stack([largest.reshape(-1), total.reshape(-1)])
    return (y, statistics.astype(accumulator(x.dtype)),
            np.array([((labels < 0) | (labels >= classes)).any()], np.int32))


def cross_entropy_dgrad(x: np.ndarray, labels: np.ndarray, statistics: np.ndarray, g: np.ndarray, axis: int,
                        smoothing: float, reduction: str) -> np.ndarray:
    """gx[k, c] = (softmax(x)[k, c] - target[k, c]) * g[k], divided by the number of k for a mean."""
    wide, lines = _wider(x.dtype), x.shape[:axis] + x.shape[axis + 1:]
    largest, total = (np.expand_dims(s.astype(wide).reshape(lines), axis) for s in statistics)
    share = g.astype(wide) / (max(labels.size, 1) if reduction == "mean" else 1)
    with np.errstate(over="ignore", invalid="ignore"):
        p = np.exp(x.astype(wide) - largest) / total
        each = np.expand_dims(share, axis) if reduction == "none" else share
        return ((p - _targets(labels, axis, x.shape[axis], smoothing)) * each).astype(x.dtype)


def _statistics(x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    xs = x.astype(_wider(x.dtype))
    largest = xs.max(axis=axis, keepdims=True, initial=-np.inf)
    with np.errstate(over="ignore", invalid="ignore"):
        return largest, np.exp(xs - largest).sum(axis=axis, keepdims=True)


def _targets(labels: np.ndarray, axis: int, classes: int, smoothing: float) -> np.ndarray:
    """1 - smoothing at the label, and smoothing / classes everywhere."""
    hits = np.moveaxis(labels[..., None] == np.arange(classes), -1, axis)
    return hits * (1 - smoothing) + smoothing / max(classes, 1)


# --- random numbers


def dropout(x: np.ndarray, state: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """y[i] = x[i] / (1 - rate), or x[i] * 0 where the upper 24 bits of word i, as a fraction of 1, are less than rate.
    """
    words, following = _words(state, x.size, 1)
    kept = words.reshape(x.shape) // 256 / 2**24 >= rate
    xs = x.astype(_wide(x.dtype))
    scale = 1 / (1 - xs.dtype.type(rate)) if rate < 1 else 0
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(xs * np.where(kept, scale, xs.dtype.type(0))).astype(x.dtype), following


def uniform(state: np.ndarray, shape: tuple[int, ...], low: float, high: float,
            dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """y[i] = low + (high - low) * u, where u is word i without its lowest 8 of 32 bits, in float64 11 of 64 bits."""
    long = dtype == "float64"
    words, following = _words(state, math.prod(shape), 1 + long)
    u = (words // 2**11 / 2**53 if long else words // 2**8 / 2**24).reshape(shape)
    return np.asarray(low + (high - low) * u).astype(as_dtype(dtype)), following


def normal(state: np.ndarray, shape: tuple[int, ...], mean: float, std: float,
           dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """y[i], y[i+1] = mean + std * sqrt(-2 log u) * (cos v, sin v), where words i and i + 1 give u and the angle v."""
    long, count = dtype == "float64", math.prod(shape)
    words, following = _words(state, count + count % 2, 1 + long)
    u, v = words[0::2], words[1::2]
    wide: Any = np.longdouble if long else np.float64
    if long:
        u, v, bits = u // 2**11, v % 2**62 // 2**9 + v // 2**62 * 2**53, 55
    else:
        bits = 32
    halves = (2 * u + 1).astype(np.float64 if long else np.float32).astype(wide)  # a step and a half of a step
    radius = np.sqrt(-2 * np.log(halves / wide(2)**(54 if long else 33)))
    eighth = np.arctan(wide(1))  # of a circle
    angle = (v.astype(wide) + wide(0.5)) / wide(2)**bits * 8 * eighth - eighth
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return (mean + std * pairs).reshape(-1)[:count].reshape(shape).astype(as_dtype(dtype)), following


def integers(state: np.ndarray, shape: tuple[int, ...], low: int, high: int,
             dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """y[i] = low + (high - low) * (word i of 64 bits) // 2^64."""
    words, following = _words(state, math.prod(shape), 2)
    return np.array([low + (high - low) * int(word) // 2**64 for word in words], dtype).reshape(shape), following


def _words(state: np.ndarray, count: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """So many words of 32 bits, or of a `length` of two such words, and the state behind the blocks they come from."""
    blocks = -(-count * length // 4)
    if state.dtype == np.uint32:
        numbers = [int(state[1]), int(state[0]), 0]
        following = np.array([state[0], (int(state[1]) + 1) % 2**32], np.uint32)
    else:
        numbers = [int(n) for n in state]
        following = np.array([*numbers[:2], (numbers[2] + blocks) % 2**64], np.uint64)
    words = _philox(tuple(numbers), blocks).T.reshape(-1)  # type: ignore[arg-type]
    if length == 2:
        words = words[0::2] + words[1::2] * np.uint64(2**32)
    return words[:count], following


def _philox(state: tuple[int, int, int], blocks: int) -> np.ndarray:
    """Four rows of words, one column for each block: ten rounds of two products and a key that grows."""
    seed, stream, counter = state
    whole = [(counter + i) % 2**64 for i in range(blocks)]
    left, right = (np.array([[n & 0xFFFFFFFF, n >> 32] for n in words], np.uint64).reshape(-1, 2).T
                   for words in (whole, [stream] * blocks))
    factors, growth = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
    for n in range(10):
        key = [(word + n * more) % 2**32 for word, more in zip((seed % 2**32, seed // 2**32), growth)]
        (high0, low0), (high1, low1) = (divmod(side[0] * np.uint64(factor), np.uint64(2**32))
                                        for side, factor in zip((left, right), factors))
        left = np.stack([high1 ^ left[1] ^ np.uint64(key[0]), low1])
        right = np.stack([high0 ^ right[1] ^ np.uint64(key[1]), low0])
    return np.concatenate([left, right])


# --- elementwise


def activate(x: np.ndarray, function: str, alpha: float, scale: float) -> np.ndarray:
    """y[i] = the activation of that name at x[i]."""
    xs = x.astype(_wide(x.dtype))
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(_activated(xs, function, alpha, scale)).astype(x.dtype)


def activate_dgrad(gy: np.ndarray, v: np.ndarray, function: str, alpha: float, scale: float) -> np.ndarray:
    """gx[i] = gy[i] * f'; v[i] is the activation's result for relu, relu6, sigmoid and tanh, else its argument."""
    gs, vs = gy.astype(_wide(gy.dtype)), v.astype(_wide(v.dtype))
    with np.errstate(over="ignore", invalid="ignore"):
        stays, slope = _derivative(vs, function, alpha, scale)
        return np.asarray(np.where(stays, gs * slope, 0)).astype(gy.dtype)


def add_n(xs: list[np.ndarray]) -> np.ndarray:
    """y[i] = the sum over k of xs[k][i]."""
    y = np.zeros(xs[0].shape, _wide(xs[0].dtype))
    for x in xs:
        y = y + x.astype(y.dtype)
    return y.astype(xs[0].dtype)


def binary(a: np.ndarray, b: np.ndarray | None, function: str, number: float | None) -> np.ndarray:
    """y[i] = the function of a[i] and b[i], which broadcast, or of a[i] and the number, rounded to the dtype of a."""
    first, second = [x.astype(_wide(a.dtype)) for x in (a, np.asarray(number, a.dtype) if b is None else b)]
    if function.startswith("reversed_"):
        first, second = second, first
    with np.errstate(all="ignore"):
        y = {"add": lambda: first + second, "subtract": lambda: first - second, "multiply": lambda: first * second,
             "divide": lambda: np.divide(first, second),
             "maximum": lambda: np.where((first >= second) | (first != first), first, second),
             "minimum": lambda: np.where((first <= second) | (first != first), first, second),
             }[function.removeprefix("reversed_")]()
        return np.asarray(y).astype(a.dtype)


def _activated(x: np.ndarray, function: str, alpha: float, scale: float) -> np.ndarray:
    if function in ("silu", "gelu", "gelu_tanh"):  # x times a weight, which is 0 at -inf
        return np.where(x == -np.inf, 0, x) * _weight(x, function)
    if function in ("relu", "leaky_relu", "elu"):
        below = {"relu": np.zeros_like(x), "leaky_relu": alpha * x, "elu": scale * alpha * np.expm1(x)}[function]
        return np.where(x > 0, scale * x if function == "elu" else x, np.where(x == x, below, np.nan))
    if function in ("relu6", "hard_sigmoid", "hard_tanh"):
        low, high = (-1, 1) if function == "hard_tanh" else (0, 6)
        y = np.clip(x + 3 if function == "hard_sigmoid" else x, low, high)
        return y / 6 if function == "hard_sigmoid" else y
    if function == "softplus":
        return np.logaddexp(0, x)
    return np.tanh(x) if function == "tanh" else _logistic(x)


def _weight(x: np.ndarray, function: str) -> np.ndarray:
    """What silu, gelu and gelu_tanh multiply x with."""
    if function == "silu":
        return _logistic(x)
    if function == "gelu":
        return np.vectorize(lambda t: math.erfc(-t / math.sqrt(2)) / 2, otypes=[x.dtype])(x)
    return _logistic(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))


def _logistic(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -x))


def _derivative(v: np.ndarray, function: str, alpha: float, scale: float) -> tuple[Any, Any]:
    """Where the gradient flows, and the derivative there."""
    everywhere = np.ones(v.shape, bool)
    if function in ("relu", "relu6"):
        return ~(v <= 0) & ~((function == "relu6") & (v >= 6)), 1
    if function in ("hard_sigmoid", "hard_tanh"):
        corner, slope = (3, 1 / _exactly(6, v)) if function == "hard_sigmoid" else (1, 1)
        return np.abs(v) < corner, slope
    if function in ("sigmoid", "tanh"):
        return everywhere, v * (1 - v) if function == "sigmoid" else 1 - v * v
    if function in ("leaky_relu", "elu"):
        below = np.full(v.shape, alpha) if function == "leaky_relu" else scale * alpha * np.exp(v)
        return everywhere, np.where(v > 0, scale if function == "elu" else 1, below)
    if function == "softplus":
        return everywhere, _logistic(v)
    near = np.clip(v, -1e4, 1e4)  # the derivative's limits are reached long before
    rises = {"silu": lambda x: _logistic(x) * _logistic(-x),
             "gelu": lambda x: np.exp(-x * x / 2) / math.sqrt(2 * math.pi),
             "gelu_tanh": lambda x: 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x) * _weight(x, function)
             * _weight(-x, function)}[function](near)
    return everywhere, _weight(near, function) + near * rises


def _exactly(number: float, like: np.ndarray) -> Any:
    return like.dtype.type(number)


# --- normalisation: x as (outer, rows, groups, channels of a group, inner), statistics over axes 1, 3 and 4

_SHARED = (1, 3, 4)


def norm_stats(x: np.ndarray, running_mean: np.ndarray | None, running_var: np.ndarray | None, geo: NormGeometry,
               epsilon: float, momentum: float, correction: int) -> tuple[np.ndarray | None, ...]:
    """The mean (rounded to the accumulator's dtype, and what is left of it), rstd = 1 / sqrt(var + epsilon), and new
    running statistics, momentum * old + (1 - momentum) * batch, in which the variance has the divisor n - correction.
    All are NaN where there is a NaN or an Inf.
    """
    kept = accumulator(x.dtype)
    split = x.reshape(geo.split).astype(np.longdouble)
    n = max(geo.count, 1)
    with np.errstate(all="ignore"):
        first = split[:, :1, :, :1, :1].copy() if split.size else np.longdouble(0)
        apart = (split - first).sum(_SHARED, keepdims=True) / n  # long double holds this where it cannot hold the mean
        var = (((split - first) - apart) ** 2).sum(_SHARED) / n
        first = np.broadcast_to(first, apart.shape).reshape(geo.statistics)
        apart = np.where(np.isfinite(var), apart.reshape(geo.statistics), np.nan)
        mean = first + apart
        high = mean.astype(kept)
        results = [np.stack([high, (first - high) + apart]), 1 / np.sqrt(var + epsilon)]
        if running_mean is None or running_var is None:
            return (*[r.astype(kept) for r in results], None, None)
        unbiased = var.reshape(-1) * (n / max(n - correction, 1))
        results += [momentum * running_mean + (1 - momentum) * mean.reshape(-1),
                    momentum * running_var + (1 - momentum) * unbiased]
        return tuple(r.astype(kept) for r in results)


def norm_apply(x: np.ndarray, mean: np.ndarray, rstd: np.ndarray, scale: np.ndarray | None, offset: np.ndarray | None,
               geo: NormGeometry, activation: str | None) -> np.ndarray:
    """y = activation((x - mean) * rstd * scale + offset)."""
    return _norm_activation(activation, _before(x, mean, rstd, scale, offset, geo)).astype(x.dtype)


def norm_apply_add(x: np.ndarray, mean: np.ndarray, rstd: np.ndarray, scale: np.ndarray | None,
                   offset: np.ndarray | None, residual: np.ndarray, geo: NormGeometry,
                   activation: str | None) -> np.ndarray:
    """y = activation((x - mean) * rstd * scale + offset + residual)."""
    before = _before(x, mean, rstd, scale, offset, geo)
    return _norm_activation(activation, before + residual).astype(x.dtype)


def norm_infer(x: np.ndarray, mean: np.ndarray, var: np.ndarray, scale: np.ndarray | None, offset: np.ndarray | None,
               residual: np.ndarray | None, geo: NormGeometry, activation: str | None, epsilon: float) -> np.ndarray:
    """y = activation((x - mean) / sqrt(var + epsilon) * scale + offset + residual), with statistics of channels."""
    wide = _wide(x.dtype)
    xs, along = x.reshape(geo.outer * geo.rows, geo.channels, geo.inner).astype(wide), (geo.channels, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        y = (xs - mean.reshape(along)) / np.sqrt(var.reshape(along).astype(wide) + epsilon)
        y = y if scale is None else y * scale.reshape(along)
    y = (y if offset is None else y + offset.reshape(along)).reshape(x.shape)
    return _norm_activation(activation, y if residual is None else y + residual).astype(x.dtype)


def norm_fold(mean: np.ndarray, var: np.ndarray, scale: np.ndarray | None, offset: np.ndarray | None,
              bias: np.ndarray | None, epsilon: float) -> np.ndarray:
    """(factor, shift) of each channel, so that (x + bias - mean) / sqrt(var + epsilon) * scale + offset is
    x * factor + shift.
    """
    wide = _wide(mean.dtype)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = (1 if scale is None else scale.astype(wide)) / np.sqrt(var.astype(wide) + epsilon)
        shift = (0 if bias is None else bias.astype(wide)) - mean.astype(wide)
        shift = shift * factor + (0 if offset is None else offset.astype(wide))
    return np.stack([factor, shift], axis=-1).astype(mean.dtype)


def norm_dgrad(gy: np.ndarray, x: np.ndarray, mean: np.ndarray, rstd: np.ndarray, scale: np.ndarray | None,
               offset: np.ndarray | None, y: np.ndarray | None, geo: NormGeometry, activation: str | None,
               wanted: tuple[bool, ...]) -> tuple[np.ndarray | None, ...]:
    """The gradients of x, scale, offset and residual. With g = gy * (the activation's slope) and s = g * scale:
    gx = rstd * (s - m(s) - xn * m(s * xn)), m being the mean over the elements that share one.
    """
    kept, xn = accumulator(x.dtype), _normalized(x, mean, rstd, geo)
    parameters = (1, 1, geo.groups, geo.channels // max(geo.groups, 1), 1)
    before = _before(x, mean, rstd, scale, offset, geo) if y is None else y.astype(xn.dtype)
    g = (gy.astype(xn.dtype) * _norm_slope(activation, before)).reshape(geo.split)
    s = g if scale is None else g * scale.reshape(parameters)
    n = max(geo.count, 1)
    gx = rstd.reshape(geo.outer, 1, geo.groups, 1, 1) * (
        s - s.sum(_SHARED, keepdims=True) / n - xn * ((s * xn).sum(_SHARED, keepdims=True) / n))
    results = (gx.reshape(x.shape).astype(x.dtype), (g * xn).sum((0, 1, 4)).reshape(-1).astype(kept),
               g.sum((0, 1, 4)).reshape(-1).astype(kept), g.reshape(x.shape).astype(x.dtype))
    return tuple(r if w else None for r, w in zip(results, wanted))


def _normalized(x: np.ndarray, mean: np.ndarray, rstd: np.ndarray, geo: NormGeometry) -> np.ndarray:
    """xn = (x - mean) * rstd, in float64 or wider, in the shape geo.split."""
    wide, each = _wide(x.dtype), (geo.outer, 1, geo.groups, 1, 1)
    with np.errstate(invalid="ignore"):
        centred = x.reshape(geo.split).astype(wide) - mean[0].astype(wide).reshape(each)
        return (centred - mean[1].astype(wide).reshape(each)) * rstd.astype(wide).reshape(each)


def _before(x: np.ndarray, mean: np.ndarray, rstd: np.ndarray, scale: np.ndarray | None, offset: np.ndarray | None,
            geo: NormGeometry) -> np.ndarray:
    """The value before residual and activation, in the shape of x."""
    y = _normalized(x, mean, rstd, geo)
    parameters = (1, 1, geo.groups, geo.channels // max(geo.groups, 1), 1)
    y = y if scale is None else y * scale.reshape(parameters)
    return (y if offset is None else y + offset.reshape(parameters)).reshape(x.shape)


def _norm_activation(activation: str | None, v: np.ndarray) -> np.ndarray:
    if activation == "silu":
        return np.maximum(v, -750) / (1 + np.exp(-np.maximum(v, -750)))
    return np.clip(v, 0 if activation else None, 6 if activation == "relu6" else None) if activation else v


def _norm_slope(activation: str | None, v: np.ndarray) -> np.ndarray:
    """The slope of an activation at v (for relu and relu6 also by its value): 0 at corners, 1 at NaN."""
    if activation == "silu":
        s = 1 / (1 + np.exp(-np.clip(v, -750, 750)))
        return s * (1 + np.clip(v, -750, 750) * (1 - s))
    if activation is None:
        return np.ones_like(v)
    return (~((v <= 0) | (v >= 6) & (activation == "relu6"))).astype(v.dtype)
