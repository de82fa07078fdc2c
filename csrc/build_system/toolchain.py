"""Finds what this machine has to compile with: a C++ compiler, nvcc, CUDA's headers, a GPU."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

A_HEADER = "cuda_fp16.h"  # a folder that has this header has the others too


class Nvcc(NamedTuple):
    """Names the CUDA compiler, and the folders of headers and libraries that it does not search by itself."""

    path: Path
    includes: tuple[Path, ...] = ()
    libraries: tuple[Path, ...] = ()


def cxx_compiler() -> str | None:
    """Return the path of the C++ compiler: $CXX, g++, c++ or clang++."""
    return next(filter(None, map(shutil.which, filter(None, (os.environ.get("CXX"), "g++", "c++", "clang++")))), None)


def _pip_toolkits() -> Iterator[Path]:
    """Yield the folders of NVIDIA's packages from PyPI, wherever Python finds packages."""
    for entry in sys.path:
        yield from sorted(Path(entry or ".").glob("nvidia/cu[0-9]*"), reverse=True)


def find_nvcc() -> Nvcc | None:
    """Find nvcc in CUDA_HOME, on the PATH, or in the package nvidia-cuda-nvcc."""
    installed = _installed("nvcc")
    if installed:
        return Nvcc(installed)
    for root in _pip_toolkits():
        if (root / "bin" / "nvcc").is_file() and (root / "include" / A_HEADER).is_file():
            return Nvcc(root / "bin" / "nvcc", _pip_includes(root), (root / "lib",))
    return None


def version_of(nvcc: Nvcc) -> str:
    """Return the version that nvcc says it has, for example "13.0.88"."""
    says = subprocess.run([nvcc.path, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"release [^\n]*V([\d.]+)", says)
    return found[1] if found else "unknown"


def find_tool(name: str) -> Path | None:
    """Find a tool of CUDA, such as cuobjdump, in CUDA_HOME, on the PATH, or in a package nvidia-cuda-NAME."""
    in_packages = (root / "bin" / name for root in _pip_toolkits() if (root / "bin" / name).is_file())
    return _installed(name) or next(in_packages, None)


def _installed(name: str) -> Path | None:
    """Find a program of a toolkit that is installed on the machine."""
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        path = Path(os.environ.get(variable, ""), "bin", name)
        if os.environ.get(variable) and path.is_file():
            return path
    on_path = shutil.which(name)
    return Path(on_path) if on_path else None


def find_headers() -> tuple[Path, ...] | None:
    """Find CUDA's headers in CUDA_HOME, beside nvcc, or in the packages nvidia-cuda-runtime, -crt and -cccl."""
    homes = [Path(os.environ[v], "include") for v in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(v)]
    nvcc = find_nvcc()
    if nvcc:
        homes += [*nvcc.includes, *_includes_of(nvcc.path)]
    for folder in homes:
        if (folder / A_HEADER).is_file():
            return (folder, folder / "cccl")
    return next((_pip_includes(root) for root in _pip_toolkits() if (root / "include" / A_HEADER).is_file()), None)


def _pip_includes(root: Path) -> tuple[Path, ...]:
    return (root / "include", root / "include" / "cccl")


def _includes_of(nvcc: Path) -> list[Path]:
    """Ask nvcc where it takes its headers from, since it may be a link or a script far from its toolkit."""
    says = subprocess.run([nvcc, "--dryrun", "-x", "cu", "-c", "/dev/null"], capture_output=True, text=True).stderr
    line = next((line for line in says.splitlines() if "INCLUDES=" in line), "")
    return [Path(folder) for folder in re.findall(r'-I([^"\s]+)', line)]


def gpu_arch() -> str | None:
    """Ask the driver for the architecture of GPU 0 as nvcc calls it ("90a"). Return None if there is no GPU."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), 0):
        return None
    capability_major, capability_minor = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
    if (cuda.cuDeviceGetAttribute(ctypes.byref(major), capability_major, device)
            or cuda.cuDeviceGetAttribute(ctypes.byref(minor), capability_minor, device)):
        return None
    return f"{major.value}{minor.value}" + ("a" if major.value == 9 else "")
