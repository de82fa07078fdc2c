"""The emulator's own tests: C++ programs of tests/emulator, built with g++ as kernels are, run in every timing.

Three builds: plain; AddressSanitizer with UBSan; ThreadSanitizer (kernels instrumented, the emulator not).
"""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "tests" / "emulator"
SHARED = Path(os.environ.get("CONVGPU_SHARED", ROOT.parent / "shared"))
FORCED = os.environ.get("CONVGPU_EMULATED") == "1"

COMMON = "-std=c++17 -march=native -g1 -pthread -Wall -Wextra -Wno-unknown-pragmas -Wno-psabi".split()
SANITIZE = "-fsanitize=address,undefined -fno-sanitize-recover=undefined".split()
# Flags of the emulator, flags of the kernels and of what calls them.
BUILDS = {
    "plain": (["-O3"], ["-O1"]),
    "address": (["-O1", *SANITIZE], ["-O1", *SANITIZE]),
    "thread": (["-O2", "-DCONVGPU_EMULATOR_TSAN"], ["-O1", "-fsanitize=thread"]),
    "ucontext": (["-O2", "-DCONVGPU_EMULATOR_UCONTEXT"], ["-O1"]),
}
PROGRAMS = {
    "features": ["test_primitives.cpp", "test_tma.cpp", "test_wgmma.cpp", "test_gemm.cpp", "main.cpp"],
    "primitives": ["test_primitives.cpp", "main.cpp"],
    "bugs_threads": ["bugs_threads.cpp"],
    "bugs_async": ["bugs_async.cpp"],
    "recorded": ["recorded.cpp"],
    "hopper_probe": ["../../bench/hopper_probe.cu"],
}

ORDERS = ("ascending", "descending", "random")
TIMINGS = (("lazy", "eager"), ("eager", "lazy"), ("random", "random"))  # of copies, of MMAs
# Every order and every timing once.
ROTATION = [(order, *timing) for order, timing in zip(ORDERS, TIMINGS, strict=True)]


def toolkit_roots() -> list[Path]:
    """CUDA_HOME, and the folders that NVIDIA's PyPI packages install into."""
    roots = [Path(os.environ["CUDA_HOME"])] if os.environ.get("CUDA_HOME") else []
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or [] if spec else []:
        roots += sorted(Path(folder).glob("cu[0-9]*"), reverse=True)
    return roots


def header_flags() -> list[str] | None:
    """Where the CUDA headers lie: cuda_bf16.h, and nv/target which it includes and another package brings."""
    for root in toolkit_roots():
        folders = [f for f in (root / "include", root / "include" / "cccl") if f.is_dir()]
        if all(any((f / h).exists() for f in folders) for h in ("cuda_bf16.h", "crt/host_defines.h", "nv/target")):
            return [flag for f in folders for flag in ("-isystem", str(f))]
    return None


def unavailable(reason: str) -> None:
    if FORCED:
        pytest.fail(reason + " (CONVGPU_EMULATED=1 asks for them)")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Builds a program on first use: program(build, name) is its path."""
    compiler, headers = shutil.which("g++"), header_flags()
    if compiler is None or headers is None:
        unavailable("the emulator needs g++ and the CUDA headers (pip install nvidia-cuda-runtime, -crt, -cccl)")
    folder = tmp_path_factory.mktemp("emulator")

    def compile_one(source: Path, output: Path, flags: list[str]) -> Path:
        if not output.exists():
            language = ["-x", "c++"] if source.suffix == ".cu" else []
            command = [compiler, *COMMON, *headers, *flags, "-c", *language, str(source), "-o", str(output)]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-8000:]
        return output

    def build(name_of_build: str, name: str) -> Path:
        target = folder / f"{name}_{name_of_build}"
        if target.exists():
            return target
        emulator_flags, kernel_flags = BUILDS[name_of_build]
        unity = folder / "emulator.cpp"
        parts = sorted((ROOT / "csrc" / "emulator").glob("*.cpp"))
        unity.write_text("".join(f'#include "{part}"\n' for part in parts))
        objects = [compile_one(unity, folder / f"emulator_{name_of_build}.o", emulator_flags)]
        for part in PROGRAMS[name]:
            source = SOURCES / part
            objects.append(compile_one(source, folder / f"{source.stem}_{name_of_build}.o", kernel_flags))
        command = [compiler, *kernel_flags, *map(str, objects), "-pthread", "-o", str(target)]
        subprocess.run(command, check=True, capture_output=True)
        return target

    return build


def run(path: Path, *arguments: str, order: str = "ascending", copy: str = "lazy", mma: str = "eager", **more: str):
    """Runs a program in one order and timing; stdout and stderr come together."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CONVGPU_EMULATOR_")} | {
        "CONVGPU_EMULATOR_ORDER": order,
        "CONVGPU_EMULATOR_COPY": copy,
        "CONVGPU_EMULATOR_MMA": mma,
        **more,
    }
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": environment, "timeout": 300}
    done = subprocess.run([str(path), *arguments], **pipe)
    if "unexpected memory mapping" in done.stdout and shutil.which("setarch"):  # TSan and randomised addresses
        done = subprocess.run(["setarch", "-R", str(path), *arguments], **pipe)
    return done


