"""Tensor: creation, attributes, values that stay values, operators, protocols, exchange with other libraries."""

from __future__ import annotations

import copy
import importlib.util
import pickle
import re
import sys
import types
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import convgpu as cg

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


# --- creation


@pytest.mark.parametrize("data, dtype", [
    (1.0, np.float32), ([1.0, 2.0], np.float32), ([[1, 2.5]], np.float32), (1, np.int64), ([1, 2], np.int64),
    (True, np.bool_), (np.float64(1.0), np.float64), ([np.float64(1.0), 2.0], np.float64), (np.ones(2), np.float64),
    ([np.ones(2), np.ones(2)], np.float64), (np.ones(2, np.float16), np.float16), (range(3), np.int64),
    ([], np.float32), (np.ones(2, BFLOAT16), BFLOAT16), (np.ones(2, ">f4"), np.dtype("f4")),
])
def test_dtype_of_new_tensors(data, dtype) -> None:
    t = cg.tensor(data)
    assert t.dtype == dtype and t.dtype.isnative
    assert np.array_equal(t.numpy().astype(np.float64), np.asarray(data, np.float64))


def test_tensor_copies() -> None:
    a = np.zeros(3)
    t = cg.tensor(a)
    a[:] = 1
    assert t.tolist() == [0.0, 0.0, 0.0]
    copied = cg.tensor(t)
    assert not np.shares_memory(copied.numpy(), t.numpy())


def test_ops_do_not_see_later_changes_of_plain_arrays() -> None:
    a = np.array([2.0])
    w = cg.tensor([3.0], dtype="float64", requires_grad=True)
    y = w * a
    r = cg.numpy.reshape(a, (1, 1))
    a[:] = 100
    y.backward()
    assert w.grad.tolist() == [2.0] and r.tolist() == [[2.0]]


def test_dtype_and_device_options() -> None:
    t = cg.tensor([1, 2], dtype="bfloat16", device="cpu")
    assert t.dtype == BFLOAT16 and t.device == "cpu"
    assert cg.tensor([1.0], requires_grad=True).requires_grad
    assert cg.tensor(1.0).shape == () and cg.tensor(1.0).ndim == 0


def test_a_foreign_byte_order_becomes_native() -> None:
    for t in (cg.tensor([1.0, 2.0], dtype=">f4", requires_grad=True), cg.tensor([1, 2]).astype(">f4"),
              cg.arange(1, 3, dtype=np.dtype(">f4"))):
        assert t.dtype == np.dtype("f4") and t.dtype.isnative and t.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("data", ["text", None, {"a": 1}, [1.0, "a"], object(), [None], 1j, np.ones(2, complex)])
def test_what_is_no_number_is_refused(data) -> None:
    with pytest.raises(TypeError, match="tensor: expected a tensor, array or number, real or bool, got"):
        cg.tensor(data)


