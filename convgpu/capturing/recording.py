"""A graph of CUDA: how a function is recorded through CuPy, and how it is launched.

All inputs have memory of the graph's own. While f is recorded, nothing is computed: kernels are noted with their
addresses. At each later call the inputs are copied to that memory, the graph is launched, and the results are copied
out, except donated tensors and the state of optimizers: their new values are written over the old ones at the end of
the graph, and the memory itself is handed out and comes back with the next call.

Memory made while recording comes from a pool that belongs to the graph, and is used by nobody else.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np

from .. import flags, tree
from ..device import is_gpu_array
from ..tensor import Tensor
from .region import CaptureError, Region, entered

_COUNTS = ("version", "_calls")  # attributes that count: a call adds to them


class Change(NamedTuple):
    """An attribute of an object that f changes: what it was, as the graph found it, and what it became."""

    holder: Any
    name: str
    before: Any
    after: Any


class Recorder:
    """What a region asks while a graph is recorded: memory for constants and numbers, counters, checks."""

    def __init__(self, cupy: Any):
        self._cupy = cupy
        self._side = cupy.cuda.Stream(non_blocking=True)
        self.kept: list[Any] = []  # arrays that the graph reads and that are not its own
        self.counters: dict[Any, Any] = {}
        self.flags: list[tuple[str, str, Any]] = []
        self.before_launch: list[Callable[[], None]] = []
        self.outside: dict[int, tuple[Any, Any]] = {}  # tensors that were there before and are read, and their arrays
        self._made: set[int] = set()  # the ids of arrays that ops have made

    def see(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        """Keep the memory that an op reads and that none has made, and note the tensors that have it."""
        for x in inputs:
            array = getattr(x, "array", x)
            if is_gpu_array(array):
                owner = array if array.base is None else array.base
                if id(owner) not in self._made:
                    self.kept.append(owner)
                    if isinstance(x, Tensor):
                        self.outside.setdefault(id(x), (weakref.ref(x), array))
        for y in outputs:
            array = getattr(y, "array", y)
            if is_gpu_array(array):
                self._made.add(id(array if array.base is None else array.base))

    def constant(self, host: np.ndarray) -> Any:
        """A copy of a host's array, which is made now and not by the graph."""
        cupy = self._cupy
        made = cupy.empty(host.shape, host.dtype)
        with self._side:
            made.set(np.ascontiguousarray(host))
        self._side.synchronize()
        self.kept.append(made)
        return made

    def number(self, read: Callable[[], float], dtype: type) -> Any:
        """An array of no axes whose value is asked for before each launch."""
        made = self.constant(np.array(read(), dtype))
        last = [read()]

        def renew() -> None:
            value = read()
            if value != last[0]:
                made.fill(value)
                last[0] = value

        self.before_launch.append(renew)
        return made


def arrays_of(value: Any) -> list[Any]:
    """All arrays of the GPU in a value: an array, a Tensor, or nested dicts, lists and tuples of them."""
    found = [leaf.array if isinstance(leaf, Tensor) else leaf for leaf in tree.leaves(value)]
    return [array for array in found if is_gpu_array(array)]


def with_arrays(value: Any, arrays: Sequence[Any]) -> Any:
    """The value with other arrays of the GPU in the places of its own."""
    following = iter(arrays)

    def replaced(leaf: Any) -> Any:
        if isinstance(leaf, Tensor) and is_gpu_array(leaf.array):
            return Tensor(next(following), leaf.requires_grad and leaf.is_leaf)
        return next(following) if is_gpu_array(leaf) else leaf

    return tree.map(replaced, value)


def kind_of(name: str, value: Any) -> Any:
    """What of an attribute a graph depends on: the structure, the sizes of arrays, and other values."""
    def one(leaf: Any) -> Any:
        array = leaf.array if isinstance(leaf, Tensor) else leaf
        if hasattr(array, "shape"):
            return tuple(array.shape), np.dtype(array.dtype).name, isinstance(array, np.ndarray)
        return leaf if isinstance(leaf, (bool, int, float, str, type(None))) else type(leaf).__name__

    return 0 if name in _COUNTS else tree.map(one, value)


