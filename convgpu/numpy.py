"""NumPy's names for Tensors: after `import convgpu.numpy as np`, results can be differentiated.

Every function takes Tensors, arrays and numbers and returns Tensors. Dtypes promote as in NumPy 2; new tensors from
Python floats are float32. There are differences: results are values (no `out`, no writing in place, no views), the
order is always row-major, and an option that is missing here raises TypeError and is never ignored. Functions of sets,
indices and counts (unique, argsort, bincount, ...) carry no gradient.

>>> import convgpu.numpy as np
>>> x = np.array([1.0, 2.0]).requires_grad_()
>>> np.sum(np.exp(x) * x).backward(); x.grad
Tensor([ 5.4366, 22.1672], dtype=float32)
"""

# ruff: noqa: I001 - a list of names, grouped by purpose
from __future__ import annotations

from typing import Any

import numpy as _np
from numpy import bool_, broadcast_shapes, e, finfo, floating, iinfo, inf, integer, intp, nan, newaxis, pi
from numpy import float16, float32, float64, int8, int16, int32, int64, uint8, uint16, uint32, uint64

from . import creation as _creation
from .arguments import explain_errors as _explain_errors
from .convert import contains as _contains
from .convert import is_tensor_like as _is_tensor_like
from .dtypes import DTypeLike, as_dtype
from .ops import linalg
from .ops.activation import tanh
from .ops.contraction import dot, einsum, inner, kron, outer, tensordot, vdot
from .ops.elementwise import (
    abs, add, cbrt, clip, divide, divmod, float_power, floor_divide, fmax, fmin, hypot, maximum, minimum, multiply,
    nan_to_num, negative, positive, power, reciprocal, remainder, sign, sqrt, square, subtract,
    exp, exp2, expm1, log, log1p, log2, log10, logaddexp, logaddexp2,
    arccos, arccosh, arcsin, arcsinh, arctan, arctan2, arctanh, cos, cosh, deg2rad, rad2deg, sin, sinh, tan,
    ceil, floor, rint, round, trunc,
    astype, isclose, isfinite, isinf, isnan, nonzero, signbit, where,
    equal, greater, greater_equal, less, less_equal, not_equal, logical_and, logical_not, logical_or, logical_xor,
    bitwise_and, bitwise_or, bitwise_xor, invert, left_shift, right_shift,
)
from .ops.gemm import matmul
from .ops.indexing import diag, diagflat, diagonal, take, take_along_axis, trace
from .ops.joining import (
    append, array_split, column_stack, concatenate, dsplit, dstack, hsplit, hstack, pad, split, stack, vsplit, vstack,
)
from .ops.products import cumprod, cumsum, diff, prod
from .ops.reduce import (
    all, any, argmax, argmin, average, count_nonzero, max, mean, min, ptp, std, sum, var,
    nanmax, nanmean, nanmin, nansum,
)
from .ops.shape import (
    atleast_1d, atleast_2d, atleast_3d, broadcast_arrays, broadcast_to, expand_dims, flip, fliplr, flipud, meshgrid,
    moveaxis, ravel, repeat, reshape, roll, rot90, squeeze, swapaxes, tile, transpose, tril, triu,
)
from .ops.sequences import convolve, correlate, cross, gradient, interp, select, trapezoid, unwrap, vander
from .ops.sorting import argsort, argwhere, bincount, flatnonzero, median, searchsorted, sort, unique
from .ops.special import copysign, fmod, gcd, heaviside, i0, isneginf, isposinf, isreal, lcm, ldexp, nextafter, sinc
from .ops.statistics import (
    argpartition, corrcoef, cov, digitize, histogram, isin, nanargmax, nanargmin, nancumprod, nancumsum, nanmedian,
    nanpercentile, nanprod, nanquantile, nanstd, nanvar, percentile, quantile, unravel_index,
)
from .tensor import Tensor, as_tensor, tensor

# Other names of functions that are listed above.
absolute = fabs = abs
amax, amin = max, min
true_divide, mod, pow = divide, remainder, power
acos, acosh, asin, asinh, atan, atan2, atanh = arccos, arccosh, arcsin, arcsinh, arctan, arctan2, arctanh
radians, degrees = deg2rad, rad2deg
bitwise_not = bitwise_invert = invert
bitwise_left_shift, bitwise_right_shift = left_shift, right_shift
around, fix = round, trunc
concat, permute_dims, row_stack = concatenate, transpose, vstack
ndarray, dtype = Tensor, _np.dtype

