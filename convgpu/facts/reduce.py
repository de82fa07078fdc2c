"""Facts about reductions over axes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..cases import reduce as cases
from ..cases.problem import Arrays, Problem, ends
from ..dtypes import as_dtype
from ..op import Op
from ..ops import reduce as ops
from ..recorder import Call, Shape
from ..roofline import Gpu, Work, additions_on
from ..settings import workspace_limit
from ..tensor import Tensor
from .facts import FORMATS, Bound, Facts, Family, device_of


def sum_over(x: Tensor, axis: Any = None) -> Tensor:
    """The sum over axes; a function for `explain`."""
    return ops.sum(x, axis)


def _shape_of_result(call: Call) -> Shape:
    _, axes, keepdims, shape = call.statics
    return tuple(1 if a in axes else n for a, n in enumerate(shape) if keepdims or a not in axes)


def _work(call: Call, precision: str) -> Work:
    terms, results = math.prod(call.shapes[0] or ()), math.prod(_shape_of_result(call))
    return Work(terms, additions_on(call.dtype), (terms + results) * as_dtype(call.dtype).itemsize)


def _plan(native: Any, call: Call, gpu: Gpu | None, precision: str) -> Any:
    from ..backends.native.reduce import arranged

    function, axes, _, shape = call.statics
    order = arranged(shape, axes)
    if order is not None:  # the kernel reads a copy
        shape, axes = tuple(shape[a] for a in order), tuple(range(len(shape) - len(axes), len(shape)))
    return native.module.plan_reduce(function, list(shape), list(axes), call.dtype, device=device_of(native, gpu),
                                     limit=workspace_limit())


def _bound(call: Call) -> Bound:
    function, axes, _, shape = call.statics
    return Bound(None if function in ("max", "min") else math.prod([shape[a] for a in axes]), call.statics)


def _part(problem: Problem, arrays: Arrays, results: Arrays, few: bool) -> tuple[Problem, Arrays]:
    """Of the longest axis that stays, a few places; with `few`, the two ends."""
    function, axes, keepdims, shape = problem.call.statics
    kept = [a for a in range(len(shape)) if a not in axes]
    if not kept:
        return problem if problem.arrays is not None else Problem.of(problem.op, arrays, problem.call.statics), results
    longest = max(kept, key=lambda a: shape[a])
    places = ends(shape[longest], 2 if few else 16)
    x = np.take(arrays[0], places, axis=longest)
    at = longest if keepdims else kept.index(longest)
    return Problem.of("reduce", (x,), (function, axes, keepdims, x.shape)), (np.take(results[0], places, axis=at),)


def problems(case: cases.ReduceCase, dtype: str, data_format: str) -> Iterator[Problem]:
    """All four functions; means and extremes of nothing are left out, where there are no terms."""
    x = case.input(dtype)
    for function in ("sum", "mean", "max", "min"):
        if case.values != "infinite" or function in ("max", "min"):
            yield Problem.of("reduce", (x,), (function, case.axes, case.keepdims, case.shape))


Op.registry["reduce"].facts = Facts(
    family="reduce", results=lambda call: ((_shape_of_result(call), call.dtype),), work=_work, plan=_plan,
    method=lambda call: "NumPy's extremes" if call.statics[0] in ("max", "min") else "sums in blocks of 32",
    bound=_bound, part=_part, explained=sum_over, example=((32, 56, 56, 256), (0, 1, 2)), direction="forward")

FAMILY = Family(ops=("reduce",), page="reductions.md", cases=cases.CASES, problems=problems, operands=("x",),
                formats=FORMATS[:1])
