"""The rows that are measured on a GPU: their keys, plans and estimates, the check of a sample, predictions."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from native_backends import needs_emulated

from convgpu.backends import load
from convgpu.benchmark import Results, Timing, WrongResultError, environment
from convgpu.benchmark.problems import conv_problem, gemm_problem, layout_problem, pool_problem
from convgpu.cases.pool import PoolCase
from convgpu.facts import plan_of, text_of
from convgpu.geometry import conv_geometry
from convgpu.roofline import find_gpu

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "bench"))

import gpu_tables  # noqa: E402 - no package of the installation, as below
import plan_model  # noqa: E402
import predict  # noqa: E402
import refit  # noqa: E402
import sampled  # noqa: E402
from rows import Rows  # noqa: E402


def dry_run(*arguments: str) -> str:
    """What bench/kernels.py --dry-run prints."""
    done = subprocess.run([sys.executable, ROOT / "bench" / "kernels.py", "--dry-run", *arguments], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@needs_emulated
def test_the_benchmark_names_its_rows_and_bars():
    told = dry_run()
    for part in ("float32 GEMM: >= 0.8x PyTorch", "half GEMM: >= 0.5x PyTorch", "depthwise: >= 2.0x PyTorch, >= 70%",
                 "layouts: >= 85% of the roofline", "max pooling: >= 1.3x PyTorch, >= 85% of the roofline"):
        assert part in told
    rows = re.findall(r"^  (\w+) +(\w+), .* ([\d.]+) ms by (arithmetic|memory) .* (\w+_\w+)", told, re.MULTILINE)
    assert f"\n{len(rows)} rows" in told and len(rows) > 50
    assert {op for op, *_ in rows} >= {"gemm", "conv_fprop", "conv_dgrad", "conv_wgrad", "max_pool_dgrad"}


@needs_emulated
def test_the_benchmark_of_hopper_runs_on_its_kernels():
    """All but what is bound by memory, and groups that fill no line."""
    rows = [json.loads(line) for line in dry_run("--hopper", "--json").splitlines()]
    assert len(rows) > 180 and {row["asked"] for row in rows} >= {1.0, 1.05, 1.1, 2.0, 2.5, 3.0}
    kernels = {row["key"]: row["plan"].split()[0] for row in rows if row["bound"] == "arithmetic"}
    assert [key for key, kernel in kernels.items() if not kernel.endswith(("_wgmma", "_packed"))] == []
    assert all(row["estimate_ms"] > row["floor_ms"] * 0.97 for row in rows
               if row["estimate_ms"] and row["bound"] == "arithmetic")


@needs_emulated
def test_the_model_in_python_is_that_of_the_plan():
    """bench/plan_model.py makes the choices that csrc/hopper/plan.cpp makes, of every row and of odd sizes."""
    module, gpu, checked = load("emulated"), find_gpu("H200"), 0
    entries = gpu_tables.hopper() + gpu_tables.kernels()
    generator = np.random.default_rng(0)
    entries += [replace(entries[0], problem=gemm_problem(*(8 * int(2**n) for n in generator.uniform(2, 11, 3)),
                                                        dtype="bfloat16")) for _ in range(60)]
    for entry in entries:
        plan = text_of(plan_of(module, entry.problem.call, gpu, entry.precision))
        estimate = plan_model.estimate(entry.problem, entry.precision, plan)
        if estimate is not None:
            checked += 1
            assert estimate.launches[0][1].is_in(plan), (entry.key, plan, estimate.launches[0])
    assert checked > 250


def test_keys_are_unique_and_small_rows_have_those_of_the_large():
    assert len(predict.all_keys()) == len(set(predict.all_keys()))
    for table in gpu_tables.TABLES.values():
        entries = table()
        small = gpu_tables.tiny(entries)
        assert [entry.key for entry in small] == [entry.key for entry in entries]
        assert max(entry.problem.work.flops for entry in small) < 1e7


def test_a_run_that_ends_early_has_some_of_every_part():
    entries = gpu_tables.hopper()
    assert {entry.bar.name for entry in entries[:13]} == {entry.bar.name for entry in entries}


# --- the check of a sample


def _result(problem, arrays):
    return problem.run(load("numpy"), arrays)


CONVOLUTIONS = [((3, 9, 7, 4), (3, 3, 2, 6), 1, "same", 1, 2), ((2, 11, 8, 3), (5, 2, 3, 5), (2, 3), (1, 0), 1, 1),
                ((2, 7, 7, 8), (3, 3, 1, 8), 2, "same", 1, 8), ((1, 10, 9, 2), (2, 3, 2, 4), 1, ((2, 0), (0, 1)), 3, 1)]


@pytest.mark.parametrize("direction", ["fprop", "dgrad", "wgrad"])
@pytest.mark.parametrize("sizes", CONVOLUTIONS, ids=lambda sizes: "x".join(map(str, sizes[1])))
def test_a_sample_of_a_convolution(sizes, direction):
    """It passes what is right, and not what is a part in a thousand off, or from another pixel."""
    x, w, stride, padding, dilation, groups = sizes
    problem = conv_problem(conv_geometry("conv", x, w, stride, padding, dilation, groups, "channels_last"), direction)
    arrays = problem.operands()
    right = _result(problem, arrays)
    sampled.check(problem, arrays, right)
    for wrong in (right * np.float32(1.001), np.roll(right, 1, 1), right * np.float32("nan")):
        with pytest.raises(WrongResultError):
            sampled.check(problem, arrays, wrong)


@pytest.mark.parametrize("trans_a, trans_b", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("at", [(0, 0), (-1, -1)])
def test_a_sample_of_a_product_has_its_corners(trans_a, trans_b, at):
    problem = gemm_problem(200, 77, 40, trans_a, trans_b)
    arrays = problem.operands()
    result = _result(problem, arrays).copy()
    sampled.check(problem, arrays, result)
    result[at] += 1
    with pytest.raises(WrongResultError):
        sampled.check(problem, arrays, result)


@pytest.mark.parametrize("direction", ["fprop", "dgrad"])
@pytest.mark.parametrize("average", [False, True])
def test_a_sample_of_a_pooling(average, direction):
    problem = pool_problem(PoolCase("", (3, 9, 8, 5), 3, 2, 1).geometry(), direction, "float32", average)
    arrays = problem.operands()
    result = _result(problem, arrays)
    sampled.check(problem, arrays, result)
    wrong = np.roll(result[0] if isinstance(result, tuple) else result, 1, 1)
    with pytest.raises(WrongResultError):
        sampled.check(problem, arrays, (wrong, result[1]) if isinstance(result, tuple) else wrong)


@needs_emulated
@pytest.mark.parametrize("op, shape", [("nchw_to_nhwc", (2, 3, 5, 4)), ("nhwc_to_nchw", (2, 5, 4, 3))])
def test_a_sample_of_a_layout(op, shape):
    problem = layout_problem(op, shape, "float32")
    arrays = problem.operands()
    result = problem.run(load("emulated"), arrays)
    sampled.check(problem, arrays, result)
    with pytest.raises(WrongResultError):
        sampled.check(problem, arrays, np.roll(result, 1, 1))


# --- predictions

KEYS = ["hopper: gemm bfloat16, 8192x8192x8192", "hopper: gemm bfloat16, 4096x4096x4096", "train: lenet5 b128"]


def predictions(tmp_path: Path, rows: list[dict], date: str = "2026-11-30 13:00 UTC") -> list[predict.Prediction]:
    """As from a file."""
    path = tmp_path / "made-up.json"
    path.write_text(json.dumps({"date": date, "device": "H200", "rows": rows}))
    return predict.load([path])


def measured(tmp_path: Path, milliseconds: dict[str, dict[str, float]], date: str = "2026-12-01 09:00 UTC") -> Path:
    """A file of made-up rows."""
    path = tmp_path / "rows.jsonl"
    rows = Rows(path, {"commit": "0" * 12, "date": date})
    for key, contenders in milliseconds.items():
        rows.add(key, {"kind": "train" if key.startswith("train") else "gemm", "timings": {
            name: {"calls": 1, "wall": [t / 1e3] * 3, "gpu": [t / 1e3 if key.startswith("hopper") else 9.0] * 3}
            for name, t in contenders.items()}})
    rows.fail("hopper: gemm float32, 4096x4096x4096", "it failed")
    return path


def test_predictions_are_scored(tmp_path):
    why = {"why": "by the floor"}
    made = predictions(tmp_path, [
        {"key": KEYS[0], "ms": [1.3, 1.5], **why}, {"key": KEYS[0], "contender": "torch", "ms": [1.0, 1.2], **why},
        {"key": KEYS[1], "ms": [0.1, 0.2], **why}, {"key": KEYS[2], "ms": [2, 3], **why},
        {"key": KEYS[2], "contender": "torch gpu compiled channels_last", "ms": [1, 2], **why}])
    found = measured(tmp_path, {KEYS[0]: {"convgpu gpu": 1.4, "torch gpu": 1.3, "torch gpu other": 1.1},
                                KEYS[2]: {"convgpu gpu": 6.0, "torch gpu channels_last": 1.5}})
    told = list(predict.report(made, predict.outcomes(made, predict.measured([found]))))
    narrower = ", half of them narrower than a factor of "
    assert told[:4] == [f"hopper: 2 of 2 intervals hit (100%){narrower}1.2",
                        f"train: 0 of 1 intervals hit (0%){narrower}1.5",
                        f"all: 2 of 3 intervals hit (67%){narrower}1.2", "2 predictions wait for a measurement"]
    assert told[4:] == ["missed train: lenet5 b128 (convgpu): 6 ms, predicted 2 to 3, 2.00 times the nearer end; "
                        "by the floor"]


def test_the_same_is_scored_from_a_file_of_results(tmp_path):
    made = predictions(tmp_path, [{"key": KEYS[0], "ms": [1, 2], "why": "."}])
    timings = {"convgpu gpu": Timing(1, [0.003] * 3, [], [0.0015] * 3)}
    where = {**environment(), "date": "2026-12-01 09:00 UTC"}
    Results(where, [{"key": KEYS[0], "kind": "gemm", "layer": "", "timings": timings}]).save(tmp_path / "kept.json")
    outcome, = predict.outcomes(made, predict.measured([tmp_path / "kept.json"]))
    assert outcome.hit and outcome.measured == 1.5


def test_a_prediction_after_the_fact_counts_for_nothing(tmp_path):
    made = predictions(tmp_path, [{"key": KEYS[0], "ms": [1.3, 1.5], "why": "seen"}], "2026-12-02 09:00 UTC")
    found = measured(tmp_path, {KEYS[0]: {"convgpu gpu": 1.4}})
    told = list(predict.report(made, predict.outcomes(made, predict.measured([found]))))
    assert told == ["all: 0 of 0 intervals hit (-)", "0 predictions wait for a measurement",
                    "1 are not older than what they predict, and do not count"]


@pytest.mark.parametrize("row, message", [
    ({"key": "hopper: gemm bfloat16, 1x1x1", "ms": [1, 2], "why": "."}, "expected a key"),
    ({"key": KEYS[0], "ms": [2, 1], "why": "."}, "expected 0 < low <= high"),
    ({"key": KEYS[0], "ms": [1, 2]}, "expected a reason")])
def test_what_is_no_prediction_is_refused(tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        predictions(tmp_path, [row])


def test_the_predictions_that_are_kept_can_be_read():
    predict.load(sorted(predict.PREDICTIONS.glob("*.json")))


# --- the plan's constants


def made_up_rows(path: Path, truth: plan_model.Constants, noise: float) -> None:
    """Times that a GPU with these constants would take."""
    module, random = load("emulated"), np.random.default_rng(0)
    kept = Rows(path, {"commit": "0" * 12, "date": "2026-12-01 09:00 UTC"})
    for entry in gpu_tables.hopper():
        plan = text_of(plan_of(module, entry.problem.call, find_gpu("H200"), entry.precision))
        estimate = plan_model.estimate(entry.problem, entry.precision, plan)
        if estimate is not None:
            seconds = estimate.seconds(truth) * float(np.exp(noise * random.standard_normal()))
            kept.add(entry.key, {"kind": "gemm", "kernels": {"convgpu gpu": plan}, "timings": {
                "convgpu gpu": {"calls": 1, "gpu": [seconds] * 3}}})


@needs_emulated
def test_constants_are_found_again(tmp_path):
    """A clock that falls, an L2 cache that gives less, longer pauses: the shapes that were held out are met as well."""
    truth = plan_model.Constants(multiply_adds=1700, share=24, between=700, launch=2500)
    made_up_rows(tmp_path / "rows.jsonl", truth, 0.02)
    found = refit.points([tmp_path / "rows.jsonl"])
    fitted, held_out = [p for p in found if not p.held_out], [p for p in found if p.held_out]
    assert len(fitted) > 60 and len(held_out) > 20
    new = refit.fit(fitted)
    assert refit.error(held_out, plan_model.Constants()) > 0.15
    assert refit.error(held_out, new) < 0.04
    for name in ("multiply_adds", "share", "launch"):
        assert abs(np.log(getattr(new, name) / getattr(truth, name))) < 0.15, (name, new)
