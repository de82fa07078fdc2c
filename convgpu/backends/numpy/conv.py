"""Convolution on the CPU: which method each problem takes.

    fprop, and dgrad at stride 1                im2col and matrix products, tile by tile (gather.py)
    dgrad: strided, or with few input channels  matrix products and col2im (scatter.py)
    wgrad                                       im2col and matrix products, summed over tiles (wgrad.py)
    Inf or NaN that would meet zero padding     tap by tap, so that 0 * Inf does not arise (tapwise.py)

All layouts, ranks, groups and dtypes take the same paths: half types are converted and channels put in order tile by
tile, and sums are taken in float32.
"""

from __future__ import annotations

import numpy as np

from ...dtypes import accumulator
from ...geometry import ConvGeometry
from ..epilogue import finish
from .depthwise import convolve_depthwise, suits, weight_gradient_depthwise
from .gather import convolve
from .operands import Filters
from .scatter import scatter
from .tapwise import convolve_tapwise, weight_gradient_tapwise
from .tiles import backward, filters, forward
from .wgrad import weight_gradient


def conv_fprop(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geo: ConvGeometry,
               activation: str | None) -> np.ndarray:
    """y[n, p, k] = activation(bias[k] + sum over r, c of x[n, p*stride + r*dilation - before, c] * w[r, c, k])."""
    gather, last, dtype = forward(geo), geo.channels_last, accumulator(x.dtype)
    if 0 in geo.y_shape or not gather.channels:
        return _without_sums(geo.y_shape, bias, geo, activation, x.dtype)
    y = np.empty(geo.y_shape, x.dtype)
    view = filters(w, geo.groups, last)
    operand = Filters(view, dtype, last)
    if not (gather.inside or operand.finite()):
        convolve_tapwise(x, view, bias, gather, activation, y, last, dtype)
    elif suits(gather, view.shape[-1]):
        convolve_depthwise(x, view, bias, gather, activation, y, last, dtype)
    else:
        convolve(x, operand, bias, gather, activation, y, last)
    return y


def conv_dgrad(gy: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geo: ConvGeometry,
               activation: str | None) -> np.ndarray:
    """gx = activation(bias[c] + what all p and r add: gx[n, p*stride + r*dilation - before, c] += gy[n, p, k] * w[r, c, k])."""
    last, dtype = geo.channels_last, accumulator(gy.dtype)
    if 0 in geo.x_shape or 0 in geo.y_shape:
        return _without_sums(geo.x_shape, bias, geo, activation, gy.dtype)
    gx = np.empty(geo.x_shape, gy.dtype)
    view = filters(w, geo.groups, last)
    gather = backward(geo)
    depthwise = suits(gather, view.shape[-2])
    if depthwise or (set(geo.stride) == {1} and 2 * geo.channels >= geo.filters):
        view = np.flip(view, tuple(range(1, 1 + geo.rank))).swapaxes(-1, -2)
        flipped = Filters(view, dtype, last)
        if gather.inside or flipped.finite():
            if depthwise:
                convolve_depthwise(gy, view, bias, gather, activation, gx, last, dtype)
            else:
                convolve(gy, flipped, bias, gather, activation, gx, last)
            return gx
    scatter(gy, Filters(filters(w, geo.groups, last), dtype, last), bias, forward(geo), activation, gx, last)
    return gx


def conv_wgrad(x: np.ndarray, gy: np.ndarray, geo: ConvGeometry) -> np.ndarray:
    """gw[r, c, k] = sum over n, p of x[n, p*stride + r*dilation - before, c] * gy[n, p, k]."""
    gather, last, dtype = forward(geo), geo.channels_last, accumulator(x.dtype)
    if 0 in geo.w_shape or 0 in geo.y_shape:
        return np.zeros(geo.w_shape, x.dtype)
    gw = np.empty(geo.w_shape, x.dtype)
    view = filters(gw, geo.groups, last)
    (weight_gradient_depthwise if suits(gather, view.shape[-1]) else weight_gradient)(x, gy, gather, view, last, dtype)
    if not gather.inside and not np.isfinite(gw).all():
        weight_gradient_tapwise(x, gy, gather, view, last, dtype)
    return gw


def _without_sums(shape: tuple[int, ...], bias: np.ndarray | None, geo: ConvGeometry, activation: str | None,
                  dtype: np.dtype) -> np.ndarray:
    """What is left of a convolution whose sums have no terms: the activated bias."""
    y = np.zeros(shape, accumulator(dtype))
    if bias is not None:
        bias = bias.astype(y.dtype).reshape(-1, *(() if geo.channels_last else (1,) * geo.rank))
    return finish(y, bias, activation).astype(dtype, copy=False)
