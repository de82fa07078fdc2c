"""The functions of the Python array API standard (2025.12) for Tensors: what `t.__array_namespace__()` gives.

Names, arguments and results are the standard's, those of convgpu.numpy NumPy's; both compute with the same ops, and the
tape records them. Arrays are read-only, as the standard allows, and the default floating dtype is float32. What is not
here, and why, is listed in `MISSING`.

>>> import convgpu as cg
>>> x = cg.tensor([[1.0, 2.0], [3.0, 4.0]])
>>> xp = x.__array_namespace__()
>>> xp.std(x, axis=0, correction=1).tolist(), xp.matrix_transpose(x).tolist()
([1.4142135381698608, 1.4142135381698608], [[1.0, 3.0], [2.0, 4.0]])
"""

from __future__ import annotations

import builtins
from typing import Any, NamedTuple

import numpy as _np
from numpy import bool_ as bool  # noqa: A004 - the standard's name
from numpy import (
    broadcast_shapes,
    e,
    finfo,
    float32,
    float64,
    iinfo,
    inf,
    int8,
    int16,
    int32,
    int64,
    nan,
    newaxis,
    pi,
    uint8,
    uint16,
    uint32,
    uint64,
)

from .. import creation as _creation
from .. import numpy as _ours
from ..device import CPU, GPU
from ..dtypes import DTypeLike, as_dtype
from ..info import gpu_obstacle as _gpu_obstacle
from ..interop import from_dlpack as _from_dlpack
from ..numpy import (  # whose arguments are the standard's
    abs,
    acos,
    acosh,
    add,
    all,
    any,
    argmax,
    argmin,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_invert,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    broadcast_to,
    ceil,
    concat,
    copysign,
    cos,
    cosh,
    count_nonzero,
    divide,
    equal,
    exp,
    expand_dims,
    expm1,
    flip,
    floor,
    floor_divide,
    greater,
    greater_equal,
    hypot,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    matmul,
    max,
    maximum,
    mean,
    min,
    minimum,
    moveaxis,
    multiply,
    negative,
    nextafter,
    nonzero,
    not_equal,
    permute_dims,
    positive,
    pow,
    prod,
    reciprocal,
    remainder,
    repeat,
    roll,
    round,
    sign,
    signbit,
    sin,
    sinh,
    sqrt,
    square,
    squeeze,
    stack,
    std,
    subtract,
    sum,
    take,
    tan,
    tanh,
    tensordot,
    tile,
    tril,
    triu,
    trunc,
    var,
    where,
)
from ..tensor import Tensor, as_tensor

__array_api_version__ = "2025.12"

MISSING = {
    "complex64": "Tensors hold no complex numbers",
    "complex128": "Tensors hold no complex numbers",
    "imag": "its argument is complex",
    "linalg.eig": "its results are complex",
    "linalg.eigvals": "its result is complex",
    **{f"fft.{name}": "argument or result is complex" for name in (
        "fft", "ifft", "fftn", "ifftn", "rfft", "irfft", "rfftn", "irfftn", "hfft", "ihfft")},
    "__complex__": "Tensors hold no complex numbers",
    "__setitem__": "Tensors are values: t.at[index].set(value) gives a changed copy",
}

# --- dtypes and devices

_KINDS = {"bool": "b", "signed integer": "i", "unsigned integer": "u", "integral": "iu", "real floating": "f",
          "complex floating": "", "numeric": "iuf"}


def isdtype(dtype: DTypeLike, kind: Any) -> builtins.bool:
    """Whether a dtype is another one, or of a kind: "bool", "signed integer", "unsigned integer", "integral",
    "real floating", "complex floating", "numeric", or a tuple of dtypes and kinds.

    >>> isdtype(float32, ("integral", "real floating"))
    True
    """
    if isinstance(kind, tuple):
        return builtins.any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, str) and kind not in _KINDS:
        raise ValueError(f"isdtype: expected a kind of {sorted(_KINDS)}, got {kind!r}")
    known = as_dtype(dtype)
    if isinstance(kind, str):
        return ("f" if known.name == "bfloat16" else known.kind) in _KINDS[kind]
    return known == as_dtype(kind)


def can_cast(from_: Any, to: DTypeLike) -> builtins.bool:
    """Whether the promotion rules let a dtype, or a tensor's dtype, become another one."""
    return _np.can_cast(from_.dtype if isinstance(from_, Tensor) else from_, to)


def result_type(*arrays_and_dtypes: Any) -> _np.dtype:
    """The dtype that tensors, dtypes and Python numbers promote to."""
    return _ours.result_type(*arrays_and_dtypes)


class _Info:
    """What the standard's inspection functions say."""

    def capabilities(self) -> dict[str, Any]:
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> str:
        return CPU

    def devices(self) -> list[str]:
        return [CPU] if _gpu_obstacle() else [CPU, GPU]

    def default_dtypes(self, *, device: str | None = None) -> dict[str, _np.dtype]:
        names = {"real floating": "float32", "integral": "int64", "indexing": "int64"}
        return {key: _np.dtype(name) for key, name in names.items()}

    def dtypes(self, *, device: str | None = None, kind: Any = None) -> dict[str, _np.dtype]:
        names = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")
        return {name: _np.dtype(name) for name in names if kind is None or isdtype(name, kind)}


