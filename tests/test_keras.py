"""Keras on convgpu: how it is chosen, what users do with it, and what is refused. Keras's own tests run beside this
(test_keras_suite), and the gradients of all its layers (test_keras_gradients)."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optional import require

require("keras")

import convgpu as cg  # noqa: E402
import convgpu.keras  # noqa: E402
from convgpu import keras_loader as loader  # noqa: E402
from convgpu.keras.backend import core, namespace, optimizer  # noqa: E402

# isort: split
import keras  # noqa: E402
from keras import layers as L  # noqa: N812, E402 - as in Keras's own documentation

rng = np.random.default_rng(0)
X = rng.standard_normal((48, 8, 8, 1)).astype("float32")
Y = (X.mean(axis=(1, 2, 3)) > 0).astype("int32") + (X[:, 0, 0, 0] > 1)


def network(**options: Any) -> Any:
    keras.utils.set_random_seed(1)
    model = keras.Sequential([
        keras.Input((8, 8, 1)), L.Conv2D(4, 3, padding="same", activation="relu"), L.BatchNormalization(),
        L.MaxPooling2D(), L.Dropout(0.1), L.Flatten(), L.Dense(3, activation="softmax")])
    model.compile(**{"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"],
                     **options})
    return model


def python(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *(["-c", code] if code else []), *arguments], capture_output=True, text=True,
                          check=False, env={**os.environ, **environment})


# --- how it is chosen


def test_it_is_the_backend() -> None:
    assert keras.backend.backend() == "convgpu"
    assert isinstance(keras.ops.ones(2), cg.Tensor)


def test_no_other_framework_is_needed() -> None:
    done = python("import sys\n"
                  "sys.modules.update(dict.fromkeys(['torch', 'tensorflow', 'jax', 'scipy', 'sklearn']))\n"
                  "import convgpu.keras, keras\n"
                  "print(keras.layers.Conv2D(2, 3)(keras.ops.ones((1, 5, 5, 1))).shape)")
    assert done.stdout == "(1, 3, 3, 2)\n", done.stderr


def test_imported_too_late() -> None:
    done = python("import keras; import convgpu.keras", KERAS_BACKEND="numpy")
    if "No module named 'jax'" in done.stderr:
        pytest.skip("Keras's NumPy backend needs jax")
    assert "keras was imported before, with another backend; put `import convgpu.keras`" in done.stderr


def test_chosen_by_the_environment() -> None:
    """Where convgpu is imported first; Keras alone knows no backend of this name, and says so."""
    code = "import keras; print(keras.backend.backend(), type(keras.ops.ones(1)).__module__)"
    done = python("import convgpu; " + code, KERAS_BACKEND="convgpu")
    assert done.stdout == "convgpu convgpu.tensor\n", done.stderr
    assert "Unable to import backend : convgpu" in python(code, KERAS_BACKEND="convgpu").stderr
    loaded = "import sys; import convgpu; print('keras' in sys.modules)"
    assert python(loaded, KERAS_BACKEND="convgpu").stdout == python(loaded, KERAS_BACKEND="torch").stdout == "False\n"


@pytest.mark.parametrize("version", ["3.13.2", "3.16.0", "2.15.0", "4.0.1"])
def test_versions_out_of_range(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(ImportError, match=rf"Keras {version} is installed.*Keras 3.14 and 3.15: pip install"):
        loader.install()


def test_keras_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    with pytest.raises(ImportError, match=r'pip install "convgpu\[keras\]"'):
        loader.install()


def test_a_switch_that_moved() -> None:
    with pytest.raises(ImportError, match=r"expected .* once in keras.src.layers.layer.*found it 0 times.*3.14 and"):
        loader.edited("keras.src.layers.layer", "if backend() is numpy_backend: ...")
    with pytest.raises(ImportError, match="found it 2 times"):
        loader.edited("keras.src.backend", 'elif backend() == "numpy":\n' * 2)


def test_unchanged_scripts_run(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("VALUE = 7\n")
    script = tmp_path / "script.py"
    script.write_text("import sys, keras, beside\n"
                      "print(keras.backend.backend(), sys.argv[1:], __name__, beside.VALUE)\n")
    done = python("", "-m", "convgpu.keras", str(script), "--epochs", "3")
    assert done.stdout.splitlines()[-1] == "convgpu ['--epochs', '3'] __main__ 7", done.stderr
    assert python("", "-m", "convgpu.keras", "nothing.py").returncode == 2


def test_scripts_of_tensorflow_keras_run(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("""
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers
from tensorflow.keras.models import Sequential
from tensorflow.keras.layers import Dense
from tensorflow.keras.applications.vgg16 import preprocess_input
import tensorflow.keras.datasets.mnist
model = Sequential([keras.Input((4,)), Dense(3), tf.keras.layers.Dense(2)])
assert layers.Dense is Dense
print(keras.backend.backend(), model.count_params())
for name in ("VERSION", "train", "frobnicate"):
    try:
        getattr(tf, name)
    except AttributeError as error:
        print(error)
