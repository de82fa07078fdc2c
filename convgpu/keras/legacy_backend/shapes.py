"""Other shapes, orders and sizes, by the names of Keras 2."""
# ruff: noqa: A001, A002, N803 (the names are those of Keras 2)

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from keras.config import image_data_format

from .values import Tensor


def reshape(x: Any, shape: Any) -> Tensor:
    """The elements in another shape; one size may be -1."""
    return ops.reshape(x, tuple(shape))


def flatten(x: Any) -> Tensor:
    """All elements along one axis."""
    return ops.reshape(x, (-1,))


def batch_flatten(x: Any) -> Tensor:
    """The elements of each sample along one axis."""
    return ops.reshape(x, (-1, int(np.prod(x.shape[1:]))))


def expand_dims(x: Any, axis: int = -1) -> Tensor:
    """x with a new axis of size 1."""
    return ops.expand_dims(x, axis)


def permute_dimensions(x: Any, pattern: Any) -> Tensor:
    """The axes in another order."""
    return ops.transpose(x, pattern)


def concatenate(tensors: Any, axis: int = -1) -> Tensor:
    """Tensors one after the other along axis."""
    return ops.concatenate(tensors, axis)


def stack(x: Any, axis: int = 0) -> Tensor:
    """Tensors along a new axis."""
    return ops.stack(x, axis)


def repeat(x: Any, n: int) -> Tensor:
    """(N, D) -> (N, n, D)."""
    return ops.repeat(ops.expand_dims(x, 1), n, 1)


def repeat_elements(x: Any, rep: int, axis: int) -> Tensor:
    """Each entry along axis `rep` times."""
    return ops.repeat(x, rep, axis)


def reverse(x: Any, axes: Any) -> Tensor:
    """Backwards along axes."""
    return ops.flip(x, axes)


def gather(reference: Any, indices: Any) -> Tensor:
    """The entries along the first axis with those numbers."""
    return ops.take(reference, indices, 0)


def arange(start: int, stop: int | None = None, step: int = 1, dtype: str = "int32") -> Tensor:
    """start, start + step, ... below stop; 0, 1, ... below the only argument."""
    return ops.arange(start, stop, step, dtype)


def temporal_padding(x: Any, padding: tuple[int, int] = (1, 1)) -> Tensor:
    """Zeros before and after the steps of (N, T, C)."""
    return ops.pad(x, ((0, 0), tuple(padding), (0, 0)))


def _padded(x: Any, padding: Any, data_format: str | None) -> Tensor:
    around = [tuple(p) for p in padding]
    first = (data_format or image_data_format()) == "channels_first"
    return ops.pad(x, [(0, 0), (0, 0), *around] if first else [(0, 0), *around, (0, 0)])


def spatial_2d_padding(x: Any, padding: Any = ((1, 1), (1, 1)), data_format: str | None = None) -> Tensor:
    """Zeros around images."""
    return _padded(x, padding, data_format)


def spatial_3d_padding(x: Any, padding: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None) -> Tensor:
    """Zeros around volumes."""
    return _padded(x, padding, data_format)


def resize_images(x: Any, height_factor: int, width_factor: int, data_format: str | None = None,
                  interpolation: str = "nearest") -> Tensor:
    """Images enlarged by whole factors."""
    return keras.layers.UpSampling2D((height_factor, width_factor), data_format, interpolation)(x)


def resize_volumes(x: Any, depth_factor: int, height_factor: int, width_factor: int,
                   data_format: str | None = None) -> Tensor:
    """Volumes enlarged by whole factors."""
    return keras.layers.UpSampling3D((depth_factor, height_factor, width_factor), data_format)(x)
