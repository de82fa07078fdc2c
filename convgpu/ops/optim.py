"""The steps of optimizers, and what belongs to them, over lists of arrays: one launch serves a whole network.

    sgd_step, adam_step    new parameters and states from parameters, gradients and states
    global_norm            sqrt(the sum of the squares of all elements of a list of arrays)
    cast_all               every array of a list in another dtype

`convgpu.optim` and convgpu/keras call the steps on arrays: the tape does not record them, and they have no gradient. An
op's arrays are one sequence, whose order its rule states. Numbers that change from step to step (learning rate, step
count, norm, loss scale) are arrays too, so that no step waits for the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .. import autograd, backends
from ..capturing import region
from ..device import run_there
from ..dtypes import DTypeLike, as_dtype, check_same_float
from ..op import Op
from ..remat import Bundle
from ..tensor import Tensor, as_tensor

Array = Any
Back = Callable[[list[Tensor]], list[Tensor]]


class Operands(NamedTuple):
    """The arrays of a step, in the order in which the op takes them.

    params, grads: the parameters, and gradients of their shapes. slots: for each thing that the optimizer remembers, a
    list of arrays of these shapes in the accumulator's dtype. rate: the learning rate, () of float64 or float32. steps:
    the number of steps before this one, () of int64 or int32. norm: the norm of all gradients, () of float64, where the
    rule clips or scales. scaling: the loss scale and the number of steps since it changed, (2,) of float32, where the
    rule scales.
    """

    params: list[Array]
    grads: list[Array]
    slots: tuple[list[Array], ...]
    rate: Array
    steps: Array
    norm: Array | None = None
    scaling: Array | None = None

    def flat(self) -> list[Array]:
        """All arrays as the one sequence that the op takes."""
        shared = [a for a in (self.rate, self.steps, self.norm, self.scaling) if a is not None]
        return [*self.params, *self.grads, *[a for slot in self.slots for a in slot], *shared]


class Results(NamedTuple):
    """The arrays that a step returns: new parameters and slots, the parameters in a half type if the rule asks for
    copies, the new step count (int64), and the new loss scale.
    """

    params: list[Array]
    slots: tuple[list[Array], ...]
    copies: list[Array]
    steps: Array
    scaling: Array | None

    def flat(self) -> tuple[Array, ...]:
        """All arrays as the one tuple that the op returns."""
        last = [self.steps] if self.scaling is None else [self.steps, self.scaling]
        return (*self.params, *[a for slot in self.slots for a in slot], *self.copies, *last)


@dataclass(frozen=True)
class Rule:
    """What sgd_step and adam_step have in common.

    weight_decay: the weight of the L2 penalty. clip_norm: gradients are multiplied by clip_norm / (norm + 1e-6) where
    that is below 1. scaled: where the norm is Inf or NaN, the step changes nothing but the loss scale, which halves;
    after 2000 steps without it doubles. copies: the half type of copies of the new parameters. keras: Keras's form of
    the formulas (docs/optim.md).
    """

    weight_decay: float = 0.0
    clip_norm: float | None = None
    scaled: bool = False
    copies: str | None = None
    keras: bool = False

    op = ""  # the op that the rule belongs to

    @property
    def slots(self) -> int:
        """How many lists of arrays the optimizer remembers."""
        raise NotImplementedError

    @property
    def scalars(self) -> int:
        """How many arrays follow the lists."""
        return 2 + self.needs_norm + self.scaled

    @property
    def needs_norm(self) -> bool:
        """Whether the step takes the norm of all gradients."""
        return self.scaled or self.clip_norm is not None

    def count(self, arrays: int) -> int:
        """The number of parameters among so many arrays."""
        return (arrays - self.scalars) // (2 + self.slots)

    def operands(self, arrays: Sequence[Array]) -> Operands:
        """The op's one sequence of arrays, taken apart."""
        n = self.count(len(arrays))
        lists = [list(arrays[i * n:(i + 1) * n]) for i in range(2 + self.slots)]
        shared = iter(arrays[(2 + self.slots) * n:])
        rate, steps = next(shared), next(shared)
        norm = next(shared) if self.needs_norm else None
        return Operands(lists[0], lists[1], tuple(lists[2:]), rate, steps, norm, next(shared) if self.scaled else None)

    def results(self, arrays: Sequence[Array]) -> Results:
        """The op's one tuple of results, taken apart."""
        lists = 1 + self.slots + (self.copies is not None)
        n = (len(arrays) - 1 - self.scaled) // lists
        each = [list(arrays[i * n:(i + 1) * n]) for i in range(lists)]
        copies = each.pop() if self.copies is not None else []
        return Results(each[0], tuple(each[1:]), copies, arrays[lists * n], arrays[-1] if self.scaled else None)


