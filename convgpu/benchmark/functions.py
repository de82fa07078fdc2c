"""Timing of what lies between convolutions: normalisation, activations, softmax, the loss and optimizers, as users call
them, forward and backward, beside PyTorch's own functions on the same values.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import optim, tree
from ..architectures import mobilenet
from ..backends.numpy.workers import get_num_threads
from ..cases.problem import normal
from ..dtypes import as_dtype
from ..gradients import grad
from ..ops.activation import gelu, relu
from ..ops.loss import cross_entropy
from ..ops.norm import batch_norm
from ..ops.softmax import softmax
from ..tensor import Tensor, tensor
from .devices import CpuDevice
from .peers import AGREEMENT, AGREEMENT_OF_HALVES, LAYOUTS, PREFIX, Torch
from .progress import Progress
from .report.figures import OURS, Row
from .results import Results, environment, load_average
from .timing import Contender, alternate

NAME = f"{OURS} cpu"
RATE = 1e-3  # of the optimizers


@dataclass(frozen=True)
class Function:
    """A function that is timed on arrays of one shape.

    ours, theirs: called with the values, and ours with the parameters, theirs with torch before them. params: how many
    arrays of (C,) there are beside the values. passes: arrays of the values' size that a call reads or writes at least,
    forward and backward.
    """

    group: str
    shape: tuple[int, ...]
    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    params: int = 0
    passes: tuple[int, int] = (2, 3)

    @property
    def layer(self) -> str:
        """The row's name."""
        return f"{self.group} {'x'.join(map(str, self.shape))}"


