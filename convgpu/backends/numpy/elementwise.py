"""Activations of single elements and their gradients, sums of arrays of one shape, functions of two operands.

Half types are computed in float32 and rounded once; relu and relu6, which choose and do not compute, keep their dtype.
Formulas, limits and NaN are as docs/activations-norms-losses.md states them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...dtypes import accumulator, is_half
from ...ops.gaussian import cdf
from .. import epilogue

# Beyond these limits a factor of gelu or silu is exactly 0 or 1, even in float64; keeping x within avoids 0 * inf.
_GELU_LIMIT, _SILU_LIMIT = 40.0, 750.0
_GELU_SCALE, _GELU_CUBIC = math.sqrt(2 / math.pi), 0.044715
_CHOICES = ("relu", "relu6")


def activate(x: np.ndarray, function: str, alpha: float, scale: float) -> np.ndarray:
    """The activation of that name; alpha is leaky_relu's slope and elu's alpha, scale a factor of elu."""
    if x.ndim == 0:  # NumPy would make scalars of intermediate results, which have no memory of their own
        return activate(x.reshape(1), function, alpha, scale).reshape(())
    run = _FORWARD[function]
    if is_half(x.dtype) and function not in _CHOICES:
        return run(x.astype(np.float32), alpha, scale).astype(x.dtype)
    return run(x, alpha, scale)


def activate_dgrad(gy: np.ndarray, v: np.ndarray, function: str, alpha: float, scale: float) -> np.ndarray:
    """gy times the derivative at v: the activation's result for relu, relu6, sigmoid and tanh, else its argument."""
    if gy.ndim == 0:
        return activate_dgrad(gy.reshape(1), v.reshape(1), function, alpha, scale).reshape(())
    run = _GRADIENT[function]
    if is_half(gy.dtype) and function not in _CHOICES:
        return run(gy.astype(np.float32), v.astype(np.float32), alpha, scale).astype(gy.dtype)
    return run(gy, v, alpha, scale)


def add_n(xs: list[np.ndarray]) -> np.ndarray:
    """The sum of arrays of one shape, in their order, in float32 for half types and rounded once."""
    first, *more = xs
    if not more:
        return first.copy()
    wide = accumulator(first.dtype)
    if wide == first.dtype:
        y = np.add(first, more[0])
        for x in more[1:]:
            y = np.add(y, x, out=y) if isinstance(y, np.ndarray) else y + x
        return y
    y = first.astype(wide)
    for x in more:
        y += x.astype(wide)
    return y.astype(first.dtype)


def binary(a: np.ndarray, b: np.ndarray | None, function: str, number: float | None) -> np.ndarray:
    """The function of that name of a and b, which broadcast, or of a and a number, rounded to the dtype of a."""
    wide = accumulator(a.dtype)
    operands = [x.astype(wide, copy=False) for x in (a, np.asarray(number, a.dtype) if b is None else b)]
    if function.startswith("reversed_"):
        operands.reverse()
    with np.errstate(all="ignore"):
        y = np.asarray(getattr(np, function.removeprefix("reversed_"))(*operands))
    return y.astype(a.dtype, copy=False)


def _where_true(keep: Any, g: Any) -> Any:
    """g, or 0 where `keep` is false.

    The choice is made with bit masks: a product would turn 0 * inf into NaN, and np.where costs thirty times as much,
    because the processor mispredicts its branches.
    """
    bits = np.dtype(f"i{g.dtype.itemsize}")
    return np.bitwise_and(np.negative(keep.astype(bits)), g.view(bits)).view(g.dtype)


def _compared(v: Any) -> Any:
    """v for comparisons, which warn of NaN in ml_dtypes' types."""
    return v.astype(np.float32) if is_half(v.dtype) else v


# --- forward


def _relu(x: Any, alpha: float, scale: float) -> Any:
    return np.maximum(x, x.dtype.type(0))


def _leaky_relu(x: Any, slope: float, scale: float) -> Any:
    if 0 < slope < 1:
        return np.maximum(x, x * slope)  # np.maximum is several times faster than np.where
    return np.where(x > 0, x, x * slope)


def _elu(x: Any, alpha: float, scale: float) -> Any:
    return scale * np.maximum(x, 0) + (scale * alpha) * np.expm1(np.minimum(x, 0))


