"""Optimizers: their formulas, PyTorch's steps, structure, resuming to the last bit, half types."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import convgpu as cg
from convgpu.dtypes import as_dtype
from convgpu.optim import SGD, Adam, AdamW

OPTIMIZERS = {
    "sgd": lambda: SGD(lr=0.1), "sgd decay": lambda: SGD(lr=0.1, weight_decay=0.2),
    "momentum": lambda: SGD(lr=0.1, momentum=0.9, weight_decay=0.01),
    "nesterov": lambda: SGD(lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda: Adam(lr=0.1), "adam decay": lambda: Adam(lr=0.1, betas=(0.8, 0.95), epsilon=1e-3, weight_decay=0.2),
    "adamw": lambda: AdamW(lr=0.1), "adamw decay": lambda: AdamW(lr=0.05, weight_decay=0.3),
}
every = pytest.mark.parametrize("name", OPTIMIZERS)


def normal(*shape, seed=0, dtype="float64"):
    return np.random.default_rng(seed).standard_normal(shape).astype(as_dtype(dtype))


def parameters(dtype="float64"):
    return {"conv": {"w": cg.tensor(normal(3, 2, dtype=dtype)), "b": cg.tensor(normal(2, seed=1, dtype=dtype))},
            "rest": [cg.tensor(normal(seed=2, dtype=dtype)), (cg.tensor(normal(0, 4, dtype=dtype)),)]}


def gradients(step, dtype="float64"):
    return cg.tree.map(lambda p: cg.tensor(normal(*p.shape, seed=10 + step, dtype=dtype)), parameters(dtype))


def steps(optimizer, count, params=None, first=0, dtype="float64"):
    params = parameters(dtype) if params is None else params
    for step in range(first, first + count):
        params = optimizer.step(params, gradients(step, dtype))
    return params


def leaves(params):
    return [p.numpy() for p in cg.tree.leaves(params)]


# --- formulas


def test_sgd_by_hand():
    sgd = SGD(lr=0.1, momentum=0.5)
    p = sgd.step(cg.tensor([1.0]), cg.tensor([2.0]))
    np.testing.assert_allclose(p, [0.8])  # v = 2
    p = sgd.step(p, cg.tensor([1.0]))
    np.testing.assert_allclose(p, [0.6])  # v = 0.5*2 + 1 = 2
    sgd.lr = 1.0
    np.testing.assert_allclose(sgd.step(p, cg.tensor([0.0])), [-0.4], rtol=1e-6)  # v = 1


def test_adam_by_hand():
    """The first step is lr against the sign of the gradient; constant gradients keep it so."""
    adam = Adam(lr=0.1, epsilon=0.0)
    p = cg.tensor(np.array([1.0, 1.0, 1.0]))
    for step in range(1, 4):
        p = adam.step(p, np.array([1e-3, -5.0, 2.0]))
        np.testing.assert_allclose(p, 1 - 0.1 * step * np.array([1, -1, 1]))


@every
def test_the_steps_of_pytorch(name):
    torch = pytest.importorskip("torch")
    ours, params = OPTIMIZERS[name](), parameters()
    theirs = [torch.tensor(p, requires_grad=True) for p in leaves(params)]
    options = {"lr": ours.lr, "weight_decay": ours.weight_decay}
    if isinstance(ours, Adam):
        kind = torch.optim.AdamW if isinstance(ours, AdamW) else torch.optim.Adam
        optimizer = kind(theirs, betas=ours.betas, eps=ours.epsilon, **options)
    else:
        optimizer = torch.optim.SGD(theirs, momentum=ours.momentum, nesterov=ours.nesterov, **options)
    for step in range(5):
        grads = gradients(step)
        params = ours.step(params, grads)
        for t, g in zip(theirs, leaves(grads)):
            t.grad = torch.tensor(g)
        optimizer.step()
        for p, t in zip(leaves(params), theirs):
            np.testing.assert_allclose(p, t.detach().numpy(), rtol=1e-12, atol=1e-14)


@every
def test_it_goes_downhill(name):
    def loss(params):
        return ((params["x"] - [1.0, -2.0])**2).sum() + (params["y"] - 3.0)**2

    optimizer, params = OPTIMIZERS[name](), {"x": cg.zeros(2), "y": cg.zeros(())}
    start = loss(params).item()
    for _ in range(60):
        _, grads = cg.value_and_grad(loss)(params)
        params = optimizer.step(params, grads)
    assert loss(params).item() < start / 2


@every
def test_a_learning_rate_from_numpy_changes_no_bit(name):
    python, numpy = OPTIMIZERS[name](), OPTIMIZERS[name]()
    numpy.lr = np.float64(numpy.lr)
    for a, b in zip(leaves(steps(python, 2, dtype="float32")), leaves(steps(numpy, 2, dtype="float32"))):
        assert a.tobytes() == b.tobytes()


# --- structure and values


@every
def test_the_structure_and_the_inputs_stay(name):
    params, grads = parameters(), gradients(0)
    before = [p.copy() for p in leaves(params)], [g.copy() for g in leaves(grads)]
    optimizer = OPTIMIZERS[name]()
    new = optimizer.step(params, grads)
    newer = optimizer.step(new, grads)
    assert cg.tree.map(lambda p: p.shape, newer) == cg.tree.map(lambda p: p.shape, params)
    assert isinstance(new["rest"][1], tuple) and not np.array_equal(newer["conv"]["w"], new["conv"]["w"])
    for old, now in zip(before, (params, grads)):
        for a, b in zip(old, leaves(now)):
            np.testing.assert_array_equal(a, b)


def test_requires_grad_is_kept_and_nothing_is_recorded():
    for flag in (True, False):
        new = SGD(lr=0.1, momentum=0.9).step(cg.tensor([1.0], requires_grad=flag), cg.tensor([1.0]))
        assert new.requires_grad is flag and new.is_leaf


def test_plain_arrays_are_accepted():
    assert SGD(lr=0.5).step([np.ones(2)], [np.ones(2)])[0].tolist() == [0.5, 0.5]


# --- resuming


@every
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_resuming_is_exact_to_the_last_bit(name, dtype):
    through = steps(OPTIMIZERS[name](), 6, dtype=dtype)
    first = OPTIMIZERS[name]()
    halfway = steps(first, 3, dtype=dtype)
    state = pickle.loads(pickle.dumps(first.state_dict()))
    steps(first, 2, halfway, first=3, dtype=dtype)  # does not reach into the state that was saved
    resumed = OPTIMIZERS[name]()
    resumed.load_state_dict(state)
    resumed_params = steps(resumed, 3, halfway, first=3, dtype=dtype)
    for a, b in zip(leaves(through), leaves(resumed_params)):
        assert a.tobytes() == b.tobytes()
    again = OPTIMIZERS[name]()
    again.load_state_dict(state)  # nor did the resumed run
    for a, b in zip(leaves(through), leaves(steps(again, 3, halfway, first=3, dtype=dtype))):
        assert a.tobytes() == b.tobytes()


def test_the_state_has_the_structure_of_the_parameters():
    adam = Adam()
    assert adam.state_dict() == {"steps": 0}
    steps(adam, 2)
    state = adam.state_dict()
    assert set(state) == {"steps", "mean", "square"} and state["steps"] == 2
    assert cg.tree.map(np.shape, state["mean"]) == cg.tree.map(lambda p: p.shape, parameters())
    fresh = Adam()
    fresh.load_state_dict(Adam().state_dict())
    for a, b in zip(leaves(steps(fresh, 1)), leaves(steps(Adam(), 1))):
        np.testing.assert_array_equal(a, b)


# --- half types


@every
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_parameters_keep_float32_state(name, dtype):
    half, wide = OPTIMIZERS[name](), OPTIMIZERS[name]()
    params = steps(half, 1, dtype=dtype)
    expected = cg.tree.map(lambda p: p.astype("float32"), parameters(dtype))
    expected = wide.step(expected, cg.tree.map(lambda g: g.astype("float32"), gradients(0, dtype)))
    for p, e in zip(leaves(params), leaves(expected)):
        assert p.dtype == as_dtype(dtype)
        np.testing.assert_array_equal(p, e.astype(p.dtype))
    for slot in half.slots:
        assert all(s.dtype == np.float32 for s in cg.tree.leaves(half.state_dict()[slot]))


# --- errors


@pytest.mark.parametrize("call, error, words", [
    (lambda: SGD(lr=-1), ValueError, ["SGD", "lr >= 0", "-1"]),
    (lambda: SGD(lr=float("nan")), ValueError, ["lr >= 0", "nan"]),
    (lambda: SGD(lr=1, momentum=2), ValueError, ["momentum", "2"]),
    (lambda: SGD(lr=1, nesterov=True), ValueError, ["momentum", "nesterov"]),
    (lambda: Adam(betas=(0.9, 1.0)), ValueError, ["Adam", "betas", "1.0"]),
    (lambda: AdamW(weight_decay=-1), ValueError, ["AdamW", "weight_decay", "-1"]),
    (lambda: SGD(lr=1).step({"w": np.ones(2)}, {"v": np.ones(2)}), ValueError, ["['w']", "['v']"]),
    (lambda: SGD(lr=1).step([np.ones(2)], [np.ones(3)]), ValueError, ["(2,)", "(3,)"]),
    (lambda: SGD(lr=1).step([np.ones(2, int)], [np.ones(2)]), TypeError, ["floating", "int64"]),
    (lambda: Adam().load_state_dict({"steps": 1, "mean": {}}), ValueError, ["Adam", "square", "['mean', 'steps']"]),
    (lambda: SGD(lr=1).load_state_dict({"steps": 0, "velocity": {}}), ValueError, ["SGD", "velocity"]),
    (lambda: SGD(lr=1).load_state_dict({}), ValueError, ["steps"]),
])
def test_errors_name_what_was_expected_and_what_came(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_step_that_fails_changes_nothing():
    adam, untouched = Adam(), Adam()
    params = steps(adam, 2)
    steps(untouched, 2)
    before = copy.deepcopy(adam.state_dict())
    wrong = gradients(2)
    wrong["rest"][0] = np.ones(3)
    with pytest.raises(ValueError, match="shape"):
        adam.step(params, wrong)
    assert adam.steps == 2
    for slot in adam.slots:
        for a, b in zip(cg.tree.leaves(before[slot]), cg.tree.leaves(adam.state_dict()[slot])):
            np.testing.assert_array_equal(a, b)


def test_other_parameters_than_before_are_refused():
    adam = Adam()
    adam.step({"w": np.ones(2)}, {"w": np.ones(2)})
    with pytest.raises(ValueError, match="state"):
        adam.step({"w": np.ones(3)}, {"w": np.ones(3)})
