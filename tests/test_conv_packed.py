"""The packed convolution kernel for Hopper, emulated: few channels, windows of all kinds, alignments, special values,
and where others take over.

tests/kernels/test_conv.cpp runs every instance under sanitizers.
"""

from __future__ import annotations

import numpy as np
import pytest
from conv_checks import by_name, check, problem
from native_backends import needs_emulated
from test_gemm_wgmma import hopper, settings_of

import convgpu as cg
from convgpu import geometry
from convgpu.backends import load
from convgpu.cases.conv import ConvCase, conv_cases
from convgpu.cases.tolerance import C_KERNEL, worst
from convgpu.dtypes import as_dtype

pytestmark = [needs_emulated, pytest.mark.usefixtures("one_multiprocessor")]

HALF = ("float16", "bfloat16")
KERNEL = "conv_fprop_packed"


@pytest.fixture(scope="module")
def native():
    return load("emulated")


def plan(native, case, dtype="bfloat16", multiprocessors=1):
    device = hopper(native.module, multiprocessors)
    geo = native.geometry(case.geometry())
    return settings_of(native.module.plan_conv("conv_fprop", geo, dtype, device=device))


def check_fprop(native, case, dtype):
    p = problem(case, dtype)
    exact, y = p.exact["y"], native.conv_fprop(p.x, p.w, p.bias, case.geometry(), None)
    error = worst(y, exact.value, exact.magnitude, p.lengths["y"], C_KERNEL)
    assert error <= 1, f"{case} {dtype} misses the bound by a factor of {error:.3g}"


STEMS = (
    ConvCase("resnet", (1, 60, 64, 3), (7, 7, 3, 64), stride=2, padding=3),
    ConvCase("vgg", (1, 40, 44, 3), (3, 3, 3, 64), padding=1),
    ConvCase("alexnet", (1, 91, 67, 3), (11, 11, 3, 96), stride=4),
    ConvCase("alexnet_padded", (1, 63, 64, 3), (11, 11, 3, 64), stride=4, padding=2),
    ConvCase("lenet", (4, 28, 28, 1), (5, 5, 1, 6), padding=2),
    ConvCase("inception", (1, 75, 75, 3), (3, 3, 3, 32), stride=2),
    ConvCase("mobilenet", (1, 64, 64, 3), (3, 3, 3, 32), stride=2, padding=((0, 1), (0, 1))),
    ConvCase("zfnet", (1, 49, 49, 3), (7, 7, 3, 96), stride=2, padding=1),
)
OTHERS = (
    ConvCase("one_axis", (2, 700, 2), (9, 2, 40), stride=2, padding=((4, 1),)),
    ConvCase("one_axis_dilated", (1, 600, 5), (7, 5, 33), dilation=3, padding=((2, 5),)),
    ConvCase("three_axes", (1, 6, 16, 18, 2), (3, 3, 2, 2, 24), stride=(1, 2, 1), padding=((1, 0), (0, 2), (1, 1))),
    ConvCase("three_axes_dilated", (1, 8, 12, 17, 3), (2, 3, 3, 3, 40), dilation=(3, 1, 2),
             padding=((2, 1), (1, 1), (0, 3))),
    ConvCase("images_below_a_tile", (9, 8, 9, 7), (7, 7, 7, 64), padding=3),
    ConvCase("one_line_of_pixels", (2, 1, 500, 1), (1, 15, 1, 64), padding=((0, 0), (7, 7))),
    ConvCase("one_pixel_of_a_line", (2, 200, 1, 1), (15, 5, 1, 64), stride=(1, 2), padding=((3, 3), (9, 9))),
    ConvCase("one_image_one_line", (1, 1, 1200, 4), (1, 9, 4, 16), padding=((0, 0), (4, 4))),
    ConvCase("columns", (1, 300, 9, 4), (9, 2, 4, 64), padding=((2, 2), (0, 0))),
    ConvCase("stride_over_filter", (1, 64, 96, 3), (3, 3, 3, 128), stride=(4, 6)),
    ConvCase("dilation_of_even_channels", (1, 40, 44, 6), (3, 3, 6, 30), dilation=(2, 3), padding=(2, 3)),
    ConvCase("padding_beyond_filter", (2, 9, 14, 3), (2, 4, 3, 64), padding=((6, 5), (7, 9))),
    ConvCase("lines_of_odd_length", (2, 31, 33, 3), (5, 5, 3, 24), stride=2, padding=2),
    ConvCase("wide_runs", (1, 12, 70, 2), (2, 31, 2, 20), stride=(1, 2), padding=((1, 0), (15, 15))),
    ConvCase("two_columns_of_tiles", (1, 20, 20, 3), (5, 5, 3, 200), padding=2),
    ConvCase("gap_for_banks", (1, 16, 32, 16), (3, 3, 16, 64), padding=1),
    ConvCase("gap_for_banks_odd", (1, 20, 22, 31), (3, 3, 31, 50), padding=1),
    ConvCase("stride_16_of_one_channel", (1, 24, 241, 1), (9, 17, 1, 64), stride=(1, 16), padding=8),
    ConvCase("lead_beyond_the_line", (1, 40, 40, 3), (4, 4, 3, 32), stride=2, padding=((1, 1), (1, 3))),
)


