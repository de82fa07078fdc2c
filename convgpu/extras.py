"""Imports optional packages where they are used; where one is missing, an error names the pip command in one sentence.
"""

from __future__ import annotations

import importlib
from types import ModuleType

# For each module that may be missing: what to give pip.
PIP_NAME = {
    "sklearn": "convgpu[demo]", "matplotlib": "convgpu[demo]", "tqdm": "convgpu[demo]", "PIL": "convgpu[demo]",
    "safetensors": "safetensors", "ml_dtypes": "ml_dtypes", "cupy": "convgpu[cuda13]", "torch": "torch",
    "keras": "convgpu[keras]", "mpi4py": "convgpu[distributed]", "onnx": "convgpu[onnx]", "skimage": "scikit-image",
}


def require(module: str, purpose: str) -> ModuleType:
    """Import an optional module, or raise ImportError that says what needs the module and how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        if (error.name or package).split(".")[0] != package:
            raise  # the package is installed but cannot be imported: its own message says more
        also = " (cuda12 for a driver of CUDA 12)" if package == "cupy" else ""
        raise ImportError(f'{purpose} needs the package {package}: pip install "{PIP_NAME[package]}"{also}',
                          name=package) from error
