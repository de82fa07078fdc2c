"""The classes of facts: `Facts` about one op, and `Family` about a family of ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..cases.problem import Arrays, Problem, normal
from ..recorder import Call, Shape
from ..roofline import Gpu, Work

DTYPES = ("float64", "float32", "float16", "bfloat16")
FORMATS = ("channels_last", "channels_first")


class Bound(NamedTuple):
    """What the error of a result may depend on (cases/tolerance.py).

    length: the number of terms of each sum; None where every element must be exact. statics: the static arguments with
    which the same op computes the sums of absolute values that the bound multiplies. slack: what is added to the bound
    for roundings after the sum. magnitude: computes what the bound multiplies from the absolute values of the operands,
    where the op on absolute values says nothing of the errors.
    """

    length: int | None
    statics: tuple[Any, ...]
    slack: float = 0.0
    magnitude: Callable[..., Any] | None = None


def drawn(call: Call) -> Arrays:
    """Normally distributed operands of the shapes of a call."""
    return tuple(None if shape is None else normal(f"{call.op}/{i}", shape, call.dtype)
                 for i, shape in enumerate(call.shapes))


@dataclass(frozen=True)
class Facts:
    """What is known of one op that backends run.

    family: the name of its family.
    results: (shape, dtype) of each array that a call returns; None for one that it does not return.
    work: FLOPs and least bytes of a call, for the roofline, at a precision of float32 products.
    plan: plan(native, call, gpu, precision) is the plan of a compiled module for a call; gpu None means the GPU in use.
    method: how the numpy backend computes a call, in words.
    bound: what the error of a call's results may depend on.
    part: part(problem, arrays, results, few) takes a problem, its operands and a backend's results, and returns a part
        of them, (problem, results), that the reference can compute in a moment. `few` asks for a smaller part, for
        whole networks.
    explained: the public function of convgpu which leads to the op, by its forward or its gradients, and the operands
        that it takes; `explain` runs it.
    options: options of the function `explained`, without which it does not lead to the op.
    example: operands of the function `explained` that lead to the op, with a shape for each array, large enough to be
        worth timing; `convgpu benchmark op` takes them unless it is given others.
    draw: draws the operands of a call, for timing it.
    direction: the word by which benchmarks call the op: forward, dgrad and so on.
    product: (items, M, N, K) of the matrix product that a call amounts to; None for ops that are no product.
    magnitudes: for ops with several results that must be right: for each result what `bound` multiplies, or None where
        it must be exact (see `Problem.magnitude`, which serves the others).
    kernel: how the names of the op's kernels begin, where that is not the name of the op.
    units: units(problem, exact, results, c) is the largest error of a call's results in units of their bounds, where
        more than the first result is compared, or the bound is not a multiple of the same op on absolute values.
    traffic: the bytes that all launches of a call read and write, where that is not each array once.
    """

    family: str
    results: Callable[[Call], tuple[tuple[Shape, Any] | None, ...]]
    work: Callable[[Call, str], Work]
    plan: Callable[[Any, Call, Gpu | None, str], Any]
    method: Callable[[Call], str]
    bound: Callable[[Call], Bound]
    part: Callable[[Problem, Arrays, Arrays, bool], tuple[Problem, Arrays]]
    explained: Callable[..., Any]
    options: tuple[tuple[str, Any], ...] = ()
    example: tuple[Any, ...] = ()
    draw: Callable[[Call], Arrays] = drawn
    direction: str = "fprop"
    product: Callable[[Call], tuple[int, int, int, int] | None] = lambda call: None
    magnitudes: Callable[[Problem], tuple[np.ndarray | None, ...]] | None = None
    kernel: str | None = None
    units: Callable[[Problem, Arrays, list[Any], float], float] | None = None
    traffic: Callable[[Call], tuple[int, int]] | None = None


@dataclass(frozen=True)
class Family:
    """A family of ops: a folder of csrc, a page of docs, and a table of named cases with their calls.

    ops: the names of its ops. problems: problems(case, dtype, data format) yields the calls of a case. operands: the
    parameters of its public functions that are arrays. dtypes, formats: the dtypes and data formats in which a case is
    run. tf32: whether the family has kernels that multiply float32 as TF32 when asked to.
    """

    ops: tuple[str, ...]
    page: str
    cases: Sequence[Any]
    problems: Callable[[Any, str, str], Iterator[Problem]]
    operands: tuple[str, ...]
    dtypes: tuple[str, ...] = DTYPES
    formats: tuple[str, ...] = FORMATS
    tf32: bool = False

    def variants(self, case: Any, tf32: bool = False) -> list[tuple[str, str]]:
        """The (dtype, data format) pairs of a case. Cases tagged "long" leave out float64, which makes no promise on
        long sums because its sums are not blocked; cases tagged "float32" are for kernels of that dtype.

        Args:
            tf32: add "tf32" to the dtypes, where the family has kernels for it.
        """
        tags = getattr(case, "tags", ())
        long, dtypes = "long" in tags, ("float32",) if "float32" in tags else self.dtypes
        dtypes = (*dtypes, "tf32") if tf32 and self.tf32 else dtypes
        return [(d, f) for d in dtypes if not (long and d == "float64") for f in self.formats]


def device_of(native: Any, gpu: Gpu | None) -> Any:
    """A GPU as a compiled module describes it: the given GPU of the table, or without `gpu` the GPU in use."""
    module = native.module
    return module.current_device() if gpu is None else module.Device(
        arch=gpu.arch, multiprocessors=gpu.multiprocessors, shared_bytes=gpu.shared_bytes)


def slack_of(activation: str | None) -> float:
    """The slack of an activation: its slope is at most 1; tanh and sigmoid add their own roundings of values up to 1.
    """
    return 0.0 if activation in (None, "relu") else 1.0
