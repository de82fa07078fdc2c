"""Runs the tables of cases on backend "ptx" and lists, for each kernel, which share of its instructions has run:

    python bench/ptx_coverage.py [--family FAMILY ...] [--gpu A100|H200|...] [--json FILE] [--missed KERNEL]

A kernel is one instance of a template, as nvcc compiled it for the GPU that is stood for. It needs a build with
CONVGPU_PTX=1.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "bench")]

import each_kernel  # noqa: E402 - a file of the tests
import sass  # noqa: E402

from convgpu import backends  # noqa: E402
from convgpu.facts import FAMILIES  # noqa: E402


def run_tables(families: Iterable[str], gpu: str, limit: int) -> int:
    """Run problems of the tables, once each, and return how many."""
    count = 0
    for family in families:
        for small in each_kernel.problems(family, gpu, limit):
            with each_kernel.on_its_gpu("ptx", small) as run:
                small.problem.run(run, small.problem.operands())
            count += 1
    return count


def rows(module: Any) -> list[dict[str, Any]]:
    """For each kernel that ran: its name, launches, instructions, and how many of them ran; the least covered first."""
    told = [{"kernel": name, "target": target, "launches": launches, "instructions": len(steps),
             "ran": sum(step[3] > 0 for step in steps)} for target, name, launches, steps in module.coverage()]
    names = sass.demangled([row["kernel"] for row in told])
    for row in told:
        row["kernel"] = names[row["kernel"]]
    return sorted(told, key=lambda row: (row["ran"] / row["instructions"], row["kernel"]))


def main() -> None:
    """Print the table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", action="append", choices=FAMILIES)
    parser.add_argument("--gpu", choices=each_kernel.GPUS, default="A100")
    parser.add_argument("--limit", type=int, default=20, help="problems of a kernel and dtype at most")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--missed", metavar="KERNEL", help="print the instructions that have not run of the kernels "
                                                           "whose names contain this")
    arguments = parser.parse_args()
    start, module = time.perf_counter(), backends.load("ptx").module
    problems = run_tables(arguments.family or FAMILIES, arguments.gpu, arguments.limit)
    found = rows(module)
    instructions, ran = (sum(row[key] for row in found) for key in ("instructions", "ran"))
    summary = {"nvcc": module.NVCC, "gpu": arguments.gpu, "problems": problems, "kernels": len(found),
               "instructions": instructions, "ran": ran, "seconds": round(time.perf_counter() - start, 1)}
    for row in found:
        print(f"{row['ran'] / row['instructions']:6.1%} of {row['instructions']:6}  {row['launches']:5} launches  "
              f"{row['kernel']}")
    print(f"{ran / instructions:.1%} of {instructions} instructions of {len(found)} kernels ran: {problems} problems "
          f"on {arguments.gpu}, nvcc {module.NVCC}, {summary['seconds']} s")
    if arguments.missed:
        for target, name, _, steps in module.coverage():
            if arguments.missed in name:
                print(f"{name} ({target})")
                print("\n".join(f"    PTX line {line}: {opcode}" for opcode, line, _, times in steps if not times))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({"summary": summary, "kernels": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
