"""Training with Keras on convgpu: what a mask leaves out of losses and metrics, and gradients that are forgotten."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from optional import require

require("keras")

import convgpu as cg  # noqa: E402
import convgpu.keras  # noqa: F401, E402
from convgpu.keras.backend import nn as keras_nn  # noqa: E402

# isort: split
import keras  # noqa: E402
from keras import layers as L  # noqa: N812, E402 - as in Keras's own documentation

# --- masks


def masked(**options: Any) -> Any:
    """A network whose outputs are 0, and whose second step is masked where the token is 0; it learns nothing."""
    model = keras.Sequential([keras.Input((2,)), L.Embedding(5, 3, mask_zero=True, embeddings_initializer="ones"),
                              L.Dense(1, kernel_initializer="zeros")])
    model.compile(**{"optimizer": keras.optimizers.SGD(0.0), "loss": "mse", "metrics": ["mae"], **options})
    return model


def every_way(model: Any, x: Any, y: Any, **weights: Any) -> list[dict[str, float]]:
    """Loss and metrics as fit, its validation, train_on_batch, test_on_batch and evaluate give them."""
    history = model.fit(x, y, validation_data=(x, y, *weights.values()), verbose=0, **weights).history
    fitted = {name: values[0] for name, values in history.items()}
    return [{name: value for name, value in fitted.items() if not name.startswith("val_")},
            {name.removeprefix("val_"): value for name, value in fitted.items() if name.startswith("val_")},
            model.train_on_batch(x, y, return_dict=True, **weights),
            model.test_on_batch(x, y, return_dict=True, **weights),
            model.evaluate(x, y, return_dict=True, verbose=0, **weights)]


TOKENS, TARGETS = np.array([[1, 0], [2, 3]]), np.array([[[1.0], [100.0]], [[2.0], [5.0]]])
KEPT = np.array([1.0, 2.0, 5.0])  # the targets that no mask leaves out


def test_metrics_leave_out_what_is_masked() -> None:
    for logs in every_way(masked(), TOKENS[:1], TARGETS[:1]):
        assert logs == {"loss": 1.0, "mae": 1.0}
    for logs in every_way(masked(), TOKENS, TARGETS):
        assert logs == pytest.approx({"loss": (KEPT**2).mean(), "mae": KEPT.mean()})


def test_weighted_metrics_leave_out_what_is_masked() -> None:
    model = masked(weighted_metrics=[keras.metrics.MeanSquaredError(name="weighted")])
    steps = np.array([[1.0, 3.0], [2.0, 0.5]])
    w = np.array([1.0, 2.0, 0.5])
    for logs in every_way(model, TOKENS, TARGETS, sample_weight=steps):
        assert logs == pytest.approx({"loss": (w * KEPT**2).mean(), "mae": KEPT.mean(),
                                      "weighted": (w * KEPT**2).sum() / w.sum()})


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_masks_in_mixed_precision(policy: str) -> None:
    keras.config.set_dtype_policy(policy)
    try:
        model = masked()
    finally:
        keras.config.set_dtype_policy("float32")
    with np.errstate(all="ignore"):  # the scaled gradients of float16 overflow, and the step is skipped
        for logs in every_way(model, TOKENS, TARGETS):
            assert logs == pytest.approx({"loss": 10.0, "mae": KEPT.mean()})


def test_masks_of_several_outputs() -> None:
    x = np.array([[[1.0], [0.0], [3.0]], [[0.0], [2.0], [0.0]]], "float32")
    inputs = keras.Input((3, 1))
    steps = L.Masking()(inputs)
    twice = L.Dense(1, kernel_initializer=keras.initializers.Constant(2.0), name="twice")
    model = keras.Model(inputs, {"each": L.Dense(1, kernel_initializer="ones", name="each")(steps),
                                 "twice": twice(L.Dropout(0)(steps))})
    model.compile(keras.optimizers.SGD(0.0), {"each": "mse", "twice": "mse"},
                  metrics={"each": ["mae"], "twice": ["mse"]})
    y = {"each": np.full((2, 3, 1), 7.0), "twice": np.full((2, 3, 1), 7.0)}
    kept = np.array([1.0, 3.0, 2.0])
    for logs in every_way(model, x, y):
        assert logs["each_mae"] == pytest.approx((7 - kept).mean())
        assert logs["twice_mse"] == pytest.approx(((7 - 2 * kept) ** 2).mean())


# --- gradients that are forgotten


def test_zero_grad_forgets_the_gradients_of_all_layers_inside() -> None:
    inner = keras.Sequential([keras.Input((2,)), L.Dense(2)])
    model = keras.Sequential([keras.Input((2,)), inner, L.BatchNormalization(), L.Dense(1)])
    x = np.ones((3, 2), "float32")
    model(x, training=True).sum().backward()
    assert all(w.value.grad is not None for w in model.trainable_weights)
    inner.layers[0].zero_grad()
    assert [w.value.grad is None for w in model.trainable_weights] == [True, True] + [False] * 4
    model.zero_grad()
    assert all(w.value.grad is None for w in model.weights)
    L.Dense(2).zero_grad()  # not built: nothing to forget


def test_a_gan_trains_with_the_losses_of_its_formulas() -> None:
    """Generator z -> a z + b, discriminator x -> c x + d, logistic losses, plain descent: all written out in NumPy."""
    rate, steps = 0.3, 6
    draws = np.random.default_rng(0)
    z, real = draws.standard_normal((steps, 16, 1)), draws.standard_normal((steps, 16, 1)) + 3
    keras.utils.set_random_seed(0)
    generator, discriminator = (keras.Sequential([keras.Input((1,)), L.Dense(1)]) for _ in range(2))
    (a, b), (c, d) = ([float(w.numpy().item()) for w in m.weights] for m in (generator, discriminator))
    loss_of = keras.losses.BinaryCrossentropy(from_logits=True)
    g_optimizer, d_optimizer = keras.optimizers.SGD(rate), keras.optimizers.SGD(rate)

    def descend(loss: Any, model: Any, optimizer: Any) -> None:
        generator.zero_grad()
        discriminator.zero_grad()
        loss.backward()
        optimizer.apply([w.value.grad for w in model.trainable_weights], model.trainable_weights)

    def sigmoid(v: Any) -> Any:
        return 1 / (1 + np.exp(-v))

    ones, zeros = np.ones((16, 1), "float32"), np.zeros((16, 1), "float32")
    for zs, xs in zip(z, real):
        noise, data = zs.astype("float32"), xs.astype("float32")
        d_loss = loss_of(ones, discriminator(data)) + loss_of(zeros, discriminator(generator(noise)))
        descend(d_loss, discriminator, d_optimizer)
        g_loss = loss_of(ones, discriminator(generator(noise)))
        descend(g_loss, generator, g_optimizer)

        fake = a * zs + b
        up, down = sigmoid(c * xs + d), sigmoid(c * fake + d)
        expected = -np.log(up).mean() - np.log(1 - down).mean()
        assert d_loss.item() == pytest.approx(expected, rel=1e-4)
        c, d = c - rate * ((up - 1) * xs + down * fake).mean(), d - rate * (up - 1 + down).mean()
        down = sigmoid(c * fake + d)
        assert g_loss.item() == pytest.approx(-np.log(down).mean(), rel=1e-4)
        a, b = a - rate * ((down - 1) * c * zs).mean(), b - rate * ((down - 1) * c).mean()
    weights = [w.numpy().item() for m in (generator, discriminator) for w in m.weights]
    np.testing.assert_allclose(weights, [a, b, c, d], rtol=1e-3, atol=1e-5)


# --- activations that are computed again


class Block(keras.layers.Layer):
    """Layers with seeds, statistics and weights in mixed precision; it counts the runs of its call."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = [L.Dense(6, activation="relu"), L.BatchNormalization(), L.Dropout(0.4, seed=3), L.Dense(6)]
        self.runs = 0

    def build(self, shape: Any) -> None:
        for part in self.parts:
            part.build(shape)

    def call(self, x: Any) -> Any:
        self.runs += 1
        for part in self.parts:
            x = part(x)
        return x


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("how", ["scope", "function"])
def test_remat_runs_again_with_what_the_first_run_found(policy: str, how: str) -> None:
    keras.config.set_dtype_policy(policy)
    try:
        x = np.random.default_rng(0).standard_normal((8, 6)).astype("float32")
        results = []
        for again in (False, True):
            keras.utils.set_random_seed(1)
            with keras.RematScope("full") if again and how == "scope" else contextlib.nullcontext():
                block = Block()
            call = keras.remat(block) if again and how == "function" else block
            inputs = cg.tensor(x, requires_grad=True)
            y = call(inputs, training=True)
            state = [v.numpy() for v in block.non_trainable_variables]
            first = block.runs
            y.astype("float32").sum().backward()
            assert block.runs == first + again
            after = [v.numpy() for v in block.non_trainable_variables]
            assert all((a == b).all() for a, b in zip(state, after))  # nothing is learned or drawn twice
            results.append([y.astype("float32"), inputs.grad, *[v.value.grad for v in block.trainable_variables],
                            *after])
        for got, right in zip(*results):
            np.testing.assert_array_equal(np.asarray(got), np.asarray(right))
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(("activation", "loss"), [
    ("softmax", "sparse_categorical_crossentropy"), ("softmax", "categorical_crossentropy"),
    ("sigmoid", "binary_crossentropy")])
