"""Elementwise ops where the table of namespace_calls does not reach: dtypes, kinks, limits, layouts, errors."""

import itertools
import warnings
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from gpu_device import gpu  # noqa: F401 - a fixture
from native_backends import needs_emulated

import convgpu as cg
import convgpu.numpy as cnp
from convgpu import Tensor, backends
from convgpu.ops.binary import op as binary
from convgpu.ops.elementwise import to_device

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
DTYPES = [np.dtype(t) for t in ("bool", "int8", "uint8", "int32", "int64", "float16", "float32", "float64")]


def gradient(f: Any, *xs: Any) -> list[np.ndarray]:
    tensors = [cg.tensor(np.asarray(x, np.float64), requires_grad=True) for x in xs]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return [g.numpy() for g in cg.grad(f(*tensors).sum(), tensors)]


# --- dtypes


@pytest.mark.parametrize(("a", "b"), list(itertools.product(DTYPES, DTYPES)), ids=str)
def test_pairs_promote_as_numpy(a: np.dtype, b: np.dtype) -> None:
    x, y = np.ones(2, a), np.ones(2, b)
    for name in ("add", "multiply", "divide", "maximum", "power", "floor_divide", "hypot", "equal"):
        try:
            expected = getattr(np, name)(x, y).dtype
        except TypeError:
            with pytest.raises(TypeError):
                getattr(cnp, name)(x, y)
        else:
            assert getattr(cnp, name)(x, y).dtype == expected
    assert cnp.where(x, x, y).dtype == np.where(x, x, y).dtype
    assert cnp.concatenate([x, y]).dtype == np.concatenate([x, y]).dtype


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scalar", [2, 2.5, True], ids=str)
def test_python_scalars_are_weak(dtype: np.dtype, scalar: Any) -> None:
    x = np.ones(2, dtype)
    for name in ("add", "multiply", "divide", "maximum", "arctan2", "greater"):
        assert getattr(cnp, name)(cg.tensor(x), scalar).dtype == getattr(np, name)(x, scalar).dtype
        assert getattr(cnp, name)(scalar, cg.tensor(x)).dtype == getattr(np, name)(scalar, x).dtype
    assert (cg.tensor(x) ** scalar).dtype == (x**scalar).dtype
    assert cnp.where([True, False], x, scalar).dtype == np.where([True, False], x, scalar).dtype


@pytest.mark.parametrize("shape", [(2,), ()], ids=str)
def test_bfloat16_stays_bfloat16_beside_python_scalars(shape: tuple[int, ...]) -> None:
    x = cg.tensor(np.full(shape, 0.5, BFLOAT16), requires_grad=True)
    results = [x + 2.0, 2.0 - x, x * 2, x / 3.0, x**2, x**0.5, x**-1, 2.0**x, x // 0.3, x % 0.3, -x, abs(x),
               x.clip(0.0, 1.0),
               cnp.where(True, x, 0.0), cnp.maximum(x, 0.25), cnp.arctan2(1.0, x), cnp.hypot(x, 1.0),
               cnp.logaddexp(x, 0.0),
               cnp.exp(x), cnp.arcsin(x), x.sum(), x.mean(), x.var(), x.std(), x.max(), x.prod(), cnp.linalg.norm(x)]
    for y in results:
        assert y.dtype == BFLOAT16
    cnp.stack([y.sum() for y in results]).sum().backward()
    assert x.grad is not None and x.grad.dtype == BFLOAT16 and bool(cnp.all(cnp.isfinite(x.grad)))
    assert bool((cg.tensor(np.array(0.3, BFLOAT16)) == 0.3).all())  # the scalar is rounded first, as beside float16


@pytest.mark.parametrize("dtype", ["float16", "float32", BFLOAT16], ids=str)
def test_gradients_have_their_inputs_dtype(dtype: Any) -> None:
    x = cg.tensor([0.5, 0.75], dtype=dtype, requires_grad=True)
    y = cg.tensor([[1.0], [2.0]], dtype="float64", requires_grad=True)
    (x * y + x**2.0).sum().backward()
    assert (x.grad.dtype, y.grad.dtype) == (np.dtype(dtype), np.float64)
    np.testing.assert_array_equal(y.grad, [[1.25], [1.25]])


