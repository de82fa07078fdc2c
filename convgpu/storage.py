"""Tensors in files: nested dicts, lists and tuples as .safetensors, and other programs' weights.

    convgpu.save("run.safetensors", {"params": params, "optimizer": optimizer.state_dict()}, {"epoch": 3})
    saved = convgpu.load("run.safetensors")

The file is an ordinary .safetensors file: arrays under dotted names ("params.conv1.w"), which any program reads. The
structure, the numbers, and the metadata are JSON in one entry of the header. Nothing is ever unpickled, and the sizes
of a file that a stranger may have made are checked before an array is allocated. The package safetensors reads and
writes the arrays.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .device import CPU, move, parse_device
from .dtypes import as_dtype, is_float
from .extras import require
from .files import replacing
from .tensor import Tensor, wrap

LONGEST_HEADER = 16 << 20  # bytes; the names of ten thousand arrays need one megabyte
DEEPEST = 100  # levels of dicts, lists and tuples
ENTRY = "convgpu"  # of the header's metadata: what `save` writes
PYTORCH = (".pth", ".pt")
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "BOOL": "bool",
           **{f"{'I' if kind == 'int' else 'U'}{bits}": f"{kind}{bits}" for kind in ("int", "uint")
              for bits in (8, 16, 32, 64)}}
_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}  # what JSON has no number for


class Spec(NamedTuple):
    """A file's description of an array. dtype: the name that safetensors gives it."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{_DTYPES.get(self.dtype, self.dtype)} of {self.shape}"


def save(path: str | Path, tree: Any, metadata: dict[str, Any] | None = None) -> None:
    """Write tensors, arrays and numbers in nested dicts, lists and tuples to a .safetensors file.

    Args:
        path: the file. It is replaced as a whole: after an error, the file of before is there, and nothing else.
        tree: Tensors of either device, NumPy arrays, Python numbers, strings and None. Keys are strings or integers.
            For an optimizer or a generator, give its `state_dict()`.
        metadata: a dict of JSON values, which `load_metadata` returns.

    Raises:
        TypeError: a leaf, a key or a value of another type. OSError: the file cannot be written.
        ImportError: the package safetensors is missing.

    >>> import os, tempfile
    >>> from convgpu import tensor
    >>> path = os.path.join(tempfile.mkdtemp(), "w.safetensors")
    >>> save(path, {"w": tensor([1.0, 2.0]), "shape": (28, 28)}, {"epoch": 3})
    >>> load(path)
    {'w': Tensor([1., 2.], dtype=float32), 'shape': (28, 28)}
    >>> load_metadata(path)
    {'epoch': 3}
    """
    safetensors = require("safetensors.numpy", "save")
    arrays: dict[str, np.ndarray] = {}
    described: dict[str, Any] = {"tree": _described(tree, (), arrays)}
    if metadata is not None:
        if not isinstance(metadata, dict) or not all(isinstance(key, str) for key in metadata):
            raise TypeError(f"save: expected metadata to be a dict with strings as keys, got {metadata!r:.60}")
        described["metadata"] = metadata
    try:
        entry = json.dumps(described)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"save: expected metadata of JSON's values ({error})") from error
    if len(entry) > LONGEST_HEADER // 2:
        raise ValueError(f"save: expected at most {LONGEST_HEADER // 2} bytes of names, numbers and metadata, "
                         f"got {len(entry)}")
    with replacing(path) as place:
        try:
            safetensors.save_file(arrays, place, {ENTRY: entry})
        except require("safetensors", "save").SafetensorError as error:  # it has the number of the OSError in its text
            number = re.search(r"os error (\d+)", str(error))
            code = int(number[1]) if number else errno.EIO
            raise OSError(code, os.strerror(code) if number else str(error), str(path)) from error


def load(path: str | Path, *, device: str | None = None, like: Any = None) -> Any:
    """What `save` has written, in the same structure; or the weights of another program under their names.

    Args:
        path: a .safetensors file, or weights of PyTorch (.pth or .pt, which the package torch reads).
        device: where the Tensors shall be, "cpu" (also for None) or "gpu". NumPy arrays stay NumPy arrays.
        like: nested dicts, lists and tuples of Tensors or arrays; the file must have the same structure, shapes and
            dtypes. This is checked before an array is read.

    The file is mapped into memory, and each array is copied from there once. A file of another program is a dict from
    names to Tensors. Tensors do not require gradients.

    Raises:
        FileNotFoundError: there is no such file. ValueError: it is damaged, of another kind, or unlike `like`.

    >>> import os, tempfile
    >>> from convgpu import tensor
    >>> path = os.path.join(tempfile.mkdtemp(), "w.safetensors")
    >>> save(path, [tensor([1.0, 2.0])])
    >>> load(path, like=[tensor([0.0, 0.0, 0.0])])
    Traceback (most recent call last):
    ValueError: load: expected float32 of (3,) at [0], got float32 of (2,)
    """
    path, where = Path(path), CPU if device is None else parse_device(device)
    if path.suffix.lower() in PYTORCH:
        return _of_pytorch(path, where, like)
    specs, structure, _ = _opened(path)
    if like is not None:
        _compare(like, structure, specs, "")
    return _restored(structure, read(path, specs), where)


