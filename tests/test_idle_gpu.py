"""bench/idle_gpu.py: a step on it makes the launches that the ledger counts, and asks for no value."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from native_backends import needs_emulated

import convgpu as cg
from convgpu import backends, tree
from convgpu.ledger import networks

BENCH = Path(__file__).parent.parent / "bench"
pytestmark = [needs_emulated, pytest.mark.skipif(not BENCH.exists(), reason="bench/ is not beside the tests")]


def idle_gpu() -> Any:
    spec = importlib.util.spec_from_file_location("idle_gpu", BENCH / "idle_gpu.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_step_launches_what_the_ledger_counts(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    idle, calls = idle_gpu(), []
    monkeypatch.setattr(idle, "_nothing", lambda *arguments: calls.append(arguments))
    found = networks.training_ledger("lenet5", 8, dtype, "H200")
    before = sys.modules.get("cupy"), backends._loaded.get("cuda")
    with idle.idle_gpu() as new:
        params = tree.map(lambda p: cg.Tensor(new(p.shape, p.dtype)), networks.parameters("lenet5"))
        step = networks.training_step(networks.ALL["lenet5"], dtype)
        shape = networks.ALL["lenet5"].shape
        given = params, cg.Tensor(new((8, *shape), cg.zeros(1).dtype)), cg.Tensor(new((8,), cg.tensor(1).dtype))
        step(*given)
        calls.clear()
        loss, stepped = step(*given)
        assert loss.shape == () and {p.device for p in tree.leaves(stepped)} == {"gpu"}
        assert [p.shape for p in tree.leaves(stepped)] == [p.shape for p in tree.leaves(params)]
        with pytest.raises(AssertionError, match="a step waits for a value"):
            loss.item()
    assert (sys.modules.get("cupy"), backends._loaded.get("cuda")) == before
    launches = sum(next((a.launches for a in arguments if hasattr(a, "launches")), 1) for arguments in calls)
    assert launches == sum(row.launches for row in found.rows if not row.kernel.startswith("cupy_"))
