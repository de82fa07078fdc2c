"""Where an array lives: "cpu" (a NumPy array) or "gpu" (a CuPy array on GPU 0)."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from .extras import require

CPU, GPU = "cpu", "gpu"


def parse_device(device: str) -> str:
    """"cpu" or "gpu" for any spelling of them ("gpu:0", "cuda", "cuda:0").

    >>> parse_device("cuda:0")
    'gpu'
    """
    if not isinstance(device, str):
        raise TypeError(f"device: expected a string, 'cpu' or 'gpu', got {device!r}")
    kind, _, index = device.lower().partition(":")
    if kind in ("cpu", "gpu", "cuda") and index in ("", "0"):
        return CPU if kind == "cpu" else GPU
    if kind in ("gpu", "cuda") and index.isdigit():
        raise NotImplementedError(f"device {device!r}: only the first GPU is supported, use 'gpu'")
    raise ValueError(f"device: expected 'cpu' or 'gpu', got {device!r}")


def device_of(array: Any) -> str:
    """The device that holds a NumPy or CuPy array."""
    return CPU if isinstance(array, np.ndarray) else GPU


def is_gpu_array(value: Any) -> bool:
    """Whether `value` is a CuPy array. CuPy is never imported for the answer."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(value, cupy.ndarray)


def cupy_with_gpu() -> Any:
    """The cupy module, once it has been seen to reach a GPU; else an error that says what is missing."""
    cupy = require("cupy", "device 'gpu'")
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f"device 'gpu': CuPy {cupy.__version__} finds no usable GPU or driver ({error})") from error
    if count < 1:
        raise RuntimeError(f"device 'gpu': CuPy {cupy.__version__} finds no GPU")
    return cupy


def move(array: Any, device: str) -> Any:
    """The array on `device`: itself where it is there already, else a copy."""
    if device_of(array) == device:
        return array
    return cupy_with_gpu().asarray(array) if device == GPU else array.get()


def to_numpy(array: Any) -> np.ndarray:
    """The array's values as a NumPy array."""
    return array if isinstance(array, np.ndarray) else array.get()
