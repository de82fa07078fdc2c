"""float32 on Hopper's tensor cores, emulated with their arithmetic bit for bit: the gate that it must pass beside a
chain of fused multiply-adds, data that scaled float16 cannot hold, special values, workspace; and TF32 by the same
kernels.

The emulated GPU has one multiprocessor here, on which small products are worth it.
"""

from __future__ import annotations

import numpy as np
import pytest
from conv_checks import by_name, check
from native_backends import needs_emulated
from test_conv_wgmma import OPS, TAKEN, kernels
from test_gemm_wgmma import LAYOUTS, hopper, settings_of
from test_gemm_wgmma import check as check_gemm

import convgpu as cg
from convgpu.backends import load
from convgpu.cases.conv import ConvCase
from convgpu.cases.float32 import DATA, EPS, chain, draw, errors, largest_and_rms, normal
from convgpu.cases.gemm import GemmCase
from convgpu.cases.tolerance import C_KERNEL, worst
from convgpu.geometry import conv_geometry

pytestmark = [needs_emulated, pytest.mark.usefixtures("one_multiprocessor")]

C_TF32 = C_KERNEL + 2.0**-10 / EPS  # factors rounded to 11 bits


@pytest.fixture(scope="module")
def native():
    return load("emulated")


def kernel_of_gemm(native, m, n, k, **options):
    kernel, _ = settings_of(native.module.plan_gemm(1, m, n, k, "float32", device=native.module.current_device(),
                                                    **options))
    return kernel


def passes_the_gate(y, a, b):
    """The largest and the root-mean-square error no worse than the chain's from 256 terms on, within twice below, and
    within the bound of kernels always."""
    (largest, rms), (of_chain, rms_of_chain) = (largest_and_rms(errors(z, a, b)) for z in (y, chain(a, b)))
    allowed = 1 if a.shape[1] >= 256 else 2
    assert largest <= min(C_KERNEL, allowed * of_chain) and rms <= allowed * rms_of_chain


@pytest.mark.parametrize("k", [64, 96, 256, 576, 2304, 9216])
@pytest.mark.parametrize("data", DATA, ids=lambda data: data.__name__)
def test_gate(native, data, k):
    m, n = (760, 376) if k < 200 else (136, 200)
    a, b = draw(data, m, k, n, seed=k)
    assert kernel_of_gemm(native, m, n, k) == "gemm_wgmma"
    passes_the_gate(cg.gemm(a, b).numpy(), a, b)


def test_errors_do_not_grow_with_the_sum():
    """What an addition rounds off is not lost: twice 64 terms or 200 times, one-signed or equal."""
    for draw_one in (lambda random, *shape: random.random(shape), lambda random, *shape: np.full(shape, 1.0003)):
        random = np.random.default_rng(0)
        a, b = draw_one(random, 128, 12_800).astype(np.float32), draw_one(random, 12_800, 128).astype(np.float32)
        assert errors(cg.gemm(a, b).numpy(), a, b).max() <= 4


@pytest.mark.parametrize("data", DATA, ids=lambda data: data.__name__)
def test_gate_of_convolution(native, data):
    """Images of one pixel: each direction is the same product, and what is wide in its rows is wide among images."""
    m, k, n = 304, 320, 72
    a, b = draw(data, m, k, n)
    turned = np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)
    forward, back, over = (conv_geometry("gate", x, w, 1, 0, 1, 1, "channels_last") for x, w in (
        ((m, 1, k), (1, k, n)), ((m, 1, n), (1, n, k)), ((k, 1, m), (1, m, n))))
    for op, geo in zip(OPS, (forward, back, over)):
        assert f"{op}_wgmma" in native.module.plan_conv(op, native.geometry(geo), "float32",
                                                        device=native.module.current_device()).text
    passes_the_gate(native.conv_fprop(a[:, None], b[None], None, forward, None)[:, 0], a, b)
    passes_the_gate(native.conv_dgrad(a[:, None], turned[1][None], None, back, None)[:, 0], a, b)
    passes_the_gate(native.conv_wgrad(turned[0][:, None], b[:, None], over)[0], a, b)


