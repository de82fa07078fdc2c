"""Training as a table: seconds of a number of steps on each device, as in a lecture, with the lecture's own row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import figures
from .figures import Row
from .grid import Column, number, percent

DEVICES = {"cpu": "CPU", "gpu": "GPU"}
SCALED = "*"
NOISE = "noise"

# Training AlexNet, from a GPU conference talk of 2015: for each batch size CPU seconds, K40 seconds, speed-up.
LECTURE = {64: (64.0, 7.5, 8.5), 128: (124.0, 14.5, 8.5), 256: (257.0, 28.5, 9.0)}
TALK = "a talk of 2015"


def training_columns(rows: Sequence[Row], roofs: dict[str, Any]) -> list[Column]:
    """The columns for training: convgpu's times per device, the speed-up, the peers' times."""
    columns = [Column("", "network", [row["network"] for row in rows], left=True),
               Column("", "batch", [str(row["batch"]) for row in rows])]
    if len({row["dtype"] for row in rows}) > 1:
        columns.append(Column("", "dtype", [row["dtype"] for row in rows], left=True))
    there = [device for device in DEVICES if any(figures.has(row, device) for row in rows)]
    for device in there:
        columns += _contender(rows, figures.name_of(device), DEVICES[device], roofs, device == "cpu")
    if len(there) == 2:
        columns.append(Column("", "CPU/GPU", [ratio_cell(row, figures.devices(row)) for row in rows]))
    if any(_told(row) for row in rows):
        told = [_told(row) or (None, None, None) for row in rows]
        columns += [Column(TALK, title, [number(values[i]) + unit * (values[i] is not None) for values in told])
                    for i, (title, unit) in enumerate((("CPU s", ""), ("K40 s", ""), ("CPU/GPU", "x")))]
    for device in DEVICES:
        for variant in dict.fromkeys(v for row in rows for v in _variants(row, device)):
            columns += _peer(rows, device, variant)
    return columns


def _told(row: Row) -> tuple[float, float, float] | None:
    """The talk's figures for this network and batch size."""
    return LECTURE.get(row["batch"]) if row["network"] == "AlexNet" else None


def _contender(rows: Sequence[Row], name: str, group: str, roofs: dict[str, Any], with_peak: bool) -> list[Column]:
    def column(title: str, cell: Callable[[Row], str]) -> Column:
        return Column(group, title, [cell(row) if name in row["timings"] else "-" for row in rows])

    columns = [column("s", lambda row: total(row, name)),
               column("±", lambda row: percent(figures.spread(row, name) / 2)),
               column("images/s", lambda row: number(row["batch"] / figures.seconds(row, name)))]
    if with_peak:
        columns.append(column("GFLOP/s", lambda row: number(row["flops"] / figures.seconds(row, name) / 1e9)))
        if "cpu" in roofs:
            peak = max(roofs["cpu"]["peak"].values())
            columns.append(column("peak", lambda row: percent(row["flops"] / figures.seconds(row, name) / peak)))
    if any(name in row.get("memory", {}) for row in rows):
        columns.append(column("MB", lambda row: number(row.get("memory", {}).get(name, 0) / 1e6)))
    return columns


def total(row: Row, name: str) -> str:
    """The seconds of the row's steps; a mark shows that fewer steps were timed."""
    timed = len(row["timings"][name].wall) * row["timings"][name].calls
    return number(row["steps"] * figures.seconds(row, name)) + (SCALED if timed < row["steps"] else " ")


def ratio_cell(row: Row, pair: tuple[str, str] | None) -> str:
    """The first contender's time over the second's, as "1.23x"; "noise" where the samples cannot tell."""
    if pair is None:
        return "-"
    value = figures.quotient(row, *pair)
    return NOISE if value is None else f"{number(value)}x"


def noise_note(pairs: Sequence[tuple[Row, tuple[str, str]]]) -> list[str]:
    """A note that explains "noise", if some ratio is noise."""
    if not any(figures.is_noise(row, *pair) for row, pair in pairs):
        return []
    other = "" if all(row.get("threads") == 1 for row, _ in pairs) else " or --threads 1"
    return [f"{NOISE}: the quartiles of the samples leave this ratio open by more than a factor of {figures.DOUBT}. "
            f"More samples, a quiet machine{other} may tell it."]


def _variants(row: Row, device: str) -> list[str]:
    """The names of the peer's variants: "torch cpu" for the plain one in two layouts, "torch cpu compiled" and so on.
    """
    names = [name for name in row["timings"] if not name.startswith(figures.OURS) and figures.device_of(name) == device]
    return list(dict.fromkeys(name.replace(" channels_last", "").replace(" channels_first", "") for name in names))


def _best(row: Row, variant: str) -> str | None:
    names = [name for name in (variant, f"{variant} channels_last", f"{variant} channels_first")
             if name in row["timings"]]
    return min(names, key=lambda name: figures.seconds(row, name)) if names else None


def _peer(rows: Sequence[Row], device: str, variant: str) -> list[Column]:
    group = "PyTorch " + " ".join([DEVICES[device], *variant.split()[2:]])
    ours = figures.name_of(device)

    def column(title: str, cell: Callable[[Row, str], str]) -> Column:
        found = [_best(row, variant) for row in rows]
        return Column(group, title, [cell(row, name) if name else "-" for row, name in zip(rows, found)])

    columns = [column("s", total),
               column("±", lambda row, name: percent(figures.spread(row, name) / 2)),
               column("images/s", lambda row, name: number(row["batch"] / figures.seconds(row, name)))]
    if any(name in row.get("memory", {}) for row in rows for name in [_best(row, variant)]):
        columns.append(column("MB", lambda row, name: number(row.get("memory", {}).get(name, 0) / 1e6)))
    if any(ours in row["timings"] for row in rows):
        columns.append(column("ratio", lambda row, name: ratio_cell(row, (name, ours) if ours in row["timings"] else
                                                                    None)))
    return columns


def _pairs(row: Row) -> list[tuple[str, str]]:
    """The pairs of contenders whose ratios the table shows."""
    found = [pair] if (pair := figures.devices(row)) is not None else []
    found += [(best, figures.name_of(device)) for device in DEVICES if figures.has(row, device)
              for variant in _variants(row, device) if (best := _best(row, variant)) is not None]
    return found


def training_notes(rows: Sequence[Row], roofs: dict[str, Any]) -> list[str]:
    """Notes: the meaning of the columns, and the lecture's row."""
    steps = " or ".join(str(n) for n in sorted({row["steps"] for row in rows}))
    notes = [f"s: seconds of {steps} training steps (median step; forward, backward, SGD with momentum) on images of "
             f"noise, {' and '.join(dict.fromkeys(row['dtype'] for row in rows))}."]
    if any(SCALED in total(row, name) for row in rows for name in row["timings"]):
        notes.append(f"{SCALED} fewer steps were timed, and the time was scaled.")
    if any("cpu" in roofs and figures.has(row, "cpu") for row in rows):
        notes.append("peak: of np.matmul's measured rate on this machine.")
    if any(figures.rivals(row, device) for row in rows for device in DEVICES):
        notes.append("ratio: PyTorch's time over ours, above 1 we are faster; PyTorch in its better memory layout.")
    notes += noise_note([(row, pair) for row in rows for pair in _pairs(row)])
    if any(_told(row) for row in rows):
        notes.append("The talk compares a CPU with one Tesla K40 and gives no number of steps: 20 on a two-socket CPU "
                     "is inferred; its speed-ups need no such reading.")
    return notes + sorted({f"Not timed: {name}: {why}" for row in rows for name, why in row.get("absent", {}).items()})