""")
    lines = python("", "-m", "convgpu.keras", "--tf-keras", str(script)).stdout.splitlines()
    assert lines == [
        "convgpu 23", "tensorflow.VERSION: convgpu answers for tensorflow.keras alone; use keras.__version__",
        "tensorflow.train: convgpu answers for tensorflow.keras alone; use keras.optimizers, for instance "
        "keras.optimizers.Adam(0.001) for tf.train.AdamOptimizer(0.001)",
        "tensorflow.frobnicate: convgpu answers for tensorflow.keras alone"]


def test_what_borrowed_functions_call_is_there() -> None:
    """Each function of `np` that a public function of Keras's NumPy backend calls, with each option that it passes."""
    lacking = []
    for name in ("core", "numpy", "nn", "math", "linalg", "image"):
        module = importlib.import_module(f"convgpu.keras.backend.{name}")
        source = Path(keras.__file__).parent / "src" / "backend" / "numpy" / f"{name}.py"
        for function in ast.parse(source.read_text(encoding="utf-8")).body:
            ours = inspect.unwrap(getattr(module, getattr(function, "name", ""), len))
            code = getattr(ours, "__code__", None)
            if code is None or code.co_filename != str(source) or ours.__name__.startswith("_"):
                continue
            for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                called = ast.unparse(call.func)
                if not re.fullmatch(r"np(\.\w+)+", called):
                    continue
                found: Any = namespace
                for part in called.split(".")[1:]:
                    found = getattr(found, part, None)
                options = {k.arg for k in call.keywords if k.arg}
                if found is None:
                    lacking.append(f"{name}.{ours.__name__}: {called}")
                elif inspect.isfunction(found) and not inspect.getfullargspec(found).varkw:
                    unknown = options - set(inspect.signature(found).parameters)
                    lacking += [f"{name}.{ours.__name__}: {called}({option}=)" for option in unknown]
    assert not lacking


# --- variables and tensors


def test_variables_stand_for_their_tensor() -> None:
    v = keras.Variable([1.0, 2.0])
    for y in (cg.numpy.exp(v), cg.numpy.reshape(v, (2, 1)), cg.tensor([1.0, 1.0]) * v, v * 2, cg.numpy.stack([v, v]),
              cg.numpy.asarray([v, [1.0, 1.0]]), keras.ops.sum(v)):
        assert y.requires_grad
        y.sum().backward()
    np.testing.assert_allclose(v.value.grad, [np.e + 1 + 1 + 2 + 2 + 1 + 1, np.e**2 + 8], rtol=1e-5)
    frozen = keras.Variable([1.0], trainable=False)
    assert not cg.numpy.exp(frozen).requires_grad


def test_a_trainable_variable_cannot_leave_the_tape_in_a_training_step() -> None:
    class Leaves(keras.Layer):
        def build(self, shape: Any) -> None:
            self.w = self.add_weight(shape=(1,))

        def call(self, x: Any) -> Any:
            return x * np.array(self.w).item()

    model = keras.Sequential([keras.Input((1,)), Leaves()])
    model.compile("sgd", "mse")
    assert model.predict(np.ones((2, 1)), verbose=0).shape == (2, 1)
    with pytest.raises(TypeError, match="a trainable variable was converted to a NumPy array while its gradient"):
        model.fit(np.ones((2, 1)), np.ones((2, 1)), verbose=0)
    assert np.array(model.weights[0]).shape == (1,)


def test_freezing_a_layer() -> None:
    model = network()
    model.layers[0].trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    before = [w.numpy() for w in model.layers[0].weights]
    others = [w.numpy() for w in model.layers[-1].weights]
    model.fit(X, Y, epochs=2, verbose=0)
    assert all((a == b.numpy()).all() for a, b in zip(before, model.layers[0].weights))
    assert not any((a == b.numpy()).all() for a, b in zip(others, model.layers[-1].weights))
    assert not model.layers[0].kernel.value.requires_grad


