"""remat: a function whose forward pass keeps nothing for the backward pass, which runs the function again.

The first run is recorded without saved values (`autograd.Sketch`): what is left of it are the edges, which tell on what
tensors outside of the function the results depend. The results hang from one node of the op `remat`, whose inputs are
those tensors and the arguments, and whose gradient rule runs the function again, this time recorded in full, and walks
back through it. A node carries the gradient of one tensor; so each result has a node of its own, and their gradients
travel on to the function's node in a Bundle.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import autograd, gradients, settings, tree
from .arguments import function
from .op import Op
from .ops.elementwise import positive, unrounded
from .ops.widening import note_losses
from .rewinding import State, generator_in_use, rewound
from .tensor import Tensor


def remat(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function that computes as f, but keeps only its arguments for the backward pass, which runs f a second time.

    Memory for gradients becomes that of the arguments, for the price of one more forward pass: the results between the
    layers of f are not kept.

    Args:
        f: takes and returns Tensors, or nested dicts, lists and tuples of Tensors and anything else. It may use other
            tensors that require gradients. The second run finds the same settings (precision, backend, limit of
            workspace), random numbers and variables: to its thread, generators that convgpu's functions use or that f
            is given, and tensors that f changes by `assign`, are what they were at the first run; other threads find
            them as they are, and what the second run does to them is forgotten. Other effects of f happen twice.

    Returns:
        The function, which has the gradients of f, of any order. Within f, `value_and_grad` works, and `grad` does not.

    >>> import convgpu as cg
    >>> block = cg.remat(lambda x, w: cg.relu(cg.relu(x @ w) @ w))
    >>> w = cg.tensor([[0.5, 1.0], [2.0, 0.0]], requires_grad=True)
    >>> block([[1.0, 1.0]], w).sum().backward(); w.grad
    Tensor([[4. , 4.5],
            [2.5, 3. ]], dtype=float32)
    """
    function("remat", f)

    @functools.wraps(f, updated=())
    def rematerialised(*args: Any, **options: Any) -> Any:
        return _recorded(f, args, options) if autograd.is_grad_enabled() else f(*args, **options)

    return rematerialised


_NOTHING = np.zeros(0, np.float32)


class Bundle(Tensor):
    """The gradients of some of a function's results, by their places; the sum of two has the sums of the gradients."""

    __slots__ = ("parts",)

    def __init__(self, parts: dict[int, Tensor]):
        super().__init__(_NOTHING)
        self.parts = parts

    @staticmethod
    def sum_of(bundles: Sequence[Any]) -> Bundle:
        """The sum of bundles, part by part."""
        parts: dict[int, Tensor] = {}
        for bundle in bundles:
            for i, g in bundle.parts.items():
                parts[i] = parts[i] + g if i in parts else g
        return Bundle(parts)


_TENSOR = object()  # takes the place of each tensor among the arguments that are kept


class _Call(NamedTuple):
    """A call that can be made again: the function, its arguments without tensors, and what it had found."""

    function: Callable[..., Any]
    arguments: Any  # positional arguments and options, with _TENSOR in the place of each tensor
    tensors: int  # the number of these tensors
    states: list[State]
    then: settings.Settings

    def __call__(self, tensors: Sequence[Tensor]) -> Any:
        following = iter(tensors)
        args, options = tree.map(lambda a: next(following) if a is _TENSOR else generator_in_use(a) if isinstance(
            a, np.random.Generator) else a, self.arguments)
        with settings.as_then(self.then):
            return self.function(*args, **options)


def _recorded(f: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    leaves = tree.leaves((args, options))
    given = [a for a in leaves if isinstance(a, Tensor)]
    arguments = tree.map(lambda a: _TENSOR if isinstance(a, Tensor) else a, (args, options))
    inside = [_copy(x) for x in given]
    with autograd.sketching() as sketch:
        note_losses()
        for generator in leaves:
            if isinstance(generator, np.random.Generator):
                autograd.note(generator.bit_generator, "state")
        call = _Call(f, arguments, len(given), sketch.states, settings.in_force())
        result = call(inside)
    found = sketch.outside([y for y in tree.leaves(result) if _carries_gradient(y)])
    reached, copies = set(found), set(inside)  # sets, because `in` asks lists for equal elements
    inputs = [x if x is copy or copy in reached else _cast_like(x, x.detach()) for x, copy in zip(given, inside)]
    outside = [x for x in found if x not in copies and x.requires_grad]
    hub = Bundle({})
    if any([x.requires_grad for x in inputs]) or outside:
        autograd.record(_remat, (*inputs, *outside), (call,), (hub,))
    places = iter(range(len(tree.leaves(result))))
    return tree.map(lambda y: _result(y, hub, next(places)), result)


def _carries_gradient(y: Any) -> bool:
    return isinstance(y, Tensor) and y.requires_grad


def _copy(x: Tensor) -> Tensor:
    """A leaf with the values of x, so that paths from x to the results around the arguments do not count."""
    return _cast_like(x, x.detach().requires_grad_()) if x.requires_grad else x


def _cast_like(x: Tensor, copy: Tensor) -> Tensor:
    """The copy of x, with what `convgpu.mixed` has cast x from. That is a tensor outside of the function."""
    source = unrounded(x)
    if source is not x:
        copy.source = source  # type: ignore[attr-defined] # as in convgpu/mixed.py
    return copy


def _result(y: Any, hub: Tensor, place: int) -> Any:
    if not _carries_gradient(y):
        return y
    result = Tensor(y.array)
    if hub.requires_grad:
        autograd.record_part(_remat_result, hub, place, result)
    return result


def _gradients(g: Tensor, wanted: Sequence[bool], xs: list[Tensor], call: _Call) -> list[Tensor | None]:
    again = autograd.is_grad_enabled()  # whether these gradients are recorded themselves
    assert isinstance(g, Bundle)
    inside = [x if not x.requires_grad else _copy(x) if w and not again
              else _cast_like(x, positive(x) if w else x.detach()) for x, w in zip(xs[:call.tensors], wanted)]
    with rewound(call.states), autograd.recording(True):
        leaves = tree.leaves(call(inside))
        pairs = [(leaves[i], d) for i, d in g.parts.items() if leaves[i].requires_grad]
        targets = [x for x, w in zip([*inside, *xs[call.tensors:]], wanted) if w]
        found = iter(gradients.between([y for y, _ in pairs], [d for _, d in pairs], targets, again))
    return [next(found) if w else None for w in wanted]


def _never_run(*arguments: Any) -> Any:
    raise AssertionError("remat: expected nodes that are recorded beside the results of a function, got a call")


_remat = Op("remat", "*xs; call -> hub", _never_run).vjp_jointly(_gradients)
_remat_result = Op("remat_result", "hub; place -> y", _never_run).vjp(hub=lambda g, place: Bundle({place: g}))
_remat_result.joins = True