def load_metadata(path: str | Path) -> dict[str, Any]:
    """The metadata that `save` was given; of a file of another program, its strings. No array is read.

    Raises:
        FileNotFoundError: there is no such file. ValueError: it is damaged or of another kind.
    """
    return _opened(Path(path))[2]


def describe(path: Path) -> tuple[dict[str, Spec], dict[str, Any]]:
    """The specs of a file's arrays under their dotted names, and its metadata. No array is read.

    Raises:
        FileNotFoundError: there is no such file. ValueError: it is damaged or of another kind.
    """
    specs, _, metadata = _opened(path)
    return specs, metadata


def read(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Some arrays of a file, under their dotted names."""
    with require("safetensors", "load").safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in names}


def _opened(path: Path) -> tuple[dict[str, Spec], Any, dict[str, Any]]:
    """The specs of a file's arrays, the structure in which they stand, and the metadata."""
    safetensors = require("safetensors", "load")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        _check_header(path)
        with safetensors.safe_open(path, framework="np") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}
            specs = {name: Spec(tuple(part.get_shape()), part.get_dtype()) for name, part in parts.items()}
            strings = file.metadata() or {}
        if ENTRY not in strings:
            return specs, ["dict", [[name, ["tensor", name]] for name in specs]], {
                key: _parsed(value) for key, value in strings.items()}
        described = json.loads(strings[ENTRY])
        if not isinstance(described, dict) or not isinstance(described.get("metadata", {}), dict):
            raise ValueError("its structure is not one that convgpu has written")
        _check_structure(described.get("tree"), specs, 0)
        return specs, described["tree"], described.get("metadata", {})
    except RecursionError:
        raise ValueError(f"{path}: expected weights of convgpu, got metadata that are nested too deep") from None
    except (safetensors.SafetensorError, ValueError) as error:
        raise ValueError(f"{path}: expected weights of convgpu, got others or a damaged file ({error})") from error


def _parsed(text: str) -> Any:
    """The value of a JSON text; any other text stands for itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _check_header(path: Path) -> None:
    """Raise ValueError for a header longer than the file or than any header of ours, since it is parsed as a whole."""
    with path.open("rb") as file:
        length, room = int.from_bytes(file.read(8), "little"), path.stat().st_size - 8
    if not 2 <= length <= min(room, LONGEST_HEADER):
        raise ValueError(f"expected a header of 2 to {max(min(room, LONGEST_HEADER), 2)} bytes, got {length}")


def _described(tree: Any, keys: tuple[Any, ...], arrays: dict[str, np.ndarray]) -> list[Any]:
    """A node of the structure: its kind and what is in it. Arrays are put into `arrays` under their dotted names."""
    if len(keys) > DEEPEST:
        raise ValueError(f"save: expected at most {DEEPEST} levels of dicts, lists and tuples, got more")
    kind = type(tree)
    if kind is dict:
        wrong = [key for key in tree if type(key) not in (str, int)]
        if wrong:
            raise TypeError(f"save: expected strings or integers as keys, got {wrong[0]!r:.60}{_at(_path(keys))}")
        return ["dict", [[key, _described(value, (*keys, key), arrays)] for key, value in tree.items()]]
    if kind in (list, tuple):
        return [kind.__name__, [_described(value, (*keys, i), arrays) for i, value in enumerate(tree)]]
    if isinstance(tree, (Tensor, np.ndarray)):
        name = _new_name(".".join(map(str, keys)) or "tensor", arrays)
        arrays[name] = _storable(tree, _at(_path(keys)))
        return ["tensor" if isinstance(tree, Tensor) else "array", name]
    if kind is float and not math.isfinite(tree):
        return ["float", str(tree)]
    if kind in (bool, int, float, str) or tree is None:
        return ["value", tree]
    hint = "; save what its state_dict() returns" if hasattr(tree, "state_dict") else ""
    raise TypeError("save: expected tensors, NumPy arrays, numbers, strings and None in dicts, lists and tuples, "
                    f"got {kind.__name__}{_at(_path(keys))}{hint}")


def _new_name(name: str, arrays: dict[str, np.ndarray]) -> str:
    """The name, or where it is taken, as {"a.b": x, "a": {"b": y}} has it twice, the name and a number."""
    chosen, number = name, 1
    while chosen in arrays or chosen == "__metadata__":
        number += 1
        chosen = f"{name}#{number}"
    return chosen


def _storable(leaf: Any, where: str) -> np.ndarray:
    """The array of a leaf in host memory, in C order and in this machine's order of bytes."""
    array = leaf.numpy() if isinstance(leaf, Tensor) else leaf
    if array.dtype.kind not in "biuf" and not is_float(array.dtype):
        raise TypeError(f"save: expected an array of real numbers or bool, got {array.dtype}{where}")
    return np.require(array, None if array.dtype.isnative else array.dtype.newbyteorder("="), "C")