def test_weights_without_a_gradient_are_reported() -> None:
    class Unused(keras.Layer):
        def build(self, shape: Any) -> None:
            self.w, self.unused = self.add_weight(shape=(1,)), self.add_weight(shape=(1,), name="unused")

        def call(self, x: Any) -> Any:
            return x * self.w

    model = keras.Sequential([keras.Input((1,)), Unused()])
    model.compile("sgd", "mse")
    with pytest.warns(UserWarning, match="Gradients do not exist for variables"):
        model.fit(np.ones((2, 1)), np.ones((2, 1)), verbose=0)


def test_devices() -> None:
    with keras.device("cpu:0"):
        assert core.current_device() == "cpu" and keras.ops.ones(1).device == "cpu"
    if cg.info.gpu_obstacle():
        with pytest.raises(ValueError, match="device 'gpu': expected a usable GPU, got none"), keras.device("gpu:0"):
            pass
    with pytest.raises(ValueError, match="device: expected 'cpu' or 'gpu'"), keras.device("tpu:0"):
        pass


def test_one_device_is_listed_and_several_are_refused() -> None:
    distribution = keras.distribution
    first = core.current_device()
    assert distribution.list_devices() == [f"{first}:0"] and distribution.list_devices("cpu") == ["cpu:0"]
    assert distribution.list_devices("tpu") == []
    assert len(distribution.list_devices("gpu")) == (0 if cg.info.gpu_obstacle() else 1)
    assert distribution.get_device_count() == 1
    for make in (lambda: distribution.DataParallel(devices=["cpu:0"]), lambda: distribution.DataParallel(),
                 lambda: distribution.DataParallel(devices=["cpu:0", "cpu:1"])):
        with pytest.raises(NotImplementedError, match="convgpu computes on one device, got .*DataParallel.*leave"):
            distribution.set_distribution(make())
        with pytest.raises(NotImplementedError, match="convgpu computes on one device"), make().scope():
            pass
    assert distribution.distribution() is None
    distribution.set_distribution(None)
    with pytest.raises(NotImplementedError, match="one process on one device"):
        distribution.initialize()


def test_shapes_are_found_without_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> Any:
        raise AssertionError("a convolution was computed")

    monkeypatch.setattr(cg, "conv", refuse)
    x = keras.Input((None, None, 3))
    y = L.Conv2D(4, 5, strides=2)(x)
    assert y.shape == (None, None, None, 4) and L.MaxPooling2D()(y).shape == (None, None, None, 4)
    assert L.Conv2D(4, 5, strides=2)(keras.Input((224, 224, 3))).shape == (None, 110, 110, 4)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize(("f", "s"), [(2, 2), (3, 2), (2, 3), (5, 1)])
def test_sizes_of_transposed_convolution(f: int, s: int, data_format: str) -> None:
    shape = (1, 4, 5, 2) if data_format == "channels_last" else (1, 2, 4, 5)
    for padding in ("valid", "same"):
        y = L.Conv2DTranspose(3, f, strides=s, padding=padding, data_format=data_format)(np.ones(shape, "float32"))
        size = y.shape[1:3] if data_format == "channels_last" else y.shape[2:]
        assert size == tuple(n * s + (max(f - s, 0) if padding == "valid" else 0) for n in (4, 5))


# --- training


def test_a_network_learns_with_all_callbacks(tmp_path: Path) -> None:
    c = keras.callbacks
    model = network(optimizer=keras.optimizers.Adam(0.02), steps_per_execution=2)
    callbacks = [
        c.ModelCheckpoint(str(tmp_path / "best.keras"), save_best_only=True, monitor="loss"),
        c.ModelCheckpoint(str(tmp_path / "last.weights.h5"), save_weights_only=True),
        c.EarlyStopping("loss", patience=30), c.ReduceLROnPlateau("loss"), c.CSVLogger(str(tmp_path / "log.csv")),
        c.BackupAndRestore(str(tmp_path / "backup"))]
    history = model.fit(X, Y, batch_size=6, epochs=8, validation_split=0.25, class_weight={0: 1.0, 1: 2.0, 2: 1.0},
                        callbacks=callbacks, verbose=0).history
    assert history["loss"][-1] < 0.6 * history["loss"][0]
    assert set(history) == {"accuracy", "loss", "val_accuracy", "val_loss", "learning_rate"}
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 9
    best = keras.models.load_model(tmp_path / "best.keras")
    assert best.evaluate(X, Y, verbose=0, return_dict=True).keys() == {"loss", "accuracy"}


