"""Ops that give elements another shape or order and compute nothing: the gradient takes the same way back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arguments import axis_index, axis_tuple, shape_of
from ..capturing import region
from ..op import Op
from ..tensor import Tensor, as_tensor

Shape = tuple[int, ...]

# The input's shape is a static argument of its own: a rule that took x for its shape would keep x's values in memory.
_reshape = Op("reshape", "x; shape, before -> y", lambda x, shape, before: x.reshape(shape), moves=True,
              cheap=True).vjp(
    x=lambda g, before: reshape(g, before))
_transpose = Op("transpose", "x; axes -> y", lambda x, axes: x.transpose(axes), moves=True).vjp(
    x=lambda g, axes: transpose(g, None if axes is None else _inverse(axes)))
_broadcast_to = Op("broadcast_to", "x; shape -> y", np.broadcast_to, broadcasts=True, moves=True).vjp(x=lambda g: g)
_flip = Op("flip", "x; axis -> y", np.flip, moves=True).vjp(x=lambda g, axis: flip(g, axis))
_roll = Op("roll", "x; shift, axis -> y", np.roll, moves=True).vjp(
    x=lambda g, shift, axis: roll(g, _negated(shift), axis))
_tril = Op("tril", "x; k -> y", np.tril).vjp(x=lambda g, k: tril(g, k))
_triu = Op("triu", "x; k -> y", np.triu).vjp(x=lambda g, k: triu(g, k))


def _inverse(axes: Shape) -> Shape:
    return tuple([axes.index(i) for i in range(len(axes))])


def _negated(shift: Any) -> Any:
    return tuple([-s for s in shift]) if isinstance(shift, (tuple, list)) else -shift


def reshape(x: Any, shape: Any) -> Tensor:
    """The elements of x in row-major order in another shape; one size may be -1.

    >>> reshape([1.0, 2.0, 3.0, 4.0], (2, -1)).shape
    (2, 2)
    """
    x, sizes = as_tensor(x, "reshape"), shape_of("reshape", shape, least=-1)
    known = math.prod([n for n in sizes if n != -1])
    free = sizes.count(-1)
    if free > 1 or (x.size % known if free and known else known != x.size):
        raise ValueError(f"reshape: expected a shape of as many elements as x has, {x.size}, and at most one -1, "
                         f"got {tuple(sizes)} for x of shape {x.shape}")
    return _reshape(x, sizes, x.shape)


def ravel(x: Any) -> Tensor:
    """All elements in row-major order along one axis.

    >>> ravel([[1.0, 2.0], [3.0, 4.0]])
    Tensor([1., 2., 3., 4.], dtype=float32)
    """
    x = as_tensor(x, "ravel")
    return reshape(x, (x.size,))


def transpose(x: Any, axes: Any = None) -> Tensor:
    """The axes of x permuted: axis i of the result is axis axes[i] of x; without `axes`, the order is reversed.

    >>> import numpy as np
    >>> transpose(np.ones((2, 3, 4)), (0, 2, 1)).shape
    (2, 4, 3)
    """
    x = as_tensor(x, "transpose")
    if axes is not None and len(axes) != x.ndim:
        raise ValueError(f"transpose: expected a permutation of {x.ndim} axes, got {axes}")
    return _transpose(x, None if axes is None else axis_tuple("transpose", axes, x.ndim, "axes"))


def moveaxis(x: Any, source: Any, destination: Any) -> Tensor:
    """x with the axes `source` moved to the places `destination`; the other axes keep their order.

    >>> import numpy as np
    >>> moveaxis(np.ones((2, 3, 4)), -1, 0).shape
    (4, 2, 3)
    """
    x = as_tensor(x, "moveaxis")
    sources = axis_tuple("moveaxis", source, x.ndim, "source")
    places = axis_tuple("moveaxis", destination, x.ndim, "destination")
    if len(sources) != len(places):
        raise ValueError(f"moveaxis: expected as many destinations as sources, got {source} and {destination}")
    order = [i for i in range(x.ndim) if i not in sources]
    for place, axis in sorted(zip(places, sources)):
        order.insert(place, axis)
    return _transpose(x, tuple(order))


def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """x with two axes exchanged.

    >>> import numpy as np
    >>> swapaxes(np.ones((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    x = as_tensor(x, "swapaxes")
    order = list(range(x.ndim))
    i, j = axis_index("swapaxes", axis1, x.ndim, "axis1"), axis_index("swapaxes", axis2, x.ndim, "axis2")
    order[i], order[j] = j, i
    return _transpose(x, tuple(order))


def squeeze(x: Any, axis: Any = None) -> Tensor:
    """x without its axes of size 1 (all of them, or those that `axis` names).

    >>> import numpy as np
    >>> squeeze(np.ones((1, 3, 1)), axis=0).shape
    (3, 1)
    """
    x = as_tensor(x, "squeeze")
    gone = ([i for i, n in enumerate(x.shape) if n == 1] if axis is None
            else axis_tuple("squeeze", axis, x.ndim))
    if [i for i in gone if x.shape[i] != 1]:
        raise ValueError(f"squeeze: expected axes of size 1, got axis={axis} of shape {x.shape}")
    return reshape(x, tuple([n for i, n in enumerate(x.shape) if i not in gone]))


def expand_dims(x: Any, axis: Any) -> Tensor:
    """x with new axes of size 1 at the places `axis` of the result.

    >>> expand_dims([1.0, 2.0], (0, -1)).shape
    (1, 2, 1)
    """
    x = as_tensor(x, "expand_dims")
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    new = axis_tuple("expand_dims", axes, x.ndim + len(axes))
    sizes = iter(x.shape)
    return reshape(x, tuple([1 if i in new else next(sizes) for i in range(x.ndim + len(axes))]))


def atleast_1d(x: Any) -> Tensor:
    """x with at least one axis."""
    x = as_tensor(x, "atleast_1d")
    return reshape(x, (1,)) if x.ndim == 0 else x


def atleast_2d(x: Any) -> Tensor:
    """x with at least two axes; new axes come first."""
    x = as_tensor(x, "atleast_2d")
    return x if x.ndim >= 2 else reshape(x, (1, x.size))


def atleast_3d(x: Any) -> Tensor:
    """x with at least three axes: (n,) becomes (1, n, 1), (m, n) becomes (m, n, 1)."""
    x = atleast_2d(x)
    return x if x.ndim >= 3 else reshape(x, (*x.shape, 1))


def broadcast_to(x: Any, shape: Any) -> Tensor:
    """x repeated along new leading axes and along axes of size 1.

    >>> broadcast_to([1.0, 2.0], (2, 2))
    Tensor([[1., 2.],
            [1., 2.]], dtype=float32)
    """
    return _broadcast_to(as_tensor(x, "broadcast_to"), shape_of("broadcast_to", shape))


def broadcast_arrays(*xs: Any) -> tuple[Tensor, ...]:
    """All inputs broadcast to their common shape."""
    tensors = [as_tensor(x, "broadcast_arrays") for x in xs]
    shape = np.broadcast_shapes(*[t.shape for t in tensors])
    return tuple([broadcast_to(t, shape) for t in tensors])


def flip(x: Any, axis: Any = None) -> Tensor:
    """x in reversed order along `axis` (None: along all axes).

    >>> flip([1.0, 2.0, 3.0])
    Tensor([3., 2., 1.], dtype=float32)
    """
    return _flip(as_tensor(x, "flip"), axis)


def fliplr(x: Any) -> Tensor:
    """x in reversed order along axis 1."""
    return flip(x, 1)


def flipud(x: Any) -> Tensor:
    """x in reversed order along axis 0."""
    return flip(x, 0)


def roll(x: Any, shift: Any, axis: Any = None) -> Tensor:
    """x shifted along `axis`; elements beyond the end come back at the start (None: all elements in row-major order).

    >>> roll([1.0, 2.0, 3.0], 1)
    Tensor([3., 1., 2.], dtype=float32)
    """
    return _roll(as_tensor(x, "roll"), shift, axis)


def rot90(x: Any, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Tensor:
    """x turned k times by 90 degrees, from the first of two axes towards the second.

    >>> rot90([[1.0, 2.0], [3.0, 4.0]])
    Tensor([[2., 4.],
            [1., 3.]], dtype=float32)
    """
    x = as_tensor(x, "rot90")
    i, j = axis_tuple("rot90", axes, x.ndim, "axes")
    if k % 2 == 0:
        return flip(x, (i, j)) if k % 4 else x
    return swapaxes(flip(x, j), i, j) if k % 4 == 1 else flip(swapaxes(x, i, j), j)


def tril(x: Any, k: int = 0) -> Tensor:
    """x with zeros above the k-th diagonal of its last two axes; a 1-D x becomes every row of a square matrix.

    >>> tril([[1.0, 2.0], [3.0, 4.0]])
    Tensor([[1., 0.],
            [3., 4.]], dtype=float32)
    """
    x = as_tensor(x, "tril")
    return _tril(x if x.ndim > 1 else broadcast_to(x, x.shape * 2), k)


def triu(x: Any, k: int = 0) -> Tensor:
    """x with zeros below the k-th diagonal of its last two axes; a 1-D x becomes every row of a square matrix.

    >>> triu([[1.0, 2.0], [3.0, 4.0]])
    Tensor([[1., 2.],
            [0., 4.]], dtype=float32)
    """
    x = as_tensor(x, "triu")
    return _triu(x if x.ndim > 1 else broadcast_to(x, x.shape * 2), k)


def repeat(x: Any, repeats: Any, axis: int | None = None) -> Tensor:
    """Each element along `axis` repeated in place (None: all elements in row-major order).

    Args:
        repeats: how often to repeat: one integer, or one integer per element of the axis.

    >>> repeat([1.0, 2.0], 2)
    Tensor([1., 1., 2., 2.], dtype=float32)
    """
    x, axis = (ravel(x), 0) if axis is None else (as_tensor(x, "repeat"), axis)
    axis = axis_index("repeat", axis, x.ndim)
    if isinstance(repeats, Tensor):
        region.refuse_size("repeat by a tensor")
    counts = np.asarray(repeats.array if isinstance(repeats, Tensor) else repeats)
    if counts.dtype.kind not in "iub" or counts.ndim > 1 or counts.size not in (1, x.shape[axis]):
        raise ValueError(f"repeat: expected repeats to be an integer or {x.shape[axis]} of them, one per element of "
                         f"axis {axis}, got {repeats!r:.60}")
    if counts.size and counts.min() < 0:
        raise ValueError(f"repeat: expected repeats >= 0, got {repeats!r:.60}")
    if counts.size == 1:
        n = int(counts.reshape(()))
        wide = broadcast_to(expand_dims(x, axis + 1), (*x.shape[:axis + 1], n, *x.shape[axis + 1:]))
        return reshape(wide, (*x.shape[:axis], x.shape[axis] * n, *x.shape[axis + 1:]))
    return x[(slice(None),) * axis + (np.repeat(np.arange(x.shape[axis]), counts),)]


def tile(x: Any, reps: Any) -> Tensor:
    """x laid side by side reps[i] times along axis i; new axes come first.

    >>> tile([1.0, 2.0], 2)
    Tensor([1., 2., 1., 2.], dtype=float32)
    """
    x, times = as_tensor(x, "tile"), shape_of("tile", reps, "reps")
    ndim = max(x.ndim, len(times))
    times = (1,) * (ndim - len(times)) + times
    sizes = (1,) * (ndim - x.ndim) + x.shape
    wide = broadcast_to(reshape(x, _interleave((1,) * ndim, sizes)), _interleave(times, sizes))
    return reshape(wide, tuple(map(math.prod, zip(times, sizes))))


def _interleave(first: Shape, second: Shape) -> Shape:
    return tuple([n for pair in zip(first, second) for n in pair])


def meshgrid(*xs: Any, indexing: str = "xy") -> tuple[Tensor, ...]:
    """Coordinate arrays of the grid spanned by 1-D arrays; "xy": x along axis 1, "ij": along axis 0.

    >>> [t.shape for t in meshgrid([1.0, 2.0, 3.0], [1.0, 2.0])]
    [(2, 3), (2, 3)]
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: expected indexing 'xy' or 'ij', got {indexing!r}")
    tensors = [ravel(x) for x in xs]
    order = [1, 0, *range(2, len(xs))] if indexing == "xy" and len(xs) > 1 else list(range(len(xs)))
    shape = tuple([tensors[i].size for i in order])
    return tuple([broadcast_to(reshape(t, tuple([-1 if order[a] == i else 1 for a in range(len(xs))])), shape)
                  for i, t in enumerate(tensors)])
