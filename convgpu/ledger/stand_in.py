"""A stand-in for the GPU, for as long as a ledger is kept: CuPy on arrays without values, and the kernels' real plans.

The engine runs as it does on a GPU: it finds a module `cupy`, whose arrays are Outlines, and a backend "cuda". This
backend is the one that a GPU runs (convgpu/backends/native), down to its copies, its results and its workspace; but its
compiled module makes plans and notes launches, and launches nothing.
"""

from __future__ import annotations

import functools
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np

from .. import backends, gpu, gradients, info, optim
from ..backends.native import Native
from ..dtypes import as_dtype
from ..facts.facts import device_of
from ..generator import Generator
from ..outline import Outline
from ..outline_functions import contiguous
from .recording import BACKWARD, OPTIMIZER, LedgerRecorder

_one_at_a_time = threading.RLock()


class DryCupy(types.ModuleType):
    """The part of CuPy that the engine calls by its name; what is called through NumPy, Outlines answer."""

    __version__ = "14.0.0"
    ndarray = Outline

    def __init__(self, recorder: LedgerRecorder):
        super().__init__("cupy")
        self._recorder = recorder
        stream = types.SimpleNamespace(ptr=0, synchronize=lambda: recorder.wait("synchronize"))
        self.runtime = types.SimpleNamespace(
            CUDARuntimeError=type("CUDARuntimeError", (RuntimeError,), {}), getDeviceCount=lambda: 1,
            getDevice=lambda: 0, deviceSynchronize=lambda: recorder.wait("deviceSynchronize"))
        self.cuda = types.SimpleNamespace(runtime=self.runtime, get_current_stream=lambda: stream)

    def get_default_memory_pool(self) -> Any:
        """The pool, which holds nothing."""
        return types.SimpleNamespace(free_all_blocks=lambda: None, used_bytes=lambda: self._recorder.live)

    def empty(self, shape: Any, dtype: Any = np.float64) -> Outline:
        """Memory that nothing was written to."""
        return self._recorder.array((int(shape),) if isinstance(shape, (int, np.integer)) else tuple(shape), dtype)

    def _filled(self, name: str, shape: Any, dtype: Any) -> Outline:
        y = self.empty(shape, dtype)
        self._recorder.note(name, [], y)
        return y

    def zeros(self, shape: Any, dtype: Any = np.float64) -> Outline:
        """Memory that is set to zero."""
        return self._filled("zeros", shape, dtype)

    def ones(self, shape: Any, dtype: Any = np.float64) -> Outline:
        """Memory that is filled."""
        return self._filled("ones", shape, dtype)

    def full(self, shape: Any, value: Any, dtype: Any = None) -> Outline:
        """Memory that is filled."""
        return self._filled("full", shape, np.asarray(value).dtype if dtype is None else dtype)

    def arange(self, *limits: Any, dtype: Any = None) -> Outline:
        """Whole numbers."""
        values = np.arange(*limits, dtype=dtype)
        return self._filled("arange", values.shape, values.dtype)

    def asarray(self, value: Any, dtype: Any = None) -> Outline:
        """The array itself, or a copy of one on the host."""
        if isinstance(value, Outline):
            return value if dtype is None else value.astype(dtype, copy=False)
        host = np.asarray(value, dtype=dtype)
        y = self._recorder.array(host.shape, host.dtype)
        self._recorder.copied(y)
        return y

    array = asarray

    def ascontiguousarray(self, array: Outline, dtype: Any = None) -> Outline:
        """The array itself, or a row-major copy, in a dtype."""
        return contiguous(array) if dtype in (None, array.dtype) else contiguous(array).astype(dtype)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NotImplementedError(f"ledger: expected functions of CuPy that the ledger knows, got cupy.{name}")


class Crossed(NamedTuple):
    """An array on its way to a launcher, and the address for which the plan is made."""

    address: int
    array: Outline


class Bundle:
    """What an object of the module would hold that several arrays cross in, or the addresses of a list of arrays."""


class PlannedModule:
    """A compiled module whose planners plan for a chosen GPU, and whose launchers only note what they would launch."""

    def __init__(self, real: Native, recorder: LedgerRecorder):
        self._real, self._recorder = real.module, recorder
        self._device = device_of(real, recorder.gpu)

    def device_key(self) -> int:
        """One GPU for the whole ledger."""
        return 0

    def current_device(self) -> Any:
        """The chosen GPU, as the module describes it."""
        return self._device

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._real, name)
        if name.startswith("plan_"):
            chosen = {"device": self._device} if "device:" in (function.__doc__ or "") else {}
            function = functools.partial(function, **chosen)
        elif isinstance(function, type):
            function = functools.partial(self._made, function)
        elif callable(function):
            function = functools.partial(self._launch, name)
        setattr(self, name, function)  # so that it is found at once the next time
        return function

    def _made(self, kind: type, *args: Any, **options: Any) -> Any:
        """An object of the module, such as a geometry, unless arrays cross in it."""
        holds = any(isinstance(a, Crossed) for a in (*args, *options.values()))
        return Bundle() if holds or kind.__name__ == "ArrayList" else kind(*args, **options)

    def _launch(self, name: str, *args: Any) -> None:
        plan = next((a for a in args if hasattr(a, "launches")), None)
        kernel = plan.text.partition(" ")[0] if plan is not None else name
        self._recorder.kernel(name, kernel, [a.array for a in args if isinstance(a, Crossed)], plan,
                              any(isinstance(a, Bundle) for a in args))


