"""A GPU that does nothing, for the time of Python alone: the engine runs as on a GPU, and no launch leaves it.

Arrays have sizes and no memory, and making one takes about as long as CuPy takes. The compiled module makes its plans
for the chosen GPU, and crosses into C++ with what a launcher takes; the launchers return at once. The few functions of
CuPy that a step calls besides are those of the ledger's arrays (convgpu/outline.py).
"""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from convgpu import backends, gpu, info
from convgpu.backends.native import Native
from convgpu.explain import chosen_gpu, planner
from convgpu.facts.facts import device_of
from convgpu.ledger.stand_in import DryCupy
from convgpu.outline import Buffer, Outline, row_major
from convgpu.recorder import Recorder


class Idle(Recorder):
    """A recorder that takes no notes. Backends' functions run."""

    def __init__(self) -> None:
        super().__init__()
        self.native: Any = None
        self.memory = Buffer(self, 1)  # the one of all arrays

    def run(self, op: str, arrays: list[Any], statics: tuple[Any, ...]) -> Any:
        """Run the backend's function."""
        return getattr(self.native, op)(*backends.arguments(op, arrays, statics))

    def note(self, *args: Any, **facts: Any) -> None:
        """Nothing."""

    def copied(self, array: Outline) -> None:
        """Nothing."""

    def values_of(self, array: Outline, what: str) -> np.ndarray:
        """No step may wait."""
        raise AssertionError(f"a step waits for a value: {what}")


class Blank(Outline):
    """A row-major array that is quickly made."""

    contiguous = True
    flags = types.SimpleNamespace(c_contiguous=True, f_contiguous=False, writeable=True)
    data = types.SimpleNamespace(ptr=1 << 40)

    def __init__(self, recorder: Idle, shape: tuple[int, ...], dtype: np.dtype):  # noqa - the parent's does too much
        self.recorder, self.shape, self.dtype, self.buffer, self.offset = recorder, shape, dtype, recorder.memory, 0
        self.size, self.ndim, self.itemsize = math.prod(shape), len(shape), dtype.itemsize
        self.nbytes, self.strides = self.size * self.itemsize, row_major(shape, self.itemsize)

    def reshape(self, *shape: Any, **options: Any) -> Outline:
        """A view."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        if -1 in wanted or options:
            return super().reshape(*shape, **options)
        return Blank(self.recorder, wanted, self.dtype)


class IdleCupy(DryCupy):
    """CuPy whose new arrays are Blanks."""

    def empty(self, shape: Any, dtype: Any = np.float64) -> Outline:
        """A new array."""
        return Blank(self._recorder, shape if type(shape) is tuple else (shape,), np.dtype(dtype))

    def ascontiguousarray(self, array: Outline, dtype: Any = None) -> Outline:
        """The array itself, where it is what is asked for."""
        if type(array) is Blank and (dtype is None or dtype == array.dtype):
            return array
        return super().ascontiguousarray(array, dtype)


class IdleModule:
    """A compiled module that plans for one GPU, and whose launchers do nothing."""

    def __init__(self, real: Any, device: Any):
        self._real, self._device = real, device

    def device_key(self) -> int:
        """One GPU."""
        return 0

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._real, name)
        if name.startswith("plan_"):
            takes_device = "device:" in (function.__doc__ or "")
            found = (lambda *a, **o: function(*a, device=self._device, **o)) if takes_device else function
        else:
            found = function if isinstance(function, type) or not callable(function) else _nothing
        setattr(self, name, found)
        return found


def _nothing(*arguments: Any) -> None:
    pass


@contextmanager
def idle_gpu(device: str = "H200") -> Iterator[Any]:
    """Let an idle GPU stand in for CuPy and its backend; its arrays' maker, of shape and dtype, is given."""
    _, chosen = chosen_gpu(device, "idle_gpu")
    real, recorder = planner(), Idle()
    if real is None or chosen is None:
        raise RuntimeError("idle_gpu: expected a compiled module, which makes the plans; build convgpu._emulated")
    recorder.native = Native("cuda", IdleModule(real.module, device_of(real, chosen)))  # type: ignore[arg-type]
    cupy = IdleCupy(recorder)  # type: ignore[arg-type]
    with ExitStack() as undo:
        for holder, name, value in ((gpu, "_touched", False), (gpu, "_lost", None),
                                    (info, "gpu_obstacle", lambda: None)):
            undo.callback(setattr, holder, name, getattr(holder, name))
            setattr(holder, name, value)
        for mapping, key, value in ((sys.modules, "cupy", cupy), (backends._loaded, "cuda", recorder.native)):
            before = mapping.get(key)
            undo.callback(mapping.pop if before is None else mapping.__setitem__, key, before)
            mapping[key] = value
        yield cupy.empty
