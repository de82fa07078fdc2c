"""Sums and assignments for integer indices that name elements several times, on the GPU and in a fixed order.

CuPy's own functions for this task (bincount with weights, add.at, assignment) leave the order to the hardware, and the
order decides how a sum is rounded or which value stays. Here a stable sort first makes equal indices neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def _grouped(places: Any) -> tuple[Any, Any, Any]:
    """The order that makes equal places neighbours, the places in that order, and which are the last of equal places.
    """
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    is_last = np.ones_like(ordered, dtype=bool)
    is_last[:-1] = ordered[1:] != ordered[:-1]
    return order, ordered, is_last


def last_of_each(places: Any) -> Any:
    """The index of the last occurrence of each different value of a 1-D array."""
    order, _, is_last = _grouped(places)
    return order[is_last]


def sums_at(places: Any, values: Any, size: int) -> Any:
    """For each number i from 0 to size-1 the sum of values[j] over all j with places[j] == i.

    `places` is 1-D, and the first axis of `values` is as long. Places that are equal to `size` belong to no sum.
    """
    out = np.zeros_like(values, shape=(size + 1, *values.shape[1:]))
    named, sums = combined_at(np.add, places, values, size)
    out[named] = sums
    return out[:size]


def combined_at(combine: np.ufunc, places: Any, values: Any, size: int) -> tuple[Any, Any]:
    """Places, and for each of them the entries values[j] with places[j] equal to it, combined by an associative ufunc.

    Each place from 0 to size-1 that `places` contains is there once. All other entries have the place `size`, so that
    an array with one place more takes the results without a mask, for whose count the host would wait. For the same
    reason the number of rounds depends on sizes alone.
    """
    order, ordered, is_last = _grouped(places)
    results, reach = values[order], 1
    along = (-1,) + (1,) * (values.ndim - 1)
    while reach < len(ordered):
        # each entry is now the combination of up to 2 * reach equals before it
        equal, later = ordered[reach:] == ordered[:-reach], results[reach:]
        results[reach:] = np.where(equal.reshape(along), combine(results[:-reach], later), later)
        reach *= 2
    return np.where(is_last, ordered, ordered.dtype.type(size)), results
