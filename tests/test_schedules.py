"""Schedules, weight decay masks, averages, clipping, and gradients of a batch in parts."""

from __future__ import annotations

import pickle

import fake_cupy
import numpy as np
import pytest
from gpu_device import stand_in  # noqa: F401 - a fixture
from native_backends import needs_emulated
from test_optim import gradients, leaves, parameters

import convgpu as cg
from convgpu import optim


def same(a, b):
    return [x.numpy().tobytes() for x in cg.tree.leaves(a)] == [x.numpy().tobytes() for x in cg.tree.leaves(b)]


# --- schedules


def pytorch_rates(make, count):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedule, rates = make(torch.optim.lr_scheduler, optimizer), []
    for _ in range(count):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize("ours, theirs", [
    (optim.cosine(0.1, 20), lambda s, o: s.CosineAnnealingLR(o, 20)),
    (optim.cosine(0.1, 20, final=0.01), lambda s, o: s.CosineAnnealingLR(o, 20, eta_min=0.01)),
    (optim.step_decay(0.1, 7), lambda s, o: s.StepLR(o, 7)),
    (optim.step_decay(0.1, [3, 11, 12], 0.5), lambda s, o: s.MultiStepLR(o, [3, 11, 12], 0.5)),
    (optim.warmup(0.1, 5, start=0.02), lambda s, o: s.LinearLR(o, 0.2, 1.0, 5)),
    (optim.one_cycle(0.1, 20), lambda s, o: s.OneCycleLR(o, 0.1, 20)),
    (optim.one_cycle(0.1, 20, warm=0.5, start=0.1, final=0.001),
     lambda s, o: s.OneCycleLR(o, 0.1, 20, pct_start=0.5, div_factor=10, final_div_factor=100)),
])
def test_the_rates_of_pytorch(ours, theirs):
    np.testing.assert_allclose([ours(step) for step in range(20)], pytorch_rates(theirs, 20), rtol=1e-9, atol=1e-12)


def test_warm_up_and_cosine_meet():
    rate = optim.cosine(0.4, 110, warmup=10, final=0.1)
    assert [rate(0), rate(5), rate(10)] == [0.0, 0.2, 0.4]
    assert rate(60) == pytest.approx(0.25) and rate(110) == rate(1000) == 0.1
    assert optim.warmup(optim.step_decay(1.0, 3), 2)(5) == pytest.approx(0.1)


@pytest.mark.parametrize("call, error, words", [
    (lambda: optim.cosine(-1.0, 5), ValueError, "lr from 0 on"), (lambda: optim.cosine("1", 5), TypeError, "a number"),
    (lambda: optim.cosine(0.1, 0), ValueError, "steps of at least 1"),
    (lambda: optim.cosine(0.1, 5.0), TypeError, "steps to be an integer"),
    (lambda: optim.cosine(0.1, 5, warmup=5), ValueError, "fewer steps of warm-up"),
    (lambda: optim.cosine(float("nan"), 5), ValueError, "lr from 0 on"),
    (lambda: optim.step_decay(0.1, 0), ValueError, "at of at least 1"),
    (lambda: optim.step_decay(0.1, [2.5]), TypeError, "at to be an integer"),
    (lambda: optim.warmup(0.1, 0), ValueError, "steps of at least 1"),
    (lambda: optim.one_cycle(0.1, 3), ValueError, "more than one step"),
    (lambda: optim.one_cycle(0.1, 30, warm=1.5), ValueError, "warm in"),
])
def test_wrong_schedules(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW])
def test_an_optimizer_takes_a_schedule(make):
    """The steps are those of an optimizer whose rate is set by hand."""
    schedule = optim.cosine(0.1, 5, warmup=2)
    with_schedule, by_hand = make(lr=schedule), make(lr=0.0)
    a = b = parameters()
    for step in range(7):
        by_hand.lr = schedule(step)
        assert with_schedule.lr == schedule(step)
        a, b = with_schedule.step(a, gradients(step)), by_hand.step(b, gradients(step))
        assert same(a, b)


def test_a_schedule_goes_on_after_loading():
    schedule = optim.cosine(0.1, 10)
    whole, params = optim.SGD(lr=schedule, momentum=0.9), parameters()
    for step in range(6):
        if step == 3:
            state, middle = pickle.loads(pickle.dumps((whole.state_dict(), params)))
        params = whole.step(params, gradients(step))
    assert state["calls"] == 3
    again = pickle.loads(pickle.dumps(optim.SGD(lr=schedule, momentum=0.9)))
    again.load_state_dict(state)
    for step in range(3, 6):
        middle = again.step(middle, gradients(step))
    assert same(middle, params)


