"""Messages between the processes of a job, by MPI: collectives that wait asleep, and end when a process is missing.

Every collective is started without blocking and then waited for: with a few quick looks at first, then asleep between
them, so that processes that share cores leave them to those that compute. A process that waits too long asks the others
where they are; whoever does not answer is named, and the job is ended.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
import traceback
from types import TracebackType
from typing import Any

import numpy as np

from ..extras import require

LAUNCHERS = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK")  # what mpiexec sets, by launcher
_QUICK_LOOKS, _LONGEST_NAP, _GRACE = 200, 1e-3, 2.0  # looks; seconds; seconds that an answer may take
_ASKS, _WAITS, _LEAVES = 1, 2, 3  # tags of the messages about who is where


def is_launched() -> bool:
    """Whether mpiexec has started this process."""
    return any(name in os.environ for name in LAUNCHERS)


class Mpi:
    """The processes of MPI's world. The methods are called by all of them, in the same order."""

    def __init__(self, timeout: float):
        self._mpi = require("mpi4py.MPI", "convgpu.distributed under mpiexec")
        world = self._mpi.COMM_WORLD
        self._data, self._talk = world.Dup(), world.Dup()
        self.rank, self.size, self.timeout = world.rank, world.size, timeout
        local = world.Split_type(self._mpi.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = local.rank, local.size
        self.calls = 0  # collectives so far: where this process is
        self._gone: dict[int, int] = {}  # processes that have ended, and after how many collectives
        self._sent: list[Any] = []  # messages under way, whose memory must stay
        self._inbox = np.zeros(1, np.int64)
        sys.excepthook = self._on_exception
        atexit.register(self._leave)

    # --- collectives

    def sum(self, flat: np.ndarray) -> Pending:
        """Start adding arrays of equal length and dtype, element by element, in an order that MPI chooses."""
        out = np.empty_like(flat)
        return Pending(self, [(self._data.Iallreduce(flat, out, op=self._mpi.SUM), "allreduce")], flat, out)

    def everyone(self, flat: np.ndarray) -> Pending:
        """Start giving every process the arrays of all: (size, length), in the order of ranks."""
        out = np.empty((self.size, *flat.shape), flat.dtype)
        return Pending(self, [(self._data.Iallgather(flat, out), "gather")], flat, out)

    def exchange(self, rows: np.ndarray) -> Pending:
        """Start giving process k the k-th row, (size, length), of every process; each gets one row from each."""
        out = np.empty_like(rows)
        return Pending(self, [(self._data.Ialltoall(rows, out), "allreduce")], rows, out)

    def from_root(self, flat: np.ndarray, root: int) -> Pending:
        """Start giving every process the root's array, in place."""
        return Pending(self, [(self._data.Ibcast(flat, root), "broadcast")], flat, flat)

    def barrier(self) -> None:
        """Return when all processes have called this."""
        Pending(self, [(self._data.Ibarrier(), "barrier")], None, None).wait()

    def everyones_bytes(self, message: bytes) -> list[bytes]:
        """The bytes of all processes, in the order of ranks."""
        lengths = self.everyone(np.array([len(message)], np.int64)).wait().ravel()
        padded = np.zeros(int(lengths.max()), np.uint8)
        padded[:len(message)] = np.frombuffer(message, np.uint8)
        rows = self.everyone(padded).wait()
        return [row[:n].tobytes() for row, n in zip(rows, lengths)]

    # --- who is where

    def wait(self, request: Any, name: str) -> None:
        """Sleep until the request is done; answer questions meanwhile, and ask where it takes longer than allowed."""
        self.calls += 1
        begin, nap, looks, asked, waiting = time.monotonic(), 2e-5, 0, None, set[int]()
        while not request.Test():
            looks += 1
            waiting |= self._read_messages()
            early = [rank for rank, calls in self._gone.items() if calls < self.calls]
            if early:
                self._end(f"rank {min(early)} has ended, and the others wait for it in {name} number {self.calls}")
            now = time.monotonic()
            if asked is None and now - begin > self.timeout:
                asked = now
                self._tell_all(_ASKS)
            if asked is not None and now - asked > _GRACE:
                missing = sorted(set(range(self.size)) - waiting - {self.rank})
                who = f"rank {', '.join(map(str, missing))}" if missing else "no rank (the network may be at fault)"
                self._end(f"{who} did not come to {name} number {self.calls} within {self.timeout:g} seconds")
            if looks > _QUICK_LOOKS:
                time.sleep(nap)
                nap = min(2 * nap, _LONGEST_NAP)

    def _read_messages(self) -> set[int]:
        """Take in what others have sent, answer their questions, and return who says that it waits too."""
        waiting, status = set(), self._mpi.Status()
        while self._talk.Iprobe(self._mpi.ANY_SOURCE, self._mpi.ANY_TAG, status):
            source, tag = status.Get_source(), status.Get_tag()
            self._talk.Recv(self._inbox, source, tag)
            if tag == _LEAVES:
                self._gone[source] = int(self._inbox[0])
            else:
                waiting.add(source)
                if tag == _ASKS:
                    self._tell(source, _WAITS)
        return waiting

    def _tell(self, rank: int, tag: int) -> None:
        message = np.array([self.calls], np.int64)
        self._sent.append((self._talk.Isend(message, rank, tag), message))

    def _tell_all(self, tag: int) -> None:
        for rank in range(self.size):
            if rank != self.rank:
                self._tell(rank, tag)

    # --- the end of the job

    def _leave(self) -> None:
        """Tell the others that this process ends: those that still wait for it then do not wait any longer."""
        if not self._mpi.Is_finalized():
            self._tell_all(_LEAVES)

    def _on_exception(self, kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        traceback.print_exception(kind, error, where)
        self._end(f"rank {self.rank} raised {kind.__name__}")

    def _end(self, why: str) -> None:
        sys.stdout.flush()
        print(f"convgpu.distributed: {why}; the job of {self.size} processes ends", file=sys.stderr, flush=True)
        self._data.Abort(1)


class Pending:
    """A collective under way: its requests, and the memory that MPI reads and writes meanwhile."""

    def __init__(self, mpi: Mpi, requests: list[tuple[Any, str]], source: Any, out: Any):
        self._mpi, self._requests, self._source, self._out = mpi, requests, source, out

    def wait(self) -> Any:
        """The result, when it is there."""
        for request, name in self._requests:
            self._mpi.wait(request, name)
        self._requests, self._source = [], None
        return self._out
