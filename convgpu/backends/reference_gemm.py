"""The plain statement of the matrix products.

Sums are taken in float64, those of float64 in NumPy's long double, and rounded once.
"""

from __future__ import annotations

import numpy as np

from ..dtypes import is_float
from .epilogue import finish


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
    return np.longdouble if dtype == np.float64 else np.float64
