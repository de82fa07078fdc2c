"""Ops that join, split and pad tensors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..arguments import axis_index
from ..op import Op
from ..tensor import Tensor, as_tensor
from .shape import atleast_1d, atleast_2d, atleast_3d, expand_dims, ravel, transpose

# The sizes of the inputs along the axis are a static argument: a rule that took xs would keep their values in memory.
_concatenate = Op("concatenate", "*xs; axis, sizes -> y", lambda xs, axis, sizes: np.concatenate(xs, axis),
                  moves=True).vjp(
    xs=lambda g, axis, sizes: _pieces(g, np.cumsum(sizes)[:-1], axis))
_pad = Op("pad", "x; widths, value -> y", lambda x, widths, value: np.pad(x, widths, constant_values=value),
          moves=True).vjp(
    x=lambda g, widths: g[tuple([slice(a, n - b) for (a, b), n in zip(widths, g.shape)])])


def _sequence(op: str, xs: Any) -> list[Tensor]:
    if not isinstance(xs, (list, tuple, Tensor, np.ndarray)):
        raise TypeError(f"{op}: expected a sequence of tensors, got {type(xs).__name__}")
    tensors = [as_tensor(x, op) for x in xs]
    if not tensors:
        raise ValueError(f"{op}: expected at least one tensor, got an empty sequence")
    return tensors


def concatenate(xs: Any, axis: int | None = 0) -> Tensor:
    """The tensors joined along an existing axis (None: all elements of every tensor in row-major order).

    >>> concatenate([[1.0, 2.0], [3.0]])
    Tensor([1., 2., 3.], dtype=float32)
    """
    tensors = _sequence("concatenate", xs)
    if axis is None:
        tensors, axis = [ravel(t) for t in tensors], 0
    if min([t.ndim for t in tensors]) == 0:
        raise ValueError("concatenate: expected tensors of at least one axis, got a 0-d one; use stack")
    axis = axis_index("concatenate", axis, tensors[0].ndim)
    return _concatenate(tensors, axis, tuple([t.shape[axis] if axis < t.ndim else 0 for t in tensors]))


def stack(xs: Any, axis: int = 0) -> Tensor:
    """Tensors of one shape joined along a new axis.

    >>> stack([[1.0, 2.0], [3.0, 4.0]], axis=1)
    Tensor([[1., 3.],
            [2., 4.]], dtype=float32)
    """
    tensors = _sequence("stack", xs)
    if len({t.shape for t in tensors}) > 1:
        raise ValueError(f"stack: expected tensors of one shape, got {', '.join([str(t.shape) for t in tensors])}")
    return concatenate([expand_dims(t, axis) for t in tensors], axis)


def vstack(xs: Any) -> Tensor:
    """The tensors joined along axis 0; 1-D tensors are rows."""
    return concatenate([atleast_2d(x) for x in _sequence("vstack", xs)], 0)


def hstack(xs: Any) -> Tensor:
    """The tensors joined along axis 1, or along axis 0 if they are 1-D."""
    tensors = [atleast_1d(x) for x in _sequence("hstack", xs)]
    return concatenate(tensors, 0 if tensors[0].ndim == 1 else 1)


def dstack(xs: Any) -> Tensor:
    """The tensors joined along axis 2."""
    return concatenate([atleast_3d(x) for x in _sequence("dstack", xs)], 2)


def column_stack(xs: Any) -> Tensor:
    """The tensors joined along axis 1; 1-D tensors are columns."""
    return concatenate([t if t.ndim > 1 else transpose(atleast_2d(t)) for t in _sequence("column_stack", xs)], 1)


def append(x: Any, values: Any, axis: int | None = None) -> Tensor:
    """`values` joined to the end of x along `axis` (None: the elements of both in row-major order)."""
    return concatenate([x, values], axis)


def split(x: Any, sections: Any, axis: int = 0) -> list[Tensor]:
    """x cut along `axis` into equal parts, or before each of the given indices.

    >>> split([1.0, 2.0, 3.0, 4.0], 2)
    [Tensor([1., 2.], dtype=float32), Tensor([3., 4.], dtype=float32)]
    """
    x = as_tensor(x, "split")
    n = x.shape[axis_index("split", axis, x.ndim)]
    if not isinstance(sections, Iterable) and (sections < 1 or n % sections):
        raise ValueError(f"split: expected a number of sections that divides the axis, got {sections} for {n}; "
                         "use array_split")
    return array_split(x, sections, axis)


def array_split(x: Any, sections: Any, axis: int = 0) -> list[Tensor]:
    """x cut along `axis` into parts of sizes that differ by at most 1, the larger first, or before each index."""
    x = as_tensor(x, "array_split")
    axis = axis_index("array_split", axis, x.ndim)
    if isinstance(sections, Iterable):
        return _pieces(x, list(sections), axis)
    if sections < 1:
        raise ValueError(f"array_split: expected at least one section, got {sections}")
    size, more = divmod(x.shape[axis], sections)
    return _pieces(x, np.cumsum([size + 1] * more + [size] * (sections - more))[:-1], axis)


def hsplit(x: Any, sections: Any) -> list[Tensor]:
    """x cut along axis 1, or along axis 0 if x is 1-D."""
    x = as_tensor(x, "hsplit")
    return split(x, sections, 0 if x.ndim == 1 else 1)


def vsplit(x: Any, sections: Any) -> list[Tensor]:
    """x cut along axis 0."""
    return split(x, sections, 0)


def dsplit(x: Any, sections: Any) -> list[Tensor]:
    """x cut along axis 2."""
    return split(x, sections, 2)


def _pieces(x: Tensor, cuts: Any, axis: int) -> list[Tensor]:
    edges = [0, *[int(c) for c in cuts], x.shape[axis]]
    return [x[(slice(None),) * axis + (slice(a, b),)] for a, b in zip(edges[:-1], edges[1:])]


def pad(x: Any, pad_width: Any, mode: str = "constant", *, constant_values: float = 0) -> Tensor:
    """x with elements added around it.

    Args:
        pad_width: a number, (before, after), or one such pair per axis.
        mode: "constant" fills with `constant_values` (a number); "edge", "reflect", "symmetric" and "wrap" repeat
            elements of x as in NumPy, and each element's gradient is the sum over its copies.

    >>> pad([1.0, 2.0, 3.0], (2, 1), mode="reflect")
    Tensor([3., 2., 1., 2., 3., 2.], dtype=float32)
    """
    x = as_tensor(x, "pad")
    widths = tuple([(int(a), int(b)) for a, b in np.broadcast_to(pad_width, (x.ndim, 2))])
    if min([0, *[w for pair in widths for w in pair]]) < 0:
        raise ValueError(f"pad: expected widths >= 0, got {pad_width}")
    if mode == "constant":
        if np.ndim(constant_values) != 0:
            raise TypeError(f"pad: expected constant_values to be one number, got {constant_values!r}")
        return _pad(x, widths, constant_values)
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise ValueError(f"pad: expected mode 'constant', 'edge', 'reflect', 'symmetric' or 'wrap', got {mode!r}")
    if constant_values != 0:
        raise TypeError(f"pad: expected constant_values with mode='constant' alone, got mode={mode!r}")
    for axis, width in enumerate(widths):
        if width != (0, 0):
            places = np.pad(np.arange(x.shape[axis]), width, mode=mode)  # type: ignore[call-overload]
            x = x[(slice(None),) * axis + (places,)]
    return x
