"""`convgpu verify`: is this build right? The tables of cases on one backend, against the reference in float64.

Each call is made three times: as users call it, again for the same bits, and on arrays one element past an aligned
address. On kernels, outputs and workspace are full of NaN first and lie between guard bytes. On a CPU it is made again
with its inputs against protected pages, in a child process. docs/verification.md has the bound.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from .. import backends, info
from ..facts import FAMILIES
from .checks import NATIVE
from .child import CAN_FORK, Walk
from .report import Failure, Finding, Report, Row
from .selection import select

__all__ = ["BACKENDS", "Failure", "Finding", "Report", "Row", "default_backend", "verify"]

BACKENDS = (*NATIVE, "numpy", "reference")


def default_backend() -> str:
    """The backend that is verified where none is named: the nearest to a GPU that is there."""
    if info.gpu_obstacle() is None:
        return "cuda"
    return "emulated" if importlib.util.find_spec("convgpu._emulated") else "numpy"


def verify(backend: str | None = None, families: Iterable[str] | None = None, quick: bool = False,
           cases: Iterable[str] | None = None, progress: bool = False) -> Report:
    """Run the tables of cases on a backend.

    Args:
        backend: "cuda", "emulated", "numpy" or "reference"; None: the nearest to a GPU that is there.
        families: names of convgpu.facts.FAMILIES; None: all.
        quick: each case in one dtype and data format, which go around from case to case, and of large products only
            those that reach a kernel of their own.
        cases: only those of these names.
        progress: say what will run, and show a bar on stderr, where that is a terminal.

    Raises:
        LookupError: no case of that name. ImportError: a backend that is not built. ValueError: an environment variable
            of the emulator has an unknown value.
    """
    name = backend or default_backend()
    run, report, start = backends.load(name), Report(name, quick), time.perf_counter()
    if name == "emulated":
        run.module.current_device()  # what is wrong with the emulator's variables is no finding about kernels
    chosen = list(families or FAMILIES)
    names = None if cases is None else list(cases)
    known = {case.name for family in chosen for case in FAMILIES[family].cases}
    for unknown in (name for name in names or () if name not in known):
        raise LookupError(f"expected the name of a case of {', '.join(chosen)}, got {unknown!r}")
    items, report.notes = select(run, name, chosen, quick, names)
    if progress:
        print(f"{len(items)} cases on backend {name!r}", flush=True)
    walk = Walk(run, report, items)
    with _bar(len(items)) if progress else _no_bar() as advance:
        if CAN_FORK and name != "cuda":
            walk.in_children(advance)
        else:
            report.notes.append("Reads outside the inputs were not looked for: on a GPU, compute-sanitizer does that."
                                if name == "cuda" else
                                "Reads outside the inputs were not looked for: this system cannot fork a process.")
            walk.here(advance)
    report.seconds = time.perf_counter() - start
    return report


@contextmanager
def _no_bar() -> Iterator[Callable[[], object]]:
    yield lambda: None


@contextmanager
def _bar(total: int) -> Iterator[Callable[[], object]]:
    """What is called after each case."""
    if importlib.util.find_spec("tqdm"):
        from tqdm import tqdm

        with tqdm(total=total, desc="verify", leave=False, disable=None,
                  bar_format="{desc} |{bar:30}| {n_fmt}/{total_fmt} {elapsed}") as bar:
            yield bar.update
        return
    done = 0

    def advance() -> None:
        nonlocal done
        if sys.stderr.isatty() and done % max(total // 50, 1) == 0:
            print(f"\rverify {100 * done // total}%", end="\r", file=sys.stderr, flush=True)
        done += 1

    yield advance
