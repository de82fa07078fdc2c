"""Helpers that compute half types in float32 and round once: in forward functions and in gradient rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dtypes import is_float, is_half
from ..tensor import Tensor, as_tensor
from .elementwise import astype, wide

__all__ = ["floating", "wide", "widened"]


def floating(op: str, x: Any) -> Tensor:
    """x as a Tensor of a floating dtype: integers and booleans become float32."""
    x = as_tensor(x, op)
    return x if is_float(x.dtype) else astype(x, np.float32)


def widened(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Make a forward function compute in float32 and round once, where its first operand is of a half type."""
    def run(x: Any, *rest: Any) -> Any:
        if not is_half(x.dtype):
            return forward(x, *rest)
        rest = tuple([r.astype(np.float32) if hasattr(r, "dtype") and is_half(r.dtype) else r for r in rest])
        return forward(x.astype(np.float32), *rest).astype(x.dtype)

    return run
