"""Gradients: the walk back along the tape that `autograd` recorded, and the functions that users call for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from . import autograd, deferred, tree
from .arguments import function
from .capturing import region
from .device import run_there
from .dtypes import is_float, is_half
from .tensor import Tensor, as_tensor, wrap

if TYPE_CHECKING:
    from .autograd import Node, Values
    from .op import Op

_accumulate_lock = threading.Lock()


class _Depth(threading.local):
    """How many functions that differentiate the user's function run on this thread, one within the other."""

    value = 0


_depth = _Depth()


def is_differentiating() -> bool:
    """Whether `value_and_grad` or another function that differentiates calls the user's function on this thread."""
    return _depth.value > 0


def _input_gradients(node: Node, g: Tensor, wanted: Sequence[bool], again: Values,
                     sums: dict[Any, _Sum]) -> list[Tensor | None]:
    """Run the gradient rules of one node; each input gets its gradient or None.

    A rule that can add its gradient to one that is there already takes that one out of the sums.
    """
    if node.saved is None and autograd.is_sketching():
        raise RuntimeError(f"backward through {node.op.name}: expected value_and_grad for gradients within a function "
                           "of remat, whose first run keeps no graph; or the graph was freed by an earlier backward")
    if node.saved is None:
        raise RuntimeError(f"backward through {node.op.name}: the graph was freed by an earlier backward; "
                           "pass retain_graph=True to that one, or run the forward pass again")
    op = node.op
    if op.joins:
        return [op.rules["hub"].function(g, node.saved["place"])]
    g, values = through_epilogue(node, g, wanted, again)
    if op.variadic or op.joint is not None:
        return _joint_gradients(node, g, wanted, values)
    grads: list[Tensor | None] = []
    for name, meta, edge, w in zip(op.inputs, node.metas, node.edges, wanted, strict=True):
        if not w:
            grads.append(None)
            continue
        if name in op.onto and edge in sums and [part.dtype for part in sums[edge].parts] == [meta[1]]:
            rule = op.onto[name]
            total = rule.function(g, sums[edge].parts[0], *[values[n] for n in rule.needs])
            if total is not None:
                del sums[edge]
                grads.append(total)
                continue
        rule = _rule_of(op, name)
        grads.append(_fit(op, rule.function(g, *[values[n] for n in rule.needs]), meta))
    return grads


def through_epilogue(node: Node, g: Tensor, wanted: Sequence[bool], again: Values) -> tuple[Tensor, dict[str, Any]]:
    """The gradient before the epilogue of a node's op (bias, activation), and the values that the rules name."""
    op, saved = node.op, node.saved or {}
    pulled_back = None if op.epilogue is not None and saved.get(op.epilogue) is None else op.pulled_back
    needs = op.needs(tuple(wanted), pulled_back is not None)
    values = {name: autograd.restored(op, node, name, saved, again) for name, _ in needs}
    return g if pulled_back is None else pulled_back.function(g, *[values[n] for n in pulled_back.needs]), values


def _watched_gradients(node: Node, *rest: Any) -> list[Tensor | None]:
    """The same; what `debug_nans` finds names the op whose gradient is computed."""
    try:
        with autograd.in_phase(f"backward of {node.op.name}"):
            return _input_gradients(node, *rest)
    except FloatingPointError as error:
        raise FloatingPointError(f"{node.op.name}.backward: {error}") from error


def _joint_gradients(node: Node, g: Tensor, wanted: Sequence[bool], values: dict[str, Any]) -> list[Tensor | None]:
    """The gradients of all inputs from one rule, which is an op's joint rule or that of a sequence of inputs."""
    op = node.op
    if op.joint is not None:
        returned = op.joint.function(g, tuple(wanted), *[values[n] for n in op.joint.needs])
    else:
        rule = _rule_of(op, op.inputs[0])
        returned = rule.function(g, *[values[n] for n in rule.needs])
    grads: list[Any] = list(returned)
    if len(grads) != len(wanted):
        raise AssertionError(f"the gradient rule of {op.name} returned {len(grads)} gradients for {len(wanted)} inputs")
    for i, (d, w) in enumerate(zip(grads, wanted)):
        if w and d is None and not op.sparse:
            raise _no_gradient(op, op.inputs[0 if op.variadic else i])
    return [_fit(op, d, meta) if w and d is not None else None for d, meta, w in zip(grads, node.metas, wanted)]


def _rule_of(op: Op, name: str) -> Any:
    rule = op.rules.get(name)
    if rule is None:
        raise _no_gradient(op, name)
    return rule


def _no_gradient(op: Op, name: str) -> NotImplementedError:
    return NotImplementedError(f"{op.name}: no gradient is defined with respect to {name!r}; "
                               "detach() the input if none should flow")


