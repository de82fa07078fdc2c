"""What bench/on_gpu.sh runs on a machine with a GPU, rehearsed without one: CuPy, the driver and CUDA's programs are
stand-ins (tests/stand_in), the kernels are the emulated ones, sizes are small and PyTorch is missing."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from native_backends import needs_emulated

from convgpu.facts import FAMILIES

ROOT = Path(__file__).resolve().parent.parent
BENCH, STAND_IN = ROOT / "bench", ROOT / "tests" / "stand_in"
sys.path.insert(0, str(BENCH))

import carried  # noqa: E402 - no package of the installation, as below
import gpu_tables  # noqa: E402
import on_gpu_steps  # noqa: E402
import one_gemm  # noqa: E402
import rows  # noqa: E402
import train as train_bench  # noqa: E402
import under_sanitizer  # noqa: E402

pytestmark = pytest.mark.skipif(shutil.which("bash") is None or sys.platform != "linux", reason="Linux and bash")
TINY = 3  # rows of each table
COMMIT = "rehearsed"  # whatever is edited meanwhile


class Rehearsal:
    """bench/on_gpu.sh on the stand-in."""

    def __init__(self, folder: Path):
        self.out = folder / "out"
        self.file = self.out / "rows.jsonl"
        self._environment = os.environ | {
            "CONVGPU_COMMIT": COMMIT, "OUT": str(self.out), "WORK": str(folder / "work"), "BUDGET": "600",
            "PYTHON": sys.executable,
            "PATH": f"{STAND_IN / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(STAND_IN),
            "OPENBLAS_THREAD_TIMEOUT": "20"}

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """In a process group of its own."""
        return subprocess.Popen(["bash", BENCH / "on_gpu.sh", "--tiny", str(TINY), *arguments], text=True,
                                env=self._environment | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                start_new_session=True)

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """To its end: the exit status, and what it said."""
        process = self.start(*arguments, **environment)
        said, _ = process.communicate(timeout=600)
        return process.returncode, said

    def content(self) -> bytes:
        """Of the file of rows."""
        return self.file.read_bytes() if self.file.exists() else b""

    def lines(self) -> list[rows.Line]:
        """Of the file of rows."""
        return list(rows.read(self.file))

    def keys(self) -> Counter[str]:
        """Of all lines that are rows."""
        return Counter(line["key"] for line in self.lines() if "key" in line)


@pytest.fixture
def rehearsal(tmp_path: Path) -> Rehearsal:
    """In an empty folder."""
    return Rehearsal(tmp_path)


def expected_keys() -> set[str]:
    """Of a whole rehearsal."""
    keys = {entry.key for table in (gpu_tables.hopper(), gpu_tables.kernels()) for entry in table[:TINY]}
    keys |= {f"gemm: {name}" for name in one_gemm.PRODUCTS}
    keys |= {f"probe: {name} question" for name in ("first", "second", "third")}
    keys |= set(gpu_tables.training_keys()["train"][:TINY]) | set(gpu_tables.training_keys()["train cpu"])
    cases = [f"{family} {case.name}" for family in FAMILIES for case in FAMILIES[family].cases]
    keys |= {f"{tool}: {case}" for tool in under_sanitizer.TOOLS for case in under_sanitizer.CASES[:TINY]}
    keys |= {f"{name}: {case}" for name in ("verify", "verify quick") for case in cases[::len(cases) // TINY][:TINY]}
    return keys


@needs_emulated
def test_killed_at_ten_random_moments_it_loses_nothing_and_measures_nothing_twice(rehearsal):
    moments, before = random.Random(13), b""
    for _ in range(10):
        process, lines = rehearsal.start("--resume"), before.count(b"\n") + moments.randrange(6)
        while process.poll() is None and rehearsal.content().count(b"\n") < lines:
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.5))
        assert process.poll() is None, "it ended before it was killed"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        now = rehearsal.content()
        assert now.startswith(before)
        before = now
    status, said = rehearsal.run("--resume")
    keys = rehearsal.keys()
    assert rehearsal.content().startswith(before)
    assert {key: n for key, n in keys.items() if n > 1} == {}, said
    assert expected_keys() - set(keys) == set(), said
    steps = [step.name for part in (1, 2, 3) for step in on_gpu_steps.steps(part, Path(), Path(), TINY)
             if "torch" not in step.packages and not step.always]
    assert [name for name in steps if f"step: {name}" not in keys] == [], said
    failed = {line["key"] for line in rehearsal.lines() if "error" in line}
    assert failed - {"step: tensor maps"} == {"step: probe", "probe: second question"} and status == 1, said
    assert sorted(path.name for path in rehearsal.out.iterdir()) == ["logs.tar.gz", "rows.jsonl"]
    status, said = rehearsal.run("--resume")
    assert rehearsal.keys() == keys and status == 1
    assert "there      hopper\n" in said and "there      probe (it failed: --again)\n" in said


@needs_emulated
def test_terminated_it_packs_what_there_is(rehearsal):
    process = rehearsal.start("--part", "2")
    deadline = time.monotonic() + 300
    while not any(key.startswith("hopper:") for key in rehearsal.keys()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM and "stopped: --resume goes on" in said
    assert any(key.startswith("hopper:") for key in rehearsal.keys())
    with tarfile.open(rehearsal.out / "logs.tar.gz") as archive:
        assert {"logs/summary.txt", "logs/hopper.log"} <= set(archive.getnames())


NO_TIME = "4.5"  # seconds: as good as none, since some are kept for packing


def test_a_part_that_runs_out_of_time_says_so(rehearsal):
    status, said = rehearsal.run("--part", "1", BUDGET=NO_TIME)
    assert status == 1 and "NO TIME    build: --resume goes on with it" in said
    assert "NO TIME    probe: --resume goes on with it" in said
    assert "LEFT OUT   lenet: convgpu._cuda is not built: --resume goes on with the build" in said


def test_rows_are_not_begun_anew_over_others(rehearsal):
    """Without --resume; and those of another folder are taken over with it."""
    rows.Rows(rehearsal.file, {"commit": COMMIT}).add("step: probe", {})
    status, said = rehearsal.run("--part", "1", BUDGET=NO_TIME)
    assert status == 1 and "has rows of this part and commit: --resume goes on with them" in said
    elsewhere = rehearsal.out.with_name("came-back")
    rehearsal.out.rename(elsewhere)
    _, said = rehearsal.run("--part", "1", "--resume", str(elsewhere), BUDGET=NO_TIME)
    assert "there      probe" in said and rehearsal.keys() == {"step: probe": 1}


def test_it_needs_a_gpu(rehearsal, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    status, said = rehearsal.run(PATH=f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert (status, said) == (2, "on_gpu: nvidia-smi shows no NVIDIA GPU here\n")


def test_steps_for_hopper_are_left_out_elsewhere(rehearsal, tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\necho stand-in, 580.0, 8.6\n")
    (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    path = os.pathsep.join([str(tmp_path / "bin"), str(STAND_IN / "bin"), os.environ["PATH"]])
    _, said = rehearsal.run("--part", "3", PATH=path, BUDGET=NO_TIME)
    assert "LEFT OUT   rates: it is for compute capability 9.0, and this GPU has 8.6" in said


# --- what it is made of


@needs_emulated
def test_the_products_of_the_first_minute_take_their_paths():
    from convgpu.backends import load
    from convgpu.facts import plan_of, text_of
    from convgpu.roofline import find_gpu

    plans = {name: text_of(plan_of(load("emulated"), problem.call, find_gpu("H200")))
             for name, problem in one_gemm.PRODUCTS.items()}
    assert "cluster=1 splits=1" in plans["cluster 1"] and "cluster=2 splits=1" in plans["cluster 2"]
    assert "cluster=2 splits=1" in plans["odd tiles"] and int(plans["splits"].split("splits=")[1].split()[0]) > 1
    assert -(-gpu_tables.sizes_of_gemm(one_gemm.PRODUCTS["odd tiles"])[0] // 128) % 2 == 1
    assert tuple(one_gemm.PRODUCTS) == on_gpu_steps.GEMMS


def test_the_cases_under_compute_sanitizer_exist():
    names = set(under_sanitizer.CASES)
    reached = {name: {case.name for case in family.cases} & names for name, family in FAMILIES.items()}
    assert set.union(*reached.values()) == names and all(reached.values())
    assert under_sanitizer.TOOLS == on_gpu_steps.SANITIZERS


def test_names_of_cases_are_unique():
    """In each family: rows go by them."""
    for family in FAMILIES.values():
        assert max(Counter(case.name for case in family.cases).values()) == 1


def test_programs_of_steps_are_there():
    for part in on_gpu_steps.TITLES:
        for step in on_gpu_steps.steps(part, Path("rows.jsonl"), Path("work")):
            for word in step.command:
                for name in re.findall(r"\b(?:bench|csrc)/[\w/.]+", word):
                    assert (ROOT / name).is_file(), name


def test_shell_scripts_are_sound():
    assert subprocess.run(["bash", "-n", BENCH / "on_gpu.sh"]).returncode == 0
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", BENCH / "on_gpu.sh"], check=True)


def test_a_wrong_result_fails_its_step(monkeypatch):
    """Its row has PyTorch's time, and must not look as if all were well."""
    import kernels

    ours = SimpleNamespace(name="convgpu gpu", device=SimpleNamespace(settle=0.0, roof=lambda dtype: None))
    said = iter(("WrongResultError: by 3 times the bound", "NotImplementedError: float64"))
    monkeypatch.setattr(kernels, "measure", lambda *arguments: {"timings": {}, "absent": {ours.name: next(said)}})
    monkeypatch.setattr(kernels, "copy_bandwidth", lambda *arguments: 1.0)
    monkeypatch.setattr(kernels, "free_memory", lambda *arguments: None)
    assert [kernels.run([entry], rows.Rows(None, {}), ours, None) for entry in gpu_tables.hopper()[:2]] == [1, 0]


