"""`compile(jit_compile=True)`: on the stand-in for a GPU, Keras's steps are graphs, and nothing else changes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import fake_cupy
import numpy as np
import pytest
from gpu_device import stand_in  # noqa: F401 - a fixture
from optional import require

require("keras")

import convgpu.keras  # noqa: F401, E402
from convgpu.keras.backend import placement  # noqa: E402

# isort: split
import keras  # noqa: E402
from keras import layers as L  # noqa: N812, E402 - as in Keras's own documentation

DATA = np.random.default_rng(0)
X, Y = DATA.standard_normal((11, 6, 6, 2)).astype("float32"), DATA.integers(0, 3, 11)


@pytest.fixture(autouse=True)
def keras_gpu(stand_in: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:  # noqa: F811
    """Keras finds the stand-in."""
    monkeypatch.setattr(placement, "_default", ["gpu"])
    yield


def model_of(kind: type = keras.Model, optimizer: Any = None, **options: Any) -> Any:
    keras.utils.set_random_seed(1)
    x = inputs = L.Input((6, 6, 2))
    x = L.ReLU()(L.BatchNormalization()(L.Conv2D(4, 3, padding="same")(x)))
    x = L.Dropout(0.25)(L.GlobalAveragePooling2D()(x))
    model = kind(inputs, L.Dense(3)(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.Adam(0.01), loss, metrics=["accuracy"], **options)
    return model


def trained(model: Any, **options: Any) -> tuple[Any, ...]:
    rates = keras.callbacks.LearningRateScheduler(lambda epoch: 0.01 / (1 + epoch))
    history = model.fit(X, Y, batch_size=4, epochs=4, verbose=0, callbacks=[rates], validation_data=(X, Y), **options)
    outputs = [model.predict(X, batch_size=4, verbose=0) for _ in range(2)]
    scores = [model.evaluate(X, Y, batch_size=4, verbose=0) for _ in range(2)]
    on_batch = [model.train_on_batch(X[:4], Y[:4]) for _ in range(4)]
    return history.history, scores, on_batch, [w.tobytes() for w in (*outputs, *model.get_weights())]


@pytest.mark.parametrize("options", [{}, {"steps_per_execution": 2}])
def test_everything_is_as_in_eager_execution(options: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*jit_compile")
        captured = trained(model_of(jit_compile=True, **options))
    assert fake_cupy.device.captures >= 5  # training and evaluation, for the whole and the last batch, and prediction
    np.testing.assert_equal(captured, trained(model_of(**options)))


def test_run_eagerly_never_captures() -> None:
    trained(model_of(jit_compile=True, run_eagerly=True))
    assert fake_cupy.device.captures == 0


def test_what_prevents_it_is_said_once_and_the_step_runs() -> None:
    class Reads(keras.Model):
        def train_step(self, data: Any) -> Any:
            logs = super().train_step(data)
            return {**logs, "seen": float(logs["loss"])}

    model = model_of(Reads, jit_compile=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = model.fit(X, Y, batch_size=4, epochs=2, verbose=0).history
    told = [str(w.message) for w in caught if "jit_compile" in str(w.message)]
    assert len(told) == 1 and "test_keras_capture.py:" in told[0] and "steps run eagerly" in told[0]
    expected = model_of(Reads).fit(X, Y, batch_size=4, epochs=2, verbose=0).history
    np.testing.assert_equal(history, expected)


def test_choices_by_count_run_eagerly() -> None:
    model = model_of(optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), jit_compile=True)
    with pytest.warns(UserWarning, match="gradient_accumulation_steps"):
        model.fit(X[:8], Y[:8], batch_size=4, verbose=0)


def test_a_custom_train_step() -> None:
    class Own(keras.Model):
        def train_step(self, data: Any) -> Any:
            x, y = data[0], data[1]
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
            self.zero_grad()
            loss.backward()
            self.optimizer.apply([v.value.grad for v in self.trainable_weights], self.trainable_weights)
            self.zero_grad()
            return {"loss": loss.detach()}

    assert trained_losses(model_of(Own, jit_compile=True)) == trained_losses(model_of(Own))
    assert fake_cupy.device.captures >= 2


def trained_losses(model: Any) -> list[float]:
    return model.fit(X, Y, batch_size=4, epochs=3, verbose=0).history["loss"]
