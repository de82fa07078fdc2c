"""What all processes compute together: sums and means, copies of one process's values, comparisons."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import tree as trees
from ..dtypes import is_float
from ..tensor import Tensor, as_tensor
from . import buckets
from .job import joined
from .mpi import Mpi, Pending


def allreduce(tree: Any, mean: bool = True, deterministic: bool = False, weight: float | None = None) -> Any:
    """The mean, or the sum, of what the processes give, leaf by leaf; every process gets the same bits.

    y = sum over ranks of weight_k * x_k, divided with `mean` by the sum over ranks of weight_k

    Args:
        tree: nested dicts, lists and tuples of Tensors or arrays on the CPU, of the same structure, shapes and dtypes
            everywhere. Half types are added in float32 and rounded once.
        mean: divide the sum. Integers have sums only.
        deterministic: add in the order of ranks. The result then has the bits of one process that computes the parts
            in turn, adds them from the first on, and divides. Otherwise MPI chooses the order; for two processes it
            is the same.
        weight: that of this process's values, such as the number of examples they come from; None: 1 everywhere. At the
            weight 0 the values are not looked at, so that a process without examples may give NaN.

    Raises:
        ValueError: on every process, where structure, shapes, dtypes or options differ, or where all weights are 0.
        TypeError: a leaf that is no number, a mean of integers. RuntimeError: under mpiexec before `init`.
        NotImplementedError: tensors on the GPU.

    >>> import convgpu as cg
    >>> cg.distributed.allreduce({"w": cg.tensor([1.0, 2.0])})
    {'w': Tensor([1., 2.], dtype=float32)}
    """
    op = "allreduce"
    mpi, values = joined(op), trees.map(lambda x: _on_cpu(op, x), tree)
    leaves = trees.leaves(values)
    if mean:
        for name, x in zip(buckets.paths(values), leaves):
            if not is_float(x.dtype):
                raise TypeError(f"distributed.allreduce: expected floating leaves for a mean, got {x.dtype} at {name}; "
                                "mean=False adds integers")
    weight = checked_weight(op, weight)
    total = _agree(mpi, f"allreduce(mean={mean}, deterministic={deterministic}, weighted={weight is not None})", values,
                   weight)
    if mpi is None:
        return values
    known = [buckets.leaf_of(x) for x in leaves]
    arrays = [x.numpy() for x in leaves]
    plan = buckets.plan(list(enumerate(known)))
    started = [(bucket, start_sum(mpi, buckets.filled(bucket, arrays, weight), deterministic)) for bucket in plan]
    found: dict[int, Tensor] = {}
    for bucket, pending in started:
        flat = pending.wait()
        found |= buckets.taken_apart(bucket, divided(flat, total) if mean else flat, known)
    return rebuilt(values, [found[i] for i in range(len(known))])


def checked_weight(op: str, weight: float | None) -> float | None:
    """The weight as a float, or None."""
    if weight is None:
        return None
    if isinstance(weight, bool) or not isinstance(weight, (int, float, np.number)):
        raise TypeError(f"distributed.{op}: expected weight to be a number, got {weight!r:.60}")
    if not (weight >= 0 and np.isfinite(weight)):
        raise ValueError(f"distributed.{op}: expected a weight from 0 on, got {weight}")
    return float(weight)


def divided(flat: np.ndarray, total: float) -> np.ndarray:
    """flat / total, in place."""
    flat /= flat.dtype.type(total)
    return flat


class _InOrder:
    """A sum in the order of ranks: each process adds one slice of all arrays, and the slices are then collected."""

    def __init__(self, mpi: Mpi, flat: np.ndarray):
        self._mpi, self._length = mpi, flat.size
        each = -(-flat.size // mpi.size)
        rows = np.zeros(each * mpi.size, flat.dtype)
        rows[:flat.size] = flat
        self._pending = mpi.exchange(rows.reshape(mpi.size, each))

    def wait(self) -> np.ndarray:
        rows = self._pending.wait()
        total = rows[0].copy()
        for row in rows[1:]:
            total += row
        return self._mpi.everyone(total).wait().reshape(-1)[:self._length]


def start_sum(mpi: Mpi, flat: np.ndarray, deterministic: bool) -> Pending | _InOrder:
    """Start adding the processes' arrays."""
    return _InOrder(mpi, flat) if deterministic else mpi.sum(flat)


