"""Reductions over axes: sums, means, variances, extremes.

    sum[k] = sum over r of x[k, r]      mean = sum / n      var[k] = sum over r of (x[k, r] - mean[k])^2 / (n - ddof)

`axis` is an integer, a tuple or None (all axes). Half types accumulate in float32; means of integers are float64.
"""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from .. import summation
from ..arguments import axis_tuple, number
from ..dtypes import accumulator, as_dtype, is_float, is_half
from ..op import Op
from ..tensor import Tensor, as_tensor
from .elementwise import astype, isnan, ratio_or_zero, same, where
from .shape import broadcast_to, reshape

Axes = tuple[int, ...]


def spread(g: Tensor, shape: tuple[int, ...], axes: Axes, keepdims: bool = True) -> Tensor:
    """g, which has the shape of a reduction over `axes`, repeated along these axes."""
    if not keepdims:
        g = reshape(g, tuple([1 if i in axes else n for i, n in enumerate(shape)]))
    return broadcast_to(g, shape)


def _axes(axis: Any, x: Tensor, op: str) -> Axes:
    """`axis` as ascending non-negative axis numbers."""
    if axis is None:
        return tuple(range(x.ndim))
    if type(axis) is int and 0 <= axis < x.ndim:
        return (axis,)
    return tuple(sorted(axis_tuple(op, axis, x.ndim)))


def prepare(op: str, x: Any, axis: Any, dtype: Any = None) -> tuple[Tensor, Axes]:
    """x as a Tensor (of `dtype`, if given), and `axis` as axis numbers."""
    x = as_tensor(x, op)
    return (x if dtype is None else astype(x, as_dtype(dtype))), _axes(axis, x, op)


def of_dtype(y: Tensor, dtype: Any) -> Tensor:
    """The result in the requested dtype. NumPy's sums and products of small integers are wider by themselves."""
    return y if dtype is None else astype(y, as_dtype(dtype))


def _count(shape: tuple[int, ...], axes: Axes) -> int:
    return math.prod([shape[a] for a in axes])


# --- sum and mean


def _over(g: Tensor, count: Any) -> Tensor:
    """g / count in g's dtype; the count may be larger than the largest float16."""
    return astype(astype(g, accumulator(g.dtype)) / count, g.dtype)


# Backends run one op with every function. Sums and extremes keep different things for their gradients, so the op is
# declared twice under one name. The input's shape is a static argument of its own: a rule that took x for its shape
# would keep x's values in memory.
_SIGNATURE = "x; function, axes, keepdims, shape -> y"
_extreme = Op("reduce", _SIGNATURE).vjp(
    x=lambda g, x, axes, keepdims, y: _extreme_rule(g, x, axes, keepdims, y))
_additive = Op("reduce", _SIGNATURE).vjp(x=lambda g, function, axes, keepdims, shape: spread(
    g if function == "sum" else _over(g, builtins.max(_count(shape, axes), 1)), shape, axes, keepdims))
_whole = Op("reduce_whole", "x; function, axes, keepdims -> y",  # of integers and booleans, which carry no gradient
            lambda x, function, axes, keepdims: getattr(np, function)(x, axis=axes, keepdims=keepdims))


def _reduced(x: Tensor, function: str, axes: Axes, keepdims: bool) -> Tensor:
    if not is_float(x.dtype):
        return _whole(x, function, axes, keepdims)
    return (_extreme if function in ("max", "min") else _additive)(x, function, axes, keepdims, x.shape)


