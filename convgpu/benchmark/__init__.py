"""Timings that can be believed: results are verified first, contenders take turns in one process, all samples are kept.

    quiet_blas()                                        call this once, before anything is timed
    verify("conv_fprop", got, exact, magnitude, length) raise an error if the result is wrong
    timings = alternate({"ours": f, "theirs": g})       name -> Timing; on a GPU: clocks={"ours": GpuClock(CupyGpu())}
    record("results.json", rows)                        also writes machine, versions and commit

`convgpu benchmark` and the scripts in bench/ share this package. Ratios are their time over ours: above 1, we are
faster.
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
