"""Optimizers: their formulas, PyTorch's steps, structure, resuming to the last bit, half types; and their ops sgd_step,
adam_step, global_norm and cast_all on every backend.
"""

from __future__ import annotations

import copy
import math
import pickle

import fake_cupy
import numpy as np
import pytest
from gpu_device import stand_in  # noqa: F401 - a fixture
from native_backends import CPU, needs_emulated

import convgpu as cg
from convgpu.backends import load
from convgpu.dtypes import accumulator, as_dtype
from convgpu.facts import FAMILIES
from convgpu.ops import optim as ops
from convgpu.ops.optim import cast_all
from convgpu.optim import SGD, Adam, AdamW, LossScale

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


def with_leaves(tree, values):
    following = iter(values)
    return cg.tree.map(lambda leaf: next(following), tree)


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


def test_the_order_of_keys_may_change_between_steps():
    adam, straight = Adam(), Adam()
    first = adam.step({"a": np.ones(2), "b": np.zeros(3)}, {"a": np.ones(2), "b": np.ones(3)})
    straight.step({"a": np.ones(2), "b": np.zeros(3)}, {"a": np.ones(2), "b": np.ones(3)})
    turned = adam.step({"b": first["b"], "a": first["a"]}, {"a": np.zeros(2), "b": np.ones(3)})
    expected = straight.step(first, {"a": np.zeros(2), "b": np.ones(3)})
    assert list(turned) == ["b", "a"]
    for name in "ab":
        assert turned[name].tolist() == expected[name].tolist()
        assert adam.state_dict()["mean"][name].tolist() == straight.state_dict()["mean"][name].tolist()


def test_other_parameters_than_before_are_refused():
    adam = Adam()
    adam.step({"w": np.ones(2)}, {"w": np.ones(2)})
    with pytest.raises(ValueError, match="state"):
        adam.step({"w": np.ones(3)}, {"w": np.ones(3)})


# --- the same bits as the formulas, array by array, on the CPU and by the kernels


def sgd_by_formula(o, p, g, state):
    """One parameter by NumPy, from left to right; state is changed in place."""
    if o.weight_decay:
        g = g + o.weight_decay * p
    if o.momentum:
        v, = state
        v *= o.momentum
        v += g
        g = g + v * o.momentum if o.nesterov else v
    return g * -o.lr + p


def adam_by_formula(o, p, g, state, step):
    if o.weight_decay and o.decoupled:
        p = p * (1 - o.lr * o.weight_decay)
    elif o.weight_decay:
        g = g + o.weight_decay * p
    mean, square = state
    beta1, beta2 = o.betas
    mean *= beta1
    mean += g * (1 - beta1)
    square *= beta2
    square += np.square(g) * (1 - beta2)
    return mean / (np.sqrt(square) * (1 / math.sqrt(1 - beta2**step)) + o.epsilon) * (-o.lr / (1 - beta1**step)) + p


@every
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("backend", ["numpy", pytest.param("emulated", marks=needs_emulated), *CPU])
def test_the_bits_of_the_formulas(name, dtype, backend):
    shapes, wide = [(70, 41), (3,), (), (0, 2), (2, 3, 5)], accumulator(as_dtype(dtype))
    optimizer = OPTIMIZERS[name]()
    expected = [np.array(normal(*shape, seed=i, dtype=dtype)) for i, shape in enumerate(shapes)]
    params = [cg.tensor(p) for p in expected]
    states = [[np.zeros(shape, wide) for _ in optimizer.slots] for shape in shapes]
    with cg.use_backend(backend):
        for step in range(1, 4):
            grads = [np.array(normal(*shape, seed=10 * step + i, dtype=dtype)) for i, shape in enumerate(shapes)]
            params = optimizer.step(params, grads)
            by = adam_by_formula if isinstance(optimizer, Adam) else sgd_by_formula
            more = (step,) if isinstance(optimizer, Adam) else ()
            expected = [np.asarray(by(optimizer, p.astype(wide), g.astype(wide), s, *more)).astype(p.dtype)
                        for p, g, s in zip(expected, grads, states)]
    for p, e in zip(params, expected):
        assert (p.dtype, p.shape) == (e.dtype, e.shape) and p.numpy().tobytes() == e.tobytes()
    for i, slot in enumerate(optimizer.slots):
        for got, e in zip(optimizer.state_dict()[slot], states):
            assert got.tobytes() == e[i].tobytes()
    assert optimizer.steps == 3


