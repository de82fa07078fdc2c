"""Normalisation: values, statistics, gradients of two orders, accuracy; against PyTorch where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
from native_backends import COMPILED, needs_emulated

import convgpu as cg
from convgpu.backends import load
from convgpu.cases.norm import CASES
from convgpu.cases.problem import Judge, as_results
from convgpu.cases.tolerance import C_KERNEL, C_NUMPY
from convgpu.dtypes import as_dtype
from convgpu.facts import FAMILIES
from convgpu.geometry import NormGeometry

FORMATS = ("channels_last", "channels_first")
LAST, FIRST = FORMATS
SHAPES = [(5, 3), (4, 6, 3), (2, 3, 4, 3), (2, 2, 3, 2, 3)]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def to(x, data_format):
    return x if data_format == LAST else np.moveaxis(x, -1, 1)


def normalized(x, axes, epsilon=1e-5):
    """In the widest precision there is."""
    x = x.astype(np.longdouble)
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


# --- every backend on every case

OPS = {"norm_stats", "norm_apply", "norm_apply_add", "norm_infer", "norm_fold", "norm_dgrad"}


@pytest.mark.parametrize("backend", ["reference", "numpy", *COMPILED])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_backends_stay_within_the_tolerance_of_the_reference(case, backend):
    family, seen = FAMILIES["norm"], set()
    assert set(family.ops) == OPS
    for dtype, data_format in family.variants(case):
        for problem in family.problems(case, dtype, data_format):
            with np.errstate(all="ignore"):
                results = list(as_results(problem.run(load(backend), problem.arrays)))
            error = Judge(problem, C_NUMPY if backend in ("reference", "numpy") else C_KERNEL).error(results)
            assert error <= 1, (problem.op, dtype, data_format, problem.call.statics[1:])
            seen.add(problem.op)
    assert OPS - seen <= {"norm_infer", "norm_fold"}


def test_planted_faults_are_found():
    """Two reductions are swapped, a part is dropped, what is left of a mean is dropped, a result has another dtype."""
    def problem(name, op):
        case, = [case for case in CASES if case.name == name]
        return next(p for p in FAMILIES["norm"].problems(case, "float32", "channels_last") if p.op == op)

    def error(p, change):
        results = list(as_results(p.run(load("numpy"), p.arrays)))
        assert Judge(p, C_NUMPY).error(results) <= 1
        return Judge(p, C_NUMPY).error(change(results))

    gradients = problem("batch", "norm_dgrad")
    assert error(gradients, lambda r: [r[0], r[2], r[1]]) > 1
    assert error(gradients, lambda r: [r[0], r[1] * np.float32(1 - 1e-4), r[2]]) > 1
    assert error(gradients, lambda r: [r[0], r[1].astype(np.float64), r[2]]) > 1
    far = problem("a large mean", "norm_stats")
    assert error(far, lambda r: [r[0] * np.float32([1, 0]).reshape(2, 1, 1), *r[1:]]) > 1
    x = far.arrays[0][:-1]
    fewer = load("numpy").norm_stats(x, *far.arrays[1:], NormGeometry(1, x.size // 8, 8, 1, 8), *far.call.statics[1:])
    assert error(far, lambda r: list(fewer)) > 1


# --- batch_norm


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_while_training(shape, data_format):
    x = normal(*shape) * 3 + 5
    scale, offset, mean, var = normal(3, seed=1), normal(3, seed=2), normal(3, seed=3), np.abs(normal(3, seed=4))
    y, new_mean, new_var = cg.batch_norm(to(x, data_format), mean, var, scale, offset, training=True, momentum=0.7,
                                         data_format=data_format)
    axes = tuple(range(x.ndim - 1))
    np.testing.assert_allclose(y, to(normalized(x, axes) * scale + offset, data_format).astype(float), rtol=1e-11)
    np.testing.assert_allclose(new_mean, 0.7 * mean + 0.3 * x.mean(axes), rtol=1e-13)
    np.testing.assert_allclose(new_var, 0.7 * var + 0.3 * x.var(axes, ddof=1), rtol=1e-13)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_with_running_statistics(shape, data_format):
    x, scale, offset = normal(*shape), normal(3, seed=1), normal(3, seed=2)
    mean, var = cg.tensor(normal(3, seed=3)), cg.tensor(np.abs(normal(3, seed=4)))
    y, same_mean, same_var = cg.batch_norm(to(x, data_format), mean, var, scale, offset, training=False, epsilon=0.1,
                                           data_format=data_format)
    expected = (x - mean.numpy()) / np.sqrt(var.numpy() + 0.1) * scale + offset
    np.testing.assert_allclose(y, to(expected, data_format), rtol=1e-12)
    assert same_mean is mean and same_var is var


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("data_format", FORMATS)
def test_batch_norm_gradients(training, data_format):
    x = to(normal(3, 2, 2), data_format)
    mean, var = normal(2, seed=3), np.abs(normal(2, seed=4)) + 0.5

    def f(x, scale=None, offset=None):
        return cg.batch_norm(x, mean, var, scale, offset, training=training, data_format=data_format)[0]

    cg.check_grad(f, x, normal(2, seed=1), normal(2, seed=2), order=2)
    cg.check_grad(f, x, order=2)
    cg.check_grad(f, x[:2, :, :1] if data_format == FIRST else x[:2, :1], order=3, tolerance=1e-4)


def test_batch_norm_gradients_of_the_running_statistics():
    cg.check_grad(lambda *xs: cg.batch_norm(*xs, training=False)[0], normal(3, 2), normal(2), [1.0, 2.0], order=2)


def test_batch_norm_of_a_batch_that_teaches_nothing():
    mean, var = np.zeros(3, np.float32), np.ones(3, np.float32)
    x = cg.tensor(np.zeros((0, 4, 3), np.float32), requires_grad=True)
    scale = cg.tensor(np.ones(3, np.float32), requires_grad=True)
    y, new_mean, new_var = cg.batch_norm(x, mean, var, scale, training=True)
    y.sum().backward()
    assert y.shape == (0, 4, 3) and x.grad.shape == x.shape and scale.grad.tolist() == [0] * 3
    assert new_mean.tolist() == [0] * 3 and new_var.tolist() == [1] * 3
    one, _, new_var = cg.batch_norm(np.ones((1, 3), np.float32), mean, var, training=True, momentum=0.5)
    assert one.tolist() == [[0] * 3] and new_var.tolist() == [0.5] * 3


def test_running_statistics_carry_no_gradient():
    x = cg.tensor(normal(4, 3), requires_grad=True)
    y, mean, var = cg.batch_norm(x, np.zeros(3), np.ones(3), training=True)
    assert y.requires_grad and not mean.requires_grad and not var.requires_grad


# --- layer_norm, group_norm


@pytest.mark.parametrize("axis", [-1, 1, (1, 2), (-1, 1), (0, 1, 2)], ids=str)
def test_layer_norm(axis):
    x = normal(3, 4, 5) * 2 + 1
    axes = tuple(sorted(a % 3 for a in (axis if isinstance(axis, tuple) else (axis,))))
    sizes = tuple(x.shape[a] for a in axes)
    along = tuple(n if i in axes else 1 for i, n in enumerate(x.shape))
    scale, offset = normal(*sizes, seed=1), normal(*sizes, seed=2)
    y = cg.layer_norm(x, scale, offset, axis=axis)
    expected = normalized(x, axes) * scale.reshape(along) + offset.reshape(along)
    np.testing.assert_allclose(y, expected.astype(float), rtol=1e-12)
    cg.check_grad(lambda *xs: cg.layer_norm(*xs, axis=axis), x, scale, offset)


def test_layer_norm_gradients_of_second_order():
    cg.check_grad(cg.layer_norm, normal(2, 4), normal(4, seed=1), normal(4, seed=2), order=2)
    cg.check_grad(lambda x: cg.layer_norm(x, axis=(0, 1), epsilon=0.1), normal(2, 3), order=2)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("shape", [(3, 6), (2, 4, 6), (2, 3, 2, 6)], ids=str)
def test_group_norm(shape, groups, data_format):
    x, scale, offset = normal(*shape) + 1, normal(6, seed=1), normal(6, seed=2)
    y = cg.group_norm(to(x, data_format), groups, scale, offset, data_format=data_format)
    split = x.reshape(*shape[:-1], groups, 6 // groups)
    xn = normalized(split, (*range(1, len(shape) - 1), len(shape))).reshape(shape)
    np.testing.assert_allclose(y, to(xn * scale + offset, data_format).astype(float), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("data_format", FORMATS)
def test_group_norm_gradients(data_format):
    x = to(normal(2, 3, 4), data_format)
    cg.check_grad(lambda *xs: cg.group_norm(xs[0], 2, *xs[1:], data_format=data_format), x, normal(4, seed=1),
                  normal(4, seed=2), order=2)


# --- the types, and accuracy


NORMS = {
    "batch": lambda x: cg.batch_norm(x, np.zeros(x.shape[-1], np.float32), np.ones(x.shape[-1], np.float32),
                                     training=True)[0],
    "layer": cg.layer_norm,
    "group": lambda x: cg.group_norm(x, 4),
}
AXES = {"batch": (0, 1), "layer": (2,)}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", NORMS)
def test_half_types_are_computed_in_float32_and_rounded_once(name, dtype):
    x = (normal(8, 30, 16) * 100 + 50).astype(as_dtype(dtype))
    t, wide = cg.tensor(x, requires_grad=True), cg.tensor(x.astype(np.float32), requires_grad=True)
    y, expected = NORMS[name](t), NORMS[name](wide)
    g = normal(8, 30, 16, seed=1).astype(as_dtype(dtype))
    y.backward(g)
    expected.backward(g.astype(np.float32))
    assert y.dtype == t.grad.dtype == as_dtype(dtype)
    np.testing.assert_array_equal(y, expected.astype(as_dtype(dtype)))
    np.testing.assert_array_equal(t.grad, wide.grad.astype(as_dtype(dtype)))


def test_parameters_may_be_float32_beside_a_half_type():
    x, ones = np.ones((4, 3), np.float16), np.ones(3, np.float32)
    y, mean, var = cg.batch_norm(x, ones, ones, ones, ones, training=True)
    assert (y.dtype, mean.dtype, var.dtype) == (np.float16, np.float32, np.float32)
    y, mean, var = cg.batch_norm(x, ones.astype(np.float16), ones.astype(np.float16), training=True)
    assert (y.dtype, mean.dtype, var.dtype) == (np.float16,) * 3


def test_statistics_over_many_terms_stay_accurate():
    """100,352 one-signed terms per channel, which a plain float32 sum gets wrong by 115 units."""
    x = np.random.default_rng(0).random((8, 112, 112, 3), np.float32) + np.float32(0.5)
    y, mean, var = cg.batch_norm(x, np.zeros(3, np.float32), np.ones(3, np.float32), training=True, momentum=0.0)
    x64 = x.astype(np.float64)
    eps = 2.0**-23
    assert (np.abs(mean.numpy() - x64.mean((0, 1, 2))) <= 2 * eps * x64.mean((0, 1, 2))).all()
    assert (np.abs(var.numpy() - x64.var((0, 1, 2), ddof=1)) <= 16 * eps * x64.var((0, 1, 2))).all()
    np.testing.assert_allclose(y, normalized(x64, (0, 1, 2)).astype(float), atol=16 * eps * 4)


def test_a_constant_input_gives_the_offset():
    y, *_ = cg.batch_norm(np.full((4, 2), 3.0), np.zeros(2), np.ones(2), None, [1.5, 2.5] * np.ones(2), training=True)
    assert y.tolist() == [[1.5, 2.5]] * 4


def test_nan_stays_in_its_channel():
    x = normal(4, 3)
    x[1, 1] = np.nan
    y = cg.batch_norm(x, np.zeros(3), np.ones(3), training=True)[0].numpy()
    assert np.isnan(y[:, 1]).all() and not np.isnan(y[:, [0, 2]]).any()


# --- local_response_norm


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 4, 20])
def test_local_response_norm_by_its_formula(size, data_format):
    x = normal(2, 3, 7)
    squares = np.zeros_like(x)
    for c in range(7):
        near = [j for j in range(c - size // 2, c + (size - 1) // 2 + 1) if 0 <= j < 7]
        squares[..., c] = (x[..., near]**2).sum(-1)
    expected = x / (2 + 0.5 / size * squares)**0.75
    y = cg.local_response_norm(to(x, data_format), size, alpha=0.5, k=2, data_format=data_format)
    np.testing.assert_allclose(y, to(expected, data_format), rtol=1e-13)


def test_local_response_norm_of_alexnet():
    """b = a / (k + alpha * sum over n neighbours of a^2)^beta with n=5, k=2, alpha=1e-4, beta=0.75."""
    a = np.arange(1.0, 8.0) * 20
    sums = [sum(v * v for v in a[max(0, i - 2):i + 3]) for i in range(7)]
    y = cg.local_response_norm(a[None], 5, alpha=5e-4, beta=0.75, k=2)
    np.testing.assert_allclose(y[0], a / (2 + 1e-4 * np.array(sums))**0.75, rtol=1e-14)


@pytest.mark.parametrize("size", [3, 4])
def test_local_response_norm_gradients(size):
    cg.check_grad(lambda x: cg.local_response_norm(x, size, alpha=0.7, beta=0.6), normal(2, 5), order=2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_local_response_norm_in_half_types(dtype):
    x = (normal(3, 9) * 100).astype(as_dtype(dtype))
    wide = cg.local_response_norm(x.astype(np.float32), 5, alpha=1.0)
    np.testing.assert_array_equal(cg.local_response_norm(x, 5, alpha=1.0), wide.astype(as_dtype(dtype)))


# --- errors


@pytest.mark.parametrize("call, error, words", [
    (lambda: cg.batch_norm(np.ones((2, 3)), np.ones(2), np.ones(3), training=True), ValueError,
     ["running_mean", "(C,) == (3,)", "(2,)"]),
    (lambda: cg.batch_norm(np.ones((2, 3)), np.ones(3), np.ones(3), np.ones((1, 3)), training=True), ValueError,
     ["scale", "(1, 3)"]),
    (lambda: cg.batch_norm(np.ones((2, 3)), cg.ones(3), np.ones(3), training=True), TypeError,
     ["x: float64", "running_mean: float32"]),
    (lambda: cg.batch_norm(np.ones((2, 3), int), np.ones(3), np.ones(3), training=True), TypeError, ["x: int64"]),
    (lambda: cg.batch_norm(np.ones(3), np.ones(3), np.ones(3), training=False), ValueError, ["2 axes", "(3,)"]),
    (lambda: cg.batch_norm(np.ones((2, 3)), np.ones(3), np.ones(3), training=True, data_format="NHWC"), ValueError,
     ["channels_last", "NHWC"]),
    (lambda: cg.layer_norm(np.ones((2, 3)), np.ones(2)), ValueError, ["scale", "(3,)", "(2,)"]),
    (lambda: cg.layer_norm(np.ones((2, 3)), axis=2), ValueError, ["layer_norm: expected axis in [-2, 2), got 2"]),
    (lambda: cg.group_norm(np.ones((2, 6)), 4), ValueError, ["divide C == 6", "got 4"]),
    (lambda: cg.group_norm(np.ones((2, 6)), 0), ValueError, ["groups >= 1", "got 0"]),
    (lambda: cg.local_response_norm(np.ones((2, 6)), 0), ValueError, ["size >= 1", "got 0"]),
    (lambda: cg.local_response_norm(np.ones((2, 6), int), 3), TypeError,
     ["local_response_norm: expected one dtype of float16, ", "x: int64"]),
])
def test_errors_name_what_was_expected_and_what_came(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


# --- against PyTorch


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_as_in_pytorch(training):
    torch = pytest.importorskip("torch")
    x, scale, offset = normal(4, 3, 5, 6), normal(3, seed=1), normal(3, seed=2)
    mean, var, g = normal(3, seed=3), np.abs(normal(3, seed=4)), normal(4, 3, 5, 6, seed=5)
    ours = [cg.tensor(t, requires_grad=True) for t in (x, scale, offset)]
    theirs = [torch.tensor(t, requires_grad=True) for t in (x, scale, offset)]
    running = [torch.tensor(mean), torch.tensor(var)]
    y, new_mean, new_var = cg.batch_norm(ours[0], mean, var, *ours[1:], training=training, data_format=FIRST)
    expected = torch.nn.functional.batch_norm(theirs[0], *running, *theirs[1:], training, 0.1, 1e-5)
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(new_mean, running[0], rtol=1e-12)
    np.testing.assert_allclose(new_var, running[1], rtol=1e-12)
    y.backward(g)
    expected.backward(torch.tensor(g))
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a.grad, b.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_layer_group_and_response_norm_as_in_pytorch(size):
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    x, scale, offset = normal(4, 6, 5) * 3, normal(6, seed=1), normal(6, seed=2)
    t = torch.tensor(x)
    y = cg.local_response_norm(x, size, data_format=FIRST)
    np.testing.assert_allclose(y, f.local_response_norm(t, size), rtol=1e-13)
    if 6 % size == 0:
        expected = f.group_norm(t, size, torch.tensor(scale), torch.tensor(offset))
        y = cg.group_norm(x, size, scale, offset, data_format=FIRST)
        np.testing.assert_allclose(y, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(cg.layer_norm(x, axis=(1, 2)), f.layer_norm(t, (6, 5)), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("backend", ["numpy", "reference", pytest.param("emulated", marks=needs_emulated)])
def test_a_channel_of_one_element_has_no_variance_to_learn_from(backend):
    x, mean, var = np.full((1, 3), 5, np.float32), np.zeros(3, np.float32), np.ones(3, np.float32)
    offset = cg.tensor([1.0, 2.0, 3.0])
    with cg.use_backend(backend):
        for correction in (0, 1, 2):
            y, _, learned = cg.batch_norm(x, mean, var, None, offset, training=True, momentum=0.75,
                                          correction=correction)
            assert y.tolist() == [[1.0, 2.0, 3.0]] and learned.tolist() == [0.75] * 3
        pair = np.array([[1.0], [3.0]], np.float32)
        learned = [cg.batch_norm(pair, mean[:1], var[:1], training=True, momentum=0.0, correction=c)[2].item()
                   for c in (0, 1, 2, 3)]
    assert learned == [1.0, 2.0, 2.0, 2.0]
