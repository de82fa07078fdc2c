"""Softmax, its logarithm, and cross-entropy with integer labels."""

from __future__ import annotations

import numpy as np

from ...dtypes import accumulator
from .crossing import Array, Crossing


class Softmax(Crossing):
    """The ops softmax and cross_entropy, with their gradients."""

    def softmax(self, x: Array, axis: int, log_of: bool) -> Array:
        """softmax along the axis, or its logarithm."""
        self.check_float("softmax", x)
        y = self.empty(x.shape, x.dtype)
        self.launch("softmax", (x, y), "plan_softmax", ("softmax", x.shape, axis, x.dtype), log_of,
                    takes_workspace=False)
        return y

    def softmax_dgrad(self, gy: Array, y: Array, axis: int, log_of: bool) -> Array:
        """The gradient through softmax or its logarithm, from its result y."""
        gx = self.empty(gy.shape, gy.dtype)
        self.launch("softmax_dgrad", (gy, y, gx), "plan_softmax", ("softmax_dgrad", gy.shape, axis, gy.dtype), log_of,
                    takes_workspace=False)
        return gx

    def cross_entropy(self, x: Array, labels: Array, axis: int, smoothing: float,
                      reduction: str) -> tuple[Array, Array, Array]:
        """The losses, their sum or mean; what gradients need of each line; and a flag for bad labels."""
        self.check_float("cross_entropy", x)
        y = self.empty(labels.shape if reduction == "none" else (), accumulator(x.dtype))
        statistics = self.empty((2, labels.size), accumulator(x.dtype))
        flag = self.empty((1,), np.int32)
        x, labels = self.xp.ascontiguousarray(x), self._labels(labels)
        rest = [self.array(a) for a in (labels, y, statistics, flag)]  # these are read and written one by one
        self.launch("cross_entropy", (x, *rest), "plan_softmax", ("cross_entropy", x.shape, axis, x.dtype), smoothing,
                    reduction)
        return y, statistics, flag

    def cross_entropy_dgrad(self, x: Array, labels: Array, statistics: Array, g: Array, axis: int, smoothing: float,
                            reduction: str) -> Array:
        """The gradient of x, from what the forward pass found of each line."""
        gx = self.empty(x.shape, x.dtype)
        kept = [self._labels(labels), *[self.xp.ascontiguousarray(a) for a in (statistics, g)]]
        self.launch("cross_entropy_dgrad", (x, *[self.array(a) for a in kept], gx), "plan_softmax",
                    ("cross_entropy_dgrad", x.shape, axis, x.dtype), smoothing, reduction, takes_workspace=False)
        return gx

    def _labels(self, labels: Array) -> Array:
        """The labels in row-major order, in a dtype that kernels read; uint64 beyond int64 becomes negative."""
        if labels.dtype.name not in ("uint8", "uint16", "int32", "int64"):
            labels = labels.astype(np.int64)
        return self.xp.ascontiguousarray(labels)
