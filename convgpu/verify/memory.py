"""Memory that reveals accesses outside arrays: guard bytes that must not change, and pages that must not be touched."""

from __future__ import annotations

import ctypes
import math
import mmap
from typing import Any

import numpy as np

from ..dtypes import DTypeLike, as_dtype

ALIGNED = 16  # bytes of the widest load in kernels


class Guards:
    """Memory for a backend's arrays: full of NaN, `shift` elements past an aligned address, between guard bytes."""

    RING = 256  # the bytes on each side of an array; a multiple of RING is the aligned address

    def __init__(self, native: Any, shift: int = 0):
        self._allocate, self._shift = native.empty, shift
        self._rings: list[Any] = []

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """Stands in for the backend's method `empty`. Workspace, the only array of one axis, stays aligned."""
        dtype = as_dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        whole = self._allocate((size + 3 * self.RING,), np.uint8)
        whole[...] = 0xff
        start = -_address(whole) % self.RING + self.RING + (self._shift * dtype.itemsize if len(shape) > 1 else 0)
        self._rings += [whole[:start], whole[start + size:]]
        return whole[start:start + size].view(dtype).reshape(shape)

    def copy(self, array: Any) -> Any:
        """A copy in guarded memory; None stays None."""
        if array is None:
            return None
        moved = self.empty(array.shape, array.dtype)
        moved[...] = array
        return moved

    def intact(self) -> bool:
        """Whether all guard bytes are unchanged."""
        return all(bool((ring == 0xff).all()) for ring in self._rings)


def _address(array: Any) -> int:
    interface = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    return interface["data"][0]


def sides(array: np.ndarray) -> tuple[str, ...]:
    """The ways in which an array can lie against a protected page.

    "end": its last byte is the last byte before the page. "aligned end": it begins at an aligned address and ends at
    most 15 bytes before the page, for kernels that load several elements at once where they can. "beginning": its first
    byte is the first byte after the page.
    """
    return ("end", "aligned end", "beginning") if array.nbytes % ALIGNED else ("end", "beginning")


def protected(array: np.ndarray, side: str) -> np.ndarray:
    """A copy against pages that must not be touched: an access kills the process. Bytes near the copy are NaN."""
    page, size = mmap.PAGESIZE, array.nbytes
    room = -(-size // page) * page
    memory = mmap.mmap(-1, room + 2 * page)
    whole = np.frombuffer(memory, np.uint8)
    whole[page:page + room] = 0xff
    start = page + {"end": room - size, "aligned end": (room - size) // ALIGNED * ALIGNED, "beginning": 0}[side]
    copied = whole[start:start + size].view(array.dtype).reshape(array.shape)
    copied[...] = array
    for guard in (0, page + room):
        if _mprotect(whole.ctypes.data + guard, page, 0):
            raise OSError(ctypes.get_errno(), "mprotect failed")
    return copied


def _mprotect(address: int, size: int, protection: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), ctypes.c_int(protection))
