"""keras.ops.numpy: borrowed from Keras's NumPy backend, but for what is written here."""

from __future__ import annotations

from typing import Any

from keras.src.backend import config
from keras.src.backend.common import standardize_dtype

import convgpu.numpy as cnp
from convgpu import Tensor
from convgpu.keras.borrow import borrowed

from .core import convert_to_tensor

exec(borrowed("numpy"), globals())


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Tensor:  # noqa: N803 - Keras's names
    """An (N, M) matrix with ones on its k-th diagonal."""
    return cnp.eye(N, M, k, dtype=dtype or config.floatx())


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:  # noqa: A001 - Keras's name
    """The sum over axis."""
    x = convert_to_tensor(x)
    dtype = standardize_dtype(x.dtype)
    if dtype in ("bool", "int8", "int16"):
        dtype = "int32"
    elif dtype in ("uint8", "uint16"):
        dtype = "uint32"
    return cnp.sum(x, tuple(axis) if isinstance(axis, list) else axis, keepdims=keepdims).astype(dtype)
