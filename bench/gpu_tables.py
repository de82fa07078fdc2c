"""Three static tables of what is measured on a GPU, row by row, with the bars that results should reach.

    hopper        products of the sizes that Hopper's kernels are made for, compared with cuBLAS and cuDNN
    kernels       all families of kernels, on any GPU from compute capability 8.0 on
    denominators  PyTorch alone, for machines without CuPy or a compiler

Each row has a key, a string that stays the same from run to run and joins predictions with results. Sizes are such that
all rows of a table fit into minutes: 128 images in half types, 64 in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest

from convgpu.benchmark.peers import LAYOUTS
from convgpu.benchmark.problems import conv_problem, gemm_problem, layer_problems, layout_problem, pool_problem
from convgpu.cases import networks
from convgpu.cases.networks import ALEXNET, MAX_POOLS, MOBILENET, MOBILENET_DEPTHWISE, RESNET50, VGG16, ConvLayer
from convgpu.cases.pool import PoolCase
from convgpu.cases.problem import Problem

DIRECTIONS = ("fprop", "dgrad", "wgrad")
HALVES, SINGLES = 128, 64  # images per batch in half types and in float32


@dataclass(frozen=True)
class Bar:
    """The goal of a part: a ratio theirs/ours, and a share of the roofline; with `of_copy`, the bandwidth is a copy's.
    """

    name: str
    ratio: float = 0.0
    share: float = 0.0
    of_copy: bool = False


@dataclass(frozen=True)
class Entry:
    """One row of a table: a problem, the precision of float32 products, and the part with its bar."""

    bench: str
    bar: Bar
    problem: Problem
    precision: str = "float32"
    alias: str = ""  # the key of the large problem, where a small problem replaces it

    @property
    def dtype(self) -> str:
        """The dtype that products are computed in; "tf32" for float32 at that precision."""
        return "tf32" if self.precision == "tf32" else self.problem.call.dtype

    @property
    def layouts(self) -> tuple[str, ...]:
        """The memory layouts of images that PyTorch is timed in. For half types on Hopper's tensor cores it is
        channels_last alone: the search for kernels then takes half the time, and the table of denominators has both
        layouts.
        """
        half = self.bench == "hopper" and self.problem.call.dtype in ("bfloat16", "float16")
        return LAYOUTS[:1] if half else LAYOUTS

    @property
    def key(self) -> str:
        """The key that joins a row's results, predictions and skips: "hopper: gemm bfloat16, 8192x8192x8192"."""
        if self.alias:
            return self.alias
        where = " ".join(filter(None, (self.problem.network, self.problem.layer)))
        return f"{self.bench}: {self.problem.op} {self.dtype}, {where}"


SQUARES = (512, 768, 1024, 1536, 2048, 3072, 4096, 6144)
OTHERS = (
    (16384, 16384, 512), (16384, 512, 16384), (512, 16384, 16384), (16384, 4096, 4096), (4096, 16384, 4096),
    (4096, 4096, 16384), (8192, 8192, 1024), (8192, 1024, 8192), (1024, 8192, 8192), (2048, 8192, 2048),
    (2048, 2048, 8192), (1024, 1024, 16384), (512, 512, 16384), (16384, 1024, 1024), (1024, 16384, 1024),
    (16384, 16384, 64), (8192, 8192, 128), (64, 8192, 8192), (64, 64, 16384), (128, 4096, 16384), (256, 16384, 4096),
    (16384, 64, 4096), (8192, 256, 2048), (4096, 128, 1024), (5120, 13824, 5120), (4096, 11008, 4096),
    (3000, 3000, 3000), (1000, 2048, 4096), (2056, 4104, 1032), (6144, 1536, 1536), (12288, 3072, 768))


