"""Changes of shape, order and size, under the names of Keras 2."""
# ruff: noqa: A001, A002, N803 (the names come from Keras 2)

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from keras.config import image_data_format

from .values import Tensor


def reshape(x: Any, shape: Any) -> Tensor:
    """The elements of x in another shape; one size may be -1."""
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
    """x with its axes in another order."""
    return ops.transpose(x, pattern)


def concatenate(tensors: Any, axis: int = -1) -> Tensor:
    """Tensors joined one after the other along axis."""
    return ops.concatenate(tensors, axis)


def stack(x: Any, axis: int = 0) -> Tensor:
    """Tensors joined along a new axis."""
    return ops.stack(x, axis)


def repeat(x: Any, n: int) -> Tensor:
    """x repeated n times along a new axis: (N, D) -> (N, n, D)."""
    return ops.repeat(ops.expand_dims(x, 1), n, 1)


def repeat_elements(x: Any, rep: int, axis: int) -> Tensor:
    """Each entry along axis repeated `rep` times."""
    return ops.repeat(x, rep, axis)


def reverse(x: Any, axes: Any) -> Tensor:
    """x in reversed order along axes."""
    return ops.flip(x, axes)


def gather(reference: Any, indices: Any) -> Tensor:
    """The entries along the first axis that the indices name."""
    return ops.take(reference, indices, 0)


def arange(start: int, stop: int | None = None, step: int = 1, dtype: str = "int32") -> Tensor:
    """The numbers start, start + step, ... below stop; with a single argument, 0, 1, ... below it."""
    return ops.arange(start, stop, step, dtype)


def temporal_padding(x: Any, padding: tuple[int, int] = (1, 1)) -> Tensor:
    """(N, T, C) with steps of zeros before and after."""
    return ops.pad(x, ((0, 0), tuple(padding), (0, 0)))


def _padded(x: Any, padding: Any, data_format: str | None) -> Tensor:
    around = [tuple(p) for p in padding]
    first = (data_format or image_data_format()) == "channels_first"
    return ops.pad(x, [(0, 0), (0, 0), *around] if first else [(0, 0), *around, (0, 0)])


def spatial_2d_padding(x: Any, padding: Any = ((1, 1), (1, 1)), data_format: str | None = None) -> Tensor:
    """Images with zeros around them."""
    return _padded(x, padding, data_format)


def spatial_3d_padding(x: Any, padding: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None) -> Tensor:
    """Volumes with zeros around them."""
    return _padded(x, padding, data_format)


def resize_images(x: Any, height_factor: int, width_factor: int, data_format: str | None = None,
                  interpolation: str = "nearest") -> Tensor:
    """Images enlarged by whole factors."""
    return keras.layers.UpSampling2D((height_factor, width_factor), data_format, interpolation)(x)


def resize_volumes(x: Any, depth_factor: int, height_factor: int, width_factor: int,
                   data_format: str | None = None) -> Tensor:
    """Volumes enlarged by whole factors."""
    return keras.layers.UpSampling3D((depth_factor, height_factor, width_factor), data_format)(x)
