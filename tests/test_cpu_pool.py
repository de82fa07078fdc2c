"""Pooling on the CPU in every layout, beside NumPy's: special values, views, and all instruction sets."""

from __future__ import annotations

import ml_dtypes  # noqa: F401 - bfloat16 by name
import numpy as np
import pytest
from native_backends import needs_cpu

import convgpu as cg
from convgpu import geometry
from convgpu.backends import load
from convgpu.backends.numpy.workers import get_num_threads, set_num_threads
from convgpu.dtypes import as_dtype

pytestmark = needs_cpu

ROUNDING = {"float64": 1e-14, "float32": 2e-6, "float16": 2e-3, "bfloat16": 1.6e-2}
SETS = ("v4", "v3", "neon", "plain")
# x, window, and the options of the geometry: wide and narrow rows, strides 1 to 5, taps that step over pixels, padding
# on one side, global windows, one channel, planes that are cut into several tiles
PROBLEMS = [
    ((2, 19, 40, 37), 3, {"stride": 2, "padding": 1}), ((2, 19, 14, 14), 2, {"stride": 2}),
    ((2, 19, 14, 14), 2, {"stride": 2, "padding": ((0, 1), (1, 0)), "count_include_pad": True}),
    ((1, 5, 9, 130), (3, 5), {"stride": (1, 3), "padding": ((2, 0), (4, 1))}), ((3, 4, 7, 7), 7, {}),
    ((3, 4, 7, 70), (7, 70), {}), ((2, 3, 33, 47), (2, 3), {"stride": (5, 4), "dilation": (3, 2), "padding": 1}),
    ((2, 1, 30, 31), 3, {"stride": 1, "padding": 1}), ((1, 2, 300, 301), 3, {"stride": 2}),
    ((2, 6, 4000), 5, {"stride": 2, "padding": 2}), ((1, 3, 70000), 4, {"stride": 3, "ceil_mode": True}),
    ((2, 5, 9, 12, 17), 3, {"stride": 2, "padding": 1}), ((2, 5, 6, 6, 6), (2, 1, 3), {"stride": (2, 2, 1)}),
    ((2, 3, 24, 25), 13, {"stride": 5, "padding": 6}), ((1, 2, 5, 9), 1, {"stride": 3}), ((0, 3, 8, 8), 2, {})]


@pytest.fixture(params=SETS)
def run(request):
    backend = load("cpu")
    if request.param not in backend.module.instruction_sets():
        pytest.skip(f"this machine has no {request.param}")
    backend.module.use_instruction_set(request.param)
    yield backend
    backend.module.use_instruction_set("")


def geo_of(shape, window, data_format="channels_first", stride=None, padding=0, dilation=1, ceil_mode=False,
           count_include_pad=False):
    if data_format == "channels_last":
        shape = (shape[0], *shape[2:], shape[1])
    return geometry.pool_geometry("test", shape, window, stride, padding, dilation, ceil_mode, count_include_pad,
                                  data_format)


def values(shape, dtype, kind, rng):
    x = rng.standard_normal(shape)
    if kind != "normal":
        x = np.round(x)  # many equal values
        x[rng.random(shape) < 0.1] = {"ties": 0, "nan": np.nan, "infinite": -np.inf, "minus": -0.0}[kind]
    return x.astype(as_dtype(dtype))


def view_of(x, kind):
    """The same values: with gaps along an axis or around all, backwards, or with the other layout's strides."""
    if kind == "reversed":
        return np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    if kind == "moved":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if kind == "gaps":
        wide = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan, x.dtype)
        wide[..., ::2] = x
        return wide[..., ::2]
    inner = np.full([n + 2 for n in x.shape], np.nan, x.dtype)[tuple(slice(1, n + 1) for n in x.shape)]
    inner[...] = x
    return inner


