"""A stand-in for CuPy on NumPy memory, for what Python does around a GPU: devices, dispatch, memory, errors.

It proves nothing of CuPy's arithmetic, and nothing of a GPU. What it takes from the real CuPy, without needing a GPU,
is its surface (tests/cupy_surface.json, written by `python tests/fake_cupy.py` beside an installed CuPy): which
functions there are, with which parameters, and which dtypes its ufuncs are compiled for. And it is as strict as CuPy:
its arrays are no NumPy arrays, convert to none in silence and meet none in a call, results of no axes stay arrays,
indices out of bounds wrap around, and which of several values for one element stays is not the last (on a GPU it is
any). What a stream computes cannot be read in another one before that is waited for. bfloat16 can be stored, converted
and indexed, and not computed with. `device.waits` lists the calls for which the host waits (a value that Python needs,
a mask whose true elements are counted), `device.copies` the copies from the host.
"""

from __future__ import annotations

import importlib.util
import inspect
import itertools
import json
import sys
import threading
import time
import types
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

SURFACE = Path(__file__).parent / "cupy_surface.json"
_surface = json.loads(SURFACE.read_text(encoding="utf-8"))
__version__ = _surface["version"]


# --- the device: what tests may change


class CUDARuntimeError(RuntimeError):
    """An error of CUDA, by its name."""


class OutOfMemoryError(MemoryError):
    """CuPy's, with its text."""


