"""Deferred results: tensors whose last kernel runs when it is needed, so that what follows can be computed with it.

    y = defer(x, compute, inputs)       y has the shape and dtype of x, and compute(None, None) has not run yet
    cg.relu(y + shortcut)               compute(shortcut, "relu"): one kernel, and the sum itself is never made
    y.numpy(), y * 2, y.node            compute(None, None) runs, once

Whoever asks a Deferred for its array or its node gets them computed, in the recording mode and with the settings and
the values of the inputs at the time of the call that made it. From then on it is a Tensor like any other.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from . import autograd, settings
from .rewinding import State, rewound
from .tensor import Tensor

Compute = Callable[[Tensor | None, str | None], Tensor]  # of a residual, which is added, and an activation by name
Normed = Callable[..., Tensor]  # of mean, var, scale, offset, epsilon, residual, activation: computes both together

_FOUND = ("array", "node", "version", "requires_grad")  # what is noted of an input at the time of the call


def _has_changed(state: State) -> bool:
    x = state.holder
    return x.version != state.values["version"] or x.requires_grad != state.values["requires_grad"]


class _Later:
    """What a Deferred is computed from, and the circumstances of the call that made it."""

    def __init__(self, compute: Compute, inputs: Sequence[Tensor | None], joins: bool = True,
                 origin: Deferred | None = None, residual: Tensor | None = None, normed: Normed | None = None):
        self.compute, self.joins = compute, joins  # joins: what follows may be computed together with it
        self.normed = normed  # for a normalisation that follows, with given statistics
        self.result: Any = None  # the array, once it has been computed
        self.origin = None if origin is None else weakref.ref(origin)  # what the residual was added to
        self.residual, self.lock, self.number = residual, threading.Lock(), autograd.next_number()
        self.inputs = tuple([x for x in (*inputs, residual) if x is not None])
        self.found = [(x.array, x.node, x.version, x.requires_grad) for x in self.inputs]
        self.mode, self.settings = autograd.mode(), settings.in_force()

    def is_now(self) -> bool:
        """Whether computing now is computing as at the time of the call."""
        return self.settings == settings.in_force() and self.mode == autograd.mode() and not self.changed()

    def changed(self) -> list[State]:
        """The inputs that `assign` or `requires_grad_` has changed since."""
        return [State(x, dict(zip(_FOUND, found))) for x, found in zip(self.inputs, self.found)
                if x.version != found[2] or x.requires_grad != found[3]]

    def run(self) -> Tensor:
        """The tensor without an activation, computed as at the time of the call."""
        if self.is_now():
            return self.compute(self.residual, None)
        with autograd.in_mode(self.mode), rewound(self.changed()), settings.as_then(self.settings):
            return self.compute(self.residual, None)


class Deferred(Tensor):
    """A tensor whose slots `array` and `node` are not set yet; asking for them computes both and makes it a Tensor."""

    __slots__ = ()

    def __init__(self, like: Any, later: _Later):
        self.requires_grad = later.mode.enabled and any([x.requires_grad for x in later.inputs])
        self.grad = None
        self.version = 0
        self._known = like.shape, like.dtype, like.device, not self.requires_grad
        self._later = later

    shape = property(lambda self: self._known[0])
    dtype = property(lambda self: self._known[1])
    ndim = property(lambda self: len(self._known[0]))
    size = property(lambda self: math.prod(self._known[0]))
    nbytes = property(lambda self: math.prod(self._known[0]) * self._known[1].itemsize)
    device = property(lambda self: self._known[2])
    is_leaf = property(lambda self: self._known[3])

    def __getattr__(self, name: str) -> Any:
        if name in ("array", "node"):
            _settle(self)
            return getattr(self, name)
        return super().__getattr__(name)

    def detach(self) -> Tensor:
        """The same values, with no history and no gradient, as deferred as this tensor."""
        later: _Later | None = self.__dict__.get("_later")
        if later is None:  # another thread has computed this tensor
            return Tensor(self.array)

        def computed(residual: Tensor | None, activation: str | None) -> Tensor:
            _settle(self)
            return Tensor(later.result)  # and not what `assign` may have made of this tensor

        with autograd.recording(False):
            return Deferred(self, _Later(computed, (), joins=False))

    def assign(self, value: Any) -> Tensor:
        """As Tensor's."""
        _settle(self)
        return self.assign(value)


