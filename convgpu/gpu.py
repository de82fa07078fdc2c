"""Runs all work on the GPU: errors get the name of their op, and bfloat16 is computed in float32.

A kernel runs after the call that launched it has returned. So a fault in a kernel (an access outside its arrays, say)
is reported by whichever call comes next, and makes CUDA unusable for the rest of the process. CONVGPU_SYNCHRONIZE=1
waits after every op, so that the error names the op at fault.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import environment
from .capturing import region
from .dtypes import is_half

SYNCHRONIZE = os.environ.get(environment.SYNCHRONIZE) == "1"  # check_usable refuses other values

_touched = False  # whether this process has initialised CUDA
_lost: str | None = None  # why this process cannot use the GPU any more
_watcher: Callable[[str, Callable[[], Any]], Any] | None = None  # what stands in for `run` while a ledger is kept


def touch() -> None:
    """Record that CUDA is being initialised: a child that is forked from now on cannot use it."""
    global _touched
    _touched = True


def _after_fork_in_child() -> None:
    global _lost
    if _touched:
        _lost = ("this process was forked from one that had used the GPU, which CUDA does not survive: use spawn, "
                 "multiprocessing.get_context('spawn')")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def check_usable(what: str) -> None:
    """Raise RuntimeError where CUDA cannot be used any more, and ValueError for an unknown CONVGPU_SYNCHRONIZE."""
    environment.synchronize()
    if _lost is not None:
        raise RuntimeError(f"{what}: {_lost}")


def run(op: str, compute: Callable[[], Any], retry: bool = True) -> Any:
    """Call compute(), which works on CuPy arrays.

    Args:
        op: the name that errors begin with.
        compute: the function; it is called again after freeing CuPy's cached memory if memory was short the first time.
        retry: whether `compute` may be called again, which it may not if it changes arrays in place.

    Raises:
        MemoryError: memory was short the second time too. The next op works.
        RuntimeError: a kernel has failed, now or earlier, or this process is a forked child; every later use of the GPU
        in this process raises the error too.
    """
    if _watcher is not None:
        return _watcher(op, compute)
    if _lost is not None:
        raise RuntimeError(f"{op}: {_lost}")
    cupy = sys.modules["cupy"]
    if region.recorder() is not None:
        return _recorded(op, compute)
    for _ in range(1 + retry):
        try:
            result = compute()
            if SYNCHRONIZE:
                cupy.cuda.get_current_stream().synchronize()
            return result
        except (MemoryError, RuntimeError) as error:  # CUDA's errors are RuntimeErrors, from CuPy and from the kernels
            message = str(error)
            if isinstance(error, RuntimeError) and "out of memory" not in message:
                _note_fault(op, error)
                raise
        # outside the except block, the frames that held intermediate results are gone
        cupy.get_default_memory_pool().free_all_blocks()
    raise MemoryError(f"{op}: too little memory on the GPU ({message})")


def _recorded(op: str, compute: Callable[[], Any]) -> Any:
    """Call compute() while a graph is recorded: once, and a wait of the host's is the user's error."""
    try:
        return compute()
    except RuntimeError as error:
        if "StreamCapture" in str(error) or "stream is capturing" in str(error):
            region.refuse(f"{op}, which waits for the GPU,")
        raise


def _note_fault(op: str, error: RuntimeError) -> None:
    """If the error has made CUDA unusable, remember this, and raise the error under the name of the op."""
    global _lost
    runtime = sys.modules["cupy"].cuda.runtime
    if _lost is not None:
        return
    try:
        runtime.deviceSynchronize()
    except runtime.CUDARuntimeError as fault:
        culprit = "it" if SYNCHRONIZE else "it or an op before it (CONVGPU_SYNCHRONIZE=1 tells which)"
        _lost = (f"the GPU reported {fault} in {op}; the fault is in {culprit}, and the GPU is lost to this process: "
                 "start a new one")
        raise RuntimeError(f"{op}: {_lost}") from error


def in_float32(forward: Callable[..., Any], operands: Sequence[Any], statics: Sequence[Any]) -> Any:
    """Run a forward function with bfloat16 operands converted to float32, and round its results to the promoted dtype.

    NumPy computes bfloat16 in the same way. CuPy lacks some of these functions for bfloat16, and would return float32.
    """
    dtypes = [a.dtype for a in operands if hasattr(a, "dtype")]
    halves = {d for d in dtypes if is_half(d) and d != np.float16}
    if not halves:
        return forward(*operands, *statics)
    half, = halves
    narrow = all([d == half or d.itemsize == 1 for d in dtypes])  # beside any wider type bfloat16 is promoted

    def widened(a: Any) -> Any:
        if hasattr(a, "dtype"):
            return a.astype(np.float32) if a.dtype == half else a
        return float(half.type(a)) if narrow and type(a) is float else a  # a Python number takes the dtype beside it

    result = forward(*map(widened, operands), *statics)
    if isinstance(result, tuple):
        return tuple([_rounded(r, half) if narrow else r for r in result])
    return _rounded(result, half) if narrow else result


def _rounded(result: Any, half: np.dtype) -> Any:
    return result.astype(half) if getattr(result, "dtype", None) == np.float32 else result
