"""How a call reaches the compiled module: arrays cross as they are, geometries are converted once and kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache, wraps
from types import ModuleType
from typing import Any

import numpy as np

from ...dtypes import is_float
from ...geometry import ConvGeometry, NormGeometry, PoolGeometry
from ..numpy import workers

KEPT = 4096  # geometries that are kept: those that were used last
LARGE = 1 << 15  # bytes from which an array is worth the microsecond that its alignment takes
LINE = 64  # bytes of a cache line


class NoKernelError(NotImplementedError):
    """No kernel takes these arrays: NumPy computes the call."""


def or_numpy(run: Callable[..., Any], by_numpy: Callable[..., Any]) -> Callable[..., Any]:
    """An op's method, with the numpy backend's function for the arrays that no kernel takes."""
    @wraps(run)
    def op(self: Crossing, *arguments: Any) -> Any:
        try:
            return run(self, *arguments)
        except NoKernelError:
            return by_numpy(*arguments)

    return op


class Crossing:
    """A compiled module, and what every call of it needs."""

    name = "cpu"

    def __init__(self, module: ModuleType):
        self.module = module
        self.geometry = lru_cache(maxsize=KEPT)(self._geometry)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """A new array without defined values. A large one begins at a cache line, so that no vector lies across two."""
        dtype = np.dtype(dtype)
        nbytes = math.prod(shape) * dtype.itemsize
        if nbytes < LARGE:
            return np.empty(shape, dtype)
        memory = np.empty(nbytes + LINE, np.uint8)
        return np.ndarray(shape, dtype, memory, -memory.__array_interface__["data"][0] % LINE)

    def like(self, x: np.ndarray) -> np.ndarray:
        """A new array of the shape and dtype of x, whose axes lie in the order of those of x, as NumPy's results do."""
        if x.flags.c_contiguous:
            return self.empty(x.shape, x.dtype)
        order = np.argsort([-abs(step) for step in x.strides], kind="stable")
        return self.empty(tuple(np.take(x.shape, order)), x.dtype).transpose(np.argsort(order))

    def check_float(self, op: str, x: np.ndarray) -> None:
        """Raise NoKernelError for dtypes that kernels have no arithmetic for, and for another machine's byte order."""
        if not is_float(x.dtype):
            raise NoKernelError(f"no kernel of {op} takes {x.dtype}")

    def readable(self, array: np.ndarray) -> np.ndarray:
        """The array, or a copy if its elements lie at addresses that no kernel can read."""
        return array if array.flags.aligned else array.copy()

    def dense(self, array: Any, dtype: Any = None) -> Any:
        """The array without gaps between its elements, of `dtype` if that is given; a copy where it is not so."""
        if array is None:
            return None
        flags = array.flags
        fits = flags.c_contiguous and flags.aligned and (dtype is None or array.dtype == dtype)
        return array if fits else np.array(array, dtype, order="C")

    @property
    def threads(self) -> int:
        """How many threads a call may use."""
        return workers.get_num_threads()

    def _geometry(self, geo: ConvGeometry | NormGeometry | PoolGeometry) -> Any:
        """The module's geometry class of the same name, made from the fields of `geo`."""
        return getattr(self.module, type(geo).__name__)(**{f.name: getattr(geo, f.name) for f in fields(geo)})
