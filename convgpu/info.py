"""What convgpu can compute with: devices, backends, optional packages, and pip commands for missing packages."""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
from dataclasses import dataclass
from functools import cache

import numpy as np

from . import __version__, gpu, ptx
from .backends import BUILD_FAILED, COMPILED_BACKENDS, CPU_BACKENDS, load
from .backends.native import MODULES
from .device import CPU, GPU, cupy_with_gpu, parse_device
from .settings import CPU_MODULE, current_backend

# The packages that each extra installs, by their names for pip.
PACKAGES = {
    "demo": ("scikit-learn", "matplotlib", "tqdm", "safetensors", "pillow"),
    "keras": ("keras",),
    "test": ("pytest", "hypothesis", "scipy", "scikit-image"),
}
OTHERS = ("torch", "ml_dtypes")  # torch serves --peers torch, ml_dtypes serves bfloat16
# used where no driver says which CUDA version it supports
EXTRA, OTHER_DRIVER = "cuda13", " (cuda12 for a driver of CUDA 12)"
CUPY = {"cuda12": "cupy-cuda12x", "cuda13": "cupy-cuda13x"}


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver: the CUDA version that it supports, and its GPUs by name."""

    version: tuple[int, int]
    gpus: tuple[str, ...]

    @property
    def extra(self) -> str:
        """The extra of convgpu that installs the CuPy for this driver."""
        return "cuda13" if self.version[0] >= 13 else "cuda12"


@cache
def driver() -> Driver | None:
    """The driver's own answer, so that a GPU is found with or without CuPy; None where there is no GPU."""
    try:
        cuda = ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return None
    gpu.touch()
    version, count = ctypes.c_int(), ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDriverGetVersion(ctypes.byref(version)) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return None
    name = ctypes.create_string_buffer(256)
    names = []
    for index in range(count.value):
        device = ctypes.c_int()
        if cuda.cuDeviceGet(ctypes.byref(device), index) or cuda.cuDeviceGetName(name, len(name), device):
            return None
        names.append(name.value.decode(errors="replace"))
    return Driver((version.value // 1000, version.value % 1000 // 10), tuple(names)) if names else None


def gpu_name() -> str:
    """The name of the GPU that "gpu" stands for."""
    found = driver()
    return found.gpus[0] if found else "none"


def has_kernels() -> bool:
    """Whether this build of convgpu has the CUDA kernels."""
    return importlib.util.find_spec(MODULES["cuda"]) is not None


def gpu_obstacle() -> str | None:
    """The reason why convgpu cannot compute on a GPU here, as half a sentence; None if it can."""
    found = driver()
    if found is None:
        return "the NVIDIA driver shows none"
    if not has_kernels():
        return f"its kernels are not in this build of convgpu {__version__}"
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is missing"
    try:
        cupy_with_gpu()
    except (ImportError, RuntimeError) as error:
        return str(error)
    return None


def how_to_get_a_gpu() -> str:
    """What a machine needs to compute on a GPU, in one sentence, as in docs/device.md."""
    found = driver()
    extra, other = (EXTRA, OTHER_DRIVER) if found is None else (found.extra, "")
    machine = "On a machine with an NVIDIA GPU" if found is None else "Here"
    if not has_kernels():
        return (f"{machine}, a build with CUDA kernels is needed: nvcc, then from a clone "
                f'CONVGPU_CUDA=1 pip install -e ".[{extra}]"{other}')
    return f'{machine}: pip install "convgpu[{extra}]"{other}'


def choose_device(wanted: str | None) -> tuple[str, str | None]:
    """The device to compute on, "cpu" or "gpu", and a message about a GPU that is not used.

    Args:
        wanted: a device that must be usable; None: the GPU where a usable one exists, else the CPU.
    """
    obstacle = gpu_obstacle() if wanted is None or parse_device(wanted) == GPU else ""
    if wanted is not None:
        if parse_device(wanted) == CPU:
            return CPU, None
        if obstacle is not None:
            raise ValueError(f"device {wanted!r}: expected a usable GPU, got none: {obstacle}")
        return GPU, None
    if obstacle is None:
        return GPU, None
    found = driver()
    if found is None:
        return CPU, None
    how = (f'pip install --upgrade "convgpu[{found.extra}]"' if has_kernels() else
           f'CONVGPU_CUDA=1 pip install -e ".[{found.extra}]" in a clone')
    return CPU, f"A GPU is there ({found.gpus[0]}) but unused: {obstacle}. To use it: {how}"


def processor() -> str:
    """The CPU and what computes on it, in a few words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{platform.machine()}, {cores} core{'' if cores == 1 else 's'}"


def report() -> str:
    """The text that `convgpu info` prints."""
    found, obstacle = driver(), gpu_obstacle()
    there = "none found" if found is None else f"{', '.join(found.gpus)}; CUDA {found.version[0]}.{found.version[1]}"
    there_are = (COMPILED_BACKENDS if has_cpu_kernels() else ()) + CPU_BACKENDS
    backends = ", ".join(f"{name} (in use)" if name == current_backend() else name for name in there_are)
    lines = [
        f"convgpu    {__version__}",
        f"Python     {platform.python_version()} on {platform.system()} {platform.machine()}",
        f"NumPy      {np.__version__}, BLAS {_blas()}",
        f"device cpu {processor()}; backends {backends}",
        f"device gpu {there}" + ("" if obstacle is None or found is None else f"; not usable: {obstacle}"),
        f"kernels    {_kernels()}",
        "",
        "optional packages",
    ]
    for extra, names in PACKAGES.items():
        lines += [_package(name, f'"convgpu[{extra}]"') for name in names]
    lines += [_package(name, name) for name in OTHERS]
    cupy = f'"convgpu[{found.extra}]"' if found else f'"convgpu[{EXTRA}]"{OTHER_DRIVER}, for an NVIDIA GPU'
    lines += [_package(name, cupy) for name in CUPY.values() if _version(name)] or [_package("cupy", cupy)]
    if obstacle is not None:
        lines += ["", how_to_get_a_gpu()]
    return "\n".join(lines)


def has_cpu_kernels() -> bool:
    """Whether this build of convgpu has the kernels that are written for the CPU."""
    return importlib.util.find_spec(CPU_MODULE) is not None


def _kernels() -> str:
    """The builds of the kernels that exist."""
    machine = f"the machine that runs PTX {'' if ptx.is_built() else 'not '}built"
    return ", ".join([f"{name} {'' if importlib.util.find_spec(module) else 'not '}built"
                      for name, module in MODULES.items() if name != "ptx"]
                     + [_ptx_kernels(), _cpu_kernels(), machine])


def _ptx_kernels() -> str:
    """Whether the kernels are built as PTX, by which nvcc and for which architectures."""
    if importlib.util.find_spec(MODULES["ptx"]) is None:
        return "ptx not built"
    module = load("ptx").module
    return f"ptx built (nvcc {module.NVCC}, {' and '.join(module.targets())})"


def _cpu_kernels() -> str:
    """Whether the kernels for the CPU are built, and for which of their instruction sets this machine runs them."""
    if not has_cpu_kernels():
        return "cpu not built" + (f": the build failed, so NumPy computes ({BUILD_FAILED} has the compiler's messages)"
                                  if BUILD_FAILED.exists() else "")
    module = load("cpu").module
    return f"cpu built (instruction set {module.instruction_set()} of {', '.join(module.instruction_sets())})"


def _package(name: str, for_pip: str) -> str:
    return f"  {name:<13}" + (_version(name) or f"missing: pip install {for_pip}")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _blas() -> str:
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
