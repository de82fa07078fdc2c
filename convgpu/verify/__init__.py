"""`convgpu verify` tests a build, and `against` a function of yours.

The first compares a backend with the reference in float64, on all tables of cases. Each call is made three times: as
users make it, again to compare the bits, and on arrays that begin one element past an aligned address. For kernels,
outputs and workspace are first filled with NaN and lie between guard bytes. On a CPU the call is made once more in a
child process, with its inputs against protected pages. docs/verification.md describes the bound, and `against`.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from .. import backends, info
from ..facts import FAMILIES
from .against import AgainstReport, Found, against, case
from .checks import COMPILED
from .child import CAN_FORK, Walk
from .launched import launched
from .questions import ASKED, Question
from .report import Failure, Finding, Report, Row
from .selection import select

__all__ = ["against", "AgainstReport", "ASKED", "BACKENDS", "case", "default_backend", "Failure", "Finding", "Found",
           "launched", "Question", "Report", "Row", "verify"]

BACKENDS = (*COMPILED, "numpy", "reference")


def default_backend() -> str:
    """The backend that is verified where none is named: the fastest one that this machine has."""
    if info.gpu_obstacle() is None:
        return "cuda"
    return "cpu" if importlib.util.find_spec("convgpu._cpu") else "numpy"


def verify(backend: str | None = None, families: Iterable[str] | None = None, quick: bool = False,
           cases: Iterable[str] | None = None, progress: bool = False) -> Report:
    """Run the tables of cases on a backend.

    Args:
        backend: "cuda", "cpu", "emulated", "ptx", "numpy" or "reference"; None: the first of "cuda", "cpu" and "numpy"
            that is there.
        families: names of convgpu.facts.FAMILIES; None: all families.
        quick: run each case in only one dtype and data format, which vary from case to case, and leave out large
            products unless they reach a kernel that nothing else reaches.
        cases: names of the cases to run; None: all cases.
        progress: say what will run, and show a bar on stderr if stderr is a terminal.

    Raises:
        LookupError: there is no case of that name. ImportError: the backend is not built. ValueError: an environment
            variable of the emulator has an unknown value.
    """
    name = backend or default_backend()
    run, report, start = backends.load(name), Report(name, quick), time.perf_counter()
    if name == "emulated":
        # raises for wrong environment variables of the emulator, which must not count as a wrong kernel
        run.module.current_device()
    if name == "ptx":
        run.configure()
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
    """Yield a function that is called after each case."""
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
