"""Sums of floats whose error stays small, whatever the number of terms and the layout of the array in memory.

np.sum adds in pairs only along the axis that is contiguous in memory. Along other axes it adds in a plain sequence,
whose error grows with its length (115 units of eps * sum|x| over the 100,352 rows of a bias gradient). Here such axes
are summed in blocks of at most 32 rows, then the blocks' sums in the same way, and so on.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .dtypes import accumulator, is_float

BLOCK = 32  # rows per block: the error of 31 plain additions is at most 15.5 units, and in practice below 3
LANES = 1024  # elements per inner addition: enough to hide NumPy's cost per loop, and few enough for the L1 cache


def total(x: Any, axis: tuple[int, ...], keepdims: bool = False) -> Any:
    """The sum of x over the axes (non-negative and ascending), in the accumulator's dtype.

    Contiguous arrays are read without a copy; other arrays are copied once.
    """
    x = x.astype(accumulator(x.dtype), copy=False)
    if len(axis) == x.ndim and x.flags.c_contiguous:  # the elements are one run in memory
        return np.sum(x, keepdims=keepdims)
    count = math.prod([x.shape[a] for a in axis])
    if count <= BLOCK or x.size == 0 or x.ndim == 1 or not is_float(x.dtype) or not isinstance(x, np.ndarray):
        return np.sum(x, axis=axis, keepdims=keepdims)
    order = sorted(range(x.ndim), key=lambda a: -abs(x.strides[a]))  # the axes in the order in which they lie in memory
    y = _sum_in_order(np.ascontiguousarray(x.transpose(order)), [a in axis for a in order])
    kept = [a for a in order if a not in axis]
    y = y.transpose([kept.index(a) for a in sorted(kept)])
    return np.expand_dims(y, axis) if keepdims else y


def _sum_in_order(x: np.ndarray, summed: list[bool]) -> np.ndarray:
    """The sum over the flagged axes of a C-contiguous array, by runs of neighbouring axes, from the innermost outwards.
    """
    kept = [n for n, flag in zip(x.shape, summed) if not flag]
    outer, inner = list(x.shape), 1  # the axes still to be visited; the elements that are kept so far
    while outer:
        flag, run = summed[len(outer) - 1], 1
        while outer and summed[len(outer) - 1] == flag:
            run *= outer.pop()
        if not flag:
            inner *= run
        elif inner == 1:
            x = np.sum(x.reshape(math.prod(outer), run), axis=1)
        else:
            x = _sum_rows(x.reshape(math.prod(outer), run, inner))
    return x.reshape(kept)


def _sum_rows(x: np.ndarray) -> np.ndarray:
    """The sum over the middle axis of three, in blocks."""
    while x.shape[1] > BLOCK:
        outer, rows, inner = x.shape
        lanes = max(1, min(LANES // inner, rows // BLOCK))  # neighbouring rows that are added side by side
        groups = rows // (BLOCK * lanes)
        head = groups * BLOCK * lanes
        partial = np.sum(x[:, :head].reshape(outer, groups, BLOCK, lanes * inner), axis=2)
        partial = partial.reshape(outer, groups * lanes, inner)
        x = partial if head == rows else np.concatenate([partial, x[:, head:]], axis=1)
    return np.sum(x, axis=1)


# --- means, deviations and norms whose intermediate results neither overflow nor lose digits


def mean(x: Any, axis: tuple[int, ...], keepdims: bool = False, counts: Any = None) -> Any:
    """The mean over the axes, in the accumulator's dtype; finite even where the sum overflows; NaN of nothing.

    counts: the divisor, where some elements are 0 because they do not count.
    """
    count = math.prod([x.shape[a] for a in axis])
    counts = count if counts is None else counts
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        y = np.divide(total(x, axis, keepdims), counts)
        if not isinstance(x, np.ndarray) or not x.size or not is_float(x.dtype) or np.isfinite(y).all():
            return y
        unit = accumulator(x.dtype).type(2.0 ** -count.bit_length())  # a power of 2, which changes no digit
        return np.where(np.isfinite(y), y, np.divide(total(x * unit, axis, keepdims), counts * unit))


def centred(x: Any, axis: tuple[int, ...]) -> tuple[Any, Any]:
    """The pair (x - mean, mean), good to the last bit: the mean's rounding is subtracted in a second step.

    Where all elements are equal, the difference is exactly 0; where they differ by one unit in the last place, it keeps
    the halves of that unit.
    """
    first = mean(x, axis, True)
    difference = x - first
    rest = mean(difference, axis, True)
    if not isinstance(x, np.ndarray) or rest.any():
        difference -= rest
    return difference, first + rest


def root_of_squares(x: Any, axis: tuple[int, ...], keepdims: bool = False) -> Any:
    """sqrt(sum of x^2) over the axes, in the accumulator's dtype, even where squares would overflow or underflow."""
    x = x.astype(accumulator(x.dtype), copy=False)
    limits = np.finfo(x.dtype)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        squares = total(x * x, axis, keepdims)
        plain = isinstance(x, np.ndarray) and ((squares > limits.tiny / limits.eps) & (squares < np.inf)).all()
        if plain or not x.size:
            return np.sqrt(squares)
        scale = unit_scale(np.max(np.abs(x), axis=axis, keepdims=True))
        y = np.sqrt(total(np.square(x * scale), axis, True)) / scale
    return y if keepdims else y.reshape(squares.shape)


def unit_scale(largest: Any) -> Any:
    """The power of 2 that scales a magnitude to about 1; the power itself is neither infinite nor denormal."""
    limits = np.finfo(largest.dtype)
    exponent = np.floor(np.log2(np.where(np.isfinite(largest) & (largest > 0), largest, 1)))
    return np.exp2(-np.clip(exponent, limits.minexp + 2, limits.maxexp - 2))
