"""The roofline: the table of GPUs, and FLOPs and least bytes by hand and by counting."""

from __future__ import annotations

import itertools
import math

import pytest

from convgpu.cases import conv, pool
from convgpu.cases.networks import RESNET50, ConvLayer
from convgpu.facts.conv import conv_work, pixels_met
from convgpu.facts.gemm import gemm_work
from convgpu.facts.layout import layout_work
from convgpu.facts.pool import pool_work
from convgpu.roofline import GPUS, Work, find_gpu


def test_the_table_has_every_architecture_and_names_its_sources():
    assert {gpu.arch for gpu in GPUS} == {75, 80, 86, 89, 90, 100, 120}
    shared = {75: 64, 80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}
    for gpu in GPUS:
        assert gpu.shared_bytes == shared[gpu.arch] * 1024 and gpu.source.startswith("NVIDIA ")
        assert gpu.peak["float64"] < gpu.peak["float32"] <= gpu.peak["tf32"] < gpu.peak["half"]


@pytest.mark.parametrize("name, found", [
    ("H200", "H200"), ("NVIDIA H100 80GB HBM3", "H100"), ("rtx4090", "RTX 4090"), ("NVIDIA A100-SXM4-80GB", "A100"),
    ("NVIDIA GeForce RTX 5090", "RTX 5090"), ("Tesla T4", "T4"), ("NVIDIA L4", "L4"), ("NVIDIA L40S", "L40S"),
    ("NVIDIA A10", "A10"), ("NVIDIA A10G", None), ("NVIDIA L40", None),
    ("NVIDIA B200", "B200"), ("RTX A1000", None), ("NVIDIA H100 PCIe", None),
    ("NVIDIA GeForce RTX 4090 Laptop GPU", None), ("", None)])
def test_gpus_are_found_by_name(name, found):
    if found is None:
        with pytest.raises(ValueError, match="roofline: expected one of T4, .*, got "):
            find_gpu(name)
    else:
        assert find_gpu(name).name == found


def test_both_bounds_by_hand():
    h200 = find_gpu("H200")
    gemm = gemm_work(4096, 4096, 4096, "bfloat16")
    assert gemm == Work(2 * 4096**3, "half", 3 * 4096**2 * 2)
    assert gemm.seconds(h200) == 2 * 4096**3 / 989.4e12 and gemm.bound(h200) == "arithmetic"
    thin = gemm_work(4096, 1, 4096, "float32", c_elements=1)
    assert thin.seconds(h200) == (4096**2 + 2 * 4096 + 1) * 4 / 4.8e12 and thin.bound(h200) == "memory"
    assert gemm_work(8, 8, 8, "float32", precision="tf32").unit == "tf32 products"
    assert gemm_work(8, 8, 8, "float64", precision="tf32", batch=3) == Work(3 * 1024, "float64", 3 * 192 * 8)
    square = gemm_work(4096, 4096, 4096, "float32")  # on Hopper three products of float16
    assert square.seconds(h200) == 6 * 4096**3 / 989.4e12
    assert square.seconds(find_gpu("A100")) == 2 * 4096**3 / 19.5e12
    assert layout_work((2, 3, 4), "uint8") == Work(0, "", 48) and layout_work((2, 3), "int64").bound(h200) == "memory"


@pytest.mark.parametrize("op", ["conv_fprop", "conv_dgrad", "conv_wgrad"])
def test_convolutions_by_hand(op):
    geo = ConvLayer("", 256, 56, 64, 256, 1).geometry()
    pixels = 256 * 56 * 56
    assert conv_work(op, geo, "bfloat16") == Work(2 * pixels * 64 * 256, "half", 2 * (pixels * 320 + 64 * 256))
    depthwise = ConvLayer("", 8, 56, 128, 128, 3, groups=128).geometry()
    assert conv_work(op, depthwise, "bfloat16").unit == "float32"
    strided = ConvLayer("", 8, 56, 256, 512, 1, 2, 0).geometry()  # meets a quarter of the pixels
    x = 8 * 256 * (56**2 if op == "conv_dgrad" else 28**2)
    assert conv_work(op, strided, "float32").bytes == 4 * (x + 8 * 28**2 * 512 + 256 * 512)


def test_pixels_that_taps_meet():
    for n, f, stride, dilation, before, after in itertools.product((0, 1, 5, 8), (1, 2, 3), (1, 2, 5), (1, 3), (0, 4),
                                                                   (0, 2)):
        out = max((n + before + after - dilation * (f - 1) - 1) // stride + 1, 0)
        met = {o * stride + r * dilation - before for o in range(out) for r in range(f)} & set(range(n))
        got = pixels_met(n, f, stride, dilation, before, out)
        assert got == len(met), (n, f, stride, dilation, before, after)


def test_poolings_by_hand():
    geo = pool.PoolCase("", (8, 112, 112, 64), 3, 2, 1).geometry()
    x, y = 8 * 112**2 * 64, 8 * 56**2 * 64
    assert pool_work("max_pool", geo, "bfloat16") == Work(9 * y, "float32 additions", 2 * (x + y) + y)
    assert pool_work("max_pool", geo, "bfloat16", with_offsets=False).bytes == 2 * (x + y)
    assert pool_work("max_pool_dgrad", geo, "float32").bytes == 4 * (x + y) + y
    assert pool_work("avg_pool_dgrad", geo, "float64") == Work(9 * y, "float64 additions", 8 * (x + y))
    assert pool_work("max_pool_gather", geo, "float32").bytes == 9 * y
    assert pool_work("max_pool_indices", geo, "float32").bytes == 9 * y
    h200 = find_gpu("H200")
    assert pool_work("max_pool", geo, "float32").arithmetic_seconds(h200) == 9 * y / 33.5e12


def test_every_case_has_a_roofline():
    for gpu in GPUS:
        for case in conv.CASES:
            for op in ("conv_fprop", "conv_dgrad", "conv_wgrad"):
                work = conv_work(op, case.geometry(), "float16")
                assert math.isfinite(work.seconds(gpu)) and (work.seconds(gpu) > 0) == (work.bytes > 0)
        for layer in RESNET50:
            first, last = (conv_work("conv_fprop", layer.geometry(f), "float32") for f in ("channels_first",
                                                                                          "channels_last"))
            assert first == last
