"""Activations and softmax: values, limits, half types, gradients of up to three orders; against PyTorch."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from optional import require

import convgpu as cg
from convgpu.backends.cpu import BY_NUMPY
from convgpu.dtypes import as_dtype
from convgpu.ops.gaussian import cdf

require("scipy")
from scipy import special  # noqa: E402 - where it is

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


# name: (ours, in float64, limits at -inf and inf, slopes there)
ELEMENTWISE = {
    "relu": (cg.relu, lambda x: np.maximum(x, 0), (0, np.inf), (0, 1)),
    "relu6": (cg.relu6, lambda x: np.clip(x, 0, 6), (0, 6), (0, 0)),
    "leaky_relu": (cg.leaky_relu, lambda x: np.where(x > 0, x, 0.01 * x), (-np.inf, np.inf), (0.01, 1)),
    "leaky_relu 0.3": (lambda x: cg.leaky_relu(x, 0.3), lambda x: np.where(x > 0, x, 0.3 * x), (-np.inf, np.inf),
                       (0.3, 1)),
    "leaky_relu 2": (lambda x: cg.leaky_relu(x, 2), lambda x: np.where(x > 0, x, 2 * x), (-np.inf, np.inf), (2, 1)),
    "elu": (cg.elu, lambda x: np.where(x > 0, x, np.expm1(x)), (-1, np.inf), (0, 1)),
    "elu 2": (lambda x: cg.elu(x, 2), lambda x: np.where(x > 0, x, 2 * np.expm1(x)), (-2, np.inf), (0, 1)),
    "selu": (cg.selu, lambda x: SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(x)),
             (-SELU_SCALE * SELU_ALPHA, np.inf), (0, SELU_SCALE)),
    "gelu": (cg.gelu, lambda x: x * special.ndtr(x), (0, np.inf), (0, 1)),
    "gelu tanh": (lambda x: cg.gelu(x, approximate=True), gelu_tanh, (0, np.inf), (0, 1)),
    "silu": (cg.silu, lambda x: x * special.expit(x), (0, np.inf), (0, 1)),
    "sigmoid": (cg.sigmoid, special.expit, (0, 1), (0, 0)),
    "tanh": (cg.tanh, np.tanh, (-1, 1), (0, 0)),
    "softplus": (cg.softplus, lambda x: np.logaddexp(0, x), (0, np.inf), (0, 1)),
    "hard_sigmoid": (cg.hard_sigmoid, lambda x: np.clip(x / 6 + 0.5, 0, 1), (0, 1), (0, 0)),
    "hard_tanh": (cg.hard_tanh, lambda x: np.clip(x, -1, 1), (-1, 1), (0, 0)),
}
SOFT = {"softmax": cg.softmax, "log_softmax": cg.log_softmax, "logsumexp": cg.logsumexp}
SCIPY = {"softmax": special.softmax, "log_softmax": special.log_softmax, "logsumexp": special.logsumexp}
EPSILON = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
SMALLEST = {"float64": 0.0, "float32": 2.0**-149, "float16": 2.0**-24, "bfloat16": 2.0**-133}

pytestmark = pytest.mark.filterwarnings("error")
elementwise = pytest.mark.parametrize("name", ELEMENTWISE)
dtypes = pytest.mark.parametrize("dtype", EPSILON)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@elementwise
@dtypes
def test_values(name, dtype):
    """A few units in the last place, and of the argument: x is what the result's error grows with in the tails."""
    ours, exact, *_ = ELEMENTWISE[name]
    x = np.concatenate([np.linspace(-30, 30, 2001), np.geomspace(1e-6, 1e3, 200), -np.geomspace(1e-6, 1e3, 200)])
    x = x.astype(as_dtype(dtype))
    y = ours(x)
    x = x.astype(np.float64)
    with np.errstate(all="ignore"):
        expected = exact(x)
    assert y.dtype == as_dtype(dtype) and y.shape == x.shape
    error = np.abs(y.numpy().astype(np.float64) - expected)
    # half types: computed in float32 and rounded once, to the nearest
    computed = min(EPSILON[dtype], EPSILON["float32"])
    precision, argument = 4 * computed if computed == EPSILON[dtype] else 0.51 * EPSILON[dtype], 4 * computed
    assert (error <= precision * np.abs(expected) + argument * np.minimum(np.abs(x), 40) + SMALLEST[dtype]).all()


