"""Weights and checkpoints on disk: safetensors for the arrays, JSON in its metadata for the rest; never a pickle.

Every file is written beside its place and then moved there, so that what lies in the folder is always whole.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..extras import require
from ..tensor import Tensor


def save(path: Path, arrays: Any, **metadata: Any) -> None:
    """Write nested dicts of arrays or Tensors under dotted names ("conv1.w"); metadata values are kept as JSON."""
    safetensors = require("safetensors.numpy", "saving weights")
    flat = {name: np.ascontiguousarray(leaf.numpy() if isinstance(leaf, Tensor) else leaf)
            for name, leaf in flatten(arrays)}
    beside = path.with_name(path.name + ".partial")
    beside.write_bytes(_in_order(safetensors.save(flat, {key: json.dumps(value) for key, value in metadata.items()})))
    os.replace(beside, path)


def _in_order(file: bytes) -> bytes:
    """The same file with its header sorted: safetensors writes metadata in an order that changes from run to run."""
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.dumps(json.loads(file[8:end]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + file[end:]


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a file under their dotted names, and its metadata."""
    safetensors = require("safetensors", "reading weights")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata
    except (safetensors.SafetensorError, ValueError) as error:
        raise ValueError(f"{path}: not a weights file that convgpu wrote, or a damaged one ({error})") from error


def save_json(path: Path, value: Any) -> None:
    """Write a JSON file."""
    beside = path.with_name(path.name + ".partial")
    beside.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(beside, path)


def flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, leaf) for every leaf of nested dicts.

    >>> dict(flatten({"conv1": {"w": 1, "b": 2}}))
    {'conv1.w': 1, 'conv1.b': 2}
    """
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def fill(template: Any, arrays: dict[str, np.ndarray], where: Any, prefix: str = "") -> Any:
    """The nested dicts of `template` with the arrays of their dotted names, which must have the template's shapes."""
    filled = {}
    for key, value in template.items():
        name = prefix + key
        if isinstance(value, dict):
            filled[key] = fill(value, arrays, where, name + ".")
        elif name not in arrays:
            raise ValueError(f"{where}: expected an array {name!r} of shape {value.shape}, got none")
        elif arrays[name].shape != value.shape or arrays[name].dtype != value.dtype:
            raise ValueError(f"{where}: expected {name!r} to be {value.dtype} of shape {value.shape}, "
                             f"got {arrays[name].dtype} of {arrays[name].shape}")
        else:
            filled[key] = arrays[name]
    return filled
