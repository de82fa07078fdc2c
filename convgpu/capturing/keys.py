"""Keys: for which arguments a graph serves, and the error where arguments keep changing.

A graph serves for one structure of the arguments, for the shapes, dtypes and devices of their tensors, and for the
values of everything else: a Python number is a constant of the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..device import device_of, is_gpu_array
from ..tensor import Tensor

_VALUES = (bool, int, float, complex, str, bytes, type(None))
_SHOWN = 4  # values of an argument that an error lists


class Part(NamedTuple):
    """One node of the arguments' tree: its place in words, and what of it a graph depends on."""

    place: str
    what: Any


class Arguments(NamedTuple):
    """Arguments taken apart: their nodes, their leaves with tensors, and objects that are known by their identity."""

    parts: list[Part]
    tensors: list[tuple[str, Any]]  # places, and Tensors or arrays, in the order of `tree.leaves`
    objects: list[Any]

    @property
    def key(self) -> tuple[Part, ...]:
        """What graphs are told apart by."""
        return tuple(self.parts)


def is_array(value: Any) -> bool:
    """Whether a leaf is an input of a graph, and no constant."""
    return isinstance(value, (Tensor, np.ndarray)) or is_gpu_array(value)


def taken_apart(named: Sequence[tuple[str, Any]]) -> Arguments:
    """Arguments by their names, taken apart."""
    found = Arguments([], [], [])
    for name, value in named:
        _take(name, value, found)
    return found


def _take(place: str, value: Any, found: Arguments) -> None:
    if isinstance(value, dict):
        found.parts.append(Part(place, ("dict", tuple([repr(key) for key in value]))))
        for key, part in value.items():
            _take(f"{place}[{key!r}]", part, found)
    elif isinstance(value, (list, tuple)):
        found.parts.append(Part(place, (type(value).__name__, len(value))))
        fields = getattr(value, "_fields", None)
        for i, part in enumerate(value):
            _take(f"{place}.{fields[i]}" if fields else f"{place}[{i}]", part, found)
    elif is_array(value):
        array = value.array if isinstance(value, Tensor) else value
        wants = isinstance(value, Tensor) and value.requires_grad
        found.parts.append(Part(place, ("tensor", tuple(array.shape), np.dtype(array.dtype).name, device_of(array),
                                        wants)))
        found.tensors.append((place, value))
    elif isinstance(value, (*_VALUES, np.generic)):
        found.parts.append(Part(place, (type(value).__name__, repr(value))))
    else:
        found.parts.append(Part(place, (type(value).__name__, id(value))))
        found.objects.append(value)


def described(what: Any) -> str:
    """What a graph depends on at one place, in words."""
    kind, *rest = what
    if kind == "tensor":
        shape, dtype, device, _ = rest
        return f"{dtype} {shape} on the {device}"
    if kind == "dict":
        return f"a dict of {', '.join(rest[0])}"
    return str(rest[0]) if kind in [t.__name__ for t in _VALUES] else f"{kind} {rest[0]}"


def too_many(name: str, keys: Sequence[tuple[Part, ...]], limit: int) -> str:
    """The message of the error for too many graphs, which names the argument that has changed most often."""
    seen: dict[str, dict[Any, None]] = {}
    for key in keys:
        for part in key:
            seen.setdefault(part.place, {})[part.what] = None
    place = max(seen, key=lambda p: len(seen[p])) if seen else ""
    values = list(seen.get(place, {}))
    if len(values) < 2:
        return (f"capture of {name}: expected at most max_graphs={limit} graphs, got one more; the settings of the "
                "process or objects that the function changes differ from call to call")
    shown = ", ".join([described(v) for v in values[:_SHOWN]]) + (", ..." if len(values) > _SHOWN else "")
    number = values[-1][0] in ("int", "float", "bool")
    if values[-1][0] == "tensor":
        advice = "pad the last batch or leave it out (drop_last=True), or give a larger max_graphs"
    elif number:
        advice = "pass the number as a tensor, whose value may change from call to call"
    else:
        advice = "pass the same object each time"
    return (f"capture of {name}: expected at most max_graphs={limit} graphs, got one more, since argument {place} "
            f"keeps changing: {shown}; {advice}")
