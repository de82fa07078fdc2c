"""A cache of layouts and index tables that ops keep between calls. Its bound is in bytes, not in entries.

Tables grow with the image, so that a bound on entries would let a process that meets ever new sizes grow without end.
All functions decorated with `kept` share one budget. The result that was not used for longest is dropped first, and
computed again when needed.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial, wraps
from typing import Any, TypeVar

import numpy as np

LIMIT = 64 << 20  # bytes of everything that is kept

Function = TypeVar("Function", bound=Callable[..., Any])


class Kept:
    """Results by function and arguments; the one that was used last comes last."""

    def __init__(self, limit: int):
        self.limit, self.bytes = limit, 0
        self._results: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Any], size: Callable[[Any], int]) -> Any:
        """The result for a key; `make` computes it if it is not kept."""
        with self._lock:
            found = self._results.get(key)
            if found is not None:
                self._results.move_to_end(key)
                return found[0]
        made = make()  # outside the lock, because `make` may ask for other results
        nbytes = size(made) + size_of(key)
        with self._lock:
            if key in self._results:  # another thread was faster: all threads share its result
                return self._results[key][0]
            if nbytes <= self.limit // 2:
                self._results[key] = made, nbytes
                self.bytes += nbytes
                while self.bytes > self.limit:
                    self.bytes -= self._results.popitem(last=False)[1][1]
        return made

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._results.clear()
            self.bytes = 0


everything = Kept(LIMIT)


def kept(function: Function, size: Callable[[Any], int] | None = None) -> Function:
    """`function` (or class) with its results kept while there is room. Arguments must be positional and hashable.

    Args:
        size: the bytes that a result may grow to, where it grows after it is made.
    """
    weigh = size or size_of

    @wraps(function, updated=())
    def run(*arguments: Any) -> Any:
        return everything.get((function, arguments), partial(function, *arguments), weigh)

    return run  # type: ignore[return-value]


def size_with(plan: Any, part: Any, parts: int) -> int:
    """About how many bytes a plan takes once it keeps `parts` of its parts; `part` is one of them."""
    seen: set[int] = set()
    return size_of(plan, seen) + (parts - 1) * size_of([part], seen - {id(part)})


def size_of(value: Any, seen: set[int] | None = None) -> int:
    """About how many bytes a result takes with everything that it refers to, except functions and types."""
    seen = set() if seen is None else seen
    if id(value) in seen or callable(value) and not isinstance(value, partial):
        return 0
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        return value.nbytes + 112
    size = sys.getsizeof(value)
    if isinstance(value, (str, bytes, int, float, range, np.generic)):
        return size
    if isinstance(value, partial):
        return size + size_of(value.args, seen)
    if isinstance(value, (tuple, list, set, frozenset)):
        return size + sum([size_of(v, seen) for v in value])
    if isinstance(value, dict):
        return size + sum([size_of(k, seen) + size_of(v, seen) for k, v in value.items()])
    return size + size_of(getattr(value, "__dict__", None), seen) if hasattr(value, "__dict__") else size
