"""`convgpu verify` as a user runs it, and whether it finds what is wrong."""

from __future__ import annotations

import argparse
import importlib.util
import json
import mmap
import os
import shlex
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
from convgpu.verify import memory, selection

CPU = ["numpy", "reference", pytest.param("emulated", marks=needs_emulated)]


@pytest.mark.parametrize("backend", CPU)
def test_a_sound_backend_passes(backend):
    report = verify.verify(backend, ["pool"], quick=True)
    assert report.passed() and not report.failures and all(row.repeats for row in report.rows.values())
    assert {row.dtype for row in report.rows.values()} >= {"float64", "float32", "float16", "bfloat16"}
    assert all(row.guards is (True if backend == "emulated" else None) for row in report.rows.values())
    assert all(row.reads is True for row in report.rows.values())


def test_every_family_has_a_table_and_calls_every_op_of_it():
    ops = {name: {p.op for case in family.cases[-12:] + family.cases[:12] for p in family.problems(
        case, "float32", family.formats[0])} for name, family in FAMILIES.items()}
    assert ops == {name: set(family.ops) for name, family in FAMILIES.items()}
    assert {"conv_fprop", "gemm", "max_pool", "nchw_to_nhwc"} <= set().union(*ops.values())


def test_the_command_offers_all_families_and_backends():
    offered = {}
    for action in cli._parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            offered = {a.dest: a.choices for a in action.choices["verify"]._actions}
    assert set(offered["families"]) == {*FAMILIES, *verify.ASKED} and set(offered["backend"]) == set(verify.BACKENDS)


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
    ("norm_apply", lambda y, *args: y + 1, "norm", "a first value far away"),
])
def test_planted_mistakes_are_found(monkeypatch, op, wrong, family, case):
    plant(monkeypatch, op, wrong)
    report = verify.verify("numpy", [family], cases=[case])
    assert not report.passed() and {failure.op for failure in report.failures} == {op}
    line = next(line for line in str(report).splitlines() if line.startswith("  again: "))
    assert shlex.split(line)[1:] == ["convgpu", "verify", "--backend", "numpy", "--family", family, "--case", case]


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

        def nchw_to_nhwc(self, x, y, plan, stream):
            sound.module.nchw_to_nhwc(x, y, plan, stream)
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
        def launch(self, op, arrays, *arguments, **options):
            outputs.append(arrays[-1])
            super().launch(op, arrays, *arguments, **options)

    monkeypatch.setattr(verify.backends, "load", lambda name: Spied("emulated", Module()))
    report = verify.verify("emulated", ["layout"], cases=["2x3x5x7"])
    assert report.failures and {failure.op for failure in report.failures} == {"nchw_to_nhwc"}
    assert all(expected in failure.what for failure in report.failures)
    row = next(row for row in report.rows.values() if row.kernel == report.failures[0].kernel)
    assert (row.guards is False) == ("outside" in expected)


def beyond(x: np.ndarray, before: bool = False) -> None:
    """Read one element behind an array, or the one before it."""
    one = x.itemsize
    memory = np.lib.stride_tricks.as_strided(x.reshape(-1)[:1].view(np.uint8), (x.nbytes + one,), (1,))
    bytes_of = np.ctypeslib.ctypes.string_at
    assert len(bytes_of(x.ctypes.data - one, one) if before else memory[-one:].tobytes()) == one


