"""How fast a GPU could run an op at best: its arithmetic at the peak rate, or its bytes at the memory's bandwidth.

    time = max(FLOPs / rate, bytes / bandwidth)

FLOPs count two for each multiply-add, including taps in the padding, and one for each tap of a pooling. Bytes count
every array once, except that pixels of an input that no tap reads are left out. No kernel is faster than this time,
unless its arrays are in the L2 cache already.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .dtypes import DTypeLike, as_dtype, is_half


@dataclass(frozen=True)
class Gpu:
    """One model of GPU: the properties that plans depend on, and its peak rates.

    arch: the compute capability, written as 90 for 9.0. shared_bytes: the most shared memory that one block can have.
    bandwidth: bytes per second. peak: FLOP/s by unit. "float32" and "float64" are the rates of ordinary multiply-adds,
    "tf32" and "half" (float16 and bfloat16) those of tensor cores (dense, float32 accumulators). GPUs on which products
    of scaled float16 are faster (docs/kernels.md) also have "float32 products", a third of "half", and "tf32 products",
    which is "half" itself. memory: bytes, by the gigabytes that the GPU is sold with.
    """

    name: str
    arch: int
    multiprocessors: int
    shared_bytes: int
    bandwidth: float
    peak: dict[str, float]
    source: str
    memory: float = 0.0


OLDEST_ARCH = 80  # asynchronous copies and TF32, which the kernels use, begin there
# The most KiB of shared memory per block, by compute capability (CUDA C++ Programming Guide, "Technical
# Specifications").
SHARED_KB = {75: 64, 80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}


# Gigabytes of memory, from the same sources as the rates below.
MEMORY_GB = {"T4": 16, "A10": 24, "A100": 80, "RTX 3090": 24, "L4": 24, "L40S": 48, "RTX 4090": 24, "H100": 80,
             "H200": 141, "B200": 180, "RTX 5090": 32}


def _gpu(name: str, arch: int, multiprocessors: int, gigabytes: float, float64: float, float32: float,
         tf32: float, half: float, source: str) -> Gpu:
    peak = {"float64": float64 * 1e12, "float32": float32 * 1e12, "tf32": tf32 * 1e12, "half": half * 1e12}
    if arch == 90:
        peak |= {"float32 products": half * 1e12 / 3, "tf32 products": half * 1e12}
    return Gpu(name, arch, multiprocessors, SHARED_KB[arch] * 1024, gigabytes * 1e9, peak, source,
               MEMORY_GB[name] * 1e9)


# Dense rates, without sparsity, in TFLOP/s. Where a source gives no rate of float64, the table has the rate of the
# architecture: a 32nd of float32 on Turing, a 64th on compute capability 8.6, 8.9 and 12.0. Turing has no TF32, so that
# its float32 rate stands there.
GPUS = (
    _gpu("T4", 75, 40, 320, 0.253, 8.1, 8.1, 65, "NVIDIA T4 data sheet"),
    _gpu("A10", 86, 72, 600, 0.488, 31.2, 62.5, 125, "NVIDIA A10 data sheet"),
    _gpu("A100", 80, 108, 2039, 9.7, 19.5, 156, 312, "NVIDIA A100 80GB SXM data sheet"),
    _gpu("RTX 3090", 86, 82, 936, 0.556, 35.6, 35.6, 71, "NVIDIA Ampere GA102 GPU architecture white paper"),
    _gpu("L4", 89, 58, 300, 0.473, 30.3, 60, 121, "NVIDIA L4 data sheet, half of its rates with sparsity"),
    _gpu("L40S", 89, 142, 864, 1.431, 91.6, 183, 362.05, "NVIDIA L40S data sheet"),
    _gpu("RTX 4090", 89, 128, 1008, 1.29, 82.6, 82.6, 165.2, "NVIDIA Ada GPU architecture white paper"),
    _gpu("H100", 90, 132, 3350, 34, 67, 494.7, 989.4, "NVIDIA H100 SXM data sheet"),
    _gpu("H200", 90, 132, 4800, 34, 67, 494.7, 989.4, "NVIDIA H200 SXM data sheet"),
    _gpu("B200", 100, 148, 7700, 37, 75, 1125, 2250, "NVIDIA HGX B200 data sheet, an eighth of it"),
    _gpu("RTX 5090", 120, 170, 1792, 1.64, 104.8, 104.8, 209.5, "NVIDIA RTX Blackwell GPU white paper"),
)

OTHER_MODELS = {"ti", "laptop", "pcie", "nvl", "mig"}  # words that mark slower or faster models of the same name


def find_gpu(name: str) -> Gpu:
    """The GPU of the table that a name means; the name may be the one it is sold by or the one that the driver gives.

    >>> find_gpu("h200").multiprocessors, find_gpu("NVIDIA GeForce RTX 4090").arch
    (132, 89)
    """
    words = set(re.split(r"[^a-z0-9]+", name.lower()))
    for gpu in GPUS:
        own = gpu.name.lower().split()
        if words.issuperset(own) and not words & OTHER_MODELS or name.lower() == "".join(own):
            return gpu
    raise ValueError(f"roofline: expected one of {', '.join(gpu.name for gpu in GPUS)}, got {name!r}")


def rate(unit: str, peak: dict[str, float]) -> float:
    """The best rate of a unit in FLOP/s. "float32 products" are multiply-adds of matrices, at least as fast as
    "float32"; "float32 additions" are additions without a multiplication, at half the rate.
    """
    name, _, what = unit.partition(" ")
    return peak.get(unit, peak[name] / (2 if what == "additions" else 1))


@dataclass(frozen=True)
class Work:
    """What one call has to do: FLOPs, the unit that does them ("" where there are none), the least bytes to move."""

    flops: int
    unit: str
    bytes: int

    def arithmetic_seconds(self, gpu: Gpu) -> float:
        """FLOPs divided by the unit's rate; additions and comparisons without a multiplication run at half the rate."""
        return self.flops / rate(self.unit, gpu.peak) if self.unit else 0.0

    def memory_seconds(self, gpu: Gpu) -> float:
        """Bytes divided by the bandwidth."""
        return self.bytes / gpu.bandwidth

    def seconds(self, gpu: Gpu) -> float:
        """The roofline time: the larger of the two.

        >>> work = Work(2 * 4096**3, "float32 products", 3 * 4096**2 * 4)  # a product of two matrices
        >>> f"{1e3 * work.seconds(find_gpu('H200')):.2f} ms, bound by {work.bound(find_gpu('H200'))}"
        '0.42 ms, bound by arithmetic'
        """
        return max(self.arithmetic_seconds(gpu), self.memory_seconds(gpu))

    def bound(self, gpu: Gpu) -> str:
        """What limits the call: "arithmetic" or "memory", whichever takes longer."""
        return "arithmetic" if self.arithmetic_seconds(gpu) > self.memory_seconds(gpu) else "memory"


def products_on(dtype: DTypeLike, precision: str) -> str:
    """The unit that multiplies matrices of a dtype."""
    if is_half(as_dtype(dtype)):
        return "half"
    if as_dtype(dtype) == "float32":
        return "tf32 products" if precision == "tf32" else "float32 products"
    return as_dtype(dtype).name


def additions_on(dtype: DTypeLike) -> str:
    """The unit that adds and compares a dtype."""
    return ("float64" if as_dtype(dtype) == "float64" else "float32") + " additions"
