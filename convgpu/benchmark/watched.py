"""A backend whose every result is checked as it is computed: a part of it, against the reference on that part alone.

For whole networks, whose ops are too large for the reference. Which part is compared is among the facts of each op: of
a convolution the last image and two filters, for instance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..backends import load, replaced
from ..cases.problem import Problem
from ..cases.tolerance import C_NUMPY
from ..device import to_numpy
from ..op import Op
from .verification import check


@contextmanager
def watched(name: str, c: float = C_NUMPY) -> Iterator[Watched]:
    """Within it, the backend of this name raises WrongResultError where it is wrong. Yields what counts its FLOPs.

    Args:
        name: of the backend.
        c: the allowed error, see cases/tolerance.py.
    """
    stand_in = Watched(load(name), c)
    with replaced(name, stand_in):
        yield stand_in


class Watched:
    """Stands in for a backend. `flops`: of all products until now."""

    def __init__(self, backend: Any, c: float):
        self._backend, self._c = backend, c
        self.flops = 0

    def __getattr__(self, op: str) -> Callable[..., Any]:
        function = getattr(self._backend, op)

        def run(*arguments: Any) -> Any:
            results = function(*arguments)
            inputs = len(Op.registry[op].inputs)
            arrays = tuple(None if a is None else to_numpy(a) for a in arguments[:inputs])
            problem = Problem.of(op, arrays, arguments[inputs:])
            here = tuple(map(_to_numpy, results)) if isinstance(results, tuple) else to_numpy(results)
            check(problem, arrays, here, self._c, few=True)
            if problem.facts.product(problem.call) is not None:
                self.flops += problem.work.flops
            return results

        return run


def _to_numpy(array: Any) -> Any:
    return None if array is None else to_numpy(array)
