"""Reductions over axes."""

from __future__ import annotations

from ...settings import workspace_limit
from .crossing import Array, Crossing


class Reduce(Crossing):
    """The op reduce: sums, means and extremes."""

    def reduce(self, x: Array, function: str, axes: tuple[int, ...], keepdims: bool, shape: tuple[int, ...]) -> Array:
        """The sum, mean, max or min over the axes."""
        self.check_float(function, x)
        kept = [1 if a in axes else n for a, n in enumerate(shape) if keepdims or a not in axes]
        if function in ("max", "min") and 0 in shape and 0 not in kept:
            raise ValueError(f"{function}: expected elements along the axes {axes}, got shape {shape}")
        y = self.empty(tuple(kept), x.dtype)
        self.launch("reduce", (x, y), "plan_reduce", (function, shape, axes, x.dtype), limit=workspace_limit())
        return y
