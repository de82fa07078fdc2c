"""Normalisation."""

from __future__ import annotations

import numpy as np

from ...dtypes import accumulator
from ...geometry import NormGeometry
from ...settings import workspace_limit
from .crossing import Array, Crossing


class Norm(Crossing):
    """The ops norm_stats, norm_apply, norm_apply_add, norm_infer, norm_fold and norm_dgrad, in csrc/norm."""

    def norm_stats(self, x: Array, running_mean: Array | None, running_var: Array | None, geo: NormGeometry,
                   epsilon: float, momentum: float, correction: int) -> tuple[Array | None, ...]:
        """The mean and what is left of it, rstd, and what the running statistics have learned."""
        self.check_float("norm_stats", x)
        kept = accumulator(x.dtype)
        mean, rstd = self.empty((2, *geo.statistics), kept), self.empty(geo.statistics, kept)
        learned = [None if r is None else self.empty(r.shape, kept) for r in (running_mean, running_var)]
        small = _Small(self, kept, running_mean, running_var, mean, rstd, *learned)
        with self.counters() as counters:
            self.launch("norm_stats", (x, *small.crossed, counters), "plan_norm", ("norm_stats", geo, x.dtype), epsilon,
                        momentum, correction, limit=workspace_limit())
        return (mean, rstd, *learned)

    def norm_apply(self, x: Array, mean: Array, rstd: Array, scale: Array | None, offset: Array | None,
                   geo: NormGeometry, activation: str | None) -> Array:
        """activation((x - mean) * rstd * scale + offset)."""
        self.check_float("norm_apply", x)
        y, small = self.empty(x.shape, x.dtype), _Small(self, accumulator(x.dtype), mean, rstd, scale, offset)
        self.launch("norm_apply", (x, *small.crossed, y), "plan_norm", ("norm_apply", geo, x.dtype), activation or "",
                    takes_workspace=False)
        return y

    def norm_apply_add(self, x: Array, mean: Array, rstd: Array, scale: Array | None, offset: Array | None,
                       residual: Array, geo: NormGeometry, activation: str | None) -> Array:
        """activation((x - mean) * rstd * scale + offset + residual)."""
        self.check_float("norm_apply_add", x)
        y, small = self.empty(x.shape, x.dtype), _Small(self, accumulator(x.dtype), mean, rstd, scale, offset)
        self.launch("norm_apply_add", (x, *small.crossed, residual, y), "plan_norm", ("norm_apply_add", geo, x.dtype),
                    activation or "", takes_workspace=False)
        return y

    def norm_infer(self, x: Array, mean: Array, var: Array, scale: Array | None, offset: Array | None,
                   residual: Array | None, geo: NormGeometry, activation: str | None, epsilon: float) -> Array:
        """activation((x - mean) / sqrt(var + epsilon) * scale + offset + residual), with statistics of channels."""
        self.check_float("norm_infer", x)
        y, small = self.empty(x.shape, x.dtype), _Small(self, accumulator(x.dtype), mean, var, scale, offset)
        self.launch("norm_infer", (x, *small.crossed, residual, y), "plan_norm", ("norm_infer", geo, x.dtype),
                    activation or "", epsilon, takes_workspace=False)
        return y

    def norm_fold(self, mean: Array, var: Array, scale: Array | None, offset: Array | None, bias: Array | None,
                  epsilon: float) -> Array:
        """The factor and the shift of each channel, (channels, 2)."""
        self.check_float("norm_fold", mean)
        folded = self.empty((*mean.shape, 2), mean.dtype)
        small = _Small(self, mean.dtype, mean, var, scale, offset, bias)
        geo = NormGeometry(1, 1, mean.size, 1, mean.size)
        self.launch("norm_fold", (*small.crossed, self.array(folded)), "plan_norm", ("norm_fold", geo, mean.dtype),
                    epsilon, takes_workspace=False)
        return folded

    def norm_dgrad(self, gy: Array, x: Array, mean: Array, rstd: Array, scale: Array | None, offset: Array | None,
                   y: Array | None, geo: NormGeometry, activation: str | None,
                   wanted: tuple[bool, ...]) -> tuple[Array | None, ...]:
        """The gradients of x, scale, offset and residual, as far as they are wanted."""
        self.check_float("norm_dgrad", x)
        kept = accumulator(x.dtype)
        shapes = ((x.shape, x.dtype), ((geo.channels,), kept), ((geo.channels,), kept), (x.shape, x.dtype))
        gx, gscale, goffset, gresidual = (self.empty(*s) if w else None for s, w in zip(shapes, wanted))
        means = self.empty((2, *geo.statistics), kept) if wanted[0] else None
        small = _Small(self, kept, mean, rstd, scale, offset, gscale, goffset, means)
        given, results = small.crossed[:4], small.crossed[4:6]
        with self.counters() as counters:
            self.launch("norm_dgrad", (gy, x, *given, y, gx, *results, gresidual, small.crossed[6], counters),
                        "plan_norm", ("norm_dgrad", geo, x.dtype), activation or "", wanted=tuple(wanted),
                        limit=workspace_limit())
        return gx, gscale, goffset, gresidual


class _Small:
    """Arrays of statistics and parameters, in the dtype of sums and contiguous. They cross without their addresses
    counting in the plan, whose vectors are those of arrays of x's size.
    """

    def __init__(self, native: Crossing, dtype: np.dtype, *arrays: Array | None):
        self._kept = [a if a is None or a.dtype == dtype and a.flags.c_contiguous
                      else native.xp.ascontiguousarray(a, dtype=dtype).reshape(a.shape) for a in arrays]
        self.crossed = [None if a is None else native.array(a) for a in self._kept]
