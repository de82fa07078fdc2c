"""Keras on device "gpu": layers, losses, metrics, optimizers and whole runs of training, equal to the CPU's.

And how often a step waits for the GPU and copies to it, which the stand-in counts with the lines that ask for it.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fake_cupy
import numpy as np
import pytest
from gpu_device import gpu, quiet  # noqa: F401 - fixtures
from optional import require

require("keras")

import keras_calls  # noqa: E402
import test_keras_gradients  # noqa: E402

import convgpu as cg  # noqa: E402
import convgpu.keras  # noqa: F401, E402
from convgpu.keras.backend import placement  # noqa: E402

# isort: split
import keras  # noqa: E402
from keras import layers as L  # noqa: N812, E402 - as in Keras's own documentation
from keras import tree  # noqa: E402

pytestmark = pytest.mark.usefixtures("quiet", "keras_gpu")
DEVICES = ("cpu", "gpu")


@pytest.fixture
def keras_gpu(gpu: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:  # noqa: F811
    """Keras finds a GPU: new tensors and variables lie on it."""
    monkeypatch.setattr(placement, "_default", ["gpu"])
    keras.utils.set_random_seed(1)
    yield gpu
    keras.config.set_dtype_policy("float32")


def close(got: Any, expected: Any, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """The values in two structures, from the GPU and from the CPU, in the same dtypes."""
    for g, e in zip(tree.flatten(got), tree.flatten(expected), strict=True):
        g, e = keras.ops.convert_to_numpy(g), keras.ops.convert_to_numpy(e)
        assert (g.dtype, g.shape) == (e.dtype, e.shape)
        np.testing.assert_allclose(g.astype("float64"), e.astype("float64"), rtol=rtol, atol=atol)


def on_cpu(model: Any) -> list[str]:
    """The variables of a model and of its training that are not on the GPU."""
    variables = [*model.variables, *(model.optimizer.variables if model.optimizer else []), *model.metrics_variables]
    return [v.path for v in variables if v.value.device == "cpu"]


# --- layers


def forward_and_backward(case: Any, arrays: list[np.ndarray], where: str) -> Any:
    """Outputs, gradients of inputs and weights, and state of a layer that is made and called on a device."""
    keras.utils.set_random_seed(1)
    with keras.device(where):
        layer = case.make()
        inputs = [cg.tensor(a, device=where, requires_grad=a.dtype.kind == "f") for a in arrays]
        y = test_keras_gradients.run(layer, inputs, case.training)
        outputs = [t for t in tree.flatten(y) if isinstance(t, cg.Tensor)]
        assert all(t.device == where for t in outputs)
        assert all(v.value.device == where for v in layer.variables)
        weights = np.random.default_rng(2).uniform(0.5, 1.0, outputs[0].shape)
        (outputs[0] * cg.tensor(weights, dtype=outputs[0].dtype, device=where)).sum().backward()
        gradients = [t.grad for t in inputs if t.grad is not None]
        return [outputs, gradients, [v.value.grad for v in layer.trainable_variables],
                [v.value for v in layer.non_trainable_variables]]


LAYERS = [pytest.param(case, id=f"{name}-{i}") for name, cases in test_keras_gradients.CASES.items()
          for i, case in enumerate(cases)]


@pytest.mark.parametrize("case", LAYERS)
def test_layers(case: Any) -> None:
    rng = np.random.default_rng(0)
    arrays = [a.astype("float32") if a.dtype == "float64" else a
              for a in test_keras_gradients.inputs_of(case, rng)]
    close(forward_and_backward(case, arrays, "gpu"), forward_and_backward(case, arrays, "cpu"), 1e-3, 1e-4)


@pytest.mark.parametrize("name", [
    "Conv2D", "DepthwiseConv2D", "MaxPooling2D", "AveragePooling2D", "Dense", "Embedding", "BatchNormalization",
    "LayerNormalization", "GroupNormalization", "LSTM", "GRU", "MultiHeadAttention", "Dropout", "ReLU", "Softmax",
    "UpSampling2D", "Add", "Concatenate"])
def test_layers_in_mixed_bfloat16(name: str) -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    for case in test_keras_gradients.CASES[name]:
        arrays = [a.astype("float32") if a.dtype == "float64" else a
                  for a in test_keras_gradients.inputs_of(case, np.random.default_rng(0))]
        got, expected = (forward_and_backward(case, arrays, where) for where in ("gpu", "cpu"))
        close(got[0], expected[0], 0.05, 0.05)
        close(got[1:], expected[1:], 0.1, 0.2)


AUGMENTATION: dict[str, dict[str, Any]] = {
    "AutoContrast": {}, "ContrastLimitedAdaptiveHistogramEqualization": {"value_range": (0, 1)}, "CutMix": {"seed": 1},
    "Equalization": {"value_range": (0, 1)}, "MixUp": {"seed": 1}, "RandAugment": {"value_range": (0, 1), "seed": 1},
    "RandomBrightness": {"factor": 0.5, "value_range": (0, 1), "seed": 1},
    "RandomColorDegeneration": {"factor": 0.5, "value_range": (0, 1), "seed": 1},
    "RandomColorJitter": {"value_range": (0, 1), "brightness_factor": 0.2, "hue_factor": 0.2, "seed": 1},
    "RandomContrast": {"factor": 0.5, "value_range": (0, 1), "seed": 1},
    "RandomCrop": {"height": 4, "width": 5, "seed": 1}, "RandomElasticTransform": {"value_range": (0, 1), "seed": 1},
    "RandomErasing": {"value_range": (0, 1), "seed": 1}, "RandomFlip": {"seed": 1},
    "RandomGaussianBlur": {"value_range": (0, 1), "seed": 1},
    "RandomHue": {"factor": 0.5, "value_range": (0, 1), "seed": 1},
    "RandomInvert": {"value_range": (0, 1), "seed": 1}, "RandomPerspective": {"seed": 1},
    "RandomPosterization": {"factor": 4, "value_range": (0, 1), "seed": 1},
    "RandomRotation": {"factor": 0.5, "seed": 1},
    "RandomSaturation": {"factor": 0.5, "value_range": (0, 1), "seed": 1},
    "RandomSharpness": {"factor": 0.5, "value_range": (0, 1), "seed": 1}, "RandomShear": {"x_factor": 0.3, "seed": 1},
    "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.2, "seed": 1},
    "RandomZoom": {"height_factor": 0.3, "seed": 1}, "Solarization": {"value_range": (0, 1), "seed": 1},
}


@pytest.mark.parametrize("name", AUGMENTATION)
def test_augmentation(name: str) -> None:
    x = np.random.default_rng(0).random((2, 8, 8, 3)).astype("float32")
    data = {"images": x, "labels": np.eye(2, dtype="float32")} if name in ("CutMix", "MixUp") else x
    results = []
    for where in ("gpu", "cpu"):
        with keras.device(where):
            y = getattr(L, name)(**AUGMENTATION[name])(data, training=True)
            assert all(t.device == where for t in tree.flatten(y))
            results.append(y)
    close(*results, atol=1e-4)


# --- random numbers


RANDOM: dict[str, Callable[[Any], Any]] = {
    "normal": lambda seed: keras.random.normal((5, 7), 1.0, 2.0, seed=seed),
    "normal in bfloat16": lambda seed: keras.random.normal((5, 7), dtype="bfloat16", seed=seed),
    "normal around tensors": lambda seed: keras.random.normal((5, 2), keras.ops.ones(2), 2 * keras.ops.ones(2),
                                                              seed=seed),
    "uniform": lambda seed: keras.random.uniform((33,), -1.0, 3.0, seed=seed),
    "uniform between tensors": lambda seed: keras.random.uniform((4, 2), keras.ops.zeros(2), keras.ops.ones(2),
                                                                 seed=seed),
    "uniform in float64": lambda seed: keras.random.uniform((33,), dtype="float64", seed=seed),
    "randint": lambda seed: keras.random.randint((40,), -3, 9, seed=seed),
    "randint in uint8": lambda seed: keras.random.randint((40,), 0, 200, dtype="uint8", seed=seed),
    "truncated_normal": lambda seed: keras.random.truncated_normal((200,), 1.0, 0.5, seed=seed),
    "categorical": lambda seed: keras.random.categorical(keras.ops.log(keras.ops.ones((3, 4)) / 4), 5, seed=seed),
    "dropout": lambda seed: keras.random.dropout(keras.ops.ones((6, 5)), 0.3, seed=seed),
    "dropout of channels": lambda seed: keras.random.dropout(keras.ops.ones((2, 6, 5)), 0.3, (None, 1, 5), seed=seed),
    "shuffle": lambda seed: keras.random.shuffle(keras.ops.ones((9, 2)) * 3, seed=seed),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers_are_those_of_the_cpu_and_ask_nothing_of_the_host(keras_gpu: str, name: str) -> None:
    found = []
    for where in DEVICES:
        with keras.device(where):
            generator = keras.random.SeedGenerator(7)
            first, second = RANDOM[name](generator), RANDOM[name](generator)
            assert first.device == generator.state.value.device == where
            assert generator.state.numpy().tolist() == [7, 2]
            again = RANDOM[name](7)
            assert np.array_equal(first.numpy(), again.numpy())
            assert "shuffle" in name or not np.array_equal(first.numpy(), second.numpy())
            fake_cupy.device.waits.clear()
            fake_cupy.device.copies.clear()
            RANDOM[name](generator)
            if keras_gpu == "stand-in":
                assert not fake_cupy.device.waits and not fake_cupy.device.copies
            found.append([first, second])
    close(found[1], found[0], *((1e-6, 1e-7) if "truncated" in name else (0, 0)))


def test_a_seed_of_the_cpu_serves_the_gpu(keras_gpu: str) -> None:
    with keras.device("cpu"):
        generator = keras.random.SeedGenerator(7)
        expected = keras.random.normal((9,), seed=7)
    drawn = keras.random.normal((9,), seed=generator)
    assert (drawn.device, generator.state.value.device) == ("gpu", "cpu")
    assert generator.state.numpy().tolist() == [7, 1]
    close(drawn, expected, 0, 0)


# --- functions

SWEPT = ("bool", "uint8", "int32", "float16", "bfloat16", "float32")


@pytest.mark.parametrize("name", sorted({name for name, *_ in keras_calls.calls()}))
def test_functions(name: str) -> None:
    for _, what, call, shapes, dtypes in keras_calls.calls(name):
        if len(set(dtypes)) > 1 or dtypes[0] not in SWEPT or " " in what and what.split()[0] != what.split()[-1]:
            continue
        results: list[Any] = []
        for where in DEVICES:
            with keras.device(where):
                operands = [keras.ops.convert_to_tensor(keras_calls.operand(s, d), d) for s, d in zip(shapes, dtypes)]
                try:
                    results.append([t for t in tree.flatten(call(*operands)) if isinstance(t, cg.Tensor)])
                except (TypeError, ValueError):
                    if where == "gpu":
                        raise
                    break  # refused on the CPU, too
                assert all(t.device == where for t in results[-1]), f"{name} of {what}"
        if len(results) == 2:
            loose = dtypes[0] in ("float16", "bfloat16")
            close(results[1], results[0], 2e-2 if loose else 1e-5)


def subclasses(module: Any, base: type, *without: str) -> list[str]:
    return sorted(name for name, c in vars(module).items()
                  if inspect.isclass(c) and issubclass(c, base) and c is not base and name not in without)


SHARES = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], "float32")
ONE_HOT = np.array([[0, 1, 0], [1, 0, 0]], "float32")


@pytest.mark.parametrize("name", subclasses(keras.losses, keras.losses.Loss, "CTC"))
def test_losses(name: str) -> None:
    sparse = "Sparse" in name or name in ("CategoricalGeneralizedCrossEntropy", "Circle")
    y = np.array([0, 2]) if sparse else ONE_HOT
    results = []
    for where in DEVICES:
        with keras.device(where):
            p = cg.tensor(SHARES, device=where, requires_grad=True)
            loss = getattr(keras.losses, name)()(y, p)
            loss.backward()
            results.append([loss, p.grad])
    close(results[1], results[0])


ARGUMENTS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("MeanIoU", "OneHotMeanIoU"), {"num_classes": 3}),
    **dict.fromkeys(("IoU", "OneHotIoU"), {"num_classes": 3, "target_class_ids": [0]}),
    "SensitivityAtSpecificity": {"specificity": 0.5}, "SpecificityAtSensitivity": {"sensitivity": 0.5},
    "PrecisionAtRecall": {"recall": 0.5}, "RecallAtPrecision": {"precision": 0.5}}


@pytest.mark.parametrize("name", subclasses(keras.metrics, keras.metrics.Metric, "MeanMetricWrapper"))
def test_metrics(name: str, keras_gpu: str) -> None:
    data: tuple[Any, ...] = (ONE_HOT, SHARES)
    if name in ("Mean", "Sum"):
        data = (np.array([1.0, 2.0]),)
    elif name in ("MeanIoU", "IoU"):
        data = (np.array([0, 2, 1]), np.array([0, 2, 2]))
    elif "Sparse" in name:
        data = (np.array([0, 2]), SHARES)
    results = []
    for where in DEVICES:
        with keras.device(where):
            metric = getattr(keras.metrics, name)(**ARGUMENTS.get(name, {}))
            fake_cupy.device.waits.clear()
            metric.update_state(*data)
            assert keras_gpu != "stand-in" or not fake_cupy.device.waits
            assert all(v.value.device == where for v in metric.variables)
            results.append(metric.result())
            metric.reset_state()
    close(results[1], results[0])


# --- training

rng = np.random.default_rng(0)
X = rng.standard_normal((12, 6, 6, 1)).astype("float32")
Y = (X.mean(axis=(1, 2, 3)) > 0).astype("int32") + (X[:, 0, 0, 0] > 1)


def network(**options: Any) -> Any:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([
        keras.Input((6, 6, 1)), L.Conv2D(3, 3, padding="same", activation="relu"), L.BatchNormalization(),
        L.MaxPooling2D(), L.Flatten(), L.Dense(3, activation="softmax")])
    model.compile(**{"optimizer": "sgd", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], **options})
    return model


def fitted(make: Callable[[], Any], where: str, epochs: int = 2) -> tuple[Any, dict[str, Any]]:
    with keras.device(where):
        model = network(optimizer=make())
        return model, model.fit(X, Y, batch_size=6, epochs=epochs, verbose=0).history


o = keras.optimizers
OPTIMIZERS: dict[str, Callable[[], Any]] = {
    **{name: getattr(o, name) for name in subclasses(o, o.Optimizer, "LossScaleOptimizer", "MultiOptimizer")},
    "SGD with all options": lambda: o.SGD(0.1, momentum=0.9, nesterov=True, clipvalue=0.1, weight_decay=0.01,
                                          gradient_accumulation_steps=2),
    "AdamW with all options": lambda: o.AdamW(0.01, global_clipnorm=0.1, use_ema=True, ema_overwrite_frequency=2),
    "Adam with a schedule": lambda: o.Adam(o.schedules.CosineDecay(0.1, 10)),
    "LossScaleOptimizer": lambda: o.LossScaleOptimizer(o.SGD(0.1, momentum=0.9)),
    "LossScaleOptimizer, all clipped": lambda: o.LossScaleOptimizer(o.AdamW(0.01, global_clipnorm=0.1)),
    "LossScaleOptimizer, each clipped": lambda: o.LossScaleOptimizer(o.Adam(0.01, clipnorm=0.1)),
    "LossScaleOptimizer of RMSprop": lambda: o.LossScaleOptimizer(o.RMSprop(0.01, clipvalue=0.1)),
    "LossScaleOptimizer that accumulates": lambda: o.LossScaleOptimizer(
        o.SGD(0.1, weight_decay=0.01, gradient_accumulation_steps=2, use_ema=True, ema_overwrite_frequency=3)),
    "LossScaleOptimizer that grows": lambda: o.LossScaleOptimizer(o.SGD(0.1), dynamic_growth_steps=2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fit_with_each_optimizer(name: str) -> None:
    (got, got_history), (expected, history) = (fitted(OPTIMIZERS[name], where) for where in ("gpu", "cpu"))
    assert on_cpu(got) == []
    close([w.value for w in got.weights], [w.value for w in expected.weights], 5e-3, 5e-3)
    assert got_history.keys() == history.keys()
    for values, right in zip(got_history.values(), history.values()):
        np.testing.assert_allclose(values, right, rtol=5e-3)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_policies(policy: str) -> None:
    keras.config.set_dtype_policy(policy)
    losses = []
    for where in ("cpu", "gpu"):
        with keras.device(where):
            model = network(optimizer=o.SGD(0.1))
            losses.append(model.fit(X, Y, batch_size=6, epochs=4, verbose=0).history["loss"])
    np.testing.assert_allclose(*losses, rtol=0.02)
    assert losses[1][-1] < losses[1][0] and on_cpu(model) == []
    assert model.evaluate(X, Y, verbose=0)[0] < 10 and np.isfinite(model.predict(X, verbose=0).astype("float32")).all()


def test_models_are_saved_and_loaded_across_devices(tmp_path: Path) -> None:
    model, _ = fitted(o.Adam, "gpu")
    right = model.predict(X, verbose=0)
    model.save(tmp_path / "all.keras")
    model.save_weights(tmp_path / "all.weights.h5")
    loaded = keras.models.load_model(tmp_path / "all.keras")
    assert on_cpu(loaded) == []
    close(loaded.predict(X, verbose=0), right)
    loaded.fit(X, Y, verbose=0)
    other = network()
    other.load_weights(tmp_path / "all.weights.h5")
    close(other.predict(X, verbose=0), right)
    copied = keras.models.clone_model(model)
    copied.set_weights(model.get_weights())
    close(copied.predict(X, verbose=0), right)
    with keras.device("cpu"):
        close(keras.models.load_model(tmp_path / "all.keras").predict(X, verbose=0), right)


def test_callbacks_generators_and_masks(tmp_path: Path) -> None:
    class Records(keras.callbacks.Callback):
        logs: list[Any] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.logs.append(logs)

    model = network(steps_per_execution=2)
    c = keras.callbacks
    model.fit(((X[i:i + 4], Y[i:i + 4], np.ones(4, "float32")) for i in (0, 4, 8, 0)), steps_per_epoch=2, epochs=2,
              verbose=0, callbacks=[Records(), c.CSVLogger(str(tmp_path / "log.csv")), c.TerminateOnNaN(),
                                    c.ReduceLROnPlateau("loss"), c.ModelCheckpoint(str(tmp_path / "m.keras"))])
    assert len(Records.logs) == 2 and all(type(v) is float for logs in Records.logs for v in logs.values())
    tokens = np.array([[1, 2, 0], [3, 0, 0]])
    losses = []
    for where in DEVICES:
        with keras.device(where):
            keras.utils.set_random_seed(3)
            model = keras.Sequential([keras.Input((3,), dtype="int32"), L.Embedding(5, 4, mask_zero=True), L.LSTM(3),
                                      L.Dense(1)])
            model.compile("adam", "mse", metrics=["mae"])
            losses.append(model.fit(tokens, np.ones((2, 1)), epochs=2, verbose=0).history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_a_training_step_of_ones_own() -> None:
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.dense = L.Dense(3)
            self.tracker = keras.metrics.Mean(name="loss")

        def call(self, x: Any) -> Any:
            return self.dense(x * np.float32(0.5) + np.ones(36, "float32"))

        def train_step(self, data: Any) -> Any:
            x, y = data
            self.zero_grad()
            loss = self.compute_loss(y=y, y_pred=self(x, training=True))
            loss.backward()
            self.optimizer.apply([w.value.grad for w in self.trainable_weights], self.trainable_weights)
            self.tracker.update_state(loss)
            return {"loss": self.tracker.result()}

    losses = []
    for where in DEVICES:
        with keras.device(where):
            keras.utils.set_random_seed(1)
            model = Own()
            model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            losses.append(model.fit(X.reshape(12, 36), Y, batch_size=6, epochs=2, verbose=0).history["loss"])
    np.testing.assert_allclose(*losses, rtol=1e-4)


# --- what a step costs the host


def counted(step: Callable[[], Any]) -> tuple[list[str], list[Any]]:
    """The waits and the copies to the GPU of a step that has run twice before."""
    step()
    step()
    fake_cupy.device.waits.clear()
    fake_cupy.device.copies.clear()
    step()
    return list(fake_cupy.device.waits), list(fake_cupy.device.copies)


def reads_once(waits: list[str]) -> bool:
    """Whether the host waits once, to read losses and metrics, and then reads the flag of the labels' check."""
    first, *rest = waits
    return "trainer.py" in first and "_read" in first and len(rest) <= 1 and all("flags.py" in w for w in rest)