@dataclass(frozen=True)
class Sgd(Rule):
    """The rule of `sgd_step`; its slot is the velocity, if there is momentum."""

    momentum: float = 0.0
    nesterov: bool = False
    op = "sgd_step"

    @property
    def slots(self) -> int:
        """One with momentum, else none."""
        return int(self.momentum != 0)


@dataclass(frozen=True)
class Adam(Rule):
    """The rule of `adam_step`; its slots are the running means of g and g^2. decoupled: weight decay as in AdamW."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    decoupled: bool = False
    op = "adam_step"

    @property
    def slots(self) -> int:
        """Two."""
        return 2


sgd_step = Op("sgd_step", "*arrays; rule -> *new")
adam_step = Op("adam_step", "*arrays; rule -> *new")
global_norm = Op("global_norm", "*xs -> norm")
_cast_all = Op("cast_all", "*xs; dtype, divided -> *ys", moves=True)

def _recorded_only(*arguments: Any) -> Any:
    raise NotImplementedError("linked: these ops are recorded, and computed by whoever records them")


# Only the first output of an op carries a gradient. So results whose gradients are computed together have nodes of
# their own, which send their gradients to one more, the hub; its rule takes all of them.
_hub = Op("linked", "*xs; back -> hub", _recorded_only)
_result = Op("linked_result", "hub; place -> y", _recorded_only).vjp(hub=lambda g, place: Bundle({place: g}))
_result.joins = True


def _of_inputs(g: Bundle, wanted: Sequence[bool], back: Back) -> list[Tensor | None]:
    given = dict(zip(g.parts, back(list(g.parts.values()))))
    return [given.get(i) if w else None for i, w in enumerate(wanted)]


_hub.vjp_jointly(_of_inputs, sparse=True)


def linked(xs: Sequence[Tensor], ys: list[Tensor], back: Back) -> list[Tensor]:
    """The results ys, of which each depends on the tensor of xs at its place; `back` computes gradients of tensors from
    those of their results, of all together that have one. Returns ys.
    """
    if autograd.is_grad_enabled() and any([x.requires_grad for x in xs]):
        hub = Bundle({})
        autograd.record(_hub, tuple(xs), (back,), (hub,))
        for i, (x, y) in enumerate(zip(xs, ys)):
            if x.requires_grad:
                autograd.record_part(_result, hub, i, y)
    return ys


def cast_all(xs: Sequence[Any], dtype: DTypeLike, divisor: Any = None) -> list[Tensor]:
    """Every tensor of a list in another floating dtype, by one launch on a GPU; gradients are cast back by one.

    y[i] = x[i] / divisor

    Args:
        xs: tensors of one floating dtype.
        dtype: float16, bfloat16, float32 or float64.
        divisor: a float32 tensor whose first element all are divided by, in float32 or wider; None: 1. Quotients
            carry no gradient.

    Raises:
        TypeError: mixed or non-floating dtypes.

    >>> import convgpu as cg
    >>> [y.dtype.name for y in cast_all([cg.ones(2), cg.zeros((3, 1))], "float16")]
    ['float16', 'float16']
    """
    tensors = [as_tensor(x, "cast_all") for x in xs]
    kind = as_dtype(dtype)
    check_same_float("cast_all", **{f"xs[{i}]": x for i, x in enumerate(tensors)})
    if not tensors:
        return []
    if divisor is not None:
        return list(_cast_all([*[x.detach() for x in tensors], as_tensor(divisor, "cast_all")], kind.name, True))
    if kind == tensors[0].dtype:
        return tensors
    ys = list(_cast_all([x.detach() for x in tensors], kind.name, False))
    return linked(tensors, ys, lambda gs: cast_all(gs, tensors[0].dtype))


def step(rule: Rule, given: Operands) -> Results:
    """One step by the backend of the arrays: the function that `convgpu.optim` and Keras's optimizers call.

    >>> import numpy as np
    >>> p, g = np.array([1.0, 2.0]), np.array([1.0, -1.0])
    >>> done = step(Sgd(), Operands([p], [g], (), np.array(0.5), np.array(0)))
    >>> done.params[0].tolist(), done.steps.item()
    ([0.5, 2.5], 1)
    """
    return rule.results(run(rule.op, given.flat(), rule))


def run(op: str, arrays: Sequence[Array], *statics: Any) -> Any:
    """Call the backend of the arrays. The tape does not record it."""
    def compute(_op: Any, _given: Any, inputs: Any, statics: Any) -> Any:
        return run_there(op, inputs[0], lambda: backends.run(op, list(inputs), statics)), inputs

    result = autograd.timed(compute)(Op.registry[op], tuple(arrays), tuple(arrays), statics)[0]
    region.ran(op, arrays, statics, result if isinstance(result, tuple) else (result,))
    return result
