"""A backend whose every result is checked when it is computed: a part of it is compared with the reference.

It serves whole networks, whose ops are too large for the reference. The facts of each op say which part is compared:
for a convolution, for instance, the last image and two filters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..backends import SEQUENCES, load, replaced
from ..cases.problem import Problem
from ..cases.tolerance import C_NUMPY
from ..device import to_numpy
from ..op import Op
from .verification import check


@contextmanager
def watched(name: str, c: float = C_NUMPY) -> Iterator[Watched]:
    """Let the backend of this name raise WrongResultError where it is wrong. Yields the `Watched` that counts FLOPs.

    Args:
        name: the name of the backend.
        c: the allowed error, as in cases/tolerance.py.
    """
    stand_in = Watched(load(name), c)
    with replaced(name, stand_in):
        yield stand_in


class Watched:
    """Stands in for a backend. `flops`: the FLOPs of all products so far."""

    def __init__(self, backend: Any, c: float):
        self._backend, self._c = backend, c
        self.flops = 0

    def __getattr__(self, op: str) -> Callable[..., Any]:
        function = getattr(self._backend, op)

        def run(*arguments: Any) -> Any:
            results = function(*arguments)
            inputs = len(Op.registry[op].inputs)
            given = arguments[0] if op in SEQUENCES else arguments[:inputs]
            arrays = tuple(None if a is None else to_numpy(a) for a in given)
            problem = Problem.of(op, arrays, arguments[inputs:])
            here = tuple(map(_to_numpy, results)) if isinstance(results, tuple) else _to_numpy(results)
            check(problem, arrays, here, self._c, few=True)
            if problem.facts.product(problem.call) is not None:
                self.flops += problem.work.flops
            return results

        return run


def _to_numpy(array: Any) -> Any:
    """The array on the host; of a full reduction NumPy returns a scalar."""
    return array if array is None or isinstance(array, np.generic) else to_numpy(array)
