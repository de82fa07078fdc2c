"""How large what a file asks for may be."""

from __future__ import annotations

import functools
import math
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .node import Node

FOLDED = 1 << 30  # bytes of one result that is computed when a model is loaded, and not each time that it runs


class TooLargeError(ValueError):
    """A result is larger than what is allowed where it would be made."""


class _Limit(threading.local):
    bytes: int | None = None  # None stands for this machine's memory


_limit = _Limit()


@contextmanager
def at_most(count: int) -> Iterator[None]:
    """Allow results of so many bytes only."""
    before, _limit.bytes = _limit.bytes, count
    try:
        yield
    finally:
        _limit.bytes = before


@functools.cache
def memory() -> int:
    """The bytes of this machine's memory."""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 1 << 40


def expect_room(node: Node, shape: Sequence[int], dtype: Any) -> None:
    """Refuse a result that a few numbers of a file would make larger than the machine's memory."""
    if min([0, *shape]) < 0:
        raise node.wrong("sizes of at least 0", tuple(shape))
    most = memory() if _limit.bytes is None else _limit.bytes
    if math.prod(shape) * np.dtype(dtype).itemsize > most:
        raise TooLargeError(f"convgpu.onnx: expected a result of at most {most} bytes, got {np.dtype(dtype).name} of "
                            f"shape {tuple(shape)} at {node.where}")
