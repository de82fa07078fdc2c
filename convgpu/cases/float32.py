"""The accuracy that float32 products must have: ten kinds of data, and a chain of fused multiply-adds to compare with.

A kernel that computes float32 by other means must be no worse than the chain on sums of at least 256 terms, and no
worse than twice the chain on shorter sums, in both the largest error and the root mean square. It must always be within
the bound of `convgpu.cases.tolerance`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .tolerance import C_KERNEL

EPS = 2.0**-23
Matrices = tuple[np.ndarray, np.ndarray]
Draw = Callable[[np.random.Generator, int, int, int], Matrices]


def uniform(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """Positive factors in [0, 1)."""
    return random.random((m, k)), random.random((k, n))


def log_normal(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """Positive factors of very different sizes."""
    return np.exp(2 * random.standard_normal((m, k))), np.exp(2 * random.standard_normal((k, n)))


def large_channel(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """Factors as after a ReLU, with one channel whose values are a thousand times as large."""
    a = np.maximum(random.standard_normal((m, k)), 0)
    a[:, k // 3] = 1000 * random.random(m)
    return a, random.random((k, n))


def large_first(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """A first term so large that each other term is negligible beside it, but their sum is not."""
    a, b = random.random((m, k)) * 2.0**-11, random.random((k, n))
    a[:, 0] = b[0] = 1
    return a, b


def normal(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """Standard normal factors."""
    return random.standard_normal((m, k)), random.standard_normal((k, n))


def wide_rows(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """Rows scaled by 1e-30 to 1e30, with columns that keep the results within float32's range."""
    a, b = normal(random, m, k, n)
    return a * 10.0**random.uniform(-30, 30, (m, 1)), b * 10.0**random.uniform(-6, 6, (1, n))


def wide_elements(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """Normal factors, each scaled by a power of two from 2^-12 to 2^12."""
    a, b = normal(random, m, k, n)
    return a * np.exp2(random.integers(-12, 13, a.shape)), b * np.exp2(random.integers(-12, 13, b.shape))


def wider_elements(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """Normal factors, each scaled by a power of ten from 1e-15 to 1e15: beyond the range of pairs of float16."""
    a, b = normal(random, m, k, n)
    return a * 10.0**random.uniform(-15, 15, a.shape), b * 10.0**random.uniform(-15, 15, b.shape)


def cancelling(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """Sums whose second half cancels the first, except for some 1e-6 of it."""
    a, b = normal(random, m, k // 2, n)
    return np.hstack([a, -a]), np.vstack([b, b * (1 + 2e-6 * random.standard_normal(b.shape))])


def denormal(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """Products of a denormal float32 factor and a factor around 1."""
    a, b = normal(random, m, k, n)
    return a * 1e-40, b * 10.0**random.uniform(-3, 3, (1, n))


DATA: tuple[Draw, ...] = (uniform, log_normal, large_channel, large_first, normal, wide_rows, wide_elements,
                          wider_elements, cancelling, denormal)


def draw(data: Draw, m: int, k: int, n: int, seed: int = 0) -> Matrices:
    """The factors (M, K) and (K, N) of a kind of data, in float32."""
    a, b = data(np.random.default_rng(seed), m, k, n)
    return a.astype(np.float32), b.astype(np.float32)


def chain(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b, each element computed by one sequence of float32 fused multiply-adds.

    >>> chain(np.float32([[1, 2]]), np.float32([[3], [4]])).tolist()
    [[11.0]]
    """
    total = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for k in range(a.shape[1]):
        total = (total.astype(np.float64) + a[:, k:k + 1].astype(np.float64) * b[k:k + 1]).astype(np.float32)
    return total


def errors(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|y - a @ b| in units of eps * (|a| @ |b|) plus the error that denormal products are allowed."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    unit = EPS * (np.abs(wide_a) @ np.abs(wide_b)) + a.shape[1] * 2.0**-149 / C_KERNEL
    return np.abs(y.astype(np.float64) - wide_a @ wide_b) / unit


def largest_and_rms(errors: np.ndarray) -> tuple[float, float]:
    """The largest error and the root mean square, which are the two figures that are compared."""
    return float(errors.max()), float(np.sqrt(np.mean(errors**2)))