def _agree(mpi: Mpi | None, what: str, tree: Any, weight: float | None) -> float:
    """Raise ValueError everywhere unless all make the same call with a like tree; the sum of the weights."""
    if mpi is None:
        if weight == 0:
            raise ValueError(f"distributed.{what}: expected a weight above 0 somewhere, got 0 on all processes")
        return 1.0
    digest, text = buckets.signature(what, tree)
    mine = np.frombuffer(digest + np.float64(1.0 if weight is None else weight).tobytes(), np.uint8)
    rows = mpi.everyone(mine).wait()
    if any(row[:32].tobytes() != rows[0, :32].tobytes() for row in rows):
        texts = [message.decode() for message in mpi.everyones_bytes(text.encode())]
        other = next(rank for rank, got in enumerate(texts) if got != texts[0])
        raise ValueError(f"distributed: expected the same call on all processes, got on rank 0: {texts[0]:.300}; on "
                         f"rank {other}: {texts[other]:.300}")
    total = sum(row[32:].copy().view(np.float64)[0] for row in rows)
    if total == 0:
        raise ValueError(f"distributed.{what}: expected a weight above 0 somewhere, got 0 on all processes")
    return float(total)


agree = _agree


def broadcast(tree: Any, root: int = 0) -> Any:
    """What the process `root` gives, on every process; the others give a tree of the same structure.

    Raises:
        ValueError: on every process, where structure, shapes or dtypes differ; an unknown root.
        TypeError, RuntimeError, NotImplementedError: as `allreduce`.

    >>> import convgpu as cg
    >>> cg.distributed.broadcast([cg.tensor([1.0, 2.0])])
    [Tensor([1., 2.], dtype=float32)]
    """
    mpi, values = joined("broadcast"), trees.map(lambda x: _on_cpu("broadcast", x), tree)
    if isinstance(root, bool) or not isinstance(root, int) or not 0 <= root < (1 if mpi is None else mpi.size):
        raise ValueError(f"distributed.broadcast: expected root to be a rank below {1 if mpi is None else mpi.size}, "
                         f"got {root!r:.60}")
    _agree(mpi, f"broadcast(root={root})", values, None)
    if mpi is None:
        return values
    leaves = trees.leaves(values)
    sent = []
    for x in leaves:  # as bytes, so that every dtype and every bit survives
        raw = np.frombuffer(np.ascontiguousarray(x.numpy()).tobytes(), np.uint8).copy()
        sent.append(mpi.from_root(raw, root).wait().view(x.dtype).reshape(x.shape))
    return rebuilt(values, [as_tensor(x, "broadcast") for x in sent])


def check_equal(tree: Any) -> None:
    """Raise ValueError on every process unless all have the same values, to the bit; it names a leaf and a rank.

    >>> import convgpu as cg
    >>> cg.distributed.check_equal({"w": cg.tensor([1.0, 2.0])})
    """
    mpi, values = joined("check_equal"), trees.map(lambda x: _on_cpu("check_equal", x), tree)
    _agree(mpi, "check_equal", values, None)
    if mpi is None:
        return
    leaves = trees.leaves(values)
    mine = b"".join(hashlib.sha256(np.ascontiguousarray(x.numpy()).tobytes()).digest() for x in leaves)
    theirs = mpi.everyones_bytes(mine)
    for number, name in enumerate(buckets.paths(values)):
        part = slice(32 * number, 32 * number + 32)
        for rank, other in enumerate(theirs):
            if other[part] != theirs[0][part]:
                raise ValueError(f"distributed.check_equal: expected equal values on all processes, got others at "
                                 f"{name} on rank {rank} than on rank 0; broadcast() gives all those of rank 0")


def gather(tree: Any) -> list[Any]:
    """What every process gives, as a list in the order of ranks, on every process. Structures may differ.

    Raises:
        RuntimeError: under mpiexec before `init`. TypeError, NotImplementedError: as `allreduce`.

    >>> import convgpu as cg
    >>> cg.distributed.gather({"correct": 17})
    [{'correct': 17}]
    """
    mpi = joined("gather")
    plain = trees.map(lambda x: _on_cpu("gather", x).numpy() if isinstance(x, Tensor) else x, tree)
    kinds = trees.map(lambda x: isinstance(x, Tensor), tree)
    if mpi is None:
        return [tree]
    parts = [pickle.loads(message) for message in mpi.everyones_bytes(pickle.dumps((plain, kinds)))]
    return [trees.map(lambda x, is_tensor: as_tensor(x, "gather") if is_tensor else x, *part) for part in parts]


def barrier() -> None:
    """Return when all processes have called this."""
    mpi = joined("barrier")
    if mpi is not None:
        mpi.barrier()


def rebuilt(tree: Any, leaves: Sequence[Tensor]) -> Any:
    """The tree's structure with other leaves."""
    values = iter(leaves)
    return trees.map(lambda _: next(values), tree)


def _on_cpu(op: str, x: Any) -> Tensor:
    t = as_tensor(x, f"distributed.{op}")
    if t.device != "cpu":
        raise NotImplementedError(f"distributed.{op}: tensors on the GPU are not supported yet (it needs NCCL); "
                                  'x.to("cpu") first')
    return t.detach()
