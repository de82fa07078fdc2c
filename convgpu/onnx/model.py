"""A model that was read from ONNX: a function of parameters and inputs, made of convgpu's ops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx

from ..autograd import no_grad
from ..device import CPU, is_gpu_array
from ..dtypes import is_float
from ..tensor import Tensor, as_tensor
from . import files, graph
from .image import plain
from .node import dtype_of
from .plan import nested, plan

Size = int | str | None


class Model:
    """A function of parameters and inputs, made by `load`.

    Attributes:
        params: a nested dict of the floating tensors of the file, by the dots and slashes of their names. Filters that
            convolutions alone read are in the native layout, (spatial..., C/groups, K). Running means and variances are
            constants of the model and no parameters.
        inputs, outputs: for each input and output its name.
        shapes: for each input its sizes; a string or None stands for a size that may differ.
        opset: the version of ONNX's operators that the file asks for.

    `model(params, *inputs)` returns the output, or a tuple of several. Where no parameter and no input requires a
    gradient nothing is recorded, and normalisations and activations are computed together with the convolutions before
    them.
    """

    def __init__(self, source: Any):
        proto, folder = files.read(source)
        try:
            self._build(proto, folder)
        except UnicodeDecodeError as error:
            raise ValueError(f"convgpu.onnx.load: expected names in UTF-8, got others ({error})") from None

    def _build(self, proto: onnx.ModelProto, folder: Path | None) -> None:
        """Check the model, and plan how it runs."""
        nodes = graph.nodes_of(proto)
        initializers = graph.initializers_of(proto, folder)
        graph.check(proto, nodes, initializers)
        self.opset = graph.opset_of(proto)
        given = [i for i in proto.graph.input if i.name not in initializers]
        self.inputs = tuple([i.name for i in given])
        self.outputs = tuple([o.name for o in proto.graph.output])
        self.shapes: tuple[tuple[Size, ...] | None, ...] = tuple(map(_sizes, given))
        self._dtypes = tuple([dtype_of(i.type.tensor_type.elem_type) for i in given])
        found = plan(nodes, initializers, list(self.outputs), set(self.inputs))
        self.params, self._paths = nested(found.params)
        self._steps, self._constants = found.steps, found.constants
        self._moved: dict[tuple[str, str], Tensor] = {}

    def __call__(self, params: Any, *inputs: Any) -> Any:
        """The outputs for these parameters and inputs."""
        values = self._inputs(inputs)
        for name, path in self._paths.items():
            values[name] = self._param(params, name, path)
        if any([x.requires_grad for x in values.values()]):
            results = self._run(values)
        else:
            with no_grad():
                results = self._run(values)
        return results[0] if len(results) == 1 else tuple(results)

    def __repr__(self) -> str:
        return f"Model(inputs={self.inputs}, outputs={self.outputs}, opset={self.opset})"

    def _inputs(self, inputs: tuple[Any, ...]) -> dict[str, Any]:
        """The inputs by name, after their number, dtypes and shapes have been compared with the file's."""
        if len(inputs) != len(self.inputs):
            raise TypeError(f"model: expected {len(self.inputs)} inputs, {', '.join(self.inputs)}, got {len(inputs)}")
        values: dict[str, Any] = {}
        free: dict[str, int] = {}
        for name, dtype, sizes, given in zip(self.inputs, self._dtypes, self.shapes, inputs):
            x = as_tensor(given, "model")
            if x.dtype != dtype and not (is_float(x.dtype) and is_float(dtype)):
                raise TypeError(f"model: expected {dtype} for input {name!r}, got {x.dtype}")
            if sizes is not None:
                if len(sizes) != x.ndim or any([isinstance(n, int) and n != m for n, m in zip(sizes, x.shape)]):
                    raise ValueError(f"model: expected shape {_shown(sizes)} for input {name!r}, got {x.shape}")
                for n, m in zip(sizes, x.shape):
                    if isinstance(n, str) and free.setdefault(n, m) != m:
                        raise ValueError(f"model: expected one size for {n!r}, got {free[n]} and {m}, the latter of "
                                         f"input {name!r}")
            values[name] = x
        return values

    def _param(self, params: Any, name: str, path: tuple[str, ...]) -> Tensor:
        found = params
        for part in path:
            if not isinstance(found, dict) or part not in found:
                raise ValueError(f"model: expected params like model.params, with {' > '.join(path)}, got none")
            found = found[part]
        return as_tensor(found, "model")

    def _run(self, values: dict[str, Any]) -> list[Tensor]:
        """Compute all steps; `values` holds parameters and inputs, and is emptied on the way."""
        device = next((x.device for x in values.values() if x.device != CPU), CPU)
        for step in self._steps:
            node, static = step.node, step.operator.static
            arguments = [self._value(values, name, CPU if i in static else device) if name else None
                         for i, name in enumerate(node.inputs)]
            if device != CPU:
                arguments = [x if x is None or i in static or x.device == device or not _is_needed_there(arguments, x)
                             else x.to(device) for i, x in enumerate(arguments)]
            results = step.operator(node, *arguments)
            if isinstance(results, tuple):
                values.update(zip(node.outputs, results))
            else:
                values[node.outputs[0]] = results
            for name in step.dropped:
                values.pop(name, None)
        return [plain(self._value(values, name, device)) for name in self.outputs]

    def _value(self, values: dict[str, Any], name: str, device: str) -> Any:
        """A value, which is a constant where no step has made it; constants follow to the GPU and stay there."""
        found = values.get(name)
        if found is not None:
            return found
        constant = self._constants[name]
        if device == CPU or not is_float(constant.dtype):
            return constant
        kept = self._moved.get((name, device))
        if kept is None:
            kept = constant.to(device)
            if is_gpu_array(kept.array):  # and no array without values, as those of a ledger
                self._moved[name, device] = kept
        return kept


def _is_needed_there(arguments: list[Any], x: Any) -> bool:
    """Whether x meets a value on the GPU: integers that only describe shapes stay on the CPU."""
    return any([a is not None and a is not x and a.device != CPU for a in arguments])


def _sizes(value: onnx.ValueInfoProto) -> tuple[Size, ...] | None:
    """The sizes of an input; None where the file does not even say how many there are."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple([d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in kind.shape.dim])


def _shown(sizes: tuple[Size, ...]) -> str:
    return "(" + ", ".join(["?" if n is None else str(n) for n in sizes]) + ")"


def load(source: Any) -> Model:
    """A model of ONNX as a function of its parameters and inputs.

    Args:
        source: the path of a file, in whose folder external data may lie, or an onnx.ModelProto.

    Returns:
        A Model: `model(params, *inputs)` with `model.params` computes what the file describes.

    Raises:
        ValueError: a file that is no valid model, sizes that do not agree, data outside of the folder.
        NotImplementedError: an operator, opset or dtype that is not known here; the message names the node.
        ImportError: the package onnx is not installed.

    >>> import numpy as np, onnx
    >>> from onnx import helper, numpy_helper
    >>> info = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 2]) for name in ("x", "y")]
    >>> node = helper.make_node("MatMul", ["x", "dense.w"], ["y"])
    >>> w = numpy_helper.from_array(np.array([[1, 2], [3, 4]], "float32"), "dense.w")
    >>> model = load(helper.make_model(helper.make_graph([node], "g", info[:1], info[1:], [w])))
    >>> model(model.params, np.ones((1, 2), "float32"))
    Tensor([[4., 6.]], dtype=float32)
    """
    return Model(source)


