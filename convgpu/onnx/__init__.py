"""Models come in from ONNX and go out to it: `load`, `export`, and `backend` for ONNX's own tests.

It needs the package onnx: pip install "convgpu[onnx]". docs/onnx.md shows both ways.
"""

from ..extras import require as _require

_require("onnx", "convgpu.onnx")

from . import backend  # noqa: E402 - the modules import onnx
from .export import OPSET, export  # noqa: E402
from .model import Model, load  # noqa: E402

__all__ = ["OPSET", "Model", "backend", "export", "load"]