@pytest.mark.parametrize("backend", ["numpy", "reference", pytest.param("emulated", marks=needs_emulated), *CPU])
def test_kerass_formulas(backend):
    """Velocities that hold the learning rate, and "epsilon hat" in Adam."""
    p, g, v = np.array([1.0]), np.array([2.0]), np.array([0.5])
    run, steps = load(backend), np.array(1, np.int32)
    plain = ops.Sgd(momentum=0.5, keras=True)
    new, velocity, count = run.sgd_step([p, g, v, np.array(0.1, np.float32), steps], plain)
    np.testing.assert_allclose([new[0], velocity[0]], [1.05, 0.05], rtol=1e-7)  # v = 0.5 * 0.5 - 0.1 * 2
    assert count == 2 and count.dtype == np.int64
    ahead = ops.Sgd(momentum=0.5, nesterov=True, keras=True)
    new, velocity, _ = run.sgd_step([p, g, v, np.array(0.1), steps], ahead)
    np.testing.assert_allclose([new[0], velocity[0]], [1 + 0.5 * 0.05 - 0.2, 0.05])
    new, mean, square, _ = run.adam_step([p, g, v, np.array([0.25]), np.array(0.1), steps],
                                         ops.Adam(keras=True, beta1=0.5, beta2=0.75, epsilon=0.1))
    alpha = 0.1 * math.sqrt(1 - 0.75**2) / (1 - 0.5**2)
    np.testing.assert_allclose([new[0], mean[0], square[0]],
                               [1 - 1.25 * alpha / (math.sqrt(1.1875) + 0.1), 1.25, 1.1875])


# --- clipping by the norm of all gradients


@every
@pytest.mark.parametrize("limit", [0.3, 100.0])
@pytest.mark.parametrize("backend", ["numpy", pytest.param("emulated", marks=needs_emulated), *CPU])
def test_clipping_is_pytorchs(name, limit, backend):
    torch = pytest.importorskip("torch")
    clipped, plain = OPTIMIZERS[name](), OPTIMIZERS[name]()
    clipped.clip_norm = limit
    ours = theirs = parameters()
    with cg.use_backend(backend):
        for step in range(3):
            grads = gradients(step)
            leaves_of = [torch.tensor(g, requires_grad=True) for g in leaves(grads)]
            for t, g in zip(leaves_of, leaves(grads)):
                t.grad = torch.tensor(g)
            torch.nn.utils.clip_grad_norm_(leaves_of, limit)
            limited = [cg.tensor(t.grad.numpy()) for t in leaves_of]
            ours = clipped.step(ours, grads)
            theirs = plain.step(theirs, with_leaves(grads, limited))
    for a, b in zip(leaves(ours), leaves(theirs)):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_the_norm_goes_over_all_dtypes_and_does_not_overflow():
    sgd = SGD(lr=1.0, clip_norm=1.0)
    new = sgd.step([np.zeros(1, np.float32), np.zeros(1), np.zeros(1, np.float16)],
                   [np.full(1, 3e30, np.float32), np.full(1, 4e30), np.zeros(1, np.float16)])
    np.testing.assert_allclose([p.item() for p in new], [-0.6, -0.8, 0], rtol=1e-6)
    large = np.full(4, 1e38, np.float32)
    assert load("numpy").global_norm([large]) == np.sqrt(4 * np.float64(np.float32(1e38))**2)


# --- loss scale: steps that are skipped


def scaled(name, scale=8.0):
    optimizer = OPTIMIZERS[name]()
    optimizer.loss_scale = LossScale(scale)
    return optimizer


@every
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("backend", ["numpy", "reference", pytest.param("emulated", marks=needs_emulated), *CPU])
def test_a_gradient_that_is_not_finite_skips_the_step(name, bad, backend):
    with cg.use_backend(backend):
        optimizer, plain = scaled(name), OPTIMIZERS[name]()
        params = steps(optimizer, 2)
        steps(plain, 2)
        assert optimizer.steps == 2 and optimizer.loss_scale.value == 8
        before, wrong = copy.deepcopy(optimizer.state_dict()), gradients(2)
        wrong["rest"][0] = np.array(bad)
        same = optimizer.step(params, wrong)
        assert optimizer.steps == 2 and optimizer.loss_scale.value == 4
        for a, b in zip(leaves(params), leaves(same)):
            assert a.tobytes() == b.tobytes()
        for slot in optimizer.slots:
            for a, b in zip(cg.tree.leaves(before[slot]), cg.tree.leaves(optimizer.state_dict()[slot])):
                assert a.tobytes() == b.tobytes()
        through, expected = optimizer.step(same, gradients(3)), plain.step(params, gradients(3))
    for a, b in zip(leaves(through), leaves(expected)):
        assert a.tobytes() == b.tobytes()  # as if the skipped step had never been


