"""`convgpu verify` as a user runs it, and whether it finds what is wrong."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import types

import numpy as np
import pytest
from native_backends import needs_emulated

from convgpu import backends, cli, verify
from convgpu.backends import load, native
from convgpu.cases.problem import Problem
from convgpu.facts import FAMILIES

CPU = ["numpy", "reference", pytest.param("emulated", marks=needs_emulated)]


@pytest.mark.parametrize("backend", CPU)
def test_a_sound_backend_passes(backend):
    report = verify.verify(backend, ["pool"], quick=True)
    assert report.passed() and not report.failures and all(row.repeats for row in report.rows.values())
    assert {row.dtype for row in report.rows.values()} >= {"float64", "float32", "float16", "bfloat16"}
    assert all(row.guards is (True if backend == "emulated" else None) for row in report.rows.values())


def test_every_family_has_a_table_and_calls_every_op_of_it():
    ops = {name: {p.op for case in family.cases[-12:] + family.cases[:12] for p in family.problems(
        case, "float32", family.formats[0])} for name, family in FAMILIES.items()}
    assert ops["conv"] == {"conv_fprop", "conv_dgrad", "conv_wgrad", "channel_sum"}
    assert ops["gemm"] == {"gemm", "matmul"}
    assert ops["pool"] == {name for name in dir(load("reference")) if "pool" in name and name[0] != "_"}
    assert ops["layout"] == {"nchw_to_nhwc", "nhwc_to_nchw", "oihw_to_hwio", "hwio_to_oihw"}


def test_the_command_offers_all_families_and_backends():
    offered = {}
    for action in cli._parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            offered = {a.dest: a.choices for a in action.choices["verify"]._actions}
    assert set(offered["families"]) == set(FAMILIES) and set(offered["backend"]) == set(verify.BACKENDS)


# --- planted mistakes


def plant(monkeypatch, op, wrong):
    """In place of the numpy backend's op, a function of the right result and the arguments."""
    right = getattr(load("numpy"), op)
    monkeypatch.setattr(load("numpy"), op, lambda *args: wrong(right(*args), *args))


def swap_strides(result, x, w, bias, geo, activation):
    if len(set(geo.stride)) < 2 or geo.rank != 2:
        return result
    swapped = type(geo)(**{**geo.__dict__, "stride": geo.stride[::-1]})
    return load("reference").conv_fprop(x, w, bias, swapped, activation)


def drop_a_tap(result, x, gy, geo):
    result[(0,) * result.ndim if result.size else ...] = 0
    return result


@pytest.mark.parametrize("op, wrong, family, case", [
    ("conv_fprop", swap_strides, "conv", "stride_3_5"),
    ("conv_wgrad", drop_a_tap, "conv", "groups_2"),
    ("conv_dgrad", lambda gx, *args: gx * gx.dtype.type(1.1), "conv", "conv3d"),
    ("max_pool", lambda found, x, geo, offsets: (found[0], found[1] if found[1] is None else found[1] * 0), "pool",
     "ties"),
    ("avg_pool", lambda y, *args: np.where(np.isnan(y), np.zeros_like(y), y), "pool", "nan"),
    ("gemm", lambda y, *args: y[::-1], "gemm", "c_13x7"),
    ("matmul", lambda y, *args: y.astype(np.float32), "gemm", "c_13x7"),
    ("matmul", lambda y, *args: y[..., None], "gemm", "c_13x7"),
    ("max_pool_gather", lambda y, *args: 1 // 0, "pool", "ties"),
])
def test_planted_mistakes_are_found(monkeypatch, op, wrong, family, case):
    plant(monkeypatch, op, wrong)
    report = verify.verify("numpy", [family], cases=[case])
    assert not report.passed() and {failure.op for failure in report.failures} == {op}
    assert f"again: convgpu verify --backend numpy --family {family} --case {case}" in str(report)


def test_other_bits_at_the_second_call_are_found(monkeypatch):
    noise = iter(np.random.default_rng(0).random(10_000))
    plant(monkeypatch, "avg_pool", lambda y, *args: y * (1 + 1e-15 * next(noise)) if y.dtype == "float64" else y)
    report = verify.verify("numpy", ["pool"], cases=["lenet"])
    assert not report.passed() and {failure.what for failure in report.failures} == {"other bits at the second call"}
    assert [row.kernel for row in report.rows.values() if not row.repeats]


@needs_emulated
@pytest.mark.parametrize("what, expected", [
    ("beyond", "bytes written outside the arrays"), ("before", "bytes written outside the arrays"),
    ("missing", "inf times the bound"), ("unaligned", "times the bound, one element past an aligned address"),
    ("raises", "RuntimeError: a fault")])
def test_a_planted_wrong_kernel_is_found(monkeypatch, what, expected):
    """A launcher that writes one element too far, leaves one out, or is wrong on unaligned arrays alone."""
    sound = load("emulated")

    class Module:
        def __getattr__(self, name):
            return getattr(sound.module, name)

        def nchw_to_nhwc(self, x, y, stream):
            sound.module.nchw_to_nhwc(x, y, stream)
            out = outputs[-1]
            if out.size == 0:
                return
            memory = np.ctypeslib.as_array((np.ctypeslib.ctypes.c_uint8 * (out.nbytes + 2)).from_address(
                out.ctypes.data - 1))
            if what == "beyond":
                memory[-1] = 0
            elif what == "before":
                memory[0] = 0
            elif what == "missing":
                memory[1:1 + out.itemsize] = 0xff if out.reshape(-1).view(np.uint8)[0] != 0xff else 0
            elif what == "unaligned" and out.ctypes.data % 16:
                memory[1] ^= 1
            elif what == "raises":
                raise RuntimeError("a fault")

    outputs = []

    class Spied(native.Native):
        def run(self, op, *arguments, **options):
            outputs.append(arguments[-1])
            super().run(op, *arguments, **options)

    monkeypatch.setattr(verify.backends, "load", lambda name: Spied("emulated", Module()))
    report = verify.verify("emulated", ["layout"], cases=["2x3x5x7"])
    assert report.failures and {failure.op for failure in report.failures} == {"nchw_to_nhwc"}
    assert all(expected in failure.what for failure in report.failures)
    row = next(row for row in report.rows.values() if row.kernel == report.failures[0].kernel)
    assert (row.guards is False) == ("outside" in expected)


# --- the command


def run(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "convgpu", "verify", *arguments], capture_output=True, text=True,
                          timeout=300, **options)


