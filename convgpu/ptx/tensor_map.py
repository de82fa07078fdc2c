"""Tensor maps, by which TMA copies boxes of arrays, as cuTensorMapEncodeTiled and cuTensorMapEncodeIm2col make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .machine import machine


class TensorMap:
    """A tensor map of an array: an argument for a parameter `const __grid_constant__ CUtensorMap`."""

    def __init__(self, array: np.ndarray, encoded: bytes) -> None:
        self.array = array
        self.encoded = encoded


def tensor_map(array: np.ndarray, box: Sequence[int], *, swizzle: int = 0, element_strides: Sequence[int] | None = None,
               fill_nan: bool = False) -> TensorMap:
    """Make the map by which copies take a box of the array; its sizes are in the order of the array's axes.

    Args:
        array: up to 5 axes, the last of them contiguous, the strides of the others multiples of 16 bytes.
        box: elements that one copy takes, by axis.
        swizzle: 0, 32, 64 or 128 bytes.
        element_strides: by axis, 1 where left out.
        fill_nan: what lies outside the array is NaN, not zero.

    Raises:
        ValueError: for what the driver's function would refuse.
    """
    return TensorMap(array, machine().tensor_map(
        **_common(array, swizzle, element_strides, fill_nan), box=[int(n) for n in reversed(box)]))


def im2col_map(array: np.ndarray, lower: Sequence[int], upper: Sequence[int], channels: int, pixels: int, *,
               swizzle: int = 0, element_strides: Sequence[int] | None = None, fill_nan: bool = False) -> TensorMap:
    """Make the map by which copies take `pixels` pixels of a window's tap, of an array (N, spatial..., C).

    Args:
        array: 3 to 5 axes, as for `tensor_map`.
        lower, upper: by spatial axis, how far the corners of the box of positions lie from those of the array.
        channels, pixels: what one copy takes.
        swizzle, element_strides, fill_nan: as for `tensor_map`.

    Raises:
        ValueError: for what the driver's function would refuse.
    """
    return TensorMap(array, machine().tensor_map(
        **_common(array, swizzle, element_strides, fill_nan), lower=[int(n) for n in reversed(lower)],
        upper=[int(n) for n in reversed(upper)], channels=int(channels), pixels=int(pixels)))


def _common(array: np.ndarray, swizzle: int, element_strides: Sequence[int] | None, fill_nan: bool) -> dict[str, Any]:
    if not array.ndim or array.strides[-1] != array.itemsize or min(array.strides) <= 0:
        raise ValueError(f"tensor map: expected an array whose last axis is contiguous, got strides {array.strides}")
    return {"base": array.ctypes.data, "element": array.itemsize, "sizes": list(reversed(array.shape)),
            "strides": list(reversed(array.strides[:-1])), "steps": list(reversed(element_strides or [1] * array.ndim)),
            "swizzle": swizzle, "nan_fill": fill_nan}
