"""What float32 products run as on tensor cores."""

from __future__ import annotations

PRECISIONS = ("float32", "tf32")

_precision = "float32"


class set_precision:
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

    def __init__(self, name: str):
        global _precision
        if name not in PRECISIONS:
            raise ValueError(f"set_precision: expected one of {PRECISIONS}, got {name!r}")
        self._before, _precision = _precision, name

    def __enter__(self) -> set_precision:
        return self

    def __exit__(self, *exc: object) -> None:
        global _precision
        _precision = self._before


def current_precision() -> str:
    """The precision of float32 products on tensor cores: "float32" or "tf32"."""
    return _precision
