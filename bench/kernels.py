"""Times our kernels and PyTorch on a GPU, row by row: python bench/kernels.py [--hopper] [--rows FILE] [--resume]

First each row is checked against float64, on a sample of its outputs. Then both contenders take turns, on operands that
are drawn on the GPU and are not in its L2 cache, timed by the GPU's own events. PyTorch gets its best setting: cuDNN's
benchmark mode, the better of channels_last and channels_first (channels_last alone for half types in --hopper), and the
same precision. Each row is saved when it is measured.

    --hopper      products of the sizes that Hopper's kernels are made for, against their own bars
    --rows FILE   the file for the rows, one line of JSON each (default: build/gpu/rows.jsonl)
    --resume      skip rows that are in the file; --again: but try again those that failed
    --record      then add the rows to bench/results (bench/collect.py)
    --dry-run     without a GPU: print each row, its kernel, its roofline time on an H200 and the plan's estimate
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import gpu_tables
import plan_model
import sampled
from gpu_operands import CupyDraw, as_torch, operands, torch_operands
from gpu_tables import Entry
from rows import Rows, add_options

from convgpu.backends import load
from convgpu.benchmark import environment
from convgpu.benchmark.devices import GpuDevice
from convgpu.benchmark.gpu import rotating
from convgpu.benchmark.results import load_average
from convgpu.benchmark.roofs import Roof
from convgpu.benchmark.timing import Timing, alternate
from convgpu.benchmark.verification import WrongResultError
from convgpu.cases.problem import Arrays, Problem
from convgpu.device import cupy_with_gpu
from convgpu.facts import plan_of, text_of
from convgpu.roofline import find_gpu
from convgpu.settings import set_precision

DRY = find_gpu("H200")
SAMPLES, LONGEST = 5, 20.0  # samples per contender; seconds after which a row's process ends
LOST = 3  # the exit status when CUDA has failed for this process, and another process must continue


class Ours:
    """Our kernels: they draw operands, compute results and make contenders."""

    def __init__(self, device: Any = None) -> None:
        self.device = device or GpuDevice()
        self.name, self.backend, self.clock = self.device.name, self.device.backend, self.device.clock
        self.cache_bytes: int = self.device.gpu.cache_bytes
        self.draw = CupyDraw()

    def contender(self, problem: Problem, arrays: Arrays) -> Any:
        """A contender that uses other copies of the operands at each call."""
        def one() -> Any:
            there = tuple(None if array is None else array.copy() for array in arrays)
            return lambda: problem.run(self.backend, there)

        return rotating(one, problem.work.bytes // 2, self.cache_bytes)


def measure(entry: Entry, ours: Ours, peer: Any, settle: float = 0.0) -> dict[str, Any]:
    """Check and time one row.

    Args:
        entry: the row of the table.
        ours: our kernels.
        peer: PyTorch on the GPU, gpu_peers.OnGpu; None where PyTorch is missing.
        settle: seconds that the GPU's clock may need to rise.
    """
    problem = entry.problem
    with set_precision(entry.precision):
        arrays = operands(problem, ours.draw, ours.backend)
        contenders: dict[str, Any] = {}
        absent: dict[str, str] = {}
        try:
            result = problem.run(ours.backend, arrays)
            sampled.check(problem, arrays, result, entry.precision)
            contenders[ours.name] = ours.contender(problem, arrays)
        except (NotImplementedError, MemoryError, WrongResultError) as error:
            absent[ours.name], result = f"{type(error).__name__}: {error}", None
        kernel = text_of(plan_of(ours.backend, problem.call, precision=entry.precision))
        if peer is not None:
            peer.allow_tf32(entry.precision == "tf32")
            tensors = torch_operands(peer.torch, problem, arrays)
            mine = None if result is None else as_torch(peer.torch, result[0] if isinstance(result, tuple) else result)
            contenders |= peer_contenders(peer, entry, tensors, mine, ours.cache_bytes, absent)
        timings = alternate(contenders, SAMPLES, pause=0.0, settle=settle,
                            clocks=dict.fromkeys(contenders, ours.clock)) if contenders else {}
    return row_of(entry, timings, {ours.name: kernel}, absent)


def peer_contenders(peer: Any, entry: Entry, tensors: Arrays, ours: Any, cache_bytes: int,
                    absent: dict[str, str], device: str = "gpu") -> dict[str, Any]:
    """PyTorch's contenders that compute our result, and the reasons why others are absent."""
    found = {}
    try:
        for name, contender in peer.contenders(entry.problem, tensors, device, cache_bytes,
                                                entry.layouts).items():
            if ours is not None:
                peer.agree(name, entry.problem, contender, ours, entry.precision)
            found[name] = contender
    # PyTorch raises RuntimeError for what it lacks
    except (NotImplementedError, RuntimeError, WrongResultError) as error:
        absent[f"torch {device}"] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return found