@pytest.mark.parametrize("backend", ["numpy", "reference", pytest.param("emulated", marks=needs_emulated), *CPU])
def test_the_scale_doubles_after_2000_steps_and_stays_finite(backend):
    with cg.use_backend(backend):
        for scale, expected in ((8.0, 16.0), (2.0**127, 2.0**127)):
            sgd = scaled("sgd", scale)
            sgd.loss_scale.state = np.array([scale, 1998], np.float32)
            sgd.step([np.ones(2)], [np.ones(2)])
            assert sgd.state_dict()["loss_scale"].tolist() == [scale, 1999]
            sgd.step([np.ones(2)], [np.ones(2)])
            assert sgd.state_dict()["loss_scale"].tolist() == [expected, 0]


def test_the_loss_scale_is_saved_and_loaded():
    sgd, again = scaled("momentum"), scaled("momentum", 2.0)
    steps(sgd, 2)
    again.load_state_dict(pickle.loads(pickle.dumps(sgd.state_dict())))
    assert again.loss_scale.value == 8 and again.steps == 2
    with pytest.raises(ValueError, match="expected the keys .*loss_scale"):
        again.load_state_dict({"steps": 0})
    with pytest.raises(ValueError, match="expected a positive number, got 0"):
        LossScale(0)


# --- an optimizer of one's own, and steps that fail


class Averaged(cg.optim.Optimizer):
    """Moves along the sum of all gradients so far."""

    slots = ("total",)
    fails = False

    def update(self, p, g, *state):
        total, = state
        total += g
        if self.fails and p.size == 1:
            raise OverflowError("in the middle")
        return p - self.lr * total


def test_an_optimizer_of_ones_own_is_clipped_and_scaled_too():
    own = Averaged(lr=1.0, clip_norm=1.0, loss_scale=LossScale(4.0))
    params = own.step([np.zeros(2), np.zeros(1)], [np.array([3.0, 0.0]), np.array([4.0])])
    np.testing.assert_allclose(params[0], [-0.6, 0], rtol=1e-6)
    same = own.step(params, [np.array([np.nan, 0.0]), np.array([4.0])])
    assert same[1].item() == params[1].item() and own.loss_scale.value == 2 and own.steps == 1


@pytest.mark.parametrize("bad, others", [(np.nan, np.nan), (np.inf, 0.0)])
@pytest.mark.parametrize("backend", ["numpy", "reference", pytest.param("emulated", marks=needs_emulated), *CPU])
def test_a_norm_that_is_not_finite_spreads_as_in_pytorch(backend, bad, others):
    params, grads = [np.zeros(2), np.zeros(1)], [np.array([1.0, bad]), np.array([2.0])]
    for optimizer in (SGD(lr=1.0, clip_norm=1.0), Averaged(lr=1.0, clip_norm=1.0)):
        with cg.use_backend(backend), np.errstate(invalid="ignore"):
            first, second = optimizer.step(params, grads)
        np.testing.assert_array_equal(first, [others, np.nan])
        np.testing.assert_array_equal(second, [others])


def test_what_fails_in_the_middle_changes_nothing(monkeypatch):
    own = Averaged(lr=1.0)
    own.step([np.zeros(2), np.zeros(1)], [np.ones(2), np.ones(1)])
    own.fails = True
    with pytest.raises(OverflowError):
        own.step([np.zeros(2), np.zeros(1)], [np.ones(2), np.ones(1)])
    assert own.steps == 1 and [s.tolist() for s in own.state_dict()["total"]] == [[1, 1], [1]]
    adam, params = Adam(), [cg.ones(2), cg.ones(2, dtype="float64")]  # one call for each dtype
    params = adam.step(params, params)
    before, calls, right = adam.state_dict(), [], load(cg.current_backend()).adam_step

    def short_of_memory(arrays, rule):
        calls.append(1)
        if len(calls) == 2:
            raise MemoryError("adam_step")
        return right(arrays, rule)

    monkeypatch.setattr(load(cg.current_backend()), "adam_step", short_of_memory)
    with pytest.raises(MemoryError):
        adam.step(params, params)
    assert len(calls) == 2 and adam.steps == 1
    for slot in adam.slots:
        assert [s.tolist() for s in adam.state_dict()[slot]] == [s.tolist() for s in before[slot]]


def test_no_parameters_at_all():
    adam = Adam(clip_norm=1.0, loss_scale=LossScale())
    assert adam.step({}, {}) == {} and adam.steps == 1


# --- on the GPU