def hopper() -> list[Entry]:
    """The products that Hopper's kernels are made for. Rows of all parts take turns: an early end leaves some of each.
    """
    dense = [layer for network in (RESNET50, VGG16, ALEXNET) for layer in network
             if isinstance(layer, ConvLayer) and layer.channels >= 40 and layer.groups == 1]
    single = [RESNET50[i] for i in (2, 4, 7, 9, 12, 13, 19)] + [VGG16[1], VGG16[7], ALEXNET[1]]
    stems = [network[0] for network in (RESNET50, VGG16, ALEXNET, MOBILENET)]
    grouped = [ConvLayer("ResNeXt", HALVES, 56, 128, 128, 3, groups=32),
               ConvLayer("ResNeXt", HALVES, 28, 256, 256, 3, groups=4)]
    halves = [gemm_problem(*sizes, dtype="bfloat16") for sizes in (*((n,) * 3 for n in reversed(SQUARES)), *OTHERS)]
    squares = [gemm_problem(n, n, n) for n in (4096, 8192, 6144)]
    first = _entries("hopper", Bar("GEMM bf16 8192", 1.0), [gemm_problem(8192, 8192, 8192, dtype="bfloat16")])
    parts = [
        _entries("hopper", Bar("GEMM bf16", 1.0), halves),
        _entries("hopper", Bar("GEMM float32", 2.5), squares),
        _entries("hopper", Bar("GEMM TF32", 1.0), squares, "tf32"),
        *(_entries("hopper", Bar(f"conv bf16 {d}", least), layer_problems(dense, (d,), "bfloat16", HALVES))
          for d, least in zip(DIRECTIONS, (1.0, 1.05, 1.1))),
        _entries("hopper", Bar("conv bf16 stems, fprop", 1.0), layer_problems(stems, ("fprop",), "bfloat16", HALVES)),
        *(_entries("hopper", Bar(f"conv float32 {d}", 2.0), layer_problems(single, (d,), "float32", SINGLES))
          for d in DIRECTIONS),
        _entries("hopper", Bar("grouped", 3.0), layer_problems(grouped, DIRECTIONS, "bfloat16")),
    ]
    return first + in_turns(parts)


def kernels() -> list[Entry]:
    """Rows for all families of kernels, on any GPU."""
    halves: list[Problem] = [gemm_problem(n, n, n, dtype="bfloat16") for n in (2048, 4096, 8192)]
    halves += [gemm_problem(4096, 4096, 4096, ta, tb, "bfloat16") for ta, tb in ((True, False), (False, True))]
    single: list[Problem] = [gemm_problem(n, n, n) for n in (1024, 4096)] + [gemm_problem(64, 1000, 2048)]
    shapes = (("nchw_to_nhwc", (64, 64, 112, 112)), ("nhwc_to_nchw", (64, 112, 112, 64)),
              ("nchw_to_nhwc", (64, 3, 224, 224)))
    images: list[Problem] = [layout_problem(*shape, dtype) for dtype in ("float32", "float16") for shape in shapes]
    pools = layer_problems([replace(layer, batch=32) for layer in MAX_POOLS[:1] + MAX_POOLS[3:5] + MAX_POOLS[-1:]],
                           ("fprop", "dgrad"), "bfloat16")
    averages: list[Problem] = [pool_problem(PoolCase("", (64, 56, 56, 256), size, stride, padding).geometry(), d,
                                           "float32", True, "", f"average {size}/{stride} 256 @56 b64")
                               for size, stride, padding in ((3, 2, 1), (56, 56, 0)) for d in ("fprop", "dgrad")]
    small = [replace(layer, batch=32) for layer in MOBILENET_DEPTHWISE[:6:2]]
    wide = [ConvLayer("ConvNeXt", 32, 56, 96, 96, 7, groups=96),
            ConvLayer("RepLKNet", 16, 56, 128, 128, 31, groups=128)]
    depthwise = layer_problems(small + wide, DIRECTIONS, "bfloat16") + layer_problems(small[:1], DIRECTIONS)
    dense = [replace(layer, batch=32) for layer in RESNET50[:1] + RESNET50[1:5:3] + RESNET50[9:12:2]]
    grouped = ConvLayer("ResNeXt", 32, 56, 128, 128, 3, groups=32)
    return in_turns([
        _entries("kernels", Bar("float32 GEMM", 0.8), single),
        _entries("kernels", Bar("float64 GEMM"), [gemm_problem(2048, 2048, 2048, dtype="float64")]),
        _entries("kernels", Bar("TF32 GEMM"), [gemm_problem(4096, 4096, 4096)], "tf32"),
        _entries("kernels", Bar("half GEMM", 0.5), halves),
        _entries("kernels", Bar("layouts", share=0.85, of_copy=True), images),
        _entries("kernels", Bar("max pooling", 1.3, 0.85, True), pools),
        _entries("kernels", Bar("average pooling", share=0.85, of_copy=True), averages),
        _entries("kernels", Bar("depthwise", 2.0, 0.7), depthwise),
        _entries("kernels", Bar("dense half", 0.2), layer_problems(dense, DIRECTIONS, "bfloat16")),
        _entries("kernels", Bar("dense float32", 0.2), layer_problems(dense[1:3], DIRECTIONS)),
        _entries("kernels", Bar("grouped", 0.2), layer_problems([grouped], DIRECTIONS, "bfloat16")),
    ])


