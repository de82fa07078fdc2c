"""`convgpu.capture`: a function whose work on the GPU is recorded once, and launched as one graph from then on."""

from __future__ import annotations

import functools
import gc
import inspect
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import autograd, gradients, settings, tree
from ..arguments import function, integer, truth
from ..device import GPU, device_of, move
from ..lines import line_of_user
from ..outline import Outline
from ..tensor import Tensor, wrap
from . import keys
from .donation import check_given_once, give_away
from .graphs import Graph
from .recording import MoreHolders, Recording, only_on_the_host
from .region import CaptureError, Ran, Region, current, entered


def capture(f: Callable[..., Any], *, donate: int | Sequence[int] = (0,), max_graphs: int = 8,
            check: bool = False) -> Captured:
    """A function that computes as f, and whose launches on a GPU are recorded once and then launched together.

        step = cg.capture(step)
        state, loss = step(state, x, y)

    Tensors and arrays among the arguments, in nested dicts, lists and tuples, are inputs; everything else is a constant
    of the graph, and so is what f takes from closures and globals, except objects that f changes: tensors by `assign`,
    generators, optimizers, averages. A graph serves for one structure, for shapes, dtypes and the values of constants;
    others have graphs of their own.

    Args:
        f: takes and returns tensors in nested dicts, lists and tuples. It may use `value_and_grad` and `backward`. It
            must not need a value on the host.
        donate: the numbers of the arguments whose tensors are given away: their memory takes the results, and using
            them after the call is an error. The first argument, by default; () for none, as in inference.
        max_graphs: how many graphs there may be.
        check: run f twice more at each call, from the same state, and compare what it runs. It finds constants that
            differ from call to call, and tensors that are kept elsewhere. Python's own effects happen three times.

    Returns:
        A function with the attribute `graphs`. Its results carry no gradients.

    Raises:
        RuntimeError: f needs a value on the host, or a donated tensor is used again. ValueError: more graphs than
            max_graphs; the message names the argument that keeps changing. After an error everything is as before.

    On the GPU, where a tensor among the arguments is there, the first call of each kind runs f, the second records it,
    and later ones launch the graph. On the CPU f runs at each call, with the same rules.

    >>> import convgpu as cg
    >>> @cg.capture
    ... def step(w, x):
    ...     loss, g = cg.value_and_grad(lambda w: ((w * x - 1) ** 2).mean())(w)
    ...     return w - 0.5 * g, loss
    >>> w = cg.tensor(2.0)
    >>> for x in [1.0, 1.0]:
    ...     w, loss = step(w, cg.tensor(x))
    >>> w, loss
    (Tensor(1., dtype=float32), Tensor(0., dtype=float32))
    """
    function("capture", f)
    numbers = tuple(donate) if isinstance(donate, Sequence) else (donate,)
    numbers = tuple([integer("capture", "donate", n, 0) for n in numbers])
    return Captured(f, numbers, integer("capture", "max_graphs", max_graphs, 1), truth("capture", "check", check))


