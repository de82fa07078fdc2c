"""Ops that draw random numbers, in parts that stay in a processor's cache.

Each result is rounded, in the order of the kernels (csrc/random), so that all bits are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...dtypes import accumulator, as_dtype
from ...philox import BLOCKS, after, blocks_of, columns, state_of, threshold
from .workers import parallel_for

_SHIFT = np.uint64(32)
Columns = list[np.ndarray]  # words 0 to 3 of some blocks

# Coefficients of fdlibm: log((1 + s) / (1 - s)) / s - 2, sine and cosine, by powers of a square (box_muller.h).
_LOG = (6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
        1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01)
_SINE = (-1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04,
         2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10)
_COSINE = (4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05,
           -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11)
_LOG2, _LOG2_REST = 0.693359375, -2.12194440054690583e-4


def dropout(x: np.ndarray, state: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """x / (1 - rate), or x * 0 with probability `rate`, decided by the words that follow the state."""
    wide, y = accumulator(x.dtype), np.empty(x.shape, x.dtype)
    given, result = np.ascontiguousarray(x).reshape(-1), y.reshape(-1)
    least, scale = np.uint64(threshold(rate) << 8), wide.type(1 / (1 - rate) if rate < 1 else 0)
    from_state, size = state_of(state), 4 * BLOCKS

    def fill(i: int) -> None:
        part = slice(i * size, (i + 1) * size)
        operand = given[part].astype(wide, copy=False)
        factors = np.empty((-(-operand.size // 4), 4), wide)
        for j, words in enumerate(columns(from_state, i * BLOCKS, len(factors))):
            np.multiply(words >= least, scale, out=factors[:, j])
        with np.errstate(all="ignore"):
            result[part] = operand * factors.reshape(-1)[:operand.size]

    parallel_for(math.ceil(given.size / size), fill)
    return y, after(state, blocks_of("dropout", x.size, x.dtype))


def uniform(state: np.ndarray, shape: tuple[int, ...], low: float, high: float,
            dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Numbers from low to high: low + u * (high - low), where u is the upper 24 bits of a word, in float64 53 of two.
    """
    wide = accumulator(as_dtype(dtype)).type

    def values(words: Columns) -> Columns:
        if wide is np.float64:
            us = [(word >> np.uint64(11)) * 2.0**-53 for word in _pairs(words)]
        else:
            us = [(word >> np.uint64(8)).astype(np.float32) * np.float32(2.0**-24) for word in words]
        return [u * wide(high - low) + wide(low) for u in us]

    return _drawn("uniform", state, shape, dtype, values)


def normal(state: np.ndarray, shape: tuple[int, ...], mean: float, std: float,
           dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Normally distributed numbers, by the transform of Box and Muller: of two words of 32 bits, in float64 of 64, one
    gives the radius and the other one the angle.
    """
    wide = accumulator(as_dtype(dtype)).type

    def values(words: Columns) -> Columns:
        if wide is np.float64:
            u, v = _pairs(words)
            numbers = _on_circle(_radius(u >> np.uint64(11), 54, wide), v, 64)
        else:
            numbers = [z for u, v in (words[:2], words[2:]) for z in _on_circle(_radius(u, 33, wide), v, 32)]
        return [z * wide(std) + wide(mean) for z in numbers]

    return _drawn("normal", state, shape, dtype, values)


def integers(state: np.ndarray, shape: tuple[int, ...], low: int, high: int,
             dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Integers from low to high - 1: low plus the upper half of the product of 64 bits and high - low."""
    first, count = np.uint64(low % 2**64), high - low

    def values(words: Columns) -> Columns:
        parts = _pairs(words)
        numbers = parts if count == 2**64 else [_upper_product(word, np.uint64(count)) for word in parts]
        return [(first + n).view(np.int64) for n in numbers]

    return _drawn("integers", state, shape, dtype, values)


def _drawn(op: str, state: np.ndarray, shape: tuple[int, ...], dtype: str,
           values: Callable[[Columns], Columns]) -> tuple[np.ndarray, np.ndarray]:
    """What `values` makes of the words of blocks, one array for each number of a block, in row-major order."""
    y = np.empty(shape, as_dtype(dtype))
    result, blocks, from_state = y.reshape(-1), blocks_of(op, y.size, y.dtype), state_of(state)

    def fill(i: int) -> None:
        numbers = values(columns(from_state, i * BLOCKS, min(BLOCKS, blocks - i * BLOCKS)))
        part = result[i * BLOCKS * len(numbers):(i + 1) * BLOCKS * len(numbers)]
        for k, column in enumerate(numbers):
            places = part[k::len(numbers)]
            places[...] = column[:len(places)]

    parallel_for(math.ceil(blocks / BLOCKS), fill)
    return y, after(state, blocks)


def _pairs(words: Columns) -> Columns:
    """Words 0 and 1 of 64 bits."""
    return [words[0] | words[1] << _SHIFT, words[2] | words[3] << _SHIFT]


def _upper_product(a: np.ndarray, b: np.uint64) -> np.ndarray:
    """The upper 64 bits of a product."""
    low = np.uint64(0xFFFFFFFF)
    a0, a1, b0, b1 = a & low, a >> _SHIFT, b & low, b >> _SHIFT
    middle = a1 * b0 + (a0 * b0 >> _SHIFT)
    other = a0 * b1 + (middle & low)
    return a1 * b1 + (middle >> _SHIFT) + (other >> _SHIFT)


def _radius(u: np.ndarray, bits: int, wide: type) -> np.ndarray:
    """sqrt(-2 log((2 u + 1) / 2^bits))."""
    fraction, exponent = np.frexp((u.astype(np.int64) * 2 + 1).astype(wide))
    small = fraction < wide(0.70710678118654752440)
    f = np.where(small, fraction + fraction, fraction) - wide(1)
    k = (exponent - small - bits).astype(wide)
    s = f / (wide(2) + f)
    z = s * s
    half_square = wide(0.5) * f * f
    rest = s * (half_square + z * _polynomial(z, _LOG)) + k * wide(_LOG2_REST)
    return np.sqrt(wide(-2) * (k * wide(_LOG2) - (half_square - rest - f)))


def _on_circle(radius: np.ndarray, v: np.ndarray, bits: int) -> Columns:
    """The coordinates of the point at the angle 2 pi v / 2^bits, less a quarter of pi, at most 53 bits of it."""
    wide, unused = radius.dtype.type, 9 if bits == 64 else 0
    digits = bits - 2 - unused
    quarter = v >> np.uint64(bits - 2)
    place = (v >> np.uint64(unused) & np.uint64(2**digits - 1)).astype(np.int64) - 2**(digits - 1)
    a = (2 * place + 1).astype(wide) * wide(math.pi / 2**(digits + 2))
    z = a * a
    sine = a + a * z * _polynomial(z, _SINE)
    cosine = wide(1) - wide(0.5) * z + z * z * _polynomial(z, _COSINE)
    turned = quarter & np.uint64(1) == 1
    first, second = radius * np.where(turned, sine, cosine), radius * np.where(turned, cosine, sine)
    return [np.where((quarter == 1) | (quarter == 2), -first, first), np.where(quarter >= 2, -second, second)]


def _polynomial(x: np.ndarray, coefficients: tuple[float, ...]) -> np.ndarray:
    """c[0] + x * (c[1] + x * (...))."""
    wide = x.dtype.type
    y = np.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        y *= x
        y += wide(c)
    return y