def needs_counts(device: str) -> None:
    if device != "stand-in":
        pytest.skip("CuPy does not count")


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if "LossScale" not in name])
def test_a_step_copies_its_batch_in_and_its_loss_out(keras_gpu: str, optimizer: str) -> None:
    needs_counts(keras_gpu)
    model = network(optimizer=OPTIMIZERS[optimizer]())
    waits, copies = counted(lambda: model.train_on_batch(X, Y))
    assert reads_once(waits)
    assert [nbytes for nbytes, _ in copies] == [X.nbytes, Y.nbytes]


def test_a_step_with_dropout_and_noise_copies_no_mask_and_waits_for_none(keras_gpu: str) -> None:
    needs_counts(keras_gpu)
    histories = []
    for where in DEVICES:
        with keras.device(where):
            keras.utils.set_random_seed(1)
            model = keras.Sequential([
                keras.Input((6, 6, 1)), L.GaussianNoise(0.1, seed=1), L.Conv2D(3, 3, padding="same"),
                L.SpatialDropout2D(0.3, seed=2), L.Flatten(), L.Dropout(0.4, seed=3), L.GaussianDropout(0.2, seed=4),
                L.AlphaDropout(0.2, seed=5), L.Dense(3, activation="softmax")])
            model.compile("adam", "sparse_categorical_crossentropy")
            if where == "gpu":
                waits, copies = counted(functools.partial(model.train_on_batch, X, Y))
                assert reads_once(waits)
                assert [nbytes for nbytes, _ in copies] == [X.nbytes, Y.nbytes]
                assert on_cpu(model) == []
            else:
                for _ in range(3):
                    model.train_on_batch(X, Y)
            histories.append([*model.train_on_batch(X, Y, return_dict=True).values(),
                              *[layer.seed_generator.state.numpy() for layer in model.layers
                                if hasattr(layer, "seed_generator")]])
    for got, expected in zip(*histories, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4)


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if "LossScale" in name])
def test_a_loss_scale_is_decided_without_waiting(keras_gpu: str, optimizer: str) -> None:
    needs_counts(keras_gpu)
    keras.config.set_dtype_policy("mixed_float16")
    model = network(optimizer=OPTIMIZERS[optimizer]())
    model.optimizer.initial_scale = 8.0
    waits, _ = counted(lambda: model.train_on_batch(X, Y))
    assert reads_once(waits)
    grown = model.optimizer.dynamic_growth_steps == 2
    assert model.optimizer.step_counter.numpy() == (1 if grown else 3)
    assert model.optimizer.inner_optimizer._iterations.numpy() == 3
    assert model.optimizer.dynamic_scale.numpy() == (16 if grown else 8)