def _normalised(x: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    unused = offset.detach()  # stands in for the running statistics
    return relu(batch_norm(x, unused, unused, scale, offset, training=True)[0])


def _labels(rows: int, classes: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, classes, rows)


def _normalised_by_torch(torch: Any, x: Any, scale: Any, offset: Any) -> Any:
    f = torch.nn.functional
    return f.relu(f.batch_norm(x, None, None, scale, offset, training=True))


_IMAGES = ((8, 112, 112, 64), (8, 56, 56, 256), (8, 28, 28, 128), (8, 14, 14, 1024), (8, 7, 7, 512))
FUNCTIONS = (
    *[Function("batch norm + ReLU", shape, _normalised, _normalised_by_torch, 2, (3, 5)) for shape in _IMAGES],
    *[Function("ReLU", shape, relu, lambda torch, x: torch.nn.functional.relu(x)) for shape in _IMAGES[1:4]],
    *[Function("gelu", shape, gelu, lambda torch, x: torch.nn.functional.gelu(x))
      for shape in ((1024, 3072), (64, 768))],
    *[Function("softmax", shape, softmax, lambda torch, x: torch.nn.functional.softmax(x, -1))
      for shape in ((256, 1000), (3072, 197))],
    *[Function("cross-entropy", shape, lambda x: cross_entropy(x, _labels(*x.shape)),
               lambda torch, x: torch.nn.functional.cross_entropy(x, torch.from_numpy(_labels(*x.shape))),
               passes=(1, 2)) for shape in ((256, 1000), (4096, 32))],
)


def measure(device: CpuDevice, peer: Torch | None, samples: int = 5, dtype: str = "float32",
            progress: Progress | None = None) -> Results:
    """Rows of all functions and of a step of each optimizer on MobileNet's parameters; Ctrl-C keeps those so far."""
    found: list[Row] = []
    load, interrupted, progress = load_average(), False, progress or Progress()
    shapes = [p.shape for p in tree.leaves(mobilenet.initial())]
    roof = device.roof("float32")
    with progress.of(2 * len(FUNCTIONS) + 2):
        try:
            for row in itertools.chain(rows(peer, FUNCTIONS, dtype, samples), step_rows(peer, shapes, dtype, samples)):
                found.append(row)
                progress.done(1)
        except KeyboardInterrupt:
            interrupted = True
    packages = ["numpy", *["torch"] * (peer is not None)]
    return Results(environment(packages, load), found, {"cpu": vars(roof)} if roof else {}, interrupted)


def rows(peer: Torch | None, functions: Sequence[Function] = FUNCTIONS, dtype: str = "float32", samples: int = 5,
         sample_seconds: float = 0.004) -> Iterator[Row]:
    """A row for each function and direction; a contender whose result differs is not timed, and the row says so."""
    for function in functions:
        ours = _Ours(function, dtype)
        theirs = _theirs(function, peer, dtype)
        for direction, passes in zip(("forward", "backward"), function.passes):
            absent = {}
            contenders: dict[str, Contender] = {NAME: getattr(ours, direction)}
            expected = getattr(ours, direction)().numpy().astype(np.float64)
            for name, other in theirs.items():
                got = other.array(getattr(other, direction)())
                if _differ(got, expected, dtype):
                    absent[name] = (f"WrongResultError: {name}: expected our result of {function.layer} {direction}, "
                                    "got another; not timed")
                else:
                    contenders[name] = getattr(other, direction)
            size = int(np.prod(function.shape)) * as_dtype(dtype).itemsize
            yield _row(function.group, function.layer, direction, dtype, passes * size,
                       alternate(contenders, samples, sample_seconds), absent)


def step_rows(peer: Torch | None, shapes: Sequence[tuple[int, ...]], dtype: str = "float32", samples: int = 5,
              sample_seconds: float = 0.004) -> Iterator[Row]:
    """A row for a step of each optimizer on parameters of these shapes."""
    arrays = [normal(str(i), shape, dtype) for i, shape in enumerate(shapes)]
    size = sum(array.nbytes for array in arrays)
    for group, passes, own, name in (("SGD with momentum", 5, optim.SGD(lr=RATE, momentum=0.9), "SGD"),
                                     ("Adam", 7, optim.Adam(lr=RATE), "Adam")):
        contenders: dict[str, Contender] = {NAME: _our_step(own, arrays)}
        if peer is not None:
            contenders[f"{PREFIX} cpu"] = _their_step(peer, name, arrays)
        timings = alternate(contenders, samples, sample_seconds)
        yield _row(group, f"{group}, {len(arrays)} parameters", "step", dtype, passes * size, timings, {})


def _our_step(optimizer: Any, arrays: list[np.ndarray]) -> Contender:
    state = {"params": [tensor(a) for a in arrays]}
    grads = [tensor(a) for a in arrays]

    def step() -> object:
        state["params"] = optimizer.step(state["params"], grads)
        return state

    return step


def _their_step(peer: Torch, name: str, arrays: list[np.ndarray]) -> Contender:
    params = [peer.tensor(a).requires_grad_() for a in arrays]
    for p, a in zip(params, arrays):
        p.grad = peer.tensor(a)
    options = {"lr": RATE, **({"momentum": 0.9} if name == "SGD" else {})}
    optimizer = getattr(peer.torch.optim, name)(params, **options)
    return optimizer.step  # type: ignore[no-any-return]


def _row(group: str, layer: str, direction: str, dtype: str, nbytes: int, timings: Any, absent: dict[str, str]) -> Row:
    row = {"kind": "function", "network": "", "layer": layer, "direction": direction, "op": group, "dtype": dtype,
           "threads": get_num_threads(), "flops": 0, "unit": "float32", "bytes": nbytes, "timings": timings}
    return {**row, "absent": absent} if absent else row


def _differ(theirs: np.ndarray, ours: np.ndarray, dtype: str) -> bool:
    limit = AGREEMENT if as_dtype(dtype).itemsize >= 4 else AGREEMENT_OF_HALVES
    return theirs.shape != ours.shape or float(np.linalg.norm(theirs - ours)) > limit * float(np.linalg.norm(ours))


class _Ours:
    """A function on Tensors: `forward` records as training does, `backward` goes through one record again and again."""

    def __init__(self, function: Function, dtype: str):
        self._function = function.ours
        self._x = tensor(normal("x", function.shape, dtype), requires_grad=True)
        self._params = [tensor(_param(i, function, dtype), requires_grad=True) for i in range(function.params)]
        self._y = self.forward()
        self._g = tensor(normal("g", tuple(self._y.shape), dtype))

    def forward(self) -> Tensor:
        """The result."""
        y: Tensor = self._function(self._x, *self._params)
        _ = y.array  # a deferred result is computed here
        return y

    def backward(self) -> Tensor:
        """The gradient of the values; those of the parameters are computed with it."""
        gx: Tensor = grad([self._y], [self._x, *self._params], [self._g], retain_graph=True)[0]
        _ = gx.array
        return gx


class _Theirs:
    """The same in PyTorch, in one of its memory layouts."""

    def __init__(self, function: Function, peer: Torch, dtype: str, layout: str):
        self._torch, self._function, self._images = peer.torch, function.theirs, bool(layout)
        make: Any = (lambda a: peer.images(a, "cpu", layout)) if layout else peer.tensor
        self._x = make(normal("x", function.shape, dtype)).requires_grad_()
        self._params = [peer.tensor(_param(i, function, dtype)).requires_grad_() for i in range(function.params)]
        self._y = self.forward()
        shape = function.shape if self._y.ndim else ()
        self._g = make(normal("g", shape, dtype)) if shape else peer.tensor(normal("g", (), dtype))

    def forward(self) -> Any:
        """The result."""
        return self._function(self._torch, self._x, *self._params)

    def backward(self) -> Any:
        """The gradient of the values; those of the parameters are computed with it."""
        return self._torch.autograd.grad(self._y, [self._x, *self._params], self._g, retain_graph=True)[0]

    def array(self, result: Any) -> np.ndarray:
        """A result in our layout, as float64."""
        wide = result.detach().to(self._torch.float64)
        return np.asarray((wide.permute(0, 2, 3, 1) if self._images and wide.ndim == 4 else wide).numpy())


def _param(index: int, function: Function, dtype: str) -> np.ndarray:
    drawn = 1 + 0.1 * np.arange(function.shape[-1]) % 1 if index == 0 else np.zeros(function.shape[-1])
    return drawn.astype(as_dtype(dtype))


def _theirs(function: Function, peer: Torch | None, dtype: str) -> dict[str, _Theirs]:
    if peer is None:
        return {}
    layouts = LAYOUTS if len(function.shape) == 4 else ("",)
    return {f"{PREFIX} cpu {layout}".rstrip(): _Theirs(function, peer, dtype, layout) for layout in layouts}
