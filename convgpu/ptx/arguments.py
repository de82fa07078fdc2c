"""Packs the arguments of a launch as CUDA does, and says which memory the kernel may touch."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .tensor_map import TensorMap


class Parameter(NamedTuple):
    """A parameter as the kernel declares it: its PTX type, where it lies, and its bytes."""

    name: str
    type: str
    offset: int
    size: int
    array: bool
    align: int


class Region(NamedTuple):
    """Memory that a kernel may touch."""

    begin: int
    size: int
    element: int
    name: str
    writable: bool


INTEGERS = {"u8": 1, "s8": 1, "b8": 1, "u16": 2, "s16": 2, "b16": 2, "u32": 4, "s32": 4, "b32": 4, "u64": 8, "s64": 8,
            "b64": 8}
FLOATS: dict[str, type] = {"f32": np.float32, "f64": np.float64, "f16": np.float16}


def pack(kernel: str, parameters: Sequence[Parameter], total: int,
         arguments: Sequence[Any]) -> tuple[bytes, list[Region]]:
    """Return the bytes of the parameters and the memory that they point to. Raises TypeError and ValueError."""
    if len(arguments) != len(parameters):
        raise TypeError(f"{kernel}: expected {len(parameters)} argument{'s' * (len(parameters) != 1)}, got "
                        f"{len(arguments)}")
    packed, regions = bytearray(total), []
    for index, (parameter, argument) in enumerate(zip(parameters, arguments)):
        where = f"{kernel}: argument {index}"
        if isinstance(argument, TensorMap):
            regions.append(_all_of(argument.array, f"argument {index}"))
            argument = argument.encoded
        if isinstance(argument, np.ndarray) and argument.ndim + (argument.dtype.kind != "V" or not parameter.array):
            regions += _region(where, f"argument {index}", parameter, argument)
            value = struct.pack("<Q", argument.ctypes.data)
        else:
            value = _value(where, parameter, argument)
        packed[parameter.offset:parameter.offset + parameter.size] = value
    return bytes(packed), _merged(regions)


def _region(where: str, name: str, parameter: Parameter, array: np.ndarray) -> list[Region]:
    if parameter.array or INTEGERS.get(parameter.type) != 8:
        raise TypeError(f"{where}: expected {_expected(parameter)}, got an array of {array.dtype}")
    if array.dtype.hasobject or not array.dtype.isnative:
        raise TypeError(f"{where}: expected an array of numbers in this machine's byte order, got {array.dtype}")
    if not array.flags.forc:
        raise ValueError(f"{where}: expected a contiguous array, got strides {array.strides} of shape {array.shape}")
    if not array.nbytes:
        return []
    return [Region(array.ctypes.data, array.nbytes, array.itemsize, name, array.flags.writeable)]


def _all_of(array: np.ndarray, name: str) -> Region:
    """The memory from the first to the last element of an array, whatever its strides."""
    size = array.itemsize + sum((n - 1) * stride for n, stride in zip(array.shape, array.strides))
    return Region(array.ctypes.data, size, array.itemsize, name, array.flags.writeable)


def _merged(regions: list[Region]) -> list[Region]:
    """Arrays that overlap are one region, since they are one memory."""
    merged: list[Region] = []
    for region in sorted(regions):
        if merged and region.begin < merged[-1].begin + merged[-1].size:
            last = merged.pop()
            end = max(last.begin + last.size, region.begin + region.size)
            region = last._replace(size=end - last.begin, writable=last.writable or region.writable)
        merged.append(region)
    return merged


def _expected(parameter: Parameter) -> str:
    if parameter.array:
        return f"{parameter.size} bytes, as a structured scalar or bytes"
    if parameter.type in FLOATS:
        return np.dtype(FLOATS[parameter.type]).name
    size = INTEGERS[parameter.type]
    return f"an integer of {8 * size} bits" + (" or an array" if size == 8 else "")


def _value(where: str, parameter: Parameter, argument: Any) -> bytes:
    got = f"{argument!r} of type {type(argument).__name__}"
    wrong = TypeError(f"{where}: expected {_expected(parameter)}, got {got}")
    if parameter.array:
        raw = argument.tobytes() if isinstance(argument, (np.generic, np.ndarray)) else argument
        if not isinstance(raw, (bytes, bytearray, memoryview)) or len(raw) != parameter.size:
            raise wrong
        return bytes(raw)
    if parameter.type in FLOATS:
        dtype = np.dtype(FLOATS[parameter.type])
        if isinstance(argument, np.generic) and argument.dtype != dtype:
            raise wrong
        if not isinstance(argument, (np.generic, float, int)):
            raise wrong
        return np.asarray(argument, dtype).tobytes()
    size = INTEGERS[parameter.type]
    if argument is None and size == 8:
        return bytes(8)  # a null pointer
    if isinstance(argument, np.generic):
        fits = argument.dtype.itemsize == size and (argument.dtype.kind in "iub" or parameter.type[0] == "b")
        if not fits:
            raise wrong
        return argument.tobytes()
    if not isinstance(argument, int):
        raise wrong
    if not -(1 << (8 * size - 1)) <= argument < 1 << 8 * size:
        raise ValueError(f"{where}: expected {_expected(parameter)}, got {argument}")
    return (argument % (1 << 8 * size)).to_bytes(size, "little")
