"""Facts about normalisation: its statistics, the affine step that applies them, and the gradients of both."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from ..backends import reference
from ..cases import norm as cases
from ..cases.problem import Arrays, Problem, normal
from ..cases.tolerance import worst
from ..dtypes import accumulator, as_dtype
from ..geometry import NormGeometry
from ..op import Op
from ..ops import norm as ops
from ..ops.activation import relu
from ..ops.folding import folded
from ..recorder import Call, Shape
from ..roofline import Gpu, Work, additions_on
from ..settings import workspace_limit
from .facts import Bound, Facts, Family, device_of, drawn

Sizes = tuple[tuple[Shape, Any] | None, ...]


def geometry_of(call: Call) -> NormGeometry:
    """The geometry among a call's static arguments."""
    if call.op == "norm_fold":
        channels = math.prod(call.shapes[0] or ())
        return NormGeometry(1, 1, channels, 1, channels)
    return next(s for s in call.statics if isinstance(s, NormGeometry))


def _wanted(call: Call) -> tuple[bool, ...]:
    return tuple(map(bool, call.statics[2])) if call.op == "norm_dgrad" else (False,) * 4


def _results(call: Call) -> Sizes:
    geo, kept = geometry_of(call), accumulator(as_dtype(call.dtype)).name
    channels = ((geo.channels,), kept)
    image = (call.shapes[1 if call.op == "norm_dgrad" else 0] or (), call.dtype)
    if call.op == "norm_stats":
        learned = None if call.shapes[1] is None else channels
        return ((2, *geo.statistics), kept), (geo.statistics, kept), learned, learned
    if call.op == "norm_dgrad":
        return tuple(size if w else None for size, w in zip((image, channels, channels, image), _wanted(call)))
    return image,


def _images(call: Call) -> tuple[int, int]:
    """How many arrays of x's size a call reads and writes, each once."""
    if call.op == "norm_stats":
        return 1, 0
    if call.op == "norm_dgrad":
        return 2 + (call.shapes[6] is not None), sum(_wanted(call)[k] for k in (0, 3))
    return 1 + (len(call.shapes) == 6 and call.shapes[5] is not None), 1


def _bytes_of(call: Call, images: int, results: bool) -> int:
    """The bytes of so many arrays of x's size, and of the small arrays that are read, or written."""
    size, kept = as_dtype(call.dtype).itemsize, accumulator(as_dtype(call.dtype)).itemsize
    whole = geometry_of(call).size
    shapes = [s[0] for s in _results(call) if s is not None] if results else [s for s in call.shapes if s is not None]
    image = call.shapes[1 if call.op == "norm_dgrad" else 0]
    return images * whole * size + sum([math.prod(s) * kept for s in shapes if s != image])


def _work(call: Call, precision: str) -> Work:
    each = {"norm_stats": 4, "norm_dgrad": 12}.get(call.op, 3)
    read, written = _images(call)
    return Work(each * geometry_of(call).size, additions_on(call.dtype),
                _bytes_of(call, read, False) + _bytes_of(call, written, True))


def _traffic(call: Call) -> tuple[int, int]:
    """The bytes that the two launches of the gradients read and write: sums first, which leave the residual's gradient
    for the second, then the gradient of x from gy (or that) and x.
    """
    read, written = _images(call)
    wanted = _wanted(call)
    sums, geo = any(wanted[:3]), geometry_of(call)
    lines = geo.outer == 0 or geo.inner == 1 and geo.rows == 1 and geo.channels != geo.groups
    if sums and (wanted[0] or wanted[3] and lines):
        more = lines and (wanted[1] or wanted[2]) or not lines and wanted[0]
        read += (read if lines or not wanted[3] else 2) * more
    return _bytes_of(call, read, False), _bytes_of(call, written, True)


def _plan(native: Any, call: Call, gpu: Gpu | None, precision: str) -> Any:
    return native.module.plan_norm(call.op, native.geometry(geometry_of(call)), call.dtype, wanted=_wanted(call),
                                   device=device_of(native, gpu), limit=workspace_limit())


def _bound(call: Call) -> Bound:
    geo = geometry_of(call)
    summed = geo.size // max(geo.channels, 1) if call.op == "norm_dgrad" else geo.count
    return Bound(1 if call.op in ("norm_apply", "norm_apply_add", "norm_infer") else max(summed, geo.count),
                 call.statics)


def _part(problem: Problem, arrays: Arrays, results: Arrays, few: bool) -> tuple[Problem, Arrays]:
    """The whole call: the reference takes some passes over x."""
    return Problem.of(problem.op, arrays, problem.call.statics), results


# --- what the errors are proportional to


