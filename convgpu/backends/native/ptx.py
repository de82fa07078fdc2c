"""Backend "ptx": the kernels as nvcc's PTX, run on NumPy arrays by the machine of convgpu.ptx.

Host code, launches and parameters are those of a GPU. Around each launch this file says which memory the kernels may
touch: the arrays of the call and its workspace, read-only arrays being inputs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from ...dtypes import as_dtype
from ...ptx.report import KernelError, Report
from . import Native
from .crossing import Array

CHOICES = {"CONVGPU_PTX_RACES": ("yes", "no"), "CONVGPU_PTX_COPY": ("late", "random")}
NUMBERS = {"CONVGPU_PTX_SEED": 0, "CONVGPU_PTX_WORKERS": 1}  # with the least value


class Ptx(Native):
    """The ops of the module _ptx_kernels.

    Environment: CONVGPU_PTX_RACES=no looks for no races, which takes half the time; CONVGPU_PTX_COPY=random lets
    asynchronous copies land at random times, not as late as they may; CONVGPU_PTX_SEED is the seed of the order of
    warps (0, the default: in turns); CONVGPU_PTX_WORKERS is the number of threads on which blocks run (the number of
    cores), of which results do not depend.
    """

    def __init__(self, name: str, module: ModuleType):
        super().__init__(name, module)
        self._pointer = self._allowed_pointer
        self.configure()

    def configure(self) -> None:
        """Read the environment again. Raises ValueError for unknown values."""
        races, copy = (_choice(variable) for variable in CHOICES)
        seed, workers = (_number(variable) for variable in NUMBERS)
        self.module.machine(races=races != "no", early_copies=copy == "random", seed=seed or 0, limit=0,
                            workers=workers or len(os.sched_getaffinity(0)))

    def launch(self, op: str, arrays: Sequence[Any], planner: str, problem: tuple[Any, ...], *options: Any,
               takes_workspace: bool = True, **settings: Any) -> None:
        """Launch as every backend of kernels does. Raises convgpu.ptx.KernelError if a kernel does what it must not do.
        """
        for index, array in enumerate(arrays):
            if isinstance(array, np.ndarray):
                self._allow(array, f"{op}[{index}]")
            elif isinstance(array, tuple):  # converted before, perhaps for an earlier launch
                address, shape, strides, dtype = array
                self._allow_bytes(address, shape, strides, as_dtype(dtype).itemsize, f"{op}[{index}]", True)
        try:
            super().launch(op, arrays, planner, problem, *options, takes_workspace=takes_workspace, **settings)
        except RuntimeError as error:
            told = self.module.take_report()
            if told is None:
                raise
            raise KernelError(Report(told["kernel"], told)) from error
        finally:
            self.module.forget()

    def _allowed_pointer(self, array: Array) -> int:
        self._allow(array, "array")
        return self.module.address(array)

    def _allow(self, array: Array, name: str) -> None:
        self._allow_bytes(self.module.address(array), array.shape, array.strides, array.itemsize, name,
                          array.flags.writeable)

    def _allow_bytes(self, address: int, shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int, name: str,
                     writable: bool) -> None:
        steps = [(n - 1) * stride for n, stride in zip(shape, strides)]
        first, last = sum(s for s in steps if s < 0), sum(s for s in steps if s > 0)
        size = last - first + itemsize if all(shape) else 0
        self.module.allow(address + first, size, itemsize, name, writable)


def _choice(variable: str) -> str:
    value = os.environ.get(variable, "")
    if value and value not in CHOICES[variable]:
        raise ValueError(f"{variable}: expected one of {', '.join(CHOICES[variable])}, got {value}")
    return value


def _number(variable: str) -> int | None:
    value, least = os.environ.get(variable, ""), NUMBERS[variable]
    if not value:
        return None
    if not value.isdecimal() or int(value) < least or int(value) >= 1 << 32:
        raise ValueError(f"{variable}: expected an integer of at least {least}, got {value}")
    return int(value)
