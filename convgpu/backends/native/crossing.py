"""How a call gets to a compiled module: arrays, geometries, the plan of the call, its workspace, the stream.

An array crosses as pointer, shape, strides and the name of its dtype. A plan says which kernel runs, and how; the
module makes it at the first call of its kind, and later calls find it here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property, lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ...device import cupy_with_gpu
from ...dtypes import DTypeLike, is_float
from ...geometry import ConvGeometry, PoolGeometry

Geometry = ConvGeometry | PoolGeometry

Array = Any  # np.ndarray in the emulator, cupy.ndarray on the GPU
PLANS = 4096  # how many plans are kept, and how many geometries; the ones used last
VECTOR_BYTES = 16  # the widest access of a thread: no plan asks for addresses that are multiples of more
_ALIGNMENT = 256  # of a workspace: csrc/common/workspace.h


class Planned(NamedTuple):
    """What every call of one kind hands to its launcher after the arrays, and the bytes of workspace that it takes."""

    arguments: tuple[Any, ...]  # the geometry, where the op has one, and the plan
    workspace: int


class _DTypeNames(dict[np.dtype, str]):
    """The names of dtypes, each looked up in NumPy once: that takes microseconds."""

    def __missing__(self, dtype: np.dtype) -> str:
        if not dtype.isnative:
            raise TypeError(f"expected this machine's byte order, got {dtype.str}")
        return self.setdefault(dtype, dtype.name)


class Crossing:
    """A compiled module, and the array module whose arrays it computes on: NumPy, or CuPy.

    Kernels run in CuPy's current stream, and all memory comes from its pool, which gives freed memory to later work in
    the same stream only: nothing need be kept until a kernel has run.
    """

    def __init__(self, name: str, module: ModuleType):
        self.name, self.module = name, module
        self.geometry = lru_cache(maxsize=PLANS)(self._geometry)
        self.planned = lru_cache(maxsize=PLANS)(self._planned)
        self._dtype_names = _DTypeNames()

    @cached_property
    def xp(self) -> Any:
        """The array module. Asked for by what computes alone: plans are made without CuPy and without a GPU."""
        return cupy_with_gpu() if self.name == "cuda" else np

    def launch(self, op: str, arrays: Sequence[Any], planner: str, problem: tuple[Any, ...], *options: Any,
               takes_workspace: bool = True, **settings: Any) -> None:
        """Call the launcher of that name, with the plan of the call.

        The plan is a function of the problem, the settings, the device, and the largest power of two, up to 16, that
        divides the addresses of all arrays.

        Args:
            arrays: in the launcher's order, results among them. None stays None. Strided ones are copied to row-major.
                What `array` has returned crosses as it is, and the plan does not depend on its address.
            planner: the module's function that makes the plan.
            problem: its arguments up to the alignment; geometries and dtypes are ours. A geometry among them goes to
                the launcher too, before the plan.
            options: what the launcher takes between the plan and the workspace.
            takes_workspace: whether the launcher takes a workspace: its pointer (0 for none) and its bytes.
            settings: the planner's arguments by keyword, precision and limit.
        """
        crossing, kept, addresses = [], [], VECTOR_BYTES
        for array in arrays:
            if isinstance(array, self.xp.ndarray):
                if not array.flags.c_contiguous:
                    kept.append(array := self.xp.ascontiguousarray(array))
                pointer = self._pointer(array)
                addresses |= pointer
                array = self._crossed(array, pointer)
            crossing.append(array)
        planned = self.planned(planner, problem, tuple(settings.items()), addresses & -addresses,
                               self.module.device_key())
        crossing += planned.arguments
        crossing += options
        if takes_workspace:
            kept.append(buffer := self.empty((planned.workspace,), np.uint8) if planned.workspace else None)
            crossing += [0 if buffer is None else self._pointer(buffer), planned.workspace]
        getattr(self.module, op)(*crossing, self._stream())

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A new array, of any values, at a multiple of 256 bytes: CuPy's are, NumPy's need not be."""
        if self.xp is not np:
            return self.xp.empty(shape, dtype)
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        memory = np.empty(nbytes + _ALIGNMENT, np.uint8)
        first = -self.module.address(memory) % _ALIGNMENT
        return memory[first:first + nbytes].view(dtype).reshape(shape)

    def array(self, array: Array) -> Any:
        """The module's view of an array."""
        return self._crossed(array, self._pointer(array))

    def check_float(self, op: str, x: Array) -> None:
        """Raise NotImplementedError for what kernels have no arithmetic for."""
        if not is_float(x.dtype):
            raise NotImplementedError(f"{op} of {x.dtype} is not implemented on backend {self.name!r}")

    def _crossed(self, array: Array, pointer: int) -> Any:
        return self.module.Array(pointer, array.shape, array.strides, self._dtype_names[array.dtype])

    def _planned(self, planner: str, problem: tuple[Any, ...], settings: tuple[tuple[str, Any], ...], alignment: int,
                 device_key: int) -> Planned:
        """A plan for the device in use, whose key is there so that another device finds another plan."""
        crossed = [self.geometry(p) if isinstance(p, Geometry) else self._dtype_names[p] if isinstance(p, np.dtype)
                   else p for p in problem]
        plan = getattr(self.module, planner)(*crossed, alignment=alignment, **dict(settings))
        geometries = [c for c, p in zip(crossed, problem) if isinstance(p, Geometry)]
        return Planned((*geometries, plan), plan.workspace)

    def _pointer(self, array: Array) -> int:
        return self.module.address(array) if self.xp is np else array.data.ptr

    def _stream(self) -> int:
        return 0 if self.xp is np else self.xp.cuda.get_current_stream().ptr  # the emulator returns when all is done

    def _geometry(self, geo: Geometry) -> Any:
        """The module's class of the same name, whose arguments are the fields of ours."""
        return getattr(self.module, type(geo).__name__)(**{f.name: getattr(geo, f.name) for f in fields(geo)})
