"""Checks of a graph, before anything of it runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from onnx import checker, defs, shape_inference

from . import files
from .node import DEFAULT_DOMAINS, SUPPORTED, Node, type_name
from .operators import OPERATORS

OLDEST = 6  # the opset of PyTorch's first exporter; in older ones many operators mean something else
KEPT = 4096  # bytes up to which an initializer's values take part in onnx's check of shapes


def opset_of(proto: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a model asks for."""
    return max([o.version for o in proto.opset_import if o.domain in DEFAULT_DOMAINS], default=1)


def nodes_of(proto: onnx.ModelProto) -> list[Node]:
    """The nodes, every one of which has an operator here."""
    opset, newest = opset_of(proto), defs.onnx_opset_version()
    versions = {o.domain: o.version for o in proto.opset_import}
    nodes = [Node(n, opset if n.domain in DEFAULT_DOMAINS else versions.get(n.domain, 0)) for n in proto.graph.node]
    for node in nodes:
        if node.op not in OPERATORS:
            raise NotImplementedError(f"convgpu.onnx.load: there is no operator here for {node.where}")
        if opset > newest or opset < OLDEST and not _is_as_in_oldest(node):
            raise NotImplementedError(f"convgpu.onnx.load: expected opset {OLDEST} to {newest}, got {node.where}")
    if proto.functions:
        raise NotImplementedError("convgpu.onnx.load: local functions are not implemented; "
                                  "onnx.inliner.inline_local_functions(model) gives a model without them")
    return nodes


def _is_as_in_oldest(node: Node) -> bool:
    """Whether an operator of an older opset is the one of the oldest opset that is known here."""
    try:
        return defs.get_schema(node.op, node.opset).since_version == defs.get_schema(node.op, OLDEST).since_version
    except defs.SchemaError:
        return False


def initializers_of(proto: onnx.ModelProto, folder: Path | None) -> dict[str, np.ndarray]:
    """The arrays that the file holds, by name."""
    if proto.graph.sparse_initializer:
        raise NotImplementedError("convgpu.onnx.load: sparse initializers are not implemented, such as "
                                  f"{proto.graph.sparse_initializer[0].values.name!r}")
    found: dict[str, np.ndarray] = {}
    for tensor in proto.graph.initializer:
        if tensor.name in found:
            raise ValueError(f"convgpu.onnx.load: expected names that differ, got two initializers {tensor.name!r}")
        found[tensor.name] = files.array(tensor, folder)
    return found


def check(proto: onnx.ModelProto, nodes: list[Node], initializers: dict[str, np.ndarray]) -> None:
    """Raise an error for a graph that is none, or that ONNX does not allow."""
    for node in proto.graph.node:
        for attribute in node.attribute:
            for tensor in [attribute.t] if attribute.type == onnx.AttributeProto.TENSOR else attribute.tensors:
                files.array(tensor, None)
    _check_types(proto.graph)
    _check_order(nodes, [*initializers, *[i.name for i in proto.graph.input]], [o.name for o in proto.graph.output])
    skeleton = _skeleton(proto)
    # Of this operator, which onnx defines by others, its own inference of types fails.
    strict = all([node.op != "MeanVarianceNormalization" for node in nodes])
    try:
        checker.check_model(skeleton)
        shape_inference.infer_shapes(skeleton, check_type=True, strict_mode=strict)
    except (checker.ValidationError, shape_inference.InferenceError, ValueError) as error:
        raise ValueError(f"convgpu.onnx.load: expected a valid ONNX model, got one in which {error}") from None


def _check_types(graph: onnx.GraphProto) -> None:
    known = ("tensor_type", None)  # the type of an output need not be given
    for value in (*graph.input, *graph.output):
        kind = value.type.WhichOneof("value")
        if kind not in known or kind is None and value in graph.input:
            raise NotImplementedError(f"convgpu.onnx.load: values that are no tensors are not implemented, such as "
                                      f"{value.name!r} ({kind})")
        element = value.type.tensor_type.elem_type
        if kind is not None and element not in SUPPORTED and (element or value in graph.input):
            raise NotImplementedError(f"convgpu.onnx.load: the element type {type_name(element)} is not implemented, "
                                      f"which {value.name!r} has")


def _check_order(nodes: list[Node], known: Iterable[str], outputs: list[str]) -> None:
    made = {name for node in nodes for name in node.outputs if name}
    there = set(known)
    for node in nodes:
        for name in node.inputs:
            if name and name not in there:
                what = ("a node that comes later makes, or which depends on it itself" if name in made
                        else "nobody makes")
                raise ValueError(f"convgpu.onnx.load: expected inputs that earlier nodes make, got {name!r}, which "
                                 f"{what}, at {node.where}")
        for name in node.outputs:
            if name in there:
                raise ValueError(f"convgpu.onnx.load: expected each value to be made once, got {name!r} again at "
                                 f"{node.where}")
            there.add(name) if name else None
    for name in outputs:
        if name not in there:
            raise ValueError(f"convgpu.onnx.load: expected outputs that nodes make, got {name!r}, which nobody makes")
    if not outputs:
        raise ValueError("convgpu.onnx.load: expected a graph with at least one output, got none")


def _skeleton(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its large initializers as inputs, so that nothing large is copied and no file is opened."""
    small = onnx.ModelProto()
    small.ir_version = max(proto.ir_version, 4)  # up to version 3 every initializer had to be an input too
    small.opset_import.extend(proto.opset_import)
    graph, source = small.graph, proto.graph
    graph.name = source.name or "graph"
    graph.node.extend(source.node)
    graph.input.extend(source.input)
    graph.output.extend([o for o in source.output if o.type.tensor_type.HasField("shape")])  # others are refused
    inputs = {i.name for i in source.input}
    for tensor in source.initializer:
        if tensor.ByteSize() <= KEPT and tensor.data_location != onnx.TensorProto.EXTERNAL:
            graph.initializer.append(tensor)
        elif tensor.name not in inputs:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))
    return small
