"""convgpu.numpy: every name against NumPy's, every gradient against differences, from the table of namespace_calls."""

import inspect
import warnings
from types import ModuleType
from typing import Any

import namespace_calls
import numpy as np
import pytest
from namespace_calls import CALLS, NEW, Call

import convgpu as cg
import convgpu.numpy as cnp
from convgpu import Op, Tensor
from convgpu.ops import (
    contraction,
    elementwise,
    indexing,
    joining,
    linalg,
    products,
    reduce,
    sequences,
    shape,
    sorting,
    special,
    statistics,
)

ALIASES = {
    "absolute": "abs", "fabs": "abs", "amax": "max", "amin": "min", "true_divide": "divide", "mod": "remainder",
    "pow": "power", "acos": "arccos", "acosh": "arccosh", "asin": "arcsin", "asinh": "arcsinh", "atan": "arctan",
    "atan2": "arctan2", "atanh": "arctanh", "radians": "deg2rad", "degrees": "rad2deg", "bitwise_not": "invert",
    "bitwise_invert": "invert", "bitwise_left_shift": "left_shift", "bitwise_right_shift": "right_shift",
    "around": "round", "fix": "trunc", "concat": "concatenate", "permute_dims": "transpose", "row_stack": "vstack",
}


def cases(table: dict[str, list[Call]]) -> list[Any]:
    return [pytest.param(name, call, id=f"{name}-{i}") for name, calls in table.items() for i, call in enumerate(calls)]


def as_tensors(value: Any) -> Any:
    return [cg.tensor(v) for v in value] if isinstance(value, list) and isinstance(value[0], np.ndarray) else (
        cg.tensor(value) if isinstance(value, np.ndarray) else value)


def assert_same(got: Any, expected: Any, same_dtype: bool = True) -> None:
    if isinstance(expected, (list, tuple)) and not isinstance(got, Tensor):
        assert len(got) == len(expected)
        for g, e in zip(got, expected):
            assert_same(g, e, same_dtype)
    elif isinstance(expected, (bool, np.dtype)):
        assert type(got) is type(expected) and got == expected
    else:
        if same_dtype and isinstance(got, Tensor):
            assert got.dtype == np.asarray(expected).dtype
        np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-14 if same_dtype else 1e-6, atol=1e-15)


@pytest.mark.parametrize(("name", "call"), cases(CALLS))
def test_values_and_dtypes_are_numpys(name: str, call: Call) -> None:
    reference = getattr(np, name) if name != "copy" else np.array
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = reference(*call.args, **call.options)
        got = getattr(cnp, name)(*map(as_tensors, call.args), **call.options)
    assert_same(got, expected)


@pytest.mark.parametrize(("name", "call"), cases(NEW))
def test_new_tensors(name: str, call: Call) -> None:
    got = getattr(cnp, name)(*call.args, **call.options)
    assert got.dtype == np.dtype(call.options.get("dtype", "float32"))
    assert_same(got, getattr(np, name)(*call.args, **call.options), same_dtype=False)


def differentiated(name: str, call: Call) -> tuple[Any, list[np.ndarray]]:
    """The call as a function of its float arrays alone."""
    slots = [(i, None) for i, a in enumerate(call.args) if isinstance(a, np.ndarray) and a.dtype == np.float64]
    slots += [(i, j) for i, a in enumerate(call.args) if isinstance(a, list) for j, b in enumerate(a)
              if isinstance(b, np.ndarray) and b.dtype == np.float64]

    def f(*xs: Tensor) -> Any:
        args = [list(a) if isinstance(a, list) else a for a in call.args]
        for (i, j), x in zip(slots, xs):
            if j is None:
                args[i] = x
            else:
                args[i][j] = x
        return getattr(cnp, name)(*args, **call.options)

    return f, [call.args[i] if j is None else call.args[i][j] for i, j in slots]


WITH_GRADIENT = [p for p in cases(CALLS) if p.values[1].grad and differentiated(*p.values)[1]]


@pytest.mark.parametrize(("name", "call"), WITH_GRADIENT)
def test_gradients_of_first_and_second_order(name: str, call: Call) -> None:
    f, arrays = differentiated(name, call)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cg.check_grad(f, *arrays, order=2, tolerance=2e-6)


def test_every_public_name_is_in_the_table() -> None:
    names = {n for n, v in vars(cnp).items() if not n.startswith("_") and callable(v) and not inspect.isclass(v)}
    names -= {"annotations", "as_dtype", "as_tensor", "tensor", "broadcast_shapes", *ALIASES, "dtype"}
    assert names == {*CALLS, *NEW} - {"dtype"}
    for alias, name in ALIASES.items():
        assert getattr(cnp, alias) is getattr(cnp, name) and (hasattr(np, alias) or alias == "row_stack")


