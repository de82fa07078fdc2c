"""The two limits of a device, arithmetic and memory bandwidth, and how near to them a time is.

A CPU's limits are measured, with np.matmul and with a copy. A GPU's limits are those of convgpu.roofline's table.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import roofline
from ..backends.numpy.workers import get_num_threads, parallel_for

SIDE, COPIED = 1536, 64 * 2**20  # the size of the measured product's matrices; the bytes that each thread copies
SAMPLES = 5


@dataclass(frozen=True)
class Roof:
    """Peak rates in FLOP/s by unit (see roofline.Gpu), and the memory's bandwidth in bytes per second."""

    name: str
    bandwidth: float
    peak: dict[str, float]
    source: str

    def seconds(self, row: dict[str, Any]) -> float:
        """The least time that a row's work can take, unless its arrays lie in a cache.

        >>> Roof("", 1e9, {"float32": 1e9}, "").seconds({"flops": 2e9, "unit": "float32", "bytes": 1e9})
        2.0
        """
        work = roofline.Work(row["flops"], row["unit"], row["bytes"])
        return work.seconds(self)  # type: ignore[arg-type]


def cpu_roof(dtype: str) -> Roof:
    """Measure this machine with convgpu's number of threads, in the accumulator's dtype; this takes about two seconds.

    Each thread computes an np.matmul of 1536x1536 matrices and an np.copyto of 64 MB (bytes read and written are
    counted); the best of five runs is taken.
    """
    threads, wide = get_num_threads(), "float64" if dtype == "float64" else "float32"
    generator = np.random.default_rng(0)
    a, b = (generator.standard_normal((SIDE, SIDE)).astype(wide) for _ in range(2))
    products = [np.empty((SIDE, SIDE), wide) for _ in range(threads)]
    flops = threads * 2 * SIDE**3 / _best(lambda i: np.matmul(a, b, out=products[i]), threads)
    sources = [np.ones(COPIED, np.uint8) for _ in range(threads)]
    targets = [np.empty_like(source) for source in sources]
    bandwidth = threads * 2 * COPIED / _best(lambda i: np.copyto(targets[i], sources[i]), threads)
    units = (wide,) if wide == "float64" else (wide, "tf32", "half")
    return Roof("CPU", float(f"{bandwidth:.4g}"), {unit: float(f"{flops:.4g}") for unit in units},
                f"measured on {threads} thread{'s' * (threads > 1)}: np.matmul of {wide}, np.copyto")


def _best(body: Callable[[int], object], threads: int) -> float:
    """The seconds of body(i) for every i in range(threads), each on its own thread; CPU time for one thread."""
    clock, seconds = time.thread_time if threads == 1 else time.perf_counter, []
    for _ in range(1 + SAMPLES):
        start = clock()
        parallel_for(threads, body)
        seconds.append(clock() - start)
    return max(min(seconds), 1e-7)


def gpu_roof(name: str) -> Roof | None:
    """The published rates of a GPU; None for a GPU that the table lacks."""
    try:
        gpu = roofline.find_gpu(name)
    except ValueError:
        return None
    return Roof(gpu.name, gpu.bandwidth, dict(gpu.peak), gpu.source)