def _fit(op: Op, g: Any, meta: tuple[tuple[int, ...], np.dtype]) -> Tensor:
    """Give the gradient its input's shape and dtype: sum over broadcast axes, and convert the dtype back."""
    g = as_tensor(g, op.name)
    shape, dtype = meta
    if g.shape != shape:
        if not op.broadcasts:
            raise AssertionError(f"the gradient rule of {op.name} returned shape {g.shape} for an input of {shape}")
        extra = g.ndim - len(shape)
        axes = tuple(range(extra)) + tuple(i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1)
        g = g.sum(axis=axes).reshape(shape) if axes else g
        if g.shape != shape:  # the rule gave a value smaller than the input, for instance a constant
            g = g.broadcast_to(shape)
    return g if g.dtype == dtype else _rounded(g, dtype)


@np.errstate(over="ignore")
def _rounded(g: Tensor, dtype: np.dtype) -> Tensor:
    """A gradient in a narrower dtype. One beyond it is Inf without a warning: a loss scale skips the step for it."""
    return g.astype(dtype)


def _walk(outputs: Sequence[Tensor], seeds: Sequence[Tensor], targets: Sequence[Any] | None,
          create_graph: bool, retain_graph: bool, ends: frozenset[Any] = frozenset()) -> dict[Any, Tensor]:
    """Gradients by node or leaf, computed only along paths from the outputs to the targets (None: to every leaf).

    The walk does not go beyond the nodes among `ends`.
    """
    order = reachable(outputs, ends)
    leads: dict[Any, bool] = dict.fromkeys(ends, True)
    goal = None if targets is None else set(targets)
    for node in order:  # nodes come in ascending order, so inputs come before outputs
        leads[node] = goal is None or node in goal or any(_wanted(e, leads, goal) for e in node.edges)
    sums: dict[Any, _Sum] = {}
    found: dict[Any, Tensor] = {}
    again: Values = {}
    last_users = {made: node for node in reversed(order) if node.again is not None for made in node.again.recipes}

    def send(edge: Any, g: Tensor) -> None:
        if edge in sums:
            sums[edge].add(g)
        else:
            sums[edge] = _Sum(g)

    with autograd.recording(create_graph), autograd.in_phase("backward"):
        for y, seed in zip(outputs, seeds):
            send(y.node or y, seed)
        for node in reversed(order):
            if node in sums and leads[node]:
                g = sums.pop(node).total()
                if goal is not None and node in goal:
                    found[node] = g
                wanted = [_wanted(e, leads, goal) for e in node.edges]
                if any(wanted):
                    run = _watched_gradients if autograd.is_watched() else _input_gradients
                    for edge, d in zip(node.edges, run(node, g, wanted, again, sums)):
                        if d is not None:
                            send(edge, d)
                    if not retain_graph:
                        node.saved = None
            if node.again is not None:
                for made in node.again.recipes:
                    if last_users[made] is node:
                        again.pop(made, None)
        found.update({edge: s.total() for edge, s in sums.items()
                      if edge in ends or not isinstance(edge, autograd.Node)})
    return found


_MANY = 8  # gradients that wait at one tensor; more are added on the way, so that they do not fill the memory


class _Sum:
    """The sum of the gradients that arrive at one tensor, in the order of their arrival.

    They are added all at once. Sums of half types are taken in float32 and rounded once, however many meet.
    """

    __slots__ = ("parts", "dtype")

    def __init__(self, g: Tensor):
        self.parts, self.dtype = [g], g.dtype

    def add(self, g: Tensor) -> None:
        self.parts.append(g)
        if len(self.parts) == _MANY and type(g) is Tensor:  # and no Bundle, which keeps its parts in any case
            self.parts = [_added([p.astype(np.float32) for p in self.parts] if is_half(self.dtype) else self.parts)]

    def total(self) -> Tensor:
        if self.parts[0].dtype != self.dtype:  # many gradients of a half type
            return _rounded(_added([p.astype(np.float32) for p in self.parts]), self.dtype)
        return _added(self.parts)


def _added(gradients: list[Tensor]) -> Tensor:
    """The sum, by one kernel."""
    if len(gradients) == 1:
        return gradients[0]
    first: Any = gradients[0]
    return add_n(gradients) if type(first) is Tensor else first.sum_of(gradients)  # the latter for Bundles


def reachable(outputs: Sequence[Tensor], ends: frozenset[Any] = frozenset()) -> list[Node]:
    """All nodes behind the outputs and before the ends, in the order in which they were recorded."""
    seen: set[Node] = set()
    stack = [y.node for y in outputs if y.node is not None]
    while stack:
        node = stack.pop()
        if node not in seen and node not in ends:
            seen.add(node)
            stack.extend(e for e in node.edges if isinstance(e, autograd.Node) and e not in seen)
    return sorted(seen, key=lambda node: node.number)


