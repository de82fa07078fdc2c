"""bench/results/README.md: generated from the files beside it, and telling what still waits."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from convgpu.benchmark import Results, Timing, environment

BENCH = Path(__file__).parent.parent / "bench"


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch):
    """bench/report.py, drawing nothing."""
    monkeypatch.syspath_prepend(str(BENCH))
    module = importlib.import_module("report")
    monkeypatch.setattr(module, "draw", lambda *arguments: None)
    yield module
    for name in ("report", "manifest", "bars"):
        sys.modules.pop(name, None)


def test_the_page_is_what_the_files_give(report) -> None:
    page = (BENCH / "results" / "README.md").read_text(encoding="utf-8")
    assert page == "\n".join(report._page()) + "\n", "run python bench/report.py"
    for picture in re.findall(r"!\[.*\]\((.*)\)", page):
        assert (BENCH / "results" / picture).is_file()


def test_the_page_about_the_cpu_has_the_newest_shares(report) -> None:
    page = report.DOCS.read_text(encoding="utf-8")
    assert page == report.with_figures(page, report.newest()), "run python bench/report.py"


def test_rows_are_held_to_their_bars(report) -> None:
    """The mean, the worst decile and the least ratio each; on two threads by another bar; a floor by the roof."""
    def row(part: str, ratio: float, threads: int = 1) -> dict:
        ours, theirs = Timing(1, [1.0] * 2, [1.0] * 2), Timing(1, [ratio] * 2, [ratio] * 2)
        return {"kind": "conv", "network": "N", "layer": "3x3", "direction": "fprop", "op": "conv_fprop", "part": part,
                "dtype": "float32", "threads": threads, "flops": 8e9, "unit": "float32", "bytes": 8,
                "timings": {"convgpu cpu": ours, "torch cpu": theirs}}

    def told(*rows: dict) -> list[str]:
        return list(report.bars.table(Results(environment(), list(rows))))[2:]

    assert told(row("dense fprop", 1.0)) == ["| dense fprop | 1 | 1.00 | 1.00 | 1.00 | 1 | yes | 1.1 |"]
    assert "| **no**: mean | 1.1 |" in told(row("dense fprop", 0.96))[0]
    assert "| 0.95 | yes |" in told(row("dense fprop", 0.96, 2))[0]
    least, = told(row("dense fprop", 1.5), row("dense fprop", 0.78))
    assert "| 1.08 | 0.78 | 0.78 | 1 | **no**: least | 1.1 |" in least
    assert "| **no**: worst decile |" in told(*[row("depthwise fprop", 2.0)] * 9, row("depthwise fprop", 0.7))[0]
    assert told(row("a step of Adam", 0.5)) == ["| a step of Adam | 1 | 0.50 | 0.50 | 0.50 |  |  |  |"]
    overhead = {**row("", 1.0), "kind": "startup", "layer": "small", "timings": {"convgpu cpu": Timing(1, [2.5e-5] * 2,
                                                                                              [2.5e-5] * 2)}}
    del overhead["part"]
    assert told(overhead) == ["| small | 1 | 25.0 us | | | at most 20 us | **no** | 10 us |"]
    roofs = {"cpu": {"name": "CPU", "bandwidth": 1e9, "peak": {"float32": 1e10}, "source": ""}}
    lines = list(report.bars.shares(Results(environment(), [row("dense fprop", 1.0)], roofs)))
    assert lines[2:] == ["| dense fprop | 1 | arithmetic | 80% (80% to 80%) |"]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
@pytest.mark.skipif(importlib.util.find_spec("convgpu._cpu") is None, reason="convgpu._cpu is not built")
def test_the_bars_are_measured(tmp_path) -> None:
    """Every part but Keras and AVX2 on tiny sizes, written to a file and not recorded."""
    parts = ["layers", "channels_first", "bfloat16", "functions", "optimizers", "networks", "overhead"]
    done = subprocess.run([sys.executable, str(BENCH / "cpu_bars.py"), "--tiny", "--into",
                           str(tmp_path / "rows.json"), "--parts", *parts], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = Results.load(tmp_path / "rows.json").rows
    parts = {row.get("part", row["layer"]) for row in rows}
    assert {"dense fprop", "dense fprop, channels_first", "dense fprop, bfloat16", "batch norm + ReLU, backward",
            "a step of SGD with momentum", "steps of LeNet-5", "overhead of a traced conv2d of 1x8x8x1"} <= parts
    assert all("absent" not in row and row["timings"] for row in rows)
    assert all(len(row["timings"]) > 1 for row in rows if row["kind"] != "startup")


def test_what_is_missing_lists_itself(report, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(report, "DOCS", tmp_path / "cpu.md")
    (tmp_path / "cpu.md").write_text(f"before\n{report.bars.BEGIN}\n{report.bars.END}\nafter\n")
    waiting = report.manifest.WANTED[0]
    assert f"| {waiting.figure} | {waiting.needs} | `{waiting.command}` |" in "\n".join(report._page())

    where = {**environment(), "commit": "0123456789ab"}
    timings = {"convgpu cpu": Timing(1, [2.0] * 2, [2.0] * 2), "torch cpu": Timing(1, [1.0] * 2, [1.0] * 2)}
    row = {"kind": "conv", "network": "N", "layer": "3x3", "direction": "fprop", "op": "conv_fprop",
           "dtype": "float32", "threads": 1, "flops": 8, "unit": "float32", "bytes": 8, "timings": timings}
    report.save(Results({**where, "date": "2026-01-01 00:00 UTC"}, [row]), waiting.bench)
    newer = {**row, "timings": {**timings, "torch cpu": Timing(1, [4.0] * 2, [4.0] * 2)}}
    report.save(Results({**where, "date": "2026-01-02 00:00 UTC", "commit": "ba9876543210"}, [newer]), waiting.bench)
    page = (tmp_path / "README.md").read_text()
    assert waiting.figure not in page and "ba9876543210" in page and "0123456789ab" not in page
    assert "| Dense convolution, forward | 2.00 | 1.0 | yes |" in page
    other = next(tmp_path.glob("*0123456789ab.json"))
    other.rename(tmp_path / other.name.replace("0123456789ab", "111111111111"))
    with pytest.raises(ValueError, match="expected <bench>-<machine>-0123456789ab.json"):
        report.newest()


@pytest.mark.parametrize("script", ["cpu_bars", "cpu_layers", "train", "startup", "denominators"])
def test_scripts_explain_themselves(script: str) -> None:
    text = (BENCH / f"{script}.py").read_text(encoding="utf-8")
    assert f"python bench/{script}.py" in text.split('"""')[1]


