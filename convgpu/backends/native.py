"""The kernels of csrc/, on NumPy arrays through the emulator: backend "emulated".

Marshals arrays and geometries to the compiled module, allocates the outputs, and does no arithmetic.
"""

from __future__ import annotations

import importlib
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from ..dtypes import is_float
from ..geometry import PoolGeometry

MODULES = {"emulated": "convgpu._emulated"}

_NO_STREAM = 0  # the emulator returns when the work is done


class Native:
    """The ops of one compiled module: methods bear their names, and take and return arrays."""

    def __init__(self, name: str, module: ModuleType):
        self._name, self._module = name, module
        self._pool_geometry = lru_cache(maxsize=4096)(self._to_pool_geometry)

    # --- pooling

    def max_pool(self, x: np.ndarray, geo: PoolGeometry, with_offsets: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """The largest pixel of every window, and where wanted its offset in the window."""
        self._check_float("max_pool", x)
        y = np.empty(geo.y_shape, x.dtype)
        offsets = np.empty(geo.y_shape, geo.offset_dtype) if with_offsets else None
        self._run("max_pool", x, y, offsets, geo)
        return y, offsets

    def max_pool_dgrad(self, gy: np.ndarray, offsets: np.ndarray, geo: PoolGeometry) -> np.ndarray:
        """The gradient of every output, added to the pixel that won it."""
        gx = np.empty(geo.x_shape, gy.dtype)
        self._run("max_pool_dgrad", gy, offsets, gx, geo)
        return gx

    def max_pool_gather(self, x: np.ndarray, offsets: np.ndarray, geo: PoolGeometry) -> np.ndarray:
        """The pixels at the winners."""
        y = np.empty(geo.y_shape, x.dtype)
        self._run("max_pool_gather", x, offsets, y, geo)
        return y

    def max_pool_indices(self, offsets: np.ndarray, geo: PoolGeometry) -> np.ndarray:
        """The winners' flat indices over the spatial axes of the input."""
        indices = np.empty(geo.y_shape, np.int64)
        self._run("max_pool_indices", offsets, indices, geo)
        return indices

    def avg_pool(self, x: np.ndarray, geo: PoolGeometry) -> np.ndarray:
        """The average of every window."""
        y = np.empty(geo.y_shape, x.dtype)
        self._run("avg_pool", x, y, geo)
        return y

    def avg_pool_dgrad(self, gy: np.ndarray, geo: PoolGeometry) -> np.ndarray:
        """The share of every output's gradient, added to all pixels of its window."""
        gx = np.empty(geo.x_shape, gy.dtype)
        self._run("avg_pool_dgrad", gy, gx, geo)
        return gx

    # --- layouts: no ops of the tape, but what other kernels and their callers use

    def nchw_to_nhwc(self, x: np.ndarray) -> np.ndarray:
        """Images (N, C, spatial...) as (N, spatial..., C)."""
        return self._transposed("nchw_to_nhwc", x, (x.shape[0], *x.shape[2:], x.shape[1]))

    def nhwc_to_nchw(self, x: np.ndarray) -> np.ndarray:
        """Images (N, spatial..., C) as (N, C, spatial...)."""
        return self._transposed("nhwc_to_nchw", x, (x.shape[0], x.shape[-1], *x.shape[1:-1]))

    def oihw_to_hwio(self, w: np.ndarray) -> np.ndarray:
        """Filters (K, C, spatial...) as (spatial..., C, K)."""
        return self._transposed("oihw_to_hwio", w, (*w.shape[2:], w.shape[1], w.shape[0]))

    def hwio_to_oihw(self, w: np.ndarray) -> np.ndarray:
        """Filters (spatial..., C, K) as (K, C, spatial...)."""
        return self._transposed("hwio_to_oihw", w, (w.shape[-1], w.shape[-2], *w.shape[:-2]))

    # --- the crossing

    def _transposed(self, name: str, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        y = np.empty(shape, x.dtype)
        self._run(name, x, y)
        return y

    def _check_float(self, op: str, x: np.ndarray) -> None:
        if not is_float(x.dtype):
            raise NotImplementedError(f"{op} of {x.dtype} is not implemented on backend {self._name!r}")

    def _run(self, name: str, *arguments: Any) -> None:
        """Call the launcher. Arrays stay referenced by `kept` until the kernels have run."""
        kept = [np.ascontiguousarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
        crossing = [self._array(a) if isinstance(a, np.ndarray)
                    else self._pool_geometry(a) if isinstance(a, PoolGeometry) else a for a in kept]
        getattr(self._module, name)(*crossing, _NO_STREAM)

    def _array(self, array: np.ndarray) -> Any:
        if not array.dtype.isnative:
            raise TypeError(f"backend {self._name!r}: expected this machine's byte order, got {array.dtype.str}")
        return self._module.Array(array.ctypes.data, array.shape, array.strides, array.dtype.name)

    def _to_pool_geometry(self, geo: PoolGeometry) -> Any:
        return self._module.PoolGeometry(
            batch=geo.batch, channels=geo.channels, size=geo.size, window=geo.window, stride=geo.stride,
            padding=geo.padding, dilation=geo.dilation, output=geo.output, adaptive=geo.adaptive,
            count_include_pad=geo.count_include_pad, channels_last=geo.channels_last)


def load(name: str) -> Native:
    """The backend, if its module has been built."""
    try:
        return Native(name, importlib.import_module(MODULES[name]))
    except ModuleNotFoundError as error:
        if error.name != MODULES[name]:
            raise
        raise ImportError(f"backend {name!r} needs the module {MODULES[name]}, which an editable install builds where "
                          "there is a C++ compiler: CONVGPU_EMULATED=1 pip install -e .", name=error.name) from None
