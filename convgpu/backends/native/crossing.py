"""How a call gets to a compiled module: arrays as pointer, shape, strides and dtype, geometries, workspace, stream."""

from __future__ import annotations

from dataclasses import fields
from functools import cached_property, lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from ...device import cupy_with_gpu
from ...dtypes import DTypeLike, is_float
from ...geometry import ConvGeometry, PoolGeometry

Geometry = ConvGeometry | PoolGeometry

Array = Any  # np.ndarray in the emulator, cupy.ndarray on the GPU


class Crossing:
    """A compiled module, and the array module whose arrays it computes on: NumPy, or CuPy.

    Kernels run in CuPy's current stream, and all memory comes from its pool, which gives freed memory to later work in
    the same stream only: nothing need be kept until a kernel has run.
    """

    def __init__(self, name: str, module: ModuleType):
        self.name, self.module = name, module
        self.geometry = lru_cache(maxsize=4096)(self._geometry)

    @cached_property
    def xp(self) -> Any:
        """The array module. Asked for by what computes alone: plans are made without CuPy and without a GPU."""
        return cupy_with_gpu() if self.name == "cuda" else np

    def run(self, op: str, *arguments: Any, workspace: int | None = None) -> None:
        """Call the launcher of that name.

        Args:
            arguments: in the launcher's order, outputs among them: arrays (strided ones are copied to row-major),
                geometries, and what crosses as it is.
            workspace: for launchers that take one: how many bytes; they get its pointer (0 for none) and its bytes.
        """
        kept = [self.xp.ascontiguousarray(a) if isinstance(a, self.xp.ndarray) else a for a in arguments]
        crossing = [self.array(a) if isinstance(a, self.xp.ndarray)
                    else self.geometry(a) if isinstance(a, Geometry) else a for a in kept]
        if workspace is not None:
            kept.append(buffer := self.empty((workspace,), np.uint8))
            crossing += [self._pointer(buffer) if workspace else 0, workspace]
        getattr(self.module, op)(*crossing, self._stream())

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A new array, of any values."""
        return self.xp.empty(shape, dtype)

    def array(self, array: Array) -> Any:
        """The module's view of an array."""
        if not array.dtype.isnative:
            raise TypeError(f"backend {self.name!r}: expected this machine's byte order, got {array.dtype.str}")
        return self.module.Array(self._pointer(array), array.shape, array.strides, array.dtype.name)

    def check_float(self, op: str, x: Array) -> None:
        """Raise NotImplementedError for what kernels have no arithmetic for."""
        if not is_float(x.dtype):
            raise NotImplementedError(f"{op} of {x.dtype} is not implemented on backend {self.name!r}")

    def _pointer(self, array: Array) -> int:
        return array.ctypes.data if self.xp is np else array.data.ptr

    def _stream(self) -> int:
        return 0 if self.xp is np else self.xp.cuda.get_current_stream().ptr  # the emulator returns when all is done

    def _geometry(self, geo: Geometry) -> Any:
        """The module's class of the same name, whose arguments are the fields of ours."""
        return getattr(self.module, type(geo).__name__)(**{f.name: getattr(geo, f.name) for f in fields(geo)})
