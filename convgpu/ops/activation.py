"""Activations (functions of single elements), their gradients, and which activations an op can compute in its epilogue.

All activations keep NaN and give their limits at the infinities. Integers become float32; half types are computed in
float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..backends import epilogue
from ..deferred import activated
from ..dtypes import is_half
from ..op import Op
from ..tensor import Tensor
from .elementwise import abs, exp, precise, tanh, where, zero
from .gaussian import cdf, normal_cdf, normal_pdf
from .softmax import log_softmax, softmax
from .widening import floating, wide, widened

# Comparisons use wide values too, because comparisons of ml_dtypes' types warn of NaN.

# --- activations whose gradient follows from the output: ops fuse them, backends apply them in place (epilogue.py)


def _relu_gradient_forward(gy: Any, y: Any) -> Any:
    """gy, or 0 where y <= 0.

    The choice is made with bit masks: a product would turn 0 * inf into NaN, and np.where costs thirty times as much,
    because the processor mispredicts its branches.
    """
    bits = np.dtype(f"i{gy.dtype.itemsize}")
    # each element's mask is 0 or all ones
    kept = np.negative(np.logical_not((y.astype(np.float32) if is_half(y.dtype) else y) <= 0).astype(bits))
    return np.bitwise_and(kept, gy.view(bits)).view(gy.dtype)


def _sigmoid_gradient_forward(gy: Any, y: Any) -> Any:
    gx = np.subtract(1, y, out=np.empty_like(y))
    gx *= y
    gx *= gy
    return gx


def _tanh_gradient_forward(gy: Any, y: Any) -> Any:
    gx = np.square(y, out=np.empty_like(y))
    np.subtract(1, gx, out=gx)
    gx *= gy
    return gx


relu_gradient = Op("relu_gradient", "gy, y -> gx", _relu_gradient_forward, moves=True)
relu_gradient.vjp(gy=lambda g, y: relu_gradient(g, y), y=zero)
sigmoid_gradient = Op("sigmoid_gradient", "gy, y -> gx", widened(_sigmoid_gradient_forward))
sigmoid_gradient.vjp(gy=lambda g, y: sigmoid_gradient(g, y), y=precise(lambda g, gy, y: g * gy * (1 - 2 * y)))
tanh_gradient = Op("tanh_gradient", "gy, y -> gx", widened(_tanh_gradient_forward))
tanh_gradient.vjp(gy=lambda g, y: tanh_gradient(g, y), y=precise(lambda g, gy, y: g * gy * (-2 * y)))

FROM_OUTPUT = {"relu": relu_gradient, "sigmoid": sigmoid_gradient, "tanh": tanh_gradient}

_relu = Op("relu", "x -> y", lambda x: np.maximum(x, x.dtype.type(0)), cheap=True).vjp(
    x=lambda g, y: relu_gradient(g, y))
_sigmoid = Op("sigmoid", "x -> y", widened(lambda x: epilogue.sigmoid(x.copy()))).vjp(
    x=lambda g, y: sigmoid_gradient(g, y))


def grad_from_output(activation: str | None, g: Tensor, y: Tensor) -> Tensor:
    """The gradient with respect to the value before a fused activation, from the gradient g after it and the output y.
    """
    return g if activation is None else FROM_OUTPUT[activation](g, y)


def split(op: str, activation: str | None) -> tuple[str | None, Callable[[Tensor], Tensor]]:
    """For an activation by name: the name that the op fuses (or None), and the function that is applied after the op.
    """
    if activation is None or isinstance(activation, str) and activation in FROM_OUTPUT:
        return activation, lambda y: y
    return None, lambda y: apply(op, activation, y)


def apply(op: str, activation: str | None, y: Tensor) -> Tensor:
    """Apply an activation by name."""
    if activation is None or activation == "linear":
        return y
    function = NAMES.get(activation) if isinstance(activation, str) else None
    if function is None:
        raise ValueError(f"{op}: expected activation to be None or one of {sorted(NAMES)}, got {activation!r}")
    return function(y)


# --- piecewise linear activations

_leaky_relu = Op("leaky_relu", "x; slope -> y", widened(lambda x, slope: _leaky_relu_forward(x, slope)),
                 cheap=True).vjp(
    x=lambda g, x, slope: where(wide(x) > 0, g, g * slope))
_hard_sigmoid = Op("hard_sigmoid", "x -> y", widened(lambda x: np.clip(x + 3, 0, 6) / 6), cheap=True).vjp(
    x=lambda g, x: where(abs(wide(x)) < 3, g * (1 / 6), 0))
_hard_tanh = Op("hard_tanh", "x -> y", widened(lambda x: np.clip(x, -1, 1)), cheap=True).vjp(
    x=lambda g, x: where(abs(wide(x)) < 1, g, 0))


def _leaky_relu_forward(x: Any, slope: float) -> Any:
    if 0 < slope < 1:
        return np.maximum(x, x * slope)  # np.maximum is several times faster than np.where
    return np.where(x > 0, x, x * slope)


def relu(x: Any) -> Tensor:
    """max(x, 0); the gradient at 0 is 0.

    >>> relu([-1.0, 2.0])
    Tensor([0., 2.], dtype=float32)
    """
    return _joined("relu", floating("relu", x), _relu)


def _joined(activation: str, x: Tensor, op: Op) -> Tensor:
    """The activation of x, computed together with x where that is deferred."""
    y = activated(x, activation)
    return op(x) if y is None else y


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, else negative_slope * x (the default is PyTorch's; Keras has 0.2, and its layer 0.3).

    >>> leaky_relu([-1.0, 2.0])
    Tensor([-0.01,  2.  ], dtype=float32)
    """
    return _leaky_relu(floating("leaky_relu", x), float(negative_slope))


