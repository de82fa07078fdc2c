"""The results of a benchmark: rows with every sample, with the machine, versions and commit that they belong to."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ..backends import in_words
from ..environment import commit as named_commit
from ..files import replace
from ..settings import current_backend
from .timing import Timing

_WRONG = "WrongResultError: "
_NVIDIA_SMI = "name,driver_version,memory.total,clocks.sm,clocks.max.sm,clocks.mem,power.draw,temperature.gpu"


@dataclass
class Results:
    """Rows of measurements, and the environment in which they were measured.

    A row is a dict: what was timed ("kind", "network", "layer", "direction", "dtype", ...), its work ("flops",
    "bytes"), and "timings", a Timing for each contender. roofs: see roofs.py. `interrupted`: whether rows are missing.
    """

    environment: dict[str, Any]
    rows: list[dict[str, Any]]
    roofs: dict[str, dict[str, Any]] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def failures(self) -> list[str]:
        """Explanations of what could not be timed: a wrong result, too little memory, a missing op."""
        found = []
        for row in self.rows:
            for name, why in row.get("absent", {}).items():
                if why.startswith(_WRONG):
                    found.append(why.removeprefix(_WRONG))
                elif why.startswith("MemoryError") or not row["timings"]:
                    found.append(f"{row.get('op', row['network'])} {row['layer']}: {name}: {why}")
        return found

    def save(self, path: str | Path) -> None:
        """Write JSON with one row per line; an existing file of that name is replaced as a whole."""
        lines = ",\n  ".join(json.dumps(row, default=_plain) for row in self.rows)
        head = ",\n ".join(f'"{name}": {json.dumps(value, indent=1)}' for name, value in (
            ("environment", self.environment), ("roofs", self.roofs), ("interrupted", self.interrupted)) if value)
        replace(path, f'{{{head},\n "rows": [\n  {lines}\n ]}}\n'.encode())

    @classmethod
    def load(cls, path: str | Path) -> Results:
        """Read the results that `save` wrote.

        Raises:
            ValueError: the file was not written by `save`.
        """
        try:
            saved = json.loads(Path(path).read_text(encoding="utf-8"))
            rows = [{**row, "timings": {name: Timing(**timing) for name, timing in row["timings"].items()}}
                    for row in saved["rows"]]
            results = cls(saved["environment"], rows, saved.get("roofs", {}), saved.get("interrupted", False))
            results._check()
            return results
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"{path}: expected results of convgpu benchmark as JSON, got something else "
                             f"({type(error).__name__}: {error})") from None


    def _check(self) -> None:
        """Raise ValueError, KeyError or TypeError where something is missing that all tables need."""
        for part in ("versions", "blas", "commit", "date"):
            self.environment[part]
        for part in ("cpu", "cores"):
            self.environment["machine"][part]
        for row in self.rows:
            for part in ("kind", "layer"):
                row[part]
            for name, timing in row["timings"].items():
                samples = timing.wall + timing.cpu + timing.gpu
                if not timing.wall or not all(isinstance(sample, (int, float)) for sample in samples):
                    raise ValueError(f"expected samples of {name!r}, got {timing}")


def _plain(value: Any) -> Any:
    return {k: v for k, v in asdict(value).items() if v != []} if isinstance(value, Timing) else value


def record(path: str | Path, rows: list[dict[str, Any]], packages: Iterable[str] = ("numpy",)) -> None:
    """Write rows and the environment as JSON. Timings among the rows' values are written in full."""
    Results(environment(packages), rows).save(path)


def environment(packages: Iterable[str] = ("numpy",), load_before: float | None = None) -> dict[str, Any]:
    """The machine, the CPU's backend, the versions and the commit that results belong to, with a GPU's clocks at this
    moment.

    Args:
        packages: the packages whose versions are included.
        load_before: the load average before the measurement, which shows what other programs did.
    """
    found: dict[str, Any] = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": {"cpu": _cpu_name(), "cores": os.cpu_count(), "clock": _cpu_clock(),
                    "system": f"{platform.system()} {platform.machine()}",
                    "load": load_average()},
        "versions": {"python": platform.python_version(), **{p: metadata.version(p) for p in packages}},
        "backend": in_words(current_backend()),
        "blas": _blas(),
        "commit": _commit(),
    }
    if load_before is not None:
        found["machine"]["load_before"] = load_before
    gpu = _nvidia_smi()
    if gpu is not None:
        found["gpu"] = gpu
    return found


def load_average() -> float | None:
    """The number of programs that wanted a core in the last minute; None where the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def device_of(environment: dict[str, Any], gpu: bool) -> str:
    """The GPU or the CPU of an environment, as a part of a file's name.

    >>> device_of({"machine": {"cpu": "AMD EPYC 9654"}}, False)
    'amd-epyc-9654'
    """
    name = environment["gpu"]["name"] if gpu else environment["machine"]["cpu"]
    return "-".join(re.findall(r"[a-z0-9]+", name.lower()))


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _cpu_clock() -> str | None:
    """The first core's clock frequency at this moment; None where the system does not say."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((f"{float(line.split(':')[1]):.0f} MHz" for line in lines if line.startswith("cpu MHz")), None)


def _blas() -> str:
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[index]
    return f"{blas['name']} {blas['version']}"


def _commit() -> str | None:
    """The commit of the source tree, marked where files differ from it; None for an installed package.

    The environment variable CONVGPU_COMMIT names the commit where a tree was copied without .git (bench/carried.py).
    """
    if told := named_commit():
        return told

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True,
                              cwd=Path(__file__).parent)
        return done.stdout.strip()

    try:
        # this package may be installed inside another project's tree
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("describe", "--always", "--dirty", "--abbrev=12")
    except (OSError, subprocess.CalledProcessError):
        return None


def _nvidia_smi() -> dict[str, str] | None:
    """The first GPU and its clocks, from the driver's program nvidia-smi; None where there is none."""
    try:
        said = subprocess.run(["nvidia-smi", f"--query-gpu={_NVIDIA_SMI}", "--format=csv,noheader"],
                              capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return None
    return dict(zip(_NVIDIA_SMI.split(","), said.stdout.splitlines()[0].split(", ")))
