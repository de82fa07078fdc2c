"""The recorder of a ledger: it notes every kernel that a GPU would launch, every allocation, and every wait.

It runs backends' functions with the real plans (stand_in.py), and knows of each launch which op made it, in which phase
of the step, and what it reads and writes: every array that a kernel touches, once.
"""

from __future__ import annotations

import collections
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .. import backends
from ..lines import line_of_user
from ..op import Op
from ..outline import Buffer, Outline
from ..recorder import Call, Recorder
from ..roofline import Gpu
from ..settings import current_precision
from . import seconds

FORWARD, BACKWARD, OPTIMIZER = "forward", "backward", "optimizer"
BY_ADDRESS = -1  # stands for the bytes of a launch whose arrays are not known yet
_OURS = f"{Path(__file__).parent.parent}/"
_BELOW = tuple(f"{_OURS}{name}" for name in ("ledger/", "outline", "recorder", "device"))


class Launch(NamedTuple):
    """Kernels that one call has launched, or with none a copy from or to the host, or a wait of the host.

    phase: "forward", "backward of" an op, or "optimizer". op: the op that ran. read, written, temporary: bytes.
    seconds: the predicted time.
    """

    phase: str
    op: str
    kernel: str
    launches: int
    read: int = 0
    written: int = 0
    flops: int = 0
    temporary: int = 0
    waits: int = 0
    seconds: float = 0.0


class Wait(NamedTuple):
    """A place where the host waits for the GPU: the op, what it waits for, and the user's line."""

    op: str
    what: str
    line: str


