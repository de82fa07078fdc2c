"""How much memory beside its operands a kernel may ask for."""

from __future__ import annotations

from .geometry import positive

_limit: int | None = None


class set_workspace_limit:
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

    def __init__(self, nbytes: int | None):
        global _limit
        if nbytes is not None:
            nbytes = positive("set_workspace_limit", "nbytes", nbytes, 0)
        self._before, _limit = _limit, nbytes

    def __enter__(self) -> set_workspace_limit:
        return self

    def __exit__(self, *exc: object) -> None:
        global _limit
        _limit = self._before


def workspace_limit() -> int | None:
    """How many bytes of workspace one kernel may use; None: `set_workspace_limit` says how many."""
    return _limit
