"""What `convgpu train` and `convgpu predict` ask of files beyond `convgpu.save` and `convgpu.load`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..files import replace
from ..storage import Spec


def save_json(path: Path, value: Any) -> None:
    """Write a JSON file."""
    replace(path, (json.dumps(value, indent=2) + "\n").encode())


def flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A pair (dotted name, leaf) for every leaf of nested dicts.

    >>> dict(flatten({"conv1": {"w": 1, "b": 2}}))
    {'conv1.w': 1, 'conv1.b': 2}
    """
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def check(template: Any, specs: dict[str, Spec], where: Any, prefix: str = "") -> None:
    """Raise ValueError unless the file has exactly the arrays of `template`: nested dicts of shapes, all in float32."""
    for name, shape in flatten(template, prefix):
        if name not in specs:
            raise ValueError(f"{where}: expected an array {name!r} of shape {shape}, got none")
        if specs[name] != Spec(shape, "F32"):
            raise ValueError(f"{where}: expected {name!r} to be float32 of shape {shape}, got {specs[name]}")


def fill(template: Any, arrays: dict[str, np.ndarray], prefix: str = "") -> Any:
    """Nested dicts like `template`, filled with the arrays of the same dotted names."""
    return {key: fill(value, arrays, f"{prefix}{key}.") if isinstance(value, dict) else arrays[prefix + key]
            for key, value in template.items()}