class Device:
    """What goes wrong, and what is counted. `reset()` between tests."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """A GPU in good health."""
        self.gpus, self.current = 1, 0
        self.fault: str | None = None  # an error that every call gives
        self.failing_allocations, self.shortage = 0, None
        self.frees, self.synchronizations = 0, 0
        self.waits: list[str] = []  # for each time that the host waits: what for, and the lines that asked
        self.copies: list[tuple[int, str]] = []  # for each copy from the host: its bytes, and the lines that asked
        self.stream = 0
        self.not_blocking: set[int] = set()  # streams that are not ordered with stream 0 either
        self.made = 0  # how many arrays there have been
        self.finished: dict[int, int] = {}  # by stream: how many there had been when the host last waited for it
        self.all_finished = 0  # the same of all streams
        self.capturing, self.captures = False, 0
        self.capturing_stream = 0
        self.tape: Graph | None = None  # what is recorded while a stream captures
        self.pinned: dict[int, Any] = {}  # memory that copies need not be waited for, by its id

    def check(self) -> None:
        """What any call of CUDA finds."""
        if self.fault is not None:
            raise CUDARuntimeError(self.fault)


device = Device()
_PLUMBING = ("fake_cupy.py", "gpu.py", "device.py", "autograd.py", "op.py", "tensor.py", "traceback_utils.py")


def _lines() -> str:
    """The innermost lines that are neither of the stand-in nor of what runs every op, the last one first."""
    frame, found = sys._getframe(1), []
    while frame is not None and len(found) < 3:
        path = Path(frame.f_code.co_filename)
        if path.name not in _PLUMBING and "numpy" not in path.parts[:-1]:
            found.append(f"{'/'.join(path.parts[-2:])}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back  # type: ignore[assignment]
    return ", called by ".join(found)


def _wait(reason: str) -> None:
    """The host waits until the GPU has computed a value that the host needs."""
    if device.capturing and device.stream == device.capturing_stream:
        raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: not permitted when a stream is capturing")
    device.waits.append(f"{reason}: {_lines()}")
    device.synchronizations += 1
    device.check()


def _check_order(array: ndarray) -> None:
    """Raise where the array is read in one stream before another has computed it. On a GPU the values are any."""
    ours, other = device.stream, array._stream
    apart = other != ours and (0 not in (ours, other) or not device.not_blocking.isdisjoint((ours, other)))
    if apart and array._number > max(device.all_finished, device.finished.get(other, 0)):
        raise AssertionError(f"read in stream {ours:#x} what stream {other:#x} computes, before it has been waited for")
    device.finished[ours] = device.made


def _allocate(nbytes: int) -> None:
    device.check()
    if device.failing_allocations > 0:
        device.failing_allocations -= 1
        message = f"Out of memory allocating {nbytes:,} bytes (allocated so far: 0 bytes)."
        raise device.shortage or OutOfMemoryError(message)


_numbers = itertools.count()


class _Stream:
    def __init__(self, ptr: int | None = None, non_blocking: bool = False):
        self.ptr = 0x5eed + next(_numbers) if ptr is None else ptr
        if non_blocking:
            device.not_blocking.add(ptr)

    def __enter__(self) -> _Stream:
        self._before, device.stream = device.stream, self.ptr
        return self

    def __exit__(self, *exc: object) -> None:
        device.stream = self._before

    def synchronize(self) -> None:
        before, device.stream = device.stream, self.ptr
        try:
            _wait("synchronize")
        finally:
            device.stream = before
        device.finished[self.ptr] = device.made

    def record(self) -> _Event:
        """A moment in this stream."""
        event = _Event()
        event.record(self)
        return event

    def wait_event(self, event: _Event) -> None:
        """What this stream is given from now on comes after the moment, and may read what had been made by then."""
        device.check()
        device.finished[event.stream] = max(device.finished.get(event.stream, 0), event.made)

    def begin_capture(self, mode: int | None = None) -> None:
        """What runs is recorded from here on. It runs all the same, for its sizes; what it writes is taken back."""
        device.check()
        if self.ptr in (0, 1, 2):
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: the default stream cannot capture")
        device.capturing, device.capturing_stream, device.tape = True, self.ptr, Graph()

    def end_capture(self) -> Any:
        """The graph. Memory that was made while it was recorded is full of 0xff now, and other memory as before."""
        graph, device.capturing, device.tape = device.tape, False, None
        device.captures += 1
        if graph is None:
            raise CUDARuntimeError("cudaErrorIllegalState: the stream does not capture")
        graph.ready()
        return graph


class Graph:
    """CuPy's graph: what was launched while a stream captured, to be launched again on the same memory."""

    def __init__(self) -> None:
        self.launches: list[Any] = []
        self.memory: dict[int, Any] = {}  # by address: what was made while recording, which nobody else gets
        self.before: list[tuple[Any, Any]] = []  # memory that is older than the graph, and what it held

    def made(self, host: np.ndarray) -> None:
        """Memory is made."""
        if host.size:
            self.memory[_root(host).ctypes.data] = host

    def writes(self, host: np.ndarray, compute: Any) -> None:
        """Add a launch that writes to memory what `compute` returns."""
        if _root(host).ctypes.data not in self.memory:
            self.before.append((host, host.copy()))

        def launch() -> None:
            value = np.asarray(compute())
            writeable, host.flags.writeable = host.flags.writeable, True
            host[...] = value
            host.flags.writeable = writeable

        self.launches.append(launch)

    def ready(self) -> None:
        """Recording is over: nothing has been computed."""
        for host, value in reversed(self.before):
            host[...] = value
        for host in self.memory.values():
            _root(host).reshape(-1).view(np.uint8).fill(0xff)
        self.before = []

    def launch(self, stream: Any = None) -> None:
        """Compute everything, in order."""
        device.check()
        if device.capturing:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: a graph in a capture")
        for launch in self.launches:
            launch()


def _root(host: np.ndarray) -> np.ndarray:
    while isinstance(host.base, np.ndarray):
        host = host.base
    return host


class Recorded(types.ModuleType):
    """The emulated kernels in the place of convgpu._cuda, whose launches are recorded while a stream captures."""

    def __init__(self, module: types.ModuleType):
        super().__init__("convgpu._cuda")
        self._module, self.__spec__ = module, module.__spec__

    def __dir__(self) -> list[str]:
        return dir(self._module)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        if isinstance(found, type) or not callable(found) or name.startswith(("plan_", "__")) or name in _NO_LAUNCHES:
            return found

        def run(*args: Any, **options: Any) -> Any:
            result = found(*args, **options)
            if device.tape is not None:
                device.tape.launches.append(lambda: found(*args, **options))
            return result

        return run


