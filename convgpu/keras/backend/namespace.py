"""The `np` of functions borrowed from Keras's NumPy backend: convgpu.numpy, with options that these functions pass."""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable
from typing import Any

import numpy as onp

import convgpu as cg
import convgpu.numpy as cnp
from convgpu import Tensor
from convgpu.numpy import *  # noqa: F403
from convgpu.tensor import as_tensor

from .placement import current_device


def _of_dtype(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option `dtype` to a function: its argument is first converted to the dtype, and its result has it."""
    def converted(x: Any, *args: Any, dtype: Any = None, **options: Any) -> Any:
        if dtype is None:
            return function(x, *args, **options)
        return cnp.astype(function(cnp.astype(x, dtype), *args, **options), dtype)

    converted.__name__ = function.__name__
    return converted


log, log2, log10, log1p, sqrt = map(_of_dtype, (cnp.log, cnp.log2, cnp.log10, cnp.log1p, cnp.sqrt))  # type: ignore
trace, var = map(_of_dtype, (cnp.trace, cnp.var))  # type: ignore
nancumprod, nancumsum, nanprod, nanstd, nanvar = map(  # type: ignore
    _of_dtype, (cnp.nancumprod, cnp.nancumsum, cnp.nanprod, cnp.nanstd, cnp.nanvar))


# --- new tensors, which lie on the device of the innermost `keras.device`


def _placed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function that makes a tensor of numbers make it on the current device."""
    @functools.wraps(function)
    def placed(*args: Any, **options: Any) -> Tensor:
        made = function(*args, **options)
        device = current_device()
        return made if made.device == device or _holds_tensor(args) else made.to(device)

    return placed


def _holds_tensor(args: tuple[Any, ...]) -> bool:
    """Whether the result depends on a tensor, whose device it then has."""
    return builtins.any([isinstance(a, Tensor) or hasattr(a, "__convgpu_tensor__") or (
        isinstance(a, (list, tuple)) and _holds_tensor(tuple(a))) for a in args])


def zeros(shape: Any, dtype: Any = "float32") -> Tensor:  # type: ignore[no-redef]
    """A tensor of zeros on the current device."""
    return cg.zeros(shape, dtype=dtype, device=current_device())


def ones(shape: Any, dtype: Any = "float32") -> Tensor:  # type: ignore[no-redef]
    """A tensor of ones on the current device."""
    return cg.ones(shape, dtype=dtype, device=current_device())


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Tensor:  # type: ignore[no-redef]
    """A tensor filled with one value, on the current device, or with a tensor's values, which broadcast."""
    if type(fill_value) in (bool, int, float) and dtype is not None:
        return cg.full(shape, fill_value, dtype=dtype, device=current_device())
    return cnp.full(shape, asarray(fill_value, dtype), dtype)


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = None) -> Tensor:  # type: ignore[no-redef]
    """start, start + step, ... below stop, on the current device."""
    return cg.arange(start, stop, step, dtype=dtype, device=current_device())


array, asarray, eye, identity, linspace, tri = map(_placed, (  # type: ignore
    cnp.array, cnp.asarray, cnp.eye, cnp.identity, cnp.linspace, cnp.tri))
bartlett, blackman, geomspace, hamming, hanning, kaiser, logspace = map(_placed, (  # type: ignore
    cnp.bartlett, cnp.blackman, cnp.geomspace, cnp.hamming, cnp.hanning, cnp.kaiser, cnp.logspace))
full_like, ones_like, zeros_like = map(_placed, (cnp.full_like, cnp.ones_like, cnp.zeros_like))  # type: ignore
empty, empty_like = zeros, zeros_like  # a Tensor is a value and cannot be uninitialised


# --- functions of complex numbers, for real ones


def real(x: Any) -> Tensor:
    """x, whose imaginary part is 0."""
    return as_tensor(x)


conj = conjugate = real


def imag(x: Any) -> Tensor:
    """The imaginary part: zeros."""
    return cnp.zeros_like(x)


def angle(x: Any) -> Tensor:
    """The angle to the positive axis: 0, or pi where x is negative; NaN where x is NaN."""
    x = as_tensor(x)
    return cnp.where(cnp.isnan(x), x, cnp.where(cnp.signbit(x), cnp.full_like(x, onp.pi), cnp.zeros_like(x)))


def _with_initial(reduce: Callable[..., Any], choose: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option `initial` to max or min: it takes part in the comparison, also where there are no elements."""
    def reduced(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Tensor:
        x = as_tensor(x)
        if initial is None:
            return reduce(x, axis, keepdims=keepdims)
        if x.size == 0:
            shape = onp.max(onp.zeros(x.shape), axis, keepdims=keepdims, initial=0).shape
            return cnp.full(shape, initial, x.dtype).to(x.device)
        return choose(reduce(x, axis, keepdims=keepdims), cnp.asarray(initial, x.dtype).to(x.device))

    return reduced


max, min = _with_initial(cnp.max, cnp.maximum), _with_initial(cnp.min, cnp.minimum)  # noqa: A001 - NumPy's names


def __getattr__(name: str) -> Any:
    if name in ("generic", "issubdtype", "promote_types"):  # these functions of dtypes are NumPy's own
        return getattr(onp, name)
    return getattr(cnp, name)
