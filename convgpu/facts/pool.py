"""Facts about pooling: max_pool, avg_pool and lp_pool, their gradients, and the ops that second derivatives need."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from ..backends import reference
from ..cases import pool as cases
from ..cases.problem import Arrays, Problem, ends, normal, some_of
from ..dtypes import DTypeLike, as_dtype
from ..geometry import PoolGeometry
from ..op import Op
from ..ops import lp_pool as lp_ops
from ..ops import pool as ops
from ..recorder import Call, Shape
from ..roofline import Gpu, Work, additions_on
from .facts import Bound, Facts, Family, drawn

_SEPARABLE, _BY_OFFSETS = "separable passes along each axis, tile by tile", "by the winners' offsets"


def geometry_of(call: Call) -> PoolGeometry:
    """The geometry among a call's static arguments."""
    return next(s for s in call.statics if isinstance(s, PoolGeometry))


def taps(call: Call) -> int:
    """The number of taps of a window."""
    return math.prod(geometry_of(call).window)


def like_x(call: Call) -> tuple[tuple[Shape, str]]:
    """The result of a gradient op: it has the shape of the input x."""
    return (geometry_of(call).x_shape, call.dtype),


def like_y(call: Call) -> tuple[tuple[Shape, str]]:
    """The result of a forward op: it has the shape of the output y."""
    return (geometry_of(call).y_shape, call.dtype),


def pool_work(op: str, geo: PoolGeometry, dtype: DTypeLike, with_offsets: bool = True) -> Work:
    """The work of "max_pool", "max_pool_dgrad", "max_pool_gather", "max_pool_indices", "avg_pool" or "avg_pool_dgrad".

    Args:
        with_offsets: whether max_pool saves the winners' offsets, which only a gradient needs.
    """
    size, offset = as_dtype(dtype).itemsize, as_dtype(geo.offset_dtype).itemsize
    x, y = math.prod(geo.x_shape), math.prod(geo.y_shape)
    if op in ("max_pool_gather", "max_pool_indices"):
        return Work(0, "", y * (offset + (8 if op == "max_pool_indices" else 2 * size)))
    offsets = y * offset if op == "max_pool_dgrad" or op == "max_pool" and with_offsets else 0
    flops = y if op == "max_pool_dgrad" else y * math.prod(geo.window)
    return Work(flops, additions_on(dtype), (x + y) * size + offsets)


def _work(call: Call, precision: str) -> Work:
    return pool_work(call.op, call.statics[0], call.dtype, call.op != "max_pool" or call.statics[1])


def plan(native: Any, call: Call, gpu: Gpu | None, precision: str) -> Any:
    """The plan of a call, which is the same on every GPU."""
    return native.module.plan_pool(call.op, native.geometry(geometry_of(call)), call.dtype)


def _forward_method(call: Call) -> str:
    return "one reduction of every image" if geometry_of(call).is_global else _SEPARABLE


def part(problem: Problem, arrays: Arrays, results: Arrays, few: bool) -> tuple[Problem, Arrays]:
    """Two images; with `few`, two channels of the last image."""
    geo = geometry_of(problem.call)
    images = ends(geo.batch)[-1:] if few else ends(geo.batch)
    channels = ends(geo.channels) if few else list(range(geo.channels))

    def cut(array: Any) -> Any:
        return None if array is None else some_of(array[images], channels, -1 if geo.channels_last else 1)

    some = replace(geo, batch=len(images), channels=len(channels))
    statics = tuple(some if s is geo else s for s in problem.call.statics)
    return Problem.of(problem.op, tuple(map(cut, arrays)), statics), tuple(map(cut, results))


def _draw(call: Call) -> Arrays:
    """Random operands. Offsets are those of an image's winners; the numpy backend finds them fast."""
    from ..backends import numpy as backend

    geo = geometry_of(call)
    offsets = backend.max_pool(normal("x", geo.x_shape, "float32"), geo, True)[1]
    return (offsets,) if call.op == "max_pool_indices" else (*drawn(call)[:1], offsets)


