"""`convgpu verify`: is this build right? The tables of cases on one backend, against the reference in float64.

Each call is made three times: as users call it, again for the same bits, and on arrays one element past an aligned
address. On kernels, outputs and workspace are full of NaN first and lie between guard bytes. docs/verification.md has
the bound.
"""

from __future__ import annotations

import copy
import importlib.util
import json
import math
import sys
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import backends, benchmark, info
from .cases.problem import Judge, Problem, as_results
from .cases.tolerance import C_KERNEL, C_NUMPY, C_TF32
from .dtypes import DTypeLike, as_dtype
from .facts import FAMILIES, plan_of, text_of, tiled_products
from .settings import current_precision, set_precision
from .tensor import tensor, wrap

NATIVE = ("cuda", "emulated")
QUICK = 20_000_000  # multiply-adds, in tiles, of the largest problem that --quick runs: 0.05 s in the emulator
BACKENDS = (*NATIVE, "numpy", "reference")


@dataclass
class Row:
    """What was found of one kernel: guards and repeats stay True while every call is right; guards None: not looked."""

    family: str
    dtype: str
    kernel: str
    calls: int = 0
    cases: set[str] = field(default_factory=set)
    worst: float = 0.0
    repeats: bool = True
    guards: bool | None = None


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
    """All that was found."""

    backend: str
    quick: bool
    rows: dict[tuple[str, str, str], Row] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)  # families that the backend does not have
    seconds: float = 0.0

    def passed(self, wanted: Iterable[str] | None = None) -> bool:
        """Whether no call was wrong, some were made, and no family that was asked for by name is absent."""
        return not self.failures and bool(self.rows) and not set(wanted or ()) & set(self.absent)

    def row(self, family: str, dtype: str, kernel: str) -> Row:
        """The row of a kernel; made where there is none."""
        return self.rows.setdefault((family, dtype, kernel), Row(family, dtype, kernel))

    def __str__(self) -> str:
        lines = [f"{'family':8}{'dtype':10}{'kernel':28}{'cases':>6}{'calls':>7}{'worst':>8}  repeats  guards"]
        for key in sorted(self.rows):
            row = self.rows[key]
            guards = {None: "-", True: "intact", False: "BROKEN"}[row.guards]
            lines.append(f"{row.family:8}{row.dtype:10}{row.kernel:28}{len(row.cases):6}{row.calls:7}{row.worst:8.3f}  "
                         f"{'yes' if row.repeats else 'NO':7}  {guards}")
        lines += [f"{family}: not implemented on backend {self.backend!r}" for family in self.absent]
        for failure in self.failures[:20]:
            lines += [f"FAILED {failure.case}: {failure.op} {failure.dtype} {failure.data_format}, {failure.kernel}: "
                      f"{failure.what}",
                      f"  again: convgpu verify --backend {self.backend} --family {failure.family} "
                      f"--case {failure.case}"]
        if len(self.failures) > 20:
            lines.append(f"... and {len(self.failures) - 20} more")
        calls = sum(row.calls for row in self.rows.values())
        lines.append(f"{calls} calls on backend {self.backend} in {self.seconds:.0f} s, {len(self.failures)} failed; "
                     "worst: the largest error in units of the bound")
        return "\n".join(lines)

    def save(self, path: str | Path) -> None:
        """Write it as JSON, beside the machine, the versions and the commit."""
        rows = [asdict(self.rows[key]) | {"cases": len(self.rows[key].cases), "worst": _finite(self.rows[key].worst)}
                for key in sorted(self.rows)]
        found = info.driver()
        content = {"environment": benchmark.environment(), "gpus": found.gpus if found else [],
                   "backend": self.backend, "quick": self.quick, "seconds": round(self.seconds, 1), "rows": rows,
                   "absent": self.absent, "failures": [asdict(f) for f in self.failures]}
        Path(path).write_text(json.dumps(content, indent=1) + "\n")


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)  # JSON has no infinity


class Guards:
    """Memory for a backend: full of NaN, `shift` elements past an aligned address, between bytes that must stay."""

    RING = 256  # bytes, and of its multiples one is the aligned address

    def __init__(self, native: Any, shift: int = 0):
        self._allocate, self._shift = native.empty, shift
        self._rings: list[Any] = []

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """In place of a backend's method of that name. Workspace, which is of one axis, stays aligned."""
        dtype = as_dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        whole = self._allocate((size + 3 * self.RING,), np.uint8)
        whole[...] = 0xff
        start = -_address(whole) % self.RING + self.RING + (self._shift * dtype.itemsize if len(shape) > 1 else 0)
        self._rings += [whole[:start], whole[start + size:]]
        return whole[start:start + size].view(dtype).reshape(shape)

    def copy(self, array: Any) -> Any:
        """A copy in such memory; None stays None."""
        if array is None:
            return None
        moved = self.empty(array.shape, array.dtype)
        moved[...] = array
        return moved

    def intact(self) -> bool:
        """Whether nothing was written beside the arrays."""
        return all(bool((ring == 0xff).all()) for ring in self._rings)


