"""How long a launch takes, as far as that can be known without running it: at least, and not at most.

Kernels whose plan was chosen by an estimate have its clocks (docs/performance.md). Every other kernel moves its bytes
at SHARE of the memory's bandwidth, or computes at OF_TENSOR_CORES or OF_MULTIPLY_ADDS of the peak rate if that takes
longer, and no launch takes less than LAUNCH_CLOCKS. CuPy's reductions over leading axes are slower: a block of 512
threads adds 32 columns, and each thread has one load in flight, which takes LATENCY.
"""

from __future__ import annotations

import math

import numpy as np

from ..dtypes import is_half
from ..outline import Outline
from ..roofline import Gpu, rate

SHARE = 0.85  # of the bandwidth, which streaming kernels reach
OF_TENSOR_CORES, OF_MULTIPLY_ADDS = 0.4, 0.85  # what tiled kernels reach of them, as csrc/hopper/plan.cpp assumes
LAUNCH_CLOCKS = 5000  # of a kernel that follows another, as csrc/hopper/plan.cpp assumes
LATENCY = 0.8e-6  # seconds, of a load from memory where many are in flight
_THREADS, _COLUMNS, _RESIDENT = 512, 32, 4  # of a block of CuPy's reduction; blocks that a multiprocessor holds


def clock_rate(gpu: Gpu) -> float:
    """Clocks per second at which the peak rate of half types is stated; for GPUs whose plans have clocks."""
    return gpu.peak["half"] / (gpu.multiprocessors * 4096)


def _of_launches(gpu: Gpu, launches: int) -> float:
    return launches * LAUNCH_CLOCKS / 1.83e9


def of_elementwise(gpu: Gpu, launches: int, nbytes: int) -> float:
    """A kernel that streams through memory."""
    return max(_of_launches(gpu, launches), nbytes / (SHARE * gpu.bandwidth))


def of_kernel(gpu: Gpu, name: str, dtype: np.dtype, launches: int, nbytes: int, flops: int, clocks: float) -> float:
    """One of the project's kernels, by its plan's estimate where there is one."""
    if clocks and gpu.arch == 90:
        return max(clocks / clock_rate(gpu), nbytes / gpu.bandwidth)
    on_tensor_cores = is_half(dtype) and name.startswith(("conv", "gemm", "matmul"))
    unit = "half" if on_tensor_cores else "float64" if dtype == np.float64 else "float32"
    arithmetic = flops / rate(unit, gpu.peak) / (OF_TENSOR_CORES if on_tensor_cores else OF_MULTIPLY_ADDS)
    return max(arithmetic, of_elementwise(gpu, launches, nbytes)) if launches else 0.0


def of_reduction(gpu: Gpu, x: Outline, axes: tuple[int, ...]) -> float:
    """A reduction of CuPy's."""
    streamed = of_elementwise(gpu, 1, x.touched)
    if not axes or x.ndim - 1 in axes or not x.size:
        return streamed
    columns = math.prod([n for i, n in enumerate(x.shape) if i not in axes])
    blocks = min(-(-columns // _COLUMNS), gpu.multiprocessors * _RESIDENT)
    return max(streamed, x.touched / (blocks * _THREADS * x.itemsize / LATENCY))
