"""Steps of optimizers over lists of arrays, whose addresses are passed as one table."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...dtypes import accumulator, as_dtype, is_half
from ...ops.optim import Adam, Operands, Results, Rule, Sgd
from .crossing import Array, Crossing


class Optim(Crossing):
    """The ops sgd_step, adam_step, global_norm and cast_all."""

    def sgd_step(self, arrays: list[Array], rule: Sgd) -> tuple[Array, ...]:
        """Gradient descent with momentum: new parameters and velocities."""
        settings = self.module.SgdRule(momentum=rule.momentum, weight_decay=rule.weight_decay,
                                       clip_norm=_limit(rule), nesterov=rule.nesterov, keras=rule.keras)
        return self._launch_step("sgd_step", arrays, rule, 1, settings)

    def adam_step(self, arrays: list[Array], rule: Adam) -> tuple[Array, ...]:
        """Adam and AdamW: new parameters, and new running means of gradients and of their squares."""
        settings = self.module.AdamRule(beta1=rule.beta1, beta2=rule.beta2, epsilon=rule.epsilon,
                                        weight_decay=rule.weight_decay, clip_norm=_limit(rule),
                                        decoupled=rule.decoupled, keras=rule.keras)
        return self._launch_step("adam_step", arrays, rule, 2, settings)

    def global_norm(self, xs: list[Array]) -> Array:
        """The root of the sum of all squares, in float64."""
        norm = self.empty((), np.float64)
        self._launch_lists("global_norm", [xs], [norm], xs[0].dtype)
        return norm

    def cast_all(self, xs: list[Array], dtype: str, divided: bool) -> tuple[Array, ...]:
        """Every array in another dtype; with `divided` they are divided by the first element of the last one."""
        *xs, divisor = xs if divided else [*xs, None]
        ys = self._like(xs, as_dtype(dtype))
        self._launch_lists("cast_all", [xs, ys], [divisor], as_dtype(dtype))
        return tuple(ys)

    def _launch_step(self, op: str, arrays: list[Array], rule: Rule, room: int, settings: Any) -> tuple[Array, ...]:
        """Make the results, and call the launcher of a step, which has arguments for `room` slots."""
        given = rule.operands(arrays)
        dtype = given.params[0].dtype
        self.check_float(op, given.params[0])
        grads = self._gradients(given, dtype)
        slots = tuple(self._like(given.params, accumulator(dtype)) for _ in given.slots)
        copies = [] if rule.copies is None else self._like(given.params, as_dtype(rule.copies))
        made = Results(self._like(given.params, dtype), slots, copies, self.empty((), np.int64),
                       None if given.scaling is None else self.empty((2,), np.float32))
        absent = [None] * (room - len(slots))
        shared = [self.xp.ascontiguousarray(a) if a is not None and a.ndim else a
                  for a in (given.rate, given.steps, given.norm, given.scaling, made.steps, made.scaling)]
        crossed = self.module.SharedArrays(*[None if a is None else self.array(a) for a in shared])
        lists = [given.params, grads, *given.slots, *absent, made.params, *slots, *absent, copies or None]
        self._launch_lists(op, lists, [crossed, settings], grads[0].dtype)
        return made.flat()

    def _gradients(self, given: Operands, dtype: np.dtype) -> list[Array]:
        """The gradients in one dtype that kernels take beside parameters of `dtype`."""
        kinds = {g.dtype for g in given.grads}
        if kinds == {dtype} or (len(kinds) == 1 and dtype == np.float32 and is_half(given.grads[0].dtype)):
            return given.grads
        return [g.astype(dtype, copy=False) for g in given.grads]

    def _like(self, arrays: list[Array], dtype: np.dtype) -> list[Array]:
        return [self.empty(a.shape, dtype) for a in arrays]

    def _launch_lists(self, op: str, lists: list[Any], rest: list[Any], other: np.dtype) -> None:
        """Call a launcher that takes lists of arrays. Strided arrays are copied to row-major order."""
        rows = [xs if xs is None else [x if x.flags.c_contiguous else self.xp.ascontiguousarray(x) for x in xs]
                for xs in lists]
        crossed = [None if xs is None else self.module.ArrayList([self._pointer(x) for x in xs],
                                                                 self._dtype_names[xs[0].dtype]) for xs in rows]
        first = lists[0]
        self.launch(op, [*crossed, *rest], "plan_optim", (op, tuple([x.size for x in first]), first[0].dtype, other))


def _limit(rule: Rule) -> float:
    return float("inf") if rule.clip_norm is None else rule.clip_norm
