"""Pooling."""

from __future__ import annotations

import numpy as np

from ...geometry import PoolGeometry
from .crossing import Crossing


class Pool(Crossing):
    """The ops max_pool, avg_pool and lp_pool, with their gradients."""

    def max_pool(self, x: np.ndarray, geo: PoolGeometry, with_offsets: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """The largest pixel of every window, and with `with_offsets` the winner's offset in the window."""
        self.check_float("max_pool", x)
        y = self.empty(geo.y_shape, x.dtype)
        offsets = self.empty(geo.y_shape, geo.offset_dtype) if with_offsets else None
        self.module.max_pool(self.readable(x), y, offsets, self.geometry(geo), self.threads)
        return y, offsets

    def max_pool_dgrad(self, gy: np.ndarray, offsets: np.ndarray, geo: PoolGeometry) -> np.ndarray:
        """Each output's gradient, added to the pixel that won the output's window."""
        self.check_float("max_pool_dgrad", gy)
        gx = self.empty(geo.x_shape, gy.dtype)
        self.module.max_pool_dgrad(self.readable(gy), self.readable(offsets), gx, self.geometry(geo), self.threads)
        return gx

    def max_pool_gather(self, x: np.ndarray, offsets: np.ndarray, geo: PoolGeometry) -> np.ndarray:
        """The pixels of x at the winners of the windows."""
        self.check_float("max_pool_gather", x)
        y = self.empty(geo.y_shape, x.dtype)
        self.module.max_pool_gather(self.readable(x), self.readable(offsets), y, self.geometry(geo), self.threads)
        return y

    def max_pool_indices(self, offsets: np.ndarray, geo: PoolGeometry) -> np.ndarray:
        """The winners' flat indices over the spatial axes of the input."""
        indices = self.empty(geo.y_shape, np.int64)
        self.module.max_pool_indices(self.readable(offsets), indices, self.geometry(geo), self.threads)
        return indices

    def avg_pool(self, x: np.ndarray, geo: PoolGeometry) -> np.ndarray:
        """The average of every window."""
        self.check_float("avg_pool", x)
        y = self.empty(geo.y_shape, x.dtype)
        self.module.avg_pool(self.readable(x), y, self.geometry(geo), self.threads)
        return y

    def avg_pool_dgrad(self, gy: np.ndarray, geo: PoolGeometry) -> np.ndarray:
        """Each output's gradient divided by its divisor, added to all pixels of its window."""
        self.check_float("avg_pool_dgrad", gy)
        gx = self.empty(geo.x_shape, gy.dtype)
        self.module.avg_pool_dgrad(self.readable(gy), gx, self.geometry(geo), self.threads)
        return gx

    def lp_pool(self, x: np.ndarray, geo: PoolGeometry, norm_type: float) -> np.ndarray:
        """The p-norm of every window."""
        self.check_float("lp_pool", x)
        y = self.empty(geo.y_shape, x.dtype)
        self.module.lp_pool(self.readable(x), y, self.geometry(geo), norm_type, self.threads)
        return y

    def lp_pool_dgrad(self, gy: np.ndarray, x: np.ndarray, y: np.ndarray, geo: PoolGeometry, power: float,
                      signed: bool) -> np.ndarray:
        """The sum of gy * f(x / y) over the windows that contain each pixel."""
        self.check_float("lp_pool_dgrad", gy)
        gx = self.empty(geo.x_shape, gy.dtype)
        self.module.lp_pool_dgrad(self.readable(gy), self.readable(x), self.readable(y), gx, self.geometry(geo), power,
                                  signed, self.threads)
        return gx

    def lp_pool_gather(self, v: np.ndarray, x: np.ndarray, y: np.ndarray, geo: PoolGeometry, power: float,
                       signed: bool) -> np.ndarray:
        """The sum of v * f(x / y) over the pixels of each window."""
        self.check_float("lp_pool_gather", v)
        z = self.empty(geo.y_shape, v.dtype)
        self.module.lp_pool_gather(self.readable(v), self.readable(x), self.readable(y), z, self.geometry(geo), power,
                                   signed, self.threads)
        return z