def _wanted(edge: Any, leads: dict[Any, bool], goal: set[Any] | None) -> bool:
    if edge is None:
        return False
    if isinstance(edge, autograd.Node):
        return leads[edge]
    return goal is None or edge in goal


def _seed(y: Tensor, gradient: Any, caller: str) -> Tensor:
    if gradient is None:
        if y.size != 1:
            raise RuntimeError(f"{caller}: expected a scalar or an explicit gradient, got shape {y.shape}; "
                               "reduce it first, for instance with .sum() or .mean()")
        return wrap(run_there(caller, y.array, lambda: np.ones_like(y.array)))
    g = as_tensor(gradient, caller)
    if g.shape != y.shape:
        raise ValueError(f"{caller}: expected a gradient of shape {y.shape}, got {g.shape}")
    return g if g.dtype == y.dtype else g.astype(y.dtype)


def backward(y: Tensor, gradient: Any = None, retain_graph: bool = False) -> None:
    """Add to the `.grad` of every leaf behind `y` the gradient of <gradient, y> (gradient: 1 for a scalar y)."""
    if not y.requires_grad:
        raise RuntimeError("backward: this tensor does not depend on any tensor with requires_grad=True")
    grads = _walk([y], [_seed(y, gradient, "backward")], None, False, retain_graph)
    with _accumulate_lock:
        for leaf, g in grads.items():
            region.note(leaf, "grad")
            leaf.grad = g.detach() if leaf.grad is None else leaf.grad + g.detach()


def grad(outputs: Any, inputs: Any, grad_outputs: Any = None, create_graph: bool = False,
         retain_graph: bool | None = None) -> Any:
    """Gradients of the outputs with respect to the inputs, returned and not accumulated.

    Args:
        outputs: a Tensor or a sequence of Tensors.
        inputs: a Tensor or a sequence of Tensors, which are leaves or intermediate results.
        grad_outputs: the weight of each output; may be omitted for scalars.
        create_graph: record the gradient itself, so that it can be differentiated again.
        retain_graph: keep the graph for another pass; the default is the value of `create_graph`.

    Returns:
        A Tensor where `inputs` is one, else a list; a gradient is zero where the outputs do not depend on the input,
        constants among them.

    >>> import convgpu as cg
    >>> x = cg.tensor(3.0, requires_grad=True)
    >>> first = cg.grad(x**3, x, create_graph=True)
    >>> first.item(), cg.grad(first, x).item()
    (27.0, 18.0)
    """
    ys = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    xs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    gs = [None] * len(ys) if grad_outputs is None else (
        [grad_outputs] if isinstance(outputs, Tensor) else list(grad_outputs))
    if len(gs) != len(ys):
        raise ValueError(f"grad: expected one grad_output for each of {len(ys)} outputs, got {len(gs)}")
    for x in xs:
        if not isinstance(x, Tensor) or not x.requires_grad:
            raise RuntimeError(f"grad: expected inputs that are Tensors with requires_grad=True, got {x!r}")
    for x in xs:
        deferred.put_back(x)
    seeds = [_seed(y, g, "grad") for y, g in zip(ys, gs)]
    retain = create_graph if retain_graph is None else retain_graph
    walked = [(y, seed) for y, seed in zip(ys, seeds) if y.requires_grad]
    found = _walk([y for y, _ in walked], [seed for _, seed in walked], [x.node or x for x in xs], create_graph, retain)
    result = [found[key] if (key := x.node or x) in found else _zeros_like(x) for x in xs]
    return result[0] if isinstance(inputs, Tensor) else result


def between(outputs: Sequence[Tensor], seeds: Sequence[Tensor], inputs: Sequence[Tensor],
            create_graph: bool) -> list[Tensor]:
    """Gradients of what was computed from the inputs, with each input taken as independent of the others."""
    keys = [x.node or x for x in inputs]
    found = _walk(outputs, seeds, keys, create_graph, create_graph, frozenset(keys))
    return [found[key] if key in found else _zeros_like(x) for key, x in zip(keys, inputs)]


def _zeros_like(x: Tensor) -> Tensor:
    return wrap(run_there("grad", x.array, lambda: np.zeros_like(x.array)))


