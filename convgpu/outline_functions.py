"""What NumPy's functions do with Outlines: the shapes and dtypes that they return, and the launches that CuPy makes.

The number of launches follows CuPy 14's source. A ufunc, a reduction, a conversion and a copy are one each. `where`
converts its condition first, which copies even one of bools (cupy/_sorting/search.py). `pad` with zeros is a fill and a
copy (cupy/_padding/pad.py; large arrays are padded side by side). `concatenate` copies array by array, but more than
eight small ones by one kernel (cupy/_core/_routines_manipulation.pyx). `var` takes the mean first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from .dtypes import DTypeLike
from .outline import Outline, Shape


def unknown(what: str) -> NotImplementedError:
    """The error for a function that is not listed here."""
    return NotImplementedError(f"recorder: what {what} returns is not known from sizes alone")


def _representative(x: Any) -> Any:
    """The part of an operand that decides a result's dtype: its own dtype, or a Python number, which promotes weakly.
    """
    return x.dtype if hasattr(x, "dtype") else x


# --- ufuncs


@lru_cache(maxsize=4096)
def _ufunc_dtype(ufunc: np.ufunc, *inputs: Any) -> np.dtype:
    with np.errstate(all="ignore"):
        return np.asarray(ufunc(*[np.ones(1, x) if isinstance(x, np.dtype) else x for x in inputs])).dtype


def call_ufunc(x: Outline, ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """One launch of an elementwise kernel, or of a reduction."""
    if method == "at":  # an atomic scatter, which writes to its first operand
        target, _, *values = inputs
        x.recorder.note(f"{ufunc.__name__}.at", values, target)
        return None
    if ufunc.signature is not None or method not in ("__call__", "reduce") or ufunc.nout != 1:
        raise unknown(f"{ufunc.__name__}.{method}" if method != "__call__" else ufunc.__name__)
    if method == "reduce":
        return reduced(ufunc.__name__, x, options.get("axis", 0), options.get("dtype"), options.get("keepdims", False))
    out, = options.get("out") or (None,)
    if out is None:
        shapes = [i.shape for i in inputs if hasattr(i, "shape")]
        shape = shapes[0] if shapes.count(shapes[0]) == len(shapes) else np.broadcast_shapes(*shapes)
        out = x.like(shape, options.get("dtype") or _ufunc_dtype(ufunc, *[
            i.dtype if isinstance(i, Outline) else _representative(i) for i in inputs]))
    x.recorder.note(ufunc.__name__, inputs, out, flops=out.size)
    return out


# --- reductions

_TO_BOOL = ("any", "all", "logical_and", "logical_or")
_TO_INT = ("argmax", "argmin", "count_nonzero")
_LAUNCHES_OF_REDUCTION = {"var": 2, "std": 3}


def reduced(name: str, x: Outline, axis: Any = None, dtype: DTypeLike = None, keepdims: Any = False) -> Outline:
    """A sum, a maximum and the like."""
    axes = tuple(range(x.ndim)) if axis is None else normalize_axis_tuple(axis, x.ndim)
    shape = tuple([1 if i in axes else n for i, n in enumerate(x.shape) if keepdims is True or i not in axes])
    if dtype is None:
        whole = x.dtype.kind in "biu"
        dtype = bool if name in _TO_BOOL else np.int64 if name in _TO_INT or whole and name in ("sum", "add", "prod") \
            else np.float64 if whole and name in ("mean", "var", "std") else x.dtype
    y = x.like(shape, dtype)
    x.recorder.note(name, [x], y, launches=_LAUNCHES_OF_REDUCTION.get(name, 1), flops=x.size, reduced=axes)
    return y


def _reduction_named(name: str) -> Callable[..., Outline]:
    def reduce(x: Outline, axis: Any = None, dtype: DTypeLike = None, out: None = None, keepdims: Any = False,
               **options: Any) -> Outline:
        return reduced(name, x, axis, dtype, keepdims)

    return reduce


# --- new arrays


def _filled(name: str) -> Callable[..., Outline]:
    def make(x: Outline, *values: Any, dtype: DTypeLike = None, shape: Any = None, **options: Any) -> Outline:
        y = x.like(x.shape if shape is None else tuple(np.atleast_1d(shape)), dtype)
        if name != "empty_like":
            x.recorder.note(name, [], y)
        return y

    return make


def _where(condition: Any, *choices: Any) -> Outline:
    if not choices:
        raise unknown("where without choices")
    arrays = [x for x in (condition, *choices) if hasattr(x, "shape")]
    one = next(x for x in arrays if isinstance(x, Outline))
    if isinstance(condition, Outline):
        condition = condition.astype(bool)
    dtype = np.result_type(*map(_representative, choices))
    y = one.like(np.broadcast_shapes(*[x.shape for x in arrays]), dtype)
    one.recorder.note("where", [condition, *choices], y)
    return y


def _joined(name: str) -> Callable[..., Outline]:
    def join(arrays: Any, axis: Any = 0, **options: Any) -> Outline:
        arrays = list(arrays)
        one = next(x for x in arrays if isinstance(x, Outline))
        if name == "concatenate" and axis is None:
            arrays, axis = [x.ravel() for x in arrays], 0
        first = arrays[0].shape
        axis += (len(first) + (name == "stack")) * (axis < 0)
        if name == "stack":
            shape = (*first[:axis], len(arrays), *first[axis:])
        else:
            shape = (*first[:axis], sum(x.shape[axis] for x in arrays), *first[axis + 1:])
        y = one.like(shape, np.result_type(*[x.dtype for x in arrays]))
        one.recorder.note(name, arrays, y, launches=_launches_of_join(arrays, y))
        return y

    return join


def _launches_of_join(arrays: list[Any], y: Outline) -> int:
    """CuPy copies array by array, unless there are more than 8 of one dtype with less than 2 MiB each on average."""
    together = len(arrays) > 8 and all(x.dtype == y.dtype for x in arrays) and y.nbytes < len(arrays) * 2 * 1024**2
    return 1 if together else sum(x.size > 0 for x in arrays)


def _pad(x: Outline, pad_width: Any, mode: str = "constant", **options: Any) -> Outline:
    pairs = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2)).tolist()
    y = x.like(tuple([n + before + after for n, (before, after) in zip(x.shape, pairs)]))
    sides = sum(side > 0 for pair in pairs for side in pair)
    small = mode == "constant" and options.get("constant_values", 0) == 0 and (x.ndim == 1 or x.size < 4e6)
    x.recorder.note("pad", [x], y, launches=(1 if small else sides) + (x.size > 0))
    return y


def _tiled(x: Outline, repeats: Any) -> Outline:
    repeats = tuple(np.atleast_1d(repeats).tolist())
    width = max(len(repeats), x.ndim)
    sizes = zip((1,) * (width - x.ndim) + x.shape, (1,) * (width - len(repeats)) + repeats)
    y = x.like(tuple([n * r for n, r in sizes]))
    x.recorder.note("tile", [x], y)
    return y


def _repeated(x: Outline, repeats: int, axis: int | None = None) -> Outline:
    x, axis = (x.ravel(), 0) if axis is None else (x, axis % x.ndim)
    y = x.like((*x.shape[:axis], x.shape[axis] * int(repeats), *x.shape[axis + 1:]))
    x.recorder.note("repeat", [x], y)
    return y


def _elementwise(name: str, dtype: DTypeLike = None) -> Callable[..., Outline]:
    def same(x: Outline, *args: Any, **options: Any) -> Outline:
        y = options.get("out")
        y = x.like(x.shape, dtype) if y is None else y
        x.recorder.note(name, [x, *args], y)
        return y

    return same


def _running(name: str) -> Callable[..., Outline]:
    def run(x: Outline, axis: int | None = None, dtype: DTypeLike = None, out: None = None) -> Outline:
        x = x.ravel() if axis is None else x
        y = x.like(x.shape, dtype or (np.int64 if x.dtype.kind in "biu" else x.dtype))
        x.recorder.note(name, [x], y)
        return y

    return run


# --- indices


def _advanced(x: Outline, index: Any) -> tuple[Shape, list[Any]]:
    """The shape of x[index] with arrays in the index, and these arrays. A mask selects nothing: only the values of the
    mask would say how much, and the host waits for them.
    """
    parts = list(index) if isinstance(index, tuple) else [index]
    arrays = [i for i in parts if hasattr(i, "shape") or isinstance(i, list)]
    hosts: list[Any] = []
    for i in parts:
        if isinstance(i, Outline) and i.dtype == bool:
            i.recorder.wait("mask")
            hosts.append(np.zeros(i.shape, bool))
        else:
            hosts.append(np.zeros(i.shape, np.intp) if isinstance(i, Outline) else i)
    whole = np.broadcast_to(np.zeros((), np.int8), x.shape)
    if x.size == 0 or any(n == 0 for n in x.shape):
        whole = np.broadcast_to(np.zeros((), np.int8), [max(n, 1) for n in x.shape])
    return whole[tuple(hosts)].shape, arrays


def taken_at(x: Outline, index: Any) -> Outline:
    """x[index] with arrays in the index: one gather, which reads each element that it writes."""
    shape, arrays = _advanced(x, index)
    y = x.like(shape)
    x.recorder.note("take", arrays, y, read=y.nbytes)
    return y


def put_at(x: Outline, index: Any, value: Any) -> None:
    """x[index] = value with arrays in the index: one scatter."""
    shape, arrays = _advanced(x, index)
    x.recorder.note("setitem", [value, *arrays], x, written=math.prod(shape) * x.itemsize)


def _taken(x: Outline, indices: Any, axis: int | None = None, **options: Any) -> Outline:
    shape = np.shape(indices) if not hasattr(indices, "shape") else indices.shape
    if axis is not None:
        axis %= x.ndim
        shape = (*x.shape[:axis], *shape, *x.shape[axis + 1:])
    y = x.like(tuple(shape))
    x.recorder.note("take", [indices], y, read=y.nbytes)
    return y


def _taken_along(x: Outline, indices: Any, axis: int | None = None) -> Outline:
    y = x.like(indices.shape)
    x.recorder.note("take_along_axis", [indices], y, read=y.nbytes)
    return y


def _arange(x: Outline, *limits: Any, dtype: DTypeLike = None, **options: Any) -> Outline:
    values = np.arange(*limits, dtype=dtype) if math.prod(map(abs, limits)) < 1e6 else None
    y = x.like(values.shape, values.dtype) if values is not None else x.like((int(limits[-1]),), dtype or np.int64)
    x.recorder.note("arange", [], y)
    return y


_VIEWS = frozenset({"broadcast_to", "expand_dims", "flip", "moveaxis", "rollaxis", "squeeze", "swapaxes", "transpose",
                    "diagonal", "flipud", "fliplr", "atleast_1d", "atleast_2d"})
_CREATION: dict[str, Callable[..., Any]] = {"arange": _arange}  # these get an array only to say where the result goes
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: _reduction_named(name) for name in (
        "sum", "mean", "max", "min", "amax", "amin", "any", "all", "prod", "argmax", "argmin", "count_nonzero", "var",
        "std")},
    **{name: _filled(name) for name in ("zeros_like", "ones_like", "full_like", "empty_like")},
    **{name: _joined(name) for name in ("concatenate", "stack")},
    **{name: _elementwise(name) for name in ("clip", "copy", "tril", "triu", "roll", "sort", "nan_to_num", "round")},
    **{name: _elementwise(name, bool) for name in ("isin",)},
    **{name: _running(name) for name in ("cumsum", "cumprod")},
    "argsort": _elementwise("argsort", np.int64),
    "where": _where, "pad": _pad, "take": _taken, "take_along_axis": _taken_along, "tile": _tiled, "repeat": _repeated,
    "reshape": lambda x, *shape, **options: x.reshape(*shape, *options.values()),
    "ravel": lambda x, order="C": x.ravel(),
    "ascontiguousarray": lambda x, dtype=None: contiguous(x),
    "shape": lambda x: x.shape, "ndim": lambda x: x.ndim, "size": lambda x: x.size,
    "may_share_memory": lambda *arrays, **options: False, "shares_memory": lambda *arrays, **options: False,
    "result_type": lambda *arrays: np.result_type(*map(_representative, arrays)),
}


def contiguous(x: Outline) -> Outline:
    """The array itself, or a row-major copy."""
    return x if x.contiguous else x.copy()


def call_function(x: Outline, function: Any, args: Any, options: Any) -> Any:
    """Run a function of NumPy's, which is listed above."""
    name = function.__name__
    if name in _VIEWS:
        return args[0].seen(lambda probe: function(probe, *args[1:], **options))
    if name in _CREATION:
        return _CREATION[name](x, *args, **options)
    if name not in _FUNCTIONS or function.__module__ != "numpy":
        raise unknown(name)
    return _FUNCTIONS[name](*args, **options)
