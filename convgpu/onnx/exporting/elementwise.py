"""Ops on single elements."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .tracing import Call
from .writer import Value, Writer, plain

Emitter = Callable[[Writer, Call], None]


def one(op: str, **attributes: Any) -> Emitter:
    """An op of one input that ONNX has under another name."""
    return composed(lambda w, name, dtype: w.node(op, [name], **attributes))


def composed(write: Callable[[Writer, str, np.dtype], str]) -> Emitter:
    """An op of one input, written by a function of the input's name."""
    def emit(w: Writer, call: Call) -> None:
        x, y = w.value(call.inputs[0]), call.outputs[0]
        w.result(y, write(w, w.read(x, x.order, y.dtype if x.dtype.kind in "iub" and y.dtype.kind == "f" else None),
                          y.dtype), x.order)

    return emit


def several(op: str, compares: bool = False, inverted: bool = False, bits: str = "") -> Emitter:
    """An op of inputs that broadcast.

    Args:
        compares: the inputs have the dtype that they promote to, and not that of the result.
        inverted: the negation of the result.
        bits: the operator where the result is no boolean.
    """
    def emit(w: Writer, call: Call) -> None:
        y = call.outputs[0]
        dtypes = [x.dtype for x in call.inputs if hasattr(x, "dtype")]
        numbers = [x for x in call.inputs if not hasattr(x, "dtype")]
        dtype = np.result_type(*dtypes, *numbers) if compares else y.dtype
        values = [w.value(x, dtype) for x in call.inputs]
        order, rows = order_of(values, y.ndim), rows_of(values, y)
        names = [w.beside(v, order, dtype, rows) for v in values]
        name = names[0]
        for other in names[1:]:
            name = w.node(bits if bits and y.dtype.kind != "b" else op, [name, other])
        if inverted:
            name = w.node("Not", [name])
        w.result(y, name, order)

    return emit


def order_of(values: list[Value], rank: int) -> tuple[int, ...]:
    """The order of axes in which operands meet: that of one that would have to be turned, if there is any."""
    orders = [v.order for v in values if v.ndim == rank and v.array is None]
    return next((o for o in orders if o != plain(rank)), plain(rank))


def rows_of(values: list[Value], y: Any) -> int:
    """The size of the first axis, if an operand that is no constant has it; of constants one row will do then."""
    there = y.ndim and [v for v in values if v.array is None and v.ndim == y.ndim and v.shape[0] == y.shape[0]]
    return y.shape[0] if there else 0


def where(w: Writer, call: Call) -> None:
    """a where the condition holds, else b."""
    y = call.outputs[0]
    condition, *operands = [w.value(x, y.dtype) for x in call.inputs]
    order, rows = order_of([condition, *operands], y.ndim), rows_of([condition, *operands], y)
    names = [w.beside(condition, order, np.dtype(bool), rows), *[w.beside(v, order, y.dtype, rows) for v in operands]]
    w.result(y, w.node("Where", names), order)


def clip(w: Writer, call: Call) -> None:
    """x limited to [low, high]."""
    y = call.outputs[0]
    x, low, high = [None if v is None else w.value(v, y.dtype) for v in call.inputs]
    assert x is not None
    order = order_of([v for v in (x, low, high) if v is not None], y.ndim)
    name = w.beside(x, order, y.dtype)
    if all([v is None or v.array is not None and v.ndim == 0 for v in (low, high)]):
        limits = ["" if v is None else w.read(v, None, y.dtype) for v in (low, high)]
        w.result(y, w.node("Clip", [name, *limits]), order)
        return
    for op, limit in (("Max", low), ("Min", high)):
        if limit is not None:
            name = w.node(op, [name, w.beside(limit, order, y.dtype)])
    w.result(y, name, order)


def astype(w: Writer, call: Call) -> None:
    """Another dtype."""
    x, y = w.value(call.inputs[0]), call.outputs[0]
    w.result(y, w.read(x, x.order, y.dtype), x.order)


