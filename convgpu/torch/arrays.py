"""PyTorch's tensors as the arrays that the backends compute with, and back, sharing their memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..backends import run as run_on_backend
from ..dtypes import as_dtype

FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}
OFFSETS = {"uint8": torch.uint8, "uint16": torch.uint16, "int32": torch.int32}


def is_channels_last(x: torch.Tensor) -> bool:
    """Whether the channels of images (N, C, spatial...) lie next to each other in memory, and not the pixels."""
    return x.dim() in FORMATS and not x.is_contiguous() and x.is_contiguous(memory_format=FORMATS[x.dim()])


def images(x: torch.Tensor, last: bool) -> np.ndarray:
    """Images (N, C, spatial...) as (N, spatial..., C) where `last`, else as they are; copied if they lie otherwise."""
    return to_numpy(x.movedim(1, -1) if last else x)


def to_numpy(x: torch.Tensor) -> np.ndarray:
    """The tensor's memory as an array, or a copy in C order where it has gaps or another order."""
    x = x.detach().resolve_neg().contiguous()
    if x.dtype is torch.bfloat16:
        return x.view(torch.int16).numpy().view(as_dtype("bfloat16"))
    return x.numpy()


def to_torch(array: np.ndarray) -> torch.Tensor:
    """The array's memory as a tensor; of a read-only array, which somebody else may hold, a copy."""
    return _over_memory(np.ascontiguousarray(array), ())


def to_images(array: np.ndarray, last: bool) -> torch.Tensor:
    """Images as a tensor (N, C, spatial...); with `last`, its memory is in PyTorch's channels_last format."""
    return _over_memory(np.ascontiguousarray(array), (0, array.ndim - 1, *range(1, array.ndim - 1)) if last else ())


def _over_memory(array: np.ndarray, axes: tuple[int, ...]) -> torch.Tensor:
    """A tensor of its own over the array's memory, its axes in another order. A view could not be changed in place."""
    if not array.flags.writeable:
        array = array.copy()
    half = array.dtype.name == "bfloat16"
    memory = torch.from_numpy(array.view(np.int16) if half else array)
    shape, strides = memory.shape, memory.stride()
    if axes:
        shape, strides = torch.Size([shape[a] for a in axes]), tuple([strides[a] for a in axes])
    made = torch.empty(0, dtype=torch.bfloat16 if half else memory.dtype)
    return made.set_(memory.untyped_storage(), 0, shape, strides)


def empty_images(like: torch.Tensor, shape: tuple[Any, ...], last: bool) -> torch.Tensor:
    """What `to_images` makes, without values: for PyTorch's tracing."""
    if not last:
        return like.new_empty(shape)
    n, c, *size = shape
    strides, step = [], c
    for pixels in reversed(size):
        strides.append(step)
        step = step * pixels
    return like.new_empty_strided(shape, (step, 1, *reversed(strides)))


def run(op: str, arrays: list[Any], *statics: Any) -> Any:
    """Run an op of convgpu on the backend that is chosen."""
    return run_on_backend(op, arrays, statics)
