"""Checks results before they are timed, because the speed of a wrong result means nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cases.problem import Arrays, Problem
from ..cases.tolerance import C_NUMPY, worst


class WrongResultError(AssertionError):
    """The result to be timed is wrong."""


def check(problem: Problem, arrays: Arrays, results: Any, c: float = C_NUMPY, few: bool = False) -> None:
    """Raise WrongResultError unless the compared part of a backend's results is right.

    Args:
        arrays, results: the operands and the results, as NumPy arrays.
        c: the allowed error in units of eps * magnitude.
        few: compare a smaller part, for whole networks.
    """
    _judge(problem.name if problem.layer else f"{problem.op} {problem.call.shapes[0]}",
           problem.error(arrays, results, c, few))


def verify(name: str, got: np.ndarray, exact: np.ndarray, magnitude: np.ndarray, length: int,
           c: float = C_NUMPY) -> None:
    """Raise WrongResultError unless `got` is within the bound of convgpu.cases.tolerance.

    Args:
        name: the name of what is verified, for the error.
        got: the result to be verified.
        exact: the result in float64 or wider.
        magnitude: the op on absolute values, also in float64 or wider.
        length: the number of terms of each sum.
        c: the allowed error in units of eps * magnitude.
    """
    _judge(name, worst(got, exact, magnitude, length, c))


def _judge(name: str, error: float) -> None:
    if not error <= 1:
        raise WrongResultError(f"{name}: expected an error within the bound, got {error:.3g} times it; not timed")
