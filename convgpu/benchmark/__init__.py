"""Timings that can be believed: verified first, contenders alternating in one process, every sample kept.

    quiet_blas()                                        once, before anything is timed
    verify("conv_fprop", got, exact, magnitude, length) a wrong result has no speed
    timings = alternate({"ours": f, "theirs": g})       name -> Timing; on a GPU: clocks={"ours": GpuClock(CupyGpu())}
    record("results.json", rows)                        with machine, versions and commit

What `convgpu benchmark` and the scripts in bench/ share. Ratios are theirs/ours: above 1, we are faster.
"""

from __future__ import annotations

from .gpu import CupyGpu, GpuClock, rotating
from .results import Results, environment, record
from .timing import Clock, HostClock, Timing, alternate, geometric_mean, quiet_blas
from .verification import WrongResultError, verify

__all__ = [
    "Clock", "CupyGpu", "GpuClock", "HostClock", "Results", "Timing", "WrongResultError", "alternate", "environment",
    "geometric_mean", "quiet_blas", "record", "rotating", "verify",
]
