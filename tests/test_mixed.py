"""Mixed precision: what is computed in which dtype, the gradients, the loss scale, and training in all three dtypes."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import fake_cupy
import numpy as np
import pytest
from gpu_device import stand_in  # noqa: F401 - a fixture
from native_backends import needs_emulated

import convgpu as cg
from convgpu.architectures import lenet5, resnet50
from convgpu.backends import load
from convgpu.dtypes import as_dtype
from convgpu.examples import data as datasets
from convgpu.examples.lenet5 import Training, predict
from convgpu.optim import SGD, Adam, LossScale

HALVES = ["bfloat16", "float16"]
halves = pytest.mark.parametrize("dtype", HALVES)


def small(seed=0):
    """Parameters and data of LeNet-5 on small images."""
    generator = np.random.default_rng(seed)
    params = lenet5.initial((16, 16, 1), 4, seed)
    return params, generator.standard_normal((6, 16, 16, 1), np.float32), generator.integers(0, 4, 6)


def by_hand(params, x, y, dtype, scale=1.0):
    """Loss and gradients of LeNet-5 by casts, one by one."""
    def loss_of(p):
        half = cg.tree.map(lambda leaf: leaf.astype(dtype), p)
        logits = lenet5.logits(half, cg.tensor(x).astype(dtype))
        return cg.cross_entropy(logits.astype("float32"), y, label_smoothing=lenet5.LABEL_SMOOTHING) * scale

    loss, grads = cg.value_and_grad(loss_of)(params)
    return loss.item() / scale, cg.tree.map(lambda g: g.numpy() / np.float32(scale), grads)


@halves
@pytest.mark.parametrize("backend", ["numpy", pytest.param("emulated", marks=needs_emulated)])
def test_it_is_what_casts_by_hand_compute(dtype, backend):
    params, x, y = small()
    policy = cg.mixed(dtype, LossScale(256.0) if dtype == "float16" else None)
    with cg.use_backend(backend):
        (loss, scores), grads = cg.value_and_grad(policy(lenet5.loss), has_aux=True)(params, x, y)
        expected, by_casts = by_hand(params, x, y, dtype, 256.0 if dtype == "float16" else 1.0)
    assert loss.dtype == np.float32 and loss.item() == expected and scores.dtype == as_dtype(dtype)
    for g, e in zip(cg.tree.leaves(grads), cg.tree.leaves(by_casts)):
        assert g.dtype == np.float32 and g.numpy().tobytes() == e.tobytes()


def test_float32_changes_nothing():
    policy = cg.mixed("float32")
    assert policy(lenet5.loss) is lenet5.loss and policy.loss_scale is None


def test_what_is_cast_and_what_is_not():
    seen = {}

    def loss_of(params, x, labels, wide, *, more):
        seen.update(w=params["w"], x=x, labels=labels, wide=wide, more=more[0], number=params["number"])
        return cg.linear(x, params["w"]).sum()

    params = {"w": cg.ones((3, 2)), "number": cg.ones((), dtype="float64")}
    args = (np.ones((4, 3), np.float32), np.arange(3), np.ones(2))
    loss = cg.mixed("bfloat16")(loss_of)(params, *args, more=[cg.ones(1), "text", None])
    dtypes = {name: v.dtype.name for name, v in seen.items()}
    assert dtypes == {"w": "bfloat16", "x": "bfloat16", "labels": "int64", "wide": "float64", "more": "bfloat16",
                      "number": "float64"}
    assert loss.dtype == np.float32 and params["w"].dtype == np.float32


@halves
def test_norms_take_parameters_and_statistics_as_they_were(dtype):
    """1 + 2^-12 is no number of a half type; nor are the statistics, which come back in float32."""
    fine = 1 + 2.0**-12
    found = {}

    def loss_of(params, x, mean, var):
        y, found["mean"], found["var"] = cg.batch_norm(x, mean, var, params["scale"], params["offset"], training=True)
        found["layer"] = cg.layer_norm(x, params["scale"], params["offset"])
        return y.sum()

    params = {"scale": cg.full(2, fine), "offset": cg.zeros(2)}
    x = cg.tensor(np.array([[1.0, 2.0], [-1.0, 6.0]], np.float32))
    policy = cg.mixed(dtype, LossScale(64.0) if dtype == "float16" else None)
    _, grads = cg.value_and_grad(policy(loss_of))(params, x, cg.full(2, fine), cg.full(2, fine))
    assert found["mean"].dtype == np.float32 and found["var"].dtype == np.float32
    np.testing.assert_allclose(found["mean"], [0.9 * fine, 0.9 * fine + 0.4], rtol=1e-6)
    assert all(g.dtype == np.float32 for g in cg.tree.leaves(grads))
    assert grads["offset"].tolist() == [2, 2]


@halves
def test_losses_are_float32_and_take_their_targets_as_they_were(dtype):
    t = np.float32(1000.123)

    def loss_of(params, x, targets):
        return cg.mse_loss(x * params["w"], targets)

    params, x = {"w": cg.tensor(np.ones(1, np.float32))}, cg.tensor(np.zeros(1, np.float32))
    loss, _ = cg.value_and_grad(cg.mixed(dtype)(loss_of))(params, x, cg.tensor(np.array([t])))
    assert loss.dtype == np.float32 and loss.item() == float(t * t)
    logits = cg.tensor(np.array([[0.3, 0.1, -2.0]], np.float32))
    ours = cg.mixed(dtype)(lambda p, y: cg.cross_entropy(p * 1, y))(logits, [2])
    assert ours.item() == cg.cross_entropy(logits.astype(dtype).astype("float32"), [2]).item()
    assert cg.cross_entropy(logits.astype(dtype), [2]).dtype == as_dtype(dtype)  # outside nothing changes


@halves
def test_within_remat_norms_and_losses_are_those_without(dtype):
    fine, statistics = 1 + 2.0**-12, []

    def loss_of(params, x, mean, targets):
        y, mean, var = cg.batch_norm(x, mean, cg.ones(2), params["scale"], params["offset"], training=True)
        statistics.append(mean)
        return cg.mse_loss(y * params["weight"], targets)

    params = {"scale": cg.full(2, fine), "offset": cg.full(2, fine), "weight": cg.full(2, 0.3)}
    x = cg.tensor(np.array([[1.0, 2.0], [-1.0, 6.0]], np.float32))
    rest = x, cg.full(2, fine), cg.full((2, 2), 3.123)
    policy = cg.mixed(dtype, LossScale(8.0) if dtype == "float16" else None)
    loss, grads = cg.value_and_grad(policy(loss_of))(params, *rest)
    again, found = cg.value_and_grad(policy(cg.remat(loss_of)))(params, *rest)
    assert (again.dtype, again.item()) == (np.float32, loss.item())
    assert all(m.dtype == np.float32 and np.array_equal(m, statistics[0]) for m in statistics) and len(statistics) == 3
    for name, g in grads.items():
        assert np.array_equal(found[name], g), name

    def penalised(f):
        def outer(params):
            value, g = cg.value_and_grad(f)(params, *rest)
            return value + sum((g[name]**2).sum() for name in g) * 1e-6
        return outer

    if dtype == "bfloat16":  # there is no loss scale, which does not allow this
        _, expected = cg.value_and_grad(penalised(policy(loss_of)))(params)
        _, found = cg.value_and_grad(penalised(policy(cg.remat(loss_of))))(params)
        for name, g in expected.items():
            np.testing.assert_allclose(found[name], g, rtol=2e-2, err_msg=name)


@halves
def test_a_cast_that_assign_has_changed_is_taken_as_it_is_now(dtype):
    def f(x, mean):
        mean.assign(np.full(2, 5.0))
        return cg.batch_norm(x, mean, cg.ones(2), training=False, epsilon=0.0)[0]

    assert cg.mixed(dtype)(f)(cg.zeros((1, 2)), cg.zeros(2)).tolist() == [[-5.0, -5.0]]


def test_a_loss_in_a_named_tuple():
    class Result(NamedTuple):
        loss: cg.Tensor
        number: int

    loss, number = cg.mixed("bfloat16")(lambda x: Result((x * x).sum(), 7))(cg.ones(3))
    assert (loss.dtype, loss.item(), number) == (np.float32, 3.0, 7)


def test_small_gradients_survive_by_the_scale():
    def loss_of(p):
        return (p["w"] * 2.0**-20).sum() * 2.0**-6  # the gradient, 2^-26, is below float16's smallest number

    params = {"w": cg.ones(3)}
    for scale, expected in ((1.0, 0.0), (2.0**15, 2.0**-26)):
        policy = cg.mixed("float16", LossScale(scale))
        loss, grads = cg.value_and_grad(policy(loss_of))(params)
        assert grads["w"].tolist() == [expected] * 3


def test_an_overflow_skips_the_step_and_halves_the_scale():
    policy = cg.mixed("float16", LossScale(2.0**15))
    optimizer = SGD(lr=0.25, momentum=0.9, loss_scale=policy.loss_scale)
    step, params = cg.value_and_grad(policy(lambda p: (p["w"]**2).sum())), {"w": cg.tensor([8.0, 1.0])}
    scales = []
    for _ in range(5):
        loss, grads = step(params)
        params = optimizer.step(params, grads)
        scales.append(policy.loss_scale.value)
    assert scales == [2.0**14, 2.0**13, 2.0**12, 2.0**11, 2.0**11]  # 2 * 8 * 2^12 is 65536, which float16 does not have
    assert optimizer.steps == 1 and params["w"].tolist() == [4.0, 0.5]
    assert loss.item() == 65


@halves
def test_gradients_of_gradients(dtype):
    policy = cg.mixed(dtype, LossScale(8.0) if dtype == "float16" else None)

    def cube(p):
        return (p["w"]**3 * 2.0).sum()

    def penalty(function):
        def run(p):
            _, g = cg.value_and_grad(function)(p)
            return (g["w"]**2).sum()

        return run

    params = {"w": cg.tensor([1.0, 0.5])}
    _, grads = cg.value_and_grad(policy(penalty(cube)))(params)
    assert grads["w"].dtype == np.float32
    np.testing.assert_allclose(grads["w"], [144, 18], rtol=2e-2)  # (6 w^2)^2 has the derivative 144 w^3
    if dtype == "bfloat16":
        np.testing.assert_allclose(cg.value_and_grad(penalty(policy(cube)))(params)[1]["w"], [144, 18], rtol=2e-2)
    else:
        with pytest.raises(NotImplementedError, match="mixed: .* apply the policy to the outermost function"):
            cg.value_and_grad(penalty(policy(cube)))(params)


def test_what_is_refused():
    for wrong in ("float64", "int32"):
        with pytest.raises(ValueError, match=f"mixed: expected bfloat16, float16 or float32, got {wrong}"):
            cg.mixed(wrong)
    with pytest.raises(ValueError, match="expected a loss scale for float16 alone, got one for bfloat16"):
        cg.mixed("bfloat16", LossScale())


@halves
def test_casts_on_the_gpu_are_one_launch_each_way_and_wait_for_nothing(dtype, stand_in):  # noqa: F811
    module = load("cuda").module
    params, x, y = small()
    there = cg.tree.map(lambda p: p.to("gpu"), params)
    policy = cg.mixed(dtype)
    optimizer = Adam(loss_scale=policy.loss_scale)
    count, right = [], load("cuda").cast_all

    def counted(xs, *options):
        before = module.launches()
        result = right(xs, *options)
        count.append((len(xs), module.launches() - before))
        return result

    load("cuda").cast_all = counted
    x_there, labels = cg.tensor(x, device="gpu"), cg.tensor(y, device="gpu")
    loss_of = policy(lambda p, x, t: (lenet5.logits(p, x).astype("float32") * t).sum())
    t = cg.tensor(np.eye(4, dtype=np.float32)[y], device="gpu")
    waits = fake_cupy.device.synchronizations
    loss, grads = cg.value_and_grad(loss_of)(there, x_there, t)
    there = optimizer.step(there, grads)
    assert fake_cupy.device.synchronizations == waits
    n = len(cg.tree.leaves(params))
    assert count == [(n + 2, 1), (n + (dtype == "float16"), 1)]  # the scale is one more array
    (expected, _), _ = cg.value_and_grad(cg.mixed(dtype)(lenet5.loss), has_aux=True)(params, x, y)
    (found, _), _ = cg.value_and_grad(policy(lenet5.loss), has_aux=True)(
        cg.tree.map(lambda p: p.to("gpu"), params), x_there, labels)
    assert abs(found.item() - expected.item()) < 1e-3 and np.isfinite(loss.item())


@halves
def test_steps_on_the_stand_in_are_those_of_the_cpu(dtype, stand_in):  # noqa: F811
    """A few steps of LeNet-5: equal to casts, formulas and updates by hand on the CPU, up to the rounding of sums."""
    params, x, y = small(1)
    policy = cg.mixed(dtype, LossScale(64.0) if dtype == "float16" else None)
    optimizer = SGD(lr=0.1, momentum=0.9, loss_scale=policy.loss_scale)
    there, velocities = cg.tree.map(lambda p: p.to("gpu"), params), cg.tree.map(lambda p: 0 * p.numpy(), params)
    for _ in range(3):
        _, grads = cg.value_and_grad(policy(lenet5.loss), has_aux=True)(
            there, cg.tensor(x, device="gpu"), cg.tensor(y, device="gpu"))
        there = optimizer.step(there, grads)
        _, expected = by_hand(params, x, y, dtype, 64.0 if dtype == "float16" else 1.0)
        velocities = cg.tree.map(lambda v, g: np.float32(0.9) * v + g, velocities, expected)
        params = cg.tree.map(lambda p, v: cg.tensor(p.numpy() - np.float32(0.1) * v), params, velocities)
    assert optimizer.steps == 3
    for got, e in zip(cg.tree.leaves(there), cg.tree.leaves(params)):
        assert np.abs(got.numpy() - e.numpy()).max() < 2e-3


def test_lenet5_reads_digits_as_well_in_every_dtype():
    dataset, accuracy = datasets.digits(0), {}
    for dtype in ("float32", *HALVES):
        run = Training(dataset, 0, 32, "cpu", dtype)
        for _ in range(2):
            run.begin_epoch()
            while run.step_in_epoch < run.steps:
                run.step()
            accuracy[dtype] = run.end_epoch()["test_accuracy"]
        assert all(p.dtype == np.float32 for p in cg.tree.leaves(run.params))
    assert min(accuracy.values()) > 0.85 and max(accuracy.values()) - min(accuracy.values()) < 0.05, accuracy
    assert predict(run.params, dataset.x_test[:3]).shape == (3, 10)


@halves
def test_resnet50_has_gradients_in_float32(dtype):
    """The first layers alone: the whole network takes minutes here."""
    params = resnet50.initial(0)

    def stem(p, x):
        y = cg.conv(x, p["w"], stride=2, padding=3)
        y = cg.batch_norm(y, p["offset"].detach(), p["offset"].detach(), p["scale"], p["offset"], training=True)[0]
        return (cg.global_avg_pool(cg.relu(y))**2).mean()

    x = np.random.default_rng(0).standard_normal((2, 32, 32, 3), np.float32)
    policy = cg.mixed(dtype, LossScale(1024.0) if dtype == "float16" else None)
    loss, grads = cg.value_and_grad(policy(stem))(params["stem"], x)
    wide, expected = cg.value_and_grad(stem)(params["stem"], x)
    assert abs(loss.item() - wide.item()) < 0.02 * abs(wide.item())
    for name, g in grads.items():
        assert g.dtype == np.float32
        assert np.linalg.norm(g.numpy() - expected[name].numpy()) < 0.2 * np.linalg.norm(expected[name].numpy())


def test_a_step_that_the_loss_scale_skips_warns_of_nothing() -> None:
    policy = cg.mixed("float16")
    optimizer = cg.optim.SGD(lr=0.1, loss_scale=policy.loss_scale)

    def loss_of(params: dict, x: cg.Tensor) -> cg.Tensor:
        y = cg.conv2d(x, params["w"], padding=1)
        return (cg.linear(y.reshape(len(y), -1), params["v"]).astype("float32") ** 2).mean()

    params = {"w": cg.full((3, 3, 2, 8), 10.0), "v": cg.full((128, 4), 10.0)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss, grads = cg.value_and_grad(policy(loss_of))(params, cg.full((2, 4, 4, 2), 10.0))
        after = optimizer.step(params, grads)
    assert loss.item() > 1e6 and not np.isfinite(grads["w"].numpy()).all()
    assert after["w"].tolist() == params["w"].tolist() and policy.loss_scale.value == 2.0**15
