"""Bias and activation, applied in place to an op's new output array; the CPU backends share these functions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def relu(y: np.ndarray) -> np.ndarray:
    """max(y, 0), in place."""
    return np.maximum(y, 0, out=y)


def sigmoid(y: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-y)) in place, as exp(min(y, 0)) / (1 + exp(-|y|)): nothing overflows and small results are exact.
    """
    divisor = np.abs(y, out=np.empty_like(y))
    np.negative(divisor, out=divisor)
    np.exp(divisor, out=divisor)
    divisor += 1
    np.minimum(y, 0, out=y)
    np.exp(y, out=y)
    return np.divide(y, divisor, out=y)


def tanh(y: np.ndarray) -> np.ndarray:
    """tanh(y), in place."""
    return np.tanh(y, out=y)


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"relu": relu, "sigmoid": sigmoid, "tanh": tanh}


def finish(y: np.ndarray, bias: np.ndarray | None, activation: str | None) -> np.ndarray:
    """Add the bias (broadcast) to y and apply the activation; y is overwritten and returned."""
    if bias is not None:
        y += bias
    if activation is not None:
        ACTIVATIONS[activation](y)
    return y