def row_of(entry: Entry, timings: dict[str, Timing], kernels: dict[str, str], absent: dict[str, str]) -> dict[str, Any]:
    """A row as convgpu.benchmark stores it, with the bar of its part."""
    with set_precision(entry.precision):
        row = {**entry.problem.row, "threads": 1, "kernels": kernels, "timings": timings, "part": entry.bar.name,
               "precision": entry.precision, "dtype": entry.dtype,
               "asked": {"ratio": entry.bar.ratio, "share": entry.bar.share}}
    if entry.alias:
        row["tiny"] = True
    return {**row, "absent": absent} if absent else row


def run(entries: list[Entry], rows: Rows, ours: Ours, peer: Any) -> int:
    """Measure what is missing; the exit status: LOST where another process must go on, 1 where a result is wrong."""
    wrong, roof = 0, ours.device.roof("float32")
    copied = copy_bandwidth(ours, 1 << 20 if entries and entries[0].alias else 1 << 30)
    settle = ours.device.settle
    for entry in entries:
        if entry.key in rows:
            continue
        with rows.at(entry.key, LONGEST + settle):
            try:
                row = measure(entry, ours, peer, settle)
            except Exception as error:  # whatever a kernel does: it is this row's finding, and the others go on
                fail(rows, entry.key, error)
                if is_lost(ours.device.gpu.wait):
                    return LOST
                free_memory(peer)
                continue
        settle = 0.0
        rows.add(entry.key, {**row, "copy_bandwidth": copied})
        wrong += row.get("absent", {}).get(ours.name, "").startswith(WrongResultError.__name__)
        free_memory(peer)
        print(line(entry, row, ours.name, roof, copied), flush=True)
    return int(wrong > 0)


def free_memory(peer: Any) -> None:
    """Free the memory that CuPy and PyTorch keep between rows, since the other may need it."""
    cupy_with_gpu().get_default_memory_pool().free_all_blocks()
    if peer is not None:
        peer.torch.cuda.empty_cache()


def fail(rows: Rows, key: str, error: Exception) -> None:
    """An error is the finding of a row."""
    rows.fail(key, f"{type(error).__name__}: {' '.join(str(error).split())[:500]}")
    print(f"{key}: FAILED: {error}", flush=True)


def wait_for_gpu() -> None:
    """Until it has done all that is queued; a RuntimeError where CUDA can do no more."""
    cupy_with_gpu().cuda.runtime.deviceSynchronize()


def is_lost(wait: Callable[[], None] = wait_for_gpu) -> bool:
    """Whether CUDA has failed in a way that stays: what waits for it raises."""
    try:
        wait()
    except RuntimeError:
        return True
    return False


