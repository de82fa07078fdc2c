"""Depthwise convolution of channels_first on the CPU, whose vectors lie along the rows of planes."""

from __future__ import annotations

import numpy as np
import pytest
from conv_checks import DTYPES, by_name, check
from native_backends import needs_cpu

import convgpu as cg
from convgpu.backends import load
from convgpu.backends.numpy.workers import get_num_threads, set_num_threads
from convgpu.cases.conv import ConvCase
from convgpu.cases.tolerance import C_KERNEL
from convgpu.geometry import conv_geometry

pytestmark = needs_cpu


def depthwise(name, x, kernel, **options):
    return ConvCase(name, x, (*kernel, 1, x[-1]), groups=x[-1], **options)


CASES = [
    depthwise("rows of one vector and a half", (2, 14, 23, 5), (3, 3), padding=1),
    depthwise("narrow rows", (3, 7, 7, 33), (3, 3), padding=1),
    depthwise("stride 2", (2, 29, 34, 6), (3, 3), stride=2, padding="same"),
    depthwise("padding on one side", (2, 20, 21, 4), (5, 4), stride=(2, 1), padding=((0, 3), (4, 0))),
    depthwise("strides beyond the window", (1, 19, 23, 3), (2, 2), stride=(3, 5), padding=1),
    depthwise("taps apart", (1, 20, 40, 3), (3, 3), stride=(1, 2), padding="same", dilation=(3, 2)),
    depthwise("planes in several tiles", (1, 200, 210, 2), (3, 3), padding=1),
    depthwise("one long row", (2, 5000, 3), (7,), stride=2, padding=3),
    depthwise("three axes", (1, 7, 9, 11, 4), (3, 3, 3), stride=(2, 1, 2), padding=1),
    depthwise("an image smaller than the stride", (2, 1, 2, 4), (3, 3), stride=3, padding=1),
    depthwise("more taps than are listed", (1, 13, 14, 3), (12, 12), padding=5),
]


@pytest.fixture(params=["v4", "v3", "neon", "plain"])
def on_each_set(request):
    module = load("cpu").module
    if request.param not in module.instruction_sets():
        pytest.skip(f"this machine has no {request.param}")
    module.use_instruction_set(request.param)
    with cg.use_backend("cpu"):
        yield
    module.use_instruction_set("")


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_planes_stay_within_the_bound(on_each_set, case):
    for dtype in DTYPES:
        check(case, dtype, "channels_first", C_KERNEL)


def arrays(case):
    random = np.random.default_rng(0)
    first = lambda shape: (shape[0], shape[-1], *shape[1:-1])  # noqa: E731
    geo = conv_geometry("conv", first(case.x), (case.w[-1], 1, *case.w[:-2]), case.stride, case.padding, case.dilation,
                        case.groups, "channels_first")
    return geo, *(random.standard_normal(shape).astype("f4") for shape in (geo.x_shape, geo.w_shape, geo.y_shape))


def results(run, geo, x, w, gy):
    return [run.conv_fprop(x, w, None, geo, None), run.conv_dgrad(gy, w, None, geo, None), run.conv_wgrad(x, gy, geo)]


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_planes_give_the_same_bits_at_any_number_of_threads(case):
    before, found = get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            set_num_threads(threads)
            found.append([r.tobytes() for r in results(load("cpu"), *arrays(case))])
    finally:
        set_num_threads(before)
    assert all(others == found[0] for others in found[1:])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("operand", [0, 1, 2])
@pytest.mark.parametrize("case", CASES[:6], ids=by_name)
def test_what_is_not_finite_meets_no_padding(case, operand, value):
    geo, *operands = arrays(case)
    operands[operand].flat[[0, -1]] = value
    with np.errstate(all="ignore"):
        pairs = zip(results(load("cpu"), geo, *operands), results(load("numpy"), geo, *operands), strict=True)
        for got, right in pairs:
            np.testing.assert_array_equal(np.isfinite(got), np.isfinite(right))
            np.testing.assert_allclose(got, right, rtol=1e-4, atol=1e-4)


def test_views_bias_and_relu_of_planes():
    run = load("cpu")
    geo, x, w, gy = arrays(CASES[2])
    bias = np.arange(-3, 3, dtype="f4")
    wide = np.full([n + 3 for n in x.shape], np.nan, "f4")
    view = wide[tuple(slice(1, n + 1) for n in x.shape)]
    view[...] = x
    y = run.conv_fprop(view, w, bias, geo, "relu")
    right = np.maximum(run.conv_fprop(x, w, None, geo, None) + bias[:, None, None], 0)
    np.testing.assert_allclose(y, right, rtol=1e-5, atol=1e-5)


def test_explain_says_where_the_vectors_lie():
    with cg.use_backend("cpu"):
        said = str(cg.explain("conv2d", (1, 8, 9, 9), (8, 1, 3, 3), groups=8, data_format="channels_first",
                              device="cpu"))
    assert "depthwise, a vector of a row's pixels at a time" in said