def __array_namespace_info__() -> _Info:  # noqa: N807 - the standard's name
    """An object with `capabilities`, `default_device`, `default_dtypes`, `devices` and `dtypes`."""
    return _Info()


# --- new tensors


def asarray(obj: Any, /, *, dtype: DTypeLike = None, device: str | None = None, copy: Any = None) -> Tensor:
    """A Tensor of a number, nested lists, an array or a Tensor; Tensors are values, so that they are never copied."""
    if copy is False and not isinstance(obj, Tensor):
        raise ValueError(f"asarray: expected a Tensor where copy=False, got {type(obj).__name__}; other data is copied")
    t = _ours.asarray(obj, dtype)
    if copy is False and t is not obj:
        raise ValueError(f"asarray: expected the dtype of the Tensor where copy=False, got {dtype}")
    return t if device is None else t.to(device)


def from_dlpack(x: Any, /, *, device: str | None = None, copy: Any = None) -> Tensor:
    """A Tensor that shares memory with x, or with `copy` has memory of its own."""
    t = _from_dlpack(x)
    t = Tensor(t.array.copy()) if copy else t
    return t if device is None else t.to(device)


def arange(start: float, /, stop: float | None = None, step: float = 1, *, dtype: DTypeLike = None,
           device: str | None = None) -> Tensor:
    """start, start + step, ... below stop."""
    return _creation.arange(start, stop, step, dtype=dtype, device=device)


def linspace(start: float, stop: float, /, num: int, *, dtype: DTypeLike = None, device: str | None = None,
             endpoint: builtins.bool = True) -> Tensor:
    """`num` evenly spaced numbers."""
    return _on(_ours.linspace(start, stop, num, endpoint, dtype or "float32"), device)


def eye(n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: DTypeLike = None,
        device: str | None = None) -> Tensor:
    """Ones on the k-th diagonal."""
    return _on(_ours.eye(n_rows, n_cols, k, dtype or "float32"), device)


def zeros(shape: Any, *, dtype: DTypeLike = None, device: str | None = None) -> Tensor:
    """Zeros."""
    return _creation.zeros(shape, dtype=dtype or "float32", device=device)


def ones(shape: Any, *, dtype: DTypeLike = None, device: str | None = None) -> Tensor:
    """Ones."""
    return _creation.ones(shape, dtype=dtype or "float32", device=device)


def full(shape: Any, fill_value: Any, *, dtype: DTypeLike = None, device: str | None = None) -> Tensor:
    """One value; its kind gives the dtype: bool, int64 or float32."""
    return _creation.full(shape, fill_value, dtype=dtype or as_tensor(fill_value, "full").dtype, device=device)


empty = zeros  # memory without values would not be a value


def zeros_like(x: Any, /, *, dtype: DTypeLike = None, device: str | None = None) -> Tensor:
    """Zeros in the shape of x."""
    return _creation.zeros_like(x, dtype=dtype, device=device)


def ones_like(x: Any, /, *, dtype: DTypeLike = None, device: str | None = None) -> Tensor:
    """Ones in the shape of x."""
    return _creation.ones_like(x, dtype=dtype, device=device)


def full_like(x: Any, /, fill_value: Any, *, dtype: DTypeLike = None, device: str | None = None) -> Tensor:
    """One value in the shape of x."""
    return _creation.full_like(x, fill_value, dtype=dtype, device=device)


empty_like = zeros_like


def meshgrid(*arrays: Any, indexing: str = "xy") -> tuple[Tensor, ...]:
    """Coordinates of a grid."""
    return tuple(_ours.meshgrid(*arrays, indexing=indexing))


def broadcast_arrays(*arrays: Any) -> tuple[Tensor, ...]:
    """The arrays in their common shape."""
    return tuple(_ours.broadcast_arrays(*arrays))


def _on(t: Tensor, device: str | None) -> Tensor:
    return t if device is None else t.to(device)


def astype(x: Any, dtype: DTypeLike, /, *, copy: builtins.bool = True, device: str | None = None) -> Tensor:
    """x converted; a Tensor of that dtype is its own copy."""
    return _on(_ours.astype(x, dtype), device)


# --- functions whose arguments differ from NumPy's


def clip(x: Any, /, min: Any = None, max: Any = None) -> Tensor:  # noqa: A002, F811 - the standard's
    """The values limited to [min, max], in the dtype of x."""
    x = as_tensor(x, "clip")
    return _ours.astype(_ours.clip(x, min, max), x.dtype)


def conj(x: Any, /) -> Tensor:
    """x itself: Tensors hold no complex numbers."""
    return as_tensor(x, "conj")


def real(x: Any, /) -> Tensor:
    """x itself: Tensors hold no complex numbers."""
    return as_tensor(x, "real")


def reshape(x: Any, /, shape: Any, *, copy: Any = None) -> Tensor:
    """The elements in row-major order in another shape."""
    return _ours.reshape(x, shape)


