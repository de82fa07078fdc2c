"""The harness: wrong results are refused, contenders alternate, results carry where they come from."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from convgpu import benchmark
from convgpu.cases import networks


def test_a_wrong_result_is_refused():
    exact = np.full(4, 3.0)
    benchmark.verify("op", exact.astype("float32"), exact, exact, 3)
    with pytest.raises(benchmark.WrongResultError, match="op: expected an error within the bound, got"):
        benchmark.verify("op", (exact + 1e-3).astype("float32"), exact, exact, 3)
    with pytest.raises(benchmark.WrongResultError):
        benchmark.verify("op", np.full(4, np.nan, "float32"), exact, exact, 3)


def test_contenders_alternate_after_a_warm_up():
    calls: list[str] = []
    timings = benchmark.alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, samples=3,
                                  sample_seconds=0.0, pause=0.0)
    assert "".join(calls) == "aabb" * 4  # two to warm up; then for each sample one that is not timed, and one that is
    assert all(len(t.wall) == len(t.cpu) == 3 and t.calls == 1 for t in timings.values())


def test_short_calls_are_repeated_within_a_sample():
    timings = benchmark.alternate({"nothing": lambda: None}, samples=2, sample_seconds=1e-3, pause=0.0)
    assert timings["nothing"].calls > 10


def test_median_and_spread():
    timing = benchmark.Timing(1, wall=[1.0, 2.0, 3.0, 4.0, 100.0], cpu=[1.0] * 5)
    assert timing.median("wall") == 3.0 and timing.spread("cpu") == 0.0 and timing.spread("wall") > 1


def test_geometric_mean():
    assert benchmark.geometric_mean([0.25, 1.0, 4.0]) == pytest.approx(1.0)


def test_results_carry_their_environment(tmp_path):
    timing = benchmark.Timing(2, wall=[0.5, 0.25], cpu=[0.5, 0.25])
    benchmark.record(tmp_path / "r.json", [{"layer": "x", "timings": {"ours": timing}}])
    recorded = json.loads((tmp_path / "r.json").read_text())
    ours = {"calls": 2, "wall": [0.5, 0.25], "cpu": [0.5, 0.25]}
    assert recorded["rows"] == [{"layer": "x", "timings": {"ours": ours}}]
    environment = recorded["environment"]
    assert environment["versions"]["numpy"] == np.__version__ and environment["machine"]["cores"] >= 1
    assert set(environment) == {"date", "machine", "versions", "blas", "commit"}


def test_the_program_starts_again_with_quiet_blas(tmp_path):
    program = tmp_path / "program.py"
    program.write_text("import os, sys\nfrom convgpu.benchmark import quiet_blas\n"
                       "print('start', flush=True)\nquiet_blas()\n"
                       "print(os.environ['OPENBLAS_THREAD_TIMEOUT'], sys.argv[1:])\n")
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_THREAD_TIMEOUT"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    ran = subprocess.run([sys.executable, program, "--flag", "a b"], env=environment, capture_output=True, text=True,
                         check=True, timeout=60)
    assert ran.stdout.splitlines() == ["start", "start", "20 ['--flag', 'a b']"]


def test_layers_have_the_sizes_of_their_papers():
    assert networks.ALEXNET[0].geometry().output == (55, 55)
    assert [p.geometry().output for p in networks.ALEXNET_POOLS] == [(27, 27), (13, 13), (6, 6)]
    assert {layer.geometry().output for layer in networks.VGG16} == {(n, n) for n in (224, 112, 56, 28, 14)}
    assert networks.RESNET50[0].geometry().output == (112, 112)
    assert networks.RESNET50_POOLS[0].geometry().output == (56, 56)
    assert all(layer.geometry().macs == layer.batch * math.prod(layer.geometry().output) * 9 * layer.channels
               for layer in networks.DEPTHWISE)
    for layers in (networks.DENSE, networks.DEPTHWISE, networks.MAX_POOLS):
        assert len({(layer.network, layer.name) for layer in layers}) == len(layers)
        for layer in layers:
            first, last = layer.geometry("channels_first"), layer.geometry()
            assert first.output == last.output and first.x_shape[1] == last.x_shape[-1]
