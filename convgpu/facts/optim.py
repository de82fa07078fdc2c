"""Facts about the steps of optimizers, the norm of all gradients, and casts of all parameters."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from .. import optim
from ..cases import optim as cases
from ..cases.problem import Arrays, Problem, normal
from ..dtypes import accumulator, as_dtype, is_half
from ..op import Op
from ..ops.optim import Adam, Operands, Rule, cast_all
from ..recorder import Call, Shape
from ..roofline import Gpu, Work, additions_on
from ..tensor import Tensor
from .facts import FORMATS, Bound, Facts, Family, device_of

STEPS = ("sgd_step", "adam_step")
_Size = tuple[Shape, Any]


def sgd_step_of(x: Any) -> Tensor:
    """One parameter after a step of SGD with momentum against itself."""
    return optim.SGD(lr=0.1, momentum=0.9).step(x.detach(), x.detach())


def adam_step_of(x: Any) -> Tensor:
    """One parameter after a step of Adam against itself."""
    return optim.Adam().step(x.detach(), x.detach())


def clipped_step_of(x: Any) -> Tensor:
    """One parameter after a step whose gradients were clipped by their norm."""
    return optim.SGD(lr=0.1, clip_norm=1.0).step(x.detach(), x.detach())


def cast_of(x: Any) -> Tensor:
    """A tensor in bfloat16."""
    return cast_all([x], "bfloat16")[0]


def _listed(call: Call) -> tuple[Shape, ...]:
    """The shapes of the arrays that a call goes over: parameters, or what it casts or adds."""
    shapes = tuple(shape or () for shape in call.shapes)
    if call.op in STEPS:
        return shapes[:call.statics[0].count(len(shapes))]
    return shapes[:-1] if call.op == "cast_all" and call.statics[1] else shapes


def _step_results(call: Call) -> tuple[_Size, ...]:
    rule, wide, params = call.statics[0], accumulator(as_dtype(call.dtype)).name, _listed(call)
    lists = [call.dtype, *[wide] * rule.slots, *([rule.copies] if rule.copies else [])]
    return (*[(shape, dtype) for dtype in lists for shape in params], ((), "int64"),
            *([((2,), "float32")] if rule.scaled else []))


def _work(call: Call, precision: str) -> Work:
    """Every array is read or written once; gradients count as being of the parameters' dtype."""
    elements = sum(map(math.prod, _listed(call)))
    width, wide = as_dtype(call.dtype).itemsize, accumulator(as_dtype(call.dtype)).itemsize
    if call.op in STEPS:
        rule: Rule = call.statics[0]
        halves = 2 * (rule.copies is not None)
        flops = (12 if isinstance(rule, Adam) else 4) * elements
        return Work(flops, additions_on(call.dtype), elements * (3 * width + 2 * wide * rule.slots + halves))
    if call.op == "global_norm":
        return Work(2 * elements, additions_on("float64"), elements * width + 8)
    return Work(0, "", elements * (width + as_dtype(call.statics[0]).itemsize))


def _plan(native: Any, call: Call, gpu: Gpu | None, precision: str) -> Any:
    other = call.statics[0] if call.op == "cast_all" else call.dtype
    sizes = [math.prod(shape) for shape in _listed(call)]
    return native.module.plan_optim(call.op, sizes, call.dtype, other, device=device_of(native, gpu))


def _draw_step(call: Call) -> Arrays:
    return cases.operands(call.statics[0], [normal(f"{call.op}/{i}", shape, call.dtype)
                                            for i, shape in enumerate(_listed(call))])


def _draw_cast(call: Call) -> Arrays:
    drawn = tuple(normal(f"cast_all/{i}", shape, call.dtype) for i, shape in enumerate(_listed(call)))
    return (*drawn, np.full(call.shapes[-1] or (), 8, np.float32)) if call.statics[1] else drawn


def _part_step(problem: Problem, arrays: Arrays, results: Arrays, few: bool) -> tuple[Problem, Arrays]:
    """The first and the last elements of every array."""
    rule: Rule = problem.call.statics[0]
    given, made = rule.operands(arrays), rule.results(results)
    cut = partial(_cut, most=256 if few else 4096)
    less = given._replace(params=cut(given.params), grads=cut(given.grads), slots=tuple(map(cut, given.slots)))
    part = made._replace(params=cut(made.params), slots=tuple(map(cut, made.slots)), copies=cut(made.copies))
    return Problem.of(problem.op, tuple(less.flat()), problem.call.statics), part.flat()


def _part_cast(problem: Problem, arrays: Arrays, results: Arrays, few: bool) -> tuple[Problem, Arrays]:
    cut = partial(_cut, most=256 if few else 4096)
    rest = len(arrays) - len(results)
    less = (*cut(list(arrays[:len(results)])), *arrays[len(arrays) - rest:])
    return Problem.of(problem.op, less, problem.call.statics), tuple(cut(list(results)))


def _cut(arrays: list[np.ndarray], most: int) -> list[np.ndarray]:
    flat = [a.reshape(-1) for a in arrays]
    return [a if f.size <= 2 * most else np.concatenate([f[:most], f[-most:]]) for a, f in zip(arrays, flat)]


