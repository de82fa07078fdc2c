"""`np` of what is borrowed from Keras's NumPy backend: convgpu.numpy, with the options that are passed there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as onp

import convgpu.numpy as cnp
from convgpu import Tensor
from convgpu.numpy import *  # noqa: F403
from convgpu.tensor import as_tensor


def _of_dtype(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function with the option `dtype`: of what its argument is converted to first."""
    def converted(x: Any, *args: Any, dtype: Any = None, **options: Any) -> Any:
        return function(x if dtype is None else cnp.astype(x, dtype), *args, **options)

    converted.__name__ = function.__name__
    return converted


log, log2, log10, log1p, sqrt = map(_of_dtype, (cnp.log, cnp.log2, cnp.log10, cnp.log1p, cnp.sqrt))  # type: ignore
cumsum, cumprod, prod, trace, var = map(_of_dtype, (cnp.cumsum, cnp.cumprod, cnp.prod, cnp.trace, cnp.var))  # type: ignore


def _with_initial(reduce: Callable[..., Any], choose: Callable[..., Any]) -> Callable[..., Any]:
    """max or min with the option `initial`, which the result does not go below or above; also that of nothing."""
    def reduced(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Tensor:
        x = as_tensor(x)
        if initial is None:
            return reduce(x, axis, keepdims=keepdims)
        if x.size == 0:
            shape = onp.max(onp.zeros(x.shape), axis, keepdims=keepdims, initial=0).shape
            return cnp.full(shape, initial, x.dtype)
        return choose(reduce(x, axis, keepdims=keepdims), cnp.asarray(initial, x.dtype))

    return reduced


max, min = _with_initial(cnp.max, cnp.maximum), _with_initial(cnp.min, cnp.minimum)  # noqa: A001 - NumPy's names


def __getattr__(name: str) -> Any:
    if name in ("generic", "issubdtype", "promote_types"):  # of dtypes, not of arrays
        return getattr(onp, name)
    return getattr(cnp, name)