@pytest.mark.parametrize("is_lost, keys", [(False, 4), (True, 2)])
def test_an_error_of_pytorch_costs_its_row_alone(is_lost, keys):
    """And where it has lost the GPU, another process goes on with the others."""
    import denominators
    import kernels

    entries = gpu_tables.tiny(gpu_tables.denominators())[:3]

    def row(entry, settle):
        if entry.key == entries[0].key:
            raise RuntimeError("cuDNN has no kernel")
        return {"timings": {}}

    def wait():
        if is_lost:
            raise RuntimeError("unspecified launch failure")

    torch = SimpleNamespace(cuda=SimpleNamespace(empty_cache=lambda: None))
    bench = SimpleNamespace(gpu=SimpleNamespace(wait=wait), torch=torch, row=row, copy=lambda size: {})
    kept = rows.Rows(None, {})
    assert denominators.run(bench, entries, kept, 1) == (kernels.LOST if is_lost else 0)
    assert len(kept.lines) == keys and kept.has_failed(entries[0].key)


def test_float32_accuracy_is_measured():
    done = subprocess.run([sys.executable, BENCH / "float32_accuracy.py", "--size", "16", "8", "--lengths", "64"],
                          capture_output=True, text=True)
    assert done.stdout.count("gemm_") == 10, done.stderr[-3000:]


