"""What runs a problem: the plan of a compiled backend, the method of the NumPy one."""

from __future__ import annotations

from typing import Any

from ..backends import load
from ..backends.numpy.conv import method
from ..dtypes import as_dtype
from .problems import ConvProblem, PoolProblem, Problem


def kernel_of(backend: Any, problem: Problem) -> str:
    """The kernel's name and options, as the backend's plan has them."""
    if backend is load("numpy"):
        if isinstance(problem, ConvProblem):
            return method(problem.op, problem.geo, as_dtype(problem.dtype))
        return "tiles" if isinstance(problem, PoolProblem) else "blocks of K"
    return ""
