"""The compiled module that runs PTX, or how to get it."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

MACHINE = "convgpu._ptx"
BUILD_FAILED = Path(__file__).parent.parent / "_ptx_build_failed.txt"  # what the compiler said, where it failed


def is_built() -> bool:
    """Whether this build of convgpu has the machine that runs PTX."""
    return importlib.util.find_spec(MACHINE) is not None


def machine() -> ModuleType:
    """The compiled module. Raises ImportError that says how to build it."""
    try:
        return importlib.import_module(MACHINE)
    except ModuleNotFoundError as error:
        if error.name != MACHINE:
            raise
        why = f" (its build failed: {BUILD_FAILED} has the compiler's messages)" if BUILD_FAILED.exists() else ""
        raise ImportError(f"convgpu.ptx needs the module {MACHINE}, which CONVGPU_PTX_MACHINE=1 pip install -e . "
                          f"builds where there is a C++ compiler{why}", name=error.name) from None
