"""Changes of layout: each exchanges two groups of axes."""

from __future__ import annotations

import math

import numpy as np

from .crossing import Crossing, NoKernelError

INTEGERS = {1: np.uint8, 2: np.uint16, 4: np.int32, 8: np.int64}


class Layout(Crossing):
    """Transposes between the layouts of images and filters, computed by swap_last_axes in csrc/cpu/moves.cpp."""

    def nchw_to_nhwc(self, x: np.ndarray) -> np.ndarray:
        """Images (N, C, spatial...) as (N, spatial..., C)."""
        n, c, *spatial = x.shape
        return self._swapped(x, (n, c, math.prod(spatial))).reshape(n, *spatial, c)

    def nhwc_to_nchw(self, x: np.ndarray) -> np.ndarray:
        """Images (N, spatial..., C) as (N, C, spatial...)."""
        n, *spatial, c = x.shape
        return self._swapped(x, (n, math.prod(spatial), c)).reshape(n, c, *spatial)

    def oihw_to_hwio(self, w: np.ndarray) -> np.ndarray:
        """Filters (K, C, spatial...) as (spatial..., C, K)."""
        k, c, *spatial = w.shape
        rows = self._swapped(w, (1, k * c, math.prod(spatial))).reshape(math.prod(spatial), k, c)
        return self._swapped(rows, rows.shape).reshape(*spatial, c, k)

    def hwio_to_oihw(self, w: np.ndarray) -> np.ndarray:
        """Filters (spatial..., C, K) as (K, C, spatial...)."""
        *spatial, c, k = w.shape
        rows = self._swapped(w, (math.prod(spatial), c, k))
        return self._swapped(rows, (1, math.prod(spatial), k * c)).reshape(k, c, *spatial)

    def _swapped(self, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """x in this shape of three axes, with the last two exchanged. Elements move as integers of their size."""
        x = self.readable(x.reshape(shape))
        if x.dtype.hasobject or x.itemsize not in INTEGERS:
            raise NoKernelError(f"no kernel moves {x.dtype}")
        y = self.empty((shape[0], shape[2], shape[1]), x.dtype)
        integer = INTEGERS[x.itemsize]
        self.module.swap_last_axes(x.view(integer), y.view(integer), self.threads)
        return y