def test_generators_and_datasets() -> None:
    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 6

        def __getitem__(self, i: int) -> Any:
            return X[8 * i:8 * i + 8], Y[8 * i:8 * i + 8]

    model = network()
    first = model.evaluate(Batches(), verbose=0)[0]
    model.fit(Batches(), epochs=2, verbose=0)
    model.fit((Batches()[i % 6] for i in range(12)), steps_per_epoch=6, epochs=2, verbose=0)
    assert model.evaluate(X, Y, batch_size=8, verbose=0)[0] < first
    np.testing.assert_allclose(model.predict(X, verbose=0), model.predict_on_batch(X), atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy: str) -> None:
    keras.config.set_dtype_policy(policy)
    try:
        model = network(optimizer=keras.optimizers.Adam(0.01))
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.layers[0].kernel.dtype == "float32"
    assert keras.backend.standardize_dtype(model(X[:2]).dtype) == policy.removeprefix("mixed_")
    losses = model.fit(X, Y, epochs=6, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")


def test_averages_clipping_and_regularizers() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), L.Dense(3, kernel_regularizer=keras.regularizers.L2(0.1),
                                                         kernel_constraint="non_neg")])
    model.compile(keras.optimizers.Adam(0.01, use_ema=True, clipnorm=1.0, gradient_accumulation_steps=2), "mse")
    x = rng.standard_normal((16, 4)).astype("float32")
    losses = model.fit(x, x[:, :3], epochs=20, batch_size=4, verbose=0).history["loss"]
    assert losses[-1] < losses[0] and (model.layers[0].kernel.numpy() >= 0).all()


@pytest.mark.parametrize("name", [
    "SGD", "RMSprop", "Adam", "AdamW", "Adadelta", "Adagrad", "Adamax", "Adafactor", "Nadam", "Ftrl", "Lion", "Lamb",
    "Muon"])
def test_every_optimizer_goes_downhill(name: str) -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), L.Dense(3)])
    model.compile(getattr(keras.optimizers, name)(), "mse")
    x = np.random.default_rng(1).standard_normal((32, 4)).astype("float32")
    losses = model.fit(x, x[:, :3], epochs=3, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("make", [
    lambda: keras.optimizers.SGD(0.1), lambda: keras.optimizers.SGD(0.1, 0.9),
    lambda: keras.optimizers.SGD(0.1, 0.9, nesterov=True), lambda: keras.optimizers.Adam(0.01),
    lambda: keras.optimizers.AdamW(0.01)], ids=["sgd", "momentum", "nesterov", "adam", "adamw"])
def test_updates_in_one_sweep_are_those_of_keras(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained() -> list[np.ndarray]:
        draws = np.random.default_rng(2)
        variables = [keras.Variable(draws.standard_normal(s).astype("float32")) for s in ((300, 301), (5,), ())]
        chosen = make()
        for _ in range(3):
            chosen.apply([keras.ops.convert_to_tensor(draws.standard_normal(v.shape), "float32") for v in variables],
                         variables)
        return [np.array(v) for v in variables]

    swept = trained()
    monkeypatch.setattr(optimizer, "_rule", lambda *args: None)
    for got, expected in zip(swept, trained()):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


# --- saving


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_models_are_saved_and_loaded(suffix: str, tmp_path: Path) -> None:
    model = network()
    model.fit(X, Y, verbose=0)
    model.save(tmp_path / f"model{suffix}")
    again = keras.models.load_model(tmp_path / f"model{suffix}")
    np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))
    assert int(again.optimizer.iterations) == int(model.optimizer.iterations)


def test_weights_are_saved_and_loaded(tmp_path: Path) -> None:
    model, other = network(), network()
    model.fit(X, Y, verbose=0)
    model.save_weights(tmp_path / "a.weights.h5")
    other.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(other.predict(X, verbose=0), model.predict(X, verbose=0))


def attention() -> Any:
    x = keras.Input((6, 8))
    return keras.Model(x, L.LayerNormalization()(L.MultiHeadAttention(2, 4)(x, x) + x))


def embedded() -> Any:
    words, more = keras.Input((5,), dtype="int32", name="words"), keras.Input((4,), name="more")
    return keras.Model([words, more], L.GlobalAveragePooling1D()(L.Embedding(7, 4)(words)) + more)