class Captured:
    """What `capture` returns.

    graphs: one Graph for each kind of arguments, in the order of their first calls.
    """

    def __init__(self, f: Callable[..., Any], donate: tuple[int, ...], max_graphs: int, check: bool):
        functools.update_wrapper(self, f)
        self._f, self._donate, self._max_graphs, self._check = f, donate, max_graphs, check
        self._name = getattr(f, "__name__", type(f).__name__)
        self.holders: Callable[[], list[tuple[Any, str]]] = list  # what f reads or changes, if that is known before
        self._graphs: dict[Any, Graph] = {}
        self._lock = threading.RLock()

    @property
    def graphs(self) -> list[Graph]:
        """The graphs, in the order of their first calls."""
        return list(self._graphs.values())

    def __repr__(self) -> str:
        return f"<captured {self._name}: {len(self._graphs)} graphs>"

    def __get__(self, holder: Any, owner: Any = None) -> Any:
        """A captured method of an object: `donate` counts the arguments after it."""
        if holder is None:
            return self
        bound = Captured(self._f.__get__(holder, owner), self._donate, self._max_graphs, self._check)
        return vars(holder).setdefault(self._name, bound)

    def __call__(self, *args: Any, **options: Any) -> Any:
        named = self._named(args, options)
        leaves = tree.leaves([value for _, value in named])
        inside = any([isinstance(getattr(leaf, "array", None), Outline) for leaf in leaves])
        if inside:  # a ledger is kept of the function
            return self._f(*args, **options)
        if current() is not None:  # within another captured function, it is a part of that one's graph
            return self._nested(args, options, named)
        found = keys.taken_apart(named)
        donated = self._donated(named)
        check_given_once(self._name, found.tensors, donated)
        self._refuse_gradients(found)
        graph = self._graph(found, args, options)
        on_gpu = GPU in [device_of(x.array if isinstance(x, Tensor) else x) for _, x in found.tensors]
        if on_gpu and not self._check and not autograd.is_watched():
            with graph.lock:
                return self._on_gpu(graph, args, options, donated)
        return self._eagerly(graph, args, options, donated)

    # --- arguments

    def _named(self, args: tuple[Any, ...], options: dict[str, Any]) -> list[tuple[str, Any]]:
        """The arguments with the names that errors call them by."""
        try:
            parameters = list(inspect.signature(self._f).parameters.values())
        except (TypeError, ValueError):  # functions of C have no signature
            parameters = []
        plain = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        names = [plain[i] if i < len(plain) else f"number {i}" for i in range(len(args))]
        return [*zip(names, args), *sorted(options.items())]

    def _donated(self, named: list[tuple[str, Any]]) -> list[Tensor]:
        """The tensors that are given away."""
        chosen = [value for number, (_, value) in enumerate(named) if number in self._donate]
        return [leaf for leaf in tree.leaves(chosen) if isinstance(leaf, Tensor)]

    def _refuse_gradients(self, found: keys.Arguments) -> None:
        for place, leaf in found.tensors:
            if isinstance(leaf, Tensor) and leaf.requires_grad and autograd.is_grad_enabled() and (
                    not leaf.is_leaf or gradients.is_differentiating()):
                raise CaptureError(f"capture of {self._name}: expected gradients to be taken inside the function, got "
                                   f"the argument {place}, through which an outer gradient would flow; capture the "
                                   "function that takes the gradient, or detach() the argument")

    def _graph(self, found: keys.Arguments, args: Any, options: Any) -> Graph:
        key = found.key, settings.in_force(), autograd.is_grad_enabled()
        with self._lock:
            graph = self._graphs.get(key)
            if graph is None:
                if len(self._graphs) >= self._max_graphs:
                    raise ValueError(keys.too_many(self._name, [*[k[0] for k in self._graphs], found.key],
                                                   self._max_graphs))
                graph = Graph(self._f, found, args, options)
                self._graphs[key] = graph
            return graph

    # --- runs

    def _nested(self, args: tuple[Any, ...], options: dict[str, Any], named: list[tuple[str, Any]]) -> Any:
        result = self._f(*args, **options)
        give_away(self._donated(named), self._name, line_of_user()[0])
        return result

    def _eagerly(self, graph: Graph, args: Any, options: Any, donated: list[Tensor],
                 regions: list[Region] | None = None) -> Any:
        """Run f, and let what it has done stand if there was no error."""
        try:
            if self._check:
                self._run_to_compare(graph, args, options)
            region, result, write = self._run(args, options)
        except BaseException:
            with self._lock:
                if graph.calls == 0:  # a graph that has never run is no graph
                    self._graphs = {key: g for key, g in self._graphs.items() if g is not graph}
            raise
        write()
        if regions is not None:
            regions.append(region)
        graph.calls += 1
        give_away(donated, self._name, line_of_user()[0])
        return result

    def _on_gpu(self, graph: Graph, args: Any, options: Any, donated: list[Tensor]) -> Any:
        """The first call runs f, which makes what later calls find; the second records it; then graphs are launched."""
        if graph.calls == 0 or only_on_the_host(graph.holders):
            region: list[Region] = []
            result = self._eagerly(graph, args, options, donated, region)
            graph.add_holders([(holder, name) for holder, name, _ in region[0].changed()])
            return result
        leaves = [leaf for leaf in tree.leaves((args, options)) if keys.is_array(leaf)]
        ids = {id(t) for t in donated}
        given_away = [id(leaf) in ids for leaf in leaves]
        for old in graph.recordings[:]:
            if changed := old.reassigned():
                graph.recordings.remove(old)
                graph.add_holders([(x, "array") for x in changed])
        recording = next((r for r in graph.recordings if r.fits()), None)
        if recording is None:
            if len(graph.recordings) >= self._max_graphs:
                raise ValueError(keys.too_many(self._name, [], self._max_graphs))
            recording = self._recorded(graph, args, options, given_away)
            graph.recordings.append(recording)
        given = [move(leaf.array if isinstance(leaf, Tensor) else leaf, GPU) for leaf in leaves]
        recording.take(given)
        result, let_happen = recording.launch(given)
        let_happen()
        graph.calls += 1
        give_away(donated, self._name, line_of_user()[0])
        given.clear()
        recording.count_users()
        return result

    def _recorded(self, graph: Graph, args: Any, options: Any, given_away: list[bool]) -> Recording:
        """Record f; objects that it changes for the first time are recorded with it by another attempt."""
        retried = again = False
        graph.add_holders(self.holders())
        while True:
            pairs: list[tuple[Any, Tensor]] = []
            inside = tree.map(lambda leaf, pairs=pairs: _inside(leaf, pairs, True), (args, options))

            def run(inside: Any = inside, pairs: Any = pairs) -> Any:
                result = tree.map(_outside, self._f(*inside[0], **inside[1]))
                _check_gradients(self._name, pairs)
                return result

            try:
                return Recording(self._name, [x for _, x in pairs], graph.holders, given_away, run, again)
            except MoreHolders as more:
                graph.add_holders(more.holders)
                again = True
            except MemoryError:
                if retried:
                    raise
                retried = True
                sys.modules["cupy"].get_default_memory_pool().free_all_blocks()

    def _run(self, args: Any, options: Any) -> tuple[Region, Any, Callable[[], None]]:
        """One run of f. What it returns is detached; the last result writes assigned arguments back."""
        region = Region(self._name, self._check)
        pairs: list[tuple[Any, Tensor]] = []
        leaves = tree.leaves((args, options))
        on_gpu = any([keys.is_array(x) and device_of(getattr(x, "array", x)) == GPU for x in leaves])
        given_args, given_options = tree.map(lambda leaf: _inside(leaf, pairs, on_gpu), (args, options))
        region.known.update({id(x.array): x.array for _, x in pairs})
        with entered(region):
            try:
                result = tree.map(_outside, self._f(*given_args, **given_options))
                _check_gradients(self._name, pairs)
                if self._check:
                    given_args = given_options = None
                    _check_kept(self._name, region, result, pairs)
            except BaseException:
                region.take_back()
                raise
        return region, result, lambda: _write_back(pairs)

    def _run_to_compare(self, graph: Graph, args: Any, options: Any) -> None:
        """Two runs from the same state; raises where they differ, or where the last call ran something else."""
        logs = []
        for _ in range(2):
            region, result, _ = self._run(args, options)
            del result
            region.take_back()
            assert region.log is not None
            logs.append(region.log)
        _compare(self._name, logs[0], logs[1], "a second run with the same arguments")
        if graph.calls > 1 and graph.log is not None:  # the first call may have made what later calls find
            _compare(self._name, graph.log, [_without_values(ran) for ran in logs[0]], "a later call")
        graph.log = [_without_values(ran) for ran in logs[0]]