def test_ragged_lists_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^tensor: expected lists of one length on each level, got list \[\[1.0\], "):
        cg.tensor([[1.0], [1.0, 2.0]])


def test_a_list_of_tensors_points_to_stack() -> None:
    with pytest.raises(TypeError, match="join them with convgpu.numpy.stack"):
        cg.tensor([cg.tensor(1.0), cg.tensor(2.0)])


# --- values


def test_arrays_are_read_only() -> None:
    t = cg.tensor([1.0, 2.0])
    for array in (t.array, t.numpy(), (t * 2).numpy(), t.sum().numpy(), t.reshape(2, 1).numpy(), np.asarray(t)):
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(TypeError, match=r"Tensors are values: expected t = t.at\[index\].set"):
        t[0] = 1


def test_assign() -> None:
    t = cg.tensor([1.0, 2.0], requires_grad=True)
    view, old = t.reshape(1, 2), t.numpy()
    value = np.array([5, 6])
    assert t.assign(value) is t
    value[:] = 0
    assert t.tolist() == [5.0, 6.0] and t.dtype == np.float32 and t.version == 1 and t.requires_grad
    assert view.tolist() == [[1.0, 2.0]] and old.tolist() == [1.0, 2.0]
    assert not t.numpy().flags.writeable
    with pytest.raises(ValueError, match=r"assign: expected shape \(2,\), got \(3,\)"):
        t.assign(np.zeros(3))
    assert t.tolist() == [5.0, 6.0] and t.version == 1


def test_functional_update() -> None:
    t = cg.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert t.at[0, 1].set(9.0).tolist() == [[1.0, 9.0], [3.0, 4.0]]
    assert t.at[:, 0].add([10.0, 20.0]).tolist() == [[11.0, 2.0], [23.0, 4.0]]
    assert t.at[t > 2.0].set(0.0).tolist() == [[1.0, 2.0], [0.0, 0.0]]
    assert t.tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_attributes() -> None:
    t = cg.tensor(np.zeros((2, 3), np.float16))
    assert (t.shape, t.dtype, t.ndim, t.size, t.nbytes, len(t)) == ((2, 3), np.float16, 2, 6, 12, 2)
    assert t.T.shape == (3, 2) and t.is_leaf and t.device == "cpu"
    assert [row.shape for row in t] == [(3,), (3,)]
    with pytest.raises(AttributeError, match="Tensor has no attribute 'colour'"):
        _ = t.colour
    with pytest.raises(AttributeError, match="exists on GPU tensors only"):
        _ = t.__cuda_array_interface__
    assert not hasattr(t, "__cuda_array_interface__")


@pytest.mark.parametrize("make, text", [
    (lambda: cg.tensor(1.5), "Tensor(1.5, dtype=float32)"),
    (lambda: cg.tensor([1, 2], requires_grad=False), "Tensor([1, 2], dtype=int64)"),
    (lambda: cg.tensor([1.0], requires_grad=True), "Tensor([1.], dtype=float32, requires_grad=True)"),
    (lambda: cg.tensor(np.zeros((0, 3))), "Tensor([], shape=(0, 3), dtype=float64)"),
    (lambda: cg.tensor([[1.0, 2.0], [3.0, 4.0]]), "Tensor([[1., 2.],\n        [3., 4.]], dtype=float32)"),
])
def test_repr(make, text) -> None:
    assert repr(make()) == text


def test_repr_of_a_large_tensor_is_short() -> None:
    assert len(repr(cg.tensor(np.zeros((1000, 1000))))) < 1000


# --- Python's protocols


def test_conversions_to_python() -> None:
    assert cg.tensor([[2.5]]).item() == 2.5 and float(cg.tensor(2.5)) == 2.5 and int(cg.tensor(7)) == 7
    assert bool(cg.tensor(1.0)) and not bool(cg.tensor([0]))
    assert [10, 20, 30][cg.tensor(1)] == 20 and f"{cg.tensor(2.0):.2f}" == "2.00"
    assert 2.0 in cg.tensor([1.0, 2.0]) and 3.0 not in cg.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match=r"item: expected one element, got shape \(2,\)"):
        cg.tensor([1.0, 2.0]).item()
    with pytest.raises(ValueError, match="ambiguous"):
        bool(cg.tensor([1.0, 2.0]))
    with pytest.raises(TypeError, match="iteration over a tensor: expected at least one axis"):
        iter(cg.tensor(1.0))
    with pytest.raises(TypeError):
        _ = [0, 1][cg.tensor(1.0)]
    with pytest.raises(TypeError, match="conv: expected stride to be an integer or a sequence of them"):
        cg.conv(np.ones((1, 4, 4, 1)), np.ones((1, 1, 1, 1)), stride=cg.tensor([2, 1]))


def test_tensors_are_hashable_by_identity() -> None:
    a, b = cg.tensor(1.0), cg.tensor(1.0)
    assert len({a, b, a}) == 2


def test_copies_and_pickles() -> None:
    t = cg.tensor([1.0, 2.0], requires_grad=True)
    (t * t).sum().backward()
    deep = copy.deepcopy({"t": t})["t"]
    assert deep.tolist() == t.tolist() and deep.requires_grad and deep.grad.tolist() == [2.0, 4.0]
    deep.assign([0.0, 0.0])
    assert t.tolist() == [1.0, 2.0]
    again = pickle.loads(pickle.dumps(t))
    assert again.tolist() == [1.0, 2.0] and again.requires_grad and not again.numpy().flags.writeable
    with pytest.raises(RuntimeError, match="deepcopy: expected a leaf"):
        copy.deepcopy(t * 2)


# --- operators


