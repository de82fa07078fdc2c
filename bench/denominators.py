"""PyTorch's own figures on a GPU, against which kernels are to be measured: python bench/denominators.py

cuDNN in float32 (no TF32), TF32 and bfloat16 over the layers of ResNet-50, VGG-16 and AlexNet in three directions, with
the names of its kernels; grouped and depthwise convolution; pooling; cuBLAS from 1024 to 16384; copies; training images
per second and peak memory. Needs PyTorch alone: neither CuPy nor a compiler. About ten minutes; adds to bench/results.

    --quick             tiny batches and few samples, to see that it runs
    --device cpu        likewise, without a GPU: nothing is recorded
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import report
import torch

from convgpu import roofline
from convgpu.benchmark import Clock, GpuClock, HostClock, Results, alternate, environment, quiet_blas, tables
from convgpu.benchmark.networks import NETWORKS
from convgpu.benchmark.peers import Torch
from convgpu.benchmark.results import load_average
from convgpu.benchmark.roofs import gpu_roof
from convgpu.benchmark.twins import TorchStep
from convgpu.cases import networks
from convgpu.cases.networks import ConvLayer, PoolLayer
from convgpu.facts.conv import conv_work
from convgpu.facts.gemm import gemm_work
from convgpu.facts.pool import pool_work

BATCH = 64
PRECISIONS = {"float32": (torch.float32, False), "tf32": (torch.float32, True), "bfloat16": (torch.bfloat16, False)}
GROUPED = [ConvLayer("ResNeXt-50", BATCH, size, c, c, 3, groups=32) for size, c in
           ((56, 128), (28, 256), (14, 512), (7, 1024))]
Row = dict[str, Any]
Problem = tuple[Row, str, Callable[[], Any]]  # the row so far, the precision, what is timed


class TorchGpu:
    """What GpuClock needs, through PyTorch's events."""

    def __init__(self) -> None:
        properties = torch.cuda.get_device_properties(0)
        self.name: str = properties.name
        self.cache_bytes: int = properties.L2_cache_size
        self._memory = torch.empty(4 * self.cache_bytes, dtype=torch.uint8, device="cuda")

    def cover(self) -> None:
        """Queue writes to four times the cache: nothing of the operands stays in it, and a sample is one call."""
        self._memory.zero_()

    def mark(self) -> Any:
        """Queue an event."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start: Any, stop: Any) -> float:
        """Wait for `stop`; the time between two events."""
        stop.synchronize()
        return start.elapsed_time(stop) / 1e3

    def wait(self) -> None:
        """Wait for the device."""
        torch.cuda.synchronize()


def allow_tf32(allowed: bool) -> None:
    """Whether float32 products may run as TF32."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = allowed


