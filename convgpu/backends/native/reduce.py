"""Reductions over axes."""

from __future__ import annotations

from itertools import groupby

from ...settings import workspace_limit
from .crossing import Array, Crossing

MOST_AXES = 4  # of one kind, neighbours counted as one, that a kernel takes besides the innermost (csrc/reduce/plan.h)


def arranged(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...] | None:
    """The order of axes in which x has to lie for the kernels, first those that stay; None where any order will do.

    >>> arranged((2, 3) * 4, (0, 2, 4, 6)) is None, arranged((2, 3) * 6, (0, 2, 4, 6, 8, 10))
    (True, (1, 3, 5, 7, 9, 11, 0, 2, 4, 6, 8, 10))
    """
    if len(shape) <= 2 * MOST_AXES + 1:
        return None
    goes = [kind for kind, _ in groupby(a in axes for a, n in enumerate(shape) if n != 1)][:-1]
    if max(goes.count(True), goes.count(False)) <= MOST_AXES:
        return None
    return (*[a for a in range(len(shape)) if a not in axes], *axes)


class Reduce(Crossing):
    """The op reduce: sums, means and extremes."""

    def reduce(self, x: Array, function: str, axes: tuple[int, ...], keepdims: bool, shape: tuple[int, ...]) -> Array:
        """The sum, mean, max or min over the axes."""
        self.check_float(function, x)
        kept = [1 if a in axes else n for a, n in enumerate(shape) if keepdims or a not in axes]
        if function in ("max", "min") and 0 in shape and 0 not in kept:
            raise ValueError(f"{function}: expected elements along the axes {axes}, got shape {shape}")
        y, order = self.empty(tuple(kept), x.dtype), arranged(shape, axes)
        if order is not None:
            x = self.xp.ascontiguousarray(x.transpose(order))
            shape, axes = x.shape, tuple(range(len(shape) - len(axes), len(shape)))
        self.launch("reduce", (x, y), "plan_reduce", (function, shape, axes, x.dtype), limit=workspace_limit())
        return y