class Recording:
    """A recorded call of f.

    Args:
        name: the name of f.
        inner: the tensors that stand for the inputs, whose arrays it replaces by its own.
        holders: the objects and attributes that earlier runs have changed.
        donated: for each input, whether its memory takes a result.
        run: calls f with `inner` and returns what it returned.
        again: whether f has been recorded before with fewer holders: what it changes besides now, it makes itself.
    """

    def __init__(self, name: str, inner: list[Tensor], holders: list[tuple[Any, str]], donated: list[bool],
                 run: Callable[[], Any], again: bool = False):
        self._again = again
        self._name = name
        self._cupy = sys.modules["cupy"]
        self.pool = self._cupy.cuda.MemoryPool()
        self.before = [(holder, attribute, getattr(holder, attribute)) for holder, attribute in holders]
        self.kinds = [kind_of(attribute, value) for _, attribute, value in self.before]
        self._record(inner, donated, run)

    @property
    def memory_bytes(self) -> int:
        """The bytes of its pool."""
        return self.pool.total_bytes()

    def reassigned(self) -> list[Tensor]:
        """The tensors from closures and globals that have had other values assigned since they were recorded."""
        found = [(reference(), array) for reference, array in self._recorder.outside.values()]
        return [x for x, array in found if x is not None and x.array is not array]

    def fits(self) -> bool:
        """Whether the objects that f changes are as they were when f was recorded."""
        return all([kind_of(attribute, getattr(holder, attribute)) == kind
                    for (holder, attribute, _), kind in zip(self.before, self.kinds)])

    # --- recording

    def _record(self, inner: list[Tensor], donated: list[bool], run: Callable[[], Any]) -> None:
        cupy = self._cupy
        region = Region(self._name)
        region.recorder = recorder = self._recorder = Recorder(cupy)
        stream = cupy.cuda.Stream(non_blocking=True)
        with ExitStack() as undo:
            undo.callback(self._set_back)
            undo.enter_context(cupy.cuda.using_allocator(self.pool.malloc))
            self.inputs = [self._own(x.array) for x in inner]
            for x, array in zip(inner, self.inputs):
                x.array = array
            self.held = [[self._own(a) for a in arrays_of(value)] for _, _, value in self.before]
            inside = []
            for (holder, attribute, value), arrays in zip(self.before, self.held):
                inside.append(with_arrays(value, arrays))
                setattr(holder, attribute, inside[-1])
            with entered(region), stream:
                stream.begin_capture()
                try:
                    result = run()
                    self._find_changes(region, inner, [x for x in tree.leaves(inside) if isinstance(x, Tensor)])
                    self._write_back(result, donated)
                    self._join_flags(recorder)
                except BaseException:
                    region.take_back()
                    self._end_after_an_error(stream)
                    raise
                self.graph = stream.end_capture()
            region.take_back()
        own = {id(holder) for holder, _, _ in self.before} | {id(x) for x in inner}
        recorder.outside = {key: seen for key, seen in recorder.outside.items() if key not in own}
        self.handed: list[Any] = [None] * len(self.inputs)  # for each input, the tensor that has its memory
        self.alone: list[int] = [0] * len(self.inputs)  # and the references to it, with the next call's

    def _own(self, array: Any) -> Any:
        own = self._cupy.empty(array.shape, array.dtype)
        own[...] = array
        return own

    def _set_back(self) -> None:
        for holder, attribute, value in self.before:
            setattr(holder, attribute, value)

    def _end_after_an_error(self, stream: Any) -> None:
        try:
            stream.end_capture()
        except self._cupy.cuda.runtime.CUDARuntimeError as error:  # the capture was invalid, which the first error says
            self.ended = str(error)

    def _find_changes(self, region: Region, inner: list[Tensor], inside: list[Tensor]) -> None:
        known = {(id(holder), attribute) for holder, attribute, _ in self.before}
        arguments = {id(x) for x in (*inner, *inside)}
        held = {id(x) for holder, attribute, _ in self.before for x in tree.leaves(getattr(holder, attribute))}
        if any([x.grad is not None and x.is_leaf and id(x) in held for x in inside]):
            raise CaptureError(f"capture of {self._name}: expected gradients that are used inside the function, got "
                               "one that backward() has left in `grad` of a variable; call zero_grad()")
        self.changes, self.assigned = [], [x for x in inner if x.version]
        new = []
        for holder, attribute, value in region.changed():
            if id(holder) in arguments:
                continue
            if (id(holder), attribute) not in known:
                if self._again:
                    continue
                new.append((holder, attribute))
            self.changes.append(Change(holder, attribute, value, getattr(holder, attribute)))
        if self.assigned:
            raise CaptureError(f"capture of {self._name}: expected arguments on the GPU that are not assigned, got one "
                               "that assign() changes; return its new value")
        if new:
            raise MoreHolders(new)

    def _write_back(self, result: Any, donated: list[bool]) -> None:
        """Copy results over the inputs that they replace, and find those that are copied out."""
        self.result, self.outputs = result, arrays_of(result)
        free = [i for i, d in enumerate(donated) if d]
        self.place: list[int | None] = []  # for each result, the input whose memory takes it
        for y in self.outputs:
            fitting = next((i for i in free if self.inputs[i].shape == y.shape and self.inputs[i].dtype == y.dtype),
                           None)
            if fitting is not None:
                free.remove(fitting)
            self.place.append(fitting)
        pairs = [(self.inputs[i], y) for i, y in zip(self.place, self.outputs) if i is not None]
        self.stays: list[bool] = []  # for each change, whether the graph's own memory holds the new values
        where = {(id(holder), attribute): arrays for (holder, attribute, _), arrays in zip(self.before, self.held)}
        self.own_of = []
        for change in self.changes:
            after, own = arrays_of(change.after), where[id(change.holder), change.name]
            private = change.name == "_state" and len(own) == len(after) and all(
                [a.shape == b.shape and a.dtype == b.dtype for a, b in zip(own, after)])
            self.stays.append(private)
            self.own_of.append(own if private else after)
            pairs += zip(own, after) if private else ()
        own_memory = {a.data.ptr for a, _ in pairs}
        pairs = [(to, y.copy() if y.data.ptr in own_memory and y is not to else y) for to, y in pairs]
        for to, y in pairs:
            if to is not y:
                to[...] = y

    def _join_flags(self, recorder: Recorder) -> None:
        """One flag per rule, which stays set until somebody has read it."""
        self.flags = []
        for op, rule, flag in recorder.flags:
            sticky = recorder.constant(np.zeros(1, flag.dtype))
            sticky[...] = np.maximum(sticky, flag.reshape(1))
            self.flags.append((op, sticky, rule))

    # --- launching

    def launch(self, given: Sequence[Any]) -> tuple[Any, Callable[[], None]]:
        """Compute with these arrays. Returns what f returns, and a function that lets its changes happen."""
        self._copy_in(given)
        counts = [(change, getattr(change.holder, change.name)) for change in self.changes if change.name in _COUNTS]
        try:
            for renew in self._recorder.before_launch:
                renew()
        except BaseException:
            for change, value in counts:
                setattr(change.holder, change.name, value)
            raise
        for change, value in counts:
            setattr(change.holder, change.name, value)
        self.graph.launch()
        out = [self.inputs[i] if i is not None else y.copy() for i, y in zip(self.place, self.outputs)]
        values = []
        for change, arrays, stays in zip(self.changes, self.own_of, self.stays):
            if change.name in _COUNTS:
                values.append(getattr(change.holder, change.name) + change.after - change.before)
            else:
                values.append(with_arrays(change.after, arrays if stays else [a.copy() for a in arrays]))
        for op, sticky, rule in self.flags:
            flags.check_again(op, sticky, rule)

        def let_happen() -> None:
            for change, value in zip(self.changes, values):
                setattr(change.holder, change.name, value)

        return self._hand_out(out), let_happen

    def _copy_in(self, given: Sequence[Any]) -> None:
        current = [arrays_of(getattr(holder, attribute)) for holder, attribute, _ in self.before]
        for own, array in zip([*self.inputs, *[a for arrays in self.held for a in arrays]],
                              [*given, *[a for arrays in current for a in arrays]]):
            if own is not array:
                own[...] = array

    def take(self, given: Sequence[Any]) -> None:
        """Make sure that nobody else uses the memory that takes results. A result of an earlier call that is still
        there, and is not given away now, gets memory of its own; where another tensor is a view of it, this raises.
        """
        for i, reference in enumerate(self.handed):
            tensor = None if reference is None else reference()
            if tensor is not None and given[i] is not self.inputs[i] and getattr(tensor, "array", None) is \
                    self.inputs[i]:
                tensor.array = self.inputs[i].copy()
            del tensor
        for attempt in (0, 1):
            shared = [i for i, reference in enumerate(self.handed) if reference is not None
                      and self._references(i) > self.alone[i] - (given[i] is not self.inputs[i]) * 2]
            if not shared:
                return
            if attempt == 0:
                gc.collect()
        raise CaptureError(f"capture of {self._name}: expected donated tensors whose memory nobody else uses, got one "
                           f"of shape {self.inputs[shared[0]].shape} that another tensor is a view of (detach, "
                           "reshape, an index); take convgpu.tensor(t), a copy, for what has to stay")

    def _references(self, i: int) -> int:
        return sys.getrefcount(self.inputs[i])

    def _hand_out(self, out: list[Any]) -> Any:
        """What f returns, over these arrays, among which the memory of inputs is handed out."""
        result = with_arrays(self.result, out)
        tensors = [leaf for leaf in tree.leaves(result) if isinstance(leaf, Tensor) and is_gpu_array(leaf.array)]
        self.handed = [None] * len(self.inputs)
        for tensor, i in zip(tensors, self.place):
            if i is not None:
                self.handed[i] = weakref.ref(tensor)
        return result

    def count_users(self) -> None:
        """Count the references to the memory that is handed out, when nothing of the call is left but its results."""
        self.alone = [self._references(i) + 1 for i in range(len(self.inputs))]  # and the next call's list of arrays


def only_on_the_host(holders: Sequence[tuple[Any, str]]) -> bool:
    """Whether an object has values on the host, as after load_state_dict. A call that is not recorded moves them."""
    for holder, name in holders:
        value = getattr(holder, name)
        arrays = [leaf.array if isinstance(leaf, Tensor) else leaf for leaf in tree.leaves(value)]
        if any([isinstance(a, np.ndarray) for a in arrays]) or (name == "_steps" and isinstance(value, int)):
            return True
    return False


class MoreHolders(Exception):
    """f changes objects that no earlier run has changed."""

    def __init__(self, holders: list[tuple[Any, str]]):
        super().__init__()
        self.holders = holders

