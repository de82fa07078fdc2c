"""Ops that draw random numbers."""

from __future__ import annotations

import numpy as np

from ...dtypes import as_dtype
from ...philox import after, blocks_of, state_of, threshold
from .crossing import Crossing


class Random(Crossing):
    """The ops dropout, uniform, normal and integers, computed by dropout.cpp and draw.cpp in csrc/cpu/kernels."""

    def dropout(self, x: np.ndarray, state: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
        """x / (1 - rate), or x * 0 with probability `rate`, decided by the words that follow the state."""
        self.check_float("dropout", x)
        x = self.dense(x)
        y = self.empty(x.shape, x.dtype)
        self.module.dropout(x, y, *state_of(state), threshold(rate), 1 / (1 - rate) if rate < 1 else 0.0, self.threads)
        return y, after(state, blocks_of("dropout", x.size, x.dtype))

    def uniform(self, state: np.ndarray, shape: tuple[int, ...], low: float, high: float,
                dtype: str) -> tuple[np.ndarray, np.ndarray]:
        """Numbers from low to high, all equally probable."""
        return self._drawn("uniform", state, shape, dtype, low, high - low)

    def normal(self, state: np.ndarray, shape: tuple[int, ...], mean: float, std: float,
               dtype: str) -> tuple[np.ndarray, np.ndarray]:
        """Normally distributed numbers."""
        return self._drawn("normal", state, shape, dtype, mean, std)

    def integers(self, state: np.ndarray, shape: tuple[int, ...], low: int, high: int,
                 dtype: str) -> tuple[np.ndarray, np.ndarray]:
        """Integers from low to high - 1, all equally probable."""
        return self._drawn("integers", state, shape, dtype, low % 2**64, (high - low) % 2**64)

    def _drawn(self, op: str, state: np.ndarray, shape: tuple[int, ...], dtype: str,
               *numbers: float) -> tuple[np.ndarray, np.ndarray]:
        y = self.empty(shape, as_dtype(dtype))
        getattr(self.module, op)(y, *state_of(state), *numbers, self.threads)
        return y, after(state, blocks_of(op, y.size, y.dtype))
