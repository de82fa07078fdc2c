"""What ops cost while they run: time on the CPU and on the GPU, memory, NVTX ranges, and a trace for viewers."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import autograd
from .device import is_gpu_array
from .recorder import Call
from .settings import current_backend, current_precision

if TYPE_CHECKING:
    from .ledger.result import Row


class Event(NamedTuple):
    """One op that ran: times in seconds since the profile began. `own` is its duration without ops within it."""

    row: tuple[str, str, str]  # op, kernel, phase
    thread: int
    begin: float
    end: float
    own: float
    facts: dict[str, Any]
    gpu: tuple[Any, Any] | None  # CuPy's events before and after its kernels


class Profile:
    """What `convgpu.profile` has found.

    rows: one per op, kernel and phase, of the class that a ledger has: `launches` are calls here, `seconds` measured on
        the device where the op ran; `read_bytes` and `written_bytes` are those of inputs and outputs.
    memory: pairs of seconds and live bytes of results; `peak_bytes` is their maximum. What ops allocate within
        themselves does not count.
    seconds: how long the profile was open.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.memory: list[tuple[float, int]] = [(0.0, 0)]
        self.rows: list[Row] = []
        self.seconds = 0.0
        self._began = time.perf_counter()
        self._live = 0
        self._open = True
        self._lock = threading.Lock()
        self._threads: dict[int, int] = {}
        self._stack = threading.local()
        self._zero: Any = None  # CuPy's event at the first op of the GPU, and the host's time then

    @property
    def peak_bytes(self) -> int:
        """The most bytes of results that were alive at one time."""
        return max(live for _, live in self.memory)

    @property
    def totals(self) -> dict[str, Any]:
        """Sums over the rows, by a ledger's names; `seconds` of all ops, measured."""
        return {"launches": sum(row.launches for row in self.rows), "flops": sum(row.flops for row in self.rows),
                "bytes": sum(row.bytes for row in self.rows), "peak_bytes": self.peak_bytes,
                "seconds": sum(row.seconds for row in self.rows)}

    def json(self) -> dict[str, Any]:
        """Everything but the single events, of types that JSON has."""
        return {"seconds": self.seconds, "totals": self.totals, "rows": [dataclasses.asdict(row) for row in self.rows],
                "memory": [list(pair) for pair in self.memory]}

    def trace(self) -> dict[str, Any]:
        """The events in Chrome's trace event format, which Perfetto (ui.perfetto.dev) and chrome://tracing open."""
        process = os.getpid()
        events: list[dict[str, Any]] = [
            {"ph": "M", "name": "process_name", "pid": process, "tid": 0, "args": {"name": "convgpu"}}]
        for thread in sorted({e.thread for e in self.events}):
            events.append({"ph": "M", "name": "thread_name", "pid": process, "tid": thread,
                           "args": {"name": f"thread {thread}"}})
        if self._zero is not None:
            events.append({"ph": "M", "name": "thread_name", "pid": process, "tid": _GPU_TRACK,
                           "args": {"name": "GPU"}})
        for event in self.events:
            op, kernel, phase = event.row
            facts = {"kernel": kernel, "phase": phase, **event.facts}
            spans = [(event.thread, event.begin, event.end - event.begin)]
            if event.gpu is not None:
                spans.append((_GPU_TRACK, *self._on_gpu(event)))
            events += [{"ph": "X", "name": op, "cat": phase.partition(" ")[0], "pid": process, "tid": track,
                        "ts": 1e6 * begin, "dur": 1e6 * seconds, "args": facts} for track, begin, seconds in spans]
        events += [{"ph": "C", "name": "live bytes of results", "pid": process, "tid": 0, "ts": 1e6 * at,
                    "args": {"bytes": live}} for at, live in self.memory]
        return {"traceEvents": events, "displayTimeUnit": "ms"}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the trace as JSON."""
        Path(path).write_text(json.dumps(self.trace()), encoding="utf-8")

    def __str__(self) -> str:
        t = self.totals
        lines = [f"{t['launches']:,} calls of ops in {1e3 * self.seconds:.2f} ms, {1e3 * t['seconds']:.2f} ms of them "
                 f"in ops; peak of live results {t['peak_bytes'] / 1e6:.2f} MB",
                 f"{'phase':<28} {'op':<24} {'kernel':<12} {'calls':>6} {'MB':>10} {'ms':>10} {'share':>6}"]
        for row in sorted(self.rows, key=lambda row: -row.seconds)[:_SHOWN]:
            lines.append(f"{row.phase:<28} {row.op:<24} {row.kernel:<12} {row.launches:>6} {row.bytes / 1e6:>10.2f} "
                         f"{1e3 * row.seconds:>10.3f} {row.seconds / max(t['seconds'], 1e-12):>6.1%}")
        if len(self.rows) > _SHOWN:
            lines.append(f"and {len(self.rows) - _SHOWN} more rows")
        return "\n".join(lines)

    # --- while it is open

    def around(self, compute: autograd.Compute) -> autograd.Compute:
        """The function that computes ops, timed."""
        def timed(op: Any, given: tuple[Any, ...], inputs: tuple[Any, ...], statics: tuple[Any, ...]) -> Any:
            inner = self._stack.__dict__.setdefault("inner", [])
            inner.append(0.0)
            cupy = sys.modules.get("cupy")
            on_gpu = cupy is not None and any([is_gpu_array(getattr(x, "array", x)) for x in inputs])
            nvtx = getattr(cupy.cuda, "nvtx", None) if on_gpu else None  # type: ignore[union-attr]
            if nvtx is not None:
                nvtx.RangePush(op.name)
            started = self._moment(cupy) if on_gpu else None
            begin = time.perf_counter()
            try:
                result, moved = compute(op, given, inputs, statics)
            finally:
                end = time.perf_counter()
                within = inner.pop()
                if inner:
                    inner[-1] += end - begin
                if nvtx is not None:
                    nvtx.RangePop()
            stopped = self._moment(cupy) if on_gpu else None
            self._note(op, moved, statics, result, begin, end, end - begin - within,
                       None if started is None else (started, stopped))
            return result, moved

        return timed

    def _moment(self, cupy: Any) -> Any:
        event = cupy.cuda.Event()
        event.record()
        if self._zero is None:
            self._zero = event, time.perf_counter() - self._began
        return event

    def _note(self, op: Any, inputs: tuple[Any, ...], statics: tuple[Any, ...], result: Any, begin: float, end: float,
              own: float, gpu: Any) -> None:
        arrays = [a for a in [getattr(x, "array", x) for x in inputs] if hasattr(a, "nbytes")]
        results = [r for r in (result if isinstance(result, tuple) else (result,)) if hasattr(r, "nbytes")]
        kernel = "numpy" if op.forward is not None else "cuda" if gpu else current_backend()
        kernel = "cupy" if gpu and op.forward is not None else kernel
        phase = autograd.phase()
        if phase == "forward" and op.name in _optimizers():
            phase = "optimizer"
        facts = {"inputs": [f"{a.dtype}{list(a.shape)}" for a in arrays],
                 "outputs": [f"{r.dtype}{list(r.shape)}" for r in results],
                 "read_bytes": sum([a.nbytes for a in arrays]), "written_bytes": sum([r.nbytes for r in results]),
                 "flops": _flops(op, inputs, statics)}
        thread = self._threads.setdefault(threading.get_ident(), len(self._threads) + 1)
        with self._lock:
            self.events.append(Event((op.name, kernel, phase), thread, begin - self._began, end - self._began, own,
                                     facts, gpu))
            for r in results:
                self._born(r)

    def _born(self, array: Any) -> None:
        """Count a new array's memory until it is freed; views have that of another array."""
        if (isinstance(array, np.ndarray) or is_gpu_array(array)) and getattr(array, "base", None) is None:
            nbytes = array.nbytes
            self._live += nbytes
            self.memory.append((time.perf_counter() - self._began, self._live))
            weakref.finalize(array, self._died, nbytes).atexit = False

    def _died(self, nbytes: int) -> None:
        if self._open:
            self._live -= nbytes
            self.memory.append((time.perf_counter() - self._began, self._live))

    def _on_gpu(self, event: Event) -> tuple[float, float]:
        cupy, (zero, at) = sys.modules["cupy"], self._zero
        begin, end = event.gpu  # type: ignore[misc]
        return at + cupy.cuda.get_elapsed_time(zero, begin) / 1e3, cupy.cuda.get_elapsed_time(begin, end) / 1e3

    def close(self) -> None:
        """Wait for the GPU, and add the events up."""
        from .ledger.result import Row  # imported late: `import convgpu` needs no ledger

        if self._zero is not None:
            sys.modules["cupy"].cuda.get_current_stream().synchronize()
        self._open, self.seconds = False, time.perf_counter() - self._began
        found: dict[tuple[str, str, str], Row] = {}
        for event in self.events:
            row = found.setdefault(event.row, Row(*event.row))
            row.launches += 1
            row.seconds += event.own if event.gpu is None else self._on_gpu(event)[1]
            for name in ("read_bytes", "written_bytes", "flops"):
                setattr(row, name, getattr(row, name) + event.facts[name])
        self.rows = list(found.values())


