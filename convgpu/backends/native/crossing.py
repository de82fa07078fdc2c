"""How a call reaches a compiled module: how arrays, geometries, the plan, the workspace and the stream are passed.

An array is passed as a tuple of address, shape, strides and the name of its dtype. A plan says which kernel runs, and
how. The module makes a plan at the first call of a kind, and this file keeps it for later calls.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property, lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from ...capturing import region
from ...device import cupy_with_gpu
from ...dtypes import DTypeLike, is_float
from ...geometry import ConvGeometry, NormGeometry, PoolGeometry

Geometry = ConvGeometry | PoolGeometry | NormGeometry

Array = Any  # np.ndarray in the emulator, cupy.ndarray on the GPU
PLANS = 4096  # how many plans, and how many geometries, are kept: those that were used last
VECTOR_BYTES = 16  # the widest access of a thread: no plan needs addresses with a larger alignment
_ALIGNMENT = 256  # the alignment of a workspace in bytes, as in csrc/common/workspace.h


class Planned(NamedTuple):
    """The arguments that every call of one kind passes to its launcher after the arrays, and the workspace in bytes."""

    arguments: tuple[Any, ...]  # the geometry, where the op has one, and the plan
    workspace: int


class _DTypeNames(dict[np.dtype, str]):
    """The names of dtypes. Each name is asked of NumPy only once, since asking takes microseconds."""

    def __missing__(self, dtype: np.dtype) -> str:
        if not dtype.isnative:
            raise TypeError(f"expected this machine's byte order, got {dtype.str}")
        return self.setdefault(dtype, dtype.name)


def _address_on_gpu(array: Array) -> int:
    return array.data.ptr


class Crossing:
    """A compiled module, together with the array module (NumPy or CuPy) whose arrays it computes on.

    Kernels run in CuPy's current stream. All memory comes from CuPy's pool, which gives freed memory only to later work
    in the same stream, so that no array has to be kept until a kernel has run.
    """

    def __init__(self, name: str, module: ModuleType):
        self.name, self.module = name, module
        self.geometry = lru_cache(maxsize=PLANS)(self._geometry)
        self.planned = lru_cache(maxsize=PLANS)(self._planned)
        self._pointer = _address_on_gpu if name == "cuda" else module.address
        self._dtype_names = _DTypeNames()
        self._kept_counters = _KeptCounters()

    @cached_property
    def xp(self) -> Any:
        """The array module. Only computations ask for it: plans are made without CuPy and without a GPU."""
        return cupy_with_gpu() if self.name == "cuda" else np

    def launch(self, op: str, arrays: Sequence[Any], planner: str, problem: tuple[Any, ...], *options: Any,
               takes_workspace: bool = True, **settings: Any) -> None:
        """Call the launcher with the name of the op, with the plan of the call.

        The plan is a function of the problem, the settings, the device, and the largest power of two, up to 16, that
        divides the addresses of all arrays.

        Args:
            arrays: the launcher's arrays in its order, results included. None stays None. Strided arrays are copied to
                row-major order. An array that `self.array` has converted is passed as it is, and the plan does not
                depend on its address.
            planner: the module's function that makes the plan.
            problem: the planner's arguments before the alignment, with this package's geometries and dtypes. A geometry
                among them is also passed to the launcher, before the plan.
            options: the launcher's arguments between the plan and the workspace.
            takes_workspace: whether the launcher takes a workspace: its pointer (0 for none) and its bytes.
            settings: the planner's keyword arguments, such as precision and limit.
        """
        crossing: list[Any] = []
        kept, addresses, ndarray = [], VECTOR_BYTES, self.xp.ndarray
        for array in arrays:
            if isinstance(array, ndarray):
                if not array.flags.c_contiguous:
                    kept.append(array := self.xp.ascontiguousarray(array))
                array = self.array(array)
                addresses |= array[0]
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
        """A new array without defined values.

        One with a single axis, as a workspace has, starts at a multiple of 256 bytes: CuPy aligns so by itself, NumPy
        does not.
        """
        if self.xp is not np or len(shape) != 1:
            return self.xp.empty(shape, dtype)
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        memory = np.empty(nbytes + _ALIGNMENT, np.uint8)
        first = -self.module.address(memory) % _ALIGNMENT
        return memory[first:first + nbytes].view(dtype).reshape(shape)

    def array(self, array: Array) -> tuple[int, tuple[int, ...], tuple[int, ...], str]:
        """An array as the module takes it: its address, shape, strides in bytes, and the name of its dtype."""
        return self._pointer(array), array.shape, array.strides, self._dtype_names[array.dtype]

    def counters(self) -> _Counters:
        """A context that gives an array of zeros, by which the blocks of a launch find out which is the last."""
        return _Counters(self)

    def check_float(self, op: str, x: Array) -> None:
        """Raise NotImplementedError for dtypes that kernels have no arithmetic for."""
        if not is_float(x.dtype):
            raise NotImplementedError(f"{op} of {x.dtype} is not implemented on backend {self.name!r}")

    def _planned(self, planner: str, problem: tuple[Any, ...], settings: tuple[tuple[str, Any], ...], alignment: int,
                 device_key: int) -> Planned:
        """A plan for the device in use. `device_key` only makes the cache keep a plan of its own for each device."""
        crossed = [self.geometry(p) if isinstance(p, Geometry) else self._dtype_names[p] if isinstance(p, np.dtype)
                   else p for p in problem]
        plan = getattr(self.module, planner)(*crossed, alignment=alignment, **dict(settings))
        geometries = [c for c, p in zip(crossed, problem) if isinstance(p, Geometry)]
        return Planned((*geometries, plan), plan.workspace)

    def _stream(self) -> int:
        return 0 if self.xp is np else self.xp.cuda.get_current_stream().ptr  # the emulator has no streams

    def _geometry(self, geo: Geometry) -> Any:
        """The module's geometry class of the same name, made from the fields of `geo`."""
        return getattr(self.module, type(geo).__name__)(**{f.name: getattr(geo, f.name) for f in fields(geo)})


class _KeptCounters(threading.local):
    """The counters of each thread, by device and stream. Threads share none, and those of a thread end with it."""

    def __init__(self) -> None:
        self.arrays: dict[tuple[int, int], Array] = {}


class _Counters:
    """An array of zeros for a call, by which blocks find out which of them is the last; kernels leave zeros in it.

    It is kept for the next call of this thread in this stream. After an error it is dropped, because a kernel may have
    stopped half-way.
    """

    def __init__(self, native: Crossing):
        recorder = region.recorder()  # a graph has counters of its own
        self._native = native
        self._kept = native._kept_counters.arrays if recorder is None else recorder.counters
        self._key = native.module.device_key(), native._stream()

    def __enter__(self) -> Any:
        counters = self._kept.get(self._key)
        if counters is None:
            counters = self._kept[self._key] = self._native.xp.zeros(self._native.module.COUNTERS, np.int32)
        return self._native.array(counters)

    def __exit__(self, error: object, *rest: object) -> None:
        if error is not None:
            del self._kept[self._key]
