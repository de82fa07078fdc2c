"""Pooling."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...geometry import PoolGeometry
from .crossing import Array, Crossing


class Pool(Crossing):
    """The ops max_pool, avg_pool and lp_pool, with their gradients."""

    def max_pool(self, x: Array, geo: PoolGeometry, with_offsets: bool) -> tuple[Array, Array | None]:
        """The largest pixel of every window, and with `with_offsets` the winner's offset in the window."""
        if x.dtype.kind in "iu":
            return self._max_pool_of_integers(x, geo, with_offsets)
        self.check_float("max_pool", x)
        y = self.empty(geo.y_shape, x.dtype)
        offsets = self.empty(geo.y_shape, geo.offset_dtype) if with_offsets else None
        self._launch_pool("max_pool", (x, y, offsets), geo, x.dtype)
        return y, offsets

    def _max_pool_of_integers(self, x: Array, geo: PoolGeometry, with_offsets: bool) -> tuple[Array, Array | None]:
        """The kernels compare floats: those of float32 hold 16 bits exactly and those of float64 hold 32. Those of 64
        bits are ranked first, and the ranks are pooled.
        """
        if x.dtype.itemsize < 8:
            floats = x.astype(np.float32 if x.dtype.itemsize <= 2 else np.float64)
            y, offsets = self.max_pool(floats, geo, with_offsets)
            return y.astype(x.dtype), offsets
        values, ranks = np.unique(x, return_inverse=True)
        y, offsets = self.max_pool(ranks.reshape(x.shape).astype(np.float64), geo, with_offsets)
        return values[y.astype(np.int64)], offsets

    def max_pool_dgrad(self, gy: Array, offsets: Array, geo: PoolGeometry) -> Array:
        """Each output's gradient, added to the pixel that won the output's window."""
        gx = self.empty(geo.x_shape, gy.dtype)
        self._launch_pool("max_pool_dgrad", (gy, offsets, gx), geo, gy.dtype)
        return gx

    def max_pool_gather(self, x: Array, offsets: Array, geo: PoolGeometry) -> Array:
        """The pixels of x at the winners of the windows."""
        y = self.empty(geo.y_shape, x.dtype)
        x = self.xp.ascontiguousarray(x)
        self._launch_pool("max_pool_gather", (self.array(x), offsets, y), geo, x.dtype)  # winners are loaded one by one
        return y

    def max_pool_indices(self, offsets: Array, geo: PoolGeometry) -> Array:
        """The winners' flat indices over the spatial axes of the input."""
        indices = self.empty(geo.y_shape, np.int64)
        self._launch_pool("max_pool_indices", (offsets, indices), geo, indices.dtype)
        return indices

    def avg_pool(self, x: Array, geo: PoolGeometry) -> Array:
        """The average of every window."""
        y = self.empty(geo.y_shape, x.dtype)
        self._launch_pool("avg_pool", (x, y), geo, x.dtype)
        return y

    def avg_pool_dgrad(self, gy: Array, geo: PoolGeometry) -> Array:
        """Each output's gradient divided by its divisor, added to all pixels of its window."""
        gx = self.empty(geo.x_shape, gy.dtype)
        self._launch_pool("avg_pool_dgrad", (gy, gx), geo, gy.dtype)
        return gx

    def lp_pool(self, x: Array, geo: PoolGeometry, norm_type: float) -> Array:
        """The p-norm of every window."""
        y = self.empty(geo.y_shape, x.dtype)
        self._launch_pool("lp_pool", (x, y), geo, x.dtype, norm_type)
        return y

    def lp_pool_dgrad(self, gy: Array, x: Array, y: Array, geo: PoolGeometry, power: float, signed: bool) -> Array:
        """The sum of gy * f(x / y) over the windows that contain each pixel."""
        gx = self.empty(geo.x_shape, gy.dtype)
        self._launch_pool("lp_pool_dgrad", (gy, x, y, gx), geo, gy.dtype, power, signed)
        return gx

    def lp_pool_gather(self, v: Array, x: Array, y: Array, geo: PoolGeometry, power: float, signed: bool) -> Array:
        """The sum of v * f(x / y) over the pixels of each window."""
        z = self.empty(geo.y_shape, v.dtype)
        self._launch_pool("lp_pool_gather", (v, x, y, z), geo, v.dtype, power, signed)
        return z

    def _launch_pool(self, op: str, arrays: tuple[Any, ...], geo: PoolGeometry, dtype: np.dtype, *options: Any) -> None:
        self.launch(op, arrays, "plan_pool", (op, geo, dtype), *options, takes_workspace=False)
