"""Activations, sums of arrays, and functions of two operands, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from .crossing import Array, Crossing


class Elementwise(Crossing):
    """The ops activate, with its gradient, add_n and binary."""

    def activate(self, x: Array, function: str, alpha: float, scale: float) -> Array:
        """The activation of that name."""
        self.check_float(function, x)
        y = self.empty(x.shape, x.dtype)
        self._launch_elementwise("activate", (x, y), function, alpha, scale)
        return y

    def activate_dgrad(self, gy: Array, v: Array, function: str, alpha: float, scale: float) -> Array:
        """gy times the derivative of the activation of that name at v."""
        gx = self.empty(gy.shape, gy.dtype)
        self._launch_elementwise("activate_dgrad", (gy, v, gx), function, alpha, scale)
        return gx

    def add_n(self, xs: list[Array]) -> Array:
        """The sum of arrays of one shape."""
        self.check_float("add_n", xs[0])
        y = self.empty(xs[0].shape, xs[0].dtype)
        self._launch_elementwise("add_n", (*xs, y))
        return y

    def binary(self, a: Array, b: Array | None, function: str, number: float | None) -> Array:
        """The function of that name of a and b, which broadcast, or of a and a number."""
        self.check_float(function, a)
        if b is not None and b.dtype != a.dtype:
            raise TypeError(f"{function}: expected operands of one dtype, got {a.dtype} and {b.dtype}")
        y = self.empty(a.shape if b is None else np.broadcast_shapes(a.shape, b.shape), a.dtype)
        a, b = _without_repeats(a), None if b is None else _without_repeats(b)
        self.launch("binary", (a, b, y), "plan_binary", (a.shape, () if b is None else b.shape, y.shape, a.dtype),
                    function, 0.0 if number is None else float(number), takes_workspace=False)
        return y

    def _launch_elementwise(self, op: str, arrays: tuple[Any, ...], *options: Any) -> None:
        result = arrays[-1]
        self.launch(op, arrays, "plan_elementwise", (op, result.size, result.dtype), *options, takes_workspace=False)


def _without_repeats(array: Array) -> Array:
    """The array with one index along each axis that repeats one element, so that no copy is made of a broadcast view.
    """
    if 0 not in array.strides:
        return array
    return array[tuple([slice(0, 1) if step == 0 and n > 1 else slice(None)
                        for n, step in zip(array.shape, array.strides)])]
