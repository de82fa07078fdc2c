"""Modules of PTX, their kernels, and launches."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..backends.numpy.workers import get_num_threads
from .arguments import Parameter, Region, pack
from .machine import machine
from .report import Report

Size = int | Sequence[int]


def load(path: str | os.PathLike[str]) -> Module:
    """Read a file of PTX, as `nvcc -ptx` writes it (with -lineinfo, reports name lines of the source).

    Raises OSError, ImportError where the machine is not built, and ValueError with the line of what is no PTX.
    """
    return Module(Path(path).read_text(encoding="utf-8", errors="replace"))


class Module:
    """PTX in memory; `module["name"]` is a kernel.

    Args:
        text: PTX of version 8.0 or later for addresses of 64 bits.
    """

    def __init__(self, text: str) -> None:
        self._module = machine().Module(text)

    @property
    def kernels(self) -> tuple[str, ...]:
        """The names of the kernels, as the PTX has them, in its order."""
        return tuple(self._module.kernels)

    @property
    def target(self) -> str:
        """The architecture that the PTX was made for, as "sm_90a"."""
        return self._module.target

    def __getitem__(self, name: str) -> Kernel:
        """The kernel of that name: the one in the PTX, or the one in C++ where a single kernel has it."""
        found = [name] if name in self.kernels else [known for known in self.kernels if name in _plain_names(known)]
        if len(found) != 1:
            has = f"{len(found)} kernels of this name: {', '.join(found)}" if found else (
                f"no kernel of this name; it has {', '.join(self.kernels) or 'none'}")
            raise KeyError(f"{name}: the module has {has}")
        return Kernel(self._module, found[0], name)

    def variable(self, name: str, dtype: Any) -> np.ndarray:
        """The memory of a __device__ or __constant__ variable as an array, which is the variable itself."""
        address, size = self._module.variable(name)
        interface = {"data": (address, False), "shape": (size,), "typestr": "|u1", "version": 3}
        holder = type("Memory", (), {"__array_interface__": interface, "module": self._module})()
        return np.asarray(holder).view(dtype)

    def check(self) -> dict[str, dict]:
        """Decode every kernel, and return of each its steps, its shared memory in bytes and what else it declares.

        Raises ValueError that names the first instruction, with its line, that the machine does not have.
        """
        return {name: self._module.decode(name) for name in self.kernels}


def _plain_names(mangled: str) -> set[str]:
    """The names that stand in a mangled one: _ZN4lib5saxpyEPf has lib and saxpy; the last one counts."""
    if not mangled.startswith("_Z"):
        return set()
    rest, names = mangled[2:].lstrip("NKL"), []
    while match := re.match(r"(\d+)", rest):
        size = int(match[1])
        names.append(rest[match.end():match.end() + size])
        rest = rest[match.end() + size:]
    return {names[-1], "::".join(names)} if names else set()


class Kernel:
    """A kernel of a module. `kernel[grid, block](*arguments)` launches it, as CUDA's `kernel<<<grid, block>>>` does."""

    def __init__(self, module: Any, name: str, called: str) -> None:
        self._module = module
        self.name = name
        self.called = called
        self.parameters = [Parameter(*told) for told in module.parameters(name)]

    def __getitem__(self, configuration: tuple[Any, ...]) -> Launch:
        """The launch with (grid, block), (grid, block, shared) or (grid, block, shared, cluster).

        Sizes are integers or up to three of them, x first; `shared` is the bytes of dynamic shared memory.
        """
        if not isinstance(configuration, tuple) or not 2 <= len(configuration) <= 4:
            raise TypeError(f"{self.called}: expected [grid, block], [grid, block, shared] or [grid, block, shared, "
                            f"cluster], got {configuration!r}")
        return Launch(self, *configuration)

    def launch(self, grid: Size, block: Size, arguments: Sequence[Any], *, shared: int = 0, cluster: Size | None = None,
               races: bool = True, seed: int = 0, early_copies: bool = False, limit: int = 0,
               workers: int | None = None) -> Report:
        """Run the kernel and return the report, whatever it says.

        Args:
            grid, block, cluster: sizes, integers or up to three of them, x first.
            arguments: arrays, which must be contiguous, for pointers; read-only arrays are inputs, to which a write is
                an error. NumPy scalars of the parameter's size, or Python numbers, for numbers. Structured scalars or
                bytes for structs.
            shared: bytes of dynamic shared memory.
            races: whether to look for races; without, kernels run about twice as fast.
            seed: other numbers than 0 let warps run in another order.
            early_copies: asynchronous copies land at random times, not as late as they may.
            limit: how many warp instructions may run; 0 for any number.
            workers: on how many threads blocks run, by default as `convgpu.get_num_threads`; results do not depend
                on it.

        Raises:
            TypeError, ValueError: for arguments and sizes that the kernel or a GPU would not take.
        """
        packed, regions = self._pack(arguments)
        shape = self._module.decode(self.name)["cluster"]
        cluster = cluster if cluster is not None else tuple(size or 1 for size in shape)
        told = self._module.launch(
            self.name, _three(f"{self.called}: grid", grid), _three(f"{self.called}: block", block),
            _three(f"{self.called}: cluster", cluster), int(shared), packed, [tuple(region) for region in regions],
            races, seed, early_copies, limit, get_num_threads() if workers is None else workers)
        report = Report(self.called, told)
        sys.stdout.write(report.output)
        return report

    def _pack(self, arguments: Sequence[Any]) -> tuple[bytes, list[Region]]:
        last = self.parameters[-1] if self.parameters else None
        return pack(self.called, self.parameters, last.offset + last.size if last else 0, arguments)


class Launch:
    """A kernel with its grid. Calling it runs the kernel and raises KernelError if anything was found wrong."""

    def __init__(self, kernel: Kernel, grid: Size, block: Size, shared: int = 0, cluster: Size | None = None) -> None:
        self._kernel, self._grid, self._block, self._shared, self._cluster = kernel, grid, block, shared, cluster

    def __call__(self, *arguments: Any) -> Report:
        report = self._kernel.launch(self._grid, self._block, arguments, shared=self._shared, cluster=self._cluster)
        report.raise_if_wrong()
        return report


def _three(what: str, size: Size) -> tuple[int, int, int]:
    sizes = (size,) if isinstance(size, (int, np.integer)) else tuple(size)
    if not 1 <= len(sizes) <= 3 or not all(isinstance(n, (int, np.integer)) and 0 < n < 1 << 31 for n in sizes):
        raise ValueError(f"{what}: expected one to three sizes of at least 1, got {size!r}")
    padded = (*map(int, sizes), 1, 1)
    return padded[0], padded[1], padded[2]