def test_every_op_is_run_by_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = {op.name for module in (contraction, elementwise, indexing, joining, products, reduce, shape, sorting,
                                               special, statistics)
                for op in vars(module).values() if isinstance(op, Op)}
    run: set[str] = set()
    call_op = Op.__call__

    def record(self: Op, *args: Any, **options: Any) -> Any:
        run.add(self.name)
        return call_op(self, *args, **options)

    monkeypatch.setattr(Op, "__call__", record)
    with np.errstate(all="ignore"):
        for name, call in [p.values for p in cases(CALLS)]:
            f, arrays = differentiated(name, call)
            y = f(*[cg.tensor(a, requires_grad=True) for a in arrays])
            if isinstance(y, Tensor) and y.requires_grad and call.grad:
                y.sum().backward()
    x = cg.tensor([1.0, 2.0])
    assert x.at[0].set(3).at[1].add(1).tolist() == [3, 3]
    assert declared - run == {"to_device"}


def test_ops_without_a_gradient_say_so() -> None:
    x = cg.tensor([1.0, 2.0, 1.0], requires_grad=True)
    with pytest.raises(NotImplementedError, match="unique: no gradient is defined with respect to 'x'"):
        cnp.unique(x).sum().backward()
    with pytest.raises(NotImplementedError, match="bincount: no gradient"):
        cnp.bincount([0, 1, 1], x).sum().backward()
    assert not cnp.argsort(x).requires_grad and not (x > 1).requires_grad and not cnp.argmax(x).requires_grad


# --- how it meets NumPy


def test_numpys_functions_dispatch_here() -> None:
    x = cg.tensor([1.0, 2.0], requires_grad=True)
    a = np.array([3.0, 4.0], np.float32)
    for y in (np.exp(x), np.concatenate([x, a]), np.add(a, x), a * x, a @ x, np.where(x > 1, x, 0), np.abs(x),
              np.sum(x),
              np.mean(x, axis=0), np.max(x), np.amax(x), np.stack([x, x]), np.matmul(a, x), np.einsum("i,i", x, x),
              np.linalg.norm(x), np.clip(x, 0, 1), np.float32(2) * x, np.mod(x, 2), np.tensordot(x, x, 1)):
        assert isinstance(y, Tensor) and y.requires_grad
    assert np.allclose(x, [1, 2]) is True and np.array_equal(x, a) is False
    assert np.shape(x) == (2,) and np.ndim(x) == 1 and np.size(x) == 2 and np.result_type(x, a) == np.float32
    np.testing.assert_allclose(x, [1, 2])


@pytest.mark.parametrize("name", ["exp", "add", "sum", "concatenate", "reshape", "sort", "einsum", "zeros", "cumsum"])
def test_options_that_are_missing_raise(name: str) -> None:
    call = {**CALLS, **NEW}[name][0]
    for option in ({"out": None}, {"order": "F"}, {"where": True}, {"casting": "no"}):
        with pytest.raises(TypeError, match="unexpected|besides"):
            getattr(cnp, name)(*call.args, **option)


def test_a_name_that_is_missing_says_what_to_do() -> None:
    with pytest.raises(AttributeError, match=r"numpy.fft exists in NumPy but not here; .numpy\(\) .* leaves the tape"):
        _ = cnp.fft
    with pytest.raises(AttributeError, match="convgpu.numpy.frobnicate is no function of NumPy"):
        _ = cnp.frobnicate
    assert not hasattr(cnp, "frobnicate")


def test_names_that_are_no_functions() -> None:
    assert (cnp.pi, cnp.inf, cnp.newaxis, cnp.float32, cnp.int64) == (np.pi, np.inf, None, np.float32, np.int64)
    assert cnp.zeros(2, dtype=cnp.bfloat16).dtype.name == "bfloat16"
    assert isinstance(cnp.zeros(2), cnp.ndarray)


def test_asarray_keeps_the_tape() -> None:
    x = cg.tensor([1.0, 2.0], requires_grad=True)
    assert cnp.asarray(x) is x
    (cnp.array([x, [3.0, 4.0]]) * cnp.full((2, 2), x[0])).sum().backward()
    np.testing.assert_array_equal(x.grad, [11.0, 1.0])


