"""bench/results/README.md: generated from the files beside it, and telling what still waits."""

from __future__ import annotations

import importlib
import re
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
    for name in ("report", "manifest"):
        sys.modules.pop(name, None)


def test_the_page_is_what_the_files_give(report) -> None:
    page = (BENCH / "results" / "README.md").read_text(encoding="utf-8")
    assert page == "\n".join(report._page()) + "\n", "run python bench/report.py"
    for picture in re.findall(r"!\[.*\]\((.*)\)", page):
        assert (BENCH / "results" / picture).is_file()


def test_what_is_missing_lists_itself(report, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
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


@pytest.mark.parametrize("script", ["cpu_layers", "train", "startup", "denominators"])
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
    for name in ("denominators", "report", "manifest"):
        sys.modules.pop(name, None)
