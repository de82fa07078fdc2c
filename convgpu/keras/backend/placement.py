"""The device on which Keras makes new tensors and variables."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from convgpu.device import parse_device
from convgpu.info import choose_device, gpu_obstacle


class _Local(threading.local):
    device: str | None = None  # the device of the innermost device_scope


_local = _Local()


@contextlib.contextmanager
def device_scope(device_name: str) -> Iterator[None]:
    """`keras.device`: create new tensors and variables on "cpu:0" or "gpu:0"."""
    before, _local.device = _local.device, choose_device(parse_device(device_name))[0]
    try:
        yield
    finally:
        _local.device = before


def current_device() -> str:
    """The device of new tensors: that of the scope, else the GPU if a usable one exists, else the CPU."""
    return _local.device or _default_device()


_default: list[str] = []


def _default_device() -> str:
    if not _default:
        _default.append("cpu" if gpu_obstacle() else "gpu")
    return _default[0]
