"""Compiles CUDA C++ to PTX by NVRTC, NVIDIA's compiler as a library; it needs no GPU."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from .module import Module
from .standard_headers import HEADERS

MISSING = ('convgpu.ptx.compile needs NVRTC: pip install "convgpu[ptx]", or a CUDA toolkit whose libnvrtc is found')


def compile(source: str, arch: str = "sm_90a", *, name: str = "kernel.cu",  # noqa: A001 - as CUDA calls it
            options: Sequence[str] = ()) -> Module:
    """Compile CUDA C++ to PTX, and load it.

    Args:
        source: the text of a .cu file without its host code; kernels that are `extern "C"` keep their names. Of C's
            standard headers (math.h, float.h, limits.h, stdint.h, assert.h, stdio.h) it has what kernels use.
        arch: the architecture, "sm_80" or "sm_90a" for example.
        name: how reports call the file.
        options: more options of NVRTC, for example "-DSIZE=64" or "--include-path=...".

    Raises:
        ImportError: where NVRTC or the machine is not installed.
        ValueError: with the compiler's messages.
    """
    return Module(ptx_of(source, arch, name=name, options=options))


def ptx_of(source: str, arch: str = "sm_90a", *, name: str = "kernel.cu", options: Sequence[str] = ()) -> str:
    """Compile CUDA C++ to the text of PTX, with line information."""
    if not re.fullmatch(r"(sm|compute)_\d{2,3}[af]?", arch):
        raise ValueError(f"arch: expected an architecture like sm_90a, got {arch!r}")
    nvrtc = _library()
    program = ctypes.c_void_p()
    texts = ctypes.c_char_p * len(HEADERS)
    _check(nvrtc, nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), name.encode(), len(HEADERS),
                                           texts(*(text.encode() for text in HEADERS.values())),
                                           texts(*(header.encode() for header in HEADERS))))
    try:
        asked = [f"--gpu-architecture={arch.replace('sm_', 'compute_')}", "--std=c++17", "--generate-line-info",
                 *(f"--include-path={folder}" for folder in _headers()), *options]
        failed = nvrtc.nvrtcCompileProgram(program, len(asked), (ctypes.c_char_p * len(asked))(
            *(option.encode() for option in asked)))
        if failed:
            raise ValueError(f"{name}: NVRTC does not compile it:\n{_text(nvrtc, program, 'ProgramLog')}")
        return _text(nvrtc, program, "PTX")
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def is_installed() -> bool:
    """Whether NVRTC is found."""
    try:
        _library()
    except ImportError:
        return False
    return True


def _text(nvrtc: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> str:
    size = ctypes.c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, text))
    return text.value.decode(errors="replace")


def _check(nvrtc: ctypes.CDLL, result: int) -> None:
    if result:
        nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        raise RuntimeError(f"NVRTC: {nvrtc.nvrtcGetErrorString(result).decode()}")


def _pip_folders() -> Iterator[Path]:
    """The folders of NVIDIA's packages from PyPI, wherever Python finds packages, the newest version first."""
    for entry in sys.path:
        folder = Path(entry or ".", "nvidia")
        yield from sorted(folder.glob("cu[0-9]*"), reverse=True)
        yield from folder.glob("cuda_nvrtc")


@cache
def _library() -> ctypes.CDLL:
    candidates = [str(found) for folder in _pip_folders() for found in sorted(folder.glob("lib/libnvrtc.so.*"))]
    candidates += [str(found) for variable in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(variable)
                   for found in Path(os.environ[variable]).glob("lib64/libnvrtc.so")]
    on_system = ctypes.util.find_library("nvrtc")
    for path in [*candidates, *([on_system] if on_system else [])]:
        try:
            return ctypes.CDLL(path)
        except OSError:
            continue
    raise ImportError(MISSING, name="nvrtc")


def _headers() -> list[Path]:
    """Where cuda_fp16.h and its like are, if anywhere."""
    homes = [folder / "include" for folder in _pip_folders()]
    homes += [Path(os.environ[v], "include") for v in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(v)]
    found = next((home for home in homes if (home / "cuda_fp16.h").is_file()), None)
    return [] if found is None else [found, found / "cccl"]
