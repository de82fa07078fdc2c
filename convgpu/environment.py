"""The environment variables that the package reads. A value that is not understood raises an error.

csrc/build_system reads the variables of the build; the emulator reads its own (CONVGPU_EMULATOR_...).
"""

from __future__ import annotations

import os
from collections.abc import Callable

NUM_THREADS, SYNCHRONIZE, COMMIT = "CONVGPU_NUM_THREADS", "CONVGPU_SYNCHRONIZE", "CONVGPU_COMMIT"


def num_threads() -> int | None:
    """The value of CONVGPU_NUM_THREADS, the number of threads for the CPU's ops; None where it is not set."""
    value = os.environ.get(NUM_THREADS, "")
    if not value:
        return None
    if not (value.isascii() and value.isdigit()) or len(value) > 6 or int(value) < 1:
        raise ValueError(f"{NUM_THREADS}: expected an integer >= 1, got {value!r}")
    return int(value)


def synchronize() -> bool:
    """The value of CONVGPU_SYNCHRONIZE: whether to wait for the end of every op on the GPU."""
    value = os.environ.get(SYNCHRONIZE, "")
    if value not in ("", "0", "1"):
        raise ValueError(f"{SYNCHRONIZE}: expected 0, 1 or nothing, got {value!r}")
    return value == "1"


def commit() -> str | None:
    """The value of CONVGPU_COMMIT, which names the commit where a tree was copied without .git; None where not set."""
    return os.environ.get(COMMIT) or None


VARIABLES: tuple[Callable[[], object], ...] = (num_threads, synchronize, commit)


def check() -> None:
    """Raise ValueError for the first variable whose value is not understood; commands call this before anything else.
    """
    for read in VARIABLES:
        read()
