"""Rows that indices on the GPU name: read, and added up, without waiting until the host has seen the indices.

An index out of range is an error, which the host learns of when it next reads a value (convgpu/flags.py). Until then
the row that such an index reads is NaN, as in Keras on JAX; what it adds to a sum is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convgpu import Op, Tensor, flags, gpu
from convgpu.dtypes import is_float, is_half
from convgpu.ops.repeated import sums_at


def _inside(ids: Any, count: int) -> Any:
    return (ids >= -count) & (ids < count)


def _along(mask: Any, like: Any) -> Any:
    """A mask of rows with an axis for each further axis of an array."""
    return mask.reshape(*mask.shape, *(1,) * (like.ndim - mask.ndim))


def _take_rows(x: Any, ids: Any) -> Any:
    y = x[ids]  # CuPy wraps an index around that is out of range
    inside = _along(_inside(ids, x.shape[0]), y)
    if is_half(x.dtype):  # chosen by bits: CuPy's `where` knows no bfloat16
        bits = np.asarray(np.array(np.nan, x.dtype)).view(np.uint16).item()
        return np.where(inside, y.view(np.uint16), np.uint16(bits)).view(x.dtype)
    return np.where(inside, y, x.dtype.type(np.nan))


def _sum_rows(x: Any, ids: Any, count: int) -> Any:
    """(count, ...): the sums of the rows of x whose ids are equal; rows with other ids belong to no sum."""
    rows = x.reshape(ids.size, *x.shape[ids.ndim:])
    places = ids.reshape(-1).astype(np.int64)
    places = np.where(_inside(places, count), places % max(count, 1), count)
    return sums_at(places, rows.astype(np.float64 if is_float(x.dtype) else np.int64), count).astype(x.dtype)


def _sum_segments(x: Any, ids: Any, count: int) -> Any:
    return _sum_rows(x, np.where(ids < 0, count, ids), count)  # a negative number names no segment


def rows_at(x: Tensor, ids: Any) -> Tensor:
    """The rows of x that an array of ids names, and a flag for ids out of range."""
    n = x.shape[0]
    if ids.size:
        outside = gpu.run("take", lambda: (~_inside(ids, n)).any().astype(np.int32))
        flags.check("take", outside, f"indices in [{-n}, {n}) along the first axis")
    return take_rows(x, ids)


take_rows = Op("keras_take_rows", "x; ids -> y", _take_rows, moves=True)
sum_rows = Op("keras_sum_rows", "x; ids, count -> y", _sum_rows, moves=True)
sum_segments = Op("keras_sum_segments", "x; ids, count -> y", _sum_segments, moves=True)


def _rows_of_segments(g: Any, ids: Any, count: int) -> Any:
    """For each row the gradient of its segment, and 0 where it has none."""
    y = g[np.where(_inside(ids, count), ids, 0)]
    return y * _along((ids >= 0) & (ids < count), y).astype(y.dtype)


_segments = Op("keras_rows_of_segments", "g; ids, count -> y", _rows_of_segments)

take_rows.vjp(x=lambda g, x, ids: sum_rows(g, ids, x.shape[0]))
sum_rows.vjp(x=lambda g, ids: take_rows(g, ids))
sum_segments.vjp(x=lambda g, ids, count: _segments(g, ids, count))
_segments.vjp(g=lambda g, ids, count: sum_segments(g, ids, count))
