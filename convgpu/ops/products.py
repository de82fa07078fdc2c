"""Products, and what runs along an axis: cumulative products and sums, differences.

    prod[k] = product over r of x[k, r]      cumsum[i] = x[0] + ... + x[i]      diff[i] = x[i + 1] - x[i]
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from ..dtypes import as_dtype, is_float
from ..op import Op
from ..tensor import Tensor, as_tensor
from .elementwise import astype
from .joining import concatenate, stack
from .reduce import Axes, in_accumulator, of_dtype, prepare, spread
from .shape import flip, moveaxis, ravel, reshape


def _prod_rule(g: Tensor, x: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    """The product of the others, without dividing by what may be 0: all before times all after."""
    last = tuple(range(x.ndim - len(axes), x.ndim))
    moved = moveaxis(x, axes, last)
    rows = reshape(moved, (*moved.shape[:x.ndim - len(axes)], math.prod([x.shape[a] for a in axes])))
    others = _product_before(rows) * flip(_product_before(flip(rows, -1)), -1)
    return spread(g, x.shape, axes, keepdims) * moveaxis(reshape(others, moved.shape), last, axes)


def _product_before(x: Tensor) -> Tensor:
    """Along the last axis, the product of all elements before each."""
    one = np.ones_like(x.array[..., :1])
    return concatenate([one, cumprod(x[..., :-1], -1)], -1)[..., :x.shape[-1]]


def _cumprod_rule(g: Tensor, x: Tensor, axis: int) -> Tensor:
    """gx[i] = (product before i) * s[i], s[i] = g[i] + x[i+1] * s[i+1]: no division by what may be 0."""
    gs, xs = moveaxis(g, axis, 0), moveaxis(x, axis, 0)
    tails = [gs[i] for i in range(len(gs))]
    for i in reversed(range(len(gs) - 1)):
        tails[i] = tails[i] + xs[i + 1] * tails[i + 1]
    return moveaxis(_product_before(moveaxis(x, axis, -1)), -1, axis) * stack(tails, axis) if tails else g


_prod = Op("prod", "x; axes, keepdims -> y", lambda x, axes, keepdims: np.prod(x, axis=axes, keepdims=keepdims)).vjp(
    x=_prod_rule)
_cumprod = Op("cumprod", "x; axis -> y", lambda x, axis: np.cumprod(x, axis=axis)).vjp(x=_cumprod_rule)


def prod(x: Any, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> Tensor:
    """The product over `axis`.

    >>> prod([2.0, 3.0, 4.0]).item()
    24.0
    """
    x, axes = prepare("prod", x, axis, dtype)
    return of_dtype(in_accumulator(_prod, x, axes, keepdims), dtype)


def cumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    """The running product along `axis` (None: of all elements in row-major order).

    >>> cumprod([2.0, 3.0, 4.0])
    Tensor([ 2.,  6., 24.], dtype=float32)
    """
    x, along = _running("cumprod", x, axis, dtype)
    return of_dtype(in_accumulator(_cumprod, x, along), dtype)


# --- running sums


def _cumsum_forward(x: Any, axis: int) -> Any:
    """float64 inside: a running sum cannot be added in blocks and stay running."""
    if not is_float(x.dtype):
        return np.cumsum(x, axis=axis)
    return np.cumsum(x, axis=axis, dtype=np.float64).astype(x.dtype)


_cumsum = Op("cumsum", "x; axis -> y", _cumsum_forward).vjp(x=lambda g, axis: flip(cumsum(flip(g, axis), axis), axis))


def cumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    """The running sum along `axis` (None: of all elements in row-major order).

    >>> cumsum([1.0, 2.0, 3.0])
    Tensor([1., 3., 6.], dtype=float32)
    """
    x, along = _running("cumsum", x, axis, dtype)
    return of_dtype(_cumsum(x, along), dtype)


def _running(op: str, x: Any, axis: int | None, dtype: Any) -> tuple[Tensor, int]:
    x = as_tensor(x, op)
    x = x if dtype is None else astype(x, as_dtype(dtype))
    if axis is None:
        return ravel(x), 0
    return x, normalize_axis_index(axis, x.ndim)


def diff(x: Any, n: int = 1, axis: int = -1) -> Tensor:
    """The differences of neighbours along `axis`, taken n times.

    >>> diff([1.0, 4.0, 9.0])
    Tensor([3., 5.], dtype=float32)
    """
    x = as_tensor(x, "diff")
    before = (slice(None),) * normalize_axis_index(axis, x.ndim)
    if n < 0:
        raise ValueError(f"diff: expected n >= 0, got {n}")
    for _ in range(n):
        after, earlier = x[(*before, slice(1, None))], x[(*before, slice(None, -1))]
        x = after != earlier if x.dtype == bool else after - earlier
    return x
