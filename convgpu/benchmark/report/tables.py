"""Results as tables: for single ops one row per layer and direction; for training see training_table.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..results import Results
from ..roofs import Roof
from ..timing import geometric_mean
from . import figures
from .figures import Row
from .grid import Column, markdown, number, percent, text, wrapped
from .training_table import noise_note, ratio_cell, training_columns, training_notes

DEVICES = {"cpu": "CPU", "gpu": "GPU"}
PEERS = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime"}  # by the first word of a contender's name
_UNITS = {"cpu": "GFLOP/s", "gpu": "TFLOP/s"}


def render(results: Results, as_markdown: bool = False) -> str:
    """The content of a result file as text: where it was measured, the tables, and notes on their meaning."""
    parts = [heading(results)]
    kinds: dict[str, list[Row]] = {"ops": [], "train": [], "startup": []}
    for row in results.rows:
        kinds.get(row["kind"], kinds["ops"]).append(row)
    for rows, columns, keys, notes in ((kinds["ops"], layer_columns, 2, layer_notes),
                                       (kinds["train"], training_columns, 2, training_notes),
                                       (kinds["startup"], startup_columns, 1, startup_notes)):
        if rows:
            parts += [_table(columns(rows, results.roofs), keys, as_markdown),
                      "\n".join(map(wrapped, notes(rows, results.roofs)))]
    if not results.rows:
        parts.append("Nothing was measured.")
    if results.interrupted:
        parts.append("Interrupted: the table holds what was measured until then.")
    return "\n\n".join(filter(None, parts))


def _table(columns: Sequence[Column], keys: int, as_markdown: bool) -> str:
    return markdown(columns) if as_markdown else text(columns, keys)


def heading(results: Results) -> str:
    """The machine, its roofs and the versions, in a few lines."""
    environment, rows = results.environment, results.rows
    machine, gpu = environment["machine"], environment.get("gpu")
    threads = sorted({row["threads"] for row in rows if "threads" in row})
    load = f"; load average {machine['load']}" if machine.get("load") is not None else ""
    busy = machine.get("load_before") or 0.0
    of_threads = f", {' or '.join(map(str, threads))} thread{'s' * (threads != [1])}" if threads else ""
    # results that name no backend are older than the choice between two
    lines = [f"CPU {machine['cpu']}, {machine['cores']} cores{of_threads}, "
             f"backend {environment.get('backend', 'numpy')}{_roof(results.roofs.get('cpu'))}{load}"]
    if gpu:
        clocks = f"{gpu['clocks.sm']} of {gpu['clocks.max.sm']}"
        lines.append(f"GPU {gpu['name']}, {clocks}{_roof(results.roofs.get('gpu'))}")
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    lines.append(f"{versions}; {environment['blas']}; commit {environment['commit'] or 'of an installed package'}; "
                 f"{environment['date']}")
    if busy > machine["cores"] / 4:
        lines.append(f"Other programs were running (load average {busy} before the start): CPU times are too long.")
    return "\n".join(map(wrapped, lines))


def _roof(saved: dict[str, Any] | None) -> str:
    if saved is None:
        return ""
    roof = Roof(**saved)
    unit = "float32" if "float32" in roof.peak else "float64"
    scale, prefix = (1e12, "T") if roof.peak[unit] >= 1e13 else (1e9, "G")
    how = "np.matmul peak" if roof.name == "CPU" else f"{unit} peak"
    return f", {how} {number(roof.peak[unit] / scale)} {prefix}FLOP/s, memory {number(roof.bandwidth / 1e9)} GB/s"


def layer_columns(rows: Sequence[Row], roofs: dict[str, Any]) -> list[Column]:
    """The columns for single ops: convgpu's times per device, the speed-up, the peer's times, the kernels."""
    several = len({row["network"] for row in rows}) > 1
    dtypes = len({row["dtype"] for row in rows}) > 1
    threads = len({row["threads"] for row in rows}) > 1
    names = [" ".join(filter(None, (row["network"] * several, row["layer"], row["dtype"] * dtypes,
                                    f"on {row['threads']}" * threads))) for row in rows]
    columns = [Column("", "layer", names, left=True), Column("", "op", [_short_op(row) for row in rows], left=True)]
    there = [device for device in DEVICES if any(figures.has(row, device) for row in rows)]
    for device in there:
        columns += _ours(rows, device, roofs)
    if len(there) == 2:
        columns.append(Column("", "CPU/GPU", [ratio_cell(row, figures.devices(row)) for row in rows]))
    for device in DEVICES:
        if any(figures.best_peer(row, device) for row in rows):
            columns += _peers(rows, device)
    for device in there:
        kernels = [_short(row.get("kernels", {}).get(figures.name_of(device), "")) for row in rows]
        if any(kernels):
            columns.append(Column("" if len(there) == 1 else DEVICES[device], "kernel", kernels, left=True))
    return columns


def _short(kernel: str) -> str:
    """The kernel's name without the plan's settings, or the method without the part after the comma."""
    return kernel.split()[0] if "=" in kernel else kernel.split(",")[0]


def _short_op(row: Row) -> str:
    return str(row["direction"]) if row["kind"] == "conv" else str(row["op"]).replace("_pool_dgrad", " dgrad")


def _ours(rows: Sequence[Row], device: str, roofs: dict[str, Any]) -> list[Column]:
    group, name = DEVICES[device], figures.name_of(device)

    def column(title: str, cell: Callable[[Row], str]) -> Column:
        return Column(group, title, [cell(row) if figures.has(row, device) else "-" for row in rows])

    columns = [column("ms", lambda row: number(1e3 * figures.seconds(row, name))),
               column("±", lambda row: percent(figures.spread(row, name) / 2))]
    if any("flops" in row for row in rows):
        columns.append(column(_UNITS[device], lambda row: _rate(row, name)))
    if "cpu" in roofs and device == "cpu":
        columns.append(column("peak", lambda row: percent(figures.of_peak(row, name, roofs))))
    if device in roofs:
        columns.append(column("roof", lambda row: percent(figures.share(row, name, roofs))))
    return columns


def _rate(row: Row, name: str) -> str:
    if figures.by_memory(row):
        return number(figures.rate(row, name) / 1e9) + " GB/s"
    return number(figures.rate(row, name) / (1e12 if figures.device_of(name) == "gpu" else 1e9))


def _peers(rows: Sequence[Row], device: str) -> list[Column]:
    """The columns for the peer's better layout: its time, and its time over ours."""
    group = f"{_peer(rows, device)} {DEVICES[device]}"

    def column(title: str, cell: Callable[[Row, str], str]) -> Column:
        peers = [figures.best_peer(row, device) for row in rows]
        return Column(group, title, [cell(row, peer) if peer else "-" for row, peer in zip(rows, peers)])

    columns = [column("ms", lambda row, peer: number(1e3 * figures.seconds(row, peer))),
               column("±", lambda row, peer: percent(figures.spread(row, peer) / 2))]
    if any("flops" in row for row in rows):
        columns.append(column(_UNITS[device], _rate))
    if any(figures.has(row, device) for row in rows):
        columns.append(column("ratio", lambda row, peer: ratio_cell(row, figures.rivals(row, device))))
    return columns


