"""What a function would compute, found from sizes alone: it runs on arrays without values, and a recorder takes notes.

    recorder = Recorder()
    x, w = recorder.tensor((256, 56, 56, 64), "bfloat16"), recorder.tensor((3, 3, 64, 64), "bfloat16")
    cg.conv2d(x, w, activation="gelu")
    recorder.steps      every function of a backend and of NumPy that ran, with the sizes of its inputs and outputs
    recorder.calls      the steps of the backend as Calls, from which plans, FLOPs and bytes follow

An Outline is an array without values: a shape, a dtype, and the recorder that it reports to. Functions of Outlines
return Outlines, so that whole networks, their gradients and their optimizers can be walked through in milliseconds and
without memory. What a function returns is known for every op that a backend runs (`facts.results`), for NumPy's ufuncs,
and for the functions of NumPy that are listed below; other functions raise NotImplementedError. Outlines have no
strides. They count as contiguous, so that functions such as reshape and transpose are free and are not recorded. Code
that asks for a value (`if x.max() > 4`) is recorded as a step named "bool" and gets the answer False; on a GPU the host
would wait there for the value.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple
from numpy.lib.mixins import NDArrayOperatorsMixin

from .dtypes import DTypeLike, as_dtype

if TYPE_CHECKING:
    from .tensor import Tensor

Shape = tuple[int, ...]


class Call(NamedTuple):
    """One call of a backend's function: its name, the shapes of its arrays, further arguments, the dtype.
    """

    op: str
    shapes: tuple[Shape | None, ...]
    statics: tuple[Any, ...]
    dtype: str


class Size(NamedTuple):
    """The shape and dtype of an array."""

    shape: Shape
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """The bytes of its elements."""
        return math.prod(self.shape) * self.dtype.itemsize


class Step(NamedTuple):
    """One function that ran: a backend's function, which has the name of its op, or a function of NumPy.

    statics: the arguments after the arrays of a backend's function; None for NumPy's functions, whose options are not
        kept.
    """

    name: str
    inputs: tuple[Size | None, ...]
    outputs: tuple[Size, ...]
    statics: tuple[Any, ...] | None

    @property
    def call(self) -> Call:
        """The step as the Call that plans are made for; its dtype is that of the first array."""
        assert self.statics is not None
        first = next(size for size in self.inputs if size is not None)
        shapes = tuple(None if size is None else size.shape for size in self.inputs)
        return Call(self.name, shapes, self.statics, first.dtype.name)


class Recorder:
    """Makes arrays without values, and keeps the steps of all functions that run on them."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def array(self, shape: Shape, dtype: DTypeLike) -> Outline:
        """An array without values."""
        return Outline(self, shape, as_dtype(dtype))

    def tensor(self, shape: Shape, dtype: DTypeLike = "float32", requires_grad: bool = False) -> Tensor:
        """A Tensor over an array without values."""
        from .tensor import Tensor

        return Tensor(self.array(shape, dtype)).requires_grad_(requires_grad)

    @property
    def calls(self) -> list[Call]:
        """The backend's steps."""
        return [step.call for step in self.steps if step.statics is not None]

    def run(self, op: str, arrays: list[Any], statics: tuple[Any, ...]) -> Any:
        """Stand in for a backend: return the results of an op, of the shapes and dtypes that its facts give."""
        from .op import Op

        step = Step(op, tuple(map(_size_of, arrays)), (), statics)
        results = Op.registry[op].facts.results(step.call)
        made = [None if size is None else self.array(*size) for size in results]
        self.steps.append(step._replace(outputs=tuple(Size(*size) for size in results if size is not None)))
        return tuple(made) if len(Op.registry[op].outputs) > 1 else made[0]

    def note(self, name: str, inputs: Any, *outputs: Outline) -> None:
        """Record a step of a function of NumPy."""
        sizes = tuple(_size_of(x) for x in inputs if hasattr(x, "shape"))
        self.steps.append(Step(name, sizes, tuple(Size(y.shape, y.dtype) for y in outputs), None))


def _size_of(array: Any) -> Size | None:
    return None if array is None else Size(array.shape, array.dtype)