def denominators() -> list[Entry]:
    """Rows for PyTorch alone, which our kernels are compared with."""
    layers = [RESNET50[i] for i in (0, 2, 4, 7, 9)] + [VGG16[1], VGG16[7], ALEXNET[1]]
    grouped = [ConvLayer("ResNeXt-50", SINGLES, size, c, c, 3, groups=32) for size, c in ((56, 128), (14, 512))]
    depthwise = [networks.DEPTHWISE[i] for i in (0, 4)]
    pools = [MAX_POOLS[-1], MAX_POOLS[3]]
    parts = []
    for precision in ("bfloat16", "float32", "tf32"):
        dtype, products = ("float32", "tf32") if precision == "tf32" else (precision, "float32")
        parts.append(_entries("denominators", Bar(f"cuBLAS {precision}"),
                              [gemm_problem(n, n, n, dtype=dtype) for n in (8192, 4096, 2048, 1024)], products))
        parts += [_entries("denominators", Bar(f"cuDNN {precision} {d}"), layer_problems(layers, (d,), dtype, SINGLES),
                           products) for d in DIRECTIONS]
    for dtype in ("bfloat16", "float32"):
        parts.append(_entries("denominators", Bar(f"grouped and depthwise {dtype}"),
                              layer_problems(grouped + depthwise, DIRECTIONS, dtype, SINGLES)))
        parts.append(_entries("denominators", Bar(f"max pooling {dtype}"),
                              layer_problems(pools, ("fprop", "dgrad"), dtype, SINGLES)))
    return in_turns(parts)


COPY = "denominators: copy of a gigabyte"
TABLES = {"hopper": hopper, "kernels": kernels, "denominators": denominators}


def _entries(bench: str, bar: Bar, problems: Iterable[Problem], precision: str = "float32") -> list[Entry]:
    return [Entry(bench, bar, problem, precision) for problem in problems]


def in_turns(parts: Sequence[Sequence[Entry]]) -> list[Entry]:
    """The first row of each part, then the second row of each part, and so on."""
    return [entry for entry in chain.from_iterable(zip_longest(*parts)) if entry is not None]


def tiny(entries: Sequence[Entry]) -> list[Entry]:
    """The same table with small sizes and the same keys, to try the programs where there is no GPU."""
    return [replace(entry, problem=_tiny(entry.problem), alias=entry.key) for entry in entries]


def _tiny(problem: Problem) -> Problem:
    op, shapes, statics, dtype = problem.call
    direction = problem.facts.direction
    if op == "gemm":
        m, n, k = sizes_of_gemm(problem)
        return gemm_problem(min(m, 24), min(n, 16), min(k, 32), *statics[2:4], dtype)
    if op.startswith("conv_"):
        geo, depthwise = statics[0], statics[0].groups == statics[0].channels > 1
        channels, groups = (2, 2) if depthwise else (4, min(geo.groups, 2))
        small = ConvLayer("", 2, geo.kernel[0] + 3, channels, channels, geo.kernel[0], geo.stride[0],
                          geo.padding[0][0], groups).geometry()
        return conv_problem(small, direction, dtype, problem.network, problem.layer)
    if problem.facts.family == "pool":
        geo = statics[0]
        size = (2, 2 * geo.window[0] + 1, 2 * geo.window[0] + 1, 4)
        small = PoolCase("", size, geo.window[0], geo.stride[0], geo.padding[0][0]).geometry()
        return pool_problem(small, direction, dtype, op.startswith("avg"), problem.network, problem.layer)
    return layout_problem(op, tuple(min(n, 6) for n in shapes[0] or ()), dtype)


def sizes_of_gemm(problem: Problem) -> tuple[int, int, int]:
    """The sizes (M, N, K) of a product."""
    product = problem.facts.product(problem.call)
    assert product is not None
    return product[1], product[2], product[3]


# Steps of whole networks: a network of convgpu.benchmark.networks, and the number of images in a batch.
TRAINED = (("lenet5", 128), ("alexnet", 128), ("resnet50", 32), ("vgg16", 16))
ON_THE_CPU = (("alexnet", 128),)


def training_keys() -> dict[str, list[str]]:
    """The keys of bench/train.py's rows: compared with eager PyTorch, with torch.compile, and on the CPU."""
    return {"train": [training_key("train", *chosen) for chosen in TRAINED],
            "train compiled": [training_key("train compiled", *chosen) for chosen in TRAINED],
            "train cpu": [training_key("train cpu", *chosen) for chosen in ON_THE_CPU]}


def training_key(bench: str, network: str, batch: int) -> str:
    """The key of a step: "train: alexnet b128"."""
    return f"{bench}: {network} b{batch}"