def test_steps_are_counted_on_the_host_until_somebody_assigns_them(keras_gpu: str) -> None:
    needs_counts(keras_gpu)
    optimizer, v = o.SGD(1.0, gradient_accumulation_steps=3), keras.Variable(np.zeros(2, "float32"))
    fake_cupy.device.waits.clear()

    def step() -> None:
        optimizer.apply([keras.ops.ones(2)], [v])

    for _ in range(4):
        step()
    assert not fake_cupy.device.waits
    assert v.numpy().tolist() == [-1.0] * 2
    optimizer._iterations.assign(7)
    fake_cupy.device.waits.clear()
    step()
    step()
    assert len(fake_cupy.device.waits) == 1 and v.numpy().tolist() == [-2.0] * 2 and optimizer._iterations.numpy() == 9


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "categorical_hinge"])
def test_hinge_losses_do_not_wait_to_see_what_labels_they_get(keras_gpu: str, loss: str) -> None:
    needs_counts(keras_gpu)
    model = network(loss=loss, metrics=[loss])
    labels = np.eye(3, dtype="float32")[Y]
    waits, copies = counted(lambda: model.train_on_batch(X, labels))
    assert reads_once(waits) and len(copies) == 2
    for binary in (np.array([0.0, 1.0, 1.0, 0.0]), np.array([-1.0, 1.0, 1.0, -1.0])):
        y = keras.losses.hinge(binary, np.array([0.5, -0.5, 2.0, 0.0]))
        np.testing.assert_allclose(y.numpy(), (1.5 + 1.5 + 0 + 1) / 4)


