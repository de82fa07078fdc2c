"""Runs `convgpu verify` case by case, so that a stopped run can continue: python bench/verify_rows.py [--quick]

It writes a row for each case of each family: the calls, the worst error in units of the bound, and the failures.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict

from kernels import LOST, is_lost, open_rows
from rows import add_options, own

from convgpu import backends
from convgpu.facts import FAMILIES
from convgpu.verify import verify

LONGEST = 30.0  # the most seconds that a case may take


def main() -> int:
    """Verify missing cases; 1 where a case is wrong, 3 where the GPU is lost and another process must continue."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--backend", choices=backends.NATIVE_BACKENDS + ("cuda",), default="cuda")
    parser.add_argument("--quick", action="store_true", help="each case in one dtype and format; no large products")
    add_options(parser)
    options = parser.parse_args()
    rows, wrong, start = open_rows(options), 0, time.perf_counter()
    cases = [(family, case.name) for family in FAMILIES for case in FAMILIES[family].cases]
    if options.tiny:
        cases = cases[::max(len(cases) // options.tiny, 1)][:options.tiny]
    for family, case in own(cases):
        key = f"verify{' quick' * options.quick}: {family} {case}"
        if key in rows:
            continue
        with rows.at(key, LONGEST):
            report = verify(options.backend, [family], options.quick, [case])
        if report.failures:
            wrong += 1
            said = "; ".join(f"{f.op} {f.dtype} {f.data_format}, {f.kernel}: {f.what}" for f in report.failures[:8])
            rows.fail(key, said)
            print(f"{key}: FAILED {said}", flush=True)
            if options.backend == "cuda" and is_lost():
                return LOST
            continue
        kernels = [asdict(row) | {"cases": 1} for row in report.rows.values()]
        rows.add(key, {"calls": sum(row.calls for row in report.rows.values()),
                       "worst": max((row.worst for row in report.rows.values()), default=0.0), "kernels": kernels})
    print(f"{len(rows.lines)} cases in {time.perf_counter() - start:.0f} s, {wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
