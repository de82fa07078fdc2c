"""MobileNet: thirteen blocks of a depthwise 3x3 and a 1x1 convolution, each normalised and clipped to [0, 6].

From Howard and others, "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications" (2017),
with width 1, as Keras has it but for the dropout before the classes, which keeps 999 elements in 1,000.

The model is a function of a nested dict with 4,231,976 parameters. Keras counts 4,253,864, since it adds the running
statistics of batch normalisation. These are for prediction alone; training uses the statistics of each batch, and here
it does not keep running ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import convgpu as cg

INPUT, CLASSES = (224, 224, 3), 1000
STEM = 32
# filters and stride of each block
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))

Params = dict[str, dict[str, cg.Tensor]]


def initial(generator: Any = 0) -> Params:
    """The parameters before training."""
    generator = np.random.default_rng(generator)

    def layer(*shape: int) -> dict[str, cg.Tensor]:
        channels = shape[-1] * (shape[-2] if shape[-1] == 1 else 1)
        return {"w": cg.he_normal(shape, generator=generator), "scale": cg.ones(channels), "offset": cg.zeros(channels)}

    params, channels = {"stem": layer(3, 3, INPUT[-1], STEM)}, STEM
    for i, (filters, _) in enumerate(BLOCKS, 1):
        params |= {f"block{i}_depthwise": layer(3, 3, channels, 1),
                   f"block{i}_pointwise": layer(1, 1, channels, filters)}
        channels = filters
    dense = {"w": cg.he_normal((channels, CLASSES), generator=generator), "b": cg.zeros(CLASSES)}
    return {**params, "dense": dense}


def logits(params: Params, x: Any, even: bool = False) -> cg.Tensor:
    """The score of each class for images (N, 224, 224, 3), normalised by the statistics of this batch.

    Args:
        even: pad strided convolutions alike on both sides, as PyTorch's networks do and Keras's do not.
    """
    def finished(y: Any, name: str) -> cg.Tensor:
        layer = params[name]
        unused = layer["offset"]  # stands in for the running statistics, which are not used
        y = cg.batch_norm(y, unused, unused, layer["scale"], layer["offset"], training=True, epsilon=1e-3)[0]
        return cg.relu6(y)

    x = finished(cg.conv(x, params["stem"]["w"], stride=2, padding=1 if even else "same"), "stem")
    for i, (_, stride) in enumerate(BLOCKS, 1):
        name = f"block{i}_depthwise"
        x = finished(cg.depthwise_conv(x, params[name]["w"], stride=stride, padding=1 if even else "same"), name)
        name = f"block{i}_pointwise"
        x = finished(cg.conv(x, params[name]["w"]), name)
    return cg.linear(cg.global_avg_pool(x), params["dense"]["w"], params["dense"]["b"])


def loss(params: Params, x: Any, y: Any, even: bool = False) -> cg.Tensor:
    """The cross-entropy of a batch."""
    return cg.cross_entropy(logits(params, x, even), y)
