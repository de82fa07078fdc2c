"""Saves results safely: one line of JSON for each row, written as soon as the row is measured.

A program that is killed, at any moment, loses its current row and no other. Lines are appended whole and synced to the
disk; a line that broke off is skipped by readers, and ended by the next writer. A row has a key, and a program that
continues a file skips the keys that it holds for the same commit. Only the standard library is used.

    {"run": ID, "environment": {...}}        once for each process, before its first row
    {"run": ID, "key": KEY, "row": {...}}    a result
    {"run": ID, "key": KEY, "error": TEXT}   a row that failed: it is tried again only when asked for
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
CURRENT = "CONVGPU_CURRENT_ROW"  # the environment variable that names a file for the key of the row at work
SHARD = "CONVGPU_SHARD"  # that which names this process's part of the rows, "0/4"
BEFORE = "CONVGPU_ROWS_BEFORE"  # with --again: the bytes of the file whose failures are tried again; none: all
FILE = Path("build/gpu/rows.jsonl")
Line = dict[str, Any]


def add_options(parser: argparse.ArgumentParser, default: Path | None = FILE) -> None:
    """Add the options of all programs of rows. default: the file's default; None: no file, unless the option names one.
    """
    parser.add_argument("--rows", type=Path, default=default, metavar="FILE",
                        help=f"where rows go (default: {default or 'nowhere'})")
    parser.add_argument("--resume", action="store_true", help="skip the rows that are there")
    parser.add_argument("--again", action="store_true", help="with --resume: try again what failed")
    parser.add_argument("--tiny", type=int, default=0, metavar="N", help="a rehearsal: the first N rows, small")


def read(path: Path, skipped: int = 0) -> Iterator[Line]:
    """All lines that are whole, behind so many bytes."""
    if not path.exists():
        return
    for line in path.read_bytes()[skipped:].split(b"\n"):
        try:
            found = json.loads(line)
        except ValueError:  # the last line of a program that was killed
            continue
        if isinstance(found, dict):
            yield found


def append(path: Path, line: Line, default: Callable[[Any], Any] | None = None) -> None:
    """Add a line, whole or not at all, and wait until it is on the disk."""
    text = json.dumps(line, default=default).encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            text = b"\n" + text
        os.write(file, text)
        os.fsync(file)
    finally:
        os.close(file)


def done(path: Path, commit: str | None, skipped: int = 0) -> dict[str, bool]:
    """The keys that this commit has, and whether each has a result; where it was tried twice, the last time.

    skipped: bytes at the beginning of the file.
    """
    commits: dict[str, str | None] = {}
    found: dict[str, bool] = {}
    for line in read(path, skipped):
        if "environment" in line:
            commits[line["run"]] = line["environment"].get("commit")
        elif commits.get(line.get("run", "")) == commit:
            found[line["key"]] = "row" in line
    return found


def own(items: Sequence[T]) -> list[T]:
    """The items that belong to this process, where several processes share them."""
    part, _, parts = os.environ.get(SHARD, "0/1").partition("/")
    return list(items[int(part)::int(parts)])


class Rows:
    """A file of rows that this process adds to.

    Args:
        path: the file; None keeps the rows in memory alone.
        environment: the environment of this process, with its commit.
        resume: skip rows that are in the file.
        again: but try rows again that failed.
        default: converts values to types that JSON has.
    """

    def __init__(self, path: Path | None, environment: dict[str, Any], resume: bool = False, again: bool = False,
                 default: Callable[[Any], Any] | None = None):
        self.path, self.environment, self._default = path, environment, default
        self._run, self._begun = uuid.uuid4().hex[:12], False
        there = done(path, environment.get("commit")) if resume and path else {}
        skipped = os.environ.get(BEFORE)
        late = done(path, environment.get("commit"), int(skipped)) if again and path and skipped else {}
        self._done = {key: result for key, result in there.items() if result or not again or key in late}
        self.lines: list[Line] = []

    def __contains__(self, key: str) -> bool:
        return key in self._done

    def __iter__(self) -> Iterator[str]:
        return iter(self._done)

    def has_failed(self, key: str) -> bool:
        """Whether the key is in the file, without a result."""
        return not self._done.get(key, True)

    def add(self, key: str, row: dict[str, Any]) -> None:
        """Save a result."""
        self._add(key, {"row": row})

    def fail(self, key: str, error: str) -> None:
        """Save the reason why there is no result."""
        self._add(key, {"error": error})

    def _add(self, key: str, what: Line) -> None:
        if not self._begun and self.path:
            append(self.path, {"run": self._run, "environment": self.environment}, self._default)
        self._begun = True
        line = {"run": self._run, "key": key, **what}
        if self.path:
            append(self.path, line, self._default)
        self._done[key] = "row" in what
        self.lines.append(line)

    @contextmanager
    def at(self, key: str, seconds: float) -> Iterator[None]:
        """Mark the row of this key as the current one. SIGALRM ends the process after `seconds`, even within CUDA.

        The parent process finds the key in the file that the variable CONVGPU_CURRENT_ROW names.
        """
        current = os.environ.get(CURRENT)
        if current:
            Path(current).write_text(key)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            if current:
                Path(current).write_text("")
