"""Runs PTX, the assembly that nvcc and NVRTC make of CUDA C++, on the CPU, and says what is wrong with it.

No GPU and no CUDA toolkit are needed: the machine is a compiled module of convgpu, and `compile` takes NVRTC from PyPI.
Kernels run on NumPy arrays. docs/ptx.md shows an example, and says what the machine cannot prove.
"""

from .machine import is_built
from .module import Kernel, Launch, Module, load
from .nvrtc import compile  # noqa: A004 - as CUDA calls it
from .report import Count, Finding, KernelError, Place, Report
from .tensor_map import TensorMap, im2col_map, tensor_map

__all__ = ["compile", "Count", "Finding", "im2col_map", "is_built", "Kernel", "KernelError", "Launch", "load",
           "Module", "Place", "Report", "TensorMap", "tensor_map"]