def cast_all(w: Writer, call: Call) -> None:
    """Several tensors in another dtype."""
    if call.statics["divided"] is not None:
        raise NotImplementedError("convgpu.onnx.export: gradients that are divided by a loss scale are not implemented")
    for given, y in zip(call.inputs, call.outputs):
        astype(w, call._replace(inputs=(given,), outputs=(y,)))


def activate(w: Writer, call: Call) -> None:
    """An activation by name."""
    x, y = w.value(call.inputs[0]), call.outputs[0]
    name = activated(w, w.read(x, x.order), y.dtype, call.statics["function"], call.statics["alpha"],
                     call.statics["scale"])
    w.result(y, name, x.order)


def activated(w: Writer, x: str, dtype: np.dtype, function: str | None, alpha: float = 0.0, scale: float = 1.0) -> str:
    """The name of an activation of x."""
    if function is None:
        return x
    if function in _PLAIN:
        op, attributes = _PLAIN[function]
        return w.node(op, [x], **attributes)
    if function in _LIMITS:
        return w.node("Clip", [x, *[w.constant(np.asarray(limit, dtype)) for limit in _LIMITS[function]]])
    if function == "leaky_relu":
        return w.node("LeakyRelu", [x], alpha=alpha)
    if function == "elu":
        return w.node("Elu", [x], alpha=alpha) if scale == 1 else w.node("Selu", [x], alpha=alpha, gamma=scale)
    if function == "silu":
        return w.node("Mul", [x, w.node("Sigmoid", [x])])
    raise NotImplementedError(f"convgpu.onnx.export: the activation {function!r} is not implemented")


_PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}), "sigmoid": ("Sigmoid", {}), "tanh": ("Tanh", {}), "softplus": ("Softplus", {}),
    "gelu": ("Gelu", {}), "gelu_tanh": ("Gelu", {"approximate": "tanh"}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5})}
_LIMITS = {"relu6": (0, 6), "hard_tanh": (-1, 1)}


def _number(w: Writer, dtype: np.dtype, value: float) -> str:
    return w.constant(np.asarray(value, dtype))


def square(w: Writer, x: str, dtype: np.dtype) -> str:
    """x * x."""
    return w.node("Mul", [x, x])


def expm1(w: Writer, x: str, dtype: np.dtype) -> str:
    """exp(x) - 1."""
    return w.node("Sub", [w.node("Exp", [x]), _number(w, dtype, 1)])


def log1p(w: Writer, x: str, dtype: np.dtype) -> str:
    """log(1 + x)."""
    return w.node("Log", [w.node("Add", [x, _number(w, dtype, 1)])])


def normal_cdf(w: Writer, x: str, dtype: np.dtype) -> str:
    """(1 + erf(x / sqrt(2))) / 2."""
    erf = w.node("Erf", [w.node("Mul", [x, _number(w, dtype, math.sqrt(0.5))])])
    return w.node("Mul", [w.node("Add", [erf, _number(w, dtype, 1)]), _number(w, dtype, 0.5)])


def scaled(factor: float, before: str = "", after: str = "") -> Callable[[Writer, str, np.dtype], str]:
    """An op before a factor, or after it."""
    def write(w: Writer, x: str, dtype: np.dtype) -> str:
        name = w.node(before, [x]) if before else x
        name = w.node("Mul", [name, _number(w, dtype, factor)])
        return w.node(after, [name]) if after else name

    return write


def invert(w: Writer, call: Call) -> None:
    """The bits of x inverted."""
    x, y = w.value(call.inputs[0]), call.outputs[0]
    w.result(y, w.node("Not" if y.dtype.kind == "b" else "BitwiseNot", [w.read(x, x.order)]), x.order)


def same(w: Writer, call: Call) -> None:
    """x itself."""
    x, y = w.value(call.inputs[0]), call.outputs[0]
    value = Value(y.shape, y.dtype, x.array, x.label)
    value.names = x.names
    w.keep(y, value)
