"""Helpers that compute half types in float32 and round once: in forward functions and in gradient rules."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import autograd
from ..dtypes import accumulator, is_float, is_half
from ..tensor import Tensor, as_tensor
from .elementwise import astype, unrounded, wide

__all__ = ["floating", "loss_dtype", "losses_in_float32", "note_losses", "unrounded", "wide", "widened"]


def floating(op: str, x: Any) -> Tensor:
    """x as a Tensor of a floating dtype: integers and booleans become float32."""
    x = as_tensor(x, op)
    return x if is_float(x.dtype) else astype(x, np.float32)


class _Losses(threading.local):
    in_float32 = False


_losses = _Losses()


@contextmanager
def losses_in_float32() -> Iterator[None]:
    """Losses of half types are float32 within the context, on this thread: `convgpu.mixed` asks for it."""
    before, _losses.in_float32 = _losses.in_float32, True
    try:
        yield
    finally:
        _losses.in_float32 = before


def note_losses() -> None:
    """Let the second run of a function of `remat` compute losses in the dtype of the first."""
    autograd.note(_losses, "in_float32")


def loss_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype of losses that are computed from `dtype`."""
    return accumulator(dtype) if _losses.in_float32 else dtype


def widened(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Make a forward function compute in float32 and round once, where its first operand is of a half type."""
    def run(x: Any, *rest: Any) -> Any:
        if not is_half(x.dtype):
            return forward(x, *rest)
        rest = tuple([r.astype(np.float32) if hasattr(r, "dtype") and is_half(r.dtype) else r for r in rest])
        return forward(x.astype(np.float32), *rest).astype(x.dtype)

    return run