def test_skipped_steps_count():
    """As a scheduler of PyTorch, which is called once per step whatever the scaler does."""
    optimizer = optim.SGD(lr=lambda step: 2.0**-step, loss_scale=optim.LossScale(4.0))
    params = [cg.ones(2)]
    params = optimizer.step(params, [cg.tensor([np.inf, 1.0])])
    assert optimizer.steps == 0 and optimizer.lr == 0.5
    assert optimizer.step(params, [cg.ones(2)])[0].tolist() == [0.5, 0.5]


def test_a_number_takes_the_place_of_a_schedule():
    optimizer = optim.SGD(lr=optim.cosine(0.1, 10))
    optimizer.lr *= 0.5
    assert optimizer.schedule is None and optimizer.lr == 0.05 and "calls" not in optimizer.state_dict()
    with pytest.raises(ValueError, match="lr >= 0"):
        optimizer.lr = -1.0
    assert optimizer.lr == 0.05


@pytest.mark.parametrize("rate", [-1.0, float("nan")])
def test_a_schedule_of_wrong_rates(rate):
    optimizer = optim.SGD(lr=lambda step: rate if step else 0.1)
    params = optimizer.step([cg.ones(2)], [cg.ones(2)])
    with pytest.raises(ValueError, match="schedule of rates >= 0, got .* at step 1"):
        optimizer.step(params, [cg.ones(2)])


def test_an_optimizer_of_ones_own_sees_the_rate_of_the_schedule():
    class Signs(optim.Optimizer):
        def update(self, p, g, *state):
            return p - self.lr * np.sign(g)

    optimizer, params = Signs(lr=lambda step: 1.0 + step), [cg.zeros(1)]
    for _ in range(3):
        params = optimizer.step(params, [cg.ones(1)])
    assert params[0].tolist() == [-6.0]


# --- weight decay masks


@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW])
@pytest.mark.parametrize("by_function", [True, False])
def test_weight_decay_masks(make, by_function):
    """Each parameter moves as it does with an optimizer that decays all, or none."""
    mask = (lambda p: p.ndim > 1) if by_function else cg.tree.map(lambda p: p.ndim > 1, parameters())
    results = []
    for optimizer in (make(lr=0.1, weight_decay=0.3, decay_mask=mask), make(lr=0.1, weight_decay=0.3),
                      make(lr=0.1, weight_decay=0.0)):
        params = parameters()
        for step in range(3):
            params = optimizer.step(params, gradients(step))
        results.append(leaves(params))
    for masked, all_decay, none in zip(*results):
        expected = all_decay if np.ndim(masked) > 1 else none
        assert np.asarray(masked).tobytes() == np.asarray(expected).tobytes()


def test_wrong_masks():
    with pytest.raises(ValueError, match="expected the keys"):
        optim.SGD(lr=0.1, weight_decay=0.1, decay_mask={"v": True}).step({"w": cg.ones(1)}, {"w": cg.ones(1)})

    class Own(optim.Optimizer):
        def update(self, p, g, *state):
            return p

    with pytest.raises(NotImplementedError, match="Own.step: decay_mask"):
        Own(lr=0.1, decay_mask=lambda p: True).step([cg.ones(1)], [cg.ones(1)])


# --- averages, norms, parts


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_averages_of_parameters(dtype):
    average, expected = optim.EMA(0.9), None
    for step in range(5):
        params = gradients(step, dtype)
        values = [np.asarray(x, np.float64) for x in leaves(params)]
        expected = values if expected is None else [0.9 * a + 0.1 * p for a, p in zip(expected, values)]
        found = average.update(params)
    assert found is average.params
    for a, e in zip(cg.tree.leaves(found), expected):
        assert a.dtype == ("float64" if dtype == "float64" else "float32")
        np.testing.assert_allclose(a.numpy(), e, rtol=1e-12 if dtype == "float64" else 2e-6, atol=1e-7)


def test_averages_go_on_after_loading(tmp_path):
    whole = optim.EMA(0.5)
    for step in range(2):
        whole.update(gradients(step))
    cg.save(tmp_path / "f", whole.state_dict())
    again = optim.EMA(0.5)
    again.load_state_dict(cg.load(tmp_path / "f"))
    assert same(again.update(gradients(2)), whole.update(gradients(2)))


