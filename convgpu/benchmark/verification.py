"""A wrong result has no speed: what is timed is checked first."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cases.problem import Arrays, Problem
from ..cases.tolerance import C_NUMPY, worst


class WrongResultError(AssertionError):
    """What was to be timed computes something else."""


def check(problem: Problem, arrays: Arrays, results: Any, c: float = C_NUMPY, few: bool = False) -> None:
    """Raise WrongResultError unless a backend's results are right, in the part that is compared.

    Args:
        arrays, results: NumPy arrays.
        c: the allowed error in units of eps * magnitude.
        few: compare a smaller part, for whole networks.
    """
    _judge(problem.name if problem.layer else f"{problem.op} {problem.call.shapes[0]}",
           problem.error(arrays, results, c, few))


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
    _judge(name, worst(got, exact, magnitude, length, c))


def _judge(name: str, error: float) -> None:
    if not error <= 1:
        raise WrongResultError(f"{name}: expected an error within the bound, got {error:.3g} times it; not timed")
