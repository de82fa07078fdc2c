"""Times variants of one kernel, each with one change, on a Hopper GPU: python bench/variants.py [--rows FILE]

Each variant is Hopper's GEMM (bench/variants.cu) compiled from a copy of csrc in which one line is replaced; a
replacement that equals the sources is not compiled again. All variants are loaded into one process, checked against
float64 on a sample, and take turns.

    --compile   only compile the variants: this needs nvcc, and no GPU
"""

from __future__ import annotations

import argparse
import ctypes
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gpu_tables
import numpy as np
import sampled
from gpu_operands import CupyDraw, operands
from gpu_tables import Bar, Entry
from kernels import LOST, SAMPLES, fail, is_lost, open_rows, row_of
from rows import add_options

from convgpu.benchmark import CupyGpu, GpuClock, WrongResultError, alternate, rotating
from convgpu.benchmark.problems import gemm_problem
from convgpu.device import cupy_with_gpu

ROOT = Path(__file__).resolve().parent.parent
SIZES = ((8192, 8192, 8192), (4096, 4096, 4096), (16384, 16384, 512), (2048, 2048, 8192))
LONGEST = 40.0  # the most seconds that a row may take


@dataclass(frozen=True)
class Variant:
    """A replacement in a file of csrc, given by a pattern; without a pattern, the sources as they are."""

    name: str
    file: str = ""
    pattern: str = ""
    replacement: str = ""

    def source(self) -> str | None:
        """The file's changed text; None where nothing changes.

        Raises:
            ValueError: the pattern is not found exactly once.
        """
        text = (ROOT / "csrc" / self.file).read_text()
        changed, count = re.subn(self.pattern, self.replacement, text)
        if count != 1:
            raise ValueError(f"variant {self.name!r}: expected its pattern once in csrc/{self.file}, found it {count}x")
        return None if changed == text else changed


_ARRIVE = r"mbarrier\.arrive(?:\.release\.cluster)?\.shared::cluster\.b64"
_LEAD = r"(constexpr int lead_of\(int stages\) \{ return )[^;]*;"
# The order is that of the open questions (docs/performance.md): what the remote arrive of a cluster costs, how far the
# second warpgroup should be behind, and what the order of tiles and the promotion of lines in the L2 cache change.
VARIANTS = (
    Variant("as it is"),
    Variant("remote arrive with release", "device/ptx/mbarrier.h", _ARRIVE,
            "mbarrier.arrive.release.cluster.shared::cluster.b64"),
    Variant("remote arrive without release", "device/ptx/mbarrier.h", _ARRIVE, "mbarrier.arrive.shared::cluster.b64"),
    Variant("no lead", "hopper/ring.h", _LEAD, r"\g<1>0;"),
    Variant("a lead of half the ring", "hopper/ring.h", _LEAD, r"\g<1>stages / 2;"),
    Variant("lines of 128 bytes in the L2 cache", "device/tensormap.h",
            r"CU_TENSOR_MAP_L2_PROMOTION_L2_\d+B(?=, tensor_layout::fill\(l\.fill\)\),\s*\"cuTensorMapEncodeTiled\")",
            "CU_TENSOR_MAP_L2_PROMOTION_L2_128B"),
)


def chosen() -> dict[str, str | None]:
    """The changed texts of variants that differ from the sources, by name."""
    found: dict[str, str | None] = {}
    for variant in VARIANTS:
        text = variant.source() if variant.file else None
        if text is not None or not variant.file:
            found[variant.name] = text
    return found


