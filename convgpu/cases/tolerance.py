"""How far a result may be from the exact one: the bound follows from the data, and needs no tuning.

    |got - exact| <= c * eps * op(|x|, |w|) + K * 2^-149        (float32; K is the length of the reduction)

op(|x|, |w|) is the op computed on absolute values: the rounding errors of a sum are proportional to it. c is 8 for
kernels, which sum in blocks of at most 128 terms, and 16 for NumPy, whose BLAS does not. Half types accumulate in
float32 and are rounded once: this adds 2 ulp of the output, and c grows by K/16 because tensor cores truncate.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..dtypes import DTypeLike, as_dtype

C_NUMPY, C_KERNEL = 16.0, 8.0
C_TF32 = 2.0**13  # added to c for TF32, which rounds each factor to 10 bits: 2^13 eps is 2^-10


class _Format(NamedTuple):
    """The properties of a dtype that the bound depends on, as exponents of two."""

    eps: int  # the accumulator's rounding unit
    tiny: int  # the accumulator's smallest number
    digits: int  # digits of the fraction in the output's dtype
    least: int  # the exponent of the output's smallest normal number
    largest: float


_FLOAT32_MAX = float(np.finfo(np.float32).max)
_FORMATS = {
    "float64": _Format(-52, -1074, 52, -1022, float(np.finfo(np.float64).max)),
    "float32": _Format(-23, -149, 23, -126, _FLOAT32_MAX),
    "float16": _Format(-23, -149, 10, -14, 65504.0),
    "bfloat16": _Format(-23, -149, 7, -126, 255 * 2.0**120),
}


def ulp(values: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """The distance between neighbouring numbers of `dtype` at each value.

    >>> ulp(np.array([1.0, 1.5, 2.0, 0.0]), "float16") * 1024
    array([1.00000000e+00, 1.00000000e+00, 2.00000000e+00, 6.10351562e-05])
    """
    form = _FORMATS[as_dtype(dtype).name]
    exponents = np.frexp(np.abs(values))[1] - 1
    return np.ldexp(1.0, np.maximum(np.where(values == 0, form.least, exponents), form.least) - form.digits)


def bound(exact: np.ndarray, magnitude: np.ndarray, length: int, dtype: DTypeLike, c: float = C_NUMPY) -> np.ndarray:
    """The largest allowed error of each element.

    Args:
        exact: the result in float64 (or wider).
        magnitude: the op on absolute values, also in float64 or wider.
        length: K, the number of terms of each sum.
        dtype: the dtype that was computed in.
        c: the allowed error in units of eps * magnitude.
    """
    dtype = as_dtype(dtype)
    form = _FORMATS[dtype.name]
    half = dtype.itemsize == 2
    units = c + length / 16 if half else c
    allowed = units * 2.0**form.eps * magnitude + length * 2.0**form.tiny
    return allowed + 2 * ulp(exact, dtype) if half else allowed


def worst(got: Any, exact: np.ndarray, magnitude: np.ndarray, length: int, c: float = C_NUMPY) -> float:
    """The largest error in units of the bound: at most 1 is right. Inf where NaN or Inf are in the wrong place.

    An exact value that is beyond the dtype's largest number, or within the bound of it, may come out as Inf.
    """
    got = np.asarray(got)
    if got.shape != exact.shape:
        raise AssertionError(f"expected shape {exact.shape}, got {got.shape}")
    with np.errstate(invalid="ignore", over="ignore"):
        return float(np.max(in_units(got, exact, bound(exact, magnitude, length, got.dtype, c)), initial=0.0))


def in_units(got: np.ndarray, exact: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The error of each element in units of what is allowed there, as `worst` has it."""
    largest = _FORMATS[got.dtype.name].largest
    wide = got.astype(exact.dtype)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(wide - exact)
        overflow = np.isinf(wide) & (np.sign(wide) == np.sign(exact)) & (np.abs(exact) + allowed > largest)
        same = (wide == exact) | (np.isnan(wide) & np.isnan(exact)) | overflow
        units = np.where(same, 0.0, error / np.maximum(allowed, 5e-324))
    return np.where(np.isnan(units) | (~np.isfinite(wide) & ~same), np.inf, units)
