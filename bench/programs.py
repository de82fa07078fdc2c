"""Programs that bench/on_gpu.py starts, each in a process group of its own; none outlives who started it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

KILL_AFTER = 3.0  # seconds that a program has to end by itself
PAUSE = 0.05
_LIBC = ctypes.CDLL(None)


class Program:
    """A program at work.

    Args:
        command: it and its arguments.
        folder: in which it runs.
        log: to which its output is added.
        environment: its variables.
        keep_open: a file that it inherits.
        current: a file in which it names the row that it is at.
        shard: which part of the rows is its own.
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
        """The exit status; None while it is at work."""
        return self._process.poll()

    def row(self) -> str:
        """The key of the row that it was at; "" if at none."""
        return self.current.read_text() if self.current is not None and self.current.exists() else ""

    def wait(self, deadline: float, meanwhile: Callable[[], None] = lambda: None) -> int | None:
        """The exit status; None where it was ended at the deadline."""
        try:
            while self.poll() is None and time.monotonic() < deadline:
                meanwhile()
                time.sleep(PAUSE)
            return self.poll()
        finally:
            self.end()
            meanwhile()

    def end(self) -> None:
        """No process of its group outlives this."""
        for kill, seconds in ((signal.SIGTERM, KILL_AFTER), (signal.SIGKILL, None)):
            try:
                os.killpg(self._process.pid, kill)
            except ProcessLookupError:
                break
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                continue


def _die_with_parent() -> None:
    """In the child: SIGKILL when this program ends, however it does."""
    _LIBC.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