def defer(like: Any, compute: Compute, inputs: Sequence[Tensor | None], normed: Normed | None = None) -> Tensor:
    """A tensor of the shape, dtype and device of `like` that is computed when it is needed.

    Args:
        compute: with a residual, which is added to the result, or None, and with one of ACTIVATIONS, which is applied
            last, or None. Without both it runs one op, and returns that op's result.
        inputs: the tensors that it computes from; None is left out.
        normed: computes it together with a normalisation that follows, for results with which nothing else is computed
            together.
    """
    return Deferred(like, _Later(compute, inputs, normed is None, normed=normed))


def normed(x: Tensor) -> tuple[Normed, tuple[Tensor, ...]] | None:
    """How x is computed together with a normalisation that follows, and from which tensors; None where it is not."""
    later: _Later | None = x.__dict__.get("_later") if type(x) is Deferred else None
    return None if later is None or later.normed is None or not later.is_now() else (later.normed, later.inputs)


def added(x: Deferred, residual: Any) -> Tensor | None:
    """x + residual, deferred again; None where the two are not computed together."""
    later: _Later | None = x.__dict__.get("_later")
    if (later is None or not later.joins or later.residual is not None or residual is x
            or not isinstance(residual, Tensor) or residual.shape != x.shape or residual.dtype != x.dtype
            or residual.device != x.device or not later.is_now()):
        return None
    return Deferred(x, _Later(later.compute, later.inputs, True, x, residual))


def activated(x: Tensor, activation: str) -> Tensor | None:
    """The activation of x, one of ACTIVATIONS, where x is deferred and both are computed together; else None."""
    later: _Later | None = x.__dict__.get("_later") if type(x) is Deferred else None
    if later is None or not later.joins or not later.is_now():
        return None
    y = later.compute(later.residual, activation)
    _remember(x, later, y, activation)
    return y


def _settle(x: Deferred) -> None:
    """Compute x, unless another thread has just done so, and make it a Tensor."""
    later: _Later | None = x.__dict__.get("_later")
    if later is None:  # another thread has computed x
        return
    with later.lock:
        if type(x) is Tensor:
            return
        y = later.run()
        if y.node is not None:
            y.node.number = later.number  # as if it had been recorded at the time of the call
            if y.node.again is not None and y.node.again.output is not None:
                y.node.again.output = weakref.ref(x)
        x.requires_grad = y.requires_grad or x.requires_grad and x._known[3]
        later.result = y.array
        x.array, x.node = y.array, y.node
        x.__class__ = Tensor  # type: ignore[assignment]
        del x._later
    _remember(x, later, x, None)


# --- gradients with respect to a tensor that was left out


class _LeftOut(NamedTuple):
    """A result that was computed together with a tensor: its node, and what had been done with the tensor."""

    node: weakref.ref[Any]
    residual: State | None  # as it was at the time of the call
    activation: str | None
    sum: weakref.ref[Any] | None  # the sum of both, if the activation was that of a sum


def _remember(x: Tensor, later: _Later, y: Tensor, activation: str | None) -> None:
    """Note with x, and with what a residual was added to, that y was computed without them."""
    if y.node is None:
        return
    node = weakref.ref(y.node)
    if activation is not None:
        x.__dict__.setdefault("_left_out", []).append(_LeftOut(node, None, activation, None))
    origin = None if later.origin is None else later.origin()
    if origin is not None:
        residual = None if later.residual is None else State(later.residual, dict(zip(_FOUND, later.found[-1])))
        entry = _LeftOut(node, residual, activation, None if activation is None else weakref.ref(x))
        origin.__dict__.setdefault("_left_out", []).append(entry)


def put_back(x: Tensor) -> None:
    """Lead the gradients of results that were computed together with x through x, so that it can be asked for its own.
    """
    if x.node is None:  # asking computes x, so that nothing below is computed together with it again
        return
    while left_out := x.__dict__.pop("_left_out", None):
        for node, residual, activation, total in left_out:
            result, between = node(), None if total is None else total()
            if result is None:
                continue
            if between is not None:
                put_back(between)  # the activation follows the sum, which by computing it is left out of x itself
                continue
            freed = result.saved is None
            changed = [] if residual is None or not _has_changed(residual) else [residual]
            with autograd.recording(True), rewound(changed):
                y = x if residual is None else _numbered(ops.elementwise.add(x, residual.holder), result.number - 0.75)
                y = y if activation is None else _numbered(ops.activation.apply("grad", activation, y),
                                                           result.number - 0.5)
                result.become(ops.elementwise.positive(y).node)
            if freed:
                result.saved = None


def _numbered(y: Tensor, number: float) -> Tensor:
    """y with a node whose place in the order of the walk is between those before and after it."""
    y.node.number = number
    return y


from . import ops  # noqa: E402 - a cycle: the ops ask whether their arguments are deferred
