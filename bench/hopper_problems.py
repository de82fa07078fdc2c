"""What the kernels for Hopper are held to on an H200: python bench/kernels.py --hopper."""

from __future__ import annotations

from convgpu.benchmark.problems import conv_problem, gemm_problem, layer_problems
from convgpu.cases.networks import ALEXNET, MOBILENET, RESNET50, VGG16, ConvLayer
from convgpu.cases.problem import Problem

SQUARES = (512, 768, 1024, 1536, 2048, 3072, 4096, 6144, 8192)
OTHERS = (
    (16384, 16384, 512), (16384, 512, 16384), (512, 16384, 16384), (16384, 4096, 4096), (4096, 16384, 4096),
    (4096, 4096, 16384), (8192, 8192, 1024), (8192, 1024, 8192), (1024, 8192, 8192), (2048, 8192, 2048),
    (2048, 2048, 8192), (1024, 1024, 16384), (512, 512, 16384), (16384, 1024, 1024), (1024, 16384, 1024),
    (16384, 16384, 64), (8192, 8192, 128), (64, 8192, 8192), (64, 64, 16384), (128, 4096, 16384), (256, 16384, 4096),
    (16384, 64, 4096), (8192, 256, 2048), (4096, 128, 1024), (5120, 13824, 5120), (4096, 11008, 4096),
    (3000, 3000, 3000), (1000, 2048, 4096), (2056, 4104, 1032), (6144, 1536, 1536), (12288, 3072, 768))


def tables(batch: int = 256) -> list[tuple[str, float, str, list[Problem]]]:
    """(part, least theirs/ours, precision, problems) for each part; ratios are of geometric means."""
    halves = [gemm_problem(*sizes, dtype="bfloat16") for sizes in (*((n,) * 3 for n in SQUARES), *OTHERS)]
    singles = [gemm_problem(n, n, n) for n in (4096, 6144, 8192)]
    dense = [layer for network in (RESNET50, VGG16, ALEXNET) for layer in network
             if isinstance(layer, ConvLayer) and layer.channels >= 40 and layer.groups == 1]
    stems = [network[0] for network in (RESNET50, VGG16, ALEXNET, MOBILENET) if isinstance(network[0], ConvLayer)]
    grouped = [ConvLayer("ResNeXt", batch, 56, 128, 128, 3, groups=32), ConvLayer("ResNeXt", batch, 28, 256, 256, 3,
                                                                                   groups=4)]
    both = ("fprop", "dgrad", "wgrad")
    return [
        ("GEMM bf16 8192", 1.0, "float32", [gemm_problem(8192, 8192, 8192, dtype="bfloat16")]),
        ("GEMM bf16", 1.0, "float32", halves),
        ("GEMM float32", 2.5, "float32", singles),
        ("GEMM TF32", 1.0, "tf32", singles),
        *((f"conv bf16 {d}", least, "float32", layer_problems(dense, (d,), "bfloat16", batch))
          for d, least in (("fprop", 1.0), ("dgrad", 1.05), ("wgrad", 1.1))),
        ("conv bf16 stems, fprop", 1.0, "float32", layer_problems(stems, ("fprop",), "bfloat16", batch)),
        *((f"conv float32 {d}", 2.0, "float32", layer_problems(dense, (d,), "float32", batch)) for d in both),
        ("grouped", 3.0, "float32", [conv_problem(layer.geometry(), d, "bfloat16", layer.network, layer.name)
                                     for layer in grouped for d in both]),
    ]
