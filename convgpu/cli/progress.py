"""A progress bar with the remaining time on stderr; one plain line per step without tqdm or without a terminal."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..benchmark.progress import Progress
from ..extras import require

HINT = 'for a live bar: pip install "convgpu[demo]"'


class Bar(Progress):
    """Shows how much of a measurement is left."""

    def __init__(self, watched: bool | None = None):
        """`watched`: whether somebody watches a terminal; by default whether stderr is one."""
        self._watched = sys.stderr.isatty() if watched is None else watched
        self._bar: Any = None

    @contextmanager
    def of(self, total: float) -> Iterator[None]:
        """Show the bar while the steps run."""
        self._total, self._done, self._start = total, 0.0, time.perf_counter()
        self._bar = self._new_bar(total) if self._watched else None
        try:
            yield
        finally:
            if self._bar is not None:
                self._bar.close()

    def begin(self, what: str) -> None:
        """Say which step runs now."""
        if self._bar is not None:
            self._bar.set_postfix_str(what)
        else:
            print(f"{what}{self._left()}", file=sys.stderr, flush=True)

    def done(self, work: float) -> None:
        """Advance the bar."""
        super().done(work)
        if self._bar is not None:
            self._bar.update(work)

    def _new_bar(self, total: float) -> Any:
        try:
            tqdm = require("tqdm", "the progress bar").tqdm
        except ImportError:
            print(HINT, file=sys.stderr)
            return None
        return tqdm(total=total, leave=False, ncols=shutil.get_terminal_size().columns, mininterval=0.1,
                    bar_format="{percentage:3.0f}% |{bar:20}| {elapsed}, {remaining} left{postfix}")

    def _left(self) -> str:
        if not self._done:
            return ""
        left = (time.perf_counter() - self._start) * (self._total - self._done) / self._done
        return f"  (about {left:.0f} s left)"
