"""Outline: an array without values. It has a shape, strides and a dtype, and reports to a recorder what runs on it.

Outlines stand in for CuPy's arrays (convgpu/recorder.py says what for). Views share the Buffer of the array that they
were made from; a buffer counts as freed when its last view is gone, as CuPy's memory does. Strides are those that CuPy
would give: reshape copies where no strides describe the result, and a kernel that needs row-major memory copies a
transposed array first.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from .dtypes import DTypeLike, as_dtype

if TYPE_CHECKING:
    from .recorder import Recorder

Shape = tuple[int, ...]
UNIT = 512  # CuPy's pool hands out memory in multiples of so many bytes, at multiples of so many


class Buffer:
    """The memory of an array and of its views, which is freed with the last of them.

    address: where the memory would begin. Later buffers have higher addresses, and no address is used twice.
    filled: whether something was written to it, so that kernels read it and do not write it for the first time.
    owner: whatever the recorder wants to know of it.
    """

    __slots__ = ("recorder", "nbytes", "address", "filled", "owner")

    def __init__(self, recorder: Recorder, nbytes: int):
        self.recorder = recorder
        self.nbytes = -(-nbytes // UNIT) * UNIT
        self.address, self.filled = recorder.address, False
        self.owner: Any = None
        recorder.address += self.nbytes or UNIT
        recorder.allocated(self)

    def __del__(self) -> None:
        self.recorder.freed(self)


class Outline(NDArrayOperatorsMixin):
    """An array without values."""

    __array_priority__ = 100
    __hash__ = object.__hash__

    def __init__(self, recorder: Recorder, shape: Shape, dtype: np.dtype, buffer: Buffer | None = None,
                 strides: Shape | None = None, offset: int = 0):
        self.recorder, self.shape, self.dtype = recorder, tuple(map(int, shape)), dtype
        if any([n < 0 for n in self.shape]):
            raise ValueError(f"recorder: expected sizes of at least 0, got shape {self.shape}")
        self.size, self.ndim, self.itemsize = math.prod(self.shape), len(self.shape), dtype.itemsize
        self.nbytes = self.size * self.itemsize
        self.buffer = Buffer(recorder, self.nbytes) if buffer is None else buffer
        self.strides = row_major(self.shape, self.itemsize) if strides is None else strides
        self.offset = offset  # of the first element from the beginning of the buffer, in bytes

    T = property(lambda self: self.transpose())  # NumPy's name
    device = property(lambda self: types.SimpleNamespace(id=0))  # CuPy's names, from here on
    data = property(lambda self: types.SimpleNamespace(ptr=self.buffer.address + self.offset))

    @property
    def contiguous(self) -> bool:
        """Whether the elements lie in row-major order without gaps."""
        step = self.itemsize
        for n, stride in zip(reversed(self.shape), reversed(self.strides)):
            if n != 1 and stride != step and self.size:
                return False
            step *= n
        return True

    @property
    def flags(self) -> Any:
        """As NumPy's flags."""
        contiguous = self.contiguous
        return types.SimpleNamespace(c_contiguous=contiguous, f_contiguous=self.ndim < 2 and contiguous, writeable=True)

    @property
    def touched(self) -> int:
        """The bytes that a kernel touches which reads every element: those of broadcast elements count once."""
        once = math.prod([n for n, stride in zip(self.shape, self.strides) if stride]) * self.itemsize
        return min(once, self.buffer.nbytes)  # windows that overlap touch no more than there is

    def __array__(self, *args: Any, **options: Any) -> np.ndarray:
        raise TypeError(f"{self!r}: expected a function that needs no values of an array, got one that does; a "
                        "recorder knows sizes only")

    def get(self) -> np.ndarray:
        """The values on the host, for which the host waits: the recorder says what they are, or that there are none."""
        return self.recorder.values_of(self, "get")

    def item(self) -> Any:
        """The one value, as `get`."""
        return self.recorder.values_of(self, "item").item()

    def __bool__(self) -> bool:
        return self.recorder.truth_of(self)  # on a GPU, the host would wait for this value

    def __int__(self) -> int:
        return int(self.recorder.values_of(self, "int"))

    def __index__(self) -> int:
        return int(self.recorder.values_of(self, "index"))

    def __float__(self) -> float:
        return float(self.recorder.values_of(self, "float"))

    def __repr__(self) -> str:
        return f"Outline(shape={self.shape}, dtype={self.dtype})"

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len: expected an array with axes, got one of shape ()")
        return self.shape[0]

    def like(self, shape: Shape, dtype: DTypeLike = None) -> Outline:
        """A new Outline of the same recorder."""
        return Outline(self.recorder, shape, self.dtype if dtype is None else np.dtype(dtype))

    def seen(self, view: Callable[[np.ndarray], np.ndarray]) -> Outline:
        """The view of this array that a function of NumPy makes, which copies nothing."""
        probe = probe_of(self)
        result = view(probe)
        offset = result.ctypes.data - probe.ctypes.data if result.size else 0
        return Outline(self.recorder, result.shape, self.dtype, self.buffer, result.strides, self.offset + offset)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        from .outline_functions import call_ufunc

        return call_ufunc(self, ufunc, method, inputs, options)

    def __array_function__(self, function: Any, kinds: Any, args: Any, options: Any) -> Any:
        from .outline_functions import call_function

        return call_function(self, function, args, options)

    def __getitem__(self, index: Any) -> Outline:
        if has_arrays(index):
            from .outline_functions import taken_at

            return taken_at(self, index)
        parts = index if type(index) is tuple else (index,)
        if not any([i is Ellipsis for i in parts]):
            parts = (*parts, ...)  # with it NumPy gives an array of no axes where it would give a number
        return self.seen(lambda probe: probe[parts])

    def __setitem__(self, index: Any, value: Any) -> None:
        if has_arrays(index):
            from .outline_functions import put_at

            return put_at(self, index, value)
        view = self[index]
        if isinstance(value, Outline) and value.data == view.data and value.strides == view.strides:
            return  # CuPy copies nothing from an array to itself, which `x[index] += y` asks for
        self.recorder.note("setitem", [value], view)

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

    def fill(self, value: Any) -> None:
        """One value everywhere, which is a step."""
        self.recorder.note("fill", [], self)

    def view(self, dtype: DTypeLike = None) -> Outline:
        """The same bits read as another dtype of the same number of bytes."""
        kind = self.dtype if dtype is None else as_dtype(dtype)
        if kind.itemsize != self.itemsize:
            raise NotImplementedError(f"recorder: expected a view of {self.itemsize} bytes per element, got {kind}")
        return Outline(self.recorder, self.shape, kind, self.buffer, self.strides, self.offset)

    def reshape(self, *shape: Any, **options: Any) -> Outline:
        """As NumPy's reshape: a view where strides can describe it, else a copy, which is a step."""
        wanted = shape[0] if len(shape) == 1 and not isinstance(shape[0], (int, np.integer)) else shape
        new = _whole_shape(self, tuple(map(int, wanted)))
        strides = strides_of_reshape(self, new)
        if strides is None:
            return self.copy().reshape(new)
        return Outline(self.recorder, new, self.dtype, self.buffer, strides, self.offset)

    def transpose(self, *axes: Any) -> Outline:
        """As NumPy's transpose."""
        return self.seen(lambda probe: probe.transpose(*axes))

    def swapaxes(self, a: int, b: int) -> Outline:
        """As NumPy's swapaxes."""
        return self.seen(lambda probe: probe.swapaxes(a, b))

    def ravel(self, order: str = "C") -> Outline:
        """As NumPy's ravel."""
        return self.reshape(self.size)

    def squeeze(self, axis: Any = None) -> Outline:
        """As NumPy's squeeze."""
        return self.seen(lambda probe: probe.squeeze(axis))

    def _reduction(name: str) -> Callable[..., Outline]:  # type: ignore[misc] # noqa: N805 - not a method
        def reduce(self: Outline, axis: Any = None, dtype: DTypeLike = None, out: None = None,
                   keepdims: bool = False) -> Outline:
            from .outline_functions import reduced

            return reduced(name, self, axis, dtype, keepdims)

        return reduce

    sum, mean, max, min, any, all, prod = map(_reduction, ("sum", "mean", "max", "min", "any", "all", "prod"))
    del _reduction


