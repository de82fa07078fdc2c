"""AlexNet as courses draw it: one tower, where every convolution after the first is padded to keep its size.

From Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional Neural Networks" (2012), without
the two groups, the normalisation and the dropout of the paper.

    227x227x3 -conv 11x11/4-> 55x55x96 -pool 3x3/2-> 27x27x96 -conv 5x5-> 256 -pool-> 13x13 -conv 3x3-> 384, 384, 256
    -pool-> 6x6x256 = 9,216 -> 4,096 -> 4,096 -> 1,000

The model is a function of a nested dict with 62,378,344 parameters.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import convgpu as cg

INPUT, CLASSES = (227, 227, 3), 1000

Params = dict[str, dict[str, cg.Tensor]]


def initial(generator: Any = 0) -> Params:
    """The parameters before training."""
    generator = np.random.default_rng(generator)

    def layer(*shape: int) -> dict[str, cg.Tensor]:
        return {"w": cg.he_normal(shape, generator=generator), "b": cg.zeros(shape[-1])}

    return {"conv1": layer(11, 11, 3, 96), "conv2": layer(5, 5, 96, 256), "conv3": layer(3, 3, 256, 384),
            "conv4": layer(3, 3, 384, 384), "conv5": layer(3, 3, 384, 256), "dense1": layer(6 * 6 * 256, 4096),
            "dense2": layer(4096, 4096), "dense3": layer(4096, CLASSES)}


def logits(params: Params, x: Any) -> cg.Tensor:
    """The score of each class for images (N, 227, 227, 3)."""
    def conv(x: Any, name: str, **options: Any) -> cg.Tensor:
        return cg.conv(x, params[name]["w"], params[name]["b"], activation="relu", **options)

    x = cg.max_pool(conv(x, "conv1", stride=4), 3, stride=2)
    x = cg.max_pool(conv(x, "conv2", padding="same"), 3, stride=2)
    for name in ("conv3", "conv4", "conv5"):
        x = conv(x, name, padding="same")
    x = cg.max_pool(x, 3, stride=2)
    x = x.reshape(len(x), -1)
    for name in ("dense1", "dense2"):
        x = cg.linear(x, params[name]["w"], params[name]["b"], activation="relu")
    return cg.linear(x, params["dense3"]["w"], params["dense3"]["b"])


def loss(params: Params, x: Any, y: Any) -> cg.Tensor:
    """The cross-entropy of a batch."""
    return cg.cross_entropy(logits(params, x), y)
