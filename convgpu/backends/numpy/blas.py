"""Limits NumPy's BLAS to one thread while an op runs, because the op runs its own tiles in parallel.

OpenBLAS may round differently with another number of threads, so matrix products inside ops always use one thread. Its
thread count belongs to the process: the count is set when the first op enters and restored when the last one leaves,
whatever Python threads these ops run on. Where NumPy's BLAS is another library, its threads are left alone.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

# The names under which builds of OpenBLAS export {set,get}_num_threads; the build in NumPy's wheels comes first.
_SYMBOLS = ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads64_",
            "openblas_{}_num_threads64", "openblas_{}_num_threads")


class _OneBlasThread:
    """A context manager that many threads may enter at once; the first to enter sets the count, the last restores it.
    """

    def __init__(self) -> None:
        found = _find_openblas()
        self._set: Any = found and found[0]
        self._get: Any = found and found[1]
        self._lock = threading.Lock()
        self._depth, self._before = 0, 0

    def __enter__(self) -> None:
        if self._set is None:
            return
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._before = self._get()
                if self._before != 1:
                    self._set(1)

    def __exit__(self, *exc: object) -> None:
        if self._set is None:
            return
        with self._lock:
            self._depth -= 1
            if self._depth == 0 and self._before != 1:
                self._set(self._before)

    def after_fork_in_child(self) -> None:
        """Forget the ops of the parent's other threads, which do not exist in the child."""
        self._lock = threading.Lock()
        if self._depth and self._before != 1:
            self._set(self._before)
        self._depth = 0


def _find_openblas() -> tuple[Any, Any] | None:
    """OpenBLAS's functions that set and get its thread count; None where NumPy's BLAS is another library."""
    for path in _candidates():
        try:
            library = ctypes.CDLL(str(path))  # NumPy has already loaded the library: this is another handle to it
        except OSError:
            continue
        for symbol in _SYMBOLS:
            if hasattr(library, symbol.format("set")) and hasattr(library, symbol.format("get")):
                setter, getter = getattr(library, symbol.format("set")), getattr(library, symbol.format("get"))
                setter.argtypes, setter.restype = [ctypes.c_int], None
                getter.argtypes, getter.restype = [], ctypes.c_int
                return setter, getter
    return None


def _candidates() -> Iterator[Path]:
    """Paths where NumPy's own OpenBLAS may be: in NumPy's wheel, or among the libraries that this process has loaded.
    """
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs", package / ".libs"):
        yield from sorted(folder.glob("*openblas*"))
    if sys.platform == "linux" and not (package.parent / "numpy.libs").is_dir():
        with open("/proc/self/maps") as maps:
            loaded = {line.split(maxsplit=5)[5].strip() for line in maps if "openblas" in line}
        yield from (Path(p) for p in sorted(loaded) if "scipy.libs" not in p)


one_blas_thread = _OneBlasThread()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=one_blas_thread.after_fork_in_child)
