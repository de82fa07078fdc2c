"""Pooling: every backend on every case, gradients, rules for ties, NaN and padding, errors, the notes' examples."""

import importlib
import inspect
import tracemalloc
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from native_backends import COMPILED

import convgpu as cg
from convgpu.backends import load
from convgpu.backends.numpy import kept
from convgpu.backends.numpy.workers import get_num_threads, set_num_threads
from convgpu.cases.pool import CASES, PoolCase
from convgpu.cases.tolerance import C_KERNEL, C_NUMPY, worst
from convgpu.dtypes import as_dtype
from convgpu.geometry import pool_geometry

BACKENDS = ("reference", "numpy", *COMPILED)
FORMATS = ("channels_last", "channels_first")
DTYPES = ("float64", "float32", "float16", "bfloat16")
ON_EACH = pytest.mark.parametrize("backend", ["numpy", *COMPILED])  # of the backends that are held to the reference
C_OF = {"numpy": C_NUMPY, "emulated": C_KERNEL, "cpu": C_KERNEL, "cuda_from_host": C_KERNEL}
BY_NAME = {case.name: case for case in CASES}


def names(cases=CASES):
    return pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in cases])


def exactly(got, expected):
    assert got.shape == expected.shape and got.dtype == expected.dtype
    np.testing.assert_array_equal(got.astype(np.float64), expected.astype(np.float64))


def integers(shape, dtype, seed=0):
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(as_dtype(dtype))


def max_pool(case: PoolCase, x, data_format="channels_last", **options):
    pool = cg.adaptive_max_pool if case.adaptive else cg.max_pool
    return pool(x, case.size, data_format=data_format, **case.max_options, **options)


def avg_pool(case: PoolCase, x, data_format="channels_last"):
    pool = cg.adaptive_avg_pool if case.adaptive else cg.avg_pool
    return pool(x, case.size, data_format=data_format, **case.avg_options)


# --- against the reference


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@names()
@ON_EACH
def test_max_pool_is_exactly_the_reference(backend, case, dtype, data_format):
    ours, reference, geo = load(backend), load("reference"), case.geometry(data_format)
    x = case.input(dtype, data_format)
    y, offsets = ours.max_pool(x, geo, True)
    expected, expected_offsets = reference.max_pool(x, geo, True)
    exactly(y, expected)
    exactly(offsets, expected_offsets)
    assert offsets.dtype == ("uint8" if np.prod(geo.window) <= 256 else "uint16")
    without, nothing = ours.max_pool(x, geo, False)
    assert nothing is None
    exactly(without, expected)
    z, gy = integers(geo.x_shape, dtype), integers(geo.y_shape, dtype, 1)
    exactly(ours.max_pool_gather(z, offsets, geo), reference.max_pool_gather(z, offsets, geo))
    exactly(ours.max_pool_indices(offsets, geo), reference.max_pool_indices(offsets, geo))
    exactly(ours.max_pool_dgrad(gy, offsets, geo), reference.max_pool_dgrad(gy, offsets, geo))


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@names([c for c in CASES if c.averages])
@ON_EACH
def test_avg_pool_stays_within_the_tolerance_of_the_reference(backend, case, dtype, data_format):
    ours, reference, geo = load(backend), load("reference"), case.geometry(data_format)
    for function, values in (("avg_pool", case.input(dtype, data_format)),
                             ("avg_pool_dgrad", np.random.default_rng(2).standard_normal(geo.y_shape))):
        values = values.astype(as_dtype(dtype))
        wide = values.astype(np.float64)
        got = getattr(ours, function)(values, geo)
        assert got.dtype == values.dtype
        exact, magnitude = (getattr(reference, function)(v, geo) for v in (wide, np.abs(wide)))
        assert worst(got, exact, magnitude, int(np.prod(geo.window)), C_OF[backend]) <= 1


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64"])
@pytest.mark.parametrize("name", ["ties", "asymmetric-padding", "3d-overlapping", "adaptive-uneven"])
def test_max_pool_of_integers_has_no_gradient(name, dtype):
    case = BY_NAME[name]
    x = (np.random.default_rng(0).integers(0, 100, case.x) - (0 if dtype == "uint8" else 50)).astype(dtype)
    y, indices = max_pool(case, x, return_indices=True)
    expected, offsets = load("reference").max_pool(x, case.geometry(), True)
    exactly(y.numpy(), expected)
    exactly(indices.numpy(), load("reference").max_pool_indices(offsets, case.geometry()))
    assert not y.requires_grad


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "uint32", "int64", "uint64"])
@ON_EACH
def test_max_pool_of_the_whole_range_of_integers(backend, dtype):
    """Neighbours of 64 bits are told apart that float64 rounds to one number."""
    limits = np.iinfo(dtype)
    near = np.array([limits.min, limits.min + 1, limits.max - 1, limits.max], dtype)
    x = np.random.default_rng(1).choice(near, (2, 7, 6, 3))
    geo = pool_geometry("max_pool", x.shape, (3, 2), (2, 1), ((1, 1), (0, 1)), 1, False, False, "channels_last")
    y, offsets = load(backend).max_pool(x, geo, True)
    expected, expected_offsets = load("reference").max_pool(x, geo, True)
    exactly(y, expected)
    exactly(offsets, expected_offsets)
    exactly(load(backend).max_pool(x, geo, False)[0], expected)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("divisor", [1, 3, -2])
