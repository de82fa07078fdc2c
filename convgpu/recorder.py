"""What a function would compute, found from sizes alone: it runs on arrays without values, and a recorder takes notes.

    recorder = Recorder()
    x, w = recorder.tensor((256, 56, 56, 64), "bfloat16"), recorder.tensor((3, 3, 64, 64), "bfloat16")
    cg.conv2d(x, w, activation="gelu")
    recorder.steps      every function of a backend and of NumPy that ran, with the sizes of its inputs and outputs
    recorder.calls      the steps of the backend as Calls, from which plans, FLOPs and bytes follow

An Outline (convgpu/outline.py) is an array without values: a shape, strides, a dtype, and the recorder that it reports
to. Functions of Outlines return Outlines, so that whole networks, their gradients and their optimizers can be walked
through in milliseconds and without memory. What a function returns is known for every op that a backend runs
(`facts.results`), for NumPy's ufuncs, and for the functions of NumPy in convgpu/outline_functions.py; other functions
raise NotImplementedError. Views such as those of reshape and transpose are free and are not recorded. Code that asks
whether a value is true (`if x.max() > 4`) is recorded as a step named "bool" and gets the answer False; on a GPU the
host would wait there for the value. `convgpu.ledger` has a recorder of its own, which adds up what a GPU would do.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .dtypes import DTypeLike, as_dtype
from .outline import Buffer, Outline, Shape

if TYPE_CHECKING:
    from .tensor import Tensor

__all__ = ["Call", "Outline", "Recorder", "Shape", "Size", "Step"]


class Call(NamedTuple):
    """One call of a backend's function: its name, the shapes of its arrays, further arguments, the dtype.
    """

    op: str
    shapes: tuple[Shape | None, ...]
    statics: tuple[Any, ...]
    dtype: str


class Size(NamedTuple):
    """The shape and dtype of an array."""

    shape: Shape
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """The bytes of its elements."""
        return math.prod(self.shape) * self.dtype.itemsize


class Step(NamedTuple):
    """One function that ran: a backend's function, which has the name of its op, or a function of NumPy.

    statics: the arguments after the arrays of a backend's function; None for NumPy's functions, whose options are not
        kept.
    """

    name: str
    inputs: tuple[Size | None, ...]
    outputs: tuple[Size, ...]
    statics: tuple[Any, ...] | None

    @property
    def call(self) -> Call:
        """The step as the Call that plans are made for; its dtype is that of the first array."""
        assert self.statics is not None
        first = next(size for size in self.inputs if size is not None)
        shapes = tuple(None if size is None else size.shape for size in self.inputs)
        return Call(self.name, shapes, self.statics, first.dtype.name)


class Recorder:
    """Makes arrays without values, and keeps the steps of all functions that run on them."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.flags: list[Outline] = []  # of checks (flags.py), which stay until somebody reads values
        self.address = 1 << 40  # where the next buffer begins

    def array(self, shape: Shape, dtype: DTypeLike) -> Outline:
        """An array without values."""
        return Outline(self, shape, as_dtype(dtype))

    def tensor(self, shape: Shape, dtype: DTypeLike = "float32", requires_grad: bool = False) -> Tensor:
        """A Tensor over an array without values."""
        from .tensor import Tensor

        return Tensor(self.array(shape, dtype)).requires_grad_(requires_grad)

    @property
    def calls(self) -> list[Call]:
        """The backend's steps."""
        return [step.call for step in self.steps if step.statics is not None]

    def run(self, op: str, arrays: list[Any], statics: tuple[Any, ...]) -> Any:
        """Stand in for a backend: return the results of an op, of the shapes and dtypes that its facts give."""
        from .op import Op

        step = Step(op, tuple(map(_size_of, arrays)), (), statics)
        results = Op.registry[op].facts.results(step.call)
        made = [None if size is None else self.array(*size) for size in results]
        self.steps.append(step._replace(outputs=tuple(Size(*size) for size in results if size is not None)))
        outputs = Op.registry[op].outputs
        return tuple(made) if len(outputs) > 1 or outputs[0].startswith("*") else made[0]

    def note(self, name: str, inputs: Any, *outputs: Outline, **facts: Any) -> None:
        """Record a step of a function of NumPy. `facts` are for recorders that ask for more than sizes: launches, read
        and written (bytes, where they are not those of inputs and outputs), flops, and the axes that are reduced.
        """
        sizes = tuple([_size_of(x) for x in inputs if hasattr(x, "shape")])
        self.steps.append(Step(name, sizes, tuple([Size(y.shape, y.dtype) for y in outputs]), None))

    def copied(self, array: Outline) -> None:
        """An array was copied from the host."""

    def wait(self, what: str) -> None:
        """The host would wait here for a value; this recorder does not count that."""

    def truth_of(self, array: Outline) -> bool:
        """The answer to a question for a value: always False."""
        self.note("bool", [array])
        return False

    def values_of(self, array: Outline, what: str) -> np.ndarray:
        """There are no values: this recorder refuses to give any."""
        return np.asarray(array)

    def allocated(self, buffer: Buffer) -> None:
        """A buffer was made."""

    def freed(self, buffer: Buffer) -> None:
        """The last array of a buffer is gone."""


def _size_of(array: Any) -> Size | None:
    return None if array is None else Size(array.shape, array.dtype)