def problems(case: cases.PoolCase, dtype: str, data_format: str) -> Iterator[Problem]:
    """All kinds of pooling, their gradients, and the ops that second derivatives need."""
    geo, x = case.geometry(data_format), case.input(dtype, data_format)
    gy = normal(case.name, geo.y_shape, dtype)
    offsets = reference.max_pool(x, geo, True)[1]
    yield Problem.of("max_pool", (x,), (geo, True))
    yield Problem.of("max_pool", (x,), (geo, False))
    yield Problem.of("max_pool_dgrad", (gy, offsets), (geo,))
    yield Problem.of("max_pool_gather", (x, offsets), (geo,))
    yield Problem.of("max_pool_indices", (offsets,), (geo,))
    if case.averages:
        yield Problem.of("avg_pool", (x,), (geo,))
        yield Problem.of("avg_pool_dgrad", (gy,), (geo,))
    if case.averages and not case.adaptive:
        p = _norm_of(case)
        y = reference.lp_pool(x, geo, p)
        yield Problem.of("lp_pool", (x,), (geo, p))
        yield Problem.of("lp_pool_dgrad", (gy, x, y), (geo, p - 1, True))
        yield Problem.of("lp_pool_gather", (normal("v", geo.x_shape, dtype), x, y), (geo, p - 1, True))
        yield Problem.of("lp_pool_dgrad", (gy, x, y), (geo, p - 2, False))


def _norm_of(case: cases.PoolCase) -> float:
    """The p of the p-norm in a case: each of four values of p gets about a quarter of the cases."""
    return (1.0, 2.0, 3.0, 3.5)[zlib.crc32(case.name.encode()) % 4]


def exact(call: Call) -> Bound:
    """The bound of ops whose results are elements of the input: every element must be exact."""
    return Bound(None, call.statics)


def of_taps(call: Call) -> Bound:
    """The bound of ops that sum over the taps of a window, or over the windows that contain a pixel."""
    return Bound(taps(call), call.statics)


_pool = partial(Facts, family="pool", work=_work, plan=plan, part=part)
_EXAMPLE = ((32, 56, 56, 64), 2)
_max = partial(_pool, explained=ops.max_pool, example=_EXAMPLE)
_average = partial(_pool, explained=ops.avg_pool, example=_EXAMPLE)

Op.registry["max_pool"].facts = _max(
    results=lambda call: (*like_y(call), (geometry_of(call).y_shape, geometry_of(call).offset_dtype)
                          if call.statics[1] else None), bound=exact, method=_forward_method)
Op.registry["max_pool_dgrad"].facts = _max(results=like_x, bound=of_taps, method=lambda call: _BY_OFFSETS,
                                           draw=_draw, direction="dgrad")
Op.registry["max_pool_gather"].facts = _max(results=like_y, bound=exact, method=lambda call: _BY_OFFSETS,
                                            draw=_draw, direction="gather")
Op.registry["max_pool_indices"].facts = _max(
    results=lambda call: ((geometry_of(call).y_shape, "int64"),), bound=exact, method=lambda call: _BY_OFFSETS,
    draw=_draw, options=(("return_indices", True),), direction="indices")
Op.registry["avg_pool"].facts = _average(results=like_y, bound=of_taps, method=_forward_method)
Op.registry["avg_pool_dgrad"].facts = _average(results=like_x, bound=of_taps, method=lambda call: _SEPARABLE,
                                               direction="dgrad")



def lp_pool_work(op: str, geo: PoolGeometry, dtype: DTypeLike) -> Work:
    """The work of "lp_pool", "lp_pool_dgrad" or "lp_pool_gather": each tap takes a power and an addition."""
    x, y = math.prod(geo.x_shape), math.prod(geo.y_shape)
    arrays = {"lp_pool": x + y, "lp_pool_dgrad": 2 * x + 2 * y, "lp_pool_gather": 2 * x + 2 * y}[op]
    return Work(2 * y * math.prod(geo.window), additions_on(dtype), arrays * as_dtype(dtype).itemsize)


def _draw_of_norms(call: Call) -> Arrays:
    """Random operands: a gradient or a tangent, an image, and the Euclidean norms of the image's windows."""
    from ..backends import numpy as backend

    first, x, _ = drawn(call)
    return first, x, backend.lp_pool(x, geometry_of(call), 2.0)


_power = partial(Facts, family="pool", plan=plan, part=part, bound=of_taps, explained=lp_ops.lp_pool,
                 example=((32, 56, 56, 64), 2, 2),
                 work=lambda call, precision: lp_pool_work(call.op, call.statics[0], call.dtype),
                 method=lambda call: "tap after tap, image after image")
Op.registry["lp_pool"].facts = _power(results=like_y)
Op.registry["lp_pool_dgrad"].facts = _power(results=like_x, draw=_draw_of_norms, direction="dgrad")
Op.registry["lp_pool_gather"].facts = _power(results=like_y, draw=_draw_of_norms, direction="gather")

FAMILY = Family(ops=("max_pool", "max_pool_dgrad", "max_pool_gather", "max_pool_indices", "avg_pool", "avg_pool_dgrad",
                     "lp_pool", "lp_pool_dgrad", "lp_pool_gather"),
                page="pooling.md", cases=cases.CASES, problems=problems, operands=("x",))