@names([c for c in CASES if c.averages and not c.adaptive and c.values == "normal"])
def test_divisor_override_divides_sums(case, divisor, data_format):
    x, geo = case.input("float64", data_format), case.geometry(data_format)
    once = replace(geo, count_include_pad=False)
    y = cg.avg_pool(x, case.size, **case.avg_options, divisor_override=divisor, data_format=data_format)
    mean = load("reference").avg_pool(x, once)
    counts = np.ones((1,) * geo.rank)
    for a in range(geo.rank):
        inside = [sum(0 <= o * geo.stride[a] - geo.padding[a][0] + t < geo.size[a] for t in range(geo.window[a]))
                  for o in range(geo.output[a])]
        counts = counts * np.reshape(inside, [-1 if b == a else 1 for b in range(geo.rank)])
    counts = counts[None, ..., None] if geo.channels_last else counts[None, None]
    np.testing.assert_allclose(y, mean * counts / divisor, rtol=1e-12, atol=1e-12)
    if x.size and x.size < 2000:
        cg.check_grad(lambda t: cg.avg_pool(t, case.size, **case.avg_options, divisor_override=divisor,
                                            data_format=data_format), x)


def test_divisor_override_is_pytorchs():
    torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    x = np.random.default_rng(3).standard_normal((2, 3, 7, 8)).astype("float32")
    for options in ({"ceil_mode": True}, {"count_include_pad": True}, {}):
        y = cg.avg_pool(x, 3, stride=2, padding=1, divisor_override=5, data_format="channels_first", **options)
        options = {"count_include_pad": False, **options}
        theirs = torch.nn.functional.avg_pool2d(torch.tensor(x), 3, 2, 1, divisor_override=5, **options)
        np.testing.assert_allclose(y, theirs.numpy(), rtol=1e-5, atol=1e-6)
    half = cg.avg_pool(cg.tensor(x, dtype="bfloat16"), 3, divisor_override=1, data_format="channels_first")
    assert half.dtype.name == "bfloat16"
    for wrong, error in ((0, ValueError), (1.5, TypeError)):
        with pytest.raises(error, match="avg_pool: expected divisor_override"):
            cg.avg_pool(x, 3, divisor_override=wrong)