@pytest.mark.parametrize("case", [case for case in TAKEN if case.w[-2] * np.prod(case.w[:-2]) >= 64], ids=by_name)
def test_windows_of_all_kinds(native, case):
    """Directions with too little to multiply run on the tiled kernels; the cases are those of the half types."""
    for device in (1, 2):
        native.module.emulate(hopper(native.module, device))
        check(case, "float32", "channels_last", C_KERNEL)
    check(case, "float32", "channels_first", C_KERNEL)
    with cg.set_precision("tf32"):
        check(case, "float32", "channels_last", C_TF32)


@pytest.mark.parametrize("trans_a, trans_b", LAYOUTS)
@pytest.mark.parametrize("m, n, k", [(67, 135, 331), (264, 200, 65), (300, 1, 4097), (1, 300, 4097), (129, 257, 193)])
def test_layouts_and_sizes_that_no_tile_has(native, m, n, k, trans_a, trans_b):
    """TMA would need multiples of 8: scaled factors have lines of their own."""
    native.module.emulate(hopper(native.module, 2))
    check_gemm(GemmCase("odd", m, n, k, trans_a=trans_a, trans_b=trans_b, c=(n,), beta=-0.5, activation="tanh"),
               "float32")


@pytest.mark.parametrize("shape_a, shape_b", [
    ((3, 136, 200), (3, 200, 72)), ((5, 136, 67), (67, 129)), ((2, 2, 72, 200), (200, 136)),
    ((136, 200), (3, 200, 72))])
def test_batches(native, shape_a, shape_b):
    """A matrix that all items share is scaled once."""
    random = np.random.default_rng(0)
    a, b = (random.standard_normal(s).astype(np.float32) for s in (shape_a, shape_b))
    exact, magnitude = (np.matmul(f(a.astype("f8")), f(b.astype("f8"))) for f in (np.positive, np.abs))
    y = cg.matmul(a, b).numpy()
    assert worst(y, exact, magnitude, a.shape[-1], C_KERNEL) <= 1
    turned = np.ascontiguousarray(b.swapaxes(-1, -2)).swapaxes(-1, -2)
    assert y.tobytes() == cg.matmul(a, turned).numpy().tobytes()


def test_only_tiles_that_pairs_cannot_hold_are_computed_again(native):
    """They have the bits of the tiled kernel, whose tiles have 128 rows and columns here, and no others have."""
    random = np.random.default_rng(1)
    m, k, n = 384, 640, 384
    a, b = random.standard_normal((m, k)).astype(np.float32), random.standard_normal((k, n)).astype(np.float32)
    a[70, 1::2] *= 1e-12  # what the large ones meet in column 200 is zero
    b[::2, 200] = 0
    a[300, 5] = np.inf
    with cg.set_workspace_limit(0):
        tiled = cg.gemm(a, b).numpy()
    y = cg.gemm(a, b).numpy()
    same = (y == tiled) | np.isnan(y)
    blocks = same.reshape(3, 128, 3, 128).all(axis=(1, 3))
    np.testing.assert_array_equal(blocks, [[False, True, False], [False, False, False], [True, True, True]])
    finite = np.arange(m) != 300
    exact, magnitude = (f(a[finite].astype("f8")) @ f(b.astype("f8")) for f in (np.positive, np.abs))
    assert worst(y[finite], exact, magnitude, k, C_KERNEL) <= 1


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_infinities_and_nan_go_where_arithmetic_sends_them(native, precision):
    a, b = np.ones((130, 600), np.float32), np.ones((600, 136), np.float32)
    a[0, 3], a[129, 599], b[5, 70] = np.inf, np.nan, -np.inf
    with np.errstate(invalid="ignore"):
        expected = a @ b
    with cg.set_precision(precision):
        np.testing.assert_array_equal(cg.gemm(a, b).numpy(), expected)
        assert np.isposinf(cg.gemm(np.full_like(a, 1e30), np.full_like(b, 1e30)).numpy()).all()
        assert (cg.gemm(np.zeros_like(a), np.full_like(b, 1e38)).numpy() == 0).all()


