"""What helps to find the cause of wrong values: the first op that makes NaN, or whose bits differ from run to run."""

from __future__ import annotations

import copy
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from . import autograd, tree
from .arguments import function
from .device import to_numpy
from .dtypes import is_float
from .tensor import Tensor


@contextmanager
def debug_nans() -> Iterator[None]:
    """A context manager within which an op whose result holds NaN raises FloatingPointError, in all threads.

    The error names the op, the shapes and dtypes of its inputs and of the result, and the inputs that hold NaN already;
    in a backward pass also the op whose gradient is computed. Every result is read, for which the host waits on a GPU.

    Raises:
        FloatingPointError: by the first op that makes NaN.

    >>> import convgpu as cg
    >>> with debug_nans():
    ...     cg.log(cg.tensor([1.0, -1.0]))
    Traceback (most recent call last):
    FloatingPointError: log: expected numbers, got NaN in the result float32 (2,), from x=float32 (2,) without NaN
    """
    before = autograd.set_watcher(_check)
    try:
        yield
    finally:
        autograd.set_watcher(before)


def _check(op: Any, inputs: tuple[Any, ...], outputs: tuple[Any, ...], _statics: tuple[Any, ...]) -> None:
    for y in outputs:
        if isinstance(y, Tensor) and _has_nan(y):
            names = op.inputs * len(inputs) if op.variadic else op.inputs
            given = ", ".join([f"{name}={_words(x)}" for name, x in zip(names, inputs) if x is not None])
            raise FloatingPointError(f"{op.name}: expected numbers, got NaN in the result {y.dtype} {y.shape}, from "
                                     f"{given}")


def _has_nan(x: Tensor) -> bool:
    return is_float(x.dtype) and bool(np.isnan(to_numpy(x.array)).any())


def _words(x: Any) -> str:
    if not isinstance(x, Tensor):
        return repr(x)
    return f"{x.dtype} {x.shape} {'with' if _has_nan(x) else 'without'} NaN"


def deterministic(step: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Run `step(*args, **options)` twice from the same state, compare the bits of every op, and return its result.

    Before the second run, what the first has changed is as it was: tensors that it assigned to, optimizers and averages
    that stepped, generators that drew. Afterwards all is as after one run.

    Raises:
        RuntimeError: the bits of a result differ; the error names the first op, its place, and how many bits differ.

    >>> import convgpu as cg
    >>> w = cg.ones((3, 3, 3, 4))
    >>> sgd = cg.optim.SGD(lr=0.1)
    >>> def step(w, x):
    ...     _, g = cg.value_and_grad(lambda w: cg.dropout(cg.conv(x, w), 0.5).sum())(w)
    ...     return sgd.step(w, g)
    >>> deterministic(step, w, cg.ones((1, 8, 8, 3))).shape, sgd.steps
    ((3, 3, 3, 4), 1)
    """
    function("deterministic", step)
    kept: dict[int, tuple[Any, Any]] = {}
    for leaf in tree.leaves([list(args), options]):
        if isinstance(leaf, np.random.Generator):
            kept[id(leaf.bit_generator)] = leaf.bit_generator, copy.deepcopy(leaf.bit_generator.state)
    first, second = _Bits(), _Bits()
    with _keeping(kept), first:
        step(*args, **options)
    for holder, state in kept.values():
        if isinstance(holder, np.random.BitGenerator):
            holder.state = state
        else:
            for name, value in state.items():
                setattr(holder, name, value)
    with second:
        result = step(*args, **options)
    first.compare(second)
    return result


class _Bits:
    """The digests of all results of ops on this thread."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []
        self._thread = threading.get_ident()

    def __enter__(self) -> None:
        self._before = autograd.set_watcher(self._see)

    def __exit__(self, *error: object) -> None:
        autograd.set_watcher(self._before)

    def _see(self, op: Any, _inputs: tuple[Any, ...], outputs: tuple[Any, ...], _statics: tuple[Any, ...]) -> None:
        if threading.get_ident() == self._thread:
            digest = hashlib.blake2b(digest_size=16)
            for y in outputs:
                if isinstance(y, Tensor):
                    digest.update(np.ascontiguousarray(to_numpy(y.array)).tobytes())
            shapes = [f"{y.dtype} {y.shape}" for y in outputs if isinstance(y, Tensor)]
            self.found.append((f"{op.name} -> {', '.join(shapes)} ({autograd.phase()})", digest.hexdigest()))

    def compare(self, other: _Bits) -> None:
        for place, (mine, theirs) in enumerate(zip(self.found, other.found)):
            if mine[0] != theirs[0]:
                raise RuntimeError(f"deterministic: expected the same ops twice, got op number {place}: {mine[0]}, "
                                   f"then {theirs[0]}")
            if mine[1] != theirs[1]:
                raise RuntimeError(f"deterministic: expected the same bits twice, got others from op number {place}: "
                                   f"{mine[0]}")
        if len(self.found) != len(other.found):
            raise RuntimeError(f"deterministic: expected the same ops twice, got {len(self.found)} ops, then "
                               f"{len(other.found)}")


@contextmanager
def _keeping(kept: dict[int, tuple[Any, Any]]) -> Iterator[None]:
    """Note what objects are before a method changes them for the first time."""
    from . import optim
    from .generator import Generator

    changing = ((Tensor, "assign"), (optim.Optimizer, "step"), (optim.LossScale, "beside"), (optim.EMA, "update"),
                (Generator, "draw"), (Generator, "to"))

    def noting(method: Callable[..., Any]) -> Callable[..., Any]:
        def run(self: Any, *args: Any, **options: Any) -> Any:
            if id(self) not in kept:
                kept[id(self)] = self, ({name: getattr(self, name) for name in ("array", "node", "version", "grad")}
                                        if isinstance(self, Tensor) else _copied(vars(self)))
            return method(self, *args, **options)

        return run

    with ExitStack() as undo:
        for owner, name in changing:
            method = vars(owner)[name]
            setattr(owner, name, noting(method))
            undo.callback(setattr, owner, name, method)
        yield


def _copied(value: Any) -> Any:
    """A tree with copies of its arrays; anything else as it is."""
    if isinstance(value, dict):
        return {key: _copied(v) for key, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)([_copied(v) for v in value])
    return value.copy() if hasattr(value, "nbytes") and not isinstance(value, (Tensor, np.generic)) else value
