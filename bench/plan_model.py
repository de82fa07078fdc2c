"""The time estimate of csrc/hopper/plan.cpp in Python, with its constants as parameters.

It estimates the time of a table's rows before anything has run, and bench/refit.py fits the constants to measured
times. A test checks that it chooses the same plans as the compiled module.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from convgpu.cases.problem import Problem
from convgpu.geometry import ConvGeometry

# clocks per second at which 132 multiprocessors with 4096 FLOPs per clock reach the data sheet's 989.4 TFLOP/s
CLOCK = 1.83e9
TILES = ((256, 2), (256, 1), (128, 2), (128, 1), (64, 1))  # (columns of a tile, blocks of a cluster)
ROWS, DEPTH, WARPGROUPS, RING_BYTES = 128, 64, 2, 192 * 1024
WORKSPACE_LIMIT = 64 << 20
LEAST_STEPS, MOST_SPLITS = 4, 64


@dataclass(frozen=True)
class Constants:
    """The constants of plan.cpp: rates per clock of one multiprocessor, or clocks; `memory` is for the whole GPU."""

    multiply_adds: float = 2048  # of the tensor cores of one multiprocessor
    shared: float = 128  # bytes of shared memory
    share: float = 32  # bytes of the L2 cache for each multiprocessor, if all read at once
    port: float = 64  # bytes of the L2 cache for a multiprocessor that reads alone
    memory: float = 2700  # bytes of the memory for all multiprocessors together
    launch: float = 1000  # clocks of a launch
    kernel_after_kernel: float = 5000
    between: float = 300  # clocks between two tiles, without the time to store the results
    way_out: float = 7.0  # clocks per column to store the results; with scaled factors it is `way_out_scaled`
    way_out_scaled: float = 30.0


@dataclass(frozen=True)
class Size:
    """The sizes of `items` products of m x n sums over k. parts: float16 numbers per factor; scaled: made from float32.
    """

    m: int
    n: int
    k: int
    items: int = 1
    parts: int = 1
    scaled: bool = False


@dataclass(frozen=True)
class Choice:
    """The columns of a tile, the blocks of a cluster, the splits of each sum, and the estimated clocks."""

    columns: int
    cluster: int
    splits: int
    clocks: float = math.inf

    def is_in(self, plan: str) -> bool:
        """Whether the text of a plan describes this choice."""
        return f" tile={ROWS}x{self.columns} " in plan and f" cluster={self.cluster} splits={self.splits}" in plan


def _up(a: int, b: int) -> int:
    return -(-a // b)


def stages(columns: int, parts: int) -> int:
    """The number of slots in the ring of shared memory."""
    return RING_BYTES // ((ROWS + columns) * DEPTH * 2 * parts)


def clocks(size: Size, choice: Choice, constants: Constants, multiprocessors: int = 132) -> float:
    """The clocks of one launch, like the function of this name in plan.cpp."""
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
    """The choice with the least estimated time, like plan_product in plan.cpp."""
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
    """The estimate of a call: its launches, and the number of elements that are scaled first (0 for half types)."""

    launches: tuple[tuple[Size, Choice], ...]
    scaled_elements: int = 0

    def clocks(self, constants: Constants | None = None) -> float:
        """The clocks of the call; other constants do not change the plans."""
        c = constants or Constants()
        total = sum(clocks(size, choice, c) for size, choice in self.launches)
        if self.scaled_elements:
            parts = self.launches[0][0].parts
            total += 3 * c.kernel_after_kernel + (8 + 2 * parts) * self.scaled_elements / c.memory
            total += len(self.launches) * c.kernel_after_kernel  # the tiled kernel, whose blocks return at once
        return total

    def seconds(self, constants: Constants | None = None) -> float:
        """The seconds of the call, at the clock that the data sheet's rate implies."""
        return self.clocks(constants) / CLOCK


def estimate(problem: Problem, precision: str, plan: str) -> Estimate | None:
    """The estimate of a call, if its plan (in the compiled module's words) comes from plan.cpp; None for other kernels.
    """
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
    """The pixels and taps of each phase of dgrad; each phase is one launch."""
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
    """The elements of both factors, with lines padded to multiples of 8."""
    def padded(shape: tuple[int, ...]) -> int:
        return math.prod(shape[:-1]) * _up(shape[-1], 8) * 8

    return sum(padded(shape) for shape in problem.call.shapes[:2] if shape is not None)