class Outline(NDArrayOperatorsMixin):
    """An array without values: it has a shape and a dtype, and reports to its recorder what is computed with it."""

    __array_priority__ = 100
    __hash__ = object.__hash__

    def __init__(self, recorder: Recorder, shape: Shape, dtype: np.dtype):
        self.recorder, self.shape, self.dtype = recorder, tuple(map(int, shape)), dtype
        if any(n < 0 for n in self.shape):
            raise ValueError(f"recorder: expected sizes of at least 0, got shape {self.shape}")
        self.flags = types.SimpleNamespace(c_contiguous=True, f_contiguous=len(self.shape) < 2, writeable=True)

    size = property(lambda self: math.prod(self.shape))
    ndim = property(lambda self: len(self.shape))
    itemsize = property(lambda self: self.dtype.itemsize)
    nbytes = property(lambda self: self.size * self.itemsize)
    T = property(lambda self: self.transpose())  # NumPy's name

    def __array__(self, *args: Any, **options: Any) -> np.ndarray:
        raise TypeError(f"{self!r}: expected a function that needs no values of an array, got one that does; a "
                        "recorder knows sizes only")

    def __bool__(self) -> bool:
        self.recorder.note("bool", [self])  # on a GPU, the host would wait for this value
        return False

    def __repr__(self) -> str:
        return f"Outline(shape={self.shape}, dtype={self.dtype})"

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: expected an array with axes, got one of shape ()")
        return self.shape[0]

    def like(self, shape: Shape, dtype: DTypeLike = None) -> Outline:
        """Another Outline of the same recorder."""
        return Outline(self.recorder, shape, self.dtype if dtype is None else np.dtype(dtype))

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if ufunc.signature is not None or method not in ("__call__", "reduce") or ufunc.nout != 1:
            raise _unknown(f"{ufunc.__name__}.{method}" if method != "__call__" else ufunc.__name__)
        if method == "reduce":
            return _reduced(ufunc.__name__, self, options.get("axis", 0), options.get("dtype"),
                            options.get("keepdims", False))
        out, = options.get("out") or (None,)
        shape = np.broadcast_shapes(*[x.shape for x in inputs if hasattr(x, "shape")])
        dtype = options.get("dtype") or _ufunc_dtype(ufunc, *map(_representative, inputs))
        y = self.like(shape, dtype) if out is None else out
        self.recorder.note(ufunc.__name__, inputs, y)
        return y

    def __array_function__(self, function: Any, kinds: Any, args: Any, options: Any) -> Any:
        name = function.__name__
        if name in _VIEWS:
            return self.like(function(_probe(self), *args[1:], **options).shape)
        if name not in _FUNCTIONS:
            raise _unknown(name)
        return _FUNCTIONS[name](*args, **options)

    def __getitem__(self, index: Any) -> Outline:
        parts = index if isinstance(index, tuple) else (index,)
        if any(hasattr(p, "shape") or isinstance(p, list) for p in parts):
            raise _unknown("an array as index")
        return self.like(_probe(self)[index].shape)

    def __setitem__(self, index: Any, value: Any) -> None:
        self.recorder.note("setitem", [value], self[index])

    def astype(self, dtype: DTypeLike, copy: bool = True) -> Outline:
        """The values in another dtype; this is a step unless the dtype is the same already."""
        if not copy and as_dtype(dtype) == self.dtype:
            return self
        y = self.like(self.shape, as_dtype(dtype))
        self.recorder.note("astype", [self], y)
        return y

    def copy(self, order: str = "C") -> Outline:
        """A copy, which is a step."""
        y = self.like(self.shape)
        self.recorder.note("copy", [self], y)
        return y

    def view(self, dtype: DTypeLike = None) -> Outline:
        """The same bits read as another dtype of the same number of bytes."""
        return self.like(self.shape, dtype)

    def reshape(self, *shape: Any) -> Outline:
        """As NumPy's reshape."""
        return self.like(_probe(self).reshape(*shape).shape)

    def transpose(self, *axes: Any) -> Outline:
        """As NumPy's transpose."""
        return self.like(_probe(self).transpose(*axes).shape)

    def swapaxes(self, a: int, b: int) -> Outline:
        """As NumPy's swapaxes."""
        return self.like(_probe(self).swapaxes(a, b).shape)

    def ravel(self) -> Outline:
        """As NumPy's ravel."""
        return self.like((self.size,))

    def squeeze(self, axis: Any = None) -> Outline:
        """As NumPy's squeeze."""
        return self.like(_probe(self).squeeze(axis).shape)

    def _reduction(name: str) -> Callable[..., Outline]:  # type: ignore[misc] # noqa: N805 - not a method
        def reduce(self: Outline, axis: Any = None, dtype: DTypeLike = None, out: None = None,
                   keepdims: bool = False) -> Outline:
            return _reduced(name, self, axis, dtype, keepdims)

        return reduce

    sum, mean, max, min, any, all, prod = map(_reduction, ("sum", "mean", "max", "min", "any", "all", "prod"))
    del _reduction


def _unknown(what: str) -> NotImplementedError:
    return NotImplementedError(f"recorder: what {what} returns is not known from sizes alone")


def _probe(x: Outline) -> np.ndarray:
    """An array of x's shape in one byte of memory, so that NumPy itself can say what shape a view of x has."""
    return np.broadcast_to(np.zeros((), np.int8), x.shape)


