"""ONNX's own interface to what runs models, by which `onnx.backend.test` runs its tests.

>>> import numpy as np
>>> from onnx import helper
>>> run_node(helper.make_node("Relu", ["x"], ["y"]), [np.array([-1, 2], "float32")])[0]
array([0., 2.], dtype=float32)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.backend.base import Backend, BackendRep, namedtupledict

from ..device import CPU, GPU, cupy_with_gpu
from ..tensor import tensor
from .model import Model


class Prepared(BackendRep):
    """A model that is ready to run on a device."""

    def __init__(self, model: Model, device: str):
        self.model, self.device = model, device
        self.params = _moved(model.params, device)

    def run(self, inputs: Any, **options: Any) -> Any:
        """The outputs as arrays of NumPy, by position and by name."""
        results = self.model(self.params, *[tensor(np.asarray(x), device=self.device) for x in inputs])
        results = results if isinstance(results, tuple) else (results,)
        names = self.model.outputs
        return namedtupledict("Outputs", list(names))(*[y.numpy() for y in results])


def _moved(params: Any, device: str) -> Any:
    if isinstance(params, dict):
        return {name: _moved(value, device) for name, value in params.items()}
    return params.to(device)


class ConvgpuBackend(Backend):
    """convgpu as a backend of ONNX."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **options: Any) -> Prepared:
        """The model, ready to run."""
        return Prepared(Model(model), _device(device))

    @classmethod
    def run_node(cls, node: onnx.NodeProto, inputs: Any, device: str = "CPU", outputs_info: Any = None,
                 **options: Any) -> Any:
        """The outputs of one node."""
        arrays = [np.asarray(x) for x in inputs]
        names = [name for name in node.input if name]
        infos = [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
                 for name, a in zip(names, arrays)]
        outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
        imports = [helper.make_opsetid("", options["opset_version"])] if "opset_version" in options else None
        graph = helper.make_graph([node], "node", infos, outputs)
        return cls.prepare(helper.make_model(graph, opset_imports=imports), device).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether a model can run on this device."""
        if not device.startswith("CUDA"):
            return device == "CPU"
        try:
            cupy_with_gpu()
        except (ImportError, RuntimeError):
            return False
        return True


def _device(device: str) -> str:
    return GPU if device.startswith("CUDA") else CPU


prepare, run_node, run_model = ConvgpuBackend.prepare, ConvgpuBackend.run_node, ConvgpuBackend.run_model
supports_device = ConvgpuBackend.supports_device
