"""Deferred results: what is computed together, what computes them, and that only a count of launches can tell."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from gpu_device import stand_in  # noqa: F401 - a fixture

import convgpu as cg
import convgpu.numpy as cnp
from convgpu.deferred import Deferred, defer
from convgpu.recorder import Recorder

calls: list[tuple[bool, str | None]] = []  # of the op below: whether there was a residual, and the activation


def _act(y: Any, activation: str | None) -> Any:
    return y if activation is None else np.maximum(y, 0) if activation == "relu" else y / (1 + np.exp(-y))


def _forward(x: Any, scale: Any, residual: Any, activation: str | None) -> Any:
    calls.append((residual is not None, activation))
    y = x * scale
    return _act(y if residual is None else y + residual, activation)


def _rule(g: cg.Tensor, wanted: tuple, x: cg.Tensor, scale: cg.Tensor, residual: cg.Tensor | None,
          activation: str | None) -> list:
    y = x * scale if residual is None else x * scale + residual
    if activation == "relu":
        g = cnp.where(y > 0, g, 0)
    elif activation == "silu":
        s = cg.sigmoid(y)
        g = g * (s + y * s * (1 - s))
    return [g * scale if wanted[0] else None, (g * x).sum(axis=0) if wanted[1] else None, g if wanted[2] else None]


scaled_op = cg.Op("scaled", "x, scale, residual=None; activation=None -> y", _forward).vjp_jointly(_rule)


def scaled(x: cg.Tensor, scale: cg.Tensor) -> cg.Tensor:
    """x * scale, deferred."""
    return defer(x, lambda residual, activation: scaled_op(x, scale, residual, activation), (x, scale))


@pytest.fixture(autouse=True)
def counted() -> Iterator[None]:
    calls.clear()
    yield


def draw(*shape: int, seed: int = 0, grad: bool = True) -> cg.Tensor:
    return cg.tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=grad)


X, S, R = draw(5, 3), draw(3, seed=1), draw(5, 3, seed=2)


# --- what is computed together


@pytest.mark.parametrize("f, expected, launches", [
    (lambda y: cg.relu(y), lambda y: np.maximum(y, 0), [(False, "relu")]),
    (lambda y: cg.silu(y), lambda y: y / (1 + np.exp(-y)), [(False, "silu")]),
    (lambda y: cg.relu(y + R), lambda y: np.maximum(y + R.numpy(), 0), [(True, "relu")]),
    (lambda y: cg.relu(R + y), lambda y: np.maximum(y + R.numpy(), 0), [(True, "relu")]),
    (lambda y: cg.silu(cnp.add(R, y)), lambda y: _act(y + R.numpy(), "silu"), [(True, "silu")]),
    (lambda y: y + R, lambda y: y + R.numpy(), [(True, None)]),
    (lambda y: np.add(y, R), lambda y: y + R.numpy(), [(True, None)]),
    (lambda y: (y + R) + R, lambda y: y + 2 * R.numpy(), [(True, None)]),
    (lambda y: y * 2, lambda y: y * 2, [(False, None)]),
    (lambda y: y + 1, lambda y: y + 1, [(False, None)]),
    (lambda y: y + S, lambda y: y + S.numpy(), [(False, None)]),
    (lambda y: y + R.astype("float32"), lambda y: y + R.astype("float32").numpy(), [(False, None)]),
    (lambda y: y + y, lambda y: y + y, [(False, None)]),
    (lambda y: cg.relu(cg.relu(y)), lambda y: np.maximum(y, 0), [(False, "relu")]),
    (lambda y: cg.relu(y.detach()), lambda y: np.maximum(y, 0), [(False, None)]),
])
def test_what_follows_is_computed_together(f: Callable, expected: Callable, launches: list) -> None:
    y = f(scaled(X, S))
    assert np.allclose(y.numpy(), expected((X * S).numpy()), rtol=1e-14, atol=1e-15)
    assert calls == launches


def test_two_deferred_operands_of_a_sum() -> None:
    y = cg.relu(scaled(X, S) + scaled(R, S))
    assert np.allclose(y.numpy(), np.maximum((X * S + R * S).numpy(), 0))
    assert sorted(calls, key=str) == [(False, None), (True, "relu")]


def test_a_result_that_nobody_uses_is_not_computed_and_keeps_nothing() -> None:
    x = draw(5, 3)
    array = weakref.ref(x)
    y = scaled(x, S)
    assert (y.shape, y.dtype, y.ndim, y.size, y.nbytes, y.device) == ((5, 3), np.float64, 2, 15, 120, "cpu")
    assert y.requires_grad and not y.is_leaf and y.grad is None and y.version == 0
    assert isinstance(y, cg.Tensor) and y.detach().shape == (5, 3) and not y.detach().requires_grad
    y._keras_mask = None
    del x, y
    assert calls == [] and array() is None


def test_who_uses_it_twice_computes_it_once_and_who_is_computed_together_does_not_need_it() -> None:
    y = scaled(X, S)
    a = cg.relu(y)
    assert calls == [(False, "relu")] and type(y) is Deferred
    b, c = y * 2, y * 3
    assert calls == [(False, "relu"), (False, None)] and type(y) is cg.Tensor
    assert cg.relu(y).tolist() == a.tolist() and len(calls) == 2  # from now on like any other tensor
    assert np.allclose((b + c).numpy(), 5 * y.numpy())


# --- gradients


@pytest.mark.parametrize("f", [
    lambda y: cg.relu(y), lambda y: cg.silu(y), lambda y: cg.relu(y + R), lambda y: cg.silu(R + y), lambda y: y + R,
    lambda y: y * y, lambda y: cg.relu(y) * y, lambda y: cg.relu(y + R) * y + cg.silu(y),
])
def test_gradients_are_those_of_the_plain_ops(f: Callable) -> None:
    got, expected = f(scaled(X, S)), f(scaled_op(X, S))
    g = np.random.default_rng(5).standard_normal((5, 3))
    for a, b in zip(cg.grad(got, [X, S, R], g, create_graph=True), cg.grad(expected, [X, S, R], g, create_graph=True)):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-13)
    assert cg.check_grad(lambda x, s: f(scaled(x, s)), X.detach(), S.detach(), order=2) < 1e-6


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("activate", [cg.relu, cg.silu])
def test_a_tensor_that_was_left_out_can_still_be_asked_for_its_gradient(activate, held) -> None:
    def run(make: Callable) -> list:
        y = make(X, S)
        total = y + R
        if not held:
            z = activate(total)
            del total
            inner = []
        else:
            z, inner = activate(total), [total]
        return [*cg.grad((z * z).sum() + activate(y).sum() * 3, [y, X, S, R, *inner])]

    for got, expected in zip(run(scaled), run(scaled_op), strict=True):
        np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-12)
    y = scaled(X, S)
    z = activate(y)
    d, = cg.grad(z.sum(), [y], create_graph=True)
    dd, = cg.grad(d.sum(), [X])
    plain = scaled_op(X, S)
    e, = cg.grad(activate(plain).sum(), [plain], create_graph=True)
    np.testing.assert_allclose(d.numpy(), e.numpy(), rtol=1e-12)
    np.testing.assert_allclose(dd.numpy(), cg.grad(e.sum(), [X])[0].numpy(), rtol=1e-12)


def test_gradients_of_a_sum_that_was_left_out_then_of_its_operand() -> None:
    y = scaled(X, S)
    total = y + R
    z = cg.relu(total)
    expected = (z.numpy() > 0) * 1.0
    assert np.array_equal(cg.grad(z.sum(), total, retain_graph=True).numpy(), expected)
    assert np.array_equal(cg.grad(z.sum(), y, retain_graph=True).numpy(), expected)
    assert np.array_equal(cg.grad(total.sum(), y).numpy(), np.ones((5, 3)))


def test_after_backward_the_graph_is_freed_for_a_left_out_tensor_too() -> None:
    y = scaled(X, S)
    z = cg.relu(y).sum()
    z.backward()
    with pytest.raises(RuntimeError, match="graph was freed"):
        cg.grad(z, y)
    for t in (X, S):
        t.zero_grad()


# --- the circumstances of the call


def test_the_recording_mode_is_that_of_the_call() -> None:
    with cg.no_grad():
        y = scaled(X, S)
    assert not y.requires_grad and y.is_leaf
    assert not (y * 1).requires_grad and not cg.relu(y).requires_grad
    y = scaled(X, S)
    with cg.no_grad():
        z = cg.relu(y)
    assert not z.requires_grad and y.requires_grad and not y.is_leaf and y.node is not None
    assert np.array_equal(cg.grad(y.sum(), S).numpy(), X.numpy().sum(axis=0))


def test_settings_are_those_of_the_call() -> None:
    with cg.use_backend("reference"):
        x = draw(1, 5, 5, 1)
        w = draw(3, 3, 1, 1)
        seen = []
        y = defer(x, lambda residual, activation: seen.append(cg.current_backend()) or scaled_op(x, w[0, 0, 0]), (x, w))
    y.numpy()
    assert seen == ["reference"] and cg.current_backend() != "reference"


def test_the_inputs_values_are_those_of_the_call() -> None:
    x, s, r = draw(5, 3), draw(3, seed=1), draw(5, 3, seed=2)
    expected, total = (x * s).numpy(), (x * s + r).numpy()
    y, z = scaled(x, s), scaled(x, s) + r
    late = scaled(x, s)
    s.assign(np.zeros(3))
    r.assign(np.zeros((5, 3)))
    assert np.array_equal(y.numpy(), expected) and np.array_equal(z.numpy(), total)
    assert np.array_equal(cg.relu(late).numpy(), np.maximum(expected, 0))
    assert s.tolist() == [0.0] * 3 and s.version == 1
    with pytest.raises(RuntimeError, match=r"backward through scaled: its input 'scale' .* changed by assign\(\)"):
        y.sum().backward()


@pytest.mark.parametrize("held", [False, True])
def test_gradients_of_a_tensor_that_was_left_out_do_not_see_what_the_residual_has_become(held) -> None:
    residual = draw(5, 3, seed=2)
    y = scaled(X, S)
    total = y + residual
    z = cg.relu(total)
    if not held:
        del total
    expected = (z.numpy() > 0) * 1.0
    residual.assign(np.full((5, 3), -100.0))
    assert np.array_equal(cg.grad(z.sum(), y).numpy(), expected) and 0 < expected.sum() < 15
    assert np.array_equal(residual.numpy(), np.full((5, 3), -100.0)) and residual.version == 1


def test_it_is_recorded_where_its_inputs_required_gradients_at_the_time_of_the_call() -> None:
    x, s = draw(5, 3), draw(3, seed=1)
    y = scaled(x, s)
    x.requires_grad_(False)
    s.requires_grad_(False)
    assert y.requires_grad and np.array_equal(cg.grad((y * 1).sum(), y).numpy(), np.ones((5, 3)))
    plain = scaled(x, s)
    x.requires_grad_()
    assert not plain.requires_grad and not cg.relu(plain).requires_grad and not plain.requires_grad
    assert x.requires_grad and not s.requires_grad


def test_what_another_thread_assigns_while_it_is_computed_is_not_lost() -> None:
    x, s = draw(5, 3), draw(3, seed=1)
    expected = (x * s).numpy()

    def compute(residual: Any, activation: Any) -> cg.Tensor:
        y = x * s
        thread = threading.Thread(target=s.assign, args=(np.full(3, 7.0),))
        thread.start()
        thread.join()
        return y

    y = defer(x, compute, (x, s))
    s.assign(np.zeros(3))
    assert np.array_equal(y.numpy(), expected)
    assert s.tolist() == [7.0] * 3 and s.version == 2 and s.requires_grad


def test_no_other_thread_sees_the_values_or_the_settings_of_the_call() -> None:
    x, s = draw(5, 3), draw(3, seed=1)
    seen = []

    def compute(residual: Any, activation: Any) -> cg.Tensor:
        thread = threading.Thread(target=lambda: seen.append((s.tolist(), s.version, s.requires_grad,
                                                              cg.current_precision())))
        thread.start()
        thread.join()
        seen.append((s.version, s.requires_grad, cg.current_precision()))
        return scaled_op(x, s, residual, activation)

    with cg.set_precision("tf32"):
        y = defer(x, compute, (x, s))
    s.assign(np.zeros(3))
    s.requires_grad_(False)
    y.numpy()
    assert seen == [([0.0] * 3, 1, False, "float32"), (0, True, "tf32")] and type(s) is cg.Tensor


def test_detach_has_the_values_from_before_assign() -> None:
    y = scaled(X, S)
    expected = (X * S).numpy()
    early, late = y.detach(), y.detach()
    assert np.array_equal(early.numpy(), expected)
    y.assign(np.zeros((5, 3)))
    assert np.array_equal(late.numpy(), expected) and np.array_equal(y.detach().numpy(), np.zeros((5, 3)))


def test_assign_pickle_copies_and_text() -> None:
    y = scaled(X, S)
    y.assign(np.ones((5, 3)))
    assert y.tolist() == np.ones((5, 3)).tolist() and y.is_leaf and y.version == 1
    constant = scaled(X.detach(), S.detach())
    values = (X * S).numpy()
    assert np.array_equal(pickle.loads(pickle.dumps(scaled(X, S))).numpy(), values)
    assert copy.copy(constant) is constant and np.array_equal(copy.deepcopy(constant).numpy(), values)
    with pytest.raises(RuntimeError, match="deepcopy: expected a leaf"):
        copy.deepcopy(scaled(X, S))
    assert repr(scaled(X, S)) == repr(X * S)
    assert np.array_equal(np.from_dlpack(scaled(X, S).detach()), values)
    assert np.array_equal(np.asarray(scaled(X, S)), values) and len(scaled(X, S)) == 5
    assert scaled(X, S)[0].tolist() == values[0].tolist()
    leaf = constant.detach().requires_grad_()
    assert leaf.is_leaf and np.array_equal(cg.grad((leaf * leaf).sum(), leaf).numpy(), 2 * values)
    with pytest.raises(AttributeError, match="Tensor has no attribute 'foo'"):
        _ = scaled(X, S).foo


def test_attributes_and_weak_references_stay() -> None:
    y = scaled(X, S)
    y._keras_mask = "mask"
    alive = weakref.ref(y)
    y.numpy()
    assert y._keras_mask == "mask" and alive() is y and type(y) is cg.Tensor


def test_an_error_leaves_it_deferred() -> None:
    fail = [True]

    def compute(residual: Any, activation: Any) -> cg.Tensor:
        if fail:
            raise MemoryError("scaled: too little memory")
        return scaled_op(X, S, residual, activation)

    y = defer(X, compute, (X, S))
    for _ in range(2):
        with pytest.raises(MemoryError):
            y.numpy()
    fail.clear()
    assert np.array_equal(y.numpy(), (X * S).numpy())


def test_threads_compute_it_once() -> None:
    for _ in range(50):
        calls.clear()
        y = scaled(X, S)
        start, got = threading.Barrier(4), []

        def work(y: cg.Tensor = y, start: threading.Barrier = start, got: list = got) -> None:
            start.wait()
            with cg.no_grad():
                got.append((y.array, y.node, y.shape))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert calls == [(False, None)] and len(got) == 4
        assert all(a is y.array and n is y.node and n is not None for a, n, _ in got)


def test_arrays_without_values() -> None:
    recorder = Recorder()
    x, s = recorder.tensor((5, 3), "float64", True), recorder.tensor((3,), "float64")
    y = scaled(x, s)
    assert calls == [] and y.device == "gpu"
    assert y.array.shape == (5, 3) and calls == [(False, None)]


def test_on_the_gpu(stand_in) -> None:  # noqa: F811
    x, s, r = (t.detach().to("gpu") for t in (X, S, R))
    y = cg.relu(scaled(x, s) + r)
    assert calls == [(True, "relu")] and y.device == "gpu"
    assert np.allclose(y.numpy(), np.maximum((X * S + R).numpy(), 0))
    with pytest.raises(TypeError, match="add: expected all tensors on one device"):
        scaled(x, s) + R


def test_within_remat_and_across_its_border() -> None:
    w = scaled(X, S)  # made outside, used within
    f = lambda x: cg.relu(scaled(x, S) + R) * w  # noqa: E731
    plain = cg.relu(X * S + R) * (X * S)
    expected = cg.grad(plain.sum(), [X, S, R])
    again = cg.remat(f)(X)
    for got, e in zip(cg.grad(again.sum(), [X, S, R]), expected):
        np.testing.assert_allclose(got.numpy(), e.numpy(), rtol=1e-12)
    y = cg.remat(lambda x: scaled(x, S))(scaled(X, S))
    np.testing.assert_allclose(cg.grad(y.sum(), S).numpy(), 2 * (X.numpy().sum(axis=0) * S.numpy()))


def test_a_block_with_batch_norm_is_one_kernel_after_each_convolution_in_both_directions() -> None:
    recorder = Recorder()
    x = recorder.tensor((4, 64, 64, 64), "bfloat16", True)
    w = [recorder.tensor((1, 1, 64, 64), "bfloat16", True) for _ in range(2)]
    scale, offset, mean, var = (recorder.tensor((64,), "float32", i < 2) for i in range(4))

    def norm(y: cg.Tensor) -> cg.Tensor:
        return cg.batch_norm(y, mean, var, scale, offset, training=True)[0]

    y = cg.relu(norm(cg.conv(x, w[0])))
    y = cg.relu(norm(cg.conv(y, w[1])) + x)
    forward = [step.name for step in recorder.steps]
    assert forward == ["conv_fprop", "norm_stats", "norm_apply", "conv_fprop", "norm_stats", "norm_apply_add"]
    y.backward(recorder.tensor(y.shape, "bfloat16"))
    backward = [step.name for step in recorder.steps[len(forward):]]
    # the result between the two is computed again, and x's gradient is added in dgrad; scale and offset are used twice
    assert sorted(backward) == sorted(["norm_dgrad", "conv_dgrad", "norm_apply", "conv_wgrad"] + [
        "norm_dgrad", "conv_dgrad", "conv_wgrad"] + ["add_n"] * 2)


def test_nothing_is_left_for_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(100):
            y = scaled(X, S)
            z = cg.relu(y + R).sum() + cg.relu(y).sum() + (y * y).sum()
            cg.grad(z, [S, y])
            del y, z
            calls.clear()
        assert len(gc.get_objects()) - before < 100
    finally:
        gc.enable()
