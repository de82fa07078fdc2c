"""The tape: it records ops as they run; `gradients` walks the record backwards. It knows no op by name.

`apply` runs an op. Where an input requires a gradient, it also makes a Node, which holds the op, the values that the
gradient rules name, and for each input an edge to whatever made the input. Nodes point from outputs to inputs only, so
Python's reference counting frees a graph as soon as its last output is dropped. There is no global record: a graph
belongs to the tensors made from it, and threads meet only where they share a tensor.
"""

from __future__ import annotations

import itertools
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from . import gpu, settings
from .arguments import FOREIGN, in_our_words
from .backends import run as run_on_backend
from .capturing import region
from .device import GPU, check_one_device
from .dtypes import is_float
from .rewinding import State, state_of
from .tensor import Tensor, as_tensor, goes_along, wrap

if TYPE_CHECKING:
    from .op import Op


Watcher = Callable[[Any, tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]], None]


class _Mode(threading.local):
    enabled = True
    sketch: Sketch | None = None  # notes what a function of `remat` depends on
    bare = False  # whether nodes are made without saved values


_mode = _Mode()
_sequence = itertools.count()  # later nodes have larger numbers: descending order is a topological order


def is_grad_enabled() -> bool:
    """Whether ops on this thread are being recorded."""
    return _mode.enabled


@contextmanager
def recording(enabled: bool) -> Iterator[None]:
    """Record ops, in full, or do not; afterwards do as before."""
    before, bare = _mode.enabled, _mode.bare
    _mode.enabled, _mode.bare = enabled, False
    try:
        yield
    finally:
        _mode.enabled, _mode.bare = before, bare


def no_grad(function: Callable[..., Any] | None = None) -> Any:
    """A context manager and a decorator, with or without parentheses, within which nothing is recorded on this thread.

    >>> import convgpu as cg
    >>> x = cg.tensor(2.0, requires_grad=True)
    >>> with cg.no_grad():
    ...     y = x * x
    >>> y.requires_grad
    False
    >>> @cg.no_grad
    ... def double(x):
    ...     return 2 * x
    >>> double(x).requires_grad
    False
    """
    if function is None:
        return recording(False)
    if not callable(function):
        raise TypeError(f"no_grad: expected a function to decorate, or nothing, got {function!r:.60}")
    return recording(False)(function)


# --- the mode of a call, which can be restored


class Mode(NamedTuple):
    """How ops are recorded on a thread."""

    enabled: bool
    sketch: Sketch | None
    bare: bool


def mode() -> Mode:
    """How ops are recorded now."""
    return Mode(_mode.enabled, _mode.sketch, _mode.bare)


@contextmanager
def in_mode(then: Mode) -> Iterator[None]:
    """Record ops as at another time."""
    before = mode()
    _mode.enabled, _mode.sketch, _mode.bare = then
    try:
        yield
    finally:
        _mode.enabled, _mode.sketch, _mode.bare = before


def frame_of(node: Node) -> int:
    """The number of the Sketch that a node was recorded for, or 0."""
    return getattr(node, "frame", 0)


def next_number() -> int:
    """A place in the order of nodes after all that have been recorded, for a node that is made later."""
    return next(_sequence)


# --- sketches: what is recorded of the first run of a function of `remat`


class Sketch:
    """The edges of what runs, without saved values, and the states that it found before it changed them."""

    def __init__(self, outer: Sketch | None):
        self.outer = outer
        self.number = next(_sequence)
        self.states: list[State] = []
        self._noted: set[tuple[int, tuple[str, ...]]] = set()
        self._seen: dict[Any, Tensor] = {}

    def see(self, inputs: Sequence[Any]) -> None:
        """Remember those tensors that require a gradient and were not made by what runs."""
        for x in inputs:
            if isinstance(x, Tensor) and x.requires_grad and (x.node is None or frame_of(x.node) != self.number):
                self._seen.setdefault(x.node or x, x)

    def outside(self, outputs: Sequence[Tensor]) -> list[Tensor]:
        """The tensors with gradients that the outputs depend on, and that were not made by what ran."""
        self.see(outputs)
        stack, visited, found = [y.node or y for y in outputs], set(), []
        while stack:
            edge = stack.pop()
            if edge is None or edge in visited:
                continue
            visited.add(edge)
            if isinstance(edge, Node) and frame_of(edge) == self.number:
                stack.extend(edge.edges)
            else:
                found.append(self._seen[edge])
        return found

    def note(self, holder: Any, names: tuple[str, ...]) -> None:
        """Keep the first state."""
        key = id(holder), names
        if key not in self._noted:
            self._noted.add(key)
            self.states.append(state_of(holder, names))