__all__ = [
    "abs", "absolute", "acos", "acosh", "add", "all", "allclose", "amax", "amin", "any", "append", "arange", "arccos",
    "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "argmax", "argmin", "argpartition", "argsort",
    "argwhere", "around", "array", "array_equal", "array_split", "asarray", "asin", "asinh", "astype", "atan", "atan2",
    "atanh", "atleast_1d", "atleast_2d", "atleast_3d", "average", "bartlett", "bincount", "bitwise_and",
    "bitwise_invert", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor",
    "blackman", "bool_", "broadcast_arrays", "broadcast_shapes", "broadcast_to", "cbrt", "ceil", "clip", "column_stack",
    "concat", "concatenate", "convolve", "copy", "copysign", "corrcoef", "correlate", "cos", "cosh", "count_nonzero",
    "cov", "cross", "cumprod", "cumsum", "deg2rad", "degrees", "diag", "diagflat", "diagonal", "diff", "digitize",
    "divide", "divmod", "dot", "dsplit", "dstack", "dtype", "e", "einsum", "equal", "exp", "exp2", "expand_dims",
    "expm1", "eye", "fabs", "finfo", "fix", "flatnonzero", "flip", "fliplr", "flipud", "float16", "float32", "float64",
    "float_power", "floating", "floor", "floor_divide", "fmax", "fmin", "fmod", "full", "full_like", "gcd", "geomspace",
    "gradient", "greater", "greater_equal", "hamming", "hanning", "heaviside", "histogram", "hsplit", "hstack", "hypot",
    "i0", "identity", "iinfo", "inf", "inner", "int16", "int32", "int64", "int8", "integer", "interp", "intp", "invert",
    "isclose", "iscomplexobj", "isfinite", "isin", "isinf", "isnan", "isneginf", "isposinf", "isreal", "kaiser", "kron",
    "lcm", "ldexp", "left_shift", "less", "less_equal", "linalg", "linspace", "log", "log10", "log1p", "log2",
    "logaddexp", "logaddexp2", "logical_and", "logical_not", "logical_or", "logical_xor", "logspace", "matmul", "max",
    "maximum", "mean", "median", "meshgrid", "min", "minimum", "mod", "moveaxis", "multiply", "nan", "nan_to_num",
    "nanargmax", "nanargmin", "nancumprod", "nancumsum", "nanmax", "nanmean", "nanmedian", "nanmin", "nanpercentile",
    "nanprod", "nanquantile", "nanstd", "nansum", "nanvar", "ndarray", "ndim", "negative", "newaxis", "nextafter",
    "nonzero", "not_equal", "ones", "ones_like", "outer", "pad", "percentile", "permute_dims", "pi", "positive", "pow",
    "power", "prod", "ptp", "quantile", "rad2deg", "radians", "ravel", "reciprocal", "remainder", "repeat", "reshape",
    "result_type", "right_shift", "rint", "roll", "rot90", "round", "row_stack", "searchsorted", "select", "shape",
    "sign", "signbit", "sin", "sinc", "sinh", "size", "sort", "split", "sqrt", "square", "squeeze", "stack", "std",
    "subtract", "sum", "swapaxes", "take", "take_along_axis", "tan", "tanh", "tensordot", "tile", "trace", "transpose",
    "trapezoid", "tri", "tril", "triu", "true_divide", "trunc", "uint16", "uint32", "uint64", "uint8", "unique",
    "unravel_index", "unwrap", "vander", "var", "vdot", "vsplit", "vstack", "where", "zeros", "zeros_like",
]

# --- new tensors


def asarray(data: Any, dtype: DTypeLike = None) -> Tensor:
    """`data` itself, with its gradient history, if it is a Tensor; else a Tensor with a copy of `data`.

    >>> asarray([1, 2], dtype="float64")
    Tensor([1., 2.], dtype=float64)
    """
    if isinstance(data, Tensor):
        return data if dtype is None else astype(data, dtype)
    if hasattr(data, "__convgpu_tensor__"):
        return asarray(data.__convgpu_tensor__(), dtype)
    if isinstance(data, (list, tuple)) and _contains(data, _is_tensor_like):
        data = [asarray(x) for x in data]
        return asarray(stack(data), dtype)
    return tensor(data, dtype=dtype)


array = asarray


def zeros(shape: Any, dtype: DTypeLike = "float32") -> Tensor:
    """A tensor of zeros."""
    return _creation.zeros(shape, dtype=dtype)


def ones(shape: Any, dtype: DTypeLike = "float32") -> Tensor:
    """A tensor of ones."""
    return _creation.ones(shape, dtype=dtype)


def full(shape: Any, fill_value: Any, dtype: DTypeLike = None) -> Tensor:
    """A tensor filled with one value, or with values that broadcast; their gradients are kept."""
    return broadcast_to(asarray(fill_value, dtype), shape)


def zeros_like(x: Any, dtype: DTypeLike = None) -> Tensor:
    """Zeros in the shape of x; by default also in its dtype."""
    return _creation.zeros_like(x, dtype=dtype)


def ones_like(x: Any, dtype: DTypeLike = None) -> Tensor:
    """Ones in the shape of x; by default also in its dtype."""
    return _creation.ones_like(x, dtype=dtype)


