"""One node of an ONNX graph, as operators see it: its kind, its attributes, the opset that says what they mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

DEFAULT_DOMAINS = ("", "ai.onnx")


class Node:
    """What an operator needs to know of its node."""

    __slots__ = ("op", "name", "opset", "inputs", "outputs", "attributes", "activation", "native_filters",
                 "norm", "kept")

    def __init__(self, proto: onnx.NodeProto, opset: int):
        self.op: str = proto.op_type if proto.domain in DEFAULT_DOMAINS else f"{proto.domain}.{proto.op_type}"
        self.name: str = proto.name or next((o for o in proto.output if o), "")
        self.opset = opset
        self.inputs: list[str] = list(proto.input)
        self.outputs: list[str] = list(proto.output)
        self.attributes: dict[str, Any] = {a.name: _value(a) for a in proto.attribute}
        self.activation: str | None = None  # that of a node that follows, which the convolution computes with its own
        self.norm: Node | None = None  # a normalisation that follows, which goes into the filters
        self.kept: Any = None  # filters and bias with the normalisation in them, and the arrays that they come from
        self.native_filters = False  # whether the filters have been laid out in channels_last

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or the default."""
        return self.attributes.get(name, default)

    def wants(self, output: int) -> bool:
        """Whether somebody may ask for this output."""
        return output < len(self.outputs) and self.outputs[output] != ""

    @property
    def where(self) -> str:
        """The node's name, operator and opset, for messages."""
        return f"node {self.name!r} ({self.op}, opset {self.opset})"

    def refuse(self, what: str) -> NotImplementedError:
        """An error that says what of this node is missing here."""
        return NotImplementedError(f"convgpu.onnx: {what} is not implemented, which {self.where} asks for")

    def wrong(self, expected: str, got: Any) -> ValueError:
        """An error that says what this node's operator expects."""
        return ValueError(f"convgpu.onnx: expected {expected}, got {got} at {self.where}")


def _value(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if attribute.type == onnx.AttributeProto.STRINGS:
        return [v.decode("utf-8", "replace") for v in value]
    if attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
        return list(value)
    return value


def dtype_of(element_type: int) -> np.dtype:
    """The NumPy dtype of an element type of ONNX."""
    return np.dtype(helper.tensor_dtype_to_np_dtype(element_type))


SUPPORTED = {onnx.TensorProto.DataType.Value(name) for name in (
    "FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64",
    "BOOL")}


def type_name(element_type: int) -> str:
    """The name of an element type of ONNX, also of one that onnx does not know."""
    types = onnx.TensorProto.DataType
    return types.Name(element_type) if element_type in types.values() else str(element_type)


def array_of(tensor: onnx.TensorProto) -> np.ndarray:
    """The array of a tensor whose sizes have been checked (convgpu/onnx/files.py)."""
    return np.ascontiguousarray(numpy_helper.to_array(tensor)).reshape(tuple(tensor.dims))
