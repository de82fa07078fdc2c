"""Quantised operators: 8-bit integers that stand for (q - zero) * scale. Sums are int32, on the CPU alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import numpy as cnp
from ...device import CPU
from ...geometry import conv_geometry
from ...tensor import Tensor
from ..image import host
from ..node import SUPPORTED, Node, dtype_of, type_name
from .convolution import expect_rank, padding, steps


def _per_axis(node: Node, numbers: np.ndarray, x: np.ndarray, axis: int) -> np.ndarray:
    """Scales or zeros so that they broadcast: one for all, or one along an axis of x."""
    if numbers.size == 1:
        return numbers.reshape(())
    if numbers.ndim != 1 or numbers.size != x.shape[axis]:
        raise node.wrong(f"one number, or {x.shape[axis]} along axis {axis}", numbers.shape)
    return numbers.reshape([-1 if i == axis % x.ndim else 1 for i in range(x.ndim)])


def _on_host(node: Node, *xs: Tensor | None) -> list[np.ndarray | None]:
    if any([x is not None and x.device != CPU for x in xs]):
        raise node.refuse(f"{node.op} on the GPU")
    return [None if x is None else host(x) for x in xs]


def _centred(node: Node, x: np.ndarray, zero: np.ndarray | None, axis: int) -> np.ndarray:
    """x - zero, as int32."""
    wide = x.astype(np.int32)
    return wide if zero is None else wide - _per_axis(node, zero, x, axis).astype(np.int32)


def _requantised(node: Node, sums: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    """sums * scale + zero, rounded to even and kept within the dtype of zero."""
    limits = np.iinfo(zero.dtype)
    y = np.rint(sums * scale.astype(np.float64)) + zero.astype(np.float64)
    return np.clip(y, limits.min, limits.max).astype(zero.dtype)


def _conv_sums(node: Node, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The convolution of centred integers, in int32."""
    rank = expect_rank(node, x)
    strides, dilations = steps(node, rank)
    pads = padding(node, x.shape[2:], list(w.shape[2:]), strides, dilations)
    geo = conv_geometry(node.op, x.shape, w.shape, tuple(strides), tuple(pads), tuple(dilations),
                        node.get("group", 1), "channels_first")
    padded = np.pad(x, ((0, 0), (0, 0), *pads))
    y = np.zeros(geo.y_shape, np.int32)
    each_in, each_out = x.shape[1] // geo.groups, w.shape[0] // geo.groups
    for tap in np.ndindex(*w.shape[2:]):
        parts = tuple([slice(t * d, t * d + (o - 1) * s + 1, s)
                       for t, d, o, s in zip(tap, dilations, geo.output, strides)])
        for g in range(geo.groups):
            pixels = padded[(slice(None), slice(g * each_in, (g + 1) * each_in), *parts)]
            filters = w[(slice(g * each_out, (g + 1) * each_out), slice(None), *tap)]
            sums = np.tensordot(filters, pixels, (1, 1))
            y[:, g * each_out:(g + 1) * each_out] += np.moveaxis(sums, 0, 1)
    return y


def conv_integer(node: Node, x: Tensor, w: Tensor, x_zero: Tensor | None = None, w_zero: Tensor | None = None
                 ) -> Tensor:
    """The convolution of x - x_zero with w - w_zero, in int32."""
    xs, ws, xz, wz = _on_host(node, x, w, x_zero, w_zero)
    assert xs is not None and ws is not None
    return cnp.asarray(_conv_sums(node, _centred(node, xs, xz, 1), _centred(node, ws, wz, 0)))


def qlinear_conv(node: Node, x: Tensor, x_scale: Tensor, x_zero: Tensor, w: Tensor, w_scale: Tensor, w_zero: Tensor,
                 y_scale: Tensor, y_zero: Tensor, bias: Tensor | None = None) -> Tensor:
    """`conv_integer` plus an int32 bias, quantised again by y_scale and y_zero."""
    arrays: list[Any] = _on_host(node, x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias)
    xs, xs_scale, xz, ws, ws_scale, wz, ys_scale, yz, b = arrays
    sums = _conv_sums(node, _centred(node, xs, xz, 1), _centred(node, ws, wz, 0))
    if b is not None:
        sums = sums + b.astype(np.int32).reshape((-1,) + (1,) * (sums.ndim - 2))
    scale = _per_axis(node, xs_scale.astype(np.float64) * ws_scale / ys_scale, sums, 1)
    return cnp.asarray(_requantised(node, sums, scale, yz.reshape(())))


