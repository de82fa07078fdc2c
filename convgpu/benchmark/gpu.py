"""Timing on a GPU by its own events, with a cold cache and a full queue."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from typing import Any, Protocol

from ..device import cupy_with_gpu
from .timing import Contender, Timing, rounded

LONGEST_COVER = 0.05  # the most seconds of other work that are queued before a sample
MOST_COPIES = 256


class Gpu(Protocol):
    """What a clock needs from a GPU; CupyGpu has it, and so can a class for another package's stream."""

    cache_bytes: int  # bytes of the L2 cache

    def cover(self) -> None:
        """Queue writes to more memory than the cache holds."""

    def mark(self) -> Any:
        """Queue an event."""

    def seconds(self, start: Any, stop: Any) -> float:
        """Wait for `stop`, and return the time between two events."""

    def wait(self) -> None:
        """Wait for all queued work."""


class CupyGpu:
    """The first GPU, on CuPy's current stream. PyTorch's default stream is the same stream: its calls are timed too."""

    def __init__(self) -> None:
        self._cupy = cupy_with_gpu()
        properties = self._cupy.cuda.runtime.getDeviceProperties(0)
        self.name: str = properties["name"].decode()
        self.cache_bytes: int = properties["l2CacheSize"]
        self._memory = self._cupy.empty(4 * self.cache_bytes, "uint8")

    def cover(self) -> None:
        """Queue writes to four times the cache."""
        self._memory.fill(0)

    def mark(self) -> Any:
        """Queue an event."""
        event = self._cupy.cuda.Event()
        event.record()
        return event

    def seconds(self, start: Any, stop: Any) -> float:
        """Wait for `stop`, and return the time between two events."""
        stop.synchronize()
        return self._cupy.cuda.get_elapsed_time(start, stop) / 1e3

    def wait(self) -> None:
        """Wait for the device."""
        self._cupy.cuda.runtime.deviceSynchronize()


class GpuClock:
    """Measures the time between two events on the GPU, and the wall clock until the GPU is done, as a caller sees it.

    Other work is queued before the first event, long enough for the host to queue all calls behind it. The time between
    the events is then the GPU's own, without pauses in which it waits for Python.
    """

    def __init__(self, gpu: Gpu):
        self._gpu = gpu
        self._cover_seconds: float | None = None

    def seconds(self, contender: Contender) -> float:
        """The seconds of one call, including the GPU's work."""
        self._gpu.wait()
        start = time.perf_counter()
        contender()
        self._gpu.wait()
        return time.perf_counter() - start

    def sample(self, timing: Timing, contender: Contender) -> None:
        """Take one more sample: first by the wall clock and the host's CPU time, then by events."""
        self._gpu.wait()
        wall, cpu = time.perf_counter(), time.thread_time()
        for _ in range(timing.calls):
            contender()
        queued = time.perf_counter() - wall
        self._gpu.wait()
        cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall

        for _ in range(math.ceil(min(2 * queued, LONGEST_COVER) / self._cover())):
            self._gpu.cover()
        start = self._gpu.mark()
        for _ in range(timing.calls):
            contender()
        between = self._gpu.seconds(start, self._gpu.mark())
        for samples, seconds in ((timing.wall, wall), (timing.cpu, cpu), (timing.gpu, between)):
            samples.append(rounded(seconds / timing.calls))

    def _cover(self) -> float:
        """The seconds of one cover (see `CupyGpu.cover`), measured once."""
        if self._cover_seconds is None:
            self._gpu.cover()
            start = self._gpu.mark()
            self._gpu.cover()
            self._cover_seconds = max(self._gpu.seconds(start, self._gpu.mark()), 1e-6)
        return self._cover_seconds


def rotating(make: Callable[[], Contender], bytes_each: int, cache_bytes: int) -> Contender:
    """A contender that uses other operands at each call, so that no operand is in the cache.

    Args:
        make: a function that makes a contender with its own operands.
        bytes_each: the bytes of one contender's operands.
        cache_bytes: the bytes of the cache; the copies fill more than twice as much, but there are at most 256.
    """
    copies = min(1 + math.ceil(2 * cache_bytes / max(bytes_each, 1)), MOST_COPIES)
    turns = itertools.cycle([make() for _ in range(copies)])
    return lambda: next(turns)()
