"""The job that this process belongs to."""

from __future__ import annotations

import os

from .. import environment
from ..backends.numpy.workers import get_num_threads, set_num_threads
from .mpi import Mpi, is_launched

_mpi: Mpi | None = None
_initialized = False


def init(timeout: float = 300) -> None:
    """Join the processes that mpiexec has started; without mpiexec there is this one alone.

    Where CONVGPU_NUM_THREADS is not set, the processes of a machine share its cores. From now on an exception that is
    not caught ends all processes.

    Args:
        timeout: how many seconds a process waits for another before the job is ended.

    Raises:
        ImportError: mpi4py is missing. ValueError: a timeout that is not above 0. RuntimeError: called twice.
        NotImplementedError: several processes that torchrun has started.

    >>> from convgpu import distributed
    >>> if not distributed.is_initialized():
    ...     distributed.init(timeout=60)
    >>> distributed.rank(), distributed.size()
    (0, 1)
    """
    global _mpi, _initialized
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"distributed.init: expected timeout to be a number of seconds, got {timeout!r:.60}")
    if not timeout > 0:
        raise ValueError(f"distributed.init: expected a timeout above 0 seconds, got {timeout}")
    if _initialized:
        raise RuntimeError("distributed.init: expected one call in a process, got a second")
    if not is_launched() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise NotImplementedError("distributed.init: processes started by torchrun are not supported; start them with "
                                  "mpiexec -n N python ...")
    if is_launched():
        _mpi = Mpi(float(timeout))
        if environment.num_threads() is None:
            set_num_threads(max(1, get_num_threads() // _mpi.local_size))
    _initialized = True


def is_initialized() -> bool:
    """Whether `init` has been called in this process."""
    return _initialized


def joined(op: str) -> Mpi | None:
    """The other processes, or None where there is one; RuntimeError under mpiexec before `init`."""
    if not _initialized and is_launched():
        raise RuntimeError(f"distributed.{op}: expected convgpu.distributed.init() before it")
    return _mpi if _mpi is not None and _mpi.size > 1 else None


def rank() -> int:
    """The number of this process, from 0 on; 0 before `init`."""
    return 0 if _mpi is None else _mpi.rank


def size() -> int:
    """How many processes there are; 1 before `init`."""
    return 1 if _mpi is None else _mpi.size


def local_rank() -> int:
    """The number of this process among those of its machine, from 0 on."""
    return 0 if _mpi is None else _mpi.local_rank


def shard() -> tuple[int, int]:
    """(rank, size), for `shard=` of `convgpu.data.batches`: which part of every batch is this process's."""
    return rank(), size()
