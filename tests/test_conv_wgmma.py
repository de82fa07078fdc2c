"""The convolution kernels for Hopper, emulated and on a GPU: directions, edges of lines and tiles, windows of all
kinds, splits, special values, and where others take over.

tests/kernels/test_conv.cpp runs every instance under sanitizers.
"""

from __future__ import annotations

import numpy as np
import pytest
from conv_checks import by_name, check
from native_backends import NATIVE, only_emulated, skip_without_hopper
from test_gemm_wgmma import hopper, settings_of

import convgpu as cg
from convgpu import geometry
from convgpu.backends import load
from convgpu.cases.conv import ConvCase, conv_cases
from convgpu.cases.tolerance import C_KERNEL
from convgpu.dtypes import as_dtype

HALF = ("float16", "bfloat16")
OPS = ("conv_fprop", "conv_dgrad", "conv_wgrad")


@pytest.fixture(autouse=True, params=NATIVE)
def backend(request):
    skip_without_hopper(request.param)
    with cg.use_backend(request.param):
        yield request.param


@pytest.fixture
def native(backend):
    return load(backend)


def kernels(native, case, dtype="bfloat16", device=None):
    """The kernel of each direction, and its settings."""
    device = device or hopper(native.module)
    plans = [native.module.plan_conv(op, native.geometry(case.geometry()), dtype, device=device) for op in OPS]
    return [settings_of(plan) for plan in plans]


TAKEN = (
    *conv_cases("lines"),
    ConvCase("several_tiles", (3, 13, 14, 40), (3, 3, 40, 264), padding=((0, 2), (1, 0))),
    ConvCase("stride_over_filter", (2, 17, 20, 64), (1, 2, 64, 64), stride=(3, 4)),
    ConvCase("shared_divisor", (2, 15, 17, 64), (3, 3, 64, 64), dilation=2, stride=2, padding=2),
    ConvCase("one_pixel", (4, 14, 14, 256), (1, 1, 256, 64)),
    ConvCase("padding_beyond_filter", (2, 3, 4, 64), (2, 2, 64, 64), padding=4),
    ConvCase("windows_leave_pixels", (2, 10, 11, 64), (3, 3, 64, 64), stride=(4, 5)),
    ConvCase("one_window", (1, 6, 6, 64), (6, 6, 64, 64)),
    ConvCase("three_axes_of_one_pixel", (2, 1, 6, 5, 64), (1, 3, 3, 64, 64), padding=((0, 0), (1, 1), (1, 1))),
)


@pytest.mark.parametrize("case", TAKEN, ids=by_name)
def test_windows_of_all_kinds(native, case):
    for dtype in HALF:
        assert [kernel for kernel, _ in kernels(native, case, dtype)] == [f"{op}_wgmma" for op in OPS]
        check(case, dtype, "channels_last", C_KERNEL)
    check(case, "bfloat16", "channels_first", C_KERNEL)


