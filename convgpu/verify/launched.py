"""A kernel of PTX as a function that `convgpu.verify.against` can judge."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ..ptx import Kernel


def launched(kernel: Kernel, launch: Callable[..., Any]) -> Callable[..., Any]:
    """A function that launches a kernel, for `against`.

    Args:
        kernel: a kernel of `convgpu.ptx`.
        launch: `launch(*inputs, out, **options)` gets what the function gets, and returns (grid, block, arguments),
            (grid, block, arguments, shared) or (grid, block, arguments, shared, cluster) as `Kernel.launch` takes
            them; the kernel writes `out`. It raises NotImplementedError for a case that the kernel does not take.

    The inputs are read-only for the kernel, and everything that the machine finds wrong is a failure: races, accesses
    out of bounds, missing barriers (docs/ptx.md). Every second call runs the warps in another order and lets
    asynchronous copies land early, so that "the same bits again" means under other timings.

    docs/verify-against.md has an example, which runs.
    """
    return _Launched(kernel, launch)


class _Launched:
    checks_memory = True

    def __init__(self, kernel: Kernel, launch: Callable[..., Any]) -> None:
        self._kernel, self._launch, self._calls = kernel, launch, 0
        self.__qualname__ = kernel.called
        own = inspect.signature(launch)
        if "out" not in own.parameters and not any(p.kind is p.VAR_KEYWORD for p in own.parameters.values()):
            raise TypeError(f"launch: expected a function with a parameter 'out', got one of {own}")
        self.__signature__ = own

    def __call__(self, *inputs: Any, out: np.ndarray, **options: Any) -> None:
        told = self._launch(*map(_read_only, inputs), out=out, **options)
        if not isinstance(told, (tuple, list)) or not 3 <= len(told) <= 5:
            raise TypeError("launch: expected (grid, block, arguments), (grid, block, arguments, shared) or (grid, "
                            f"block, arguments, shared, cluster), got {told!r}")
        grid, block, arguments, *rest = told
        later = self._calls % 2
        self._calls += 1
        report = self._kernel.launch(grid, block, arguments, shared=rest[0] if rest else 0,
                                     cluster=rest[1] if len(rest) > 1 else None, seed=later, early_copies=bool(later))
        report.raise_if_wrong()


def _read_only(array: Any) -> Any:
    if array is None:
        return None
    view = array.view()
    view.flags.writeable = False
    return view
