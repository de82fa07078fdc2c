"""Exchange with other libraries: memory is shared through DLPack, and NumPy's functions can be called on Tensors.

Tensors never change, but other libraries write to what they import (PyTorch ignores DLPack's read-only flag), so
exports are copies. Imports share memory. `np.exp(t)` and the like run convgpu.numpy's function of the same name, and
the tape records it.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from . import gpu
from .device import CPU, GPU, checked_gpu_array, cupy_with_gpu, is_gpu_array, run_there
from .dtypes import as_dtype
from .tensor import Tensor, promoted, wrap

_DEVICE_TYPES = {1: CPU, 2: GPU, 3: CPU, 13: GPU}  # DLPack's kDLCPU, kDLCUDA, kDLCUDAHost, kDLCUDAManaged


def from_dlpack(source: Any) -> Tensor:
    """A Tensor that shares memory with `source`, any object with `__dlpack__` (NumPy, PyTorch, JAX, CuPy).

    Nothing is copied: what the source's owner writes later shows up in the Tensor, and the tape does not notice. So
    write no more, or use `convgpu.tensor(source)`, which copies. The Tensor itself never writes to the memory.

    bfloat16 is taken too, though NumPy's and CuPy's own importers know no such dtype.

    Raises:
        TypeError: source has no `__dlpack__`, or holds complex numbers or a dtype unknown to NumPy.
        BufferError: the source cannot be exported (its own message says why).

    >>> import numpy as np
    >>> a = np.zeros(2)
    >>> t = from_dlpack(a); a[0] = 5; t
    Tensor([5., 0.], dtype=float64)
    """
    if not hasattr(source, "__dlpack__") or not hasattr(source, "__dlpack_device__"):
        raise TypeError(f"from_dlpack: expected an object with __dlpack__, got {type(source).__name__}")
    kind = int(source.__dlpack_device__()[0])
    if kind not in _DEVICE_TYPES:
        raise ValueError(f"from_dlpack: expected memory on the CPU or a CUDA GPU, got DLPack device type {kind}")
    if _is_bfloat16(source):
        source = _Relabelled(source)
    if _DEVICE_TYPES[kind] == GPU:
        cupy = cupy_with_gpu()
        array = gpu.run("from_dlpack", lambda: cupy.from_dlpack(source))
        return wrap(checked_gpu_array(_original(array, source), "from_dlpack"))
    try:
        array = _original(np.from_dlpack(source), source)
    except RuntimeError as error:  # NumPy raises it for dtypes that it does not know
        raise TypeError(f"from_dlpack: expected a dtype that NumPy imports, got {getattr(source, 'dtype', '?')} "
                        f"({error}); convert it first, for instance to float32") from error
    if array.dtype.kind == "c":
        raise TypeError(f"from_dlpack: expected real numbers, got {array.dtype}")
    return wrap(array.view())


def export_dlpack(array: Any, *, stream: Any = None, max_version: Any = None,
                  dl_device: tuple[int, int] | None = None, copy: bool | None = None) -> Any:
    """The DLPack capsule of a copy of a tensor's array."""
    on_gpu = is_gpu_array(array)
    if stream is not None and not on_gpu:
        raise BufferError(f"__dlpack__: expected stream None for a tensor on the cpu, got {stream!r}")
    here = (2, 0) if on_gpu else (1, 0)
    if dl_device is not None and tuple(dl_device) != here:
        raise BufferError(f"__dlpack__: expected dl_device {here}, where the tensor is, got {dl_device!r}; "
                          "move it with .to()")
    if copy is False:
        raise BufferError("__dlpack__: a Tensor is a value that others may not write to, so it is exported as a copy; "
                          "copy=False is refused")
    copied = run_there("__dlpack__", array, array.copy)
    half = copied.dtype.name == "bfloat16"
    exported = copied.view(np.uint16) if half else copied
    capsule = exported.__dlpack__(stream=stream) if on_gpu else exported.__dlpack__()
    return _with_dtype(capsule, _UNSIGNED, _BFLOAT) if half else capsule


# --- bfloat16, which neither NumPy nor CuPy exports or imports: it travels as 16-bit integers under another label

_UNSIGNED, _BFLOAT = 1, 4  # DLPack's kDLUInt and kDLBfloat
_CODE_AT = 20  # the byte of the dtype's code in a DLManagedTensor: after the pointer (8), the device (8), the rank (4)


def _with_dtype(capsule: Any, before: int, after: int) -> Any:
    """The unused, unversioned capsule, with another code of its dtype of 16 bits."""
    api = ctypes.pythonapi.PyCapsule_GetPointer
    api.restype, api.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    code = ctypes.c_uint8.from_address(api(capsule, b"dltensor") + _CODE_AT)
    bits = ctypes.c_uint8.from_address(ctypes.addressof(code) + 1)
    if (code.value, bits.value) != (before, 16):
        raise TypeError(f"from_dlpack: expected DLPack's dtype ({before}, 16 bits), got ({code.value}, {bits.value})")
    code.value = after
    return capsule


def _is_bfloat16(source: Any) -> bool:
    return str(getattr(source, "dtype", "")).rpartition(".")[2] == "bfloat16"


class _Relabelled:
    """A source of bfloat16 that exports 16-bit integers. Older importers and exporters know no options but `stream`."""

    def __init__(self, source: Any):
        self._source, self.dtype = source, source.dtype
        self.__dlpack_device__: Callable[[], tuple[int, int]] = source.__dlpack_device__

    def __dlpack__(self, *, stream: Any = None, **_options: Any) -> Any:
        source = self._source
        capsule = source.__dlpack__() if stream is None else source.__dlpack__(stream=stream)
        return _with_dtype(capsule, _BFLOAT, _UNSIGNED)


def _original(array: Any, source: Any) -> Any:
    return array.view(as_dtype("bfloat16")) if isinstance(source, _Relabelled) else array


def dispatch_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Run convgpu.numpy.exp for `np.exp(t)`, and so on for all of NumPy's ufuncs."""
    function = _ours(ufunc.__name__)
    if method != "__call__" or options or function is None:
        asked = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        with_options = f" with {', '.join(options)}" if options else ""
        raise TypeError(f"expected a function that is defined for Tensors, got np.{asked}{with_options}; {_ELSEWHERE}")
    return function(*(promoted(function, *inputs) if len(inputs) == 2 else inputs))


def dispatch_function(func: Any, args: Any, options: Any) -> Any:
    """Run convgpu.numpy.concatenate for `np.concatenate([t, u])`, and so on for all of NumPy's functions."""
    home = _HOMES.get(func.__module__)
    function = None if home is None else _ours(func.__name__, home)
    if function is None:
        raise TypeError(f"expected a function that is defined for Tensors, got {func.__module__}.{func.__name__}; "
                        f"{_ELSEWHERE}")
    return function(*args, **options)


_HOMES = {"numpy": "convgpu.numpy", "numpy.linalg": "convgpu.ops.linalg"}
_ELSEWHERE = "use convgpu.numpy, or .numpy() to leave the tape"


def _ours(name: str, home: str = "convgpu.numpy") -> Any:
    """The function of that name in convgpu.numpy (or its linalg), or None."""
    # imported late: that module is made of functions of Tensors
    return getattr(importlib.import_module(home), name, None)
