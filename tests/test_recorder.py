"""The recorder: functions run on sizes alone give the sizes, the dtypes and the calls that real arrays give."""

from __future__ import annotations

import numpy as np
import pytest

import convgpu as cg
from convgpu import optim
from convgpu.backends import load
from convgpu.dtypes import as_dtype
from convgpu.facts import FAMILIES
from convgpu.op import Op
from convgpu.recorder import Call, Outline, Recorder, Size

SHAPES = {"x": (2, 9, 8, 3), "w1": (3, 3, 3, 4), "b1": (4,), "w2": (3, 3, 4, 6), "w3": (12, 5), "b3": (5,)}


def network(p):
    y = cg.max_pool2d(cg.conv2d(p["x"], p["w1"], p["b1"], padding="same", activation="relu"), 2)
    y = cg.avg_pool2d(cg.conv2d(y, p["w2"], stride=2, padding=1, activation="gelu"), (2, 1), stride=1)
    y = cg.linear(y.reshape(2, -1), p["w3"], p["b3"], activation="tanh")
    return (cg.softmax(y) ** 2).mean()


def watch(monkeypatch, name="numpy"):
    """The calls that the numpy backend gets."""
    calls, backend = [], load(name)

    def record(op, arrays, statics):
        dtype = next(a.dtype for a in arrays if a is not None).name
        calls.append(Call(op, tuple(None if a is None else a.shape for a in arrays), statics, dtype))
        return getattr(backend, op)(*arrays, *statics)

    monkeypatch.setattr("convgpu.autograd.run_on_backend", record)
    return calls


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_network_and_its_gradients_make_the_calls_of_real_arrays(monkeypatch, dtype):
    recorder = Recorder()
    sizes = {name: recorder.tensor(shape, dtype, requires_grad=True) for name, shape in SHAPES.items()}
    network(sizes).backward()
    for name, shape in SHAPES.items():
        assert sizes[name].grad.shape == shape and sizes[name].grad.dtype == as_dtype(dtype)
    calls = recorder.calls
    real = {name: cg.randn(shape, generator=0).astype(dtype).detach().requires_grad_()
            for name, shape in SHAPES.items()}
    made = watch(monkeypatch)
    network(real).backward()
    assert calls == made and {"conv_dgrad", "conv_wgrad", "channel_sum", "max_pool_dgrad", "gemm"} <= {
        call.op for call in calls}


def test_a_step_of_training_is_walked_through():
    recorder = Recorder()
    data = recorder.tensor((256, 224, 224, 3), "bfloat16")
    params = {"w": recorder.tensor((7, 7, 3, 64), "bfloat16"), "dense": recorder.tensor((64, 1000), "bfloat16")}

    def loss(p):
        y = cg.global_avg_pool2d(cg.conv2d(data, p["w"], stride=2, padding=3, activation="relu"))
        return (cg.linear(y, p["dense"]) ** 2).mean()

    value, grads = cg.value_and_grad(loss)(params)
    new = optim.SGD(lr=0.1, momentum=0.9).step(params, grads)
    assert value.shape == () and new["w"].shape == (7, 7, 3, 64) and new["w"].dtype == as_dtype("bfloat16")
    assert [c.op for c in recorder.calls] == [
        "conv_fprop", "avg_pool", "gemm", "reduce", "gemm", "gemm", "avg_pool_dgrad", "activate_dgrad", "conv_wgrad",
        "sgd_step"]
    steps = {step.name: step for step in recorder.steps}
    assert {"multiply", "add"} <= set(steps)
    relu = steps["activate_dgrad"]
    assert relu.inputs[0] == Size((256, 112, 112, 64), as_dtype("bfloat16"))
    assert relu.inputs[0].nbytes == 2 * 256 * 112**2 * 64


def problems():
    for name, family in FAMILIES.items():
        for case in family.cases:
            dtype, data_format = family.variants(case)[0]
            for problem in family.problems(case, dtype, data_format):
                if problem.arrays[0].size < 1e5:
                    yield name, problem


def test_what_backends_return_is_known_of_every_case():
    seen = set()
    for _, problem in problems():
        recorder = Recorder()
        arrays = [None if a is None else recorder.array(a.shape, a.dtype) for a in problem.arrays]
        made = recorder.run(problem.op, arrays, problem.call.statics)
        real = problem.run(load("numpy"), problem.arrays)
        pairs = zip(made, real, strict=True) if isinstance(real, tuple) else [(made, real)]
        assert all((a is None) == (b is None) and (a is None or (a.shape, a.dtype) == (b.shape, b.dtype))
                   for a, b in pairs), problem.call
        assert recorder.calls == [problem.call]
        seen.add(problem.op)
    assert seen == {name for family in FAMILIES.values() for name in family.ops}