_NO_LAUNCHES = ("address", "device_key", "current_device", "emulate", "launches")


class MemoryPool:
    """CuPy's pool: which memory was made through it, and how much of that is still there."""

    def __init__(self) -> None:
        self.arrays: list[weakref.ref[Any]] = []

    def malloc(self, nbytes: int) -> None:
        """The allocator's name: `using_allocator` knows the pool by it."""

    def used_bytes(self) -> int:
        """The bytes of arrays that are alive."""
        return sum(a.nbytes for a in [r() for r in self.arrays] if a is not None)

    total_bytes = used_bytes

    def free_all_blocks(self) -> None:
        """Nothing waits to be freed."""


class _Allocators(threading.local):
    pools: tuple[Any, ...] = ()


_allocators = _Allocators()


@contextmanager
def using_allocator(allocator: Any = None) -> Iterator[None]:
    """Let this thread's arrays be made by a pool."""
    before = _allocators.pools
    _allocators.pools = (*before, getattr(allocator, "__self__", None))
    try:
        yield
    finally:
        _allocators.pools = before


def _synchronize() -> None:
    _wait("synchronize")
    device.all_finished = device.made


class _Event:
    """A moment on the host: nothing here runs behind the caller."""

    done = True

    def __init__(self) -> None:
        self.at, self.stream, self.made = 0.0, 0, 0

    def record(self, stream: _Stream | None = None) -> None:
        self.at, self.made = time.perf_counter(), device.made
        self.stream = device.stream if stream is None else stream.ptr

    def synchronize(self) -> None:
        _synchronize()


runtime = types.SimpleNamespace(CUDARuntimeError=CUDARuntimeError, getDeviceCount=lambda: device.gpus,
                                getDevice=lambda: device.current, deviceSynchronize=_synchronize,
                                getDeviceProperties=lambda index: {"name": b"stand-in", "l2CacheSize": 1 << 10})
cuda = types.SimpleNamespace(runtime=runtime, Stream=_Stream, get_current_stream=lambda: _Stream(device.stream),
                             memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError), Event=_Event,
                             get_elapsed_time=lambda start, stop: 1e3 * (stop.at - start.at),
                             set_allocator=lambda allocator: None, MemoryPool=MemoryPool,
                             using_allocator=using_allocator, Graph=Graph,
                             alloc_pinned_memory=lambda nbytes: _pinned(nbytes))


def _pinned(nbytes: int) -> bytearray:
    device.check()
    memory = bytearray(nbytes)
    device.pinned[id(memory)] = memory
    return memory


def _base(array: Any) -> Any:
    """The memory behind views of an array."""
    while isinstance(array, (np.ndarray, memoryview)):
        array = array.obj if isinstance(array, memoryview) else array.base
    return array


def get_default_memory_pool() -> Any:
    """The pool, of which only free_all_blocks is there."""
    def free_all_blocks() -> None:
        device.frees += 1

    return types.SimpleNamespace(free_all_blocks=free_all_blocks)


# --- arrays


_owners: weakref.WeakValueDictionary[int, ndarray] = weakref.WeakValueDictionary()  # by the id of NumPy's root array