def assert_silent(done: subprocess.CompletedProcess) -> None:
    clean = done.returncode == 0 and "Sanitizer" not in done.stdout and "runtime error" not in done.stdout
    assert clean, done.stdout[-6000:]


# ---- Features --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("order", "timing"), list(itertools.product(ORDERS, TIMINGS)))
def test_features_in_every_order_and_timing(program, order, timing):
    assert_silent(run(program("plain", "features"), order=order, copy=timing[0], mma=timing[1]))


@pytest.mark.parametrize("build", ["address", "thread"])
@pytest.mark.parametrize(("order", "copy", "mma"), ROTATION)
def test_features_under_sanitizers(program, build, order, copy, mma):
    assert_silent(run(program(build, "features"), order=order, copy=copy, mma=mma))


def test_portable_fiber_switch(program):
    assert_silent(run(program("ucontext", "primitives")))


def test_random_orders_follow_the_seed(program):
    path = program("plain", "bugs_threads")
    seen = {
        seed: [
            run(path, "planted", "missing_barrier", order="random", CONVGPU_EMULATOR_SEED=seed).stdout for _ in range(2)
        ]
        for seed in "123456"
    }
    assert all(first == second for first, second in seen.values())
    assert len({first for first, _ in seen.values()}) > 1


def test_unknown_setting_is_an_error(program):
    done = run(program("plain", "features"), "block_barrier", order="sideways")
    assert done.returncode != 0
    assert "CONVGPU_EMULATOR_ORDER: expected one of ascending, descending, random, got sideways" in done.stdout


# ---- Planted bugs: which build and which timing notices each, and by which words -------------------------------------
LAZY, EAGER, RANDOM = ROTATION
WRONG, RACE = "noticed: wrong result", "ThreadSanitizer: data race"
BUGS = [
    ("shared_overflow", "address", LAZY, "heap-buffer-overflow"),
    ("global_overflow", "address", LAZY, "heap-buffer-overflow"),
    ("misaligned_vector", "address", LAZY, "runtime error: reference binding to misaligned address"),
    ("uninitialised_shared", "plain", LAZY, WRONG + ".* nan|" + WRONG + ".* -nan"),
    ("divergent_barrier", "plain", LAZY, r"96 threads wait forever\n.*\(0,0,0\) to \(95,0,0\), in __syncthreads"),
    ("missing_barrier", "plain", LAZY, WRONG),
    ("missing_barrier", "thread", LAZY, RACE),
    ("write_after_read", "plain", LAZY, WRONG),
    ("write_after_read", "thread", EAGER, RACE),
    ("missing_syncwarp", "plain", LAZY, WRONG),
    ("missing_syncwarp", "thread", RANDOM, RACE),
    ("same_value_race", "thread", LAZY, RACE),
    ("lost_update", "thread", LAZY, RACE),
    ("shuffle_outside_mask", "plain", LAZY, "lane 8 reads from lane 16, which is not in the mask 0000ffff"),
    ("lane_outside_own_mask", "plain", LAZY, "the calling lane 31 is not in its own mask 7fffffff"),
    ("lanes_in_different_instructions", "plain", LAZY, "meet in different instructions: __syncwarp and __ballot_sync"),
    ("misaligned_ldmatrix", "plain", LAZY, "ldmatrix: the shared address .* is not aligned to 16 bytes"),
    ("barrier_with_two_counts", "plain", LAZY, "barrier 1 is used with 128 threads and with 96 at once"),
    ("gemm_simt_no_barrier_after_use", "plain", LAZY, WRONG),
    ("gemm_simt_no_barrier_after_use", "thread", LAZY, RACE),
    ("copy_never_waited", "plain", EAGER, "exits with cp.async copies that it never waited for"),
    ("copy_without_barrier", "plain", LAZY, WRONG),
    ("copy_without_barrier", "thread", EAGER, RACE),
    ("misaligned_copy", "plain", LAZY, r"thread \(5,0,0\): cp.async: the global address .* not aligned to 16 bytes"),
    ("mbarrier_wrong_count", "plain", LAZY, "in mbarrier.try_wait .*phase 0 lacks 1 of 129 arrivals and 0 bytes"),
    ("mbarrier_init_unordered", "plain", EAGER, "mbarrier.arrive: the mbarrier was never initialised"),
    ("load_not_waited", "plain", LAZY, "asynchronous loads still in flight"),
    ("load_not_waited", "thread", EAGER, RACE),
    ("wrong_expected_bytes", "plain", LAZY, "phase 0 lacks 0 of 1 arrivals and -256 bytes"),
    ("store_source_overwritten", "plain", LAZY, WRONG),
    ("store_source_overwritten", "thread", EAGER, RACE),
    ("store_never_waited", "plain", EAGER, "exits while a TMA store may still read its shared memory"),
    ("wgmma_without_fence", "plain", LAZY, "wgmma without wgmma.fence"),
    ("accumulators_read_early", "plain", EAGER, WRONG),
    ("accumulators_read_early", "thread", LAZY, RACE),
    ("a_registers_overwritten", "plain", EAGER, WRONG),
    ("a_registers_overwritten", "thread", LAZY, RACE),
    ("wgmma_never_waited", "plain", LAZY, "exits with wgmma operations that it never waited for"),
    ("missing_cluster_barrier", "plain", LAZY, WRONG),
    ("missing_cluster_barrier", "thread", EAGER, RACE),
    ("gemm_mma_weak_wait", "plain", LAZY, "exits with cp.async copies that it never waited for"),
    ("gemm_mma_weak_wait", "thread", LAZY, RACE),
    ("gemm_mma_no_barrier", "plain", LAZY, WRONG),
    ("gemm_mma_no_barrier", "thread", EAGER, RACE),
    ("gemm_wgmma_no_full_wait", "plain", LAZY, "noticed: "),
    ("gemm_wgmma_no_full_wait", "thread", EAGER, RACE),
    ("gemm_wgmma_early_release", "plain", EAGER, WRONG),
    ("gemm_wgmma_early_release", "thread", LAZY, RACE),
    ("gemm_wgmma_read_before_wait", "plain", EAGER, WRONG),
]


