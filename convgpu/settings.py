"""What holds for the whole process until it is set again: the precision of products, the workspace, the CPU's backend.

Each setting is a class. Calling it sets the value at once; as a context manager it also restores, at the end, the value
that was there before. A function of the same matter reads the value.
"""

from __future__ import annotations

from typing import Any, ClassVar

from .geometry import positive

PRECISIONS = ("float32", "tf32")


class _Setting:
    """Sets `value` of its class; on leaving a `with`, sets it back."""

    value: ClassVar[Any]

    def __init__(self, value: Any):
        kind = type(self)
        self._before, kind.value = kind.value, value

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        type(self).value = self._before


class set_precision(_Setting):
    """Select what float32 products run as on tensor cores; as a context manager, restore it afterwards.

    For the whole process. "float32" is float32 accuracy, whichever unit computes; "tf32" lets tensor cores round the
    operands to 10 bits of mantissa, which is faster and errs by about 2^-11 of each product. Only kernels for GPUs
    know the difference.

    Raises:
        ValueError: another name.

    >>> import convgpu as cg
    >>> with cg.set_precision("tf32"):
    ...     cg.current_precision()
    'tf32'
    >>> cg.current_precision()
    'float32'
    """

    value = "float32"

    def __init__(self, name: str):
        if name not in PRECISIONS:
            raise ValueError(f"set_precision: expected one of {PRECISIONS}, got {name!r}")
        super().__init__(name)


def current_precision() -> str:
    """The precision of float32 products on tensor cores: "float32" or "tf32"."""
    return set_precision.value


class set_workspace_limit(_Setting):
    """Set how many bytes of workspace one kernel may use; as a context manager, restore the limit afterwards.

    For the whole process. Split reductions keep their partial sums there, and float32 on Hopper's tensor cores its
    factors as pairs of float16, which take as many bytes as they do. None, as at first, allows 64 MiB and such pairs. A
    smaller limit leads to other plans, and so to other (equally exact) bits: 0 to kernels that need none.

    Raises:
        ValueError: a negative number. TypeError: neither an integer nor None.

    >>> import convgpu as cg
    >>> before = cg.workspace_limit()
    >>> with cg.set_workspace_limit(1 << 20):
    ...     cg.workspace_limit()
    1048576
    >>> cg.workspace_limit() == before
    True
    """

    value: ClassVar[int | None] = None

    def __init__(self, nbytes: int | None):
        super().__init__(None if nbytes is None else positive("set_workspace_limit", "nbytes", nbytes, 0))


def workspace_limit() -> int | None:
    """How many bytes of workspace one kernel may use; None: `set_workspace_limit` says how many."""
    return set_workspace_limit.value


class use_backend(_Setting):
    """Select the backend for tensors on the CPU, for the whole process; as a context manager, restore it afterwards.

    Raises:
        ValueError: another name. ImportError: a backend that is not built.

    >>> import convgpu as cg
    >>> with cg.use_backend("reference"):
    ...     cg.current_backend()
    'reference'
    >>> cg.current_backend()
    'numpy'
    """

    value = "numpy"

    def __init__(self, name: str):
        from . import backends  # which read this setting

        known = backends.CPU_BACKENDS + backends.NATIVE_BACKENDS
        if name not in known:
            raise ValueError(f"use_backend: expected one of {known}, got {name!r}")
        backends.load(name)
        super().__init__(name)


def current_backend() -> str:
    """The name of the backend in use for tensors on the CPU; those on the GPU are computed by "cuda"."""
    return use_backend.value
