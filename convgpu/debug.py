"""What helps to find the cause of wrong values: `debug_nans` names the first op that makes NaN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from . import autograd
from .device import to_numpy
from .dtypes import is_float
from .tensor import Tensor


@contextmanager
def debug_nans() -> Iterator[None]:
    """A context manager within which an op whose result holds NaN raises FloatingPointError, in all threads.

    The error names the op, the shapes and dtypes of its inputs and of the result, and the inputs that hold NaN already;
    in a backward pass also the op whose gradient is computed. Every result is read, for which the host waits on a GPU.

    Raises:
        FloatingPointError: by the first op that makes NaN.

    >>> import convgpu as cg
    >>> with debug_nans():
    ...     cg.log(cg.tensor([1.0, -1.0]))
    Traceback (most recent call last):
    FloatingPointError: log: expected numbers, got NaN in the result float32 (2,), from x=float32 (2,) without NaN
    """
    before = autograd.set_watcher(_check)
    try:
        yield
    finally:
        autograd.set_watcher(before)


def _check(op: Any, inputs: tuple[Any, ...], outputs: tuple[Any, ...], _statics: tuple[Any, ...]) -> None:
    for y in outputs:
        if isinstance(y, Tensor) and _has_nan(y):
            names = op.inputs * len(inputs) if op.variadic else op.inputs
            given = ", ".join([f"{name}={_words(x)}" for name, x in zip(names, inputs) if x is not None])
            raise FloatingPointError(f"{op.name}: expected numbers, got NaN in the result {y.dtype} {y.shape}, from "
                                     f"{given}")


def _has_nan(x: Tensor) -> bool:
    return is_float(x.dtype) and bool(np.isnan(to_numpy(x.array)).any())


def _words(x: Any) -> str:
    if not isinstance(x, Tensor):
        return repr(x)
    return f"{x.dtype} {x.shape} {'with' if _has_nan(x) else 'without'} NaN"