# --- files of rows


def test_a_line_that_broke_off_is_skipped_and_ended(tmp_path):
    file = tmp_path / "rows.jsonl"
    kept = rows.Rows(file, {"commit": "a"})
    kept.add("one", {"x": 1})
    whole = file.read_bytes()
    for cut in range(len(whole)):
        file.write_bytes(whole[:cut])
        again = rows.Rows(file, {"commit": "a"}, resume=True)
        assert ("one" in again) == (cut >= len(whole) - 1)
        again.add("two", {})
        assert [line["key"] for line in rows.read(file) if "key" in line] == ["one"] * ("one" in again) + ["two"]


def test_rows_of_another_commit_are_measured_again(tmp_path):
    file = tmp_path / "rows.jsonl"
    rows.Rows(file, {"commit": "a"}).add("one", {})
    failing = rows.Rows(file, {"commit": "b"}, resume=True)
    assert "one" not in failing
    failing.fail("one", "it was wrong")
    assert "one" in rows.Rows(file, {"commit": "b"}, resume=True)
    assert "one" not in rows.Rows(file, {"commit": "b"}, resume=True, again=True)


def test_what_fails_again_is_not_tried_without_end(tmp_path, monkeypatch):
    """With --again a process that goes on behind a lost GPU leaves alone what failed in this run."""
    file = tmp_path / "rows.jsonl"
    before = rows.Rows(file, {"commit": "a"})
    before.fail("one", "the GPU was lost")
    before.fail("two", "the GPU was lost")
    monkeypatch.setenv(rows.BEFORE, str(file.stat().st_size))
    assert not {"one", "two"} & set(rows.Rows(file, {"commit": "a"}, resume=True, again=True))
    rows.Rows(file, {"commit": "a"}).fail("one", "and again")
    assert set(rows.Rows(file, {"commit": "a"}, resume=True, again=True)) == {"one"}


