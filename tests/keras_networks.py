"""The networks of the notes with weights and images of fixed seeds: what they give, and what one step of SGD changes.

`python keras_networks.py FOLDER` saves it for every network, computed by the backend that KERAS_BACKEND names.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import applications

# Its path and not its name: `import convgpu.keras` would choose the backend.
_path = Path(__file__).parent.parent / "convgpu" / "keras" / "models.py"
_spec = importlib.util.spec_from_file_location("models", _path)
models: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(models)

# Function, options, parameters in full size, and the small size that is run: pixels and, where dense layers would
# dominate, classes.
NETWORKS = {
    "LeNet-5": (models.LeNet5, {}, 61_706, {"input_shape": (28, 28, 1)}),
    "LeNet-5, unpadded": (models.LeNet5, {"input_shape": (32, 32, 1), "padding": "valid"}, 61_706, {}),
    "AlexNet, padded": (models.AlexNet, {}, 62_378_344, {"input_shape": (67, 67, 3), "classes": 10}),
    "AlexNet, two groups": (models.AlexNet, {"groups": 2}, 60_965_224, {"input_shape": (67, 71, 3), "classes": 10}),
    "AlexNet, unpadded": (models.AlexNet, {"padding": "valid"}, 28_823_912,
                          {"input_shape": (195, 199, 3), "classes": 10}),
    "ZFNet": (models.ZFNet, {}, 62_357_608, {"input_shape": (64, 68, 3), "classes": 10}),
    "GoogLeNet": (models.GoogLeNet, {}, 6_998_552, {"input_shape": (64, 96, 3)}),
    "VGG-16": (applications.VGG16, {}, 138_357_544, {"input_shape": (32, 32, 3), "classes": 10}),
    "VGG-19": (applications.VGG19, {}, 143_667_240, {"input_shape": (32, 32, 3), "classes": 10}),
    "ResNet-50": (applications.ResNet50, {}, 25_636_712, {"input_shape": (64, 64, 3)}),
    "InceptionV3": (applications.InceptionV3, {}, 23_851_784, {"input_shape": (107, 107, 3)}),
    "Xception": (applications.Xception, {}, 22_910_480, {"input_shape": (71, 71, 3)}),
    "MobileNet": (applications.MobileNet, {}, 4_253_864, {"input_shape": (64, 64, 3)}),
    "InceptionResNetV2": (applications.InceptionResNetV2, {}, 55_873_736, {"input_shape": (75, 75, 3)}),
    "EfficientNet-B0": (applications.EfficientNetB0, {}, 5_330_571, {"input_shape": (64, 64, 3)}),
}


def parameters(name: str) -> int:
    """The parameters of a network in full size, counted without making them."""
    function, options, _, _ = NETWORKS[name]
    with keras.StatelessScope(initialize_variables=False):
        return function(weights=None, **options).count_params()


def small(name: str) -> keras.Model:
    """A network in small size, without dropout, its weights drawn from a fixed seed."""
    function, options, _, size = NETWORKS[name]
    model = function(weights=None, **options | size)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0
    rng = np.random.default_rng(0)
    model.set_weights([_random(rng, weight) for weight in model.weights])
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with copies of its weights, which in PyTorch may be views of them
    return model


def _random(rng: np.random.Generator, weight: Any) -> np.ndarray:
    """Kernels that keep the variance of what they see; biases, scales and statistics of normalisations off 0 and 1."""
    value, shape = keras.ops.convert_to_numpy(weight), weight.shape
    if len(shape) == 1:
        return value + rng.uniform(0, 0.2, shape)
    if len(shape) < 1:
        return value
    fan_in = np.prod(shape[:2] if "depthwise" in weight.path else shape[:-1])
    return rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(1 / fan_in))


def outputs(name: str, dtype: str) -> dict[str, np.ndarray]:
    """Features (what the last layer sees), probabilities, loss; and what a step of SGD subtracts from each weight."""
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    try:
        return _outputs(small(name))
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


def _outputs(model: keras.Model) -> dict[str, np.ndarray]:
    x, y = batch(model)
    inner = keras.Model(model.inputs[0], [model.layers[-1].input, model.output])
    features, probabilities = inner.predict(x, verbose=0)
    before = arrays(model)
    model.compile(optimizer=keras.optimizers.SGD(1.0), loss="sparse_categorical_crossentropy")
    loss = model.train_on_batch(x, y)
    gradients = [b - a.astype("float64") for b, a in zip(before, arrays(model))]  # SGD with rate 1 subtracts them
    return {"features": features, "probabilities": probabilities, "loss": np.asarray(loss),
            **{f"gradient {i:03}": gradient for i, gradient in enumerate(gradients)}}


def batch(model: keras.Model) -> tuple[np.ndarray, np.ndarray]:
    """Four images and their labels."""
    return np.random.default_rng(1).uniform(-1, 1, (4, *model.input_shape[1:])).astype("float32"), np.arange(4)


def arrays(model: keras.Model) -> list[np.ndarray]:
    """Copies of the trainable weights."""
    return [keras.ops.convert_to_numpy(w).copy() for w in model.trainable_weights]


if __name__ == "__main__":
    for name in NETWORKS:
        np.savez(Path(sys.argv[1]) / f"{name}.npz", **outputs(name, "float32"))
