"""The backends' ops softmax, softmax_dgrad, cross_entropy, cross_entropy_dgrad; values are in test_activation.py and
test_loss.py."""

from __future__ import annotations

import numpy as np
import pytest

import convgpu as cg
from convgpu import autograd
from convgpu.backends import load

LABELS = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def calls_of(monkeypatch, function):
    """The names of the backend's ops that a function runs."""
    names, run = [], autograd.run_on_backend
    monkeypatch.setattr(autograd, "run_on_backend", lambda op, *rest: names.append(op) or run(op, *rest))
    function()
    return names


def test_cross_entropy_of_labels_is_one_op_each_way(monkeypatch):
    x = cg.randn((4, 5), generator=0).requires_grad_()
    found = []
    assert calls_of(monkeypatch, lambda: found.append(cg.cross_entropy(x, [0, 1, 2, 3]))) == ["cross_entropy"]
    assert calls_of(monkeypatch, lambda: found[0].backward())[-1:] == ["cross_entropy_dgrad"]


@pytest.mark.parametrize("name, first", [("softmax", "softmax"), ("log_softmax", "softmax")])
def test_softmax_is_one_op_each_way(monkeypatch, name, first):
    x = cg.randn((4, 5), generator=0).requires_grad_()
    y = getattr(cg, name)(x, 0)
    assert y.node.op.name == first
    assert calls_of(monkeypatch, lambda: cg.grad(y, x, cg.ones((4, 5)))) == ["softmax_dgrad"]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_second_derivatives(smoothing, reduction):
    x = np.random.default_rng(0).standard_normal((3, 4, 2))
    labels = np.array([[0, 1], [3, 2], [1, 1]])
    cg.check_grad(lambda t: cg.cross_entropy(t, labels, axis=1, label_smoothing=smoothing, reduction=reduction), x,
                  order=2)
    cg.check_grad(lambda t: cg.softmax(t, 1), x, order=2)
    cg.check_grad(lambda t: cg.log_softmax(t, 1), x, order=2)
    cg.check_grad(lambda t: cg.logsumexp(t, (0, 2)), x, order=2)


@pytest.mark.parametrize("kernels", ["emulated", "cpu"])
@pytest.mark.parametrize("dtype", LABELS)
def test_kernels_take_labels_of_every_integer_dtype_and_flag_bad_ones(dtype, kernels):
    pytest.importorskip(f"convgpu._{kernels}")
    x = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float32)
    labels = np.array([0, 6, 3, 2, 1], dtype)
    native, plain = load(kernels), load("numpy")
    for got, expected in zip(native.cross_entropy(x, labels, 1, 0.1, "mean"), plain.cross_entropy(
            x, labels, 1, 0.1, "mean")):
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    bad = [7] if dtype.startswith("u") else [7, -1]
    for label in bad:
        labels[2] = label
        assert native.cross_entropy(x, labels, 1, 0.0, "none")[2].tolist() == [1]
    if dtype == "uint64":
        labels[2] = 2**64 - 1
        assert native.cross_entropy(x, labels, 1, 0.0, "mean")[2].tolist() == [1]


def test_bad_labels_are_errors_at_once_on_the_cpu(backend):
    for label, text in ((2, "got 2"), (-1, "got -1")):
        with pytest.raises(ValueError, match=rf"cross_entropy: expected labels in \[0, 2\), {text}"):
            cg.cross_entropy([[0.0, 1.0]], [label])


def test_the_mean_of_no_lines_is_nan_and_its_gradient_empty():
    for name in ("numpy", "reference", *[name for name in ("emulated", "cpu") if _built(name)]):
        with cg.use_backend(name):
            x = cg.zeros((0, 3), requires_grad=True)
            loss = cg.cross_entropy(x, np.zeros(0, np.int64))
            loss.backward()
            assert np.isnan(loss.item()) and x.grad.shape == (0, 3)


def _built(name):
    import importlib.util

    return importlib.util.find_spec(f"convgpu._{name}") is not None
