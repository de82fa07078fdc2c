"""EfficientNet-B0: sixteen inverted bottlenecks, each with squeeze and excitation, and SiLU between them.

From Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (2019), as Keras has it but
for stochastic depth and dropout. The images are normalised by the caller.

The model is a function of a nested dict with 5,288,548 parameters. Keras counts 5,330,571, since it adds the running
statistics of batch normalisation and the 7 numbers of its layer that normalises images. Running statistics are for
prediction alone; training uses the statistics of each batch, and here it does not keep running ones.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import convgpu as cg

INPUT, CLASSES = (224, 224, 3), 1000
STEM, TOP = 32, 1280
# kernel, blocks, filters, factor by which channels are expanded, stride of the first block
STAGES = ((3, 1, 16, 1, 1), (3, 2, 24, 6, 2), (5, 2, 40, 6, 2), (3, 3, 80, 6, 2), (5, 3, 112, 6, 1), (5, 4, 192, 6, 2),
          (3, 1, 320, 6, 1))
SQUEEZE = 4  # an excitation has a quarter of the block's input channels

Params = dict[str, dict[str, cg.Tensor]]


def initial(generator: Any = 0) -> Params:
    """The parameters before training."""
    generator = np.random.default_rng(generator)

    def weights(*shape: int) -> cg.Tensor:
        return cg.he_normal(shape, generator=generator)

    def layer(*shape: int) -> dict[str, cg.Tensor]:
        channels = shape[-1] * (shape[-2] if shape[-1] == 1 else 1)
        return {"w": weights(*shape), "scale": cg.ones(channels), "offset": cg.zeros(channels)}

    params, channels = {"stem": layer(3, 3, INPUT[-1], STEM)}, STEM
    for s, (kernel, blocks, filters, factor, _) in enumerate(STAGES, 1):
        for b in range(1, blocks + 1):
            name, wide, narrow = f"stage{s}_{b}", channels * factor, channels // SQUEEZE
            if factor > 1:
                params[f"{name}_expand"] = layer(1, 1, channels, wide)
            params |= {f"{name}_depthwise": layer(kernel, kernel, wide, 1),
                       f"{name}_project": layer(1, 1, wide, filters),
                       f"{name}_squeeze": {"w": weights(wide, narrow), "b": cg.zeros(narrow)},
                       f"{name}_excite": {"w": weights(narrow, wide), "b": cg.zeros(wide)}}
            channels = filters
    params["top"] = layer(1, 1, channels, TOP)
    return {**params, "dense": {"w": weights(TOP, CLASSES), "b": cg.zeros(CLASSES)}}


def logits(params: Params, x: Any, even: bool = False) -> cg.Tensor:
    """The score of each class for images (N, 224, 224, 3), normalised by the statistics of this batch.

    Args:
        even: pad strided convolutions alike on both sides, as PyTorch's networks do and Keras's do not.
    """
    def normalised(y: Any, name: str) -> cg.Tensor:
        layer = params[name]
        unused = layer["offset"]  # stands in for the running statistics, which are not used
        return cg.batch_norm(y, unused, unused, layer["scale"], layer["offset"], training=True, epsilon=1e-3)[0]

    def conv(x: Any, name: str, **options: Any) -> cg.Tensor:
        return normalised(cg.conv(x, params[name]["w"], **options), name)

    def excited(x: Any, name: str) -> cg.Tensor:
        """Weigh the channels of each image by what they are on average."""
        squeeze, excite = params[f"{name}_squeeze"], params[f"{name}_excite"]
        y = cg.silu(cg.linear(cg.global_avg_pool(x), squeeze["w"], squeeze["b"]))
        y = cg.linear(y, excite["w"], excite["b"], activation="sigmoid")
        return x * y.reshape(len(x), 1, 1, x.shape[-1])

    def block(x: Any, name: str, stride: int) -> cg.Tensor:
        y = cg.silu(conv(x, f"{name}_expand")) if f"{name}_expand" in params else x
        depthwise = f"{name}_depthwise"
        w = params[depthwise]["w"]
        y = cg.depthwise_conv(y, w, stride=stride, padding=w.shape[0] // 2 if even else "same")
        y = conv(excited(cg.silu(normalised(y, depthwise)), name), f"{name}_project")
        return y + x if y.shape == x.shape else y

    x = cg.silu(conv(x, "stem", stride=2, padding=1 if even else "same"))
    for s, (_, blocks, _, _, first_stride) in enumerate(STAGES, 1):
        for b in range(1, blocks + 1):
            x = block(x, f"stage{s}_{b}", first_stride if b == 1 else 1)
    x = cg.silu(conv(x, "top"))
    return cg.linear(cg.global_avg_pool(x), params["dense"]["w"], params["dense"]["b"])


def loss(params: Params, x: Any, y: Any, even: bool = False) -> cg.Tensor:
    """The cross-entropy of a batch."""
    return cg.cross_entropy(logits(params, x, even), y)
