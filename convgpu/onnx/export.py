"""Writing a function as a model of ONNX: it runs once, and every op that ran becomes nodes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import checker, helper

from .. import __version__, tree
from ..arguments import function
from ..device import to_numpy
from ..tensor import Tensor, as_tensor, tensor
from .exporting import EMITTERS
from .exporting.tracing import Call, traced
from .exporting.writer import Value, Writer

OPSET = 21
IR_VERSION = 10
INLINE = 1 << 30  # bytes of parameters up to which they are kept in the model's file


def export(f: Callable[..., Any], params: Any, *inputs: Any, path: str | os.PathLike[str] | None = None,
           dynamic_batch: bool = False, input_names: Sequence[str] | None = None) -> onnx.ModelProto:
    """The function f(params, *inputs) as a model of ONNX, with the shapes of these inputs.

    f runs twice, with other values the second time. What it computes with convgpu's ops becomes the model; what it
    computes otherwise is a constant, and an error where it depends on the inputs' values.

    Args:
        f: a function of nested dicts, lists and tuples of tensors, which returns such.
        params: what the model's file holds, under dotted names.
        inputs: examples of the model's inputs, tensors or arrays.
        path: where to write the model; from 1 GiB of parameters on, they are written to a file beside it.
        dynamic_batch: whether the first axis of all inputs and outputs may have any size.
        input_names: a name for each tensor among the inputs, in the order of their leaves.

    Returns:
        The model, of opset 21, checked by onnx.checker.

    Raises:
        NotImplementedError: an op that ONNX lacks, or a kind of it that is not written here.
        ValueError: what f computes depends on values, or on the size of the batch, outside of convgpu's ops.

    >>> import convgpu as cg
    >>> params = {"w": cg.ones((3, 3, 1, 2))}
    >>> model = export(lambda p, x: cg.conv2d(x, p["w"], activation="relu"), params, cg.ones((1, 5, 5, 1)))
    >>> [node.op_type for node in model.graph.node]
    ['Transpose', 'Conv', 'Relu', 'Transpose']
    """
    function("export", f)
    params = tree.map(_as_param, params)
    given = tree.map(lambda x: tensor(x), inputs)
    names = _names(given, input_names)
    if dynamic_batch:  # of at least two examples, since an axis of size 1 is a special one
        given = tree.map(_longer, given)
    first = _written(f, params, given, names)
    others = tree.map(_other, given)
    second = _written(f, params, tree.map(_longer, others) if dynamic_batch else others, names)
    _expect_equal(first, second, dynamic_batch)
    model = _model(first, second if dynamic_batch else None)
    _checked_and_saved(model, path)
    return model


def _names(inputs: Any, given: Sequence[str] | None) -> list[str]:
    count = len(tree.leaves(inputs))
    if given is None:
        return ["input"] if count == 1 else [f"input_{i}" for i in range(count)]
    if len(given) != count or len(set(given)) != count:
        raise ValueError(f"export: expected {count} input_names that differ, got {list(given)}")
    return list(given)


def _as_param(leaf: Any) -> Any:
    return as_tensor(leaf, "export") if isinstance(leaf, (Tensor, np.ndarray)) or hasattr(
        leaf, "__convgpu_tensor__") else leaf


def _longer(x: Tensor) -> Tensor:
    """One more example, which repeats the first one."""
    array = to_numpy(x.array)
    if not array.ndim or not len(array):
        raise ValueError(f"export: expected inputs with at least one example for dynamic_batch, got {array.shape}")
    return tensor(np.concatenate([array, array[:1]]), device=x.device)


def _other(x: Tensor) -> Tensor:
    """Other values of the same shape."""
    array = to_numpy(x.array)
    array = np.flip(array) if array.dtype.kind in "iub" else np.flip(array) * array.dtype.type(0.75)
    return tensor(array.copy(), device=x.device)


class _Graph(NamedTuple):
    """What one run of the function has written."""

    writer: Writer
    inputs: list[tuple[str, Any]]
    outputs: list[tuple[str, Any]]


def _written(f: Callable[..., Any], params: Any, inputs: Any, names: Sequence[str]) -> _Graph:
    writer = Writer()
    for name in names:
        writer.name(name)
    for path, leaf in _paths(params):
        if isinstance(leaf, Tensor):
            array = leaf.array
            writer.keep(array, Value(array.shape, array.dtype, to_numpy(array), ".".join(path) or "params"))
    named = [(name, leaf.array) for name, leaf in zip(names, tree.leaves(inputs))]
    for name, array in named:
        writer.result(array, name)
    calls, result = traced(lambda: f(params, *inputs))
    for call in calls:
        _emit(writer, call)
    results = [as_tensor(leaf, "export").array for leaf in tree.leaves(result)]
    outputs = []
    for i, array in enumerate(results):
        name = writer.name("output" if len(results) == 1 else f"output_{i}")
        writer.nodes.append(helper.make_node("Identity", [writer.read(writer.value(array))], [name], name=name))
        outputs.append((name, array))
    _rename(writer, [name for name, _ in outputs])
    return _Graph(writer, named, outputs)


def _paths(params: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(params, dict):
        for name, value in params.items():
            yield from _paths(value, (*path, str(name)))
    elif isinstance(params, (list, tuple)):
        for i, value in enumerate(params):
            yield from _paths(value, (*path, str(i)))
    else:
        yield path, params


def _emit(writer: Writer, call: Call) -> None:
    """Write one op, unless it has constants alone: then its result is a constant, too."""
    arrays = [x for x in call.inputs if hasattr(x, "dtype")]
    indices = [i for i in _parts(call.statics.get("index")) if hasattr(i, "dtype")]
    if all([_is_constant(writer, x) for x in (*arrays, *indices)]):
        if len(arrays) == 1 and call.op.name in ("reshape", "transpose", "positive", "to_device"):
            label = writer.value(arrays[0]).label
            for y in call.outputs:
                writer.keep(y, Value(y.shape, y.dtype, to_numpy(y), label))
        return
    emitter = EMITTERS.get(call.op.name)
    if emitter is None:
        shapes = ", ".join([f"{x.dtype} {x.shape}" for x in arrays])
        raise NotImplementedError(f"export: ONNX has no operator, or none is written here, for the op "
                                  f"{call.op.name!r} of {shapes}")
    emitter(writer, call)


def _parts(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def _is_constant(writer: Writer, x: Any) -> bool:
    found = writer.values.get(id(x))
    return found is None or found.array is not None


def _rename(writer: Writer, outputs: list[str]) -> None:
    """Give the results the names of the outputs, where nothing else stands between, and leave out what nobody reads."""
    made = {name: node for node in writer.nodes for name in node.output}
    for node in list(writer.nodes):
        source = made.get(node.input[0]) if node.op_type == "Identity" and node.output[0] in outputs else None
        if source is None or node.input[0] in outputs:
            continue
        old, new = node.input[0], node.output[0]
        writer.nodes.remove(node)
        for other in writer.nodes:
            for names in (other.input, other.output):
                names[:] = [new if n == old else n for n in names]
    needed, kept = set(outputs), []
    for node in reversed(writer.nodes):
        if needed & {*node.output}:
            needed.update(node.input)
            kept.append(node)
    writer.nodes[:] = kept[::-1]
    writer.initializers[:] = [t for t in writer.initializers if t.name in needed]


def _expect_equal(first: _Graph, second: _Graph, dynamic_batch: bool) -> None:
    """Refuse a function that did something else with other inputs."""
    with_size = " and another batch" if dynamic_batch else ""
    a, b = first.writer, second.writer
    if [n.SerializeToString() for n in a.nodes] != [n.SerializeToString() for n in b.nodes]:
        raise ValueError(f"export: expected a function that runs the same ops with other values{with_size}, got "
                         f"{len(a.nodes)} nodes and {len(b.nodes)} nodes that differ")
    for x, y in zip(a.initializers, b.initializers):
        if x.SerializeToString() != y.SerializeToString():
            users = [n.name for n in a.nodes if x.name in n.input]
            raise ValueError(f"export: expected constants that do not depend on the inputs{with_size}, got {x.name!r}, "
                             f"which {', '.join(users)} reads; compute it with convgpu's ops")


def _model(graph: _Graph, longer: _Graph | None) -> onnx.ModelProto:
    def info(name: str, array: Any, other: Any) -> onnx.ValueInfoProto:
        shape: list[Any] = list(array.shape)
        if other is not None and other.shape != array.shape:
            shape = ["batch" if n != m else n for n, m in zip(array.shape, other.shape)]
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), shape)

    def infos(ours: list[tuple[str, Any]], others: list[tuple[str, Any]] | None) -> list[onnx.ValueInfoProto]:
        return [info(name, array, others[i][1] if others else None) for i, (name, array) in enumerate(ours)]

    writer = graph.writer
    made = helper.make_graph(writer.nodes, "convgpu", infos(graph.inputs, longer.inputs if longer else None),
                             infos(graph.outputs, longer.outputs if longer else None), writer.initializers)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
                             producer_name="convgpu", producer_version=__version__)


def _checked_and_saved(model: onnx.ModelProto, path: str | os.PathLike[str] | None) -> None:
    small = model.ByteSize() <= INLINE
    if small:
        checker.check_model(model, full_check=True)
    if path is None:
        return
    if small:
        Path(path).write_bytes(model.SerializeToString())
        return
    copied = onnx.ModelProto()
    copied.CopyFrom(model)  # saving moves the parameters out of the model that it is given
    onnx.save_model(copied, os.fspath(path), save_as_external_data=True, location=Path(path).name + ".data")
    checker.check_model(os.fspath(path))


