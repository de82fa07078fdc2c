"""The GEMM kernels for Hopper, emulated and on a GPU: layouts, edges, tiles, batches, splits, epilogues, and where
others take over.

tests/kernels/test_gemm.cpp runs every instance under sanitizers.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from native_backends import NATIVE, only_emulated, skip_without_hopper
from test_gemm import ACTIVATE, exact, normal
from test_gemm_kernels import error_of

import convgpu as cg
from convgpu.backends import load
from convgpu.cases.gemm import GemmCase, gemm_cases
from convgpu.cases.tolerance import C_KERNEL, worst
from convgpu.dtypes import as_dtype

HALF = ("float16", "bfloat16")
LAYOUTS = tuple(itertools.product((False, True), repeat=2))
# (M, N, K): below a tile, at its edges and beyond; K shorter than the ring of slots, and several times around it.
SIZES = ((8, 8, 8), (64, 64, 64), (120, 56, 72), (128, 64, 1600), (136, 72, 1128), (264, 136, 200), (392, 264, 584))


@pytest.fixture(autouse=True, params=NATIVE)
def backend(request):
    skip_without_hopper(request.param)
    with cg.use_backend(request.param):
        yield request.param


@pytest.fixture
def module(backend):
    return load(backend).module


def hopper(module, multiprocessors=132):
    return module.Device(arch=90, multiprocessors=multiprocessors, shared_bytes=227 << 10)


def settings_of(plan):
    kernel, *words = plan.text.split()
    return kernel, dict(word.split("=") for word in words)


def check(case, dtype):
    a, b, c = (case.draw(role, dtype) for role in "abc")
    y = cg.gemm(a, b, c, **case.options).numpy()
    before, magnitude = exact(case, a, b, c)
    magnitude = magnitude if case.activation in (None, "relu") else magnitude + 1
    assert worst(y, ACTIVATE[case.activation](before), magnitude, case.k + 1, C_KERNEL) <= 1


@pytest.mark.parametrize("trans_a, trans_b", LAYOUTS)
@pytest.mark.parametrize("m, n, k", SIZES)
def test_layouts_and_edges(module, m, n, k, trans_a, trans_b):
    for dtype in HALF:
        plan = module.plan_gemm(1, m, n, k, dtype, trans_a, trans_b, device=module.current_device())
        assert settings_of(plan)[0] == "gemm_wgmma"
        check(GemmCase("hopper", m, n, k, trans_a=trans_a, trans_b=trans_b), dtype)


@pytest.mark.parametrize("m, n, k, options", [
    (13, 40, 24, {}), (13, 7, 24, {"trans_b": True}), (24, 13, 7, {"trans_a": True, "trans_b": False}),
    (1, 8, 520, {}), (520, 1, 24, {"trans_b": True}), (8, 40, 13, {"trans_a": True})])
def test_the_side_of_a_line_that_is_no_line_may_be_odd(module, m, n, k, options):
    """Rows of a K-major factor, and k of an MN-major one, need no multiples; nor do the lines of y."""
    plan = module.plan_gemm(1, m, n, k, "bfloat16", **options)
    taken = (m if options.get("trans_a") else k) % 8 == 0 and (k if options.get("trans_b") else n) % 8 == 0
    assert (settings_of(plan)[0] == "gemm_wgmma") == taken
    check(GemmCase("odd", m, n, k, **options), "bfloat16")


@pytest.mark.parametrize("c, options", [
    ((136,), {}), ((40, 1), {"beta": 0.5}), ((40, 136), {"beta": -2.0, "alpha": 0.25}), ((), {"alpha": 0.0}),
    ((1, 136), {"activation": "relu"}), ((136,), {"activation": "tanh", "alpha": 0.3}),
    ((40, 136), {"activation": "sigmoid", "alpha": 0.1}), ((136,), {"beta": 0.0}), (None, {"alpha": -0.5})])
def test_epilogues(c, options):
    for dtype in HALF:
        check(GemmCase("epilogue", 40, 136, 264, c=c, **options), dtype)
        check(GemmCase("epilogue_of_splits", 40, 136, 2056, c=c, **options), dtype)


@pytest.mark.parametrize("c, options", [
    (None, {}), ((137,), {"activation": "relu"}), ((40, 137), {"beta": 0.5, "activation": "sigmoid"})])
@pytest.mark.parametrize("k", [72, 2056])
def test_rows_that_tma_cannot_write(c, options, k):
    """Rows of 137 elements are no multiple of 16 bytes: the lanes write them, and with the same bits."""
    for dtype in HALF:
        case = GemmCase("odd_rows", 40, 137, k, trans_b=True, c=c, **options)
        check(case, dtype)
        a, b, c_ = (case.draw(role, dtype) for role in "abc")
        even = None if c_ is None else np.ascontiguousarray(c_[..., :136])
        np.testing.assert_array_equal(cg.gemm(a, b[:136], even, **case.options).numpy(),
                                      cg.gemm(a, b, c_, **case.options).numpy()[:, :136])


@only_emulated
@pytest.mark.usefixtures("one_multiprocessor")
@pytest.mark.parametrize("m, n, k", [(520, 264, 8), (648, 136, 72), (264, 520, 520), (300, 77, 264)])
def test_one_block_for_all_tiles(m, n, k):
    """Its boxes are filled again while TMA reads them, and one warpgroup begins a tile while the other ends one."""
    for dtype in HALF:
        check(GemmCase("one_block", m, n, k, trans_b=True, c=(n,), activation="relu"), dtype)


@pytest.mark.parametrize("shape_a, shape_b", [
    ((3, 40, 72), (3, 72, 56)), ((5, 136, 24), (24, 8)), ((2, 3, 16, 200), (200, 24)), ((40, 72), (3, 72, 56)),
    ((2, 1, 16, 72), (1, 3, 72, 24)), ((3, 8, 2056), (3, 2056, 16))])
def test_batches(shape_a, shape_b):
    for dtype in HALF:
        a, b = normal(*shape_a, dtype=dtype), normal(*shape_b, seed=1, dtype=dtype)
        expected = a.astype("f8") @ b.astype("f8")
        assert error_of(cg.matmul(a, b).numpy(), expected, a, b) <= 1
        turned = np.ascontiguousarray(b.swapaxes(-1, -2)).swapaxes(-1, -2)
        np.testing.assert_array_equal(cg.matmul(a, turned), cg.matmul(a, b))


@pytest.mark.parametrize("dtype", HALF)
def test_sums_that_are_split(module, dtype):
    a, b = normal(24, 4104, dtype=dtype), normal(4104, 40, seed=1, dtype=dtype)
    expected = a.astype("f8") @ b.astype("f8")
    limits = (0, 24 * 40 * 4 * 3, 64 << 20)
    splits = [int(settings_of(module.plan_gemm(1, 24, 40, 4104, dtype, limit=limit))[1]["splits"]) for limit in limits]
    assert splits[0] == 1 < splits[1] <= 3 < splits[2]
    for limit in limits:
        with cg.set_workspace_limit(limit):
            y = cg.gemm(a, b).numpy()
            assert error_of(y, expected, a, b) <= 1
            assert y.tobytes() == cg.gemm(a, b).numpy().tobytes()


@pytest.mark.parametrize("dtype", HALF)
def test_infinities_and_nan_go_where_arithmetic_sends_them(dtype):
    a, b = np.ones((130, 600), as_dtype(dtype)), np.ones((600, 72), as_dtype(dtype))
    a[0, 3], a[129, 599], b[5, 70] = np.inf, np.nan, -np.inf
    with np.errstate(invalid="ignore"):
        expected = (a.astype("f8") @ b.astype("f8")).astype(as_dtype(dtype)).astype("f8")
    np.testing.assert_array_equal(cg.gemm(a, b).numpy().astype("f8"), expected)


def test_a_product_of_zeros_is_zero_where_rows_end_in_infinity():
    """What TMA fills beyond an edge is zero in both factors: no 0 * Inf reaches a result."""
    a, b = np.full((72, 8), np.inf, as_dtype("bfloat16")), np.ones((8, 72), as_dtype("bfloat16"))
    assert np.isposinf(cg.gemm(a, b).numpy().astype("f4")).all()


@only_emulated
@pytest.mark.parametrize("arch", [90, 80])
def test_cases_on_both_tiers(module, arch):
    """The table of cases with half types, on Hopper's kernels where they apply and on the portable ones."""
    module.emulate(module.Device(arch=arch))
    try:
        for case in gemm_cases():
            if case.m * case.n * case.k < 500_000 and max(case.m, case.n) < 4097:
                check(case, HALF[len(case.name) % 2])
    finally:
        module.emulate(module.Device())