def test_adaptive_size_none_is_that_of_the_input():
    x = np.random.default_rng(4).standard_normal((2, 5, 7, 3))
    for function in (cg.adaptive_avg_pool, cg.adaptive_max_pool, cg.adaptive_avg_pool2d):
        exactly(function(x, (None, 2)).numpy(), function(x, (5, 2)).numpy())
        exactly(function(x, None).numpy(), x)
    with pytest.raises(ValueError, match="adaptive_avg_pool: expected output_size to be an integer or 2"):
        cg.adaptive_avg_pool(x, (None, 2, 2))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_view_that_is_not_contiguous_is_pooled_as_its_copy(dtype):
    x = integers((2, 9, 14, 3), dtype).transpose(0, 2, 1, 3)[:, ::2]
    for function in (lambda v: cg.max_pool(v, 3, stride=2), lambda v: cg.avg_pool(v, 3, stride=2)):
        exactly(function(cg.Tensor(x)).numpy(), function(x.copy()).numpy())


@pytest.mark.parametrize("tile", [1, 100, 1000])
@names([BY_NAME[n] for n in ("alexnet", "3d-overlapping", "nan", "dilation", "gaps", "adaptive-uneven", "ties-disjoint",
                             "asymmetric-padding", "1d-pair-padding")])
def test_tiles_of_any_size_give_the_same_bits(case, tile, monkeypatch):
    modules = [importlib.import_module(f"convgpu.backends.numpy.pool.{m}") for m in ("windows", "max_pool", "avg_pool")]
    ours, geo, x = load("numpy"), case.geometry(), case.input("float32")
    gy = np.random.default_rng(0).standard_normal(geo.y_shape).astype(np.float32)
    offsets = ours.max_pool(x, geo, True)[1]
    functions = [partial(ours.max_pool, x, geo, True), partial(ours.max_pool, x, geo, False),
                 partial(ours.avg_pool, x, geo), partial(ours.avg_pool_dgrad, gy, geo),
                 partial(ours.max_pool_dgrad, gy, offsets, geo), partial(ours.max_pool_gather, x, offsets, geo)]
    before = [f() for f in functions]
    try:
        for module in modules:
            monkeypatch.setattr(module, "TILE", tile)
        kept.everything.clear()
        for f, expected in zip(functions, before):
            for a, b in zip(f(), expected) if isinstance(expected, tuple) else [(f(), expected)]:
                np.testing.assert_array_equal(a, b)
    finally:
        kept.everything.clear()


def test_any_number_of_threads_gives_the_same_bits():
    rng, before = np.random.default_rng(0), get_num_threads()
    x = rng.standard_normal((4, 60, 61, 32)).astype(np.float32)

    def results():
        t = cg.tensor(x, requires_grad=True)
        y = cg.max_pool(t, 3, stride=2, padding=1) + cg.avg_pool(t, 3, stride=2, padding=1)
        y.backward(y.detach())
        return y.numpy(), t.grad.numpy(), cg.global_avg_pool(x).numpy(), cg.global_max_pool(x).numpy()

    try:
        set_num_threads(1)
        one = results()
        set_num_threads(5)
        for a, b in zip(one, results()):
            np.testing.assert_array_equal(a, b)
    finally:
        set_num_threads(before)


@pytest.mark.parametrize("data_format", FORMATS)
def test_extra_memory_is_bounded(data_format):
    x = np.zeros((64, 56, 56, 64) if data_format == "channels_last" else (64, 64, 56, 56), np.float16)
    case = PoolCase("large", (64, 56, 56, 64), 3, 2, 1)
    ours, geo = load("numpy"), case.geometry(data_format)
    gy = np.zeros(geo.y_shape, np.float16)
    offsets = np.zeros(geo.y_shape, np.uint8)
    for f, result in ((lambda: ours.max_pool(x, geo, True), gy.nbytes + offsets.nbytes),
                      (lambda: ours.avg_pool(x, geo), gy.nbytes), (lambda: ours.avg_pool_dgrad(gy, geo), x.nbytes)):
        tracemalloc.start()
        f()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak - result < 64 * 2**20


# --- gradients


# every option on few pixels: each pixel is moved both ways, twice
SMALL = [
    PoolCase("1d", (1, 8, 2), 3, 2, 1),
    PoolCase("3d", (1, 3, 4, 3, 1), 2, 1),
    PoolCase("2x3", (1, 4, 6, 2), (2, 3)),
    PoolCase("overlapping", (1, 5, 6, 1), 3, 2, 1),
    PoolCase("dilated", (1, 6, 5, 1), 2, 1, 1, dilation=(2, 3)),
    PoolCase("ceil", (1, 4, 6, 1), 3, 2, ((0, 1), (1, 0)), ceil_mode=True, count_include_pad=True),
    PoolCase("global", (2, 3, 4, 2), 1, adaptive=True),
    PoolCase("adaptive", (1, 5, 4, 1), (3, 3), adaptive=True),
]


