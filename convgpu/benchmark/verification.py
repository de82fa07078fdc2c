"""A wrong result has no speed: what is timed is checked first."""

from __future__ import annotations

import numpy as np

from ..cases.tolerance import C_NUMPY, worst


class WrongResultError(AssertionError):
    """What was to be timed computes something else."""


def verify(name: str, got: np.ndarray, exact: np.ndarray, magnitude: np.ndarray, length: int,
           c: float = C_NUMPY) -> None:
    """Raise WrongResultError unless `got` is within the bound of convgpu.cases.tolerance.

    Args:
        name: of what is verified.
        got: its result.
        exact: the result in float64 or wider.
        magnitude: the op on absolute values, likewise.
        length: the number of terms of each sum.
        c: the allowed error in units of eps * magnitude.
    """
    error = worst(got, exact, magnitude, length, c)
    if not error <= 1:
        raise WrongResultError(f"{name}: expected an error within the bound, got {error:.3g} times it; not timed")