def _check_structure(node: Any, specs: dict[str, Spec], level: int) -> None:
    """Raise ValueError unless a node is one that `_described` makes, of arrays that are in the file."""
    if level > DEEPEST:
        raise ValueError("its structure is nested too deep")
    kind: Any = None
    content: Any = None
    if isinstance(node, list) and len(node) == 2:
        kind, content = node
    if kind in ("tensor", "array"):
        good = isinstance(content, str) and content in specs
    elif kind == "float":
        good = isinstance(content, str) and content in _NOT_FINITE
    elif kind == "value":
        good = content is None or isinstance(content, (bool, int, float, str))
    elif kind == "dict":
        good = isinstance(content, list) and all(
            isinstance(pair, list) and len(pair) == 2 and type(pair[0]) in (str, int) for pair in content)
    else:
        good = kind in ("list", "tuple") and isinstance(content, list)
    if not good:
        raise ValueError("its structure is not one that convgpu has written")
    if kind in ("dict", "list", "tuple"):
        for part in content:
            _check_structure(part[1] if kind == "dict" else part, specs, level + 1)


def _restored(node: Any, arrays: dict[str, np.ndarray], device: str) -> Any:
    kind, content = node
    if kind == "dict":
        return {key: _restored(value, arrays, device) for key, value in content}
    if kind in ("list", "tuple"):
        values = [_restored(value, arrays, device) for value in content]
        return tuple(values) if kind == "tuple" else values
    if kind == "tensor":
        return wrap(move(arrays[content], device))
    if kind == "array":
        return arrays[content]
    return _NOT_FINITE[content] if kind == "float" else content


def _compare(like: Any, node: Any, specs: dict[str, Spec], where: str) -> None:
    """Raise ValueError unless the structure has the dicts, lists, tuples, shapes and dtypes of `like`."""
    kind, content = node
    if isinstance(like, dict):
        if kind != "dict" or {key for key, _ in content} != like.keys():
            got = sorted(str(key) for key, _ in content) if kind == "dict" else f"a {kind}"
            raise ValueError(f"load: expected the keys {sorted(map(str, like))}{_at(where)}, got {got}")
        for key, value in content:
            _compare(like[key], value, specs, f"{where}[{key!r}]")
    elif isinstance(like, (list, tuple)):
        if kind != type(like).__name__ or len(content) != len(like):
            got = f"a {kind}" + (f" of {len(content)}" if kind in ("list", "tuple", "dict") else "")
            raise ValueError(f"load: expected a {type(like).__name__} of {len(like)}{_at(where)}, got {got}")
        for i, (part, value) in enumerate(zip(like, content)):
            _compare(part, value, specs, f"{where}[{i}]")
    elif hasattr(like, "shape") and hasattr(like, "dtype"):
        wanted = f"{np.dtype(like.dtype).name} of {tuple(like.shape)}"
        got = str(specs[content]) if kind in ("tensor", "array") else f"a {kind}"
        if got != wanted:
            raise ValueError(f"load: expected {wanted}{_at(where)}, got {got}")
    elif kind not in ("value", "float"):
        raise ValueError(f"load: expected a value such as {like!r:.40}{_at(where)}, got a {kind}")


def _of_pytorch(path: Path, device: str, like: Any) -> Any:
    """The tensors of a file that torch.save has written; torch unpickles tensors and containers alone."""
    torch = require("torch", f"load of {PYTORCH[0]} files")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch names its kinds of errors nowhere; its own message is kept
        raise ValueError(f"{path}: expected weights that torch.load(weights_only=True) reads ({error})") from error
    arrays: dict[str, np.ndarray] = {}
    structure = _described(_without_torch(saved, torch), (), arrays)
    if like is not None:
        names = {name: kind for kind, name in _DTYPES.items()}
        _compare(like, structure, {name: Spec(array.shape, names[array.dtype.name]) for name, array in arrays.items()},
                 "")
    return _restored(structure, arrays, device)


def _without_torch(value: Any, torch: Any) -> Any:
    """The same dicts, lists and tuples, with Tensors of ours."""
    if isinstance(value, dict):
        return {key: _without_torch(part, torch) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_without_torch(part, torch) for part in value)
    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach().contiguous()
    if value.dtype == torch.bfloat16:
        return wrap(value.view(torch.int16).numpy().view(as_dtype("bfloat16")))
    return wrap(value.numpy())


def _path(keys: tuple[Any, ...]) -> str:
    return "".join(f"[{key!r}]" for key in keys)


def _at(path: str) -> str:
    return f" at {path}" if path else ""
