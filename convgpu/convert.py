"""Converts what users pass (numbers, nested lists, arrays) to arrays that belong to a Tensor."""

from __future__ import annotations

from typing import Any

import numpy as np

from .device import checked_gpu_array, is_gpu_array, run_there
from .dtypes import is_float


class NotAnArray(TypeError):
    """The error for a value that is no tensor and that NumPy cannot make a numeric array of."""


def read_only(array: Any) -> Any:
    """The array with writing disabled (CuPy cannot disable it)."""
    if isinstance(array, np.ndarray):
        array.flags.writeable = False
    return array


def copy_of(value: Any, caller: str) -> Any:
    """A new array with the values of anything but a Tensor; Python floats become float32."""
    if is_gpu_array(value):
        return run_there(caller, value, checked_gpu_array(value, caller).copy)
    if isinstance(value, (list, tuple)) and contains(value, is_tensor_like):
        raise NotAnArray(f"{caller}: got a list that contains Tensors; join them with convgpu.numpy.stack, which keeps "
                         "their gradients")
    try:
        array = np.array(value)
    except (ValueError, TypeError, OverflowError) as error:
        kind = ValueError if "inhomogeneous" in str(error) else NotAnArray
        hint = "lists of one length on each level" if kind is ValueError else "a tensor, array or number, real or bool"
        raise kind(f"{caller}: expected {hint}, got {type(value).__name__} {value!r:.60}") from error
    if array.dtype.kind in "OSUMmc" or (array.dtype.kind == "V" and not is_float(array.dtype)):
        got = f"an array of {array.dtype}" if _has_dtype(value) else f"{type(value).__name__} {value!r:.60}"
        raise NotAnArray(f"{caller}: expected a tensor, array or number, real or bool, got {got}")
    if array.dtype == np.float64 and not contains(value, _has_dtype):
        array = array.astype(np.float32)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def contains(value: Any, predicate: Any) -> bool:
    """Whether a value, or any leaf of nested lists, satisfies the predicate."""
    if isinstance(value, (list, tuple)):
        return any(contains(v, predicate) for v in value)
    return predicate(value)


def is_tensor_like(value: Any) -> bool:
    return hasattr(value, "__convgpu_tensor__") or (hasattr(value, "requires_grad") and hasattr(value, "array"))


def _has_dtype(value: Any) -> bool:
    return hasattr(value, "dtype") or hasattr(value, "__array__")
