"""Rules about values that are checked without waiting: a kernel sets a flag, and the flag is read when the host waits.

    flags.check("cross_entropy", flag, "labels in [0, 10)")

On the CPU the flag is known at once, and so is the error. On the GPU the host would have to wait for the kernel. So the
flag stays on the device, together with those of other calls, until somebody reads values from the GPU and waits in any
case (`item`, `numpy`, `to("cpu")`, printing); then the error names the op and the rule. With CONVGPU_SYNCHRONIZE=1 it
comes at once there too.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np

from . import gpu
from .capturing import region
from .recorder import Outline

_MANY = 256  # flags of one rule; more are combined on the device, so that a loop that reads nothing keeps few of them

Key = tuple[str, str, int]  # the op, the rule, and the stream in which the kernels ran

_pending: dict[Key, list[Any]] = {}  # flags on the GPU that nobody has read
_streams: dict[int, Any] = {}  # the streams of these flags, by their addresses
_lock = threading.Lock()


def check(op: str, flag: Any, rule: str) -> None:
    """Raise ValueError where the flag is not 0: now on the CPU, and when values are next read on the GPU.

    Args:
        op: the name that the error begins with.
        flag: an array of one integer, which a kernel of the op has written.
        rule: what was expected of the operands, in words, as "labels in [0, 10)".
    """
    if isinstance(flag, Outline):
        flag.recorder.flags.append(flag)
        return
    if isinstance(flag, np.ndarray):
        if flag.any():
            raise ValueError(f"{op}: expected {rule}, got others")
        return
    recorder = region.recorder()
    if recorder is not None:
        recorder.flags.append((op, rule, flag))
        return
    stream = sys.modules["cupy"].cuda.get_current_stream()
    with _lock:
        _streams[stream.ptr] = stream
        flags = _pending.setdefault((op, rule, stream.ptr), [])
        flags.append(flag.reshape(1))
        if len(flags) > _MANY:
            flags[:] = [_combined(op, flags)]
    if gpu.SYNCHRONIZE:
        read()


def check_again(op: str, flag: Any, rule: str) -> None:
    """As `check`, for the flag of a graph, which a later launch may set again: it waits once, and is cleared if set."""
    stream = sys.modules["cupy"].cuda.get_current_stream()
    with _lock:
        _streams[stream.ptr] = stream
        waiting = _pending.setdefault((op, rule, stream.ptr), [])
        if all([f is not flag for f in waiting]):
            waiting.append(flag)


def read() -> None:
    """Raise the error of the first rule whose flags are set; flags of other rules stay for the next call.

    Flags that kernels of other streams have written are read in these streams, and the host waits for them too.
    """
    while _pending:
        with _lock:
            if not _pending:  # another thread has read them
                return
            op, rule, pointer = key = next(iter(_pending))
            flags, stream = _pending.pop(key), _streams[pointer]
            if all([other != pointer for _, _, other in _pending]):
                del _streams[pointer]
        with stream:  # whatever stream the reader uses: this one is the order that the flags were written in
            flag = flags[0] if len(flags) == 1 else _combined(op, flags)
            value = gpu.run(op, flag.get)
        if value.any():
            for f in flags:
                f.fill(0)
            raise ValueError(f"{op}: expected {rule}, got others; they were found on the GPU, in a call since values "
                             "were last read from it (CONVGPU_SYNCHRONIZE=1 tells which)")


def _combined(op: str, flags: list[Any]) -> Any:
    return gpu.run(op, lambda: np.concatenate(flags).max(axis=0, keepdims=True))
