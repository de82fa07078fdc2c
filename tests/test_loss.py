"""Losses, one_hot and embedding: values, reductions, gradients, labels out of range; against PyTorch."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from optional import require

import convgpu as cg
from convgpu.dtypes import as_dtype

require("scipy")
from scipy import special  # noqa: E402 - where it is

pytestmark = pytest.mark.filterwarnings("error")
LABELS = np.array([2, 0, 1, 2, 2])


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def targets(*shape):
    t = np.random.default_rng(9).random(shape)
    return t / t.sum(-1, keepdims=True)


def smoothed(t, smoothing):
    return (1 - smoothing) * t + smoothing / t.shape[-1]


REDUCE = {"mean": np.mean, "sum": np.sum, "none": lambda x: x}
reductions = pytest.mark.parametrize("reduction", REDUCE)


# --- cross_entropy


@reductions
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("dense", [False, True])
def test_cross_entropy(dense, smoothing, reduction):
    x = normal(5, 3) * 3
    t = targets(5, 3) if dense else np.eye(3)[LABELS]
    loss = cg.cross_entropy(x, t if dense else LABELS, label_smoothing=smoothing, reduction=reduction)
    expected = -(smoothed(t, smoothing) * special.log_softmax(x, -1)).sum(-1)
    np.testing.assert_allclose(loss, REDUCE[reduction](expected), rtol=1e-13)


@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_cross_entropy_along_any_axis(axis):
    x = normal(3, 3, 3)
    labels = np.random.default_rng(1).integers(0, 3, (3, 3))
    expected = -np.take_along_axis(special.log_softmax(x, axis), np.expand_dims(labels, axis), axis)
    np.testing.assert_allclose(cg.cross_entropy(x, labels, axis=axis), expected.mean(), rtol=1e-13)
    cg.check_grad(lambda x: cg.cross_entropy(x, labels, axis=axis, label_smoothing=0.1), x)


@reductions
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_gradients(smoothing, reduction):
    options = {"label_smoothing": smoothing, "reduction": reduction}
    cg.check_grad(lambda x: cg.cross_entropy(x, LABELS, **options), normal(5, 3), order=2)
    cg.check_grad(lambda x, t: cg.cross_entropy(x, t, **options), normal(5, 3), targets(5, 3), order=2)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_labels_of_any_integer_type(dtype):
    x = normal(5, 3).astype(np.float32)
    assert cg.cross_entropy(x, LABELS.astype(dtype)).item() == cg.cross_entropy(x, LABELS).item()


def test_cross_entropy_of_sure_logits_is_exact():
    x = np.float32([[1e4, 0], [0, 1e4], [-1e30, 1e30]])
    assert cg.cross_entropy(x, [0, 1, 1], reduction="none").tolist() == [0, 0, 0]
    assert cg.cross_entropy(x[:2], [1, 0], reduction="none").tolist() == [1e4, 1e4]


def test_cross_entropy_of_a_masked_class():
    x = cg.tensor([[0.0, -np.inf, 0.0]], requires_grad=True)
    loss = cg.cross_entropy(x, [0])
    loss.backward()
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-7)
    np.testing.assert_allclose(x.grad, [[-0.5, 0, 0.5]])


# --- the others


@reductions
def test_binary_cross_entropy(reduction):
    x, t = normal(4, 3) * 4, np.random.default_rng(1).random((4, 3))
    p = special.expit(x)
    expected = REDUCE[reduction](-(t * np.log(p) + (1 - t) * np.log1p(-p)))
    np.testing.assert_allclose(cg.binary_cross_entropy(x, t, reduction=reduction), expected, rtol=1e-12)
    from_p = cg.binary_cross_entropy(p, t, from_logits=False, reduction=reduction)
    np.testing.assert_allclose(from_p, expected, rtol=1e-12)


def test_binary_cross_entropy_gradients():
    x, t = np.array([-3.0, -0.2, 0.0, 0.4, 5.0]), np.array([0.1, 0.0, 1.0, 0.5, 0.9])
    cg.check_grad(cg.binary_cross_entropy, x, t, order=2)
    cg.check_grad(lambda p, t: cg.binary_cross_entropy(p, t, from_logits=False), special.expit(x), t, order=2,
                  tolerance=1e-5)


def test_binary_cross_entropy_at_the_ends():
    x, t = np.float32([200, -200, 200, -200]), np.float32([1, 0, 0, 1])
    assert cg.binary_cross_entropy(x, t, reduction="none").tolist() == [0, 0, 200, 200]
    p = cg.tensor(np.float32([1, 0, 1, 0]), requires_grad=True)
    loss = cg.binary_cross_entropy(p, t, from_logits=False, reduction="none")
    assert loss.tolist() == [0, 0, 100, 100]
    loss.sum().backward()
    assert np.isfinite(p.grad).all()


@reductions
def test_mse_loss(reduction):
    x, t = normal(4, 3), normal(4, 3, seed=1)
    np.testing.assert_allclose(cg.mse_loss(x, t, reduction=reduction), REDUCE[reduction]((x - t)**2), rtol=1e-14)
    cg.check_grad(lambda x, t: cg.mse_loss(x, t, reduction=reduction), x, t, order=2)


@reductions
@pytest.mark.parametrize("delta", [0.5, 1, 3.0])
def test_huber_loss(delta, reduction):
    x, t = normal(4, 3) * 3, normal(4, 3, seed=1)
    expected = REDUCE[reduction](special.huber(delta, x - t))
    np.testing.assert_allclose(cg.huber_loss(x, t, delta=delta, reduction=reduction), expected, rtol=1e-13)
    cg.check_grad(lambda x, t: cg.huber_loss(x, t, delta=delta, reduction=reduction), x, t, order=2)


def test_huber_loss_at_infinity():
    assert cg.huber_loss(np.float32([np.inf, 1e30]), np.zeros(2, np.float32), reduction="none").tolist() == [
        np.inf, np.float32(1e30) - 0.5]


# --- what all losses share

LOSSES = {
    "cross_entropy": lambda x, **o: cg.cross_entropy(x, np.zeros(x.shape[0], int), **o),
    "cross_entropy dense": lambda x, **o: cg.cross_entropy(x, np.ones(x.shape, x.dtype), **o),
    "binary": lambda x, **o: cg.binary_cross_entropy(x, np.ones(x.shape, x.dtype), **o),
    "mse": lambda x, **o: cg.mse_loss(x, np.ones(x.shape, x.dtype), **o),
    "huber": lambda x, **o: cg.huber_loss(x, np.ones(x.shape, x.dtype), **o),
}
losses = pytest.mark.parametrize("name", LOSSES)


@losses
def test_the_mean_of_an_empty_batch_is_nan_and_its_gradient_zero(name):
    w = cg.tensor(normal(4, 3), requires_grad=True)
    loss = LOSSES[name](cg.linear(np.zeros((0, 4)), w))
    assert np.isnan(loss.item())
    loss.backward()
    assert not w.grad.numpy().any() and w.grad.shape == (4, 3)
    assert LOSSES[name](cg.linear(np.zeros((0, 4)), w), reduction="sum").item() == 0


@losses
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types_are_computed_in_float32_and_rounded_once(name, dtype):
    x = (normal(64, 50) * 30).astype(as_dtype(dtype))
    half, wide = cg.tensor(x, requires_grad=True), cg.tensor(x.astype(np.float32), requires_grad=True)
    for reduction in ("mean", "none"):
        y, expected = LOSSES[name](half, reduction=reduction), LOSSES[name](wide, reduction=reduction)
        assert y.dtype == as_dtype(dtype)
        np.testing.assert_array_equal(y, expected.astype(as_dtype(dtype)))
    LOSSES[name](half).backward()
    LOSSES[name](wide).backward()
    np.testing.assert_array_equal(half.grad, wide.grad.astype(as_dtype(dtype)))


@losses
def test_nan_reaches_the_loss(name):
    x = normal(3, 2)
    x[1, 1] = np.nan
    assert np.isnan(LOSSES[name](x).item())
    assert np.isfinite(LOSSES[name](x, reduction="none").numpy()[0]).all()


def test_many_losses_are_averaged_accurately():
    x = np.full((100_352, 2), 0.1, np.float32)
    expected = np.float64(np.float32(0.1))**2
    assert abs(cg.mse_loss(x, np.zeros_like(x)).item() - expected) < 4 * 2.0**-23 * expected


# --- one_hot and embedding


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "bool"])
def test_one_hot(dtype):
    y = cg.one_hot([[0, 3], [2, 2]], 4, dtype=dtype)
    assert y.dtype == as_dtype(dtype)
    np.testing.assert_array_equal(y.astype("float64"), np.eye(4)[[[0, 3], [2, 2]]])
    assert cg.one_hot(2, 4).tolist() == [0, 0, 1, 0]
    assert cg.one_hot(np.zeros((0, 2), int), 4).shape == (0, 2, 4)


def test_one_hot_makes_integer_labels_dense():
    x = normal(5, 3)
    np.testing.assert_allclose(cg.cross_entropy(x, cg.one_hot(LABELS, 3, dtype="float64")), cg.cross_entropy(x, LABELS))


def test_embedding_adds_up_the_gradients_of_equal_ids():
    table = cg.tensor(normal(4, 2), requires_grad=True)
    ids = np.array([[1, 1, 3], [1, 0, 3]])
    y = cg.embedding(ids, table)
    np.testing.assert_array_equal(y, table.numpy()[ids])
    g = normal(2, 3, 2, seed=1)
    y.backward(g)
    expected = np.zeros((4, 2))
    np.add.at(expected, ids, g)
    np.testing.assert_allclose(table.grad, expected, rtol=1e-14)
    cg.check_grad(lambda t: cg.embedding(ids, t)**2, table, order=2)


def test_embedding_of_one_id_many_times_stays_accurate():
    table = cg.tensor(np.ones((3, 1), np.float32), requires_grad=True)
    cg.embedding(np.ones(100_352, np.int32), table).backward(np.full((100_352, 1), 0.1, np.float32))
    exact = 100_352 * np.float64(np.float32(0.1))
    assert abs(table.grad[1, 0].item() - exact) < 2 * 2.0**-23 * exact


def test_embedding_of_nothing():
    table = cg.tensor(normal(3, 2), requires_grad=True)
    y = cg.embedding(np.zeros((0, 5), int), table)
    assert y.shape == (0, 5, 2)
    y.sum().backward()
    assert not table.grad.numpy().any()


# --- errors


@pytest.mark.parametrize("call, error, words", [
    (lambda: cg.cross_entropy(normal(2, 3), [0, 3]), ValueError, ["labels in [0, 3)", "got 3"]),
    (lambda: cg.cross_entropy(normal(2, 3), [-1, 0]), ValueError, ["labels in [0, 3)", "got -1"]),
    (lambda: cg.cross_entropy(normal(2, 3), [0, 1, 2]), ValueError, ["(2,)", "(2, 3)", "(3,)"]),
    (lambda: cg.cross_entropy(normal(2, 3), normal(2)), ValueError, ["logits=(2, 3)", "labels=(2,)"]),
    (lambda: cg.cross_entropy(normal(2, 3), [True, False]), TypeError, ["integer", "bool"]),
    (lambda: cg.cross_entropy(normal(2, 3), cg.ones((2, 3))), TypeError,
     ["logits: float64", "labels: float32"]),
    (lambda: cg.cross_entropy(np.ones((2, 3), int), [0, 1]), TypeError, ["logits: int64"]),
    (lambda: cg.cross_entropy(normal(2, 3), [0, 1], label_smoothing=1.5), ValueError, ["label_smoothing", "1.5"]),
    (lambda: cg.cross_entropy(normal(2, 3), [0, 1], reduction="avg"), ValueError, ["mean", "avg"]),
    (lambda: cg.cross_entropy(normal(2, 3), [0, 1], axis=2), ValueError, ["cross_entropy: expected axis in [-2, 2)"]),
    (lambda: cg.mse_loss(normal(2, 3), normal(3)), ValueError, ["x=(2, 3)", "targets=(3,)"]),
    (lambda: cg.mse_loss(normal(2), cg.ones(2, dtype="float16")), TypeError, ["targets: float16"]),
    (lambda: cg.huber_loss(normal(2), normal(2), delta=0), ValueError, ["delta > 0", "got 0"]),
    (lambda: cg.binary_cross_entropy([0.5, 1.5], [1.0, 1.0], from_logits=False), ValueError, ["[0, 1]", "1.5"]),
    (lambda: cg.one_hot([0, 4], 4), ValueError, ["labels in [0, 4)", "got 4"]),
    (lambda: cg.one_hot([0.5], 4), TypeError, ["integer", "float32"]),
    (lambda: cg.embedding([0, 7], normal(4, 2)), ValueError, ["ids in [0, 4)", "got 7"]),
    (lambda: cg.embedding([-1], normal(4, 2)), ValueError, ["ids in [0, 4)", "got -1"]),
    (lambda: cg.embedding([0], np.float64(3)), ValueError, ["at least one axis"]),
])
def test_errors_name_what_was_expected_and_what_came(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


# --- against PyTorch


@reductions
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_as_in_pytorch(smoothing, reduction):
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    x, t, labels = normal(5, 3) * 3, targets(5, 3), LABELS
    tx, tt = torch.tensor(x), torch.tensor(t)
    for ours, theirs in [
        (cg.cross_entropy(x, labels, label_smoothing=smoothing, reduction=reduction),
         f.cross_entropy(tx, torch.tensor(labels), label_smoothing=smoothing, reduction=reduction)),
        (cg.cross_entropy(x, t, label_smoothing=smoothing, reduction=reduction),
         f.cross_entropy(tx, tt, label_smoothing=smoothing, reduction=reduction)),
        (cg.binary_cross_entropy(x, t, reduction=reduction),
         f.binary_cross_entropy_with_logits(tx, tt, reduction=reduction)),
        (cg.binary_cross_entropy(np.round(t), t, from_logits=False, reduction=reduction),
         f.binary_cross_entropy(torch.round(tt), tt, reduction=reduction)),
        (cg.mse_loss(x, t, reduction=reduction), f.mse_loss(tx, tt, reduction=reduction)),
        (cg.huber_loss(x, t, delta=0.7, reduction=reduction), f.huber_loss(tx, tt, delta=0.7, reduction=reduction)),
    ]:
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-15)


@reductions
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("ignored", [None, -100, 1])
@pytest.mark.parametrize("weighted", [False, True])
def test_weights_and_ignored_labels_as_in_pytorch(weighted, ignored, axis, smoothing, reduction):
    torch = pytest.importorskip("torch")
    x, labels = normal(2, 4, 6, 5) * 3, np.random.default_rng(1).integers(0, 4, (2, 6, 5))
    if ignored is not None:
        labels[0, 1], labels[1, :, 2] = ignored, ignored
    weight = np.array([0.5, 2.0, 0.0, 1.5]) if weighted else None
    ours = np.ascontiguousarray(np.moveaxis(x, 1, axis))
    options = {"label_smoothing": smoothing, "reduction": reduction}
    factor = normal(2, 6, 5, seed=5) if reduction == "none" else 1.0

    def loss_of(x):
        y = cg.cross_entropy(x, labels, axis=axis, weight=weight, ignore_index=ignored, **options)
        return (y * factor).sum()

    loss, gx = cg.value_and_grad(loss_of)(cg.tensor(ours))
    tx = torch.tensor(x, requires_grad=True)
    theirs = (torch.nn.functional.cross_entropy(
        tx, torch.tensor(labels), weight=None if weight is None else torch.tensor(weight),
        **({} if ignored is None else {"ignore_index": ignored}), **options) * torch.tensor(factor)).sum()
    theirs.backward()
    np.testing.assert_allclose(loss, theirs.detach(), rtol=1e-12)
    np.testing.assert_allclose(np.moveaxis(gx.numpy(), axis, 1), tx.grad, rtol=1e-10, atol=1e-14)


def test_dense_targets_with_weights_as_in_pytorch():
    torch = pytest.importorskip("torch")
    x, t, weight = normal(5, 3), targets(5, 3), np.array([0.5, 2.0, 1.0])
    for reduction in ("mean", "sum", "none"):
        ours = cg.cross_entropy(x, t, weight=weight, label_smoothing=0.2, reduction=reduction)
        theirs = torch.nn.functional.cross_entropy(torch.tensor(x), torch.tensor(t), weight=torch.tensor(weight),
                                                   label_smoothing=0.2, reduction=reduction)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_what_is_ignored_may_be_anything():
    """NaN and Inf in ignored lines reach neither loss nor gradient. The mean of nothing is NaN, as in PyTorch."""
    x = np.array([[1.0, 2.0], [np.nan, np.inf], [0.5, 0.0]])
    loss, gx = cg.value_and_grad(lambda x: cg.cross_entropy(x, [1, -1, 0], ignore_index=-1))(cg.tensor(x))
    assert loss.item() == pytest.approx(cg.cross_entropy(x[[0, 2]], [1, 0]).item(), rel=1e-15)
    assert np.isfinite(gx.numpy()).all() and (gx.numpy()[1] == 0).all()
    assert np.isnan(cg.cross_entropy(x, [-1, -1, -1], ignore_index=-1).item())
    assert cg.cross_entropy(x, [-1, -1, -1], ignore_index=-1, reduction="sum").item() == 0


@pytest.mark.parametrize("call, error, words", [
    (lambda: cg.cross_entropy(np.ones((2, 3)), [0, 1], weight=np.ones(2)), ValueError, ["3 classes", "(2,)"]),
    (lambda: cg.cross_entropy(np.ones((2, 3)), [0, 1], weight=[1, 2, 3]), TypeError, ["floating weight", "int64"]),
    (lambda: cg.cross_entropy(np.ones((2, 3)), [0, 7], ignore_index=1), ValueError, ["[0, 3)", "got 7"]),
    (lambda: cg.cross_entropy(np.ones((2, 3)), [0, 1], ignore_index=0.5), TypeError, ["integer", "0.5"]),
    (lambda: cg.cross_entropy(np.ones((2, 3)), np.ones((2, 3)), ignore_index=0), ValueError, ["integer labels alone"]),
])
def test_wrong_weights_and_ignored_labels(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


# --- values at the ends of a dtype: results are right, and nobody is warned

ENDS = {"float16": 6e4, "bfloat16": 3e38, "float32": 3e38, "float64": 1.7e308}


@pytest.mark.parametrize("dtype", ENDS)
@pytest.mark.parametrize("backend", ["numpy", "reference"])
def test_softmax_and_cross_entropy_of_the_largest_numbers_warn_of_nothing(backend, dtype):
    big = ENDS[dtype]
    x = cg.tensor(np.array([[big, -big, 0.0], [big, big, -big]]), dtype=dtype, requires_grad=True)
    with warnings.catch_warnings(), cg.use_backend(backend):
        warnings.simplefilter("error")
        p, logs = cg.softmax(x), cg.log_softmax(x)
        right, wrong = cg.cross_entropy(x, [0, 1], reduction="none"), cg.cross_entropy(x, [1, 2])
        g, = cg.grad(wrong, [x])
        cg.grad(logs, [x], np.ones(x.shape))
    assert p.tolist() == [[1, 0, 0], [0.5, 0.5, 0]] and logs[0, 1].item() == -np.inf
    np.testing.assert_allclose(right.numpy().astype("float64"), [0, np.log(2)], rtol=1e-2, atol=1e-6)
    assert wrong.item() == np.inf
    np.testing.assert_allclose(g.numpy().astype("float64"), [[0.5, -0.5, 0], [0.25, 0.25, -0.5]], rtol=1e-2)