def _inside(leaf: Any, pairs: list[tuple[Any, Tensor]], on_gpu: bool) -> Any:
    """What f gets for a leaf: of a tensor another one, so that f's effects on it can be told. If any input is on the
    GPU, all are.
    """
    if not keys.is_array(leaf):
        return leaf
    if isinstance(leaf, Tensor):
        inner = Tensor(leaf.array, leaf.requires_grad)
        inner.grad = leaf.grad
        if on_gpu:
            inner.array = move(inner.array, GPU)
    elif on_gpu:
        inner = wrap(move(leaf, GPU))
    else:
        inner = wrap(leaf.copy() if isinstance(leaf, np.ndarray) else leaf)
    pairs.append((leaf, inner))
    return inner


def _outside(leaf: Any) -> Any:
    """What the caller gets for a leaf of f's result: a constant."""
    return Tensor(leaf.array, leaf.requires_grad and leaf.is_leaf) if isinstance(leaf, Tensor) else leaf


def _check_gradients(name: str, pairs: list[tuple[Any, Tensor]]) -> None:
    for leaf, inner in pairs:
        if isinstance(leaf, Tensor) and inner.grad is not leaf.grad and inner.grad is not None and inner.is_leaf:
            raise CaptureError(f"capture of {name}: expected gradients of arguments to be used inside the function, "
                               "got one that backward() has left in an argument's `grad`; return it, or call "
                               "zero_grad()")