def has_arrays(index: Any) -> bool:
    """Whether an index contains an array or a list, so that elements are gathered and no view is made."""
    if type(index) is not tuple:
        return hasattr(index, "shape") and not isinstance(index, np.integer) or isinstance(index, list)
    return any([hasattr(i, "shape") and not isinstance(i, np.integer) or isinstance(i, list) for i in index])


_ONE = np.zeros(16, np.uint8)


def probe_of(x: Outline) -> np.ndarray:
    """An array of x's shape, dtype and strides in a few bytes of memory, so that NumPy itself can say what shape and
    strides a view of x has. Nothing may read it.
    """
    return np.lib.stride_tricks.as_strided(_ONE[:x.itemsize].view(x.dtype), x.shape, x.strides)


@lru_cache(maxsize=4096)
def row_major(shape: Shape, itemsize: int) -> Shape:
    """The strides of a new array."""
    strides, step = [], itemsize
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


def _whole_shape(x: Outline, shape: Shape) -> Shape:
    """A new shape with the size that -1 stands for."""
    if shape.count(-1) == 1:
        known = -math.prod(shape)
        if known and x.size % known == 0:
            shape = tuple([x.size // known if n == -1 else n for n in shape])
    if math.prod(shape) != x.size or any([n < 0 for n in shape]):
        raise ValueError(f"reshape: expected a shape of {x.size} elements, got {shape} for {x.shape}")
    return shape


def strides_of_reshape(x: Outline, shape: Shape) -> Shape | None:
    """The strides by which x's memory has another shape, or None where only a copy can have it."""
    if x.contiguous:
        return row_major(shape, x.itemsize)
    old = [(n, stride) for n, stride in zip(x.shape, x.strides) if n != 1]
    runs: list[list[int]] = []  # neighbouring axes that lie in memory like one: [elements, stride of the last]
    for n, stride in old:
        if runs and runs[-1][1] == n * stride:
            runs[-1] = [runs[-1][0] * n, stride]
        else:
            runs.append([n, stride])
    strides: list[int] = []
    for n in reversed(shape):
        if n == 1:
            strides.append(x.itemsize)
            continue
        if runs and runs[-1][0] == 1:
            runs.pop()
        if not runs or runs[-1][0] % n:
            return None
        strides.append(runs[-1][1])
        runs[-1] = [runs[-1][0] // n, runs[-1][1] * n]
    return tuple(reversed(strides))