@only_emulated
@pytest.mark.parametrize("name, multiprocessors, beyond", [("lines_3d_far", 132, 33), ("lines_3d_dilated", 2, 33)])
def test_tiles_beyond_the_last_tap_ask_for_no_offset_of_6_bits(native, name, multiprocessors, beyond):
    """In maps of three spatial axes an offset has 5 bits."""
    case = next(case for case in conv_cases("lines") if case.name == name)
    native.module.emulate(hopper(native.module, multiprocessors))
    try:
        kernel, settings = kernels(native, case, device=native.module.current_device())[2]
        rows = 128 * int(settings["cluster"])
        lines = -(-64 * case.w[0] // rows) * rows // 64  # of the tiles, one for each tap and some beyond
        assert kernel == "conv_wgrad_wgmma" and (lines - 1) * case.dilation[0] >= beyond > 31
        check(case, "bfloat16", "channels_last", C_KERNEL)
    finally:
        native.module.emulate(native.module.Device())


def test_fuzz(native):
    """Any options over channels that fill more than half a line."""
    random = np.random.default_rng(0)
    for i in range(60):
        rank = 1 + i % 3
        kernel, stride, dilation = (tuple(int(n) for n in random.integers(1, most, rank)) for most in (4, 4, 3))
        padding = tuple((int(a), int(b)) for a, b in random.integers(0, 4, (rank, 2)))
        least = [max(1, (f - 1) * d + 1 - a - b) for f, d, (a, b) in zip(kernel, dilation, padding)]
        size = [n + int(random.integers(0, (40, 9, 4)[rank - 1])) for n in least]
        c, k = (int(n) for n in random.choice((40, 56, 64, 104), 2))
        case = ConvCase(f"fuzz_{i}", (2, *size, c), (*kernel, c, k), stride=stride, padding=padding, dilation=dilation)
        assert all(kernel.endswith("_wgmma") or kernel == "fill_channels" for kernel, _ in kernels(native, case))
        check(case, HALF[i // 3 % 2], "channels_last", C_KERNEL)


def test_sums_that_are_split(native):
    case = next(case for case in TAKEN if case.name == "lines_many")
    geo = case.geometry()
    x, w, g = (case.draw(shape, role, "bfloat16") for shape, role in (
        (geo.x_shape, "x"), (geo.w_shape, "w"), (geo.y_shape, "g")))
    splits = []
    for limit in (0, 1 << 18, 64 << 20):
        with cg.set_workspace_limit(limit):
            check(case, "bfloat16", "channels_last", C_KERNEL)
            assert native.conv_wgrad(x, g, geo).tobytes() == native.conv_wgrad(x, g, geo).tobytes()
            assert native.conv_fprop(x, w, None, geo, None).tobytes() == native.conv_fprop(
                x, w, None, geo, None).tobytes()
        plans = [native.module.plan_conv(op, native.geometry(geo), "bfloat16", limit=limit) for op in OPS]
        splits.append([int(settings_of(plan)[1]["splits"]) for plan in plans])
    assert splits[0] == [1, 1, 1] and max(splits[2]) > 1


@pytest.mark.parametrize("dtype", HALF)
def test_weight_gradients_of_chunks_are_added_in_float32(native, dtype):
    """With little workspace channels_first is copied some images at a time; gw of these is a part in float32."""
    case = ConvCase("chunks", (12, 9, 10, 72), (1, 3, 72, 40), padding=1)
    geo = native.geometry(case.geometry("channels_first"))
    limit = 0
    for _ in range(2):  # what the least asks for is what the launcher has
        kernel, settings = settings_of(native.module.plan_conv("conv_wgrad", geo, dtype, limit=limit))
        limit = int(settings["workspace"])
    assert kernel == "conv_wgrad_wgmma" and int(settings["images"]) < 12
    with cg.set_workspace_limit(limit):
        check(case, dtype, "channels_first", C_KERNEL)


@pytest.mark.parametrize("limit", [0, 64 << 20])
@pytest.mark.parametrize("dtype", HALF)
def test_zero_times_infinity_in_the_padding_is_no_product(native, dtype, limit):
    """TMA writes zeros where a window leaves the image; what they make of infinities is computed again."""
    case = ConvCase("infinite", (1, 6, 7, 320), (3, 3, 320, 40), stride=(2, 1), padding=((1, 2), (2, 0)))
    geo, reference = case.geometry(), load("reference")
    x, w, g = (case.draw(shape, role, dtype) for shape, role in (
        (geo.x_shape, "x"), (geo.w_shape, "w"), (geo.y_shape, "g")))
    for at, value in (((0, 0, 7, 3), np.inf), ((2, 1, 319, 38), -np.inf), ((1, 2, 0, 0), np.nan)):
        infinite = {"x": x.copy(), "w": w.copy(), "g": g.copy()}
        infinite["w"][at], infinite["x"][0, at[0], at[1], at[2]] = value, value
        infinite["g"][0, at[0], at[1], at[3]] = value
        with cg.set_workspace_limit(limit):
            for op, operands in (("conv_fprop", (x, infinite["w"], None)), ("conv_fprop", (infinite["x"], w, None)),
                                 ("conv_dgrad", (g, infinite["w"], None)), ("conv_wgrad", (infinite["x"], g)),
                                 ("conv_wgrad", (x, infinite["g"]))):
                rest = (geo,) if op == "conv_wgrad" else (geo, "relu")
                got, expected = (np.asarray(getattr(run, op)(*operands, *rest), np.float64)
                                 for run in (native, reference))
                special = ~np.isfinite(expected)
                assert special.any() and not special.all()
                np.testing.assert_array_equal(got[special], expected[special])
                assert np.isfinite(got[~special]).all()


@pytest.mark.parametrize("of_a_group", [64, 48])
def test_infinities_of_one_group_stay_there(of_a_group):
    """Of 48 channels, a line of 64 would reach into the next group."""
    c = of_a_group
    x, w = np.ones((1, 5, 5, 2 * c), as_dtype("bfloat16")), np.ones((3, 3, c, 2 * c), as_dtype("bfloat16"))
    x[..., c:] = np.inf
    y = cg.conv(x, w, groups=2).numpy().astype("f4")
    assert (y[..., :c] == 9 * c).all() and np.isposinf(y[..., c:]).all()


@only_emulated
def test_the_portable_kernels_take_the_same_cases(native):
    native.module.emulate(native.module.Device(arch=80))
    try:
        for case in conv_cases("lines"):
            check(case, "bfloat16", "channels_last", C_KERNEL)
    finally:
        native.module.emulate(native.module.Device())


@only_emulated
@pytest.mark.parametrize(("why", "dtype", "case"), [
    ("no_half_type", "float64", ConvCase("", (1, 9, 9, 64), (3, 3, 64, 64))),
    ("pixels_not_at_multiples_of_16_bytes", "float16", ConvCase("", (1, 9, 9, 63), (3, 3, 63, 64))),
    ("channels_fill_half_a_line_or_less", "float16", ConvCase("", (1, 9, 9, 32), (3, 3, 32, 32))),
    ("groups_not_in_whole_lines", "float16", ConvCase("", (1, 9, 9, 96), (3, 3, 48, 96), groups=2)),
    ("windows_that_no_tensor_map_holds", "float16", ConvCase("", (1, 40, 64), (3, 64, 64), stride=9)),
    ("windows_that_no_tensor_map_holds", "float16", ConvCase("", (1, 300, 64), (2, 64, 64), padding=140)),
    ("windows_that_no_tensor_map_holds", "float16", ConvCase("", (1, 600, 64), (2, 64, 64), dilation=300)),
    ("windows_that_no_tensor_map_holds", "float16", ConvCase("", (1, 9, 50, 9, 64), (1, 2, 1, 64, 64),
                                                             dilation=(1, 40, 1))),
])
def test_what_it_does_not_take(native, why, dtype, case):
    (kernel, settings), *_ = kernels(native, case, dtype)
    assert kernel == "conv_fprop_tiled" and settings["no_wgmma"] == why
    for arch in (80, 89, 100, 120):
        device = native.module.Device(arch=arch, multiprocessors=132, shared_bytes=99 << 10)
        assert kernels(native, TAKEN[0], device=device)[0][1]["no_wgmma"] == "not_sm_90a"


def test_a_group_that_fills_no_line_has_its_weight_gradient_there(native):
    case = ConvCase("groups", (1, 9, 9, 96), (3, 3, 48, 96), groups=2)
    assert kernels(native, case)[2][0] == "conv_wgrad_wgmma"
    check(case, "bfloat16", "channels_last", C_KERNEL)


@only_emulated
@pytest.mark.parametrize(("op", "x", "w", "stride", "plan"), [
    ("conv_fprop", (256, 56, 56, 64), (3, 3, 64, 64), 1, "tile=128x64 stages=8 cluster=1 splits=1"),
    ("conv_fprop", (256, 14, 14, 256), (3, 3, 256, 256), 1, "tile=128x256 stages=4 cluster=2 splits=1"),
    ("conv_dgrad", (256, 28, 28, 128), (3, 3, 128, 128), 2, "phases=4"),
    ("conv_wgrad", (256, 14, 14, 256), (3, 3, 256, 256), 1, "tile=128x256"),
])
def test_plans_of_resnet_50(native, op, x, w, stride, plan):
    geo = native.geometry(geometry.conv_geometry("plan", x, w, stride, "same", 1, 1, "channels_last"))
    words = native.module.plan_conv(op, geo, "bfloat16", device=hopper(native.module)).text
    assert words.startswith(f"{op}_wgmma ") and plan in words
