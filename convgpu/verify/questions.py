"""What a function of a user is asked: inputs and options from our tables of cases, and what the result must be.

`ASKED` has an entry for each family of functions: the names of the inputs, the options, and the op whose reference
computes the answer in float64 (in long double for float64).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..backends import reference
from ..cases import conv, elementwise, gemm, norm, pool, reduce, softmax
from ..cases.problem import Problem, normal
from ..cases.tolerance import bound
from ..dtypes import as_dtype

FORMATS = ("channels_last", "channels_first")


@dataclass(frozen=True)
class Asked:
    """A family of functions.

    inputs: the names of the arrays, in the order in which the function takes them. options: the names of its keyword
    arguments. formula: what it computes. cases: the table. ask: the inputs, options and the problem of a case in a
    dtype and a data format, or None where the family does not have the case. formats: the data formats.
    """

    inputs: tuple[str, ...]
    options: tuple[str, ...]
    formula: str
    cases: Sequence[Any]
    ask: Callable[[Any, str, str], tuple[tuple[Any, ...], dict[str, Any], Any] | None]
    formats: tuple[str, ...] = FORMATS[:1]

    def signature(self, name: str) -> str:
        """How a function of the family is called."""
        return f"{name}({', '.join(self.inputs)}, *, {', '.join(self.options)})" if self.options else (
            f"{name}({', '.join(self.inputs)})")


@dataclass(frozen=True)
class Question:
    """One case of a family in one dtype and data format: `fn(*arrays, **options)` must be within the bound.

    family, case, dtype, data_format: names. inputs: the names of the arrays. arrays: NumPy arrays, or None for an
    operand that the case does not have. options: keyword arguments by convgpu's names. problem: the op that gives the
    answer.
    """

    family: str
    case: str
    dtype: str
    data_format: str
    inputs: tuple[str, ...]
    arrays: tuple[Any, ...]
    options: dict[str, Any]
    problem: Any

    def __str__(self) -> str:
        operands = [f"{name} {array.shape}" for name, array in zip(self.inputs, self.arrays) if array is not None]
        return ", ".join(operands + [f"{name}={value!r}" for name, value in self.options.items()])

    @cached_property
    def expected(self) -> np.ndarray:
        """The exact result, in float64 or wider."""
        return self.problem.exact()[0]

    @cached_property
    def result_dtype(self) -> np.dtype:
        """The dtype that the result must have."""
        return self.problem.result_dtype if isinstance(self.problem, Normed) else as_dtype(
            self.problem.facts.results(self.problem.call)[0][1])

    @cached_property
    def magnitude(self) -> np.ndarray | None:
        """The op on absolute values, which the bound multiplies; None where every element must be exact."""
        return None if self.problem.length is None else self.problem.magnitude()

    def allowed(self, units: float) -> np.ndarray:
        """The largest error of each element."""
        if self.magnitude is None:
            return np.zeros(self.expected.shape)
        return bound(self.expected, self.magnitude, self.problem.length, self.result_dtype, units)


class Normed:
    """Layer normalisation, which convgpu computes by two ops, as one problem.

    The bound allows what comes of rounding the mean: an error of a unit of |mean| and of |x - mean|, over the standard
    deviation.
    """

    def __init__(self, x: np.ndarray, scale: Any, offset: Any, epsilon: float) -> None:
        self._wide = [None if a is None else a.astype(np.longdouble) for a in (x, scale, offset)]
        self._epsilon, self.result_dtype, self.length = epsilon, x.dtype, x.shape[-1]

    def exact(self) -> tuple[np.ndarray]:
        x, scale, offset = self._wide
        assert x is not None
        with np.errstate(all="ignore"):
            y = (x - self._mean) * self._over_deviation * (1 if scale is None else scale)
        return (y + (0 if offset is None else offset)).astype(np.float64),

    def magnitude(self) -> np.ndarray:
        x, scale, offset = self._wide
        assert x is not None
        with np.errstate(all="ignore"):
            size = (np.abs(x - self._mean) + np.abs(self._mean)) * self._over_deviation
        size = size * (1 if scale is None else np.abs(scale)) + (0 if offset is None else np.abs(offset))
        return 1.2 * size.astype(np.float64)

    @cached_property
    def _mean(self) -> Any:
        x = self._wide[0]
        assert x is not None
        with np.errstate(all="ignore"):
            return x.mean(-1, keepdims=True)

    @cached_property
    def _over_deviation(self) -> Any:
        with np.errstate(all="ignore"):
            return 1 / np.sqrt(np.square(self._wide[0] - self._mean).mean(-1, keepdims=True) + self._epsilon)


def questions(family: str, dtypes: Sequence[str], data_formats: Sequence[str],
              cases: Sequence[str] | None = None) -> Iterator[Question]:
    """The questions of a family. Raises ValueError for a family, dtype or format that is unknown, LookupError for a
    case.
    """
    asked = family_of(family)
    for dtype in dtypes:
        if dtype not in ("float64", "float32", "float16", "bfloat16"):
            raise ValueError(f"dtypes: expected float64, float32, float16 or bfloat16, got {dtype!r}")
    for data_format in data_formats:
        if data_format not in FORMATS:
            raise ValueError(f"data_formats: expected {' or '.join(FORMATS)}, got {data_format!r}")
    known = {case.name for case in asked.cases}
    for name in cases or ():
        if name not in known:
            raise LookupError(f"{family}: expected the name of a case, as {asked.cases[0].name!r}, got {name!r}")
    for case in asked.cases:
        if cases is not None and case.name not in cases:
            continue
        for dtype in dtypes:
            if "long" in getattr(case, "tags", ()) and dtype == "float64":
                continue  # sums of float64 are not blocked, and the tables promise nothing for long ones
            for data_format in asked.formats if len(asked.formats) == 1 else data_formats:
                told = asked.ask(case, dtype, data_format)
                if told is not None:
                    arrays, options, problem = told
                    yield Question(family, case.name, dtype, data_format, asked.inputs, arrays, options, problem)


def family_of(name: str) -> Asked:
    """The family of that name. Raises ValueError that lists all of them."""
    if name not in ASKED:
        raise ValueError(f"family: expected one of {', '.join(ASKED)}, got {name!r}")
    return ASKED[name]


# --- convolution


def _conv(direction: str) -> Callable[..., Any]:
    def ask(case: Any, dtype: str, data_format: str) -> Any:
        geo = case.geometry(data_format)
        x, w, g = (case.draw(shape, role, dtype) for role, shape in (("x", geo.x_shape), ("w", geo.w_shape),
                                                                     ("g", geo.y_shape)))
        options = {"stride": geo.stride, "padding": geo.padding, "dilation": geo.dilation, "groups": geo.groups,
                   "data_format": data_format}
        if direction == "fprop":
            return (x, w), options, Problem.of("conv_fprop", (x, w, None), (geo, None))
        if direction == "dgrad":
            return (g, w), {"x_shape": geo.x_shape} | options, Problem.of("conv_dgrad", (g, w, None), (geo, None))
        return (x, g), {"w_shape": geo.w_shape} | options, Problem.of("conv_wgrad", (x, g), (geo,))

    return ask


def adjoint(question: Question, result: np.ndarray, units: float) -> float | None:
    """By how much <g, fprop(x, w)> = <dgrad(g, w), x> = <wgrad(x, g), w> is missed, in units of what the errors of the
    result allow; None for families that have no adjoints, and where values are not finite.

    One side is the result; the others are those of the reference, so that the identity judges the reference, too.
    """
    if not question.family.startswith("conv_"):
        return None
    geo = question.problem.call.statics[0]
    wide = [a.astype(np.longdouble) for a in question.arrays]
    seen = np.asarray(result).astype(np.longdouble)
    other = np.random.default_rng(0).standard_normal(seen.shape).astype(np.longdouble)
    if question.family == "conv_fprop":
        x, w = wide
        sides = [(reference.conv_dgrad(other, w, None, geo, None) * x).sum(),
                 (reference.conv_wgrad(x, other, geo) * w).sum()]
    elif question.family == "conv_dgrad":
        g, w = wide
        sides = [(reference.conv_fprop(other, w, None, geo, None) * g).sum()]
    else:
        x, g = wide
        sides = [(reference.conv_fprop(x, other, None, geo, None) * g).sum()]
    room = (np.abs(other) * question.allowed(units)).sum() + 1e-300
    missed = max(abs((other * seen).sum() - side) for side in sides)
    return float(missed / room) if np.isfinite(missed) else None


# --- pooling, products, and functions of lines


def _pool(op: str) -> Callable[..., Any]:
    def ask(case: Any, dtype: str, data_format: str) -> Any:
        if case.adaptive or op == "avg_pool" and not case.averages:
            return None
        geo, x = case.geometry(data_format), case.input(dtype, data_format)
        options = {"size": geo.window, "stride": geo.stride, "padding": geo.padding, "ceil_mode": case.ceil_mode}
        if op == "max_pool":
            options |= {"dilation": geo.dilation, "data_format": data_format}
            return (x,), options, Problem.of(op, (x,), (geo, False))
        options |= {"count_include_pad": geo.count_include_pad, "data_format": data_format}
        return (x,), options, Problem.of(op, (x,), (geo,))

    return ask


def _gemm(case: Any, dtype: str, data_format: str) -> Any:
    a, b, c = (case.draw(role, dtype) for role in "abc")
    statics = case.alpha, case.beta, case.trans_a, case.trans_b, case.activation
    return (a, b, c), case.options, Problem.of("gemm", (a, b, c), statics)


def _matmul(case: Any, dtype: str, data_format: str) -> Any:
    if case.trans_a or case.trans_b or {"long", "float32"} & case.tags:
        return None
    a, b = (case.draw(role, dtype) for role in "ab")
    arrays = np.stack([a, -a, a]), np.stack([b, -b, b])
    return arrays, {}, Problem.of("matmul", arrays)


def _softmax(log_of: bool) -> Callable[..., Any]:
    def ask(case: Any, dtype: str, data_format: str) -> Any:
        x = case.input(dtype)
        return (x,), {"axis": case.axis}, Problem.of("softmax", (x,), (case.axis, log_of))

    return ask


def _cross_entropy(case: Any, dtype: str, data_format: str) -> Any:
    if case.bad:
        return None
    x, labels = case.input(dtype), case.drawn_labels()
    options = {"axis": case.axis, "label_smoothing": case.smoothing, "reduction": case.reduction}
    return (x, labels), options, Problem.of("cross_entropy", (x, labels),
                                            (case.axis, case.smoothing, case.reduction))


def _layer_norm(case: Any, dtype: str, data_format: str) -> Any:
    if case.groups != 0 or case.values == "huge":
        return None
    x = case.input(dtype)
    scale, offset = (normal(f"{case.name}/{k}", x.shape[-1:], dtype) if case.parameters else None
                     for k in ("scale", "offset"))
    return (x, scale, offset), {"epsilon": case.epsilon}, Normed(x, scale, offset, case.epsilon)


def _reduce(function: str) -> Callable[..., Any]:
    def ask(case: Any, dtype: str, data_format: str) -> Any:
        x = case.input(dtype)
        if case.values == "infinite" and function not in ("max", "min"):
            return None
        if function != "sum" and 0 in case.shape:
            return None  # there are no terms
        return (x,), {"axis": case.axes, "keepdims": case.keepdims}, Problem.of(
            "reduce", (x,), (function, case.axes, case.keepdims, case.shape))

    return ask


def _activation(name: str) -> Callable[..., Any]:
    def ask(case: Any, dtype: str, data_format: str) -> Any:
        x = case.draw("x", dtype)
        return (x,), {}, Problem.of("activate", (x,), (name, 0.0, 1.0))

    return ask


_CONV = ("stride", "padding", "dilation", "groups", "data_format")
_LAYERS = (*norm.CASES, replace(next(c for c in norm.CASES if c.groups == 0), name="layer of a large mean",
                                x=(6, 300), values="far"))
_ELEMENTS = [case for case in elementwise.CASES if isinstance(case, elementwise.ElementwiseCase)]

ASKED: dict[str, Asked] = {
    "conv_fprop": Asked(("x", "w"), _CONV, "the convolution of x and w", conv.CASES, _conv("fprop"), FORMATS),
    "conv_dgrad": Asked(("g", "w"), ("x_shape", *_CONV), "the gradient of x, given that of the output", conv.CASES,
                        _conv("dgrad"), FORMATS),
    "conv_wgrad": Asked(("x", "g"), ("w_shape", *_CONV), "the gradient of w, given that of the output", conv.CASES,
                        _conv("wgrad"), FORMATS),
    "max_pool": Asked(("x",), ("size", "stride", "padding", "ceil_mode", "dilation", "data_format"),
                      "the largest pixel of each window", pool.CASES, _pool("max_pool"), FORMATS),
    "avg_pool": Asked(("x",), ("size", "stride", "padding", "ceil_mode", "count_include_pad", "data_format"),
                      "the mean of each window", pool.CASES, _pool("avg_pool"), FORMATS),
    "gemm": Asked(("a", "b", "c"), ("alpha", "beta", "trans_a", "trans_b", "activation"),
                  "activation(alpha * op(a) @ op(b) + beta * c)", gemm.CASES, _gemm),
    "matmul": Asked(("a", "b"), (), "stacks of matrix products a @ b", gemm.CASES, _matmul),
    "softmax": Asked(("x",), ("axis",), "exp(x) / sum(exp(x))", softmax.CASES, _softmax(False)),
    "log_softmax": Asked(("x",), ("axis",), "x - log(sum(exp(x)))", softmax.CASES, _softmax(True)),
    "cross_entropy": Asked(("logits", "labels"), ("axis", "label_smoothing", "reduction"),
                           "the cross-entropy with integer labels", softmax.CASES, _cross_entropy),
    "layer_norm": Asked(("x", "scale", "offset"), ("epsilon",), "(x - mean) / sqrt(var + epsilon) * scale + offset "
                        "over the last axis", _LAYERS, _layer_norm),
    **{function: Asked(("x",), ("axis", "keepdims"), f"the {function} over a tuple of axes", reduce.CASES,
                       _reduce(function)) for function in ("sum", "mean", "max", "min")},
    **{name: Asked(("x",), (), f"{name}(x), element by element", _ELEMENTS, _activation(name))
       for name in ("relu", "sigmoid", "tanh", "softplus", "silu", "gelu")},
}
