"""Timing of single ops: each problem on every device, checked first, and compared with PyTorch if wanted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..backends.numpy.workers import get_num_threads
from ..cases.problem import Arrays, Problem
from .devices import Device, GpuDevice
from .kernels import kernel_of
from .peers import PREFIX, Torch
from .progress import Progress
from .results import Results, environment, load_average
from .roofs import Roof
from .timing import Clock, Contender, alternate
from .verification import WrongResultError, check

Row = dict[str, Any]


def measure(problems: Sequence[Problem], devices: Sequence[Device], peer: Torch | None = None, samples: int = 5,
            sample_seconds: float = 0.004, watch: Callable[[Row], None] | None = None,
            progress: Progress | None = None, budget: float = math.inf) -> Results:
    """Time problems, and return one row for each; Ctrl-C stops early and keeps the rows so far.

    A contender whose result is wrong is not timed: the row explains this under "absent" (see `Results.failures`).

    Args:
        problems: the problems to time; only one problem's operands exist at a time.
        devices: the devices that convgpu runs on.
        peer: PyTorch, on the same devices.
        samples: how many samples each contender gets.
        sample_seconds: short calls are repeated within a sample until it takes about this long.
        watch: a function that receives each row when it is complete.
        progress: is told which problem is being timed, and how much work is left.
        budget: seconds after which no further problem is begun.
    """
    rows: list[Row] = []
    start = time.perf_counter()
    load = load_average()
    units = {"float64" if problem.work.unit.startswith("float64") else "float32" for problem in problems}
    roofs: dict[str, Roof] = {}
    _raise_roofs(roofs, devices, units)
    interrupted = False
    progress = progress or Progress()
    with progress.of(sum(map(_weight, problems))):
        try:
            for problem in problems:
                if time.perf_counter() - start > budget:
                    break
                progress.begin(problem.name)
                settle = 0.0 if rows else max((device.settle for device in devices), default=0.0)
                rows.append(_row(problem, devices, peer, samples, sample_seconds, settle))
                progress.done(_weight(problem))
                if watch is not None:
                    watch(rows[-1])
            _raise_roofs(roofs, devices, units)
        except KeyboardInterrupt:
            interrupted = True
    packages = ["numpy", *["torch"] * (peer is not None)]
    return Results(environment(packages, load), rows, {kind: vars(roof) for kind, roof in roofs.items()}, interrupted)


def _weight(problem: Problem) -> float:
    """A problem's share of the progress, about proportional to the seconds that its check and samples take."""
    return 0.3 + problem.work.flops / 1e9 + problem.work.bytes / 1e8


def _raise_roofs(roofs: dict[str, Roof], devices: Sequence[Device], units: set[str]) -> None:
    """Measure the devices' roofs; keep the higher of old and new, since other programs only lower a measurement."""
    for device in devices:
        for unit in sorted(units):
            found, known = device.roof(unit), roofs.get(device.kind)
            if found is None:
                continue
            if known is not None:
                peak = {u: max(found.peak.get(u, 0), known.peak.get(u, 0)) for u in {**known.peak, **found.peak}}
                found = Roof(found.name, max(found.bandwidth, known.bandwidth), peak, known.source)
            roofs[device.kind] = found


def _row(problem: Problem, devices: Sequence[Device], peer: Torch | None, samples: int, sample_seconds: float,
         settle: float) -> Row:
    contenders: dict[str, Contender] = {}
    clocks: dict[str, Clock] = {}
    kernels: dict[str, str] = {}
    absent: dict[str, str] = {}
    try:
        arrays = problem.operands()
    except MemoryError as error:
        absent, devices = {device.name: f"MemoryError: {error}" for device in devices}, ()
    for device in devices:
        try:
            check(problem, arrays, device.result(problem, arrays), device.c)
            contenders[device.name] = device.contender(problem, arrays)
        except (NotImplementedError, MemoryError, WrongResultError) as error:
            absent[device.name] = f"{type(error).__name__}: {error}"
            continue
        kernels[device.name], clocks[device.name] = kernel_of(device.backend, problem), device.clock
        if peer is not None:
            _add_peer(peer, problem, arrays, device, contenders, clocks, absent)
    timings = alternate(contenders, samples, sample_seconds, settle=settle, clocks=clocks) if contenders else {}
    row = {**problem.row, "threads": get_num_threads(), "kernels": kernels, "timings": timings}
    return {**row, "absent": absent} if absent else row


def _add_peer(peer: Torch, problem: Problem, arrays: Arrays, device: Device, contenders: dict[str, Contender],
              clocks: dict[str, Clock], absent: dict[str, str]) -> None:
    """Add the peer's contenders on this device, if they compute the same result."""
    why = peer.can_use(device.kind)
    if why is not None:
        absent[f"{PREFIX} {device.kind}"] = why
        return
    cache_bytes = device.gpu.cache_bytes if isinstance(device, GpuDevice) else 0
    ours = device.result(problem, arrays)
    try:
        for name, contender in peer.contenders(problem, arrays, device.kind, cache_bytes).items():
            peer.check(name, problem, contender, ours)
            contenders[name], clocks[name] = contender, device.clock
    # PyTorch raises RuntimeError for an op or a dtype that it lacks
    except (NotImplementedError, RuntimeError, WrongResultError) as error:
        absent[f"{PREFIX} {device.kind}"] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
