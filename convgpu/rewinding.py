"""Values from another time: what one thread finds in shared objects while it computes again what was computed before.

`remat` and deferred results compute with the values that tensors, generators and variables had at an earlier call.
Other threads use the same objects meanwhile, so nothing is set back in them. Within `rewound`, an object has a class
whose attributes belong to the thread that asks for them: to this thread they are what they were, and whatever it sets
is forgotten at the end; other threads find and set the object's own. NumPy's generators are no objects of Python; a
copy of each is used in its place.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

_VALUES = "_rewound_values"  # the entry of an object's __dict__: by thread, what its contexts have set, innermost last
_lock = threading.Lock()
_classes: dict[tuple[type, frozenset[str]], type] = {}


class State(NamedTuple):
    """What some attributes of an object were at some time."""

    holder: Any
    values: dict[str, Any]


class _Thread(threading.local):
    generators: dict[int, np.random.Generator] = {}  # by the id of a BitGenerator: the copies in use


_thread = _Thread()


def state_of(holder: Any, names: tuple[str, ...]) -> State:
    """What the attributes of an object are to this thread now."""
    copied = _thread.generators.get(id(holder))
    source = holder if copied is None else copied.bit_generator
    return State(holder, {name: getattr(source, name) for name in names})


@contextmanager
def rewound(states: Sequence[State]) -> Iterator[None]:
    """Let this thread find the states, and forget at the end what it has set of them.

    A state belongs to a thread's own object (`threading.local`), a BitGenerator of NumPy's, or an object of a class of
    Python's that has a `__dict__`.
    """
    before = _thread.generators
    _thread.generators = before | {id(s.holder): _copied(s) for s in states
                                   if isinstance(s.holder, np.random.BitGenerator)}
    entered = []
    try:
        for state in states:
            if not isinstance(state.holder, np.random.BitGenerator):
                entered.append((state, _enter(state)))
        yield
    finally:
        _thread.generators = before
        for state, now in reversed(entered):
            _leave(state, now)


def generator_in_use(generator: np.random.Generator) -> np.random.Generator:
    """The generator, or within `rewound` the copy that this thread uses in its place."""
    return _thread.generators.get(id(generator.bit_generator), generator)


def _copied(state: State) -> np.random.Generator:
    bits = copy.deepcopy(state.holder)
    bits.state = state.values["state"]
    return np.random.Generator(bits)


def _enter(state: State) -> Any:
    """Begin; what `_leave` needs is returned."""
    holder, values = state
    if isinstance(holder, threading.local):
        now = {name: getattr(holder, name) for name in values}
        for name, value in values.items():
            setattr(holder, name, value)
        return now
    mine = dict(values)
    with _lock:
        threads = holder.__dict__.setdefault(_VALUES, {})
        ident = threading.get_ident()
        threads[ident] = (*threads.get(ident, ()), mine)
        kind = type(holder)
        holder.__class__ = _class_with(getattr(kind, "_rewound_kind", kind),
                                       getattr(kind, "_rewound_names", frozenset()).union(values))
    return mine


def _leave(state: State, now: dict[str, Any]) -> None:
    holder = state.holder
    if isinstance(holder, threading.local):
        for name, value in now.items():
            setattr(holder, name, value)
        return
    with _lock:
        threads, ident = holder.__dict__[_VALUES], threading.get_ident()
        threads[ident] = tuple(values for values in threads[ident] if values is not now)
        if not threads[ident]:
            del threads[ident]
        if not threads:
            holder.__class__ = type(holder)._rewound_kind
            del holder.__dict__[_VALUES]


def _class_with(kind: type, names: frozenset[str]) -> type:
    """A subclass of `kind` in which these attributes are those of the thread, where it has set them back."""
    found = _classes.get((kind, names))
    if found is None:
        members: dict[str, Any] = {name: _attribute(kind, name) for name in names}
        members |= {"__slots__": (), "__module__": kind.__module__, "_rewound_kind": kind, "_rewound_names": names}
        found = _classes[kind, names] = type(kind)(kind.__name__, (kind,), members)
    return found


def _attribute(kind: type, name: str) -> property:
    own: Any = getattr(kind, name, None)  # a slot's or property's descriptor, or None for an entry of the __dict__
    own = own if hasattr(type(own), "__set__") else None

    def values_of(self: Any) -> dict[str, Any] | None:
        threads = self.__dict__.get(_VALUES)  # None: another thread has just given the object its class again
        stack = threads.get(threading.get_ident(), ()) if threads else ()
        return next((values for values in reversed(stack) if name in values), None)

    def get(self: Any) -> Any:
        values = values_of(self)
        if values is not None:
            return values[name]
        if own is not None:
            return own.__get__(self, kind)
        try:
            return self.__dict__[name]
        except KeyError:
            return getattr(kind, name)

    def put(self: Any, value: Any) -> None:
        values = values_of(self)
        if values is not None:
            values[name] = value
        elif own is not None:
            own.__set__(self, value)
        else:
            self.__dict__[name] = value

    return property(get, put)