def _address(array: Any) -> int:
    interface = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    return interface["data"][0]


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
        quick: each case in one dtype and data format, which go around from case to case, and no large products.
        cases: only those of these names.
        progress: say what will run, and show a bar on stderr, where that is a terminal.

    Raises:
        LookupError: no case of that name. ImportError: a backend that is not built.
    """
    name = backend or default_backend()
    run, report, start = backends.load(name), Report(name, quick), time.perf_counter()
    chosen = list(families or FAMILIES)
    names = None if cases is None else list(cases)
    known = {case.name for family in chosen for case in FAMILIES[family].cases}
    for unknown in (name for name in names or () if name not in known):
        raise LookupError(f"expected the name of a case of {', '.join(chosen)}, got {unknown!r}")
    calls = list(_calls(chosen, quick, names, name in NATIVE))
    if progress:
        print(f"{len(calls)} cases on backend {name!r}", flush=True)
    for family, item, dtype, data_format in _with_bar(calls) if progress else calls:
        tf32 = dtype == "tf32"
        with set_precision("tf32" if tf32 else "float32"):
            for problem in FAMILIES[family].problems(item, "float32" if tf32 else dtype, data_format):
                if not hasattr(run, problem.op):
                    report.absent += [family] if family not in report.absent else []
                    break
                if not quick or tiled_products(problem.call) <= QUICK:
                    _check(report, run, family, item.name, data_format, problem)
    report.seconds = time.perf_counter() - start
    return report


def _calls(families: Iterable[str], quick: bool, only: list[str] | None,
           tf32: bool) -> Iterator[tuple[str, Any, str, str]]:
    """Of every case that is wanted: family, case, dtype, data format."""
    for name in families:
        for case in FAMILIES[name].cases:
            if only is not None and case.name not in only:
                continue
            variants = FAMILIES[name].variants(case, tf32)
            if quick:
                variants = [variants[zlib.crc32(case.name.encode()) % len(variants)]]
            yield from ((name, case, *variant) for variant in variants)


def _with_bar(calls: list[Any]) -> Iterator[Any]:
    if importlib.util.find_spec("tqdm"):
        from tqdm import tqdm

        yield from tqdm(calls, desc="verify", leave=False, disable=None,
                        bar_format="{desc} |{bar:30}| {n_fmt}/{total_fmt} {elapsed}")
        return
    for i, call in enumerate(calls):
        if sys.stderr.isatty() and i % max(len(calls) // 50, 1) == 0:
            print(f"\rverify {100 * i // len(calls)}%", end="\r", file=sys.stderr, flush=True)
        yield call


def _check(report: Report, run: Any, family: str, case: str, data_format: str, problem: Problem) -> None:
    """Make the calls of one problem, and note what they gave."""
    native, tf32 = report.backend in NATIVE, current_precision() == "tf32"
    kernel, dtype = problem.op, "tf32" if tf32 else problem.dtype.name

    def failed(what: str) -> None:
        report.failures.append(Failure(family, case, problem.op, dtype, data_format, kernel, what))

    try:
        if native:
            kernel = text_of(plan_of(run, problem.call, precision=current_precision())).split()[0]
        judge = Judge(problem, (C_KERNEL if native else C_NUMPY) + C_TF32 * tf32)
        first, intact = _call(run, problem, report.backend, 0)
        again, _ = _call(run, problem, report.backend, 0)
        shifted, shifted_intact = _call(run, problem, report.backend, 1) if native else (first, None)
    except Exception as error:  # whatever a kernel or a backend throws is a finding, and the other cases go on
        return failed(f"{type(error).__name__}: {error}")
    finally:
        row = report.row(family, dtype, kernel)
        row.calls += 1
        row.cases.add(case)
    for results, where in ((first, ""), (shifted, ", one element past an aligned address")):
        units = judge.error(results)
        row.worst = max(row.worst, units)
        if not units <= 1:
            failed(f"{units:.3g} times the bound{where}")
            break
    if [r.tobytes() for r in first] != [r.tobytes() for r in again]:
        row.repeats = False
        failed("other bits at the second call")
    if native:
        row.guards = row.guards is not False and bool(intact and shifted_intact)
        if not (intact and shifted_intact):
            failed("bytes written outside the arrays")


def _call(run: Any, problem: Problem, backend: str, shift: int) -> tuple[list[np.ndarray], bool | None]:
    """The results as NumPy arrays, and whether the guards are intact; None without guards."""
    function = problem.op
    if backend not in NATIVE:
        return list(as_results(getattr(run, function)(*problem.operands(), *problem.call.statics))), None
    guards = Guards(run, shift)
    guarded = copy.copy(run)
    guarded.empty = guards.empty
    arrays = [a if a is None or backend == "emulated" else tensor(a).to("gpu").array for a in problem.operands()]
    if shift:
        arrays = [guards.copy(a) for a in arrays]
    results = [wrap(r).numpy() for r in as_results(getattr(guarded, function)(*arrays, *problem.call.statics))]
    return results, guards.intact()
