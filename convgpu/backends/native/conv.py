"""Convolution, and the sums that are the gradients of its bias."""

from __future__ import annotations

from ...geometry import ConvGeometry
from ...settings import current_precision, workspace_limit
from .crossing import VECTOR_BYTES, Array, Crossing


class Conv(Crossing):
    """conv_fprop, conv_norm, conv_dgrad, conv_wgrad, channel_sum: each calls its launcher, in csrc/conv/conv.cu."""

    def conv_fprop(self, x: Array, w: Array, bias: Array | None, geo: ConvGeometry,
                   activation: str | None) -> Array:
        """activation(bias + the sum of x * w over every window and its channels)."""
        self.check_float("conv_fprop", x)
        y = self.empty(geo.y_shape, x.dtype)
        self.launch("conv_fprop", (x, w, self._aligned(bias), y), "plan_conv", ("conv_fprop", geo, x.dtype),
                    activation or "", precision=current_precision(), limit=workspace_limit())
        return y

    def conv_norm(self, x: Array, w: Array, folded: Array, residual: Array | None, geo: ConvGeometry,
                  activation: str | None) -> Array:
        """activation((the sum of x * w) * factor + shift + residual), in channels_last."""
        self.check_float("conv_norm", x)
        if not geo.channels_last:
            raise NotImplementedError(f"conv_norm is not implemented on backend {self.name!r} in channels_first")
        y, pairs = self.empty(geo.y_shape, x.dtype), self.xp.ascontiguousarray(folded)
        if self._pointer(pairs) % (2 * pairs.itemsize):  # a pair is one load
            pairs = pairs.copy()
        self.launch("conv_norm", (x, w, self.array(pairs), residual, y), "plan_conv", ("conv_fprop", geo, x.dtype),
                    activation or "", precision=current_precision(), limit=workspace_limit())
        return y

    def conv_dgrad(self, gy: Array, w: Array, bias: Array | None, geo: ConvGeometry,
                   activation: str | None) -> Array:
        """activation(bias + the sum of gy * w over the windows that contain each pixel, and over the filters).

        The bias has the shape (C,) or, in channels_last, that of gx.
        """
        self.check_float("conv_dgrad", gy)
        if bias is not None and bias.ndim > 1 and not geo.takes_addend:
            raise NotImplementedError(f"conv_dgrad is not implemented on backend {self.name!r} for a bias of the shape "
                                      "of gx in channels_first")
        gx = self.empty(geo.x_shape, gy.dtype)
        self.launch("conv_dgrad", (gy, w, self._aligned(bias), gx), "plan_conv", ("conv_dgrad", geo, gy.dtype),
                    activation or "", precision=current_precision(), limit=workspace_limit())
        return gx

    def conv_wgrad(self, x: Array, gy: Array, geo: ConvGeometry) -> Array:
        """The sum of x * gy over all windows."""
        self.check_float("conv_wgrad", x)
        gw = self.empty(geo.w_shape, x.dtype)
        self.launch("conv_wgrad", (x, gy, gw), "plan_conv", ("conv_wgrad", geo, x.dtype),
                    precision=current_precision(), limit=workspace_limit())
        return gw

    def channel_sum(self, gy: Array, channels_last: bool) -> Array:
        """The sum of gy over all axes but the channels, which are the last axis (channels_last) or the second."""
        self.check_float("channel_sum", gy)
        gb = self.empty((gy.shape[-1 if channels_last else 1],), gy.dtype)
        with self.counters() as counters:
            self.launch("channel_sum", (gy, gb, counters), "plan_channel_sum", (gy.shape, channels_last, gy.dtype),
                        limit=workspace_limit())
        return gb

    def _aligned(self, bias: Array | None) -> Array | None:
        """The bias, copied if its address is not a multiple of the widest vector access.

        A plan follows the least alignment among all arrays: a misaligned bias would make all arrays be read one by one.
        """
        if bias is None or bias.flags.c_contiguous and self._pointer(bias) % VECTOR_BYTES == 0:
            return bias
        return bias.copy()