def matrix_transpose(x: Any, /) -> Tensor:
    """The last two axes exchanged."""
    return as_tensor(x, "matrix_transpose").mT


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Tensor:
    """The sum of products along an axis of both, counted from the end after broadcasting."""
    a, b = as_tensor(x1, "vecdot"), as_tensor(x2, "vecdot")
    if a.ndim == 0 or b.ndim == 0 or a.shape[axis] != b.shape[axis]:
        raise ValueError(f"vecdot: expected vectors of one size along axis {axis}, got {a.shape} and {b.shape}")
    dtype = _np.result_type(a.dtype, b.dtype)
    return _ours.astype(_ours.sum(a * b, axis), dtype)


def cumulative_sum(x: Any, /, *, axis: int | None = None, dtype: DTypeLike = None,
                   include_initial: builtins.bool = False) -> Tensor:
    """The running sum, with `include_initial` after a 0."""
    return _cumulative("cumulative_sum", _ours.cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(x: Any, /, *, axis: int | None = None, dtype: DTypeLike = None,
                    include_initial: builtins.bool = False) -> Tensor:
    """The running product, with `include_initial` after a 1."""
    return _cumulative("cumulative_prod", _ours.cumprod, 1, x, axis, dtype, include_initial)


def _cumulative(op: str, function: Any, first: int, x: Any, axis: int | None, dtype: DTypeLike,
                include_initial: builtins.bool) -> Tensor:
    x = as_tensor(x, op)
    if axis is None and x.ndim != 1:
        raise ValueError(f"{op}: expected an axis for an array of {x.ndim} axes, got None")
    at = (0 if axis is None else axis) % x.ndim
    y = function(x if dtype is None else _ours.astype(x, dtype), at)
    if not include_initial:
        return y
    shape = tuple(1 if a == at else n for a, n in enumerate(x.shape))
    return _ours.concatenate([_creation.full(shape, first, dtype=y.dtype, device=y.device), y], at)


def diff(x: Any, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None) -> Tensor:
    """The n-th differences along an axis, of x between `prepend` and `append`."""
    parts = [as_tensor(p, "diff") for p in (prepend, x, append) if p is not None]
    return _ours.diff(_ours.concatenate(parts, axis) if len(parts) > 1 else parts[0], n, axis)


def sort(x: Any, /, *, axis: int = -1, descending: builtins.bool = False, stable: builtins.bool = True) -> Tensor:
    """The values in ascending or descending order along an axis."""
    y = _ours.sort(x, axis)
    return _ours.flip(y, axis) if descending else y


def argsort(x: Any, /, *, axis: int = -1, descending: builtins.bool = False, stable: builtins.bool = True) -> Tensor:
    """The indices that sort x; equal values keep their order."""
    x = as_tensor(x, "argsort")
    if not descending:
        return _ours.argsort(x, axis)
    return _ours.flip(x.shape[axis] - 1 - _ours.argsort(_ours.flip(x, axis), axis), axis)


def searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Tensor:
    """Where the values x2 belong in the ascending x1, or in x1 in the order of `sorter`."""
    return _ours.searchsorted(x1 if sorter is None else _ours.take(x1, sorter), x2, side)


def isin(x1: Any, x2: Any, /, *, invert: builtins.bool = False) -> Tensor:
    """Whether each element of x1 occurs in x2."""
    return _ours.isin(x1, x2, invert=invert)


def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Tensor:
    """The elements at the indices along an axis."""
    return _ours.take_along_axis(x, indices, axis)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The parts of x along an axis, without that axis."""
    return tuple(moveaxis(as_tensor(x, "unstack"), axis, 0))


class UniqueAll(NamedTuple):
    """The results of `unique_all`."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """The results of `unique_counts`."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """The results of `unique_inverse`."""

    values: Tensor
    inverse_indices: Tensor


def unique_all(x: Any, /) -> UniqueAll:
    """The different values (each NaN is one), their first places, the places to rebuild x, and counts."""
    x = as_tensor(x, "unique_all")
    values, indices, inverse, counts = _ours.unique(x, True, True, True, equal_nan=False)
    return UniqueAll(values, indices, _ours.reshape(inverse, x.shape), counts)


def unique_counts(x: Any, /) -> UniqueCounts:
    """The different values, and how often each occurs."""
    found = unique_all(x)
    return UniqueCounts(found.values, found.counts)


def unique_inverse(x: Any, /) -> UniqueInverse:
    """The different values, and the places to rebuild x."""
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(x: Any, /) -> Tensor:
    """The different values."""
    return _ours.unique(x, equal_nan=False)


from . import fft, linalg  # noqa: E402 - they are made of the functions above

__all__ = sorted(name for name, value in globals().items() if not name.startswith("_") and name not in (
    "annotations", "builtins", "Any", "NamedTuple", "Tensor", "as_tensor", "as_dtype", "DTypeLike", "CPU",
    "GPU", "MISSING", "UniqueAll", "UniqueCounts", "UniqueInverse"))
