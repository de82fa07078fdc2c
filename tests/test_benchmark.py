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
from convgpu.benchmark import Results, Timing, roofs
from convgpu.benchmark.gpu import MOST_COPIES
from convgpu.benchmark.report import compare, figures, grid, tables
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
    assert set(environment) - {"gpu"} == {"date", "machine", "versions", "backend", "blas", "commit"}


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
    for damage in (lambda r: r.environment.pop("machine"), lambda r: r.rows[0].pop("kind"),
                   lambda r: r.rows[0]["timings"]["convgpu cpu"].wall.clear()):
        damaged = Results.load(tmp_path / "r.json")
        damage(damaged)
        damaged.save(tmp_path / "damaged.json")
        with pytest.raises(ValueError, match="damaged.json: expected results of convgpu benchmark"):
            Results.load(tmp_path / "damaged.json")
    (tmp_path / "deep.json").write_text("[" * 10**5)
    with pytest.raises(ValueError, match="deep.json: expected results of convgpu benchmark"):
        Results.load(tmp_path / "deep.json")


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


def scattered(middle: float) -> Timing:
    samples = [0.2 * middle, 0.6 * middle, middle, 1.8 * middle, 3 * middle]
    return Timing(1, samples, samples)


def test_noise_is_no_ratio_and_no_mean():
    """On a busy machine a median of few samples is luck: 41x and 0.35x were told of one pooling."""
    victory = row_of(1.0, peer=41.0)
    victory["timings"]["convgpu cpu"] = scattered(1.0)
    assert figures.spread(victory, "convgpu cpu") > 1.18 and figures.ratio(victory, "cpu") is None
    victory["timings"]["convgpu cpu"] = Timing(1, [1.0] * 5, [1.0] * 5)
    assert figures.ratio(victory, "cpu") == 41.0
    for layout in ("last", "first"):
        victory["timings"][f"torch cpu channels_{layout}"] = scattered(41.0)
    assert figures.ratio(victory, "cpu") is None
    told = " ".join(tables.render(results_of(victory)).split())
    assert "41.0x" not in told and " noise" in told and "leave this ratio open by more than a factor of 1.5" in told
    calm, other = row_of(1.0, peer=2.0, layer="b"), row_of(1.0, peer=2.0, layer="c")
    told = " ".join(tables.render(results_of(victory, calm)).split())
    assert "no mean, because 1 of 2 ratios are noise" in told and "geometric mean" not in told
    told = " ".join(tables.render(results_of(victory, calm, other)).split())
    assert "geometric mean, of the 2 of 3 ratios that are not noise: 2.00x" in told
    both = row_of(1.0, gpu=0.1)
    both["timings"]["convgpu cpu"] = scattered(1.0)
    assert figures.speedup(both) is None and "10.0x" not in tables.render(results_of(both))
    training = {**victory, "kind": "train", "batch": 8, "steps": 20}
    told = " ".join(tables.render(results_of(training)).split())
    assert "41.0x" not in told and " noise" in told and "leave this ratio open" in told


def test_the_peers_spread_stands_beside_ours():
    row = row_of(1.0, peer=1.0)
    row["timings"]["torch cpu channels_last"] = Timing(1, [0.9, 1.0, 1.1], [0.9, 1.0, 1.1])
    for training in (False, True):
        shown = {**row, "kind": "train", "batch": 8, "steps": 3} if training else row
        told = tables.render(results_of(shown), as_markdown=True)
        titles, _, cells = [line.strip("| ").split(" | ") for line in told.splitlines() if line.startswith("|")][:3]
        assert dict(zip(titles, cells))["PyTorch CPU ±"] == "10%"


def test_no_point_lies_above_the_roof(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    from convgpu.benchmark.report import plot

    roof = roofs.Roof("CPU", 1e9, {"float32": 1e9}, "")
    rows = [row_of(0.1, flops=5 * 10**8, bytes=10**6), row_of(0.1, flops=10**7, bytes=10**9, kind="pool", layer="p",
                                                             unit="float32 additions")]
    results = results_of(*rows, roofs={"cpu": vars(roof)})
    results.environment["machine"]["load_before"] = 4.62
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: drawn.append(self))
    plot.draw(results, tmp_path / "p.png")
    axis = drawn[0].axes[-1]
    xs, ys = axis.lines[-1].get_data()  # the outermost roof
    points = [point for scatter in axis.collections for point in scatter.get_offsets()]
    assert len(points) == 2
    for x, y in points:
        assert y <= np.exp(np.interp(np.log(x), np.log(xs), np.log(ys))) * 1.001
    words = " ".join(text.get_text() for text in axis.texts)
    assert "reached in a cache: 10.0 GB/s" in words and "reached: 5.00 GFLOP/s" in words
    assert "load average 4.62 before the start" in drawn[0].get_suptitle()


def test_the_spread_is_on_the_picture(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    from convgpu.benchmark.report import plot

    row, calm = row_of(1.0, peer=41.0), row_of(1.0, peer=2.0, layer="calm")
    row["timings"]["convgpu cpu"] = scattered(1.0)
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: drawn.append(self))
    plot.draw(results_of(row, calm), tmp_path / "p.png")
    times, ratios = drawn[0].axes
    assert [400.0, 2400.0] in [list(map(float, line.get_xdata())) for line in times.lines]
    assert [text.get_text() for text in ratios.texts] == ["noise", "2.00"]
    assert [bar.get_width() for bar in ratios.patches] == [0.0, 2.0]


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
    lost = {**row_of(1.0), "timings": {"convgpu cpu": scattered(1.0)}}
    assert [c.verdict for c in compare.changes(results_of(row_of(0.8)), results_of(lost))] == ["noise"]
    told, slower_ones = compare.report(results_of(row_of(0.8)), results_of(lost))
    assert not slower_ones and "no mean of A/B; 0 of 1 slower" in told and "1 left out as noise" in told
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
