"""Ops that draw random numbers. Kernels read the state on the device, and write the next one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...dtypes import as_dtype
from .crossing import Array, Crossing


class Random(Crossing):
    """The ops dropout, uniform, normal and integers."""

    def dropout(self, x: Array, state: Array, rate: float) -> tuple[Array, Array]:
        """x / (1 - rate), or x * 0 with probability `rate`, decided by the words that follow the state."""
        self.check_float("dropout", x)
        y = self.empty(x.shape, x.dtype)
        return self._launch_draw("dropout", (x,), state, y, rate)

    def uniform(self, state: Array, shape: tuple[int, ...], low: float, high: float,
                dtype: str) -> tuple[Array, Array]:
        """Numbers from low to high, all equally probable."""
        return self._launch_draw("uniform", (), state, self.empty(shape, as_dtype(dtype)), low, high)

    def normal(self, state: Array, shape: tuple[int, ...], mean: float, std: float,
               dtype: str) -> tuple[Array, Array]:
        """Normally distributed numbers."""
        return self._launch_draw("normal", (), state, self.empty(shape, as_dtype(dtype)), mean, std)

    def integers(self, state: Array, shape: tuple[int, ...], low: int, high: int,
                 dtype: str) -> tuple[Array, Array]:
        """Integers from low to high - 1, all equally probable."""
        return self._launch_draw("integers", (), state, self.empty(shape, as_dtype(dtype)), low, (high - low) % 2**64)

    def _launch_draw(self, op: str, inputs: tuple[Array, ...], state: Array, y: Array,
                     *options: Any) -> tuple[Array, Array]:
        """Call the launcher. The plan does not depend on where the states are."""
        state = self.xp.ascontiguousarray(state)
        following = self.empty(state.shape, state.dtype)
        self.launch(op, (*inputs, self.array(state), y, self.array(following)), "plan_random",
                    (op, y.size, np.dtype(y.dtype)), *options, takes_workspace=False)
        return y, following
