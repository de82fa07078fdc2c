"""The name of what runs a problem: the plan of a backend that makes plans, or the method of the CPU's backends."""

from __future__ import annotations

from typing import Any

from .. import info
from ..backends import load
from ..backends.cpu.methods import method_of as cpu_method_of
from ..cases.problem import Problem
from ..facts import method_of, plan_of, text_of


def kernel_of(backend: Any, problem: Problem) -> str:
    """The kernel with its settings, "kernel key=value ..."; for "cpu" and "numpy" the method in words; else ""."""
    if backend is load("numpy"):
        return method_of(problem.call)
    if info.has_cpu_kernels() and backend is load("cpu"):
        return cpu_method_of(problem.call)
    return text_of(plan_of(backend, problem.call)) if hasattr(backend, "module") else ""
