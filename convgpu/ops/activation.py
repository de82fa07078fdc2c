"""Activations by name: which ones an op can fuse into its epilogue, because the gradient follows from the output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..tensor import Tensor
from . import elementwise as e

# Fused: gradient with respect to the input from (g, output). The backends apply these in place (backends/epilogue.py).
FROM_OUTPUT: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "relu": lambda g, y: g * (y > 0),
    "sigmoid": lambda g, y: g * (y * (1 - y)),
    "tanh": lambda g, y: g * (1 - y * y),
}


def grad_from_output(activation: str | None, g: Tensor, y: Tensor) -> Tensor:
    """The gradient before a fused activation."""
    return g if activation is None else FROM_OUTPUT[activation](g, y)


def split(op: str, activation: str | None) -> tuple[str | None, Callable[[Tensor], Tensor]]:
    """(what the op fuses, what is applied after it) for an activation by name."""
    if activation is None or activation in FROM_OUTPUT:
        return activation, lambda y: y
    return None, lambda y: apply(op, activation, y)


def apply(op: str, activation: str | None, y: Tensor) -> Tensor:
    """Apply an activation by name."""
    if activation is None or activation == "linear":
        return y
    function = e.ACTIVATIONS.get(activation) if isinstance(activation, str) else None
    if function is None:
        raise ValueError(f"{op}: expected activation to be None or one of {sorted(e.ACTIVATIONS)}, got {activation!r}")
    return function(y)
