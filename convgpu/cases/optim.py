"""Named lists of parameters for steps of optimizers, and the rules that every list is updated by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..dtypes import accumulator, as_dtype
from ..ops.optim import Adam, Operands, Rule, Sgd
from .problem import Arrays, normal

RATE, STEPS_BEFORE, SCALE = 0.05, 3, 1024.0


@dataclass(frozen=True)
class OptimCase:
    """The shapes of all parameters."""

    name: str
    shapes: tuple[tuple[int, ...], ...]

    def arrays(self, dtype: Any) -> list[np.ndarray]:
        """A parameter of each shape."""
        return [normal(f"p{i}", shape, dtype) for i, shape in enumerate(self.shapes)]


CASES = [
    OptimCase("one", ((5,),)),
    OptimCase("scalar_and_nothing", ((), (0, 4), (1,), (3, 3, 3, 17), (17,), (2, 5))),
    OptimCase("nothing_at_all", ((0,), (2, 0))),
    OptimCase("blocks", ((2048,), (2051,), (1, 1), (3, 1367))),
    OptimCase("many", tuple((1 + i % 7, 1 + i % 5) for i in range(33))),
]

RULES: tuple[Rule, ...] = (
    Sgd(), Sgd(weight_decay=0.1, scaled=True), Sgd(momentum=0.9, weight_decay=0.01, copies="bfloat16"),
    Sgd(momentum=0.9, nesterov=True, clip_norm=1.0), Sgd(keras=True), Sgd(momentum=0.5, keras=True),
    Sgd(momentum=0.5, nesterov=True, keras=True),
    Adam(), Adam(weight_decay=0.1, beta1=0.8, clip_norm=1e6), Adam(weight_decay=0.1, decoupled=True, scaled=True,
                                                                  copies="float16"),
    Adam(keras=True, epsilon=1e-7), Adam(scaled=True, clip_norm=0.5, beta2=0.95))


def operands(rule: Rule, params: list[np.ndarray], grads: Any = None, finite: bool = True) -> Arrays:
    """Everything that a step takes beside its parameters. grads: the dtype of the gradients, if it is another one."""
    kind = params[0].dtype if grads is None else as_dtype(grads)
    wide = accumulator(params[0].dtype)
    gradients = [normal(f"g{i}", p.shape, kind) for i, p in enumerate(params)]
    if not finite:
        gradients[0] = np.full_like(gradients[0], np.inf)
    state = [[normal(f"slot{s}/{i}", p.shape, wide) for i, p in enumerate(params)] for s in range(rule.slots)]
    if isinstance(rule, Adam):
        state[1] = [np.asarray(np.abs(a)) for a in state[1]]
    norm = np.sqrt(sum(np.square(g.astype(np.float64)).sum() for g in gradients))
    shared = Operands(params, gradients, tuple(state), np.array(RATE), np.array(STEPS_BEFORE, np.int64),
                      np.array(norm) if rule.needs_norm else None,
                      np.array([SCALE, 1999 if finite else 5], np.float32) if rule.scaled else None)
    return tuple(shared.flat())
