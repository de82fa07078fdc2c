"""Elements that an integer index names several times, on the GPU: added, or overwritten, in a fixed order.

CuPy's own functions for this (bincount with weights, add.at, assignment) leave the order to the hardware, and with it
the rounding, or who stays. Here a stable sort makes neighbours of equals first.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def _grouped(places: Any) -> tuple[Any, Any, Any]:
    """The order that makes equal places neighbours, the places in it, and whether each is the last of its equals."""
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    is_last = np.ones_like(ordered, dtype=bool)
    is_last[:-1] = ordered[1:] != ordered[:-1]
    return order, ordered, is_last


def last_of_each(places: Any) -> Any:
    """Where each different value of a 1-D array stands for the last time."""
    order, _, is_last = _grouped(places)
    return order[is_last]


def sums_at(places: Any, values: Any, size: int) -> Any:
    """For each of 0 .. size-1 the sum of the values whose place it is; both 1-D."""
    order, ordered, is_last = _grouped(places)
    sums, reach, zero = values[order], 1, values.dtype.type(0)
    while reach < len(ordered) and bool((equal := ordered[reach:] == ordered[:-reach]).any()):
        sums[reach:] += np.where(equal, sums[:-reach], zero)  # each: of up to 2 * reach equals that end there
        reach *= 2
    out = np.zeros_like(values, shape=(size,))
    out[ordered[is_last]] = sums[is_last]
    return out