def test_losses_of_an_activation_start_from_what_was_before_it(activation: str, loss: str, policy: str) -> None:
    dense = L.Dense(3, activation=activation, dtype=policy)
    labels = np.array([2, 0, 1, 1])
    y = labels if loss.startswith("sparse") else np.eye(3, dtype="float32")[labels]
    x = np.random.default_rng(0).standard_normal((4, 5)).astype("float32") * 30  # most probabilities are 0 or 1
    total = getattr(keras.losses, loss)(y, keras.ops.cast(dense(x), "float32")).sum()
    total.backward()
    kernel, gradient = (v.astype("float64") for v in (dense.kernel.numpy(), dense.kernel.value.grad.numpy()))
    half = policy != "float32"
    inputs = cg.tensor(x, dtype="bfloat16").astype("float64").numpy() if half else x.astype("float64")
    logits = inputs @ (cg.tensor(kernel, dtype="bfloat16").astype("float64").numpy() if half else kernel)
    hot = np.eye(3)[labels]
    if activation == "softmax":
        logits -= logits.max(1, keepdims=True)
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        right = (np.log(np.exp(logits).sum(1)) - (logits * hot).sum(1)).sum()
        error = shares - hot
    else:
        right = (np.logaddexp(0, logits) - hot * logits).mean(1).sum()
        error = (1 / (1 + np.exp(-logits)) - hot) / 3
    assert total.item() == pytest.approx(right, rel=0.02 if half else 1e-5)
    np.testing.assert_allclose(gradient, inputs.T @ error, rtol=0.05, atol=0.5 if half else 1e-4)


