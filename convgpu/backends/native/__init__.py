"""A backend that runs the kernels of csrc/: "emulated" and "ptx" on NumPy arrays, "cuda" on CuPy arrays.

One file per family of ops calls the functions of the compiled module; crossing.py converts arrays, geometries,
workspace and stream for these calls. No arithmetic is done here.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from .conv import Conv
from .crossing import Crossing
from .elementwise import Elementwise
from .gemm import Gemm
from .layout import Layout
from .norm import Norm
from .optim import Optim
from .pool import Pool
from .random import Random
from .reduce import Reduce
from .softmax import Softmax

MODULES = {"emulated": "convgpu._emulated", "cuda": "convgpu._cuda", "ptx": "convgpu._ptx_kernels"}

_BUILT_WHERE = {"emulated": "there is a C++ compiler: CONVGPU_EMULATED=1 pip install -e .",
                "cuda": 'there are nvcc and a GPU: CONVGPU_CUDA=1 pip install -e ".[cuda13]" (cuda12 for a '
                        "driver of CUDA 12)",
                "ptx": "there is a C++ compiler, and pip brings nvcc: CONVGPU_PTX=1 pip install -e ."}


class Native(Conv, Gemm, Pool, Layout, Norm, Elementwise, Reduce, Softmax, Optim, Random, Crossing):
    """The ops of one compiled module: each method has the name of an op, and takes and returns arrays."""


def load(name: str) -> Native:
    """The backend of that name, if its module has been built."""
    if name == "ptx":
        from .ptx import Ptx  # imported late, since it is a Native

        return Ptx(name, _module(name))
    return Native(name, _module(name))


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(MODULES[name])
    except ModuleNotFoundError as error:
        if error.name != MODULES[name]:
            raise
        raise ImportError(f"backend {name!r} needs the module {MODULES[name]}, which an editable install builds where "
                          f"{_BUILT_WHERE[name]}", name=error.name) from None
