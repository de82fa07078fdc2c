"""Softmax, its logarithm, and cross-entropy with integer labels."""

from __future__ import annotations

import numpy as np

from ...dtypes import accumulator
from .crossing import Crossing

Array = np.ndarray


class Softmax(Crossing):
    """The ops softmax and cross_entropy, with their gradients, in csrc/cpu/softmax.cpp."""

    def softmax(self, x: Array, axis: int, log_of: bool) -> Array:
        """exp(x) / sum of exp(x) along the axis, or its logarithm."""
        self.check_float("softmax", x)
        y = self.empty(x.shape, x.dtype)
        self.module.softmax(self.dense(x), y, axis, log_of, self.threads)
        return y

    def softmax_dgrad(self, gy: Array, y: Array, axis: int, log_of: bool) -> Array:
        """The gradient through softmax or its logarithm, from its result y."""
        self.check_float("softmax_dgrad", gy)
        gx = self.empty(gy.shape, gy.dtype)
        self.module.softmax_dgrad(self.dense(gy), self.dense(y), gx, axis, log_of, self.threads)
        return gx

    def cross_entropy(self, x: Array, labels: Array, axis: int, smoothing: float,
                      reduction: str) -> tuple[Array, Array, Array]:
        """The losses, their sum or mean; the largest element of each line and the sum of exp(x - largest); and a flag
        that tells whether a label is out of range.
        """
        self.check_float("cross_entropy", x)
        wide = accumulator(x.dtype)
        y = self.empty(labels.shape if reduction == "none" else (), wide)
        statistics, flag = self.empty((2, labels.size), wide), self.empty((1,), np.int32)
        self.module.cross_entropy(self.dense(x), self._labels(labels), y, statistics, flag, axis, smoothing, reduction,
                                  self.threads)
        return y, statistics, flag

    def cross_entropy_dgrad(self, x: Array, labels: Array, statistics: Array, g: Array, axis: int, smoothing: float,
                            reduction: str) -> Array:
        """The gradient of x, from what the forward pass found of each line."""
        self.check_float("cross_entropy_dgrad", x)
        gx, wide = self.empty(x.shape, x.dtype), accumulator(x.dtype)
        self.module.cross_entropy_dgrad(self.dense(x), self._labels(labels), self.dense(statistics, wide),
                                        self.dense(g, wide), gx, axis, smoothing, reduction, self.threads)
        return gx

    def _labels(self, labels: Array) -> Array:
        """The labels in a dtype that kernels read; uint64 beyond int64 becomes negative, which is out of range too."""
        kept = labels.dtype if labels.dtype.name in ("uint8", "uint16", "int32", "int64") else np.int64
        return self.dense(labels, kept)
