"""Selects the problems to run so that every kernel is reached, and writes notes on what does not run."""

from __future__ import annotations

import importlib.util
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from ..cases.problem import Problem
from ..facts import FAMILIES, plan_of, text_of, tiled_products
from ..roofline import Gpu, find_gpu
from ..settings import set_precision
from .checks import NATIVE

QUICK = 20_000_000  # multiply-adds (in whole tiles) of the largest problem that --quick runs: 0.05 s in the emulator
HOPPER = find_gpu("H200")
ONE_MULTIPROCESSOR = replace(HOPPER, multiprocessors=1)  # on such a GPU few tiles count as much work
CHOSEN_GPU = ("emulated", "ptx")  # backends whose GPU can be chosen
SAME_KERNELS = {"grid", "paddings", "long"}  # cases with these tags reach no kernel that others do not

ALL_DTYPES = {"float64", "float32", "float16", "bfloat16", "tf32"}

Kernel = tuple[str, str, str]  # family, dtype, kernel


@dataclass(frozen=True)
class Item:
    """A case in one dtype and data format. only: the number of the only problem to run; None: all its problems."""

    family: str
    case: Any
    dtype: str
    data_format: str
    only: int | None = None
    one_multiprocessor: bool = False

    def problems(self, quick: bool) -> Iterator[tuple[int, Problem]]:
        """The item's problems with their numbers."""
        wide = "float32" if self.dtype == "tf32" else self.dtype
        for number, problem in enumerate(FAMILIES[self.family].problems(self.case, wide, self.data_format)):
            if self.only is None and quick and tiled_products(problem.call) > QUICK:
                continue
            if self.only in (None, number):
                yield number, problem

    def label(self, problem: Problem) -> str:
        """The dtype that the report shows for a problem."""
        return "tf32" if self.dtype == "tf32" else problem.dtype.name


@contextmanager
def on_its_device(run: Any, name: str, item: Item) -> Iterator[None]:
    """Set the precision that an item is meant for, and on a CPU the GPU."""
    with set_precision("tf32" if item.dtype == "tf32" else "float32"):
        if not (name in CHOSEN_GPU and item.one_multiprocessor):
            yield
            return
        module, before = run.module, run.module.current_device()
        module.emulate(module.Device(arch=ONE_MULTIPROCESSOR.arch, multiprocessors=1,
                                     shared_bytes=ONE_MULTIPROCESSOR.shared_bytes))
        try:
            yield
        finally:
            module.emulate(before)


def select(run: Any, name: str, families: Iterable[str], quick: bool,
           only: list[str] | None) -> tuple[list[Item], list[str]]:
    """The items to run, and notes on what does not run.

    Unless cases are asked for by name, each kernel that the chosen items do not reach gets its smallest problem from
    all cases. Where the GPU can be chosen this is done for a GPU of one multiprocessor too, where Hopper's kernels for
    float32 begin at small sizes.
    """
    notes, native = [], name in NATIVE
    dtypes = {*ALL_DTYPES} if importlib.util.find_spec("ml_dtypes") else ALL_DTYPES - {"bfloat16"}
    families = list(families)
    items = list(_items(families, quick, only, native, dtypes))
    if len(list(_items(families, False, only, native, ALL_DTYPES))) > len(
            list(_items(families, False, only, native, dtypes))):
        notes.append('bfloat16: not run, because the package ml_dtypes is missing: pip install "ml_dtypes"')
    if not native or only is not None:
        return items, notes
    reached = {kernel for kernel, *_ in _kernels(run, items, quick)}
    every = [item for item in _items(families, False, None, True, dtypes)
             if not SAME_KERNELS & set(getattr(item.case, "tags", ()))]
    other = ONE_MULTIPROCESSOR if name in CHOSEN_GPU else HOPPER
    found = list(_kernels(run, every, False, other))
    if name in CHOSEN_GPU:
        return items + _smallest([(kernel, size, replace(item, one_multiprocessor=gpu is other))
                                  for kernel, size, item, gpu in found], reached), notes
    items += _smallest([(kernel, size, item) for kernel, size, item, gpu in found if gpu is None], reached)
    missing = {kernel for kernel, *_ in found} - reached
    if missing:
        told = ", ".join(f"{kernel} ({dtype})" for _, dtype, kernel in sorted(missing, key=lambda k: (k[2], k[1])))
        notes.append(f"Not run on this GPU: {told}. They need one of compute capability 9.0 or more to multiply than a "
                     "case has; on the CPU: convgpu verify --backend emulated --quick")
    return items, notes


def _items(families: Iterable[str], quick: bool, only: list[str] | None, tf32: bool,
           dtypes: set[str]) -> Iterator[Item]:
    """The items of each wanted case: every dtype and data format; with `quick` only one, which varies.

    Args:
        dtypes: the floating dtypes to run; integer dtypes always run.
    """
    for name in families:
        for case in FAMILIES[name].cases:
            if only is not None and case.name not in only:
                continue
            variants = [(dtype, data_format) for dtype, data_format in FAMILIES[name].variants(case, tf32)
                        if dtype in dtypes or dtype.startswith(("int", "uint"))]
            if quick:
                variants = [variants[zlib.crc32(case.name.encode()) % len(variants)]]
            yield from (Item(name, case, *variant) for variant in variants)


def _kernels(run: Any, items: Iterable[Item], quick: bool,
             other: Gpu | None = None) -> Iterator[tuple[Kernel, int, Item, Gpu | None]]:
    """For each problem: its kernel, its number of multiply-adds, an item of this problem alone, and the GPU that was
    planned for (None for the GPU in use; with `other`, both are planned for).
    """
    for item in items:
        for number, problem in item.problems(quick):
            for gpu in [None, other] if other else [None]:
                plan = plan_of(run, problem.call, gpu, "tf32" if item.dtype == "tf32" else "float32")
                yield ((item.family, item.label(problem), text_of(plan).split()[0]), tiled_products(problem.call),
                       replace(item, only=number), gpu)


def _smallest(found: Iterable[tuple[Kernel, int, Item]], reached: set[Kernel]) -> list[Item]:
    """The smallest problem of each kernel that is not in `reached`; these kernels are added to `reached`."""
    best: dict[Kernel, tuple[int, Item]] = {}
    for kernel, size, item in found:
        if kernel not in reached and (kernel not in best or size < best[kernel][0]):
            best[kernel] = size, item
    reached |= set(best)
    return [item for _, item in best.values()]
