"""`convgpu benchmark` as its users meet it: tables, files, pictures, exit status, and what is missing."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from gpu_device import gpu  # noqa: F401 - a fixture
from native_backends import needs_emulated

import convgpu as cg
from convgpu import backends
from convgpu.architectures import alexnet, lenet5, resnet50, vgg16
from convgpu.backends import numpy as numpy_backend
from convgpu.benchmark import Results, devices, environment, functions, layers, roofs, training
from convgpu.benchmark.networks import NETWORKS
from convgpu.benchmark.problems import (
    call_problems,
    conv_problem,
    gemm_problem,
    layer_problems,
    layout_problem,
    pool_problem,
)
from convgpu.benchmark.timing import Timing
from convgpu.benchmark.verification import WrongResultError, check
from convgpu.benchmark.watched import watched
from convgpu.cases import networks
from convgpu.cases.problem import Problem
from convgpu.cli import main, progress
from convgpu.facts import FAMILIES
from convgpu.geometry import conv_geometry, pool_geometry
from convgpu.op import Op
from convgpu.recorder import Call
from convgpu.roofline import Work

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
CONV = ("conv", "--shape", "2", "9", "8", "3", "--filters", "5", "--kernel", "3", "--samples", "2")
COLUMNS = 100


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small roofs; and no new start of this process for the sake of OpenBLAS."""
    monkeypatch.setenv("OPENBLAS_THREAD_TIMEOUT", "20")
    monkeypatch.setattr(roofs, "SIDE", 32)
    monkeypatch.setattr(roofs, "COPIED", 2**12)


def benchmark(*arguments: str) -> int:
    return main(["benchmark", *arguments])


class Wrong:
    """The numpy backend, but for one op, whose last result is off by a tenth."""

    def __init__(self, op: str):
        self.op = op

    def __getattr__(self, name: str):
        function = getattr(numpy_backend, name)
        if name != self.op:
            return function

        def run(*arguments):
            result = function(*arguments)
            first = np.array(result[0] if isinstance(result, tuple) else result)
            first[..., -1] += 0.1 * np.abs(first).max()
            return (first, *result[1:]) if isinstance(result, tuple) else first

        return run


# --- single ops


