"""The calls of one problem, and the findings about them."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ..cases.problem import Judge, Problem, as_results
from ..cases.tolerance import C_KERNEL, C_NUMPY, C_TF32
from ..facts import plan_of, text_of
from ..op import Op
from ..settings import current_precision
from ..tensor import tensor, wrap
from .memory import Guards, protected, sides
from .report import Finding

NATIVE = ("cuda", "emulated", "ptx")
COMPILED = (*NATIVE, "cpu")  # compiled code writes the results: into guarded memory, held to the bound of kernels


class Checked:
    """A problem on a backend: it makes the calls and records their findings.

    Args:
        run: the backend.
        name: the name of the backend.
        found: the Finding that is filled in.
    """

    def __init__(self, run: Any, name: str, problem: Problem, found: Finding):
        self.run, self.name, self.problem, self.found = run, name, problem, found
        self._judge: Judge | None = None

    def plan(self) -> None:
        """Name the kernel that will run."""
        if self.name in NATIVE:
            self.found.kernel = text_of(plan_of(self.run, self.problem.call, precision=current_precision())).split()[0]

    def numbers(self) -> None:
        """Make three calls: the first must be within the bound, the second give the same bits, the third is misaligned.
        """
        found, native = self.found, self.name in COMPILED
        try:
            tf32 = current_precision() == "tf32"
            judge = self._judge = Judge(self.problem, (C_KERNEL if native else C_NUMPY) + C_TF32 * tf32)
            first, intact = self._call(0)
            again, _ = self._call(0)
            shifted, shifted_intact = self._call(1) if native else (first, None)
        except Exception as error:  # any exception of a kernel or a backend is a finding, and the other cases go on
            found.failures.append(f"{type(error).__name__}: {error}")
            return
        for results, where in ((first, ""), (shifted, ", one element past an aligned address")):
            if not self._within(judge, results, where):
                break
        if [r.tobytes() for r in first] != [r.tobytes() for r in again]:
            found.repeats = False
            found.failures.append("other bits at the second call")
        if native:
            found.guards = bool(intact and shifted_intact)
            if not found.guards:
                found.failures.append("bytes written outside the arrays")

    @property
    def placements(self) -> list[tuple[str, list[int]]]:
        """For each further call: the side on which inputs lie against a protected page, and which inputs."""
        inputs = {i: a for i, a in enumerate(self.problem.operands()) if a is not None}
        every = list(dict.fromkeys(side for a in inputs.values() for side in sides(a)))
        return [(side, list(inputs)) for side in every]

    def beside_pages(self, side: str, chosen: list[int]) -> None:
        """One more call, with some of the inputs against a protected page."""
        try:
            arrays = [protected(a, side) if i in chosen and a is not None else a
                      for i, a in enumerate(self.problem.operands())]
            results, _ = self._call(0, arrays)
        except Exception as error:
            self.found.failures.append(f"{type(error).__name__}: {error}")
            return
        if self._judge is not None:  # without a judge the only question is whether the call survives
            self._within(self._judge, results, f", with inputs against a page at their {side}")

    def name_of(self, index: int) -> str:
        """The name of an input."""
        op = Op.registry.get(self.problem.op)
        return op.arguments[index] if op is not None else f"input {index}"

    def _within(self, judge: Judge, results: list[np.ndarray], where: str) -> bool:
        units = judge.error(results)
        self.found.worst = max(self.found.worst, units)
        if not units <= 1:
            self.found.failures.append(f"{units:.3g} times the bound{where}")
        return units <= 1

    def _call(self, shift: int, arrays: Any = None) -> tuple[list[np.ndarray], bool | None]:
        """The results as NumPy arrays, and whether the guards are intact; None without guards."""
        problem = self.problem
        arrays = problem.operands() if arrays is None else arrays
        if self.name not in COMPILED:
            return list(as_results(problem.run(self.run, arrays))), None
        guards = Guards(self.run, shift)
        guarded = copy.copy(self.run)
        guarded.empty = guards.empty
        arrays = [tensor(a).to("gpu").array if a is not None and self.name == "cuda" else a for a in arrays]
        if shift:
            arrays = [guards.copy(a) for a in arrays]
        results = [wrap(r).numpy() for r in as_results(problem.run(guarded, tuple(arrays)))]
        return results, guards.intact()
