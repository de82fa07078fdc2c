"""Facts about softmax, its logarithm, cross-entropy with integer labels, and their gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ..backends import reference
from ..cases import softmax as cases
from ..cases.problem import Arrays, Problem
from ..dtypes import accumulator, as_dtype
from ..op import Op
from ..ops import loss
from ..ops import softmax as ops
from ..recorder import Call, Shape
from ..roofline import Gpu, Work, additions_on
from ..tensor import Tensor
from .facts import FORMATS, Bound, Facts, Family, drawn


def cross_entropy_of(x: Tensor) -> Tensor:
    """The mean cross-entropy of logits x, with the classes along the last axis, and the label 0."""
    return loss.cross_entropy(x, Tensor(x.array.like(x.shape[:-1], np.int64)))


def cross_entropy_gradient_of(x: Tensor) -> Tensor:
    """The gradient of the mean cross-entropy with respect to logits x; a function for `explain`."""
    lines, wide = x.shape[:-1], accumulator(x.dtype)
    made = [x.array.like(shape, dtype)
            for shape, dtype in ((lines, np.int64), ((2, math.prod(lines)), wide), ((), wide))]
    return Op.registry["cross_entropy_dgrad"](x, *map(Tensor, made), x.ndim - 1, 0.0, "mean")


def _x_shape(call: Call) -> Shape:
    return call.shapes[0] or ()


def _axis(call: Call) -> int:
    return call.statics[0]


def _lines(call: Call) -> int:
    shape = _x_shape(call)
    return math.prod(shape[:_axis(call)] + shape[_axis(call) + 1:])


def _results(call: Call) -> tuple[tuple[Shape, Any], ...]:
    if call.op != "cross_entropy":
        return (_x_shape(call), call.dtype),
    labels, wide = call.shapes[1] or (), accumulator(as_dtype(call.dtype))
    return ((labels if call.statics[2] == "none" else (), wide), ((2, _lines(call)), wide), ((1,), np.dtype(np.int32)))


def _work(call: Call, precision: str) -> Work:
    """Every array of logits once, and 8 bytes of labels and of statistics for each line."""
    elements = math.prod(_x_shape(call))
    arrays = {"softmax": 2, "softmax_dgrad": 3, "cross_entropy": 1, "cross_entropy_dgrad": 2}[call.op]
    per_line = 16 * _lines(call) if call.op.startswith("cross") else 0
    return Work(4 * elements, additions_on(call.dtype), arrays * elements * as_dtype(call.dtype).itemsize + per_line)


def _plan(native: Any, call: Call, gpu: Gpu | None, precision: str) -> Any:
    return native.module.plan_softmax(call.op, list(_x_shape(call)), _axis(call), call.dtype)


def _bound(call: Call) -> Bound:
    return Bound(_x_shape(call)[_axis(call)] + _lines(call) * call.op.startswith("cross"), call.statics,
                 magnitude=partial(_magnitude, call))


def _magnitude(call: Call, *operands: Any) -> np.ndarray:
    """What rounding errors are proportional to: probabilities are at most 1, and x - largest is rounded."""
    axis, *rest = call.statics
    if call.op == "softmax":
        x = operands[0]
        return 1 + (np.abs(x) + 2 * _largest(x, axis) + 8) if rest[0] else np.ones_like(x)
    if call.op == "softmax_dgrad":
        g, y = operands
        total = (g if rest[0] else g * np.where(y > 1, 1, y)).sum(axis=axis, keepdims=True)
        return g + total
    if call.op == "cross_entropy":
        losses = 3 * _largest(operands[0], axis).squeeze(axis) + 8
        with np.errstate(invalid="ignore"):
            return {"none": losses, "sum": losses.sum(), "mean": losses.sum() / max(losses.size, 1)}[rest[1]]
    x, _, _, g = operands
    share = g / max(_lines(call), 1) if rest[1] == "mean" else g
    spread = np.expand_dims(share, axis) if rest[1] == "none" else share
    return np.broadcast_to(2 * spread, x.shape)


def _largest(x: np.ndarray, axis: int) -> np.ndarray:
    """The largest finite magnitude along the axis."""
    return np.max(np.where(np.isfinite(x), np.abs(x), 0), axis=axis, keepdims=True, initial=0)


def _part(problem: Problem, arrays: Arrays, results: Arrays, few: bool) -> tuple[Problem, Arrays]:
    """The whole call: the reference takes as long as the backend."""
    return Problem.of(problem.op, arrays, problem.call.statics), results


def _draw(call: Call) -> Arrays:
    """Operands that belong together: probabilities, labels, what the forward pass finds of each line."""
    if call.op == "softmax":
        return drawn(call)
    axis, *rest = call.statics
    if call.op == "softmax_dgrad":
        g, y = drawn(call)
        return g, reference.softmax(y, axis, *rest)
    x = drawn(Call("softmax", (_x_shape(call),), (), call.dtype))[0]
    lines = x.shape[:axis] + x.shape[axis + 1:]
    labels = np.random.default_rng(0).integers(0, max(x.shape[axis], 1), lines)
    if call.op == "cross_entropy":
        return x, labels
    return x, labels, _statistics(x, labels, axis), np.ones(call.shapes[3] or (), accumulator(x.dtype))


def _statistics(x: np.ndarray, labels: np.ndarray, axis: int) -> np.ndarray:
    """What cross_entropy keeps of each line, in the dtype of sums."""
    return reference.cross_entropy(x, labels, axis, 0.0, "sum")[1].astype(accumulator(x.dtype))


def problems(case: cases.SoftmaxCase, dtype: str, data_format: str) -> Iterator[Problem]:
    """softmax and its logarithm, cross-entropy, and their gradients."""
    x, labels = case.input(dtype), case.drawn_labels()
    g = cases.normal(f"{case.name}/g", x.shape, dtype)
    for log_of in (False, True):
        yield Problem.of("softmax", (x,), (case.axis, log_of))
        yield Problem.of("softmax_dgrad", (g, reference.softmax(x, case.axis, log_of)), (case.axis, log_of))
    statics = (case.axis, case.smoothing, case.reduction)
    if not case.bad:  # the loss of a bad label has no meaning
        yield Problem.of("cross_entropy", (x, labels), statics)
    g = cases.normal(f"{case.name}/g", case.lines if case.reduction == "none" else (1,), "float64")
    g = g.astype(accumulator(x.dtype)).reshape(case.lines if case.reduction == "none" else ())
    yield Problem.of("cross_entropy_dgrad", (x, labels, _statistics(x, labels, case.axis), g), statics)


_softmax = partial(Facts, family="softmax", results=_results, work=_work, plan=_plan, bound=_bound, part=_part,
                   draw=_draw, method=lambda call: "functions of NumPy", example=((256, 1000),))
Op.registry["softmax"].facts = _softmax(explained=ops.softmax, direction="forward")
Op.registry["softmax_dgrad"].facts = _softmax(explained=ops.softmax, direction="dgrad")
Op.registry["cross_entropy"].facts = _softmax(explained=cross_entropy_of, direction="forward")
Op.registry["cross_entropy_dgrad"].facts = _softmax(explained=cross_entropy_gradient_of, direction="dgrad")

FAMILY = Family(ops=("softmax", "softmax_dgrad", "cross_entropy", "cross_entropy_dgrad"),
                page="activations-norms-losses.md", cases=cases.CASES, problems=problems, operands=("x",),
                formats=FORMATS[:1])