def _write_back(pairs: list[tuple[Any, Tensor]]) -> None:
    """Assign to arguments what f has assigned to the tensors that it got in their place."""
    for leaf, inner in pairs:
        if isinstance(leaf, Tensor) and inner.version:
            leaf.array, leaf.node = inner.array, None
            leaf.version += inner.version


def _check_kept(name: str, region: Region, result: Any, pairs: list[tuple[Any, Tensor]]) -> None:
    """Raise where a tensor that f has made lives on without being a result."""
    held = [*tree.leaves(result), *[inner for _, inner in pairs]]
    for holder, attribute, _ in region.changed():
        held += [holder, *_tensors_of(getattr(holder, attribute))]
    ids = {id(x) for x in held}

    def kept() -> list[Ran]:
        found = []
        for reference, ran in region.made:
            tensor = reference()
            if tensor is not None and id(tensor) not in ids:
                found.append(ran)
        return found

    if kept():
        gc.collect()
        found = kept()
        if found:
            raise CaptureError(f"capture of {name}: expected tensors that are made inside to be returned or assigned, "
                               f"got a result of {found[0].op} that is kept elsewhere, made in {found[0].line}; a "
                               "graph overwrites it at the next call, so return it")


def _tensors_of(value: Any) -> list[Tensor]:
    return [leaf for leaf in tree.leaves(value) if isinstance(leaf, Tensor)]


def _without_values(ran: Ran) -> Ran:
    """The op without the values of constants: tensors outside may have changed since."""
    return ran._replace(given=_stripped(ran.given))


def _stripped(given: Any) -> Any:
    if isinstance(given, tuple) and given and given[0] == "array":
        return given[:3]
    return type(given)(map(_stripped, given)) if isinstance(given, (list, tuple)) else given


def _compare(name: str, first: list[Ran], second: list[Ran], when: str) -> None:
    for a, b in zip(first, second):
        if a[:2] != b[:2]:
            what = (f"{a.op} in {a.line} has other constants" if a.op == b.op else
                    f"{b.op} in {b.line} in the place of {a.op}")
            raise CaptureError(f"capture of {name}: expected the same ops at each call, got another in {when}: {what}; "
                               "pass what changes as a tensor")
    if len(first) != len(second):
        raise CaptureError(f"capture of {name}: expected {len(first)} ops at each call, got {len(second)} in {when}")
