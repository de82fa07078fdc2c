"""Reading and functional writing by index, and functions built from them: take, diagonals.

An index is whatever NumPy takes, and may contain Tensors. Where integer arrays name an element several times, its
gradient is the sum of the gradients at these places, added in float64.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from .. import flags
from ..arguments import axis_index
from ..capturing import region
from ..device import CPU, is_gpu_array, move, run_there
from ..dtypes import is_float
from ..op import Op
from ..tensor import Tensor, as_tensor
from .repeated import last_of_each, sums_at
from .shape import Shape, broadcast_to, moveaxis, ravel

Index = tuple[Any, ...]

_getitem = Op("getitem", "x; index, shape -> y", lambda x, index, shape: x[index], moves=True).vjp(
    x=lambda g, index, shape: _put(g, index, shape))
_put: Op = Op("put", "x; index, shape -> y", lambda x, index, shape: _scattered(x, index, shape), moves=True).vjp(
    x=lambda g, index, shape: _getitem(g, index, shape))
_set_at: Op = Op("set_at", "x, values; index -> y", lambda x, values, index: _assigned(x, values, index),
                 moves=True).vjp(
    x=lambda g, index: _set_at(g, np.zeros_like(g.array[index]), index),
    values=lambda g, index: _getitem(g, index, g.shape) * _is_last(g.array, index))
_add_at = Op("add_at", "x, values; index -> y", lambda x, values, index: _added(x, values, index)).vjp(
    x=lambda g: g, values=lambda g, index: _getitem(g, index, g.shape))


def as_index(index: Any, x: Tensor) -> Index:
    """The index as a tuple that nobody else can change: Tensors as arrays, lists and arrays copied to x's device."""
    parts = tuple([_as_index_part(i, x) for i in (index if isinstance(index, tuple) else (index,))])
    if x.device == CPU:
        return parts
    _check_bounds(parts, x)
    return tuple([move(i, x.device) if isinstance(i, np.ndarray) else i for i in parts])


def _as_index_part(i: Any, x: Tensor) -> Any:
    if i is None or i is Ellipsis or type(i) in (int, slice):
        return i
    if isinstance(i, Tensor):
        if i.ndim and i.device != x.device:
            raise TypeError(f"getitem: expected an index on the device of x, {x.device}, got {i.device}; "
                            "move it with .to(device)")
        if i.dtype == bool:
            region.refuse_size("an index by a mask")
        return i.array if i.ndim or i.dtype == bool else operator.index(i)
    if isinstance(i, np.integer):
        return int(i)
    if isinstance(i, (list, np.ndarray)):
        return np.array(i, dtype=np.intp if isinstance(i, list) and not i else None)
    return i


def _check_bounds(index: Index, x: Tensor) -> None:
    """Check index bounds, which NumPy does by itself; CuPy would wrap a too large index around."""
    axes = [0 if i is None or i is Ellipsis else i.ndim if _is_array(i, "b") else 1 for i in index]
    for at, i in enumerate(index):
        if not (_is_array(i, "iu") and i.size):
            continue
        axis = x.ndim - sum(axes[at:]) if any(j is Ellipsis for j in index[:at]) else sum(axes[:at])
        if axis < x.ndim and region.current() is not None and is_gpu_array(i):  # a graph cannot wait for the extremes
            _flag_bounds(i, x.shape[axis])
            continue
        low, high = (int(run_there("getitem", i, extreme)) for extreme in (i.min, i.max))
        if axis < x.ndim and not -x.shape[axis] <= low <= high < x.shape[axis]:
            raise IndexError(f"getitem: expected indices in [-{x.shape[axis]}, {x.shape[axis]}) along axis {axis}, "
                             f"got {low if low < -x.shape[axis] else high}")


def _flag_bounds(i: Any, n: int) -> None:
    """Let whoever next reads a value find out whether an index is out of bounds."""
    outside = run_there("getitem", i, lambda: ((i < -n) | (i >= n)).any().astype(np.int32))
    flags.check("getitem", outside, f"indices in [-{n}, {n})")


def _is_array(i: Any, kinds: str) -> bool:
    return hasattr(i, "dtype") and i.dtype.kind in kinds


def _has_integer_array(index: Index) -> bool:
    return any(_is_array(i, "iu") for i in index)