def _step_magnitudes(problem: Problem) -> tuple[np.ndarray | None, ...]:
    """The formulas on absolute values; of Adam's, with the true root in the divisor, whose own error counts as well."""
    rule: Any = problem.call.statics[0]
    given: Operands = rule.operands(problem.operands())
    rest = 1 + rule.scaled
    if given.scaling is not None and not np.isfinite(np.asarray(given.norm)):
        return (None,) * (len(given.params) * (1 + rule.slots + (rule.copies is not None)) + rest)
    rows: list[list[np.ndarray]] = [[] for _ in range(1 + rule.slots)]
    rate, t = float(given.rate), int(given.steps) + 1
    for p, g, *slots in zip(given.params, given.grads, *given.slots):
        p, g, *slots = (np.asarray(a, np.longdouble) for a in (p, g, *slots))
        size = np.abs(g) + rule.weight_decay * np.abs(p)
        if isinstance(rule, Adam):
            mean = rule.beta1 * np.abs(slots[0]) + (1 - rule.beta1) * size
            square = rule.beta2 * slots[1] + (1 - rule.beta2) * np.square(size)
            decay = 0.0 if rule.decoupled else rule.weight_decay
            true = rule.beta2 * slots[1] + (1 - rule.beta2) * np.square(g + decay * p)
            first, second = 1 - rule.beta1**t, 1 - rule.beta2**t
            step = rate * mean / first / (np.sqrt(true / second) + rule.epsilon)
            if problem.dtype == np.float64:  # the corrections are differences in float64 for any dtype
                step = step * (1 / first + 1 / second)
            error = step * square / np.maximum(true, 1e-300)
            row: tuple[Any, ...] = np.abs(p) * (1 + rate * rule.weight_decay) + error, mean, square
        elif rule.momentum:
            velocity = rule.momentum * np.abs(slots[0]) + (rate * size if rule.keras else size)
            row = (np.abs(p) + (1 if rule.keras else rate) * (2 * velocity + size), velocity)
        else:
            row = (np.abs(p) + rate * size,)
        for magnitudes, magnitude in zip(rows, row):
            magnitudes.append(magnitude)
    copies = rows[0] if rule.copies is not None else []
    return (*[m for row in rows for m in row], *copies, *[None] * rest)


def _cast_magnitudes(problem: Problem) -> tuple[np.ndarray, ...]:
    *xs, divisor = problem.operands() if problem.call.statics[1] else (*problem.operands(), np.ones(1))
    return tuple(np.abs(np.asarray(x, np.longdouble)) / float(divisor.reshape(-1)[0]) for x in xs)


def problems(case: cases.OptimCase, dtype: str, data_format: str) -> Iterator[Problem]:
    """Steps by every rule, the norm, and casts to every dtype."""
    params = case.arrays(dtype)
    half = is_half(params[0].dtype)  # which has no need of copies
    for rule in [replace(rule, copies=None) if half else rule for rule in cases.RULES]:
        yield _step(rule, cases.operands(rule, params))
    yield _step(cases.RULES[-1], cases.operands(cases.RULES[-1], params, finite=False))
    if dtype == "float32":
        for rule, grads in ((cases.RULES[2], "bfloat16"), (cases.RULES[-2], "float16")):
            yield _step(rule, cases.operands(rule, params, grads))
    yield Problem.of("global_norm", tuple(params))
    divisor = np.full(2, 3, np.float32)
    for other in ("float64", "float32", "float16", "bfloat16"):
        yield Problem.of("cast_all", tuple(params), (other, False))
        yield Problem.of("cast_all", (*params, divisor), (other, True))


def _step(rule: Rule, arrays: Arrays) -> Problem:
    return Problem.of("adam_step" if isinstance(rule, Adam) else "sgd_step", arrays, (rule,))


def _norm_part(problem: Problem, arrays: Arrays, results: Arrays, few: bool) -> tuple[Problem, Arrays]:
    """The whole call: every element counts."""
    return Problem.of(problem.op, arrays), results


_optim = partial(Facts, family="optim", work=_work, plan=_plan, example=((1024, 1024),),
                 bound=lambda call: Bound(4, ()))
_stepped = partial(_optim, results=_step_results, part=_part_step, draw=_draw_step, magnitudes=_step_magnitudes,
                   method=lambda call: "array after array, in pieces", direction="step")
Op.registry["sgd_step"].facts = _stepped(explained=sgd_step_of)
Op.registry["adam_step"].facts = _stepped(explained=adam_step_of)
Op.registry["global_norm"].facts = _optim(
    results=lambda call: (((), "float64"),), part=_norm_part, explained=clipped_step_of, direction="norm",
    method=lambda call: "sums of squares in float64",
    magnitudes=lambda problem: problem.exact())
Op.registry["cast_all"].facts = _optim(
    results=lambda call: tuple((shape, call.statics[0]) for shape in _listed(call)), part=_part_cast, draw=_draw_cast,
    explained=cast_of, direction="cast", method=lambda call: "array after array", magnitudes=_cast_magnitudes)

FAMILY = Family(ops=("sgd_step", "adam_step", "global_norm", "cast_all"), page="optim.md", cases=cases.CASES,
                problems=problems, operands=("x",), formats=FORMATS[:1])