def hard_sigmoid(x: Any) -> Tensor:
    """min(max(x / 6 + 1/2, 0), 1); the gradient at the corners is 0.

    >>> hard_sigmoid([-9.0, 1.5])
    Tensor([0.  , 0.75], dtype=float32)
    """
    return _hard_sigmoid(floating("hard_sigmoid", x))


def hard_tanh(x: Any) -> Tensor:
    """min(max(x, -1), 1); the gradient at the corners is 0.

    >>> hard_tanh([-9.0, 0.5])
    Tensor([-1. ,  0.5], dtype=float32)
    """
    return _hard_tanh(floating("hard_tanh", x))


# --- smooth activations


def _elu_forward(x: Any, alpha: float, scale: float) -> Any:
    return scale * np.maximum(x, 0) + (scale * alpha) * np.expm1(np.minimum(x, 0))


def _elu_rule(g: Tensor, x: Tensor, alpha: float, scale: float) -> Tensor:
    g, x = wide(g), wide(x)
    return where(x > 0, g * scale, g * (scale * alpha * exp(where(x > 0, 0, x))))


def _softplus_forward(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _silu_forward(x: Any) -> Any:
    return np.maximum(x, -SILU_LIMIT) * epilogue.sigmoid(x.copy())


def _within(x: Tensor, limit: float) -> Tensor:
    """x limited to [-limit, limit]; a NaN stays NaN, and so does its gradient."""
    return where(x > limit, limit, where(x < -limit, -limit, x))


def _silu_rule(g: Tensor, x: Tensor) -> Tensor:
    x = _within(wide(x), SILU_LIMIT)
    return wide(g) * (sigmoid(x) * (1 + x * sigmoid(-x)))


def _gelu_tanh_forward(x: Any) -> Any:
    c = np.clip(x, -GELU_LIMIT, GELU_LIMIT)
    return np.maximum(x, -GELU_LIMIT) * (0.5 + 0.5 * np.tanh(GELU_SCALE * c * (1 + GELU_CUBIC * c * c)))


def _gelu_tanh_rule(g: Tensor, x: Tensor) -> Tensor:
    x = _within(wide(x), GELU_LIMIT)
    t = tanh(GELU_SCALE * x * (1 + GELU_CUBIC * x * x))
    slope = GELU_SCALE * (1 + 3 * GELU_CUBIC * x * x)
    return wide(g) * (0.5 * (1 + t) + 0.5 * x * slope * ((1 - t) * (1 + t)))


def _gelu_rule(g: Tensor, x: Tensor) -> Tensor:
    x = _within(wide(x), GELU_LIMIT)
    return wide(g) * (normal_cdf(x) + x * normal_pdf(x))


# Beyond these limits a factor of gelu or silu is exactly 0 or 1, even in float64; clipping x there avoids 0 * inf.
GELU_LIMIT, SILU_LIMIT = 40.0, 750.0
GELU_SCALE, GELU_CUBIC = math.sqrt(2 / math.pi), 0.044715
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805

_elu = Op("elu", "x; alpha, scale -> y", widened(_elu_forward)).vjp(x=_elu_rule)
_softplus = Op("softplus", "x -> y", widened(_softplus_forward)).vjp(x=lambda g, x: wide(g) * sigmoid(wide(x)))
_silu = Op("silu", "x -> y", widened(_silu_forward), cheap=True).vjp(x=_silu_rule)
_gelu = Op("gelu", "x -> y", widened(lambda x: np.maximum(x, -GELU_LIMIT) * cdf(x))).vjp(x=_gelu_rule)
_gelu_tanh = Op("gelu_tanh", "x -> y", widened(_gelu_tanh_forward)).vjp(x=_gelu_tanh_rule)


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x)).

    >>> sigmoid([0.0, 1000.0])
    Tensor([0.5, 1. ], dtype=float32)
    """
    return _sigmoid(floating("sigmoid", x))


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha * (exp(x) - 1); the gradient at 0 is alpha.

    >>> elu([-1000.0, 2.0])
    Tensor([-1.,  2.], dtype=float32)
    """
    return _elu(floating("elu", x), float(alpha), 1.0)