def test_operators_follow_numpy() -> None:
    a, b = np.array([[1.0, -2.0], [3.0, 4.5]]), np.array([2.0, 3.0])
    t, u = cg.tensor(a), cg.tensor(b)
    pairs = [
        (t + u, a + b), (t - u, a - b), (t * u, a * b), (t / u, a / b), (t // u, a // b), (t % u, a % b), (t**2, a**2),
        (2 - t, 2 - a), (2 / t, 2 / a), (2**u, 2**b), (7 % u, 7 % b), (7 // u, 7 // b), (-t, -a), (+t, +a),
        (abs(t), abs(a)), (t @ u, a @ b), (b @ t, b @ a), (t > u, a > b), (t >= 1, a >= 1), (t < u, a < b),
        (t <= 1, a <= 1), (t == 1.0, a == 1.0), (t != 1.0, a != 1.0), ((t > 0) & (t < 4), (a > 0) & (a < 4)),
        ((t > 0) | (t < 4), (a > 0) | (a < 4)), ((t > 0) ^ (t < 4), (a > 0) ^ (a < 4)), (~(t > 0), ~(a > 0)),
        (a + u, a + b), (a * u, a * b), (a > u, a > b), (np.float64(3) * u, 3 * b), ([1.0, 2.0] + u, [1.0, 2.0] + b),
    ]
    for got, expected in pairs:
        assert isinstance(got, cg.Tensor) and got.dtype == expected.dtype
        np.testing.assert_array_equal(got.numpy(), expected)


def test_an_array_on_the_left_keeps_the_gradient() -> None:
    t = cg.tensor(np.ones(2), requires_grad=True)
    (np.array([2.0, 3.0]) * t + np.float64(1.0)).sum().backward()
    assert t.grad.tolist() == [2.0, 3.0]


def test_numpy_functions_keep_the_gradient_or_refuse() -> None:
    t = cg.tensor(np.array([0.5, 1.0]), requires_grad=True)
    y = np.concatenate([np.exp(t), np.sum(t, keepdims=True)])
    assert isinstance(y, cg.Tensor)
    y.sum().backward()
    np.testing.assert_allclose(t.grad.numpy(), np.exp([0.5, 1.0]) + 1)
    with pytest.raises(TypeError, match="defined for Tensors, got np.add.reduce; use convgpu.numpy, or .numpy"):
        np.add.reduce(t)
    with pytest.raises(TypeError, match="function that is defined for Tensors, got "):
        np.linalg.cond(t)
    with pytest.raises(NotImplementedError, match="svd: no gradient is defined"):
        np.linalg.svd(t[None])
    with pytest.raises(TypeError, match="defined for Tensors, got np.add with out"):
        np.add(t, t, out=np.zeros(2))


@pytest.mark.parametrize("other", [None, "a", object(), {}])
def test_foreign_operands(other) -> None:
    t = cg.tensor([1.0])
    with pytest.raises(TypeError, match="unsupported operand"):
        t + other
    assert (t == other) is False and (t != other) is True


def test_a_foreign_class_may_take_over() -> None:
    class Other:
        def __radd__(self, t):
            return "mine"

    assert cg.tensor([1.0]) + Other() == "mine"


@pytest.mark.parametrize("left, right, expected", [
    (np.float32, 2.0, np.float32), (np.float16, 2.0, np.float16), (BFLOAT16, 2.0, BFLOAT16),
    (np.float32, 2, np.float32), (np.float32, np.float64(2.0), np.float64), (np.int64, 2.0, np.float64),
    (np.float16, np.float32, np.float32),
    (BFLOAT16, np.float32, np.float32), (np.int32, np.float32, np.float64), (np.bool_, 1, np.int64),
])
def test_promotion_is_numpys(left, right, expected) -> None:
    other = right if not isinstance(right, (type, np.dtype)) else cg.tensor(np.ones(2, right))
    assert (cg.tensor(np.ones(2, left)) * other).dtype == expected


# --- exchange with other libraries


def test_array_protocol() -> None:
    t = cg.tensor([1.5, 2.5])
    assert np.asarray(t).dtype == np.float32 and np.shares_memory(np.asarray(t), t.numpy())
    assert np.asarray(t, dtype=np.float64).dtype == np.float64
    fresh = np.array(t)
    fresh[0] = 7
    assert t.tolist() == [1.5, 2.5]


def test_dlpack_export_is_a_copy() -> None:
    t = cg.tensor([[1.0, 2.0], [3.0, 4.0]])
    for source in (t, t.T, t[::-1], t[:, ::-1], t[:0]):
        imported = np.from_dlpack(source)
        np.testing.assert_array_equal(imported, source.numpy())
        assert not np.shares_memory(imported, t.numpy())
    assert t.__dlpack_device__() == (1, 0)
    with pytest.raises(BufferError, match="copy=False is refused"):
        t.__dlpack__(copy=False)
    with pytest.raises(BufferError, match="expected dl_device"):
        t.__dlpack__(dl_device=(2, 0))
    with pytest.raises(BufferError, match="stream"):
        t.__dlpack__(stream=1)


def test_dlpack_import_shares_and_never_writes() -> None:
    a = np.arange(12.0).reshape(3, 4)
    for source in (a, a.T, a[::-1], a[:, ::-2], a[:0]):
        t = cg.from_dlpack(source)
        np.testing.assert_array_equal(t.numpy(), source)
        assert source.size == 0 or np.shares_memory(t.numpy(), a)
        assert not t.numpy().flags.writeable and source.flags.writeable
    fixed = np.arange(3.0)
    fixed.flags.writeable = False
    t = cg.from_dlpack(fixed)
    t.assign([7.0, 8.0, 9.0])
    assert fixed.tolist() == [0.0, 1.0, 2.0]


def test_dlpack_import_of_what_cannot_be() -> None:
    with pytest.raises(TypeError, match="from_dlpack: expected real numbers, got complex128"):
        cg.from_dlpack(np.ones(2, complex))
    with pytest.raises(TypeError, match="from_dlpack: expected an object with __dlpack__, got list"):
        cg.from_dlpack([1.0])
    strange = types.SimpleNamespace(__dlpack__=lambda **k: None, __dlpack_device__=lambda: (8, 0))
    with pytest.raises(ValueError, match="expected memory on the CPU or a CUDA GPU, got DLPack device type 8"):
        cg.from_dlpack(strange)


def test_dlpack_with_torch() -> None:
    torch = pytest.importorskip("torch")
    t = cg.tensor([1.0, 2.0])
    u = torch.from_dlpack(t)
    u[0] = 9
    assert t.tolist() == [1.0, 2.0]
    assert cg.from_dlpack(torch.arange(6.0).reshape(2, 3).T).tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_dlpack_of_bfloat16_both_ways(library: str) -> None:
    theirs = pytest.importorskip(library, reason=f"compares with {library}, which is not installed")
    xp = theirs if library == "torch" else theirs.numpy
    t = cg.tensor([[1.0, -2.5, 3e38], [np.inf, 0.0, 1e-40]], dtype="bfloat16")
    u = xp.from_dlpack(t)
    assert str(u.dtype).endswith("bfloat16") and u.tolist() == t.tolist()
    back = cg.from_dlpack(u)
    assert back.dtype == t.dtype and back.tolist() == t.tolist()
    assert cg.from_dlpack(u.T).tolist() == t.T.tolist()
    if library == "torch":
        u[0, 0] = 9
        assert back[0, 0].item() == 9 and t[0, 0].item() == 1


def test_round_and_divmod_are_pythons_functions() -> None:
    x = cg.tensor([7.26, -7.26], requires_grad=True)
    np.testing.assert_array_equal(round(x, 1), np.float32([7.3, -7.3]))
    np.testing.assert_array_equal(round(x), [7, -7])
    assert x.round(1).tolist() == round(x, 1).tolist()
    for got, expected in ((divmod(x, 2), divmod(x.numpy(), 2)), (divmod(9, x), divmod(9, x.numpy()))):
        assert len(got) == 2
        for g, e in zip(got, expected):
            np.testing.assert_array_equal(g, e)
    divmod(x, 2)[1].sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1, 1]
    with pytest.raises(TypeError, match="unsupported operand"):
        divmod(x, "a")


def test_no_grad_decorates_with_and_without_parentheses() -> None:
    x = cg.tensor(2.0, requires_grad=True)
    for decorator in (cg.no_grad, cg.no_grad()):
        @decorator
        def f(t: cg.Tensor, factor: int = 3) -> cg.Tensor:
            """Documented."""
            return t * factor

        assert not f(x, factor=2).requires_grad and f.__doc__ == "Documented." and (x * 2).requires_grad
    with pytest.raises(TypeError, match="no_grad: expected a function to decorate, or nothing, got 3"):
        cg.no_grad(3)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: cg.F.relu, "'F'; here it is convgpu itself: convgpu.conv2d"),
    (lambda: cg.cat, "'cat'; here it is convgpu.numpy.concatenate"),
    (lambda: cg.softmax([1.0], dim=0), "unexpected keyword argument 'dim'; here it is axis"),
    (lambda: cg.max_pool2d(np.ones((1, 2, 2, 1)), kernel_size=2), "'kernel_size'; here it is size"),
    (lambda: cg.numpy.sum([1.0], keepdim=True), "'keepdim'; here it is keepdims"),
])
def test_pytorchs_functions_and_options_are_answered_by_ours(call: Any, message: str) -> None:
    with pytest.raises((AttributeError, TypeError), match=message):
        call()


