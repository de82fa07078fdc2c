"""PyTorch's tensors through convgpu's kernels: functions, layers, and `replace` for models that exist.

    import convgpu.torch

    report = convgpu.torch.replace(model)  # its convolutions, pooling, batch norm and linear layers use our kernels
    print(report)

Tensors are not copied: the kernels read and write PyTorch's memory, in both memory formats. The ops are registered with
PyTorch under the name `convgpu`, with gradients of second order, so that autograd, `torch.compile`, autocast and
DistributedDataParallel work over them. It works on the CPU; tensors on a GPU are refused.
"""

from __future__ import annotations

from ..extras import require as _require

_require("torch", "convgpu.torch")

from . import functional, ops  # noqa: E402 - the modules import torch
from .modules import (  # noqa: E402
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    Linear,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
    Replaced,
    replace,
)

__all__ = [
    "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "BatchNorm1d",
    "BatchNorm2d", "BatchNorm3d", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
    "functional", "Linear", "MaxPool1d", "MaxPool2d", "MaxPool3d", "ops", "replace", "Replaced",
]
