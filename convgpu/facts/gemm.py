"""Facts about the ops of matrix products: gemm and matmul."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..cases import gemm as cases
from ..cases.problem import Arrays, Problem, ends
from ..dtypes import DTypeLike, as_dtype
from ..op import Op
from ..ops import gemm as ops
from ..recorder import Call
from ..roofline import Gpu, Work, products_on
from ..settings import workspace_limit
from .facts import FORMATS, Bound, Facts, Family, device_of, slack_of


def _product(call: Call) -> tuple[int, int, int, int]:
    """The sizes (items, M, N, K) of the product."""
    a, b = call.shapes[:2]
    assert a is not None and b is not None
    trans_a, trans_b = call.statics[2:4] if call.op == "gemm" else (False, False)
    m, k = a[:-3:-1] if trans_a else a[-2:]
    n = b[-2] if trans_b else b[-1]
    if call.op == "matmul" and math.prod(b[:-2]) == 1:  # the matrix b is the same for every item: this is one product
        return 1, math.prod(a[:-1]), n, k
    return math.prod(np.broadcast_shapes(a[:-2], b[:-2])), m, n, k


def gemm_work(m: int, n: int, k: int, dtype: DTypeLike, batch: int = 1, c_elements: int = 0,
              precision: str = "float32") -> Work:
    """The work of "gemm" or "matmul": `batch` products of (M, K) and (K, N) matrices; c has `c_elements` elements."""
    elements = batch * (m * k + k * n + m * n) + c_elements
    return Work(2 * batch * m * n * k, products_on(dtype, precision), elements * as_dtype(dtype).itemsize)


def _work(call: Call, precision: str) -> Work:
    items, m, n, k = _product(call)
    added = call.op == "gemm" and call.shapes[2] is not None and call.statics[1] != 0
    return gemm_work(m, n, k, call.dtype, items, math.prod(call.shapes[2] or ()) if added else 0, precision)


def _plan(native: Any, call: Call, gpu: Gpu | None, precision: str) -> Any:
    items, m, n, k = _product(call)
    trans_a, trans_b = call.statics[2:4] if call.op == "gemm" else (False, False)
    one_a, one_b = (math.prod(shape[:-2]) == 1 for shape in call.shapes[:2] if shape is not None)
    return native.module.plan_gemm(items, m, n, k, call.dtype, trans_a=trans_a, trans_b=trans_b, precision=precision,
                                   device=device_of(native, gpu), limit=workspace_limit(), one_a=one_a, one_b=one_b)


def _bound(call: Call) -> Bound:
    k = _product(call)[3]
    if call.op == "matmul":
        return Bound(k, ())
    alpha, beta, trans_a, trans_b, activation = call.statics
    return Bound(k + 1, (abs(alpha), abs(beta), trans_a, trans_b, None), slack_of(activation))


def _part(problem: Problem, arrays: Arrays, results: Arrays, few: bool) -> tuple[Problem, Arrays]:
    """Up to 128 rows spread over the result; with `few`, 64 rows and columns."""
    (a, b, *rest), (result,), statics = arrays, results, problem.call.statics
    if problem.op == "matmul":  # compare the first and the last product of the stack
        items = ends(math.prod(result.shape[:-2]))
        a, b, result = (np.broadcast_to(x, (*result.shape[:-2], *x.shape[-2:])).reshape(-1, *x.shape[-2:])[items]
                        for x in (a, b, result))
        rows = ends(result.shape[-2], 64)
        return Problem.of("matmul", (a[:, rows], b)), (result[:, rows],)
    _, _, trans_a, trans_b, _ = statics
    rows = ends(result.shape[0], 64 if few else 128)
    columns = ends(result.shape[1], 64 if few else max(result.shape[1], 2))
    c = None if rest[0] is None else np.broadcast_to(rest[0], result.shape)[rows][:, columns]
    operands = a[:, rows] if trans_a else a[rows], b[columns] if trans_b else b[:, columns], c
    return Problem.of("gemm", operands, statics), (result[rows][:, columns],)


def problems(case: cases.GemmCase, dtype: str, data_format: str) -> Iterator[Problem]:
    """The product, its gradients with respect to a and b as gemms, and the products of stacks of matrices."""
    a, b, c, g = (case.draw(role, dtype) for role in "abcg")
    ta, tb, alpha = case.trans_a, case.trans_b, case.alpha

    def product(a: Any, b: Any, trans_a: bool, trans_b: bool) -> Problem:
        return Problem.of("gemm", (a, b, None), (alpha, 1.0, trans_a, trans_b, None))

    yield Problem.of("gemm", (a, b, c), (alpha, case.beta, ta, tb, case.activation))
    yield product(b, g, tb, True) if ta else product(g, b, False, not tb)
    yield product(g, a, True, ta) if tb else product(a, g, not ta, False)
    if a is not None and b is not None and not (ta or tb or {"long", "float32"} & case.tags):
        yield Problem.of("matmul", (np.stack([a, -a, a]), b))
        yield Problem.of("matmul", (np.stack([a, -a]), np.stack([b, b])))


def _results(call: Call) -> tuple[tuple[tuple[int, ...], str]]:
    a, b = call.shapes[:2]
    assert a is not None and b is not None
    if call.op == "gemm":
        return (_product(call)[1:3], call.dtype),
    return ((*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1]), call.dtype),


for _op, _function, _example in (("gemm", ops.gemm, ((1024, 1024), (1024, 1024))),
                                 ("matmul", ops.matmul, ((16, 256, 256), (16, 256, 256)))):
    Op.registry[_op].facts = Facts(
        family="gemm", results=_results, work=_work, plan=_plan, bound=_bound, part=_part, explained=_function,
        example=_example, method=lambda call: "matrix products, sums in blocks of 128", product=_product, kernel="gemm")

FAMILY = Family(ops=("gemm", "matmul"), page="gemm.md", cases=(*cases.CASES, *cases.LARGE), problems=problems,
                operands=("a", "b", "c", "x", "w", "bias"), formats=FORMATS[:1], tf32=True)
