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
from convgpu.benchmark import Results, Timing, compare, figures, grid, roofs
from convgpu.benchmark.gpu import MOST_COPIES
from convgpu.benchmark.timing import LEAST
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
    assert all(len(t.wall) == len(t.cpu) == 3 and t.calls == 1 and t.gpu == [] for t in timings.values())


def test_short_calls_are_repeated_within_a_sample():
    timings = benchmark.alternate({"nothing": lambda: None}, samples=2, sample_seconds=1e-3, pause=0.0)
    assert timings["nothing"].calls > 10


def test_a_budget_ends_the_rounds_but_not_before_the_least():
    rounds: list[int] = []
    timings = benchmark.alternate({"a": lambda: None}, samples=50, pause=0.0, budget=0.0, watch=rounds.append)
    assert rounds == list(range(LEAST)) and len(timings["a"].wall) == LEAST


class Times:
    """A clock that tells prepared times."""

    def __init__(self, *seconds: float):
        self.left = list(seconds)

    def seconds(self, contender):
        contender()
        return self.left.pop(0)

    def sample(self, timing, contender):
        timing.wall.append(1.0)


def test_the_warm_up_goes_on_until_times_agree():
    clock = Times(9.0, 5.0, 3.0, 2.0, 2.01, 99.0)
    benchmark.alternate({"a": lambda: None}, samples=2, sample_seconds=0.0, pause=0.0, settle=60.0, clocks={"a": clock})
    assert clock.left == [99.0]


def test_a_long_call_is_warm_after_one():
    calls: list[int] = []
    clock = Times(10.0)
    benchmark.alternate({"a": lambda: calls.append(1)}, samples=2, pause=0.0, clocks={"a": clock})
    assert clock.left == [] and len(calls) == 1


class FakeGpu:
    """A GPU whose queue is a list, and whose events tell the position in it."""

    cache_bytes = 1000

    def __init__(self) -> None:
        self.queue: list[str] = []

    def cover(self):
        self.queue.append("cover")

    def mark(self):
        self.queue.append("event")
        return len(self.queue)

    def seconds(self, start, stop):
        return 1e-3 * (stop - start)

    def wait(self):
        self.queue.append("wait")


def test_a_gpu_is_timed_between_events_behind_other_work():
    gpu = FakeGpu()
    clock, timing = benchmark.GpuClock(gpu), Timing(calls=3)
    clock.sample(timing, lambda: gpu.queue.append("call"))
    assert gpu.queue[:5] == ["wait", "call", "call", "call", "wait"]  # the wall clock's part
    between = gpu.queue[-5:]
    assert between == ["event", "call", "call", "call", "event"] and gpu.queue[-6] == "cover"
    assert timing.gpu == [pytest.approx(4e-3 / 3, rel=1e-3)] and len(timing.wall) == len(timing.cpu) == 1


def test_operands_rotate_past_the_cache():
    made: list[int] = []

    def make():
        number = len(made)
        made.append(number)
        return lambda: number

    contender = benchmark.rotating(make, bytes_each=100, cache_bytes=1000)
    assert len(made) == 21 and [contender() for _ in range(22)] == [*range(21), 0]
    made.clear()
    benchmark.rotating(make, bytes_each=0, cache_bytes=10**9)
    assert len(made) == MOST_COPIES


def test_median_and_spread():
    timing = Timing(1, wall=[1.0, 2.0, 3.0, 4.0, 100.0], cpu=[1.0] * 5)
    assert timing.median("wall") == 3.0 and timing.spread("cpu") == 0.0 and timing.spread("wall") > 1
    assert Timing(1, wall=[2.0]).quartiles("wall") == (2.0, 2.0)


def test_geometric_mean():
    assert benchmark.geometric_mean([0.25, 1.0, 4.0]) == pytest.approx(1.0)


def test_results_carry_their_environment(tmp_path):
    timing = Timing(2, wall=[0.5, 0.25], cpu=[0.5, 0.25])
    benchmark.record(tmp_path / "r.json", [{"layer": "x", "timings": {"ours": timing}}])
    recorded = json.loads((tmp_path / "r.json").read_text())
    ours = {"calls": 2, "wall": [0.5, 0.25], "cpu": [0.5, 0.25]}
    assert recorded["rows"] == [{"layer": "x", "timings": {"ours": ours}}]
    environment = recorded["environment"]
    assert environment["versions"]["numpy"] == np.__version__ and environment["machine"]["cores"] >= 1
    assert set(environment) - {"gpu"} == {"date", "machine", "versions", "blas", "commit"}


def results_of(*rows: dict, **options) -> Results:
    return Results(benchmark.environment(), list(rows), **options)


