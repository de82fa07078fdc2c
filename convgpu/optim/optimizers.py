"""Optimizers, which compute better parameters from parameters and gradients.

    optimizer = Adam(lr=1e-3)
    loss, grads = convgpu.value_and_grad(f)(params, x, y)
    params = optimizer.step(params, grads)

Parameters are values: `step` returns new ones, in the same nested dicts, lists and tuples. The tape does not record the
update. An optimizer's state has the structure of the parameters, and is in float32 for half types. On a GPU one launch
updates all parameters of one dtype (convgpu/ops/optim.py), and no step waits for the host.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .. import tree
from ..arguments import integer, number, number_in, truth
from ..capturing import region
from ..device import check_one_device, device_of, move, run_there, to_numpy
from ..dtypes import accumulator, is_float
from ..ops import optim as ops
from ..tensor import Tensor, as_tensor, wrap
from .schedules import Schedule

DecayMask = Any  # a function of a parameter, a tree of booleans, or None


class LossScale:
    """The number that losses in float16 are multiplied by, so that small gradients do not vanish.

    Args:
        initial: the first scale; 2^16, as in PyTorch.

    An optimizer that is given one skips a step whose gradients contain Inf or NaN, and halves the scale; after 2000
    steps without, it doubles it. Scale and count are one array on the device of the parameters. `convgpu.mixed` makes
    one, and divides gradients by it.

    >>> LossScale(4.0).value
    4.0
    """

    def __init__(self, initial: float = 65536.0):
        if not 0 < number("LossScale", "initial", initial) <= float(np.finfo(np.float32).max):
            raise ValueError(f"LossScale: expected a positive number, got {initial!r:.80}; float32 holds it")
        self.state: Any = np.array([initial, 0], np.float32)  # the scale, and the number of steps since it changed

    @property
    def value(self) -> float:
        """The scale. On a GPU, the call waits for it."""
        region.refuse("the value of a loss scale")
        return float(to_numpy(self.state)[0])

    def beside(self, array: Any) -> Any:
        """The scale and the count on the device of an array; they are moved there if that is another one."""
        region.note(self, "state")
        self.state = _beside(array, self.state)
        return self.state


class Optimizer:
    """The base of SGD and Adam: it holds the state, checks the structure, and saves and loads.

    A subclass lists in `slots` the arrays that it keeps per parameter, and updates one parameter in `update`.
    """

    slots: tuple[str, ...] = ()

    def __init__(self, lr: float | Schedule, weight_decay: float = 0.0, clip_norm: float | None = None,
                 loss_scale: LossScale | None = None, decay_mask: DecayMask = None):
        name = type(self).__name__
        if loss_scale is not None and not isinstance(loss_scale, LossScale):
            raise TypeError(f"{name}: expected loss_scale to be a LossScale or None, got {loss_scale!r:.80}")
        self._calls = 0
        self.lr = lr  # type: ignore[assignment]
        self.weight_decay, self.decay_mask = number_in(name, "weight_decay", weight_decay), decay_mask
        self.clip_norm = None if clip_norm is None else number_in(name, "clip_norm", clip_norm)
        self.loss_scale = loss_scale
        self._steps: Any = 0  # a Python number, or an array on the device of the parameters
        self._rates: dict[Any, tuple[float, Any]] = {}  # the learning rate on each device
        self._state: dict[str, list[Any]] = {}  # for each slot, an array for each parameter
        self._places: Any = None  # a tree of the parameters' places in these lists

    @property
    def lr(self) -> float:
        """The learning rate of the next step. It can be set between steps, to a number or to a schedule."""
        if self.schedule is None:
            return self._lr
        rate = float(self.schedule(self._calls))
        if not rate >= 0:
            raise ValueError(f"{type(self).__name__}: expected a schedule of rates >= 0, got {rate} at step "
                             f"{self._calls}")
        return rate

    @lr.setter
    def lr(self, lr: float | Schedule) -> None:
        self.schedule: Schedule | None = lr if callable(lr) else None
        if not callable(lr):
            self._lr = float(number_in(type(self).__name__, "lr", lr))  # a NumPy scalar would promote float32

    @property
    def steps(self) -> int:
        """The number of steps so far, without those that were skipped. On a GPU, the call waits for it."""
        region.refuse("the number of an optimizer's steps")
        return self._count_on_host()

    def _count_call(self) -> None:
        self._calls += 1

    def _count_on_host(self) -> int:
        return self._steps if isinstance(self._steps, int) else int(to_numpy(self._steps))

    def update(self, p: Any, g: Any, *state: Any) -> Any:
        """Return the new value of one parameter. Arrays have the accumulator's dtype; `state` is changed in place."""
        raise NotImplementedError(f"{type(self).__name__}.update")

    def step(self, params: Any, grads: Any) -> Any:
        """The parameters after one step against the gradients. A step that raises an error changes nothing.

        Args:
            params: Tensors in nested dicts, lists and tuples.
            grads: gradients in the same structure and shapes, as `convgpu.value_and_grad` returns them.

        Raises:
            ValueError: the structure or a shape differs from that of params, or from earlier steps.
            TypeError: a parameter is not floating.
        """
        region.note(self, "_calls", "_steps", "_places", "_state")
        known = [self._state[slot] for slot in self.slots if slot in self._state]
        places = _numbered(params) if self._places is None else self._places
        rows: dict[int, tuple[Tensor, Any, list[Any]]] = {}

        def see(p: Any, g: Any, place: int) -> None:
            rows[place] = _checked(as_tensor(p, "step"), as_tensor(g, "step"), [slot[place] for slot in known])

        tree.map(see, params, grads, places)
        leaves, gradients, state = zip(*[rows[i] for i in range(len(rows))]) if rows else ((), (), ())
        arrays = [p.array for p in leaves]
        states = [list(slot) for slot in zip(*state)] if known else [[_zeros_for(a) for a in arrays]
                                                                     for _ in self.slots]
        if type(self).update is not Optimizer.update:
            if self.decay_mask is not None:
                raise NotImplementedError(f"{type(self).__name__}.step: decay_mask with an `update` of its own")
            done = self._step_by_update(arrays, list(gradients), states, self._norm(gradients))
        else:
            done = self._step_by_op(arrays, list(gradients), states, self._norm(gradients),
                                    self._decaying(params, places))
        new = [wrap(array).requires_grad_(p.requires_grad) for array, p in zip(done.params, leaves)]
        self._count_call()
        recorder = region.recorder()
        if recorder is not None:
            recorder.before_launch.append(self._count_call)
        self._steps, self._places = done.steps, places if self.slots and rows else None
        self._state = dict(zip(self.slots, done.slots)) if rows else {}
        if self.loss_scale is not None and done.scaling is not None:
            region.note(self.loss_scale, "state")
            self.loss_scale.state = done.scaling
        return tree.map(lambda p, place: new[place], params, places)

    def _rule(self) -> ops.Rule:
        """The rule of the backend's op that takes the step."""
        raise NotImplementedError(f"{type(self).__name__}.update")

    def _norm(self, gradients: Sequence[Any]) -> Any:
        """The norm of all gradients, where the step needs it."""
        if not gradients or (self.clip_norm is None and self.loss_scale is None):
            return None
        return norm_of(gradients, "step")

    def _decaying(self, params: Any, places: Any) -> dict[int, bool]:
        """For the place of each parameter, whether it has weight decay."""
        found: dict[int, bool] = {}
        mask = self.decay_mask
        if callable(mask):
            tree.map(lambda p, place: found.update({place: bool(mask(p))}), params, places)
        else:
            tree.map(lambda place, decays: found.update({place: bool(decays)}), places,
                     tree.map(lambda place: True, places) if mask is None else mask)
        return found

    def _step_by_op(self, params: list[Any], grads: list[Any], states: list[list[Any]], norm: Any,
                    decays: dict[int, bool]) -> ops.Results:
        """One call of the backend's op for all parameters of one dtype and device that decay alike."""
        rule = self._rule()
        if not params:
            return ops.Results([], tuple([] for _ in self.slots), [], self._count_on_host() + 1, None)
        results: list[Any] = [None] * len(params)
        groups: dict[Any, list[int]] = {}
        for i, p in enumerate(params):
            groups.setdefault((device_of(p), p.dtype, decays[i] or not rule.weight_decay), []).append(i)
        undecayed = replace(rule, weight_decay=0.0)
        for (_, _, decaying), chosen in groups.items():
            first = params[chosen[0]]
            given = ops.Operands([params[i] for i in chosen], [grads[i] for i in chosen],
                                 tuple([slot[i] for i in chosen] for slot in states), self._rate(first),
                                 self._count(first), norm,
                                 None if self.loss_scale is None else self.loss_scale.beside(first))
            done = ops.step(rule if decaying else undecayed, given)
            for row, i in zip(zip(done.params, *done.slots), chosen):
                results[i] = row
        lists = [list(row) for row in zip(*results)]
        return ops.Results(lists[0], tuple(lists[1:]), [], done.steps, done.scaling)

    def _step_by_update(self, params: list[Any], grads: list[Any], states: list[list[Any]], norm: Any) -> ops.Results:
        """The method `update` for each parameter, on copies of the state. The host waits for the norm, if any."""
        region.refuse(f"{type(self).__name__}.update, which counts steps on the host,", "use SGD, Adam or AdamW")
        size = None if norm is None else float(to_numpy(norm))
        if self.loss_scale is not None and size is not None and not math.isfinite(size):
            return ops.Results(params, tuple(states), [], self.steps, self._next_scaling(True))
        # the quotient is min's first argument, so that a norm of NaN gives NaN and not 1
        factor = 1.0 if size is None or self.clip_norm is None else min(self.clip_norm / (size + 1e-6), 1.0)
        before = self._steps
        self._steps = self.steps + 1
        rows = []
        try:
            for p, g, *state in zip(params, grads, *states):
                rows.append(self._update_one(p, g, state, factor))
            steps = self._steps
        finally:
            self._steps = before
        lists = [[row[i] for row in rows] for i in range(1 + len(self.slots))]
        return ops.Results(lists[0], tuple(lists[1:]), [], steps, self._next_scaling(False))

    def _update_one(self, p: Any, g: Any, state: list[Any], factor: float) -> list[Any]:
        wide = accumulator(p.dtype)

        def update() -> list[Any]:
            new_state = [s.copy() for s in state]
            gradient = g.astype(wide, copy=False)
            new = self.update(p.astype(wide, copy=False), gradient * factor if factor != 1 else gradient, *new_state)
            return [new.astype(p.dtype, copy=False), *new_state]

        return run_there(f"{type(self).__name__}.step", p, update)

    def _next_scaling(self, skipped: bool) -> Any:
        if self.loss_scale is None:
            return None
        from ..backends.numpy.optim import next_scaling

        return next_scaling(to_numpy(self.loss_scale.state), skipped)

    def _rate(self, array: Any) -> Any:
        """The learning rate as an array beside another one; it is kept as long as it is the same."""
        recorder = region.recorder()
        if recorder is not None:
            return recorder.number(lambda: float(self.lr), np.float64)
        key, rate = (device_of(array), type(array)), float(self.lr)
        if key not in self._rates or self._rates[key][0] != rate:
            self._rates[key] = rate, scalar_beside(array, rate, np.float64)
        return self._rates[key][1]

    def _count(self, array: Any) -> Any:
        """The number of steps as an array beside another one."""
        steps = self._steps
        return scalar_beside(array, steps, np.int64) if isinstance(steps, int) else _beside(array, steps)

    def state_dict(self) -> dict[str, Any]:
        """A copy of the state: "steps", for each slot a tree of NumPy arrays, "loss_scale" where there is one, and
        "calls", the steps with those that were skipped, where lr is a schedule. It does not contain lr.

        >>> SGD(lr=0.1).state_dict()
        {'steps': 0}
        """
        copies = {slot: tree.map(lambda place, state=state: np.array(to_numpy(state[place])), self._places)
                  for slot, state in self._state.items()}
        if self.loss_scale is not None:
            copies["loss_scale"] = np.array(to_numpy(self.loss_scale.state))
        return {"steps": self.steps, **copies, **({} if self.schedule is None else {"calls": self._calls})}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the state that `state_dict` returned: the next steps are the same to the last bit.

        Raises:
            TypeError: something else than a dict, steps that are no integer, state that is not floating. ValueError:
                missing or unknown keys, a negative number of steps. Nothing is changed then.
        """
        caller = f"{type(self).__name__}.load_state_dict"
        if not isinstance(state, Mapping):
            raise TypeError(f"{caller}: expected a dict as state_dict returns it, got {state!r:.80}")
        scale = ["loss_scale"] if self.loss_scale is not None else []
        known = ["steps", *self.slots, *scale]
        steps = integer(caller, "steps", state["steps"], 0) if "steps" in state else 0
        calls = integer(caller, "calls", state.get("calls", steps), 0)
        missing = {*known} - state.keys() if steps else {"steps", *scale} - state.keys()
        unknown = state.keys() - {*known, "calls"}
        if missing or unknown:
            raise ValueError(f"{caller}: expected the keys {known}, got {sorted(map(str, state))}")
        slots = [slot for slot in self.slots if slot in state]
        places = _numbered(state[slots[0]]) if slots else None
        arrays = {slot: _in_places(f"{caller}: {slot}", state[slot], places) for slot in slots}
        if self.loss_scale is not None:
            self.loss_scale.state = _scaling(caller, state["loss_scale"])
        self._steps, self._calls, self._places, self._state = steps, calls, places, arrays


def _scaling(caller: str, value: Any) -> np.ndarray:
    """A loss scale and the number of steps since it changed, as `state_dict` gives them."""
    given = np.asarray(value)
    if given.dtype.kind not in "fiu" or given.shape != (2,) or not 0 < given[0] < math.inf or not given[1] >= 0:
        raise ValueError(f"{caller}: expected loss_scale to be a positive scale and a number of steps, got "
                         f"{value!r:.80}")
    return given.astype(np.float32)


def norm_of(arrays: Sequence[Any], caller: str) -> Any:
    """The norm of all elements of a list of arrays, an array of float64 without axes."""
    check_one_device(caller, arrays)
    kinds = dict.fromkeys(array.dtype for array in arrays)
    norms = [ops.run("global_norm", [array for array in arrays if array.dtype == kind]) for kind in kinds]
    while len(norms) > 1:
        norms.append(np.hypot(norms.pop(), norms.pop()))
    return np.asarray(norms[0]) if isinstance(norms[0], np.generic) else norms[0]


def scalar_beside(beside: Any, value: float, dtype: type) -> Any:
    """A number as an array of no axes on the device of another array."""
    if isinstance(beside, np.ndarray):
        return np.array(value, dtype)
    return run_there("step", beside, lambda: np.zeros_like(beside, dtype=dtype, shape=()) + value)


def _numbered(params: Any) -> Any:
    """A tree of the same structure with the numbers 0, 1, ... as leaves."""
    numbers = itertools.count()
    return tree.map(lambda p: next(numbers), params)


def _in_places(what: str, state: Any, places: Any) -> list[Any]:
    """Copies of a tree's floating arrays in the order of their places."""
    found: dict[int, Any] = {}

    def see(place: int, s: Any) -> None:
        array = np.array(s)
        if not is_float(array.dtype):
            raise TypeError(f"{what}: expected floating arrays, got {s!r:.80}")
        found[place] = array

    tree.map(see, places, state)
    return [found[i] for i in range(len(found))]