def _gelu_tanh(x: Any, alpha: float, scale: float) -> Any:
    c = np.clip(x, -_GELU_LIMIT, _GELU_LIMIT)
    return np.maximum(x, -_GELU_LIMIT) * (0.5 + 0.5 * np.tanh(_GELU_SCALE * c * (1 + _GELU_CUBIC * c * c)))


_FORWARD: dict[str, Callable[[Any, float, float], Any]] = {
    "relu": _relu,
    "relu6": lambda x, alpha, scale: np.minimum(_relu(x, alpha, scale), x.dtype.type(6)),
    "leaky_relu": _leaky_relu,
    "sigmoid": lambda x, alpha, scale: epilogue.sigmoid(x.copy()),
    "tanh": lambda x, alpha, scale: np.tanh(x),
    "elu": _elu,
    "softplus": lambda x, alpha, scale: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "silu": lambda x, alpha, scale: np.maximum(x, -_SILU_LIMIT) * epilogue.sigmoid(x.copy()),
    "gelu": lambda x, alpha, scale: np.maximum(x, -_GELU_LIMIT) * cdf(x),
    "gelu_tanh": _gelu_tanh,
    "hard_sigmoid": lambda x, alpha, scale: np.clip(x + 3, 0, 6) / 6,
    "hard_tanh": lambda x, alpha, scale: np.clip(x, -1, 1),
}


# --- gradients


def _sigmoid_dgrad(gy: Any, y: Any, alpha: float, scale: float) -> Any:
    gx = np.subtract(1, y, out=np.empty_like(y))
    gx *= y
    gx *= gy
    return gx


def _tanh_dgrad(gy: Any, y: Any, alpha: float, scale: float) -> Any:
    gx = np.square(y, out=np.empty_like(y))
    np.subtract(1, gx, out=gx)
    gx *= gy
    return gx


def _elu_dgrad(gy: Any, x: Any, alpha: float, scale: float) -> Any:
    return gy * np.where(x > 0, x.dtype.type(scale), scale * alpha * np.exp(np.minimum(x, 0)))


def _silu_dgrad(gy: Any, x: Any, alpha: float, scale: float) -> Any:
    x = np.clip(x, -_SILU_LIMIT, _SILU_LIMIT)
    return gy * (epilogue.sigmoid(x.copy()) * (1 + x * epilogue.sigmoid(-x)))


def _gelu_dgrad(gy: Any, x: Any, alpha: float, scale: float) -> Any:
    x = np.clip(x, -_GELU_LIMIT, _GELU_LIMIT)
    return gy * (cdf(x) + x * np.exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi)))


def _gelu_tanh_dgrad(gy: Any, x: Any, alpha: float, scale: float) -> Any:
    """With u = 2 * scale * (x + cubic * x^3), gelu_tanh is x * sigmoid(u)."""
    x = np.clip(x, -_GELU_LIMIT, _GELU_LIMIT)
    squares = x * x
    u = 2 * _GELU_SCALE * x * (1 + _GELU_CUBIC * squares)
    slope = 2 * _GELU_SCALE * (1 + 3 * _GELU_CUBIC * squares)
    s = epilogue.sigmoid(u.copy())
    return gy * (s + x * slope * (s * epilogue.sigmoid(-u)))


_GRADIENT: dict[str, Callable[[Any, Any, float, float], Any]] = {
    "relu": lambda gy, y, alpha, scale: _where_true(np.logical_not(_compared(y) <= 0), gy),
    "relu6": lambda gy, y, alpha, scale: _where_true(
        np.logical_not((_compared(y) <= 0) | (_compared(y) >= 6)), gy),
    "leaky_relu": lambda gy, x, slope, scale: np.where(x > 0, gy, gy * slope),
    "sigmoid": _sigmoid_dgrad,
    "tanh": _tanh_dgrad,
    "elu": _elu_dgrad,
    "softplus": lambda gy, x, alpha, scale: gy * epilogue.sigmoid(x.copy()),
    "silu": _silu_dgrad,
    "gelu": _gelu_dgrad,
    "gelu_tanh": _gelu_tanh_dgrad,
    "hard_sigmoid": lambda gy, x, alpha, scale: _where_true(np.abs(x) < 3, gy * (1 / 6)),
    "hard_tanh": lambda gy, x, alpha, scale: _where_true(np.abs(x) < 1, gy),
}
