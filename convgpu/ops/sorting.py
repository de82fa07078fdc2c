"""Sorting and searching. Sorted values carry gradients to the elements that they were; indices and counts carry none.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arguments import axis_index, axis_tuple
from ..capturing import region
from ..device import is_gpu_array
from ..dtypes import accumulator, is_float, is_half
from ..op import Op
from ..tensor import Tensor, as_tensor
from .elementwise import astype, isinf, isnan, signbit, where
from .indexing import gathered, take
from .repeated import sums_at
from .shape import moveaxis, ravel, reshape


def _ordered(x: Any) -> Any:
    """x, with half types as float32, which is exact: NumPy sorts wrongly around NaN in bfloat16."""
    return x.astype(np.float32) if is_half(x.dtype) else x


def _unique_forward(x: Any, *options: Any) -> Any:
    region.refuse_size("unique")
    found = np.unique(_ordered(x), *options[:-1], equal_nan=options[-1])
    if isinstance(found, tuple):
        return found[0].astype(x.dtype, copy=False), *found[1:]
    return found.astype(x.dtype, copy=False)


_argsort = Op("argsort", "x; axis -> y", lambda x, axis: np.argsort(_ordered(x), axis=axis, kind="stable"))
_searchsorted = Op("searchsorted", "a, v; side -> y",
                   lambda a, v, side: np.searchsorted(_ordered(a), _ordered(v), side=side))
_bincount = Op("bincount", "x, weights; minlength -> y", lambda x, weights, minlength: _counts(x, weights, minlength))
# unique has no gradient rule, so asking for a gradient is an error: any step changes which are equal.
_unique = Op("unique", "x; return_index, return_inverse, return_counts, axis, equal_nan -> y", _unique_forward)


def _counts(x: Any, weights: Any, minlength: int) -> Any:
    region.refuse_size("bincount")
    if not is_gpu_array(x):
        return np.bincount(x, weights=weights, minlength=minlength)
    x = x.astype(np.int64) if x.dtype == bool else x
    counts = np.bincount(x, minlength=minlength)  # bincount checks x
    return counts if weights is None else sums_at(x, weights.astype(np.float64), len(counts))


def argsort(x: Any, axis: int | None = -1) -> Tensor:
    """The indices that sort x along `axis` (None: all elements); equal elements keep their order, and NaN comes last.

    >>> argsort([3.0, 1.0, 2.0])
    Tensor([1, 2, 0], dtype=int64)
    """
    return _argsort(as_tensor(x, "argsort"), axis)


def sort(x: Any, axis: int | None = -1) -> Tensor:
    """The elements in ascending order along `axis` (None: all elements); NaN comes last.

    >>> sort([3.0, 1.0, 2.0])
    Tensor([1., 2., 3.], dtype=float32)
    """
    x, axis = (ravel(x), 0) if axis is None else (as_tensor(x, "sort"), axis)
    return gathered(x, argsort(x, axis), axis_index("sort", axis, x.ndim))


def median(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """The middle element along `axis` (an integer, a tuple or None), or the mean of the two; NaN if any element is NaN.

    >>> median([3.0, 1.0, 2.0, 10.0]).item()
    2.5
    """
    x = as_tensor(x, "median")
    if isinstance(axis, (tuple, list)):
        return _median_over(x, axis_tuple("median", axis, x.ndim), keepdims)
    dtype = x.dtype if is_float(x.dtype) else np.dtype(np.float64)
    values, along = (ravel(x), 0) if axis is None else (x, axis_index("median", axis, x.ndim))
    ordered = sort(astype(values, accumulator(dtype)), along)
    n = ordered.shape[along]
    if n == 0:
        raise ValueError(f"median: expected at least one element along axis={axis}, got shape {x.shape}")
    y = take(ordered, [n // 2], along)
    if n % 2 == 0:
        y = mixed(take(ordered, [n // 2 - 1], along), y, 0.5)
    largest = take(ordered, [-1], along)
    y = astype(where(isnan(largest), largest, y), dtype)
    if keepdims:
        return reshape(y, (1,) * x.ndim) if axis is None else y
    return y.squeeze(along)


def _median_over(x: Tensor, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    """The median over several axes, which are merged into one first."""
    kept = tuple([n for a, n in enumerate(x.shape) if a not in axes])
    rows = reshape(moveaxis(x, axes, range(-len(axes), 0)), (*kept, math.prod([x.shape[a] for a in axes])))
    y = median(rows, -1)
    return reshape(y, tuple([1 if a in axes else n for a, n in enumerate(x.shape)])) if keepdims else y


def mixed(low: Tensor, high: Tensor, weight: Any) -> Tensor:
    """low + (high - low) * weight. Weight 0 gives exactly low, whatever high is; infinities give no needless NaN."""
    weight = as_tensor(weight).to(low.device)
    here = weight == 0
    apart = (signbit(low) != signbit(high)) | isinf(low) | isinf(high)  # the difference might not be finite here
    inner = where(here, 0.5, weight)
    near = low + (where(apart, 0, high) - where(apart, 0, low)) * inner
    return where(here, low, where(apart, low * (1 - inner) + high * inner, near))


def unique(x: Any, return_index: bool = False, return_inverse: bool = False, return_counts: bool = False,
           axis: int | None = None, *, equal_nan: bool = True) -> Any:
    """The different elements in ascending order; on request their first indices, the indices to rebuild x, and counts.

    Args:
        axis: compare slices along this axis; None: compare all elements.
        equal_nan: whether all NaN count as one element; otherwise each NaN is an element of its own.

    >>> unique([2, 1, 2])
    Tensor([1, 2], dtype=int64)
    """
    return _unique(as_tensor(x, "unique"), return_index, return_inverse, return_counts, axis, equal_nan)


def searchsorted(a: Any, v: Any, side: str = "left") -> Tensor:
    """The index in the ascending 1-D `a` where each value of v belongs: before its equals ("left") or after ("right").

    >>> searchsorted([1.0, 2.0, 3.0], 2.5).item()
    2
    """
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: expected side 'left' or 'right', got {side!r}")
    return _searchsorted(as_tensor(a, "searchsorted"), as_tensor(v, "searchsorted"), side)


def bincount(x: Any, weights: Any = None, minlength: int = 0) -> Tensor:
    """How often each of 0, 1, 2, ... occurs in x, or the sum of its weights (no gradient: see `at[x].add`).

    >>> bincount([0, 2, 2])
    Tensor([1, 0, 2], dtype=int64)
    """
    return _bincount(as_tensor(x, "bincount"), weights, minlength)


def argwhere(x: Any) -> Tensor:
    """The indices of the elements that are not 0, one row for each element.

    >>> argwhere([0.0, 2.0, 3.0]).tolist()
    [[1], [2]]
    """
    return _argwhere(as_tensor(x, "argwhere"))


def _argwhere_forward(x: Any) -> Any:
    region.refuse_size("argwhere")
    return np.argwhere(x)


_argwhere = Op("argwhere", "x -> y", _argwhere_forward)


def flatnonzero(x: Any) -> Tensor:
    """The row-major indices of the elements that are not 0."""
    return argwhere(ravel(x))[:, 0]
