"""`convgpu.ledger(step, ...)`: what a step costs on a GPU, on any machine: launches, bytes, memory, waits, seconds.

The step runs once, as it would on a GPU, on arrays that have sizes and no values (convgpu/recorder.py). No GPU is
needed, and no memory. docs/ledger.md says what the figures are worth.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import tree
from ..arguments import function, integer, shape_of
from ..dtypes import DTypeLike, as_dtype, is_float

if TYPE_CHECKING:
    from .result import Ledger

__all__ = ["Spec", "largest_batch", "ledger", "spec"]

MOST = 1 << 40  # examples: no device holds a byte of each


@dataclass(frozen=True)
class Spec:
    """The shape and dtype of a tensor that does not exist."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """The bytes that its elements would take."""
        return math.prod(self.shape) * self.dtype.itemsize


def spec(shape: int | tuple[int, ...], dtype: DTypeLike = "float32") -> Spec:
    """A stand-in for a tensor without data, for `ledger` and `explain`.

    Args:
        shape: the sizes along the axes; a number stands for one axis.
        dtype: the type of the elements.

    Raises:
        ValueError: a negative size. TypeError: a size that is no integer, a dtype that tensors do not have.

    >>> spec((256, 224, 224, 3), "bfloat16").nbytes
    77070336
    """
    return Spec(shape_of("spec", shape), as_dtype(dtype))


def ledger(step: Callable[..., Any], *args: Any, device: str | None = None, warmup: int = 0) -> Ledger:
    """What `step(*args)` costs on a GPU: every launch with its op, kernel, bytes and FLOPs, peak memory, and waits.

    The step is any function of the engine: a forward pass, `convgpu.value_and_grad(loss)`, a whole step with an
    optimizer. Its tensors count as tensors on the GPU. Wherever it asks for a value, the host waits; the ledger names
    the line, and goes on as if the value were 0.

    Args:
        step: the function. It gets all its tensors as arguments, and may make others on device "gpu".
        args: specs and tensors, in nested dicts, lists and tuples; other values are passed on as they are. Of tensors,
            only shape, dtype and `requires_grad` count.
        device: a GPU by name ("H200", "RTX 4090", ...); by default that of this machine, or an H200.
        warmup: how often to run the step before it is recorded, for steps that allocate something the first time only.

    Returns:
        A Ledger: `rows`, `totals`, `waits`, `held` (what is live at the peak), `memory` (live bytes over time),
        `json()`; str() makes a table. An optimizer that the step uses is afterwards as it was before.

    Raises:
        ValueError: an unknown GPU, a negative warmup. TypeError: a step that is no function. NotImplementedError: a
            function of which is not known what it does on a GPU.

    Without a compiled module, each call of a kernel counts as one launch, and `obstacle` says so.

    >>> import convgpu as cg
    >>> x, w = cg.spec((32, 56, 56, 64)), cg.spec((3, 3, 64, 64))
    >>> found = cg.ledger(lambda x, w: cg.exp(cg.conv2d(x, w, padding="same")), x, w, device="H200")
    >>> [(row.op, row.read_bytes, row.written_bytes) for row in found.rows]
    [('conv_fprop', 25837568, 25690112), ('exp', 25690112, 25690112)]
    """
    from ..explain import NO_MODULE, chosen_gpu, planner
    from .recording import LedgerRecorder
    from .result import Ledger
    from .stand_in import standing_in

    function("ledger", step)
    warmup = integer("ledger", "warmup", warmup, 0)
    name, gpu = chosen_gpu(device, "ledger")
    if gpu is None:
        raise ValueError(f"ledger: expected a GPU whose rates are known, got {name}; name one, as device='H200'")
    native = planner()
    recorder = LedgerRecorder(gpu)
    with standing_in(recorder, native):
        arguments = tree.map(lambda leaf: _on_gpu(recorder, leaf), args)
        for _ in range(warmup):
            _computed(step(*arguments))
        recorder.begin()
        result = _computed(step(*arguments))
    del result
    return Ledger(gpu, recorder, NO_MODULE if native is None else "")


def _computed(result: Any) -> Any:
    """What a step returns is needed: deferred results among it are computed."""
    for leaf in tree.leaves(result):
        _ = getattr(leaf, "array", None)
    return result


def _on_gpu(recorder: Any, leaf: Any) -> Any:
    """A tensor without values in the place of a spec or a tensor."""
    from ..tensor import Tensor

    if isinstance(leaf, (Spec, Tensor)):
        made = recorder.tensor(leaf.shape, leaf.dtype, isinstance(leaf, Tensor) and leaf.requires_grad
                               and is_float(leaf.dtype))
        made.array.buffer.filled = True
        made.array.buffer.owner = _renamed(recorder, made.array.buffer)
        return made
    return leaf


def _renamed(recorder: Any, buffer: Any) -> tuple[str, str]:
    """The memory of an argument is held by the step's arguments, and by no op."""
    recorder.held[buffer.owner] -= buffer.nbytes
    owner = "arguments", "arguments"
    recorder.held[owner] += buffer.nbytes
    return owner


def largest_batch(ledger_of: Callable[[int], Ledger], least: int = 1) -> int:
    """The largest batch whose ledger fits into the memory of its GPU; 0 where not even `least` does.

    Args:
        ledger_of: the ledger of a step on a batch of so many examples.
        least: the smallest batch to try.

    Raises:
        ValueError: the step's memory does not grow with the batch, or `least` is below 1.

    >>> import convgpu as cg
    >>> def of(batch):
    ...     return cg.ledger(lambda x: cg.exp(x), cg.spec((batch, 1024, 1024, 64)), device="T4")
    >>> largest_batch(of)
    27
    """
    function("largest_batch", ledger_of)
    least = integer("largest_batch", "least", least, 1)
    room = 0.0

    def free(batch: int) -> float:
        nonlocal room
        found = ledger_of(batch)
        room = found.room
        return room - found.peak_bytes

    low, high = least, 0
    of_low = free(low)
    if of_low < 0:
        return 0
    step = low
    of_high = 0.0
    while not high:  # memory grows with the batch, and nearly as a straight line
        if low >= MOST:
            raise ValueError("largest_batch: expected a step whose memory grows with the batch, got one that fits "
                             f"with {low} examples")
        step *= 2
        of_high = free(low + step)
        if of_high < 0:
            high = low + step
        else:
            low, of_low = low + step, of_high
    while high - low > 1:
        guess = low + int((high - low) * of_low / (of_low - of_high))
        middle = min(max(guess, low + 1), high - 1)
        of_middle = free(middle)
        if of_middle < 0:
            high, of_high = middle, of_middle
        else:
            low, of_low = middle, of_middle
    return low