def test_a_row_that_hangs_ends_its_process_and_is_named(tmp_path):
    program = ("import os, rows\n"
               "with rows.Rows(None, {}).at('the one', 0.2):\n"
               "    while True: pass\n")
    done = subprocess.run([sys.executable, "-c", program], cwd=BENCH,
                          env=os.environ | {rows.CURRENT: str(tmp_path / "current")})
    assert done.returncode == -signal.SIGALRM and (tmp_path / "current").read_text() == "the one"


PROGRAM = """
import argparse, sys, time
from pathlib import Path
from rows import Rows, add_options
parser = argparse.ArgumentParser()
add_options(parser)
kept = Rows(parser.parse_args().rows, {"commit": None}, resume=True)
for key in "abcd":
    if key in kept:
        continue
    with kept.at(key, 0.5):
        if key == "b":
            time.sleep(60)
        if key == "c":
            kept.fail(key, "the GPU is lost")
            sys.exit(3)
        kept.add(key, {})
"""


@pytest.fixture
def runner_of(tmp_path, monkeypatch):
    """Makes a Runner in an empty folder, and with the steps that are given."""
    import argparse

    import on_gpu

    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    monkeypatch.setenv("WORK", str(tmp_path / "work"))
    monkeypatch.delenv(rows.BEFORE, raising=False)
    monkeypatch.setattr(carried, "commit", lambda: None)
    monkeypatch.setattr(on_gpu, "LEAST_SHARE", 0.5)
    runners = []

    def make(steps=(), again=False):
        if runners:
            os.close(runners.pop()._lock)
        monkeypatch.setattr(on_gpu_steps, "steps", lambda *arguments: list(steps))
        runners.append(on_gpu.Runner(argparse.Namespace(parts=[1], resume="", again=again, tiny=0)))
        return runners[-1]

    yield make
    os.environ.pop(rows.BEFORE, None)


SLOW = """
import argparse, time
from rows import Rows, add_options
parser = argparse.ArgumentParser()
add_options(parser)
parser.add_argument("name")
options = parser.parse_args()
kept = Rows(options.rows, {"commit": None}, True, options.again)
for key in (f"{options.name}: {i}" for i in range(40)):
    if key not in kept:
        time.sleep(0.1)
        kept.fail(key, "it failed") if key == "first: 0" else kept.add(key, {})
"""


def slow(name: str, file: Path, *arguments: str, **of_step) -> on_gpu_steps.Step:
    """Of forty rows, the tenth of a second each."""
    return on_gpu_steps.Step(name, [sys.executable, "-c", SLOW, name, "--rows", str(file), *arguments], 8,
                             restarts=True, kernels=False, packages=(), **of_step)


def test_where_time_is_short_each_step_has_a_share(tmp_path, runner_of, capsys):
    """And what is left is shared out again; whoever resumes finds all of it, and does no more."""
    file = tmp_path / "out" / "rows.jsonl"
    runner = runner_of([slow(name, file, divided=True) for name in ("first", "second", "third")])
    runner.run(1, 4 + 12)
    found = Counter(line["key"].partition(":")[0] for line in rows.read(file) if "key" in line)
    assert min(found["first"], found["second"], found["third"]) >= 3 and runner.failed
    assert "NOT DONE   first" in capsys.readouterr().out
    runner = runner_of([slow(name, file, divided=True) for name in ("first", "second", "third")])
    runner.run(1, 60)
    keys = Counter(line["key"] for line in rows.read(file) if "key" in line)
    assert set(keys.values()) == {1} and len(keys) == 3 * 40 + 3 and not runner.failed


