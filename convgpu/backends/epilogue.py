"""Bias and activation, applied in place to an op's fresh output: shared by the CPU backends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def _sigmoid(y: np.ndarray) -> None:
    # 1/(1+exp(-y)) through tanh, which neither overflows nor warns
    y *= y.dtype.type(0.5)
    np.tanh(y, out=y)
    y *= y.dtype.type(0.5)
    y += y.dtype.type(0.5)


ACTIVATIONS: dict[str, Callable[[np.ndarray], object]] = {
    "relu": lambda y: np.maximum(y, y.dtype.type(0), out=y),
    "sigmoid": _sigmoid,
    "tanh": lambda y: np.tanh(y, out=y),
}


def finish(y: np.ndarray, bias: np.ndarray | None, activation: str | None) -> np.ndarray:
    """y + bias (broadcast), activated; y itself is overwritten."""
    if bias is not None:
        y += bias
    if activation is not None:
        ACTIVATIONS[activation](y)
    return y
