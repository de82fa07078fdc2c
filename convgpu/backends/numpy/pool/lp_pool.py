"""Power pooling and the sums that its gradients need, on NumPy: for each image, one tap after the other.

One thread computes a whole image, so that the bits do not depend on the number of threads. Terms are added up in
sequences of 64, and the sums of these sequences are added to the total.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ....dtypes import accumulator
from ....geometry import PoolGeometry
from ....summation import total as blocked_total
from ..workers import parallel_for
from .avg_pool import SEQUENCE
from .windows import images_of

Slices = tuple[slice, ...]


def lp_pool(x: np.ndarray, geo: PoolGeometry, norm_type: float) -> np.ndarray:
    """The p-norm of every window."""
    y = np.empty(geo.y_shape, x.dtype)
    if not y.size:
        return y
    images, ys, dtype = images_of(x, geo.size, geo), images_of(y, geo.output, geo), accumulator(x.dtype)
    norms = _global_norms if geo.is_global else _norms

    def image(i: int) -> None:
        ys[i] = norms(np.abs(images[i].astype(dtype, copy=False)), geo, norm_type)

    parallel_for(len(images), image)
    return y


def lp_pool_dgrad(gy: np.ndarray, x: np.ndarray, y: np.ndarray, geo: PoolGeometry, power: float,
                  signed: bool) -> np.ndarray:
    """The sum of gy * f(x / y) over the windows that contain each pixel."""
    gx = np.empty(geo.x_shape, gy.dtype)

    def spread(g: np.ndarray, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        return _sums(geo, xs, lambda at_x, at_y: (at_x, g[at_y] * _power_of_quotient(xs[at_x], ys[at_y], power,
                                                                                    signed)))

    _for_images(spread, gx, geo.size, (gy, geo.output), (x, geo.size), (y, geo.output), geo=geo)
    return gx


def lp_pool_gather(v: np.ndarray, x: np.ndarray, y: np.ndarray, geo: PoolGeometry, power: float,
                   signed: bool) -> np.ndarray:
    """The sum of v * f(x / y) over the pixels of each window."""
    z = np.empty(geo.y_shape, v.dtype)

    def gather(vs: np.ndarray, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
        return _sums(geo, ys, lambda at_x, at_y: (at_y, vs[at_x] * _power_of_quotient(xs[at_x], ys[at_y], power,
                                                                                      signed)))

    _for_images(gather, z, geo.output, (v, geo.size), (x, geo.size), (y, geo.output), geo=geo)
    return z


def _for_images(compute: Callable[..., np.ndarray], out: np.ndarray, size: tuple[int, ...], *operands: Any,
                geo: PoolGeometry) -> None:
    """out = compute(operands), image by image, in the accumulator's dtype; each operand comes with its spatial sizes.
    """
    if not out.size:
        return
    images, dtype = images_of(out, size, geo), accumulator(out.dtype)
    sources = [images_of(array, sizes, geo) for array, sizes in operands]

    def image(i: int) -> None:
        # inf / inf, inf - inf, and 0 to a negative power are meant to give NaN and inf
        with np.errstate(invalid="ignore", divide="ignore"):
            images[i] = compute(*[source[i].astype(dtype, copy=False) for source in sources])

    parallel_for(len(images), image)


def _norms(v: np.ndarray, geo: PoolGeometry, p: float) -> np.ndarray:
    """The norms of the windows of one image of absolute values, each computed in units of the window's largest value.
    """
    largest = np.zeros((*geo.output, v.shape[-1]), v.dtype)
    for at_x, at_y in _taps(geo):
        np.maximum(largest[at_y], v[at_x], out=largest[at_y])  # np.maximum keeps NaN
    unit = _unit(largest)
    total = _sums(geo, largest, lambda at_x, at_y: (at_y, _power(v[at_x] / unit[at_y], p)))
    return np.where(np.isfinite(largest), unit * _root(total, p), largest)


def _global_norms(v: np.ndarray, geo: PoolGeometry, p: float) -> np.ndarray:
    """The norms of an image whose only window is the whole image."""
    pixels = v.reshape(-1, v.shape[-1])
    largest = np.max(pixels, axis=0)
    unit = _unit(largest)
    with np.errstate(invalid="ignore"):  # inf / 1 is inf; the quotient of NaN is not used
        total = blocked_total(_power(pixels / unit, p), (0,))
    return np.where(np.isfinite(largest), unit * _root(total, p), largest).reshape(*geo.output, -1)


def _unit(largest: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(largest) & (largest > 0), largest, largest.dtype.type(1))


def _power(t: np.ndarray, p: float) -> np.ndarray:
    return t if p == 1 else np.square(t) if p == 2 else t ** t.dtype.type(p)


def _root(t: np.ndarray, p: float) -> np.ndarray:
    return t if p == 1 else np.sqrt(t) if p == 2 else t ** t.dtype.type(1 / p)


def _power_of_quotient(x: np.ndarray, y: np.ndarray, power: float, signed: bool) -> np.ndarray:
    """f(x / y) = |x / y|^power, times the sign of x where signed; 0 where y is 0, and where x is 0 and power < 0."""
    nothing = (y == 0) | (x == 0) if power < 0 else y == 0
    one = x.dtype.type(1)
    t = np.abs(x / np.where(nothing, one, y))
    t = np.where(nothing, one, t) if power < 0 else t
    t = t ** t.dtype.type(power) if power != 1 else t
    t = t * np.sign(x) if signed else t
    return np.where(nothing, x.dtype.type(0), t)


Term = Callable[[Slices, Slices], tuple[Slices, np.ndarray]]


def _sums(geo: PoolGeometry, like: np.ndarray, term: Term) -> np.ndarray:
    """An array like `like`, to which each tap adds what `term` returns for the tap: (where, values)."""
    total = np.zeros_like(like)
    taps = _taps(geo)
    while sequence := list(itertools.islice(taps, SEQUENCE)):
        part = np.zeros_like(like) if math.prod(geo.window) > SEQUENCE else total
        for at_x, at_y in sequence:
            where, values = term(at_x, at_y)
            part[where] += values
        if part is not total:
            total += part
    return total


def _taps(geo: PoolGeometry) -> Iterator[tuple[Slices, Slices]]:
    """For each tap of the window: the pixels that it reads, and the outputs whose tap lies inside the image."""
    for tap in itertools.product(*map(range, geo.window)):
        at_x, at_y = [], []
        for r, n, out, stride, (before, _) in zip(tap, geo.size, geo.output, geo.stride, geo.padding):
            first = max(-((r - before) // stride), 0)  # output o reads pixel o * stride + r - before
            count = max(min((n - 1 - r + before) // stride + 1, out) - first, 0)
            start = first * stride + r - before
            at_x.append(slice(start, start + (count - 1) * stride + 1, stride) if count else slice(0, 0))
            at_y.append(slice(first, first + count))
        yield tuple(at_x), tuple(at_y)
