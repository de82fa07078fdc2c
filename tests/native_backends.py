"""The backends that are compiled, as parameters of tests: the emulated kernels, skipped where they were not built, but
never where CONVGPU_EMULATED=1 says that they must be there; the GPU's, where there is one; and those of the CPU.

A file whose tests run on either has an autouse fixture `backend` with the parameters NATIVE, and marks `only_emulated`
what changes the emulated machine or looks at plans alone. No such file is marked `needs_emulated` as a whole, which
would skip its tests where `convgpu._cuda` alone was built.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import numpy as np
import pytest

from convgpu import backends, info
from convgpu.device import move, to_numpy

BUILT = importlib.util.find_spec("convgpu._emulated") is not None or os.environ.get("CONVGPU_EMULATED") == "1"

needs_emulated = pytest.mark.skipif(not BUILT, reason="convgpu._emulated was not built (an editable install builds it)")
NATIVE = [pytest.param("emulated", marks=needs_emulated)]

# The kernels that are written for the CPU, skipped where they were not built, but never where CONVGPU_CPU=1.
CPU_BUILT = importlib.util.find_spec("convgpu._cpu") is not None or os.environ.get("CONVGPU_CPU") == "1"
needs_cpu = pytest.mark.skipif(not CPU_BUILT, reason="convgpu._cpu was not built (an install builds it where there is "
                                                     "a C++ compiler)")
CPU = [pytest.param("cpu", marks=needs_cpu)]
only_emulated = pytest.mark.parametrize("backend", list(NATIVE), indirect=True)


class CudaFromHost:
    """Backend "cuda" for NumPy arrays, moved to the GPU and back at every call: for the tables of cases."""

    @property
    def module(self) -> Any:
        """For plans."""
        return backends.load("cuda").module

    def geometry(self, geo: Any) -> Any:
        """The module's geometry."""
        return backends.load("cuda").geometry(geo)

    def __getattr__(self, op: str) -> Any:
        def run(*args: Any) -> Any:
            result = function(*[move(a, "gpu") if isinstance(a, np.ndarray) else a for a in args])
            back = [None if r is None else to_numpy(r) for r in (result if isinstance(result, tuple) else (result,))]
            return tuple(back) if isinstance(result, tuple) else back[0]

        function = getattr(backends.load("cuda"), op)
        return run


if info.gpu_obstacle() is None:
    backends.NATIVE_BACKENDS += ("cuda_from_host",)
    backends._loaded["cuda_from_host"] = CudaFromHost()
    NATIVE.append(pytest.param("cuda_from_host", marks=pytest.mark.gpu))

COMPILED = [*NATIVE, *CPU]  # for tests that ask for results alone, not for plans


def skip_without_hopper(backend: str) -> None:
    """Skip a test of Hopper's kernels on a GPU that is none; the emulated machine is one."""
    arch = backends.load(backend).module.current_device().arch
    if arch != 90:
        pytest.skip(f"the GPU is no Hopper: compute capability {arch / 10}")
