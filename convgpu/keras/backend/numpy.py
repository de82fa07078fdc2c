"""keras.ops.numpy: borrowed from Keras's NumPy backend, but for what is written here."""

from __future__ import annotations

import builtins
from typing import Any

from keras.src.backend import config
from keras.src.backend.common import dtypes, standardize_dtype

import convgpu.numpy as cnp
from convgpu import Tensor
from convgpu.keras.borrow import borrowed

from .core import convert_to_tensor

exec(borrowed("numpy"), globals())


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Tensor:  # noqa: N803 - Keras's names
    """An (N, M) matrix with ones on its k-th diagonal."""
    return cnp.eye(N, M, k, dtype=dtype or config.floatx())


def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False, dtype: Any = None,
             axis: int = 0) -> Any:
    """`num` evenly spaced values from start to stop (numbers or tensors) along `axis`; with retstep, also the step."""
    start, stop = convert_to_tensor(start), convert_to_tensor(stop)
    dtype = dtype or dtypes.result_type(start.dtype, stop.dtype, float)
    start, stop = cnp.broadcast_arrays(start.astype("float64"), stop.astype("float64"))
    intervals = num - 1 if endpoint else num
    step = (stop - start) / intervals if intervals > 0 else (stop - start) * float("nan")
    fractions = cnp.arange(num, dtype="float64").reshape((num,) + (1,) * start.ndim) / builtins.max(intervals, 1)
    values = start + (stop - start) * fractions
    values = cnp.moveaxis(values, 0, axis)
    values = cnp.floor(values).astype(dtype) if "int" in str(dtype) else values.astype(dtype)
    return (values, step) if retstep else values


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:  # noqa: A001 - Keras's name
    """The sum over axis."""
    x = convert_to_tensor(x)
    dtype = standardize_dtype(x.dtype)
    if dtype in ("bool", "int8", "int16"):
        dtype = "int32"
    elif dtype in ("uint8", "uint16"):
        dtype = "uint32"
    return cnp.sum(x, tuple(axis) if isinstance(axis, list) else axis, keepdims=keepdims).astype(dtype)
