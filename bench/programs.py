"""Starts programs for bench/on_gpu.py, each in its own process group; no program outlives the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

KILL_AFTER = 3.0  # seconds that a program has to end by itself
GONE_AFTER = 15.0  # seconds that a driver may take to end a program that was killed; it is left behind then
PAUSE = 0.05
_LIBC = ctypes.CDLL(None)


class Program:
    """A program that runs.

    Args:
        command: the program and its arguments.
        folder: the folder in which it runs.
        log: the file that its output is added to.
        environment: its environment variables.
        keep_open: a file that it inherits open.
        current: a file in which it writes the key of its current row.
        shard: its part of the rows.
    """

    def __init__(self, command: list[str], folder: Path, log: Path, environment: dict[str, str], keep_open: int,
                 current: Path | None = None, shard: int = 0):
        self.current, self.shard = current, shard
        if current is not None:
            current.write_text("")
        with open(log, "ab") as file:
            file.write(f"+ {' '.join(command)}\n".encode())
            file.flush()
            self._process = subprocess.Popen(command, cwd=folder, env=environment, stdout=file,
                                             stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, process_group=0,
                                             pass_fds=[keep_open], preexec_fn=_die_with_parent)

    def poll(self) -> int | None:
        """The exit status; None while the program runs."""
        return self._process.poll()

    def row(self) -> str:
        """The key of the program's current row; "" if there is none."""
        return self.current.read_text() if self.current is not None and self.current.exists() else ""

    def wait(self, deadline: float, meanwhile: Callable[[], None] = lambda: None) -> int | None:
        """Wait for the end, and return the exit status; None if the program was ended at the deadline."""
        try:
            while self.poll() is None and time.monotonic() < deadline:
                meanwhile()
                time.sleep(PAUSE)
            return self.poll()
        finally:
            self.end()
            meanwhile()

    def ask(self) -> None:
        """To end: several end at once then."""
        try:
            os.killpg(self._process.pid, signal.SIGTERM)
        except ProcessLookupError:
            pass

    def end(self) -> None:
        """No process of its group outlives this."""
        for kill, seconds in ((signal.SIGTERM, KILL_AFTER), (signal.SIGKILL, GONE_AFTER)):
            try:
                os.killpg(self._process.pid, kill)
            except ProcessLookupError:
                break
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                continue


def _die_with_parent() -> None:
    """In the child: ask for SIGKILL when the parent ends, however it ends."""
    _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
