"""One problem for each kernel, dtype and GPU: the smallest of the tables of cases that leads to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

from convgpu import backends
from convgpu.cases.problem import Problem
from convgpu.facts import FAMILIES, plan_of, text_of, tiled_products
from convgpu.roofline import Gpu, find_gpu
from convgpu.settings import set_precision

HOPPER = find_gpu("H200")
# The portable kernels are those that an A100 runs. On a Hopper GPU of one multiprocessor its own kernels take over at
# small sizes.
GPUS = {"A100": find_gpu("A100"), "H200": HOPPER, "H200, one multiprocessor": replace(HOPPER, multiprocessors=1)}

SMALL = (20e6, 1e6)  # multiply-adds in whole tiles, and bytes


class Small(NamedTuple):
    """A problem, the kernel that its plan names, and where it is planned so."""

    problem: Problem
    kernel: str
    precision: str
    gpu: str


@cache
def problems(family: str, gpu: str, most: int = 1) -> list[Small]:
    """For each op, dtype and kernel of a family on a GPU its smallest problem, and up to `most` in all, of all sizes
    that are small (SMALL), in the order of their names.
    """
    found: dict[tuple[str, str, str], list[tuple[tuple[float, ...], int, Small]]] = {}
    planner = backends.load("emulated")
    for case in FAMILIES[family].cases:
        for dtype, data_format in FAMILIES[family].variants(case, True):
            precision, wide = ("tf32", "float32") if dtype == "tf32" else ("float32", dtype)
            for problem in FAMILIES[family].problems(case, wide, data_format):
                if not hasattr(planner, problem.op) or any(0 in (shape or ()) for shape in problem.call.shapes):
                    continue
                kernel = text_of(plan_of(planner, problem.call, GPUS[gpu], precision)).split()[0]
                size = (tiled_products(problem.call), problem.work.bytes)
                several = found.setdefault((problem.op, "tf32" if dtype == "tf32" else problem.dtype.name, kernel), [])
                several.append((size, len(several), Small(problem, kernel, precision, gpu)))
    return [small for _, several in sorted(found.items()) for small in _spread(sorted(several), most)]


def _spread(by_size: list[tuple[tuple[float, ...], int, Small]], most: int) -> list[Small]:
    small = [one for size, _, one in by_size if all(s <= limit for s, limit in zip(size, SMALL))]
    small = small or [by_size[0][2]]
    if most == 1 or len(small) <= most:
        return small[:most]
    return [small[round(k * (len(small) - 1) / (most - 1))] for k in range(most)]


@contextmanager
def on_its_gpu(backend: str, small: Small) -> Iterator[Any]:
    """The backend, standing for the problem's GPU at its precision, and the GPU of before afterwards."""
    run, gpu = backends.load(backend), GPUS[small.gpu]
    module, before = run.module, run.module.current_device()
    module.emulate(_device(module, gpu))
    try:
        with set_precision(small.precision):
            yield run
    finally:
        module.emulate(before)


def _device(module: Any, gpu: Gpu) -> Any:
    return module.Device(arch=gpu.arch, multiprocessors=gpu.multiprocessors, shared_bytes=gpu.shared_bytes)


def plan(native: Any, small: Small) -> str:
    """The text of the plan that a backend makes for the GPU in use."""
    return text_of(plan_of(native, small.problem.call, None, small.precision))
