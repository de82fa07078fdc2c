"""Files that the commands write: checked early and replaced as a whole; and text that is safe for a terminal."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path


class UsageError(ValueError):
    """The error of a command that cannot be run as asked; it is raised before anything runs, and the exit status is 2.
    """


def printable(text: str) -> str:
    """The text with control characters written as escapes, since names in files may come from strangers.

    >>> print(printable("cat\\x1b[2J"))
    cat\\x1b[2J
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def check_writable(path: str | Path, option: str, endings: Collection[str] | None = None) -> None:
    """Raise UsageError unless a file can be written at this path; an existing file stays as it is.

    Args:
        path: the path of the file.
        option: the option that gave the path, for the message.
        endings: the allowed endings, without the dot, for pictures, whose format follows from the ending; None: any
            ending.
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
        return  # a device or a pipe may only be opened once
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
    """Write a file so that there is always a whole file of this name; see `replacing`."""
    with replacing(path) as place:
        place.write_bytes(content)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A context that gives a path to write to, and puts the file in the place of `path` at its end.

    So there is always a whole file of this name: the old one or the new one. The path to write to lies in the same
    folder. When writing fails, nothing is left behind, and the OSError names the file. A path that is no regular file,
    such as /dev/stdout, is given as it is and written to directly.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        yield path
        return
    place = path.resolve()  # a link stays a link
    beside = _beside(place)
    try:
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())  # a full disk may report its error only here
        if place.exists():
            beside.chmod(place.stat().st_mode)
        os.replace(beside, place)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        beside.unlink(missing_ok=True)


def _beside(place: Path) -> Path:
    """A temporary name that contains the process's number, so that two processes writing one file do not meet."""
    return place.with_name(f"{place.name}.{os.getpid()}.partial")