def test_the_report_and_its_json(tmp_path):
    done = run("--backend", "numpy", "--family", "pool", "--case", "ties", "--json", str(tmp_path / "out.json"))
    assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
    assert "max_pool" in done.stdout and "0 failed" in done.stdout
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["backend"] == "numpy" and not found["failures"] and found["environment"]["versions"]["numpy"]
    rows = {(row["family"], row["dtype"], row["kernel"]): row for row in found["rows"]}
    assert rows["pool", "float32", "max_pool"]["cases"] == 1 and rows["pool", "float32", "max_pool"]["calls"] == 4
    assert 0 < rows["pool", "bfloat16", "avg_pool"]["worst"] <= 1


def test_failures_give_status_1(monkeypatch, tmp_path, capsys):
    plant(monkeypatch, "avg_pool", lambda y, *args: y * np.nan)
    path = tmp_path / "out.json"
    arguments = ["verify", "--backend", "numpy", "--family", "pool", "--case", "1d", "--json", str(path)]
    assert cli.main(arguments) == 1
    out = capsys.readouterr().out
    assert "FAILED 1d: avg_pool float32 channels_last, avg_pool: inf times the bound" in out
    found = json.loads(path.read_text())
    assert len(found["failures"]) == 8 and found["failures"][0]["case"] == "1d"
    assert {row["worst"] for row in found["rows"] if row["kernel"] == "avg_pool"} == {"inf"}


@pytest.mark.parametrize("arguments, status, message", [
    (["--case", "no-such"], 2, "expected the name of a case of pool, got 'no-such'"),
    (["--backend", "tpu"], 2, "invalid choice: 'tpu'"),
    (["--family", "fft"], 2, "invalid choice: 'fft'"),
])
def test_wrong_usage_gives_status_2(arguments, status, message):
    done = run("--backend", "numpy", "--family", "pool", *arguments)
    assert done.returncode == status and message in done.stderr and "Traceback" not in done.stderr


def test_a_family_that_the_backend_lacks(capsys):
    with backends.replaced("numpy", types.SimpleNamespace()):
        assert cli.main(["verify", "--backend", "numpy", "--family", "layout", "--quick"]) == 1
    assert "layout: not implemented on backend 'numpy'" in capsys.readouterr().out


def test_a_backend_that_is_not_built(monkeypatch, capsys):
    monkeypatch.setitem(native.MODULES, "emulated", "convgpu._absent")
    monkeypatch.setattr(verify.backends, "_loaded", {})
    assert cli.main(["verify", "--backend", "emulated"]) == 1
    assert "backend 'emulated' needs the module convgpu._absent, which" in capsys.readouterr().err


def test_interrupted():
    process = subprocess.Popen([sys.executable, "-m", "convgpu", "verify", "--backend", "reference"], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert "cases on backend 'reference'" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 130 and error.strip().endswith("convgpu verify: interrupted") and not out


def test_without_tqdm(monkeypatch, capsys):
    monkeypatch.setattr(verify.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert verify.verify(None, ["pool"], cases=["1d"], progress=True).backend == "numpy"
    assert "verify 0%" in capsys.readouterr().err


def test_problems_state_their_exact_results():
    """In long double where the dtype is float64, on absolute values for the bound."""
    a, b = np.array([[1.0, -2.0]]), np.array([[3.0], [4.0]])
    problem = Problem.of("gemm", (a, b, None), (-1.0, 1.0, False, False, None))
    assert problem.exact()[0] == 5 and problem.magnitude() == 11
    assert problem.exact()[0].dtype == np.longdouble and problem.dtype == np.float64