@pytest.mark.parametrize("name",
                         ["exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "sqrt", "cbrt", "square",
                          "reciprocal",
                                  "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh",
                                  "arctanh", "deg2rad", "rad2deg"])
@pytest.mark.parametrize("dtype", ["float16", BFLOAT16], ids=str)
def test_half_types_round_once(name: str, dtype: Any) -> None:
    x = np.linspace(0.03, 0.97, 200).astype(dtype)
    exact = getattr(np, name)(x.astype(np.float64))
    digits = 10 if dtype == "float16" else 7
    ulp = 2.0 ** (np.floor(np.log2(np.abs(exact))) - digits)
    assert np.all(np.abs(getattr(cnp, name)(x).numpy().astype(np.float64) - exact) <= 0.51 * ulp)


def test_astype_carries_gradients_and_is_free_where_nothing_changes() -> None:
    x = cg.tensor([1.5, 2.5], requires_grad=True)
    assert x.astype("float32") is x
    (x.astype("float64") * np.array([1.0, 3.0])).sum().backward()
    assert x.grad.dtype == np.float32 and x.grad.tolist() == [1.0, 3.0]
    assert x.astype("int64").tolist() == [1, 2] and not x.astype("int64").requires_grad
    assert x.astype("bfloat16").dtype == BFLOAT16