def value_and_grad(f: Callable[..., Any], has_aux: bool = False,
                   argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """A function that returns f's value and its gradient with respect to the first argument.

    Args:
        f: returns a scalar Tensor; with `has_aux`, a pair (scalar, anything else).
        has_aux: the returned function then gives ((value, aux), gradient).
        argnums: which positional argument to differentiate by; for several, the gradient is a tuple.

    The argument may be a Tensor or nested dicts, lists and tuples of them; the gradient has the same structure.
    Value and gradient are constants unless something outside f is being differentiated. Within another
    `value_and_grad`, or on tensors that require a gradient, both are recorded, so that a penalty on the gradient can
    itself be differentiated.

    Raises:
        TypeError: f returns something else; a leaf of the argument is not floating. ValueError: an argnums of no
        argument, or twice the same.

    >>> import convgpu as cg
    >>> loss, g = cg.value_and_grad(lambda p: (p["w"] ** 2).sum())({"w": cg.tensor([1.0, 2.0])})
    >>> loss.item(), g["w"].numpy().tolist()
    (5.0, [2.0, 4.0])
    >>> def penalised(x):
    ...     value, g = cg.value_and_grad(lambda x: x**3)(x)
    ...     return value + g**2
    >>> cg.value_and_grad(penalised)(cg.tensor(2.0))[1].item()
    300.0
    """
    function("value_and_grad", f)
    chosen = numbers(argnums, "value_and_grad")

    def value_and_gradient(*args: Any, **options: Any) -> Any:
        with differentiated("value_and_grad", args, chosen) as (given, leaves, traced):
            result = f(*given, **options)
            value, aux = _value_and_aux(result, has_aux)
            inputs = tree.leaves(leaves)
            outside = traced and leads_outside([value], inputs)
            grads = iter(grad(value, inputs, create_graph=outside))
        gradient = tree.map(lambda p: next(grads), leaves)
        value = value if outside else value.detach()
        return ((value, aux) if has_aux else value), gradient if isinstance(argnums, Sequence) else gradient[0]

    return value_and_gradient


def numbers(argnums: int | Sequence[int], caller: str) -> tuple[int, ...]:
    """The numbers of the arguments to differentiate by."""
    chosen = tuple(argnums) if isinstance(argnums, Sequence) else (argnums,)
    if not chosen or not all(type(n) is int and n >= 0 for n in chosen):
        raise TypeError(f"{caller}: expected argnums to be a number from 0 on or several, got {argnums!r:.60}")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"{caller}: expected argnums without repetition, got {argnums!r:.60}")
    return chosen


@contextmanager
def differentiated(caller: str, args: Sequence[Any],
                   chosen: Sequence[int]) -> Iterator[tuple[list[Any], tuple[Any, ...], bool]]:
    """A context that records. It gives arguments for a function, those of them to differentiate by, as trees of leaves,
    and whether an outer tape may record the results.
    """
    if max(chosen) >= len(args):
        raise ValueError(f"{caller}: expected an argument number {max(chosen)} to differentiate by, got {len(args)} "
                         f"positional argument{'s' if len(args) != 1 else ''}")
    traced, given = autograd.is_grad_enabled(), list(args)
    for n in chosen:
        given[n] = tree.map(lambda p: _argument(caller, as_tensor(p, caller), traced), args[n])
    leaves = tuple(given[n] for n in chosen)
    _depth.value += 1
    try:
        with autograd.recording(True):
            yield given, leaves, traced
    finally:
        _depth.value -= 1
    for x in tree.leaves(leaves):
        if x.is_leaf:
            x.requires_grad = False  # from now on an outer tape sees x as a constant


def _argument(caller: str, p: Tensor, traced: bool) -> Tensor:
    """A copy of p to pass to f, so that paths from p to f's value around this argument do not count."""
    if not is_float(p.dtype):
        raise TypeError(f"{caller}: expected floating tensors to differentiate by, got {p.dtype}")
    return _identity(p) if traced and p.requires_grad else p.detach().requires_grad_()


def _identity(x: Tensor) -> Tensor:
    from .ops.elementwise import positive  # imported late: the ops import this module

    return positive(x)


def leads_outside(ys: Sequence[Tensor], inputs: Sequence[Tensor]) -> bool:
    """Whether ys also depend on tensors with `requires_grad` that are not among the inputs."""
    own = {id(x) for x in inputs}
    return any(isinstance(e, Tensor) and e.requires_grad and id(e) not in own
               for node in reachable([y for y in ys if y.requires_grad]) for e in node.edges)


def _value_and_aux(result: Any, has_aux: bool) -> tuple[Tensor, Any]:
    """Split what f returned into the value and the auxiliary result."""
    if has_aux and not (isinstance(result, (tuple, list)) and len(result) == 2):
        raise TypeError("value_and_grad: expected f to return a pair (scalar Tensor, aux) because has_aux=True, got "
                        f"{type(result).__name__}")
    value, aux = result if has_aux else (result, None)
    if not isinstance(value, Tensor):
        hint = "; a pair (scalar, aux) needs has_aux=True" if isinstance(value, tuple) else ""
        raise TypeError(f"value_and_grad: expected f to return a scalar Tensor, got {type(value).__name__}{hint}")
    return value, aux


from .ops.add_n import op as add_n  # noqa: E402 - a cycle: ops are functions of Tensors, whose methods walk back
