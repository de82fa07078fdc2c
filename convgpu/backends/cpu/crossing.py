"""How a call reaches the compiled module: arrays cross as they are, geometries are converted once and kept."""

from __future__ import annotations

import math
from dataclasses import fields
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

from ...dtypes import is_float
from ...geometry import ConvGeometry, PoolGeometry
from ..numpy import workers

KEPT = 4096  # geometries that are kept: those that were used last
LARGE = 1 << 15  # bytes from which an array is worth the microsecond that its alignment takes
LINE = 64  # bytes of a cache line


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

    def check_float(self, op: str, x: np.ndarray) -> None:
        """Raise NotImplementedError for dtypes that kernels have no arithmetic for."""
        if not is_float(x.dtype):
            raise NotImplementedError(f"{op} of {x.dtype} is not implemented on backend {self.name!r}")

    def readable(self, array: np.ndarray) -> np.ndarray:
        """The array, or a copy if its elements lie at addresses that no kernel can read."""
        return array if array.flags.aligned else array.copy()

    @property
    def threads(self) -> int:
        """How many threads a call may use."""
        return workers.get_num_threads()

    def _geometry(self, geo: ConvGeometry | PoolGeometry) -> Any:
        """The module's geometry class of the same name, made from the fields of `geo`."""
        return getattr(self.module, type(geo).__name__)(**{f.name: getattr(geo, f.name) for f in fields(geo)})
