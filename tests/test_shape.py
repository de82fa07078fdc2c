"""Shape, joining and index ops where the table of namespace_calls does not reach: indices, updates, errors."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

import convgpu as cg
import convgpu.numpy as cnp
from convgpu import Tensor
from convgpu.summation import BLOCK

RNG = np.random.default_rng(3)
X = RNG.standard_normal((4, 5, 3))

INDICES: dict[str, Any] = {
    "int": 2, "negative": -1, "slice": slice(1, 3), "step": slice(None, None, -2), "ellipsis": (..., 1),
    "newaxis": (None, 1, None),
    "ints": (1, 2, 0), "all": (), "empty slice": slice(2, 2), "mixed basic": (slice(None), 0, slice(2, None)),
    "list": [0, 0, 3], "empty list": [], "array": np.array([[1, -1], [0, 1]]),
    "int array second": (slice(None), [0, 4, 0]),
    "int array last": (..., [2, 2]), "two arrays": ([0, 1, 0], [2, 2, 2]), "apart": ([0, 1], slice(None), [2, 0]),
    "broadcast arrays": (np.array([[0], [3]]), [1, 1, 2]), "array and int": ([1, 1], 3),
    "array and newaxis": (None, [1, 1]),
    "mask": X > 0, "mask of rows": np.array([True, False, True, True]), "mask and slice": (X[..., 0] > 0, slice(1)),
    "mask and array": (np.array([True, False, True, False]), [1, 1]), "numpy int": np.int64(3),
    "0-d array": np.array(1),
    "true": True, "unsigned": np.array([3, 0], np.uint8), "array after ellipsis": (..., np.array([0, 1]), slice(None)),
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES.keys())
def test_every_kind_of_index(index: Any) -> None:
    np.testing.assert_array_equal(cg.tensor(X)[index], X[index])
    cg.check_grad(lambda x: x[index] ** 2, X, order=2)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint64"])
def test_indices_of_a_narrow_type_into_a_long_axis(dtype: str) -> None:
    x = cg.tensor(np.ones(300), requires_grad=True)
    x[np.array([3, 100, 3], dtype)].sum().backward()
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad, np.bincount([3, 3, 100], minlength=300))


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES.keys())
def test_functional_updates(index: Any) -> None:
    values = RNG.standard_normal(X[index].shape)
    expected = X.copy()
    expected[index] = values
    added = X.copy()
    np.add.at(added, index, values)
    x = cg.tensor(X)
    np.testing.assert_array_equal(x.at[index].set(values), expected)
    np.testing.assert_allclose(x.at[index].add(values), added, rtol=1e-13)
    np.testing.assert_array_equal(x, X)
    cg.check_grad(lambda x, v: x.at[index].set(v) ** 2, X, values)
    cg.check_grad(lambda x, v: x.at[index].add(v) ** 2, X, values)


@pytest.mark.parametrize("index", [1, [0, 0], ([1, 0, 1], slice(1))], ids=str)
def test_updates_have_second_derivatives(index: Any) -> None:
    x, values = X[:2, :2, 0], np.ones_like(X[:2, :2, 0][index])
    cg.check_grad(lambda x, v: x.at[index].set(v * v) ** 2, x, values, order=2)
    cg.check_grad(lambda x, v: x.at[index].add(v * v) ** 2, x, values, order=2)


def test_tensors_are_indices_too() -> None:
    x = cg.tensor(X)
    rows, mask, one = cg.tensor([0, 3, 0]), cg.tensor(X > 0), cg.tensor(2)
    pairs = [(rows, [0, 3, 0]), (mask, X > 0), (one, 2), ((rows, one), ([0, 3, 0], 2)), ((..., one), (..., 2)),
             ((slice(None), rows), (slice(None), [0, 3, 0])), (slice(one), slice(2))]
    for ours, theirs in pairs:
        np.testing.assert_array_equal(x[ours], X[theirs])
    assert x[one].shape == (5, 3) and x[rows[1]].shape == (5, 3)


def test_an_index_changed_later_does_not_change_the_gradient() -> None:
    x, where = cg.tensor([1.0, 2.0, 3.0], requires_grad=True), np.array([0, 1])
    y = x[where]
    where[:] = 2
    y.sum().backward()
    assert x.grad.tolist() == [1, 1, 0]


@pytest.mark.parametrize("dtype", ["float16", "float32", ml_dtypes.bfloat16], ids=str)
def test_duplicates_accumulate_accurately(dtype: Any) -> None:
    x = cg.tensor(np.ones((3, 2)), dtype=dtype, requires_grad=True)
    weight = np.full((20000, 2), 0.1).astype(dtype)
    (x[np.zeros(20000, int)] * weight).sum().backward()
    exact = 20000 * float(weight[0, 0])
    assert abs(float(x.grad[0, 0].item()) - exact) <= exact * (1e-7 if dtype == "float32" else 2.0**-8)
    assert x.grad.dtype == x.dtype and x.grad[1:].tolist() == [[0, 0], [0, 0]]


def test_update_broadcasts_and_scalars() -> None:
    x, v = cg.tensor(np.zeros((3, 2)), requires_grad=True), cg.tensor([1.0, 2.0], requires_grad=True)
    y = x.at[1:].set(v)
    (y * cg.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])).sum().backward()
    assert y.tolist() == [[0, 0], [1, 2], [1, 2]] and v.grad.tolist() == [8, 10]
    assert x.grad.tolist() == [[1, 2], [0, 0], [0, 0]]
    assert cg.tensor([1, 2, 3]).at[0].set(7).tolist() == [7, 2, 3]
    assert cg.tensor([1, 2, 3]).at[[0, 0]].add([1, 2]).tolist() == [4, 2, 3]
    assert cg.tensor([1.0, 2.0], dtype="float16").at[0].add(2.5).dtype == np.float16


def test_of_values_for_one_element_only_the_last_has_a_gradient() -> None:
    v = cg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = cg.tensor([0.0, 0.0]).at[[1, 1, 0]].set(v)
    y.sum().backward()
    assert y.tolist() == [3, 2] and v.grad.tolist() == [0, 1, 1]


def test_update_errors() -> None:
    with pytest.raises(TypeError, match="at.set: expected values that int64 can hold, got float32"):
        cg.tensor([1, 2]).at[0].set(1.5)
    with pytest.raises(ValueError, match="broadcast"):
        cg.tensor([1.0, 2.0]).at[:].set([1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match=r"expected t = t.at\[index\].set\(value\)"):
        cg.tensor([1.0])[0] = 2.0


def test_index_errors_are_numpys_under_the_name_of_the_op() -> None:
    for index, message in (
            (7, "an index that fits the shape, got .*out of bounds"), ([0.5], "expected integers, slices"),
            ((0, 0, 0, 0), "too many indices"), ("a", "expected integers, slices, ..., None or masks as an index")):
        with pytest.raises(IndexError, match=f"^getitem: .*{message}"):
            cg.tensor(X)[index]


# --- sorting


def test_sorting_is_stable_and_gradients_follow_the_order() -> None:
    x = cg.tensor([2.0, 1.0, 2.0, np.nan, 1.0], requires_grad=True)
    assert cnp.argsort(x).tolist() == [1, 4, 0, 2, 3]
    assert cnp.argsort(np.arange(200) % 2).tolist() == [*range(0, 200, 2), *range(1, 200, 2)]
    (cnp.nan_to_num(cnp.sort(x)) * cg.tensor([1.0, 2.0, 3.0, 4.0, 5.0])).sum().backward()
    assert x.grad.tolist() == [3, 1, 4, 0, 2]


def test_searchsorted_and_take_refuse_what_they_do_not_know() -> None:
    with pytest.raises(ValueError, match="searchsorted: expected side 'left' or 'right', got 'middle'"):
        cnp.searchsorted([1.0], [1.0], "middle")
    with pytest.raises(IndexError, match="out of bounds"):
        cnp.take([1.0, 2.0], [5])
    with pytest.raises(ValueError, match="take_along_axis: expected indices of 2 axes"):
        cnp.take_along_axis(np.ones((2, 2)), [0], 1)
    with pytest.raises(ValueError, match="diag: expected one or two axes"):
        cnp.diag(X)


# --- joining


def test_joined_parts_promote_and_get_their_own_dtype_back() -> None:
    a, b = cg.tensor([1.0], requires_grad=True), cg.tensor(np.array([2.0]), requires_grad=True)
    y = cnp.concatenate([a, b, [3.0]])
    y.sum().backward()
    assert y.dtype == np.float64 and a.grad.dtype == np.float32 and b.grad.dtype == np.float64
    rows = cg.tensor([[1.0, 2.0], [3.0, 4.0]])  # a sequence of its rows
    assert cnp.concatenate(rows).tolist() == [1, 2, 3, 4]


def test_one_tensor_in_several_places_gets_all_gradients() -> None:
    x = cg.tensor([1.0, 2.0], requires_grad=True)
    (cnp.stack([x, x * 2, x]) * cg.tensor([[1.0], [10.0], [100.0]])).sum().backward()
    assert x.grad.tolist() == [121, 121]


def test_empty_parts() -> None:
    x = cg.tensor(np.ones((0, 3)), requires_grad=True)
    assert cnp.concatenate([x, np.ones((2, 3))]).shape == (2, 3) and cnp.stack([x, x]).shape == (2, 0, 3)
    assert [p.shape for p in cnp.array_split(x, 2)] == [(0, 3), (0, 3)]
    assert cnp.pad(x, 1).shape == (2, 5) and cnp.tile(x, 2).shape == (0, 6) and cnp.repeat(x, 2, 0).shape == (0, 3)
    assert cnp.reshape(x, (0, 7)).shape == (0, 7) and cnp.ravel(x).shape == (0,)
    assert cg.grad(cnp.ravel(x).sum(), x).shape == (0, 3)
    assert cnp.einsum("ij,kj->ik", x, np.ones((2, 3))).shape == (0, 2)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: cnp.concatenate([]), "concatenate: expected at least one tensor"),
    (lambda: cnp.concatenate([1.0, 2.0]), "concatenate: expected tensors of at least one axis"),
    (lambda: cnp.concatenate([X, X[0]]), "number of dimensions|dimensions"),
    (lambda: cnp.stack([X, X[:1]]), r"stack: expected tensors of one shape, got \(4, 5, 3\), \(1, 5, 3\)"),
    (lambda: cnp.split(X, 3), "split: expected a number of sections that divides the axis, got 3 for 4"),
    (lambda: cnp.array_split(X, 0), "array_split: expected at least one section, got 0"),
    (lambda: cnp.pad(X, -1), "pad: expected widths >= 0, got -1"),
    (lambda: cnp.pad(X, 1, "cubic"), "pad: expected mode 'constant', 'edge'"),
    (lambda: cnp.reshape(X, (7, -1)), r"reshape: expected a shape of as many elements as x has, 60, .*got \(7, -1\)"),
    (lambda: cnp.transpose(X, (0, 1)), "transpose: expected a permutation of 3 axes"),
    (lambda: cnp.transpose(X, (0, 1, 1)), "transpose: expected no axis twice"),
    (lambda: cnp.squeeze(X, 0), r"squeeze: expected axes of size 1, got axis=0 of shape \(4, 5, 3\)"),
    (lambda: cnp.moveaxis(X, 0, (1, 2)), "moveaxis: expected as many destinations"),
    (lambda: cnp.expand_dims(X, 7), r"expand_dims: expected axis in \[-\d, \d\), got 7"),
    (lambda: cnp.repeat(X, -1), "repeat: expected repeats >= 0, got -1"),
    (lambda: cnp.meshgrid(X[0, 0], indexing="yx"), "meshgrid: expected indexing 'xy' or 'ij', got 'yx'"),
    (lambda: cnp.tensordot(X, X, 1), "tensordot: expected pairs of axes of one size"),
    (lambda: cnp.einsum("ij,jk", X), "einsum: expected 2 operands for 'ij,jk', got 1"),
    (lambda: cnp.einsum("ij", X), "einsum: expected one label for each axis of an operand, got 'ij'"),
    (lambda: cnp.einsum("ijk->z", X), "einsum: expected each label of the output once, and in an operand"),
    (lambda: cnp.einsum("ijk->ii", X), "einsum: expected each label of the output once"),
    (lambda: cnp.einsum("ijk,ij->k", X, X[:3, :, 0]), "einsum: expected one size for each label, got 4 and 3 for 'i'"),
    (lambda: cnp.einsum("ii", X[:1, :, 0]), "einsum: expected one size for the label 'i' of an operand"),
    (lambda: cnp.einsum("i.k", X), "einsum: expected letters"),
    (lambda: cnp.einsum("...i->i", X), "einsum: expected '...' in the output"),
])
def test_shape_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("call", "message"), [
    (lambda: cnp.concatenate(5), "concatenate: expected a sequence of tensors, got int"),
    (lambda: cnp.pad(X, 1, constant_values=(1, 2)), "pad: expected constant_values to be one number"),
    (lambda: cnp.pad(X, 1, "edge", constant_values=1), "expected constant_values with mode='constant' alone"),
    (lambda: cnp.einsum(X, [0, 1, 2]), "einsum: expected subscripts as a string, got ndarray"),
    (lambda: cnp.einsum("i,i", [True], [True]), "einsum: expected numbers, got bool"),
])
def test_type_errors(call: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


# --- sums of products


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16], ids=str)
def test_einsum_of_half_types_accumulates_in_float32(dtype: Any) -> None:
    a = np.full((2, 4096), 0.1).astype(dtype)
    y = cnp.einsum("ij,kj->ik", a, a)
    assert y.dtype == np.dtype(dtype)
    np.testing.assert_allclose(y.numpy().astype(float), 4096 * float(a[0, 0]) ** 2, rtol=2.0**-8)
    big, small = np.full(4, 300).astype(dtype), np.full(4, 0.001).astype(dtype)
    assert abs(float(cnp.einsum("i,i,i->", big, big, small).item()) - 360) < 2  # 300 * 300 is no float16


def test_einsum_of_many_operands_multiplies_matrices_in_a_good_order() -> None:
    column, row = RNG.standard_normal((300, 1)), RNG.standard_normal((1, 300))
    got = cnp.einsum("ij,jk,kl,lm->im", column, row, column, row)  # all at once: 300**4 products
    np.testing.assert_allclose(got, column @ row @ column @ row, rtol=1e-12)


def test_outputs_are_tensors_and_views_share_memory() -> None:
    x = cg.tensor(np.zeros((BLOCK, 2)))
    for y in (x.T, x.reshape(2, -1), x[1:], cnp.flip(x), cnp.squeeze(x[None])):
        assert isinstance(y, Tensor) and np.shares_memory(y.numpy(), x.numpy()) and not y.numpy().flags.writeable
