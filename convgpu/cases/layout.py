"""Named arrays whose layout is changed; their sizes lie around the transposes' tiles. One table serves all backends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..dtypes import as_dtype

DTYPES = ("float64", "float32", "float16", "bfloat16", "uint8", "uint16", "int32", "int64")


@dataclass(frozen=True)
class LayoutCase:
    """An array of 3 to 5 axes, read as images (N, C, spatial...) or (N, spatial..., C) and as filters (K, C,
    spatial...) or (spatial..., C, K).
    """

    name: str
    shape: tuple[int, ...]

    def input(self, dtype: str) -> np.ndarray:
        """Random bits, read as values of the dtype."""
        known = as_dtype(dtype)
        bits = np.random.default_rng(0).integers(0, 256, (*self.shape, known.itemsize), np.uint8)
        return bits.view(known).reshape(self.shape)


CASES = [LayoutCase("x".join(map(str, shape)), shape) for shape in [
    (2, 3, 5, 7), (1, 64, 7, 9), (3, 65, 66), (2, 17, 1, 64), (1, 128, 8, 16), (2, 20, 3, 4, 6), (70, 1, 9, 9),
    (0, 3, 4, 4), (2, 0, 4, 4), (2, 130, 67), (1, 1, 1), (4, 16, 16, 17), (1, 17, 200), (2, 67, 5, 15)]]