def _scattered(x: Any, index: Index, shape: Shape) -> Any:
    """Zeros of `shape`, with the values of x added at the index."""
    out = np.zeros_like(x, shape=shape)
    if not _has_integer_array(index):  # slices and masks name no element twice
        out[index] = x
        return out
    *before, places = index
    if isinstance(x, np.ndarray) and all(isinstance(i, slice) and i == slice(None) for i in before):
        # there is one integer array: sum only the rows that it names
        n = shape[len(before)]
        places = places.astype(np.intp)  # a narrow integer type may be too small for n
        named, inverse = np.unique(np.where(places < 0, places + n, places), return_inverse=True)
        few = (*shape[:len(before)], len(named), *shape[len(before) + 1:])
        out[(*before, named)] = _summed(x, (*before, inverse.reshape(places.shape)), few)
        return out
    return _summed(x, index, shape)


def _summed(x: Any, index: Index, shape: Shape) -> Any:
    size = math.prod(shape)
    places, terms = _places(x, index, shape).ravel(), x.ravel().astype(np.float64)
    sums = sums_at(places, terms, size) if is_gpu_array(x) else np.bincount(places, weights=terms, minlength=size)
    return sums.reshape(shape).astype(x.dtype)


def _places(x: Any, index: Index, shape: Shape) -> Any:
    """The row-major numbers of the elements that the index selects from an array of `shape`, on x's device."""
    return np.arange(math.prod(shape), like=x).reshape(shape)[index]


def _assigned(x: Any, values: Any, index: Index) -> Any:
    y = x.copy()
    if is_gpu_array(x) and _has_integer_array(index):
        places = _places(x, index, x.shape)
        last, flat = last_of_each(places.ravel()), y.reshape(-1)
        flat[places.ravel()[last]] = np.broadcast_to(values, places.shape).ravel()[last]
    else:
        y[index] = values
    return y


def _added(x: Any, values: Any, index: Index) -> Any:
    if is_float(x.dtype):
        return x + _scattered(values.astype(x.dtype, copy=False), index, x.shape)
    if is_gpu_array(x):
        places = _places(x, index, x.shape)
        terms = np.broadcast_to(values, places.shape).ravel().astype(x.dtype)
        return x + sums_at(places.ravel(), terms, x.size).reshape(x.shape)
    y = x.copy()
    np.add.at(y, index, values)
    return y


def _is_last(x: Any, index: Index) -> Any:
    """Which values stay after `x[index] = values`, as 1 and 0 in x's dtype: the last of the values for each element."""
    selected = x[index]
    if not _has_integer_array(index):
        return np.ones_like(selected)
    if is_gpu_array(x):
        last = np.zeros_like(x, shape=(selected.size,))
        last[last_of_each(_places(x, index, x.shape).ravel())] = 1
        return last.reshape(selected.shape)
    numbers = np.arange(selected.size).reshape(selected.shape)
    holder = np.zeros_like(x, dtype=np.int64)
    holder[index] = numbers
    return (holder[index] == numbers).astype(x.dtype)


def getitem(x: Any, index: Any) -> Tensor:
    """x[index], for every kind of index that NumPy knows.

    >>> getitem([1.0, 2.0, 3.0], [0, 0, 2])
    Tensor([1., 1., 3.], dtype=float32)
    """
    x = as_tensor(x, "getitem")
    return _getitem(x, as_index(index, x), x.shape)


class At:
    """`t.at`: `t.at[index].set(values)` and `t.at[index].add(values)` return a changed copy of t."""

    __slots__ = ("tensor", "index")

    def __init__(self, tensor: Tensor, index: Index = ()):
        self.tensor, self.index = tensor, index

    def __getitem__(self, index: Any) -> At:
        return At(self.tensor, as_index(index, self.tensor))

    def set(self, values: Any) -> Tensor:
        """The tensor with `values` (broadcast) at the index; of several values for one element, the last stays.

        >>> import convgpu as cg
        >>> cg.tensor([1.0, 2.0, 3.0]).at[1:].set(0)
        Tensor([1., 0., 0.], dtype=float32)
        """
        return _set_at(self.tensor, self._values("at.set", values), self.index)

    def add(self, values: Any) -> Tensor:
        """The tensor with `values` (broadcast) added at the index; several values for one element are all added.

        >>> import convgpu as cg
        >>> cg.tensor([1.0, 2.0, 3.0]).at[[0, 0]].add(1)
        Tensor([3., 2., 3.], dtype=float32)
        """
        return _add_at(self.tensor, self._values("at.add", values), self.index)

    def _values(self, op: str, values: Any) -> Tensor:
        number = isinstance(values, (bool, int, float, np.generic))
        values = as_tensor(values, op)
        values = values.to(self.tensor.device) if number else values
        if is_float(values.dtype) and not is_float(self.tensor.dtype):
            raise TypeError(f"{op}: expected values that {self.tensor.dtype} can hold, got {values.dtype}")
        # a zero broadcast to the tensor's shape takes no memory
        like = np.broadcast_to(np.zeros_like(self.tensor.array, shape=()), self.tensor.shape)
        return broadcast_to(values, like[self.index].shape)


