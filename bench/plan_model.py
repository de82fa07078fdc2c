"""The estimate of csrc/hopper/plan.cpp in Python, with its constants as parameters.

It gives rows of a table the time that the plan expects of them, before anything has run, and bench/refit.py fits the
constants to what was measured. A test holds that it chooses the plans that the compiled module chooses.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from convgpu.cases.problem import Problem
from convgpu.geometry import ConvGeometry

CLOCK = 1.83e9  # per second: 4096 FLOPs per clock of each of 132 multiprocessors are the data sheet's 989.4 TFLOP/s
TILES = ((256, 2), (256, 1), (128, 2), (128, 1), (64, 1))  # columns, blocks of a cluster
ROWS, DEPTH, WARPGROUPS, RING_BYTES = 128, 64, 2, 192 * 1024
WORKSPACE_LIMIT = 64 << 20
LEAST_STEPS, MOST_SPLITS = 4, 64


@dataclass(frozen=True)
class Constants:
    """Of plan.cpp, per clock of a multiprocessor, or in clocks; `memory` is of the whole GPU."""

    multiply_adds: float = 2048  # of the tensor cores
    shared: float = 128  # bytes of shared memory
    share: float = 32  # bytes of the L2 cache for each multiprocessor if all read
    port: float = 64  # bytes of the L2 cache for one
    memory: float = 2700  # bytes of the memory for all
    launch: float = 1000  # clocks of a launch
    kernel_after_kernel: float = 5000
    between: float = 300  # clocks between tiles, beside the way out
    way_out: float = 7.0  # clocks per column; of scaled factors `way_out_scaled`
    way_out_scaled: float = 30.0


@dataclass(frozen=True)
class Size:
    """`items` products of m x n sums over k. parts: float16 numbers that stand for a factor; scaled: from float32."""

    m: int
    n: int
    k: int
    items: int = 1
    parts: int = 1
    scaled: bool = False


@dataclass(frozen=True)
class Choice:
    """A tile's columns, a cluster's blocks, the splits of each sum, and the clocks by the estimate."""

    columns: int
    cluster: int
    splits: int
    clocks: float = math.inf

    def is_in(self, plan: str) -> bool:
        """Whether a plan's text says the same."""
        return f" tile={ROWS}x{self.columns} " in plan and f" cluster={self.cluster} splits={self.splits}" in plan


