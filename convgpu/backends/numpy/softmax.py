"""Softmax, its logarithm, cross-entropy with integer labels, and their gradients, in the dtype of sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...dtypes import accumulator
from ...summation import total

_quiet = np.errstate(over="ignore", invalid="ignore")  # Inf where a result is beyond the dtype, as on a GPU


@_quiet
def softmax(x: np.ndarray, axis: int, log_of: bool) -> np.ndarray:
    """exp(x) / sum of exp(x) along the axis, or its logarithm."""
    y = _shifted(x.astype(accumulator(x.dtype), copy=False), axis)
    if log_of:
        with np.errstate(divide="ignore"):  # the sum of no elements is 0, and its logarithm -inf
            y -= np.log(total(np.exp(y), (axis,), True))
    else:
        np.exp(y, out=y)
        y /= total(y, (axis,), True)
    return y.astype(x.dtype, copy=False)


@_quiet
def softmax_dgrad(gy: np.ndarray, y: np.ndarray, axis: int, log_of: bool) -> np.ndarray:
    """y * (gy - sum of gy * y); for the logarithm gy - exp(y) * sum of gy."""
    wide = accumulator(gy.dtype)
    g, values = gy.astype(wide, copy=False), y.astype(wide, copy=False)
    if log_of:
        gx = np.exp(values)
        gx *= total(g, (axis,), True)
        np.subtract(g, gx, out=gx)
    else:
        gx = g * values
        gx = np.subtract(g, total(gx, (axis,), True), out=gx)
        gx *= values
    return gx.astype(gy.dtype, copy=False)


@_quiet
def cross_entropy(x: np.ndarray, labels: np.ndarray, axis: int, smoothing: float,
                  reduction: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The losses, their sum or their mean, in the dtype of sums; of each line the largest element and the sum of
    exp(x - largest); and a flag that tells whether a label is out of range.
    """
    wide, shape = accumulator(x.dtype), labels.shape
    lines = np.moveaxis(x, axis, -1).reshape(labels.size, x.shape[axis])
    flat, classes = labels.reshape(-1), lines.shape[1]
    bad = (flat < 0) | (flat >= classes)
    largest = np.max(lines, axis=1, initial=-np.inf).astype(wide)
    with np.errstate(divide="ignore"):
        shifted = lines.astype(wide, copy=False) - largest[:, None]
        sums = total(np.exp(shifted), (1,))
        log_sum = np.log(sums)
        if classes:
            losses = log_sum - shifted[np.arange(flat.size), np.where(bad, 0, flat).astype(np.int64)]
        else:
            losses = log_sum
        if smoothing:
            means = total(shifted, (1,)) / classes - log_sum
            losses = losses * (1 - smoothing) - means * smoothing
    y = losses.reshape(shape) if reduction == "none" else total(losses, (0,))
    with np.errstate(divide="ignore"):  # the mean of nothing is NaN
        y = np.asarray(np.divide(y, flat.size) if reduction == "mean" else y, wide)
    return y, np.stack([largest, sums]), np.array([bad.any()], np.int32)


@_quiet
def cross_entropy_dgrad(x: np.ndarray, labels: np.ndarray, statistics: np.ndarray, g: np.ndarray, axis: int,
                        smoothing: float, reduction: str) -> np.ndarray:
    """(exp(x - largest) / sum - target) * g, divided by the number of lines for a mean."""
    wide, classes = accumulator(x.dtype), x.shape[axis]
    lines = np.moveaxis(x, axis, -1).reshape(labels.size, classes)
    flat = labels.reshape(-1)
    weights = np.broadcast_to(g.astype(wide).reshape(-1) / (max(flat.size, 1) if reduction == "mean" else 1),
                              flat.shape)
    gx = lines.astype(wide, copy=False) - statistics[0][:, None]
    np.exp(gx, out=gx)
    gx /= statistics[1][:, None]
    if smoothing:
        gx -= smoothing / classes
    known = (flat >= 0) & (flat < classes)
    gx[np.flatnonzero(known), flat[known].astype(np.int64)] -= 1 - smoothing
    gx *= weights[:, None]
    moved = x.shape[:axis] + x.shape[axis + 1:]
    return np.ascontiguousarray(np.moveaxis(gx.reshape(*moved, classes), -1, axis)).astype(x.dtype, copy=False)


def _shifted(x: Any, axis: int) -> Any:
    """x minus its largest value."""
    if x.size == 0:
        return x.copy()  # there is no largest value
    return x - np.max(x, axis=axis, keepdims=True)  # inf - inf is meant to be NaN
