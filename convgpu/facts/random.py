"""Facts about the ops that draw random numbers: dropout."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ..cases import random as cases
from ..cases.problem import Arrays, Problem
from ..dtypes import as_dtype
from ..generator import Generator
from ..op import Op
from ..ops.random import dropout
from ..recorder import Call
from ..roofline import Gpu, Work, additions_on
from ..tensor import Tensor
from .facts import FORMATS, Bound, Facts, Family


def dropout_of(x: Any, rate: float = 0.5) -> Tensor:
    """dropout with a mask of `Generator`, which the op makes."""
    return dropout(x, rate, generator=Generator(0))


def _elements(call: Call) -> int:
    return math.prod(call.shapes[0] or ())


def _work(call: Call, precision: str) -> Work:
    """One product for each element; the integer arithmetic of the mask is not counted."""
    return Work(_elements(call), additions_on(call.dtype), 2 * _elements(call) * as_dtype(call.dtype).itemsize)


def _plan(native: Any, call: Call, gpu: Gpu | None, precision: str) -> Any:
    return native.module.plan_random(call.op, _elements(call), call.dtype)


def _part(problem: Problem, arrays: Arrays, results: Arrays, few: bool) -> tuple[Problem, Arrays]:
    """The last elements, with the state from which their part of the mask follows."""
    (seed, stream, counter), rate = problem.call.statics
    x, y = arrays[0].reshape(-1), results[0].reshape(-1)
    if x.size <= (most := 256 if few else 8192):
        return Problem.of(problem.op, arrays, problem.call.statics), results
    blocks = (x.size - most) // 4
    state = (seed, stream, (counter + blocks) % 2**64)
    return Problem.of(problem.op, (x[4 * blocks:],), (state, rate)), (y[4 * blocks:],)


def problems(case: cases.RandomCase, dtype: str, data_format: str) -> Iterator[Problem]:
    """Dropout of the case's array."""
    yield Problem.of("dropout", (case.draw(dtype),), (case.state, case.rate))


Op.registry["dropout"].facts = Facts(
    family="random", results=lambda call: ((call.shapes[0] or (), call.dtype),), work=_work, plan=_plan,
    method=lambda call: "Philox in integers of NumPy, 65,536 elements at once",
    bound=lambda call: Bound(1, call.statics), part=_part,
    explained=dropout_of, example=((32, 56, 56, 256),), direction="forward")

FAMILY = Family(ops=("dropout",), page="activations-norms-losses.md", cases=cases.CASES, problems=problems,
                operands=("x",), formats=FORMATS[:1])
