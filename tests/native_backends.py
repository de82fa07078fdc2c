"""The backends that are compiled, as parameters of tests: skipped where they were not built, but never where
CONVGPU_EMULATED=1 says that they must be there."""

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


class CudaFromHost:
    """Backend "cuda" for NumPy arrays, moved to the GPU and back at every call: for the tables of cases."""

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