def _units(problem: Problem, exact: Arrays, results: list[Any], c: float) -> float:
    """The largest error of all results. Of the mean and what is left of it, the sum is compared."""
    if [r.dtype for r in results] != [as_dtype(s[1]) for s in _results(problem.call) if s is not None]:
        return math.inf
    arrays = [None if a is None else a.astype(np.longdouble) for a in problem.operands()]
    geo, length = geometry_of(problem.call), problem.length or 0
    with np.errstate(all="ignore"):
        sizes = {"norm_stats": _of_statistics, "norm_dgrad": _of_gradients}.get(problem.op, _of_values)(
            problem, exact, arrays, geo)
        if problem.op == "norm_stats":
            (high, rest), right = results[0].astype(np.longdouble), exact[0].astype(np.longdouble).sum(0)
            error = (high + rest) - right + 0 * right  # NaN where the exact mean is
            results = [results[0][0], error.astype(results[0].dtype), *results[1:]]
            exact = (right, 0 * right, *exact[1:])
    return max([worst(r, np.asarray(e, np.longdouble), np.asarray(m, np.longdouble), length, c)
                for r, e, m in zip(results, exact, sizes, strict=True)], default=0.0)


def _of_statistics(problem: Problem, exact: Arrays, arrays: list[Any], geo: NormGeometry) -> Arrays:
    """The first part of a mean is rounded, and both together are as exact as the deviations from it."""
    mean = exact[0].astype(np.longdouble).sum(0)
    centre = mean.reshape(geo.outer, 1, geo.groups, 1, 1)
    spread = np.abs(arrays[0].reshape(geo.split) - centre).max((1, 3, 4), initial=0)
    found = [np.abs(mean) + spread, spread, np.abs(exact[1])]
    if len(exact) == 4:
        momentum = problem.call.statics[2]
        sizes = (np.abs(mean) + spread).reshape(-1), np.abs(exact[3])
        found += [np.abs(momentum * old) + size for old, size in zip(arrays[1:3], sizes)]
    return tuple(found)


