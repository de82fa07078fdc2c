"""Settings for the whole process: the precision of products, the limit on workspace, the backend on the CPU.

Each setting is a class. Calling the class sets the value at once; used as a context manager, it also restores the
previous value at the end. A function beside each class reads the value.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

from .geometry import positive

CPU_MODULE = f"{__package__}._cpu"  # the kernels for the CPU, where they are built
PRECISIONS = ("float32", "tf32")


class Settings(NamedTuple):
    """The values of all settings at some time."""

    precision: str = "float32"
    workspace_limit: int | None = None
    backend: str = "numpy" if importlib.util.find_spec(CPU_MODULE) is None else "cpu"


_process = Settings()


class _Thread(threading.local):
    then: Settings | None = None  # the settings of this thread while it computes something again


_thread = _Thread()


def in_force() -> Settings:
    """All settings as they are now."""
    return _thread.then or _process


def _change(**values: Any) -> None:
    global _process
    if _thread.then is None:
        _process = _process._replace(**values)
    else:
        _thread.then = _thread.then._replace(**values)


@contextmanager
def as_then(settings: Settings) -> Iterator[None]:
    """Compute with settings of another time, on this thread alone. What is set within is forgotten at the end."""
    before, _thread.then = _thread.then, settings
    try:
        yield
    finally:
        _thread.then = before


class _Setting:
    """Sets one of the Settings, and restores the previous value on leaving a `with`."""

    name: ClassVar[str]

    def __init__(self, value: Any):
        self._before = getattr(in_force(), self.name)
        _change(**{self.name: value})

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        _change(**{self.name: self._before})


class set_precision(_Setting):
    """Select how tensor cores compute float32 products; as a context manager, restore the choice afterwards.

    The choice holds for the whole process. "float32" means float32 accuracy, whichever unit computes; "tf32" lets
    tensor cores round the operands to 10 bits of mantissa, which is faster and errs by about 2^-11 of each product.
    Only GPU kernels differ: CPU backends ignore the choice.

    Raises:
        ValueError: the name is neither "float32" nor "tf32".

    >>> import convgpu as cg
    >>> with cg.set_precision("tf32"):
    ...     cg.current_precision()
    'tf32'
    >>> cg.current_precision()
    'float32'
    """

    name = "precision"

    def __init__(self, name: str):
        if name not in PRECISIONS:
            raise ValueError(f"set_precision: expected one of {PRECISIONS}, got {name!r}")
        super().__init__(name)


def current_precision() -> str:
    """The precision of float32 products on tensor cores: "float32" or "tf32"."""
    return (_thread.then or _process).precision


class set_workspace_limit(_Setting):
    """Set how many bytes of workspace one kernel may use; as a context manager, restore the limit afterwards.

    The limit holds for the whole process. Split reductions keep their partial sums in workspace. Float32 products on
    Hopper's tensor cores keep their factors there as pairs of float16, which take as many bytes as the factors. None,
    the value at the start, allows 64 MiB and in addition such pairs. A smaller limit leads to other plans, which sum in
    another order and so give other (equally accurate) bits; a limit of 0 leads to kernels that need no workspace.

    Raises:
        ValueError: the number is negative. TypeError: the value is neither an integer nor None.

    >>> import convgpu as cg
    >>> before = cg.workspace_limit()
    >>> with cg.set_workspace_limit(1 << 20):
    ...     cg.workspace_limit()
    1048576
    >>> cg.workspace_limit() == before
    True
    """

    name = "workspace_limit"

    def __init__(self, nbytes: int | None):
        super().__init__(None if nbytes is None else positive("set_workspace_limit", "nbytes", nbytes, 0))


def workspace_limit() -> int | None:
    """The bytes of workspace that one kernel may use; `set_workspace_limit` describes the default, None."""
    return (_thread.then or _process).workspace_limit


class use_backend(_Setting):
    """Select the backend for tensors on the CPU, for the whole process; as a context manager, restore it afterwards.

    At the start it is "cpu", whose kernels are compiled, where convgpu was built with them, and "numpy" elsewhere.

    Raises:
        ValueError: there is no backend of this name. ImportError: the backend is not built.

    >>> import convgpu as cg
    >>> before = cg.current_backend()
    >>> with cg.use_backend("reference"):
    ...     cg.current_backend()
    'reference'
    >>> cg.current_backend() == before
    True
    """

    name = "backend"

    def __init__(self, name: str):
        from . import backends  # imported late: the backends read this setting

        known = backends.COMPILED_BACKENDS + backends.CPU_BACKENDS + backends.NATIVE_BACKENDS
        if name not in known:
            raise ValueError(f"use_backend: expected one of {known}, got {name!r}")
        backends.load(name)
        super().__init__(name)


def current_backend() -> str:
    """The name of the backend that computes on tensors of the CPU; "cuda" computes on tensors of the GPU."""
    return (_thread.then or _process).backend
