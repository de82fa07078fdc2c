"""Optional packages: imported where used; their absence is explained in one sentence with the pip command."""

from __future__ import annotations

import importlib
from types import ModuleType

# What to give pip for a module that is missing.
PIP_NAME = {
    "sklearn": "convgpu[demo]", "matplotlib": "convgpu[demo]", "tqdm": "convgpu[demo]", "PIL": "convgpu[demo]",
    "safetensors": "convgpu[demo]", "ml_dtypes": "ml_dtypes", "cupy": "convgpu[cuda13]", "torch": "torch",
    "keras": "convgpu[keras]",
}


def require(module: str, purpose: str) -> ModuleType:
    """Import an optional module, or raise ImportError saying what needs it and how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        if (error.name or package).split(".")[0] != package:
            raise  # the package is there, but broken inside: its own message is the better one
        also = " (cuda12 for a driver of CUDA 12)" if package == "cupy" else ""
        raise ImportError(f'{purpose} needs the package {package}: pip install "{PIP_NAME[package]}"{also}',
                          name=package) from error