@elementwise
@dtypes
def test_limits_and_nan(name, dtype):
    ours, _, limits, slopes = ELEMENTWISE[name]
    x = cg.tensor(np.array([-np.inf, np.inf, np.nan, -1e4, 1e4]).astype(as_dtype(dtype)), requires_grad=True)
    y = ours(x)
    np.testing.assert_allclose(y.numpy()[:2].astype(float), limits, rtol=2.0**-8)
    assert np.isnan(y.numpy()[2].astype(float)) and np.isfinite(y.numpy()[3:].astype(float)).all()
    y.backward(np.ones(5, x.dtype))
    got = x.grad.numpy().astype(float)
    np.testing.assert_allclose(got[[0, 1]], slopes, rtol=2.0**-8)
    np.testing.assert_allclose(got[[3, 4]], slopes, rtol=2.0**-8)


@elementwise
def test_the_largest_numbers_do_not_overflow_on_the_way(name):
    largest = np.finfo(np.float32).max / 2
    y = ELEMENTWISE[name][0](cg.tensor([-largest, largest], requires_grad=True))
    assert np.isfinite(y).all()
    y.backward(np.ones(2, np.float32))


@elementwise
def test_gradients(name):
    x = np.concatenate([normal(20) * 3, [-12.3, 9.7, 25.0, -25.0]])
    cg.check_grad(ELEMENTWISE[name][0], x, order=2)


@elementwise
def test_third_order(name):
    cg.check_grad(ELEMENTWISE[name][0], np.array([-1.7, -0.3, 0.2, 2.4]), order=3, tolerance=1e-5)


@elementwise
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 0)], ids=str)
def test_scalars_and_empty_arrays(name, shape):
    x = cg.tensor(np.full(shape, 0.5, np.float32), requires_grad=True)
    y = ELEMENTWISE[name][0](x)
    assert y.shape == shape and y.dtype == np.float32
    y.sum().backward()
    assert x.grad.shape == shape


def test_gradients_at_the_corners():
    def slopes(f, *at):
        x = cg.tensor(np.float64(at), requires_grad=True)
        f(x).sum().backward()
        return x.grad.tolist()

    assert slopes(cg.relu, 0, -0.0) == [0, 0]
    assert slopes(cg.relu6, 0, -0.0, 6, 5.9) == [0, 0, 0, 1]
    assert slopes(cg.leaky_relu, 0) == [0.01]
    assert slopes(cg.elu, 0) == [1] and slopes(lambda x: cg.elu(x, 3), 0) == [3]
    assert slopes(cg.hard_sigmoid, -3, 3, 0) == [0, 0, 1 / 6]
    assert slopes(cg.hard_tanh, -1, 1, 0) == [0, 0, 1]


def test_relu_keeps_an_infinite_gradient_out_of_what_it_cut():
    x = cg.tensor([-1.0, 1.0], requires_grad=True)
    cg.relu(x).backward([np.inf, np.inf])
    assert x.grad.tolist() == [0, np.inf]


def test_integers_become_float32():
    for f in [*(f for f, *_ in ELEMENTWISE.values() if f is not cg.tanh), *SOFT.values()]:
        assert f(np.array([1, 2])).dtype == np.float32


def test_small_results_keep_their_digits():
    x = np.float32([-20, -50, -80])
    np.testing.assert_allclose(cg.sigmoid(x), special.expit(x.astype(float)), rtol=3e-7)
    np.testing.assert_allclose(cg.softplus(x), np.log1p(np.exp(x.astype(float))), rtol=3e-7)
    assert cg.sigmoid(np.float32(-100)).item() > 0  # a denormal


