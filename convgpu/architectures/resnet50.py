"""ResNet-50: sixteen bottlenecks (1x1, 3x3, 1x1) with a shortcut around each; every convolution is batch-normalised.

From He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition" (2015), with the stride in the 3x3 convolution
of a bottleneck, which is the form that benchmarks time.

The model is a function of a nested dict with 25,557,032 parameters. Training uses the statistics of each batch, and
here it does not keep running ones; prediction takes running statistics as a second dict.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import convgpu as cg

INPUT, CLASSES = (224, 224, 3), 1000
# width, number of bottlenecks, stride of the first bottleneck
STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))

Params = dict[str, dict[str, cg.Tensor]]
Statistics = dict[str, tuple[cg.Tensor, cg.Tensor]]  # the running mean and variance of each convolution's output


def initial(generator: Any = 0) -> Params:
    """The parameters before training."""
    generator = np.random.default_rng(generator)

    def layer(kernel: int, channels: int, filters: int) -> dict[str, cg.Tensor]:
        return {"w": cg.he_normal((kernel, kernel, channels, filters), generator=generator),
                "scale": cg.ones(filters), "offset": cg.zeros(filters)}

    params, channels = {"stem": layer(7, INPUT[-1], 64)}, 64
    for s, (width, bottlenecks, _) in enumerate(STAGES, 1):
        for b in range(1, bottlenecks + 1):
            name = f"stage{s}_{b}"
            params |= {f"{name}_reduce": layer(1, channels, width), f"{name}_3x3": layer(3, width, width),
                       f"{name}_expand": layer(1, width, 4 * width)}
            if b == 1:
                params[f"{name}_around"] = layer(1, channels, 4 * width)
            channels = 4 * width
    dense = {"w": cg.he_normal((channels, CLASSES), generator=generator), "b": cg.zeros(CLASSES)}
    return {**params, "dense": dense}


def initial_statistics(params: Params) -> Statistics:
    """Running statistics before training: a mean of 0 and a variance of 1."""
    sizes = {name: layer["scale"].shape[0] for name, layer in params.items() if "scale" in layer}
    return {name: (cg.zeros(n), cg.ones(n)) for name, n in sizes.items()}


def logits(params: Params, x: Any, statistics: Statistics | None = None) -> cg.Tensor:
    """The score of each class for images (N, 224, 224, 3), normalised by the statistics of this batch, or by the given
    ones.
    """
    def conv(x: Any, name: str, stride: int = 1, padding: int = 0) -> cg.Tensor:
        layer = params[name]
        y = cg.conv(x, layer["w"], stride=stride, padding=padding)
        unused = layer["offset"]  # stands in for the running statistics, which are not used
        mean, var = (unused, unused) if statistics is None else statistics[name]
        return cg.batch_norm(y, mean, var, layer["scale"], layer["offset"], training=statistics is None)[0]

    x = cg.max_pool(cg.relu(conv(x, "stem", 2, 3)), 3, stride=2, padding=1)
    for s, (_, bottlenecks, first_stride) in enumerate(STAGES, 1):
        for b in range(1, bottlenecks + 1):
            name, stride = f"stage{s}_{b}", first_stride if b == 1 else 1
            y = cg.relu(conv(x, f"{name}_reduce"))
            y = cg.relu(conv(y, f"{name}_3x3", stride, 1))
            around = conv(x, f"{name}_around", stride) if b == 1 else x
            x = cg.relu(conv(y, f"{name}_expand") + around)
    return cg.linear(cg.global_avg_pool(x), params["dense"]["w"], params["dense"]["b"])


def loss(params: Params, x: Any, y: Any) -> cg.Tensor:
    """The cross-entropy of a batch."""
    return cg.cross_entropy(logits(params, x), y)
