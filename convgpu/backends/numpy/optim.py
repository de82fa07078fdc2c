"""Steps of optimizers: in pieces that stay in the CPU's cache, without arrays for intermediate results, by threads.

Formulas are computed from left to right, in float32 for half types, so that kernels can give the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ...dtypes import accumulator, as_dtype
from ...ops.optim import Adam, Operands, Results, Rule, Sgd
from .workers import parallel_for

PIECE = 1 << 15  # the elements of an array that are updated at a time
SHARED = 1 << 18  # the elements of all arrays from which on threads share them
GROWTH_INTERVAL = 2000  # as in csrc/optim/shared.h

# Writes new parameters (in the accumulator's dtype) and new slots of one piece: update(new, new_slots, p, g, slots)
Update = Callable[[Any, list[Any], Any, Any, list[Any]], None]


def sgd_step(arrays: list[np.ndarray], rule: Sgd) -> tuple[np.ndarray, ...]:
    """Gradient descent with momentum: new parameters and velocities."""
    given = rule.operands(arrays)
    return _stepped(given, rule, _sgd(rule, float(given.rate)))


def adam_step(arrays: list[np.ndarray], rule: Adam) -> tuple[np.ndarray, ...]:
    """Adam and AdamW: new parameters, and new running means of gradients and of their squares."""
    given = rule.operands(arrays)
    return _stepped(given, rule, _adam(rule, float(given.rate), int(given.steps) + 1))


def global_norm(xs: list[np.ndarray]) -> np.ndarray:
    """The root of the sum of all squares, in float64."""
    total = 0.0
    for x in xs:
        for piece in _pieces(x.size):
            values = x.reshape(-1)[piece].astype(np.float64, copy=False)
            total += float(np.dot(values, values))
    return np.array(math.sqrt(total))


@np.errstate(over="ignore")  # a gradient beyond a half type is Inf, for which a loss scale skips the step
def cast_all(xs: list[np.ndarray], dtype: str, divided: bool) -> tuple[np.ndarray, ...]:
    """Every array in another dtype; with `divided` they are divided by the first element of the last one."""
    kind = as_dtype(dtype)
    if not divided:
        return tuple([x.astype(kind) for x in xs])
    *xs, divisor = xs
    by = divisor.reshape(-1)[0]
    wide = [np.result_type(accumulator(x.dtype), accumulator(kind)) for x in xs]
    return tuple([np.asarray(x.astype(w, copy=False) / w.type(by)).astype(kind, copy=False) for x, w in zip(xs, wide)])


def _sgd(rule: Sgd, rate: float) -> Update:
    momentum = rule.momentum

    def update(new: Any, new_slots: list[Any], p: Any, g: Any, slots: list[Any]) -> None:
        if rule.weight_decay:
            g = g + rule.weight_decay * p
        if momentum and rule.keras:
            change = g * rate
            v = np.multiply(slots[0], momentum, out=new_slots[0])
            v -= change
            if rule.nesterov:
                np.multiply(v, momentum, out=new)
                new += p
                new -= change
            else:
                np.add(p, v, out=new)
            return
        if momentum:
            v = np.multiply(slots[0], momentum, out=new_slots[0])
            v += g
            g = np.add(g, np.multiply(v, momentum, out=new), out=new) if rule.nesterov else v
        np.multiply(g, -rate, out=new)
        new += p

    return update


def _adam(rule: Adam, rate: float, step: int) -> Update:
    beta1, beta2 = rule.beta1, rule.beta2
    first, second = 1 - beta1**step, 1 - beta2**step

    def update(new: Any, new_slots: list[Any], p: Any, g: Any, slots: list[Any]) -> None:
        mean, square = new_slots
        if rule.weight_decay and rule.decoupled:
            p = p * (1 - rate * rule.weight_decay)
        elif rule.weight_decay:
            g = g + rule.weight_decay * p
        if rule.keras:
            np.subtract(g, slots[0], out=new)
            new *= 1 - beta1
            np.add(slots[0], new, out=mean)
            np.square(g, out=new)
            new -= slots[1]
            new *= 1 - beta2
            np.add(slots[1], new, out=square)
            np.sqrt(square, out=new)
            new += rule.epsilon
            np.divide(mean, new, out=new)
            new *= rate * math.sqrt(second) / first
            np.subtract(p, new, out=new)
            return
        np.multiply(g, 1 - beta1, out=new)
        np.multiply(slots[0], beta1, out=mean)
        mean += new
        np.square(g, out=new)
        new *= 1 - beta2
        np.multiply(slots[1], beta2, out=square)
        square += new
        # the lines below compute new = -rate/(1-beta1^t) * mean / (sqrt(square)/sqrt(1-beta2^t) + epsilon) in place
        np.sqrt(square, out=new)
        new *= 1 / math.sqrt(second)
        new += rule.epsilon
        np.divide(mean, new, out=new)
        new *= -rate / first
        new += p

    return update


def _stepped(given: Operands, rule: Rule, update: Update) -> tuple[np.ndarray, ...]:
    """All new parameters and slots, unless the gradients are not finite and the step is skipped for that."""
    norm = math.nan if given.norm is None else float(given.norm)
    skipped = given.scaling is not None and not math.isfinite(norm)
    scaling = None if given.scaling is None else next_scaling(given.scaling, skipped)
    steps = np.array(int(given.steps) + (not skipped), np.int64)
    if skipped:
        params, slots = given.params, given.slots
    else:
        # the quotient is min's first argument, so that a norm of NaN gives NaN and not 1
        factor = 1.0 if rule.clip_norm is None else min(rule.clip_norm / (norm + 1e-6), 1.0)
        pieces: list[Callable[[], None]] = []
        pairs = [_step_one(p, g, list(state), factor if rule.clip_norm is not None else None, update, pieces)
                 for p, g, *state in zip(given.params, given.grads, *given.slots)]
        if sum([p.size for p in given.params]) < SHARED:
            for piece in pieces:
                piece()
        else:
            parallel_for(len(pieces), lambda i: pieces[i]())
        params = [p for p, _ in pairs]
        slots = tuple([state[i] for _, state in pairs] for i in range(rule.slots))
    copies = [] if rule.copies is None else [p.astype(as_dtype(rule.copies)) for p in params]
    return Results(params, slots, copies, steps, scaling).flat()


def _step_one(p: np.ndarray, g: np.ndarray, state: list[np.ndarray], factor: float | None,
              update: Update, pieces: list[Callable[[], None]]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The new parameter and its new state, for which work is added to `pieces`."""
    wide = accumulator(p.dtype)
    new, new_state = np.empty(p.shape, p.dtype), [np.empty(p.shape, wide) for _ in state]
    if p.size <= PIECE and p.ndim:  # results of no axes would be NumPy's scalars
        pieces.append(partial(_step_piece, new, p, g, state, new_state, wide, factor, update))
        return new, new_state
    to, p, g, *rest = [a.reshape(-1) for a in (new, p, g, *state, *new_state)]
    for piece in _pieces(p.size):
        slots = [a[piece] for a in rest]
        pieces.append(partial(_step_piece, to[piece], p[piece], g[piece], slots[:len(state)], slots[len(state):], wide,
                              factor, update))
    return new, new_state


def _step_piece(new: Any, p: Any, g: Any, state: list[Any], new_state: list[Any], wide: np.dtype,
                factor: float | None, update: Update) -> None:
    p, g = p.astype(wide, copy=False), g.astype(wide, copy=False)
    if factor is not None:
        g = g * factor
    if new.dtype == wide:
        update(new, new_state, p, g, state)
        return
    out = np.empty(new.shape, wide)
    update(out, new_state, p, g, state)
    new[...] = out


def _pieces(size: int) -> Iterator[slice]:
    return (slice(start, start + PIECE) for start in range(0, size, PIECE))


def next_scaling(scaling: np.ndarray, skipped: bool) -> np.ndarray:
    """The next loss scale, and the number of steps since it changed."""
    scale, good = scaling.tolist()
    if skipped:
        return np.array([scale * 0.5, 0], np.float32)
    if good + 1 < GROWTH_INTERVAL:
        return np.array([scale, good + 1], np.float32)
    doubled = np.float32(scale) * 2 if scale * 2 < float(np.finfo(np.float32).max) else scale
    return np.array([doubled, 0], np.float32)
