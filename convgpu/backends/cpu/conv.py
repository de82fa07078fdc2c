"""Convolution, and the sums that are the gradients of its bias."""

from __future__ import annotations

import numpy as np

from ...dtypes import accumulator
from ...geometry import ConvGeometry
from ..epilogue import finish
from ..numpy.conv import affine
from .norm import Norm


class Conv(Norm):
    """conv_fprop, conv_dgrad, conv_wgrad, channel_sum: each calls the function of its name, in csrc/cpu/ops.cpp.

    conv_norm calls conv_fprop and norm_infer.
    """

    def conv_fprop(self, x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geo: ConvGeometry,
                   activation: str | None) -> np.ndarray:
        """activation(bias + the sum of x * w over every window and its channels)."""
        self.check_float("conv_fprop", x)
        y = self.empty(geo.y_shape, x.dtype)
        self.module.conv_fprop(self.readable(x), self.readable(w), self._bias(bias), y, self.geometry(geo),
                               activation or "", self.threads)
        return y

    def conv_norm(self, x: np.ndarray, w: np.ndarray, folded: np.ndarray, residual: np.ndarray | None,
                  geo: ConvGeometry, activation: str | None) -> np.ndarray:
        """activation((the sum of x * w) * factor + shift + residual); half types in float32, and rounded once."""
        self.check_float("conv_norm", x)
        wide = accumulator(x.dtype)
        sums = self.conv_fprop(x.astype(wide, copy=False), w.astype(wide, copy=False), None, geo, None)
        more = None if residual is None else residual.astype(wide, copy=False)
        return self.norm_infer(*affine(sums, folded, more, geo, activation)).astype(x.dtype, copy=False)

    def conv_dgrad(self, gy: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geo: ConvGeometry,
                   activation: str | None) -> np.ndarray:
        """activation(bias + the sum of gy * w over the windows that contain each pixel, and over the filters).

        A bias of the shape of gx is added element by element.
        """
        self.check_float("conv_dgrad", gy)
        if bias is not None and bias.ndim > 1:  # half types are computed in float32, and rounded once
            wide = accumulator(gy.dtype)
            gx = self.conv_dgrad(gy.astype(wide, copy=False), w.astype(wide, copy=False), None, geo, None)
            gx += bias
            return finish(gx, None, activation).astype(gy.dtype, copy=False)
        gx = self.empty(geo.x_shape, gy.dtype)
        self.module.conv_dgrad(self.readable(gy), self.readable(w), self._bias(bias), gx, self.geometry(geo),
                               activation or "", self.threads)
        return gx

    def conv_wgrad(self, x: np.ndarray, gy: np.ndarray, geo: ConvGeometry) -> np.ndarray:
        """The sum of x * gy over all windows."""
        self.check_float("conv_wgrad", x)
        gw = self.empty(geo.w_shape, x.dtype)
        self.module.conv_wgrad(self.readable(x), self.readable(gy), gw, self.geometry(geo), self.threads)
        return gw

    def channel_sum(self, gy: np.ndarray, channels_last: bool) -> np.ndarray:
        """The sum of gy over all axes but the channels, which are the last axis (channels_last) or the second."""
        self.check_float("channel_sum", gy)
        gb = self.empty((gy.shape[-1 if channels_last else 1],), gy.dtype)
        self.module.channel_sum(self.readable(gy), gb, channels_last, self.threads)
        return gb

    def _bias(self, bias: np.ndarray | None) -> np.ndarray | None:
        return bias if bias is None or bias.flags.c_contiguous and bias.flags.aligned else bias.copy()