def _of_values(problem: Problem, exact: Arrays, arrays: list[Any], geo: NormGeometry) -> Arrays:
    x, mean, rstd, scale, offset, *residual = arrays
    if problem.op == "norm_infer":
        along = (1, 1, geo.groups, geo.channels // max(geo.groups, 1), 1)
        rstd, centre = 1 / np.sqrt(rstd.reshape(along) + problem.call.statics[2]), mean.reshape(along)
    else:
        each = (geo.outer, 1, geo.groups, 1, 1)
        rstd, centre = rstd.reshape(each), (mean[0] + mean[1]).reshape(each)
    size = np.abs(x.reshape(geo.split) - centre) * rstd
    return _with_parameters(size, scale, offset, residual, x.shape, geo),


def _with_parameters(size: Any, scale: Any, offset: Any, residual: list[Any], shape: Shape, geo: NormGeometry) -> Any:
    along = (1, 1, geo.groups, geo.channels // max(geo.groups, 1), 1)
    size = size if scale is None else size * np.abs(scale).reshape(along)
    size = (size if offset is None else size + np.abs(offset).reshape(along)).reshape(shape)
    return 1.2 * (size if not residual or residual[0] is None else size + np.abs(residual[0]))


def _of_gradients(problem: Problem, exact: Arrays, arrays: list[Any], geo: NormGeometry) -> Arrays:
    gy, x, mean, rstd, scale, offset, y = arrays
    each, along = (geo.outer, 1, geo.groups, 1, 1), (1, 1, geo.groups, geo.channels // max(geo.groups, 1), 1)
    xn = np.abs((x.reshape(geo.split) - mean[0].reshape(each) - mean[1].reshape(each)) * rstd.reshape(each))
    g = np.abs(gy).reshape(geo.split)
    if problem.call.statics[1] == "silu":  # the slope's own error is that of its argument
        g = g * (1.2 + _with_parameters(xn, scale, offset, [], x.shape, geo).reshape(geo.split))
    s = g if scale is None else g * np.abs(scale).reshape(along)
    n = max(geo.count, 1)
    gx = rstd.reshape(each) * (s + s.sum((1, 3, 4), keepdims=True) / n
                               + xn * (s * xn).sum((1, 3, 4), keepdims=True) / n)
    sizes = gx.reshape(x.shape), (g * xn).sum((0, 1, 4)).reshape(-1), g.sum((0, 1, 4)).reshape(-1), g.reshape(x.shape)
    return tuple(size for size, w in zip(sizes, _wanted(problem.call)) if w)


# --- the cases


def problems(case: cases.NormCase, dtype: str, data_format: str) -> Iterator[Problem]:
    """The statistics of a case, the affine step with and without a residual, with given statistics for batch norm (also
    folded), and the gradients of the first two.
    """
    geo, x = case.geometry(data_format), case.input(dtype, data_format)
    kept, batch = accumulator(as_dtype(dtype)).name, case.groups is None
    scale, offset, old = (normal(f"{case.name}/{k}", (geo.channels,), kept) for k in ("scale", "offset", "old"))
    given = (scale, offset) if case.parameters else (None, None)
    gy, residual = normal(f"{case.name}/gy", x.shape, dtype), normal(f"{case.name}/residual", x.shape, dtype)
    running = (old, np.abs(scale)) if batch and geo.channels == geo.groups else (None, None)
    yield Problem.of("norm_stats", (x, *running), (geo, case.epsilon, 0.9, 1))
    with np.errstate(all="ignore"):
        mean, rstd, *_ = reference.norm_stats(x, None, None, geo, case.epsilon, 0.9, 1)
        assert mean is not None and rstd is not None
        after = case.activation if case.activation in ops.FROM_OUTPUT else None
        y = reference.norm_apply_add(x, mean, rstd, given[0], given[1], residual, geo, after)
    yield Problem.of("norm_apply", (x, mean, rstd, *given), (geo, case.activation))
    yield Problem.of("norm_apply_add", (x, mean, rstd, *given, residual), (geo, after))
    yield Problem.of("norm_dgrad", (gy, x, mean, rstd, *given, None),
                     (geo, case.activation, (True, case.parameters, case.parameters, False)))
    if case.values not in ("nan", "inf"):
        yield Problem.of("norm_dgrad", (gy, x, mean, rstd, *given, y), (geo, after, (True,) * 4))
        yield Problem.of("norm_dgrad", (gy, x, mean, rstd, *given, y), (geo, after, (False, False, False, True)))
    if batch and geo.channels == geo.groups and case.values in ("normal", "nan"):
        bias = normal(f"{case.name}/bias", (geo.channels,), kept) if case.parameters else None
        yield Problem.of("norm_fold", (old, np.abs(scale), *given, bias), (1e-3,))
        yield Problem.of("norm_infer", (x, old, np.abs(scale), *given, residual if case.parameters else None),
                         (geo, case.activation, 1e-3))


def _work_of_folding(call: Call, precision: str) -> Work:
    elements = sum([math.prod(s) for s in call.shapes if s is not None]) + 2 * geometry_of(call).channels
    return Work(6 * geometry_of(call).channels, additions_on(call.dtype), elements * as_dtype(call.dtype).itemsize)


def _bound_of_folding(call: Call) -> Bound:
    def magnitude(mean: Any, var: Any, scale: Any, offset: Any, bias: Any) -> Any:
        return reference.norm_fold(-mean, var, scale, offset, bias, call.statics[0])  # all terms of one sign

    return Bound(1, (), magnitude=magnitude)


def _draw_to_fold(call: Call) -> Arrays:
    mean, var, *rest = drawn(call)
    return mean, np.abs(var), *rest


def _draw(call: Call) -> Arrays:
    """Random operands, with variances that are positive and the statistics that belong to x."""
    arrays = list(drawn(call))
    kept = accumulator(as_dtype(call.dtype)).name
    first = 2 if call.op == "norm_dgrad" else 1
    image = call.shapes[first - 1]
    arrays = [a if a is None or a.shape == image else a.astype(kept) for a in arrays]
    if call.op == "norm_infer" or call.op == "norm_stats" and arrays[2] is not None:
        arrays[2] = np.abs(arrays[2])
    elif call.op != "norm_stats":
        geo = geometry_of(call)
        arrays[first:first + 2] = reference.norm_stats(arrays[first - 1], None, None, geo, 1e-5, 0.9, 1)[:2]
    return tuple(arrays)


def _with_residual(x: Any, running_mean: Any, running_var: Any, scale: Any = None, offset: Any = None) -> Any:
    """relu(batch_norm(x) + x), which the tape computes by one op."""
    return relu(ops.batch_norm(x, running_mean, running_var, scale, offset, training=True)[0] + x)


def _folded(running_mean: Any, running_var: Any, scale: Any = None, offset: Any = None) -> Any:
    """Factor and shift of batch normalisation with running statistics, as a convolution before it takes them."""
    return folded(running_mean, running_var, scale, offset, None, 1e-3)


_norm = partial(Facts, family="norm", results=_results, work=_work, plan=_plan, bound=_bound, part=_part, draw=_draw,
                units=_units, method=lambda call: "piece by piece in the cache", explained=ops.batch_norm,
                example=((256, 56, 56, 64), (64,), (64,), (64,), (64,)), options=(("training", True),))
Op.registry["norm_stats"].facts = _norm(direction="statistics")
Op.registry["norm_apply"].facts = _norm(direction="apply")
Op.registry["norm_apply_add"].facts = _norm(direction="apply", kernel="norm_apply", explained=_with_residual,
                                            options=())
Op.registry["norm_infer"].facts = _norm(direction="inference", kernel="norm_apply", options=(("training", False),))
Op.registry["norm_fold"].facts = Facts(
    family="norm", results=lambda call: (((*(call.shapes[0] or ()), 2), call.dtype),), work=_work_of_folding,
    plan=_plan, method=lambda call: "functions of NumPy", bound=_bound_of_folding, part=_part, draw=_draw_to_fold,
    explained=_folded, example=((1 << 16,), (1 << 16,), (1 << 16,), (1 << 16,)), direction="folding")
Op.registry["norm_dgrad"].facts = _norm(direction="dgrad", traffic=_traffic)

FAMILY = Family(ops=("norm_stats", "norm_apply", "norm_apply_add", "norm_infer", "norm_fold", "norm_dgrad"),
                page="activations-norms-losses.md", cases=cases.CASES, problems=problems,
                operands=("x", "running_mean", "running_var", "scale", "offset"))
