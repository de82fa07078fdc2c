"""What all work on the GPU passes through: errors get the name of their op, and bfloat16 is computed in float32.

Kernels run after the call that launched them has returned. So a fault in one (an access outside its arrays, say) is
reported by whichever call comes next, and leaves CUDA unusable for the rest of the process. CONVGPU_SYNCHRONIZE=1 waits
after every op, so that the op which is named is the one at fault.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import environment
from .dtypes import is_half

SYNCHRONIZE = os.environ.get(environment.SYNCHRONIZE) == "1"  # other values: see check_usable

_touched = False  # whether this process has initialised CUDA
_lost: str | None = None  # why this process cannot use the GPU any more


def touch() -> None:
    """Note that CUDA is being initialised: from here on a forked child cannot use it."""
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
    """Raise RuntimeError where CUDA cannot be used any more, ValueError for an unknown CONVGPU_SYNCHRONIZE."""
    environment.synchronize()
    if _lost is not None:
        raise RuntimeError(f"{what}: {_lost}")


def run(op: str, compute: Callable[[], Any], retry: bool = True) -> Any:
    """compute(), which works on CuPy arrays.

    Args:
        op: what errors name.
        compute: called again after CuPy's cached memory has been freed, if there was too little the first time.
        retry: whether it may be called again: not if it changes arrays in place.

    Raises:
        MemoryError: there is too little memory all the same. The next op works.
        RuntimeError: a kernel has failed, now or earlier, or this process is a forked child; every later use of the
            GPU in this process raises it too.
    """
    check_usable(op)
    cupy = sys.modules["cupy"]
    for _ in range(1 + retry):
        try:
            result = compute()
            if SYNCHRONIZE:
                cupy.cuda.get_current_stream().synchronize()
            return result
        except (MemoryError, RuntimeError) as error:  # CUDA's errors are RuntimeErrors, from CuPy and from our kernels
            message = str(error)
            if isinstance(error, RuntimeError) and "out of memory" not in message:
                _note_fault(op, error)
                raise
        cupy.get_default_memory_pool().free_all_blocks()  # here the frames that hold intermediate results are gone
    raise MemoryError(f"{op}: too little memory on the GPU ({message})")


def _note_fault(op: str, error: RuntimeError) -> None:
    """Where the error has left CUDA unusable, remember it, and raise it under the name of the op."""
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
    """A forward function, bfloat16 operands converted to float32 and its results rounded to what promotion gives.

    As NumPy computes with bfloat16. CuPy has no functions of its own for some of what is needed, and gives float32.
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