def test_to_device_carries_gradients() -> None:
    x = cg.tensor([1.5, 2.5], requires_grad=True)
    (to_device(x, "cpu") * cg.tensor([1.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [1, 3]
    assert cnp.nan_to_num([1, 2]).tolist() == [1, 2]


# --- kinks, poles and limits: no NaN where there is an answer, and no warning


@pytest.mark.parametrize(("exponent", "expected"), [(0, 0), (1, 1), (2, 0), (3, 0), (0.0, 0), (1.0, 1), (2.5, 0)],
                         ids=str)
def test_power_at_zero(exponent: float, expected: float) -> None:
    assert gradient(lambda x: x**exponent, [0.0])[0] == [expected]
    by_array, of_exponent = gradient(lambda x, n: x**n, [0.0], [exponent])
    assert by_array == [expected] and of_exponent == [0]
    assert gradient(lambda x: x ** np.array([int(exponent)]), [0.0])[0] == [expected]


def test_power_of_negative_bases_and_integer_arrays() -> None:
    np.testing.assert_allclose(gradient(lambda x: x**3, [-2.0])[0], [12])
    np.testing.assert_allclose(gradient(lambda x: x ** np.array([3, 2, 0], np.uint8), [-2.0, -1.0, 0.0])[0],
                               [12, -2, 0])
    np.testing.assert_allclose(gradient(lambda n: np.array([2, 3]) ** n, [2.0, 1.0])[0], np.log([2.0, 3.0]) * [4, 3])
    assert gradient(lambda x: x**True, [0.0])[0] == [1]
    with pytest.raises(ValueError, match="negative integer powers"):
        cg.tensor([2, 3]) ** -1


def test_second_derivative_of_the_square_at_zero() -> None:
    for exponent in (2, 2.0, cg.tensor(2.0)):
        x = cg.tensor(0.0, requires_grad=True)
        first = cg.grad(x**exponent, x, create_graph=True)
        assert cg.grad(first, x).item() == 2


@pytest.mark.parametrize("name", ["maximum", "minimum", "fmax", "fmin"])
def test_equals_share_the_gradient(name: str) -> None:
    a, b = gradient(getattr(cnp, name), [1.0, 2.0, 3.0], [1.0, 3.0, 2.0])
    np.testing.assert_array_equal(a + b, 1)
    assert a[0] == 0.5 and set(a[1:]) == {0.0, 1.0}
    assert gradient(lambda x: getattr(cnp, name)(x, 1.0), [1.0])[0] == [0.5]


def test_nan_gets_the_gradient_of_what_it_wins() -> None:
    nan = np.nan
    for name, of_a, of_b in (("maximum", [1, 0, 0.5], [0, 1, 0.5]), ("fmin", [0, 1, 0.5], [1, 0, 0.5])):
        a, b = gradient(getattr(cnp, name), [nan, 1.0, nan], [1.0, nan, nan])
        assert a.tolist() == of_a and b.tolist() == of_b


def test_clip_is_inclusive_and_bounds_take_what_they_stop() -> None:
    x, low, high = gradient(cnp.clip, [-1.0, 0.0, 0.5, 1.0, 2.0], np.zeros(5), np.ones(5))
    assert x.tolist() == [0, 1, 1, 1, 0] and low.tolist() == [1, 0, 0, 0, 0] and high.tolist() == [0, 0, 0, 0, 1]
    assert gradient(cnp.clip, [0.5], [2.0], [1.0]) == [[0], [0], [1]]  # crossed bounds: the upper one wins, as in NumPy
    assert cnp.clip([3, 7], 4, 5).dtype == np.int64
    assert cnp.clip([3.0]).tolist() == [3.0]


def test_limits_without_nan_or_warning() -> None:
    inf = np.inf
    assert gradient(cnp.hypot, [0.0, 3.0], [0.0, 4.0])[0].tolist() == [0, 0.6]
    np.testing.assert_array_equal(gradient(cnp.logaddexp, [-inf, -inf, 0.0], [-inf, 0.0, 0.0])[0], [0, 0, 0.5])
    assert gradient(cnp.arctan, [1e200, -1e300])[0].tolist() == [0, 0]
    assert gradient(cnp.abs, [-2.0, 0.0, 3.0])[0].tolist() == [-1, 0, 1]
    assert gradient(lambda x: cnp.where(x > 0, x, 0.0) * 2, [np.nan, 1.0])[0].tolist() == [0, 2]
    assert gradient(cnp.nan_to_num, [np.nan, inf, 1.0])[0].tolist() == [0, 0, 1]


@pytest.mark.parametrize(("name", "derivative"), [
    ("arcsin", lambda x: 1 / np.sqrt((1 - x) * (1 + x))), ("arctanh", lambda x: 1 / ((1 - x) * (1 + x)))])
def test_gradients_keep_their_digits_near_one(name: str, derivative: Any) -> None:
    x = np.array([1 - 1e-6, -1 + 3e-6], np.float32)
    t = cg.tensor(x, requires_grad=True)
    getattr(cnp, name)(t).sum().backward()
    np.testing.assert_allclose(t.grad, derivative(x.astype(np.float64)), rtol=3e-7)


def test_steps_have_zero_gradient_of_any_order() -> None:
    for name in ("floor", "ceil", "trunc", "rint", "round", "sign"):
        x = cg.tensor([0.4, -1.7], requires_grad=True)
        first = cg.grad((getattr(cnp, name)(x) * x**2).sum(), x, create_graph=True)
        assert first.tolist() == (2 * getattr(np, name)(x.numpy()) * x.numpy()).tolist()
        assert cg.grad(first.sum(), x).tolist() == (2 * getattr(np, name)(x.numpy())).tolist()


# --- shapes and layouts


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0, 2)], ids=str)
def test_empty_and_0d(shape: tuple[int, ...]) -> None:
    x = cg.tensor(np.full(shape, 0.5), requires_grad=True)
    for f in (cnp.exp, lambda t: t * t + 1.0, lambda t: cnp.where(t > 0, t, 0.0), lambda t: cnp.maximum(t, t)):
        y = f(x)
        assert isinstance(y, Tensor) and y.shape == shape
        assert cg.grad(y.sum(), x).shape == shape


def test_strided_transposed_and_broadcast_inputs() -> None:
    a = np.arange(24.0).reshape(4, 6)
    for view in (a[::2, ::-1], a.T, np.broadcast_to(a[0], (3, 6)), a[1:3, 2]):
        np.testing.assert_array_equal(cnp.multiply(view, view + 1), view * (view + 1))
        assert gradient(lambda t: t * 2, view)[0].shape == view.shape