def row_of(cpu: float, gpu: float | None = None, peer: float | None = None, **changes) -> dict:
    timings = {"convgpu cpu": Timing(1, [cpu] * 4, [cpu] * 4)}
    if gpu is not None:
        timings["convgpu gpu"] = Timing(1, [9.0] * 4, [9.0] * 4, [gpu] * 4)
    if peer is not None:
        timings |= {"torch cpu channels_last": Timing(1, [peer] * 4, [peer] * 4),
                    "torch cpu channels_first": Timing(1, [2 * peer] * 4, [2 * peer] * 4)}
    return {"kind": "conv", "network": "AlexNet", "layer": "3x3 4>4 @8 b1", "direction": "fprop", "op": "conv_fprop",
            "dtype": "float32", "threads": 2, "flops": 10**9, "unit": "float32", "bytes": 10**6, "timings": timings,
            **changes}


def test_results_survive_a_round_trip(tmp_path):
    saved = results_of(row_of(0.5, 0.25, 1.0), roofs={"cpu": vars(roofs.Roof("CPU", 1e10, {"float32": 1e11}, ""))},
                       interrupted=True)
    saved.save(tmp_path / "r.json")
    assert Results.load(tmp_path / "r.json") == saved
    (tmp_path / "other.json").write_text('{"rows": 3}')
    with pytest.raises(ValueError, match="other.json: expected results of convgpu benchmark as JSON, got something"):
        Results.load(tmp_path / "other.json")


def test_figures_of_a_row():
    row = row_of(0.5, 0.25, 1.0)
    assert figures.speedup(row) == 2.0 and figures.ratio(row, "cpu") == 2.0 and figures.ratio(row, "gpu") is None
    assert figures.best_peer(row, "cpu") == "torch cpu channels_last"
    assert figures.rate(row, "convgpu cpu") == 2e9 and figures.clock(row, "convgpu gpu") == "gpu"
    assert figures.clock({**row, "threads": 1}, "convgpu cpu") == "cpu"
    assert figures.rate({**row, "kind": "pool"}, "convgpu cpu") == 2e6
    roof = {"cpu": vars(roofs.Roof("CPU", 1e12, {"float32": 4e9}, ""))}
    assert figures.share(row, "convgpu cpu", roof) == 0.5 and figures.share(row, "convgpu gpu", roof) is None
    assert figures.of_peak(row, "convgpu cpu", roof) == 0.5


def test_the_roof_of_this_machine(monkeypatch):
    monkeypatch.setattr(roofs, "SIDE", 64)
    monkeypatch.setattr(roofs, "COPIED", 2**16)
    found = roofs.cpu_roof("bfloat16")
    assert found.bandwidth > 0 and found.peak["half"] == found.peak["float32"] > 0
    assert "float64" in roofs.cpu_roof("float64").peak
    assert roofs.gpu_roof("NVIDIA H200").bandwidth == 4800e9 and roofs.gpu_roof("Voodoo 2") is None


def test_compare_marks_what_lies_beyond_the_spread():
    timing = Timing(1, [1.0, 1.1, 1.2, 1.3], [1.0] * 4)
    noisy = {**row_of(1.0), "timings": {"convgpu cpu": timing}}
    slower, faster = row_of(2.0), row_of(0.5)
    assert [c.verdict for c in compare.changes(results_of(row_of(1.0)), results_of(slower))] == ["slower"]
    assert [c.verdict for c in compare.changes(results_of(row_of(1.0)), results_of(faster))] == ["faster"]
    assert [c.verdict for c in compare.changes(results_of(noisy), results_of(row_of(1.25)))] == [""]
    assert [c.verdict for c in compare.changes(results_of(row_of(1.0)), results_of(row_of(1.02)))] == [""]
    told, worse = compare.report(results_of(row_of(1.0, peer=1.0)), results_of(row_of(1.0, peer=5.0)))
    assert not worse and "slower" in told  # of a peer it is told, and no failure of ours
    with pytest.raises(ValueError, match="compare: expected files with rows in common, got none"):
        compare.report(results_of(row_of(1.0)), results_of(row_of(1.0, threads=1)))


def test_tables_fold_at_the_width():
    columns = [grid.Column("", "key", ["a"], left=True)]
    columns += [grid.Column(f"group {i // 2}", f"column {i}", ["1"]) for i in range(20)]
    lines = grid.text(columns, 1).splitlines()
    assert max(map(len, lines)) <= grid.WIDTH and sum(line.startswith("key") for line in lines) == 3
    assert [line.count("group") for line in lines if "group" in line] == [4, 4, 2]  # each with both its columns
    narrow = [columns[0], grid.Column("a long name", "x", ["1"]), grid.Column("another", "y", ["2"])]
    assert grid.text(narrow, 1).splitlines() == ["     a long name  another", "key            x        y",
                                                 "a              1        2"]
    assert grid.markdown(columns[:2]).splitlines() == ["| key | group 0 column 0 |", "| --- | ---: |", "| a | 1 |"]


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
