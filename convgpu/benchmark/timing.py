"""Samples of contenders that take turns."""

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
STEADY = 0.03  # two warm-up calls that agree this well end the warm-up
LONG = 0.25  # seconds of a call from which on it is warm after one, and needs no call before each sample
LEAST = 3  # samples that are taken whatever the budget


def quiet_blas() -> None:
    """Start this program again with OPENBLAS_THREAD_TIMEOUT=20, unless it is set: else OpenBLAS's idle threads spin.

    They do so for 100 ms after each product, on the core that the other contender needs; the variable is read when
    NumPy is imported.
    """
    if _VARIABLE not in os.environ:
        os.environ[_VARIABLE] = _QUIET
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


@dataclass
class Timing:
    """The samples of one contender: seconds per call.

    By the wall clock, as CPU time of the calling thread, and on a GPU between two of its events.
    """

    calls: int  # per sample
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    gpu: list[float] = field(default_factory=list)

    def median(self, clock: str) -> float:
        """The median of "wall", "cpu" or "gpu"."""
        return statistics.median(getattr(self, clock))

    def quartiles(self, clock: str) -> tuple[float, float]:
        """The lower and the upper quartile; of a single sample, that sample twice."""
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
    """What takes samples: HostClock here, GpuClock in gpu.py."""

    def seconds(self, contender: Contender) -> float:
        """How long one call takes, for the warm-up."""

    def sample(self, timing: Timing, contender: Contender) -> None:
        """Take one more sample."""


class HostClock:
    """The wall clock, and the CPU time of the calling thread."""

    def seconds(self, contender: Contender) -> float:
        """How long one call takes."""
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
    """To the four digits that a sample is worth."""
    return float(f"{seconds:.4g}")


def alternate(contenders: Mapping[str, Contender], samples: int = 9, sample_seconds: float = 0.004,
              pause: float = 0.02, settle: float = 0.0, clocks: Mapping[str, Clock] | None = None,
              budget: float = math.inf, watch: Callable[[int], None] | None = None) -> dict[str, Timing]:
    """Time the contenders in turn, `samples` times each, after a warm-up of two calls or more.

    Before each sample come a pause and a call that is not timed: a contender's OpenMP threads spin for some 10 ms after
    its last call, on the core that the next one needs, and its data are in the cache. Calls of a quarter of a second
    and more go without that call, and with one call of warm-up.

    Args:
        contenders: functions of no arguments, by name.
        samples: how many samples of each; at least 2.
        sample_seconds: short calls are repeated within a sample until it takes about this long.
        pause: seconds of rest before each sample.
        settle: the warm-up goes on until two of its calls agree, at most this many seconds per contender: a GPU's
            clock rises for seconds.
        clocks: of the contenders that do not run on the host, by name.
        budget: seconds after which no further round begins, once there are `LEAST` samples.
        watch: is given the number of each round as it begins.
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
    """Call it until its time is steady; seconds of the last call."""
    deadline = time.perf_counter() + settle
    before = clock.seconds(contender)
    while before < LONG or settle:
        now = clock.seconds(contender)
        if abs(now - before) <= STEADY * now or time.perf_counter() >= deadline:
            return now
        before = now
    return before


def geometric_mean(values: Iterable[float]) -> float:
    """exp(mean(log(values))): the mean of ratios.

    >>> geometric_mean([0.5, 2.0])
    1.0
    """
    return math.exp(statistics.fmean(map(math.log, values)))