def selu(x: Any) -> Tensor:
    """1.0507 * elu(x, 1.67326), from Klambauer et al., "Self-Normalizing Neural Networks" (2017).

    >>> selu([-1000.0, 1.0])
    Tensor([-1.7581,  1.0507], dtype=float32)
    """
    return _elu(floating("selu", x), SELU_ALPHA, SELU_SCALE)


def softplus(x: Any) -> Tensor:
    """log(1 + exp(x)).

    >>> softplus([-1000.0, 0.0, 1000.0])
    Tensor([0.0000e+00, 6.9315e-01, 1.0000e+03], dtype=float32)
    """
    return _softplus(floating("softplus", x))


def silu(x: Any) -> Tensor:
    """x * sigmoid(x), also called swish.

    >>> silu([-1.0, 1.0])
    Tensor([-0.2689,  0.7311], dtype=float32)
    """
    return _joined("silu", floating("silu", x), _silu)


def gelu(x: Any, approximate: bool = False) -> Tensor:
    """x * cdf(x) with the exact normal distribution function cdf, as by default in PyTorch and Keras.

    With `approximate` it is x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))), as by default in JAX. From Hendrycks and
    Gimpel, "Gaussian Error Linear Units" (2016). Raises TypeError where `approximate` is not a bool.

    >>> gelu([-1.0, 1.0]), gelu([-1.0, 1.0], approximate=True)
    (Tensor([-0.1587,  0.8413], dtype=float32), Tensor([-0.1588,  0.8412], dtype=float32))
    """
    if not isinstance(approximate, (bool, np.bool_)):
        raise TypeError(f"gelu: expected approximate to be True or False, got {approximate!r}")
    return (_gelu_tanh if approximate else _gelu)(floating("gelu", x))


# The names that `activation=` accepts in conv, gemm, linear and others.
NAMES: dict[str, Callable[[Any], Tensor]] = {
    "relu": relu, "leaky_relu": leaky_relu, "elu": elu, "selu": selu, "gelu": gelu, "silu": silu, "sigmoid": sigmoid,
    "tanh": tanh, "softplus": softplus, "hard_sigmoid": hard_sigmoid, "hard_tanh": hard_tanh, "softmax": softmax,
    "log_softmax": log_softmax,
}
