"""What the commands write: files, refused early where they cannot be, replaced as a whole; words for a terminal."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path


class UsageError(ValueError):
    """A command was asked for what cannot be done, which is known before anything runs: exit status 2."""


def printable(text: str) -> str:
    """The text with what would steer a terminal written as escapes: names in files may come from strangers.

    >>> print(printable("cat\\x1b[2J"))
    cat\\x1b[2J
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def check_writable(path: str | Path, option: str, endings: Collection[str] | None = None) -> None:
    """Raise UsageError unless a file can be written there; what lies there stays as it is.

    Args:
        path: of the file.
        option: by which it was given, for the message.
        endings: those that a picture's format is chosen by, without the dot; None: any.
    """
    path = Path(path)
    if endings is not None and path.suffix.lower().lstrip(".") not in endings:
        raise UsageError(f"{option} {path}: expected a file name that ends in .{', .'.join(sorted(endings))}, "
                         f"got {path.name!r}")
    if path.is_dir():
        raise UsageError(f"{option} {path}: expected a file, got a folder")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{option} {path}: expected a folder that exists, got {path.parent}")
    if path.exists() and not path.is_file():
        return  # a device or a pipe, which may only be opened once
    place = path.resolve()
    trial = _beside(place)
    try:
        with place.open("ab") if place.exists() else trial.open("xb"):
            pass
    except OSError as error:
        raise UsageError(f"{option} {path}: expected a file that can be written, got {error.strerror}") from error
    finally:
        trial.unlink(missing_ok=True)


def replace(path: str | Path, content: bytes) -> None:
    """Write a file, so that under its name there is always a whole one: the old one, or this one.

    It is written beside its place and then moved there. When that fails, nothing is left beside it, and the OSError
    names the file. What is no regular file, as /dev/stdout, is written to.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    place = path.resolve()  # a link stays one
    beside = _beside(place)
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a full disk may be told no earlier
        if place.exists():
            beside.chmod(place.stat().st_mode)
        os.replace(beside, place)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        beside.unlink(missing_ok=True)


def _beside(place: Path) -> Path:
    """Another name for each process, so that two that write one file do not meet."""
    return place.with_name(f"{place.name}.{os.getpid()}.partial")