@every
def test_a_step_on_the_gpu_is_one_launch_and_waits_for_nothing(name, stand_in):  # noqa: F811
    module = load("cuda").module
    here, there = OPTIMIZERS[name](), OPTIMIZERS[name]()
    params = parameters("float32")
    on_gpu = cg.tree.map(lambda p: p.to("gpu"), params)
    for step in range(4):
        here.lr = there.lr = 0.1 / (1 + step // 2)
        grads = gradients(step, "float32")
        moved = cg.tree.map(lambda g: g.to("gpu"), grads)
        params = here.step(params, grads)
        launches, waits = module.launches(), fake_cupy.device.synchronizations
        on_gpu = there.step(on_gpu, moved)
        assert module.launches() == launches + 1 and fake_cupy.device.synchronizations == waits
    for a, b in zip(leaves(params), cg.tree.leaves(on_gpu)):
        assert b.device == "gpu" and b.numpy().tobytes() == a.tobytes()
    assert there.steps == 4
    resumed = OPTIMIZERS[name]()
    resumed.lr = there.lr
    resumed.load_state_dict(there.state_dict())
    for a, b in zip(leaves(here.step(params, grads)), cg.tree.leaves(resumed.step(on_gpu, moved))):
        assert b.numpy().tobytes() == a.tobytes()


def test_clipping_and_the_loss_scale_take_two_more_launches(stand_in):  # noqa: F811
    module, adam = load("cuda").module, Adam(clip_norm=1.0, loss_scale=LossScale(8.0))
    params = [cg.ones((3, 5), device="gpu"), cg.ones(4, device="gpu")]
    for count, bad in enumerate((1.0, np.inf, 1.0)):
        grads = [params[0] * 0.5, params[1] * bad]
        launches, waits = module.launches(), fake_cupy.device.synchronizations
        params = adam.step(params, grads)
        assert module.launches() == launches + 3 and fake_cupy.device.synchronizations == waits, count
    assert adam.steps == 2 and adam.loss_scale.value == 4
    assert all(np.isfinite(p.numpy()).all() for p in params)


@needs_emulated
def test_what_the_kernels_do_not_take_is_refused():
    module, run = load("emulated").module, load("emulated")
    with pytest.raises(TypeError, match="sgd_step: expected floating dtypes, gradients being of the parameters' dtype"):
        module.plan_optim("sgd_step", [3], "float16", "float32")
    with pytest.raises(ValueError, match="cast_all: expected at least one array, got none"):
        module.plan_optim("cast_all", [], "float16", "float32")
    with pytest.raises(NotImplementedError, match="sgd_step of int64"):
        run.sgd_step([np.ones(2, int), np.ones(2), np.array(0.1), np.array(0)], ops.Sgd())
    with pytest.raises(ValueError, match="expected a norm with clipping or a loss scale, got none"):
        shared = module.SharedArrays(*[run.array(a) for a in (np.array(0.1), np.array(0))], None, None,
                                     run.array(np.array(0)), None)
        xs = np.ones(2, np.float32)
        rows = module.ArrayList([module.address(xs)], "float32")
        plan = module.plan_optim("sgd_step", [2], "float32", "float32")
        rule = module.SgdRule(momentum=0, weight_decay=0, clip_norm=1.0, nesterov=False, keras=False)
        module.sgd_step(rows, rows, None, rows, None, None, shared, rule, plan, 0, 0, 0)
    grads = [np.ones(2, np.float64), np.ones(2, np.float16)]  # converted beside float32
    new = run.sgd_step([np.ones(2, np.float32)] * 2 + grads + [np.array(0.5), np.array(0)], ops.Sgd())
    assert new[0].tolist() == new[1].tolist() == [0.5, 0.5]
    strided = np.ones((4, 4), np.float32)[::2, ::2]
    assert run.sgd_step([strided, strided, np.array(0.5), np.array(0)], ops.Sgd())[0].tolist() == [[0.5, 0.5]] * 2


# --- casts of many tensors


def test_cast_all_is_differentiable_to_any_order():
    xs = [cg.tensor(normal(*shape, seed=i)).requires_grad_() for i, shape in enumerate([(2, 3), (), (4,)])]
    ys = cast_all(xs, "float32")
    assert [y.dtype.name for y in ys] == ["float32"] * 3 and ys[0].node.op.name == "linked_result"
    first = cg.grad((ys[0]**3).sum() + ys[2].sum() * ys[0].sum(), [xs[0], xs[2], xs[1]], create_graph=True)
    assert all(g.dtype == np.float64 for g in first)
    np.testing.assert_allclose(first[0], 3 * xs[0].numpy()**2 + xs[2].numpy().sum(), rtol=1e-6)
    assert first[2].item() == 0  # nothing depends on it
    second = cg.grad(first[0].sum(), xs[0])
    np.testing.assert_allclose(second, 6 * xs[0].numpy(), rtol=1e-6)


def test_gradients_are_cast_back_together(monkeypatch):
    calls, right = [], load(cg.current_backend()).cast_all

    def counted(xs, dtype, divided):
        calls.append((len(xs), dtype, divided))
        return right(xs, dtype, divided)

    monkeypatch.setattr(load(cg.current_backend()), "cast_all", counted)

    def loss(params):
        a, b, c = cast_all(params, "bfloat16")
        return (cg.linear(a, b)**2).mean().astype("float32") + b.sum().astype("float32") * 0 + c.sum().astype("float32")

    params = [cg.tensor(normal(2, 3, dtype="float32")), cg.tensor(normal(3, 2, dtype="float32")), cg.ones(3)]
    _, grads = cg.value_and_grad(loss)(params)
    assert calls == [(3, "bfloat16", False), (3, "float32", False)]
    assert [g.dtype.name for g in grads] == ["float32"] * 3 and grads[2].tolist() == [1, 1, 1]
    y = cast_all([params[0].requires_grad_()], "float16")[0].sum()
    y.backward()
    with pytest.raises(RuntimeError, match="backward through .*: the graph was freed"):
        y.backward()


def test_cast_all_divides():
    xs = [cg.full(2, 6.0, dtype="float16"), cg.ones((), dtype="float16")]
    halves = cast_all(xs, "float32", cg.tensor([4.0, 9.0]))
    assert [y.tolist() for y in halves] == [[1.5, 1.5], 0.25] and halves[0].dtype == np.float32
    assert cast_all([], "float16") == []
    x = cg.ones(2)
    assert cast_all([x], "float32")[0] is x
    with pytest.raises(TypeError, match=r"cast_all: expected one dtype .* xs\[0\]: float32, xs\[1\]: float64"):
        cast_all([cg.ones(2), cg.ones(2, dtype="float64")], "float16")


@pytest.mark.parametrize("backend", ["numpy", pytest.param("emulated", marks=needs_emulated), *CPU])
def test_a_planted_mistake_is_found(backend, monkeypatch):
    """No step, a step counted twice, a second moment for a first, a norm that is off, elements that are moved."""
    from convgpu import verify

    def wrong(op, change):
        right = getattr(load(backend), op)
        with monkeypatch.context() as patched:
            patched.setattr(load(backend), op, lambda *args: change(right(*args), *args))
            report = verify.verify(backend, ["optim"], cases=["one"])
        assert {failure.op for failure in report.failures} == {op}

    wrong("sgd_step", lambda new, arrays, rule: (arrays[0], *new[1:]))
    wrong("sgd_step", lambda new, arrays, rule: (*new[:-1], np.asarray(new[-1] + 1)))
    wrong("adam_step", lambda new, arrays, rule: (new[0], new[2], new[1], *new[3:]))
    wrong("global_norm", lambda norm, xs: np.asarray(norm * (1 + 1e-12)))
    wrong("cast_all", lambda ys, xs, dtype, divided: (np.roll(ys[0], 1), *ys[1:]))


def test_the_family_is_complete():
    assert set(FAMILIES["optim"].ops) == {"sgd_step", "adam_step", "global_norm", "cast_all"}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("make", [lambda: cg.optim.SGD(0.1, momentum=0.9), lambda: cg.optim.AdamW(0.1, clip_norm=1.0)])
def test_threads_share_the_step_of_large_parameters_and_change_no_bit(make, dtype, monkeypatch):
    from convgpu.backends.numpy import optim as steps

    shared = []
    monkeypatch.setattr(steps, "parallel_for", lambda n, body, run=steps.parallel_for: (shared.append(n), run(n, body)))
    rng = np.random.default_rng(0)
    shapes = [(700, 500), (3,), (), (70001,)]
    before, results = cg.get_num_threads(), []
    with cg.use_backend("numpy"):
        for threads in (1, 3):
            cg.set_num_threads(threads)
            rng = np.random.default_rng(0)
            params, grads = ([cg.tensor(rng.standard_normal(s), dtype=dtype) for s in shapes] for _ in range(2))
            optimizer = make()
            for _ in range(2):
                params = optimizer.step(params, grads)
            results.append([p.numpy().tobytes() for p in params])
    cg.set_num_threads(before)
    assert results[0] == results[1] and shared == [16] * 4
    small = cg.optim.SGD(0.1).step([cg.ones(5)], [cg.ones(5)])
    assert len(shared) == 4 and small[0].tolist() == pytest.approx([0.9] * 5)