def matmul_integer(node: Node, a: Tensor, b: Tensor, a_zero: Tensor | None = None, b_zero: Tensor | None = None
                   ) -> Tensor:
    """The product of a - a_zero and b - b_zero, in int32."""
    left, right, az, bz = _on_host(node, a, b, a_zero, b_zero)
    assert left is not None and right is not None
    return cnp.asarray(np.matmul(_rows(node, left, az), _columns(node, right, bz)))


def _rows(node: Node, a: np.ndarray, zero: np.ndarray | None) -> np.ndarray:
    return a.astype(np.int32) - zero.astype(np.int32) if zero is not None and zero.ndim == a.ndim else _centred(
        node, a, zero, max(a.ndim - 2, 0))


def _columns(node: Node, b: np.ndarray, zero: np.ndarray | None) -> np.ndarray:
    return b.astype(np.int32) - zero.astype(np.int32) if zero is not None and zero.ndim == b.ndim else _centred(
        node, b, zero, b.ndim - 1)


def qlinear_matmul(node: Node, a: Tensor, a_scale: Tensor, a_zero: Tensor, b: Tensor, b_scale: Tensor, b_zero: Tensor,
                   y_scale: Tensor, y_zero: Tensor) -> Tensor:
    """`matmul_integer`, quantised again by y_scale and y_zero."""
    arrays: list[Any] = _on_host(node, a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero)
    left, left_scale, az, right, right_scale, bz, ys_scale, yz = arrays
    sums = np.matmul(_rows(node, left, az), _columns(node, right, bz))
    rows = left_scale.astype(np.float64)
    rows = rows[:, None] if rows.ndim == 1 and rows.size > 1 else rows
    return cnp.asarray(_requantised(node, sums, rows * right_scale / ys_scale.astype(np.float64), yz))


def quantize_linear(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """x / scale + zero, rounded to even and kept within the integers of the dtype of zero."""
    kind = node.get("output_dtype", 0)
    if kind and kind not in SUPPORTED:
        raise node.refuse(f"the element type {type_name(kind)}")
    arrays: list[Any] = _on_host(node, x, scale, zero)
    xs, s, z = arrays
    dtype = z.dtype if z is not None else dtype_of(kind) if kind else np.dtype(np.uint8)
    s, z = _spread(node, s, xs), None if z is None else _spread(node, z, xs)
    limits = np.iinfo(dtype)
    y = np.rint(xs.astype(np.float32) / s.astype(np.float32)) + (0 if z is None else z.astype(np.float64))
    return cnp.asarray(np.clip(y, limits.min, limits.max).astype(dtype))


def dequantize_linear(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """(x - zero) * scale, in the dtype of the scale."""
    arrays: list[Any] = _on_host(node, x, scale, zero)
    xs, s, z = arrays
    wide = xs.astype(np.int64) if z is None else xs.astype(np.int64) - _spread(node, z, xs).astype(np.int64)
    return cnp.asarray((wide.astype(np.float32) * _spread(node, s, xs).astype(np.float32)).astype(s.dtype))


def _spread(node: Node, numbers: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Scales or zeros for every element: one, one along an axis, or one for each block along it."""
    axis, block = node.get("axis", 1), node.get("block_size", 0)
    if block and numbers.ndim == x.ndim:
        spread = np.repeat(numbers, block, axis)
        return spread[tuple([slice(0, n) for n in x.shape])]
    return _per_axis(node, numbers, x, axis)


def dynamic_quantize_linear(node: Node, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x as uint8, with a scale and a zero that its range gives."""
    arrays: list[Any] = _on_host(node, x)
    xs, = arrays
    low, high = np.float32(min(xs.min(initial=0), 0)), np.float32(max(xs.max(initial=0), 0))
    scale = np.float32((high - low) / 255)
    zero = np.uint8(0 if scale == 0 else np.clip(np.rint(-low / scale), 0, 255))
    y = np.clip(np.rint(xs / (scale or 1)) + np.float32(zero), 0, 255).astype(np.uint8)
    return cnp.asarray(y), cnp.asarray(np.asarray(scale)), cnp.asarray(np.asarray(zero))