_SHOWN = 24  # rows of a table
_GPU_TRACK = 1000  # the number of the GPU's track beside those of threads


def _optimizers() -> set[str]:
    from .facts import FAMILIES

    return set(FAMILIES["optim"].ops)


def _flops(op: Any, inputs: tuple[Any, ...], statics: tuple[Any, ...]) -> int:
    """The operations of a backend's op, by what the project knows of it; one for each element of other results."""
    from .facts import FAMILIES

    if op.forward is not None or not any([op.name in family.ops for family in FAMILIES.values()]):
        return 0
    arrays = [getattr(x, "array", x) for x in inputs]
    first = next((a for a in arrays if hasattr(a, "dtype")), None)
    if first is None:
        return 0
    shapes = tuple([a.shape if hasattr(a, "shape") else None for a in arrays])
    return int(op.facts.work(Call(op.name, shapes, statics, first.dtype.name), current_precision()).flops)


@contextmanager
def profile() -> Iterator[Profile]:
    """A context manager that times every op within it, in all threads, and gives a `Profile`.

    Ops on the CPU are timed by the host's clock; those on the GPU by events in its stream, without waiting for it until
    the end, and as NVTX ranges for Nsight Systems. An op's seconds do not include those of ops within it. Timing costs
    some microseconds for each op.

    >>> import convgpu as cg
    >>> x, w = cg.ones((2, 8, 8, 3)), cg.ones((3, 3, 3, 4))
    >>> with profile() as found:
    ...     _ = cg.value_and_grad(lambda w: cg.conv(x, w).sum())(w)
    >>> [(row.op, row.phase, row.launches) for row in found.rows if row.op.startswith("conv")]
    [('conv_fprop', 'forward', 1), ('conv_wgrad', 'backward of conv_fprop', 1)]
    >>> found.rows[0].flops == 2 * 2 * 6 * 6 * 27 * 4 and found.rows[0].seconds > 0
    True
    >>> trace = found.trace()  # found.save(path) writes it for ui.perfetto.dev
    >>> {event["ph"] for event in trace["traceEvents"]} == {"M", "X", "C"}
    True
    """
    found = Profile()
    before = autograd.set_timer(None)
    autograd.set_timer(found.around if before is None else lambda compute: found.around(before(compute)))
    try:
        yield found
    finally:
        autograd.set_timer(before)
        found.close()