class ndarray:  # noqa: N801 - CuPy's name
    """An array whose memory only this module touches."""

    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, host: np.ndarray, index: int = 0):
        self._host, self._index = host, index
        device.made += 1
        self._stream, self._number = device.stream, device.made
        root = _root(host)
        self.base = _owners.get(id(root))  # CuPy's views hold the array that owns their memory
        if self.base is None:
            _owners[id(root)] = self

    def __array__(self, *args: Any, **options: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()` to construct a NumPy "
                        "array explicitly.")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if ufunc is np.matmul and all(isinstance(x, ndarray) and x.dtype.kind in "iub" for x in inputs):
            return _new(np.asarray(np.matmul(*[x._host for x in inputs])))
        if method != "__call__" or ufunc.__name__ not in _surface["ufuncs"]:
            return NotImplemented
        out = options.pop("out", (None,))[0]
        if options:
            raise TypeError(f"{ufunc.__name__}: options {sorted(options)}")
        return _call_ufunc(ufunc, inputs, out)

    def __array_function__(self, func: Any, types: Any, args: Any, options: Any) -> Any:
        name = func.__name__
        if func.__module__ in ("numpy.linalg", "numpy.fft") and name in _surface[func.__module__[6:]]:
            return _to_gpu(func(*_to_host(name, args), **options))
        if func.__module__ == "numpy" and name in _surface["ufuncs"]:  # a function of NumPy's that CuPy has as a ufunc
            return _call_ufunc(func, args, None)
        if func.__module__ != "numpy" or name not in _surface["functions"]:
            return NotImplemented
        return _call_function(func.__name__, args, options)

    # what it is

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    nbytes = property(lambda self: self._host.nbytes)
    itemsize = property(lambda self: self._host.itemsize)
    strides = property(lambda self: self._host.strides)
    flags = property(lambda self: self._host.flags)
    device = property(lambda self: types.SimpleNamespace(id=self._index))
    real = property(lambda self: ndarray(self._host.real))
    imag = property(lambda self: ndarray(self._host.imag))
    data = property(lambda self: types.SimpleNamespace(ptr=self._host.ctypes.data if self._host.size else 0))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"data": (self.data.ptr, False), "shape": self.shape, "typestr": self.dtype.str, "version": 3}

    # to the host

    def get(self) -> np.ndarray:
        """A copy in the host's memory."""
        _wait(f"{self.dtype}{list(self.shape)}")
        _check_order(self)
        return self._host.copy()

    def set(self, host: np.ndarray, stream: _Stream | None = None) -> None:
        """Copy from the host, which goes on without waiting."""
        device.check()
        if device.capturing and (device.stream if stream is None else stream.ptr) == device.capturing_stream:
            raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: a copy from pageable memory")
        if stream is not None and id(_base(host)) not in device.pinned:
            raise AssertionError("set: expected pinned memory for a copy that the host does not wait for")
        device.copies.append((host.nbytes, _lines()))
        if device.tape is not None:  # a copy beside the graph, to memory that is not the graph's then
            device.tape.memory.pop(_root(self._host).ctypes.data, None)
        self._host[...] = host
        device.made += 1
        self._stream, self._number = device.stream if stream is None else stream.ptr, device.made

    def item(self) -> Any:
        """The one element."""
        return self.get().item()

    def __bool__(self) -> bool:
        return bool(self.get())

    def __int__(self) -> int:
        return int(self.get())

    def __float__(self) -> float:
        return float(self.get())

    def __index__(self) -> int:
        return self.get().__index__()

    def __contains__(self, value: Any) -> bool:
        raise TypeError("argument of type 'cupy.ndarray' is not iterable")

    def __len__(self) -> int:
        return len(self._host)

    def __dlpack__(self, *, stream: Any = None) -> Any:
        return self._host.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, self._index

    # copies and views

    def copy(self, order: str = "C") -> ndarray:
        """A row-major copy."""
        return _launched(lambda: self._host.copy(order))

    def astype(self, dtype: Any, copy: bool = True) -> ndarray:
        """The elements as another type."""
        if not copy and self.dtype == dtype:
            return self
        return _launched(lambda: self._host.astype(dtype))

    def view(self, dtype: Any = None) -> ndarray:
        """The same memory."""
        return ndarray(self._host.view() if dtype is None else self._host.view(dtype))

    def fill(self, value: Any) -> None:
        """The same value everywhere."""
        device.check()
        _write(self._host, lambda: np.full(self.shape, value, self.dtype))

    def reshape(self, *shape: Any) -> ndarray:
        """The same elements, row-major."""
        made = self._host.reshape(*shape)
        if np.may_share_memory(made, self._host) or not made.size:
            return ndarray(made)
        return _launched(lambda: self._host.reshape(*shape))

    def transpose(self, *axes: Any) -> ndarray:
        """A view."""
        return ndarray(self._host.transpose(*axes))

    def swapaxes(self, a: int, b: int) -> ndarray:
        """A view."""
        return ndarray(self._host.swapaxes(a, b))

    def ravel(self) -> ndarray:
        """One axis."""
        return self.reshape(-1)

    def sum(self, axis: Any = None, dtype: Any = None, out: None = None, keepdims: bool = False) -> ndarray:
        """As the function."""
        return _call_function("sum", (self,), {"axis": axis, "dtype": dtype, "keepdims": keepdims})

    def max(self, axis: Any = None, out: None = None, keepdims: bool = False) -> ndarray:
        """As the function."""
        return _call_function("max", (self,), {"axis": axis, "keepdims": keepdims})

    def min(self, axis: Any = None, out: None = None, keepdims: bool = False) -> ndarray:
        """As the function."""
        return _call_function("min", (self,), {"axis": axis, "keepdims": keepdims})

    def any(self, axis: Any = None, out: None = None, keepdims: bool = False) -> ndarray:
        """As the function."""
        return _call_function("any", (self,), {"axis": axis, "keepdims": keepdims})

    def all(self, axis: Any = None, out: None = None, keepdims: bool = False) -> ndarray:
        """As the function."""
        return _call_function("all", (self,), {"axis": axis, "keepdims": keepdims})

    # indices

    def __getitem__(self, index: Any) -> ndarray:
        at = self._index_of(index)
        taken = self._host[at]
        if isinstance(taken, np.ndarray) and taken.base is not None:
            return ndarray(taken)
        return _launched(lambda: np.asarray(self._host[at]))

    def __setitem__(self, index: Any, values: Any) -> None:
        device.check()
        at = self._index_of(index)
        if isinstance(values, (np.ndarray, list, tuple)):
            raise TypeError(f"{type(values)} in assignment")
        values = values._host if isinstance(values, ndarray) else values
        if device.tape is not None:  # the whole array is written again, with what was assigned

            def assigned() -> np.ndarray:
                host = self._host.copy()
                ndarray._put(ndarray(host), at, values)
                return host

            _write(self._host, assigned)
            return
        self._put(at, values)

    def _put(self, at: tuple[Any, ...], values: Any) -> None:
        if any(isinstance(i, np.ndarray) and i.dtype.kind in "iu" for i in at):  # not the last, but the first stays
            places = np.arange(self.size).reshape(self.shape)[at]
            terms = np.broadcast_to(values, places.shape).ravel()[::-1]
            places = places.ravel()[::-1]
            for place, term in zip(places.tolist(), terms):
                self._host[np.unravel_index(place, self.shape)] = term
        else:
            self._host[at] = values

    def _index_of(self, index: Any) -> tuple[Any, ...]:
        """The index with host arrays, and those of integers wrapped around."""
        parts = index if isinstance(index, tuple) else (index,)
        if any(isinstance(i, (np.ndarray, list)) for i in parts):
            raise TypeError("index on the host")
        hosts = [i._host if isinstance(i, ndarray) else i for i in parts]
        if any(_is_mask(i) and i.size for i in hosts):
            _wait("a mask as an index, whose true elements are counted first")
        used = [0 if i is None or i is Ellipsis else i.ndim if _is_mask(i) else 1 for i in hosts]
        for at, i in enumerate(hosts):
            if isinstance(i, np.ndarray) and i.dtype.kind in "iu":
                after_ellipsis = any(j is Ellipsis for j in hosts[:at])
                axis = self.ndim - sum(used[at:]) if after_ellipsis else sum(used[:at])
                hosts[at] = i.astype(np.int64) % max(self.shape[axis], 1)
        return tuple(hosts)


def _is_mask(i: Any) -> bool:
    return isinstance(i, np.ndarray) and i.dtype.kind == "b"


def _new(host: np.ndarray) -> ndarray:
    _allocate(host.nbytes)
    if device.tape is not None:
        device.tape.made(host)
    pool = _allocators.pools[-1] if _allocators.pools else None
    if pool is not None:
        pool.arrays.append(weakref.ref(host))
    return ndarray(host)


def _launched(compute: Any) -> ndarray:
    """An array of what a launch computes; while a stream captures, the launch is recorded."""
    with np.errstate(all="ignore"):
        host = np.asarray(compute())
    host = host if host.base is None and host.flags.owndata else host.copy()
    made = _new(host)
    if device.tape is not None:
        device.tape.writes(host, compute)
    return made


def _write(host: np.ndarray, compute: Any) -> None:
    """Write what a launch computes to memory that is there."""
    if device.tape is not None:
        device.tape.writes(host, compute)
    with np.errstate(all="ignore"):
        host[...] = compute()


def _operator(name: str, ufunc: np.ufunc) -> None:
    def forward(self: ndarray, other: Any) -> Any:
        return _call_ufunc(ufunc, (self, other), None)

    def reflected(self: ndarray, other: Any) -> Any:
        return _call_ufunc(ufunc, (other, self), None)

    def in_place(self: ndarray, other: Any) -> Any:
        return _call_ufunc(ufunc, (self, other), self)

    setattr(ndarray, f"__{name}__", forward)
    if name not in ("eq", "ne", "lt", "le", "gt", "ge"):
        setattr(ndarray, f"__r{name}__", reflected)
        setattr(ndarray, f"__i{name}__", in_place)


for _name, _ufunc in {"add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide, "pow": np.power,
                      "floordiv": np.floor_divide, "mod": np.remainder, "and": np.bitwise_and, "or": np.bitwise_or,
                      "xor": np.bitwise_xor, "rshift": np.right_shift, "eq": np.equal, "ne": np.not_equal,
                      "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal}.items():
    _operator(_name, _ufunc)
ndarray.__neg__ = lambda self: _call_ufunc(np.negative, (self,), None)  # type: ignore[attr-defined]
ndarray.__invert__ = lambda self: _call_ufunc(np.invert, (self,), None)  # type: ignore[attr-defined]
ndarray.__abs__ = lambda self: _call_ufunc(np.abs, (self,), None)  # type: ignore[attr-defined]


# --- functions


def _call_ufunc(ufunc: np.ufunc, inputs: Any, out: ndarray | None) -> ndarray:
    """By the first loop of CuPy's that takes the operands; Python numbers take the type beside them."""
    for x in inputs:
        if not isinstance(x, (ndarray, np.generic, int, float, complex)):
            raise TypeError(f"Unsupported type {type(x)}")
    if out is not None and not isinstance(out, ndarray):
        raise TypeError(f"return arrays must be of ArrayType, got {type(out)}")
    if not any(isinstance(x, ndarray) for x in (*inputs, out)):
        raise TypeError(f"{ufunc.__name__} of no array of the GPU")
    hosts = [x._host if isinstance(x, ndarray) else x for x in inputs]
    if any(getattr(h, "dtype", np.dtype(bool)).name == "bfloat16" for h in hosts):
        raise TypeError(f"{ufunc.__name__} of bfloat16")
    typed = [h.dtype for h in hosts if hasattr(h, "dtype")]
    dtypes = [h.dtype if hasattr(h, "dtype") else np.result_type(*typed, h) for h in hosts]
    for loop in _surface["ufuncs"][ufunc.__name__]:
        takes, gives = loop.split("->")
        if "E" in loop:  # bfloat16, which some ufuncs have a loop for, and our Python does not count on
            continue
        if all(np.can_cast(d, t) for d, t in zip(dtypes, takes)):
            break
    else:
        raise TypeError(f"Wrong type {[str(d) for d in dtypes]} of arguments for cupy_{ufunc.__name__}")

    def compute() -> np.ndarray:
        with np.errstate(all="ignore"):
            return np.asarray(ufunc(*[np.asarray(h).astype(t) for h, t in zip(hosts, takes)])).astype(gives)

    if out is None:
        return _launched(compute)
    device.check()
    if not np.can_cast(np.dtype(gives), out.dtype, "same_kind"):
        raise TypeError(f"output of {np.dtype(gives)} in {out.dtype}")
    _write(out._host, compute)
    return out


_ANY_DTYPE = {"concatenate", "zeros_like", "ones_like", "empty_like", "broadcast_to", "flip", "roll", "pad", "squeeze",
              "expand_dims", "ascontiguousarray", "asarray", "empty", "moveaxis"}
# functions that read a value of the GPU before they go on, as CuPy's documentation and sources say
_COUNTING = {"nonzero", "flatnonzero", "argwhere", "unique", "bincount", "histogram", "histogramdd", "digitize",
             "place", "putmask", "extract", "compress", "setdiff1d", "intersect1d", "union1d", "trim_zeros", "choose",
             "percentile", "quantile"}


def _call_function(name: str, args: Any, options: Any) -> Any:
    if name in ("asarray", "array") and isinstance(args[0], np.ndarray):  # the one way from NumPy's arrays to CuPy's
        return asarray(*args, **options)
    parameters = _surface["functions"][name]
    if len(args) > len(parameters) or not options.keys() <= set(parameters) | ({"constant_values"} & set(options)):
        raise TypeError(f"cupy.{name}({', '.join(parameters)}): got {len(args)} arguments and {sorted(options)}")
    if name == "where":
        if not hasattr(args[0], "astype"):
            raise AttributeError("where: a condition without astype")
        args = (args[0].astype(bool), *args[1:])
    if name in ("bincount",) and args[0].dtype.kind not in "iu":
        raise TypeError("x must be int array")
    if name in ("argsort", "argwhere", "nonzero", "unique", "searchsorted") and not isinstance(args[0], ndarray):
        raise TypeError(f"{name} of {type(args[0])}")
    hosts, host_options = _to_host(name, args), {k: _to_host(name, v) for k, v in options.items()}
    if name == "argsort" and host_options.get("kind") not in (None, "stable"):
        raise ValueError(f"kind {host_options['kind']}")
    if name in _COUNTING or (name == "repeat" and isinstance((*args, *options.values())[1], ndarray)):
        _wait(f"{name}, whose result has a size that depends on values")
    def compute() -> Any:
        with np.errstate(all="ignore"):
            return getattr(np, name)(*hosts, **host_options)

    result = compute()
    made = _to_gpu(result)
    if device.tape is not None:
        many = isinstance(result, (tuple, list))
        for i, (y, array) in enumerate(zip(made, result) if many else [(made, result)]):
            if isinstance(y, ndarray) and not any(np.may_share_memory(y._host, h) for h in _flat_hosts(hosts)):
                if isinstance(array, np.ndarray) and array.base is not None:
                    device.tape.made(y._host)
                device.tape.writes(y._host, (lambda i=i: compute()[i]) if many else compute)
    return made


def _flat_hosts(values: Any) -> Iterator[np.ndarray]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat_hosts(value)
        elif isinstance(value, np.ndarray):
            yield value


def _to_host(name: str, value: Any) -> Any:
    if isinstance(value, ndarray):
        if value.dtype.name == "bfloat16" and name not in _ANY_DTYPE:
            raise TypeError(f"{name} of bfloat16")
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"{name} of a NumPy array")
    return type(value)(_to_host(name, v) for v in value) if type(value) in (list, tuple) else value


def _to_gpu(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(_to_gpu(r) for r in result)
    if isinstance(result, np.ndarray) and result.base is not None:
        return ndarray(result)
    return _new(np.asarray(result)) if isinstance(result, (np.ndarray, np.generic)) else result


def asarray(value: Any) -> ndarray:
    """A copy of a host array, or the array itself."""
    if isinstance(value, ndarray):
        return value
    host = np.array(value)
    if host.dtype.name not in ("bool", "bfloat16") and host.dtype.kind not in "biuf":
        raise ValueError(f"Unsupported dtype {host.dtype}")
    if device.capturing and host.ndim:
        raise CUDARuntimeError("cudaErrorStreamCaptureUnsupported: a copy from pageable memory")
    if host.ndim:  # a single number is an argument of a kernel that fills the array
        device.copies.append((host.nbytes, _lines()))
    return _new(host)


def ascontiguousarray(value: ndarray, dtype: Any = None) -> ndarray:
    """Itself, or a row-major copy, which may be in another dtype."""
    if dtype is not None and value.dtype != dtype:
        return value.astype(dtype)
    return value if value.flags.c_contiguous else value.copy()


def _empty_aligned(shape: Any, dtype: Any) -> np.ndarray:
    """At a multiple of 512 bytes, as the memory of CuPy's pool is."""
    kind = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    memory = np.empty(count * kind.itemsize + 512, np.uint8)
    first = -memory.ctypes.data % 512
    return memory[first:first + count * kind.itemsize].view(kind).reshape(shape)


def empty(shape: Any, dtype: Any) -> ndarray:
    """Memory full of 0xff bytes: NaN, -1."""
    host = _empty_aligned(shape, dtype)
    _allocate(host.nbytes)
    host.view(np.uint8 if host.ndim else host.dtype).fill(0xff if host.ndim else -1)
    if device.tape is not None:
        device.tape.made(host)
    pool = _allocators.pools[-1] if _allocators.pools else None
    if pool is not None:
        pool.arrays.append(weakref.ref(_root(host)))
    return ndarray(host)


def zeros(shape: Any, dtype: Any = np.float64) -> ndarray:
    """Memory full of zeros."""
    array = empty(shape, dtype)
    _write(array._host, lambda: np.zeros(array.shape, array.dtype))
    return array


class _Generator:
    """Of random numbers, with NumPy's in their place."""

    def __init__(self, seed: int | None = None):
        self._generator = np.random.default_rng(seed)

    def standard_normal(self, size: Any = None, dtype: Any = np.float64, out: None = None) -> ndarray:
        """Normal numbers."""
        return _new(np.asarray(self._generator.standard_normal(size, dtype)))


random = types.SimpleNamespace(default_rng=_Generator)


def from_dlpack(source: Any) -> ndarray:
    """Memory shared with what exports it, which is said to be on the GPU and is on the host."""
    exported = types.SimpleNamespace(__dlpack__=lambda **options: source.__dlpack__(), __dlpack_device__=lambda: (1, 0))
    return ndarray(np.from_dlpack(exported), source.__dlpack_device__()[1])


def surface() -> dict[str, Any]:
    """What tests/cupy_surface.json holds, of the CuPy that is installed."""
    import cupy

    functions, ufuncs = {}, {}
    for name in sorted(set(dir(cupy)) & set(dir(np))):
        theirs = getattr(cupy, name)
        if theirs is getattr(np, name) or name.startswith("_"):
            continue
        if type(theirs).__name__ == "ufunc":
            ufuncs[getattr(np, name).__name__] = theirs.types
        elif inspect.isfunction(theirs):
            functions[name] = list(inspect.signature(theirs).parameters)
    linalg = [name for name in np.linalg.__all__ if inspect.isfunction(getattr(cupy.linalg, name, None))]
    fft = [name for name in np.fft.__all__ if inspect.isfunction(getattr(cupy.fft, name, None))]
    attributes = [a for a in dir(cupy.ndarray) if not a.startswith("_")]
    return {"version": cupy.__version__, "functions": functions, "ufuncs": ufuncs, "linalg": linalg,
            "fft": fft, "attributes": attributes}


if __name__ == "__main__" and importlib.util.find_spec("cupy"):
    lines = []
    for key, value in surface().items():
        if isinstance(value, dict):
            rows = ",\n  ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            lines.append(f' "{key}": {{\n  {rows}\n }}')
        else:
            lines.append(f' "{key}": {json.dumps(value)}')
    SURFACE.write_text("{\n" + ",\n".join(lines) + "\n}\n")
