"""The networks of the notes in Keras on convgpu: parameters, a forward pass and a training step of each."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from optional import require

require("keras")

import convgpu.keras  # noqa: F401, E402  # isort: skip - before keras
import keras  # noqa: E402
import keras_networks  # noqa: E402
from keras_networks import NETWORKS  # noqa: E402

from convgpu.keras.models import AlexNet, GoogLeNet, LeNet5, ZFNet  # noqa: E402


def error(got: np.ndarray, expected: np.ndarray, floor: float = 0.0) -> float:
    """The largest difference, relative to the largest value."""
    return float(np.abs(got - expected).max() / max(np.abs(expected).max(), floor))


def gradient_error(got: dict, expected: dict) -> float:
    """The largest relative error, in the norm, of the gradients of all weights that move the loss at all."""
    names = [name for name in expected if name.startswith("gradient")]
    assert names == [name for name in got if name.startswith("gradient")]
    norms = {name: float(np.linalg.norm(expected[name])) for name in names}
    floor = 1e-3 * max(norms.values())  # a bias before a batch normalisation has a gradient of rounding errors only
    return max(float(np.linalg.norm(got[name] - expected[name])) / max(norms[name], floor) for name in names)


@pytest.mark.parametrize("name", NETWORKS)
def test_parameters(name: str) -> None:
    assert keras_networks.parameters(name) == NETWORKS[name][2]


class Steps:
    """A network, and what a training step of it gives in each dtype; each is computed once for all tests of it."""

    def __init__(self, name: str):
        self.name, self._found = name, {}

    def of(self, dtype: str) -> dict[str, np.ndarray]:
        """The outputs in that dtype."""
        if dtype not in self._found:
            self._found[dtype] = keras_networks.outputs(self.name, dtype)
        return self._found[dtype]


@pytest.fixture(scope="module", params=NETWORKS)  # of the module, so that the tests of one network follow each other
def steps(request: pytest.FixtureRequest) -> Steps:
    return Steps(request.param)


def test_forward_and_training_step_equal_float64(steps: Steps) -> None:
    single, double = steps.of("float32"), steps.of("float64")
    assert single["features"].dtype == np.float32 and double["features"].dtype == np.float64
    assert error(single["features"], double["features"]) < 1e-5
    assert error(single["probabilities"], double["probabilities"]) < 1e-5
    assert abs(single["loss"] - double["loss"]) < 1e-4
    # Where a relu or a maximum falls to the other side in float32, whole elements differ: up to 4% were seen.
    assert gradient_error(single, double) < 0.1


@pytest.mark.parametrize("steps", ["AlexNet, two groups", "ZFNet", "GoogLeNet", "ResNet-50", "Xception", "MobileNet",
                                   "EfficientNet-B0"], indirect=True)
def test_training_step_follows_the_slope_of_the_loss(steps: Steps) -> None:
    """The gradient along a random direction in all weights, against the central difference of the loss in float64."""
    gradients = steps.of("float64")
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        model = keras_networks.small(steps.name)
        x, y = keras_networks.batch(model)
        weights, rng = keras_networks.arrays(model), np.random.default_rng(2)
        direction = [rng.standard_normal(w.shape) * np.abs(w).mean() for w in weights]

        def loss(step: float) -> float:
            for variable, w, d in zip(model.trainable_weights, weights, direction):
                variable.assign(w + step * d)
            probabilities = keras.ops.convert_to_numpy(model(x, training=True))
            return -np.log(probabilities[np.arange(len(y)), y]).mean()

        slope = (loss(1e-7) - loss(-1e-7)) / 2e-7
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    terms = [float((gradients[f"gradient {i:03}"] * d).sum()) for i, d in enumerate(direction)]
    assert abs(slope - sum(terms)) < 1e-2 * np.linalg.norm(terms)  # some relus change sides within the step


@pytest.fixture(scope="module")
def torch_outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed")
    folder = tmp_path_factory.mktemp("torch")
    subprocess.run([sys.executable, keras_networks.__file__, folder], env=os.environ | {"KERAS_BACKEND": "torch"},
                   check=True, timeout=900)
    return folder


def test_forward_and_training_step_equal_keras_on_torch(steps: Steps, torch_outputs: Path) -> None:
    ours = steps.of("float32")
    with np.load(torch_outputs / f"{steps.name}.npz") as theirs:
        assert error(ours["features"], theirs["features"]) < 1e-5
        assert error(ours["probabilities"], theirs["probabilities"]) < 1e-5
        assert abs(ours["loss"] - theirs["loss"]) < 1e-4
        assert gradient_error(ours, dict(theirs)) < 0.1


def test_parameters_by_layer() -> None:
    with keras.StatelessScope(initialize_variables=False):
        vgg16, lenet5 = keras.applications.VGG16(weights=None), LeNet5()
    assert [layer.count_params() for layer in vgg16.layers if layer.weights] == [
        1792, 36928, 73856, 147584, 295168, 590080, 590080, 1180160, 2359808, 2359808, 2359808, 2359808, 2359808,
        102764544, 16781312, 4097000]
    assert [layer.count_params() for layer in lenet5.layers if layer.weights] == [156, 2416, 48120, 10164, 850]


@pytest.mark.parametrize(("network", "options", "sizes"), [
    (AlexNet, {"padding": "valid"}, [55, 27, 23, 11, 9, 7, 5, 2]),
    (AlexNet, {}, [55, 27, 27, 13, 13, 13, 13, 6]),
    (ZFNet, {}, [110, 55, 26, 13, 13, 13, 13, 6]),
    (GoogLeNet, {}, [112, 56, 56, 56, 28, 14, 7]),
], ids=["AlexNet, unpadded", "AlexNet, padded", "ZFNet", "GoogLeNet"])
def test_sizes_of_the_feature_maps(network, options: dict, sizes: list[int]) -> None:
    with keras.StatelessScope(initialize_variables=False):
        model = network(include_top=False, **options)
    found = [layer.output.shape[1] for layer in model.layers if layer.name.startswith(("conv", "pool"))
             and not layer.name.endswith("_pad")]
    assert found == sizes
    assert model.output_shape == (None, sizes[-1], sizes[-1], 1024 if network is GoogLeNet else 256)


def test_weights_come_from_a_file(tmp_path: Path) -> None:
    first = LeNet5(classes=3)
    first.save_weights(tmp_path / "lenet5.weights.h5")
    second = LeNet5(classes=3, weights=tmp_path / "lenet5.weights.h5")
    x = np.random.default_rng(0).random((2, 28, 28, 1), np.float32)
    np.testing.assert_array_equal(first.predict(x, verbose=0), second.predict(x, verbose=0))


def test_any_size_without_the_top() -> None:
    model = GoogLeNet(include_top=False, input_shape=(None, None, 3))
    for rows, columns in ((32, 64), (65, 33)):
        y = model.predict(np.zeros((1, rows, columns, 3), np.float32), verbose=0)
        assert y.shape == (1, -(-rows // 32), -(-columns // 32), 1024)


def test_images_too_small_for_the_network_are_an_error() -> None:
    with pytest.raises(ValueError, match="negative|smaller|larger"):
        LeNet5(input_shape=(8, 8, 1), padding="valid")
