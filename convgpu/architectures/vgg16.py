"""VGG-16: thirteen 3x3 convolutions in five blocks, each followed by 2x2 max pooling, then three dense layers.

From Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition" (2014), configuration
D, without dropout.

The model is a function of a nested dict with 138,357,544 parameters.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import convgpu as cg

INPUT, CLASSES = (224, 224, 3), 1000
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))  # filters of each convolution

Params = dict[str, dict[str, cg.Tensor]]


def initial(generator: Any = 0) -> Params:
    """The parameters before training."""
    generator = np.random.default_rng(generator)

    def layer(*shape: int) -> dict[str, cg.Tensor]:
        return {"w": cg.he_normal(shape, generator=generator), "b": cg.zeros(shape[-1])}

    params, channels = {}, INPUT[-1]
    for i, block in enumerate(BLOCKS, 1):
        for j, filters in enumerate(block, 1):
            params[f"conv{i}_{j}"] = layer(3, 3, channels, filters)
            channels = filters
    return {**params, "dense1": layer(7 * 7 * 512, 4096), "dense2": layer(4096, 4096), "dense3": layer(4096, CLASSES)}


def logits(params: Params, x: Any) -> cg.Tensor:
    """The score of each class for images (N, 224, 224, 3)."""
    for i, block in enumerate(BLOCKS, 1):
        for j in range(1, len(block) + 1):
            layer = params[f"conv{i}_{j}"]
            x = cg.conv(x, layer["w"], layer["b"], padding="same", activation="relu")
        x = cg.max_pool(x, 2)
    x = x.reshape(len(x), -1)
    for name in ("dense1", "dense2"):
        x = cg.linear(x, params[name]["w"], params[name]["b"], activation="relu")
    return cg.linear(x, params["dense3"]["w"], params["dense3"]["b"])


def loss(params: Params, x: Any, y: Any) -> cg.Tensor:
    """The cross-entropy of a batch."""
    return cg.cross_entropy(logits(params, x), y)