@pytest.mark.parametrize("case", (*STEMS, *OTHERS), ids=by_name)
def test_windows_of_all_kinds(native, case):
    for dtype in HALF:
        assert plan(native, case, dtype)[0] == KERNEL
        check_fprop(native, case, dtype)


def test_the_table_of_cases_has_some_for_a_whole_gpu(native):
    """What `convgpu verify` runs."""
    found = [plan(native, case, multiprocessors=132) for case in conv_cases("packed")]
    assert {kernel for kernel, _ in found} == {KERNEL}
    assert {settings["copies"] for _, settings in found} == {"2", "4", "8", "16"}


@pytest.mark.parametrize("case", STEMS[:2], ids=by_name)
def test_all_directions_in_both_formats(case):
    for data_format in ("channels_last", "channels_first"):
        check(case, "bfloat16", data_format, C_KERNEL)


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 6, 7, 8, 12, 20, 24, 31, 32])
@pytest.mark.parametrize("stride", [1, 2])
def test_channels(native, channels, stride):
    for filters in (1, 7, 64, 65, 130):
        case = ConvCase(f"channels_{channels}_{filters}", (1, 16 * stride, 32 * stride, channels),
                        (5, 6, channels, filters), stride=stride, padding=((2, 2), (1, 4)))
        assert plan(native, case)[0] == KERNEL
        check_fprop(native, case, HALF[filters % 2])


