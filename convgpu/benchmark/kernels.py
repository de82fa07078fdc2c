"""The name of what runs a problem: the plan of a compiled backend, or the method of the NumPy backend."""

from __future__ import annotations

from typing import Any

from ..backends import load
from ..cases.problem import Problem
from ..facts import method_of, plan_of, text_of


def kernel_of(backend: Any, problem: Problem) -> str:
    """The kernel with its settings, "kernel key=value ..."; for NumPy the method in words; "" if unknown."""
    if backend is load("numpy"):
        return method_of(problem.call)
    return text_of(plan_of(backend, problem.call)) if hasattr(backend, "module") else ""
