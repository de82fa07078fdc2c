"""The bars of the CPU path beside PyTorch, and what rows of bench/cpu_bars.py say of them.

Every row names its part. Ratios are PyTorch's time over ours, above 1 we are faster.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from convgpu.benchmark import Results, geometric_mean
from convgpu.benchmark.report import figures

WORST = 0.75  # the worst decile may be this share of the bar
BEGIN, END = "<!-- made by bench/report.py: begin -->", "<!-- made by bench/report.py: end -->"
Row = dict[str, Any]


class Bar(NamedTuple):
    """The least geometric mean of a part's ratios, on one thread and on more; the least single ratio, where one is
    asked; and what is hoped for."""

    one: float
    more: float
    stretch: float
    least: tuple[float, float] | None = None




_DENSE = {"fprop": Bar(1.0, 0.95, 1.1, (0.8, 0.7)), "dgrad": Bar(1.0, 0.95, 1.1, (0.8, 0.7)),
          "wgrad": Bar(1.05, 1.0, 1.1, (0.8, 0.7))}
_DEPTHWISE = {"fprop": Bar(1.0, 1.0, 1.5), "dgrad": Bar(1.3, 1.0, 1.5), "wgrad": Bar(1.1, 1.0, 1.5)}
_POOLS = {"max pooling, fprop": Bar(1.3, 1.2, 2.0), "max pooling, dgrad": Bar(1.5, 1.2, 2.0),
          "average pooling, fprop": Bar(1.2, 1.2, 2.0), "average pooling, dgrad": Bar(1.2, 1.2, 2.0)}
HOW = ("", ", channels_first", ", bfloat16", ", AVX2")  # dense, depthwise and pooling are measured in each way

PARTS: dict[str, Bar] = {
    **{f"dense {d}{how}": bar for how in HOW for d, bar in _DENSE.items()},
    **{f"depthwise {d}{how}": bar for how in HOW for d, bar in _DEPTHWISE.items()},
    **{f"{name}{how}": bar for how in HOW for name, bar in _POOLS.items()},
    "batch norm + ReLU, forward": Bar(1.3, 1.2, 1.8), "batch norm + ReLU, backward": Bar(1.1, 1.2, 1.8),
    "gelu, softmax, cross-entropy, ReLU": Bar(0.9, 0.9, 1.2),
    "steps of ResNet-50, VGG-16, AlexNet": Bar(1.0, 0.95, 1.2),
    "steps of MobileNet, EfficientNet-B0": Bar(1.05, 1.0, 1.2), "steps of LeNet-5": Bar(1.2, 1.0, 1.2),
    "steps through Keras beside Keras on PyTorch": Bar(1.0, 0.95, 1.3),
}
OVERHEAD, OVERHEAD_HOPED = 20e-6, 10e-6  # seconds of one small traced convolution


def table(results: Results) -> Iterator[str]:
    """Lines of Markdown: each part's ratios beside its bar, and the overhead beside its limit."""
    yield "| PyTorch's time over ours | rows | mean | worst decile | least | bar | met | stretch |"
    yield "|---|---:|---:|---:|---:|---:|---|---:|"
    for part, rows in by_part(results.rows).items():
        ratios = sorted(figures.seconds(row, pair[0]) / figures.seconds(row, pair[1])
                        for row in rows if (pair := figures.rivals(row, "cpu")))
        if not ratios:
            continue
        mean, decile = geometric_mean(ratios), ratios[math.ceil(len(ratios) / 10) - 1]
        cells = [part, str(len(ratios)), *(f"{value:.2f}" for value in (mean, decile, ratios[0]))]
        bar = PARTS.get(part)
        yield "| " + " | ".join([*cells, *_against(bar, rows[0]["threads"] == 1, mean, decile, ratios[0])]) + " |"
    for row in results.rows:
        if row["kind"] == "startup":
            took = figures.seconds(row, "convgpu cpu")
            yield (f"| {row['layer']} | 1 | {1e6 * took:.1f} us | | | at most {1e6 * OVERHEAD:.0f} us | "
                   f"{'yes' if took <= OVERHEAD else '**no**'} | {1e6 * OVERHEAD_HOPED:.0f} us |")


def _against(bar: Bar | None, one_thread: bool, mean: float, decile: float, least: float) -> list[str]:
    if bar is None:
        return ["", "", ""]
    wanted = bar.one if one_thread else bar.more
    missed = [what for what, value, limit in (
        ("mean", mean, wanted), ("worst decile", decile, WORST * wanted),
        *([("least", least, bar.least[not one_thread])] if bar.least else [])) if value < limit]
    return [f"{wanted:g}", f"**no**: {', '.join(missed)}" if missed else "yes", f"{bar.stretch:g}"]


def by_part(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows that have a part, in the order of the bars, then the parts without a bar."""
    there = list(dict.fromkeys(row["part"] for row in rows if "part" in row))
    ordered = [part for part in PARTS if part in there] + [part for part in there if part not in PARTS]
    return {part: [row for row in rows if row.get("part") == part] for part in ordered}


def shares(results: Results) -> Iterator[str]:
    """Lines of Markdown: how near each part comes to its floor, the time that arithmetic or memory takes at least."""
    yield "| part | rows | floor | share of the floor's rate, geometric mean (least to most) |"
    yield "|---|---:|---|---:|"
    for part, rows in by_part(results.rows).items():
        known = [(row, share) for row in rows if row.get("bytes") and figures.has(row, "cpu")
                 and (share := figures.share(row, "convgpu cpu", results.roofs))]
        if not known:
            continue
        found = [share for _, share in known]
        yield (f"| {part} | {len(found)} | {_floor([row for row, _ in known])} | {geometric_mean(found):.0%} "
               f"({min(found):.0%} to {max(found):.0%}) |")


def _floor(rows: Sequence[Row]) -> str:
    """What bounds the rows: products count as arithmetic, all else as memory."""
    return "arithmetic" if not figures.by_memory(rows[0]) else "memory"
