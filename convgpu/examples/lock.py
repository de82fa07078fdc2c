"""One run in a folder at a time: a second would mix its files with those of the first."""

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

    The lock is the operating system's, on the open file: it is gone with the process that holds it, however that ends,
    and a file that is left over locks nothing.

    Raises:
        ValueError: another process holds it; the message says which, and since when.
    """
    path = folder / NAME
    descriptor = _opened(path)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()}, since {datetime.now():%Y-%m-%d %H:%M:%S}".encode())
        yield
    finally:
        if os.name != "nt":  # where an open file cannot be removed
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _opened(path: Path) -> int:
    """The file, open and locked."""
    while True:  # its former holder may remove it meanwhile: then there is another of that name, or none
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
            pass  # it was removed; the next one is new
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Whether the open file could be locked, at once."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # a byte that nobody reads: what is locked there cannot be read
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