@pytest.mark.parametrize("inner", [
    lambda: o.SGD(0.5, momentum=0.9), lambda: o.RMSprop(0.5), lambda: o.Adam(0.5, clipnorm=1.0),
    lambda: o.Lion(0.5, use_ema=True), lambda: o.SGD(0.5, gradient_accumulation_steps=2)])
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_step_that_overflows_is_skipped_as_by_keras(bad: float, inner: Callable[[], Any]) -> None:
    results = []
    for where in DEVICES:
        with keras.device(where):
            scaled = o.LossScaleOptimizer(inner(), initial_scale=8.0)
            v = keras.Variable(np.ones((2, 3), "float32"))
            for step in range(4):
                gradient = np.full((2, 3), 4.0, "float32")
                gradient[1, 2] = bad if step == 1 else 8.0
                scaled.apply([keras.ops.convert_to_tensor(gradient)], [v])
            assert scaled.dynamic_scale.numpy() == 4 and scaled.step_counter.numpy() == 2
            taken = scaled.inner_optimizer._iterations
            assert taken.numpy() == 3 and taken.value.device == where
            results.append([s.value for s in (v, *scaled.inner_optimizer.variables)])
    close(results[1], results[0])


def test_an_epoch_waits_once(keras_gpu: str) -> None:
    needs_counts(keras_gpu)
    model = network()
    waits, copies = counted(lambda: model.fit(X, Y, batch_size=3, verbose=0))
    assert reads_once(waits)
    assert len(copies) == 8
    waits, copies = counted(lambda: model.evaluate(X, Y, batch_size=3, verbose=0))
    assert reads_once(waits) and len(copies) == 8


def test_an_index_out_of_range_is_an_error_when_a_value_is_read(keras_gpu: str) -> None:
    needs_counts(keras_gpu)
    layer = L.Embedding(3, 2)
    y = layer(np.array([0, 3, -1, -4]))
    y[0].sum().backward()
    assert fake_cupy.device.waits == []
    with pytest.raises(ValueError, match=r"take: expected indices in \[-3, 3\) along the first axis"):
        y.numpy()
    assert np.isnan(y.numpy()).any(1).tolist() == [False, True, False, True]
    assert layer.embeddings.value.grad.numpy().tolist() == [[1, 1], [0, 0], [0, 0]]
    loss = keras.ops.sparse_categorical_crossentropy(np.array([0, 3]), SHARES)
    assert np.isnan(loss.numpy()).tolist() == [False, True]
    loss = keras.ops.sparse_categorical_crossentropy(np.array([0, 3]), SHARES, from_logits=True)
    with pytest.raises(ValueError, match=r"cross_entropy: expected labels in \[0, 3\)"):
        loss.numpy()
