"""Order statistics, histograms, and reductions that ignore NaN.

Quantiles use sort, which passes gradients on to the sorted elements; counts and indices carry no gradient.
"""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from ..dtypes import accumulator, is_float
from ..op import Op
from ..summation import unit_scale
from ..tensor import Tensor, as_tensor
from .elementwise import astype, clip, isnan, sqrt, square, where
from .indexing import take_along_axis
from .joining import concatenate
from .linalg import norm
from .products import cumprod, cumsum, prod
from .reduce import Axes, all, any, argmax, argmin, centred, nanmean, prepare
from .reduce import sum as sum_over
from .shape import expand_dims, moveaxis, reshape, squeeze
from .sorting import mixed, sort

# --- quantiles

METHODS = ("linear", "lower", "higher", "nearest", "midpoint")


def quantile(x: Any, q: Any, axis: Any = None, *, method: str = "linear", keepdims: bool = False) -> Tensor:
    """The value below which a fraction q of the elements along `axis` lies; NaN if any of them is NaN.

    Args:
        q: a number in [0, 1], or several numbers, which lie along a new first axis of the result.
        axis: an integer, a tuple or None.
        method: what to return between two elements: "linear", "lower", "higher", "nearest" or "midpoint".

    >>> quantile([1.0, 2.0, 4.0], 0.75).item()
    3.0
    """
    return _quantile("quantile", x, q, axis, method, keepdims, False)


def percentile(x: Any, q: Any, axis: Any = None, *, method: str = "linear", keepdims: bool = False) -> Tensor:
    """quantile(x, q / 100)."""
    return _quantile("percentile", x, q, axis, method, keepdims, False, 100)


def nanquantile(x: Any, q: Any, axis: Any = None, *, method: str = "linear", keepdims: bool = False) -> Tensor:
    """The quantile of the elements that are not NaN; NaN where all elements are NaN."""
    return _quantile("nanquantile", x, q, axis, method, keepdims, True)


def nanpercentile(x: Any, q: Any, axis: Any = None, *, method: str = "linear", keepdims: bool = False) -> Tensor:
    """nanquantile(x, q / 100)."""
    return _quantile("nanpercentile", x, q, axis, method, keepdims, True, 100)


