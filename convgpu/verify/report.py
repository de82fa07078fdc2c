"""The findings of `convgpu verify`: about one problem, about one kernel, and about all of them."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .. import benchmark, info
from ..benchmark.report.grid import Column, text, wrapped
from ..files import replace

SHOWN = 20  # how many failures are printed in full


@dataclass
class Finding:
    """The findings about the calls of one problem. guards, reads: None where they were not checked."""

    family: str
    case: str
    op: str
    dtype: str
    data_format: str
    kernel: str
    worst: float = 0.0
    repeats: bool = True
    guards: bool | None = None
    reads: bool | None = None
    failures: list[str] = field(default_factory=list)


@dataclass
class Row:
    """The findings about one kernel: repeats, guards and reads stay True while every call is right."""

    family: str
    dtype: str
    kernel: str
    calls: int = 0
    cases: set[str] = field(default_factory=set)
    worst: float = 0.0
    repeats: bool = True
    guards: bool | None = None
    reads: bool | None = None


@dataclass(frozen=True)
class Failure:
    """One call that is wrong."""

    family: str
    case: str
    op: str
    dtype: str
    data_format: str
    kernel: str
    what: str


@dataclass
class Report:
    """All findings. notes: what did not run, and how to run it."""

    backend: str
    quick: bool
    rows: dict[tuple[str, str, str], Row] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)  # families that the backend does not have
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def passed(self, wanted: Iterable[str] | None = None) -> bool:
        """Whether all calls were right, at least one was made, and every family that `wanted` names exists."""
        return not self.failures and bool(self.rows) and not set(wanted or ()) & set(self.absent)

    def add(self, found: Finding) -> None:
        """Count a problem and its failures."""
        key = found.family, found.dtype, found.kernel
        row = self.rows.setdefault(key, Row(*key))
        row.calls += 1
        row.cases.add(found.case)
        row.worst = max(row.worst, found.worst)
        row.repeats &= found.repeats
        row.guards = _both(row.guards, found.guards)
        row.reads = _both(row.reads, found.reads)
        of = found.family, found.case, found.op, found.dtype, found.data_format, found.kernel
        self.failures += [Failure(*of, what) for what in found.failures]

    def __str__(self) -> str:
        rows = [self.rows[key] for key in sorted(self.rows)]
        parts = [text(_columns(rows), 3)] if rows else ["Nothing was run."]
        lines = [f"{family}: not implemented on backend {self.backend!r}" for family in self.absent] + self.notes
        for failure in self.failures[:SHOWN]:
            lines += [f"FAILED {failure.case}: {failure.op} {failure.dtype} {failure.data_format}, {failure.kernel}: "
                      f"{failure.what}",
                      f"  again: convgpu verify --backend {self.backend} --family {failure.family} "
                      f"--case {shlex.quote(failure.case)}"]
        if len(self.failures) > SHOWN:
            lines.append(f"... and {len(self.failures) - SHOWN} more")
        calls = sum(row.calls for row in rows)
        lines.append(f"{calls} calls on backend {self.backend} in {self.seconds:.0f} s, {len(self.failures)} failed; "
                     "worst: the largest error in units of the bound")
        kept = ("FAILED", "  again")  # lines that users copy must not be broken
        return "\n".join(parts + [line if line.startswith(kept) else wrapped(line) for line in lines])

    def save(self, path: str | Path) -> None:
        """Write the report as JSON, with the machine, the versions and the commit."""
        rows = [asdict(self.rows[key]) | {"cases": len(self.rows[key].cases), "worst": _finite(self.rows[key].worst)}
                for key in sorted(self.rows)]
        found = info.driver()
        content = {"environment": benchmark.environment(), "gpus": found.gpus if found else [],
                   "backend": self.backend, "quick": self.quick, "seconds": round(self.seconds, 1), "rows": rows,
                   "absent": self.absent, "notes": self.notes, "failures": [asdict(f) for f in self.failures]}
        replace(path, (json.dumps(content, indent=1) + "\n").encode())


def _both(a: bool | None, b: bool | None) -> bool | None:
    """Whether both hold, leaving out a check that was not made (None)."""
    return b if a is None else a if b is None else a and b


def _columns(rows: list[Row]) -> list[Column]:
    def column(title: str, cells: list[str], left: bool = True) -> Column:
        return Column("", title, cells, left)

    return [column("family", [row.family for row in rows]), column("dtype", [row.dtype for row in rows]),
            column("kernel", [row.kernel for row in rows]),
            column("cases", [str(len(row.cases)) for row in rows], False),
            column("calls", [str(row.calls) for row in rows], False),
            column("worst", [_units(row.worst) for row in rows], False),
            column("repeats", ["yes" if row.repeats else "NO" for row in rows]),
            column("guards", [{None: "-", True: "intact", False: "BROKEN"}[row.guards] for row in rows]),
            column("reads", [{None: "-", True: "inside", False: "OUTSIDE"}[row.reads] for row in rows])]


def _units(worst: float) -> str:
    return f"{worst:.3f}" if worst < 100 else f"{worst:.3g}"


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)  # JSON has no infinity
