"""The region: what a captured function that is running on this thread wants to know of what is done within it.

The rest of the package calls three functions here. `refuse` raises where a value is needed on the host, because a graph
has none to give. `note` says that attributes of an object are about to change: the change belongs to the results of the
graph, and is taken back after an error. `ran` says that an op has run. Outside of captured functions all three do
nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..lines import line_of_user
from ..rewinding import State, state_of


class CaptureError(RuntimeError):
    """A captured function does what a graph cannot hold."""


class Ran(NamedTuple):
    """One op of a run: its name, what it was given apart from the values of tensors, and the user's line."""

    op: str
    given: Any
    line: str


class Region:
    """One run of a captured function.

    Args:
        name: the function's name, for messages.
        log: whether to keep what runs, which `check=True` compares.
    """

    def __init__(self, name: str, log: bool = False):
        self.name = name
        self.states: list[State] = []  # what the changed objects were before
        self.log: list[Ran] | None = [] if log else None
        self.made: list[tuple[weakref.ref[Any], Ran]] = []  # the tensors that ops have made, where there is a log
        self.known: dict[int, Any] = {}  # by its id, each array that ops have made or that is an argument, where logged
        self.recorder: Any = None  # while a graph is recorded: recording.Recorder
        self._noted: set[tuple[int, str]] = set()

    def note(self, holder: Any, names: tuple[str, ...]) -> None:
        """Keep what the attributes are before their first change."""
        new = tuple([name for name in names if (id(holder), name) not in self._noted])
        if new:
            self._noted.update([(id(holder), name) for name in new])
            self.states.append(state_of(holder, new))

    def changed(self) -> list[tuple[Any, str, Any]]:
        """Each object, attribute, and value before its change."""
        return [(holder, name, value) for holder, values in self.states for name, value in values.items()]

    def take_back(self) -> None:
        """Let all objects be what they were."""
        for holder, values in reversed(self.states):
            for name, value in values.items():
                setattr(holder, name, value)

    def see(self, op: str, inputs: Sequence[Any], statics: Any, outputs: Sequence[Any]) -> None:
        """Add an op to the log. Arrays that come from elsewhere are constants, and are logged by their values."""
        assert self.log is not None
        given = [_described(x, self.known) for x in inputs]
        self.log.append(Ran(op, (given, _described(statics, self.known)), line_of_user()[0]))
        for y in outputs:
            array = getattr(y, "array", y)
            if array is not None:
                self.known[id(array)] = array
            if y is not array:
                self.made.append((weakref.ref(y), self.log[-1]))


class _Thread(threading.local):
    region: Region | None = None


_thread = _Thread()


def current() -> Region | None:
    """The region of this thread."""
    return _thread.region


@contextmanager
def entered(region: Region | None) -> Iterator[None]:
    """Let a region be this thread's."""
    before, _thread.region = _thread.region, region
    try:
        yield
    finally:
        _thread.region = before


def recorder() -> Any:
    """What records a graph on this thread, or None."""
    return None if _thread.region is None else _thread.region.recorder


def note(holder: Any, *names: str) -> None:
    """Say, before they change, that these attributes of an object change."""
    if _thread.region is not None:
        _thread.region.note(holder, names)


def ran(op: str, inputs: Sequence[Any], statics: Any, outputs: Sequence[Any]) -> None:
    """Say that an op has run. Inputs and outputs are tensors, arrays, numbers or None."""
    region = _thread.region
    if region is None:
        return
    if region.recorder is not None:
        region.recorder.see(inputs, outputs)
    if region.log is not None:
        region.see(op, inputs, statics, outputs)


def refuse(what: str, instead: str = "return the tensor, and read it after the call") -> None:
    """Raise CaptureError within a captured function.

    Args:
        what: what needs a value on the host.
        instead: what to do.
    """
    region = _thread.region
    if region is not None:
        line = line_of_user()[0]
        raise CaptureError(f"capture of {region.name}: {what} needs a value on the host, in {line}; a graph computes "
                           f"no values that Python could see, so {instead}")


def refuse_size(what: str) -> None:
    """Raise CaptureError within a captured function, for a result whose size depends on values."""
    refuse(f"the size of {what}, which depends on values,", "keep the size, for instance by convgpu.numpy.where")


def _described(value: Any, known: dict[int, Any]) -> Any:
    """A value that tells two runs apart: of an array that an op has made only shape and dtype, of others the values."""
    array = getattr(value, "array", value)
    if isinstance(array, (list, tuple)):
        return [_described(v, known) for v in array]
    if dataclasses.is_dataclass(array) and not isinstance(array, type):
        return type(array).__name__, [(f.name, _described(getattr(array, f.name), known))
                                      for f in dataclasses.fields(array)]
    if isinstance(array, slice):
        return "slice", [_described(v, known) for v in (array.start, array.stop, array.step)]
    if isinstance(array, dict):
        return [(key, _described(v, known)) for key, v in array.items()]
    if hasattr(array, "shape") and hasattr(array, "dtype"):
        constant = isinstance(array, np.ndarray) and id(array) not in known
        values = hashlib.blake2b(array.tobytes()).digest() if constant else None
        return "array", tuple(array.shape), np.dtype(array.dtype).name, values
    if isinstance(array, float) and array != array:
        return "nan"
    return array if isinstance(array, (int, float, str, bytes, bool, type(None), np.dtype)) else type(array).__name__