def test_again_runs_a_step_of_which_a_row_failed(tmp_path, runner_of, capsys):
    file = tmp_path / "out" / "rows.jsonl"
    runner_of([slow("first", file)]).run(1, 30)
    runner_of([slow("first", file)]).run(1, 30)
    assert "there      first" in capsys.readouterr().out
    runner_of([slow("first", file, "--again")], again=True).run(1, 30)
    assert Counter(line["key"] for line in rows.read(file) if "key" in line)["first: 0"] == 2


def test_where_the_carried_library_does_not_load_it_is_built(tmp_path, runner_of, monkeypatch, capsys):
    import on_gpu

    monkeypatch.setattr(carried, "unpacked_library", lambda folder: tmp_path / "carried.so")
    for name in ("CONVGPU_ARCHS", "CONVGPU_KERNELS"):
        monkeypatch.delenv(name, raising=False)
    steps = on_gpu_steps._build(on_gpu_steps.Commands(tmp_path, tmp_path, 0, False))
    steps = [replace(step, packages=(), command=["sh", "-c", "echo $CONVGPU_ARCHS $CONVGPU_KERNELS >>$LIST"],
                     environment=step.environment | {"LIST": str(tmp_path / "list")}) for step in steps]
    loads = iter(("ImportError: version `GLIBC_2.39' not found", ""))
    monkeypatch.setattr(on_gpu, "_why_not_built", lambda: next(loads))
    runner = runner_of(steps)
    runner.machine.gpu = {"compute_cap": "9.0"}
    runner.run(1, 60)
    assert (tmp_path / "list").read_text().splitlines() == [f"90a {tmp_path / 'carried.so'}", "90a"]
    assert "FAILED     build of what was carried" in capsys.readouterr().out and not runner.failed


def test_a_program_of_rows_goes_on_in_another_process(runner_of):
    """Behind a row that hangs, and behind one that has lost the GPU; each is named, and costs no other."""
    runner = runner_of()
    step = on_gpu_steps.Step("program", [sys.executable, "-c", PROGRAM, "--rows", str(runner.file)], 60, restarts=True,
                             kernels=False, packages=())
    runner.step(step, time.monotonic() + 60)
    found = {line["key"]: line.get("error", "a result") for line in rows.read(runner.file) if "key" in line}
    assert found == {"a": "a result", "b": "longer than the seconds of a row", "c": "the GPU is lost", "d": "a result",
                     "step: program": "a result"}
    assert not runner.failed


# --- what travels


def test_the_commit_travels_without_git(tmp_path, monkeypatch):
    monkeypatch.setattr(carried, "FOLDER", tmp_path / "carried")
    monkeypatch.setattr(carried, "ROOT", tmp_path)
    monkeypatch.setattr(carried, "_git", lambda *arguments: None)
    monkeypatch.delenv("CONVGPU_COMMIT", raising=False)
    assert carried.commit() is None
    (tmp_path / "source.py").write_text("x = 1\n")
    (tmp_path / "carried").mkdir()
    digest = carried._digest(tmp_path / "source.py")
    (tmp_path / "carried" / carried.COMMIT).write_text(json.dumps({"commit": "0123456789ab", "files": {
        "source.py": digest}}))
    assert carried.commit() == "0123456789ab"
    (tmp_path / "source.py").write_text("x = 2\n")
    assert carried.commit() == "0123456789ab-dirty"


def test_the_kernel_library_travels_packed(tmp_path, monkeypatch):
    monkeypatch.setattr(carried, "ROOT", tmp_path)
    monkeypatch.setattr(carried, "FOLDER", tmp_path / "carried")
    monkeypatch.setattr(carried.shutil, "which", lambda name: None)
    for name in ("carried", "convgpu", "csrc", "there"):
        (tmp_path / name).mkdir()
    assert carried._pack_library() and carried.unpacked_library(tmp_path / "there") is None
    library, source = tmp_path / "convgpu" / carried.LIBRARY, tmp_path / "csrc" / "kernel.cu"
    library.write_bytes(b"kernels" * 1000)
    source.write_text("")
    os.utime(source, (1, 1))
    (source.parent / "build.pyc").write_text("")  # newer, and no source of the library
    assert carried._pack_library()
    assert [path.name for path in carried.FOLDER.iterdir()] == [carried.PACKED]
    assert carried.unpacked_library(tmp_path / "there").read_bytes() == library.read_bytes()
    os.utime(library, (0, 0))
    assert not carried._pack_library()  # older than its source