# --- normalisation by convgpu's own ops, where Keras's formula is theirs


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "float16"])
@pytest.mark.parametrize("make", [
    lambda: L.BatchNormalization(momentum=0.7), lambda: L.BatchNormalization(axis=1, center=False),
    lambda: L.BatchNormalization(scale=False, epsilon=0.1), lambda: L.BatchNormalization(axis=2),
    lambda: L.LayerNormalization(), lambda: L.LayerNormalization(axis=[1, 3], epsilon=0.1),
    lambda: L.GroupNormalization(groups=2), lambda: L.GroupNormalization(groups=2, axis=1, scale=False)])
def test_normalisation_equals_keras_own_calls(make: Any, policy: str, training: bool,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 4, 5, 6)).astype("float32") * 3 + 2
    weights = rng.standard_normal((3, 4, 5, 6)).astype("float32")
    keras.config.set_dtype_policy(policy)
    try:
        results = []
        for own in (False, True):
            if own:
                for name in ("batch_norm_of", "group_norm_of", "layer_norm"):
                    monkeypatch.setattr(keras_nn, name, lambda *args: None)
            layer = make()
            layer.build(x.shape)
            for v in layer.variables:
                v.assign(np.random.default_rng(v.shape[0]).uniform(0.5, 1.5, v.shape))
            inputs = cg.tensor(x, requires_grad=True)
            options = {"training": training} if isinstance(layer, L.BatchNormalization) else {}
            y = layer(inputs, **options)
            (y.astype("float32") * weights).sum().backward()
            results.append([y, inputs.grad, *[v.value.grad for v in layer.trainable_variables],
                            *[v.value for v in layer.non_trainable_variables]])
        half = policy != "float32"
        for got, right in zip(*results, strict=True):
            assert got.dtype == right.dtype
            got, right = got.astype("float32").numpy(), right.astype("float32").numpy()
            np.testing.assert_allclose(got, right, rtol=0.02 if half else 1e-4, atol=0.05 if half else 1e-4)
    finally:
        keras.config.set_dtype_policy("float32")


def test_masks_renormalisation_and_other_axes_are_left_to_keras() -> None:
    x = cg.tensor(np.ones((2, 3, 4), "float32"))
    for layer, mask in ((L.BatchNormalization(), np.ones((2, 3), bool)), (L.BatchNormalization(renorm=True), None),
                        (L.BatchNormalization(axis=0), None)):
        layer.build(x.shape)
        assert keras_nn.batch_norm_of(layer, x, True, mask) is None
        assert layer(x, training=True, mask=mask).shape == x.shape
