"""Allows one run in a folder at a time: a second run would mix its files with those of the first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

NAME = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder until the end of the block.

    The operating system holds the lock, on the open file. The lock is gone when the process ends, however it ends, and
    a file that is left over locks nothing.

    Raises:
        ValueError: another process holds the folder; the message says which process, and since when.
    """
    path = folder / NAME
    descriptor = _opened(path)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()}, since {datetime.now():%Y-%m-%d %H:%M:%S}".encode())
        yield
    finally:
        if os.name != "nt":  # Windows cannot remove an open file
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _opened(path: Path) -> int:
    """The lock file, open and locked."""
    while True:  # the former holder may remove the file meanwhile: then another file has its name, or none
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if not _lock(descriptor):
            holder = os.read(descriptor, 200).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise ValueError(f"{path.parent}: expected a folder that no other run writes to, got one that is in use by "
                             f"{holder}; wait for it, or choose another folder by --out")
        try:
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass  # the file was removed; the next round creates a new one
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Try to lock the open file without waiting; return whether it is locked."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            # lock a byte that nobody reads, since Windows forbids reading locked bytes
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
