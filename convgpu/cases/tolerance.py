"""How far a result may be from the exact one: a bound that follows from the data, and needs no tuning.

    |got - exact| <= c * eps * op(|x|, |w|) + K * 2^-149        (float32; K: the length of the reduction)

op(|x|, |w|) is the op run on absolute values: what the rounding errors of a sum are proportional to. c is 8 for kernels,
which sum in blocks of at most 128, and 16 on NumPy, whose BLAS does not. Half types accumulate in float32 and are
rounded once: 2 ulp of the output on top, and c grows by K/16 because tensor cores truncate.
"""

from __future__ import annotations

import numpy as np

from ..dtypes import is_half

C_NUMPY, C_KERNEL = 16.0, 8.0


def bound(exact: np.ndarray, magnitude: np.ndarray, length: int, dtype: np.dtype, c: float = C_NUMPY) -> np.ndarray:
    """The largest allowed error of each element.

    Args:
        exact: the result in float64.
        magnitude: the op on absolute values, in float64.
        length: K, the number of terms of each sum.
        dtype: the dtype that was computed in.
        c: the allowed error in units of eps * magnitude.
    """
    dtype = np.dtype(dtype)
    if dtype == np.float64:
        return c * 2.0**-52 * magnitude + length * 2.0**-1074
    allowed = c * 2.0**-23 * magnitude + length * 2.0**-149
    if is_half(dtype):
        digits, smallest = (10, 2.0**-24) if dtype == np.float16 else (7, 2.0**-133)
        allowed = allowed * (1 + length / (16 * c)) + 2 * np.maximum(2.0**-digits * np.abs(exact), smallest)
    return allowed


def worst(got: np.ndarray, exact: np.ndarray, magnitude: np.ndarray, length: int, c: float = C_NUMPY) -> float:
    """The largest error in units of the bound: at most 1 is right. Inf where NaN or Inf stand in the wrong place."""
    got64 = np.asarray(got).astype(np.float64)
    if got64.shape != exact.shape:
        raise AssertionError(f"expected shape {exact.shape}, got {got64.shape}")
    if got64.size == 0:
        return 0.0
    largest = float(np.finfo(got.dtype).max) if got.dtype.kind == "f" else 3.3895313892515355e38  # bfloat16's
    finite = np.isfinite(exact) & (np.abs(exact) <= largest)
    special = np.where(np.isnan(exact), np.isnan(got64), np.sign(got64) * np.inf == np.sign(exact) * np.inf)
    if not np.all(special | finite) or not np.all(np.isfinite(got64[finite])):
        return float("inf")
    allowed = bound(exact, magnitude, length, got.dtype, c)
    error = np.abs(got64 - exact)[finite]
    return float(np.max(error / np.maximum(allowed[finite], 5e-324), initial=0.0))