def separable() -> Any:
    return keras.Sequential([
        keras.Input((9, 10, 3)), L.SeparableConv2D(6, 3, strides=2, activation="relu6"), L.BatchNormalization(),
        L.Conv2DTranspose(4, 3, strides=2), L.LeakyReLU(), L.AveragePooling2D(2), L.GlobalMaxPooling2D()])


def model_inputs(model: Any, batch: int) -> Any:
    arrays = [rng.integers(0, 7, (batch, *i.shape[1:])).astype(i.dtype) for i in model.inputs]
    return arrays if len(arrays) > 1 else arrays[0]


@pytest.mark.parametrize("build", [
    network, attention, embedded, separable,
    lambda: keras.Sequential([keras.Input((4, 10)), L.Bidirectional(L.LSTM(5)), L.Dense(2, activation="gelu")]),
], ids=["network", "attention", "embedded", "separable", "lstm"])
def test_onnxruntime_computes_what_a_model_exports(build: Any, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the packages onnx and onnxruntime")
    model, path = build(), tmp_path / "model.onnx"
    model(model_inputs(model, 2))  # Keras exports no model that has never been called
    model.export(path, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == [i.name for i in model.inputs]
    for batch in (1, 3):
        given = model_inputs(model, batch)
        arrays = given if isinstance(given, list) else [given]
        expected = model(given).numpy()
        got = session.run(None, {i.name: a for i, a in zip(session.get_inputs(), arrays)})[0]
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


def test_exports_name_sizes_and_opset(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs the package onnx")
    model, path = network(), tmp_path / "model.onnx"
    fixed = [keras.InputSpec(shape=(2, 8, 8, 1), dtype="float32", name="pictures")]
    model.export(path, format="onnx", verbose=False, input_signature=fixed, opset_version=21)
    found = cg.onnx.load(path)
    assert found.inputs == ("pictures",) and found.shapes == ((2, 8, 8, 1),) and found.opset == 21
    with pytest.raises(ValueError, match="opset_version to be None or 21, got 17"):
        model.export(path, format="onnx", verbose=False, opset_version=17)
    open_sizes = [keras.InputSpec(shape=(None, None, 8, 1), dtype="float32")]
    with pytest.raises(ValueError, match="None along the first axis alone"):
        model.export(path, format="onnx", verbose=False, input_signature=open_sizes)


def test_export_in_other_formats_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match="save the model by model.save"):
        network().export(str(tmp_path / "x"))


# --- random numbers


def test_seeds_give_the_same_numbers() -> None:
    draw = keras.random
    for f in (draw.normal, draw.uniform, draw.truncated_normal):
        np.testing.assert_array_equal(f((3, 4), seed=3), f((3, 4), seed=3))
        assert abs(float(keras.ops.mean(f((100, 100), seed=5)))) < 0.6
    assert np.abs(np.array(draw.truncated_normal((1000,), seed=1))).max() <= 2
    generator = draw.SeedGenerator(1)
    assert (np.array(draw.normal((3,), seed=generator)) != np.array(draw.normal((3,), seed=generator))).any()
    assert generator.state.numpy().tolist() == [1, 2]
    z = np.array(draw.truncated_normal((50_000,), seed=2))
    assert abs(z.mean()) < 0.02 and abs(z.std() - 0.87962566) < 0.01  # the deviation of a normal cut off at 2
    counts = np.bincount(np.array(draw.categorical(np.log([[0.5, 0.3, 0.2]]), 20_000, seed=3))[0])
    np.testing.assert_allclose(counts / 20_000, [0.5, 0.3, 0.2], atol=0.02)
    whole = np.array(draw.randint((20_000,), -2, 3, seed=4))
    np.testing.assert_allclose(np.bincount(whole + 2) / 20_000, 0.2, atol=0.02)
    shuffled = np.array(draw.shuffle(np.arange(50), seed=5))
    assert sorted(shuffled) == list(range(50)) and (shuffled != np.arange(50)).any()
    with pytest.raises(ValueError, match="randint: expected minval < maxval, got minval=3, maxval=3"):
        draw.randint((2,), 3, 3)
    dropped = np.array(draw.dropout(np.ones((100, 100), "float32"), 0.25, seed=1))
    assert set(np.unique(dropped)) == {0, np.float32(1 / 0.75)} and abs((dropped == 0).mean() - 0.25) < 0.02
