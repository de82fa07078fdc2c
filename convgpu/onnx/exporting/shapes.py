"""Ops that give elements another shape or order, join and select them."""

from __future__ import annotations

from typing import Any

import numpy as np

from .tracing import Call
from .writer import Value, Writer


def reshape(w: Writer, call: Call) -> None:
    """Another shape; the first axis is copied or follows from the others, so that a batch may have any size."""
    x, y = w.value(call.inputs[0]), call.outputs[0]
    for op, added in (("Unsqueeze", _added_ones(x.shape, y.shape)), ("Squeeze", _added_ones(y.shape, x.shape))):
        if added:
            w.result(y, w.node(op, [w.read(x), w.ints(added)]))
            return
    shape = list(y.shape)
    if x.ndim and y.ndim and y.size:
        shape[0] = 0 if x.shape[0] == y.shape[0] else -1
    w.result(y, w.node("Reshape", [w.read(x), w.ints(shape)]))


def _added_ones(few: tuple[int, ...], many: tuple[int, ...]) -> list[int]:
    """The places of the axes of size 1 that `many` has and `few` has not, if that is all in which they differ."""
    added, at = [], 0
    for i, n in enumerate(many):
        if at < len(few) and few[at] == n:
            at += 1
        elif n == 1:
            added.append(i)
        else:
            return []
    return added if at == len(few) else []


def transpose(w: Writer, call: Call) -> None:
    """The axes permuted; nothing is written until somebody reads them in an order that is not there."""
    x, y = w.value(call.inputs[0]), call.outputs[0]
    axes = call.statics["axes"] or tuple(range(x.ndim))[::-1]
    if x.array is not None:
        w.keep(y, Value(y.shape, y.dtype, x.array.transpose(axes), x.label))
        return
    value = Value(y.shape, y.dtype)
    value.names = {tuple([axes.index(a) for a in order]): name for order, name in x.names.items()}
    w.keep(y, value)


def broadcast_to(w: Writer, call: Call) -> None:
    """Repeated along new axes and axes of size 1."""
    x, y = w.value(call.inputs[0]), call.outputs[0]
    if x.shape == y.shape:
        w.result(y, w.read(x))
        return
    w.result(y, w.node("Expand", [w.read(x), w.ints(y.shape)]))


def concatenate(w: Writer, call: Call) -> None:
    """Joined along an axis."""
    values, y = [w.value(x) for x in call.inputs], call.outputs[0]
    order = next((v.order for v in values if v.array is None), values[0].order)
    names = [w.read(v, order, y.dtype) for v in values]
    w.result(y, w.node("Concat", names, axis=order.index(call.statics["axis"])), order)


def pad(w: Writer, call: Call) -> None:
    """With a number around it."""
    x, y = w.value(call.inputs[0]), call.outputs[0]
    order, widths = x.order, call.statics["widths"]
    pads = [*[widths[a][0] for a in order], *[widths[a][1] for a in order]]
    value = w.constant(np.asarray(call.statics["value"], y.dtype))
    w.result(y, w.node("Pad", [w.read(x, order), w.ints(pads), value]), order)


def flip(w: Writer, call: Call) -> None:
    """Axes in reverse."""
    x, y = w.value(call.inputs[0]), call.outputs[0]
    axis = call.statics["axis"]
    given = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = [a % x.ndim for a in given]
    names = [w.read(x), w.ints([-1] * len(axes)), w.ints([-(2**62)] * len(axes)), w.ints(axes),
             w.ints([-1] * len(axes))]
    w.result(y, w.node("Slice", names))


def triangle(upper: int) -> Any:
    """The upper or lower triangle."""
    def emit(w: Writer, call: Call) -> None:
        k = w.constant(np.asarray(call.statics["k"], np.int64))
        w.result(call.outputs[0], w.node("Trilu", [w.read(w.value(call.inputs[0])), k], upper=upper))

    return emit


def getitem(w: Writer, call: Call) -> None:
    """x[index] of slices, integers, None and at most one array of integers."""
    x, y = w.value(call.inputs[0]), call.outputs[0]
    parts = _expanded(call.statics["index"], x.ndim)
    arrays = [i for i in parts if hasattr(i, "dtype")]
    if len(arrays) > 1 or any([i.dtype == bool for i in arrays]) or arrays and None in [
            None if i is None else 0 for i in parts]:
        raise NotImplementedError("convgpu.onnx.export: an index of several arrays, or of a mask, is not implemented")
    name, axis, slices = w.read(x), 0, []
    dropped: list[int] = []
    added: list[int] = []
    gathered = None
    for place, part in enumerate(parts):
        if part is None:
            added.append(place - len(dropped))
            continue
        if isinstance(part, slice):
            start, stop, step = part.start, part.stop, 1 if part.step is None else part.step
            if (start, stop, step) != (None, None, 1):
                slices.append((axis, *_ends(start, stop, step)))
        elif hasattr(part, "dtype"):
            gathered = axis, part
        else:
            slices.append((axis, part, 2**62 if part == -1 else part + 1, 1))
            dropped.append(axis)
        axis += 1
    if slices:
        axes, starts, stops, steps = zip(*slices)
        name = w.node("Slice", [name, w.ints(starts), w.ints(stops), w.ints(axes), w.ints(steps)])
    if gathered is not None:
        at, index = gathered
        name = w.node("Gather", [name, w.read(w.value(index))], axis=at)
        dropped = [d + index.ndim - 1 if d > at else d for d in dropped]
    if dropped:
        name = w.node("Squeeze", [name, w.ints(dropped)])
    if added:
        name = w.node("Unsqueeze", [name, w.ints(added)])
    w.result(y, name)


def _ends(start: int | None, stop: int | None, step: int) -> tuple[int, int, int]:
    first = (0 if step > 0 else -1) if start is None else start
    last = (2**62 if step > 0 else -(2**62)) if stop is None else stop
    return first, last, step


def _expanded(index: Any, rank: int) -> list[Any]:
    """The index with whole slices in the place of `...` and of what is left out."""
    parts = list(index) if isinstance(index, tuple) else [index]
    axes = len([i for i in parts if i is not None and i is not Ellipsis])
    whole = [slice(None)] * (rank - axes)
    places = [i for i, part in enumerate(parts) if part is Ellipsis]
    if places:
        return [*parts[:places[0]], *whole, *parts[places[0] + 1:]]
    return [*parts, *whole]
