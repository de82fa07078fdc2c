"""Steps of optimizers, the norm of lists of arrays, and casts of lists: each is one call for all arrays."""

from __future__ import annotations

import math

import numpy as np

from ...dtypes import accumulator, as_dtype
from ...ops.optim import Adam, Operands, Results, Rule, Sgd
from ..numpy.optim import next_scaling
from .crossing import Crossing


class Optim(Crossing):
    """The ops sgd_step, adam_step, global_norm and cast_all, computed by csrc/cpu/kernels/optim.cpp."""

    def sgd_step(self, arrays: list[np.ndarray], rule: Sgd) -> tuple[np.ndarray, ...]:
        """Gradient descent with momentum: new parameters and velocities."""
        given = rule.operands(arrays)
        return self._stepped(given, rule, rate=float(given.rate), momentum=rule.momentum,
                             weight_decay=rule.weight_decay, nesterov=rule.nesterov, keras=rule.keras)

    def adam_step(self, arrays: list[np.ndarray], rule: Adam) -> tuple[np.ndarray, ...]:
        """Adam and AdamW: new parameters, and new running means of gradients and of their squares."""
        given = rule.operands(arrays)
        rate, step = float(given.rate), int(given.steps) + 1
        first, second = 1 - rule.beta1**step, 1 - rule.beta2**step
        return self._stepped(
            given, rule, beta1=rule.beta1, rest1=1 - rule.beta1, beta2=rule.beta2, rest2=1 - rule.beta2,
            epsilon=rule.epsilon, weight_decay=rule.weight_decay, kept=1 - rate * rule.weight_decay,
            size=rate * math.sqrt(second) / first if rule.keras else rate / first, per_root=1 / math.sqrt(second),
            decoupled=rule.decoupled, keras=rule.keras)

    def global_norm(self, xs: list[np.ndarray]) -> np.ndarray:
        """The root of the sum of all squares, in float64."""
        self._check_list("global_norm", xs)
        return np.array(self.module.global_norm(list(map(self.dense, xs)), self.threads))

    def cast_all(self, xs: list[np.ndarray], dtype: str, divided: bool) -> tuple[np.ndarray, ...]:
        """Every array in another dtype; with `divided` they are divided by the first element of the last one."""
        divisor = None
        if divided:
            *xs, last = xs
            divisor = float(last.reshape(-1)[0])
        self._check_list("cast_all", xs)
        ys = [self.empty(x.shape, as_dtype(dtype)) for x in xs]
        self.module.cast_all(list(map(self.dense, xs)), ys, divisor, self.threads)
        return tuple(ys)

    def _stepped(self, given: Operands, rule: Rule, **numbers: float) -> tuple[np.ndarray, ...]:
        """All new parameters and slots, unless the gradients are not finite and the step is skipped for that."""
        norm = math.nan if given.norm is None else float(given.norm)
        skipped = given.scaling is not None and not math.isfinite(norm)
        scaling = None if given.scaling is None else next_scaling(given.scaling, skipped)
        steps = np.array(int(given.steps) + (not skipped), np.int64)
        kind = None if rule.copies is None else as_dtype(rule.copies)
        if skipped:
            copies = [] if kind is None else list(self.cast_all(given.params, kind.name, False))
            return Results(given.params, given.slots, copies, steps, scaling).flat()
        # the quotient is min's first argument, so that a norm of NaN gives NaN and not 1
        factor = 1.0 if rule.clip_norm is None else min(rule.clip_norm / (norm + 1e-6), 1.0)
        self._check_list(rule.op, given.params)
        params = [self.empty(p.shape, p.dtype) for p in given.params]
        slots = tuple([self.empty(p.shape, accumulator(p.dtype)) for p in given.params] for _ in range(rule.slots))
        copies = [] if kind is None else [self.empty(p.shape, kind) for p in given.params]
        getattr(self.module, rule.op)(
            list(map(self.dense, given.params)), list(map(self.dense, given.grads)),
            [list(map(self.dense, slot)) for slot in given.slots], params, slots, copies, self.threads, factor=factor,
            clipped=rule.clip_norm is not None, **numbers)
        return Results(params, slots, copies, steps, scaling).flat()

    def _check_list(self, op: str, xs: list[np.ndarray]) -> None:
        for x in xs[:1]:  # all have its dtype
            self.check_float(op, x)