def test_wrong_averages():
    average = optim.EMA()
    with pytest.raises(RuntimeError, match="call of update before"):
        _ = average.params
    average.update({"w": cg.ones(2)})
    for wrong, error, words in (({"w": cg.ones(3)}, ValueError, r"shape \(2,\)"),
                                ({"v": cg.ones(2)}, ValueError, "keys"),
                                ({"w": cg.tensor([1, 2])}, TypeError, "floating")):
        with pytest.raises(error, match=words):
            average.update(wrong)
        assert average.params["w"].tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"decay in \[0, 1\]"):
        optim.EMA(1.5)
    with pytest.raises(ValueError, match="'average' alone"):
        average.load_state_dict({"steps": 3})


def test_norms_and_clipping_as_in_pytorch():
    torch = pytest.importorskip("torch")
    grads = gradients(0)
    theirs = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in cg.tree.leaves(grads)]
    for p, g in zip(theirs, cg.tree.leaves(grads)):
        p.grad = torch.tensor(g.numpy())
    norm = torch.nn.utils.clip_grad_norm_(theirs, 0.7)
    assert optim.global_norm(grads).item() == pytest.approx(norm.item(), rel=1e-14)
    for g, p in zip(cg.tree.leaves(optim.clip_by_norm(grads, 0.7)), theirs):
        np.testing.assert_allclose(g, p.grad, rtol=1e-12)
    assert same(optim.clip_by_norm(grads, 1e9), grads)
    clipped = optim.clip_by_value(grads, 0.3)
    assert max(abs(g.numpy()).max(initial=0) for g in cg.tree.leaves(clipped)) == 0.3


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_gradients_of_a_batch_in_parts(parts):
    """Parts of different sizes are weighted; what comes beside the loss is a list of what each part gave."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((7, 4)), rng.standard_normal((7, 2))
    params = {"w": cg.tensor(rng.standard_normal((4, 2))), "b": cg.zeros(2, dtype="float64")}

    def loss_of(p, x, y):
        found = cg.linear(x, p["w"], p["b"])
        return cg.mse_loss(found, y), len(x)

    step = cg.value_and_grad(loss_of, has_aux=True)
    (loss, sizes), grads = optim.accumulate(step, parts)(params, cg.tensor(x), cg.tensor(y))
    (whole, _), expected = step(params, cg.tensor(x), cg.tensor(y))
    assert sum(sizes) == 7 and len(sizes) == parts
    np.testing.assert_allclose(loss, whole, rtol=1e-12)
    for g, e in zip(cg.tree.leaves(grads), cg.tree.leaves(expected)):
        np.testing.assert_allclose(g, e, rtol=1e-12)


def test_half_types_are_added_up_in_float32():
    step = cg.value_and_grad(lambda w, x: (w * x).mean())
    x = cg.tensor(np.array([2048.0] + [1.0] * 63, np.float16))
    loss, g = optim.accumulate(step, 64)(cg.tensor(np.float16(1)), x)
    assert g.dtype == "float16" and g.item() == np.float16((2048 + 63) / 64)


def test_wrong_parts():
    step = optim.accumulate(cg.value_and_grad(lambda w, x, y: (w * x * y).mean()), 3)
    with pytest.raises(ValueError, match="one number of examples, at least 3"):
        step(cg.ones(()), cg.ones(4), cg.ones(5))
    with pytest.raises(ValueError, match="one number of examples, at least 3"):
        step(cg.ones(()), cg.ones(2), cg.ones(2))
    with pytest.raises(ValueError, match="at least 1"):
        optim.accumulate(step, 0)


@needs_emulated
def test_on_the_gpu_no_step_waits(stand_in):  # noqa: F811
    """Schedules, masks and averages: the values of the CPU."""
    def run(device):
        params = {"w": cg.tensor(np.arange(6, dtype=np.float32).reshape(2, 3), device=device),
                  "b": cg.tensor(np.ones(3, np.float32), device=device)}
        optimizer = optim.SGD(lr=optim.cosine(0.1, 4), momentum=0.9, weight_decay=0.1, decay_mask=lambda p: p.ndim > 1)
        average = optim.EMA(0.9)
        waits = fake_cupy.device.synchronizations
        for _ in range(4):
            params = optimizer.step(params, params)
            average.update(params)
        assert fake_cupy.device.synchronizations == waits
        return cg.tree.leaves((params, average.params))

    for a, b in zip(run("gpu"), run("cpu")):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)
