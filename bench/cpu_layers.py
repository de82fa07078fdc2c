"""The CPU path beside PyTorch, layer by layer, on one thread and two: python bench/cpu_layers.py [--quick]

Every layer of convgpu.cases.networks, in each direction; PyTorch with oneDNN at the better of its two layouts. Writes
bench/results/cpu_layers_<threads>.json and the tables of bench/results/README.md. With more than one thread only the
wall clock counts, so nothing else may run: an idle PyTorch thread that spins suffers most from company.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import report
import torch

from convgpu import benchmark, set_num_threads
from convgpu.backends import load
from convgpu.cases import networks
from convgpu.cases.networks import ConvLayer, PoolLayer

OURS, REFERENCE = load("numpy"), load("reference")
FORMATS = {"torch channels_last": torch.channels_last, "torch channels_first": torch.contiguous_format}
Functions = dict[str, Callable[[], Any]]


def conv_problem(layer: ConvLayer, direction: str) -> tuple[Functions, Callable[[], None]]:
    """The contenders of one convolution, ours first, and what verifies ours."""
    geo, generator = layer.geometry(), np.random.default_rng(0)
    x, w, gy = (generator.standard_normal(shape, np.float32) for shape in (geo.x_shape, geo.w_shape, geo.y_shape))
    operands = _operands(direction, x, w, gy, geo)
    name = f"conv_{direction}"
    length = {"fprop": w[..., 0].size, "dgrad": w[..., 0, :].size, "wgrad": gy[..., 0].size}[direction]

    def verify() -> None:
        """The whole batch is computed; two images of it are compared, which for wgrad are all that have a gradient."""
        some = sorted({0, layer.batch - 1})
        part = replace(layer, batch=len(some)).geometry()
        exact, magnitude = (getattr(REFERENCE, name)(*_operands(direction, f(x[some]), f(w), f(gy[some]), part))
                            for f in (np.float64, lambda a: np.abs(a, dtype=np.float64)))
        if direction == "wgrad":
            sparse = np.zeros_like(gy)
            sparse[some] = gy[some]
            got = OURS.conv_wgrad(x, sparse, geo)
        else:
            got = getattr(OURS, name)(*operands)[some]
        benchmark.verify(f"{name} {layer.name}", got, exact, magnitude, length)

    functions: Functions = {"convgpu": lambda: getattr(OURS, name)(*operands)}
    for peer, memory_format in FORMATS.items():
        functions[peer] = _torch_conv(x, w, gy, geo, direction, memory_format)
    return functions, verify


def _operands(direction: str, x: np.ndarray, w: np.ndarray, gy: np.ndarray, geo: Any) -> tuple[Any, ...]:
    return {"fprop": (x, w, None, geo, None), "dgrad": (gy, w, None, geo, None), "wgrad": (x, gy, geo)}[direction]


def _torch_conv(x: np.ndarray, w: np.ndarray, gy: np.ndarray, geo: Any, direction: str,
                memory_format: torch.memory_format) -> Callable[[], Any]:
    tx, tgy = (_to_torch(a, memory_format) for a in (x, gy))
    tw = torch.from_numpy(w).permute(3, 2, 0, 1).contiguous(memory_format=memory_format)
    stride, before, after = geo.stride, [a for a, _ in geo.padding], [b for _, b in geo.padding]
    assert before == after, "PyTorch pads both sides alike"
    if direction == "fprop":
        return lambda: torch.nn.functional.conv2d(tx, tw, None, stride, before, 1, geo.groups)
    wanted = [direction == "dgrad", direction == "wgrad", False]
    return lambda: torch.ops.aten.convolution_backward(tgy, tx, tw, None, stride, before, [1, 1], False, [0, 0],
                                                       geo.groups, wanted)


def pool_problem(layer: PoolLayer, direction: str) -> tuple[Functions, Callable[[], None]]:
    """The contenders of one max pooling: forward with offsets, or backward."""
    geo, generator = layer.geometry(), np.random.default_rng(0)
    x, gy = (generator.standard_normal(shape, np.float32) for shape in (geo.x_shape, geo.y_shape))
    _, offsets = OURS.max_pool(x, geo, True)

    def verify() -> None:
        got, expected = (backend.max_pool(x, geo, True) for backend in (OURS, REFERENCE))
        if not all(np.array_equal(a, b) for a, b in zip(got, expected)):
            raise benchmark.WrongResultError(f"max_pool {layer.name}: differs from the reference; not timed")
        exact, magnitude = (REFERENCE.max_pool_dgrad(g.astype(float), offsets, geo) for g in (gy, abs(gy)))
        benchmark.verify(f"max_pool_dgrad {layer.name}", OURS.max_pool_dgrad(gy, offsets, geo), exact, magnitude,
                         layer.window**2)

    forward = direction == "fprop"
    functions: Functions = {"convgpu": (lambda: OURS.max_pool(x, geo, True)) if forward else
                            (lambda: OURS.max_pool_dgrad(gy, offsets, geo))}
    for peer, memory_format in FORMATS.items():
        tx, tgy = (_to_torch(a, memory_format) for a in (x, gy))
        options = [layer.window] * 2, [layer.stride] * 2, [layer.padding] * 2
        functions[peer] = _torch_pool(tx, tgy, options, forward)
    return functions, verify


def _torch_pool(x: torch.Tensor, gy: torch.Tensor, options: tuple[list[int], ...], forward: bool) -> Callable[[], Any]:
    if forward:
        return lambda: torch.nn.functional.max_pool2d(x, *options, return_indices=True)
    _, indices = torch.nn.functional.max_pool2d(x, *options, return_indices=True)
    return lambda: torch.ops.aten.max_pool2d_with_indices_backward(gy, x, *options, [1, 1], False, indices)


def _to_torch(images: np.ndarray, memory_format: torch.memory_format) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)


KINDS: list[tuple[str, list[Any], Callable[..., tuple[Functions, Callable[[], None]]], tuple[str, ...]]] = [
    ("dense", networks.DENSE, conv_problem, ("fprop", "wgrad", "dgrad")),
    ("depthwise", networks.DEPTHWISE, conv_problem, ("fprop", "wgrad", "dgrad")),
    ("max_pool", networks.MAX_POOLS, pool_problem, ("fprop", "dgrad")),
]


def measure(threads: int, samples: int, only: str) -> list[dict[str, Any]]:
    """All layers on this many threads: first everything is verified, then timed."""
    set_num_threads(threads)
    torch.set_num_threads(threads)
    chosen = [(kind, layer, direction, problem) for kind, layers, problem, directions in KINDS for layer in layers
              for direction in directions if only in f"{kind} {layer.network} {layer.name} {direction}"]
    for _, layer, direction, problem in chosen:
        problem(layer, direction)[1]()
    rows = []
    for kind, layer, direction, problem in chosen:
        with torch.no_grad():
            timings = benchmark.alternate(problem(layer, direction)[0], samples)
        row = {"kind": kind, "network": layer.network, "layer": layer.name, "direction": direction, "threads": threads,
               "timings": timings}
        rows.append(row)
        print(report.line(row), flush=True)
    return rows


def main() -> None:
    """Measure, record, and render the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="three samples instead of nine")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", default="", help="rows with this text; nothing is recorded")
    options = parser.parse_args()
    benchmark.quiet_blas()
    for threads in options.threads:
        rows = measure(threads, 3 if options.quick else 9, options.only)
        if not options.only:
            benchmark.record(report.RESULTS / f"cpu_layers_{threads}.json", rows, ("numpy", "torch"))
            report.render()


if __name__ == "__main__":
    main()
