"""What a function computes: every op that runs, with its arrays, in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from ... import autograd
from ...op import Op
from ...tensor import Tensor


class Call(NamedTuple):
    """One op that ran. Inputs and outputs are arrays, or None, or numbers."""

    op: Op
    inputs: tuple[Any, ...]
    statics: dict[str, Any]
    outputs: tuple[Any, ...]


def traced(run: Callable[[], Any]) -> tuple[list[Call], Any]:
    """The ops that run() runs in this thread, and what it returns. No result is left for later."""
    calls: list[Call] = []
    thread = threading.get_ident()

    def watch(op: Any, inputs: tuple[Any, ...], outputs: tuple[Any, ...], statics: tuple[Any, ...]) -> None:
        if threading.get_ident() == thread:
            calls.append(Call(op, tuple(map(_array, inputs)), dict(zip(op.statics, statics)),
                              tuple(map(_array, outputs))))

    before = autograd.set_watcher(watch)
    try:
        with autograd.recording(True):
            result = run()
            _computed(result)
    finally:
        autograd.set_watcher(before)
    return calls, result


def _array(x: Any) -> Any:
    return x.array if isinstance(x, Tensor) else x


def _computed(result: Any) -> None:
    """Results that are deferred are computed, so that their ops are seen."""
    from ... import tree

    for leaf in tree.leaves(result):
        _ = getattr(leaf, "array", None)
