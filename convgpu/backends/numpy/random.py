"""Ops that draw random numbers, in parts that stay in a processor's cache."""

from __future__ import annotations

import math

import numpy as np

from ...dtypes import accumulator
from ...generator import BLOCKS, State, columns, threshold
from .workers import parallel_for


def dropout(x: np.ndarray, state: State, rate: float) -> np.ndarray:
    """x / (1 - rate), or x * 0 with probability `rate`, decided by the words that follow the state."""
    wide, y = accumulator(x.dtype), np.empty(x.shape, x.dtype)
    given, result = np.ascontiguousarray(x).reshape(-1), y.reshape(-1)
    least, scale = np.uint64(threshold(rate) << 8), wide.type(1 / (1 - rate) if rate < 1 else 0)
    size = 4 * BLOCKS

    def fill(i: int) -> None:
        part = slice(i * size, (i + 1) * size)
        operand = given[part].astype(wide, copy=False)
        factors = np.empty((-(-operand.size // 4), 4), wide)
        for j, words in enumerate(columns(state, i * BLOCKS, len(factors))):
            np.multiply(words >= least, scale, out=factors[:, j])
        with np.errstate(all="ignore"):
            result[part] = operand * factors.reshape(-1)[:operand.size]

    parallel_for(math.ceil(given.size / size), fill)
    return y