def _representative(x: Any) -> Any:
    """The part of an operand that decides a result's dtype: its own dtype, or a Python number, which promotes weakly.
    """
    return x.dtype if hasattr(x, "dtype") else x


@lru_cache(maxsize=4096)
def _ufunc_dtype(ufunc: np.ufunc, *inputs: Any) -> np.dtype:
    with np.errstate(all="ignore"):
        return np.asarray(ufunc(*[np.ones(1, x) if isinstance(x, np.dtype) else x for x in inputs])).dtype


_TO_BOOL = ("any", "all", "logical_and", "logical_or")
_TO_INT = ("argmax", "argmin", "count_nonzero")


def _reduced(name: str, x: Outline, axis: Any = None, dtype: DTypeLike = None, keepdims: Any = False) -> Outline:
    axes = tuple(range(x.ndim)) if axis is None else normalize_axis_tuple(axis, x.ndim)
    shape = [1 if i in axes else n for i, n in enumerate(x.shape) if keepdims is True or i not in axes]
    if dtype is None:
        whole = x.dtype.kind in "biu"
        dtype = bool if name in _TO_BOOL else np.int64 if name in _TO_INT or whole and name in ("sum", "add", "prod") \
            else np.float64 if whole and name in ("mean", "var", "std") else x.dtype
    y = x.like(tuple(shape), dtype)
    x.recorder.note(name, [x], y)
    return y


def _reduction_named(name: str) -> Callable[..., Outline]:
    def reduce(x: Outline, axis: Any = None, dtype: DTypeLike = None, out: None = None, keepdims: Any = False,
               **options: Any) -> Outline:
        return _reduced(name, x, axis, dtype, keepdims)

    return reduce


def _filled(name: str) -> Callable[..., Outline]:
    def make(x: Outline, *values: Any, dtype: DTypeLike = None, shape: Any = None, **options: Any) -> Outline:
        y = x.like(x.shape if shape is None else shape, dtype)
        if name != "empty_like":
            x.recorder.note(name, [], y)
        return y

    return make


def _where(condition: Any, a: Any, b: Any) -> Outline:
    arrays = [x for x in (condition, a, b) if hasattr(x, "shape")]
    one = next(x for x in arrays if isinstance(x, Outline))
    dtype = np.result_type(*map(_representative, (a, b)))
    y = one.like(np.broadcast_shapes(*[x.shape for x in arrays]), dtype)
    one.recorder.note("where", arrays, y)
    return y


def _joined(name: str) -> Callable[..., Outline]:
    def join(arrays: Any, axis: int = 0, **options: Any) -> Outline:
        arrays = list(arrays)
        one = next(x for x in arrays if isinstance(x, Outline))
        probes = [np.broadcast_to(np.zeros((), np.int8), x.shape) for x in arrays]
        first, axis = probes[0], axis + (probes[0].ndim + (name == "stack")) * (axis < 0)
        if name == "stack":
            shape = (*first.shape[:axis], len(probes), *first.shape[axis:])
        else:
            shape = (*first.shape[:axis], sum(p.shape[axis] for p in probes), *first.shape[axis + 1:])
        y = one.like(shape, np.result_type(*[x.dtype for x in arrays]))
        one.recorder.note(name, arrays, y)
        return y

    return join


def _pad(x: Outline, pad_width: Any, mode: str = "constant", **options: Any) -> Outline:
    pairs = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2)).tolist()
    y = x.like(tuple(n + before + after for n, (before, after) in zip(x.shape, pairs)))
    x.recorder.note("pad", [x], y)
    return y


def _taken_along(x: Outline, indices: Any, axis: int | None = None) -> Outline:
    y = x.like(indices.shape)
    x.recorder.note("take_along_axis", [x, indices], y)
    return y


def _elementwise(name: str) -> Callable[..., Outline]:
    def same(x: Outline, *args: Any, **options: Any) -> Outline:
        y = x.like(x.shape)
        x.recorder.note(name, [x, *args], y)
        return y

    return same


_VIEWS = frozenset({"broadcast_to", "expand_dims", "flip", "moveaxis", "ravel", "reshape", "squeeze", "swapaxes",
                    "transpose"})
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: _reduction_named(name) for name in (
        "sum", "mean", "max", "min", "amax", "amin", "any", "all", "prod", "argmax", "argmin", "count_nonzero", "var",
        "std")},
    **{name: _filled(name) for name in ("zeros_like", "ones_like", "full_like", "empty_like")},
    **{name: _joined(name) for name in ("concatenate", "stack")},
    **{name: _elementwise(name) for name in ("clip", "copy", "tril", "triu", "roll")},
    "where": _where, "pad": _pad, "take_along_axis": _taken_along,
    "may_share_memory": lambda *arrays, **options: False, "shares_memory": lambda *arrays, **options: False,
}