# --- the rule for NumPy's float64 beside float32


def test_operators_promote_as_numpy_and_numpys_constants_take_the_dtype_of_a_loss_or_norm() -> None:
    x, wide = cg.tensor([[1.0, 2.0], [3.0, 5.0]]), np.array([[1.5, 2.5], [0.5, 1.0]])
    for y in (x + wide, wide * x, x - np.float64(2), cg.numpy.maximum(x, wide)):
        assert y.dtype == np.float64
    assert (x * 2.5).dtype == (x + np.float32(1)).dtype == np.float32
    for loss in (cg.mse_loss, cg.huber_loss, cg.cross_entropy, cg.binary_cross_entropy):
        y = loss(x, wide % 1)
        assert y.dtype == np.float32 and y.item() == loss(x, np.float32(wide % 1)).item()
        with pytest.raises(TypeError, match="expected one dtype"):
            loss(x, cg.tensor(wide % 1))
    half, mean, var = x.astype("float16"), wide[0], wide[1]
    for v in (x, half):
        for training in (True, False):
            got = cg.batch_norm(v, mean, var, mean, var, training=training)
            expected = cg.batch_norm(v, *map(np.float32, (mean, var, mean, var)), training=training)
            for g, e in zip(got, expected):
                assert g.dtype == e.dtype and g.tolist() == e.tolist()
        assert cg.layer_norm(v, mean, var).tolist() == cg.layer_norm(v, np.float32(mean), np.float32(var)).tolist()
    with pytest.raises(TypeError, match="expected one floating dtype"):
        cg.batch_norm(x, cg.tensor(mean), cg.tensor(var), training=False)
    with pytest.raises(TypeError, match="conv: expected one dtype"):
        cg.conv(cg.tensor(np.ones((1, 3, 1), np.float32)), np.ones((2, 1, 1)))


