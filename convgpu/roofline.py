"""How fast a GPU could run an op at best: its arithmetic at the peak rate, or its bytes at the memory's bandwidth.

    time = max(FLOPs / rate, bytes / bandwidth)

FLOPs: two per multiply-add, taps in the padding counted; one per tap of a pooling. Bytes: every array once, though of
an input no pixel that no tap meets. No kernel is faster, unless its arrays are in the L2 cache.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from .dtypes import DTypeLike, as_dtype, is_half
from .geometry import ConvGeometry, PoolGeometry


@dataclass(frozen=True)
class Gpu:
    """One model of GPU: what plans ask of it, and its peak rates.

    arch: the compute capability, 90 for 9.0. shared_bytes: at most for one block. bandwidth: bytes per second.
    peak: FLOP/s by unit: multiply-adds of "float32" and "float64", tensor cores (dense, float32 accumulators) on
    "tf32" and "half", which is float16 and bfloat16. Where scaled float16 is faster (docs/kernels.md), "float32
    products" and "tf32 products": a third of "half", and all of it.
    """

    name: str
    arch: int
    multiprocessors: int
    shared_bytes: int
    bandwidth: float
    peak: dict[str, float]
    source: str


def _gpu(name: str, arch: int, multiprocessors: int, shared_kb: int, gigabytes: float, float64: float, float32: float,
         tf32: float, half: float, source: str) -> Gpu:
    peak = {"float64": float64 * 1e12, "float32": float32 * 1e12, "tf32": tf32 * 1e12, "half": half * 1e12}
    if arch == 90:
        peak |= {"float32 products": half * 1e12 / 3, "tf32 products": half * 1e12}
    return Gpu(name, arch, multiprocessors, shared_kb * 1024, gigabytes * 1e9, peak, source)


# Dense rates, without sparsity, in TFLOP/s. Shared memory per block: CUDA C++ Programming Guide, compute capabilities.
GPUS = (
    _gpu("A100", 80, 108, 163, 2039, 9.7, 19.5, 156, 312, "NVIDIA A100 80GB SXM data sheet"),
    _gpu("RTX 3090", 86, 82, 99, 936, 0.556, 35.6, 35.6, 71, "NVIDIA Ampere GA102 GPU architecture white paper"),
    _gpu("RTX 4090", 89, 128, 99, 1008, 1.29, 82.6, 82.6, 165.2, "NVIDIA Ada GPU architecture white paper"),
    _gpu("H100", 90, 132, 227, 3350, 34, 67, 494.7, 989.4, "NVIDIA H100 SXM data sheet"),
    _gpu("H200", 90, 132, 227, 4800, 34, 67, 494.7, 989.4, "NVIDIA H200 SXM data sheet"),
    _gpu("B200", 100, 148, 227, 7700, 37, 75, 1125, 2250, "NVIDIA HGX B200 data sheet, an eighth of it"),
    _gpu("RTX 5090", 120, 170, 99, 1792, 1.64, 104.8, 104.8, 209.5, "NVIDIA RTX Blackwell GPU white paper"),
)

OTHER_MODELS = {"ti", "laptop", "pcie", "nvl", "mig"}  # slower or faster ones of the same name


def find_gpu(name: str) -> Gpu:
    """The GPU of the table that a name means, as it is sold or as the driver writes it.

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
    """FLOP/s of a unit at best: "float32 products" are multiply-adds of matrices, and at least at the rate of
    "float32"; "float32 additions" go alone, at half of it.
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
        """FLOPs over the unit's rate; additions and comparisons alone go at half of it."""
        return self.flops / rate(self.unit, gpu.peak) if self.unit else 0.0

    def memory_seconds(self, gpu: Gpu) -> float:
        """Bytes over the bandwidth."""
        return self.bytes / gpu.bandwidth

    def seconds(self, gpu: Gpu) -> float:
        """The roofline time: the larger of the two.

        >>> work = gemm_work(4096, 4096, 4096, "float32")
        >>> f"{1e3 * work.seconds(find_gpu('H200')):.2f} ms, bound by {work.bound(find_gpu('H200'))}"
        '0.42 ms, bound by arithmetic'
        """
        return max(self.arithmetic_seconds(gpu), self.memory_seconds(gpu))

    def bound(self, gpu: Gpu) -> str:
        """Which of the two it is: "arithmetic" or "memory"."""
        return "arithmetic" if self.arithmetic_seconds(gpu) > self.memory_seconds(gpu) else "memory"