def test_the_normal_distribution():
    x = np.linspace(-37, 9, 50_001)
    np.testing.assert_allclose(cdf(x), special.ndtr(x), rtol=1e-12)
    np.testing.assert_allclose(cdf(x[x > -3]), special.ndtr(x[x > -3]), rtol=3e-15)
    x = np.linspace(-12, 9, 50_001, dtype=np.float32)
    np.testing.assert_allclose(cdf(x), special.ndtr(x.astype(float)), rtol=2e-5)
    assert cdf(x).dtype == np.float32


# --- fused into other ops


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh"])
def test_fused_activations_have_the_bits_of_the_functions(name, backend):
    a, b = normal(9, 8).astype(np.float32), normal(8, 7, seed=1).astype(np.float32)
    if backend == "reference":
        a, b = np.round(a), np.round(b)  # exact in both precisions
    fused, apart = cg.gemm(a, b, activation=name), getattr(cg, name)(cg.gemm(a, b))
    by_numpy = backend == "cpu" and "activate" in BY_NUMPY  # with functions of its own
    if (backend == "reference" or by_numpy) and name != "relu":
        np.testing.assert_allclose(fused, apart, rtol=1e-6)
    else:
        np.testing.assert_array_equal(fused, apart)


@pytest.mark.parametrize("name", ["relu", "sigmoid", "tanh"])
def test_fused_activations_keep_nan_and_limits(name, backend):
    x = np.float32([[-np.inf, np.inf, np.nan, 0]])
    y = cg.conv(x[:, None, :, None], np.ones((1, 1, 1, 1), np.float32), activation=name)
    np.testing.assert_allclose(y[0, 0, :, 0], getattr(cg, name)(x[0]), rtol=1e-7)


# --- softmax and its kin


@pytest.mark.parametrize("name", SOFT)
@pytest.mark.parametrize("axis", [-1, 0, 1])
@dtypes
def test_softmax_values(name, axis, dtype):
    x = (normal(4, 5, 6) * 5).astype(as_dtype(dtype))
    y = SOFT[name](x, axis)
    expected = SCIPY[name](x.astype(np.float64), axis)
    assert y.dtype == as_dtype(dtype)
    computed = min(EPSILON[dtype], EPSILON["float32"])
    precision, shift = 8 * computed if computed == EPSILON[dtype] else 0.51 * EPSILON[dtype], 8 * computed
    size = 20 if name != "softmax" else np.abs(expected) * 20  # what an absolute error of the exponent makes
    assert (np.abs(y.numpy().astype(float) - expected) <= precision * np.abs(expected) + shift * size
            + SMALLEST[dtype]).all()


@pytest.mark.parametrize("name", SOFT)
@pytest.mark.parametrize("axis", [-1, 0])
def test_softmax_gradients(name, axis):
    cg.check_grad(lambda x: SOFT[name](x, axis), normal(3, 4) * 2, order=2)
    cg.check_grad(SOFT[name], normal(3), order=3, tolerance=1e-5)


def test_logsumexp_over_several_axes():
    x = normal(2, 3, 4)
    for axis in (None, (0, 2), (1,), -2):
        for keepdims in (False, True):
            np.testing.assert_allclose(cg.logsumexp(x, axis, keepdims=keepdims),
                                       special.logsumexp(x, axis, keepdims=keepdims), rtol=1e-14)
    cg.check_grad(lambda x: cg.logsumexp(x, (0, 2)), x, order=2)
    cg.check_grad(lambda x: cg.logsumexp(x, None, keepdims=True), x)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_the_gradient_of_logsumexp_does_not_see_that_its_value_was_rounded(dtype):
    x = cg.tensor(100 + normal(3, 5), dtype=dtype, requires_grad=True)  # here half types are 0.06 and 0.5 apart
    cg.logsumexp(x).sum().backward()
    exact = special.softmax(x.numpy().astype(np.float64), -1)
    assert np.all(abs(x.grad.numpy() - exact) <= float(ml_dtypes.finfo(dtype).eps) * exact)


def test_softmax_extremes():
    inf = np.inf
    x = np.float32([[0, 1000, -1000], [-inf, 0, -inf], [-inf, -inf, -inf], [inf, 0, 100], [np.nan, 0, 0]])
    np.testing.assert_array_equal(cg.softmax(x), [[0, 1, 0], [0, 1, 0], [np.nan] * 3, [np.nan] * 3, [np.nan] * 3])
    np.testing.assert_array_equal(cg.log_softmax(x[:3]), [[-1000, 0, -2000], [-inf, 0, -inf], [np.nan] * 3])
    np.testing.assert_array_equal(cg.logsumexp(x), [1000, 0, -inf, inf, np.nan])


