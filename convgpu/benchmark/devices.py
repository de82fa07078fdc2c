"""The devices that convgpu is timed on: the CPU with its backend, and the GPU where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import info
from ..backends import GPU_BACKENDS, load
from ..cases.problem import Arrays, Problem
from ..cases.tolerance import C_KERNEL, C_NUMPY
from ..device import CPU, GPU, move, parse_device, to_numpy
from ..settings import current_backend
from .gpu import CupyGpu, GpuClock, rotating
from .report.figures import name_of
from .roofs import Roof, cpu_roof, gpu_roof
from .timing import Clock, Contender, HostClock

SETTLE = 3.0  # seconds that a GPU's clock may need to rise before the first problem is timed


class CpuDevice:
    """The CPU: NumPy arrays on the backend in use."""

    kind, settle = CPU, 0.0

    def __init__(self) -> None:
        self.name = name_of(CPU)
        self.c = C_KERNEL if current_backend() == "cpu" else C_NUMPY
        self.backend: Any = load(current_backend())
        self.clock: Clock = HostClock()

    def roof(self, dtype: str) -> Roof | None:
        """The roof, measured when it is asked for."""
        return cpu_roof(dtype)

    def arrays(self, arrays: Arrays) -> Arrays:
        """The operands on this device."""
        return arrays

    def result(self, problem: Problem, arrays: Arrays) -> Any:
        """The result of one call as NumPy arrays, to be checked."""
        return problem.run(self.backend, arrays)

    def contender(self, problem: Problem, arrays: Arrays) -> Contender:
        """The function that is timed."""
        return lambda: problem.run(self.backend, arrays)


class GpuDevice:
    """The GPU: CuPy arrays on the CUDA kernels. Each call gets other operands, so that the L2 cache does not help."""

    kind, c, settle = GPU, C_KERNEL, SETTLE

    def __init__(self) -> None:
        self.name = name_of(GPU)
        self.backend: Any = load(GPU_BACKENDS[0])
        self.gpu = CupyGpu()
        self.clock: Clock = GpuClock(self.gpu)

    def roof(self, dtype: str) -> Roof | None:
        """The published roof; None for a GPU that the table lacks."""
        return gpu_roof(self.gpu.name)

    def arrays(self, arrays: Arrays) -> Arrays:
        """The operands on this device; every call of this method makes new copies."""
        return tuple(None if array is None else move(array, GPU) for array in arrays)

    def result(self, problem: Problem, arrays: Arrays) -> Any:
        """The result of one call as NumPy arrays, to be checked."""
        result = problem.run(self.backend, self.arrays(arrays))
        return tuple(map(to_numpy, result)) if isinstance(result, tuple) else to_numpy(result)

    def contender(self, problem: Problem, arrays: Arrays) -> Contender:
        """The function that is timed."""
        def one() -> Contender:
            there = self.arrays(arrays)
            return lambda: problem.run(self.backend, there)

        return rotating(one, problem.work.bytes // 2, self.gpu.cache_bytes)  # at most half of the bytes are written


Device = CpuDevice | GpuDevice


def choose(wanted: Sequence[str] | None) -> tuple[list[Device], str | None]:
    """The devices to measure on, and a message about a GPU that is missing.

    Args:
        wanted: devices that must be usable; None: all usable devices.

    Raises:
        ValueError: a GPU is wanted and none is usable.
    """
    kinds = list(dict.fromkeys(map(parse_device, wanted or (CPU, GPU))))
    obstacle = info.gpu_obstacle() if GPU in kinds else None
    if obstacle is not None:
        if wanted:
            raise ValueError(f"device 'gpu': expected a usable GPU, got none: {obstacle}. {info.how_to_get_a_gpu()}")
        kinds.remove(GPU)
    devices: list[Device] = [CpuDevice() if kind == CPU else GpuDevice() for kind in kinds]
    return devices, None if obstacle is None else f"No GPU column: {obstacle}. {info.how_to_get_a_gpu()}"
