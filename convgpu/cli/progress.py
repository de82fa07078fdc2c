"""A progress bar with the remaining time on stderr; one plain line per step without tqdm or without a terminal."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import Any

from ..extras import require

HINT = 'for a live bar: pip install "convgpu[demo]"'


class Progress:
    """Shows how much of the work is left; each step has a known weight, in any unit of time.

        with Progress(total=12.5) as progress:
            progress.begin("conv_fprop 3x3 64>64")
            progress.done(2.5)
    """

    def __init__(self, total: float, watched: bool | None = None):
        self._total, self._done, self._start = total, 0.0, time.perf_counter()
        self._bar: Any = None
        if not (sys.stderr.isatty() if watched is None else watched):
            return
        try:
            tqdm = require("tqdm", "the progress bar").tqdm
        except ImportError:
            print(HINT, file=sys.stderr)
        else:
            self._bar = tqdm(total=total, leave=False, ncols=shutil.get_terminal_size().columns, mininterval=0.1,
                             bar_format="{percentage:3.0f}% |{bar:20}| {elapsed}, {remaining} left{postfix}")

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()

    def begin(self, what: str) -> None:
        """Say which step runs now."""
        if self._bar is not None:
            self._bar.set_postfix_str(what)
        else:
            print(f"{what}{self._left()}", file=sys.stderr, flush=True)

    def done(self, weight: float) -> None:
        """Count a finished step of this weight."""
        self._done += weight
        if self._bar is not None:
            self._bar.update(weight)

    def reach(self, weight: float) -> None:
        """Advance to this part of the total."""
        self.done(weight - self._done)

    def _left(self) -> str:
        if not self._done:
            return ""
        left = (time.perf_counter() - self._start) * (self._total - self._done) / self._done
        return f"  (about {left:.0f} s left)"
