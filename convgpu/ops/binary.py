"""Arithmetic of bfloat16 on a GPU: one op that backends run with every function.

CuPy has no arithmetic for bfloat16. It computes the other dtypes by kernels of its own, and NumPy computes on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backends import run as run_on_backend
from ..dtypes import is_half
from ..op import Op

if TYPE_CHECKING:
    from ..tensor import Tensor

REVERSED = {"subtract": "reversed_subtract", "divide": "reversed_divide"}  # for a number before a tensor


def _gradients(g: Tensor, wanted: tuple[bool, ...], a: Tensor, b: Tensor | None, function: str, number: float | None,
               y: Tensor) -> list[Tensor | None]:
    """The gradients of the op that has the name of the function."""
    reverse = function.startswith("reversed_")
    names = "ba" if reverse else "ab"
    op = Op.registry[function.removeprefix("reversed_")]
    values = dict(zip(names, [a, number if b is None else b]), y=y)
    return [op.rules[name].function(g, *[values[n] for n in op.rules[name].needs]) if w else None
            for name, w in zip(names, wanted)]


op = Op("binary", "a, b=None; function, number=None -> y", broadcasts=True).vjp_jointly(_gradients)


def by_kernel(function: str) -> Callable[[Any, Any], Any]:
    """`function` of bfloat16 operands on the GPU, or of one and a Python number, which is rounded to bfloat16."""
    def compute(a: Any, b: Any) -> Any:
        if type(a) in (float, int) and _is_bfloat16(b):
            return run_on_backend("binary", [b, None], (REVERSED.get(function, function), float(b.dtype.type(a))))
        if type(b) in (float, int) and _is_bfloat16(a):
            return run_on_backend("binary", [a, None], (function, float(a.dtype.type(b))))
        if _is_bfloat16(a) and _is_bfloat16(b):
            return run_on_backend("binary", [a, b], (function, None))
        return NotImplemented

    return compute


def _is_bfloat16(x: Any) -> bool:
    return hasattr(x, "dtype") and is_half(x.dtype) and x.dtype != np.float16