@pytest.mark.parametrize("limit", [None, 4 << 20])
def test_zero_times_infinity_in_the_padding_is_no_product(native, limit):
    case = ConvCase("infinite", (2, 9, 10, 320), (3, 3, 320, 72), stride=(2, 1), padding=((1, 2), (2, 0)))
    geo, reference = case.geometry(), load("reference")
    x, w, g = (case.draw(shape, role, "float32") for shape, role in (
        (geo.x_shape, "x"), (geo.w_shape, "w"), (geo.y_shape, "g")))
    for tensor, at, value in ((x, (0, 0, 0, 3), np.inf), (w, (0, 0, 7, 3), -np.inf), (g, (1, 0, 0, 70), np.nan)):
        special = tensor.copy()
        special[at] = value
        x_, w_, g_ = (special if t is tensor else t for t in (x, w, g))
        with cg.set_workspace_limit(limit):
            for op, operands in (("conv_fprop", (x_, w_, None)), ("conv_dgrad", (g_, w_, None)),
                                 ("conv_wgrad", (x_, g_))):
                rest = (geo,) if op == "conv_wgrad" else (geo, "relu")
                got, expected = (np.asarray(getattr(run, op)(*operands, *rest), np.float64)
                                 for run in (native, reference))
                finite = np.isfinite(expected)
                np.testing.assert_array_equal(got[~finite], expected[~finite])
                assert np.isfinite(got[finite]).all()


def test_bits_repeat_and_splits_stay_within_the_workspace(native):
    random = np.random.default_rng(2)
    a, b = random.standard_normal((136, 4104)).astype("f4"), random.standard_normal((4104, 72)).astype("f4")
    exact, magnitude = (f(a.astype("f8")) @ f(b.astype("f8")) for f in (np.positive, np.abs))
    native.module.emulate(hopper(native.module, 8))
    assert native.module.plan_gemm(1, 136, 72, 4104, "float32", limit=0).workspace == 0
    splits = set()
    for limit in (None, 5 << 20, 4 << 20, 3 << 20):
        plan = native.module.plan_gemm(1, 136, 72, 4104, "float32", device=native.module.current_device(), limit=limit)
        kernel, settings = settings_of(plan)
        assert limit is None or int(settings["workspace"]) <= limit
        splits.add((kernel, int(settings["splits"]) > 1))
        with cg.set_workspace_limit(limit):
            y = cg.gemm(a, b).numpy()
            assert y.tobytes() == cg.gemm(a, b).numpy().tobytes()
            assert worst(y, exact, magnitude, 4104, C_KERNEL) <= 1
    assert {("gemm_wgmma", True), ("gemm_tiled", True)} <= splits


def test_unaligned_factors_and_views(native):
    random = np.random.default_rng(4)
    whole, b = random.standard_normal((141, 273)).astype("f4"), random.standard_normal((272, 136)).astype("f4")
    for a in (whole[1:, 1:], whole[:140, :272]):
        exact, magnitude = (f(a.astype("f8")) @ f(b.astype("f8")) for f in (np.positive, np.abs))
        assert worst(cg.gemm(a, b).numpy(), exact, magnitude, 272, C_KERNEL) <= 1


@pytest.mark.parametrize("data", DATA, ids=lambda data: data.__name__)
def test_tf32_rounds_factors_once(native, data):
    m, k, n = 136, 640, 200
    a, b = draw(data, m, k, n)
    assert kernel_of_gemm(native, m, n, k, precision="tf32") == "gemm_wgmma"
    with cg.set_precision("tf32"):
        y = cg.gemm(a, b).numpy()
    assert errors(y, a, b).max() <= C_TF32
    if data is normal:
        assert errors(y, a, b).max() > 8 * C_KERNEL  # on request only: it is no float32


