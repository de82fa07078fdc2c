"""Timings that can be believed: verified first, contenders alternating in one process, every sample kept.

    quiet_blas()                                        once, before anything is timed
    verify("conv_fprop", got, exact, magnitude, length) a wrong result has no speed
    timings = alternate({"ours": f, "theirs": g})       name -> Timing
    record("results.json", rows)                        with machine, versions and commit

Ratios are theirs/ours: above 1, we are faster.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from .cases.tolerance import worst

_VARIABLE, _QUIET = "OPENBLAS_THREAD_TIMEOUT", "20"


def quiet_blas() -> None:
    """Start this program again with OPENBLAS_THREAD_TIMEOUT=20, unless it is set: else OpenBLAS's idle threads spin.

    They do so for 100 ms after each product, on the core that the other contender needs; the variable is read when
    NumPy is imported.
    """
    if _VARIABLE not in os.environ:
        os.environ[_VARIABLE] = _QUIET
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


class WrongResultError(AssertionError):
    """What was to be timed computes something else."""


def verify(name: str, got: np.ndarray, exact: np.ndarray, magnitude: np.ndarray, length: int) -> None:
    """Raise WrongResultError unless `got` is within the bound of convgpu.cases.tolerance."""
    error = worst(got, exact, magnitude, length)
    if not error <= 1:
        raise WrongResultError(f"{name}: expected an error within the bound, got {error:.3g} times it; not timed")


@dataclass
class Timing:
    """The samples of one contender: seconds per call, by the wall clock and as CPU time of the calling thread."""

    calls: int  # per sample
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def median(self, clock: str) -> float:
        """The median of "wall" or "cpu"."""
        return statistics.median(getattr(self, clock))

    def spread(self, clock: str) -> float:
        """The distance between the quartiles, as a share of the median."""
        low, _, high = statistics.quantiles(getattr(self, clock), n=4)
        return (high - low) / self.median(clock)

    def sample(self, contender: Callable[[], object]) -> None:
        """Take one more sample."""
        wall, cpu = time.perf_counter(), time.thread_time()
        for _ in range(self.calls):
            contender()
        cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
        self.wall.append(float(f"{wall / self.calls:.4g}"))
        self.cpu.append(float(f"{cpu / self.calls:.4g}"))


def alternate(contenders: Mapping[str, Callable[[], object]], samples: int = 9, sample_seconds: float = 0.004,
              pause: float = 0.02) -> dict[str, Timing]:
    """Time the contenders in turn, `samples` times each, after a warm-up of two calls.

    Before each sample come a pause and a call that is not timed: a contender's OpenMP threads spin for some 10 ms after
    its last call, on the core that the next one needs, and its data are in the cache.

    Args:
        contenders: functions of no arguments, by name.
        samples: how many samples of each; at least 2.
        sample_seconds: short calls are repeated within a sample until it takes about this long.
        pause: seconds of rest before each sample.
    """
    timings = {}
    for name, contender in contenders.items():
        contender()
        start = time.perf_counter()
        contender()
        timings[name] = Timing(max(1, math.ceil(sample_seconds / max(time.perf_counter() - start, 1e-7))))
    for _ in range(samples):
        for name, contender in contenders.items():
            time.sleep(pause)
            contender()
            timings[name].sample(contender)
    return timings


def geometric_mean(values: Iterable[float]) -> float:
    """exp(mean(log(values))): the mean of ratios.

    >>> geometric_mean([0.5, 2.0])
    1.0
    """
    return math.exp(statistics.fmean(map(math.log, values)))


def environment(packages: Iterable[str] = ("numpy",)) -> dict[str, Any]:
    """The machine, the versions and the commit that results belong to."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": {"cpu": _cpu_name(), "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}",
                    "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None},
        "versions": {"python": platform.python_version(), **{p: metadata.version(p) for p in packages}},
        "blas": _blas(),
        "commit": _commit(),
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _blas() -> str:
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[index]
    return f"{blas['name']} {blas['version']}"


def _commit() -> str | None:
    """The commit of the source tree, marked where files differ from it; None for an installed package."""
    try:
        described = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True,
                                   text=True, cwd=Path(__file__).parent, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def record(path: str | Path, rows: list[dict[str, Any]], packages: Iterable[str] = ("numpy",)) -> None:
    """Write rows as JSON, one per line, beside the environment. Timings among their values are written in full."""
    def plain(value: Any) -> Any:
        return asdict(value) if isinstance(value, Timing) else value

    lines = ",\n  ".join(json.dumps(row, default=plain) for row in rows)
    header = json.dumps(environment(packages), indent=1)
    Path(path).write_text(f'{{"environment": {header},\n "rows": [\n  {lines}\n ]}}\n')