@contextmanager
def sketching() -> Iterator[Sketch]:
    """Record without saved values, and note what a second run would have to find."""
    outer, bare = _mode.sketch, _mode.bare
    sketch = _mode.sketch = Sketch(outer)
    _mode.bare = True
    try:
        yield sketch
    finally:
        _mode.sketch, _mode.bare = outer, bare


def note(holder: Any, *names: str) -> None:
    """Say, before these attributes of an object change, that a second run by `remat` has to find them as they are, and
    that the change is a result of a captured function.
    """
    region.note(holder, *names)
    sketch = _mode.sketch
    while sketch is not None:
        sketch.note(holder, names)
        sketch = sketch.outer


def is_sketching() -> bool:
    """Whether a function of `remat` runs for the first time on this thread."""
    return _mode.sketch is not None


# --- nodes


class Node:
    """One recorded op: where its gradient goes, and what the rules need to compute it."""

    __slots__ = ("op", "number", "edges", "metas", "saved", "again", "frame", "__weakref__")

    frame: int  # the number of the Sketch that the node was recorded for; not set where there was none

    def __init__(self, op: Op, edges: tuple[Any, ...], metas: tuple[Any, ...], saved: dict[str, Any] | None):
        self.op = op
        self.number: float = next(_sequence)
        self.edges = edges  # for each input: the Node that made it, or the leaf Tensor itself, or None
        self.metas = metas  # for each input with an edge: its shape and dtype
        self.saved = saved  # None after a backward pass has freed the values, and in a sketch
        self.again: Again | None = None  # what is computed again for the rules or for others

    def become(self, other: Node) -> None:
        """Lead where another node leads. The output is the same, and is kept from now on."""
        self.op, self.edges, self.metas, self.saved = other.op, other.edges, other.metas, other.saved
        if self.again is not None:
            self.again.depth = 0
            self.again.recipes = () if other.again is None else other.again.recipes


_watcher: Watcher | None = None  # is called with each op, its inputs, its outputs and its static arguments


def set_watcher(watcher: Watcher | None) -> Watcher | None:
    """Let a function see every op that runs, in all threads; return the one before."""
    global _watcher
    before, _watcher = _watcher, watcher
    return before


def is_watched() -> bool:
    """Whether a function sees or times every op."""
    return _watcher is not None or _timer is not None


Compute = Callable[[Any, tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]], tuple[Any, tuple[Any, ...]]]
Timer = Callable[[Compute], Compute]
_timer: Timer | None = None  # puts something around the function that computes an op


def timed(compute: Compute) -> Compute:
    """The function that computes an op's result, with what `set_timer` puts around it."""
    return compute if _timer is None else _timer(compute)


def set_timer(timer: Timer | None) -> Timer | None:
    """Let a function be put around all that compute ops, in all threads; return the one before."""
    global _timer
    before, _timer = _timer, timer
    return before


class _Phase(threading.local):
    name = "forward"


_phase = _Phase()


def phase() -> str:
    """What this thread is doing: "forward", "backward", or "backward of" an op."""
    return _phase.name


@contextmanager
def in_phase(name: str) -> Iterator[None]:
    """Say what this thread does, where something watches or times ops."""
    before, _phase.name = _phase.name, name
    try:
        yield
    finally:
        _phase.name = before


def apply(op: Op, args: tuple[Any, ...]) -> Any:
    """Run `op` on bound arguments; record it if an input requires a gradient. Returns Tensor(s)."""
    inputs, statics = args[:len(op.inputs)], args[len(op.inputs):]
    if op.variadic:
        inputs = tuple(inputs[0])
    given, inputs = inputs, tuple([x if isinstance(x, Tensor) else _as_input(op, x) for x in inputs])
    try:
        result, inputs = timed(_computed)(op, given, inputs, statics)
    except FOREIGN as error:
        kinds = dict.fromkeys(op.inputs, "tensor") | dict.fromkeys(op._defaults, "Any")
        ours = in_our_words(op.name, dict(zip(op.arguments, args)), kinds, error)
        if ours is error:
            raise
        raise ours from error
    results = result if isinstance(result, tuple) else (result,)
    outputs = tuple([None if r is None else wrap(r) for r in results])
    if _watcher is not None:
        _watcher(op, inputs, outputs, statics)
    region.ran(op.name, inputs, statics, outputs)
    if _mode.enabled and any([isinstance(x, Tensor) and x.requires_grad for x in inputs]):
        record(op, inputs, statics, outputs)
    return outputs if isinstance(result, tuple) else outputs[0]


