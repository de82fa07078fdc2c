"""A picture of a ledger: the time of the kernels that dominate, the memory over time, and what is live at its peak."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ..benchmark.report.plot import STYLE
from ..extras import require
from ..files import replace
from .result import CONVOLUTIONS, Ledger, Row

_BARS = 16  # kernels, and holders of memory, that the picture names
_COLOURS = {"convolutions": "#0072B2", "others of the project": "#009E73", "CuPy": "#D55E00", "memory": "#595959"}


def draw(found: Ledger, path: str | Path, title: str) -> None:
    """Draw a ledger and save the picture; the ending of the path decides the format."""
    plt = require("matplotlib.pyplot", "--plot")
    totals = found.totals
    with plt.rc_context(STYLE):
        figure, (times, memory, held) = plt.subplots(1, 3, figsize=(21, 8), layout="constrained")
        figure.suptitle(f"{title}, {found.gpu.name}\npredicted {1e3 * totals['predicted_seconds']:.1f} ms, "
                        f"{totals['launches']:,} launches, {totals['other_bytes'] / 1e9:.1f} GB besides convolutions, "
                        f"{totals['host_waits']} waits of the host", fontsize=17, fontweight="bold")
        _draw_times(times, found)
        _draw_memory(memory, found)
        _draw_held(held, found)
        picture = io.BytesIO()
        figure.savefig(picture, dpi=120, format=Path(path).suffix.lstrip(".").lower() or "png")
        plt.close(figure)
    replace(path, picture.getvalue())


def _kind(row: Row) -> str:
    if row.op in CONVOLUTIONS and not row.kernel.startswith("cupy_"):
        return "convolutions"
    return "CuPy" if row.kernel.startswith("cupy_") else "others of the project"


def _draw_times(axes: Any, found: Ledger) -> None:
    rows = sorted((row for row in found.rows if row.seconds), key=lambda row: row.seconds)[-_BARS:]
    names = [f"{row.op}: {row.kernel}\n{row.phase}, {row.launches} launches" for row in rows]
    places = range(len(rows))
    axes.barh(places, [1e3 * row.seconds for row in rows], color=[_COLOURS[_kind(row)] for row in rows])
    axes.set_yticks(places, names, fontsize=9)
    axes.set_xlabel("predicted ms")
    axes.set_title("what takes time")
    for kind in dict.fromkeys(map(_kind, rows)):
        axes.barh(0, 0, color=_COLOURS[kind], label=kind)
    axes.legend(loc="lower right")


def _draw_memory(axes: Any, found: Ledger) -> None:
    axes.step([1e3 * at for at, _ in found.memory], [live / 1e9 for _, live in found.memory], where="post",
              color=_COLOURS["memory"])
    axes.axhline(found.peak_bytes / 1e9, linestyle=":", color=_COLOURS["CuPy"])
    axes.annotate(f"{found.peak_bytes / 1e9:.2f} GB", (0, found.peak_bytes / 1e9), va="bottom")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("predicted ms")
    axes.set_ylabel("GB")
    axes.set_title("live memory")


def _draw_held(axes: Any, found: Ledger) -> None:
    held = list(found.held.items())[:_BARS][::-1]
    places = range(len(held))
    axes.barh(places, [n / 1e9 for _, n in held], color=_COLOURS["memory"])
    axes.set_yticks(places, [op if phase == op else f"{op} ({phase})" for (phase, op), _ in held], fontsize=9)
    axes.set_xlabel("GB")
    axes.set_title("live at the peak, by the op that allocated it")
