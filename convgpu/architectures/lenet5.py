"""LeNet-5, a network for handwritten digits.

From LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition" (1998), in the form of
today's courses: tanh, 2x2 average pooling without weights, the second convolution connected to all six maps.

    32x32x1 -conv 5x5-> 28x28x6 -pool-> 14x14x6 -conv 5x5-> 10x10x16 -pool-> 5x5x16 -> 400 -> 120 -> 84 -> 10

The model is a function of a nested dict of parameters, which are 61,706 at this size. Copy this file and change it;
convgpu/examples/lenet5.py trains the network.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import convgpu as cg

SMALLEST = 16  # pixels; from a smaller image nothing is left after the second pooling
LABEL_SMOOTHING = 0.1

Params = dict[str, dict[str, cg.Tensor]]


def shapes(shape: tuple[int, int, int], classes: int) -> dict[str, dict[str, tuple[int, ...]]]:
    """The shapes of the parameters, for images of `shape` (H, W, C).

    >>> shapes((32, 32, 1), 10)["dense1"]
    {'w': (400, 120), 'b': (120,)}
    """
    height, width, channels = shape
    if min(height, width) < SMALLEST:
        raise ValueError(f"lenet5: expected images of at least {SMALLEST}x{SMALLEST} pixels (two 5x5 convolutions, "
                         f"each followed by 2x2 pooling), got {height}x{width}")
    rows, columns = (((n - 4) // 2 - 4) // 2 for n in (height, width))
    weights = {"conv1": (5, 5, channels, 6), "conv2": (5, 5, 6, 16), "dense1": (rows * columns * 16, 120),
               "dense2": (120, 84), "dense3": (84, classes)}
    return {name: {"w": w, "b": w[-1:]} for name, w in weights.items()}


def initial(shape: tuple[int, int, int], classes: int, generator: Any = 0) -> Params:
    """The parameters before training, for images of `shape` (H, W, C).

    >>> params = initial((32, 32, 1), 10)
    >>> sum(p.size for layer in params.values() for p in layer.values())
    61706
    """
    generator = np.random.default_rng(generator)
    return {name: {"w": cg.glorot_uniform(layer["w"], generator=generator), "b": cg.zeros(layer["b"])}
            for name, layer in shapes(shape, classes).items()}


def logits(params: Params, x: Any) -> cg.Tensor:
    """The score of each class for images (N, H, W, C)."""
    for name in ("conv1", "conv2"):
        x = cg.avg_pool(cg.conv(x, params[name]["w"], params[name]["b"], activation="tanh"), 2)
    x = x.reshape(len(x), -1)
    for name in ("dense1", "dense2"):
        x = cg.linear(x, params[name]["w"], params[name]["b"], activation="tanh")
    return cg.linear(x, params["dense3"]["w"], params["dense3"]["b"])


def loss(params: Params, x: Any, y: Any) -> tuple[cg.Tensor, cg.Tensor]:
    """The cross-entropy of a batch, and the scores that it was computed from."""
    scores = logits(params, x)
    return cg.cross_entropy(scores, y, label_smoothing=LABEL_SMOOTHING), scores
