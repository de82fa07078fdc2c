"""The four floating-point types, and the checks that keep them from being mixed in silence."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .extras import require

DTypeLike = Any  # anything that np.dtype() takes, and "bfloat16"

_IS_FLOAT: dict[np.dtype, bool] = {np.dtype(t): True for t in (np.float16, np.float32, np.float64)}
_FLOAT32 = np.dtype(np.float32)
_IS_HALF: dict[np.dtype, bool] = {np.dtype(np.float16): True}


def as_dtype(dtype: DTypeLike) -> np.dtype:
    """The NumPy dtype that `dtype` means, in native byte order; "bfloat16" comes from ml_dtypes.

    >>> as_dtype(">f4")
    dtype('float32')
    """
    if isinstance(dtype, str) and dtype == "bfloat16":
        return _bfloat16()
    known = np.dtype(dtype)
    return known if known.isnative else known.newbyteorder("=")


@functools.cache
def _bfloat16() -> np.dtype:
    return np.dtype(require("ml_dtypes", "bfloat16").bfloat16)


def is_float(dtype: np.dtype) -> bool:
    """Whether a tensor of this dtype can carry a gradient: float16, bfloat16, float32, float64."""
    known = _IS_FLOAT.get(dtype)
    if known is None:
        # dtype.name is slow to compute, so it is asked for once per dtype
        known = _IS_FLOAT[dtype] = dtype.name == "bfloat16"
    return known


def is_half(dtype: np.dtype) -> bool:
    """Whether the dtype is float16 or bfloat16, whose sums are accumulated in float32."""
    known = _IS_HALF.get(dtype)
    if known is None:
        known = _IS_HALF[dtype] = dtype.name == "bfloat16"
    return known


def accumulator(dtype: np.dtype) -> np.dtype:
    """The dtype in which sums of `dtype` are accumulated: float32 for half types, otherwise `dtype` itself."""
    return _FLOAT32 if is_half(dtype) else dtype


def check_same_float(op: str, **operands: Any) -> None:
    """Raise TypeError unless all operands share one floating dtype; None is skipped."""
    first: np.dtype | None = None
    for operand in operands.values():
        if operand is None:
            continue
        if first is None:
            first = operand.dtype
            if not is_float(first):
                break
        elif operand.dtype != first:
            break
    else:
        return
    got = ", ".join(f"{name}: {t.dtype}" for name, t in operands.items() if t is not None)
    raise TypeError(f"{op}: expected one dtype of float16, bfloat16, float32, float64 for all operands, got {got}; "
                    "convert with .astype(...)")
