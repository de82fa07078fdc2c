"""Pictures of results for talks: time per layer, the speed-up, the roofline; for training, seconds and speed-up."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...extras import require
from ...files import replace
from ...roofline import rate
from ..results import Results
from ..roofs import Roof
from . import figures, training_table
from .figures import Row
from .grid import number
from .training_table import NOISE

# Okabe and Ito's colours, which colour-blind readers can tell apart too.
COLOURS = {"fprop": "#0072B2", "dgrad": "#E69F00", "wgrad": "#009E73", "cpu": "#0072B2", "gpu": "#D55E00",
           "peer cpu": "#56B4E9", "peer gpu": "#E69F00", "grey": "#595959"}
MARKERS = {"cpu": "o", "gpu": "^"}
DEVICES = {"cpu": "CPU", "gpu": "GPU"}
STYLE = {"font.size": 13, "axes.titlesize": 15, "axes.titleweight": "bold", "axes.spines.top": False,
         "axes.spines.right": False, "legend.frameon": False, "figure.facecolor": "white", "axes.axisbelow": True}
DIRECTION_NAMES = {"fprop": "forward", "dgrad": "input gradient", "wgrad": "weight gradient"}


def _directions(rows: Sequence[Row]) -> dict[str, str]:
    """The directions of rows, and what the legend calls them: those of few ops, such as "gather", as they are."""
    return DIRECTION_NAMES | {row["direction"]: row["direction"] for row in rows
                              if row["direction"] not in DIRECTION_NAMES}


def _colour(direction: str) -> str:
    return COLOURS.get(direction, COLOURS["peer cpu"])


def formats() -> list[str]:
    """The endings of file names that a picture can be written under."""
    require("matplotlib", "--plot")
    return sorted(require("matplotlib.backend_bases", "--plot").FigureCanvasBase.get_supported_filetypes())


def draw(results: Results, path: str | Path, title: str | None = None) -> None:
    """Draw the results and save the picture: of training where there are such rows, else of single ops.

    Args:
        results: results with at least one timed row.
        path: the picture's file; its ending decides the format, such as PNG.
        title: a title in place of the networks' names.
    """
    plt = require("matplotlib.pyplot", "--plot")
    trained = [row for row in results.rows if row["kind"] == "train" and row["timings"]]
    with plt.rc_context(STYLE):
        figure = _training(plt, trained, results) if trained else _ops(plt, results, title)
        picture = io.BytesIO()
        figure.savefig(picture, dpi=120, format=Path(path).suffix.lstrip(".").lower() or "png")
        plt.close(figure)
    replace(path, picture.getvalue())


def _title(results: Results, what: str) -> str:
    machine, gpu = results.environment["machine"], results.environment.get("gpu")
    threads = sorted({row["threads"] for row in results.rows if "threads" in row})
    on = f"{machine['cpu']}, {' or '.join(map(str, threads))} thread{'s' * (threads != [1])}"
    dtypes = ", ".join(sorted({row["dtype"] for row in results.rows}))
    load = machine.get("load_before")
    busy = f"; load average {load} before the start" if load is not None else ""
    return f"{what}, {dtypes}\n{on}" + (f"; {gpu['name']}" if gpu else "") + busy


# --- single ops


def _ops(plt: Any, results: Results, title: str | None) -> Any:
    rows = [row for row in results.rows if row["timings"]]
    layers = list(dict.fromkeys(_layer(row) for row in rows))
    with_ratio = any(_pairs(row) for row in rows)
    with_roof = bool(results.roofs) and any(row.get("flops") for row in rows)
    panels = 1 + with_ratio + with_roof
    figure, axes = plt.subplots(1, panels, figsize=(5.2 * panels + 2.5, min(max(7.0, 2.6 + 0.5 * len(layers)), 12)),
                                layout="constrained", squeeze=False)
    networks = ", ".join(filter(None, dict.fromkeys(row["network"] for row in rows))) or "Single ops"
    figure.suptitle(_title(results, title or networks), fontsize=17, fontweight="bold")
    _times(axes[0, 0], rows, layers)
    if with_ratio:
        _ratio_bars(axes[0, 1], rows, layers)
        axes[0, 1].tick_params(axis="y", length=0, labelleft=False)
    if with_roof:
        _roofline(axes[0, -1], rows, results.roofs)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: list(_directions(rows).values()).index(labels[i].split(",")[0]))
    figure.legend([handles[i] for i in order], [labels[i] for i in order], loc="outside lower center", ncols=3)
    return figure


def _layer(row: Row) -> str:
    return str(row["layer"])


def _bars(axis: Any, rows: Sequence[Row], layers: Sequence[str], value: Any, contenders: Sequence[str],
          ends: Any) -> None:
    """Groups of horizontal bars, one group per layer, one bar per contender and direction.

    value(row, name): the length of a bar; None for no bar; NaN for noise, which a word replaces. ends(row, name): both
    ends of the line that shows the spread.
    """
    directions = _directions(rows)
    slots = [(name, d) for name in contenders for d in directions
             if any(row["direction"] == d and value(row, name) is not None for row in rows)]
    height = 0.84 / max(len(slots), 1)
    several = len(contenders) > 1
    for i, (name, direction) in enumerate(slots):
        at, widths, spreads = [], [], []
        for row in rows:
            found = value(row, name) if row["direction"] == direction else None
            if found is not None:
                at.append(layers.index(_layer(row)) + (i - (len(slots) - 1) / 2) * height)
                widths.append(found)
                spreads.append((found, found) if math.isnan(found) else ends(row, name))
        label = directions[direction] + (f", {DEVICES[figures.device_of(name)]}" if several else "")
        axis.barh(at, np.nan_to_num(widths), height * 0.92, color=_colour(direction), label=label,
                  hatch="///" if several and name == contenders[-1] else None, edgecolor="white", linewidth=0)
        for y, width, (low, high) in zip(at, widths, spreads):
            axis.plot((low, high), (y, y), color="black", linewidth=1, alpha=0.7, solid_capstyle="butt", zorder=2.5)
            if len(layers) * len(slots) <= 40:
                place, words = (0, NOISE) if math.isnan(width) else (max(width, high), number(width))
                axis.annotate(words, (place, y), (4, 0), textcoords="offset points", va="center", fontsize=9.5,
                              color=COLOURS["grey"], annotation_clip=True,
                              bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.8})
    axis.set_yticks(range(len(layers)), layers, fontsize=13 if len(layers) <= 14 else 11)
    axis.set_ylim(len(layers) - 0.5, -0.5)
    axis.grid(axis="x", alpha=0.3)


def _times(axis: Any, rows: Sequence[Row], layers: Sequence[str]) -> None:
    """Milliseconds per layer and direction, on a logarithmic axis where they differ widely."""
    there = [figures.name_of(d) for d in DEVICES if any(figures.has(row, d) for row in rows)]

    def milliseconds(row: Row, name: str) -> float | None:
        return 1e3 * figures.seconds(row, name) if name in row["timings"] else None

    def quartiles(row: Row, name: str) -> tuple[float, float]:
        low, high = row["timings"][name].quartiles(figures.clock(row, name))
        return 1e3 * max(low, 0.0), 1e3 * high

    _bars(axis, rows, layers, milliseconds, there, quartiles)
    values = [m for row in rows for name in there if (m := milliseconds(row, name)) is not None]
    if values and max(values) > 30 * min(values):
        axis.set_xscale("log")
        axis.set_xlim(left=0.5 * min(values))
    highest = [quartiles(row, name)[1] for row in rows for name in there if name in row["timings"]]
    axis.set_xlim(right=max(highest, default=1) * (1.8 if axis.get_xscale() == "log" else 1.18))
    axis.set_title("Time of convgpu")
    several = any(len(row["timings"][name].wall) > 1 for row in rows for name in there if name in row["timings"])
    axis.set_xlabel("milliseconds" + "; the line: between the quartiles" * several)


def _pairs(row: Row) -> dict[str, tuple[str, str]]:
    """The pairs of contenders whose ratio can be drawn: CPU over GPU, peer over convgpu."""
    pairs = {"CPU / GPU": figures.devices(row)}
    pairs |= {f"PyTorch / convgpu on the {DEVICES[d]}": figures.rivals(row, d) for d in DEVICES}
    return {name: pair for name, pair in pairs.items() if pair is not None}


def _ratio_bars(axis: Any, rows: Sequence[Row], layers: Sequence[str]) -> None:
    """Draw the first ratio that exists: the speed-up of the GPU, else the peer's time over ours."""
    name = next(iter(dict.fromkeys(n for row in rows for n in _pairs(row))))

    def ratio(row: Row, _: str) -> float | None:
        if name not in _pairs(row):
            return None
        value = figures.quotient(row, *_pairs(row)[name])
        return math.nan if value is None else value

    def limits(row: Row, _: str) -> tuple[float, float]:
        return figures.limits(row, *_pairs(row)[name])

    _bars(axis, rows, layers, ratio, [name], limits)
    axis.axvline(1, color="black", linewidth=1.2, zorder=1.5)
    told = [limits(row, name)[1] for row in rows if (r := ratio(row, name)) is not None and not math.isnan(r)]
    axis.set_xlim(left=0, right=1.15 * max(told, default=1.5))
    speedup = name == "CPU / GPU"
    axis.set_title("Speed-up of the GPU" if speedup else "Beside PyTorch")
    axis.set_xlabel("CPU time / GPU time" if speedup else f"{name.replace('PyTorch / convgpu', 'its time / ours')}: "
                                                          "above 1, we are faster")


