"""What a measurement tells while it runs: which step, and how much of the work is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Progress:
    """Is told how far a measurement is, and says nothing. The command shows a bar (convgpu/cli/progress.py).

        with progress.of(12.5):             # the work of all steps, in any unit of time
            progress.begin("conv_fprop 3x3 64>64")
            progress.done(2.5)
    """

    @contextmanager
    def of(self, total: float) -> Iterator[None]:
        """Enclose the steps, whose work is `total`."""
        self._done = 0.0
        yield

    def begin(self, what: str) -> None:
        """Take note of the step that runs now."""

    def done(self, work: float) -> None:
        """Count work that is done."""
        self._done += work

    def reach(self, work: float) -> None:
        """Advance to this part of the total."""
        self.done(work - self._done)