def _zeros_for(array: Any) -> Any:
    return np.zeros_like(array, dtype=accumulator(array.dtype))


def _beside(array: Any, state: Any) -> Any:
    """The state, moved to the device of an array."""
    return move(state, device_of(array))


def _checked(p: Tensor, g: Tensor, state: list[Any]) -> tuple[Tensor, Any, list[Any]]:
    """A parameter, its gradient's array, and its state on its device; an error, before anything is changed, unless
    they fit each other.
    """
    if not is_float(p.dtype):
        raise TypeError(f"step: expected floating parameters, got {p.dtype} of shape {p.shape}")
    if g.device != p.device:
        raise TypeError(f"step: expected gradients on the device of their parameters, got {g.device} and {p.device}")
    for shape in (g.shape, *[s.shape for s in state]):
        if shape != p.shape:
            raise ValueError(f"step: expected a gradient and a state of the parameter's shape {p.shape}, got {shape}")
    return p, g.array, [_beside(p.array, s) for s in state]


class SGD(Optimizer):
    """Stochastic gradient descent, with optional momentum.

    g <- g + weight_decay * p;  v <- momentum * v + g;  p <- p - lr * v, or with `nesterov` p - lr * (g + momentum * v)

    Args:
        lr: the learning rate: a number, or a function of the step (see `cosine`).
        momentum: the share of the last direction that is kept, 0 to 1.
        nesterov: look ahead along v, which needs momentum.
        weight_decay: the weight of the L2 penalty in the gradient.
        clip_norm: if the norm of all gradients is above it, they are scaled down to it.
        loss_scale: that of `convgpu.mixed`, for float16: steps with gradients of Inf or NaN are skipped.
        decay_mask: which parameters have weight decay: a function such as `lambda p: p.ndim > 1`, or booleans in the
            structure of the parameters; None: all.

    The formulas are PyTorch's, without dampening.

    >>> import convgpu as cg
    >>> SGD(lr=0.5).step({"w": cg.tensor([1.0, 2.0])}, {"w": cg.tensor([1.0, -1.0])})
    {'w': Tensor([0.5, 2.5], dtype=float32)}
    """

    def __init__(self, lr: float | Schedule, momentum: float = 0.0, nesterov: bool = False, weight_decay: float = 0.0,
                 clip_norm: float | None = None, loss_scale: LossScale | None = None,
                 decay_mask: DecayMask = None):
        super().__init__(lr, weight_decay, clip_norm, loss_scale, decay_mask)
        self.momentum = number_in("SGD", "momentum", momentum, most=1)
        self.nesterov = truth("SGD", "nesterov", nesterov)
        if self.nesterov and not momentum:
            raise ValueError(f"SGD: expected momentum above 0 with nesterov, got {momentum}")
        self.slots = ("velocity",) if momentum else ()

    def _rule(self) -> ops.Sgd:
        return ops.Sgd(self.weight_decay, self.clip_norm, self.loss_scale is not None, momentum=self.momentum,
                       nesterov=self.nesterov)