def test_the_denominators_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What bench/denominators.py times, small and on a CPU: rows of every kind, skipped where they are there."""
    pytest.importorskip("torch")
    from convgpu.benchmark.report import tables

    monkeypatch.syspath_prepend(str(BENCH))
    monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", "20")
    denominators, kept = importlib.import_module("denominators"), importlib.import_module("rows")
    entries = denominators.gpu_tables.tiny(denominators.gpu_tables.denominators())
    some = list({(entry.problem.op, entry.problem.call.dtype): entry for entry in entries}.values())
    monkeypatch.setattr(denominators, "SAMPLES", 2)
    bench, here = denominators.Bench("cpu", False), environment()
    rows = kept.Rows(None, here)
    denominators.run(bench, some, rows, 1 << 16)
    lines = [line["row"] for line in rows.lines]
    assert [line["key"] for line in rows.lines] == [denominators.gpu_tables.COPY, *(entry.key for entry in some)]
    assert {row["kind"] for row in lines} == {"copy", "gemm", "conv", "pool"}
    assert all(row["timings"] and "absent" not in row and row["tiny"] for row in lines)
    denominators.run(bench, some, rows, 1 << 16)
    assert len(rows.lines) == len(lines)
    timing = Timing(1, [2.0] * 2, [2.0] * 2, [1.0] * 2)
    told = tables.render(Results(here, [{**row, "timings": {"torch gpu": timing}} for row in lines]))
    assert "PyTorch GPU" in told and "copy of 0 MB" in told
    for name in ("denominators", "report", "manifest", "bars"):
        sys.modules.pop(name, None)