def _peer(rows: Sequence[Row], device: str) -> str:
    """Whose times stand beside ours."""
    names = [name for row in rows if (name := figures.best_peer(row, device))]
    return PEERS.get(names[0].split()[0], names[0].split()[0]) if names else PEERS["torch"]


def startup_columns(rows: Sequence[Row], roofs: dict[str, Any]) -> list[Column]:
    """The columns for startup times: what a user waits for before and around the arithmetic, and the limit."""
    name = next(iter(rows[0]["timings"]))
    return [Column("", "what", [row["layer"] for row in rows], left=True),
            Column("", name, [_time(figures.seconds(row, name)) for row in rows]),
            Column("", "±", [percent(figures.spread(row, name) / 2) for row in rows]),
            Column("", "bar", [_time(row["limit"]) if "limit" in row else "-" for row in rows]),
            Column("", "met", ["-" if "limit" not in row else "no" if missed(row) else "yes" for row in rows])]


def startup_notes(rows: Sequence[Row], roofs: dict[str, Any]) -> list[str]:
    """The notes for startup times: there are none."""
    return []


def missed(row: Row) -> bool:
    """Whether a row has a limit and exceeds it."""
    return "limit" in row and figures.seconds(row, next(iter(row["timings"]))) > row["limit"]


def _time(seconds: float) -> str:
    return f"{1e6 * seconds:.1f} us" if seconds < 1e-3 else f"{number(1e3 * seconds)} ms"


def mean_note(what: str, meaning: str, pairs: Sequence[tuple[Row, tuple[str, str]]]) -> list[str]:
    """The geometric mean of ratios and how many there are, or why there is no mean; nothing for a single row."""
    if len(pairs) < 2:
        return []
    ratios = [r for row, pair in pairs if (r := figures.quotient(row, *pair)) is not None]
    if 2 * len(ratios) < len(pairs) or len(ratios) < 2:
        return [f"{what}: no mean, because {len(pairs) - len(ratios)} of {len(pairs)} ratios are noise"]
    some = "" if len(ratios) == len(pairs) else f", of the {len(ratios)} of {len(pairs)} ratios that are not noise"
    return [f"{what}, geometric mean{some}: {geometric_mean(ratios):.2f}x{meaning}"]


def layer_notes(rows: Sequence[Row], roofs: dict[str, Any]) -> list[str]:
    """Notes: the means, and the meaning of the columns."""
    notes = []
    pairs = [("CPU/GPU", "", [(row, figures.devices(row)) for row in rows])]
    pairs += [(f"{_peer(rows, device)}'s time over ours on the {title}", " (above 1, we are faster)",
               [(row, figures.rivals(row, device)) for row in rows]) for device, title in DEVICES.items()]
    for what, meaning, found in pairs:
        notes += mean_note(what, meaning, [(row, pair) for row, pair in found if pair is not None])
    notes += noise_note([(row, pair) for _, _, found in pairs for row, pair in found if pair is not None])
    notes.append("Medians; ±: half the distance of the quartiles. GB/s for what moves memory." + (
        " peak: of np.matmul's measured rate." if "cpu" in roofs else "") + (
        " roof: of the roofline." if roofs else ""))
    absent = {f"{name}: {why}" for row in rows for name, why in row.get("absent", {}).items()}
    return notes + [f"Not timed: {line}" for line in sorted(absent)]