def test_packages_travel_only_where_they_are_missing(tmp_path, monkeypatch):
    calls = []

    def run(command, **options):
        calls.append(command)
        report = {"install": [{"metadata": {"name": n, "version": "1"}} for n in ("pytest", "pluggy", "NumPy")]}
        return subprocess.CompletedProcess(command, 0, json.dumps(report))

    monkeypatch.setattr(carried.subprocess, "run", run)
    have = tmp_path / "list"
    have.write_text("\n".join(f"{name} 1.0" for name in (*carried.WANTED, "cupy-cuda13x", "torch")))
    assert carried._pack_packages(have, "3.12") and calls == []
    have.write_text(have.read_text().replace("pytest 1.0\n", ""))
    assert carried._pack_packages(have, "3.12")
    assert calls[0][-1] == "pytest" and calls[1][-2:] == ["pytest==1", "pluggy==1"]


# --- PyTorch's side, and what is made of rows


@pytest.mark.parametrize("table", ["kernels", "denominators"])
def test_pytorch_computes_the_same(table):
    """On the CPU, with the operands that it would see on a GPU; and another result is noticed."""
    torch = pytest.importorskip("torch")
    from gpu_operands import torch_operands
    from gpu_peers import OnGpu

    from convgpu.backends import load
    from convgpu.benchmark import WrongResultError
    from convgpu.device import to_numpy

    class Host:
        """A NumPy array with what a CuPy array has."""

        def __init__(self, array):
            self.array, self.dtype = array, array.dtype

        def view(self, dtype):
            return self.array.view(dtype)

        def __dlpack__(self, **options):
            return self.array.__dlpack__()

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    peer, backend, seen = OnGpu(), load("numpy"), set()
    for entry in gpu_tables.tiny(gpu_tables.TABLES[table]()):
        problem = entry.problem
        if (problem.op, problem.call.dtype) in seen:
            continue
        seen.add((problem.op, problem.call.dtype))
        arrays = problem.operands()
        result = problem.run(backend, arrays)
        result = to_numpy(result[0] if isinstance(result, tuple) else result)
        tensors = torch_operands(torch, problem, tuple(a if a is None else Host(a) for a in arrays))
        ours = torch_operands(torch, problem, (Host(result),))[0] if problem.op != "max_pool_dgrad" else (
            torch.from_numpy(result.astype("float32")))
        for name, contender in peer.contenders(problem, tensors, "cpu").items():
            peer.agree(name, problem, contender, ours, entry.precision)
            with pytest.raises(WrongResultError, match="got another"):
                peer.agree(name, problem, contender, ours + 1, entry.precision)
    assert len(seen) >= 8


def test_every_variant_changes_the_sources_where_it_says():
    import variants

    assert len(variants.chosen()) >= 5 and next(iter(variants.chosen().values())) is None
    with pytest.raises(ValueError, match="found it 0x"):
        variants.Variant("none", "hopper/ring.h", "no such line", "").source()


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not there")
@pytest.mark.parametrize("command", [["bench/hopper_rates.cu", "-o"],
                                     ["bench/variants.cu", "-shared", "-Xcompiler", "-fPIC", "-DCONVGPU_SM_90A",
                                      "--expt-relaxed-constexpr", "-o"]], ids=["rates", "variants"])
