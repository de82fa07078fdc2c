"""Nested dicts, lists and tuples of tensors, which hold parameters and states of optimizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def map(f: Callable[..., Any], tree: Any, *others: Any) -> Any:  # noqa: A001 - the usual name, as in jax.tree.map
    """The same structure with f applied to each leaf (and to the leaves of `others` at the same place).

    >>> map(lambda a, b: a + b, {"w": 1, "b": [2]}, {"w": 10, "b": [20]})
    {'w': 11, 'b': [22]}
    """
    if isinstance(tree, dict):
        for other in others:
            if not isinstance(other, dict) or other.keys() != tree.keys():
                got = sorted(other) if isinstance(other, dict) else type(other).__name__
                raise ValueError(f"tree: expected the keys {sorted(tree)}, got {got}")
        return {key: map(f, value, *[other[key] for other in others]) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        for other in others:
            if not isinstance(other, (list, tuple)) or len(other) != len(tree):
                raise ValueError(f"tree: expected a sequence of length {len(tree)}, got {other!r}")
        values = [map(f, *parts) for parts in zip(tree, *others)]
        return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)
    return f(tree, *others)


def leaves(tree: Any) -> list[Any]:
    """All leaves, in the order in which `map` visits them.

    >>> leaves({"w": 1, "b": [2, 3]})
    [1, 2, 3]
    """
    found: list[Any] = []
    map(found.append, tree)
    return found
