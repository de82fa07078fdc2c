"""The part of optimizers that comes from the backend: SGD, Adam and AdamW update in one sweep, without recording.

Keras writes an update as a dozen ops per variable. Here the common optimizers need a few passes over arrays, in pieces
that stay in the CPU's cache; the formulas are Keras's. Other optimizers run Keras's ops.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.optimizers import base_optimizer

import convgpu as cg
from convgpu.device import CPU
from convgpu.tensor import wrap

from .core import convert_to_tensor

PIECE = 1 << 16  # elements of an array that are updated at a time


class ConvgpuOptimizer(base_optimizer.BaseOptimizer):
    """The mixin of `keras.optimizers.Optimizer`."""

    def _backend_apply_gradients(self, grads: Any, trainable_variables: Any) -> None:
        with cg.no_grad():
            super()._backend_apply_gradients(grads, trainable_variables)

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        sweep = None if in_stateless_scope() else _sweep(self, _scalar(learning_rate, trainable_variables))
        for grad, variable in zip(grads, trainable_variables):
            slots = [] if sweep is None else sweep.slots(self._get_variable_index(variable))
            if sweep is None or any(x.dtype != "float32" for x in (variable, *slots)) or grad.dtype != np.float32:
                self.update_step(grad, variable, learning_rate)
            else:
                _apply(sweep.update, grad.array, (variable, *slots))


def _scalar(number: Any, variables: Any) -> Any:
    """A number, or a tensor of one, as a Python float where the variables are on the CPU.

    Where they are on the GPU it is an array of the GPU, for which the host does not wait.
    """
    if not variables or variables[0].value.device == CPU:
        return float(number)
    return convert_to_tensor(number, "float32").array


class _Sweep:
    """How an optimizer updates one variable: `update(g, p, *slots)` changes all arrays but g in place."""

    def __init__(self, update: Callable[..., None], *slots: list[Any]):
        self.update, self._slots = update, slots

    def slots(self, index: int) -> list[Any]:
        """The optimizer's state for the variable with that index."""
        return [slot[index] for slot in self._slots]


def _sweep(optimizer: Any, rate: Any) -> _Sweep | None:
    """The sweep of an optimizer of exactly one of three classes; None for others, which may compute something else.

    Args:
        rate: a float, or where variables are on the GPU an array of one number there.
    """
    from keras.src.optimizers import SGD, Adam, AdamW  # imported late: these classes are built on this module

    if type(optimizer) in (Adam, AdamW) and not optimizer.amsgrad:
        beta1, beta2 = float(optimizer.beta_1), float(optimizer.beta_2)
        iterations = convert_to_tensor(optimizer.iterations)
        if isinstance(rate, float):
            step = int(iterations) + 1
            alpha = rate * math.sqrt(1 - beta2**step) / (1 - beta1**step)
        else:
            step = iterations.array.astype(np.float64) + 1
            alpha = (rate * np.sqrt(1 - beta2**step) / (1 - beta1**step)).astype(np.float32)
        return _Sweep(_adam(alpha, beta1, beta2, float(optimizer.epsilon)), optimizer._momentums,
                      optimizer._velocities)
    if type(optimizer) is SGD and not optimizer.momentum:
        return _Sweep(_sgd(rate))
    if type(optimizer) is SGD:
        return _Sweep(_momentum(rate, float(optimizer.momentum), optimizer.nesterov), optimizer.momentums)
    return None


def _sgd(rate: Any) -> Callable[..., None]:
    def update(g: Any, p: Any) -> None:
        p -= g * rate

    return update


def _momentum(rate: Any, momentum: float, nesterov: bool) -> Callable[..., None]:
    def update(g: Any, p: Any, m: Any) -> None:
        change = g * rate
        m *= momentum
        m -= change
        if nesterov:
            p += m * momentum
            p -= change
        else:
            p += m

    return update


def _adam(alpha: Any, beta1: float, beta2: float, epsilon: float) -> Callable[..., None]:
    """The update of Kingma and Ba (2015) with "epsilon hat"; alpha contains the corrections of both running means."""
    def update(g: Any, p: Any, m: Any, v: Any) -> None:
        change = g - m
        change *= 1 - beta1
        m += change
        np.square(g, out=change)
        change -= v
        change *= 1 - beta2
        v += change
        np.sqrt(v, out=change)
        change += epsilon
        np.divide(m, change, out=change)
        change *= alpha
        p -= change

    return update


def _apply(update: Callable[..., None], g: Any, variables: tuple[Any, ...]) -> None:
    """Run an update on copies of the variables' arrays; the copies become the variables' values."""
    arrays = [v._value.array.copy(order="C") for v in variables]
    flat = [a.reshape(-1) for a in (g, *arrays)]
    step = PIECE if isinstance(g, np.ndarray) else max(g.size, 1)  # on a GPU the whole array is one piece
    for start in range(0, g.size, step):
        update(*[a[start:start + step] for a in flat])
    for variable, array in zip(variables, arrays):
        variable._direct_assign(wrap(array))