def test_logsumexp_of_nothing_and_of_minus_infinity_has_a_gradient_of_zero():
    x = cg.tensor(np.full((2, 3), -np.inf), requires_grad=True)
    cg.logsumexp(x).backward(np.ones(2))
    assert not x.grad.numpy().any()


@pytest.mark.parametrize("shape, axis", [((0, 3), -1), ((3, 0), -1), ((3, 0), 0), ((0,), 0)])
def test_softmax_of_empty_arrays(shape, axis):
    x = cg.tensor(np.zeros(shape), requires_grad=True)
    for name in ("softmax", "log_softmax"):
        y = SOFT[name](x, axis)
        assert y.shape == shape
        y.sum().backward()
    np.testing.assert_array_equal(cg.logsumexp(x, axis), np.full(np.delete(shape, axis), -np.inf))


def test_softmax_over_a_long_axis_stays_accurate():
    """100,352 equal terms along an axis that NumPy would add up in a plain sequence."""
    x = np.full((100_352, 3), 0.1, np.float32)
    np.testing.assert_allclose(cg.softmax(x, 0), 1 / 100_352, rtol=1e-6)
    np.testing.assert_allclose(cg.logsumexp(x, 0), np.log(100_352) + np.float64(np.float32(0.1)), rtol=1e-6)


def test_errors():
    with pytest.raises(ValueError, match=r"softmax: expected axis in \[-\d, \d\), got"):
        cg.softmax(np.ones((2, 3)), 2)
    with pytest.raises(TypeError, match="gelu.*'none'"):
        cg.gelu([1.0], approximate="none")
    with pytest.raises(ValueError, match="gemm.*'linear_unit'"):
        cg.gemm([[1.0]], [[1.0]], activation="linear_unit")
    with pytest.raises(ValueError, match="conv.*got 3"):
        cg.conv(np.ones((1, 2, 1)), np.ones((1, 1, 1)), activation=3)


# --- against PyTorch


@pytest.mark.parametrize("name, torch_name", [
    ("relu", "relu"), ("relu6", "relu6"), ("leaky_relu", "leaky_relu"), ("elu", "elu"), ("selu", "selu"),
    ("gelu", "gelu"), ("silu", "silu"), ("sigmoid", "sigmoid"), ("tanh", "tanh"), ("softplus", "softplus"),
    ("hard_sigmoid", "hardsigmoid"), ("hard_tanh", "hardtanh")])
def test_as_in_pytorch(name, torch_name):
    torch = pytest.importorskip("torch")
    at = np.concatenate([normal(50) * 4, [0.0, 1.0, -1.0, 3.0, -3.0]])
    x, theirs = cg.tensor(at, requires_grad=True), torch.tensor(at, requires_grad=True)
    y, expected = getattr(cg, name)(x), getattr(torch.nn.functional, torch_name)(theirs)
    # theirs: softplus is x above 20, and 1/6 is a float32
    loose = {"softplus": 3e-9, "hard_sigmoid": 5e-9}.get(name, 1e-15)
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-13, atol=loose)
    y.sum().backward()
    expected.sum().backward()
    np.testing.assert_allclose(x.grad, theirs.grad, rtol=1e-12, atol=10 * loose)


@pytest.mark.parametrize("name", SOFT)
def test_softmax_as_in_pytorch(name):
    torch = pytest.importorskip("torch")
    at = normal(5, 6)
    at[2] = -np.inf
    x, theirs = cg.tensor(at, requires_grad=True), torch.tensor(at, requires_grad=True)
    y, expected = SOFT[name](x), getattr(torch, name)(theirs, -1)
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-13)
    y[:2].sum().backward()
    expected[:2].sum().backward()
    np.testing.assert_allclose(x.grad[:2], theirs.grad[:2], rtol=1e-12, atol=1e-14)
