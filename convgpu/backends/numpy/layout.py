"""Changes of layout: one copy, which NumPy makes in the memory order of the result."""

from __future__ import annotations

import numpy as np


def nchw_to_nhwc(x: np.ndarray) -> np.ndarray:
    """Images (N, C, spatial...) as (N, spatial..., C)."""
    return np.moveaxis(x, 1, -1).copy()


def nhwc_to_nchw(x: np.ndarray) -> np.ndarray:
    """Images (N, spatial..., C) as (N, C, spatial...)."""
    return np.moveaxis(x, -1, 1).copy()


def oihw_to_hwio(w: np.ndarray) -> np.ndarray:
    """Filters (K, C, spatial...) as (spatial..., C, K)."""
    return w.transpose(*range(2, w.ndim), 1, 0).copy()


def hwio_to_oihw(w: np.ndarray) -> np.ndarray:
    """Filters (spatial..., C, K) as (K, C, spatial...)."""
    return w.transpose(w.ndim - 1, w.ndim - 2, *range(w.ndim - 2)).copy()
