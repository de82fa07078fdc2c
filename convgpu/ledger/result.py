"""Ledger: what was found of a step, as rows, totals, a table and JSON."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

from ..roofline import Gpu
from .recording import LedgerRecorder, Wait

CONVOLUTIONS = ("conv_fprop", "conv_norm", "conv_dgrad", "conv_wgrad")
RESERVED = 1.0e9  # bytes of a GPU's memory that the context, the modules and gaps in CuPy's pool may take
_SHOWN = 24  # rows of a table


@dataclass
class Row:
    """All launches of one kernel by one op in one phase: the sums of their figures.

    phase: "forward", "backward of" an op, or "optimizer". kernel: the name of the project's kernel; "cupy_" and the
    name of a function of CuPy's; "copy from host"; "host waits".
    """

    op: str
    kernel: str
    phase: str
    launches: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    flops: int = 0
    temporary_bytes: int = 0
    host_waits: int = 0
    seconds: float = 0.0

    @property
    def bytes(self) -> int:
        """Bytes read and written."""
        return self.read_bytes + self.written_bytes


class Ledger:
    """What a step costs on a GPU.

    gpu: the GPU. rows: per op, kernel and phase. waits: where the host waits, with the user's lines. held: the bytes
    that are live at the peak, by (phase, op) that allocated them. memory: pairs of predicted seconds and live bytes.
    obstacle: why launches are not known, "" where they are.
    """

    def __init__(self, gpu: Gpu, recorder: LedgerRecorder, obstacle: str = ""):
        self.gpu, self.obstacle = gpu, obstacle
        self.waits: list[Wait] = recorder.waits
        self.peak_bytes = recorder.peak
        self.held = {owner: n for owner, n in sorted(recorder.held_at_peak.items(), key=lambda kv: -kv[1]) if n}
        found: dict[tuple[str, str, str], Row] = {}
        times = [0.0]
        for launch in recorder.launches:
            key = launch.phase, launch.op, launch.kernel
            row = found.setdefault(key, Row(launch.op, launch.kernel, launch.phase))
            row.launches += launch.launches
            row.read_bytes += launch.read
            row.written_bytes += launch.written
            row.flops += launch.flops
            row.temporary_bytes = max(row.temporary_bytes, launch.temporary)
            row.host_waits += launch.waits
            row.seconds += launch.seconds
            times.append(times[-1] + launch.seconds)
        self.rows = list(found.values())
        self.memory = [(times[min(at, len(times) - 1)], live) for at, live in recorder.memory]

    @functools.cached_property
    def totals(self) -> dict[str, Any]:
        """The sums over all rows, by the names launches, convolution_bytes, other_bytes, flops, peak_bytes, host_waits
        and predicted_seconds.
        """
        convolutions = sum(row.bytes for row in self.rows if row.op in CONVOLUTIONS)
        return {"launches": sum(row.launches for row in self.rows),
                "convolution_bytes": convolutions,
                "other_bytes": sum(row.bytes for row in self.rows) - convolutions,
                "flops": sum(row.flops for row in self.rows),
                "peak_bytes": self.peak_bytes,
                "host_waits": sum(row.host_waits for row in self.rows),
                "predicted_seconds": sum(row.seconds for row in self.rows)}

    @property
    def room(self) -> float:
        """The bytes of the GPU's memory that a step can take."""
        return self.gpu.memory - RESERVED

    def json(self) -> dict[str, Any]:
        """Everything, in values that the module json can write."""
        return {"device": self.gpu.name, "totals": self.totals, "rows": [dataclasses.asdict(row) for row in self.rows],
                "waits": [wait._asdict() for wait in self.waits],
                "held_at_peak": [{"phase": phase, "op": op, "bytes": n} for (phase, op), n in self.held.items()],
                "memory": [[round(second, 9), live] for second, live in self.memory], "obstacle": self.obstacle}

    def by_phase(self) -> dict[str, Row]:
        """The rows of the forward pass, of the backward pass and of the optimizer, added up."""
        sums: dict[str, Row] = {}
        for row in self.rows:
            phase = row.phase.partition(" ")[0]
            total = sums.setdefault(phase, Row("", "", phase))
            for name in ("launches", "read_bytes", "written_bytes", "flops", "host_waits", "seconds"):
                setattr(total, name, getattr(total, name) + getattr(row, name))
        return sums

    def __str__(self) -> str:
        t = self.totals
        lines = [f"{t['launches']:,} launches on {self.gpu.name}: {_gigabytes(t['convolution_bytes'])} by convolutions "
                 f"and {_gigabytes(t['other_bytes'])} by others, {t['flops'] / 1e12:.2f} TFLOP, "
                 f"peak memory {_gigabytes(t['peak_bytes'])}, {t['host_waits']} waits of the host, "
                 f"predicted {1e3 * t['predicted_seconds']:.2f} ms"]
        if self.obstacle:
            lines.append(f"each call of a kernel is counted as one launch, since {self.obstacle}")
        rows: list[tuple[str, ...]] = [("phase", "op", "kernel", "launches", "read", "written", "ms")]
        shown = sorted(self.rows, key=lambda row: -row.seconds)
        rows += [(row.phase, row.op, row.kernel, f"{row.launches}", _gigabytes(row.read_bytes),
                  _gigabytes(row.written_bytes), f"{1e3 * row.seconds:.3f}") for row in shown[:_SHOWN]]
        rest = shown[_SHOWN:]
        if rest:
            rows.append(("", f"{len(rest)} more rows", "", f"{sum(r.launches for r in rest)}",
                         _gigabytes(sum(r.read_bytes for r in rest)), _gigabytes(sum(r.written_bytes for r in rest)),
                         f"{1e3 * sum(r.seconds for r in rest):.3f}"))
        rows += [(phase, "in all", "", f"{row.launches}", _gigabytes(row.read_bytes), _gigabytes(row.written_bytes),
                  f"{1e3 * row.seconds:.3f}") for phase, row in self.by_phase().items()]
        lines += _table(rows)
        lines.append("live at the peak: " + ", ".join(f"{_gigabytes(n)} {op} ({phase})" if phase != op else
                                                      f"{_gigabytes(n)} {op}"
                                                      for (phase, op), n in list(self.held.items())[:6]))
        counts: dict[Wait, int] = {}
        for wait in self.waits:
            counts[wait] = counts.get(wait, 0) + 1
        lines += [f"the host waits for the GPU ({n} times) in {wait.op or 'the step'}, for {wait.what}: {wait.line}"
                  for wait, n in counts.items()]
        return "\n".join(lines)


def _gigabytes(n: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= scale:
            return f"{n / scale:.3g} {unit}"
    return f"{n:.0f} B"


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) if i < 3 else cell.rjust(width)
                      for i, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows]
