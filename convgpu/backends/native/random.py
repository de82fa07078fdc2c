"""Ops that draw random numbers."""

from __future__ import annotations

from ...generator import State
from .crossing import Array, Crossing


class Random(Crossing):
    """The op dropout."""

    def dropout(self, x: Array, state: State, rate: float) -> Array:
        """x / (1 - rate), or x * 0 with probability `rate`, decided by the words that follow the state."""
        self.check_float("dropout", x)
        y = self.empty(x.shape, x.dtype)
        self.launch("dropout", (x, y), "plan_random", ("dropout", x.size, x.dtype), *state, rate, takes_workspace=False)
        return y