def copy_bandwidth(ours: Ours, size: int = 1 << 30) -> float:
    """The bytes per second of the best of ten copies of a gigabyte, counting reads and writes."""
    x = ours.draw((size // 4,), "float32")
    gpu, seconds = ours.device.gpu, []
    y = x.copy()
    for _ in range(10):
        start = gpu.mark()
        y[...] = x
        seconds.append(gpu.seconds(start, gpu.mark()))
    return 2 * x.nbytes / max(min(seconds), 1e-9)


def line(entry: Entry, row: dict[str, Any], ours: str, roof: Roof | None, copied: float) -> str:
    """One row for the terminal: our time, theirs over ours, our share of the roofline, and the bar."""
    seconds = {name: timing.median("gpu") for name, timing in row["timings"].items()}
    told = f"{entry.bar.name:22} {entry.key.partition(': ')[2]:64}"
    if ours not in seconds:
        return f"{told} not run: {row.get('absent', {}).get(ours, '?')}"
    theirs = min((t for name, t in seconds.items() if name != ours), default=None)
    told += f" {1e3 * seconds[ours]:8.3f} ms"
    if theirs is not None:
        told += f"  {theirs / seconds[ours]:5.2f}x (>= {entry.bar.ratio:.2f})"
    if roof is not None:
        bandwidth = copied if entry.bar.of_copy else roof.bandwidth
        told += f"  {replace(roof, bandwidth=bandwidth).seconds(row) / seconds[ours]:4.0%} (>= {entry.bar.share:.0%})"
    return told


def expected(entries: list[Entry]) -> Iterator[dict[str, Any]]:
    """What is known of each row before it runs: its plan on an H200, floor, bound, and the plan's own estimate.

    The estimate, in milliseconds, is that of csrc/hopper/plan.cpp, and None for kernels that it does not choose.
    """
    backend = next((load(name) for name in ("emulated", "cuda") if _there(name)), None)
    for entry in entries:
        with set_precision(entry.precision):
            plan = (text_of(plan_of(backend, entry.problem.call, DRY, entry.precision)) if backend
                    else "(no compiled module)")
            work = entry.problem.work
        estimate = plan_model.estimate(entry.problem, entry.precision, plan)
        yield {"key": entry.key, "part": entry.bar.name, "asked": entry.bar.ratio, "plan": plan,
               "flops": work.flops, "bytes": work.bytes, "floor_ms": round(1e3 * work.seconds(DRY), 5),
               "bound": work.bound(DRY), "estimate_ms": estimate and round(1e3 * estimate.seconds(), 5)}


def _there(name: str) -> bool:
    try:
        load(name)
    except ImportError:
        return False
    return True


def dry_run(entries: list[Entry], as_json: bool) -> None:
    """Print every row with its kernel, its roofline time and the plan's estimate."""
    parts: dict[str, list[dict[str, Any]]] = {}
    bars = {entry.bar.name: entry.bar for entry in entries}
    for row in expected(entries):
        parts.setdefault(row["part"], []).append(row)
        if as_json:
            print(json.dumps(row))
    if as_json:
        return
    for part, rows in parts.items():
        print(f"{part}: {asked(bars[part])}")
        for row in rows:
            estimate = "" if row["estimate_ms"] is None else f"{row['estimate_ms']:8.3f} ms"
            print(f"  {row['key'].partition(': ')[2]:64} {row['floor_ms']:8.3f} ms by {row['bound']:10} {estimate:11}  "
                  f"{row['plan']}")
    seconds = sum(predicted_seconds(entry) for entry in entries)
    print(f"{len(entries)} rows, {sum(row['floor_ms'] for rows in parts.values() for row in rows):.1f} ms on an "
          f"{DRY.name} at best; about {seconds:.0f} s to measure")


def predicted_seconds(entry: Entry) -> float:
    """The seconds to measure a row on an H200: drawing, the check, cuDNN's search in two layouts, and all samples."""
    with set_precision(entry.precision):
        floor = entry.problem.work.seconds(DRY)
    layouts = 1 if entry.problem.op == "gemm" else len(entry.layouts)
    search = 0.25 if entry.problem.facts.family == "conv" else 0.0
    # calls by both clocks and one call before them, each at twice the roofline time
    calls = SAMPLES * (2 * max(0.004, 2 * floor) + 4 * floor)
    return 0.05 + (1 + layouts) * calls + layouts * search


def asked(bar: gpu_tables.Bar) -> str:
    """A bar in words."""
    parts = [f">= {bar.ratio}x PyTorch"] * (bar.ratio > 0) + [f">= {bar.share:.0%} of the roofline"] * (bar.share > 0)
    return ", ".join(parts) or "no bar"


def here(packages: tuple[str, ...] = ("numpy",)) -> dict[str, Any]:
    """The environment of results, with CuPy's version."""
    found = environment(packages, load_average())
    if "cupy" in sys.modules:
        found["versions"]["cupy"] = sys.modules["cupy"].__version__
    return found


def open_rows(options: argparse.Namespace, packages: tuple[str, ...] = ("numpy",)) -> Rows:
    """The file of rows that the command's options name."""
    return Rows(options.rows, here(packages), options.resume, options.again, plain)


def plain(value: Any) -> Any:
    """A Timing for JSON, without clocks that took no samples."""
    if isinstance(value, Timing):
        return {name: samples for name, samples in vars(value).items() if samples != []}
    raise TypeError(f"expected what JSON knows, or a Timing, got {type(value).__name__}")


def with_torch() -> Any:
    """PyTorch on the GPU; None where PyTorch is missing or finds no GPU."""
    try:
        from gpu_peers import OnGpu

        peer = OnGpu()
    except ImportError as error:
        print(f"without PyTorch: {error}", flush=True)
        return None
    why = peer.can_use("gpu")
    if why is not None:
        print(f"without PyTorch: {why}", flush=True)
    return None if why is not None else peer


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hopper", action="store_true", help="what Hopper's kernels are for, against their own bars")
    add_options(parser)
    parser.add_argument("--record", action="store_true", help="make bench/results of them")
    parser.add_argument("--dry-run", action="store_true", help="name the rows, kernels, roofline times and estimates")
    parser.add_argument("--json", action="store_true", help="with --dry-run: one line of JSON for each row")
    options = parser.parse_args()
    entries = gpu_tables.hopper() if options.hopper else gpu_tables.kernels()
    if options.dry_run:
        dry_run(entries, options.json)
        return 0
    entries = gpu_tables.tiny(entries)[:options.tiny] if options.tiny else entries
    ours, peer = Ours(), with_torch()
    rows = open_rows(options, ("numpy", *["torch"] * (peer is not None)))
    status = run(entries, rows, ours, peer)
    if options.record:
        import collect

        collect.collect([options.rows])
    return status


if __name__ == "__main__":
    raise SystemExit(main())