def test_python_numbers_alone_are_float32() -> None:
    for y in (cnp.exp(2.0), cnp.maximum(1.0, 2.0), cnp.add(1, 2.0), cnp.where(True, 1.0, 0.0), cnp.sum(2.0),
              cnp.sqrt(4.0)):
        assert y.dtype == np.float32
    assert cnp.add(1, 2).dtype == np.int64


@pytest.mark.parametrize("order", [None, 1, 2, np.inf, -np.inf])
def test_norm_of_vectors(order: Any) -> None:
    x = namespace_calls.CUBE
    np.testing.assert_allclose(linalg.norm(x, order, axis=1), np.linalg.norm(x, order, axis=1), rtol=1e-14)
    cg.check_grad(lambda t: cnp.linalg.norm(t, order, 1, keepdims=True), x, order=2)


def test_norm_of_everything() -> None:
    x = namespace_calls.CUBE
    np.testing.assert_allclose(linalg.norm(x), np.linalg.norm(x))
    np.testing.assert_allclose(linalg.norm(x, "fro", (0, 2)), np.linalg.norm(x, "fro", (0, 2)))
    zero = cg.tensor(np.zeros(3), requires_grad=True)
    linalg.norm(zero).backward()
    np.testing.assert_array_equal(zero.grad, 0)
    for order in ("nuc", 1, -1, 2, -2, np.inf, -np.inf):
        np.testing.assert_allclose(linalg.norm(x, order, (0, 2), keepdims=True),
                                   np.linalg.norm(x, order, (0, 2), keepdims=True))
    np.testing.assert_allclose(linalg.norm(x, 3, 1), np.linalg.norm(x, 3, 1))
    with pytest.raises(ValueError, match="norm: expected ord None, a number along one axis, or 'fro'"):
        linalg.norm(x, "nuc", 0)


MATRICES = np.random.default_rng(5).standard_normal((2, 3, 3)) + 3 * np.eye(3)


@pytest.mark.parametrize("name", ["det", "inv", "cholesky", "eigvalsh", "slogdet"])
def test_linear_algebra(name: str) -> None:
    x = MATRICES @ MATRICES.transpose(0, 2, 1)

    def symmetric(t: Tensor) -> Tensor:
        y = getattr(linalg, name)((t + cnp.swapaxes(t, 1, 2)) / 2)
        return y[1] if name == "slogdet" else y

    expected = getattr(np.linalg, name)(x)
    np.testing.assert_allclose(symmetric(cg.tensor(x)), expected[1] if name == "slogdet" else expected, rtol=1e-9)
    cg.check_grad(symmetric, x, order=1 if name == "eigvalsh" else 2, tolerance=1e-4)


def test_solutions() -> None:
    b = np.random.default_rng(6).standard_normal((2, 3, 2))
    np.testing.assert_allclose(linalg.solve(MATRICES, b), np.linalg.solve(MATRICES, b))
    cg.check_grad(linalg.solve, MATRICES, b, order=2, tolerance=1e-5)
    cg.check_grad(linalg.solve, MATRICES[0], b[0, :, 0])
    np.testing.assert_allclose(linalg.lstsq(MATRICES[0, :, :2], b[0]), np.linalg.lstsq(MATRICES[0, :, :2], b[0])[0])
    np.testing.assert_allclose(linalg.pinv(MATRICES), np.linalg.pinv(MATRICES))
    assert linalg.matrix_rank(np.ones((3, 3))).item() == 1


@pytest.mark.parametrize("name", ["qr", "svd", "eig", "eigh"])
def test_factors_are_those_of_numpy(name: str) -> None:
    x = MATRICES[0] + MATRICES[0].T
    for got, expected in zip(getattr(linalg, name)(x), getattr(np.linalg, name)(x)):
        np.testing.assert_allclose(got, expected, atol=1e-12)
    if name != "eig":  # the others: tests/test_derivatives.py
        return
    with pytest.raises(NotImplementedError, match="eig: no gradient is defined"):
        linalg.eig(cg.tensor(x, requires_grad=True))


def test_modules_declare_no_name_twice() -> None:
    modules: list[ModuleType] = [contraction, elementwise, indexing, joining, linalg, products, reduce, sequences,
                                 shape, sorting, special, statistics]
    ops = {id(op): op for m in modules for op in vars(m).values() if isinstance(op, Op)}
    names = [op.name for op in ops.values() if op.forward is not None]
    assert len(set(names)) == len(names)
    for op in ops.values():  # an op of the backends may be declared again, with gradient rules that keep other values
        known = Op.registry[op.name]
        assert known is op or op.forward is None and known.forward is None and known.signature == op.signature