def bug_program(name: str) -> str:
    of_threads = re.search(rf'BUG\({name},|add\("{name}"', (SOURCES / "bugs_threads.cpp").read_text())
    return "bugs_threads" if of_threads else "bugs_async"


@pytest.mark.parametrize(("name", "build", "timing", "words"), BUGS, ids=[f"{b[0]}-{b[1]}" for b in BUGS])
def test_planted_bug_is_noticed(program, name, build, timing, words):
    order, copy, mma = timing
    done = run(program(build, bug_program(name)), "planted", name, order=order, copy=copy, mma=mma)
    assert done.returncode != 0
    assert re.search(words, done.stdout), done.stdout[-4000:]


@pytest.mark.parametrize("build", ["plain", "address", "thread"])
@pytest.mark.parametrize("name", ["bugs_threads", "bugs_async"])
def test_sound_twins_are_silent(program, name, build):
    for order, copy, mma in ROTATION:
        assert_silent(run(program(build, name), "sound", order=order, copy=copy, mma=mma))


def test_every_planted_bug_is_in_the_table(program):
    names = "".join(run(program("plain", name), "--list").stdout for name in ("bugs_threads", "bugs_async")).split()
    assert sorted(names) == sorted({bug[0] for bug in BUGS})
    assert len(names) >= 18


# ---- Tensor cores: what an H200 answered -----------------------------------------------------------------------------
def operand_bits(fmt: str, values: np.ndarray) -> bytes:
    """Float32 bit patterns as the instruction takes them: 16-bit halves, or tf32 padded with zeros to 8 products."""
    if fmt == "bf16":
        return (values >> 16).astype(np.uint16).tobytes()
    if fmt == "fp16":
        return values.view(np.float32).astype(np.float16).tobytes()
    return np.pad(values, ((0, 0), (0, 8 - values.shape[1]))).tobytes()


@pytest.mark.parametrize("instruction", ["mma", "wgmma"])
@pytest.mark.parametrize("fmt", ["bf16", "fp16", "tf32"])
def test_recorded_results_of_an_h200(program, tmp_path, fmt, instruction):
    path = SHARED / "data" / "tensor_core_h200.npz"
    if not path.exists():
        pytest.skip(f"the recordings of an H200 are not at {path} (CONVGPU_SHARED)")
    with np.load(path) as data:
        a, b, c, d = (data[f"{fmt}_{k}"] for k in "abcd")
    (tmp_path / "in").write_bytes(operand_bits(fmt, a) + operand_bits(fmt, b) + c.tobytes())
    assert_silent(run(program("plain", "recorded"), fmt, instruction, str(tmp_path / "in"), str(tmp_path / "out")))
    got = np.fromfile(tmp_path / "out", np.uint32)
    assert len(got) == 5000
    np.testing.assert_array_equal(got, d)