def _roofline(axis: Any, rows: Sequence[Row], roofs: dict[str, Any]) -> None:
    """Draw each layer as a point, FLOP per byte against FLOP/s, under the roofs."""
    rows = [row for row in rows if row.get("flops") and row.get("bytes")]
    intensity = [row["flops"] / row["bytes"] for row in rows]
    low, high = min(intensity) / 3, max(intensity) * 3
    for device, saved in roofs.items():
        there = [row for row in rows if figures.has(row, device)]
        _draw_roof(axis, low, high, Roof(**saved), there, figures.name_of(device))
        for direction in _directions(there):
            points = [(row["flops"] / row["bytes"], row["flops"] / figures.seconds(row, figures.name_of(device)))
                      for row in there if row["direction"] == direction]
            if points:
                axis.scatter(*zip(*points), s=64, color=_colour(direction), marker=MARKERS[device], edgecolor="white",
                             linewidth=0.8, zorder=3, label=DEVICES[device] if direction == "fprop" else None)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlim(low, high)
    axis.set_title("Roofline")
    axis.set_xlabel("FLOP per byte")
    axis.set_ylabel("FLOP/s")
    axis.grid(alpha=0.3)
    if len(roofs) > 1:
        legend = axis.legend(loc="lower right", fontsize=11)
        for handle in legend.legend_handles:
            handle.set_color(COLOURS["grey"])