def convolutions(layers: list[ConvLayer], precisions: list[str], device: str, batch: int) -> Iterator[Problem]:
    """Three directions of each layer, channels last."""
    for layer in layers:
        layer = replace(layer, batch=batch)
        geo = layer.geometry()
        padding = [before for before, _ in geo.padding]
        for precision in precisions:
            dtype, _ = PRECISIONS[precision]

            def draw(*shape: int, dtype: torch.dtype = dtype) -> torch.Tensor:
                return torch.randn(shape, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)

            x, gy = draw(batch, geo.channels, *geo.size), draw(batch, geo.filters, *geo.output)
            w = draw(geo.filters, geo.channels // geo.groups, *geo.kernel)

            def forward(x: Any = x, w: Any = w, geo: Any = geo, padding: Any = padding) -> Any:
                return torch.nn.functional.conv2d(x, w, None, geo.stride, padding, 1, geo.groups)

            for direction in ("fprop", "dgrad", "wgrad"):
                wanted = [direction == "dgrad", direction == "wgrad", False]

                def backward(x: Any = x, w: Any = w, gy: Any = gy, geo: Any = geo, padding: Any = padding,
                             wanted: list[bool] = wanted) -> Any:
                    return torch.ops.aten.convolution_backward(gy, x, w, None, geo.stride, padding, [1, 1], False,
                                                               [0, 0], geo.groups, wanted)

                name = "float32" if precision == "tf32" else precision
                work = conv_work(f"conv_{direction}", geo, name, "tf32" if precision == "tf32" else "float32")
                yield (_row("conv", layer.network, layer.name, direction, precision, work), precision,
                       forward if direction == "fprop" else backward)


def poolings(layers: list[PoolLayer], device: str, batch: int) -> Iterator[Problem]:
    """Max pooling with indices, and its gradient."""
    for layer in layers:
        layer = replace(layer, batch=batch)
        geo, options = layer.geometry(), ([layer.window] * 2, [layer.stride] * 2, [layer.padding] * 2)
        for precision in ("float32", "bfloat16"):
            dtype, _ = PRECISIONS[precision]
            x = torch.randn((batch, layer.channels, *geo.size), device=device, dtype=dtype)
            x = x.contiguous(memory_format=torch.channels_last)
            y, indices = torch.nn.functional.max_pool2d_with_indices(x, *options)

            def forward(x: Any = x, options: Any = options) -> Any:
                return torch.nn.functional.max_pool2d_with_indices(x, *options)

            def backward(y: Any = y, x: Any = x, indices: Any = indices, options: Any = options) -> Any:
                return torch.ops.aten.max_pool2d_with_indices_backward(y, x, *options, [1, 1], False, indices)

            for direction, function in (("fprop", forward), ("dgrad", backward)):
                work = pool_work("max_pool" + "_dgrad" * (direction == "dgrad"), geo, precision)
                yield _row("pool", layer.network, layer.name, direction, precision, work), precision, function


def products(sizes: list[int], precisions: list[str], device: str) -> Iterator[Problem]:
    """Square products, and a copy of a quarter of the largest matrix."""
    for n in sizes:
        for precision in precisions:
            dtype, _ = PRECISIONS[precision]
            a, b = (torch.randn((n, n), device=device, dtype=dtype) for _ in range(2))
            name = "float32" if precision == "tf32" else precision
            work = gemm_work(n, n, n, name, precision="tf32" if precision == "tf32" else "float32")
            yield (_row("gemm", "", f"{n}x{n}x{n}", "fprop", precision, work), precision,
                   lambda a=a, b=b: torch.mm(a, b))  # type: ignore[misc]
    source = torch.ones(max(sizes)**2, device=device)
    target = torch.empty_like(source)
    work = roofline.Work(0, "", 2 * source.numel() * 4)
    yield (_row("copy", "", f"copy of {source.numel() * 4 / 1e6:.0f} MB", "fprop", "float32", work), "float32",
           lambda: target.copy_(source))


def _row(kind: str, network: str, layer: str, direction: str, precision: str, work: roofline.Work) -> Row:
    op = {"conv": f"conv_{direction}", "pool": "max_pool" + "_dgrad" * (direction == "dgrad")}.get(kind, kind)
    return {"kind": kind, "network": network, "layer": layer, "direction": direction, "op": op, "dtype": precision,
            "flops": work.flops, "unit": work.unit, "bytes": work.bytes, "threads": torch.get_num_threads()}


def kernel_name(function: Callable[[], Any]) -> str:
    """The kernel that takes longest, as the profiler calls it."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    events = profile.key_averages()
    longest = max(events, key=lambda e: (e.self_device_time_total, e.self_cpu_time_total))
    return str(longest.key)


def training(device: str, clock: Clock, batches: dict[str, int], samples: int) -> Iterator[Row]:
    """Steps of the four networks: eager, compiled, and in bfloat16."""
    peer = Torch()
    for name, batch in batches.items():
        network = NETWORKS[name]
        params, (x, y) = network.initial(), network.data(batch)
        timings, memory, absent = {}, {}, {}
        for variant in ("", "compiled", "amp"):
            label = " ".join(filter(None, ("torch", device, variant, "channels_last")))
            try:
                step = TorchStep(peer, network, params, x, y, device, "channels_last", variant == "amp",
                                 variant == "compiled")
                if device == "gpu":
                    torch.cuda.reset_peak_memory_stats()
                timings |= alternate({label: step}, samples, 0.0, clocks={label: clock})
                if device == "gpu":
                    memory[label] = torch.cuda.max_memory_allocated()
            except Exception as error:  # a compiler that is missing, or too little memory: the others still count
                absent[label] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        row = {"kind": "train", "network": network.title, "layer": f"b{batch}", "direction": "step", "dtype": "float32",
               "batch": batch, "steps": samples, "threads": torch.get_num_threads(), "flops": 0, "unit": "", "bytes": 0,
               "timings": timings, "memory": memory}
        yield {**row, "absent": absent} if absent else row


def problems(device: str, quick: bool) -> Iterator[Problem]:
    """All that is timed but training; their tensors are made one after another."""
    on_gpu, batch = device == "cuda", 2 if quick else BATCH
    precisions = list(PRECISIONS) if on_gpu else ["float32", "bfloat16"]
    layers = [*networks.ALEXNET, *networks.VGG16, *networks.RESNET50][:3 if quick else None]
    yield from convolutions(layers, precisions, device, batch)
    yield from convolutions([*networks.DEPTHWISE, *GROUPED][:1 if quick else None], ["float32", "bfloat16"], device,
                            batch)
    yield from poolings(networks.MAX_POOLS[:1 if quick else None], device, batch)
    yield from products([256] if quick else [1024, 2048, 4096, 8192, 16384], precisions, device)


def main() -> None:
    """Measure, print, and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    quiet_blas()
    gpu = options.device == "gpu"
    if gpu and not torch.cuda.is_available():
        raise SystemExit(f"denominators: PyTorch {torch.__version__} finds no GPU; --device cpu --quick shows that it "
                         "runs. On a machine with an NVIDIA GPU: pip install torch")
    torch.backends.cudnn.benchmark = True
    start, load = time.perf_counter(), load_average()
    machine = TorchGpu() if gpu else None
    clock: Clock = GpuClock(machine) if machine else HostClock()
    samples = 3 if options.quick else 7
    rows: list[Row] = []
    interrupted = False
    try:
        for row, precision, function in problems("cuda" if gpu else "cpu", options.quick):
            allow_tf32(PRECISIONS[precision][1])
            name = f"torch {options.device} {'cuDNN' if gpu else 'oneDNN'}"
            timings = alternate({name: function}, samples, 0.0, pause=0.0, settle=0.0 if rows else 3.0 * gpu,
                                clocks={name: clock})
            rows.append({**row, "timings": timings, "kernels": {name: kernel_name(function)}})
            print(f"{time.perf_counter() - start:5.0f} s  {row['layer']:28} {row['direction']:6} {row['dtype']:9} "
                  f"{1e3 * timings[name].median('gpu' if gpu else 'wall'):.4f} ms  {rows[-1]['kernels'][name][:60]}",
                  flush=True)
        allow_tf32(False)
        batches = {"lenet5": 2} if options.quick else {"lenet5": 128, "alexnet": 128, "vgg16": 64, "resnet50": 64}
        for row in training(options.device, clock, batches, samples):
            rows.append(row)
    except KeyboardInterrupt:
        interrupted = True
    roof = gpu_roof(machine.name) if machine else None
    results = Results(environment(("numpy", "torch"), load), rows, {"gpu": vars(roof)} if roof else {}, interrupted)
    print(tables.render(results))
    if gpu and not options.quick:
        report.save(results, "denominators", True)


if __name__ == "__main__":
    main()
