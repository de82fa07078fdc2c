"""Facts about the ops that change the layout of arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ..cases import layout as cases
from ..cases.problem import Arrays, Problem
from ..dtypes import DTypeLike, as_dtype
from ..op import Op
from ..ops import layout as ops
from ..recorder import Call, Shape
from ..roofline import Gpu, Work
from .facts import FORMATS, Bound, Facts, Family

MOVES: dict[str, tuple[Any, Any]] = {  # for each op: the axes that move, and where they move to
    "nchw_to_nhwc": (1, -1), "nhwc_to_nchw": (-1, 1), "oihw_to_hwio": ((0, 1), (-1, -2)),
    "hwio_to_oihw": ((-1, -2), (0, 1))}


def layout_work(shape: Shape, dtype: DTypeLike) -> Work:
    """The work of a change of layout: every element is read once and written once."""
    return Work(0, "", 2 * math.prod(shape) * as_dtype(dtype).itemsize)


def _results(call: Call) -> tuple[tuple[Shape, str]]:
    probe = np.broadcast_to(np.zeros((), np.int8), call.shapes[0] or ())
    return (np.moveaxis(probe, *MOVES[call.op]).shape, call.dtype),


def _part(problem: Problem, arrays: Arrays, results: Arrays, few: bool) -> tuple[Problem, Arrays]:
    """The whole call: moving elements costs the reference no more than the backend."""
    return _moved(problem.op, arrays[0]), results


def _plan(native: Any, call: Call, gpu: Gpu | None, precision: str) -> Any:
    return native.module.plan_layout(call.op, list(call.shapes[0] or ()), call.dtype)


def _moved(op: str, x: np.ndarray) -> Problem:
    return Problem.of(op, (x,), answer=(np.moveaxis(x, *MOVES[op]),))


def problems(case: cases.LayoutCase, dtype: str, data_format: str) -> Iterator[Problem]:
    """All four changes of layout of one array, which serves as images and as filters."""
    x = case.input(dtype)
    for op in MOVES:
        yield _moved(op, x)


_layout = partial(Facts, family="layout", results=_results,
                  work=lambda call, precision: layout_work(call.shapes[0] or (), call.dtype),
                  plan=_plan,
                  method=lambda call: "one transposed copy", bound=lambda call: Bound(None, ()), part=_part,
                  direction="copy", kernel="transpose")
for _op, _example in (("nchw_to_nhwc", (32, 64, 56, 56)), ("nhwc_to_nchw", (32, 56, 56, 64)),
                      ("oihw_to_hwio", (512, 512, 3, 3)), ("hwio_to_oihw", (3, 3, 512, 512))):
    Op.registry[_op].facts = _layout(explained=getattr(ops, _op), example=(_example,))

FAMILY = Family(ops=tuple(MOVES), page="layout.md", cases=cases.CASES, problems=problems, operands=("x", "w"),
                dtypes=cases.DTYPES, formats=FORMATS[:1])
