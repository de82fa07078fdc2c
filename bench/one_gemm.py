"""Checks one product on each path of Hopper's GEMM: python bench/one_gemm.py "cluster 2" [--rows FILE] [--resume]

These are the first kernels to run after the probes of tensor maps and instructions. Each path has its own process, so
that a path that hangs or fails leaves the others alone.
"""

from __future__ import annotations

import argparse
import sys

import sampled
from gpu_operands import CupyDraw, operands
from kernels import open_rows
from rows import add_options

from convgpu.backends import load
from convgpu.benchmark.problems import gemm_problem
from convgpu.benchmark.verification import WrongResultError
from convgpu.facts import plan_of, text_of

# Sizes whose plans on 132 multiprocessors have one block; two blocks that share loads; two blocks of which one has no
# rows; partial sums that a second kernel adds.
PRODUCTS = {"cluster 1": gemm_problem(512, 512, 512, dtype="bfloat16"),
            "cluster 2": gemm_problem(2048, 2048, 1024, dtype="bfloat16"),
            "odd tiles": gemm_problem(2088, 2000, 1096, dtype="bfloat16"),
            "splits": gemm_problem(64, 64, 16384, dtype="bfloat16")}
LONGEST = 18.0  # the most seconds that a product may take


def main() -> int:
    """Run the product, and record whether it was right."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("name", choices=tuple(PRODUCTS))
    add_options(parser)
    options = parser.parse_args()
    problem = gemm_problem(64, 32, 64, dtype="bfloat16") if options.tiny else PRODUCTS[options.name]
    rows, key, backend = open_rows(options), f"gemm: {options.name}", load("cuda")
    if key in rows:
        return 0
    with rows.at(key, LONGEST):
        plan = text_of(plan_of(backend, problem.call))
        try:
            arrays = operands(problem, CupyDraw(), backend)
            sampled.check(problem, arrays, problem.run(backend, arrays))
        except (RuntimeError, WrongResultError) as error:  # CUDA's errors are RuntimeErrors
            rows.fail(key, f"{plan}: {error}")
            print(f"{plan}: {error}")
            return 1
        rows.add(key, {"layer": problem.layer, "plan": plan, "right": True})
    print(f"right: {plan}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
