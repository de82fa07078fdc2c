"""Chooses the modules that an installation builds: those that suit the machine, unless the environment says otherwise.

    CONVGPU_CPU=0|1        convgpu._cpu        unset: built if the install is editable and a C++ compiler is there; a
                                               failure is a warning then
    CONVGPU_CUDA=0|1       convgpu._cuda       unset: built for the GPU if nvcc and a GPU are there
    CONVGPU_EMULATED=0|1   convgpu._emulated   unset: built if the install is editable and a C++ compiler is there
    CONVGPU_PTX_MACHINE=0|1   convgpu._ptx     unset: built if the install is editable and a C++ compiler is there; a
                                               failure is a warning then
    CONVGPU_PTX=0|1        convgpu._ptx_kernels  unset: not built. Kernels as nvcc's PTX, run by _ptx, which is then
                                               built too
    CONVGPU_PTX_ARCH       the architectures of that PTX: 80, 90a, or both as "80;90a", which is the value if unset
    CONVGPU_ARCHS          the architectures of _cuda, for example "80;90a"; compute_80 adds PTX
    CONVGPU_KERNELS        a libconvgpu_cuda.so built elsewhere, which is linked instead of compiling kernels

A module that is asked for by 1 and cannot be built is an error.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from typing import NamedTuple

from . import toolchain

PTX_ARCHS = ("80", "90a")
WHEEL_ARCHS = ("80", "90a", "100", "120", "compute_80")
HEADERS = ["nvidia-cuda-runtime>=13,<14", "nvidia-cuda-crt>=13,<14", "nvidia-cuda-cccl>=13,<14"]
NVCC = ["nvidia-cuda-nvcc>=13,<14", "nvidia-nvvm>=13,<14"]


class CannotBuild(Exception):
    """A module was asked for that this machine cannot build."""


class Choice(NamedTuple):
    """Names the modules to build, and the architectures of _cuda."""

    cuda: bool
    emulated: bool
    archs: tuple[str, ...] = ()
    cpu: bool = False
    cpu_required: bool = False  # whether a failed build of _cpu is an error
    ptx: bool = False
    ptx_required: bool = False  # whether a failed build of _ptx is an error
    ptx_archs: tuple[str, ...] = ()  # the architectures of _ptx_kernels, which is not built without


def _wish(variable: str) -> bool | None:
    value = os.environ.get(variable, "")
    if value not in ("", "0", "1"):
        raise CannotBuild(f"{variable}: expected 0, 1 or nothing, got {value!r}")
    return None if value == "" else value == "1"


def choose(editable: bool) -> Choice:
    """Return the modules that this installation builds."""
    cuda, emulated, cpu = _wish("CONVGPU_CUDA"), _wish("CONVGPU_EMULATED"), _wish("CONVGPU_CPU")
    ptx, ptx_kernels = _wish("CONVGPU_PTX_MACHINE"), _wish("CONVGPU_PTX")
    if ptx_kernels and ptx is False:
        raise CannotBuild("CONVGPU_PTX=1: expected the machine that runs PTX, got CONVGPU_PTX_MACHINE=0")
    for variable, wish in (("CONVGPU_CUDA", cuda), ("CONVGPU_EMULATED", emulated), ("CONVGPU_CPU", cpu),
                           ("CONVGPU_PTX_MACHINE", ptx), ("CONVGPU_PTX", ptx_kernels)):
        if wish and _obstacle():
            raise CannotBuild(f"{variable}=1: {_obstacle()}")
    able = _obstacle() is None
    gpu = toolchain.gpu_arch() if cuda is not False and able else None
    if cuda is None:
        cuda = gpu is not None and toolchain.find_nvcc() is not None
    if emulated is None:
        emulated = editable and able
    unasked = editable and able
    return Choice(cuda, emulated, _archs(gpu) if cuda else (), unasked if cpu is None else cpu, cpu is True,
                  ptx_kernels or (unasked if ptx is None else ptx), ptx is True or ptx_kernels is True,
                  _ptx_archs() if ptx_kernels else ())


def _obstacle() -> str | None:
    """Return why this machine cannot compile, or None. nvcc and headers do not count, since pip can bring them."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
        return f"expected Linux on x86-64 or arm64, got {sys.platform} on {platform.machine()}"
    if toolchain.cxx_compiler() is None:
        return "expected a C++ compiler (CXX, or g++, c++ or clang++ on the PATH), found none"
    return None


def _archs(gpu: str | None) -> tuple[str, ...]:
    wanted = tuple(filter(None, os.environ.get("CONVGPU_ARCHS", "").replace(",", ";").split(";")))
    for arch in wanted:
        if not re.fullmatch(r"(compute_)?\d{2,3}[af]?", arch):
            raise CannotBuild(f"CONVGPU_ARCHS: expected architectures like 80;90a;compute_80, got {arch!r}")
    return wanted or ((gpu,) if gpu else WHEEL_ARCHS)


def _ptx_archs() -> tuple[str, ...]:
    wanted = tuple(filter(None, os.environ.get("CONVGPU_PTX_ARCH", "").replace(",", ";").split(";")))
    if not set(wanted) <= set(PTX_ARCHS):
        raise CannotBuild(f"CONVGPU_PTX_ARCH: expected 80, 90a or 80;90a, got {';'.join(wanted)!r}")
    return tuple(arch for arch in PTX_ARCHS if arch in (wanted or PTX_ARCHS))


def requirements(editable: bool) -> list[str]:
    """Return the packages that pip must bring before the build; there are none if nothing is compiled."""
    choice = choose(editable)
    packages = ["pybind11>=2.13", "ninja"] if choice.cuda or choice.emulated or choice.cpu or choice.ptx else []
    compiles = choice.cuda and not os.environ.get("CONVGPU_KERNELS") or bool(choice.ptx_archs)
    needs_nvcc = compiles and toolchain.find_nvcc() is None
    if needs_nvcc:
        packages += NVCC
    if needs_nvcc or choice.emulated and toolchain.find_headers() is None:
        packages += HEADERS
    return packages
