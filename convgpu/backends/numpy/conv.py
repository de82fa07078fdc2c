"""Convolution on the CPU, and the method that each problem is computed by.

    depthwise, or almost depthwise              sums over windows (depthwise.py)
    fprop, and dgrad at stride 1                im2col and matrix products, tile by tile (gather.py)
    dgrad: strided, or with few input channels  matrix products and col2im (scatter.py)
    wgrad                                       im2col and matrix products, summed over tiles (wgrad.py)
    Inf or NaN beside zero padding              tap by tap, so that 0 * Inf does not arise (tapwise.py)

All layouts, ranks, groups and dtypes use the same methods: each tile converts half types and puts channels in order,
and sums are taken in float32.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...dtypes import accumulator
from ...geometry import ConvGeometry, batch_norm_geometry
from ...summation import total
from ..epilogue import finish
from .depthwise import convolve_depthwise, suits, weight_gradient_depthwise
from .gather import convolve
from .norm import norm_infer
from .operands import Filters
from .scatter import scatter
from .tapwise import convolve_tapwise, weight_gradient_tapwise
from .tiles import Gather, backward, forward
from .wgrad import weight_gradient

SMALL = 1 << 18  # below so many multiply-adds, the method with the fewest calls of NumPy is fastest


class _Method(NamedTuple):
    """How one direction of one geometry is computed."""

    gather: Gather
    empty: bool  # the sums have no terms
    inside: bool  # no tap lies in padding
    depthwise: bool
    scatters: bool


@lru_cache(maxsize=4096)
def _forward(geo: ConvGeometry) -> _Method:
    gather = forward(geo)
    empty = 0 in geo.y_shape or not gather.channels
    return _Method(gather, empty, gather.inside, not empty and suits(gather, geo.filters // geo.groups), False)


@lru_cache(maxsize=4096)
def _backward(geo: ConvGeometry, itemsize: int) -> _Method:
    gather = backward(geo)
    empty = 0 in geo.x_shape or 0 in geo.y_shape
    # gathering computes for every pixel of gx, scattering for every pixel of gy
    growth = math.prod(geo.size) / max(math.prod(geo.output), 1)
    depthwise = not empty and growth < 6 and suits(gather, geo.channels // geo.groups)
    # gathering packs kernel * K values per pixel and copies the filters; scattering adds kernel * C values per pixel
    copies = 0 if gather.pointwise else math.prod(geo.w_shape) * itemsize
    scatters = not depthwise and (set(geo.stride) != {1} or geo.macs > SMALL and (
        growth > 1.3 or 2 * geo.channels < geo.filters or copies > Filters.LIMIT))
    return _Method(gather, empty, gather.inside, depthwise, scatters)


def conv_fprop(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geo: ConvGeometry,
               activation: str | None) -> np.ndarray:
    """y[n, p, k] = activation(bias[k] + sum over r, c of x[n, p*stride + r*dilation - before, c] * w[r, c, k])."""
    method = _forward(geo)
    if method.empty:
        return _without_sums(geo.y_shape, bias, geo, activation, x.dtype)
    y = np.empty(geo.y_shape, x.dtype)
    filters = Filters(w, geo.groups, geo.channels_last, accumulator(x.dtype))
    if not (method.inside or filters.finite()):
        compute = convolve_tapwise
    else:
        compute = convolve_depthwise if method.depthwise else convolve
    compute(x, filters, bias, method.gather, activation, y, geo.channels_last)
    return y


def conv_norm(x: np.ndarray, w: np.ndarray, folded: np.ndarray, residual: np.ndarray | None, geo: ConvGeometry,
              activation: str | None) -> np.ndarray:
    """y = activation((the sum of x * w) * factor + shift + residual); folded[k] is (factor, shift) of filter k.

    Half types are computed in float32, and rounded once.
    """
    wide = accumulator(x.dtype)
    sums = conv_fprop(x.astype(wide, copy=False), w.astype(wide, copy=False), None, geo, None)
    return norm_infer(*affine(sums, folded, residual, geo, activation)).astype(x.dtype, copy=False)


def affine(sums: np.ndarray, folded: np.ndarray, residual: np.ndarray | None, geo: ConvGeometry,
           activation: str | None) -> tuple[Any, ...]:
    """The arguments of norm_infer for activation(sums * factor + shift + residual): a mean of 0, a variance of 1."""
    mean = np.zeros(geo.filters, sums.dtype)
    of_channels = batch_norm_geometry(sums.shape, sums.ndim - 1 if geo.channels_last else 1)
    return sums, mean, mean + 1, folded[:, 0], folded[:, 1], residual, of_channels, activation, 0.0


def conv_dgrad(gy: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geo: ConvGeometry,
               activation: str | None) -> np.ndarray:
    """gx[n, p*stride + r*dilation - before, c] += sum over k of gy[n, p, k] * w[r, c, k], for every p and r.

    Then bias and activation are applied, which transposed convolution asks for. A bias of the shape of gx is added
    element by element, in float32 for half types.
    """
    if bias is not None and bias.ndim > 1:
        wide = accumulator(gy.dtype)
        gx = conv_dgrad(gy.astype(wide, copy=False), w.astype(wide, copy=False), None, geo, None)
        gx += bias
        return finish(gx, None, activation).astype(gy.dtype, copy=False)
    dtype = accumulator(gy.dtype)
    method = _backward(geo, dtype.itemsize)
    if method.empty:
        return _without_sums(geo.x_shape, bias, geo, activation, gy.dtype)
    gx = np.empty(geo.x_shape, gy.dtype)
    if not method.scatters:
        flipped = Filters(w, geo.groups, geo.channels_last, dtype, flipped=True)
        # else gathering would multiply Inf by padding; a scatter drops what falls into padding
        if method.inside or flipped.finite():
            compute = convolve_depthwise if method.depthwise else convolve
            compute(gy, flipped, bias, method.gather, activation, gx, geo.channels_last)
            return gx
    filters = Filters(w, geo.groups, geo.channels_last, dtype)
    scatter(gy, filters, bias, forward(geo), activation, gx, geo.channels_last)
    return gx


def conv_wgrad(x: np.ndarray, gy: np.ndarray, geo: ConvGeometry) -> np.ndarray:
    """gw[r, c, k] = sum over n, p of x[n, p*stride + r*dilation - before, c] * gy[n, p, k]."""
    method = _forward(geo)
    if method.empty or 0 in geo.w_shape:
        return np.zeros(geo.w_shape, x.dtype)
    gw = np.empty(geo.w_shape, x.dtype)
    compute = weight_gradient_depthwise if method.depthwise else weight_gradient
    compute(x, gy, method.gather, gw, geo.channels_last, accumulator(x.dtype))
    if not method.inside and not np.isfinite(gw).all():
        weight_gradient_tapwise(x, gy, method.gather, gw, geo.channels_last, accumulator(x.dtype))
    return gw


def channel_sum(gy: np.ndarray, channels_last: bool) -> np.ndarray:
    """gb[c] = the sum of gy over all axes but the channels, which are the last axis (channels_last) or the second."""
    channel = gy.ndim - 1 if channels_last else 1
    return total(gy, tuple(a for a in range(gy.ndim) if a != channel)).astype(gy.dtype, copy=False)


def _without_sums(shape: tuple[int, ...], bias: np.ndarray | None, geo: ConvGeometry, activation: str | None,
                  dtype: np.dtype) -> np.ndarray:
    """The result of a convolution whose sums have no terms: the activated bias."""
    y = np.zeros(shape, accumulator(dtype))
    if bias is not None:
        bias = bias.astype(y.dtype).reshape(-1, *(() if geo.channels_last else (1,) * geo.rank))
    return finish(y, bias, activation).astype(dtype, copy=False)