class LedgerRecorder(Recorder):
    """Notes launches, allocations and waits.

    gpu: the GPU of which the time is predicted. native: the backend whose plans are made; None where no module is
    built, and then one launch stands for each call of a backend.
    """

    def __init__(self, gpu: Gpu):
        super().__init__()
        self.gpu, self.native = gpu, None  # type: Gpu, Any
        self.phase, self.ops = FORWARD, []  # type: str, list[str]
        self.launches: list[Launch] = []
        self.waits: list[Wait] = []
        self.live = self.peak = 0
        self.held: collections.Counter[tuple[str, str]] = collections.Counter()  # live bytes by phase and op
        self.held_at_peak: dict[tuple[str, str], int] = {}
        self.memory: list[tuple[int, int]] = []  # live bytes after so many entries of `launches`
        self._flops = 0  # of the backend's call that runs, until its first kernel takes them
        self._traffic: tuple[int, int] | None = None  # the same for the bytes that its kernels read and write

    def begin(self) -> None:
        """Forget the launches so far; what was allocated stays."""
        self.launches, self.waits, self.memory, self.phase = [], [], [(0, self.live)], FORWARD
        self.peak, self.held_at_peak = self.live, dict(self.held)

    @property
    def op(self) -> str:
        """The op that runs; outside of any op, the file of convgpu that works."""
        return self.ops[-1] if self.ops else _module_at_work()

    @contextmanager
    def within(self, phase: str) -> Iterator[None]:
        """A part of the step."""
        before, self.phase = self.phase, phase
        try:
            yield
        finally:
            self.phase = before

    def named(self, op: str, compute: Callable[[], Any]) -> Any:
        """Run a function under the name of an op, as `gpu.run` does."""
        self.ops.append(op)
        try:
            return compute()
        finally:
            self.ops.pop()

    # --- kernels

    def run(self, op: str, arrays: list[Any], statics: tuple[Any, ...]) -> Any:
        """Run a backend's function, which launches kernels; without a module, one launch stands for all."""
        call = _call_of(op, arrays, statics)
        if call is not None and op in Op.registry:
            facts = Op.registry[op].facts
            self._flops = facts.work(call, current_precision()).flops
            self._traffic = None if facts.traffic is None else facts.traffic(call)
        if self.native is not None:
            function = getattr(self.native, op, None)
            if function is None:
                raise NotImplementedError(f"{op} is not implemented on backend 'cuda'; move the tensors with "
                                          ".to('cpu')")
            before = len(self.launches)
            result = self.named(op, lambda: function(*backends.arguments(op, arrays, statics)))
            self._complete(self.launches[before:], before, arrays, result)
            return result
        return self.named(op, lambda: self._run_by_facts(op, arrays, statics))

    def _complete(self, made: list[Launch], first: int, arrays: list[Any], result: Any) -> None:
        """Give the launches of one call that got lists of addresses, and no arrays, the bytes of all its arrays."""
        for i, launch in enumerate(made, first):
            if launch.read == BY_ADDRESS:
                results = [y for y in _flat([result]) if isinstance(y, Outline)]
                for y in results:
                    y.buffer.filled = True
                read = sum([x.touched for x in _flat(arrays) if isinstance(x, Outline)])
                written = sum([y.touched for y in results])
                self.launches[i] = launch._replace(read=read, written=written, seconds=seconds.of_elementwise(
                    self.gpu, launch.launches, read + written))

    def _run_by_facts(self, op: str, arrays: list[Any], statics: tuple[Any, ...]) -> Any:
        result = super().run(op, arrays, statics)
        results = [y for y in (result if isinstance(result, tuple) else (result,)) if y is not None]
        self.kernel(op, op, [x for x in arrays if x is not None] + results, None)
        return result

    def kernel(self, name: str, kernel: str, arrays: list[Outline], plan: Any, by_address: bool = False) -> None:
        """Note the kernels of one call of a launcher. It reads the arrays that something was written to before, and
        writes the others. With `by_address` it got lists of addresses: `run` knows of which arrays.
        """
        read = sum([x.touched for x in arrays if x.buffer.filled])
        written = sum([x.touched for x in arrays if not x.buffer.filled])
        for x in arrays:
            x.buffer.filled = True
        if self._traffic is not None:
            read, written = self._traffic
        elif by_address:
            read, written = BY_ADDRESS, 0
        flops, self._flops, self._traffic = self._flops, 0, None
        launches = getattr(plan, "launches", 1)
        time = seconds.of_kernel(self.gpu, name, arrays[0].dtype if arrays else np.dtype(np.float32), launches,
                                 read + written, flops, getattr(plan, "clocks", 0.0))
        self.launches.append(Launch(self.phase, self.ops[-1] if self.ops else name, kernel, launches, read, written,
                                    flops, getattr(plan, "workspace", 0), 0, time))

    def note(self, name: str, inputs: Any, *outputs: Outline, launches: int = 1, read: int | None = None,
             written: int | None = None, flops: int = 0, reduced: tuple[int, ...] = (), **facts: Any) -> None:
        """Note a function of CuPy's."""
        if not any([y.size for y in outputs]):
            return  # CuPy launches nothing where there is nothing to write
        arrays = [x for x in inputs if isinstance(x, Outline)]
        read = sum([x.touched for x in arrays]) + (read or 0)
        written = sum([y.touched for y in outputs]) if written is None else written
        for y in outputs:
            y.buffer.filled = True
        time = seconds.of_reduction(self.gpu, arrays[0], reduced) if reduced else seconds.of_elementwise(
            self.gpu, launches, read + written)
        self.launches.append(Launch(self.phase, self.op, f"cupy_{name}", launches, read, written, flops, 0, 0, time))

    # --- what the host sees

    def copied(self, array: Outline) -> None:
        """Note a copy from the host."""
        array.buffer.filled = True
        self.launches.append(Launch(self.phase, self.op, "copy from host", 0, written=array.nbytes))

    def wait(self, what: str) -> None:
        """Note that the host waits for the GPU."""
        line, function = line_of_user()
        op = self.ops[-1] if self.ops else function
        self.launches.append(Launch(self.phase, op, "host waits", 0, waits=1))
        self.waits.append(Wait(op, what, line))

    def truth_of(self, array: Outline) -> bool:
        """The host waits, and goes on as if the answer were no."""
        self.wait("bool")
        return False

    def values_of(self, array: Outline, what: str) -> np.ndarray:
        """The host waits, and goes on with zeros."""
        self.wait(what)
        return np.broadcast_to(np.zeros((), array.dtype), array.shape)

    # --- memory

    def allocated(self, buffer: Buffer) -> None:
        """Add a new buffer to what is live."""
        buffer.owner = self.phase.partition(" ")[0], self.op
        self.live += buffer.nbytes
        self.held[buffer.owner] += buffer.nbytes
        self.memory.append((len(self.launches), self.live))
        if self.live > self.peak:
            self.peak, self.held_at_peak = self.live, dict(self.held)

    def freed(self, buffer: Buffer) -> None:
        """Take a buffer off what is live."""
        self.live -= buffer.nbytes
        self.held[buffer.owner] -= buffer.nbytes
        self.memory.append((len(self.launches), self.live))


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value


def _call_of(op: str, arrays: list[Any], statics: tuple[Any, ...]) -> Call | None:
    """The call, if its operands are single arrays."""
    if not all([x is None or isinstance(x, Outline) for x in arrays]):
        return None
    first = next((x for x in arrays if x is not None), None)
    return None if first is None else Call(op, tuple([None if x is None else x.shape for x in arrays]), statics,
                                           first.dtype.name)


def _module_at_work() -> str:
    """The innermost file of this package that is neither a part of the ledger nor of arrays."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_OURS) and not name.startswith(_BELOW):
            return Path(name).stem
        frame = frame.f_back
    return "step"