# --- gathering


def take(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """The elements of x at the indices along `axis` (None: the indices count all elements in row-major order).

    >>> take([1.0, 2.0, 3.0], [2, 0])
    Tensor([3., 1.], dtype=float32)
    """
    x, axis = (ravel(x), 0) if axis is None else (as_tensor(x, "take"), axis)
    return x[(slice(None),) * axis_index("take", axis, x.ndim) + (indices,)]


def take_along_axis(x: Any, indices: Any, axis: int | None = -1) -> Tensor:
    """The elements at indices that differ for each position of the other axes, as those that argsort returns.

    >>> take_along_axis([[1.0, 2.0], [3.0, 4.0]], [[1], [0]], axis=1)
    Tensor([[2.],
            [3.]], dtype=float32)
    """
    x, given = as_tensor(x, "take_along_axis"), indices
    indices = as_tensor(indices, "take_along_axis")
    indices = indices if isinstance(given, Tensor) else indices.to(x.device)
    if axis is None:
        return getitem(ravel(x), ravel(indices))
    if x.ndim != indices.ndim:
        raise ValueError(f"take_along_axis: expected indices of {x.ndim} axes like x, got {x.shape}, {indices.shape}")
    axis = axis_index("take_along_axis", axis, x.ndim)
    return x[_index_along(indices, axis, x)]


def gathered(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """take_along_axis for indices on x's device that are known to be in range; the host waits for none of them."""
    index = _index_along(indices, axis % x.ndim, x)
    return _getitem(x, tuple([i.array if isinstance(i, Tensor) else i for i in index]), x.shape)


def reordered(x: Tensor, order: Any, axis: int) -> Tensor:
    """x with its entries along an axis in the order of an array on x's device, whose numbers are known to be in range.
    """
    return _getitem(x, (slice(None),) * (axis % x.ndim) + (order,), x.shape)


def _index_along(indices: Tensor, axis: int, x: Tensor) -> Index:
    like = x.array if is_gpu_array(x.array) else np.zeros(())
    return tuple([indices if a == axis else np.arange(n, like=like).reshape((-1,) + (1,) * (x.ndim - 1 - a))
                  for a, n in enumerate(x.shape)])


def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The elements x[..., i, i + offset, ...] of two axes, along a new last axis.

    >>> diagonal([[1.0, 2.0], [3.0, 4.0]])
    Tensor([1., 4.], dtype=float32)
    """
    x = moveaxis(x, (axis1, axis2), (-2, -1))
    return x[(..., *_diagonal_places(x.shape[-2], x.shape[-1], offset))]


def _diagonal_places(rows: int, columns: int, offset: int) -> tuple[np.ndarray, np.ndarray]:
    i = np.arange(max(0, min(rows, columns - offset, rows + offset, columns)))
    return i + max(-offset, 0), i + max(offset, 0)


def diag(x: Any, k: int = 0) -> Tensor:
    """The k-th diagonal of a matrix; for a 1-D tensor, the square matrix with the tensor on its k-th diagonal.

    >>> diag([1.0, 2.0])
    Tensor([[1., 0.],
            [0., 2.]], dtype=float32)
    """
    x = as_tensor(x, "diag")
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ValueError(f"diag: expected one or two axes, got shape {x.shape}")
    n = x.size + abs(k)
    return _put(x, tuple([move(i, x.device) for i in _diagonal_places(n, n, k)]), (n, n))


def diagflat(x: Any, k: int = 0) -> Tensor:
    """The square matrix that has all elements of x on its k-th diagonal."""
    return diag(ravel(x), k)


def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The sum over a diagonal.

    >>> trace([[1.0, 2.0], [3.0, 4.0]]).item()
    5.0
    """
    return diagonal(x, offset, axis1, axis2).sum(-1)
