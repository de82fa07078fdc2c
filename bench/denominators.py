"""Times PyTorch alone on a GPU, for kernels to be compared with: python bench/denominators.py [--rows FILE]

It times cuDNN in float32 (no TF32), TF32 and bfloat16 over layers of ResNet-50, VGG-16 and AlexNet in three directions;
grouped and depthwise convolution; pooling; cuBLAS from 1024 to 8192; copies. It needs PyTorch alone, neither CuPy nor a
compiler. Operands are drawn on the GPU. Each row is saved when it is measured (bench/rows.py), and --resume continues a
run.

    --record            add the rows to bench/results (bench/collect.py)
    --names             also name the slowest kernel, as PyTorch's profiler calls it
    --device cpu --tiny N   try the program without a GPU
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import gpu_tables
from gpu_operands import torch_drawn
from gpu_peers import OnGpu
from gpu_tables import Entry
from kernels import LONGEST, LOST, SAMPLES, fail, is_lost, open_rows, peer_contenders, row_of
from rows import Rows, add_options

from convgpu.benchmark import Clock, GpuClock, HostClock, alternate, quiet_blas
from convgpu.benchmark.devices import SETTLE
from convgpu.settings import set_precision


class TorchGpu:
    """What GpuClock needs of a GPU, through PyTorch's events."""

    def __init__(self, torch: Any) -> None:
        properties = torch.cuda.get_device_properties(0)
        self._torch = torch
        self.name: str = properties.name
        self.cache_bytes: int = properties.L2_cache_size
        self._memory = torch.empty(4 * self.cache_bytes, dtype=torch.uint8, device="cuda")

    def cover(self) -> None:
        """Queue writes to four times the cache, so that no operand stays in it."""
        self._memory.zero_()

    def mark(self) -> Any:
        """Queue an event."""
        event = self._torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start: Any, stop: Any) -> float:
        """Wait for `stop`, and return the time between two events."""
        stop.synchronize()
        return start.elapsed_time(stop) / 1e3

    def wait(self) -> None:
        """Wait for the device."""
        self._torch.cuda.synchronize()


class Bench:
    """PyTorch on a device, with a clock for it."""

    def __init__(self, device: str, names: bool):
        self.peer, self.device, self.names = OnGpu(), device, names
        self.torch = self.peer.torch
        self.gpu = TorchGpu(self.torch) if device == "gpu" else None
        self.clock: Clock = GpuClock(self.gpu) if self.gpu else HostClock()
        self._where = "cuda" if self.gpu else "cpu"

    def row(self, entry: Entry, settle: float) -> dict[str, Any]:
        """Measure one row."""
        problem = entry.problem
        with set_precision(entry.precision):
            self.peer.allow_tf32(entry.precision == "tf32")
            tensors = torch_drawn(self.torch, problem, self._where)
            absent: dict[str, str] = {}
            contenders = peer_contenders(self.peer, entry, tensors, None, self.gpu.cache_bytes if self.gpu else 0,
                                         absent, self.device)
            timings = alternate(contenders, SAMPLES, pause=0.0, settle=settle,
                                clocks=dict.fromkeys(contenders, self.clock)) if contenders else {}
        names = {name: self.kernel_name(contender) for name, contender in contenders.items()} if self.names else {}
        return row_of(entry, timings, names, absent)

    def kernel_name(self, function: Callable[[], Any]) -> str:
        """The name of the kernel that takes longest, from PyTorch's profiler."""
        activities = [self.torch.profiler.ProfilerActivity.CPU]
        if self.gpu:
            activities.append(self.torch.profiler.ProfilerActivity.CUDA)
        with self.torch.profiler.profile(activities=activities) as profile:
            function()
            if self.gpu:
                self.gpu.wait()
        longest = max(profile.key_averages(), key=lambda e: (e.self_device_time_total, e.self_cpu_time_total))
        return str(longest.key)

    def copy(self, size: int) -> dict[str, Any]:
        """A row for a copy of `size` bytes, which are read and written."""
        source = self.torch.randn(size // 4, device=self._where)
        target = self.torch.empty_like(source)
        name = f"torch {self.device}"
        timings = alternate({name: lambda: target.copy_(source)}, SAMPLES, pause=0.0, clocks={name: self.clock})
        return {"kind": "copy", "network": "", "layer": f"copy of {size / 1e6:.0f} MB", "direction": "fprop",
                "op": "copy", "dtype": "float32", "flops": 0, "unit": "", "bytes": 2 * size, "threads": 1,
                "timings": timings}


def run(bench: Bench, entries: list[Entry], rows: Rows, copied: int) -> int:
    """Measure what is missing; the exit status: LOST where another process must go on."""
    settle = SETTLE if bench.gpu else 0.0
    key = gpu_tables.COPY
    if key not in rows:
        with rows.at(key, LONGEST):
            rows.add(key, {**bench.copy(copied), **({"tiny": True} if entries[0].alias else {})})
    for entry in entries:
        if entry.key in rows:
            continue
        with rows.at(entry.key, LONGEST + settle):
            try:
                row = bench.row(entry, settle)
            except Exception as error:  # whatever PyTorch says: the others go on
                fail(rows, entry.key, error)
                if bench.gpu and is_lost(bench.gpu.wait):
                    return LOST
                continue
        settle = 0.0
        rows.add(entry.key, row)
        if bench.gpu:
            bench.torch.cuda.empty_cache()
        clock = "gpu" if bench.gpu else "wall"
        print(f"{entry.key:80}", {name: f"{1e3 * timing.median(clock):.4f} ms" for name, timing
                                  in row["timings"].items()}, row.get("absent", ""), flush=True)
    return 0


def main() -> int:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--names", action="store_true", help="of PyTorch's kernels")
    parser.add_argument("--record", action="store_true", help="make bench/results of them")
    add_options(parser)
    options = parser.parse_args()
    quiet_blas()
    if options.device == "cpu" and not options.tiny:
        parser.error("--device cpu: expected --tiny N beside it: its figures are no denominators")
    bench = Bench(options.device, options.names) if options.device == "cpu" else _on_a_gpu(options.names)
    entries = gpu_tables.denominators()
    if options.tiny:
        entries = gpu_tables.tiny(entries)[:options.tiny]
    status = run(bench, entries, open_rows(options, ("numpy", "torch")), 1 << 20 if options.tiny else 1 << 30)
    if options.record:
        import collect

        collect.collect([options.rows])
    return status


def _on_a_gpu(names: bool) -> Bench:
    import torch

    if not torch.cuda.is_available():
        raise SystemExit(f"denominators: PyTorch {torch.__version__} finds no GPU; --device cpu --tiny 8 shows that it "
                         "runs. On a machine with an NVIDIA GPU: pip install torch")
    return Bench("gpu", names)


if __name__ == "__main__":
    raise SystemExit(main())