@only_emulated
@pytest.mark.parametrize("dtype, sizes, options, why", [
    ("float64", (1, 512, 512, 512), {}, "no_half_type"),
    ("float16", (1, 512, 512, 0), {}, "no_sums"),
    ("float16", (1, 512, 511, 512), {}, "lines_not_at_multiples_of_16_bytes"),
    ("bfloat16", (1, 511, 512, 512), {"trans_a": True}, "lines_not_at_multiples_of_16_bytes")])
def test_what_it_does_not_take(module, dtype, sizes, options, why):
    kernel, settings = settings_of(module.plan_gemm(*sizes, dtype, **options, device=hopper(module)))
    assert kernel == "gemm_tiled" and settings["no_wgmma"] == why
    for arch in (80, 89, 100, 120):
        device = module.Device(arch=arch, multiprocessors=132, shared_bytes=99 << 10)
        assert "no_wgmma=not_sm_90a" in module.plan_gemm(1, 512, 512, 512, "bfloat16", device=device).text


def test_unaligned_factors_take_the_portable_kernel():
    whole = normal(41, 73, dtype="bfloat16")
    b = normal(72, 56, seed=1, dtype="bfloat16")
    for a in (whole[1:, 1:], whole[:40, :72]):
        assert error_of(cg.gemm(a, b).numpy(), a.astype("f8") @ b.astype("f8"), a, b) <= 1


