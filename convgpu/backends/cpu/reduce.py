"""Reductions over axes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .crossing import Crossing, NoKernelError

Array = np.ndarray


class Reduce(Crossing):
    """The op reduce: sums, means and extremes, in csrc/cpu/kernels/reduce.cpp."""

    def reduce(self, x: Array, function: str, axes: tuple[int, ...], keepdims: bool, shape: tuple[int, ...]) -> Array:
        """The sum, mean, max or min over the axes."""
        self.check_float(function, x)
        if x.size == 0:
            raise NoKernelError("no kernel reduces an array without elements")
        kept = tuple([1 if a in axes else n for a, n in enumerate(shape) if keepdims or a not in axes])
        # The axes in the order in which they lie in memory, so that a transposed array is read as it is.
        order = list(range(x.ndim)) if x.flags.c_contiguous else sorted(range(x.ndim), key=lambda a: -abs(x.strides[a]))
        moved = x.transpose(order)
        sizes = _runs(moved.shape, [a in axes for a in order])
        if sizes is None:
            order = [*[a for a in range(x.ndim) if a not in axes], *axes]
            moved = x.transpose(order)
            sizes = (1, math.prod(kept), x.size // math.prod(kept), 1)
        y = self.empty(kept, x.dtype)
        in_order = [a for a in order if a not in axes]
        if in_order == sorted(in_order):
            self.module.reduce(self.dense(moved).reshape(sizes), y.reshape(sizes[1], sizes[3]), function, self.threads)
            return y
        found = self.empty(tuple([shape[a] for a in in_order]), x.dtype)
        self.module.reduce(self.dense(moved).reshape(sizes), found.reshape(sizes[1], sizes[3]), function, self.threads)
        y[...] = found.transpose([in_order.index(a) for a in sorted(in_order)]).reshape(kept)
        return y


def _runs(shape: Sequence[int], reduced: Sequence[bool]) -> tuple[int, ...] | None:
    """The shape with neighbouring axes joined so that the first and the third of four are reduced, if it can be."""
    sizes, flag = [1], True
    for n, r in zip(shape, reduced):
        if n == 1:
            continue
        if r == flag:
            sizes[-1] *= n
        else:
            sizes.append(n)
            flag = r
    return None if len(sizes) > 4 else tuple(sizes + [1] * (4 - len(sizes)))