# --- devices


def test_device_names() -> None:
    t = cg.tensor([1.0])
    assert t.to("cpu") is t and t.to("CPU:0") is t
    with pytest.raises(ValueError, match="expected 'cpu' or 'gpu', got 'tpu'"):
        t.to("tpu")
    with pytest.raises(TypeError, match="expected a string"):
        t.to(0)
    with pytest.raises(NotImplementedError, match="'gpu:1': only the first GPU is supported"):
        t.to("gpu:1")


def test_a_missing_cupy_is_explained_in_one_sentence(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    for name in ("gpu", "cuda", "gpu:0", "cuda:0"):
        with pytest.raises(ImportError, match=r'\'gpu\' needs the package cupy: pip install "convgpu\[cuda13\]"'):
            cg.tensor([1.0]).to(name)


# --- backends


def test_names_of_the_namespace_are_pointed_to() -> None:
    with pytest.raises(AttributeError, match="module 'convgpu' has no attribute 'stack'; it is convgpu.numpy.stack"):
        _ = cg.stack
    with pytest.raises(AttributeError, match="module 'convgpu' has no attribute 'stak'$"):
        _ = cg.stak


def test_use_backend() -> None:
    before = cg.current_backend()
    assert before == ("cpu" if importlib.util.find_spec("convgpu._cpu") else "numpy")
    cg.use_backend("reference")
    assert cg.current_backend() == "reference"
    cg.use_backend(before)
    with cg.use_backend("reference"):
        assert cg.current_backend() == "reference"
    assert cg.current_backend() == before
    with pytest.raises(ValueError, match="use_backend: expected one of .*'numpy', 'reference'.*, got 'tensorflow'"):
        cg.use_backend("tensorflow")
    assert cg.current_backend() == before


def test_pytorchs_names_are_answered_by_ours():
    from convgpu.tensor import _ELSEWHERE  # a name of the module, which `convgpu.tensor` the function hides

    t = cg.tensor(np.arange(6.0).reshape(2, 3))
    given = {"t": t, "convgpu": cg, "shape": (2, 3), "axes": (1, 0), "axis": 0, "dtype": "int64", "low": 0, "high": 1,
             "times": 2, "other": t.T, "values": np.ones((2, 3))}
    for theirs, ours in _ELSEWHERE.items():
        with pytest.raises(AttributeError, match=f"Tensor has no attribute {theirs!r}; here it is {re.escape(ours)}$"):
            getattr(t, theirs)
        if theirs in ("cuda", "grad_fn"):  # which needs a GPU; None
            continue
        if theirs in ("add_", "mul_", "sub_"):
            given["other"] = t
        assert eval(ours, given) is not None, theirs  # noqa: S307 - what it says works
        given["other"] = t.T


@pytest.mark.parametrize("shape", [(1000,), (64, 64), (32, 32, 32), (8, 8, 8, 8)])
def test_the_text_of_a_big_tensor_is_short_and_names_its_shape(shape):
    text = repr(cg.zeros(shape))
    assert f"shape={shape}" in text and "..." in text and len(text.splitlines()) < 60
    assert "shape" not in repr(cg.zeros((10, 20)))
