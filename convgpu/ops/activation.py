"""Activations (functions of single elements), their gradients, and which activations an op can compute in its epilogue.

All activations keep NaN and give their limits at the infinities. Integers become float32; half types are computed in
float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import is_grad_enabled
from ..deferred import activated
from ..dtypes import is_float
from ..op import Op
from ..tensor import Tensor, as_tensor
from .elementwise import astype, exp, where, zero
from .gaussian import normal_cdf, normal_pdf
from .softmax import log_softmax, softmax
from .widening import floating, wide

# --- the ops: backends run one op with every activation, and one with every gradient. Where the gradient follows from
# the output, the output is kept for it, and else the argument. So the op is declared several times under one name.

FUSED = ("relu", "sigmoid", "tanh")  # the activations that convolutions and products apply to their own results
KEEPS_OUTPUT = ("relu", "relu6", "sigmoid", "tanh")
_CHEAP = ("relu", "relu6", "leaky_relu", "hard_sigmoid", "hard_tanh", "silu")


def _declared(keeps_output: bool, cheap: bool) -> Op:
    op = Op("activate", "x; function, alpha, scale -> y", cheap=cheap)
    return op.vjp(x=_gradient_from_output if keeps_output else _gradient_from_argument)


def _gradient_from_output(g: Tensor, y: Tensor, function: str, alpha: float, scale: float) -> Tensor:
    return _dgrad(g, y, function, alpha, scale)


def _gradient_from_argument(g: Tensor, x: Tensor, function: str, alpha: float, scale: float) -> Tensor:
    """One launch; while gradients are recorded, ops that can be differentiated again where the slope is no constant."""
    if function in _COMPOSED and is_grad_enabled():
        return _COMPOSED[function](g, x, alpha, scale)
    return _dgrad(g, x, function, alpha, scale)


_OPS = {(kept, cheap): _declared(kept, cheap) for kept in (False, True) for cheap in (False, True)}
_dgrad: Op = Op("activate_dgrad", "gy, v; function, alpha, scale -> gx").vjp(
    gy=lambda g, v, function, alpha, scale: _dgrad(g, v, function, alpha, scale),
    v=lambda g, gy, v, function: _second(g, gy, v, function))


def _activated(function: str, x: Tensor, alpha: float = 0.0, scale: float = 1.0) -> Tensor:
    return _OPS[function in KEEPS_OUTPUT, function in _CHEAP](x, function, alpha, scale)


def _joined(function: str, x: Tensor) -> Tensor:
    """The activation of x, computed together with x where that is deferred."""
    y = activated(x, function)
    return _activated(function, x) if y is None else y


def _second(g: Tensor, gy: Tensor, y: Tensor, function: str) -> Tensor:
    """The gradient of activate_dgrad with respect to y; piecewise linear activations have none."""
    if function not in ("sigmoid", "tanh"):
        return zero(g)
    g, gy, y = wide(g), wide(gy), wide(y)
    return g * gy * (1 - 2 * y if function == "sigmoid" else -2 * y)


def grad_from_output(activation: str | None, g: Tensor, y: Tensor) -> Tensor:
    """The gradient with respect to the value before a fused activation, from the gradient g after it and the output y.
    """
    return g if activation is None else _dgrad(g, y, activation, 0.0, 1.0)


def split(op: str, activation: str | None) -> tuple[str | None, Callable[[Tensor], Tensor]]:
    """For an activation by name: the name that the op fuses (or None), and the function that is applied after the op.
    """
    if activation is None or isinstance(activation, str) and activation in FUSED:
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

def relu(x: Any) -> Tensor:
    """max(x, 0); the gradient at 0 is 0.

    >>> relu([-1.0, 2.0])
    Tensor([0., 2.], dtype=float32)
    """
    return _joined("relu", floating("relu", x))


def relu6(x: Any) -> Tensor:
    """min(max(x, 0), 6); the gradient at 0 and at 6 is 0. From Howard et al., "MobileNets" (2017).

    >>> relu6([-1.0, 2.0, 9.0])
    Tensor([0., 2., 6.], dtype=float32)
    """
    return _joined("relu6", floating("relu6", x))


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Tensor:
    """x where x > 0, else negative_slope * x (the default is PyTorch's; Keras has 0.2, and its layer 0.3).

    >>> leaky_relu([-1.0, 2.0])
    Tensor([-0.01,  2.  ], dtype=float32)
    """
    return _activated("leaky_relu", floating("leaky_relu", x), float(negative_slope))


def hard_sigmoid(x: Any) -> Tensor:
    """min(max(x / 6 + 1/2, 0), 1); the gradient at the corners is 0.

    >>> hard_sigmoid([-9.0, 1.5])
    Tensor([0.  , 0.75], dtype=float32)
    """
    return _activated("hard_sigmoid", floating("hard_sigmoid", x))


def hard_tanh(x: Any) -> Tensor:
    """min(max(x, -1), 1); the gradient at the corners is 0.

    >>> hard_tanh([-9.0, 0.5])
    Tensor([-1. ,  0.5], dtype=float32)
    """
    return _activated("hard_tanh", floating("hard_tanh", x))


# --- smooth activations


def _elu_rule(g: Tensor, x: Tensor, alpha: float, scale: float) -> Tensor:
    g, x = wide(g), wide(x)
    return where(x > 0, g * scale, g * (scale * alpha * exp(where(x > 0, 0, x))))


def _within(x: Tensor, limit: float) -> Tensor:
    """x limited to [-limit, limit]; a NaN stays NaN, and so does its gradient."""
    return where(x > limit, limit, where(x < -limit, -limit, x))


def _silu_rule(g: Tensor, x: Tensor, alpha: float, scale: float) -> Tensor:
    x = _within(wide(x), SILU_LIMIT)
    return wide(g) * (sigmoid(x) * (1 + x * sigmoid(-x)))


def _gelu_tanh_rule(g: Tensor, x: Tensor, alpha: float, scale: float) -> Tensor:
    x = _within(wide(x), GELU_LIMIT)
    t = tanh(GELU_SCALE * x * (1 + GELU_CUBIC * x * x))
    slope = GELU_SCALE * (1 + 3 * GELU_CUBIC * x * x)
    return wide(g) * (0.5 * (1 + t) + 0.5 * x * slope * ((1 - t) * (1 + t)))


def _gelu_rule(g: Tensor, x: Tensor, alpha: float, scale: float) -> Tensor:
    x = _within(wide(x), GELU_LIMIT)
    return wide(g) * (normal_cdf(x) + x * normal_pdf(x))


# Beyond these limits a factor of gelu or silu is exactly 0 or 1, even in float64; clipping x there avoids 0 * inf.
GELU_LIMIT, SILU_LIMIT = 40.0, 750.0
GELU_SCALE, GELU_CUBIC = math.sqrt(2 / math.pi), 0.044715
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805

# The gradients of smooth activations, made of ops, so that derivatives of any order follow.
_COMPOSED: dict[str, Callable[..., Tensor]] = {
    "elu": _elu_rule, "softplus": lambda g, x, alpha, scale: wide(g) * sigmoid(wide(x)), "silu": _silu_rule,
    "gelu": _gelu_rule, "gelu_tanh": _gelu_tanh_rule}


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x)).

    >>> sigmoid([0.0, 1000.0])
    Tensor([0.5, 1. ], dtype=float32)
    """
    return _activated("sigmoid", floating("sigmoid", x))


def tanh(x: Any) -> Tensor:
    """The hyperbolic tangent. Integers become float16, float32 or float64, whichever NumPy's tanh makes of them.

    >>> tanh([0.0, 1000.0])
    Tensor([0., 1.], dtype=float32)
    """
    x = as_tensor(x, "tanh")
    return _activated("tanh", x if is_float(x.dtype) else astype(x, np.tanh(np.zeros(1, x.dtype)).dtype))


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha * (exp(x) - 1); the gradient at 0 is alpha.

    >>> elu([-1000.0, 2.0])
    Tensor([-1.,  2.], dtype=float32)
    """
    return _activated("elu", floating("elu", x), float(alpha))


def selu(x: Any) -> Tensor:
    """1.0507 * elu(x, 1.67326), from Klambauer et al., "Self-Normalizing Neural Networks" (2017).

    >>> selu([-1000.0, 1.0])
    Tensor([-1.7581,  1.0507], dtype=float32)
    """
    return _activated("elu", floating("selu", x), SELU_ALPHA, SELU_SCALE)


def softplus(x: Any) -> Tensor:
    """log(1 + exp(x)).

    >>> softplus([-1000.0, 0.0, 1000.0])
    Tensor([0.0000e+00, 6.9315e-01, 1.0000e+03], dtype=float32)
    """
    return _activated("softplus", floating("softplus", x))


def silu(x: Any) -> Tensor:
    """x * sigmoid(x), also called swish.

    >>> silu([-1.0, 1.0])
    Tensor([-0.2689,  0.7311], dtype=float32)
    """
    return _joined("silu", floating("silu", x))


def gelu(x: Any, approximate: bool = False) -> Tensor:
    """x * cdf(x) with the exact normal distribution function cdf, as by default in PyTorch and Keras.

    With `approximate` it is x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))), as by default in JAX. From Hendrycks and
    Gimpel, "Gaussian Error Linear Units" (2016). Raises TypeError where `approximate` is not a bool.

    >>> gelu([-1.0, 1.0]), gelu([-1.0, 1.0], approximate=True)
    (Tensor([-0.1587,  0.8413], dtype=float32), Tensor([-0.1588,  0.8412], dtype=float32))
    """
    if not isinstance(approximate, (bool, np.bool_)):
        raise TypeError(f"gelu: expected approximate to be True or False, got {approximate!r}")
    return _activated("gelu_tanh" if approximate else "gelu", floating("gelu", x))


# The names that `activation=` accepts in conv, gemm, linear and others.
NAMES: dict[str, Callable[[Any], Tensor]] = {
    "relu": relu, "relu6": relu6, "leaky_relu": leaky_relu, "elu": elu, "selu": selu, "gelu": gelu, "silu": silu,
    "sigmoid": sigmoid, "tanh": tanh, "softplus": softplus, "hard_sigmoid": hard_sigmoid, "hard_tanh": hard_tanh,
    "softmax": softmax, "log_softmax": log_softmax,
}
