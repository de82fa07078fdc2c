"""Reading and writing by index."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import numpy as cnp
from ...device import CPU
from ...op import Op
from ...tensor import Tensor
from ..image import host
from ..node import Node

# Duplicate indices meet in one element, by a function of NumPy; there is no gradient.
_reduced_at = Op("onnx_scatter", "x, values; index, function -> y",
                 lambda x, values, index, function: _reduce_at(x, values, index, function))

_REDUCTIONS = {"mul": "multiply", "max": "maximum", "min": "minimum"}


def _reduce_at(x: Any, values: Any, index: tuple[Any, ...], function: str) -> Any:
    y = x.copy()
    getattr(np, function).at(y, index, values)
    return y


def _places(node: Node, indices: np.ndarray, size: int) -> np.ndarray:
    """Indices that count from the end where they are negative, as such that do not."""
    if indices.size and not -size <= indices.min() <= indices.max() < size:
        raise node.wrong(f"indices in [{-size}, {size})", f"{indices.min()} to {indices.max()}")
    return np.where(indices < 0, indices + size, indices)


def _axis(node: Node, x: Tensor) -> int:
    axis = node.get("axis", 0)
    if not -x.ndim <= axis < x.ndim:
        raise node.wrong(f"an axis of {x.ndim} axes", axis)
    return axis % x.ndim


def gather(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    """The entries of x at the indices along an axis."""
    return cnp.take(x, indices, _axis(node, x))


def gather_elements(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    """The elements of x at indices that replace their own along an axis."""
    return x[_along(node, x, indices)]


def gather_nd(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    """The parts of x at index vectors, the last axis of the indices."""
    batch, at = node.get("batch_dims", 0), host(indices)
    lead = [np.arange(n).reshape((-1,) + (1,) * (at.ndim - 2 - i)) for i, n in enumerate(at.shape[:batch])]
    return x[(*lead, *np.moveaxis(at, -1, 0))]


def scatter_elements(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """x with updates at indices that replace their own along an axis."""
    return _scattered(node, x, _along(node, x, indices), updates)


def scatter_nd(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """x with updates at index vectors."""
    return _scattered(node, x, tuple(np.moveaxis(host(indices), -1, 0)), updates)


def _along(node: Node, x: Tensor, indices: Tensor) -> tuple[np.ndarray, ...]:
    axis, chosen = _axis(node, x), host(indices)
    if chosen.ndim != x.ndim:
        raise node.wrong(f"indices of {x.ndim} axes", chosen.shape)
    index: list[Any] = list(np.indices(chosen.shape, sparse=True))
    index[axis] = _places(node, chosen, x.shape[axis])
    return tuple(index)


def _scattered(node: Node, x: Tensor, index: tuple[np.ndarray, ...], updates: Tensor) -> Tensor:
    reduction = node.get("reduction", "none")
    if reduction == "none":
        return x.at[index].set(updates)
    if reduction == "add":
        return x.at[index].add(updates)
    if reduction not in _REDUCTIONS:
        raise node.wrong(f"a reduction of none, add, {', '.join(_REDUCTIONS)}", reduction)
    if x.device != CPU:
        raise node.refuse(f"{node.op} with reduction={reduction!r} on the GPU")
    if x.requires_grad or updates.requires_grad:
        raise node.refuse(f"the gradient of {node.op} with reduction={reduction!r}")
    return _reduced_at(x, updates, index, _REDUCTIONS[reduction])


def non_zero(node: Node, x: Tensor) -> Tensor:
    """The indices of the elements that are not 0, one column each."""
    return cnp.asarray(np.stack(np.nonzero(host(x))) if x.ndim else np.zeros((0, int(host(x) != 0)), np.int64))


def compress(node: Node, x: Tensor, condition: Tensor) -> Tensor:
    """The entries along an axis, or of all elements, where a condition holds."""
    chosen = np.flatnonzero(host(condition))
    return cnp.take(x, cnp.asarray(chosen).to(x.device), node.get("axis"))


def one_hot(node: Node, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    """values[1] at the index along a new axis, values[0] elsewhere; an index out of range has no place."""
    from ..limits import expect_room

    count = int(host(depth).reshape(-1)[0])
    axis = node.get("axis", -1)
    axis = axis if axis >= 0 else axis + indices.ndim + 1
    expect_room(node, (*indices.shape, count), values.dtype)
    whole = indices.astype("int64")
    places = cnp.expand_dims(cnp.where(whole < 0, whole + count, whole), axis)
    numbers = np.arange(count).reshape([-1 if i == axis else 1 for i in range(indices.ndim + 1)])
    hot = places == cnp.asarray(numbers).to(indices.device)
    return cnp.where(hot, values[1], values[0])


def reverse_sequence(node: Node, x: Tensor, lengths: Tensor) -> Tensor:
    """The beginning of each sequence, of its own length, in reverse."""
    batch, time = node.get("batch_axis", 1), node.get("time_axis", 0)
    steps = np.arange(x.shape[time])
    ends = host(lengths)[:, None]
    order = np.where(steps < ends, ends - 1 - steps, steps)  # (batch, time)
    order = order if batch < time else order.T
    index: list[Any] = [np.arange(n).reshape([-1 if i == a else 1 for i in range(x.ndim)])
                        for a, n in enumerate(x.shape)]
    index[time] = order.reshape([n if i in (batch, time) else 1 for i, n in enumerate(x.shape)])
    return x[tuple(index)]


def grid_sample(node: Node, x: Tensor, grid: Tensor) -> Tensor:
    """Images read at the places of a grid, whose coordinates go from -1 to 1 over an image."""
    rank, size = x.ndim - 2, x.shape[2:]
    mode = node.get("mode", "linear")
    aligned = bool(node.get("align_corners", 0))
    padding = node.get("padding_mode", "zeros")
    places = []  # along each spatial axis; the grid's first coordinate is that of the last axis
    for a, n in enumerate(size):
        g = grid[..., rank - 1 - a]
        place = (g + 1) / 2 * (n - 1) if aligned else ((g + 1) * n - 1) / 2
        places.append(_within(place, n, padding, aligned) if mode not in ("cubic", "bicubic") else place)
    taps = [_taps(place, mode) for place in places]
    total: Any = 0
    batch = np.arange(x.shape[0]).reshape((-1,) + (1,) * rank)
    last = cnp.moveaxis(x, 1, -1)
    for combination in np.ndindex(*[len(t) for t in taps]):
        weight: Any = 1
        index = []
        for a, (i, n) in enumerate(zip(combination, size)):
            at, w = taps[a][i]
            if padding == "zeros":
                w = w * ((at >= 0) & (at < n)).astype(w.dtype)
            else:
                at = cnp.rint(_within(at, n, padding, aligned))
            index.append(cnp.clip(at, 0, n - 1).numpy().astype(np.int64))
            weight = weight * w
        total = total + last[(batch, *index)] * cnp.expand_dims(weight, -1)
    return cnp.moveaxis(total, -1, 1).astype(x.dtype)


def _within(place: Tensor, n: int, padding: str, aligned: bool) -> Tensor:
    """Places outside of an image as places in it: at the border, or reflected at it."""
    if padding == "border":
        return cnp.clip(place, 0, n - 1)
    if padding == "reflection":
        low, high = (0.0, n - 1.0) if aligned else (-0.5, n - 0.5)
        span = high - low
        if span == 0:
            return place * 0
        folded = cnp.mod(place - low, 2 * span)
        return cnp.minimum(folded, 2 * span - folded) + low
    return place


def _taps(place: Tensor, mode: str) -> list[tuple[Tensor, Tensor]]:
    """The pixels that a place reads along an axis, with their weights."""
    if mode == "nearest":
        at = cnp.rint(place)
        return [(at, cnp.ones_like(at))]
    low = cnp.floor(place).detach()
    t = place - low
    if mode in ("linear", "bilinear"):
        return [(low, 1 - t), (low + 1, t)]
    a = -0.75

    def near(s: Tensor) -> Tensor:
        return ((a + 2) * s - (a + 3)) * s * s + 1

    def far(s: Tensor) -> Tensor:
        return ((a * s - 5 * a) * s + 8 * a) * s - 4 * a

    return [(low - 1, far(t + 1)), (low, near(t)), (low + 1, near(1 - t)), (low + 2, far(2 - t))]
