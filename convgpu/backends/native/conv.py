"""Convolution, and the sums that are its bias gradients."""

from __future__ import annotations

from ...geometry import ConvGeometry
from ...precision import current_precision
from ...workspace import workspace_limit
from .crossing import Array, Crossing


class Conv(Crossing):
    """conv_fprop, conv_dgrad, conv_wgrad, channel_sum."""

    def conv_fprop(self, x: Array, w: Array, bias: Array | None, geo: ConvGeometry,
                   activation: str | None) -> Array:
        """activation(bias + the sum over every window and its channels of x * w)."""
        self.check_float("conv_fprop", x)
        y = self.empty(geo.y_shape, x.dtype)
        self.run("conv_fprop", x, w, bias, y, geo, activation or "", current_precision(),
                 workspace=self._conv_workspace("conv_fprop", geo, x))
        return y

    def conv_dgrad(self, gy: Array, w: Array, bias: Array | None, geo: ConvGeometry,
                   activation: str | None) -> Array:
        """activation(bias + the sum over the windows that hold each pixel and their filters of gy * w)."""
        self.check_float("conv_dgrad", gy)
        gx = self.empty(geo.x_shape, gy.dtype)
        self.run("conv_dgrad", gy, w, bias, gx, geo, activation or "", current_precision(),
                 workspace=self._conv_workspace("conv_dgrad", geo, gy))
        return gx

    def conv_wgrad(self, x: Array, gy: Array, geo: ConvGeometry) -> Array:
        """The sum over all windows of x * gy."""
        self.check_float("conv_wgrad", x)
        gw = self.empty(geo.w_shape, x.dtype)
        self.run("conv_wgrad", x, gy, gw, geo, current_precision(),
                 workspace=self._conv_workspace("conv_wgrad", geo, x))
        return gw

    def channel_sum(self, gy: Array, channels_last: bool) -> Array:
        """The sum of gy over everything but the channels, which are its last axis or its second."""
        self.check_float("channel_sum", gy)
        gb = self.empty((gy.shape[-1 if channels_last else 1],), gy.dtype)
        self.run("channel_sum", gy, gb, channels_last, workspace=self.module.channel_sum_workspace(
            gy.shape, channels_last, gy.dtype.name, workspace_limit()))
        return gb

    def _conv_workspace(self, op: str, geo: ConvGeometry, x: Array) -> int:
        return self.module.conv_workspace(op, self.geometry(geo), x.dtype.name, current_precision(), workspace_limit())
