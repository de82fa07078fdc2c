"""The routes that convolution takes on the CPU: scattered gradients of images with few channels, all taps as lanes,
groups that share pointers, pixels read in place, and padding that is left out."""

from __future__ import annotations

import numpy as np
import pytest
from conv_checks import DTYPES, FORMATS, by_name, check
from native_backends import needs_cpu

import convgpu as cg
from convgpu.backends import load
from convgpu.backends.numpy.workers import get_num_threads, set_num_threads
from convgpu.cases.conv import ConvCase
from convgpu.cases.tolerance import C_KERNEL
from convgpu.geometry import conv_geometry

pytestmark = needs_cpu

CASES = [
    ConvCase("few channels, stride 2", (2, 30, 29, 3), (7, 7, 3, 20), stride=2, padding=3),
    ConvCase("few channels, stride beyond the window", (1, 19, 23, 2), (2, 3, 2, 18), stride=(3, 4), padding=(1, 2)),
    ConvCase("few channels, padding on one side", (2, 12, 50, 5), (3, 5, 5, 17), padding=((0, 2), (4, 0))),
    ConvCase("few channels, rows apart", (1, 15, 14, 3), (3, 3, 3, 16), dilation=(2, 1), padding="same"),
    ConvCase("few channels, taps apart", (1, 15, 14, 3), (3, 3, 3, 16), dilation=(1, 2), padding="same"),
    ConvCase("few channels, several boxes", (1, 120, 130, 3), (3, 3, 3, 16), padding="same"),
    ConvCase("few channels, groups", (2, 11, 13, 8), (3, 3, 4, 40), padding=1, groups=2),
    ConvCase("few channels, 1-D", (3, 200, 4), (9, 4, 33), stride=2, padding="same"),
    ConvCase("few channels, 3-D", (1, 6, 7, 8, 3), (3, 3, 3, 3, 16), stride=(1, 2, 1), padding=1),
    ConvCase("one channel per group, several filters", (2, 9, 8, 3), (3, 1, 1, 24), padding=(1, 0), groups=3),
    ConvCase("groups of a panel and a half", (2, 9, 9, 60), (3, 3, 20, 72), padding=1, groups=3),
    ConvCase("many groups", (2, 14, 14, 128), (3, 3, 4, 128), padding=1, groups=32),
    ConvCase("small images, much padding", (3, 4, 3, 130), (5, 5, 130, 20), padding=4),
    ConvCase("windows wholly in the padding", (1, 3, 3, 20), (2, 2, 20, 17), padding=5),
    ConvCase("a single tap, stride 2", (2, 15, 17, 70), (1, 1, 70, 40), stride=2),
    ConvCase("a single tap in the padding", (1, 6, 5, 33), (1, 1, 33, 80), padding=2),
]


@pytest.fixture(autouse=True)
def on_the_cpu():
    threads = get_num_threads()
    with cg.use_backend("cpu"):
        yield
    set_num_threads(threads)


@pytest.mark.parametrize("case", CASES, ids=by_name)
@pytest.mark.parametrize("data_format", FORMATS)
def test_routes_stay_within_the_bound(case, data_format):
    for dtype in DTYPES:
        check(case, dtype, data_format, C_KERNEL)


def arrays(case, dtype="float32"):
    random = np.random.default_rng(0)
    geo = conv_geometry("conv", case.x, case.w, case.stride, case.padding, case.dilation, case.groups, "channels_last")
    return geo, *(random.standard_normal(shape).astype(dtype) for shape in (geo.x_shape, geo.w_shape, geo.y_shape))


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_routes_give_the_same_bits_at_any_number_of_threads(case):
    run = load("cpu")
    geo, x, w, gy = arrays(case)
    calls = (lambda: run.conv_fprop(x, w, None, geo, None), lambda: run.conv_dgrad(gy, w, None, geo, None),
             lambda: run.conv_wgrad(x, gy, geo))
    for call in calls:
        set_num_threads(1)
        alone = call().tobytes()
        for threads in (2, 3, 7):
            set_num_threads(threads)
            assert call().tobytes() == alone


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_what_is_not_finite_reaches_what_it_touches_and_nothing_else(case):
    """Counted by the same ops on arrays of ones and zeros, where all sums are exact."""
    run = load("cpu")
    geo, x, w, gy = arrays(case)
    ones = [np.ones_like(a) for a in (x, w, gy)]
    marks = [np.zeros_like(a) for a in (x, w, gy)]
    for i, (a, mark) in enumerate(zip((x, w, gy), marks, strict=True)):
        places = np.random.default_rng(i).choice(a.size, 2, replace=False)
        a.flat[places] = np.inf, np.nan
        mark.flat[places] = 1
    for call in (lambda x, w, gy: run.conv_fprop(x, w, None, geo, None),
                 lambda x, w, gy: run.conv_dgrad(gy, w, None, geo, None),
                 lambda x, w, gy: run.conv_wgrad(x, gy, geo)):
        touched = sum(call(*(marks[j] if i == j else ones[j] for j in range(3))) * used
                      for i, used in enumerate(uses(call, ones)))
        np.testing.assert_array_equal(np.isfinite(call(x, w, gy)), touched == 0)


def uses(call, ones):
    """Which of the three operands a call reads, as 0 or 1."""
    return [float(np.any(call(*(np.zeros_like(o) if i == j else o for j, o in enumerate(ones))) != call(*ones)))
            for i in range(3)]


@pytest.mark.parametrize("activation", ["relu", "tanh", None])
def test_bias_and_activation_of_a_scattered_gradient(activation):
    run = load("cpu")
    geo, _, w, gy = arrays(CASES[0])
    bias = np.array([0.5, -2, 1], np.float32)
    plain = run.conv_dgrad(gy, w, None, geo, None) + bias
    expected = {"relu": np.maximum(plain, 0), "tanh": np.tanh(plain), None: plain}[activation]
    np.testing.assert_allclose(run.conv_dgrad(gy, w, bias, geo, activation), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", [CASES[0], CASES[6], CASES[14]], ids=by_name)
def test_views_of_wider_arrays(case):
    run = load("cpu")
    geo, x, w, gy = arrays(case)
    wide = [np.full((*a.shape[:-1], 2 * a.shape[-1] + 3), np.nan, a.dtype) for a in (x, gy)]
    views = [b[..., 2:2 + a.shape[-1]] for a, b in zip((x, gy), wide, strict=True)]
    for view, a in zip(views, (x, gy), strict=True):
        view[:] = a
    np.testing.assert_array_equal(run.conv_fprop(views[0], w, None, geo, None), run.conv_fprop(x, w, None, geo, None))
    np.testing.assert_array_equal(run.conv_dgrad(views[1], w, None, geo, None), run.conv_dgrad(gy, w, None, geo, None))
    np.testing.assert_allclose(run.conv_wgrad(*views, geo), run.conv_wgrad(x, gy, geo), rtol=1e-4, atol=1e-4)
