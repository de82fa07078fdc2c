"""Activations and sums of arrays, element by element."""

from __future__ import annotations

from typing import Any

from .crossing import Array, Crossing


class Elementwise(Crossing):
    """The ops activate and add_n, with their gradients."""

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

    def _launch_elementwise(self, op: str, arrays: tuple[Any, ...], *options: Any) -> None:
        result = arrays[-1]
        self.launch(op, arrays, "plan_elementwise", (op, result.size, result.dtype), *options, takes_workspace=False)