def nanmedian(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """The median of the elements that are not NaN."""
    return _quantile("nanmedian", x, 0.5, axis, "linear", keepdims, True)


def _host(op: str, q: Any) -> np.ndarray:
    """q as float64 on the host."""
    given = as_tensor(q, op)  # which refuses what is not a number
    return np.asarray(given.numpy() if isinstance(q, Tensor) else q, np.float64)


def _quantile(op: str, x: Any, q: Any, axis: Any, method: str, keepdims: bool, skip_nan: bool,
              whole: float = 1) -> Tensor:
    x, axes = prepare(op, x, axis)
    fractions = _host(op, q) / whole
    if method not in METHODS or not np.all((fractions >= 0) & (fractions <= 1)):
        raise ValueError(f"{op}: expected q in [0, {whole}] and a method of {METHODS}, got {q} and {method!r}")
    dtype = x.dtype if is_float(x.dtype) else np.dtype(np.float64)
    kept = tuple([n for i, n in enumerate(x.shape) if i not in axes])
    count = math.prod([x.shape[a] for a in axes])
    if count == 0:
        raise ValueError(f"{op}: expected at least one element along axis={axis}, got shape {x.shape}")
    x = astype(x, accumulator(dtype))
    rows = reshape(moveaxis(x, axes, range(-len(axes), 0)), (*kept, count))
    ordered, missing = sort(rows, -1), isnan(rows)
    last = np.full((*kept, 1), count - 1, np.float64)
    if skip_nan:
        last = np.maximum(last - missing.numpy().sum(-1, keepdims=True), 0)
    below, weight = _between(last * fractions.reshape(-1), method)
    low = take_along_axis(ordered, below, -1)
    high = take_along_axis(ordered, np.minimum(below + 1, last.astype(np.intp)), -1)
    y = mixed(low, high, as_tensor(weight.astype(x.dtype)).to(x.device))
    if not skip_nan:
        # where there is a NaN, it is the last element after sorting
        y = where(any(missing, -1, keepdims=True), ordered[..., -1:], y)
    y = astype(reshape(moveaxis(y, -1, 0), fractions.shape + kept), dtype)
    return expand_dims(y, tuple([a + fractions.ndim for a in axes])) if keepdims and axes else y


def _between(places: np.ndarray, method: str) -> tuple[np.ndarray, np.ndarray]:
    """The index of the element at or below each place, and the weight of the element after it."""
    below = np.floor(places)
    rest = places - below
    if method == "nearest":
        return np.rint(places).astype(np.intp), np.zeros_like(rest)
    weight = {"linear": rest, "lower": 0 * rest, "higher": 1.0 * (rest > 0), "midpoint": 0.5 * (rest > 0)}[method]
    return below.astype(np.intp), weight


# --- reductions that ignore NaN


def _replaced(op: str, x: Any, value: float) -> Tensor:
    x = as_tensor(x, op)
    return where(isnan(x), value, x) if is_float(x.dtype) else x


def nanprod(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:
    """The product over `axis` of the elements that are not NaN."""
    return prod(_replaced("nanprod", x, 1), axis, keepdims=keepdims)


def nancumsum(x: Any, axis: int | None = None) -> Tensor:
    """The running sum along `axis`, where NaN counts as 0."""
    return cumsum(_replaced("nancumsum", x, 0), axis)


def nancumprod(x: Any, axis: int | None = None) -> Tensor:
    """The running product along `axis`, where NaN counts as 1."""
    return cumprod(_replaced("nancumprod", x, 1), axis)


def _without_nan(op: str, x: Any, axis: Any, ddof: float) -> tuple[Tensor, Tensor, Axes, np.dtype]:
    """The deviations from the mean of the numbers (0 for NaN), the divisor, the axes, and the result's dtype."""
    x, axes = prepare(op, x, axis)
    dtype = x.dtype if is_float(x.dtype) else np.dtype(np.float64)
    x = astype(x, accumulator(dtype))
    missing = isnan(x)
    count = astype(sum_over(missing == 0, axes, keepdims=True), x.dtype)
    for _ in range(2):  # the second round subtracts what rounding left in the mean
        x = x - nanmean(x, axes, keepdims=True)
    return where(missing, 0, x), where(count > ddof, count - ddof, np.nan), axes, dtype


def nanvar(x: Any, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """The variance over `axis` of the n elements that are not NaN, with the divisor n - ddof; NaN where n <= ddof.

    >>> nanvar([1.0, float("nan"), 3.0]).item()
    1.0
    """
    deviations, divisor, axes, dtype = _without_nan("nanvar", x, axis, ddof)
    y = sum_over(square(deviations), axes, keepdims=True) / divisor
    return astype(y if keepdims else squeeze(y, axes), dtype)


def nanstd(x: Any, axis: Any = None, *, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """The standard deviation over `axis` of the elements that are not NaN; the gradient is 0 where they are all equal.

    >>> nanstd([1.0, float("nan"), 3.0]).item()
    1.0
    """
    deviations, divisor, axes, dtype = _without_nan("nanstd", x, axis, ddof)
    y = norm(deviations, None, axes, keepdims=True) / sqrt(divisor)
    return astype(y if keepdims else squeeze(y, axes), dtype)


def nanargmax(x: Any, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """The index of the first largest value that is not NaN."""
    return argmax(_with_numbers("nanargmax", x, axis, -np.inf), axis, keepdims=keepdims)


def nanargmin(x: Any, axis: int | None = None, *, keepdims: bool = False) -> Tensor:
    """The index of the first smallest value that is not NaN."""
    return argmin(_with_numbers("nanargmin", x, axis, np.inf), axis, keepdims=keepdims)


def _with_numbers(op: str, x: Any, axis: int | None, loser: float) -> Tensor:
    x = as_tensor(x, op)
    if not is_float(x.dtype):
        return x
    if bool(any(all(isnan(x), axis))):
        raise ValueError(f"{op}: expected a number along each line of axis={axis}, got one of NaN alone")
    return where(isnan(x), loser, x)


# --- indices and counts

_argpartition = Op("argpartition", "x; kth, axis -> y", lambda x, kth, axis: np.argpartition(x, kth, axis))
_digitize = Op("digitize", "x, bins -> y", np.digitize)
_isin = Op("isin", "x, test; invert -> y", lambda x, test, invert: np.isin(x, test, invert=invert))
_histogram = Op("histogram", "x; bins, range -> counts, edges", np.histogram)
_unravel_index = Op("unravel_index", "x; shape -> y", lambda x, shape: np.unravel_index(x, shape))


def argpartition(x: Any, kth: int, axis: int | None = -1) -> Tensor:
    """The indices in an order that puts the kth smallest element in its place and all smaller elements before it."""
    return _argpartition(as_tensor(x, "argpartition"), kth, axis)


def digitize(x: Any, bins: Any) -> Tensor:
    """The index of the bin of each element; bin i goes from bins[i-1] (inclusive) to bins[i] (exclusive).

    >>> digitize([0.5, 2.5], [0.0, 1.0, 2.0]).tolist()
    [1, 3]
    """
    return _digitize(x, bins)


def isin(x: Any, test: Any, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each element of x occurs in `test` (with `invert`: whether it does not)."""
    return _isin(as_tensor(x, "isin"), as_tensor(test, "isin"), invert)


def histogram(x: Any, bins: Any = 10, range: tuple[float, float] | None = None) -> tuple[Tensor, Tensor]:
    """How many elements lie in each bin, and the edges of the bins.

    Args:
        bins: the number of bins of equal width, or the edges of the bins.
        range: the first and the last edge; by default the smallest and the largest element.

    >>> histogram([1.0, 2.0, 4.0], 3)[0].tolist()
    [1, 1, 1]
    """
    return _histogram(as_tensor(x, "histogram"), bins.numpy() if isinstance(bins, Tensor) else bins, range)


def unravel_index(x: Any, shape: Any) -> tuple[Tensor, ...]:
    """Row-major indices into an array of `shape`, as one tensor of indices per axis."""
    return _unravel_index(as_tensor(x, "unravel_index"), tuple(shape) if np.ndim(shape) else (shape,))


# --- functions of several variables


def _rows(op: str, x: Any, y: Any, rowvar: bool) -> tuple[Tensor, np.dtype]:
    """The observations of all variables, a row each, in the accumulator's dtype, and the dtype of the result."""
    parts = [as_tensor(t, op) for t in (x, y) if t is not None]
    if not builtins.all([t.ndim <= 2 for t in parts]):
        raise ValueError(f"{op}: expected one variable (1-D), or several (2-D), got shapes {[t.shape for t in parts]}")
    dtype = np.result_type(*[t.dtype for t in parts])
    dtype = dtype if is_float(dtype) else np.dtype(np.float64)
    parts = [astype(t.T if t.ndim == 2 and not rowvar and t.shape[0] != 1 else reshape(t, (-1, t.shape[-1]) if t.ndim
             else (1, 1)), accumulator(dtype)) for t in parts]
    if len({t.shape[1] for t in parts}) > 1:
        raise ValueError(f"{op}: expected as many observations of y as of x, got {[t.shape[1] for t in parts]}")
    return (concatenate(parts, 0) if len(parts) > 1 else parts[0]), dtype


def cov(m: Any, y: Any = None, rowvar: bool = True, bias: bool = False, ddof: int | None = None, fweights: Any = None,
        aweights: Any = None) -> Tensor:
    """The covariances of variables: c[i, j] = sum over n of w[n] (m[i, n] - mean[i]) (m[j, n] - mean[j]) / divisor.

    Args:
        m: a variable (1-D), or one per row (2-D); with rowvar=False, one per column.
        y: further variables, as m.
        bias: divide by n and not by n - 1, unless `ddof` is given.
        ddof: the divisor is n - ddof.
        fweights: how often each observation was made, integers >= 0.
        aweights: the weight of each observation, numbers >= 0. With both kinds of weights w is their product, and the
            divisor sum(w) - ddof * sum(w * aweights) / sum(w).

    Returns:
        (variables, variables), or a scalar for one variable. It is NaN or infinite where the divisor is not positive.

    >>> cov([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    rows, dtype = _rows("cov", m, y, rowvar)
    count = rows.shape[1]
    missing = ddof if ddof is not None else 0 if bias else 1
    frequency, importance = (None if w is None else _weights(name, w, rows)
                             for name, w in (("fweights", fweights), ("aweights", aweights)))
    if frequency is None and importance is None:
        deviations, divisor = centred(rows, (1,)), as_tensor(np.array(float(max(count - missing, 0)), rows.dtype))
        products = deviations @ deviations.T
    else:
        w = frequency if importance is None else importance if frequency is None else frequency * importance
        assert w is not None
        total = sum_over(w)
        if float(total.item()) == 0:
            raise ValueError("cov: expected weights with a sum other than 0, got a sum of 0")
        deviations = rows - sum_over(rows * w, 1, keepdims=True) / total
        share = total if importance is None else sum_over(w * importance) / total
        divisor = clip(total - missing * (1 if importance is None else share), 0, None)
        products = (deviations * w) @ deviations.T
    with np.errstate(divide="ignore", invalid="ignore"):
        c = astype(products / divisor.to(products.device), dtype)
    return c if len(c) != 1 else c[0, 0]


def _weights(name: str, w: Any, rows: Tensor) -> Tensor:
    w = as_tensor(w, "cov")
    if w.shape != (rows.shape[1],) or (name == "fweights" and is_float(w.dtype)):
        raise ValueError(f"cov: expected {name} of shape ({rows.shape[1]},){', integers' * (name == 'fweights')}, got "
                         f"{w.dtype} {w.shape}")
    if bool(any(w < 0)):
        raise ValueError(f"cov: expected {name} >= 0, got {min(w.tolist())}")
    return astype(w, rows.dtype)


def corrcoef(x: Any, y: Any = None, rowvar: bool = True) -> Tensor:
    """The correlation coefficients of variables, cov[i, j] / sqrt(cov[i, i] * cov[j, j]).

    Args:
        x: a variable (1-D), or one per row (2-D), each column an observation; with rowvar=False, one per column.
        y: further variables, as x.

    Returns:
        (variables, variables), or a scalar for one variable; NaN for a variable that does not vary.

    >>> corrcoef([[1.0, 2.0], [2.0, 1.0]]).tolist()
    [[1.0, -1.0], [-1.0, 1.0]]
    """
    rows, dtype = _rows("corrcoef", x, y, rowvar)
    rows = centred(rows, (1,))
    if rows.size:  # the squares are finite after this scaling
        rows = rows * as_tensor(unit_scale(np.max(np.abs(rows.array), axis=1, keepdims=True)))
    covariance, deviation = rows @ rows.T, sqrt(sum_over(square(rows), 1, keepdims=True))
    c = astype(clip(covariance / deviation / deviation.T, -1, 1), dtype)
    return c if len(c) != 1 else c[0, 0]
