"""Optimizers, which compute better parameters from parameters and gradients.

    optimizer = Adam(lr=1e-3)
    loss, grads = convgpu.value_and_grad(f)(params, x, y)
    params = optimizer.step(params, grads)

Parameters are values: `step` returns new ones, in the same nested dicts, lists and tuples. The tape does not record the
update. An optimizer's state has the structure of the parameters, and is in float32 for half types.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import tree
from .device import device_of, move, run_there, to_numpy
from .dtypes import accumulator, is_float
from .tensor import as_tensor, wrap


class Optimizer:
    """The base of SGD and Adam: it holds the state, checks the structure, and saves and loads.

    `lr` may be changed between steps (also to a NumPy scalar: it is used as a Python float, which does not promote
    float32). A subclass lists in `slots` the arrays that it keeps per parameter, and updates one parameter in `update`.
    """

    slots: tuple[str, ...] = ()

    def __init__(self, lr: float, weight_decay: float = 0.0):
        name = type(self).__name__
        if not lr >= 0 or not weight_decay >= 0:
            raise ValueError(f"{name}: expected lr >= 0 and weight_decay >= 0, got {lr} and {weight_decay}")
        self.lr, self.weight_decay = lr, weight_decay
        self.steps = 0
        self._state: dict[str, Any] = {}  # for each slot, a tree of arrays that are updated in place

    def update(self, p: Any, g: Any, *state: Any) -> Any:
        """Return the new value of one parameter. Arrays have the accumulator's dtype; `state` is changed in place."""
        raise NotImplementedError(f"{type(self).__name__}.update")

    def step(self, params: Any, grads: Any) -> Any:
        """The parameters after one step against the gradients.

        Args:
            params: Tensors in nested dicts, lists and tuples.
            grads: gradients in the same structure and shapes, as `convgpu.value_and_grad` returns them.

        Raises:
            ValueError: the structure or a shape differs from that of params, or from earlier steps.
            TypeError: a parameter is not floating.
        """
        states = [tree.map(_beside, params, self._state[slot]) if slot in self._state else tree.map(_zeros_for, params)
                  for slot in self.slots]
        tree.map(_check, params, grads, *states)
        self._state = dict(zip(self.slots, states))
        self.steps += 1
        return tree.map(self._step_one, params, grads, *states)

    def _step_one(self, p: Any, g: Any, *state: Any) -> Any:
        p, g = as_tensor(p, "step"), as_tensor(g, "step")
        wide = accumulator(p.dtype)

        def update() -> Any:
            new = self.update(p.array.astype(wide, copy=False), g.array.astype(wide, copy=False), *state)
            return new.astype(p.dtype, copy=False)

        new = run_there(f"{type(self).__name__}.step", p.array, update, retry=not state)
        return wrap(new).requires_grad_(p.requires_grad)

    def state_dict(self) -> dict[str, Any]:
        """A copy of the state: "steps", and for each slot a tree of NumPy arrays. It does not contain lr.

        >>> SGD(lr=0.1).state_dict()
        {'steps': 0}
        """
        copies = {slot: tree.map(lambda s: np.array(to_numpy(s)), state) for slot, state in self._state.items()}
        return {"steps": self.steps, **copies}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state that `state_dict` returned: the next steps are the same to the last bit."""
        missing = {"steps", *self.slots} - state.keys() if state.get("steps") else {"steps"} - state.keys()
        unknown = state.keys() - {"steps", *self.slots}
        if missing or unknown:
            raise ValueError(f"{type(self).__name__}.load_state_dict: expected the keys {['steps', *self.slots]}, "
                             f"got {sorted(state)}")
        self.steps = int(state["steps"])
        self._state = {slot: tree.map(np.array, state[slot]) for slot in self.slots if slot in state}


def _zeros_for(p: Any) -> Any:
    array = as_tensor(p, "step").array
    return np.zeros_like(array, dtype=accumulator(array.dtype))


def _beside(p: Any, state: Any) -> Any:
    """The state, moved to the parameter's device."""
    return move(state, device_of(as_tensor(p, "step").array))


def _check(p: Any, g: Any, *state: Any) -> None:
    """Raise an error, before anything is changed, unless parameter, gradient and state fit each other."""
    p, g = as_tensor(p, "step"), as_tensor(g, "step")
    if not is_float(p.dtype):
        raise TypeError(f"step: expected floating parameters, got {p.dtype} of shape {p.shape}")
    if g.device != p.device:
        raise TypeError(f"step: expected gradients on the device of their parameters, got {g.device} and {p.device}")
    for shape in (g.shape, *[s.shape for s in state]):
        if shape != p.shape:
            raise ValueError(f"step: expected a gradient and a state of the parameter's shape {p.shape}, got {shape}")