@pytest.mark.parametrize("data_format", FORMATS)
@names(SMALL)
def test_gradients_of_first_and_second_order(case, data_format):
    x = np.random.default_rng(0).permutation(int(np.prod(case.x))).reshape(case.shape(data_format)) / 8.0
    cg.check_grad(lambda x: max_pool(case, x, data_format), x, order=2)
    if case.averages:
        cg.check_grad(lambda x: avg_pool(case, x, data_format), x, order=2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_second_order_through_the_square_of_a_pooling(backend):
    x = np.random.default_rng(0).permutation(30).reshape(1, 5, 6, 1) / 8.0
    with cg.use_backend(backend):
        cg.check_grad(lambda x: cg.max_pool(x, 3, stride=2, padding=1) ** 2, x, order=3, tolerance=1e-5)
        cg.check_grad(lambda x: cg.avg_pool(x, 3, stride=2, padding=1) ** 2, x, order=3, tolerance=1e-5)
        cg.check_grad(lambda x: cg.global_max_pool(x) * cg.global_avg_pool(x, keepdims=True).sum(), x, order=2)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("data_format", FORMATS)
@names()
def test_adjoint_identities_hold_bitwise(case, data_format, backend):
    """On small integers all sums are exact: <g, gather(z)> = <z, dgrad(g)>, and likewise for averages of 2^k taps."""
    run, geo = load(backend), case.geometry(data_format)
    offsets = run.max_pool(case.input("float64", data_format), geo, True)[1]
    z, g = integers(geo.x_shape, "float64"), integers(geo.y_shape, "float64", 1)
    assert (g * run.max_pool_gather(z, offsets, geo)).sum() == (z * run.max_pool_dgrad(g, offsets, geo)).sum()
    divisors = 5040.0 * 11 * 17  # of averages: a multiple keeps what follows in integers, up to rounding of 1 unit
    left, right = ((g * divisors * run.avg_pool(z, geo)).sum(), (z * run.avg_pool_dgrad(g * divisors, geo)).sum())
    assert abs(left - right) <= 2.0**-40 * divisors * (1 + np.abs(g).sum())


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_adjoint_of_averages_by_a_power_of_two_holds_bitwise(backend):
    geo, run = PoolCase("power", (2, 9, 8, 3), (2, 4), (1, 2)).geometry(), load(backend)
    z, g = integers(geo.x_shape, "float32"), integers(geo.y_shape, "float32", 1)
    assert (g * run.avg_pool(z, geo)).sum() == (z * run.avg_pool_dgrad(g, geo)).sum()


@pytest.mark.parametrize("backend", BACKENDS)
def test_offsets_are_saved_only_where_they_are_needed(backend, monkeypatch):
    asked = []
    module = load(backend)
    original = module.max_pool

    def spy(x, geo, with_offsets):
        asked.append(with_offsets)
        return original(x, geo, with_offsets)

    monkeypatch.setattr(module, "max_pool", spy)
    x = np.zeros((1, 4, 4, 1), np.float32)
    with cg.use_backend(backend):
        cg.max_pool(x, 2)
        with cg.no_grad():
            cg.max_pool(cg.tensor(x, requires_grad=True), 2)
        cg.max_pool(x, 2, return_indices=True)
        cg.max_pool(cg.tensor(x, requires_grad=True), 2)
    assert asked == [False, False, True, True]


# --- the rules


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(2, 2), (4, 4)])
def test_the_first_nan_wins_and_gets_the_gradient(backend, dtype, size):
    image = np.array([[1, 2, 9, 1], [3, np.nan, 1, 1], [np.nan, 0, 5, 5], [0, np.nan, 5, 5]])
    with cg.use_backend(backend):
        x = cg.tensor(image.reshape(1, 4, 4, 1), dtype=dtype, requires_grad=True)
        y = cg.max_pool(x, size)
        y.backward(np.ones(y.shape))
    grad = x.grad.numpy()[0, :, :, 0].astype(np.float64)
    winners = {(2, 2): [(1, 1), (0, 2), (2, 0), (2, 2)], (4, 4): [(1, 1)]}[size]
    assert sorted(zip(*map(list, np.nonzero(grad)))) == sorted(winners)
    assert np.isnan(y.numpy().astype(np.float64)).sum() == (2 if size == (2, 2) else 1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_of_equal_values_the_first_in_row_major_order_wins(backend, dtype):
    # in the window [[0, 7], [7, 0]] the first 7 in row-major order stands in the later column; zeros of both signs tie
    image = np.array([[0, 7, -0.0, 0], [7, 0, 0, -0.0]]).reshape(1, 2, 4, 1)
    with cg.use_backend(backend):
        y, indices = cg.max_pool(cg.tensor(image, dtype=dtype), 2, return_indices=True)
    assert indices.numpy().ravel().tolist() == [1, 2] and y.numpy().ravel().tolist() == [7, 0]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_padding_is_never_compared(backend, dtype):
    """A window of all -inf gives -inf, and its first real pixel wins."""
    x = cg.tensor(np.full((1, 3, 3, 1), -np.inf), dtype=dtype, requires_grad=True)
    with cg.use_backend(backend):
        y, indices = cg.max_pool(x, 3, stride=2, padding=1, return_indices=True)
        y.backward(np.ones(y.shape))
    assert np.isneginf(y.numpy().astype(np.float64)).all()
    assert indices.numpy().ravel().tolist() == [0, 1, 3, 4]
    assert x.grad.numpy()[0, :, :, 0].astype(float).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_infinity_beside_padding_and_beside_losers_makes_no_nan(backend):
    x = np.full((1, 3, 3, 1), np.inf)
    geo = PoolCase("inf", (1, 3, 3, 1), 2, 2, ((0, 1), (0, 1))).geometry()
    run = load(backend)
    for count in (False, True):
        assert np.isinf(cg.avg_pool(x, 2, padding=((0, 1), (0, 1)), count_include_pad=count).numpy()).all()
    for f in (2, 3):  # windows that do not overlap, few taps and many; gradients of Inf reach the winners alone
        geo = PoolCase("inf", (1, 6, 6, 1), f).geometry()
        offsets = run.max_pool(np.zeros(geo.x_shape), geo, True)[1]
        gx = run.max_pool_dgrad(np.full(geo.y_shape, np.inf), offsets, geo)
        assert np.isinf(gx).sum() == geo.output[0] ** 2 and not np.isnan(gx).any()


@pytest.mark.parametrize("size, dtype", [((16, 16), "uint8"), ((257, 1), "uint16"), ((256, 256), "uint16"),
                                         ((257, 256), "int32")])
@ON_EACH
def test_windows_over_255_taps_save_wider_offsets(backend, size, dtype):
    height, width = size
    geo = PoolCase("wide", (1, height, 2 * width, 1), size).geometry()
    x = np.zeros(geo.x_shape, np.float32)
    x[0, -1, width - 1::width] = 1
    y, offsets = load(backend).max_pool(x, geo, True)
    assert offsets.ravel().tolist() == [height * width - 1] * 2 and y.ravel().tolist() == [1, 1]
    assert offsets.dtype == geo.offset_dtype == dtype


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 100_352, 3), (2, 317, 331, 1), (1, 47, 48, 49, 2), (5, 7, 7, 130)])
@ON_EACH
def test_global_average_of_many_pixels_is_exact_enough(backend, shape, dtype, data_format):
    case = PoolCase("global", shape, 1, adaptive=True)
    x = np.random.default_rng(0).uniform(0.5, 1.5, case.shape(data_format)).astype(as_dtype(dtype))
    exact = x.astype(np.longdouble).mean(axis=tuple(range(1, x.ndim - 1)) if data_format == "channels_last"
                                         else tuple(range(2, x.ndim))).astype(np.float64)
    with cg.use_backend(backend):
        got = cg.global_avg_pool(x, data_format=data_format).numpy()
    assert worst(got, exact, np.abs(exact), int(np.prod(shape[1:-1])), C_OF[backend]) <= 1


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@ON_EACH
def test_long_windows_are_averaged_in_blocks(backend, dtype):
    x = np.random.default_rng(0).uniform(0.5, 1.5, (1, 20_000, 1)).astype(dtype)
    with cg.use_backend(backend):
        got = cg.avg_pool(x, 5_000, stride=4_000).numpy()
    wide = x.astype(np.longdouble)[0, :, 0]
    exact = np.array([wide[i:i + 5_000].mean() for i in range(0, 15_001, 4_000)], np.float64).reshape(1, -1, 1)
    assert worst(got, exact, exact, 5_000, C_OF[backend]) <= 1


