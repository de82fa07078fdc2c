"""Scripts of TensorFlow's Keras on convgpu: functions that `keras.backend` had, windows of time series, old names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optional import require

require("keras")

import convgpu as cg  # noqa: E402
import convgpu.keras  # noqa: F401, E402

# isort: split
import keras  # noqa: E402

from convgpu.keras import legacy_backend as K  # noqa: N812, E402 - its name in every script
from convgpu.keras.timeseries import timeseries_dataset_from_array  # noqa: E402

draws = np.random.default_rng(0)
X, Y = draws.random((2, 3, 4)).astype("float32"), draws.random((2, 3, 4)).astype("float32")


def sure(x: Any) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(x))


# --- functions of keras.backend


@pytest.mark.parametrize(("got", "right"), [
    (lambda: K.flatten(X), X.ravel()), (lambda: K.batch_flatten(X), X.reshape(2, 12)),
    (lambda: K.cast(X, "int32"), X.astype("int32")), (lambda: K.constant(2), np.float32(2)),
    (lambda: K.constant(2, shape=(2, 2)), np.full((2, 2), 2.0, "float32")),
    (lambda: K.constant([1, 2], dtype="int32", shape=(2, 1)), np.array([[1], [2]], "int32")),
    (lambda: K.sum(X, axis=[1, 2]), X.sum((1, 2))),
    (lambda: K.mean(X, axis=-1, keepdims=True), X.mean(-1, keepdims=True)),
    (lambda: K.mean(K.equal(K.round(X), 1)), (X.round() == 1).mean(dtype="float32")),
    (lambda: K.clip(X, 0.2, None), X.clip(0.2)), (lambda: K.clip(X, K.epsilon(), 0.5), X.clip(1e-7, 0.5)),
    (lambda: K.square(X - Y), (X - Y) ** 2), (lambda: K.abs(X - Y), abs(X - Y)), (lambda: K.sqrt(X), np.sqrt(X)),
    (lambda: K.log(X), np.log(X)), (lambda: K.exp(X), np.exp(X)), (lambda: K.pow(X, 2), X**2),
    (lambda: K.max(X, 1), X.max(1)), (lambda: K.min(X), X.min()), (lambda: K.prod(X, 0), X.prod(0)),
    (lambda: K.argmax(X), X.argmax(-1)), (lambda: K.argmin(X, 0), X.argmin(0)), (lambda: K.std(X, 0), X.std(0)),
    (lambda: K.var(X), X.var()), (lambda: K.any(X > 0.9, -1), (X > 0.9).any(-1)),
    (lambda: K.all(X > 0.1), (X > 0.1).all()),
    (lambda: K.dot(X, Y[0].T), X @ Y[0].T), (lambda: K.reshape(X, [2, -1]), X.reshape(2, -1)),
    (lambda: K.concatenate([X, Y]), np.concatenate([X, Y], -1)), (lambda: K.stack([X, Y], axis=1), np.stack([X, Y], 1)),
    (lambda: K.expand_dims(X), X[..., None]), (lambda: K.squeeze(X[:1], 0), X[0]),
    (lambda: K.permute_dimensions(X, (0, 2, 1)), X.swapaxes(1, 2)), (lambda: K.transpose(X[0]), X[0].T),
    (lambda: K.repeat(X[0], 2), np.stack([X[0], X[0]], 1)), (lambda: K.repeat_elements(X, 2, 1), X.repeat(2, 1)),
    (lambda: K.reverse(X, 1), X[:, ::-1]), (lambda: K.gather(X[0], np.array([2, 0])), X[0][[2, 0]]),
    (lambda: K.arange(3), np.arange(3)), (lambda: K.cumsum(X), X.cumsum(0)), (lambda: K.cumprod(X, 1), X.cumprod(1)),
    (lambda: K.relu(X - 0.5, alpha=0.1, max_value=0.3), np.where(X > 0.5, np.minimum(X - 0.5, 0.3), 0.1 * (X - 0.5))),
    (lambda: K.hard_sigmoid(8 * X - 4), np.clip(0.2 * (8 * X - 4) + 0.5, 0, 1)),
    (lambda: K.l2_normalize(X, -1), X / np.linalg.norm(X, axis=-1, keepdims=True)),
    (lambda: K.softmax(X), np.exp(X) / np.exp(X).sum(-1, keepdims=True)),
    (lambda: K.switch(K.constant(1), X, Y), X),
    (lambda: K.switch(K.constant([1, 0]), X, lambda: Y), np.stack([X[0], Y[1]])),
    (lambda: K.batch_dot(X, Y, axes=2), np.einsum("nab,ncb->nac", X, Y)),
    (lambda: K.batch_dot(X, Y, axes=(1, 1)), np.einsum("nab,nac->nbc", X, Y)),
    (lambda: K.batch_dot(X, Y.swapaxes(1, 2)), X @ Y.swapaxes(1, 2)),
    (lambda: K.batch_dot(X[:, 0], Y[:, 0]), (X[:, 0] * Y[:, 0]).sum(-1, keepdims=True)),
    (lambda: K.temporal_padding(X), np.pad(X, ((0, 0), (1, 1), (0, 0)))),
    (lambda: K.spatial_2d_padding(X[None], ((1, 0), (0, 2)), "channels_last"),
     np.pad(X[None], ((0, 0), (1, 0), (0, 2), (0, 0)))),
    (lambda: K.binary_crossentropy(X.round(), Y), -np.where(X.round() == 1, np.log(Y), np.log(1 - Y))),
    (lambda: K.categorical_crossentropy(X, Y), -(X * np.log(Y / Y.sum(-1, keepdims=True))).sum(-1)),
    (lambda: K.foldl(lambda a, x: a * 2 + x, X), X[0] * 2 + X[1]),
    (lambda: K.foldr(lambda a, x: a * 2 + x, X), X[1] * 2 + X[0]),
    (lambda: K.map_fn(lambda x: x * 2, X), X * 2), (lambda: K.in_train_phase(X, Y), Y),
    (lambda: K.in_train_phase(X, Y, 1), X),
])
def test_functions_of_the_old_backend(got: Any, right: Any) -> None:
    np.testing.assert_allclose(sure(got()), right, rtol=2e-5, atol=1e-6)


def test_every_function_of_the_old_backend_is_there_or_explained() -> None:
    from keras._tf_keras.keras import backend as old

    functions = [name for name in dir(old) if not name.startswith("_") and callable(getattr(old, name))]
    assert len(functions) > 120
    for name in functions:
        try:
            assert callable(getattr(K, name))
        except AttributeError as error:
            assert name in K.REPLACEMENTS and f"keras.backend.{name}: convgpu does not have" in str(error)
    assert (K.floatx(), K.image_data_format(), K.int_shape(X), K.ndim(X), K.dtype(X), K.count_params(X)) == (
        "float32", "channels_last", (2, 3, 4), 3, "float32", 24)
    with pytest.raises(NotImplementedError, match=r"K.gradients needs a graph.*loss.backward\(\)"):
        K.gradients(None, [])
    with pytest.raises(AttributeError, match="keras.backend.get_session: .*; leave out the call, since Keras 3 "):
        K.get_session()


def test_variables_of_the_old_backend() -> None:
    v = K.variable([1.0, 2.0])
    K.update_add(v, [1.0, 1.0])
    K.moving_average_update(v, np.array([4.0, 5.0]), 0.5)
    np.testing.assert_array_equal(K.get_value(v), [3, 4])
    K.set_value(v, [7.0, 8.0])
    np.testing.assert_array_equal(K.batch_get_value([v])[0], [7, 8])


def dice_loss(y_true: Any, y_pred: Any) -> Any:
    a, b = K.flatten(K.cast(y_true, "float32")), K.flatten(y_pred)
    return 1 - (2 * K.sum(a * b) + K.epsilon()) / (K.sum(a) + K.sum(b) + K.epsilon())


def test_a_dice_loss_trains() -> None:
    keras.utils.set_random_seed(0)
    x = draws.random((8, 6, 6, 1)).astype("float32")
    model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Conv2D(1, 1, activation="sigmoid")])
    model.compile(keras.optimizers.Adam(0.2), dice_loss)
    losses = model.fit(x, (x > 0.5).astype("uint8"), epochs=40, verbose=0).history["loss"]
    assert losses[-1] < 0.75 * losses[0]
    p = model.predict(x, verbose=0)
    right = 1 - 2 * (p * (x > 0.5)).sum() / (p.sum() + (x > 0.5).sum())
    assert model.evaluate(x, (x > 0.5).astype("uint8"), verbose=0) == pytest.approx(right, rel=1e-4)


def test_a_function_of_inner_outputs_and_a_perceptual_loss() -> None:
    features = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Conv2D(2, 3, name="inner"),
                                 keras.layers.Flatten(), keras.layers.Dense(1)])
    x, other = draws.random((2, 6, 6, 1)).astype("float32"), draws.random((2, 6, 6, 1)).astype("float32")
    inner = K.function([features.inputs[0], K.learning_phase()], [features.get_layer("inner").output])
    np.testing.assert_allclose(inner([x, 0])[0], features.get_layer("inner")(x), rtol=1e-6)
    extract = keras.Model(features.inputs, features.get_layer("inner").output)
    image = cg.tensor(x, requires_grad=True)
    K.mean(K.square(extract(image) - extract(other))).backward()
    assert image.grad.shape == x.shape and float(K.sum(K.abs(image.grad))) > 0
    symbolic = keras.layers.Lambda(lambda t: K.batch_flatten(K.square(t)), output_shape=(36,))(keras.Input((6, 6, 1)))
    assert K.int_shape(symbolic) == (None, 36)


def test_ctc_of_the_old_backend() -> None:
    torch = pytest.importorskip("torch", reason="the judge of CTC is PyTorch: pip install torch")
    p = draws.random((2, 6, 4)).astype("float32")
    p /= p.sum(-1, keepdims=True)
    labels, label_length = np.array([[0, 2, 1], [1, 1, 0]]), np.array([[3], [2]])
    input_length = np.array([[6], [5]])
    got = K.ctc_batch_cost(labels, p, input_length, label_length)
    right = torch.nn.functional.ctc_loss(
        torch.log(torch.tensor(p)).transpose(0, 1), torch.tensor(labels), torch.tensor(input_length[:, 0]),
        torch.tensor(label_length[:, 0]), blank=3, reduction="none")
    assert got.shape == (2, 1)
    np.testing.assert_allclose(got[:, 0], right, rtol=1e-4)
    sharp = np.full((1, 5, 4), 0.01, "float32")
    sharp[0, np.arange(5), [0, 0, 3, 2, 2]] = 0.97
    decoded, _ = K.ctc_decode(sharp, np.array([5]))
    assert sure(decoded[0])[0][:3].tolist() == [0, 2, -1]


# --- windows of time series


def test_windows_of_a_time_series() -> None:
    series = np.arange(20)
    batches = timeseries_dataset_from_array(series, series + 100, 4, sequence_stride=3, sampling_rate=2, batch_size=2,
                                            start_index=1, end_index=16)
    got = [(x, y) for x, y in batches]
    starts = [1, 4, 7]  # the last window begins at 1 + 15 - 1 - 3 * 2 at the latest
    assert len(batches) == len(got) == 2 and [len(x) for x, _ in got] == [2, 1]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in got]), [[s, s + 2, s + 4, s + 6] for s in starts])
    np.testing.assert_array_equal(np.concatenate([y for _, y in got]), [s + 100 for s in starts])
    assert [x.tolist() for x in timeseries_dataset_from_array(series[:5], None, 4, batch_size=None)] == [
        [0, 1, 2, 3], [1, 2, 3, 4]]
    assert len(list(batches.take(1))) == 1 and batches.prefetch(1) is batches.cache()
    shuffled = timeseries_dataset_from_array(series, series, 1, batch_size=20, shuffle=True, seed=1)
    (first, _), = shuffled
    (second, _), = shuffled
    assert sorted(first[:, 0]) == sorted(second[:, 0]) == list(series)
    assert first.tolist() != second.tolist()
    for rule, options in (("0 < sampling_rate < 20", {"sampling_rate": 0}), ("end_index <= 20", {"end_index": 21}),
                          ("sequence_length > 0", {"sequence_length": 0}), ("0 <= start_index", {"start_index": 20})):
        with pytest.raises(ValueError, match=rule):
            timeseries_dataset_from_array(series, None, **{"sequence_length": 2, **options})


def test_a_model_trains_on_windows() -> None:
    keras.utils.set_random_seed(0)
    series = np.sin(np.arange(200) / 5).astype("float32")
    batches = timeseries_dataset_from_array(series[:-8, None], series[8:], 8, batch_size=32, shuffle=True, seed=0)
    model = keras.Sequential([keras.Input((8, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.05), "mse")
    losses = model.fit(batches, validation_data=batches, epochs=8, verbose=0).history["loss"]
    assert losses[-1] < 0.1 * losses[0]
    assert model.predict(batches, verbose=0).shape == (185, 1)


# --- modules


def test_modules_of_old_scripts(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("""
import keras  # noqa: E402
import tensorflow as tf
from tensorflow.keras import backend as K
from tensorflow.keras.layers.experimental import preprocessing
from tensorflow.keras.layers.experimental.preprocessing import Rescaling
import tensorflow.keras.backend
from tensorflow.python.keras.layers import Dense
from tensorflow.python.keras import backend as private
from tensorflow.keras.utils import timeseries_dataset_from_array
from tensorflow.keras.preprocessing import timeseries_dataset_from_array as again
assert K.flatten is tf.keras.backend.flatten is private.flatten and again is timeseries_dataset_from_array
assert Rescaling is preprocessing.Rescaling is keras.layers.Rescaling
assert tf.keras.layers.experimental.preprocessing.Rescaling is Rescaling
assert Dense is keras.layers.Dense and tf.keras.preprocessing.timeseries_dataset_from_array is again
assert keras.backend.flatten is K.flatten and keras.backend.epsilon() == K.epsilon()
assert len(tf.keras.utils.timeseries_dataset_from_array([1, 2, 3], None, 2)) == 1
print(float(K.sum(K.flatten(K.cast([[1, 2]], "float32")))))
for name in ("keras.wrappers.scikit_learn", "python.keras.engine", "python.framework.ops", "data.experimental",
             "keras.frobnicate", "contrib.slim", "keras.layers.frobnicate"):
    try:
        __import__("tensorflow." + name)
    except ModuleNotFoundError as error:
        print(error)