def sum(x: Any, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> Tensor:  # noqa: A001 - NumPy's name
    """The sum over `axis`, added in blocks so that float32 keeps its digits over long axes.

    >>> sum([[1.0, 2.0], [3.0, 4.0]], axis=0)
    Tensor([4., 6.], dtype=float32)
    """
    x, axes = prepare("sum", x, axis, dtype)
    return of_dtype(_reduced(x, "sum", axes, keepdims), dtype)


def mean(x: Any, axis: Any = None, dtype: Any = None, *, keepdims: bool = False) -> Tensor:
    """The arithmetic mean over `axis`.

    >>> mean([1.0, 2.0, 6.0]).item()
    3.0
    """
    x, axes = prepare("mean", x, axis, dtype)
    return _reduced(_as_float(x), "mean", axes, keepdims)


def _as_float(x: Tensor) -> Tensor:
    """x, converted to float64 if it holds integers or booleans, as in NumPy's mean."""
    return x if is_float(x.dtype) else astype(x, np.float64)


def average(x: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: bool = False) -> Any:
    """The weighted mean over `axis`: sum(x * weights) / sum(weights).

    Args:
        weights: a tensor of x's shape, or a 1-D tensor along one axis.
        returned: also return the sums of the weights, in the shape of the mean.

    >>> average([1.0, 4.0], weights=[2.0, 1.0]).item()
    2.0
    """
    x, axes = prepare("average", x, axis)
    if weights is None:
        y = mean(x, axes, keepdims=keepdims)
        return (y, broadcast_to(as_tensor(np.array(_count(x.shape, axes), y.dtype)).to(y.device), y.shape)) if (
            returned) else y
    w = as_tensor(weights, "average")
    dtype = np.result_type(x.dtype, w.dtype)
    dtype = dtype if is_float(dtype) else np.dtype(np.float64)
    if w.shape != x.shape:
        if w.ndim != 1 or len(axes) != 1 or w.shape[0] != x.shape[axes[0]]:
            raise ValueError(f"average: expected weights of x's shape {x.shape}, or 1-D along one axis, got {w.shape}")
        w = broadcast_to(reshape(w, tuple([-1 if i in axes else 1 for i in range(x.ndim)])), x.shape)
    x, w = astype(x, accumulator(dtype)), astype(w, accumulator(dtype))
    total = sum(w, axes, keepdims=keepdims)
    y = astype(sum(x * w, axes, keepdims=keepdims) / total, dtype)
    return (y, astype(total, dtype)) if returned else y


# --- variance, in two passes: first the mean, then the squares; half types are computed in float32 and rounded once


def _var_forward(x: Any, axes: Axes, ddof: float, keepdims: bool) -> Any:
    deviations, count = summation.centred(x, axes)[0], builtins.max(_count(x.shape, axes) - ddof, 0)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        y = np.divide(summation.total(deviations * deviations, axes, keepdims), count)
        if isinstance(x, np.ndarray) and not np.isfinite(y).all():  # only an intermediate result may have overflowed
            y = np.where(np.isfinite(y), y, np.square(_over_root(deviations, axes, count, keepdims)))
    return y


def _std_forward(x: Any, axes: Axes, ddof: float, keepdims: bool) -> Any:
    count = builtins.max(_count(x.shape, axes) - ddof, 0)
    return _over_root(summation.centred(x, axes)[0], axes, count, keepdims)


def _over_root(deviations: Any, axes: Axes, count: float, keepdims: bool) -> Any:
    """sqrt(sum of squares / count), right even where the squares overflow or underflow."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return np.divide(summation.root_of_squares(deviations, axes, keepdims), deviations.dtype.type(math.sqrt(count)))


def centred(x: Tensor, axes: Axes) -> Tensor:
    """x minus its mean over the axes. The difference's mean is subtracted too, to remove rounding.
    """
    difference = x - mean(x, axes, keepdims=True)
    return difference - mean(difference, axes, keepdims=True)


def _var_rule(g: Tensor, x: Tensor, axes: Axes, ddof: float, keepdims: bool) -> Tensor:
    return spread(g * 2 / builtins.max(_count(x.shape, axes) - ddof, 0), x.shape, axes, keepdims) * centred(x, axes)


def _std_rule(g: Tensor, x: Tensor, axes: Axes, ddof: float, keepdims: bool, y: Tensor) -> Tensor:
    """The gradient g * (x - mean) / std / n; 0 where all elements are equal."""
    share = spread(g / (_count(x.shape, axes) - ddof), x.shape, axes, keepdims)
    return share * ratio_or_zero(centred(x, axes), spread(y, x.shape, axes, keepdims))


_var = Op("var", "x; axes, ddof, keepdims -> y", _var_forward).vjp(x=_var_rule)
_std = Op("std", "x; axes, ddof, keepdims -> y", _std_forward).vjp(x=_std_rule)


def _correction(op: str, ddof: float | None, correction: float | None) -> float:
    """What is subtracted from the number of elements: NumPy's `ddof`, which the array API calls `correction`."""
    if ddof is not None and correction is not None:
        raise ValueError(f"{op}: expected ddof or correction, which mean the same, got ddof={ddof!r} and "
                         f"correction={correction!r}")
    given = correction if ddof is None else ddof
    return 0 if given is None else number(op, "ddof" if correction is None else "correction", given)


def var(x: Any, axis: Any = None, dtype: Any = None, *, ddof: float | None = None, keepdims: bool = False,
        correction: float | None = None) -> Tensor:
    """The variance over `axis`: the sum of (x - mean)^2 divided by n - ddof; `correction` is another name of ddof.

    >>> var([1.0, 3.0]).item(), var([1.0, 3.0], ddof=1).item()
    (1.0, 2.0)
    """
    x, axes = prepare("var", x, axis, dtype)
    return in_accumulator(_var, _as_float(x), axes, _correction("var", ddof, correction), keepdims)


def std(x: Any, axis: Any = None, dtype: Any = None, *, ddof: float | None = None, keepdims: bool = False,
        correction: float | None = None) -> Tensor:
    """The standard deviation over `axis`: sqrt(var); its gradient is 0 where all elements are equal.

    >>> std([1.0, 3.0]).item()
    1.0
    """
    x, axes = prepare("std", x, axis, dtype)
    return in_accumulator(_std, _as_float(x), axes, _correction("std", ddof, correction), keepdims)


def in_accumulator(op: Op, x: Tensor, *statics: Any) -> Tensor:
    """op(x); half types are computed and differentiated in float32, and rounded once."""
    if not is_half(x.dtype):
        return op(x, *statics)
    return astype(op(astype(x, accumulator(x.dtype)), *statics), x.dtype)


# --- extremes: equal elements share the gradient


def _extreme_rule(g: Tensor, x: Tensor, axes: Axes, keepdims: bool, y: Tensor) -> Tensor:
    won = same(x, spread(y, x.shape, axes, keepdims))
    share = _over(g, sum(won, axes, keepdims=keepdims))
    return where(won, spread(share, x.shape, axes, keepdims), 0)


def max(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:  # noqa: A001 - NumPy's name
    """The largest value over `axis`; NaN wins; equal values share the gradient.

    >>> max([1.0, 3.0, 2.0]).item()
    3.0
    """
    x, axes = prepare("max", x, axis)
    return _reduced(x, "max", axes, keepdims)


def min(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:  # noqa: A001 - NumPy's name
    """The smallest value over `axis`; NaN wins; equal values share the gradient.

    >>> min([1.0, 3.0, 2.0]).item()
    1.0
    """
    x, axes = prepare("min", x, axis)
    return _reduced(x, "min", axes, keepdims)


def ptp(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """From peak to peak: max - min over `axis`.

    >>> ptp([1.0, 3.0, 2.0]).item()
    2.0
    """
    return max(x, axis, keepdims=keepdims) - min(x, axis, keepdims=keepdims)


# --- reductions that ignore NaN


def nansum(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """The sum over `axis` of the elements that are not NaN.

    >>> nansum([1.0, float("nan"), 2.0]).item()
    3.0
    """
    return sum(where(isnan(x), 0, x), axis, keepdims=keepdims)


def _numbers(x: Any, axes: Axes, keepdims: bool) -> Any:
    """The number of elements that are not NaN, in x's dtype."""
    return np.sum(x == x, axis=axes, keepdims=keepdims).astype(x.dtype)


def _nanmean_rule(g: Tensor, x: Tensor, axes: Axes, keepdims: bool) -> Tensor:
    missing = isnan(x)
    count = astype(sum(missing == 0, axes, keepdims=keepdims), x.dtype)
    return where(missing, 0, spread(g / where(count == 0, 1, count), x.shape, axes, keepdims))


_nanmean = Op("nanmean", "x; axes, keepdims -> y", lambda x, axes, keepdims: summation.mean(
    np.where(x == x, x, 0), axes, keepdims, _numbers(x, axes, keepdims))).vjp(x=_nanmean_rule)


def nanmean(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """The mean over `axis` of the elements that are not NaN.

    >>> nanmean([1.0, float("nan"), 2.0]).item()
    1.5
    """
    x, axes = prepare("nanmean", x, axis)
    return in_accumulator(_nanmean, _as_float(x), axes, keepdims)


def nanmax(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """The largest value over `axis` that is not NaN; NaN where all elements are NaN.

    >>> nanmax([1.0, float("nan"), 2.0]).item()
    2.0
    """
    return _without_nan("nanmax", max, x, -np.inf, axis, keepdims)


def nanmin(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """The smallest value over `axis` that is not NaN; NaN where all elements are NaN.

    >>> nanmin([1.0, float("nan"), 2.0]).item()
    1.0
    """
    return _without_nan("nanmin", min, x, np.inf, axis, keepdims)


def _without_nan(op: str, extreme: Any, x: Any, loser: float, axis: Any, keepdims: bool) -> Tensor:
    x, axes = prepare(op, x, axis)
    if not is_float(x.dtype):
        return extreme(x, axes, keepdims=keepdims)
    missing = isnan(x)
    y = extreme(where(missing, loser, x), axes, keepdims=keepdims)
    return where(all(missing, axes, keepdims=keepdims), np.nan, y)


# --- counts, tests and indices: integers and booleans, which carry no gradient

_argmax = Op("argmax", "x; axis, keepdims -> y",
             lambda x, axis, keepdims: np.argmax(x, axis=axis, keepdims=keepdims))
_argmin = Op("argmin", "x; axis, keepdims -> y",
             lambda x, axis, keepdims: np.argmin(x, axis=axis, keepdims=keepdims))
_any = Op("any", "x; axes, keepdims -> y", lambda x, axes, keepdims: np.any(x, axis=axes, keepdims=keepdims))
_all = Op("all", "x; axes, keepdims -> y", lambda x, axes, keepdims: np.all(x, axis=axes, keepdims=keepdims))


def argmax(x: Any, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """The index of the first largest value along `axis` (None: in row-major order); NaN counts as largest.

    >>> argmax([1.0, 3.0, 3.0]).item()
    1
    """
    return _argmax(as_tensor(x, "argmax"), axis, keepdims)


def argmin(x: Any, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """The index of the first smallest value along `axis` (None: in row-major order); NaN counts as smallest.

    >>> argmin([1.0, 3.0, 0.5]).item()
    2
    """
    return _argmin(as_tensor(x, "argmin"), axis, keepdims)


def any(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:  # noqa: A001 - NumPy's name
    """Whether any element along `axis` is true (not 0).

    >>> any([0.0, 2.0]).item()
    True
    """
    x, axes = prepare("any", x, axis)
    return _any(x, axes, keepdims)


def all(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:  # noqa: A001 - NumPy's name
    """Whether all elements along `axis` are true (not 0).

    >>> all([0.0, 2.0]).item()
    False
    """
    x, axes = prepare("all", x, axis)
    return _all(x, axes, keepdims)


def count_nonzero(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """How many elements along `axis` are not 0.

    >>> count_nonzero([0.0, 2.0, 3.0]).item()
    2
    """
    return sum(as_tensor(x, "count_nonzero") != 0, axis, keepdims=keepdims)
