"""How accurate float32 products are: python bench/float32_accuracy.py [--backend cuda] [--json FILE] prints, for the
data of convgpu/cases/float32.py and sums of several lengths, the largest and the root-mean-square error of the kernel
that the plan names, beside a chain of fused multiply-adds on the CPU, in units of eps * (|a| @ |b|).

It runs on a GPU, or on the emulator, whose GPU has one multiprocessor here so that small products already use Hopper's
kernels. On a GPU a sample of 32 rows and 256 columns, spread over the result, is compared. With --rows each row is
saved when it is measured.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kernels import LOST, fail, here, is_lost
from rows import Rows, add_options

import convgpu as cg
from convgpu.backends import load
from convgpu.benchmark.problems import gemm_problem
from convgpu.cases.float32 import DATA, chain, draw, errors, largest_and_rms
from convgpu.device import move, to_numpy
from convgpu.facts import plan_of, text_of

LENGTHS = (64, 128, 256, 576, 2304, 9216)
SAMPLE = (32, 256)
LONGEST = 20.0  # the most seconds that a row may take


def measure(backend: str, data: Callable[..., Any], m: int, n: int, k: int, precision: str) -> dict[str, Any]:
    """Measure one kind of data at one length."""
    native, device = load(backend), "gpu" if backend == "cuda" else "cpu"
    with cg.use_backend(backend) if backend == "emulated" else cg.set_precision(precision), cg.set_precision(precision):
        a, b = draw(data, m, k, n, seed=k)
        y = to_numpy(cg.gemm(*(cg.tensor(move(t, device)) for t in (a, b))).array)
        plan = plan_of(native, gemm_problem(m, n, k).call, precision=precision)
    if backend == "cuda":
        rows, columns = (slice((size - 1) % step, None, step) for size, most in zip((m, n), SAMPLE)
                         for step in [max(size // most, 1)])
        a, b, y = a[rows], b[:, columns], y[rows, columns]
    got, of_chain = (largest_and_rms(errors(z, a, b)) for z in (y, chain(a, b)))
    return {"data": data.__name__, "m": m, "n": n, "k": k, "kernel": text_of(plan).split()[0],
            "largest": got[0], "rms": got[1], "chain_largest": of_chain[0], "chain_rms": of_chain[1]}


def found(options: argparse.Namespace, kept: Rows) -> Iterator[dict[str, Any]]:
    """Yield the rows that are missing, the shortest sums first."""
    m, n = options.size or ((264, 200) if options.backend == "emulated" else (2040, 2000))
    lengths = options.lengths
    if options.tiny:
        m, n, lengths = 64, 48, lengths[:1]
    for k in lengths:
        for data in DATA[:options.tiny or None]:
            key = f"float32 accuracy: {options.precision} {data.__name__} {m}x{n}x{k}"
            if key in kept:
                continue
            with kept.at(key, LONGEST):
                try:
                    row = measure(options.backend, data, m, n, k, options.precision)
                except RuntimeError as error:  # what CUDA says: the others go on
                    fail(kept, key, error)
                    if options.backend == "cuda" and is_lost():
                        sys.exit(LOST)
                    continue
            kept.add(key, {**row, "worse": is_worse(row)})
            yield row


def is_worse(row: dict[str, Any]) -> bool:
    """Whether the error is larger than the chain's; for short sums, larger than twice the chain's."""
    allowed = 1 if row["k"] >= 256 else 2
    return row["largest"] > allowed * row["chain_largest"] or row["rms"] > allowed * row["chain_rms"]


def main() -> int:
    """Measure and print; the exit status is 1 if a row is worse than it may be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--backend", choices=("emulated", "cuda"), default="emulated")
    parser.add_argument("--size", type=int, nargs=2, metavar=("M", "N"), help="of the products' results")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, metavar="K", help="of the sums")
    parser.add_argument("--precision", choices=("float32", "tf32"), default="float32")
    parser.add_argument("--json", type=Path)
    add_options(parser, None)
    options = parser.parse_args()
    if options.backend == "emulated":
        module = load("emulated").module
        module.emulate(module.Device(multiprocessors=1))
    kept = Rows(options.rows, here(), options.resume, options.again)
    print(f"{'data':16}{'K':>6}  {'kernel':12}{'largest':>9}{'chain':>9}{'rms':>9}{'chain':>9}")
    all_rows = []
    for row in found(options, kept):
        all_rows.append(row)
        print(f"{row['data']:16}{row['k']:6}  {row['kernel']:12}{row['largest']:9.3f}{row['chain_largest']:9.3f}"
              f"{row['rms']:9.4f}{row['chain_rms']:9.4f}{'  worse' if is_worse(row) else ''}", flush=True)
    if options.json:
        options.json.write_text(json.dumps({"backend": options.backend, "precision": options.precision,
                                            "machine": platform.machine(), "rows": all_rows}, indent=1) + "\n")
    return int(any(map(is_worse, all_rows)) and options.precision == "float32")


if __name__ == "__main__":
    sys.exit(main())
