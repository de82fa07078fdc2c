"""Reductions where the table of namespace_calls does not reach: long axes, half types, ties, NaN, errors."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from native_backends import needs_emulated

import convgpu as cg
import convgpu.numpy as cnp
from convgpu import summation
from convgpu.cases.tolerance import C_NUMPY, worst

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

# (shape, axis, what is done to the array): long axes outside, in the middle, inside, and in no simple order in memory
LAYOUTS: list[Any] = [
    ((100352, 3), 0, None), ((100352, 64), 0, None), ((20011, 7), 0, None), ((100352, 1), 0, None),
    ((1, 5000), 0, None),
    ((3, 20000, 5), 1, None), ((16, 32, 32, 24), (0, 1, 2), None), ((512, 4, 9, 9), (0, 2, 3), None),
    ((64, 100352), 1, "transpose"), ((64, 30000), 0, "transpose"), ((40000, 6), 0, "every other"),
    ((3000, 100), None, "every other"), ((50, 60, 70), (0, 2), "swap"), ((40000, 4), 0, "reverse"),
    ((9000, 1), 0, "widen"),
    ((200000,), 0, None), ((400000,), 0, "every other"), ((700, 700), None, None), ((33, 65, 31), (1,), None),
]


def arranged(shape: tuple[int, ...], how: str | None, dtype: Any, signed: bool = False) -> np.ndarray:
    rng = np.random.default_rng(1)
    x = (rng.standard_normal(shape) if signed else rng.random(shape) + 0.5).astype(dtype)
    return {None: lambda: x, "transpose": lambda: x.T, "every other": lambda: x[..., ::2] if x.ndim > 1 else x[::2],
            "swap": lambda: x.swapaxes(0, 1), "reverse": lambda: x[::-1],
            "widen": lambda: np.broadcast_to(x, (len(x), 8)),
            }[how]()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", BFLOAT16], ids=str)
@pytest.mark.parametrize(("shape", "axis", "how"), LAYOUTS, ids=str)
def test_sums_and_means_of_one_sign_stay_within_the_bound(shape: Any, axis: Any, how: str | None, dtype: Any) -> None:
    x = arranged(shape, how, dtype)
    if dtype == "float16":
        x = x / np.float16(64)  # so that the sum fits
    wide = x.astype(np.longdouble)
    exact = wide.sum(axis).astype(np.float64)
    n = x.size // max(exact.size, 1)
    assert worst(cnp.sum(x, axis).numpy(), exact, exact, n, C_NUMPY / 2) <= 1
    assert worst(cnp.mean(x, axis).numpy(), exact / n, exact / n, n, C_NUMPY / 2) <= 1


@pytest.mark.parametrize(("shape", "axis", "how"), LAYOUTS[:9], ids=str)
def test_variance_in_two_passes(shape: Any, axis: Any, how: str | None) -> None:
    x = arranged(shape, how, np.float32, signed=True) + np.float32(100)  # one pass would lose four digits
    exact = x.astype(np.longdouble).var(axis).astype(np.float64)
    np.testing.assert_allclose(cnp.var(x, axis), exact, rtol=2e-6)
    np.testing.assert_allclose(cnp.std(x, axis), np.sqrt(exact), rtol=2e-6)


@pytest.mark.parametrize("block", [2, 3, 32])
@pytest.mark.parametrize("lanes", [1, 5, 1024])
def test_blocks_cover_every_row_once(block: int, lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summation, "BLOCK", block)
    monkeypatch.setattr(summation, "LANES", lanes)
    rng = np.random.default_rng(0)
    for shape in [(n, 3) for n in range(1, 40)] + [(1000, 2), (4, 77, 3), (5, 6, 7, 2)]:
        x = rng.integers(-9, 9, shape).astype(np.float32)  # exact in any order
        for axis in ((0,), (0, 1), (len(shape) - 1,), (1,)) + (((0, 2),) if len(shape) > 2 else ()):
            np.testing.assert_array_equal(summation.total(x, axis), x.sum(axis))
            np.testing.assert_array_equal(summation.total(x.T, axis, True), x.T.sum(axis, keepdims=True))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.parametrize("dtype", ["float16", BFLOAT16], ids=str)
def test_half_types_accumulate_in_float32(dtype: Any) -> None:
    x = cg.tensor(np.full(5000, 0.1).astype(dtype), requires_grad=True)
    one = float(x.array[0])
    digits = 2.0**-11 if dtype == "float16" else 2.0**-8
    results = [(x.sum(), 5000 * one), (x.mean(), one), ((x * 0 + 1.01).prod(), float(np.array(1.01, dtype)) ** 5000),
               (x.cumsum()[-1], 5000 * one), (cnp.linalg.norm(x), one * 5000**0.5), (cnp.median(x), one)]
    for y, exact in results:
        if exact < 6e4 or dtype != "float16":
            assert y.dtype == x.dtype and abs(float(y.item()) - exact) <= 1.01 * digits * exact
    assert cg.grad((x - 3).var(), x).dtype == x.dtype
    big = cg.tensor(np.full(100, 60000, np.float16))
    assert big.mean().item() == 60000 and np.isinf(big.sum().item())  # only the result has to fit


def test_integers_and_booleans() -> None:
    assert cnp.sum(np.ones(300, np.int8)).item() == 300 and cnp.sum([True, True]).item() == 2
    assert cnp.mean([1, 2]).item() == 1.5 and cnp.mean(np.array([1, 2])).dtype == np.float64
    assert cnp.var([True, False]).item() == 0.25 and cnp.prod(np.full(3, 100, np.int8)).item() == 1000000
    assert cnp.sum([1.5, 2.5], dtype=np.int64).item() == 3 and cnp.cumsum([True, True]).tolist() == [1, 2]


def test_counts_beyond_float16_divide_gradients() -> None:
    x = cg.tensor(np.zeros(100000, np.float16), requires_grad=True)
    for f, expected in ((cnp.mean, 1e-5), (cnp.max, 1e-5), (cnp.average, 1e-5)):
        np.testing.assert_allclose(cg.grad(f(x), x)[:2], expected, rtol=2e-3)
    assert cnp.average(np.ones(3, np.float16), weights=[1, 2, 3]).dtype == np.float64  # float16 and int64, as in NumPy


# --- ties, NaN, zeros


@pytest.mark.parametrize("f", [cnp.max, cnp.min])
def test_equal_extremes_share_the_gradient(f: Any) -> None:
    x = cg.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 2.0, 0.0, 2.0]], requires_grad=True)
    (f(x, axis=1) * cg.tensor([1.0, 4.0])).sum().backward()
    assert x.grad[0].tolist() == [0.25] * 4 and sorted(x.grad[1].tolist()) == [0, 0, 2, 2]


def test_nan_wins_and_gets_the_gradient() -> None:
    for f in (cnp.max, cnp.min):
        x = cg.tensor([1.0, np.nan, 3.0, np.nan], requires_grad=True)
        y = f(x)
        y.backward()
        assert np.isnan(y.item()) and x.grad.tolist() == [0, 0.5, 0, 0.5]
    assert cnp.argmax([1.0, np.nan, 3.0]).item() == 1 and cnp.argmin([1.0, np.nan, 3.0]).item() == 1
    assert np.isnan(cnp.median([1.0, np.nan, 3.0]).item())
    assert cnp.median([1.0, np.inf, np.inf]).item() == np.inf


def test_median_shares_between_the_middle_two() -> None:
    x = cg.tensor([4.0, 1.0, 3.0, 2.0], requires_grad=True)
    cnp.median(x).backward()
    assert x.grad.tolist() == [0, 0, 0.5, 0.5]


def test_products_with_zeros_divide_by_nothing() -> None:
    x = cg.tensor([2.0, 0.0, 3.0], requires_grad=True)
    x.prod().backward()
    assert x.grad.tolist() == [0, 6, 0]
    x.zero_grad()
    cnp.cumprod(x).sum().backward()
    assert x.grad.tolist() == [1, 2 + 6, 0]


def test_standard_deviation_of_equal_values_has_zero_gradient() -> None:
    x = cg.tensor([2.0, 2.0], requires_grad=True)
    x.std().backward()
    assert x.grad.tolist() == [0, 0]


def test_nan_functions_leave_nan_out_of_gradients_too() -> None:
    for f, expected in (
            (cnp.nansum, [1, 0, 1]), (cnp.nanmean, [0.5, 0, 0.5]), (cnp.nanmax, [0, 0, 1]), (cnp.nanmin, [1, 0, 0])):
        x = cg.tensor([1.0, np.nan, 3.0], requires_grad=True)
        f(x).backward()
        assert x.grad.tolist() == expected


# --- empty and odd


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)], ids=str)
def test_empty(shape: tuple[int, ...]) -> None:
    x = cg.tensor(np.ones(shape), requires_grad=True)
    for axis in (None, 0, len(shape) - 1):
        for f in (cnp.sum, cnp.prod):
            y = f(x, axis)
            np.testing.assert_array_equal(y, getattr(np, f.__name__)(np.ones(shape), axis))
            assert cg.grad(y.sum(), x).shape == shape
    assert cnp.cumsum(x, 0).shape == shape and cnp.cumprod(x, 0).shape == shape
    assert cg.grad(cnp.cumprod(x, 0).sum(), x).shape == shape
    with pytest.raises(ValueError, match=r"max: expected elements along the axes .*, got shape"):
        cnp.max(x)
    with pytest.raises(ValueError, match="median: expected at least one element"):
        cnp.median(x)
    with np.errstate(invalid="ignore"):
        assert np.isnan(cnp.mean(x).item()) and np.isnan(cnp.var(x).item())


def test_0d_and_no_axes() -> None:
    x = cg.tensor(3.0, requires_grad=True)
    for f in (cnp.sum, cnp.mean, cnp.max, cnp.prod):
        assert f(x).item() == 3 and f(x, ()).shape == () and cg.grad(f(x), x).item() == 1
    assert cnp.sum([[1.0, 2.0]], axis=()).tolist() == [[1.0, 2.0]]
    assert cnp.cumsum(2.0).tolist() == [2.0] and cnp.argmax(3.0).item() == 0


def test_the_input_is_not_kept_alive_for_its_shape() -> None:
    x = cg.tensor([1.0, 2.0], requires_grad=True)
    for y in (x.sum(), x.mean(), x.reshape(2, 1), x[:1], cnp.concatenate([x, x])):
        x.assign([5.0, 6.0])  # a rule that needed x would raise for its new version
        y.sum().backward()


# --- errors


def test_errors_name_the_axis() -> None:
    x = np.ones((2, 3))
    for f in (cnp.sum, cnp.max, cnp.var, cnp.any, cnp.cumsum):
        with pytest.raises(ValueError, match=rf"^{f.__name__}: expected axis in \[-2, 2\), got 2$"):
            f(x, 2)
    with pytest.raises(ValueError, match=r"sum: expected no axis twice, got axis=\(0, -2\) for 2 axes"):
        cnp.sum(x, (0, -2))
    with pytest.raises(ValueError, match=r"average: expected weights of x's shape \(2, 3\), .*, got \(2,\)"):
        cnp.average(x, weights=[1.0, 2.0])
    with pytest.raises(ValueError, match="diff: expected n >= 0, got -1"):
        cnp.diff(x, -1)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_nan_is_sorted_last_in_every_floating_type(dtype):
    x = np.array([3, np.nan, -1, np.inf, 2.5, -np.inf, 2.5])
    t = cg.tensor(x, dtype=dtype)
    assert cnp.sort(t).dtype == cnp.unique(t).dtype == t.dtype
    np.testing.assert_array_equal(cnp.sort(t).numpy().astype(float), np.sort(x))
    np.testing.assert_array_equal(cnp.argsort(t), np.argsort(x, kind="stable"))
    np.testing.assert_array_equal(cnp.unique(t).numpy().astype(float), np.unique(x))
    np.testing.assert_array_equal(cnp.unique(t, return_counts=True)[1], np.unique(x, return_counts=True)[1])
    np.testing.assert_array_equal(cnp.searchsorted(cnp.sort(t), t), np.searchsorted(np.sort(x), x))
    assert np.isnan(cnp.median(t).item())


# --- the op that backends run: reduce


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min"])
def test_floats_are_reduced_by_the_op_reduce_and_whole_numbers_by_numpy(name, monkeypatch):
    from convgpu import autograd

    names, run = [], autograd.run_on_backend
    monkeypatch.setattr(autograd, "run_on_backend", lambda op, arrays, statics: names.append((op, statics[0])) or run(
        op, arrays, statics))
    getattr(cnp, name)(np.ones((2, 3), "float32"), axis=1)
    assert names == [("reduce", name)]
    getattr(cnp, name)(np.ones((2, 3), "int32"), axis=1)
    assert len(names) == (2 if name == "mean" else 1)  # the mean of integers is one of float64


def test_sums_keep_no_values_for_their_gradients():
    x = cg.tensor(np.ones((2, 3)), requires_grad=True)
    assert set(cnp.sum(x, axis=0).node.saved) == {"function", "axes", "keepdims", "shape"}
    assert "x" in cnp.max(x, axis=0).node.saved


@pytest.mark.parametrize("kernels", ["emulated", "cpu"])
def test_kernels_reduce_views_and_nothing(kernels):
    pytest.importorskip(f"convgpu._{kernels}")
    x = np.random.default_rng(0).standard_normal((6, 10, 8)).astype(np.float32)
    with cg.use_backend(kernels):
        for view in (x[::2], x[:, 1:], x.transpose(2, 0, 1), np.broadcast_to(x[:, :1], x.shape), x[..., ::-1]):
            for axis in (0, 1, 2, (0, 2), (1, 2), None):
                np.testing.assert_allclose(cnp.sum(view, axis=axis), view.sum(axis=axis), rtol=1e-5, atol=1e-5)
                np.testing.assert_array_equal(cnp.max(view, axis=axis), view.max(axis=axis))
        nothing = np.ones((3, 0), np.float32)
        assert cnp.sum(nothing, axis=1).tolist() == [0, 0, 0] and np.isnan(cnp.mean(nothing, axis=1).numpy()).all()
        assert cnp.max(nothing, axis=0).shape == (0,)
        with pytest.raises(ValueError, match=r"max: expected elements along the axes \(1,\), got shape \(3, 0\)"):
            cnp.max(nothing, axis=1)


def test_split_sums_have_the_same_bits_at_every_call():
    module = pytest.importorskip("convgpu._emulated")
    assert module.plan_reduce("sum", [3, 70000], [1], "float32").launches == 2
    assert module.plan_reduce("sum", [70000, 3], [1], "float32").launches == 1
    x = np.random.default_rng(1).random((3, 70000), np.float32)
    with cg.use_backend("emulated"):
        first, second = cnp.sum(x, axis=1), cnp.sum(x, axis=1)
    assert first.tolist() == second.tolist()
    np.testing.assert_allclose(first, x.sum(axis=1, dtype=np.float64), rtol=2e-7)


@pytest.mark.parametrize("function", ["sum", "mean", "max", "min"])
@pytest.mark.parametrize("shape, axes", [
    ((2, 3) * 5 + (2,), (0, 2, 4, 6, 8, 10)), ((2, 3) * 5 + (2,), (1, 3, 5, 7, 9)), ((2,) * 16, tuple(range(0, 16, 2))),
    ((2, 1) * 11 + (3,), tuple(range(0, 23, 4))), ((2,) * 10, (1, 3, 5, 7, 9))])
@needs_emulated
def test_kernels_reduce_any_number_of_alternating_axes(shape, axes, function):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    expected = getattr(np, function)(x.astype(np.float64), axis=axes)
    assert "reduce_" in str(cg.explain("reduce", shape, axes, device="H200"))
    with cg.use_backend("emulated"):
        t = cg.tensor(x, requires_grad=True)
        y = getattr(cnp, function)(t, axis=axes)
        kept = getattr(cnp, function)(t, axis=axes, keepdims=True)
        g, = cg.grad(y.sum(), [t])
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5, atol=1e-5)
    assert kept.reshape(y.shape).tolist() == y.tolist()
    total = x.size if function == "sum" else expected.size
    assert g.shape == shape and np.isclose(g.numpy().astype(np.float64).sum(), total)
