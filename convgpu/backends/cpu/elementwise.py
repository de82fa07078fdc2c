"""Activations, sums of arrays, and functions of two operands, element by element."""

from __future__ import annotations

import numpy as np

from .crossing import Crossing


class Elementwise(Crossing):
    """The ops activate, with its gradient, add_n and binary, computed by csrc/cpu/kernels/elementwise.cpp."""

    def activate(self, x: np.ndarray, function: str, alpha: float, scale: float) -> np.ndarray:
        """The activation of that name; alpha is leaky_relu's slope and elu's alpha, scale a factor of elu."""
        self.check_float(function, x)
        y = self.like(x)
        self.module.activate(self.readable(x), y, function, alpha, scale, self.threads)
        return y

    def activate_dgrad(self, gy: np.ndarray, v: np.ndarray, function: str, alpha: float, scale: float) -> np.ndarray:
        """gy times the derivative at v: the activation's result for relu, relu6, sigmoid and tanh, else its argument.
        """
        self.check_float(function, gy)
        gx = self.like(v)
        self.module.activate_dgrad(self.readable(gy), self.readable(v), gx, function, alpha, scale, self.threads)
        return gx

    def add_n(self, xs: list[np.ndarray]) -> np.ndarray:
        """The sum of arrays of one shape, in their order, in float32 for half types and rounded once."""
        self.check_float("add_n", xs[0])
        y = self.like(xs[0])
        self.module.add_n([self.readable(x) for x in xs], y, self.threads)
        return y

    def binary(self, a: np.ndarray, b: np.ndarray | None, function: str, number: float | None) -> np.ndarray:
        """The function of that name of a and b, which broadcast, or of a and a number, rounded to the dtype of a."""
        self.check_float(function, a)
        if b is None:
            with np.errstate(over="ignore"):
                b = np.asarray(number, a.dtype)
        elif b.dtype != a.dtype:
            raise TypeError(f"{function}: expected operands of one dtype, got {a.dtype} and {b.dtype}")
        y = self.empty(np.broadcast_shapes(a.shape, b.shape), a.dtype)
        self.module.binary(self.readable(a), self.readable(b), y, function, self.threads)
        return y
