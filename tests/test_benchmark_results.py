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
    assert "| Dense convolution, forward | 2.00 | 0.6 | yes |" in page
    other = next(tmp_path.glob("*0123456789ab.json"))
    other.rename(tmp_path / other.name.replace("0123456789ab", "111111111111"))
    with pytest.raises(ValueError, match="expected <bench>-<machine>-0123456789ab.json"):
        report.newest()


@pytest.mark.parametrize("script", ["cpu_layers", "train", "startup", "denominators"])
def test_scripts_explain_themselves(script: str) -> None:
    text = (BENCH / f"{script}.py").read_text(encoding="utf-8")
    assert f"python bench/{script}.py" in text.split('"""')[1]


def test_the_denominators_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    """What bench/denominators.py times, each called once, on a CPU; and its rows as tables."""
    pytest.importorskip("torch")
    from convgpu.benchmark import tables
    from convgpu.cases.networks import ConvLayer, PoolLayer

    monkeypatch.syspath_prepend(str(BENCH))
    monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", "20")
    denominators = importlib.import_module("denominators")
    layer = ConvLayer("N", 8, 6, 4, 4, 3, 2, 1, 2)
    problems = [*denominators.convolutions([layer], ["float32", "bfloat16"], "cpu", 2),
                *denominators.poolings([PoolLayer("N", 8, 6, 4, 2, 2)], "cpu", 2),
                *denominators.products([8], ["float32"], "cpu")]
    assert [row["kind"] for row, _, _ in problems] == ["conv"] * 6 + ["pool"] * 4 + ["gemm", "copy"]
    results = [function() for _, _, function in problems]
    firsts = [next(part for part in (r if isinstance(r, tuple) else (r,)) if part is not None) for r in results]
    shapes = [tuple(first.shape) for first in firsts]
    y, x, w = (2, 4, 3, 3), (2, 4, 6, 6), (4, 2, 3, 3)
    assert shapes == [y, x, w] * 2 + [y, x] * 2 + [(8, 8), (64,)]
    timing = Timing(1, [2.0] * 2, [2.0] * 2, [1.0] * 2)
    rows = [{**row, "timings": {"torch gpu cuDNN": timing}} for row, _, _ in problems]
    told = tables.render(Results(environment(), rows))
    assert "PyTorch GPU" in told and "copy of 0 MB" in told
    for name in ("denominators", "report", "manifest"):
        sys.modules.pop(name, None)
