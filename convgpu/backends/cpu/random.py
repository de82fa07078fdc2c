"""Ops that draw random numbers."""

from __future__ import annotations

import numpy as np

from ...philox import after, blocks_of, state_of, threshold
from .crossing import Crossing


class Random(Crossing):
    """The op dropout, computed by csrc/cpu/kernels/dropout.cpp."""

    def dropout(self, x: np.ndarray, state: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
        """x / (1 - rate), or x * 0 with probability `rate`, decided by the words that follow the state."""
        self.check_float("dropout", x)
        x = self.dense(x)
        y = self.empty(x.shape, x.dtype)
        self.module.dropout(x, y, *state_of(state), threshold(rate), 1 / (1 - rate) if rate < 1 else 0.0, self.threads)
        return y, after(state, blocks_of("dropout", x.size, x.dtype))
