"""Less common elementwise functions: of integers, of neighbouring floats, and the bell-shaped and ringing ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..op import Op
from ..tensor import Tensor, as_tensor
from .elementwise import cos, isinf, multiply, signbit, trunc, weak, where, zero

# --- of integers: no gradient

gcd = Op("gcd", "a, b -> y", np.gcd)
lcm = Op("lcm", "a, b -> y", np.lcm)

# --- of floats

fmod = Op("fmod", "a, b -> y", weak(np.fmod), broadcasts=True).vjp(
    a=lambda g: g, b=lambda g, a, b: -g * trunc(a / b))
heaviside = Op("heaviside", "a, b -> y", weak(np.heaviside), broadcasts=True).vjp(
    a=zero, b=lambda g, a: where(a == 0, g, 0))
nextafter = Op("nextafter", "a, b -> y", weak(np.nextafter), broadcasts=True).vjp(
    a=lambda g: g, b=zero)
_ldexp = Op("ldexp", "x; exponents -> y", np.ldexp).vjp(x=lambda g, exponents: ldexp(g, exponents))
sinc: Op = Op("sinc", "x -> y", np.sinc).vjp(x=lambda g, x: g * _sinc_slope(x))
i0 = Op("i0", "x -> y", lambda x: np.i0(x).astype(x.dtype))  # its derivative, I1, is not a function of NumPy's


def ldexp(x: Any, exponents: Any) -> Tensor:
    """x * 2^exponents, the exponents being integers of x's shape or one that broadcasts to it.

    >>> ldexp([1.0, 3.0], [2, 1])
    Tensor([4., 6.], dtype=float32)
    """
    x, exponents = as_tensor(x, "ldexp"), as_tensor(exponents, "ldexp")
    if exponents.dtype.kind not in "iu":
        raise TypeError(f"ldexp: expected integer exponents, got {exponents.dtype}")
    shape = np.broadcast_shapes(x.shape, exponents.shape)
    return _ldexp(x if x.shape == shape else x.broadcast_to(shape), exponents.array)


def _sinc_slope(x: Tensor) -> Tensor:
    """(cos(pi x) - sinc(x)) / x; near 0, where that cancels, its series."""
    small = abs(x) < 0.01
    z, divisor = np.pi**2 * x * x, where(small, 1, x)
    return where(small, -np.pi**2 / 3 * x * (1 - z / 10 + z * z / 280), (cos(np.pi * x) - sinc(divisor)) / divisor)


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
