"""Facts about the ops that draw random numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..backends import reference
from ..cases import random as cases
from ..cases.problem import Arrays, Problem, normal
from ..dtypes import accumulator, as_dtype
from ..generator import normal_arguments, uniform_arguments
from ..op import Op
from ..ops import random as draws
from ..ops.dropout import dropout
from ..philox import blocks_of
from ..recorder import Call, Shape
from ..roofline import Gpu, Work, additions_on
from ..tensor import Tensor
from .facts import FORMATS, Bound, Facts, Family

# Of one number: the operations in floating point, without those of its words, which are integers.
_FLOPS = {"dropout": 1, "uniform": 3, "normal": 32, "integers": 0}


def dropout_of(x: Any, rate: float = 0.5, generator: Any = 0) -> Tensor:
    """dropout with a mask that the op makes."""
    return dropout(x, rate, generator=generator)


def uniform_of(shape: Any, low: float = 0.0, high: float = 1.0, *, state: Any) -> Tensor:
    """Numbers of `uniform`, in the dtype of an array without values that takes the state's place."""
    return draws.uniform(state.detach(), *uniform_arguments("uniform", shape, low, high, state.dtype))[0]


def normal_of(shape: Any, mean: float = 0.0, std: float = 1.0, *, state: Any) -> Tensor:
    """Numbers of `randn`, in the dtype of an array without values that takes the state's place."""
    return draws.normal(state.detach(), *normal_arguments("normal", shape, mean, std, state.dtype))[0]


def integers_of(shape: Any, low: int = 0, high: int = 10, *, state: Any) -> Tensor:
    """Integers of 64 bits. An array without values takes the state's place."""
    return draws.integers(state.detach(), tuple(shape), low, high, "int64")[0]


def _result(call: Call) -> tuple[Shape, str]:
    """The shape and the dtype of the numbers."""
    return (call.shapes[0] or (), call.dtype) if call.op == "dropout" else (call.statics[0], call.statics[-1])


def _results(call: Call) -> tuple[tuple[Shape, str], ...]:
    state = call.shapes[-1] or (3,)
    return _result(call), (state, "uint64" if state == (3,) else "uint32")


def _work(call: Call, precision: str) -> Work:
    """Every number is written once, and in dropout read once."""
    shape, dtype = _result(call)
    flops = _FLOPS[call.op] * math.prod(shape)
    unit = additions_on(accumulator(as_dtype(dtype)).name) if flops else ""
    return Work(flops, unit, (1 + (call.op == "dropout")) * math.prod(shape) * as_dtype(dtype).itemsize)


def _plan(native: Any, call: Call, gpu: Gpu | None, precision: str) -> Any:
    shape, dtype = _result(call)
    return native.module.plan_random(call.op, math.prod(shape), dtype)


def _part(problem: Problem, arrays: Arrays, results: Arrays, few: bool) -> tuple[Problem, Arrays]:
    """The last elements, with the state from which their part of the words follows."""
    shape, dtype = _result(problem.call)
    size, most, state = math.prod(shape), 256 if few else 8192, arrays[-1]
    if size <= most or state.dtype == np.uint32:
        return Problem(problem.call, arrays), results
    skipped = size - (size - most) // 4 * 4  # elements that are left
    seed, stream, counter = state.tolist()
    blocks = blocks_of(problem.op, size - skipped, as_dtype(dtype))
    later = np.array([seed, stream, (counter + blocks) % 2**64], np.uint64)
    rest = (results[0].reshape(-1)[size - skipped:], *results[1:])
    if problem.op == "dropout":
        return Problem.of("dropout", (arrays[0].reshape(-1)[size - skipped:], later), problem.call.statics), rest
    return Problem.of(problem.op, (later,), ((skipped,), *problem.call.statics[1:])), rest


def _magnitudes(problem: Problem) -> tuple[np.ndarray | None, ...]:
    """The absolute values of what is added; integers and states must be exact."""
    arrays, statics = problem.operands(), problem.call.statics
    if problem.op == "integers":
        return None, None
    if problem.op == "dropout":
        return reference.dropout(np.abs(arrays[0].astype(np.longdouble)), arrays[1], *statics)[0], None
    shape, first, second, _ = statics
    if problem.op == "uniform":
        return np.full(shape, abs(first) + abs(second - first)), None
    return abs(first) + np.abs(reference.normal(arrays[0], shape, 0.0, second, "float64" if statics[-1] == "float64"
                                                else "float32")[0].astype(np.float64)), None


def _draw(call: Call) -> Arrays:
    state = np.array([7, 0, 0], np.uint64) if call.shapes[-1] == (3,) else np.array([7, 0], np.uint32)
    return (normal(call.op, call.shapes[0] or (), call.dtype), state) if call.op == "dropout" else (state,)


def problems(case: cases.RandomCase, dtype: str, data_format: str) -> Iterator[Problem]:
    """Dropout of the case's array, and numbers of each distribution in its shape."""
    yield Problem.of("dropout", (case.draw(dtype), case.given), (case.rate,))
    yield Problem.of("uniform", (case.given,), (case.shape, *case.bounds, dtype))
    yield Problem.of("normal", (case.given,), (case.shape, *case.spread, dtype))
    if dtype == "float64" or dtype == "float32" and -2**31 <= case.whole[0] and case.whole[1] <= 2**31:
        kind = "int64" if dtype == "float64" else "int32"
        yield Problem.of("integers", (case.given,), (case.shape, *case.whole, kind))


_METHODS = {"dropout": "Philox in integers of NumPy, 65,536 elements at once",
            "uniform": "Philox in integers of NumPy, 16,384 blocks of four words at once",
            "normal": "Philox in integers of NumPy, then polynomials for logarithm, sine and cosine",
            "integers": "Philox in integers of NumPy, and a product of 64 by 64 bits"}
_EXPLAINED: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "dropout": (dropout_of, ((32, 56, 56, 256),)), "uniform": (uniform_of, ((4096, 4096),)),
    "normal": (normal_of, ((4096, 4096),)), "integers": (integers_of, ((4096, 4096),))}

for _op, (_function, _example) in _EXPLAINED.items():
    Op.registry[_op].facts = Facts(
        family="random", results=_results, work=_work, plan=_plan, method=lambda call: _METHODS[call.op],
        bound=lambda call: Bound(1, call.statics), part=_part, magnitudes=_magnitudes, draw=_draw,
        explained=_function, options=() if _op == "dropout" else (("state", (3,)),), example=_example,
        direction="forward", kernel=None if _op == "dropout" else "draw_vectors")

FAMILY = Family(ops=tuple(_EXPLAINED), page="random.md", cases=cases.CASES, problems=problems,
                operands=("x", "state"), formats=FORMATS[:1])
