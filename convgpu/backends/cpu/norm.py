"""Normalisation."""

from __future__ import annotations

import numpy as np

from ...dtypes import accumulator
from ...geometry import NormGeometry
from .crossing import Crossing

Array = np.ndarray


class Norm(Crossing):
    """The ops norm_stats, norm_apply, norm_apply_add, norm_infer and norm_dgrad, in csrc/cpu/norm.cpp."""

    def norm_stats(self, x: Array, running_mean: Array | None, running_var: Array | None, geo: NormGeometry,
                   epsilon: float, momentum: float, correction: int) -> tuple[Array | None, ...]:
        """The mean and what is left of it, rstd, and what the running statistics have learned."""
        self.check_float("norm_stats", x)
        kept = accumulator(x.dtype)
        mean, rstd = self.empty((2, *geo.statistics), kept), self.empty(geo.statistics, kept)
        learned = [None if r is None else self.empty(r.shape, kept) for r in (running_mean, running_var)]
        self.module.norm_stats(self.dense(x), self.dense(running_mean, kept), self.dense(running_var, kept), mean, rstd,
                               *learned, self.geometry(geo), epsilon, momentum, correction, self.threads)
        return (mean, rstd, *learned)

    def norm_apply(self, x: Array, mean: Array, rstd: Array, scale: Array | None, offset: Array | None,
                   geo: NormGeometry, activation: str | None) -> Array:
        """activation((x - mean) * rstd * scale + offset)."""
        return self._apply("norm_apply", x, (mean, rstd, scale, offset), None, geo, activation)

    def norm_apply_add(self, x: Array, mean: Array, rstd: Array, scale: Array | None, offset: Array | None,
                       residual: Array, geo: NormGeometry, activation: str | None) -> Array:
        """activation((x - mean) * rstd * scale + offset + residual)."""
        return self._apply("norm_apply_add", x, (mean, rstd, scale, offset), residual, geo, activation)

    def norm_infer(self, x: Array, mean: Array, var: Array, scale: Array | None, offset: Array | None,
                   residual: Array | None, geo: NormGeometry, activation: str | None, epsilon: float) -> Array:
        """activation((x - mean) / sqrt(var + epsilon) * scale + offset + residual), with statistics of channels."""
        return self._apply("norm_infer", x, (mean, var, scale, offset), residual, geo, activation, epsilon)

    def norm_dgrad(self, gy: Array, x: Array, mean: Array, rstd: Array, scale: Array | None, offset: Array | None,
                   y: Array | None, geo: NormGeometry, activation: str | None,
                   wanted: tuple[bool, ...]) -> tuple[Array | None, ...]:
        """The gradients of x, scale, offset and residual, as far as they are wanted."""
        self.check_float("norm_dgrad", x)
        kept = accumulator(x.dtype)
        shapes = ((x.shape, x.dtype), ((geo.channels,), kept), ((geo.channels,), kept), (x.shape, x.dtype))
        results = tuple([self.empty(*s) if w else None for s, w in zip(shapes, wanted)])
        small = [self.dense(a, kept) for a in (mean, rstd, scale, offset)]
        self.module.norm_dgrad(self.dense(gy), self.dense(x), *small, self.dense(y), *results, self.geometry(geo),
                               activation or "", self.threads)
        return results

    def _apply(self, op: str, x: Array, small: tuple[Array | None, ...], residual: Array | None, geo: NormGeometry,
               activation: str | None, *epsilon: float) -> Array:
        self.check_float(op, x)
        kept, y = accumulator(x.dtype), self.empty(x.shape, x.dtype)
        run = self.module.norm_infer if op == "norm_infer" else self.module.norm_apply
        run(self.dense(x), *[self.dense(a, kept) for a in small], self.dense(residual), y, self.geometry(geo),
            activation or "", *epsilon, self.threads)
        return y
