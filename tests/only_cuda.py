"""A pytest plugin: the tests as a bare machine with a GPU sees them, where `convgpu._cuda` alone was built.

    PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 PYTHONPATH=tests python -m pytest -p only_cuda -m gpu tests

The GPU is the stand-in of gpu_device.py: tests/fake_cupy.py in the place of CuPy, the emulated kernels in the place of
convgpu._cuda, and nowhere else. Packages that such a machine lacks cannot be imported.
"""

from __future__ import annotations

import importlib
import os
import sys

import fake_cupy

ABSENT = ("keras", "scipy", "skimage", "sklearn", "jax", "hypothesis", "matplotlib", "tqdm", "safetensors", "PIL",
          "h5py", "torch")

os.environ.pop("CONVGPU_EMULATED", None)  # which asks for the emulated module
sys.modules["cupy"] = fake_cupy
sys.modules["convgpu._cuda"] = fake_cupy.Recorded(importlib.import_module("convgpu._emulated"))
sys.modules["convgpu._emulated"] = None  # type: ignore[assignment] # whose import fails from here on
sys.modules.update(dict.fromkeys(ABSENT))  # type: ignore[arg-type]

from convgpu import info  # noqa: E402 - after its modules are in place

info.driver = lambda: info.Driver((13, 0), ("stand-in",))  # type: ignore[assignment]
