"""Reading models from files that nobody has to trust: sizes are compared before memory is taken, paths stay inside.

A tensor's data may lie in another file of the model's folder. Its name is refused if it is absolute, if it contains
"..", or if it leads through a symbolic link.
"""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from ..arguments import LARGEST
from .node import SUPPORTED, array_of, dtype_of, type_name

# What of a TensorProto holds its elements, by element type, where raw_data does not.
_FIELDS = {"FLOAT": "float_data", "DOUBLE": "double_data", "INT64": "int64_data", "UINT64": "uint64_data",
           "UINT32": "uint64_data"}


def read(source: Any) -> tuple[onnx.ModelProto, Path | None]:
    """The model of a path or a proto, and the folder in which its external data may lie."""
    if isinstance(source, onnx.ModelProto):
        return source, None
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"convgpu.onnx.load: expected a path or an onnx.ModelProto, got {type(source).__name__}")
    path = Path(source)
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except (DecodeError, RuntimeError) as error:
        raise ValueError(f"convgpu.onnx.load: expected an ONNX model, got a file that cannot be read as one or is "
                         f"truncated ({path}: {error})") from None
    return proto, path.parent


def array(tensor: onnx.TensorProto, folder: Path | None) -> np.ndarray:
    """The array of a tensor, after its dtype, its shape and the length of its data have been found to agree."""
    where = f"tensor {tensor.name!r}"
    if tensor.data_type not in SUPPORTED:
        kind = type_name(tensor.data_type)
        raise NotImplementedError(f"convgpu.onnx.load: the element type {kind} is not implemented, which {where} has")
    dims, dtype = tuple(tensor.dims), dtype_of(tensor.data_type)
    if min([0, *dims]) < 0 or math.prod([n or 1 for n in dims]) > LARGEST or len(dims) > 64:
        raise ValueError(f"convgpu.onnx.load: expected at most 64 sizes of at least 0 and at most 2^63 - 1 elements, "
                         f"got {dims} for {where}")
    if tensor.HasField("segment"):
        raise ValueError(f"convgpu.onnx.load: expected a whole tensor, got a segment of {where}")
    wanted = math.prod(dims) * dtype.itemsize
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return _external(tensor, folder, wanted).view(dtype).reshape(dims)
    if tensor.HasField("raw_data"):
        got = len(tensor.raw_data)
    else:
        field = _FIELDS.get(type_name(tensor.data_type), "int32_data")
        got = len(getattr(tensor, field)) * dtype.itemsize
    if got != wanted:
        raise ValueError(f"convgpu.onnx.load: expected {wanted} bytes for {dtype.name} of shape {dims}, got {got} in "
                         f"{where}")
    try:
        return array_of(tensor)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"convgpu.onnx.load: expected elements of {dtype.name}, got others in {where} ({error})"
                         ) from None


def _external(tensor: onnx.TensorProto, folder: Path | None, wanted: int) -> np.ndarray:
    where = f"tensor {tensor.name!r}"
    entries = {e.key: e.value for e in tensor.external_data}
    path = _inside(folder, entries.get("location", ""), where)
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", wanted))
    except ValueError:
        raise ValueError(f"convgpu.onnx.load: expected an offset and a length, got {entries} for {where}") from None
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if length != wanted or offset < 0 or offset + wanted > size:
            raise ValueError(f"convgpu.onnx.load: expected {wanted} bytes for {where}, got length={length} at "
                             f"offset={offset} of {size} bytes in {path.name!r}")
        file.seek(offset)
        return np.fromfile(file, np.uint8, wanted)


def _inside(folder: Path | None, location: str, where: str) -> Path:
    """The path of a file in the folder."""
    if folder is None:
        raise ValueError(f"convgpu.onnx.load: expected a path, since {where} is external data, got a proto, of which "
                         "no folder is known")
    parts = re.split(r"[\\/]", location)
    if not location or "\0" in location or os.path.isabs(location) or ":" in location or "" in parts or ".." in parts:
        raise ValueError(f"convgpu.onnx.load: expected external data in the model's folder, got {location!r} for "
                         f"{where}")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise ValueError(f"convgpu.onnx.load: expected external data that is no symbolic link, got {location!r} "
                             f"for {where}")
    if not path.is_file():
        raise ValueError(f"convgpu.onnx.load: expected a file {location!r} beside the model, for {where}; there is "
                         "none")
    return path
