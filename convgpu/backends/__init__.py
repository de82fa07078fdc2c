"""The backends, which compute the ops: "reference", "numpy", "cpu", "emulated", "ptx" on NumPy arrays, "cuda" on CuPy
arrays.

A backend is a module, or an object in its place. Its functions have the names of the ops that they run (conv_fprop,
conv_dgrad, max_pool, gemm, ...) and take and return arrays. A function that a backend lacks raises
NotImplementedError. Backend "cpu" alone calls another one, "numpy", for ops and dtypes that it has no kernels for.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..device import is_gpu_array
from ..recorder import Outline
from ..settings import CPU_MODULE, current_backend

CPU_BACKENDS = ("numpy", "reference")
# The CUDA kernels for tests, both slow: compiled for the CPU, and as nvcc's PTX, which is built on request.
NATIVE_BACKENDS = ("emulated", "ptx")
COMPILED_BACKENDS = ("cpu",)  # kernels in C++, the default for the CPU where they are built
GPU_BACKENDS = ("cuda",)

BUILD_FAILED = Path(__file__).parent.parent / "_cpu_build_failed.txt"  # what the compiler said, where it failed

SEQUENCES: set[str] = set()  # the ops of any number of inputs, which are passed as one sequence

_loaded: dict[str, Any] = {}


@contextmanager
def replaced(name: str, stand_in: Any) -> Iterator[None]:
    """Let `stand_in` be the backend of that name within a `with`, to watch calls or to see what a wrong one does."""
    before = load(name)
    _loaded[name] = stand_in
    try:
        yield
    finally:
        _loaded[name] = before


def load(name: str) -> Any:
    """The backend of that name; it is imported when it is first asked for."""
    if name not in _loaded:
        if name in NATIVE_BACKENDS + GPU_BACKENDS:
            _loaded[name] = importlib.import_module(f"{__name__}.native").load(name)
        elif name in COMPILED_BACKENDS:
            _loaded[name] = importlib.import_module(f"{__name__}.{name}").load()
        else:
            _loaded[name] = importlib.import_module(f"{__name__}.{name}")
    return _loaded[name]


def in_words(name: str) -> str:
    """A backend's name and what a reader of its figures must know: the instruction set, or why NumPy computes."""
    if name in COMPILED_BACKENDS:
        return f"{name} (instruction set {importlib.import_module(CPU_MODULE).instruction_set()})"
    if name == "numpy" and BUILD_FAILED.exists():
        return f"{name} (the build of backend 'cpu' failed: {BUILD_FAILED})"
    return name


def arguments(op: str, arrays: Sequence[Any], statics: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of a backend's function: the inputs, of some ops as one sequence, then the static arguments."""
    return (list(arrays), *statics) if op in SEQUENCES else (*arrays, *statics)


def run(op: str, arrays: list[Any], statics: tuple[Any, ...]) -> Any:
    """Run `op` on the backend of its arrays, which are on one device. Calls on arrays without values are only recorded.
    """
    if isinstance(arrays[0], Outline):
        return arrays[0].recorder.run(op, arrays, statics)
    name = "cuda" if "cupy" in sys.modules and any([is_gpu_array(a) for a in arrays]) else current_backend()
    function = getattr(_loaded.get(name) or load(name), op, None)
    if function is None:
        raise NotImplementedError(f"{op} is not implemented on backend {name!r}"
                                  + ("; move the tensors with .to('cpu')" if name in GPU_BACKENDS else ""))
    return function(*arguments(op, arrays, statics))
