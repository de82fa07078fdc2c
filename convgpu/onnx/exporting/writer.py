"""Writes the nodes of an ONNX graph, and knows in which order of axes each value is at hand.

ONNX's convolutions want (N, C, spatial...), whatever the order here. A value is written in the order in which its op
gives it, and turned where another one is asked for; so between convolutions nothing is turned back and forth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

Order = tuple[int, ...]


def channels_first(rank: int) -> Order:
    """The order of axes that makes (N, C, spatial...) of (N, spatial..., C)."""
    return (0, rank - 1, *range(1, rank - 1))


def plain(rank: int) -> Order:
    """The order that leaves all axes where they are."""
    return tuple(range(rank))


class Value:
    """A tensor of the graph: its shape and dtype, and its name in each order of axes in which it is at hand."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype, array: np.ndarray | None = None, label: str = ""):
        self.shape, self.dtype = shape, dtype
        self.array, self.label = array, label  # of a constant: its values, and the name that it gets
        self.names: dict[Order, str] = {}
        self.source: Any = None  # what a statistic was taken of

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def order(self) -> Order:
        """The order in which the value was written; a constant has any."""
        return next(iter(self.names), plain(self.ndim))


class Writer:
    """A graph that grows."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.values: dict[int, Value] = {}  # by the identity of the array
        self.kept: list[Any] = []  # arrays, so that identities stay theirs
        self._numbers: dict[tuple[Any, ...], str] = {}
        self._taken: dict[str, int] = {}

    # --- names and nodes

    def name(self, label: str) -> str:
        """A name that nothing has yet."""
        count = self._taken.get(label, -1) + 1
        self._taken[label] = count
        return label if not count else self.name(f"{label}_{count}")

    def node(self, op: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Write a node with one output, and return the output's name."""
        return self.nodes_of(op, inputs, 1, **attributes)[0]

    def nodes_of(self, op: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """Write a node, and return the names of its outputs."""
        names = [self.name(op.lower()) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, name=names[0], **attributes))
        return names

    def constant(self, array: Any, label: str = "constant") -> str:
        """The name of an initializer; equal small ones are one."""
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        key = (label, array.dtype.str, array.shape, array.tobytes()) if array.size <= 256 else None
        if key is not None and key in self._numbers:
            return self._numbers[key]
        name = self.name(label)
        self.initializers.append(numpy_helper.from_array(array, name))
        if key is not None:
            self._numbers[key] = name
        return name

    def ints(self, numbers: Sequence[int]) -> str:
        """The name of a constant list of integers."""
        return self.constant(np.array(numbers, np.int64).reshape(-1))

    # --- values

    def value(self, array: Any, dtype: np.dtype | None = None) -> Value:
        """The value that an array is; an array that no op has made is a constant. Numbers get the dtype."""
        if not hasattr(array, "dtype"):
            return Value((), np.dtype(dtype), np.asarray(array, dtype), "constant")
        found = self.values.get(id(array))
        if found is None:
            found = self.keep(array, Value(array.shape, array.dtype, _host(array), "constant"))
        return found

    def keep(self, array: Any, value: Value) -> Value:
        """Remember that an array is a value."""
        self.values[id(array)] = value
        self.kept.append(array)
        return value

    def result(self, array: Any, name: str, order: Order | None = None) -> Value:
        """Remember that an array was written under a name, in an order of axes."""
        value = Value(array.shape, array.dtype)
        value.names[plain(value.ndim) if order is None else order] = name
        return self.keep(array, value)

    def read(self, value: Value, order: Order | None = None, dtype: np.dtype | None = None) -> str:
        """The name of a value in an order of axes, and in a dtype."""
        wanted = plain(value.ndim) if order is None else order
        if wanted not in value.names:
            if value.array is not None:
                value.names[wanted] = self.constant(value.array.transpose(wanted), value.label)
            else:
                there, name = next(iter(value.names.items()))
                value.names[wanted] = self.node("Transpose", [name], perm=[there.index(a) for a in wanted])
        name = value.names[wanted]
        if dtype is None or dtype == value.dtype:
            return name
        if value.array is not None:
            return self.constant(value.array.astype(dtype).transpose(wanted), value.label)
        return self.cast(name, dtype)

    def cast(self, name: str, dtype: np.dtype) -> str:
        """A value in another dtype."""
        return self.node("Cast", [name], to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def beside(self, value: Value, order: Order, dtype: np.dtype, rows: int = 0) -> str:
        """The name of an operand that broadcasts against values in this order of axes.

        Args:
            rows: the size that the first axis has in another operand, so that of a constant whose rows are equal, such
                as the first state of a recurrence, one is written; it serves batches of any size.
        """
        rank = len(order)
        if value.array is not None and value.ndim == rank and 1 < value.shape[0] == rows:
            first = value.array[:1]
            if np.array_equal(np.broadcast_to(first, value.shape), value.array):
                value = Value(first.shape, value.dtype, first, value.label)
        if value.ndim in (0, rank):
            return self.read(value, order if value.ndim else (), dtype)
        if order == plain(rank):
            return self.read(value, None, dtype)
        shape = (1,) * (rank - value.ndim) + value.shape
        if value.array is not None:
            return self.constant(value.array.astype(dtype).reshape(shape).transpose(order), value.label)
        name = self.node("Reshape", [self.read(value, None, dtype), self.ints(shape)])
        return self.node("Transpose", [name], perm=list(order))


def _host(array: Any) -> np.ndarray:
    return array if isinstance(array, np.ndarray) else array.get()
