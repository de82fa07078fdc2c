"""Operators that make tensors from numbers."""

from __future__ import annotations

import math

import numpy as np

from ... import numpy as cnp
from ...tensor import Tensor
from ..image import host, ints
from ..limits import expect_room
from ..node import SUPPORTED, Node, array_of, dtype_of, type_name

_NUMBERS = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


def constant(node: Node) -> Tensor:
    """The tensor or the numbers that an attribute holds."""
    if "value" in node.attributes:
        return cnp.asarray(array_of(node.attributes["value"]))
    for name, dtype in _NUMBERS.items():
        if name in node.attributes:
            return cnp.asarray(np.array(node.attributes[name], dtype))
    raise node.refuse(f"a constant of {', '.join(node.attributes)}")


def constant_of_shape(node: Node, shape: Tensor) -> Tensor:
    """One number in a shape."""
    value = node.get("value")
    number = np.zeros((), np.float32) if value is None else array_of(value).reshape(-1)[0]
    sizes = tuple(ints(shape))
    expect_room(node, sizes, number.dtype)
    return cnp.asarray(np.full(sizes, number, number.dtype))


def eye_like(node: Node, x: Tensor) -> Tensor:
    """A matrix of x's shape with ones on a diagonal."""
    kind = node.get("dtype")
    if kind is not None and kind not in SUPPORTED:
        raise node.refuse(f"the element type {type_name(kind)}")
    rows, columns = x.shape
    return cnp.eye(rows, columns, node.get("k", 0), dtype=x.dtype if kind is None else dtype_of(kind)).to(x.device)


def numbers_of(node: Node, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    """start, start + delta, ... before the limit."""
    first, last, step = (host(t).item() for t in (start, limit, delta))
    if step == 0 or not all(map(math.isfinite, (first, last, step))):
        raise node.wrong("finite numbers and a step other than 0", (first, last, step))
    count = max(math.ceil((last - first) / step), 0)
    expect_room(node, (count,), start.dtype)
    numbers = np.arange(count) * step + first
    return cnp.asarray(numbers.astype(start.dtype))