def test_half_averages_accumulate_in_float32():
    x = np.full((1, 64, 64, 1), 1.001, np.float16)
    assert cg.avg_pool(x, 64).numpy().item() == x.flat[0] and cg.global_avg_pool(x).numpy().item() == x.flat[0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_empty_batches_and_channels_give_empty_results_and_gradients(backend):
    with cg.use_backend(backend):
        for shape in ((0, 6, 6, 3), (2, 6, 6, 0)):
            x = cg.tensor(np.zeros(shape, np.float32), requires_grad=True)
            results = [cg.max_pool(x, 3, stride=2), cg.avg_pool(x, 3, stride=2), cg.adaptive_max_pool(x, 4),
                       cg.adaptive_avg_pool(x, 4), cg.global_max_pool(x), cg.global_avg_pool(x)]
            n, *_, c = shape
            assert [y.shape for y in results] == [(n, 2, 2, c)] * 2 + [(n, 4, 4, c)] * 2 + [(n, c)] * 2
            for y in results:
                y.sum().backward()
            assert x.grad.shape == shape


@pytest.mark.parametrize("data_format", FORMATS)
def test_global_pooling_keeps_dimensions_if_asked(data_format):
    x = np.arange(48.0).reshape((2, 3, 4, 2) if data_format == "channels_last" else (2, 2, 3, 4))
    axes = (1, 2) if data_format == "channels_last" else (2, 3)
    for pool, expected in ((cg.global_max_pool, np.max), (cg.global_avg_pool, np.mean)):
        for keepdims in (False, True):
            exactly(pool(x, keepdims=keepdims, data_format=data_format).numpy(), expected(x, axes, keepdims=keepdims))


# --- PyTorch, where the semantics agree


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("n, size, stride, padding, dilation", [
    ((9,), 3, 2, 1, 1), ((7, 8), 2, 2, 0, 1), ((7, 8), (2, 3), (1, 2), (1, 1), (2, 1)), ((9, 10), 3, 2, 1, 1),
    ((5, 6, 7), 2, 2, 1, 1), ((6, 5, 9), (3, 2, 3), (2, 1, 2), (1, 0, 1), (1, 2, 2)), ((10, 11), 3, (3, 4), 1, 2)])
def test_torch_agrees(n, size, stride, padding, dilation, ceil_mode):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    x = np.round(np.random.default_rng(0).standard_normal((2, 3, *n)) * 2)
    rank, t = len(n), torch.tensor(x, requires_grad=True)
    expected, indices = getattr(functional, f"max_pool{rank}d")(t, size, stride, padding, dilation, ceil_mode, True)
    ours = cg.tensor(x, requires_grad=True)
    y, i = getattr(cg, f"max_pool{rank}d")(ours, size, stride=stride, padding=padding, dilation=dilation,
                                           ceil_mode=ceil_mode, return_indices=True, data_format="channels_first")
    exactly(y.numpy(), expected.detach().numpy())
    exactly(i.numpy(), indices.numpy())
    g = integers(y.shape, "float64")
    y.backward(g)
    expected.backward(torch.tensor(g))
    exactly(ours.grad.numpy(), t.grad.numpy())
    if dilation == 1:
        for count in (False, True):
            a = getattr(functional, f"avg_pool{rank}d")(t.detach(), size, stride, padding, ceil_mode, count)
            b = getattr(cg, f"avg_pool{rank}d")(x, size, stride=stride, padding=padding, ceil_mode=ceil_mode,
                                                count_include_pad=count, data_format="channels_first")
            np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("n, output", [((9,), 4), ((7, 8), (3, 5)), ((5, 6, 7), (2, 4, 9)), ((4, 6), 2)])
def test_torch_agrees_on_adaptive_pooling(n, output):
    torch = pytest.importorskip("torch")
    x = np.round(np.random.default_rng(0).standard_normal((2, 3, *n)) * 2)
    functional, rank = torch.nn.functional, len(n)
    expected, indices = getattr(functional, f"adaptive_max_pool{rank}d")(torch.tensor(x), output, return_indices=True)
    y, i = getattr(cg, f"adaptive_max_pool{rank}d")(x, output, return_indices=True, data_format="channels_first")
    exactly(y.numpy(), expected.numpy())
    exactly(i.numpy(), indices.numpy())
    mean = getattr(functional, f"adaptive_avg_pool{rank}d")(torch.tensor(x), output)
    ours = cg.adaptive_avg_pool(x, output, data_format="channels_first")
    np.testing.assert_allclose(ours.numpy(), mean.numpy(), rtol=1e-14, atol=1e-15)


# --- errors


@pytest.mark.parametrize("call, error, message", [
    (lambda x: cg.max_pool(x, 7), ValueError,
     "max_pool: the window spans (7, 7) pixels, larger than the padded input (6, 5) (x=(2, 6, 5, 3)); "
     "use a larger input, a smaller network, or padding='same'"),
    (lambda x: cg.max_pool(x, 4, data_format="channels_first"), ValueError,
     "max_pool: the window spans (4, 4) pixels, larger than the padded input (5, 3) (x=(2, 6, 5, 3)); use a larger "
     "input, a smaller network, or padding='same'; did you mean data_format='channels_last'?"),
    (lambda x: cg.max_pool(x, 2, padding=2), ValueError,
     "max_pool: expected every window to cover a pixel, got one wholly in padding along spatial axis 0 "
     "(x=(2, 6, 5, 3), size=(2, 2), stride=(2, 2), padding=((2, 2), (2, 2)), dilation=(1, 1))"),
    (lambda x: cg.avg_pool(x, (2, 2, 2)), ValueError,
     "avg_pool: expected size to be an integer or 2 of them, one per spatial axis, got (2, 2, 2)"),
    (lambda x: cg.avg_pool(x, 2, stride=0), ValueError, "avg_pool: expected stride >= 1, got 0"),
    (lambda x: cg.max_pool(x, 2.5), TypeError,
     "max_pool: expected size to be an integer or a sequence of them, got 2.5"),
    (lambda x: cg.max_pool(x, 2, data_format="NHWC"), ValueError,
     "max_pool: expected data_format 'channels_last' or 'channels_first', got 'NHWC'"),
    (lambda x: cg.max_pool(x[0, 0], 2), ValueError,
     "max_pool: expected x of 3 to 5 axes (batch, 1 to 3 spatial, channels), got shape (5, 3)"),
    (lambda x: cg.avg_pool1d(x, 2), ValueError,
     "avg_pool1d: expected x of 3 axes (batch, 1 spatial, channels), got shape (2, 6, 5, 3)"),
    (lambda x: cg.avg_pool(x.astype(int), 2), TypeError,
     "avg_pool: expected one dtype of float16, bfloat16, float32, float64 for all operands, got x: int64; "
     "convert with .astype(...)"),
    (lambda x: cg.max_pool(x > 0, 2), TypeError, "max_pool: expected x of a floating or integer dtype, got bool"),
    (lambda x: cg.adaptive_avg_pool(x, 0), ValueError, "adaptive_avg_pool: expected output_size >= 1, got 0"),
    (lambda x: cg.global_max_pool(x[:, :0]), ValueError,
     "global_max_pool: expected at least one pixel along every spatial axis, got x=(2, 0, 5, 3)"),
])
def test_errors_say_what_was_expected_and_what_was_got(call, error, message):
    with pytest.raises(error) as caught:
        call(np.zeros((2, 6, 5, 3), np.float32))
    assert str(caught.value) == message


def test_names_that_fix_the_rank_keep_signature_and_result():
    for name in ("max_pool", "avg_pool", "global_max_pool", "global_avg_pool", "adaptive_max_pool", "adaptive_avg_pool",
                 "conv", "conv_transpose", "depthwise_conv", "separable_conv"):
        general = getattr(cg, name)
        for rank in (1, 2, 3):
            fixed = getattr(cg, f"{name}{rank}d")
            assert fixed.__name__ == f"{name}{rank}d" and f"{rank}-D" in fixed.__doc__
            assert inspect.signature(fixed) == inspect.signature(general)
            with pytest.raises(ValueError, match=f"{name}{rank}d: expected x of {rank + 2} axes"):
                fixed(np.zeros((1,) * (rank + 3)), 1, 1)
            with pytest.raises(TypeError, match=rf"^{name}{rank}d\(\) got an unexpected keyword argument 'strides'"):
                fixed(np.zeros((1,) * (rank + 2)), strides=1)
    x = integers((2, 6, 7, 3), "float32")
    exactly(cg.max_pool2d(x, (2, 3)).numpy(), cg.max_pool(x, (2, 3)).numpy())
    with pytest.raises(ValueError, match=r"^max_pool2d: expected stride >= 1, got 0$"):
        cg.max_pool2d(x, 2, stride=0)
    with pytest.raises(TypeError, match=r"^conv2d: expected one dtype .* x: float32, w: float64"):
        cg.conv2d(x, np.zeros((2, 2, 3, 1)))


# --- the notes' worked examples


NOTE = np.array([[1, 4, 2, 1], [5, 8, 3, 4], [7, 6, 4, 5], [1, 3, 1, 2]], np.float32).reshape(1, 4, 4, 1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_notes_worked_examples(backend):
    other = np.array([[12, 20, 30, 0], [8, 12, 2, 0], [34, 70, 37, 4], [112, 100, 25, 12]],
                     np.float32).reshape(1, 4, 4, 1)
    five = np.array([[3, 3, 2, 1, 0], [0, 0, 1, 3, 1], [3, 1, 2, 2, 3], [2, 0, 0, 2, 2], [2, 0, 0, 0, 1]],
                    np.float32).reshape(1, 5, 5, 1)
    with cg.use_backend(backend):
        for got, expected in (
                (cg.max_pool2d(other, 2), [[20, 30], [112, 37]]),
                (cg.max_pool2d(NOTE, 2), [[8, 4], [7, 5]]),
                (cg.avg_pool2d(NOTE, 2, stride=1), [[4.5, 4.25, 2.5], [6.5, 5.25, 4], [4.25, 3.5, 3]]),
                (cg.max_pool2d(five, 3, stride=1), [[3, 3, 3], [3, 3, 3], [3, 2, 3]])):
            assert got.numpy()[0, :, :, 0].tolist() == expected


@pytest.mark.parametrize("sizes, options", [
    ((55, 27), {"size": 3, "stride": 2}), ((23, 11), {"size": 3, "stride": 2}), ((5, 2), {"size": 3, "stride": 2}),
    ((110, 55), {"size": 3, "stride": 2, "padding": 1}), ((26, 13), {"size": 3, "stride": 2, "padding": 1}),
    ((13, 6), {"size": 3, "stride": 2}), ((224, 112), {"size": 2}), ((28, 14), {"size": 2}),
    ((112, 56), {"size": 3, "stride": 2, "padding": "same"})])
def test_the_sizes_of_the_notes_networks(sizes, options):
    before, after = sizes
    assert cg.max_pool(np.zeros((1, before, before, 1), np.float32), **options).shape == (1, after, after, 1)