def test_programs_for_a_gpu_compile(tmp_path, command):
    done = subprocess.run([*on_gpu_steps.COMPILE, "-Icsrc", *command, tmp_path / "program"], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def rows_of_a_gpu(file: Path, commit: str = "0123456789ab", tiny: bool = False) -> None:
    """Made up."""
    kept = rows.Rows(file, {"commit": commit, "date": "2026-12-01 09:00 UTC", "gpu": {
        "name": "NVIDIA H200", "clocks.sm": "1980 MHz", "clocks.max.sm": "1980 MHz", "driver_version": "580.0",
        "memory.total": "143771 MiB", "power.draw": "100 W", "temperature.gpu": "40", "clocks.mem": "3201 MHz"},
                            "machine": {"cpu": "made up", "cores": 16}, "versions": {"numpy": "2"}, "blas": "none"})
    for entry, milliseconds in zip(gpu_tables.hopper()[:3], (1.4, 0.6, 0.7)):
        row = {"kind": "gemm", "network": "", "layer": entry.problem.layer, "direction": "fprop", "op": "gemm",
               "dtype": entry.dtype, "flops": 1e12, "unit": "half", "bytes": 1e8, "threads": 1, "part": entry.bar.name,
               "asked": {"ratio": entry.bar.ratio, "share": 0.0}, "kernels": {}, "timings": {
                   name: {"calls": 1, "wall": [t] * 3, "gpu": [t] * 3}
                   for name, t in (("convgpu gpu", milliseconds / 1e3), ("torch gpu", 2e-3))}}
        kept.add(entry.key, {**row, **({"tiny": True} if tiny else {})})
    for bench, who in (("train", "convgpu gpu"), ("train cpu", "convgpu cpu")):
        row = {"kind": "train", "network": "AlexNet", "layer": "b128", "direction": "step", "dtype": "float32",
               "batch": 128, "steps": 20, "threads": 16, "flops": 1e12, "unit": "float32", "bytes": 0,
               "timings": {who: {"calls": 1, "wall": [0.1] * 3, **({"gpu": [0.1] * 3} if "gpu" in who else {})}}}
        kept.add(gpu_tables.training_key(bench, "alexnet", 128), row)
    kept.add("probe: one", {"agrees": True})
    kept.fail("pytest: another", "it failed")
    kept.add("variants: one", {"absent": {"convgpu gpu no lead": "WrongResultError: it is wrong"}})


def test_what_came_back_becomes_results(tmp_path, monkeypatch, capsys):
    import collect

    monkeypatch.setattr(collect.report, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(collect.report, "DOCS", tmp_path / "cpu.md")  # the page itself is not to be written
    (tmp_path / "cpu.md").write_text("")
    (tmp_path / "results").mkdir()
    rows_of_a_gpu(tmp_path / "rows.jsonl")
    monkeypatch.setattr(sys, "argv", ["collect.py", str(tmp_path)])
    assert collect.main() == 0
    said = capsys.readouterr().out
    assert "failed: pytest: another: it failed" in said and "failed: variants: one: convgpu gpu no lead" in said
    kept = tmp_path / "results" / "hopper-nvidia-h200-0123456789ab.json"
    assert len(json.loads(kept.read_text())["rows"]) == 3
    trained, = json.loads((kept.parent / "train_gpu-nvidia-h200-0123456789ab.json").read_text())["rows"]
    assert set(trained["timings"]) == {"convgpu gpu", "convgpu cpu"}
    assert trained["keys"] == ["train: alexnet b128", "train cpu: alexnet b128"]
    page = (tmp_path / "results" / "README.md").read_text()
    assert "| GEMM bf16 8192 | 1.43 | 1.0 | yes |" in page and "## hopper-nvidia-h200-0123456789ab" in page
    others = [json.loads(line) for line in
              (tmp_path / "results" / "on_gpu-nvidia-h200-0123456789ab.jsonl").read_text().splitlines()]
    assert [line.get("key") for line in others] == [None, "probe: one", "pytest: another", "variants: one"]
    assert "against the emulator's reading" not in page and "compute-sanitizer's four tools" in page  # still waits


def test_rows_of_a_rehearsal_are_no_results(tmp_path, monkeypatch, capsys):
    import collect

    monkeypatch.setattr(collect.report, "RESULTS", tmp_path)
    monkeypatch.setattr(collect.report, "DOCS", tmp_path / "cpu.md")
    rows_of_a_gpu(tmp_path / "rows.jsonl", tiny=True)
    monkeypatch.setattr(sys, "argv", ["collect.py", str(tmp_path)])
    assert collect.main() == 1 and "got one of a rehearsal" in capsys.readouterr().err


# --- training beside PyTorch


def test_contenders_of_training() -> None:
    """PyTorch eager and compiled, in a half type under autocast; ours in the same dtype, in a process of its own."""
    both = list(train_bench.VARIANTS)
    assert train_bench.variants_of(both, "float32") == ["", "compiled"]
    assert train_bench.variants_of(both, "bfloat16") == ["amp", "compiled amp"]
    for dtype in ("float32", "bfloat16"):
        assert train_bench.peak_memory("convgpu cpu", "lenet5", 2, 1, dtype) > 0
