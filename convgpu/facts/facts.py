"""The kinds of facts: of one op, and of a family of ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..cases.problem import Arrays, Problem, normal
from ..recorder import Call, Shape
from ..roofline import Gpu, Work

DTYPES = ("float64", "float32", "float16", "bfloat16")
FORMATS = ("channels_last", "channels_first")


class Bound(NamedTuple):
    """What the error of a result may depend on (cases/tolerance.py).

    length: the number of terms of each sum; None where every element must be exact. statics: those of the same op on
    absolute values. slack: added to that, for roundings of what follows the sum.
    """

    length: int | None
    statics: tuple[Any, ...]
    slack: float = 0.0


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
    plan: the plan that a compiled module makes for a call: plan(native, call, gpu, precision), gpu None for its own.
    method: how the numpy backend computes a call, in words.
    bound: what the error of a call's results may depend on.
    part: of a problem, its operands, and a backend's results, as (problem, results): a part that the reference can
        compute in a moment. part(problem, arrays, results, few): with `few`, for whole networks, a smaller one.
    explained: the public function of convgpu which leads to the op, by its forward or its gradients, and the operands
        that it takes; `explain` runs it.
    options: of that function, without which it does not lead there.
    draw: operands of a call, for timing it.
    direction: what a benchmark calls it.
    product: (items, M, N, K) of the matrix product that a call comes to; None where it is none.
    kernel: how the names of its kernels begin, where that is not the name of the op.
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
    draw: Callable[[Call], Arrays] = drawn
    direction: str = "fprop"
    product: Callable[[Call], tuple[int, int, int, int] | None] = lambda call: None
    kernel: str | None = None


@dataclass(frozen=True)
class Family:
    """A family of ops: a folder of csrc, a page of docs, a table of named cases and what calls a case comes to.

    ops: the names of its ops. problems: of (case, dtype, data format). operands: the parameters of its public functions
    which are arrays. dtypes, formats: those in which a case is run. tf32: whether there are kernels that multiply
    float32 as TF32, where that is asked for.
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
        """The (dtype, data format) pairs of a case: float64 makes no promise on long sums, where it is not blocked, and
        cases tagged "float32" are for kernels of that dtype.

        Args:
            tf32: with "tf32" among the dtypes, where there are kernels for it.
        """
        tags = getattr(case, "tags", ())
        long, dtypes = "long" in tags, ("float32",) if "float32" in tags else self.dtypes
        dtypes = (*dtypes, "tf32") if tf32 and self.tf32 else dtypes
        return [(d, f) for d in dtypes if not (long and d == "float64") for f in self.formats]


def device_of(native: Any, gpu: Gpu | None) -> Any:
    """A GPU as a compiled module knows it: the one of the table, or the one in use."""
    module = native.module
    return module.current_device() if gpu is None else module.Device(
        arch=gpu.arch, multiprocessors=gpu.multiprocessors, shared_bytes=gpu.shared_bytes)


def slack_of(activation: str | None) -> float:
    """Slopes are at most 1; tanh and sigmoid add roundings of their own to values of at most 1."""
    return 0.0 if activation in (None, "relu") else 1.0
