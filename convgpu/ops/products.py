"""Products, and functions that run along an axis: cumulative products and sums, differences.

    prod[k] = product over r of x[k, r]      cumsum[i] = x[0] + ... + x[i]      diff[i] = x[i + 1] - x[i]
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arguments import axis_index, integer
from ..device import is_gpu_array
from ..dtypes import as_dtype, is_float
from ..op import Op
from ..tensor import Tensor, as_tensor
from .elementwise import astype
from .joining import concatenate
from .reduce import Axes, in_accumulator, of_dtype, prepare, spread
from .shape import flip, moveaxis, ravel, reshape


def _prod_rule(g: Tensor, x: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    """The gradient: g times the product of all other elements, (product before) * (product after), without division."""
    last = tuple(range(x.ndim - len(axes), x.ndim))
    moved = moveaxis(x, axes, last)
    rows = reshape(moved, (*moved.shape[:x.ndim - len(axes)], math.prod([x.shape[a] for a in axes])))
    others = _product_before(rows) * flip(_product_before(flip(rows, -1)), -1)
    return spread(g, x.shape, axes, keepdims) * moveaxis(reshape(others, moved.shape), last, axes)


def _product_before(x: Tensor) -> Tensor:
    """The product of all elements before each element, along the last axis."""
    one = np.ones_like(x.array[..., :1])
    return concatenate([one, cumprod(x[..., :-1], -1)], -1)[..., :x.shape[-1]]


def _cumprod_rule(g: Tensor, x: Tensor, axis: int) -> Tensor:
    """gx[i] = (product before i) * s[i] with s[i] = g[i] + x[i+1] * s[i+1]; nothing is divided by x, which may be 0."""
    if x.shape[axis] == 0:
        return g
    return moveaxis(_product_before(moveaxis(x, axis, -1)), -1, axis) * _recurrence_adjoint(g, x, axis)


def _recurrence_forward(a: Any, b: Any, axis: int) -> Any:
    """y[i] = b[i] + a[i] * y[i-1] with y[-1] = 0. Blocks are computed side by side, as if each began with 0; then the
    last element of each block corrects the next block.

    A wider type is used, so that the products of a block do not overflow where the results would not.
    """
    dtype = b.dtype
    wide = np.float64 if dtype.itemsize < 8 or is_gpu_array(b) else np.longdouble
    a, b = (np.moveaxis(v, axis, 0).astype(wide) for v in (a, b))
    n, rest = len(b), b.shape[1:]
    size = max(math.isqrt(n), 1)
    count = -(-n // size)
    ys, factors = (np.zeros_like(b, shape=(count * size, *rest)) for _ in range(2))
    ys[:n], factors[:n] = b, a
    ys, factors = ys.reshape(count, size, *rest), factors.reshape(count, size, *rest)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for i in range(1, size):
            ys[:, i] += factors[:, i] * ys[:, i - 1]
            factors[:, i] *= factors[:, i - 1]
        for j in range(1, count):
            carry = ys[j - 1, -1]
            ys[j] += np.where(carry == 0, 0, factors[j] * carry)
        y = np.moveaxis(ys.reshape(count * size, *rest)[:n], 0, axis)
        return y.astype(dtype)


_recurrence: Op = Op("recurrence", "a, b; axis -> y", _recurrence_forward)


def _recurrence_adjoint(g: Tensor, a: Tensor, axis: int) -> Tensor:
    """The gradient with respect to b: s[i] = g[i] + a[i+1] * s[i+1]."""
    lead = (slice(None),) * axis
    after = concatenate([a[(*lead, slice(1, None))], np.ones_like(a.array[(*lead, slice(1))])], axis)
    return flip(_recurrence(flip(after, axis), flip(g, axis), axis), axis)


def _before(y: Tensor, axis: int) -> Tensor:
    """y shifted by one: y[i-1] at i, and 0 at the first place."""
    lead = (slice(None),) * axis
    return concatenate([np.zeros_like(y.array[(*lead, slice(1))]), y[(*lead, slice(None, -1))]], axis)


_recurrence.vjp(a=lambda g, a, y, axis: _recurrence_adjoint(g, a, axis) * _before(y, axis),
                b=lambda g, a, axis: _recurrence_adjoint(g, a, axis))
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
    """The running product along `axis` (None: over all elements in row-major order).

    >>> cumprod([2.0, 3.0, 4.0])
    Tensor([ 2.,  6., 24.], dtype=float32)
    """
    x, along = _running("cumprod", x, axis, dtype)
    return of_dtype(in_accumulator(_cumprod, x, along), dtype)


# --- running sums


def _cumsum_forward(x: Any, axis: int) -> Any:
    """Sum in float64: a running sum cannot be added in blocks, which is how other sums keep their digits."""
    if not is_float(x.dtype):
        return np.cumsum(x, axis=axis)
    return np.cumsum(x, axis=axis, dtype=np.float64).astype(x.dtype)


_cumsum = Op("cumsum", "x; axis -> y", _cumsum_forward).vjp(x=lambda g, axis: flip(cumsum(flip(g, axis), axis), axis))


def cumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Tensor:
    """The running sum along `axis` (None: over all elements in row-major order).

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
    return x, axis_index(op, axis, x.ndim)


def diff(x: Any, n: int = 1, axis: int = -1) -> Tensor:
    """The differences between neighbours along `axis`, taken n times.

    >>> diff([1.0, 4.0, 9.0])
    Tensor([3., 5.], dtype=float32)
    """
    x = as_tensor(x, "diff")
    before = (slice(None),) * axis_index("diff", axis, x.ndim)
    # after as many differences as elements, nothing is left
    for _ in range(min(integer("diff", "n", n, 0), x.shape[axis])):
        after, earlier = x[(*before, slice(1, None))], x[(*before, slice(None, -1))]
        x = after != earlier if x.dtype == bool else after - earlier
    return x
