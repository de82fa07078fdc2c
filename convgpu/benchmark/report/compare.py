"""Compares two result files row by row: which is faster, and whether by more than the samples vary."""

from __future__ import annotations

from dataclasses import dataclass

from ..results import Results
from ..timing import geometric_mean
from . import figures
from .figures import Row
from .grid import Column, markdown, number, text
from .training_table import NOISE

SMALLEST = 0.03  # a smaller change counts as none, whatever the samples say


@dataclass(frozen=True)
class Change:
    """One contender of one row in both files. ratio: the first file's time divided by the second's."""

    row: Row
    name: str
    before: float
    after: float
    verdict: str  # "slower", "faster", "" if within the spread, "noise" if the spread is too large to tell

    @property
    def ratio(self) -> float:
        """The first file's time over the second's: above 1, the second file is faster."""
        return self.before / self.after


def changes(a: Results, b: Results) -> list[Change]:
    """The contenders that both files hold, in the order of the second file."""
    first = {figures.key(row): row for row in a.rows}
    return [_change(first[figures.key(row)], row, name) for row in b.rows if figures.key(row) in first
            for name in row["timings"] if name in first[figures.key(row)]["timings"]]


def _change(a: Row, b: Row, name: str) -> Change:
    """Slower or faster where the quartiles do not overlap and times differ by 3%; noise where they overlap by far."""
    clock = figures.clock(b, name)
    before, after = a["timings"][name].median(clock), b["timings"][name].median(clock)
    (low_a, high_a), (low_b, high_b) = (row["timings"][name].quartiles(clock) for row in (a, b))
    verdict = ""
    if low_b > high_a and after > before * (1 + SMALLEST):
        verdict = "slower"
    elif high_b < low_a and before > after * (1 + SMALLEST):
        verdict = "faster"
    elif min(low_a, low_b) <= 0 or high_a * high_b > figures.DOUBT * low_a * low_b:
        verdict = NOISE
    return Change(b, name, before, after, verdict)


def report(a: Results, b: Results, as_markdown: bool = False) -> tuple[str, bool]:
    """The table with the conclusion, and whether a time of convgpu has become slower.

    Raises:
        ValueError: the files have no row in common.
    """
    found = changes(a, b)
    if not found:
        raise ValueError("compare: expected files with rows in common, got none (network, layer, direction, dtype and "
                         "threads must agree)")
    columns = [
        Column("", "layer", [f"{c.row['network']} {c.row['layer']}".strip() for c in found], left=True),
        Column("", "op", [str(c.row["direction"]) for c in found], left=True),
        Column("", "contender", [c.name for c in found], left=True),
        Column("", "A ms", [number(1e3 * c.before) for c in found]),
        Column("", "B ms", [number(1e3 * c.after) for c in found]),
        Column("", "A/B", ["-" if c.verdict == NOISE else number(c.ratio) for c in found]),
        Column("", "", [c.verdict for c in found], left=True),
    ]
    ours = [c for c in found if c.name.startswith(figures.OURS)]
    slower = [c for c in ours if c.verdict == "slower"]
    lines = _differences(a, b)
    if ours:
        told = [c.ratio for c in ours if c.verdict != NOISE]
        noise = len(ours) - len(told)
        mean = f"A/B {geometric_mean(told):.3f} on average (above 1, B is faster)" if 2 * len(told) > len(ours) else (
            "no mean of A/B")
        lines.append(f"convgpu: {mean}; {len(slower)} of {len(ours)} slower and "
                     f"{sum(c.verdict == 'faster' for c in ours)} faster by more than the spread"
                     + f"; {noise} left out as noise" * bool(noise))
    keys = {figures.key(row) for row in a.rows} ^ {figures.key(row) for row in b.rows}
    if keys:
        lines.append(f"{len(keys)} rows are in one file alone")
    return "\n\n".join([markdown(columns) if as_markdown else text(columns, 3), "\n".join(lines)]), bool(slower)


def _differences(a: Results, b: Results) -> list[str]:
    """Other differences between the files, such as machine and versions."""
    told = []
    for title, get in (("CPU", lambda e: e["machine"]["cpu"]), ("GPU", lambda e: e.get("gpu", {}).get("name")),
                       ("NumPy", lambda e: e["versions"].get("numpy")), ("commit", lambda e: e["commit"]),
                       ("load average", lambda e: e["machine"].get("load"))):
        before, after = get(a.environment), get(b.environment)
        if before != after:
            told.append(f"{title}: {before} in A, {after} in B")
    return told
