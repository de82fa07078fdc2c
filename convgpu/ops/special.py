"""Less common elementwise functions: of integers, of neighbouring floats, bell-shaped and oscillating functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import is_float
from ..op import Op
from ..tensor import Tensor, as_tensor
from .elementwise import abs, astype, cos, isinf, multiply, precise, signbit, trunc, weak, where, zero

# --- functions of integers, without gradient

gcd = Op("gcd", "a, b -> y", np.gcd)
lcm = Op("lcm", "a, b -> y", np.lcm)

# --- functions of floats

fmod = Op("fmod", "a, b -> y", weak(np.fmod), broadcasts=True).vjp(
    a=lambda g: g, b=precise(lambda g, a, b: -g * trunc((a / b).detach())))
heaviside = Op("heaviside", "a, b -> y", weak(np.heaviside), broadcasts=True).vjp(
    a=zero, b=lambda g, a: where(a == 0, g, 0))
copysign = Op("copysign", "a, b -> y", weak(np.copysign), broadcasts=True).vjp(
    a=lambda g, a, b: where(signbit(as_tensor(a).to(g.device)) == signbit(as_tensor(b).to(g.device)), g, -g), b=zero)
nextafter = Op("nextafter", "a, b -> y", weak(np.nextafter), broadcasts=True).vjp(
    a=lambda g: g, b=zero)
_ldexp = Op("ldexp", "x; exponents -> y", np.ldexp).vjp(x=lambda g, exponents: ldexp(g, exponents))
sinc: Op = Op("sinc", "x -> y", lambda x: _sinc_forward(x)).vjp(x=lambda g, x: _sinc_rule(g, x))
# no gradient: NumPy lacks the derivative, I1
i0 = Op("i0", "x -> y", lambda x: np.i0(_float64(x)).astype(_floating(x)))


def ldexp(x: Any, exponents: Any) -> Tensor:
    """x * 2^exponents, where exponents are integers whose shape broadcasts against x's.

    >>> ldexp([1.0, 3.0], [2, 1])
    Tensor([4., 6.], dtype=float32)
    """
    x, exponents = as_tensor(x, "ldexp"), as_tensor(exponents, "ldexp")
    if exponents.dtype.kind not in "iu":
        raise TypeError(f"ldexp: expected integer exponents, got {exponents.dtype}")
    shape = np.broadcast_shapes(x.shape, exponents.shape)
    return _ldexp(x if x.shape == shape else x.broadcast_to(shape), exponents.array)


def _float64(x: Any) -> Any:
    return x.astype(np.float64, copy=False)


def _floating(x: Any) -> np.dtype:
    return x.dtype if is_float(x.dtype) else np.dtype(np.float64)


def _sinc_forward(x: Any) -> Any:
    """sin(pi x) / (pi x) in float64. Whole periods are subtracted from x first, which is exact."""
    wide = _float64(x)
    divisor = np.where(wide == 0, 1, np.pi * wide)
    y = np.sin(np.pi * np.fmod(wide, 2)) / divisor
    return np.where(wide == 0, 1, y).astype(_floating(x))


def _sinc_rule(g: Tensor, x: Tensor) -> Tensor:
    """(cos(pi x) - sinc(x)) / x; near 0, where this difference loses its digits, the power series."""
    x, g = astype(x, np.float64), astype(g, np.float64)
    small = abs(x) < 0.5
    near, far = where(small, x, 0), where(small, 1, x)
    square, series = (np.pi * near) ** 2, 0
    for k in reversed(range(1, 13)):
        series = series * square + (-1) ** k * 2 * k / math.factorial(2 * k + 1)
    return g * where(small, np.pi**2 * near * series, (cos(np.pi * fmod(far, 2)) - sinc(far)) / far)


def isposinf(x: Any) -> Tensor:
    """Whether x is +inf."""
    x = as_tensor(x, "isposinf")
    return multiply(isinf(x), signbit(x) == 0) if x.dtype.kind != "b" else isinf(x)


def isneginf(x: Any) -> Tensor:
    """Whether x is -inf."""
    x = as_tensor(x, "isneginf")
    return multiply(isinf(x), signbit(x)) if x.dtype.kind != "b" else isinf(x)


def isreal(x: Any) -> Tensor:
    """True everywhere: Tensors hold no complex numbers."""
    x = as_tensor(x, "isreal")
    return as_tensor(np.ones(x.shape, bool)).to(x.device)
