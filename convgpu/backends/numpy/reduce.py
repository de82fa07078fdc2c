"""Reductions over axes; sums in blocks of at most 32 terms (convgpu/summation.py)."""

from __future__ import annotations

import numpy as np

from ... import summation
from ...dtypes import is_half


def reduce(x: np.ndarray, function: str, axes: tuple[int, ...], keepdims: bool, shape: tuple[int, ...]) -> np.ndarray:
    """The sum, mean, max or min over the axes, rounded once; of several NaN the first."""
    if function in ("max", "min"):
        if 0 in [shape[a] for a in axes] and all(n for a, n in enumerate(shape) if a not in axes):
            raise ValueError(f"{function}: expected elements along the axes {axes}, got shape {shape}")
        return (np.max if function == "max" else np.min)(x, axis=axes, keepdims=keepdims)
    y = (summation.total if function == "sum" else summation.mean)(x, axes, keepdims)
    return y.astype(x.dtype) if is_half(x.dtype) else y
