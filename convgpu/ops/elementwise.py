"""Elementwise ops, one line each: the forward is NumPy's own function, which CuPy arrays dispatch to CuPy's."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..op import Op
from ..tensor import Tensor

add = Op("add", "a, b -> y", np.add, broadcasts=True).vjp(a=lambda g: g, b=lambda g: g)
subtract = Op("subtract", "a, b -> y", np.subtract, broadcasts=True).vjp(a=lambda g: g, b=lambda g: -g)
multiply = Op("multiply", "a, b -> y", np.multiply, broadcasts=True).vjp(a=lambda g, b: g * b, b=lambda g, a: g * a)
divide = Op("divide", "a, b -> y", np.divide, broadcasts=True).vjp(
    a=lambda g, b: g / b, b=lambda g, b, y: -g * y / b)
negative = Op("negative", "x -> y", np.negative).vjp(x=lambda g: -g)
greater = Op("greater", "a, b -> y", np.greater, broadcasts=True)

exp = Op("exp", "x -> y", np.exp).vjp(x=lambda g, y: g * y)
log = Op("log", "x -> y", np.log).vjp(x=lambda g, x: g / x)
tanh = Op("tanh", "x -> y", np.tanh).vjp(x=lambda g, y: g * (1 - y * y))
power = Op("power", "a, b -> y", np.power, broadcasts=True).vjp(
    a=lambda g, a, b: g * b * power(a, b - 1), b=lambda g, a, y: g * log(a) * y)
relu = Op("relu", "x -> y", lambda x: np.maximum(x, 0)).vjp(x=lambda g, y: g * (y > 0))

_astype = Op("astype", "x; dtype -> y", lambda x, dtype: x.astype(dtype)).vjp(x=lambda g, x: astype(g, x.dtype))


def astype(x: Any, dtype: Any) -> Tensor:
    """x converted to `dtype`; gradients are converted back."""
    return _astype(x, dtype)


ACTIVATIONS: dict[str, Any] = {"relu": relu, "tanh": tanh}
