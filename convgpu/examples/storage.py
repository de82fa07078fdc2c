"""Weights and checkpoints on disk: arrays as safetensors, other values as JSON in the file's metadata, never a pickle.

Every file is first written under another name and then moved to its place, so that files in the folder are whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..extras import require
from ..files import replace
from ..tensor import Tensor

LONGEST_HEADER = 16 << 20  # bytes; the history of a thousand epochs needs a tenth of a megabyte
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


class Spec(NamedTuple):
    """A file's description of an array. dtype: the name that safetensors gives it."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{_DTYPES.get(self.dtype, self.dtype)} of {self.shape}"


def save(path: Path, arrays: Any, **metadata: Any) -> None:
    """Write nested dicts of arrays or Tensors under dotted names ("conv1.w"); metadata values are stored as JSON."""
    safetensors = require("safetensors.numpy", "saving weights")
    flat = {name: np.ascontiguousarray(leaf.numpy() if isinstance(leaf, Tensor) else leaf)
            for name, leaf in flatten(arrays)}
    replace(path, _in_order(safetensors.save(flat, {key: json.dumps(value) for key, value in metadata.items()})))


def _in_order(file: bytes) -> bytes:
    """The same file with a sorted header: safetensors writes metadata in an order that changes from run to run."""
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.dumps(json.loads(file[8:end]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + file[end:]


def describe(path: Path) -> tuple[dict[str, Spec], dict[str, Any]]:
    """The specs of a file's arrays, and its metadata. No array is read, since a stranger may have made the file.

    Raises:
        ValueError: the file is damaged or of another kind.
    """
    safetensors = require("safetensors", "reading weights")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        _check_header(path)
        with safetensors.safe_open(path, framework="np") as file:
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            parts = {name: file.get_slice(name) for name in file.keys()}
            return {name: Spec(tuple(part.get_shape()), part.get_dtype()) for name, part in parts.items()}, metadata
    except RecursionError:
        raise ValueError(f"{path}: expected weights of convgpu, got metadata that are nested too deep") from None
    except (safetensors.SafetensorError, ValueError) as error:
        raise ValueError(f"{path}: expected weights of convgpu, got others or a damaged file ({error})") from error


def load(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """All arrays of a file under their dotted names, and its metadata; see `describe` for the errors."""
    specs, metadata = describe(path)
    return read(path, specs), metadata


def read(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Some arrays of a file, under their dotted names."""
    with require("safetensors", "reading weights").safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in names}


def _check_header(path: Path) -> None:
    """Raise ValueError for a header longer than the file or than any header of ours, since it is parsed as a whole."""
    with path.open("rb") as file:
        length, room = int.from_bytes(file.read(8), "little"), path.stat().st_size - 8
    if not 2 <= length <= min(room, LONGEST_HEADER):
        raise ValueError(f"expected a header of 2 to {max(min(room, LONGEST_HEADER), 2)} bytes, got {length}")


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