@pytest.mark.parametrize("op, family, case, name, side, read", [
    ("conv_fprop", "conv", "groups_2", "x", "end", lambda y, x, w, *args: beyond(x)),
    ("conv_fprop", "conv", "groups_2", "w", "beginning", lambda y, x, w, *args: beyond(w, before=True)),
    ("max_pool_dgrad", "pool", "ties", "offsets", "end", lambda gx, gy, offsets, geo: beyond(offsets)),
    ("gemm", "gemm", "c_13x7", "c", "end", lambda y, a, b, c, *args: c is not None and beyond(c)),
], ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("backend", ["numpy", "reference"])
def test_a_read_outside_an_input_is_found(monkeypatch, backend, op, family, case, name, side, read):
    """The child that makes the call dies; its parent says of which array and side, and the other cases go on."""
    right = getattr(load(backend), op)
    monkeypatch.setattr(load(backend), op, lambda *args: (right(*args), read(None, *args))[0])
    report = verify.verify(backend, [family], cases=[case])
    assert {(failure.op, failure.case, failure.what) for failure in report.failures} == {
        (op, case, f"reads past the {side} of {name}: the process dies of SIGSEGV")}
    variants = len(FAMILIES[family].variants(next(c for c in FAMILIES[family].cases if c.name == case)))
    assert len(report.failures) == variants
    assert all(row.reads is (row.kernel != op) for row in report.rows.values())
    assert "OUTSIDE" in str(report) and {row.kernel for row in report.rows.values()} > {op}


def test_a_call_that_dies_is_a_failure_of_its_case(monkeypatch):
    """Whatever it dies of; the calls behind it are still made."""
    plant(monkeypatch, "avg_pool", lambda y, *args: os.kill(os.getpid(), signal.SIGKILL))
    report = verify.verify("numpy", ["pool"], cases=["lenet"])
    assert {(failure.op, failure.what) for failure in report.failures} == {
        ("avg_pool", "the process dies of SIGKILL")}
    assert any(row.kernel == "avg_pool_dgrad" for row in report.rows.values())


def test_arrays_lie_against_pages_at_their_ends():
    for shape, dtype in (((3, 5), "float32"), ((4, 4), "float32"), ((0, 3), "float64"), ((9000,), "uint8")):
        array = np.arange(np.prod(shape)).astype(dtype).reshape(shape)
        for side in memory.sides(array):
            copied = memory.protected(array, side)
            assert copied.dtype == array.dtype and np.array_equal(copied, array)
            start, stop = copied.ctypes.data, copied.ctypes.data + copied.nbytes
            assert {"end": stop % mmap.PAGESIZE, "beginning": start % mmap.PAGESIZE,
                    "aligned end": start % 16 + max(-stop % mmap.PAGESIZE - 15, 0)}[side] == 0
        assert ("aligned end" in memory.sides(array)) is (array.nbytes % 16 != 0)


# --- which kernels run

HOPPERS = {("gemm", "gemm_wgmma"): {"float16", "bfloat16", "float32", "tf32"},
           ("conv", "conv_fprop_wgmma"): {"float16", "bfloat16", "float32", "tf32"},
           ("conv", "conv_dgrad_wgmma"): {"float16", "bfloat16", "float32", "tf32"},
           ("conv", "conv_wgrad_wgmma"): {"float16", "bfloat16", "float32", "tf32"},
           ("conv", "conv_fprop_packed"): {"float16", "bfloat16"}}


@needs_emulated
def test_quick_has_every_kernel_in_every_dtype():
    """Of the plans of all cases, on the emulator's GPU and on one where few tiles are much to multiply."""
    run = load("emulated")
    items, notes = selection.select(run, "emulated", FAMILIES, True, None)
    assert not notes
    planned = set()
    for one in (False, True):
        chosen = [item for item in items if item.one_multiprocessor is one]
        assert chosen
        with selection.on_its_device(run, "emulated", chosen[0]):
            planned |= {kernel for kernel, *_ in selection._kernels(run, chosen, True)}
    for (family, kernel), dtypes in HOPPERS.items():
        assert {d for f, d, k in planned if (f, k) == (family, kernel)} == dtypes, kernel
    engines = ("float64", "float32", "float16", "bfloat16")
    for family in ("gemm", "conv"):
        tiled = {(d, k) for f, d, k in planned if f == family and k.endswith("_tiled")}
        assert {d for d, _ in tiled} == {*engines, "tf32"}
    for kernel in {k for f, _, k in planned if f == "pool"} - {"max_pool_indices"}:
        assert {d for _, d, k in planned if k == kernel} == set(engines), kernel
    every = [item for item in selection._items(FAMILIES, False, None, True, selection.ALL_DTYPES)
             if "grid" in getattr(item.case, "tags", ())]
    assert {kernel for kernel, *_ in selection._kernels(run, every[::31], False)} <= planned  # none of their own


@needs_emulated
def test_the_emulators_gpu_is_as_before(monkeypatch):
    run = load("emulated")
    items = [item for item in selection.select(run, "emulated", ["gemm"], True, None)[0] if item.one_multiprocessor]
    with selection.on_its_device(run, "emulated", items[0]):
        assert run.module.current_device().multiprocessors == 1
    assert run.module.current_device().multiprocessors == 132


def test_without_ml_dtypes_bfloat16_is_skipped_and_told(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ml_dtypes" else find(name))
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    assert cli.main(["verify", "--backend", "numpy", "--family", "pool", "--case", "ties"]) == 0
    out = capsys.readouterr().out
    assert 'bfloat16: not run, because the package ml_dtypes is missing: pip install "ml_dtypes"' in out
    assert "float16" in out and "pool    bfloat16" not in out
    run = load("numpy")
    for quick in (False, True):  # no case is lost
        items, notes = selection.select(run, "numpy", ["pool", "conv"], quick, None)
        assert {(item.family, item.case.name) for item in items} == {
            (family, case.name) for family in ("pool", "conv") for case in FAMILIES[family].cases}
        assert len(notes) == 1 and {item.dtype for item in items} == {"float64", "float32", "float16"}


def test_columns_do_not_meet():
    report = verify.Report("numpy", False)
    for calls, kernel in ((9, "max_pool"), (1_234_567, "kernel_with_more_than_28_letters")):
        for _ in range(9):
            report.add(verify.Finding("conv", "case", "op", "bfloat16", "channels_last", kernel, 4306.187))
        report.rows["conv", "bfloat16", kernel].calls = calls
    lines = str(report).splitlines()[:3]
    assert [line.split() for line in lines] == [
        ["family", "dtype", "kernel", "cases", "calls", "worst", "repeats", "guards", "reads"],
        ["conv", "bfloat16", "kernel_with_more_than_28_letters", "1", "1234567", "4.31e+03", "yes", "-",
         "-"],
        ["conv", "bfloat16", "max_pool", "1", "9", "4.31e+03", "yes", "-", "-"]]
    assert len({line.index(word) for line, word in zip(lines, ("repeats", "yes", "yes"))}) == 1


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
    (["--json", "no/such/folder.json"], 2, "--json no/such/folder.json: expected a folder that exists, got no/such"),
    (["--json", "/"], 2, "--json /: expected a file, got a folder"),
])
def test_wrong_usage_gives_status_2(arguments, status, message):
    done = run("--backend", "numpy", "--family", "pool", *arguments)
    assert done.returncode == status and message in done.stderr and "Traceback" not in done.stderr


@needs_emulated
@pytest.mark.parametrize("name, value", [("WORKERS", "0"), ("WORKERS", "many"), ("ARCH", "-90"), ("SEED", "1x"),
                                         ("MULTIPROCESSORS", "1e3"), ("SHARED_BYTES", " 1"), ("ORDER", "upwards")])
def test_unknown_values_of_the_emulators_variables(name, value):
    name = f"CONVGPU_EMULATOR_{name}"
    done = run("--backend", "emulated", "--family", "layout", "--case", "2x3x5x7", env={**os.environ, name: value})
    assert done.returncode == 1 and done.stderr.startswith(f"convgpu verify: {name}: expected ")
    assert done.stderr.endswith(f", got {value.strip()}\n") and done.stderr.count("\n") == 1 and not done.stdout


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