class Adam(Optimizer):
    """Adam: its steps are about lr in each direction, whatever the scale of the gradient.

    m <- beta1 * m + (1 - beta1) * g;  v <- beta2 * v + (1 - beta2) * g^2
    p <- p - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)      at step t = 1, 2, ...

    From Kingma and Ba, "Adam: A Method for Stochastic Optimization" (2015); the formulas are PyTorch's.

    Args:
        lr: the learning rate: a number, or a function of the step (see `cosine`).
        betas: the shares of the running means of g and of g^2 that are kept at each step.
        epsilon: a number that keeps the divisor above 0.
        weight_decay: the weight of the L2 penalty in the gradient.
        clip_norm: if the norm of all gradients is above it, they are scaled down to it.
        loss_scale: that of `convgpu.mixed`, for float16: steps with gradients of Inf or NaN are skipped.
        decay_mask: which parameters have weight decay: a function such as `lambda p: p.ndim > 1`, or booleans in the
            structure of the parameters; None: all.

    >>> import convgpu as cg
    >>> Adam(lr=0.5).step([cg.tensor([1.0, 2.0])], [cg.tensor([10.0, -0.1])])
    [Tensor([0.5, 2.5], dtype=float32)]
    """

    slots = ("mean", "square")
    decoupled = False

    def __init__(self, lr: float | Schedule = 1e-3, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8,
                 weight_decay: float = 0.0, clip_norm: float | None = None, loss_scale: LossScale | None = None,
                 decay_mask: DecayMask = None):
        super().__init__(lr, weight_decay, clip_norm, loss_scale, decay_mask)
        name = type(self).__name__
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise TypeError(f"{name}: expected betas to be two numbers, got {betas!r:.80}")
        first, second = (number(name, "betas", beta) for beta in betas)
        if not 0 <= first < 1 or not 0 <= second < 1:
            raise ValueError(f"{name}: expected betas in [0, 1), got {betas}")
        self.betas, self.epsilon = (first, second), number_in(name, "epsilon", epsilon)

    def _rule(self) -> ops.Adam:
        beta1, beta2 = self.betas
        return ops.Adam(self.weight_decay, self.clip_norm, self.loss_scale is not None, beta1=beta1, beta2=beta2,
                        epsilon=self.epsilon, decoupled=self.decoupled)


class AdamW(Adam):
    """Adam with weight decay apart from the gradient: p <- p - lr * weight_decay * p comes before each step of Adam.

    From Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (2019); the formulas are PyTorch's.

    >>> import convgpu as cg
    >>> AdamW(lr=0.5, weight_decay=0.1).step([cg.tensor([1.0])], [cg.tensor([10.0])])
    [Tensor([0.45], dtype=float32)]
    """

    decoupled = True

    def __init__(self, lr: float | Schedule = 1e-3, betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-8,
                 weight_decay: float = 0.01, clip_norm: float | None = None, loss_scale: LossScale | None = None,
                 decay_mask: DecayMask = None):
        super().__init__(lr, betas, epsilon, weight_decay, clip_norm, loss_scale, decay_mask)
