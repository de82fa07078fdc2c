"""Facts about the elementwise ops: activations, their gradients, sums of arrays, functions of two operands."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ..backends import reference
from ..cases import elementwise as cases
from ..cases.problem import Arrays, Problem
from ..dtypes import as_dtype
from ..op import Op
from ..ops import activation as ops
from ..ops.add_n import add_n
from ..ops.binary import op as binary
from ..recorder import Call, Shape
from ..roofline import Gpu, Work, additions_on
from ..tensor import Tensor, as_tensor
from .facts import FORMATS, Bound, Facts, Family, drawn

# Every activation, with its parameters alpha and scale.
FUNCTIONS = [("relu", 0.0, 1.0), ("relu6", 0.0, 1.0), ("leaky_relu", 0.3, 1.0), ("leaky_relu", -0.5, 1.0),
             ("sigmoid", 0.0, 1.0), ("tanh", 0.0, 1.0), ("elu", 1.5, 1.0), ("elu", ops.SELU_ALPHA, ops.SELU_SCALE),
             ("softplus", 0.0, 1.0), ("silu", 0.0, 1.0), ("gelu", 0.0, 1.0), ("gelu_tanh", 0.0, 1.0),
             ("hard_sigmoid", 0.0, 1.0), ("hard_tanh", 0.0, 1.0)]
_IDENTITY = ("leaky_relu", 1.0, 1.0)  # on absolute values: the measure of an activation's rounding errors


def elements_of(call: Call) -> int:
    """The number of elements of each array of a call."""
    return math.prod(call.shapes[0] or ())


def sum_of_two(a: Any, b: Any) -> Tensor:
    """a + b, by the op that adds any number of arrays."""
    return add_n(a, b)


def product_of_two(a: Any, b: Any) -> Tensor:
    """a * b, by the op that runs functions of two operands of bfloat16 on a GPU."""
    return binary(as_tensor(a), as_tensor(b), "multiply", None)


def _work(call: Call, precision: str) -> Work:
    arrays = len(call.shapes) + 1
    terms = len(call.shapes) if call.op == "add_n" else 1
    return Work(elements_of(call) * terms, additions_on(call.dtype),
                arrays * elements_of(call) * as_dtype(call.dtype).itemsize)


def _plan(native: Any, call: Call, gpu: Gpu | None, precision: str) -> Any:
    return native.module.plan_elementwise(call.op, elements_of(call), call.dtype)


def _bound(call: Call) -> Bound:
    """Slopes are at most 1.8, and values of activations differ from those of the identity by at most 1."""
    if call.op == "add_n":
        return Bound(len(call.shapes), ())
    return Bound(1, _IDENTITY, 1.0 if call.op == "activate" else 0.0)


def _part(problem: Problem, arrays: Arrays, results: Arrays, few: bool) -> tuple[Problem, Arrays]:
    """The first elements and the last."""
    return Problem.of(problem.op, tuple([_cut(a, few) for a in arrays]), problem.call.statics), tuple(
        [_cut(r, few) for r in results])


def _cut(array: np.ndarray, few: bool) -> np.ndarray:
    flat, most = array.reshape(-1), 256 if few else 4096
    return flat if flat.size <= 2 * most else np.concatenate([flat[:most], flat[-most:]])


def _draw_of_results(call: Call) -> Arrays:
    """Gradients, and arguments or results of the activation, whichever its gradient takes."""
    gy, v = drawn(call)
    function, alpha, scale = call.statics
    return gy, reference.activate(v, function, alpha, scale) if function in ops.KEEPS_OUTPUT else v


BINARY = ("add", "subtract", "multiply", "divide", "maximum", "minimum")


def _broadcast(call: Call) -> Shape:
    """The shape of a result of two operands."""
    return np.broadcast_shapes(*[shape for shape in call.shapes if shape is not None])


def _binary_work(call: Call, precision: str) -> Work:
    elements = [math.prod(shape) for shape in (*call.shapes, _broadcast(call)) if shape is not None]
    return Work(elements[-1], additions_on(call.dtype), sum(elements) * as_dtype(call.dtype).itemsize)


def _binary_plan(native: Any, call: Call, gpu: Gpu | None, precision: str) -> Any:
    a, b = call.shapes
    return native.module.plan_binary(a, () if b is None else b, _broadcast(call), call.dtype)


def _binary_bound(call: Call) -> Bound:
    """One rounding; maxima and minima are exact."""
    function, number = call.statics
    if function in ("maximum", "minimum"):
        return Bound(None, call.statics)
    positive = "add" if function.endswith("subtract") else function
    return Bound(1, (positive, None if number is None else abs(number)))


def _binary_part(problem: Problem, arrays: Arrays, results: Arrays, few: bool) -> tuple[Problem, Arrays]:
    """The first elements and the last, with the operands repeated for them."""
    shape = results[0].shape
    spread = [a if a is None else np.broadcast_to(a, shape) for a in arrays]
    operands = tuple([a if a is None else _cut(a, few) for a in spread])
    return Problem.of("binary", operands, problem.call.statics), (_cut(results[0], few),)


def problems(case: cases.ElementwiseCase | cases.BinaryCase, dtype: str, data_format: str) -> Iterator[Problem]:
    """Every activation and its gradient, and the sum of the case's terms; or every function of two operands."""
    if isinstance(case, cases.BinaryCase):
        a, b = case.draw(dtype)
        for name in (*BINARY, *(("reversed_subtract", "reversed_divide") if b is None else ())):
            yield Problem.of("binary", (a, b), (name, case.number))
        return
    x, g = case.draw("x", dtype), case.draw("g", dtype)
    for function in FUNCTIONS:
        yield Problem.of("activate", (x,), function)
        v = reference.activate(x, *function) if function[0] in ops.KEEPS_OUTPUT else x
        yield Problem.of("activate_dgrad", (g, v), function)
    yield Problem.of("add_n", (x, *[case.draw(f"term {i}", dtype) for i in range(1, case.terms)]))


_elementwise = partial(Facts, family="elementwise", results=lambda call: ((call.shapes[0] or (), call.dtype),),
                       work=_work, plan=_plan, method=lambda call: "functions of NumPy", bound=_bound, part=_part)
Op.registry["activate"].facts = _elementwise(explained=ops.relu, example=((32, 56, 56, 256),), direction="forward")
Op.registry["activate_dgrad"].facts = _elementwise(explained=ops.relu, example=((32, 56, 56, 256),),
                                                   draw=_draw_of_results, direction="dgrad")
Op.registry["add_n"].facts = _elementwise(explained=sum_of_two, example=((32, 56, 56, 256),) * 2, direction="forward")
Op.registry["binary"].facts = Facts(
    family="elementwise", results=lambda call: ((_broadcast(call), call.dtype),), work=_binary_work,
    plan=_binary_plan, method=lambda call: "functions of NumPy", bound=_binary_bound, part=_binary_part,
    explained=product_of_two, example=((32, 56, 56, 256), (32, 1, 1, 256)), direction="forward")

FAMILY = Family(ops=("activate", "activate_dgrad", "add_n", "binary"), page="activations-norms-losses.md",
                cases=cases.CASES, problems=problems, operands=("x", "a", "b"), formats=FORMATS[:1])
