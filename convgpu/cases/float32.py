"""What float32 products are held to: data of ten kinds, and a chain of fused multiply-adds as the measure.

A kernel that computes float32 by other means must be no worse than the chain on sums of 256 terms and more, no worse
than twice the chain below, in the largest error and the root mean square, and within the bound of
`convgpu.cases.tolerance` always.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .tolerance import C_KERNEL

EPS = 2.0**-23
Matrices = tuple[np.ndarray, np.ndarray]
Draw = Callable[[np.random.Generator, int, int, int], Matrices]


def uniform(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """Of one sign, in [0, 1)."""
    return random.random((m, k)), random.random((k, n))


def log_normal(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """Of one sign and of very different sizes."""
    return np.exp(2 * random.standard_normal((m, k))), np.exp(2 * random.standard_normal((k, n)))


def large_channel(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """As after relu, with one channel in which all is a thousand times as large."""
    a = np.maximum(random.standard_normal((m, k)), 0)
    a[:, k // 3] = 1000 * random.random(m)
    return a, random.random((k, n))


def large_first(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """A first term beside which each of the others is small, but not all of them together."""
    a, b = random.random((m, k)) * 2.0**-11, random.random((k, n))
    a[:, 0] = b[0] = 1
    return a, b


def normal(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """Standard normal."""
    return random.standard_normal((m, k)), random.standard_normal((k, n))


def wide_rows(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """Rows from 1e-30 to 1e30, columns that keep the results within float32's range."""
    a, b = normal(random, m, k, n)
    return a * 10.0**random.uniform(-30, 30, (m, 1)), b * 10.0**random.uniform(-6, 6, (1, n))


def wide_elements(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """Each by a power of two from 2^-12 to 2^12."""
    a, b = normal(random, m, k, n)
    return a * np.exp2(random.integers(-12, 13, a.shape)), b * np.exp2(random.integers(-12, 13, b.shape))


def wider_elements(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """Each by a power of ten from 1e-15 to 1e15: beyond what pairs of float16 hold."""
    a, b = normal(random, m, k, n)
    return a * 10.0**random.uniform(-15, 15, a.shape), b * 10.0**random.uniform(-15, 15, b.shape)


def cancelling(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """The second half takes away what the first has added, but for some 1e-6 of it."""
    a, b = normal(random, m, k // 2, n)
    return np.hstack([a, -a]), np.vstack([b, b * (1 + 2e-6 * random.standard_normal(b.shape))])


def denormal(random: np.random.Generator, m: int, k: int, n: int) -> Matrices:
    """One factor below float32's normal numbers, the other around 1."""
    a, b = normal(random, m, k, n)
    return a * 1e-40, b * 10.0**random.uniform(-3, 3, (1, n))


DATA: tuple[Draw, ...] = (uniform, log_normal, large_channel, large_first, normal, wide_rows, wide_elements,
                          wider_elements, cancelling, denormal)


def draw(data: Draw, m: int, k: int, n: int, seed: int = 0) -> Matrices:
    """Factors (M, K) and (K, N) in float32."""
    a, b = data(np.random.default_rng(seed), m, k, n)
    return a.astype(np.float32), b.astype(np.float32)


def chain(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a @ b as one sequence of float32 fused multiply-adds.

    >>> chain(np.float32([[1, 2]]), np.float32([[3], [4]])).tolist()
    [[11.0]]
    """
    total = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for k in range(a.shape[1]):
        total = (total.astype(np.float64) + a[:, k:k + 1].astype(np.float64) * b[k:k + 1]).astype(np.float32)
    return total


def errors(y: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|y - a @ b| in units of eps * (|a| @ |b|), and of what denormal products are allowed."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    unit = EPS * (np.abs(wide_a) @ np.abs(wide_b)) + a.shape[1] * 2.0**-149 / C_KERNEL
    return np.abs(y.astype(np.float64) - wide_a @ wide_b) / unit


def largest_and_rms(errors: np.ndarray) -> tuple[float, float]:
    """The two figures that are compared."""
    return float(errors.max()), float(np.sqrt(np.mean(errors**2)))