def test_results_are_read_only_and_inputs_untouched() -> None:
    a = np.ones(3, np.float32)
    y = cnp.negative(a)
    assert not y.numpy().flags.writeable and a.flags.writeable


# --- errors


def test_shapes_that_do_not_broadcast() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        cg.tensor([1.0, 2.0]) + cg.tensor([1.0, 2.0, 3.0])


def test_where_needs_both_values_or_none() -> None:
    with pytest.raises(TypeError, match="where: expected a condition alone, or a condition and two values"):
        cnp.where([True], [1.0])
    assert [t.tolist() for t in cnp.where([[0.0, 2.0]])] == [[0], [1]]


def test_what_is_no_number() -> None:
    with pytest.raises(TypeError, match="exp: expected a tensor, array or number, real or bool, got str"):
        cnp.exp("2")
    with pytest.raises(TypeError, match="add: expected at most 2 arguments, got 3"):
        cnp.add(1.0, 2.0, np.zeros(1))
    with pytest.raises(TypeError, match="bitwise_and"):
        cnp.bitwise_and([1.0], [2.0])


def test_condition_of_where_has_no_gradient_of_its_own() -> None:
    assert gradient(lambda c: cnp.where(c, 1.0, c), [0.0, 2.0])[0].tolist() == [1, 0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_nan_to_num_of_every_floating_type(dtype):
    x = cg.tensor([1.0, np.nan, np.inf, -np.inf, -2.0], dtype=dtype)
    largest = float(ml_dtypes.finfo(x.dtype).max)
    y = cnp.nan_to_num(x)
    assert y.dtype == x.dtype and y.tolist() == [1.0, 0.0, largest, -largest, -2.0]
    z = cnp.nan_to_num(x, nan=7.0, posinf=8.0, neginf=9.0)
    assert z.dtype == x.dtype and z.tolist() == [1.0, 7.0, 8.0, 9.0, -2.0]


# --- the ops that backends run: activate, activate_dgrad, add_n


def calls_of(monkeypatch: pytest.MonkeyPatch, function: Any) -> list[str]:
    """The names of the backend's ops that a function runs."""
    from convgpu import autograd

    names: list[str] = []
    run = autograd.run_on_backend
    monkeypatch.setattr(autograd, "run_on_backend", lambda op, *rest: names.append(op) or run(op, *rest))
    function()
    return names


ACTIVATIONS = ["relu", "relu6", "leaky_relu", "sigmoid", "tanh", "elu", "selu", "softplus", "silu", "gelu",
               "hard_sigmoid", "hard_tanh"]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_one_call_each_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = cg.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    y = getattr(cg, name)(x)
    assert calls_of(monkeypatch, lambda: cg.grad(y, x, cg.ones(3))) == ["activate_dgrad"]


@pytest.mark.parametrize("name", ["relu", "relu6", "sigmoid", "tanh", "silu"])
def test_the_gradient_keeps_the_output_where_it_follows_from_it(name: str) -> None:
    x = cg.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    saved = getattr(cg, name)(x).node.saved
    assert ("x" in saved) == (name == "silu") and ("y" in saved) == (name != "silu")


@pytest.mark.parametrize("name", sorted({*ACTIVATIONS} - {"sigmoid", "tanh"}))  # of these two y itself is rounded
def test_gradients_of_half_types_are_rounded_once(name: str) -> None:
    at = np.linspace(-7, 7, 301).astype(BFLOAT16)
    g = np.random.default_rng(0).standard_normal(301).astype(BFLOAT16)
    x, exact = cg.tensor(at, requires_grad=True), cg.tensor(at.astype(np.float64), requires_grad=True)
    y, z = getattr(cg, name)(x), getattr(cg, name)(exact)
    got = cg.grad(y, x, cg.tensor(g)).numpy().astype(np.float64)
    wanted = cg.grad(z, exact, cg.tensor(g.astype(np.float64))).numpy()
    assert (np.abs(got - wanted) <= 1.001 * 2.0**-8 * np.abs(wanted)).all()


def test_the_sum_of_several_tensors_is_rounded_once(backend: str) -> None:
    from convgpu.ops.add_n import add_n

    terms = [np.full((3, 5), v).astype(BFLOAT16) for v in (1.0, 2.0**-9, 2.0**-9, 2.0**-9, 2.0**-9)]
    assert (add_n(*terms).numpy().astype(np.float32) == 1 + 2.0**-7).all()
    xs = [cg.tensor(np.float64([i, -i]), requires_grad=True) for i in range(4)]
    y = add_n(*xs)
    assert y.tolist() == [6, -6] and [g.tolist() for g in cg.grad(y, xs, cg.tensor([2.0, 3.0], dtype="float64"))] == [
        [2, 3]] * 4
    with pytest.raises(ValueError, match=r"add_n: expected tensors of one shape, got \(2,\), \(3,\)"):
        add_n([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match="add_n: expected one dtype"):
        add_n(np.float32([1]), np.float64([1]))


def test_native_sums_take_at_most_32_tensors() -> None:
    from convgpu.ops.add_n import add_n

    pytest.importorskip("convgpu._emulated")
    with cg.use_backend("emulated"), pytest.raises(ValueError, match="add_n: expected 1 to 32 arrays, got 33"):
        add_n(*[np.float32([1])] * 33)


def test_tanh_of_integers_has_the_dtype_of_numpy() -> None:
    for dtype in ("bool", "int8", "uint8", "int16", "int32", "int64"):
        x = np.ones(2, dtype)
        assert cg.tanh(x).dtype == np.tanh(x).dtype and abs(cg.tanh(x).numpy() - np.tanh(1.0)).max() < 1e-3


# --- binary: arithmetic of bfloat16 on a GPU

ARITHMETIC = ["add", "subtract", "multiply", "divide", "maximum", "minimum"]


@pytest.mark.parametrize("function", [*ARITHMETIC, "reversed_subtract", "reversed_divide"])
def test_functions_of_two_operands_have_gradients_to_the_second_order(function: str, backend: str) -> None:
    a, b = np.float64([[1.5, -0.5, 2.0]]), np.float64([[0.7], [-1.25]])
    assert cg.check_grad(lambda a, b: binary(a, b, function), a, b, order=2) < 1e-6
    assert cg.check_grad(lambda a: binary(a, None, function, 0.75), a, order=2) < 1e-6


@needs_emulated
@pytest.mark.parametrize("dtype", ["float16", BFLOAT16, "float32", "float64"], ids=str)
def test_the_kernel_agrees_with_numpy_on_views(dtype: Any) -> None:
    x = np.random.default_rng(0).standard_normal((6, 8, 24)).astype(dtype)
    views = [x[::2, :, 3:9], x[::-1][:3, :, ::4], np.broadcast_to(x[0, 0, :6], (3, 8, 6)),
             np.broadcast_to(x[:3, :1, :1], (3, 8, 6)), x.transpose(0, 2, 1)[:3, :8, :6], x[:3, :, 1:7]]
    emulated, numpy = backends.load("emulated"), backends.load("numpy")
    for a, b in itertools.product(views, views):
        for function in ("subtract", "divide"):
            got, expected = (backend.binary(a, b, function, None) for backend in (emulated, numpy))
            assert got.dtype == expected.dtype and got.shape == (3, 8, 6) and got.flags.c_contiguous
            np.testing.assert_array_equal(got, expected)
    for a in views:
        np.testing.assert_array_equal(emulated.binary(a, None, "multiply", 3.0), a * a.dtype.type(3))


@needs_emulated
def test_the_kernel_refuses_what_it_cannot_compute() -> None:
    emulated, ones = backends.load("emulated"), np.ones(3, np.float32)
    with pytest.raises(ValueError, match="broadcast"):
        emulated.binary(ones, np.ones(2, np.float32), "add", None)
    with pytest.raises(TypeError, match="add: expected operands of one dtype, got float32 and float64"):
        emulated.binary(ones, np.ones(3), "add", None)
    with pytest.raises(NotImplementedError, match="add of int64 is not implemented on backend 'emulated'"):
        emulated.binary(np.ones(3, int), np.ones(3, int), "add", None)
    with pytest.raises(ValueError, match="binary: expected the name of a function of two operands, got hypot"):
        emulated.binary(ones, ones, "hypot", None)


def launched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The calls of `binary` from now on: its name and the function."""
    import convgpu.ops.binary as module

    calls: list[tuple[str, str]] = []
    run = module.run_on_backend
    monkeypatch.setattr(module, "run_on_backend",
                        lambda op, arrays, statics: calls.append((op, statics[0])) or run(op, arrays, statics))
    return calls


@pytest.mark.parametrize("shapes", [((2, 3, 5, 8), (2, 1, 1, 8)), ((7,), (7,)), ((), (4, 3)), ((0, 3), (1, 3))],
                         ids=str)
@pytest.mark.parametrize("name", ARITHMETIC)
def test_bfloat16_on_the_gpu_is_one_kernel_with_the_bits_of_the_cpu(
        name: str, shapes: Any, gpu: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811 - the fixture
    rng, function = np.random.default_rng(1), getattr(cnp, name)
    xs = [np.asarray(rng.standard_normal(shape)).astype(BFLOAT16) for shape in shapes]
    hostile = np.float32([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 3e38])
    for x in xs:
        some = hostile[:x.size // 2].astype(BFLOAT16)
        x.reshape(-1)[:some.size] = some
    calls = launched(monkeypatch)
    results = []
    for device in ("gpu", "cpu"):
        tensors = [cg.tensor(x, device=device) for x in xs]
        with np.errstate(all="ignore"), cg.use_backend("numpy"):
            results.append([function(*tensors), function(tensors[0], 0.3), function(2, tensors[1])])
    assert calls == [("binary", name)] * 2 + [("binary", "reversed_" * (name in ("subtract", "divide")) + name)]
    for got, expected in zip(*results):
        assert got.device == "gpu" and got.dtype == BFLOAT16 == expected.dtype
        np.testing.assert_array_equal(got.numpy().astype(np.float32), expected.numpy().astype(np.float32))


def test_gradients_of_bfloat16_on_the_gpu_are_those_of_the_cpu(gpu: str) -> None:  # noqa: F811 - the fixture
    rng = np.random.default_rng(2)
    arrays = [rng.standard_normal(shape).astype(BFLOAT16) for shape in ((2, 5, 3, 8), (2, 1, 1, 8), (8,))]
    found = []
    for device in ("gpu", "cpu"):
        x, s, c = (cg.tensor(a, device=device, requires_grad=True) for a in arrays)
        y = cnp.maximum(x * s - c, 0.5 - x / (2.0 + c * c))
        found.append(cg.grad(y, [x, s, c], cg.tensor(arrays[0], device=device)))
    for got, expected in zip(*found):
        assert got.dtype == BFLOAT16 and got.shape == expected.shape
        wide = expected.numpy().astype(np.float32)
        np.testing.assert_allclose(got.numpy().astype(np.float32), wide, rtol=2**-7, atol=2**-7 * np.abs(wide).max())


def test_other_dtypes_are_left_to_cupy(gpu: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811 - the fixture
    calls = launched(monkeypatch)
    half, number = cg.tensor(np.ones(3, BFLOAT16), device="gpu"), cg.tensor(np.float32([1, 2, 3]), device="gpu")
    for a, b in ((number, number), (half, number), (number, 2.0), (half, cg.tensor([1, 2, 3], device="gpu"))):
        assert (a + b).dtype == (a.to("cpu") + (b.to("cpu") if isinstance(b, Tensor) else b)).dtype
    assert (half * True).tolist() == [1, 1, 1] and not calls
    with pytest.raises(ValueError, match="broadcast"):
        half + cg.tensor(np.ones(2, BFLOAT16), device="gpu")


def test_arrays_on_the_cpu_take_no_detour(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = launched(monkeypatch)
    assert (cg.tensor(np.ones(3, BFLOAT16)) + 1).tolist() == [2, 2, 2] and not calls
