"""The devices of arrays: "cpu" (a NumPy array) or "gpu" (a CuPy array on GPU 0)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import flags, gpu
from .capturing import region
from .extras import require
from .recorder import Outline

CPU, GPU = "cpu", "gpu"
OLDEST_CUPY = 14  # the first version of CuPy that knows bfloat16


def parse_device(device: str) -> str:
    """"cpu" or "gpu" for any spelling of a device ("gpu:0", "cuda", "cuda:0").

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
    """The device that holds a NumPy or CuPy array. Arrays without values count as arrays of a GPU."""
    return CPU if isinstance(array, np.ndarray) else GPU


def owns_memory(array: Any) -> bool:
    """Whether nobody outside can write to the array, as the owner of what `from_dlpack` imports can."""
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    if isinstance(array, (np.ndarray, Outline)):
        return True
    memory = getattr(getattr(array, "data", None), "mem", None)
    return is_gpu_array(array) and type(memory).__name__ not in ("DLPackMemory", "UnownedMemory")


def is_gpu_array(value: Any) -> bool:
    """Whether `value` is a CuPy array. This question never imports CuPy."""
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(value, cupy.ndarray)


def cupy_with_gpu() -> Any:
    """The cupy module, if it reaches a GPU; else an error says what is missing."""
    gpu.check_usable("device 'gpu'")
    cupy = require("cupy", "device 'gpu'")
    if int(cupy.__version__.split(".")[0]) < OLDEST_CUPY:
        raise ImportError(f"device 'gpu' needs CuPy {OLDEST_CUPY} or later, got {cupy.__version__}: "
                          'pip install --upgrade "convgpu[cuda13]" (cuda12 for a driver of CUDA 12)')
    gpu.touch()
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise RuntimeError(f"device 'gpu': CuPy {cupy.__version__} finds no usable GPU or driver ({error})") from error
    if count < 1:
        raise RuntimeError(f"device 'gpu': CuPy {cupy.__version__} finds no GPU")
    _check_first(cupy.cuda.runtime.getDevice())
    return cupy


def _check_first(index: int) -> None:
    if index != 0:
        raise NotImplementedError(f"device 'gpu': only the first GPU is supported, got CuPy's device {index}")


def checked_gpu_array(array: Any, caller: str) -> Any:
    """A CuPy array of the caller's, if it holds real numbers and lies on the first GPU; else an error."""
    gpu.check_usable(caller)
    gpu.touch()
    _check_first(array.device.id)
    if array.dtype.kind == "c":
        raise TypeError(f"{caller}: expected an array of real numbers or bool, got {array.dtype}")
    return array


def move(array: Any, device: str) -> Any:
    """The array on `device`: the array itself where it is there already, else a copy."""
    if device_of(array) == device:
        return array
    if device == CPU:
        return to_numpy(array)
    cupy = cupy_with_gpu()
    recorder = region.recorder()
    if recorder is not None:
        return gpu.run("to('gpu')", lambda: recorder.constant(array), retry=False)
    return gpu.run("to('gpu')", lambda: cupy.asarray(array))


def run_there(op: str, array: Any, compute: Callable[[], Any], retry: bool = True) -> Any:
    """Call compute(), which works on the array; where the array is on the GPU, call it through `gpu.run`."""
    return gpu.run(op, compute, retry) if is_gpu_array(array) else compute()


def to_numpy(array: Any) -> np.ndarray:
    """The array's values as a NumPy array. The call waits for the GPU, and raises what checks have found there."""
    if isinstance(array, np.ndarray):
        return array
    if isinstance(array, Outline):
        array.recorder.flags.clear()
        return array.get()
    region.refuse("a copy to the CPU")
    values = gpu.run("to('cpu')", array.get)
    flags.read()
    return values


def check_one_device(op: str, arrays: Sequence[Any]) -> None:
    """Raise TypeError unless all arrays are on one device; None and numbers are skipped."""
    devices = [device_of(a) for a in arrays if hasattr(a, "shape")]
    if len(set(devices)) > 1:
        raise TypeError(f"{op}: expected all tensors on one device, got {', '.join(devices)}; "
                        "move them with .to(device)")