# ---- One source, two machines ----------------------------------------------------------------------------------------
def find_nvcc() -> str | None:
    in_roots = [str(root / "bin" / "nvcc") for root in toolkit_roots() if (root / "bin" / "nvcc").exists()]
    return shutil.which("nvcc") or (in_roots[0] if in_roots else None)


NVCC_SOURCES = [
    ("80", SOURCES / "instances_sm80.cu"),
    ("90a", SOURCES / "instances_sm80.cu"),
    ("90a", SOURCES / "instances_sm90a.cu"),
    ("90a", ROOT / "bench" / "hopper_probe.cu"),
]


@pytest.mark.parametrize(("arch", "source"), NVCC_SOURCES, ids=[f"{s.stem}-{a}" for a, s in NVCC_SOURCES])
def test_nvcc_accepts_the_same_source(tmp_path, arch, source):
    nvcc = find_nvcc()
    if nvcc is None or shutil.which("g++") is None:
        pytest.skip("nvcc (PATH, CUDA_HOME or PyPI's nvidia-cuda-nvcc) or its host compiler g++ is missing")
    command = [nvcc, "-std=c++17", "-gencode", f"arch=compute_{arch},code=sm_{arch}", "-Xptxas", "-v", "-c"]
    done = subprocess.run([*command, str(source), "-o", str(tmp_path / "o")], capture_output=True, text=True)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text[-6000:]
    assert not re.search(r"C7508|C7510", text), "wgmma was serialised"
    spills = [int(n) for n in re.findall(r"(\d+) bytes spill", text)]
    assert spills
    assert sum(spills) == 0


def test_hopper_probe_agrees_with_the_emulator_on_the_emulator(program):
    path = program("plain", "hopper_probe")
    names = run(path, "--list").stdout.splitlines()
    assert len(names) == len(set(names)) > 50 and all(re.fullmatch(r"\w+", name) for name in names)
    assert {"wgmma_n_major_128b_swizzle_256_columns", "tma_im2col_4d_stride_2", "tma_im2col_5d", "setmaxnreg",
            "tma_store_64b_swizzle", "cluster_multicast", "tma_im2col_4d_channels_40_of_64", "wgmma_tf32",
            "wgmma_overflow", "wgmma_bf16", "wgmma_packed_leading_of_depth_96"} <= set(names)
    assert names[-2:] == ["gemm_cluster_1", "gemm_cluster_2"]  # all together, with what may hang, at the end
    done = run(path)
    assert_silent(done)
    assert done.stdout.splitlines() == [f"agrees {name}" for name in names]


def test_hopper_probe_asks_what_it_is_told_and_says_what_differs(program):
    path = program("plain", "hopper_probe")
    done = run(path, "elect", "mma_bf16")
    assert (done.returncode, done.stdout) == (0, "agrees mma_bf16\nagrees elect\n")  # in the order of the list
    done = run(path, "elect", "mma")
    assert done.returncode == 2 and done.stdout == "hopper_probe: expected --list or names that it lists, got mma\n"
    done = run(path, "elect", "wgmma_k_major", CONVGPU_EMULATOR_SHARED_BYTES="1024")
    assert done.returncode == 1
    assert re.fullmatch(r"agrees elect\ndiffers wgmma_k_major: launch: expected at most 1024 bytes of shared memory, "
                        r"got \d+; with leading and stride exchanged it is wrong too\n", done.stdout)


def test_a_machine_that_runs_nothing_is_found_out(program):
    """CONVGPU_EMULATOR_RUN=no checks launches and tensor maps, and computes nothing."""
    done = run(program("plain", "hopper_probe"), CONVGPU_EMULATOR_RUN="no")
    assert done.returncode == 1 and "agrees" not in done.stdout


def test_only_device_and_emulator_know_the_machine():
    """Kernels hold no inline assembly, no launch brackets and no architecture switches."""
    word = re.compile(r"\basm\b|<<<|__CUDA_ARCH__|__CUDACC__")
    files = [*(ROOT / "csrc").rglob("*.*"), *SOURCES.rglob("*.*"), ROOT / "bench" / "hopper_probe.cu"]
    others = {("csrc", "cpu"), ("csrc", "device"), ("csrc", "emulator"), ("csrc", "ptx_kernels")}
    kernels = [f for f in files if f.relative_to(ROOT).parts[:2] not in others]
    assert len(kernels) > 10
    for file in kernels:
        assert not word.search(file.read_text()), file