def test_fuzz(native):
    random = np.random.default_rng(0)
    taken = 0
    for i in range(60):
        rank = 1 + i % 3
        kernel, stride, dilation = (tuple(int(n) for n in random.integers(1, most, rank))
                                    for most in ((20, 9, 6)[i % 3], (6, 4, 3)[i % 3], 3))
        padding = tuple((int(a), int(b)) for a, b in random.integers(0, 4, (rank, 2)))
        least = [max(1, (f - 1) * d + 1 - a - b) for f, d, (a, b) in zip(kernel, dilation, padding)]
        size = [n + s * int(random.integers(0, (900, 40, 12)[rank - 1])) for n, s in zip(least, stride)]
        c, k = int(random.integers(1, 16)), int(random.integers(1, 150))
        case = ConvCase(f"fuzz_{i}", (1, *size, c), (*kernel, c, k), stride=stride, padding=padding, dilation=dilation)
        taken += plan(native, case)[0] == KERNEL
        check_fprop(native, case, HALF[i // 3 % 2])
    assert taken >= 30


@pytest.mark.parametrize("case", [STEMS[0], STEMS[1], *OTHERS[:3]], ids=by_name)
@pytest.mark.parametrize("dtype", HALF)
def test_zero_times_infinity_is_no_product(native, dtype, case):
    """Zeros stand for padding, and weights of zero for what is no element of a window."""
    geo, reference = case.geometry(), load("reference")
    x, w = case.draw(geo.x_shape, "x", dtype), case.draw(geo.w_shape, "w", dtype)
    random = np.random.default_rng(1)
    for value in (np.inf, -np.inf, np.nan):
        infinite_x, infinite_w = x.copy(), w.copy()
        infinite_x.reshape(-1)[[x.size // 2 + 1, -1]] = value
        infinite_w[tuple(random.integers(0, n) for n in w.shape)] = value
        for operands in ((infinite_x, w, None), (x, infinite_w, None)):
            got, expected = (np.asarray(run.conv_fprop(*operands, geo, "relu"), np.float64)
                             for run in (native, reference))
            special = ~np.isfinite(expected)
            assert special.any() and not special.all()
            np.testing.assert_array_equal(got[special], expected[special])
            assert np.isfinite(got[~special]).all()


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
def test_activations_and_bias(native, activation):
    case = STEMS[6]
    geo = case.geometry()
    x, w, bias = (case.draw(shape, role, "float16") for shape, role in (
        (geo.x_shape, "x"), (geo.w_shape, "w"), ((32,), "bias")))
    assert plan(native, case)[0] == KERNEL
    got, expected = (run.conv_fprop(x, w, bias, geo, activation).astype("f8") for run in (native, load("reference")))
    np.testing.assert_allclose(got, expected, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("shift", range(9))
def test_any_alignment(native, shift):
    """x, w, bias and y start at any element, and nothing beside y is written."""
    module, guard = native.module, 16
    for case in (STEMS[0], STEMS[4], *(c for c in OTHERS if "gap" in c.name)):
        geo = case.geometry()

        def placed(array, shift=shift):
            memory = np.full(array.size + 2 * guard, 77, array.dtype)
            view = memory[guard + shift - 8:][:array.size].reshape(array.shape)
            view[...] = array
            return memory, view

        x, w, bias = (case.draw(shape, role, "float16") for shape, role in (
            (geo.x_shape, "x"), (geo.w_shape, "w"), (geo.y_shape[-1:], "bias")))
        views = [placed(a)[1] for a in (x, w, bias)]
        memory, y = placed(np.full(geo.y_shape, np.nan, "f2"))
        arrays = [(a.ctypes.data, a.shape, a.strides, "float16") for a in (*views, y)]
        addresses = 16 | views[0].ctypes.data | views[1].ctypes.data | y.ctypes.data
        plan = module.plan_conv("conv_fprop", native.geometry(geo), "float16", alignment=addresses & -addresses)
        assert plan.text.startswith(KERNEL)
        module.conv_fprop(*arrays, native.geometry(geo), plan, "", 0, 0, 0)
        assert y.tobytes() == native.conv_fprop(x, w, bias, geo, None).tobytes()
        outside = np.ones(memory.size, bool)
        outside[guard + shift - 8:][:y.size] = False
        assert (memory[outside] == 77).all()


def test_bits_repeat_and_do_not_depend_on_the_grid(native):
    case = STEMS[0]
    geo = case.geometry()
    x, w = case.draw(geo.x_shape, "x", "bfloat16"), case.draw(geo.w_shape, "w", "bfloat16")
    first = native.conv_fprop(x, w, None, geo, None).tobytes()
    for multiprocessors in (1, 2, 3):
        native.module.emulate(hopper(native.module, multiprocessors))
        assert plan(native, case, multiprocessors=multiprocessors)[0] == KERNEL
        assert native.conv_fprop(x, w, None, geo, None).tobytes() == first


@pytest.mark.parametrize(("why", "x", "w", "options"), [
    ("too_little_to_multiply", (1, 6, 6, 3), (3, 3, 3, 8), {}),
    ("groups", (1, 40, 40, 6), (5, 5, 3, 64), {"groups": 2}),
    ("filters_beyond_shared_memory", (1, 40, 40, 31), (9, 9, 31, 64), {}),
    ("windows_beyond_shared_memory", (1, 9000, 3), (7, 3, 64), {"stride": 1000}),
    ("windows_beyond_shared_memory", (1, 90000, 3), (7, 3, 64), {"dilation": 12000}),
])
def test_what_it_does_not_take(native, why, x, w, options):
    case = ConvCase("refused", x, w, **options)
    kernel, settings = plan(native, case)
    assert kernel == "conv_fprop_tiled" and settings["no_packed"] == why
    check_fprop(native, case, "bfloat16")


@pytest.mark.parametrize(("why", "x", "w", "options"), [
    ("lines_that_32_bits_do_not_count", (1, 4, 127), (2, 127, 1), {"stride": 2, "padding": ((0, 2 * 8454800),)}),
    ("more_filters_than_a_grid_counts", (1, 16, 16, 3), (3, 3, 3, 64 * 65535 + 1), {}),
])
def test_what_is_too_large_for_it(native, why, x, w, options):
    kernel, settings = plan(native, ConvCase("large", x, w, **options))
    assert kernel == "conv_fprop_tiled" and settings["no_packed"] == why


def test_other_dtypes_and_gpus_do_not_ask_for_it(native):
    for dtype in ("float32", "float64"):
        kernel, settings = plan(native, STEMS[0], dtype)
        assert kernel == "conv_fprop_tiled" and "no_packed" not in settings
    device = native.module.Device(arch=80)
    words = native.module.plan_conv("conv_fprop", native.geometry(STEMS[0].geometry()), "float16", device=device).text
    assert words.startswith("conv_fprop_tiled") and words.endswith("no_wgmma=not_sm_90a workspace=0")


@pytest.mark.parametrize(("x", "w", "stride", "padding", "words"), [
    ((256, 224, 224, 3), (7, 7, 3, 64), 2, 3, "tile=8x16x64 depth=160 copies=16 blocks=3"),
    ((256, 224, 224, 3), (3, 3, 3, 64), 1, 1, "tile=8x16x64 depth=64 copies=2 blocks=3"),
    ((256, 227, 227, 3), (11, 11, 3, 96), 4, 0, "depth=384 copies=2"),
    ((256, 28, 28, 1), (5, 5, 1, 6), 1, 2, "depth=64 copies=2"),
    ((256, 56, 56, 32), (3, 3, 32, 64), 1, 1, "depth=288 copies=16"),
])
def test_plans_of_stems(native, x, w, stride, padding, words):
    geo = native.geometry(geometry.conv_geometry("plan", x, w, stride, padding, 1, 1, "channels_last"))
    found = native.module.plan_conv("conv_fprop", geo, "bfloat16", device=hopper(native.module)).text
    assert found.startswith(KERNEL) and words in found


def test_as_dtype_of_a_subnormal_sum(native):
    """float16 sums below its smallest normal number keep their bits."""
    x, w = np.full((1, 24, 24, 3), 2.0**-12, as_dtype("float16")), np.full((3, 3, 3, 64), 2.0**-11, "f2")
    y = cg.conv(x, w).numpy()
    assert (y == np.float16(27 * 2.0**-23)).all()