X, Y = (4, 1, 6), (3, 6)


@pytest.mark.parametrize("function", [
    lambda x, y: x + y, lambda x, y: 2.5 * x, lambda x, y: x > y, lambda x, y: -x, lambda x, y: abs(x) // 3,
    lambda x, y: np.maximum(x, x.dtype.type(0)), lambda x, y: np.where(x > 0, x, 1.0),
    lambda x, y: np.where(x > y, x, y),
    lambda x, y: x.sum(), lambda x, y: x.sum(axis=(0, -1)), lambda x, y: np.mean(x, axis=1, keepdims=True),
    lambda x, y: np.add.reduce(x, axis=1), lambda x, y: x.max(axis=-1), lambda x, y: np.argmax(x, axis=0),
    lambda x, y: np.any(x > 0), lambda x, y: np.var(x, axis=0), lambda x, y: (x > 0).sum(axis=0),
    lambda x, y: (x > 0).mean(), lambda x, y: x.reshape(-1, 3), lambda x, y: x.transpose(2, 0, 1), lambda x, y: x.T,
    lambda x, y: np.broadcast_to(x, (2, 4, 5, 6)), lambda x, y: np.squeeze(x), lambda x, y: np.moveaxis(x, 0, -1),
    lambda x, y: np.flip(x, 0), lambda x, y: np.expand_dims(x, (0, 2)), lambda x, y: x[1:, ..., None, ::2],
    lambda x, y: x[0], lambda x, y: np.pad(x, ((0, 1), (2, 0), (0, 0))), lambda x, y: np.stack([x, x], axis=-1),
    lambda x, y: np.concatenate([x, x[:1]]), lambda x, y: np.concatenate([y, y], axis=-1),
    lambda x, y: x.astype("float64") + y, lambda x, y: np.zeros_like(x), lambda x, y: np.full_like(x, 2, dtype="int32"),
    lambda x, y: np.clip(x, 0, 1), lambda x, y: np.square(x, out=np.empty_like(x)), lambda x, y: x.view("int32"),
    lambda x, y: np.take_along_axis(x, np.argmax(x, axis=2, keepdims=True), 2), lambda x, y: np.tril(y),
])
def test_functions_of_numpy_give_the_sizes_that_numpy_gives(function):
    recorder = Recorder()
    got = function(recorder.array(X, "float32"), recorder.array(Y, "float32"))
    rng = np.random.default_rng(0)
    expected = np.asarray(function(rng.random(X, np.float32), rng.random(Y, np.float32)))
    assert isinstance(got, Outline) and (got.shape, got.dtype) == (expected.shape, expected.dtype)
    assert (got.size, got.ndim, got.nbytes) == (expected.size, expected.ndim, expected.nbytes)


def test_views_are_free_and_work_is_noted():
    recorder = Recorder()
    x = recorder.array((4, 6), "float32")
    x.reshape(24).view("int32")[2:], x.T, np.broadcast_to(x, (2, 4, 6)), x.astype("float32", copy=False)
    assert recorder.steps == []
    (x * 2 + x).sum(axis=0)
    size = Size((4, 6), np.dtype("float32"))
    assert recorder.steps[1] == ("add", (size, size), (size,), None)
    assert [step.name for step in recorder.steps] == ["multiply", "add", "sum"]
    assert not (x > 1).any() and recorder.steps[-1].name == "bool"  # what the host would wait for


def test_what_needs_values_or_is_unknown_is_refused():
    recorder = Recorder()
    t = recorder.tensor((2, 3))
    with pytest.raises(TypeError, match=r"tensor: expected a tensor, array or number, .*, got Outline Outline\(shape="):
        cg.tensor(t.array)
    for use in (t.numpy, t.tolist, lambda: float(t[0, 0]), lambda: np.asarray(t.array)):
        with pytest.raises(TypeError, match=r"Outline\(.*\): expected a function that needs no values"):
            use()
    for use in (lambda: np.linalg.norm(t.array), lambda: np.fft.fft(t.array), lambda: np.matmul(t.array, t.array.T)):
        with pytest.raises(NotImplementedError, match="recorder: what .* returns is not known from sizes alone"):
            use()
    with pytest.raises(LookupError, match="facts of exp: expected an op of which convgpu/facts knows something"):
        _ = Op.registry["exp"].facts