class DryNative(Native):
    """The backend of the GPU, on Outlines."""

    def __init__(self, real: Native, recorder: LedgerRecorder):
        super().__init__("cuda", PlannedModule(real, recorder))  # type: ignore[arg-type]

    def array(self, array: Any) -> Any:
        """The array itself: nothing crosses."""
        return Crossed(self._pointer(array), array)


@contextmanager
def standing_in(recorder: LedgerRecorder, real: Native | None) -> Iterator[None]:
    """Let the recorder stand in for CuPy, the GPU and its backend. One thread at a time may do so."""
    with _one_at_a_time, ExitStack() as undo:
        undo.enter_context(_replaced(sys.modules, "cupy", DryCupy(recorder)))
        recorder.native = None if real is None else DryNative(real, recorder)
        if recorder.native is not None:
            undo.enter_context(_replaced(backends._loaded, "cuda", recorder.native))
        found: _Found = weakref.WeakKeyDictionary()
        undo.callback(_restore, found)
        step = _restored(recorder, optim.Optimizer.step, found)
        for module, name, stand_in in (
                (gpu, "_watcher", recorder.named), (gpu, "_touched", False), (gpu, "_lost", None),
                (info, "gpu_obstacle", lambda: None),
                (gradients, "_walk", _in_phase(recorder, BACKWARD, gradients._walk)),
                (gradients, "_input_gradients", _in_backward(recorder, gradients._input_gradients)),
                (optim.Optimizer, "step", _in_phase(recorder, OPTIMIZER, step)),
                (optim.LossScale, "beside", _restored(recorder, optim.LossScale.beside, found)),
                (Generator, "draw", _restored(recorder, Generator.draw, found)),
                (Generator, "to", _restored(recorder, Generator.to, found))):
            undo.enter_context(_replaced_attribute(module, name, stand_in))
        keras = sys.modules.get("keras.src.optimizers.base_optimizer")
        if keras is not None:
            apply = keras.BaseOptimizer.apply
            undo.enter_context(_replaced_attribute(keras.BaseOptimizer, "apply", _in_phase(recorder, OPTIMIZER, apply)))
        yield


@contextmanager
def _replaced(mapping: Any, key: str, value: Any) -> Iterator[None]:
    absent = object()
    before, mapping[key] = mapping.get(key, absent), value
    try:
        yield
    finally:
        if before is absent:
            del mapping[key]
        else:
            mapping[key] = before


@contextmanager
def _replaced_attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _in_phase(recorder: LedgerRecorder, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **options: Any) -> Any:
        with recorder.within(phase):
            return function(*args, **options)

    return run


def _in_backward(recorder: LedgerRecorder, input_gradients: Callable[..., Any]) -> Callable[..., Any]:
    def run(node: Any, *args: Any, **options: Any) -> Any:
        with recorder.within(f"{BACKWARD} of {node.op.name}"):
            return input_gradients(node, *args, **options)

    return run


_Found = weakref.WeakKeyDictionary[Any, dict[str, Any]]  # objects, and what they were


def _restored(recorder: LedgerRecorder, method: Callable[..., Any], found: _Found) -> Callable[..., Any]:
    """A method of an optimizer, of a part of it, or of a generator, on Outlines. `found` gets what the object was."""
    def run(self: Any, *args: Any, **options: Any) -> Any:
        if self not in found:
            found[self] = dict(vars(self))
            vars(self).update({name: _as_outlines(recorder, value) for name, value in found[self].items()})
        return method(self, *args, **options)

    return run


def _restore(found: _Found) -> None:
    """Let the objects be what they were. Those that nobody else holds are gone, as their memory is on a GPU."""
    for holder, before in found.items():
        holder.__dict__.clear()
        holder.__dict__.update(before)


def _as_outlines(recorder: LedgerRecorder, value: Any) -> Any:
    """A tree of arrays as a tree of Outlines; anything else as it is."""
    if isinstance(value, dict):
        return {key: _as_outlines(recorder, v) for key, v in value.items()}
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)([_as_outlines(recorder, v) for v in value])
    if hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, np.generic):
        outline = recorder.array(value.shape, as_dtype(value.dtype))
        outline.buffer.filled = True
        return outline
    return value