def ceilings(roof: Roof, rows: Sequence[Row], name: str) -> tuple[float, float, float, float]:
    """The FLOP/s and bytes per second of a roof, and both raised until no row is above the roof.

    The measured or published bandwidth is that of the memory: arrays in a cache are faster. On a busy
    machine the measured peak may be less than what a layer reached.
    """
    peak = max(rate(row["unit"].removesuffix(" additions"), roof.peak) for row in rows if row["unit"])
    reached = max([peak, *(row["flops"] / figures.seconds(row, name) for row in rows)])
    cached = [row["bytes"] / figures.seconds(row, name) for row in rows]
    return peak, roof.bandwidth, reached, max([roof.bandwidth, *cached])


def _draw_roof(axis: Any, low: float, high: float, roof: Roof, rows: Sequence[Row], name: str) -> None:
    """Draw the roof, and above it a dashed line for what layers reached beyond it."""
    if not rows:
        return
    xs, grey = np.geomspace(low, high, 200), COLOURS["grey"]
    peak, bandwidth, reached, cached = ceilings(roof, rows, name)
    ceiling = np.minimum(peak, xs * bandwidth)
    axis.plot(xs, ceiling, color=grey, linewidth=2)
    axis.annotate(f"{roof.name}: {number(peak / 1e9)} GFLOP/s", (high, peak), (0, 5 if reached == peak else -15),
                  textcoords="offset points", ha="right", fontsize=11, color=grey)

    def told(text: str, rate: float, above: float) -> None:
        ridge = above / rate
        if low < ridge:
            at = (low * min(ridge, high))**0.5
            axis.annotate(text, (at, at * rate), (-6, 6), textcoords="offset points", ha="right", fontsize=11,
                          color=grey)

    raised = [row for row in rows if row["flops"] / figures.seconds(row, name)
              > min(peak, bandwidth * row["flops"] / row["bytes"])]
    told(f"{number(bandwidth / 1e9)} GB/s", bandwidth, peak)
    if not raised:
        return
    axis.plot(xs, np.minimum(reached, xs * cached), color=grey, linewidth=1.2, linestyle="--")
    if cached > bandwidth:
        told(f"reached in a cache: {number(cached / 1e9)} GB/s", cached, reached)
    if reached > peak:
        axis.annotate(f"reached: {number(reached / 1e9)} GFLOP/s", (high, reached), (0, 5), textcoords="offset points",
                      ha="right", fontsize=11, color=grey)