@only_emulated
@pytest.mark.parametrize("sizes, plan", [
    ((1, 8192, 8192, 8192), "tile=128x256 stages=4 cluster=2 splits=1"),
    ((1, 1024, 1024, 1024), "tile=128x128 stages=6 cluster=2 splits=1"),
    ((1, 512, 512, 512), "tile=128x64 stages=8 cluster=1 splits=1"),
    ((1, 64, 8192, 8192), "tile=128x256 stages=4 cluster=1 splits=3"),
    ((1, 64, 64, 65536), "tile=128x64 stages=8 cluster=1 splits=64"),
    ((64, 128, 128, 64), "tile=128x64 stages=8 cluster=1 splits=1")])
def test_plans(module, sizes, plan):
    assert module.plan_gemm(*sizes, "bfloat16", device=hopper(module)).text.startswith(f"gemm_wgmma {plan} ")


@only_emulated
def test_plans_are_within_the_workspace_and_leave_no_split_empty(module):
    sizes = (1, 8, 100, 128, 1000, 4096, 65536)
    for m, n, k, items in itertools.product(sizes, (8, 136, 4096), sizes[1:], (1, 7)):
        for limit in (0, 1 << 20, 64 << 20):
            plan = module.plan_gemm(items, m, n, 8 * k, "float16", device=hopper(module), limit=limit)
            settings = settings_of(plan)[1]
            splits, steps = int(settings["splits"]), -(-k // 8)
            assert int(settings["workspace"]) <= limit and (splits - 1) * -(-steps // splits) < steps


@only_emulated
def test_explain_names_the_kernel_or_says_why_not():
    text = str(cg.explain("gemm", (8192, 8192), (8192, 8192), dtype="bfloat16", device="H200"))
    assert "kernel      gemm_wgmma, tile 128x256, stages 4, cluster 2, splits 1\n" in text
    assert cg.explain("matmul", (4, 64, 64), (4, 64, 64), dtype="float16", device="H100").kernel == "gemm_wgmma"
    text = str(cg.explain("gemm", (64, 63), (63, 64), dtype="bfloat16", device="H200"))
    assert "kernel      gemm_tiled, engine tensor_core" in text and "no wgmma    lines not at multiples of 16" in text
