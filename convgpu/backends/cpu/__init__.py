"""Backend "cpu": the kernels of csrc/cpu, which the C++ compiler builds for every instruction set.

One file per family of ops calls the functions of the compiled module, convgpu._cpu. Arrays cross as they are, views
included. The number of threads is the one that `convgpu.set_num_threads` sets; it does not change a bit of the results.
The ops of BY_NUMPY have no kernels there yet, and are the numpy backend's functions; so are all ops for arrays that no
kernel takes, such as integers.
"""

from __future__ import annotations

import importlib

from ...settings import CPU_MODULE
from .. import numpy
from .conv import Conv
from .crossing import or_numpy
from .elementwise import Elementwise
from .gemm import Gemm
from .layout import Layout
from .norm import Norm
from .optim import Optim
from .pool import Pool
from .random import Random
from .reduce import Reduce
from .softmax import Softmax

BY_NUMPY = ("norm_fold",)


class Cpu(Conv, Elementwise, Gemm, Pool, Norm, Softmax, Reduce, Optim, Random, Layout):
    """The ops of the compiled module: each method has the name of an op, and takes and returns arrays."""


for _name in BY_NUMPY:
    setattr(Cpu, _name, staticmethod(getattr(numpy, _name)))
for _name in set(numpy.__all__) - set(BY_NUMPY):
    setattr(Cpu, _name, or_numpy(getattr(Cpu, _name), getattr(numpy, _name)))


def load() -> Cpu:
    """The backend, if its module has been built."""
    try:
        return Cpu(importlib.import_module(CPU_MODULE))
    except ModuleNotFoundError as error:
        if error.name != CPU_MODULE:
            raise
        raise ImportError(f"backend 'cpu' needs the module {CPU_MODULE}, which CONVGPU_CPU=1 pip install -e . builds "
                          "where there is a C++ compiler", name=error.name) from None