# --- training


def _training(plt: Any, rows: Sequence[Row], results: Results) -> Any:
    """Draw seconds per batch size, and the speed-up where there are two devices."""
    both = all(figures.has(row, "cpu") and figures.has(row, "gpu") for row in rows)
    figure, axes = plt.subplots(1, 1 + both, figsize=(7.5 + 5.5 * both, 6), layout="constrained", squeeze=False)
    network = ", ".join(dict.fromkeys(row["network"] for row in rows))
    steps = rows[0]["steps"]
    figure.suptitle(_title(results, f"Training {network}"), fontsize=17, fontweight="bold")
    axis = axes[0, 0]
    several = len({row["network"] for row in rows}) > 1
    labels = [f"{row['network']}\n" * several + f"batch {row['batch']}" for row in rows]
    contenders = _trained(rows)
    width = 0.84 / len(contenders)
    for i, (label, colour, best) in enumerate(contenders):
        values = [steps * figures.seconds(row, name) if (name := best(row)) else 0.0 for row in rows]
        at = np.arange(len(rows)) + (i - (len(contenders) - 1) / 2) * width
        bars = axis.bar(at, values, width * 0.92, color=COLOURS[colour], label=label)
        for x, row in zip(at, rows):
            if (name := best(row)) is not None:
                low, high = row["timings"][name].quartiles(figures.clock(row, name))
                axis.plot((x, x), (steps * max(low, 0.0), steps * high), color="black", linewidth=1, alpha=0.7)
        axis.bar_label(bars, [number(v, 2) if v else "" for v in values], padding=3, fontsize=11)
    axis.set_xticks(range(len(rows)), labels)
    axis.set_ylabel(f"seconds for {steps} steps")
    axis.set_title("Time, and the line between its quartiles", fontsize=13)
    axis.margins(y=0.12)
    if several:  # the networks have different sizes of batch
        axis.set_yscale("log")
    axis.grid(axis="y", alpha=0.3)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower left", ncols=4)
    if both:
        _training_speedup(axes[0, 1], rows, labels)
    return figure


def _trained(rows: Sequence[Row]) -> list[tuple[str, str, Any]]:
    """For each contender: its label, its colour, and its name in a row."""
    found: list[tuple[str, str, Any]] = []
    for device, title in DEVICES.items():
        if any(figures.has(row, device) for row in rows):
            name = figures.name_of(device)
            found.append((f"convgpu, {title}", device, lambda row, n=name: n if n in row["timings"] else None))
        if any(figures.best_peer(row, device) for row in rows):
            found.append((f"PyTorch, {title}", f"peer {device}", lambda row, d=device: figures.best_peer(row, d)))
    return found


def _training_speedup(axis: Any, rows: Sequence[Row], labels: Sequence[str]) -> None:
    """Draw the time on the CPU over the time on the GPU, beside the lecture's ratio."""
    ours = [figures.speedup(row) for row in rows]
    bars = axis.bar(np.arange(len(rows)) - 0.2, [s or 0.0 for s in ours], 0.36, color=COLOURS["gpu"], label="here")
    axis.bar_label(bars, [NOISE if s is None else f"{number(s)}x" for s in ours], padding=3)
    told = {batch: ratio for batch, (_, _, ratio) in training_table.LECTURE.items()}
    if rows[0]["network"] == "AlexNet" and any(row["batch"] in told for row in rows):
        lecture = [told.get(row["batch"], 0.0) for row in rows]
        bars = axis.bar(np.arange(len(rows)) + 0.2, lecture, 0.36, color="#BBBBBB", label="Tesla K40, 2015")
        axis.bar_label(bars, [f"{number(s, 2)}x" if s else "" for s in lecture], padding=3)
    axis.set_xticks(range(len(rows)), labels)
    axis.set_title("Speed-up of the GPU")
    axis.set_ylabel("CPU time / GPU time")
    axis.margins(y=0.25)
    axis.legend(loc="upper left", fontsize=11, ncols=2)