def _products_on(dtype: DTypeLike, precision: str) -> str:
    """The unit that multiplies matrices of a dtype."""
    if is_half(as_dtype(dtype)):
        return "half"
    if as_dtype(dtype) == "float32":
        return "tf32 products" if precision == "tf32" else "float32 products"
    return as_dtype(dtype).name


def _additions_on(dtype: DTypeLike) -> str:
    return ("float64" if as_dtype(dtype) == "float64" else "float32") + " additions"


def conv_work(op: str, geo: ConvGeometry, dtype: DTypeLike, precision: str = "float32") -> Work:
    """Of "conv_fprop", "conv_dgrad" or "conv_wgrad"; depthwise ones multiply and add in float32, off the tensor cores.

    Args:
        precision: what float32 products run as: "float32" or "tf32".
    """
    touched = geo.batch * geo.channels * math.prod(map(_pixels_met, geo.size, geo.kernel, geo.stride, geo.dilation,
                                                       (before for before, _ in geo.padding), geo.output))
    x = touched if op != "conv_dgrad" else math.prod(geo.x_shape)  # a gradient is written everywhere
    elements = x + math.prod(geo.w_shape) + math.prod(geo.y_shape)
    depthwise = geo.groups > 1 and geo.channels == geo.groups
    unit = "float64" if as_dtype(dtype) == "float64" else "float32"
    return Work(2 * geo.macs, unit if depthwise else _products_on(dtype, precision),
                elements * as_dtype(dtype).itemsize)


def _pixels_met(n: int, f: int, stride: int, dilation: int, before: int, out: int) -> int:
    """How many of an axis's n pixels some tap of some output meets."""
    met = np.zeros(n, bool)
    for shift in (r * dilation - before for r in range(f)):  # output p meets pixel p*stride + shift, if it is there
        met[shift % stride if shift < 0 else shift:max(shift + (out - 1) * stride + 1, 0):stride] = True
    return int(met.sum())


def sum_work(shape: tuple[int, ...], channels_last: bool, dtype: DTypeLike) -> Work:
    """Of "channel_sum" over everything but the channels."""
    elements = math.prod(shape)
    channels = shape[-1 if channels_last else 1]
    return Work(elements, _additions_on(dtype), (elements + channels) * as_dtype(dtype).itemsize)


def pool_work(op: str, geo: PoolGeometry, dtype: DTypeLike, with_offsets: bool = True) -> Work:
    """Of "max_pool", "max_pool_dgrad", "max_pool_gather", "max_pool_indices", "avg_pool" or "avg_pool_dgrad".

    Args:
        with_offsets: whether max_pool saves the winners' offsets, which only a gradient needs.
    """
    size, offset = as_dtype(dtype).itemsize, as_dtype(geo.offset_dtype).itemsize
    x, y = math.prod(geo.x_shape), math.prod(geo.y_shape)
    taps = y * math.prod(geo.window)
    if op in ("max_pool_gather", "max_pool_indices"):
        return Work(0, "", y * (offset + (8 if op == "max_pool_indices" else 2 * size)))
    offsets = y * offset if op == "max_pool_dgrad" or op == "max_pool" and with_offsets else 0
    return Work(y if op == "max_pool_dgrad" else taps, _additions_on(dtype), (x + y) * size + offsets)


def gemm_work(m: int, n: int, k: int, dtype: DTypeLike, batch: int = 1, c_elements: int = 0,
              precision: str = "float32") -> Work:
    """Of "gemm" or "matmul": (M, K) times (K, N), `batch` times, with c of so many elements added."""
    elements = batch * (m * k + k * n + m * n) + c_elements
    return Work(2 * batch * m * n * k, _products_on(dtype, precision), elements * as_dtype(dtype).itemsize)


def layout_work(shape: tuple[int, ...], dtype: DTypeLike) -> Work:
    """Of a change of layout: read once, written once."""
    return Work(0, "", 2 * math.prod(shape) * as_dtype(dtype).itemsize)