@pytest.mark.parametrize(("sizes", "settings", "why"), [
    ((1, 256, 256, 256), {}, "too_little_to_multiply"), ((1, 4096, 4096, 31), {}, "sums_of_fewer_than_32_terms"),
    ((1, 4096, 4096, 4096), {"limit": 64 << 20}, "scaled_factors_beyond_the_workspace"),
    ((1, 4096, 4096, 4096), {"device": 80}, "not_sm_90a")])
def test_what_it_does_not_take(native, sizes, settings, why):
    device = native.module.Device(arch=settings.pop("device", 90))
    kernel, words = settings_of(native.module.plan_gemm(*sizes, "float32", device=device, **settings))
    assert kernel == "gemm_tiled" and words["no_wgmma"] == why


@pytest.mark.parametrize(("precision", "plan", "bytes_of_element"), [
    ("float32", "tile=128x128 stages=3 cluster=2 splits=1 factors=scaled_float16_pairs", 4),
    ("tf32", "tile=128x256 stages=4 cluster=2 splits=1 factors=scaled_float16", 2)])
def test_plans(native, precision, plan, bytes_of_element):
    """Workspace: the factors' own bytes, and a few for each line and tile."""
    made = native.module.plan_gemm(1, 8192, 8192, 8192, "float32", precision=precision, device=native.module.Device())
    assert made.text.startswith(f"gemm_wgmma {plan} ")
    factors = 2 * 8192 * 8192 * bytes_of_element
    assert factors < made.workspace < 1.001 * factors


def test_plans_of_resnet_50(native):
    geo = native.geometry(conv_geometry("plan", (256, 14, 14, 256), (3, 3, 256, 256), 1, "same", 1, 1, "channels_last"))
    for op in OPS:
        plan = native.module.plan_conv(op, geo, "float32", device=native.module.Device()).text
        assert plan.startswith(f"{op}_wgmma tile=128x128 ") and "factors=scaled_float16_pairs" in plan
    assert kernels(native, ConvCase("", (64, 28, 28, 128), (3, 3, 128, 128), stride=2, padding="same"), "float32",
                   native.module.Device())[1][0] == "conv_dgrad_wgmma"


def test_explain_says_what_becomes_of_float32():
    text = str(cg.explain("gemm", (8192, 8192), (8192, 8192), device="H200"))
    assert "kernel      gemm_wgmma, tile 128x128, stages 3, cluster 2, splits 1\n" in text
    assert "factors     scaled float16 pairs; tiles that they cannot hold by gemm_tiled\n" in text


def test_the_plan_of_a_plans_own_bytes_is_the_same_plan(native):
    """A launcher knows no more than the bytes that it was lent."""
    random = np.random.default_rng(0)
    device = native.module.Device()
    for _ in range(300):
        c, k = (int(n) for n in random.choice((48, 64, 96, 256, 768, 2048), 2))
        size, kernel, stride = (tuple(int(n) for n in random.integers(1, most, 2)) for most in (60, 6, 4))
        size = [max(n, f) for n, f in zip(size, kernel)]
        geo = native.geometry(conv_geometry("plan", (int(random.choice((1, 3, 64))), *size, c), (*kernel, c, k), stride,
                                            "same", 1, 1, "channels_last"))
        for op in OPS:
            for precision in ("float32", "tf32"):
                plan = settings_of(native.module.plan_conv(op, geo, "float32", precision=precision, device=device))
                again = settings_of(native.module.plan_conv(op, geo, "float32", precision=precision, device=device,
                                                            limit=int(plan[1].get("workspace", 0))))
                for _, settings in (plan, again):
                    settings.pop("no_wgmma", None)
                assert plan == again


def test_plans_of_products_that_share_an_operand():
    """explain and the launcher agree: one product of all rows."""
    for a, b in (((16, 64, 1024), (1024, 1024)), ((16, 64, 1024), (1, 1024, 1024))):
        assert cg.explain("matmul", a, b, device="H200").kernel == "gemm_wgmma"
    with cg.set_workspace_limit(0):
        assert cg.explain("matmul", (4096, 1024), (1024, 1024), device="H200").kernel == "gemm_tiled"
