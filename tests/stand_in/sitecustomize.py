"""Put on PYTHONPATH by tests of programs: a machine with a GPU, of which nothing is real.

CuPy is tests/fake_cupy.py, convgpu._cuda the emulated kernels, and the driver answers as much as convgpu asks of it.
PyTorch is missing. CUDA's programs, in bin/, are stand-ins too.
"""

import ctypes
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent


class _Loader(importlib.abc.Loader):
    def __init__(self, name: str):
        self._name = name

    def create_module(self, spec):
        module = importlib.import_module(self._name)
        return importlib.import_module("fake_cupy").Recorded(module) if self._name == "convgpu._emulated" else module

    def exec_module(self, module):
        pass


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torch" or name.startswith("torch."):
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        real = {"cupy": "fake_cupy", "convgpu._cuda": "convgpu._emulated"}.get(name)
        return None if real is None else importlib.machinery.ModuleSpec(name, _Loader(real))


class _Driver:
    """libcuda, with one GPU."""

    def cuInit(self, flags):  # noqa: N802 - CUDA's names
        return 0

    def cuDriverGetVersion(self, version):  # noqa: N802
        version._obj.value = 13000
        return 0

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = 1
        return 0

    def cuDeviceGet(self, device, index):  # noqa: N802
        return 0

    def cuDeviceGetName(self, name, length, device):  # noqa: N802
        name.value = b"stand-in"
        return 0


_CDLL = ctypes.CDLL


def _library(name, *arguments, **options):
    return _Driver() if name == "libcuda.so.1" else _CDLL(name, *arguments, **options)


ctypes.CDLL = _library
sys.meta_path.insert(0, _Finder())
sys.path.append(str(TESTS))
