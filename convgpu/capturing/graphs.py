"""What is known of one graph."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .. import tree
from . import keys
from .region import Ran, Region, entered

if TYPE_CHECKING:
    from ..ledger.result import Ledger, Row


class Graph:
    """One kind of arguments of a captured function.

    arguments: these in words. calls: how often it was called. captured: whether it is launched as a graph, as on a GPU
    from the second call on. memory_bytes: what its private memory takes on the GPU.
    """

    def __init__(self, f: Callable[..., Any], found: keys.Arguments, args: Any, options: dict[str, Any]):
        from ..ledger import spec

        self._f = f
        self._specs = tree.map(lambda leaf: spec(leaf.shape, leaf.dtype) if keys.is_array(leaf) else leaf,
                               (args, options))
        self._objects = found.objects  # alive, so that no other object gets the id that the key contains
        self.arguments = ", ".join([f"{place} {keys.described(what)}" for place, what in found.parts])
        self.calls = 0
        self.log: list[Ran] | None = None
        self.recordings: list[Any] = []  # what is launched on a GPU: one for each kind of objects that f changes
        self.holders: list[tuple[Any, str]] = []  # what f changes: objects and attributes
        self.lock = threading.RLock()

    def add_holders(self, holders: list[tuple[Any, str]]) -> None:
        """Note objects and attributes that f changes."""
        known = {(id(holder), name) for holder, name in self.holders}
        self.holders += [(holder, name) for holder, name in holders if (id(holder), name) not in known]

    @property
    def captured(self) -> bool:
        """Whether it is launched as a graph."""
        return bool(self.recordings)

    @property
    def memory_bytes(self) -> int:
        """What its private memory takes on the GPU."""
        return sum(recording.memory_bytes for recording in self.recordings)

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger of the function with such arguments: it runs once more, without values."""
        from ..ledger import ledger

        args, options = self._specs
        region = Region(getattr(self._f, "__name__", "function"))

        def noted(*given: Any) -> Any:
            with entered(region):
                try:
                    return self._f(*given[:len(args)], **dict(zip(options, given[len(args):])))
                finally:
                    region.take_back()

        return ledger(noted, *args, *options.values())

    @property
    def rows(self) -> list[Row]:
        """The rows of the ledger: launches, bytes and time by op, kernel and phase."""
        return self.ledger.rows

    @property
    def launches(self) -> int:
        """The launches in the graph, by the ledger."""
        return self.ledger.totals["launches"]

    @property
    def bytes(self) -> int:
        """The bytes that its kernels read and write, by the ledger."""
        totals = self.ledger.totals
        return totals["convolution_bytes"] + totals["other_bytes"]

    def __repr__(self) -> str:
        kind = f"{self.memory_bytes:,} bytes held" if self.captured else "eager"
        return f"<graph of {self.arguments}: {self.calls} calls, {kind}>"
