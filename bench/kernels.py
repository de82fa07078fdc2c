"""Every family of kernels beside PyTorch on a GPU, in one process:
python bench/kernels.py [--hopper] [--record] [--dry-run]

Each problem is checked against float64 first; then the two alternate, on operands that are not in the L2 cache, timed
by the GPU's own events. PyTorch is at its best: cuDNN's benchmark mode, the better of channels_last and channels_first,
the same precision. --hopper: products of the sizes that Hopper's kernels are for, against their own bars. --dry-run
needs no GPU: it names each problem's kernel and roofline time on an H200.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import report
from hopper_problems import tables

from convgpu.backends import load
from convgpu.benchmark.devices import GpuDevice
from convgpu.benchmark.layers import measure
from convgpu.benchmark.peers import Torch
from convgpu.benchmark.problems import conv_problem, gemm_problem, layer_problems, layout_problem, pool_problem
from convgpu.cases.networks import MAX_POOLS, MOBILENET_DEPTHWISE, RESNET50, ConvLayer
from convgpu.cases.pool import PoolCase
from convgpu.cases.problem import Problem
from convgpu.facts import plan_of, text_of
from convgpu.roofline import find_gpu
from convgpu.settings import set_precision

DIRECTIONS = ("fprop", "dgrad", "wgrad")
DRY = find_gpu("H200")


@dataclass(frozen=True)
class Bar:
    """What is asked of a part: theirs/ours, and a share of the roofline, whose bandwidth may be that of a copy."""

    name: str
    ratio: float = 0.0
    share: float = 0.0
    of_copy: bool = False


def problems(hopper: bool = False) -> list[tuple[Bar, str, list[Problem]]]:
    """(bar, precision, problems) for each part of the table."""
    if hopper:
        return [(Bar(part, ratio), precision, chosen) for part, ratio, precision, chosen in tables()]
    halves: list[Problem] = [gemm_problem(n, n, n, dtype="bfloat16") for n in (2048, 4096, 8192)]
    halves += [gemm_problem(4096, 4096, 4096, ta, tb, "bfloat16") for ta, tb in ((True, False), (False, True))]
    single: list[Problem] = [gemm_problem(n, n, n) for n in (1024, 4096)] + [gemm_problem(64, 1000, 2048)]
    shapes = (("nchw_to_nhwc", (64, 64, 112, 112)), ("nhwc_to_nchw", (64, 112, 112, 64)),
              ("nchw_to_nhwc", (64, 3, 224, 224)))
    images: list[Problem] = [layout_problem(*shape, dtype) for dtype in ("float32", "float16") for shape in shapes]
    pools = layer_problems([replace(layer, batch=32) for layer in MAX_POOLS[:1] + MAX_POOLS[3:5] + MAX_POOLS[-1:]],
                           ("fprop", "dgrad"), "bfloat16")
    averages: list[Problem] = [pool_problem(PoolCase("", (64, 56, 56, 256), size, stride, padding).geometry(), d,
                                           "float32", True, "", f"average {size}/{stride}")
                               for size, stride, padding in ((3, 2, 1), (56, 56, 0)) for d in ("fprop", "dgrad")]
    small = [replace(layer, batch=32) for layer in MOBILENET_DEPTHWISE[:6:2]]
    wide = [ConvLayer("ConvNeXt", 32, 56, 96, 96, 7, groups=96),
            ConvLayer("RepLKNet", 16, 56, 128, 128, 31, groups=128)]
    depthwise = layer_problems(small + wide, DIRECTIONS, "bfloat16") + layer_problems(small[:1], DIRECTIONS)
    dense = [replace(layer, batch=32) for layer in RESNET50[:1] + RESNET50[1:5:3] + RESNET50[9:12:2]]
    return [
        (Bar("float32 GEMM", ratio=0.8), "float32", single),
        (Bar("float64 GEMM"), "float32", [gemm_problem(2048, 2048, 2048, dtype="float64")]),
        (Bar("TF32 GEMM"), "tf32", [gemm_problem(4096, 4096, 4096)]),
        (Bar("half GEMM", ratio=0.5), "float32", halves),
        (Bar("layouts", share=0.85, of_copy=True), "float32", images),
        (Bar("max pooling", ratio=1.3, share=0.85, of_copy=True), "float32", pools),
        (Bar("average pooling", share=0.85, of_copy=True), "float32", averages),
        (Bar("depthwise", ratio=2.0, share=0.7), "float32", depthwise),
        (Bar("dense half", ratio=0.2), "float32", layer_problems(dense, DIRECTIONS, "bfloat16")),
        (Bar("dense float32", ratio=0.2), "float32", layer_problems(dense[1:3], DIRECTIONS)),
        (Bar("3-D and grouped", ratio=0.2), "float32", list(_unusual())),
    ]


def _unusual() -> Iterable[Problem]:
    grouped = ConvLayer("ResNeXt", 32, 56, 128, 128, 3, groups=32)
    for direction in DIRECTIONS:
        yield conv_problem(grouped.geometry(), direction, "bfloat16", grouped.network, grouped.name)


def dry_run(hopper: bool) -> None:
    """Name every problem, its kernel and its roofline time."""
    backend = next((load(name) for name in ("emulated", "cuda") if _there(name)), None)
    total = 0.0
    for bar, precision, chosen in problems(hopper):
        print(f"{bar.name}: {_asked(bar)}")
        with set_precision(precision):
            for problem in chosen:
                plan = text_of(plan_of(backend, problem.call, DRY, precision)) if backend else "(no compiled module)"
                work = problem.work
                total += work.seconds(DRY)
                print(f"  {problem.op:14} {problem.call.dtype:9} {problem.layer:32} "
                      f"{1e3 * work.seconds(DRY):8.3f} ms by {work.bound(DRY):10}  {plan}")
    count = sum(len(chosen) for _, _, chosen in problems(hopper))
    print(f"{count} problems, {1e3 * total:.1f} ms on an {DRY.name} at best")


def _there(name: str) -> bool:
    try:
        load(name)
    except ImportError:
        return False
    return True


def _asked(bar: Bar) -> str:
    parts = [f">= {bar.ratio}x PyTorch"] * (bar.ratio > 0) + [f">= {bar.share:.0%} of the roofline"] * (bar.share > 0)
    return ", ".join(parts) or "no bar"


def run(json: str | None, kept_in_results: bool, hopper: bool) -> int:
    """Measure, print, keep. The exit status tells whether all problems ran; bars are reported, not enforced."""
    import torch

    device, peer, kept = GpuDevice(), Torch(), None
    copied = _copy_bandwidth(torch)
    print(f"{device.gpu.name}: a copy moves {copied / 1e12:.2f} TB/s, reads and writes counted")
    for bar, precision, chosen in problems(hopper):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        with set_precision(precision):
            results = measure(chosen, [device], peer)
        roof = device.roof("float32")
        roof = replace(roof, bandwidth=copied) if roof and bar.of_copy else roof
        for row in results.rows:
            row |= {"part": bar.name, "precision": precision, "asked": {"ratio": bar.ratio, "share": bar.share},
                    "copy_bandwidth": copied}
            print(_line(row, device.name, roof), flush=True)
        if kept is None:
            kept = results
        else:
            kept.rows += results.rows
        if json:
            kept.save(json)
        if kept_in_results:
            report.save(kept, "hopper" if hopper else "kernels", gpu=True)
        if results.interrupted:
            return 130
    return int(any(device.name in row.get("absent", {}) for row in kept.rows)) if kept else 1


def _copy_bandwidth(torch: Any) -> float:
    """Bytes per second of the best of ten copies of a gigabyte."""
    x = torch.ones(1 << 28, device="cuda")
    y, seconds = torch.empty_like(x), []
    for _ in range(10):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        y.copy_(x)
        stop.record()
        stop.synchronize()
        seconds.append(start.elapsed_time(stop) / 1e3)
    return 2 * x.numel() * 4 / min(seconds)


def _line(row: dict[str, Any], ours: str, roof: Any) -> str:
    """One row for the terminal: our time, theirs over ours, our share of the roofline, and what was asked."""
    seconds = {name: timing.median("gpu") for name, timing in row["timings"].items()}
    words = [f"{row['part']:16} {row['op']:14} {row['dtype']:9} {row['layer']:32}"]
    if ours not in seconds:
        return f"{words[0]} not run: {row.get('absent', {}).get(ours, '?')}"
    theirs = min((t for name, t in seconds.items() if name != ours), default=math.nan)
    share = roof.seconds(row) / seconds[ours] if roof else math.nan
    asked = row["asked"]
    words.append(f"{1e3 * seconds[ours]:8.3f} ms  {theirs / seconds[ours]:5.2f}x (>= {asked['ratio']:.2f})  "
                 f"{share:4.0%} (>= {asked['share']:.0%})")
    return " ".join(words)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", metavar="FILE", help="keep the samples")
    parser.add_argument("--record", action="store_true", help="keep them in bench/results, under the GPU's name")
    parser.add_argument("--hopper", action="store_true", help="what Hopper's kernels are for, against their own bars")
    parser.add_argument("--dry-run", action="store_true", help="name the problems, kernels and roofline times")
    options = parser.parse_args()
    if options.json and not Path(options.json).absolute().parent.is_dir():
        parser.error(f"--json: expected a folder that exists, got {Path(options.json).parent}")
    if options.dry_run:
        dry_run(options.hopper)
        return 0
    return run(options.json, options.record, options.hopper)


if __name__ == "__main__":
    raise SystemExit(main())