def _up(a: int, b: int) -> int:
    return -(-a // b)


def stages(columns: int, parts: int) -> int:
    """Slots of the ring."""
    return RING_BYTES // ((ROWS + columns) * DEPTH * 2 * parts)


def clocks(size: Size, choice: Choice, constants: Constants, multiprocessors: int = 132) -> float:
    """Of one launch: plan.cpp's function of this name."""
    c, products = constants, 3 if size.parts == 2 else 1
    units = multiprocessors // choice.cluster
    works = _up(size.m, ROWS * choice.cluster) * _up(size.n, choice.columns) * size.items * choice.splits
    waves, busy = _up(works, units), min(works, units) * choice.cluster
    loaded = 2 * size.parts * DEPTH * (ROWS + choice.columns / choice.cluster)
    bandwidth = min(c.port, c.share * multiprocessors / busy)
    read = 2 * products * DEPTH * (ROWS + WARPGROUPS * choice.columns)
    written = 2 * size.parts * DEPTH * (ROWS + choice.columns)
    step = max(products * ROWS * choice.columns * DEPTH / c.multiply_adds, loaded / bandwidth,
               (read + written) / c.shared)
    steps = _up(_up(size.k, DEPTH), choice.splits)
    way_out = (c.way_out_scaled if size.scaled else c.way_out) * choice.columns
    lead = stages(choice.columns, size.parts) // 3
    behind = lead * step / 2 if steps > lead else 0
    between = c.between + max(way_out - behind, 0)
    parts_bytes = _bytes_of_a_split(size) * choice.splits
    second = 0 if choice.splits == 1 else c.kernel_after_kernel + 2 * parts_bytes / c.memory
    return c.launch + waves * (steps * step + between) + second


def _bytes_of_a_split(size: Size) -> int:
    return size.items * size.m * _up(size.n, 8) * 8 * 4


def choose(size: Size, constants: Constants | None = None, multiprocessors: int = 132,
           workspace: int = WORKSPACE_LIMIT) -> Choice:
    """The fastest by the estimate: plan.cpp's plan_product."""
    constants, best = constants or Constants(), Choice(0, 0, 0)
    steps, bytes_ = _up(size.k, DEPTH), _bytes_of_a_split(size)
    most = max(min(steps // LEAST_STEPS, MOST_SPLITS, workspace // max(bytes_, 1)), 1)
    for columns, cluster in TILES:
        if columns == 256 and size.parts == 2:
            continue
        for wanted in range(1, most + 1):
            splits = _up(steps, _up(steps, wanted))
            choice = Choice(columns, cluster, splits)
            choice = replace(choice, clocks=clocks(size, choice, constants, multiprocessors))
            if choice.clocks < best.clocks:
                best = choice
    return best


@dataclass(frozen=True)
class Estimate:
    """Of a call: its launches, and the elements that are scaled first (0 of half types)."""

    launches: tuple[tuple[Size, Choice], ...]
    scaled_elements: int = 0

    def clocks(self, constants: Constants | None = None) -> float:
        """Of the call, by these plans: with other constants the plans remain."""
        c = constants or Constants()
        total = sum(clocks(size, choice, c) for size, choice in self.launches)
        if self.scaled_elements:
            parts = self.launches[0][0].parts
            total += 3 * c.kernel_after_kernel + (8 + 2 * parts) * self.scaled_elements / c.memory
            total += len(self.launches) * c.kernel_after_kernel  # the tiled kernel, whose blocks leave at once
        return total

    def seconds(self, constants: Constants | None = None) -> float:
        """The same in seconds, at the clock that the data sheet's rate stands for."""
        return self.clocks(constants) / CLOCK


def estimate(problem: Problem, precision: str, plan: str) -> Estimate | None:
    """Of a call whose plan, the compiled module's words, is one of plan.cpp's; None for other kernels."""
    if not plan.split()[0].endswith("_wgmma"):
        return None
    scaled = problem.call.dtype == "float32"
    parts = 2 if scaled and precision == "float32" else 1
    sizes = [replace(size, parts=parts, scaled=scaled) for size in _sizes(problem)]
    return Estimate(tuple((size, choose(size)) for size in sizes), _elements(problem) if scaled else 0)


def _sizes(problem: Problem) -> Iterator[Size]:
    if problem.op == "gemm":
        items, m, n, k = problem.facts.product(problem.call)
        yield Size(m, n, k, items)
        return
    geo = problem.call.statics[0]
    pixels, taps = geo.batch * math.prod(geo.output), math.prod(geo.kernel)
    channels, filters = geo.channels // geo.groups, geo.filters // geo.groups
    if problem.op == "conv_fprop":
        yield Size(pixels, filters, taps * _lines(channels), geo.groups)
    elif problem.op == "conv_wgrad":
        yield Size(taps * _lines(channels), filters, pixels, geo.groups)
    else:
        for images, window in _phases(geo):
            yield Size(geo.batch * images, channels, window * _lines(filters), geo.groups)


def _lines(channels: int) -> int:
    return _up(channels, 64) * 64


def _phases(geo: ConvGeometry) -> Iterator[tuple[int, int]]:
    """(pixels, taps) of each phase of dgrad, which is a launch of its own."""
    found = [(1, 1)]
    for axis in range(len(geo.size)):
        n, f, stride, dilation = geo.size[axis], geo.kernel[axis], geo.stride[axis], geo.dilation[axis]
        before, step = geo.padding[axis][0], stride // math.gcd(stride, dilation)
        of_axis = []
        for tap in range(min(f, step)):
            pixel = (tap * dilation - before) % stride
            if pixel < n:
                of_axis.append(((n - pixel - 1) // stride + 1, (f - tap - 1) // step + 1))
        found = [(pixels * p, taps * t) for pixels, taps in found for p, t in of_axis]
    yield from found


def _elements(problem: Problem) -> int:
    """Of both factors, in lines that end at multiples of 8."""
    def padded(shape: tuple[int, ...]) -> int:
        return math.prod(shape[:-1]) * _up(shape[-1], 8) * 8

    return sum(padded(shape) for shape in problem.call.shapes[:2] if shape is not None)
