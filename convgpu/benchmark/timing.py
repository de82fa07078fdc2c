"""Takes samples of contenders that run in turn."""

from __future__ import annotations

import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

Contender = Callable[[], object]

_VARIABLE, _QUIET = "OPENBLAS_THREAD_TIMEOUT", "20"
STEADY = 0.03  # the warm-up ends when two calls differ by no more than this share
LONG = 0.25  # calls of at least so many seconds need one call of warm-up, and no untimed call before each sample
LEAST = 3  # samples that are taken whatever the budget


def quiet_blas() -> None:
    """Start this program again with OPENBLAS_THREAD_TIMEOUT=20, unless it is set, to stop idle threads from spinning.

    Without it, OpenBLAS's threads spin for 100 ms after each product, on cores that the other contender needs. The
    variable is read when NumPy is imported, hence the new start.
    """
    if _VARIABLE not in os.environ:
        os.environ[_VARIABLE] = _QUIET
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


@dataclass
class Timing:
    """The samples of one contender, in seconds per call.

    They are taken by the wall clock, as CPU time of the calling thread, and on a GPU between two of its events.
    """

    calls: int  # how many calls one sample has
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    gpu: list[float] = field(default_factory=list)

    def median(self, clock: str) -> float:
        """The median of "wall", "cpu" or "gpu"."""
        return statistics.median(getattr(self, clock))

    def quartiles(self, clock: str) -> tuple[float, float]:
        """The lower and the upper quartile; for a single sample, the sample twice."""
        samples = getattr(self, clock)
        if len(samples) < 2:
            return samples[0], samples[0]
        low, _, high = statistics.quantiles(samples, n=4)
        return low, high

    def spread(self, clock: str) -> float:
        """The distance between the quartiles, as a share of the median."""
        low, high = self.quartiles(clock)
        return (high - low) / self.median(clock)


class Clock(Protocol):
    """An object that takes samples: HostClock here, GpuClock in gpu.py."""

    def seconds(self, contender: Contender) -> float:
        """The seconds of one call, for the warm-up."""

    def sample(self, timing: Timing, contender: Contender) -> None:
        """Take one more sample."""


class HostClock:
    """The wall clock, and the CPU time of the calling thread."""

    def seconds(self, contender: Contender) -> float:
        """The seconds of one call."""
        start = time.perf_counter()
        contender()
        return time.perf_counter() - start

    def sample(self, timing: Timing, contender: Contender) -> None:
        """Take one more sample."""
        wall, cpu = time.perf_counter(), time.thread_time()
        for _ in range(timing.calls):
            contender()
        cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
        timing.wall.append(rounded(wall / timing.calls))
        timing.cpu.append(rounded(cpu / timing.calls))


def rounded(seconds: float) -> float:
    """Round to four digits, which is the precision of a sample."""
    return float(f"{seconds:.4g}")


def alternate(contenders: Mapping[str, Contender], samples: int = 9, sample_seconds: float = 0.004,
              pause: float = 0.02, settle: float = 0.0, clocks: Mapping[str, Clock] | None = None,
              budget: float = math.inf, watch: Callable[[int], None] | None = None) -> dict[str, Timing]:
    """Time the contenders in turn, `samples` times each, after a warm-up of two calls or more.

    Before each sample come a pause and a call that is not timed: a contender's OpenMP threads spin for some 10 ms after
    its last call, on cores that the next contender needs, and its data are still in the cache. Calls of a quarter of a
    second or more have no untimed call, and only one call of warm-up.

    Args:
        contenders: functions of no arguments, by name.
        samples: how many samples each contender gets; at least 2.
        sample_seconds: short calls are repeated within a sample until it takes about this long.
        pause: seconds of rest before each sample.
        settle: the warm-up goes on until two of its calls agree, for at most this many seconds per contender, because a
            GPU's clock rises for seconds.
        clocks: the clocks of contenders that do not run on the host, by name.
        budget: seconds after which no further round begins, once each contender has `LEAST` samples.
        watch: a function that receives the number of each round when the round begins.
    """
    chosen: dict[str, Clock] = {name: (clocks or {}).get(name) or HostClock() for name in contenders}
    once = {name: _warm_up(contender, chosen[name], settle) for name, contender in contenders.items()}
    timings = {name: Timing(max(1, math.ceil(sample_seconds / max(seconds, 1e-7)))) for name, seconds in once.items()}
    start = time.perf_counter()
    for number in range(samples):
        if number >= LEAST and time.perf_counter() - start > budget:
            break
        if watch is not None:
            watch(number)
        for name, contender in contenders.items():
            time.sleep(pause)
            if once[name] < LONG:
                contender()
            chosen[name].sample(timings[name], contender)
    return timings


def _warm_up(contender: Contender, clock: Clock, settle: float) -> float:
    """Call the contender until its time is steady; return the seconds of the last call."""
    deadline = time.perf_counter() + settle
    before = clock.seconds(contender)
    while before < LONG or settle:
        now = clock.seconds(contender)
        if abs(now - before) <= STEADY * now or time.perf_counter() >= deadline:
            return now
        before = now
    return before


def geometric_mean(values: Iterable[float]) -> float:
    """exp(mean(log(values))), the right mean for ratios.

    >>> geometric_mean([0.5, 2.0])
    1.0
    """
    return math.exp(statistics.fmean(map(math.log, values)))
