"""The environment variables that the package reads: a value that is not understood is an error, never ignored.

Those of the build are read by csrc/build_system, those of the emulator (CONVGPU_EMULATOR_...) by the emulator.
"""

from __future__ import annotations

import os
from collections.abc import Callable

NUM_THREADS, SYNCHRONIZE = "CONVGPU_NUM_THREADS", "CONVGPU_SYNCHRONIZE"


def num_threads() -> int | None:
    """CONVGPU_NUM_THREADS: how many threads the CPU's ops use; None where it is not set."""
    value = os.environ.get(NUM_THREADS, "")
    if not value:
        return None
    if not (value.isascii() and value.isdigit()) or len(value) > 6 or int(value) < 1:
        raise ValueError(f"{NUM_THREADS}: expected an integer >= 1, got {value!r}")
    return int(value)


def synchronize() -> bool:
    """CONVGPU_SYNCHRONIZE: whether every op on the GPU is waited for."""
    value = os.environ.get(SYNCHRONIZE, "")
    if value not in ("", "0", "1"):
        raise ValueError(f"{SYNCHRONIZE}: expected 0, 1 or nothing, got {value!r}")
    return value == "1"


VARIABLES: tuple[Callable[[], object], ...] = (num_threads, synchronize)


def check() -> None:
    """Raise ValueError for the first value that is not understood; the commands do so before anything else."""
    for read in VARIABLES:
        read()