@pytest.mark.parametrize("arguments", [
    CONV,
    ("conv", "--shape", "1", "8", "8", "4", "--filters", "4", "--kernel", "3", "1", "--stride", "2", "1", "--padding",
     "1", "--groups", "2", "--direction", "dgrad", "--samples", "2"),
    ("pool", "--shape", "2", "9", "8", "3", "--window", "3", "--stride", "2", "--samples", "2"),
    ("pool", "--shape", "2", "9", "8", "3", "--window", "2", "2", "--padding", "same", "--average", "--samples", "2"),
    ("gemm", "--shape", "9", "8", "7", "--trans-b", "--samples", "2", "--dtype", "bfloat16"),
    ("layers", "--network", "lenet5", "--batch", "1", "--direction", "fprop", "--samples", "2"),
    ("op", "lp_pool", "2x9x8x3", "2", "3", "stride=2x1", "padding=same", "--gradients", "--samples", "2"),
    ("op", "dropout", "2x9x8x3", "0.3", "generator=1", "--gradients", "--samples", "2"),
], ids=lambda arguments: arguments[0])
def test_ops_are_timed(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark(*arguments, "--device", "cpu", "--threads", "1") == 0
    out, err = capsys.readouterr()
    assert "np.matmul peak" in out and " ms " in out and "roof" in out
    assert max(map(len, out.splitlines())) <= COLUMNS
    assert err  # what runs, and how long it may last


def test_every_op_with_facts_can_be_timed_by_its_name() -> None:
    for op in [op for family in FAMILIES.values() for op in family.ops]:
        problem, = call_problems(op, (), {})
        assert problem.op == op and problem.layer.startswith(f"{op} ") and problem.work.bytes > 1e6


def test_an_op_may_sum_in_a_wider_dtype_than_its_arrays_have(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    op = Op.registry["channel_sum"]
    work = Work(96, "float64 additions", 800)
    monkeypatch.setattr(op, "_facts", replace(op.facts, work=lambda call, precision: work))
    assert benchmark("op", "channel_sum", "2x3x4x4", "--device", "cpu", "--samples", "2") == 0
    assert "np.matmul peak" in capsys.readouterr().out


def test_a_function_is_timed_call_by_call(tmp_path) -> None:
    pytest.importorskip("matplotlib")
    file, picture = tmp_path / "r.json", tmp_path / "r.png"
    assert benchmark("op", "separable_conv2d", "1x5x4x3", "3x3x3x2", "1x1x6x4", "(4,)", "padding=1", "--gradients",
                     "--dtype", "float64", "--device", "cpu", "--samples", "2", "--json", str(file), "--plot",
                     str(picture)) == 0
    found = Results.load(file).rows
    layer = "separable_conv2d 1x5x4x3 3x3x3x2 1x1x6x4 (4,) padding=1"
    assert [(row["op"], row["layer"].removeprefix(layer)) for row in found] == [
        ("conv_fprop", ""), ("conv_fprop", " (2)"), ("conv_dgrad", ""), ("conv_wgrad", ""), ("channel_sum", ""),
        ("conv_dgrad", " (2)"), ("conv_wgrad", " (2)")]
    assert {row["dtype"] for row in found} == {"float64"} and picture.exists()


def test_without_a_gpu_it_says_how_to_get_its_column(capsys: pytest.CaptureFixture[str]) -> None:
    if devices.info.gpu_obstacle() is None:
        pytest.skip("there is a usable GPU")
    assert benchmark(*CONV) == 0
    assert "No GPU column: " in capsys.readouterr().out
    assert benchmark(*CONV, "--device", "gpu") == 1
    assert "device 'gpu': expected a usable GPU, got none: " in capsys.readouterr().err


def test_a_file_tells_the_same_without_running(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "r.json"
    assert benchmark(*CONV, "--device", "cpu", "--json", str(file)) == 0
    told = capsys.readouterr().out
    rows = Results.load(file).rows
    assert [row["direction"] for row in rows] == ["fprop", "dgrad", "wgrad"]
    assert all(row["kernels"]["convgpu cpu"] and len(row["timings"]["convgpu cpu"].wall) == 2 for row in rows)
    assert benchmark("show", str(file)) == 0
    assert capsys.readouterr().out == told
    assert benchmark("show", str(file), "--markdown") == 0
    assert "| layer | op | CPU ms |" in capsys.readouterr().out


def test_compare_ends_with_1_where_ours_is_slower(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    assert benchmark(*CONV, "--device", "cpu", "--json", str(a)) == 0
    results = Results.load(a)
    for row in results.rows:
        row["timings"] = {"convgpu cpu": Timing(1, [9.0] * 3, [9.0] * 3)}
    results.save(b)
    assert benchmark("compare", str(a), str(a)) == 0
    assert benchmark("compare", str(b), str(a)) == 0
    assert benchmark("compare", str(a), str(b)) == 1
    assert "3 of 3 slower" in capsys.readouterr().out
    assert benchmark("compare", str(a), str(tmp_path / "none.json")) == 2
    assert capsys.readouterr().err == f"convgpu benchmark: {tmp_path / 'none.json'}: No such file or directory\n"
    (tmp_path / "text.json").write_text("text")
    assert benchmark("compare", str(tmp_path / "text.json"), str(a)) == 2


@pytest.mark.parametrize("arguments, words", [
    (("conv", "--shape", "1", "8", "8", "4", "--filters", "4", "--kernel", "3", "3", "3"),
     "argument --kernel: expected one size, or one for each of the 2 axes, got 3: 3 3 3"),
    (("conv", "--shape", "1", "8", "8", "4", "--filters", "4", "--kernel", "3", "--stride", "1", "2", "3"),
     "argument --stride: expected one size"),
    (("pool", "--shape", "1", "8", "8", "4", "--window", "2", "2", "2"), "argument --window: expected one size"),
    (("conv", "--shape", "1", "8", "8", "4", "--filters", "4", "--kernel", "9", "--padding", "valid"), "9"),
    (("conv", "--shape", "1", "8", "8", "4", "--filters", "4", "--kernel", "3", "--padding", "most"), "'most'"),
    (("conv", "--shape", "1", "8", "8", "4", "--filters", "4", "--kernel", "3", "--groups", "3"),
     "expected --groups that divides 4 channels and 4 filters, got 3"),
    (("gemm", "--shape", "9", "8", "x"), "argument --shape: expected a whole number of at least 1, got 'x'"),
    (("train", "--budget", "nan"), "argument --budget: expected seconds, a number of at least 0, got 'nan'"),
    (("gemm", "--shape", "9", "8", "7", "--samples", "1"), "expected a whole number of at least 2, got 1"),
    (("op", "lp_pool", "3"), "lp_pool: expected the arguments of lp_pool(x, norm_type, size, "),
    (("op", "lp_pool", "2x5x5x2", "2", "6"), "(6, 6)"), (("op", "conv3d"), "missing a required argument: 'x'"),
    (("op", "fft", "2x3"), "benchmark: expected a function of convgpu or one of the ops"),
], ids=lambda value: None)
def test_wrong_usage_is_status_2(arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status = benchmark(*arguments, "--device", "cpu")
    except SystemExit as error:  # argparse's way
        status = error.code
    assert status == 2 and words in capsys.readouterr().err.splitlines()[-1]


def test_no_memory_while_timing_is_status_1(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def full(*arguments, **options):
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr(layers, "alternate", full)
    assert benchmark(*CONV, "--device", "cpu") == 1
    assert capsys.readouterr().err.endswith("convgpu benchmark: out of memory: Unable to allocate 9 TiB\n")


def test_pictures_are_drawn(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "out.png"
    assert benchmark(*CONV, "--device", "cpu", "--plot", str(picture)) == 0
    assert picture.read_bytes().startswith(b"\x89PNG") and str(picture) in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [picture]  # and nothing of the way it was written


def test_what_cannot_be_written_is_said_before_anything_runs(tmp_path, monkeypatch: pytest.MonkeyPatch,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(layers, "measure", None)  # it would fail if it were called
    existing = tmp_path / "old.json"
    existing.write_text("old")
    for path, why in ((tmp_path / "no" / "r.json", "expected a folder that exists"),
                      (tmp_path, "expected a file, got a folder"), (existing / "r.json", "expected a folder that"),
                      ("/proc/r.json", "expected a file that can be written, got")):
        assert benchmark(*CONV, "--json", str(path)) == 2
        assert f"--json {path}: {why}" in capsys.readouterr().err
    assert existing.read_text() == "old" and list(tmp_path.iterdir()) == [existing]
    if importlib.util.find_spec("matplotlib"):
        for name in ("x.xyz", "x", "x.json"):
            assert benchmark(*CONV, "--plot", str(tmp_path / name)) == 2
            err = capsys.readouterr().err
            assert "expected a file name that ends in ." in err and ".png, " in err
    for module, option, words in (("matplotlib", ("--plot", str(tmp_path / "x.png")), '"convgpu[demo]"'),
                                  ("torch", ("--peers", "torch"), '"torch"')):
        monkeypatch.setitem(sys.modules, module, None)
        assert benchmark(*CONV, "--device", "cpu", *option) == 1
        assert f"needs the package {module}: pip install {words}" in capsys.readouterr().err


def test_the_bar_and_its_absence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    plain = progress.Bar(watched=False)
    with plain.of(2.0):
        plain.begin("one")
        plain.done(1.0)
        plain.begin("two")
    assert capsys.readouterr().err == "one\ntwo  (about 0 s left)\n"
    monkeypatch.setitem(sys.modules, "tqdm", None)
    plain = progress.Bar(watched=True)
    with plain.of(2.0):
        plain.begin("one")
    assert capsys.readouterr().err == f"{progress.HINT}\none\n"


def test_ctrl_c_keeps_what_was_measured(tmp_path, monkeypatch: pytest.MonkeyPatch,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    alternate, calls = layers.alternate, []

    def impatient(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return alternate(*arguments, **options)

    monkeypatch.setattr(layers, "alternate", impatient)
    file = tmp_path / "r.json"
    assert benchmark(*CONV, "--device", "cpu", "--json", str(file)) == 130
    out, err = capsys.readouterr()
    assert "Interrupted" in out and "what was measured is kept" in err
    assert [row["direction"] for row in Results.load(file).rows] == ["fprop"] and Results.load(file).interrupted


def test_what_does_not_fit_leaves_a_gap_and_status_1(tmp_path, monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    def too_large(problem):
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr(Problem, "operands", too_large)
    pytest.importorskip("matplotlib")
    picture = tmp_path / "none.png"
    assert benchmark("gemm", "--shape", "9", "8", "7", "--device", "cpu", "--plot", str(picture)) == 1
    out, err = capsys.readouterr()
    assert "Not timed: convgpu cpu: MemoryError: Unable to allocate 9 TiB" in out and not picture.exists()
    assert "nothing was timed" in out
    assert err.endswith("convgpu benchmark: gemm 9x8x7: convgpu cpu: MemoryError: Unable to allocate 9 TiB\n")


# --- nothing wrong is timed

CONV_GEO = conv_geometry("conv", (3, 9, 8, 4), (3, 3, 4, 5), 2, "same", 1, 1, "channels_last")
GROUPED = conv_geometry("conv", (3, 9, 8, 6), (3, 3, 2, 9), 1, 1, 1, 3, "channels_last")
FIRST = conv_geometry("conv", (3, 4, 9, 8), (5, 4, 3, 3), 2, 1, 1, 1, "channels_first")
POOL_GEO = pool_geometry("pool", (2, 9, 8, 3), 3, 2, 0, 1, False, True, "channels_last")
PROBLEMS = [*[conv_problem(CONV_GEO, d) for d in ("fprop", "dgrad", "wgrad")],
            *[pool_problem(POOL_GEO, d, average=a) for d in ("fprop", "dgrad") for a in (False, True)],
            gemm_problem(9, 8, 7), gemm_problem(9, 8, 7, trans_a=True, trans_b=True, dtype="float64"),
            gemm_problem(40, 8, 70, dtype="float16"),
            *[conv_problem(g, d) for g in (GROUPED, FIRST) for d in ("fprop", "dgrad", "wgrad")],
            *[layout_problem(op, (2, 3, 4, 5)) for op in ("nchw_to_nhwc", "hwio_to_oihw")],
            Problem(Call("matmul", ((3, 70, 9), (9, 4)), (), "float32")),
            Problem(Call("channel_sum", ((3, 5, 4, 7),), (True,), "float32"))]


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)
def test_right_ones_pass_and_wrong_ones_do_not(problem) -> None:
    arrays = problem.operands()
    for few in (False, True):
        check(problem, arrays, problem.run(numpy_backend, arrays), few=few)
        with pytest.raises(WrongResultError, match=f"{problem.op} .*; not timed"):
            check(problem, arrays, problem.run(Wrong(problem.op), arrays), few=few)


@pytest.mark.parametrize("arguments, op", [(CONV, "conv_wgrad"), (
    ("train", "--network", "lenet5", "--batch", "2", "--steps", "2"), "avg_pool_dgrad")], ids=["conv", "train"])
def test_the_command_refuses_a_wrong_kernel(arguments: tuple[str, ...], op: str, tmp_path,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    with backends.replaced(cg.current_backend(), Wrong(op)):
        assert benchmark(*arguments, "--device", "cpu", "--json", str(tmp_path / "r.json")) == 1
    out, err = capsys.readouterr()
    assert f"convgpu benchmark: {op} " in err and err.endswith("; not timed\n")
    assert f"Not timed: convgpu cpu: WrongResultError: {op} " in " ".join(out.split())
    rows = Results.load(tmp_path / "r.json").rows
    assert [row["op"] for row in rows if "op" in row and not row["timings"]] == [op] * (arguments == CONV)
    assert bool(rows[0]["timings"]) is (arguments == CONV)  # what is right is still timed


@pytest.mark.parametrize("op", ["conv_fprop", "conv_dgrad", "conv_wgrad", "channel_sum", "max_pool", "max_pool_dgrad",
                                "gemm"])
def test_a_watched_network_shows_each_wrong_op(op: str) -> None:
    def loss(w):
        x = cg.max_pool(cg.conv(images, w["a"], padding="same", activation="relu"), 2)
        x = cg.conv(x, w["b"], w["e"], padding="same", activation="relu").reshape(3, -1)
        return (cg.linear(x, w["c"], w["d"]) ** 2).mean()

    images = cg.randn((3, 6, 6, 2), generator=0)
    params = {name: cg.randn(shape, generator=1) for name, shape in
              {"a": (3, 3, 2, 4), "b": (3, 3, 4, 4), "c": (36, 5), "d": (5,), "e": (4,)}.items()}
    name = cg.current_backend()
    with watched(name) as seen:
        expected, _ = cg.value_and_grad(loss)(params)
    assert expected.item() == loss(params).item()
    a, b, c = 3 * 36 * 9 * 2 * 4, 3 * 9 * 9 * 4 * 4, 3 * 36 * 5  # multiply-adds; x of the first needs no gradient
    assert seen.flops == 2 * (2 * a + 3 * b + 3 * c)
    with backends.replaced(name, Wrong(op)), watched(name), pytest.raises(WrongResultError, match=op):
        cg.value_and_grad(loss)(params)


# --- what lies between convolutions


@pytest.mark.parametrize("peer", [pytest.param((), id="alone"), pytest.param(("--peers", "torch"), marks=needs_torch)])
def test_functions_and_steps_of_optimizers_are_timed(peer, monkeypatch, tmp_path, capsys) -> None:
    small = [replace(f, shape=tuple(min(n, 6) for n in f.shape)) for f in functions.FUNCTIONS[::3]]
    monkeypatch.setattr(functions, "FUNCTIONS", small)
    monkeypatch.setattr(functions.mobilenet, "initial", lambda: {"w": cg.ones((3, 4)), "b": cg.ones(4)})
    file = tmp_path / "r.json"
    assert benchmark("functions", "--samples", "2", "--json", str(file), *peer) == 0
    assert "batch norm + ReLU 6x6x6x6" in capsys.readouterr().out
    rows = Results.load(file).rows
    assert [row["direction"] for row in rows] == ["forward", "backward"] * len(small) + ["step"] * 2
    assert all(row["bytes"] > 0 and len(row["timings"]) > bool(peer) and "absent" not in row for row in rows)
    assert benchmark("functions", "--device", "gpu") == 2
    assert "functions: expected --device cpu" in capsys.readouterr().err


@needs_torch
def test_a_function_that_differs_is_not_timed() -> None:
    from convgpu.benchmark.peers import Torch

    wrong = replace(functions.FUNCTIONS[5], shape=(2, 3, 3, 4), ours=lambda x: cg.relu(x) * 1.01)
    for row in functions.rows(Torch(), [wrong], samples=2):
        assert list(row["timings"]) == ["convgpu cpu"]
        assert all("expected our result of ReLU 2x3x3x4" in why for why in row["absent"].values()) and row["absent"]


# --- training


def test_training_is_timed_and_told(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "r.json"
    assert benchmark("train", "--network", "lenet5", "--batch", "2", "3", "--steps", "4", "--budget", "0", "--device",
                     "cpu", "--json", str(file)) == 0
    out = capsys.readouterr().out
    assert "* fewer steps were timed, and the time was scaled." in out and max(map(len, out.splitlines())) <= COLUMNS
    rows = Results.load(file).rows
    assert [(row["batch"], row["steps"], len(row["timings"]["convgpu cpu"].wall)) for row in rows] == [
        (2, 4, 3), (3, 4, 3)]
    pytest.importorskip("matplotlib")
    assert benchmark("show", str(file), "--plot", str(tmp_path / "t.png")) == 0
    assert (tmp_path / "t.png").stat().st_size > 10_000


def test_the_lectures_table_stands_beside_alexnet() -> None:
    from convgpu.benchmark.report.tables import render

    row = {"kind": "train", "network": "AlexNet", "layer": "b64", "direction": "step", "dtype": "float32", "batch": 64,
           "steps": 20, "threads": 2, "flops": 10**9, "unit": "float32", "bytes": 0,
           "timings": {"convgpu cpu": Timing(1, [2.0] * 20, [2.0] * 20),
                       "convgpu gpu": Timing(1, [0.1] * 20, [0.1] * 20, [0.1] * 20)}}
    told = render(Results(environment(), [row]))
    line = next(line for line in told.splitlines() if line.startswith("AlexNet"))
    assert [word for word in line.split() if word in ("40.0", "2.00", "20.0x")] == ["40.0", "2.00", "20.0x"]
    assert "a talk of 2015" in told and re.search(r"64\.0 +7\.50 +8\.50x", told)


@pytest.mark.parametrize("module, parameters, layers_in_table", [
    (alexnet, 62_378_344, networks.ALEXNET), (vgg16, 138_357_544, networks.VGG16),
    (resnet50, 25_557_032, networks.RESNET50), (lenet5, 61_706, networks.LENET5)], ids=lambda value: getattr(
        value, "__name__", None))
def test_networks_are_those_of_their_papers(module, parameters: int, layers_in_table, monkeypatch) -> None:
    """Their parameters, and every convolution of a forward pass is in the table of layers that is timed alone."""
    zeros = lambda shape, **_: cg.zeros(shape)  # noqa: E731 - drawing 138 million numbers takes seconds
    for name in ("he_normal", "glorot_uniform"):
        monkeypatch.setattr(cg, name, zeros)
    params = module.initial((32, 32, 1), 10) if module is lenet5 else module.initial()
    assert sum(p.size for p in cg.tree.leaves(params)) == parameters
    seen = set()

    class Sizes:
        def __getattr__(self, op):
            def run(*arguments):
                if op == "conv_fprop":
                    geo = arguments[3]
                    seen.add((geo.size, geo.channels, geo.filters, geo.kernel, geo.stride, geo.padding))
                    return np.zeros(geo.y_shape, np.float32)
                return getattr(numpy_backend, op)(*arguments)
            return run

    shape = (32, 32, 1) if module is lenet5 else module.INPUT
    with backends.replaced(cg.current_backend(), Sizes()), cg.no_grad():
        assert module.logits(params, np.zeros((1, *shape), np.float32)).shape == (1, 10 if module is lenet5 else 1000)
    table = {(g.size, g.channels, g.filters, g.kernel, g.stride, g.padding)
             for g in (layer.geometry() for layer in layers_in_table)}
    assert seen == table


# --- beside PyTorch


@needs_torch
def test_pytorch_stands_beside_us(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "r.json"
    assert benchmark(*CONV, "--device", "cpu", "--peers", "torch", "--json", str(file)) == 0
    out = capsys.readouterr().out
    assert "PyTorch CPU" in out and "PyTorch's time over ours on the CPU" in out
    assert set(Results.load(file).rows[0]["timings"]) == {"convgpu cpu", "torch cpu channels_last",
                                                           "torch cpu channels_first"}


@needs_torch
def test_pytorch_computes_the_same_problems() -> None:
    from convgpu.benchmark.peers import Torch

    peer = Torch()
    for problem in [*layer_problems([networks.MOBILENET_DEPTHWISE[-1]], ("fprop", "dgrad", "wgrad"), batch=1),
                    pool_problem(POOL_GEO, "fprop", average=True), pool_problem(POOL_GEO, "dgrad", average=True),
                    pool_problem(POOL_GEO, "dgrad"),
                    Problem(Call("lp_pool", (POOL_GEO.x_shape,), (POOL_GEO, 2.0), "float32")),
                    Problem(Call("matmul", ((3, 5, 6), (6, 4)), (), "float32")),
                    gemm_problem(5, 6, 7, True, True), gemm_problem(5, 6, 7, dtype="bfloat16")]:
        arrays = problem.operands()
        ours = problem.run(numpy_backend, arrays)
        for name, contender in peer.contenders(problem, arrays, "cpu").items():
            peer.check(name, problem, contender, ours)
            with pytest.raises(WrongResultError, match="expected the result of"):
                wrong = (ours[0] * 1.1, *ours[1:]) if isinstance(ours, tuple) else ours * 1.1
                peer.check(name, problem, contender, wrong)
    for name, operands, options in (("conv1d", ((2, 9, 3), (3, 3, 4)), {}), ("gemm", ((2, 3), (3, 4), (4,)), {}),
                                    ("conv2d", ((2, 9, 9, 3), (3, 3, 3, 4)), {"activation": "relu"}),
                                    ("adaptive_max_pool2d", ((2, 9, 9, 3), 4), {}),
                                    ("max_pool1d", ((2, 9, 3), 2), {})):
        problem, = call_problems(name, operands, options)
        with pytest.raises(NotImplementedError, match="in PyTorch is written down here"):
            peer.contenders(problem, problem.operands(), "cpu")
    with pytest.raises(NotImplementedError, match="PyTorch pads both sides alike"):
        asymmetric = conv_problem(conv_geometry("conv", (1, 8, 8, 1), (3, 3, 1, 1), 2, "same", 1, 1, "channels_last"),
                                 "fprop")
        peer.contenders(asymmetric, asymmetric.operands(), "cpu")


@needs_torch
def test_twins_have_our_loss_and_gradients() -> None:
    from convgpu.benchmark.peers import Torch

    results = training.measure(NETWORKS["lenet5"], [3], [devices.CpuDevice()], Torch(), steps=2)
    assert set(results.rows[0]["timings"]) == {"convgpu cpu", "torch cpu channels_last", "torch cpu channels_first"}
    params = NETWORKS["lenet5"].initial()
    x, y = NETWORKS["lenet5"].data(2)
    step = training.Step(NETWORKS["lenet5"], params, x, y, "cpu")
    loss, grads = step.gradients()
    theirs = training.TorchStep(Torch(), NETWORKS["lenet5"], params, x, y, "cpu", "channels_last")
    theirs.check("twin", loss, grads)
    grads["conv1"]["w"] = -grads["conv1"]["w"]
    with pytest.raises(WrongResultError, match="in conv1; not timed"):
        theirs.check("twin", loss, grads)


@needs_torch
@pytest.mark.parametrize("name", ["mobilenet", "efficientnet_b0"])
def test_small_twins_have_our_loss_and_gradients(name: str) -> None:
    from convgpu.benchmark.peers import Torch

    network = replace(NETWORKS[name], shape=(64, 64, 3))
    params, (x, y) = network.initial(), network.data(4)
    loss, grads = training.Step(network, params, x, y, "cpu").gradients()
    theirs = training.TorchStep(Torch(), network, params, x, y, "cpu", "channels_last")
    theirs.check("twin", loss, grads)
    grads["dense"]["w"] = -grads["dense"]["w"]
    with pytest.raises(WrongResultError, match="in dense; not timed"):
        theirs.check("twin", loss, grads)


@needs_torch
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_networks_are_trained_in_half_types(dtype: str, monkeypatch) -> None:
    """Parameters in float32: ours by the policy, PyTorch's by autocast, with a scaler for float16."""
    import torch

    from convgpu.benchmark.peers import Torch

    results = training.measure(NETWORKS["lenet5"], [2], [devices.CpuDevice()], Torch(), steps=2, dtype=dtype)
    row, = results.rows
    assert row["dtype"] == dtype and "absent" not in row
    assert set(row["timings"]) == {"convgpu cpu", "torch cpu amp channels_last"}
    from convgpu.benchmark.report.tables import render

    assert f"on images of noise, {dtype}." in " ".join(render(results).split())
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda f, **options: compiled.append(f) or f)
    params, (x, y) = NETWORKS["lenet5"].initial(), NETWORKS["lenet5"].data(2)
    variants = "compiled amp", "compiled"
    found = training.torch_steps(Torch(), NETWORKS["lenet5"], params, x, y, "cpu", variants, {}, dtype)
    assert list(found) == ["torch cpu compiled amp channels_last", "torch cpu compiled channels_last"] and compiled
    assert found["torch cpu compiled amp channels_last"].amp == dtype
    assert found["torch cpu compiled channels_last"].amp is None
    step = training.Step(NETWORKS["lenet5"], params, x, y, "cpu", dtype)
    before = step()
    for theirs in (found["torch cpu compiled amp channels_last"], training.TorchStep(
            Torch(), NETWORKS["lenet5"], params, x, y, "cpu", "channels_last")):
        assert abs(theirs().item() - before.item()) < 0.02 * before.item()
    assert before.dtype == np.float32


def test_the_command_trains_in_half_types(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "r.json"
    assert benchmark("train", "--network", "lenet5", "--batch", "2", "--steps", "2", "--budget", "0", "--device", "cpu",
                     "--dtype", "float16", "--json", str(file)) == 0
    assert [row["dtype"] for row in Results.load(file).rows] == ["float16"]
    assert "noise, float16." in " ".join(capsys.readouterr().out.split())


# --- the GPU's side, on what stands in for one


class Events:
    """A GPU's events told by the host's clock."""

    name, cache_bytes = "NVIDIA H200", 10_000

    def cover(self) -> None:
        pass

    def mark(self) -> float:
        import time

        return time.perf_counter()

    def seconds(self, start: float, stop: float) -> float:
        return stop - start

    def wait(self) -> None:
        pass


@needs_emulated
def test_both_devices_side_by_side(gpu, monkeypatch: pytest.MonkeyPatch, capsys, tmp_path) -> None:  # noqa: F811
    if gpu == "stand-in":
        monkeypatch.setattr(devices, "CupyGpu", Events)
    file = tmp_path / "r.json"
    assert benchmark("pool", "--shape", "1", "4", "4", "2", "--window", "2", "--samples", "2", "--json", str(file)) == 0
    out = capsys.readouterr().out
    assert "CPU/GPU" in out and "No GPU column" not in out
    row = Results.load(file).rows[0]
    assert len(row["timings"]["convgpu gpu"].gpu) == 2 and "max_pool" in row["kernels"]["convgpu gpu"]
    pytest.importorskip("matplotlib")
    assert benchmark("show", str(file), "--plot", str(tmp_path / "p.png")) == 0
