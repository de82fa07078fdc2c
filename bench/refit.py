"""Fits the constants of csrc/hopper/plan.cpp to measured times: python bench/refit.py RESULTS...

RESULTS are lines of rows, or files of bench/results. Two thirds of the shapes are fitted. The others, chosen by a
digest of their keys, judge the fit: both errors are printed, before and after. An error is the root mean square of
log(estimate / measured). Rows that are bound by memory are left out, since the estimate does not count memory traffic.
"""

from __future__ import annotations

import argparse
import math
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import gpu_tables
import predict
from plan_model import CLOCK, Constants, Estimate, estimate

from convgpu.benchmark.report import figures
from convgpu.device import GPU
from convgpu.roofline import find_gpu
from convgpu.settings import set_precision

FITTED = ("multiply_adds", "share", "port", "launch", "kernel_after_kernel", "between", "way_out", "way_out_scaled",
          "memory")
NAMES = {"multiply_adds": "kMultiplyAdds", "share": "kShare", "port": "kPort", "launch": "kLaunch",
         "kernel_after_kernel": "kKernelAfterKernel", "between": "300 (between)", "way_out": "7.0 (way_out)",
         "way_out_scaled": "30.0 (way_out)", "memory": "kMemory"}
PRIOR = 0.02  # the penalty for changing a constant by a factor of e: constants that no row depends on keep their value
STEPS = (0.4, 0.2, 0.1, 0.05, 0.02, 0.01)  # steps of the search, in log(constant)
ROUNDS = 6  # the most rounds of the search with each step


@dataclass(frozen=True)
class Point:
    """A row's estimate, and its measured seconds."""

    key: str
    estimate: Estimate
    seconds: float

    @property
    def held_out(self) -> bool:
        """Whether the point judges the fit instead of taking part in it."""
        return zlib.crc32(self.key.encode()) % 3 == 0

    def error(self, constants: Constants) -> float:
        """log(estimate / measured)."""
        return math.log(self.estimate.seconds(constants) / self.seconds)


def points(paths: Sequence[Path]) -> list[Point]:
    """Rows of Hopper's kernels that are not bound by memory."""
    entries = {entry.key: entry for table in (gpu_tables.hopper(), gpu_tables.kernels()) for entry in table}
    name, gpu, found = figures.name_of(GPU), find_gpu("H200"), []
    for key, (row, _) in predict.measured(paths).items():
        entry, plan = entries.get(key), row.get("kernels", {}).get(name)
        if entry is None or not plan or name not in row["timings"]:
            continue
        of_plan = estimate(entry.problem, entry.precision, plan)
        with set_precision(entry.precision):
            floor = entry.problem.work.memory_seconds(gpu)
        if of_plan is not None and of_plan.seconds() > 1.2 * floor:
            found.append(Point(key, of_plan, figures.seconds(row, name)))
    return found


def error(some: Sequence[Point], constants: Constants) -> float:
    """The root mean square of the errors of some points; NaN where there are none."""
    return math.sqrt(sum(point.error(constants)**2 for point in some) / len(some)) if some else math.nan


def fit(some: Sequence[Point], start: Constants | None = None) -> Constants:
    """The constants with the least error on these points, near the starting values: a search along each in turn."""
    start = start or Constants()

    def cost(constants: Constants) -> float:
        away = sum(math.log(getattr(constants, name) / getattr(start, name))**2 for name in FITTED)
        return error(some, constants)**2 + PRIOR / max(len(some), 1) * away

    best, least = start, cost(start)
    for step in STEPS:
        for _ in range(ROUNDS):
            before = least
            for name in FITTED:
                for sign in (1, -1):
                    tried = replace(best, **{name: getattr(best, name) * math.exp(sign * step)})
                    if (found := cost(tried)) < least:
                        best, least = tried, found
            if least == before:
                break
    return best


def main() -> int:
    """Fit, and print both errors and the constants."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS")
    options = parser.parse_args()
    found = points(options.results)
    fitted, held_out = [p for p in found if not p.held_out], [p for p in found if p.held_out]
    if len(fitted) < len(FITTED) or not held_out:
        print(f"refit: expected more than {len(FITTED)} measured rows of Hopper's kernels, and some to judge by, got "
              f"{len(fitted)} and {len(held_out)}")
        return 0
    old, new = Constants(), fit(fitted)
    for name, some in (("fitted", fitted), ("held out", held_out)):
        print(f"{name}: {len(some)} rows, error {error(some, old):.1%} as it stands, {error(some, new):.1%} refitted")
    for name in FITTED:
        print(f"  {NAMES[name]:22} {getattr(old, name):10.4g} -> {getattr(new, name):.4g}")
    print(f"  ({CLOCK / 1e9:.2f} GHz are assumed: a lower clock shows as a lower rate)")
    worst = sorted(held_out, key=lambda p: abs(p.error(new)), reverse=True)[:5]
    for point in worst:
        print(f"  held out, off by {math.expm1(point.error(new)):+.0%}: {point.key}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
