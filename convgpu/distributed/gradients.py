"""Gradients of the mean over all processes' batches, sent while the backward pass still computes.

The parameters pass through an op that does nothing forward. Backward it sees the gradient of a parameter as soon as it
is whole, and puts it into its bucket; a bucket that is full travels while the pass goes on. Buckets are filled from the
last parameter to the first, as the pass finds the gradients, and start in one order everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import gradients
from .. import tree as trees
from ..op import Op
from ..tensor import Tensor, wrap
from . import buckets
from .collectives import agree, checked_weight, divided, rebuilt, start_sum
from .job import joined
from .mpi import Mpi


class _Reducer:
    """The buckets of one backward pass."""

    def __init__(self, mpi: Mpi, params: list[Tensor], factor: float, deterministic: bool):
        self._mpi, self._weight, self._deterministic = mpi, None if factor else 0.0, deterministic
        self.leaves = [buckets.leaf_of(p) for p in params]
        self._buckets = buckets.plan(list(enumerate(self.leaves))[::-1])
        self._values: list[np.ndarray | None] = [None] * len(params)
        self._missing = [set(bucket.places) for bucket in self._buckets]
        self._pending: list[Any] = []  # of the buckets that have started, in order

    def put(self, number: int, gradient: np.ndarray) -> None:
        """The gradient of a parameter, which is whole; buckets that are full start."""
        self._values[number] = gradient
        for missing in self._missing:
            missing.discard(number)
        while len(self._pending) < len(self._buckets) and not self._missing[len(self._pending)]:
            self._start()

    def _start(self) -> None:
        bucket = self._buckets[len(self._pending)]
        self._pending.append(start_sum(self._mpi, buckets.filled(bucket, self._values, self._weight),
                                       self._deterministic))
        for number in bucket.places:
            self._values[number] = None

    def means(self) -> list[Tensor]:
        """All gradients; those of parameters that this process's loss does not depend on were zeros."""
        while len(self._pending) < len(self._buckets):
            self._start()
        found: dict[int, Tensor] = {}
        for bucket, pending in zip(self._buckets, self._pending):
            found |= buckets.taken_apart(bucket, divided(pending.wait(), self._mpi.size), self.leaves)
        return [found[i] for i in range(len(self.leaves))]


def _hand_over(g: Tensor, reducer: _Reducer, number: int) -> Tensor:
    reducer.put(number, g.numpy())
    return g


_handed_over = Op("handed_over", "x; reducer, number -> y", lambda x, reducer, number: x).vjp(x=_hand_over)


def value_and_grad(f: Callable[..., Any], has_aux: bool = False, *, weight: float | None = None,
                   deterministic: bool = False) -> Callable[..., Any]:
    """As `convgpu.value_and_grad`, of the mean of f over all processes, with respect to the first argument.

    value = sum over ranks of weight_k * f_k / sum over ranks of weight_k, and its gradient

    The gradients of the parameters found first travel while the others are still being computed. Where the weights are
    equal, the gradients are `allreduce(grads, deterministic=deterministic)` to the bit.

    Args:
        f: returns a scalar Tensor, the mean over this process's examples; with `has_aux`, a pair (scalar, anything).
        has_aux: the returned function then gives ((value, aux), gradient), with the aux of this process.
        weight: the number of this process's examples, where they are not equally many everywhere. 0: f is computed, and
            counts for nothing.
        deterministic: add in the order of ranks, as `allreduce` does.

    Raises:
        As `convgpu.value_and_grad` and `allreduce`. RuntimeError: within another derivative.

    >>> import convgpu as cg
    >>> value, g = cg.distributed.value_and_grad(lambda p: (p["w"] ** 2).sum())({"w": cg.tensor([1.0, 2.0])})
    >>> value.item(), g["w"].numpy().tolist()
    (5.0, [2.0, 4.0])
    """
    op = "value_and_grad"
    weight = checked_weight(op, weight)

    def of_all(params: Any, *args: Any, **options: Any) -> Any:
        mpi = joined(op)
        leaves = trees.leaves(params)
        total = agree(mpi, f"value_and_grad(deterministic={deterministic}, weighted={weight is not None})", params,
                      weight)
        if mpi is None:
            return gradients.value_and_grad(f, has_aux)(params, *args, **options)
        _check(leaves)
        # f is multiplied before it is differentiated, so that what reaches other processes through `batch_norm` is
        # weighted too. Equal weights give the factor 1, which changes no bit.
        factor = 1.0 if weight is None else weight * mpi.size / total
        reducer = _Reducer(mpi, leaves, factor, deterministic)

        def handed(params: Any) -> Any:
            through = [_handed_over(p, reducer, i) for i, p in enumerate(trees.leaves(params))]
            result = f(rebuilt(params, through), *args, **options)
            value, *aux = result if has_aux else (result,)
            return value * factor if factor != 1 else value, aux

        (value, aux), _ = gradients.value_and_grad(handed, has_aux=True)(params)
        means = rebuilt(params, reducer.means())
        part = np.zeros(1) if factor == 0 else np.asarray(value.numpy(), np.float64).reshape(1)
        whole = divided(start_sum(mpi, part, deterministic).wait(), mpi.size)[0]
        value = wrap(np.asarray(whole, value.dtype))
        return ((value, *aux) if has_aux else value), means

    return of_all


def _check(leaves: list[Tensor]) -> None:
    for p in leaves:
        if p.device != "cpu":
            raise NotImplementedError("distributed.value_and_grad: parameters on the GPU are not supported yet (it "
                                      "needs NCCL)")
        if p.requires_grad:
            raise RuntimeError("distributed.value_and_grad: expected parameters that require no gradient, got some "
                               "that another derivative is being taken by")
