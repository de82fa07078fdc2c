"""Resizing. It is linear in x, and so a product with one matrix of weights along each axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ... import numpy as cnp
from ...dtypes import is_float
from ...tensor import Tensor
from ..image import host, ints
from ..limits import expect_room
from ..node import Node


class Axis(NamedTuple):
    """One axis that is resized: from n to out pixels, out being about n * scale; roi is for tf_crop_and_resize."""

    number: int
    n: int
    out: int
    scale: float
    roi: tuple[float, float]


def upsample(node: Node, x: Tensor, scales: Tensor | None = None) -> Tensor:
    """Resize as up to opset 9: pixels are at i / scale."""
    numbers = node.get("scales") if scales is None else [float(s) for s in host(scales)]
    if numbers is None:
        numbers = [1.0, 1.0, node.get("height_scale", 1.0), node.get("width_scale", 1.0)]
    return _resized(node, x, _axes_by_scale(node, x, list(range(x.ndim)), numbers), node.get("mode", "nearest"),
                    "asymmetric", "floor")


def resize(node: Node, x: Tensor, *others: Tensor | None) -> Tensor:
    """x in another size, by nearest, linear or cubic interpolation."""
    if node.opset < 11:
        return upsample(node, x, others[0])
    roi, scales, sizes = (*others, None, None, None)[:3]
    along = [a % x.ndim for a in (node.get("axes") or range(x.ndim))]
    region = None if roi is None or not roi.size else host(roi).reshape(-1).tolist()
    if sizes is not None and sizes.size:
        axes = _axes_by_size(node, x, along, ints(sizes), region)
    elif scales is not None and scales.size:
        axes = _axes_by_scale(node, x, along, host(scales).reshape(-1).tolist(), region)
    else:
        raise node.wrong("scales or sizes", "neither")
    return _resized(node, x, axes, node.get("mode", "nearest"),
                    node.get("coordinate_transformation_mode", "half_pixel"),
                    node.get("nearest_mode", "round_prefer_floor"))


def _axes_by_scale(node: Node, x: Tensor, along: list[int], scales: list[float],
                   region: list[float] | None = None) -> list[Axis]:
    if len(scales) != len(along) or not all([s > 0 and math.isfinite(s) for s in scales]):
        raise node.wrong(f"{len(along)} positive scales", scales)
    return [Axis(a, x.shape[a], math.floor(x.shape[a] * s), s, _region(region, i, len(along)))
            for i, (a, s) in enumerate(zip(along, scales))]


def _axes_by_size(node: Node, x: Tensor, along: list[int], sizes: list[int], region: list[float] | None) -> list[Axis]:
    if len(sizes) != len(along) or min(sizes, default=1) < 1:
        raise node.wrong(f"{len(along)} positive sizes", sizes)
    scales = [n / x.shape[a] for n, a in zip(sizes, along)]
    policy = node.get("keep_aspect_ratio_policy", "stretch")
    if policy != "stretch":
        scale = (min if policy == "not_larger" else max)(scales)
        scales = [scale] * len(along)
        sizes = [math.floor(scale * x.shape[a] + 0.5) for a in along]
    return [Axis(a, x.shape[a], out, s, _region(region, i, len(along)))
            for i, (a, s, out) in enumerate(zip(along, scales, sizes))]


def _region(region: list[float] | None, i: int, count: int) -> tuple[float, float]:
    return (0.0, 1.0) if region is None or len(region) != 2 * count else (region[i], region[i + count])


def _resized(node: Node, x: Tensor, axes: list[Axis], mode: str, transformation: str, rounding: str) -> Tensor:
    shape = list(x.shape)
    for axis in axes:
        shape[axis.number] = axis.out
    expect_room(node, shape, x.dtype)
    y = x
    for axis in axes:
        if axis.n == axis.out and axis.scale == 1 and transformation != "tf_crop_and_resize":
            continue
        places = _places(node, axis, transformation)
        if mode == "nearest":
            nearest = _ROUNDINGS[rounding](places)
            y = y[(slice(None),) * axis.number + (np.clip(nearest, 0, axis.n - 1).astype(np.int64),)]
        else:
            expect_room(node, (axis.out, axis.n), np.float64)
            y = _weighted(y, axis, _weights(node, axis, places, mode == "cubic"))
        if transformation == "tf_crop_and_resize":
            outside = (places < 0) | (places > axis.n - 1)
            mask = outside.reshape([-1 if i == axis.number else 1 for i in range(x.ndim)])
            fill = np.asarray(node.get("extrapolation_value", 0.0), y.dtype)
            y = cnp.where(cnp.asarray(mask).to(x.device), cnp.asarray(fill).to(x.device), y)
    return y if y.dtype == x.dtype else y.astype(x.dtype)


_ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda p: np.ceil(p - 0.5), "round_prefer_ceil": lambda p: np.floor(p + 0.5),
    "floor": np.floor, "ceil": np.ceil, "simple": np.floor}


def _places(node: Node, axis: Axis, transformation: str) -> np.ndarray:
    """Where in x each pixel of the result lies."""
    _, n, out, scale, (low, high) = axis
    i = np.arange(out, dtype=np.float64)
    if transformation == "half_pixel" or transformation == "pytorch_half_pixel" and out > 1:
        return (i + 0.5) / scale - 0.5
    if transformation == "pytorch_half_pixel":
        return np.full(out, -0.5)
    if transformation == "half_pixel_symmetric":
        return n / 2 * (1 - out / (n * scale)) + (i + 0.5) / scale - 0.5
    if transformation == "asymmetric":
        return i / scale
    if transformation == "align_corners":
        wide = n * scale
        return i * (n - 1) / (wide - 1) if wide != 1 else np.zeros(out)
    if transformation == "tf_crop_and_resize":
        if out == 1:
            return np.full(1, 0.5 * (low + high) * (n - 1))
        return low * (n - 1) + i * (high - low) * (n - 1) / (out - 1)
    raise node.refuse(f"coordinate_transformation_mode={transformation!r}")


def _weights(node: Node, axis: Axis, places: np.ndarray, cubic: bool) -> np.ndarray:
    """(out, n): how much of every pixel goes into each pixel of the result."""
    stretch = 1 / axis.scale if node.get("antialias", 0) and axis.scale < 1 else 1.0
    reach = math.ceil((2 if cubic else 1) * stretch)
    taps = np.floor(places)[:, None] + np.arange(-reach, reach + 2)
    distance = np.abs((taps - places[:, None]) / stretch)
    weights = _cubic(distance, node.get("cubic_coeff_a", -0.75)) if cubic else np.maximum(0, 1 - distance)
    if node.get("exclude_outside", 0):
        weights = weights * ((taps >= 0) & (taps < axis.n))
    total = weights.sum(1, keepdims=True)
    weights = weights / np.where(total == 0, 1, total)
    matrix = np.zeros((axis.out, axis.n))
    columns = np.clip(taps, 0, axis.n - 1).astype(np.int64)
    np.add.at(matrix, (np.arange(axis.out)[:, None], columns), weights)
    return matrix


def _cubic(t: np.ndarray, a: float) -> np.ndarray:
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


def _weighted(x: Tensor, axis: Axis, weights: np.ndarray) -> Tensor:
    dtype: Any = x.dtype if is_float(x.dtype) else np.dtype(np.float64)
    matrix = cnp.asarray(weights.T.astype(dtype)).to(x.device)
    return cnp.moveaxis(cnp.matmul(cnp.moveaxis(x.astype(dtype), axis.number, -1), matrix), -1, axis.number)
