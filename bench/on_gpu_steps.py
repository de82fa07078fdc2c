"""The steps of bench/on_gpu.sh: the command of each, how long it may take, and what it needs."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import carried

TITLES = {1: "does it run?", 2: "is it right, and how fast?", 3: "why?"}
COMPILE = ["nvcc", "-std=c++17", "-O2", "-gencode", "arch=compute_90a,code=sm_90a"]
SANITIZERS = ("memcheck", "racecheck", "initcheck", "synccheck")
GEMMS = ("cluster 1", "cluster 2", "odd tiles", "splits")
# What setup.py build_ext --inplace does, where setuptools may be old or missing.
BUILD = """
import sys
from pathlib import Path
sys.path.insert(0, 'csrc')
from build_system.choice import choose
from build_system.ninja import build, targets_of
build(targets_of(choose(editable=False)), Path('convgpu'))"""
# Of a rehearsal: a few small images of noise.
SMALL_IMAGES = """
import sys, tempfile, numpy as np
from convgpu.cli import main
with tempfile.NamedTemporaryFile(suffix='.npz') as file:
    x, y = np.random.default_rng(0).integers(0, 255, (8, 16, 16), np.uint8), np.arange(8) % 2
    np.savez(file, x_train=x, y_train=y, x_test=x, y_test=y)
    file.flush()
    sys.exit(main([*sys.argv[1:], '--data', file.name]))"""


@dataclass(frozen=True)
class Step:
    """One step of a part.

    Args:
        name: the name of its log, which is also its key.
        command: the program; for a step with questions, the command that builds the program.
        seconds: the most time that the step may take from its part.
        restarts: the program adds rows to the file of rows itself, and continues where an earlier process stopped.
        shards: the number of processes that share the rows, for rows that are not timed.
        questions: a program that names its questions with --list and answers one per process: 0 agrees, 1 differs.
        each: the most seconds for one question.
        follow: a file of JSON lines that the program writes; each line becomes a row.
        hopper: whether the step needs compute capability 9.0.
        kernels: whether it needs convgpu._cuda.
        packages, tools: that it needs.
        always: it runs whenever its part does, and is no row.
        builds: it builds convgpu._cuda.
        instead: it runs only where that does not load by now.
        divided: it has many short rows, and where time is short it makes do with a share of its seconds.
    """

    name: str
    command: list[str]
    seconds: float
    restarts: bool = False
    shards: int = 1
    questions: list[str] = field(default_factory=list)
    each: float = 10.0
    follow: Path | None = None
    hopper: bool = False
    kernels: bool = True
    packages: tuple[str, ...] = ("numpy", "cupy")
    tools: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    always: bool = False
    builds: bool = False
    instead: bool = False
    divided: bool = False

    @property
    def resumable(self) -> bool:
        """Whether the step can continue where it stopped."""
        return self.restarts or bool(self.questions)


def steps(part: int, rows: Path, work: Path, tiny: int = 0, again: bool = False) -> list[Step]:
    """The steps of a part, the most valuable first. tiny: for a rehearsal, the number of rows of each table."""
    commands = Commands(rows, work, tiny, again)
    return [*_build(commands), *{1: _does_it_run, 2: _is_it_right, 3: _why}[part](commands)]


@dataclass(frozen=True)
class Commands:
    """Makes the commands that call programs."""

    rows: Path
    work: Path
    tiny: int
    again: bool

    @property
    def shards(self) -> int:
        """The processes for rows that are not timed: their time is mostly the CPU's, for the results to compare with.
        """
        return 2 if self.tiny else max(min((os.cpu_count() or 1) // 2, 8), 1)

    def bench(self, script: str, *arguments: str) -> list[str]:
        """The command of a program in bench/."""
        return [sys.executable, f"bench/{script}", *arguments]

    def of_rows(self, script: str, *arguments: str) -> list[str]:
        """The command of a program that adds rows, and skips rows that are in the file."""
        return self.bench(script, *arguments, "--rows", str(self.rows), "--resume", *["--again"] * self.again,
                          *["--tiny", str(self.tiny)] * (self.tiny > 0))


def _build(c: Commands) -> Iterator[Step]:
    """Of every part, since each may run on a machine that is bare; where all is built, a second. A library that was
    carried may be of a system whose own libraries are newer: then nvcc builds it."""
    library = carried.unpacked_library(c.work)
    build = {"CONVGPU_CUDA": "1", "CONVGPU_EMULATED": "0"}
    setup = [sys.executable, "-c", "import convgpu._cuda" if c.tiny else BUILD]
    compiled = Step("build", setup, 150, kernels=False, always=True, builds=True, environment=build,
                    packages=("numpy", "pybind11", "ninja"))
    if library:
        yield replace(compiled, name="build of what was carried", seconds=60,
                      environment=build | {"CONVGPU_KERNELS": str(library)})
        compiled = replace(compiled, environment=build | {"CONVGPU_KERNELS": ""}, instead=True)
    yield compiled


def _does_it_run(c: Commands) -> Iterator[Step]:
    maps = c.work / "tensor_maps.jsonl"
    yield Step("tensor maps", [*c.bench("tensor_maps.py", "--backend", "cuda", "--json", str(maps)),
                               *["--case", "tile_edges"] * (c.tiny > 0)], 30, follow=maps, hopper=True)
    probe = c.work / "hopper_probe"
    yield Step("probe", [*COMPILE, "-o", str(probe), "bench/hopper_probe.cu", "csrc/emulator/tensor_core.cpp"], 80,
               questions=[str(probe)], hopper=True, kernels=False, packages=(), tools=("nvcc",))
    for name in GEMMS:
        yield Step(f"gemm {name}", c.of_rows("one_gemm.py", name), 20, hopper=True)
    yield Step("verify quick", c.of_rows("verify_rows.py", "--quick"), 60, restarts=True, shards=c.shards,
               divided=True)
    train = ["train", "--device", "gpu", "--epochs", "1" if c.tiny else "3", "--out", str(c.work / "lenet")]
    yield Step("lenet", [sys.executable, *(["-c", SMALL_IMAGES] if c.tiny else ["-m", "convgpu"]), *train], 40,
               packages=("numpy", "cupy", "sklearn", "matplotlib", "tqdm", "safetensors"))


def _is_it_right(c: Commands) -> Iterator[Step]:
    yield Step("hopper", c.of_rows("kernels.py", "--hopper"), 90, restarts=True, hopper=True, divided=True)
    yield Step("verify", c.of_rows("verify_rows.py"), 45, restarts=True, shards=c.shards, divided=True)
    yield Step("kernels", c.of_rows("kernels.py"), 40, restarts=True, divided=True)
    yield Step("pytest", [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "pytest_rows", "-p",
                          "no:cacheprovider", "--continue-on-collection-errors",
                          *(("tests/test_device.py",) if c.tiny else ("tests",))], 45, restarts=True,
               shards=c.shards,
               packages=("numpy", "cupy", "pytest", "hypothesis"),
               environment={"CONVGPU_ROWS": str(c.rows), "CONVGPU_ROWS_AGAIN": "1" if c.again else ""})
    yield Step("denominators", c.of_rows("denominators.py"), 60, restarts=True, kernels=False,
               divided=True, packages=("numpy", "torch"))
    yield Step("float32 accuracy", c.of_rows("float32_accuracy.py", "--backend", "cuda"), 20, restarts=True,
               hopper=True, divided=True)
    yield Step("train", c.of_rows("train.py", "--device", "gpu", "--rows-of", "train"), 60, restarts=True)
    yield Step("train cpu", c.of_rows("train.py", "--device", "cpu", "--rows-of", "train cpu"), 40, restarts=True,
               kernels=False, packages=("numpy",))
    yield Step("train compiled", c.of_rows("train.py", "--device", "gpu", "--rows-of", "train compiled"), 90,
               restarts=True, packages=("numpy", "cupy", "torch"))
    yield Step("predictions", c.bench("predict.py", "--score", str(c.rows)), 8, kernels=False, packages=("numpy",),
               always=True)


def _why(c: Commands) -> Iterator[Step]:
    if not c.tiny:  # a rehearsal has no compiled kernels to load
        yield Step("variants", c.of_rows("variants.py", "--folder", str(c.work / "variants")), 90, restarts=True,
                   hopper=True, kernels=False, tools=("nvcc",))
    rates, binary = c.work / "hopper_rates.jsonl", c.work / "hopper_rates"
    build = shlex.join([*COMPILE, "-Icsrc", "-o", str(binary), "bench/hopper_rates.cu"])
    yield Step("rates", ["bash", "-c", f"{build} && exec {shlex.join([str(binary), str(rates)])}"], 60, follow=rates,
               hopper=True, kernels=False, packages=(), tools=("nvcc",))
    yield Step("refit", c.bench("refit.py", str(c.rows)), 10, hopper=True, kernels=False, packages=("numpy",),
               always=True)
    for tool in SANITIZERS:
        yield Step(tool, c.of_rows("under_sanitizer.py", tool), 45, restarts=True, shards=c.shards, divided=True,
                   tools=("compute-sanitizer",))


def listing() -> str:
    """All steps, with what each of them needs."""
    lines = []
    for part, title in TITLES.items():
        lines.append(f"part {part}: {title}")
        for step in steps(part, Path("rows.jsonl"), Path("build/gpu")):
            needs = [*["compute capability 9.0"] * step.hopper, *["convgpu._cuda"] * step.kernels, *step.packages,
                     *step.tools]
            lines.append(f"  {step.name:18} {step.seconds:4.0f} s  {', '.join(needs)}")
    return "\n".join(lines)