def full_like(x: Any, fill_value: Any, dtype: DTypeLike = None) -> Tensor:
    """One value in the shape of x; by default also in its dtype."""
    x = as_tensor(x, "full_like")
    return full(x.shape, fill_value, x.dtype if dtype is None else dtype).to(x.device)


def arange(start: float, stop: float | None = None, step: float = 1, dtype: DTypeLike = None) -> Tensor:
    """start, start + step, ... below stop; 0, 1, ... below the only argument. int64 of integers, else float32."""
    return _creation.arange(start, stop, step, dtype=dtype)


def linspace(start: float, stop: float, num: int = 50, endpoint: bool = True, dtype: DTypeLike = "float32") -> Tensor:
    """`num` evenly spaced numbers from start to stop, with or without stop itself.

    >>> linspace(0, 1, 3)
    Tensor([0. , 0.5, 1. ], dtype=float32)
    """
    return tensor(_np.linspace(start, stop, num, endpoint), dtype=dtype)


def eye(n: int, m: int | None = None, k: int = 0, dtype: DTypeLike = "float32") -> Tensor:
    """A matrix with ones on the k-th diagonal.

    >>> eye(2, k=1)
    Tensor([[0., 1.],
            [0., 0.]], dtype=float32)
    """
    return tensor(_np.eye(n, m, k), dtype=dtype)


def identity(n: int, dtype: DTypeLike = "float32") -> Tensor:
    """The n x n identity matrix."""
    return eye(n, dtype=dtype)


def tri(n: int, m: int | None = None, k: int = 0, dtype: DTypeLike = "float32") -> Tensor:
    """An (n, m) matrix of ones at and below its k-th diagonal, zeros above."""
    return tensor(_np.tri(n, m, k), dtype=dtype)


def logspace(start: float, stop: float, num: int = 50, endpoint: bool = True, base: float = 10.0,
             dtype: DTypeLike = "float32") -> Tensor:
    """`base` to the power of `num` evenly spaced numbers from start to stop."""
    return tensor(_np.logspace(start, stop, num, endpoint, base), dtype=dtype)


def geomspace(start: float, stop: float, num: int = 50, endpoint: bool = True, dtype: DTypeLike = "float32") -> Tensor:
    """`num` numbers from start to stop with a constant ratio between neighbours."""
    return tensor(_np.geomspace(start, stop, num, endpoint), dtype=dtype)


def _window(function: Any) -> Any:
    def window(n: int, *beta: float, dtype: DTypeLike = "float32") -> Tensor:
        return tensor(function(int(n), *map(float, beta)), dtype=dtype)

    window.__name__ = function.__name__
    window.__doc__ = f"NumPy's window of n points, {function.__name__}."
    return window


bartlett, blackman, hamming, hanning, kaiser = map(
    _window, (_np.bartlett, _np.blackman, _np.hamming, _np.hanning, _np.kaiser))


def copy(x: Any) -> Tensor:
    """x itself as a Tensor: a Tensor never changes, so that it is its own copy."""
    return asarray(x)


# --- questions about tensors


def shape(x: Any) -> tuple[int, ...]:
    """The size along each axis."""
    return as_tensor(x, "shape").shape


def ndim(x: Any) -> int:
    """The number of axes."""
    return as_tensor(x, "ndim").ndim


def size(x: Any, axis: int | None = None) -> int:
    """The number of elements, in all or along one axis."""
    x = as_tensor(x, "size")
    return x.size if axis is None else x.shape[axis]


def result_type(*xs: Any) -> _np.dtype:
    """The dtype that the operands promote to.

    >>> result_type(ones(2), 2.5)
    dtype('float32')
    """
    return _np.result_type(*[x.dtype if isinstance(x, Tensor) else x for x in xs])


def iscomplexobj(x: Any) -> bool:
    """Return False: Tensors hold booleans, integers and real numbers."""
    return bool(_np.iscomplexobj(asarray(x).array))


def allclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether |a - b| <= atol + rtol * |b| everywhere."""
    return bool(all(isclose(a, b, rtol, atol, equal_nan)))


def array_equal(a: Any, b: Any) -> bool:
    """Whether shape and elements are equal; NaN equals nothing."""
    a, b = as_tensor(a, "array_equal"), as_tensor(b, "array_equal")
    return a.shape == b.shape and bool(all(equal(a, b)))


_explain_errors(globals(), __all__)
_explain_errors(vars(linalg), linalg.__all__)


def __getattr__(name: str) -> Any:
    if name == "bfloat16":
        return as_dtype(name).type
    known = "exists in NumPy but not here; .numpy() gives its array, which leaves the tape" if hasattr(_np, name) else (
        "is no function of NumPy")
    raise AttributeError(f"convgpu.numpy.{name} {known}", name=name, obj=None)
