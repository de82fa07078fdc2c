"""Products of matrices, reductions, and softmax."""

from __future__ import annotations

from typing import Any

import numpy as np

from .elementwise import activated
from .tracing import Call
from .writer import Writer


def matmul(w: Writer, call: Call) -> None:
    """The product of stacked matrices."""
    y = call.outputs[0]
    w.result(y, w.node("MatMul", [w.read(w.value(x), None, y.dtype) for x in call.inputs]))


def gemm(w: Writer, call: Call) -> None:
    """alpha * A B + beta * C."""
    y, given = call.outputs[0], call.statics
    names = [w.read(w.value(x)) for x in call.inputs if x is not None]
    name = w.node("Gemm", names, alpha=float(given["alpha"]), beta=float(given["beta"]), transA=int(given["trans_a"]),
                  transB=int(given["trans_b"]))
    w.result(y, activated(w, name, y.dtype, given["activation"]))


def reduce(w: Writer, call: Call) -> None:
    """A sum, mean or extreme over axes."""
    function = call.statics["function"]
    if function not in _REDUCTIONS:
        raise NotImplementedError(f"convgpu.onnx.export: the reduction {function!r} is not implemented")
    _reduced(w, call, _REDUCTIONS[function])


_REDUCTIONS = {"sum": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin", "prod": "ReduceProd"}


def reduction(op: str) -> Any:
    """An op that reduces axes and has one function."""
    return lambda w, call: _reduced(w, call, op)


def _reduced(w: Writer, call: Call, op: str) -> None:
    x, y = w.value(call.inputs[0]), call.outputs[0]
    axes, keepdims = call.statics["axes"], call.statics["keepdims"]
    order = x.order
    left = order if keepdims else tuple([a for a in order if a not in axes])
    ranks = {a: i for i, a in enumerate(sorted(left))}
    name = w.read(x, order, y.dtype if y.dtype != x.dtype else None)
    if axes:
        name = w.node(op, [name, w.ints([order.index(a) for a in axes])], keepdims=int(keepdims))
    w.result(y, name, tuple([ranks[a] for a in left]))


def variance(root: bool) -> Any:
    """The variance over axes, or its root."""
    def emit(w: Writer, call: Call) -> None:
        x, y = w.value(call.inputs[0]), call.outputs[0]
        axes, ddof, keepdims = call.statics["axes"], call.statics["ddof"], call.statics["keepdims"]
        name = w.read(x)
        centred = w.node("Sub", [name, w.node("ReduceMean", [name, w.ints(axes)])])
        total = w.node("ReduceSumSquare", [centred, w.ints(axes)], keepdims=int(keepdims))
        count = int(np.prod([x.shape[a] for a in axes])) - ddof
        name = w.node("Div", [total, w.constant(np.asarray(count, y.dtype))])
        w.result(y, w.node("Sqrt", [name]) if root else name)

    return emit


def place(op: str) -> Any:
    """The index of an extreme."""
    def emit(w: Writer, call: Call) -> None:
        x, y = w.value(call.inputs[0]), call.outputs[0]
        axis, name = call.statics["axis"], w.read(x)
        if axis is None:
            name, axis = w.node("Reshape", [name, w.ints([-1])]), 0
        name = w.node(op, [name], axis=axis, keepdims=int(call.statics["keepdims"]))
        w.result(y, name)

    return emit


def cumsum(w: Writer, call: Call) -> None:
    """The running sum along an axis."""
    axis = w.constant(np.asarray(call.statics["axis"], np.int64))
    y = call.outputs[0]
    w.result(y, w.node("CumSum", [w.read(w.value(call.inputs[0]), None, y.dtype), axis]))


def softmax(w: Writer, call: Call) -> None:
    """Softmax along an axis, or its logarithm."""
    x, y = w.value(call.inputs[0]), call.outputs[0]
    op = "LogSoftmax" if call.statics["log_of"] else "Softmax"
    w.result(y, w.node(op, [w.read(x)], axis=call.statics["axis"]))
