"""The ledger of a training step of `keras.applications`' networks, through Keras on convgpu."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from ..extras import require
from ..files import UsageError
from . import ledger, spec
from .result import Ledger

# the names in keras.applications; the sides of the images
NETWORKS = {"vgg16": ("VGG16", 224), "resnet50": ("ResNet50", 224), "mobilenet": ("MobileNet", 224),
            "efficientnet_b0": ("EfficientNetB0", 224)}
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}


def keras_training_ledger(name: str, batch: int, dtype: str = "float32", device: str | None = None) -> Ledger:
    """The ledger of one `train_step` with SGD and momentum, the loss on integer labels, and no metric but the loss.

    Args:
        name: the network, a key of NETWORKS.
        batch: the number of images, which lie on the GPU in float32.
        dtype: of computations; half types by Keras's mixed precision.
        device: a GPU by name.

    Raises:
        UsageError: keras.applications has no such network, or Keras runs on another backend already.
    """
    step = keras_step(name, dtype)
    side = NETWORKS[name][1]
    # the first call makes the model, and the optimizer's momentum
    return ledger(step, spec((batch, side, side, 3)), spec(batch, "int64"), device=device, warmup=1)


def keras_step(name: str, dtype: str) -> Callable[..., Any]:
    """The `train_step` of that ledger: a function of images and labels, which makes its model when it is first called.

    Variables must lie on the GPU on which the step runs.
    """
    if name not in NETWORKS:
        raise UsageError(f"--keras: expected a network of keras.applications, one of {', '.join(NETWORKS)}, got {name}")
    if "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = "convgpu"
    require("convgpu.keras", "--keras")
    keras = require("keras", "--keras")
    if keras.backend.backend() != "convgpu":
        raise UsageError(f"--keras: expected Keras on backend convgpu, got {keras.backend.backend()}; set the "
                         "environment variable KERAS_BACKEND=convgpu")
    application = getattr(keras.applications, NETWORKS[name][0])
    made: list[Any] = []

    def step(images: Any, labels: Any) -> Any:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(POLICIES[dtype])
        try:
            with keras.device("gpu:0"):
                if not made:
                    made.append(application(weights=None))
                    made[0].compile(optimizer=keras.optimizers.SGD(1e-4, momentum=0.9),
                                    loss=keras.losses.SparseCategoricalCrossentropy(), metrics=[])
                return made[0].train_step((images, labels, None))
        finally:
            keras.config.set_dtype_policy(before)

    return step
