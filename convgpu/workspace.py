"""How much memory beside its operands a kernel may ask for."""

from __future__ import annotations

from .geometry import positive

_limit = 64 << 20


class set_workspace_limit:
    """Set how many bytes of workspace one kernel may use; as a context manager, restore the limit afterwards.

    For the whole process; 64 MiB at first. Split reductions keep their partial sums there. A smaller limit leads to
    other plans, and so to other (equally exact) bits.

    Raises:
        ValueError: a negative number. TypeError: no integer.

    >>> import convgpu as cg
    >>> before = cg.workspace_limit()
    >>> with cg.set_workspace_limit(1 << 20):
    ...     cg.workspace_limit()
    1048576
    >>> cg.workspace_limit() == before
    True
    """

    def __init__(self, nbytes: int):
        global _limit
        nbytes = positive("set_workspace_limit", "nbytes", nbytes, 0)
        self._before, _limit = _limit, nbytes

    def __enter__(self) -> set_workspace_limit:
        return self

    def __exit__(self, *exc: object) -> None:
        global _limit
        _limit = self._before


def workspace_limit() -> int:
    """How many bytes of workspace one kernel may use."""
    return _limit