def check(run, geo, x, gy):
    numpy = load("numpy")
    with np.errstate(all="ignore"):
        right, offsets = numpy.max_pool(x, geo, True)
        y, winners = run.max_pool(x, geo, True)
        np.testing.assert_array_equal(y.astype("f8"), right.astype("f8"))
        np.testing.assert_array_equal(winners, offsets)
        np.testing.assert_array_equal(run.max_pool(x, geo, False)[0].astype("f8"), right.astype("f8"))
        pairs = [(run.max_pool_dgrad(gy, winners, geo), numpy.max_pool_dgrad(gy, offsets, geo)),
                 (run.avg_pool(x, geo), numpy.avg_pool(x, geo)),
                 (run.avg_pool_dgrad(gy, geo), numpy.avg_pool_dgrad(gy, geo))]
    for got, expected in pairs:
        near = ROUNDING[got.dtype.name]
        np.testing.assert_allclose(got.astype("f8"), expected.astype("f8"), rtol=near, atol=4 * near)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize(("shape", "window", "options"), PROBLEMS)
def test_pooling_of_planes_is_numpys(run, shape, window, options, dtype):
    geo, rng = geo_of(shape, window, **options), np.random.default_rng(0)
    check(run, geo, values(geo.x_shape, dtype, "normal", rng), values(geo.y_shape, dtype, "normal", rng))


@pytest.mark.parametrize("kind", ["ties", "nan", "infinite", "minus"])
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize(("shape", "window", "options"), PROBLEMS[::3])
def test_special_values_in_windows(run, shape, window, options, data_format, kind):
    geo, rng = geo_of(shape, window, data_format, **options), np.random.default_rng(1)
    check(run, geo, values(geo.x_shape, "float32", kind, rng), values(geo.y_shape, "float32", "normal", rng))


@pytest.mark.parametrize("kind", ["reversed", "moved", "gaps", "inner"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_views_of_planes(run, kind, dtype):
    geo, rng = geo_of((2, 19, 20, 21), 3, stride=2, padding=1), np.random.default_rng(2)
    check(run, geo, view_of(values(geo.x_shape, dtype, "normal", rng), kind),
          view_of(values(geo.y_shape, dtype, "normal", rng), kind))


def test_a_window_of_minus_infinity_has_its_first_pixel_as_winner(run):
    geo = geo_of((1, 2, 9, 9), 3, stride=2, padding=1)
    check(run, geo, np.full(geo.x_shape, -np.inf, np.float32), np.ones(geo.y_shape, np.float32))


@pytest.mark.parametrize(("shape", "window", "options"), PROBLEMS[::2])
def test_planes_have_the_same_bits_at_any_number_of_threads(run, shape, window, options):
    geo, rng = geo_of(shape, window, **options), np.random.default_rng(3)
    x, gy = (values(s, "float32", "normal", rng) for s in (geo.x_shape, geo.y_shape))
    before, found = get_num_threads(), []
    try:
        for threads in (1, 2, 7):
            set_num_threads(threads)
            y, winners = run.max_pool(x, geo, True)
            found.append([y, winners, run.max_pool_dgrad(gy, winners, geo), run.avg_pool(x, geo),
                          run.avg_pool_dgrad(gy, geo)])
    finally:
        set_num_threads(before)
    for others in found[1:]:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(found[0], others))


@pytest.mark.parametrize("norm", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("data_format", ["channels_first", "channels_last"])
@pytest.mark.parametrize("dtype", ROUNDING)
def test_norms_of_windows_are_numpys(run, dtype, data_format, norm):
    geo, rng = geo_of((2, 19, 13, 12), 3, data_format, stride=2, padding=1), np.random.default_rng(4)
    for kind, scale in (("normal", 1e-3), ("nan", 1), ("infinite", 1), ("minus", 1)):
        x = values(geo.x_shape, dtype, kind, rng) * as_dtype(dtype).type(scale)
        with np.errstate(all="ignore"):
            right = load("numpy").lp_pool(x, geo, norm).astype("f8")
        np.testing.assert_allclose(run.lp_pool(x, geo, norm).astype("f8"), right, rtol=2 * ROUNDING[dtype], atol=1e-6)


def test_explain_says_where_vectors_lie():
    with cg.use_backend("cpu"):
        first = str(cg.explain("max_pool2d", (2, 8, 9, 9), 2, data_format="channels_first", device="cpu"))
        last = str(cg.explain("avg_pool2d", (2, 9, 9, 8), 2, device="cpu"))
    assert "a vector of a row's pixels at a time" in first and "a vector of channels at a time" in last
