"""Pooling on NumPy: axes are pooled one after the other, in tiles that stay in the cache, over contiguous memory."""

from __future__ import annotations

from .avg_pool import avg_pool, avg_pool_dgrad
from .lp_pool import lp_pool, lp_pool_dgrad, lp_pool_gather
from .max_pool import max_pool, max_pool_dgrad, max_pool_gather, max_pool_indices

__all__ = [
    "avg_pool", "avg_pool_dgrad", "lp_pool", "lp_pool_dgrad", "lp_pool_gather", "max_pool", "max_pool_dgrad",
    "max_pool_gather", "max_pool_indices",
]
