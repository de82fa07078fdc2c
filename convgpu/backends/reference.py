"""The plain statement of every op: written to be read and to be right. What everything else is tested against.

Sums are taken in float64 whatever the dtype, and rounded once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from ..geometry import ConvGeometry
from .epilogue import finish
from .reference_gemm import gemm, matmul  # noqa: F401 - part of this backend

# --- convolution: for every tap of the filter, a matrix product over the channels of the pixels that it meets


def conv_fprop(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geo: ConvGeometry,
               activation: str | None) -> np.ndarray:
    """y[n, p, k] = activation(bias[k] + sum over r, c of x[n, p*stride + r*dilation - before, c] * w[r, c, k])."""
    xs, ws = _images(x, geo), _filters(w, geo)
    y = np.zeros((geo.batch, *geo.output, geo.filters))
    for tap, at_x, at_y in _taps(geo):
        for c, k in _groups(geo):
            y[at_y][..., k] += xs[at_x][..., c] @ ws[tap][:, k]
    finish(y, None if bias is None else bias.astype(np.float64), activation)
    return _from_last(y, geo.channels_last, x.dtype)


def conv_dgrad(gy: np.ndarray, w: np.ndarray, bias: np.ndarray | None, geo: ConvGeometry,
               activation: str | None) -> np.ndarray:
    """gx[n, p*stride + r*dilation - before, c] += sum over k of gy[n, p, k] * w[r, c, k], for every p and r.

    Then activation(gx + bias): a transposed convolution has them.
    """
    gs, ws = _images(gy, geo), _filters(w, geo)
    gx = np.zeros((geo.batch, *geo.size, geo.channels))
    for tap, at_x, at_y in _taps(geo):
        for c, k in _groups(geo):
            gx[at_x][..., c] += gs[at_y][..., k] @ ws[tap][:, k].T
    finish(gx, None if bias is None else bias.astype(np.float64), activation)
    return _from_last(gx, geo.channels_last, gy.dtype)


def conv_wgrad(x: np.ndarray, gy: np.ndarray, geo: ConvGeometry) -> np.ndarray:
    """gw[r, c, k] = sum over n, p of x[n, p*stride + r*dilation - before, c] * gy[n, p, k]."""
    xs, gs = _images(x, geo), _images(gy, geo)
    gw = np.zeros((*geo.kernel, geo.channels // geo.groups, geo.filters))
    pixels = tuple(range(1 + geo.rank))
    for tap, at_x, at_y in _taps(geo):
        for c, k in _groups(geo):
            gw[tap][:, k] = np.tensordot(xs[at_x][..., c], gs[at_y][..., k], axes=(pixels, pixels))
    if not geo.channels_last:
        gw = np.moveaxis(gw, (-1, -2), (0, 1))
    return np.ascontiguousarray(gw, x.dtype)


def _taps(geo: ConvGeometry) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...], tuple[slice, ...]]]:
    """Per tap of the filter: its index, the pixels of x that it meets, the outputs that it contributes to."""
    for tap in itertools.product(*map(range, geo.kernel)):
        at_x, at_y = [slice(None)], [slice(None)]
        for r, n, out, s, (before, _), d in zip(tap, geo.size, geo.output, geo.stride, geo.padding, geo.dilation):
            shift = r * d - before  # output p meets pixel p*s + shift, if that is in [0, n)
            first = max(-(shift // s), 0)
            stop = min((n - 1 - shift) // s + 1, out)
            count = max(stop - first, 0)
            start = first * s + shift
            at_y.append(slice(first, first + count))
            at_x.append(slice(start, start + (count - 1) * s + 1, s) if count else slice(0, 0))
        yield tap, tuple(at_x), tuple(at_y)


def _groups(geo: ConvGeometry) -> list[tuple[slice, slice]]:
    """Per group: its channels of x, its filters."""
    c, k = geo.channels // geo.groups, geo.filters // geo.groups
    return [(slice(g * c, (g + 1) * c), slice(g * k, (g + 1) * k)) for g in range(geo.groups)]


def _images(x: np.ndarray, geo: ConvGeometry) -> np.ndarray:
    """Images as (N, spatial..., C)."""
    return (x if geo.channels_last else np.moveaxis(x, 1, -1)).astype(np.float64, copy=False)


def _filters(w: np.ndarray, geo: ConvGeometry) -> np.ndarray:
    """Filters as (spatial..., C/groups, K)."""
    return (w if geo.channels_last else np.moveaxis(w, (0, 1), (-1, -2))).astype(np.float64, copy=False)


def _from_last(y: np.ndarray, channels_last: bool, dtype: np.dtype) -> np.ndarray:
    """(N, spatial..., C) in the caller's layout and dtype."""
    return np.ascontiguousarray(y if channels_last else np.moveaxis(y, -1, 1), dtype)
