"""What an argument may be: axes, integers, numbers, shapes. An error says the rule, what was expected and what came."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

LARGEST = 2**63 - 1  # what NumPy and the kernels hold sizes and indices in


def integer(op: str, name: str, value: Any, least: int = -LARGEST - 1, most: int = LARGEST) -> int:
    """`value` as an integer from `least` to `most`; booleans, floats and strings are none."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        found = operator.index(value)
    except (TypeError, ValueError):
        raise TypeError(f"{op}: expected {name} to be an integer, got {value!r:.80}") from None
    if not least <= found <= most:
        rule = f"{name} >= {least}" if found < least else f"{name} <= {most}"
        raise ValueError(f"{op}: expected {rule}, got {value!r:.80}")
    return found


def number(op: str, name: str, value: Any) -> float:
    """`value` as a Python float; of tensors and arrays, those of one element."""
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{op}: expected {name} to be a number, got {value!r:.80}") from None
    except OverflowError:
        raise ValueError(f"{op}: expected {name} to be a number that float64 can hold, got {value!r:.80}") from None


def axis_index(op: str, axis: Any, ndim: int, name: str = "axis") -> int:
    """`axis` as a non-negative number.

    >>> axis_index("sum", -1, 3)
    2
    """
    found = integer(op, name, axis)
    if not -ndim <= found < ndim:
        got = f"got {axis} for an array without axes" if ndim == 0 else f"got {axis}"
        raise ValueError(f"{op}: expected {name} in [{-ndim}, {ndim}), {got}")
    return found % ndim


def axis_tuple(op: str, axis: Any, ndim: int, name: str = "axis") -> tuple[int, ...]:
    """`axis`, one or a sequence of them, as non-negative numbers in the order given, each once."""
    given = axis if isinstance(axis, (tuple, list, range)) else (axis,)
    axes = tuple([axis_index(op, a, ndim, name) for a in given])
    if len(set(axes)) < len(axes):
        raise ValueError(f"{op}: expected no axis twice, got {name}={axis} for {ndim} axes")
    return axes


def shape_of(op: str, shape: Any, name: str = "shape", least: int = 0) -> tuple[int, ...]:
    """A shape given as an integer or a sequence of them: at most 64 axes, and as many elements as an index holds."""
    if isinstance(shape, np.ndarray) and shape.ndim == 1:
        shape = shape.tolist()
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    found = tuple([integer(op, f"{name} to hold sizes, each" if least < 0 else f"sizes in {name}", n, least)
                   for n in sizes])
    if len(found) > 64:
        raise ValueError(f"{op}: expected {name} of at most 64 axes, got {len(found)}")
    if math.prod(found) > LARGEST:
        raise ValueError(f"{op}: expected {name} of at most 2^63 - 1 elements, got {found}")
    return found