class SGD(Optimizer):
    """Stochastic gradient descent, with optional momentum.

    g <- g + weight_decay * p;  v <- momentum * v + g;  p <- p - lr * v, or with `nesterov` p - lr * (g + momentum * v)

    Args:
        lr: the learning rate.
        momentum: the share of the last direction that is kept, 0 to 1.
        nesterov: look ahead along v, which needs momentum.
        weight_decay: the weight of the L2 penalty in the gradient.

    The formulas are PyTorch's, without dampening.

    >>> import convgpu as cg
    >>> SGD(lr=0.5).step({"w": cg.tensor([1.0, 2.0])}, {"w": cg.tensor([1.0, -1.0])})
    {'w': Tensor([0.5, 2.5], dtype=float32)}
    """

    def __init__(self, lr: float, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0):
        super().__init__(lr, weight_decay)
        if not 0 <= momentum <= 1 or (nesterov and momentum == 0):
            raise ValueError(f"SGD: expected momentum in [0, 1], above 0 with nesterov, got {momentum}")
        self.momentum, self.nesterov = momentum, nesterov
        self.slots = ("velocity",) if momentum else ()

    def update(self, p: Any, g: Any, *state: Any) -> Any:
        """Update one parameter, as `Optimizer.update` says."""
        if self.weight_decay:
            g = g + self.weight_decay * p
        change = np.empty_like(p)  # allocated before the state changes, since memory may be short
        if self.momentum:
            velocity, = state
            velocity *= self.momentum
            velocity += g
            g = np.add(g, np.multiply(velocity, self.momentum, out=change), out=change) if self.nesterov else velocity
        np.multiply(g, -float(self.lr), out=change)
        change += p
        return change


class Adam(Optimizer):
    """Adam: its steps are about lr in each direction, whatever the scale of the gradient.

    m <- beta1 * m + (1 - beta1) * g;  v <- beta2 * v + (1 - beta2) * g^2
    p <- p - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)      at step t = 1, 2, ...

    From Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015); the formulas are PyTorch's.

    Args:
        lr: the learning rate.
        betas: the shares of the running means of g and of g^2 that are kept at each step.
        epsilon: a number that keeps the divisor above 0.
        weight_decay: the weight of the L2 penalty in the gradient.

    >>> import convgpu as cg
    >>> Adam(lr=0.5).step([cg.tensor([1.0, 2.0])], [cg.tensor([10.0, -0.1])])
    [Tensor([0.5, 2.5], dtype=float32)]
    """

    slots = ("mean", "square")
    decoupled = False

    def __init__(self, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8,
                 weight_decay: float = 0.0):
        super().__init__(lr, weight_decay)
        if not all(0 <= beta < 1 for beta in betas) or not epsilon >= 0:
            raise ValueError(f"{type(self).__name__}: expected betas in [0, 1) and epsilon >= 0, "
                             f"got {betas} and {epsilon}")
        self.betas, self.epsilon = tuple(betas), epsilon

    def update(self, p: Any, g: Any, *state: Any) -> Any:
        """Update one parameter, as `Optimizer.update` says."""
        if self.weight_decay and self.decoupled:
            p = p * (1 - float(self.lr) * self.weight_decay)
        elif self.weight_decay:
            g = g + self.weight_decay * p
        mean, square = state
        beta1, beta2 = self.betas
        # allocated before the state changes, since memory may be short
        change = np.multiply(g, 1 - beta1, out=np.empty_like(mean))
        mean *= beta1
        mean += change
        np.square(g, out=change)
        change *= 1 - beta2
        square *= beta2
        square += change
        # the lines below compute change = -lr/(1-beta1^t) * mean / (sqrt(square)/sqrt(1-beta2^t) + epsilon) in place
        np.sqrt(square, out=change)
        change *= 1 / math.sqrt(1 - beta2**self.steps)
        change += self.epsilon
        np.divide(mean, change, out=change)
        change *= -float(self.lr) / (1 - beta1**self.steps)
        change += p
        return change


class AdamW(Adam):
    """Adam with weight decay apart from the gradient: p <- p - lr * weight_decay * p comes before each step of Adam.

    From Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019); the formulas are PyTorch's.

    >>> import convgpu as cg
    >>> AdamW(lr=0.5, weight_decay=0.1).step([cg.tensor([1.0])], [cg.tensor([10.0])])
    [Tensor([0.45], dtype=float32)]
    """

    decoupled = True

    def __init__(self, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8,
                 weight_decay: float = 0.01):
        super().__init__(lr, betas, epsilon, weight_decay)
