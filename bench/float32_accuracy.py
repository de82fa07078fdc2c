"""How accurate float32 products are: python bench/float32_accuracy.py [--backend cuda] [--json FILE] prints, for the
data of convgpu/cases/float32.py and sums of several lengths, the largest and the root-mean-square error of the kernel
that the plan names, beside a chain of fused multiply-adds on the CPU, in units of eps * (|a| @ |b|).

On the emulator, whose GPU has one multiprocessor here so that small products take Hopper's kernels, or on a GPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import convgpu as cg
from convgpu.backends import load
from convgpu.cases.float32 import DATA, chain, draw, errors, largest_and_rms
from convgpu.device import move, to_numpy

LENGTHS = (64, 128, 256, 576, 2304, 9216)


def rows(backend: str, m: int, n: int, lengths: Sequence[int], precision: str) -> list[dict[str, Any]]:
    """One measurement for each kind of data and length."""
    native, found = load(backend), []
    if backend == "emulated":
        native.module.emulate(native.module.Device(multiprocessors=1))
    device = "gpu" if backend == "cuda" else "cpu"
    with cg.use_backend(backend) if backend == "emulated" else cg.set_precision(precision), cg.set_precision(precision):
        for data in DATA:
            for k in lengths:
                a, b = draw(data, m, k, n, seed=k)
                y = to_numpy(cg.gemm(*(cg.tensor(move(t, device)) for t in (a, b))).array)
                plan = native.module.plan_gemm(1, m, n, k, "float32", precision=precision,
                                               device=native.module.current_device())
                got, of_chain = (largest_and_rms(errors(z, a, b)) for z in (y, chain(a, b)))
                found.append({"data": data.__name__, "m": m, "n": n, "k": k, "kernel": plan.text.split()[0],
                              "largest": got[0], "rms": got[1], "chain_largest": of_chain[0], "chain_rms": of_chain[1]})
    return found


def main() -> int:
    """Measure and print; the exit status tells whether any row is worse than the chain where it must not be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--backend", choices=("emulated", "cuda"), default="emulated")
    parser.add_argument("--size", type=int, nargs=2, metavar=("M", "N"), help="of the products' results")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, metavar="K", help="of the sums")
    parser.add_argument("--precision", choices=("float32", "tf32"), default="float32")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    m, n = given.size or ((264, 200) if given.backend == "emulated" else (2040, 2000))
    found = rows(given.backend, m, n, given.lengths, given.precision)
    print(f"{'data':16}{'K':>6}  {'kernel':12}{'largest':>9}{'chain':>9}{'rms':>9}{'chain':>9}")
    missed = 0
    for row in found:
        allowed = 1 if row["k"] >= 256 else 2
        worse = row["largest"] > allowed * row["chain_largest"] or row["rms"] > allowed * row["chain_rms"]
        missed += worse
        print(f"{row['data']:16}{row['k']:6}  {row['kernel']:12}{row['largest']:9.3f}{row['chain_largest']:9.3f}"
              f"{row['rms']:9.4f}{row['chain_rms']:9.4f}{'  worse' if worse else ''}")
    if given.json:
        given.json.write_text(json.dumps({"backend": given.backend, "precision": given.precision,
                                          "machine": platform.machine(), "rows": found}, indent=1) + "\n")
    return int(missed > 0 and given.precision == "float32")


if __name__ == "__main__":
    sys.exit(main())