def compile_all(folder: Path) -> dict[str, Path]:
    """The library of each variant; all are compiled at the same time."""
    def one(item: tuple[str, str | None]) -> tuple[str, Path]:
        name, text = item
        place = folder / re.sub(r"\W+", "_", name)
        shutil.copytree(ROOT / "csrc", place / "csrc", dirs_exist_ok=True)
        if text is not None:
            file = next(variant.file for variant in VARIANTS if variant.name == name)
            (place / "csrc" / file).write_text(text)
        library = place / "variant.so"
        subprocess.run(["nvcc", "-std=c++17", "-O3", "--expt-relaxed-constexpr", "-gencode",
                        "arch=compute_90a,code=sm_90a", "-DCONVGPU_SM_90A", f"-I{place / 'csrc'}", "-shared",
                        "-Xcompiler", "-fPIC,-fvisibility=hidden,-fno-gnu-unique", "-o", library,
                        ROOT / "bench" / "variants.cu"], check=True)
        return name, library

    with ThreadPoolExecutor() as pool:
        return dict(pool.map(one, chosen().items()))


class Library:
    """A loaded variant."""

    def __init__(self, path: Path, cupy: Any):
        self._cupy, self._multiprocessors = cupy, cupy.cuda.runtime.getDeviceProperties(0)["multiProcessorCount"]
        self._function = ctypes.CDLL(str(path)).gemm_variant
        self._function.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int] * 4 + [ctypes.c_void_p]

    def multiply(self, a: Any, b: Any, y: Any) -> Any:
        """y = a @ b."""
        (m, k), n = a.shape, b.shape[1]
        stream = self._cupy.cuda.get_current_stream().ptr
        if self._function(a.data.ptr, b.data.ptr, y.data.ptr, m, n, k, self._multiprocessors, stream):
            raise RuntimeError("a variant was not launched: its message is above")
        return y


def measure(entry: Entry, libraries: dict[str, Library], draw: CupyDraw, gpu: CupyGpu) -> dict[str, Any]:
    """Time a row: all variants that give right results take turns."""
    problem, contenders, absent = entry.problem, {}, {}
    a, b, _ = operands(problem, draw, None)
    y = draw(gpu_tables.sizes_of_gemm(problem)[:2], problem.call.dtype)
    for name, library in libraries.items():
        def one(library: Library = library) -> Any:
            there = a.copy(), b.copy(), y.copy()
            return lambda: library.multiply(*there)

        try:
            # NaN everywhere, so that no result of the variant before can pass for this one's
            y.view(np.uint16).fill(0xffff)
            sampled.check(problem, (a, b), library.multiply(a, b, y))
            contenders[f"convgpu gpu {name}"] = rotating(one, problem.work.bytes // 2, gpu.cache_bytes)
        except (RuntimeError, WrongResultError) as error:
            absent[f"convgpu gpu {name}"] = f"{type(error).__name__}: {error}"
    clock = GpuClock(gpu)
    timings = alternate(contenders, SAMPLES, pause=0.0, settle=1.0, clocks=dict.fromkeys(contenders, clock))
    return row_of(entry, timings, {}, absent)


def main() -> int:
    """Compile the variants, then measure the rows that are missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--compile", action="store_true", help="and run nothing")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "variants", help="of what is compiled")
    add_options(parser)
    options = parser.parse_args()
    if options.compile:
        for name, library in compile_all(options.folder).items():
            print(f"{name}: {library}")
        return 0
    rows = open_rows(options)
    entries = [Entry("variants", Bar("variants"), gemm_problem(*sizes, dtype="bfloat16")) for sizes in SIZES]
    missing = [entry for entry in entries if entry.key not in rows]
    if not missing:
        return 0
    cupy = cupy_with_gpu()
    libraries = {name: Library(path, cupy) for name, path in compile_all(options.folder).items()}
    draw, gpu = CupyDraw(), CupyGpu()
    for entry in missing:
        with rows.at(entry.key, LONGEST):
            try:
                row = measure(entry, libraries, draw, gpu)
            except Exception as error:  # of this size: the others go on
                fail(rows, entry.key, error)
                if is_lost(gpu.wait):
                    return LOST
                continue
        rows.add(entry.key, row)
        print(entry.key, {name: f"{1e3 * timing.median('gpu'):.4f} ms" for name, timing in row["timings"].items()},
              row.get("absent", ""), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
