"""Power pooling: every backend on every case, PyTorch, gradients of first and second order, zeros, Inf, NaN, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from native_backends import COMPILED, NATIVE

import convgpu as cg
from convgpu.backends import load
from convgpu.backends.numpy.workers import get_num_threads, set_num_threads
from convgpu.cases.pool import CASES
from convgpu.cases.problem import Judge
from convgpu.cases.tolerance import C_KERNEL, C_NUMPY
from convgpu.facts import FAMILIES

FAMILY = FAMILIES["pool"]
OPS = ("lp_pool", "lp_pool_dgrad", "lp_pool_gather")
AVERAGES = [case for case in CASES if case.averages and not case.adaptive]
OPTIONS = [{"size": 2}, {"size": 3, "stride": 2}, {"size": (3, 2), "stride": (1, 2)},
           {"size": 3, "stride": 2, "ceil_mode": True}]


def draw(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("backend", ["numpy", *COMPILED])
@pytest.mark.parametrize("case", AVERAGES, ids=lambda case: case.name)
def test_backends_stay_within_the_tolerance_of_the_reference(case, backend):
    seen = set()
    for dtype, data_format in FAMILY.variants(case):
        for problem in FAMILY.problems(case, dtype, data_format):
            if problem.op in OPS:
                got = problem.run(load(backend), problem.arrays)
                error = Judge(problem, C_NUMPY if backend == "numpy" else C_KERNEL).error([np.asarray(got)])
                assert error <= 1, (problem.op, dtype, data_format, problem.call.statics[1:])
                seen.add(problem.op)
    assert seen == set(OPS)


@pytest.mark.parametrize("p", [1, 2, 3, 3.5])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_pytorch_has_the_same_values_and_gradients(p, options):
    """Of positive pixels, since PyTorch takes x^p of x itself; and where ceil_mode cuts a window off, it scales the sum
    up to the size of a whole window, which the norm of the pixels that are there does not."""
    torch = pytest.importorskip("torch", reason="PyTorch judges, and is not installed")
    values = np.abs(draw((2, 8, 9, 3))) + 0.01
    x, theirs = cg.tensor(values, requires_grad=True), torch.tensor(values.transpose(0, 3, 1, 2), requires_grad=True)
    y = cg.lp_pool2d(x, p, **options)
    whole = torch.nn.functional.lp_pool2d(theirs, p, options["size"], options.get("stride"),
                                          options.get("ceil_mode", False))
    size = options["size"] if isinstance(options["size"], tuple) else (options["size"],) * 2
    counts = np.minimum(size[0], 8 - np.arange(y.shape[1]) * _stride(options, 0))[:, None] * np.minimum(
        size[1], 9 - np.arange(y.shape[2]) * _stride(options, 1))
    scale = (counts / math.prod(size))[None, :, :, None] ** (1 / p)
    expected = whole.detach().numpy().transpose(0, 2, 3, 1) * scale
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-12)
    g = draw(y.shape, seed=1)
    y.backward(g)
    whole.backward(torch.tensor((g * scale).transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(x.grad.numpy(), theirs.grad.numpy().transpose(0, 2, 3, 1), rtol=1e-11, atol=1e-13)


def _stride(options, axis):
    chosen = options.get("stride", options["size"])
    return chosen[axis] if isinstance(chosen, tuple) else chosen


@pytest.mark.parametrize("shape, size", [((2, 7, 2), 3), ((1, 4, 5, 2), (2, 3)), ((1, 3, 4, 3, 1), 2)], ids=str)
@pytest.mark.parametrize("p", [1, 1.5, 2, 3, 3.5, math.inf])
def test_gradients(p, shape, size):
    x = draw(shape)
    for options in ({}, {"stride": 1, "padding": 1}, {"stride": 2, "ceil_mode": True, "data_format": "channels_first"}):
        if options.get("data_format"):
            options = {**options, "padding": 1}
            x = np.moveaxis(x, -1, 1)
        cg.check_grad(lambda x, options=options: cg.lp_pool(x, p, size, **options), x, order=2)


def test_a_third_derivative_is_right():
    x = np.abs(draw((1, 4, 1))) + 0.5
    cg.check_grad(lambda x: cg.lp_pool(x, 3.5, 2, stride=1), x, order=3)


def test_the_norm_is_the_definition():
    x = draw((2, 5, 3))
    windows = np.abs(np.stack([x[:, i:i + 3] for i in range(3)], axis=1))
    for p in (1, 2, 3, 3.5, 10.0):
        np.testing.assert_allclose(cg.lp_pool1d(x, p, 3, stride=1).numpy(), (windows**p).sum(axis=2) ** (1 / p),
                                   rtol=1e-13)
    np.testing.assert_array_equal(cg.lp_pool1d(x, math.inf, 3, stride=1).numpy(), windows.max(axis=2))


@pytest.mark.parametrize("backend", ["reference", "numpy", *COMPILED])
@pytest.mark.parametrize("p", [1, 2, 3, 3.5, math.inf])
def test_windows_of_zeros_have_gradients_of_zero(p, backend):
    with cg.use_backend(backend):
        x = cg.tensor(np.array([0, 0, 0, 2, -3, 0]).reshape(1, 6, 1), dtype="float32", requires_grad=True)
        y = cg.lp_pool(x, p, 2)
        gx = cg.grad(y.sum(), x, create_graph=True)
        twice = cg.grad((gx * np.arange(1, 7, dtype="float32").reshape(1, 6, 1)).sum(), x)
    assert y.tolist()[0][:2] == [[0], [2]] and gx.tolist()[0] == [[0], [0], [0], [1], [-1], [0]]
    assert np.isfinite(twice.numpy()).all() and twice.tolist()[0][:2] == [[0], [0]]


@pytest.mark.parametrize("backend", ["reference", "numpy", *COMPILED])
def test_a_second_derivative_is_there_where_one_pixel_is_zero(backend):
    """Of the Euclidean norm of (0, 2): d2y/dx0^2 is 1/y."""
    with cg.use_backend(backend):
        x = cg.tensor(np.array([0.0, 2.0]).reshape(1, 2, 1), requires_grad=True)
        gx = cg.grad(cg.lp_pool(x, 2, 2).sum(), x, create_graph=True)
        assert cg.grad(gx[0, 0, 0], x).tolist() == [[[0.5], [0.0]]]


@pytest.mark.parametrize("backend", ["reference", "numpy", *COMPILED])
@pytest.mark.parametrize("p", [1, 2, 3.5, math.inf])
def test_infinities_and_nan(p, backend):
    x = np.array([np.inf, 1, -np.inf, np.nan, np.nan, 1, 1, 2], "float32").reshape(1, 8, 1)
    with cg.use_backend(backend):
        y = cg.lp_pool(x, p, 2).numpy().ravel()
        alone = cg.lp_pool(np.full((1, 2, 1), -np.inf, "float32"), p, 2).item()
    np.testing.assert_array_equal(y[:3], [np.inf, np.nan, np.nan])
    assert np.isfinite(y[3]) and alone == np.inf


@pytest.mark.parametrize("backend", ["reference", "numpy", *COMPILED])
@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("p", [2, 3, 3.5])
def test_powers_neither_overflow_nor_vanish(p, scale, backend):
    x = (np.array([3, -4, 5, 1]) * scale).astype("float32").reshape(1, 4, 1)
    with cg.use_backend(backend):
        t = cg.tensor(x, requires_grad=True)
        y = cg.lp_pool(t, p, 4)
        y.backward()
    exact = (np.abs(x.astype("float64")) ** p).sum() ** (1 / p)
    np.testing.assert_allclose(y.item(), exact, rtol=1e-6)
    np.testing.assert_allclose(t.grad.numpy(), np.sign(x) * (np.abs(x) / exact) ** (p - 1), rtol=2e-6)


def test_a_large_window_is_summed_in_blocks():
    x = np.abs(draw((1, 300, 300, 2), "float32"))
    for size in (300, (300, 299)):
        y = cg.lp_pool(x, 3, size).numpy()
        part = x[:, :, :299] if size != 300 else x
        exact = (part.astype("float64") ** 3).sum(axis=(1, 2)) ** (1 / 3)
        np.testing.assert_allclose(y[:, 0, 0], exact, rtol=4e-7)


def test_any_number_of_threads_gives_the_same_bits():
    x, before, results = draw((5, 9, 8, 3), "float32"), get_num_threads(), []
    try:
        for threads in (1, 3):
            set_num_threads(threads)
            t = cg.tensor(x, requires_grad=True)
            cg.lp_pool(t, 3.5, 3, stride=2).sum().backward()
            results.append((cg.lp_pool(x, 3.5, 3, stride=2).numpy().tobytes(), t.grad.numpy().tobytes()))
    finally:
        set_num_threads(before)
    assert results[0] == results[1]


@pytest.mark.parametrize("arguments, options, error, message", [
    ((np.ones((1, 4, 1)), 0.5, 2), {}, ValueError, "lp_pool: expected norm_type >= 1, got 0.5"),
    ((np.ones((1, 4, 1)), -math.inf, 2), {}, ValueError, "lp_pool: expected norm_type >= 1, got -inf"),
    ((np.ones((1, 4, 1)), math.nan, 2), {}, ValueError, "lp_pool: expected norm_type >= 1, got nan"),
    ((np.ones((1, 4, 1)), "2", 2), {}, TypeError, "lp_pool: expected norm_type to be a number, got '2'"),
    ((np.ones((1, 4, 1)), None, 2), {}, TypeError, "lp_pool: expected norm_type to be a number, got None"),
    ((np.ones((1, 4, 1)), True, 2), {}, TypeError, "lp_pool: expected norm_type to be a number, got True"),
    ((np.ones((1, 4, 1), int), 2, 2), {}, TypeError, "lp_pool: expected "),
    ((np.ones((1, 4, 1)), 2, 5), {}, ValueError, "lp_pool: .*5"),
    ((np.ones((1, 4, 1)), 2, 2), {"padding": 2}, ValueError, "lp_pool: expected every window to cover a pixel"),
    ((np.ones((1, 4, 1)), 2, 2), {"data_format": "NCW"}, ValueError, "lp_pool: .*'NCW'"),
])
def test_what_is_refused(arguments, options, error, message):
    with pytest.raises(error, match=message):
        cg.lp_pool(*arguments, **options)


def test_names_with_a_rank_check_it():
    with pytest.raises(ValueError, match="lp_pool2d: expected x of 4 axes"):
        cg.lp_pool2d(np.ones((1, 4, 1)), 2, 2)
    with pytest.raises(ValueError, match="lp_pool1d: expected norm_type >= 1, got 0"):
        cg.lp_pool1d(np.ones((1, 4, 1)), 0, 2)


def test_nothing_gives_nothing():
    x = cg.zeros((0, 4, 4, 3), requires_grad=True)
    y = cg.lp_pool(x, 2, 2)
    y.sum().backward()
    assert y.shape == (0, 2, 2, 3) and x.grad.shape == x.shape


@pytest.mark.parametrize("backend", NATIVE)
@pytest.mark.parametrize("op", OPS)
def test_kernels_refuse_windows_that_they_do_not_walk(op, backend):
    native = load(backend)
    for case in (c for c in CASES if c.adaptive and c.name == "adaptive-uneven" or c.name == "dilation"):
        with pytest.raises(ValueError, match=f"{op}: expected windows of one size without dilation, got others"):
            native.module.plan_pool(op, native.geometry(case.geometry()), "float32")
