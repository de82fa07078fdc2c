"""Plans say how many kernels they launch: `plan.launches` is what the emulator counts, for every case of every family.

The emulator counts in a process of its own, where it checks launches and runs no kernel (CONVGPU_EMULATOR_RUN=no), so
that all cases take seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from native_backends import needs_emulated

from convgpu import set_precision, set_workspace_limit
from convgpu.backends import load
from convgpu.facts import FAMILIES

pytestmark = needs_emulated

# An H200; an A100, which has no kernels of Hopper; and a Hopper of few multiprocessors without any workspace. The last
# number is the limit on workspace.
MACHINES = {"H200": (90, 132, 227 << 10, None), "A100": (80, 108, 163 << 10, None), "small": (90, 4, 227 << 10, 0)}


def counted(arch: int, multiprocessors: int, shared_bytes: int, limit: int | None) -> dict[str, Any]:
    """Run every case of every family; compare each plan's launches with those that the emulator has counted."""
    native = load("emulated")
    native.module.emulate(native.module.Device(arch, multiprocessors, shared_bytes))
    wrong: list[str] = []
    seen: dict[str, list[int]] = {}
    kept: list[Any] = []
    launch, planned = native.launch, native.planned

    def keep(*args: Any) -> Any:
        kept[:] = [planned(*args)]
        return kept[0]

    def watch(op: str, *args: Any, **options: Any) -> None:
        before = native.module.launches()
        launch(op, *args, **options)
        plan, count = kept[0].arguments[-1], native.module.launches() - before
        seen.setdefault(op, []).append(count)
        if plan.launches != count:
            wrong.append(f"{op} of {args[2]}: the plan says {plan.launches}, counted {count}: {plan.text}")

    native.launch, native.planned = watch, keep
    with set_workspace_limit(limit):
        for family in FAMILIES.values():
            for case in family.cases:
                for dtype, data_format in family.variants(case, tf32=True):
                    with set_precision("tf32" if dtype == "tf32" else "float32"):
                        for problem in family.problems(case, "float32" if dtype == "tf32" else dtype, data_format):
                            problem.run(native, problem.operands())
    return {"wrong": wrong, "ops": {op: [len(counts), max(counts)] for op, counts in seen.items()}}


@pytest.mark.parametrize("machine", MACHINES)
def test_plans_say_how_many_kernels_they_launch(machine):
    environment = {**os.environ, "CONVGPU_EMULATOR_RUN": "no"}
    run = subprocess.run([sys.executable, __file__, machine], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert not found["wrong"]
    assert set(found["ops"]) == {op for family in FAMILIES.values() for op in family.ops}
    assert found["ops"]["conv_wgrad"][1] >= 2  # some sums are split


if __name__ == "__main__":
    print(json.dumps(counted(*MACHINES[sys.argv[1]])))
