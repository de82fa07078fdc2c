"""The tables of cases by the program tests/cpu/served.cpp: by every instruction set of this machine, and by arm64's."""

from __future__ import annotations

import pytest
import served
from native_backends import needs_cpu
from test_cpu_kernels import sets

from convgpu import facts

pytestmark = needs_cpu


def check(command, instruction_set):
    module = served.Module(command, instruction_set)
    run = served.Served(module)
    try:
        for family in facts.FAMILIES:
            found = list(served.judged(run, family, True))
            assert found and not [f"{name}: {wrong}" for name, wrong in found if wrong], family
    finally:
        module.close()


@pytest.mark.parametrize("name", sets())
def test_every_family_by_every_instruction_set(name):
    """On one thread and on three, with results in memory full of NaN, against pages that must not be touched."""
    check(served.build_here(), name)


@pytest.mark.parametrize("name", ["neon", "plain"])
def test_the_instruction_sets_of_arm64(name):
    if served.obstacle():
        pytest.skip(served.obstacle())
    check(served.build_for_arm64(), name)


def test_wrong_results_and_errors_are_noticed():
    """Of calls whose results are changed, whose bits depend on the number of threads, and that the program refuses."""
    class Changed(served.Served):
        def reduce(self, x, function, *rest):
            y = super().reduce(x, function, *rest)
            if function in ("sum", "max"):
                y.reshape(-1)[:1] += y.dtype.type(1 if function == "sum" else self.threads == 3)
            return y

    module = served.Module(served.build_here(), "plain")
    wrong = [wrong for _, wrong in served.judged(Changed(module), "reduce", True)]
    assert {"", "other bits by three threads"} < set(wrong)
    assert any("times the bound" in what for what in wrong)
    with pytest.raises(ValueError, match="reduction_of|expected sum, mean, max or min, got median"):
        module.reduce(*[served.np.ones((1, 1, 1, 1))] * 2, "median", 1)
    module.kill()
    with pytest.raises(RuntimeError, match="reduce: the program has ended with status -9"):
        module.reduce(None, None, "sum", 1)