def _computed(op: Op, given: tuple[Any, ...], inputs: tuple[Any, ...],
              statics: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
    """The result of the op, and the inputs that it was computed from (moved to the GPU where another input is there).
    """
    arrays = [x.array if isinstance(x, Tensor) else x for x in inputs]
    cupy = sys.modules.get("cupy")
    there = [] if cupy is None else [isinstance(a, cupy.ndarray) for a in arrays if a is not None]
    if True in there:
        if False in there:  # numbers, or arrays of the CPU
            inputs = tuple([x.to(GPU) if isinstance(v, goes_along()) else x for v, x in zip(given, inputs)])
            arrays = [x.array if isinstance(x, Tensor) else x for x in inputs]
            check_one_device(op.name, arrays)
        return gpu.run(op.name, lambda: _compute_on_gpu(op, arrays, statics)), inputs
    if op.forward is None:
        return run_on_backend(op.name, arrays, statics), inputs
    if op.by_kernel is not None:
        result = op.by_kernel(*arrays, *statics)
        if result is not NotImplemented:
            return result, inputs
    return op.forward(arrays, *statics) if op.variadic else op.forward(*arrays, *statics), inputs


def _compute_on_gpu(op: Op, arrays: list[Any], statics: tuple[Any, ...]) -> Any:
    forward = op.forward
    if forward is None:
        return run_on_backend(op.name, arrays, statics)
    if op.variadic:
        return forward(arrays, *statics)
    if op.by_kernel is not None:
        result = op.by_kernel(*arrays, *statics)
        if result is not NotImplemented:
            return result
    return forward(*arrays, *statics) if op.moves else gpu.in_float32(forward, arrays, statics)


def _as_input(op: Op, x: Any) -> Any:
    """Convert x to a Tensor. None stays as it is, and so do Python numbers beside other inputs: they promote weakly."""
    if x is None or (len(op.inputs) > 1 and type(x) in (float, int, bool)):
        return x
    return as_tensor(x, op.name)


def record(op: Op, inputs: tuple[Any, ...], statics: tuple[Any, ...], outputs: tuple[Any, ...]) -> None:
    """Give the first output a node. The inputs are Tensors, None or numbers; those of a variadic op are all inputs."""
    first = outputs[0]
    if not is_float(first.array.dtype):
        return
    edges: list[Any] = []
    metas: list[Any] = []
    wanted = []
    depth, again = 0, False  # of recipes among the inputs, and whether there are any
    for x in inputs:
        on = isinstance(x, Tensor) and x.requires_grad
        wanted.append(on)
        if on:
            array, made = x.array, x.node
            edges.append(made or x)
            metas.append((array.shape, array.dtype))
            if made is not None and made.again is not None:
                depth, again = max(depth, made.again.depth), True
        else:
            edges.append(None)
            metas.append(None)
    first.requires_grad = True
    sketch = _mode.sketch
    if sketch is not None:
        sketch.see(inputs)
        if _mode.bare:
            node = first.node = Node(op, tuple(edges), tuple(metas), None)
            node.frame = sketch.number
            return
    pulls_back = op.pulled_back is not None and (op.epilogue is None or statics[op.roles[op.epilogue][1]] is not None)
    needs = op.needs(tuple(wanted), pulls_back)
    recipe = op.cheap and depth < _DEEPEST and _has_recipe(op, inputs, needs, first)
    if recipe:
        needs = op.needs_and_arguments(needs)
    saved: dict[str, Any] = {}
    for name, (role, i) in needs:
        if role == "input":
            saved[name] = [_save(x) for x in inputs] if op.variadic else _save(inputs[i])
        elif role == "static":
            saved[name] = statics[i]
        elif not (recipe and i == 0):  # save the bare array: its Tensor owns the node, and saving it would make a cycle
            saved[name] = None if outputs[i] is None else outputs[i].array
    node = first.node = Node(op, tuple(edges), tuple(metas), saved)
    if recipe or again:
        node.again = Again(depth + 1 if recipe else 0, weakref.ref(first) if recipe else None, _recipes(node, needs),
                           settings.in_force() if recipe else None)
    if sketch is not None:
        node.frame = sketch.number


def record_part(op: Op, hub: Tensor, place: int, y: Tensor) -> None:
    """Give a result of the hub, which was recorded just before, a node of an op that joins (`Op.joins`)."""
    if not is_float(y.array.dtype):
        return
    sketch = _mode.sketch
    y.requires_grad = True
    node = y.node = Node(op, (hub.node,), _NO_META, None if sketch is not None and _mode.bare else {"place": place})
    if sketch is not None:
        node.frame = sketch.number


_NO_META = (None,)


def _save(x: Any) -> tuple[Any, int | None]:
    """An input with the number of its version when the op ran, or with None where the input is no Tensor.

    The result of an op that is cheap to compute again is not kept: its recipe takes its place.
    """
    if not isinstance(x, Tensor):
        return x, None
    node = x.node
    if node is None or node.again is None or not node.again.depth or node.saved is None:
        return x, x.version
    return Recipe(node, node.op, node.saved), None


# --- values that are computed again


class Recipe(NamedTuple):
    """How the first output of a recorded op is computed again: its node, and what the node had saved.

    A backward pass through the node frees the node's own reference to the saved values; consumers keep theirs.
    """

    node: Node
    op: Op
    saved: dict[str, Any]


class Again:
    """What is computed again around a node.

    depth: above 0 the node's saved values suffice to compute its output again, after as many recipes in a row.
    output: then a weak reference to the output.
    recipes: the nodes whose outputs are computed again for this node's rules.
    settings: those that the output was computed with, where the depth is above 0.
    """

    __slots__ = ("depth", "output", "recipes", "settings")

    def __init__(self, depth: int, output: Any, recipes: tuple[Node, ...], then: settings.Settings | None):
        self.depth, self.output, self.recipes, self.settings = depth, output, recipes, then


Values = dict["Node", Tensor]  # what one backward pass has computed again and still needs

_SMALL = 1 << 20  # bytes: keeping less than this costs less than a further launch
_DEEPEST = 4  # recipes that lead to each other: a chain of more ops keeps every fifth result


def _has_recipe(op: Op, inputs: tuple[Any, ...], needs: list[tuple[str, tuple[str, int]]], y: Tensor) -> bool:
    """Whether y should be computed again: it is large, and all that it is computed from is kept in any case.

    That is so for the inputs that the op's own gradient rules name, for results that are computed again themselves, and
    for numbers.
    """
    if y.array.nbytes < _SMALL:
        return False
    named = {i for _, (role, i) in needs if role == "input"}
    return all([op.variadic and bool(named) or i in named or not isinstance(x, Tensor) or type(_save(x)[0]) is Recipe
                for i, x in enumerate(inputs)])


def _recipes(node: Node, needs: list[tuple[str, tuple[str, int]]]) -> tuple[Node, ...]:
    """The nodes whose outputs have to be computed again for the gradient rules of `node`."""
    assert node.saved is not None
    own = [node] if any([name not in node.saved for name, _ in needs]) else []
    kept = [v for name in node.op.inputs if name in node.saved for v in (
        node.saved[name] if node.op.variadic else [node.saved[name]])]
    return (*own, *[x.node for x, _ in kept if type(x) is Recipe])


def _computed_again(recipe: Recipe, values: Values) -> Tensor:
    """The value of a recipe: the tensor itself if somebody still holds it, else one with the same bits and node."""
    node = recipe.node
    y = values.get(node)
    if y is None:
        assert node.again is not None
        y = node.again.output()
    if y is None or y.node is not node:  # the tensor is gone, or `assign` has given it other values
        op = recipe.op
        arguments = [restored(op, node, name, recipe.saved, values) for name in op.arguments]
        inputs = tuple(arguments[0]) if op.variadic else tuple(arguments[:len(op.inputs)])
        assert node.again is not None and node.again.settings is not None
        with recording(False), settings.as_then(node.again.settings):
            result, _ = _computed(op, inputs, inputs, tuple(arguments[len(op.inputs):]))
        y = wrap(result[0] if isinstance(result, tuple) else result)
        y.node, y.requires_grad = node, True
        values[node] = y
    return y


def restored(op: Op, node: Node, name: str, saved: dict[str, Any], values: Values) -> Any:
    """A saved value that a gradient rule of the op names, as a Tensor that leads on to whatever made it."""
    role, i = op.roles[name]
    if name not in saved:  # the output of an op that is cheap to compute again
        return _computed_again(Recipe(node, op, saved), values)
    value = saved[name]
    if role == "static" or value is None:
        return value
    if role == "input":
        return [_input(op, name, v, values) for v in value] if op.variadic else _input(op, name, value, values)
    y = wrap(value)
    if i == 0:
        y.node, y.requires_grad = node, True
    return y


def _input(op: Op, name: str, saved: tuple[Any, int | None], values: Values) -> Any:
    """A saved input; raise an error if its values have changed since the op used them."""
    x, version = saved
    if type(x) is Recipe:
        return _computed_again(x, values)
    if version is not None and x.version != version:
        raise RuntimeError(
            f"backward through {op.name}: its input {name!r} (shape {x.shape}) was changed by assign() after the op "
            f"had used it (version {version}, now {x.version}); call backward before assign, or give the op a copy")
    return x
