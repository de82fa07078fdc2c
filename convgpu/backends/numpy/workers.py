"""The thread pool that runs the tiles of an op, and the scratch memory that they reuse.

    parallel_for(n, body)                  calls body(i) for every i in range(n)
    parallel_for(n, body, scratch=bytes)   calls body(i, memory); memory is a uint8 array of at least that size

Chance decides which thread runs which tile. Results do not depend on it, because tiles follow the geometry and write to
places of their own. The caller works too, so that a call always finishes, even from inside a tile or while all workers
are busy with calls from other threads. NumPy's BLAS has one thread for as long as the call lasts.
"""

from __future__ import annotations

import itertools
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from ... import environment
from ...geometry import positive
from .blas import one_blas_thread

__all__ = ["SCRATCH_LIMIT", "get_num_threads", "one_blas_thread", "parallel_for", "set_num_threads"]

# The bytes of all scratch memory of one op, whatever the number of threads.
SCRATCH_LIMIT = 40 * 2**20

Body = Callable[..., Any]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# decided when it is first asked for, so that a wrong environment variable does not make the import fail
_num_threads: int | None = None


def set_num_threads(n: int) -> None:
    """Set how many threads the CPU's ops use from now on. The number does not change a single bit of the results.

    The default is the number of cores, or the environment variable CONVGPU_NUM_THREADS.

    Raises:
        ValueError: n < 1. TypeError: n is no integer.

    >>> before = get_num_threads()
    >>> set_num_threads(1); get_num_threads()
    1
    >>> set_num_threads(before)
    """
    global _num_threads
    _num_threads = positive("set_num_threads", "n", n)


def get_num_threads() -> int:
    """How many threads the CPU's ops use."""
    global _num_threads
    if _num_threads is None:
        _num_threads = environment.num_threads() or _cores()
    return _num_threads


class _Scratch:
    """Blocks of memory that ops take and give back. Reused blocks save the first touch of new pages."""

    def __init__(self) -> None:
        self._free: list[np.ndarray] = []

    def take(self, size: int) -> np.ndarray:
        """A block of at least `size` bytes, aligned to a cache line."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = None
        if memory is None or memory.size < size:
            raw = np.empty(size + 64, np.uint8)
            start = -raw.ctypes.data % 64
            memory = raw[start:start + size]
        return memory

    def give(self, memory: np.ndarray) -> None:
        """Keep the block for the next op, unless all kept blocks together would exceed the limit of one op."""
        if memory.size + sum([m.size for m in self._free]) <= SCRATCH_LIMIT:
            self._free.append(memory)

    def clear(self) -> None:
        """Forget all blocks."""
        self._free = []


_scratch = _Scratch()


class _Job:
    """The tiles of one call, handed out in order. The first exception stops the others and is raised in the caller."""

    def __init__(self, n: int, body: Body, scratch: int):
        self._n, self._body, self._scratch = n, body, scratch
        self._next = itertools.count()  # calling next() on this counter is atomic
        self._lock = threading.Lock()
        self._helpers, self._closed = 0, False
        self._idle = threading.Condition(self._lock)
        self._error: BaseException | None = None

    def run(self) -> None:
        """Run tiles until none are left."""
        if not self._scratch:
            while (i := next(self._next)) < self._n and self._error is None:
                self._body(i)
            return
        memory = _scratch.take(self._scratch)
        try:
            while (i := next(self._next)) < self._n and self._error is None:
                self._body(i, memory)
        finally:
            _scratch.give(memory)

    def help(self) -> None:
        """The work of a helping thread; it does nothing if the caller has finished already."""
        with self._lock:
            if self._closed:
                return
            self._helpers += 1
        try:
            self.run()
        except BaseException as error:
            self._error = self._error or error
        finally:
            with self._lock:
                self._helpers -= 1
                self._idle.notify()

    def lead(self) -> None:
        """The work of the calling thread: it runs tiles, then waits for the helpers that have begun."""
        try:
            self.run()
        except BaseException as error:  # even for KeyboardInterrupt, the caller waits: helpers still use its arrays
            self._error = self._error or error
            raise
        finally:
            with self._lock:
                self._closed = True
                while self._helpers:
                    self._idle.wait()
        if self._error is not None:
            raise self._error


_QUIET: Any = {"over": "ignore", "invalid": "ignore"}  # Inf and NaN are results like others, as on a GPU


class _Pool:
    """Daemon threads that wait for jobs; a thread is started when it is first needed."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def offer(self, job: _Job, helpers: int) -> None:
        """Ask up to `helpers` workers to help with a job."""
        if len(self._threads) < helpers:
            with self._lock:
                while len(self._threads) < helpers:
                    thread = threading.Thread(target=self._work, name=f"convgpu-{len(self._threads)}", daemon=True)
                    thread.start()
                    self._threads.append(thread)
        for _ in range(helpers):
            self._jobs.put(job)

    def _work(self) -> None:
        np.seterr(**_QUIET)
        while True:
            self._jobs.get().help()


_pool = _Pool()


def parallel_for(n: int, body: Body, scratch: int = 0) -> None:
    """Run body(i) for every i in range(n), on the threads of the pool and the caller's; returns when all are done.

    Args:
        n: the number of tiles.
        body: called as body(i), or with `scratch` as body(i, memory). It must write only to memory of tile i.
        scratch: bytes of working memory per thread. Fewer threads run where all together would exceed SCRATCH_LIMIT.

    Raises:
        The first exception of any body, after all bodies that had begun have ended.
    """
    threads = min(n, get_num_threads(), max(SCRATCH_LIMIT // scratch, 1) if scratch else n)
    with one_blas_thread, np.errstate(**_QUIET):
        if threads > 1:
            job = _Job(n, body, scratch)
            _pool.offer(job, threads - 1)
            job.lead()
        elif scratch:
            memory = _scratch.take(scratch)
            try:
                for i in range(n):
                    body(i, memory)
            finally:
                _scratch.give(memory)
        else:
            for i in range(n):
                body(i)


def _after_fork_in_child() -> None:
    """Start with a new pool: neither the parent's workers nor the threads that hold its locks exist in the child."""
    global _pool
    _pool = _Pool()
    _scratch.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