for get in (lambda: K.frobnicate, lambda: tf.keras.experimental, lambda: tf.keras.layers.frobnicate,
            lambda: tf.python.ops, lambda: keras.backend.get_session):
    try:
        get()
    except AttributeError as error:
        print(error)
""")
    done = subprocess.run([sys.executable, "-m", "convgpu.keras", "--tf-keras", str(script)], capture_output=True,
                          text=True, check=False)
    assert done.stdout.splitlines() == [
        "3.0",
        "tensorflow.keras.wrappers.scikit_learn: Keras 3 does not have it; use keras.wrappers.SKLearnClassifier and "
        "SKLearnRegressor",
        "tensorflow.python.keras.engine: Keras 3 does not have it; use keras.layers and keras.models",
        "tensorflow.python.framework: convgpu answers for tensorflow.keras alone",
        "tensorflow.data: convgpu answers for tensorflow.keras alone; use NumPy arrays or a "
        "keras.utils.PyDataset, which model.fit takes",
        "tensorflow.keras.frobnicate: Keras 3 does not have it; look for frobnicate in keras.layers, keras.ops",
        "tensorflow.contrib.slim: convgpu answers for tensorflow.keras alone; use keras.layers and keras.optimizers",
        "tensorflow.keras.layers.frobnicate: Keras 3 does not have it; look for frobnicate in keras.layers, keras.ops",
        "keras.backend.frobnicate: convgpu does not have this function of older Keras; use the functions of keras.ops",
        "tensorflow.keras.experimental: Keras 3 does not have it; use keras.layers and keras.models",
        "tensorflow.keras.layers.frobnicate: Keras 3 does not have it; look for frobnicate in keras.layers, keras.ops",
        "tensorflow.python.ops: convgpu answers for tensorflow.keras alone",
        "keras.backend.get_session: convgpu does not have this function of older Keras; leave out the call, "
        "since Keras 3 computes at once and has no sessions"], done.stderr
