"""Operators that give elements another shape or order, join and cut tensors, and ask for sizes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import numpy as cnp
from ...tensor import Tensor
from ..image import Image, Value, host, ints, native, plain
from ..limits import expect_room
from ..node import Node


def reshape(node: Node, x: Tensor, shape: Tensor | None = None) -> Tensor:
    """The elements in another shape; 0 stands for the size that x has there, -1 for what is left."""
    sizes = ints(shape) if shape is not None else list(node.get("shape"))
    if not node.get("allowzero", 0):
        if any([n == 0 and i >= x.ndim for i, n in enumerate(sizes)]):
            raise node.wrong(f"a 0 in the shape only at one of the {x.ndim} axes of the input", sizes)
        copied = [i for i, n in enumerate(sizes) if n == 0]
        if x.size == 0 and -1 in sizes:  # of an empty batch, what is left follows from the axes that are not copied
            whole = math.prod([n for i, n in enumerate(x.shape) if i not in copied])
            known = math.prod([n for n in sizes if n > 0])
            sizes[sizes.index(-1)] = whole // known
        sizes = [x.shape[i] if i in copied else n for i, n in enumerate(sizes)]
    return x.reshape(tuple(sizes))


def channel_shuffle(node: Node, x: Value) -> Value:
    """The channels seen as (groups, channels of a group) and turned: three nodes of a graph (convgpu/onnx/fusing.py).
    """
    groups, first, last = (node.get(name) for name in ("groups", "first", "last"))
    if x.ndim != 4 or not _is_shape(first, (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])) or not _is_shape(
            last, x.shape):
        y = cnp.transpose(reshape(node, plain(x), cnp.asarray(first)), (0, 2, 1, 3, 4))
        return reshape(node, y, cnp.asarray(last))
    n, h, w, c = native(x).shape
    split = native(x).reshape(n, h, w, groups, c // groups)
    return Image(cnp.transpose(split, (0, 1, 2, 4, 3)).reshape(n, h, w, c))


def _is_shape(asked: list[int], shape: tuple[int, ...]) -> bool:
    """Whether a shape that Reshape asks for means this one."""
    return asked.count(-1) < 2 and all([a in (n, -1) or a == i == 0 for i, (a, n) in enumerate(zip(asked, shape))])


def flatten(node: Node, x: Tensor) -> Tensor:
    """A matrix whose rows are the axes before the given one."""
    axis = node.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def transpose(node: Node, x: Value) -> Value:
    """The axes permuted."""
    order = node.get("perm") or list(range(x.ndim))[::-1]
    if isinstance(x, Image) and order == [0, *range(2, x.ndim), 1]:  # the image lies in memory in this very order
        return x.native
    if not isinstance(x, Image) and x.ndim > 2 and order == [0, x.ndim - 1, *range(1, x.ndim - 1)]:
        return Image(x)
    return cnp.transpose(plain(x), tuple(order))


def _axes(node: Node, axes: Tensor | None) -> list[int] | None:
    return ints(axes) if axes is not None else node.get("axes")


def squeeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """x without axes of size 1."""
    given = _axes(node, axes)
    return cnp.squeeze(x, None if given is None else tuple(given))


def unsqueeze(node: Node, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """x with axes of size 1 at the given places of the result."""
    given = _axes(node, axes) or []
    rank = x.ndim + len(given)
    if not all([-rank <= a < rank for a in given]):
        raise node.wrong(f"axes of {rank} axes", given)
    sizes = list(x.shape)
    for a in sorted([a % rank for a in given]):
        sizes.insert(a, 1)
    return x.reshape(tuple(sizes))


def concat(node: Node, *xs: Value) -> Value:
    """Tensors joined along an axis."""
    axis, rank = node.get("axis", 1), xs[0].ndim
    if not -rank <= axis < rank:
        raise node.wrong(f"an axis of {rank} axes", axis)
    if any([isinstance(x, Image) for x in xs]):
        place = axis % rank
        last = 0 if place == 0 else rank - 1 if place == 1 else place - 1
        return Image(cnp.concatenate([native(x) for x in xs], last))
    return cnp.concatenate(list(xs), axis)


def split(node: Node, x: Value, sizes: Tensor | None = None) -> tuple[Value, ...]:
    """x cut along an axis, into parts of given sizes or as equal as possible."""
    axis = node.get("axis", 0) % x.ndim
    lengths = ints(sizes) if sizes is not None else node.get("split")
    if lengths is None:
        count = node.get("num_outputs") or len(node.outputs)
        each = -(-x.shape[axis] // count)
        lengths = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    if sum(lengths) != x.shape[axis] or min([0, *lengths]) < 0 or len(lengths) < len(node.outputs):
        raise node.wrong(f"{len(node.outputs)} sizes that add up to {x.shape[axis]}", lengths)
    edges = [0, *np.cumsum(lengths).tolist()]
    if isinstance(x, Image):
        place = 0 if axis == 0 else x.ndim - 1 if axis == 1 else axis - 1
        return tuple([Image(x.native[(slice(None),) * place + (slice(a, b),)]) for a, b in zip(edges, edges[1:])])
    return tuple([x[(slice(None),) * axis + (slice(a, b),)] for a, b in zip(edges, edges[1:])])


def slice_of(node: Node, x: Tensor, starts: Tensor | None = None, ends: Tensor | None = None,
             axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    """A part of x, given along each axis by its start, its end and its step."""
    first, last = (ints(t) if t is not None else list(node.get(name))
                   for t, name in ((starts, "starts"), (ends, "ends")))
    along = _axes(node, axes) or list(range(len(first)))
    by = ints(steps) if steps is not None else [1] * len(first)
    parts = [slice(None)] * x.ndim
    for start, end, axis, step in zip(first, last, along, by):
        n = x.shape[axis]
        if step == 0:
            raise node.wrong("steps other than 0", by)
        beyond = step < 0 and end < -n  # the element at index 0 belongs to the part
        parts[axis] = slice(start, None if beyond else end, step)
    return x[tuple(parts)]


def shape(node: Node, x: Value) -> Tensor:
    """The sizes of x, as integers on the host."""
    return cnp.asarray(np.array(x.shape[slice(node.get("start", 0), node.get("end"))], np.int64))


def size(node: Node, x: Value) -> Tensor:
    """The number of elements."""
    return cnp.asarray(np.asarray(math.prod(x.shape), np.int64))


def expand(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    """x repeated along new axes and axes of size 1."""
    wanted = np.broadcast_shapes(x.shape, tuple(ints(shape)))
    expect_room(node, wanted, x.dtype)
    return cnp.broadcast_to(x, wanted)


def tile(node: Node, x: Tensor, repeats: Tensor) -> Tensor:
    """x repeated along its axes."""
    counts = ints(repeats)
    if len(counts) != x.ndim or min([0, *counts]) < 0:
        raise node.wrong(f"{x.ndim} repeats of at least 0", counts)
    expect_room(node, [n * k for n, k in zip(x.shape, counts)], x.dtype)
    return cnp.tile(x, tuple(counts))


def pad(node: Node, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None,
        axes: Tensor | None = None) -> Tensor:
    """x with elements added around it, or taken away where a number is negative."""
    numbers = ints(pads) if pads is not None else list(node.get("pads"))
    along = ints(axes) if axes is not None else list(range(x.ndim))
    if len(numbers) != 2 * len(along):
        raise node.wrong(f"{2 * len(along)} pads", numbers)
    widths = [(0, 0)] * x.ndim
    for a, before, after in zip(along, numbers[:len(along)], numbers[len(along):]):
        widths[a] = before, after
    if min(numbers, default=0) < 0:
        x = x[tuple([slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(widths, x.shape)])]
        widths = [(max(a, 0), max(b, 0)) for a, b in widths]
    expect_room(node, [n + a + b for n, (a, b) in zip(x.shape, widths)], x.dtype)
    mode = node.get("mode", "constant")
    if mode == "constant":
        fill = host(value).reshape(-1)[0].item() if value is not None and value.size else node.get("value", 0)
        return cnp.pad(x, widths, constant_values=fill)
    return cnp.pad(x, widths, mode)


def depth_to_space(node: Node, x: Tensor) -> Tensor:
    """Blocks of channels as squares of pixels."""
    b, (n, c, h, w) = node.get("blocksize"), x.shape
    if node.get("mode", "DCR") == "DCR":
        return x.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)
    return x.reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3).reshape(n, c // b**2, h * b, w * b)


def space_to_depth(node: Node, x: Tensor) -> Tensor:
    """Squares of pixels as blocks of channels."""
    b, (n, c, h, w) = node.get("blocksize"), x.shape
    order = (0, 3, 5, 1, 2, 4) if node.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4)
    return x.reshape(n, c, h // b, b, w // b, b).transpose(*order).reshape(n, c * b * b, h // b, w // b)


def center_crop_pad(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    """x cropped or padded to a size, around its centre."""
    axes = node.get("axes") or list(range(x.ndim))
    widths, parts = [(0, 0)] * x.ndim, [slice(None)] * x.ndim
    for n, a in zip(ints(shape), axes):
        a %= x.ndim
        more = n - x.shape[a]
        if more < 0:
            parts[a] = slice(-more // 2, -more // 2 + n)
        else:
            widths[a] = more // 2, more - more // 2
    expect_room(node, [n + a + b for n, (a, b) in zip(x.shape, widths)], x.dtype)
    return cnp.pad(x[tuple(parts)], widths)


def trilu(node: Node, x: Tensor, k: Tensor | None = None) -> Tensor:
    """The upper or the lower triangle of every matrix."""
    triangle: Any = cnp.triu if node.get("upper", 1) else cnp.tril
    return triangle(x, 0 if k is None else int(host(k).item()))
