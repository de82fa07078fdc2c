"""Arithmetic of half types by the backend: one op that it runs with every function.

CuPy has no arithmetic for bfloat16; it computes the other dtypes by kernels of its own. On the CPU NumPy computes
float32 and float64 as fast as memory allows, and half types in 5 to 200 times as long as the kernels of backend "cpu".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backends import run as run_on_backend
from ..device import is_gpu_array
from ..dtypes import is_float, is_half
from ..op import Op
from ..settings import current_backend

if TYPE_CHECKING:
    from ..tensor import Tensor

LARGE = 1 << 12  # elements from which a kernel saves more time than the call of it takes, which is 4 us
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
    """`function` of half operands of one dtype, or of one and a Python number, which is rounded to its dtype, by the
    backend where its kernel is faster than NumPy, or CuPy has no such arithmetic.
    """
    def compute(a: Any, b: Any) -> Any:
        if type(a) in (float, int):
            if _has_kernel(b):
                return run_on_backend("binary", [b, None], (REVERSED.get(function, function), float(b.dtype.type(a))))
        elif type(b) in (float, int):
            if _has_kernel(a):
                return run_on_backend("binary", [a, None], (function, float(a.dtype.type(b))))
        elif (_has_kernel(a) or _has_kernel(b)) and getattr(a, "dtype", None) == getattr(b, "dtype", None):
            return run_on_backend("binary", [a, b], (function, None))
        return NotImplemented

    return compute


def cast_by_kernel(x: Any, dtype: np.dtype, source: np.dtype) -> Any:
    """A large array in a half type, or of one in another floating dtype, by backend "cpu": NumPy takes 2 to 5 times as
    long. ml_dtypes rounds float64 to bfloat16 twice, which the kernel does not; NumPy's bits are kept.
    """
    if not isinstance(x, np.ndarray) or x.size < LARGE or not (is_half(x.dtype) or is_half(dtype)):
        return NotImplemented
    if not is_float(x.dtype) or not is_float(dtype) or not x.flags.c_contiguous or current_backend() != "cpu":
        return NotImplemented
    if x.dtype == np.float64 and dtype != np.float16:
        return NotImplemented
    return run_on_backend("cast_all", [x], (dtype.name, False))[0]


def _has_kernel(x: Any) -> bool:
    """Whether x is bfloat16 on a GPU, or a large array of a half type where backend "cpu" computes."""
    if isinstance(x, np.ndarray):
        return x.size >= LARGE and is_half(x.dtype) and current_backend() == "cpu"
    return is_gpu_array(x) and is_half(x.dtype) and x.dtype != np.float16
