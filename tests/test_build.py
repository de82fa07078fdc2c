"""What an installation compiles, what it asks pip for, and what it says when it cannot."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import convgpu as cg
from convgpu import backends, info
from convgpu.benchmark import results

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "csrc"), str(ROOT / "bench")]

import sass  # noqa: E402
from build_system import choice, instances, ninja, toolchain  # noqa: E402 - no package of the installation
from build_system.choice import HEADERS, NVCC, CannotBuild, Choice, choose, requirements  # noqa: E402

TOOLS = ["pybind11>=2.13", "ninja"]


@pytest.fixture
def machine(monkeypatch):
    """A machine with a C++ compiler and nothing else; machine(**there) changes what there is."""
    for variable in ("CONVGPU_CPU", "CONVGPU_CUDA", "CONVGPU_EMULATED", "CONVGPU_PTX_MACHINE", "CONVGPU_ARCHS",
                     "CONVGPU_KERNELS", "CONVGPU_PTX", "CONVGPU_PTX_ARCH"):
        monkeypatch.delenv(variable, raising=False)

    def change(cxx="/usr/bin/g++", nvcc=None, headers=None, gpu=None, platform="linux", **environment):
        monkeypatch.setattr(toolchain, "cxx_compiler", lambda: cxx)
        monkeypatch.setattr(toolchain, "find_nvcc", lambda: nvcc and toolchain.Nvcc(Path(nvcc)))
        monkeypatch.setattr(toolchain, "find_headers", lambda: headers)
        monkeypatch.setattr(toolchain, "gpu_arch", lambda: gpu)
        monkeypatch.setattr(sys, "platform", platform)
        for name, value in environment.items():
            monkeypatch.setenv(f"CONVGPU_{name.upper()}", value)

    change()
    return change


CUDA = {"nvcc": "/opt/cuda/bin/nvcc", "gpu": "90a"}


@pytest.mark.parametrize("there, editable, chosen", [
    ({}, False, Choice(False, False)),
    ({}, True, Choice(False, True, cpu=True, ptx=True)),
    ({"cxx": None}, True, Choice(False, False)),
    ({"platform": "darwin"}, True, Choice(False, False)),
    ({"emulated": "0"}, True, Choice(False, False, cpu=True, ptx=True)),
    ({"emulated": "1"}, False, Choice(False, True)),
    ({"cpu": "0"}, True, Choice(False, True, ptx=True)),
    ({"ptx_machine": "0"}, True, Choice(False, True, cpu=True)),
    ({"ptx_machine": "1"}, False, Choice(False, False, ptx=True, ptx_required=True)),
    ({"cpu": "1"}, False, Choice(False, False, cpu=True, cpu_required=True)),
    ({"ptx": "1"}, False, Choice(False, False, ptx=True, ptx_required=True, ptx_archs=("80", "90a"))),
    ({"ptx": "1", "ptx_arch": "90a"}, False, Choice(False, False, ptx=True, ptx_required=True, ptx_archs=("90a",))),
    ({"ptx": "0", "ptx_arch": "90a"}, True, Choice(False, True, cpu=True, ptx=True)),
    (CUDA, False, Choice(True, False, ("90a",))),
    (CUDA, True, Choice(True, True, ("90a",), cpu=True, ptx=True)),
    (CUDA | {"gpu": None}, False, Choice(False, False)),
    (CUDA | {"nvcc": None}, False, Choice(False, False)),
    (CUDA | {"cuda": "0"}, False, Choice(False, False)),
    (CUDA | {"archs": "80;compute_80"}, False, Choice(True, False, ("80", "compute_80"))),
    ({"cuda": "1"}, False, Choice(True, False, choice.WHEEL_ARCHS)),
    ({"cuda": "1", "archs": "80;90a"}, False, Choice(True, False, ("80", "90a"))),
])
def test_what_is_built(machine, there, editable, chosen):
    machine(**there)
    assert choose(editable) == chosen


@pytest.mark.parametrize("there, editable, packages", [
    ({}, False, []),
    ({"cpu": "1"}, False, TOOLS),
    ({"ptx_machine": "1"}, False, TOOLS),
    ({"cxx": None}, True, []),
    ({}, True, TOOLS + HEADERS),
    ({"headers": ("/usr/include",)}, True, TOOLS),
    ({"cuda": "1"}, False, TOOLS + NVCC + HEADERS),
    ({"ptx": "1"}, False, TOOLS + NVCC + HEADERS),
    ({"ptx": "1", "nvcc": "/opt/cuda/bin/nvcc"}, False, TOOLS),
    (CUDA, False, TOOLS),
    (CUDA | {"headers": ("/usr/include",)}, True, TOOLS),
])
def test_pip_is_asked_only_for_what_the_build_needs(machine, there, editable, packages):
    machine(**there)
    assert requirements(editable) == packages


@pytest.mark.parametrize("there, message", [
    ({"cxx": None, "emulated": "1"}, "CONVGPU_EMULATED=1: expected a C\\+\\+ compiler .*, found none"),
    ({"cxx": None, "cpu": "1"}, "CONVGPU_CPU=1: expected a C\\+\\+ compiler .*, found none"),
    ({"cxx": None, "ptx_machine": "1"}, "CONVGPU_PTX_MACHINE=1: expected a C\\+\\+ compiler .*, found none"),
    ({"cxx": None, "cuda": "1"}, "CONVGPU_CUDA=1: expected a C\\+\\+ compiler .*, found none"),
    ({"cxx": None, "ptx": "1"}, "CONVGPU_PTX=1: expected a C\\+\\+ compiler .*, found none"),
    ({"ptx": "1", "ptx_machine": "0"}, "CONVGPU_PTX=1: expected the machine that runs PTX, got CONVGPU_PTX_MACHINE=0"),
    ({"ptx": "1", "ptx_arch": "90"}, "CONVGPU_PTX_ARCH: expected 80, 90a or 80;90a, got '90'"),
    ({"platform": "win32", "cuda": "1"}, "CONVGPU_CUDA=1: expected Linux on x86-64 or arm64, got win32 on "),
    ({"cuda": "yes"}, "CONVGPU_CUDA: expected 0, 1 or nothing, got 'yes'"),
    ({"cuda": "1", "archs": "hopper"}, "CONVGPU_ARCHS: expected architectures like 80;90a;compute_80, got 'hopper'"),
])
def test_what_is_forced_and_impossible_is_an_error(machine, there, message):
    machine(**there)
    with pytest.raises(CannotBuild, match=message):
        choose(True)


def test_the_build_itself_says_what_is_missing(machine):
    with pytest.raises(CannotBuild, match="CONVGPU_CUDA=1: expected nvcc in CUDA_HOME, on the PATH, or in the package"):
        ninja.targets_of(Choice(True, False, ("90a",)))
    with pytest.raises(CannotBuild, match="CONVGPU_EMULATED=1: expected CUDA's headers in CUDA_HOME, beside nvcc, or"):
        ninja.targets_of(Choice(False, True))
    with pytest.raises(CannotBuild, match="CONVGPU_PTX=1: expected nvcc in CUDA_HOME, on the PATH, or in the package"):
        ninja.targets_of(Choice(False, False, ptx_archs=("80",)))


@pytest.mark.parametrize("forced", ["EMULATED", "CUDA", "CPU", "PTX_MACHINE", "PTX"])
def test_setup_stops_with_the_reason(tmp_path, forced):
    """As pip runs it, on a machine whose PATH holds no compiler."""
    environment = {k: v for k, v in os.environ.items() if k not in (
        "CXX", "CUDA_HOME", "CUDA_PATH", "CONVGPU_CPU", "CONVGPU_CUDA", "CONVGPU_EMULATED", "CONVGPU_ARCHS",
        "CONVGPU_PTX_MACHINE", "CONVGPU_PTX")}
    done = subprocess.run([sys.executable, "setup.py", "build_ext", "--build-lib", tmp_path], cwd=ROOT, text=True,
                          env=environment | {"PATH": str(tmp_path), f"CONVGPU_{forced}": "1"}, capture_output=True)
    assert done.returncode != 0 and f"CONVGPU_{forced}=1: expected a C++ compiler" in done.stderr, done.stderr[-2000:]
    assert not list(tmp_path.iterdir())


# --- where the tools are


def test_nvcc_is_found_in_cuda_home_then_on_the_path_then_in_packages(tmp_path, monkeypatch):
    def place(*parts):
        path = tmp_path.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return path

    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("CUDA_PATH", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "packages")])
    assert toolchain.find_nvcc() is None and toolchain.find_headers() is None
    root = tmp_path / "packages" / "nvidia" / "cu13"
    place("packages", "nvidia", "cu13", "include", "cuda_fp16.h")
    assert toolchain.find_headers() == (root / "include", root / "include" / "cccl")
    in_packages = place("packages", "nvidia", "cu13", "bin", "nvcc")
    assert toolchain.find_nvcc() == (in_packages, (root / "include", root / "include" / "cccl"), (root / "lib",))
    on_path = place("path", "nvcc")
    assert toolchain.find_nvcc() == (on_path, (), ())
    at_home = place("home", "bin", "nvcc")
    place("home", "include", "cuda_fp16.h")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    assert toolchain.find_nvcc() == (at_home, (), ())
    assert toolchain.find_headers() == (tmp_path / "home" / "include", tmp_path / "home" / "include" / "cccl")


# --- the modules


needs_cuda = pytest.mark.skipif(
    importlib.util.find_spec("convgpu._cuda") is None and os.environ.get("CONVGPU_CUDA") != "1",
    reason="convgpu._cuda was not built (CONVGPU_CUDA=1 builds it where nvcc is)")


@needs_cuda
def test_the_cuda_module_needs_no_driver_and_no_toolkit():
    from convgpu import _cuda

    assert _cuda.output_size(9, 3, 2, 1, 0, 0) == 4
    for library in Path(_cuda.__file__).parent.glob("*_cuda*.so"):
        needed = subprocess.run(["ldd", library], capture_output=True, text=True, check=True).stdout
        assert "libcuda.so" not in needed and "libcudart" not in needed and "not found" not in needed


@needs_cuda
@pytest.mark.skipif(info.driver() is not None, reason="there is a GPU")
def test_the_cuda_module_without_a_driver():
    """Plans are made, and a launch raises one clear error."""
    from convgpu import _cuda

    device = _cuda.Device(arch=86, multiprocessors=82, shared_bytes=101376)
    assert _cuda.plan_gemm(1, 512, 512, 512, "bfloat16", device=device).text.startswith("gemm_tiled ")
    x, y = np.zeros((1, 2, 3), np.float32), np.zeros((1, 3, 2), np.float32)
    arrays = [(a.ctypes.data, a.shape, a.strides, "float32") for a in (x, y)]
    with pytest.raises(RuntimeError, match="^(launch|device|nchw_to_nhwc): .*driver"):
        _cuda.nchw_to_nhwc(*arrays, _cuda.plan_layout("nchw_to_nhwc", x.shape, "float32"), 0)
    with pytest.raises(RuntimeError, match="^device: .*driver"):
        _cuda.current_device()


# --- the sources


def test_every_source_of_the_machine_that_runs_ptx_is_built():
    built = {*ninja.ptx_sources(), ROOT / "csrc" / "ptx_machine" / "bind.cpp"}
    assert built == set((ROOT / "csrc" / "ptx_machine").rglob("*.cpp"))


def test_the_kernels_as_ptx_are_the_objects_of_the_cuda_module(machine, monkeypatch):
    """One call of nvcc gives SASS and PTX, where both modules have code for Hopper or neither has."""
    monkeypatch.setattr(toolchain, "version_of", lambda nvcc: "13.0.88")
    there = {"nvcc": "/opt/cuda/bin/nvcc", "headers": ("/usr/include",), "cuda": "1", "ptx": "1"}

    def built(archs, **more):
        machine(**there, archs=archs, **more)
        return ninja.ninja_file(ninja.targets_of(choose(False)))

    text = built("80;90a")
    command = re.search(r"rule cuda_kernel\n  command = (.*)", text)[1]
    assert re.findall(r"code=(\w+)", command) == ["sm_80", "sm_90a", "compute_80", "compute_90a"]
    assert "--no-compress" in command and "ptx_kernels_nvcc" not in text
    library = re.search(r"build libconvgpu_ptx_kernels.so: (.*)", text)[1].split()
    assert "cuda/pool/max_pool.cu.o" in library and "libconvgpu_ptx.so" in library
    assert "cuda/device/properties.cu.o" not in library and "ptx_kernels/ptx_kernels/device.cpp.o" in library
    assert text.count("build bindings/") == len(ninja.FAMILIES)  # compiled once for both modules
    text = built("80")
    own = re.search(r"rule ptx_kernels_nvcc\n  command = (.*)", text)[1]
    assert re.findall(r"code=(\w+)", own) == ["compute_80", "compute_90a"] and "CONVGPU_SM_90A" in own
    assert "--no-compress" not in re.search(r"rule cuda_kernel\n  command = (.*)", text)[1]
    assert "cuda/" not in re.search(r"build libconvgpu_ptx_kernels.so: (.*)", text)[1]
    assert "CONVGPU_SM_90A" not in built("80", ptx_arch="80")


def test_every_source_of_the_stand_in_is_built():
    built = {*ninja.stand_in_sources(), ROOT / "csrc" / "ptx_kernels" / "bind.cpp"}
    assert built == set((ROOT / "csrc" / "ptx_kernels").glob("*.cpp"))


def test_only_the_device_and_the_emulator_know_the_machine():
    """No launch syntax, no inline assembly and no architecture in a kernel; no source is left out of the build."""
    built = {*ninja.kernel_sources(), *ninja.binding_sources()}
    for path in sorted((ROOT / "csrc").rglob("*")):
        rooms = set(path.relative_to(ROOT / "csrc").parts)
        if path.is_dir() or {"cpu", "device", "emulator", "build_system", "ptx_machine", "ptx_kernels"} & rooms:
            continue
        assert path in built or path.suffix in (".h", ".cuh") or path.name == "instances.json", f"{path} is not built"
        text = path.read_text()
        found = re.search(r"<<<|\basm\b|__CUDA_ARCH__|__CUDACC__|cuda_runtime", text)
        assert not found, f"{path}: {found and found[0]}"
        if path.suffix == ".cuh":
            facts = ("owns", "Layouts:", "Assumes", "Order|order of summation|Nothing is")
            missing = [fact for fact in facts if not re.search(fact, text)]
            assert not missing, f"{path}: does not say {missing}"


def test_kernels_for_the_cpu_say_what_they_are_and_are_all_built():
    built = {*ninja.cpu_sources(), *ninja.cpu_kernels(), *ninja.cpu_bindings()}
    assert set((ROOT / "csrc" / "cpu").rglob("*.cpp")) <= built
    for path in ninja.cpu_kernels():
        text = path.read_text()
        missing = [fact for fact in ("owns", "Layouts:", "Order:") if path.stem != "table" and fact not in text]
        assert not missing, f"{path}: does not say {missing}"
        assert not re.search(r"#include <(algorithm|vector|string|cmath)>", text), f"{path}: shared by instruction sets"


@pytest.mark.parametrize("name", ["v4", "v3", "neon"])
def test_an_instruction_set_shares_no_function_with_others(name):
    """The linker keeps one of several functions of a name, which could be of a set that the machine lacks."""
    objects = sorted((ROOT / "build" / "kernels" / "cpu" / name).rglob("*.o"))
    if not objects:
        pytest.skip(f"no kernels were built here for {name}")
    done = subprocess.run(["nm", "-C", "--defined-only", *objects], capture_output=True, text=True, check=True)
    # nm leaves some names of lambdas mangled, in which a namespace is its length and its letters
    own = re.compile(rf"convgpu::cpu::{name}::|(3cpu|S\d*_){len(name)}{name}")
    shared = [line for line in done.stdout.splitlines() if re.match(r"[0-9a-f]+ [WVuT] ", line)
              and not own.search(line) and "DW.ref.__gxx_personality" not in line]
    assert not shared, shared[:10]


@pytest.mark.parametrize("required", [True, False])
def test_a_failed_build_for_the_cpu_is_a_warning_unless_it_was_asked_for(tmp_path, monkeypatch, required):
    """NumPy computes then, and no older module is left behind."""
    for flags in ("CPU_KERNEL_FLAGS", "HOST_FLAGS"):
        monkeypatch.setattr(ninja, flags, ["-no-such-flag"])
    target = ninja.cpu_target(required)
    into = tmp_path / "into"
    into.mkdir()
    (into / target.module).touch()
    marker = into / backends.BUILD_FAILED.name
    if required:
        with pytest.raises(subprocess.CalledProcessError):
            ninja.build([target], into, tmp_path / "work")
        return
    with pytest.warns(UserWarning, match="_cpu.* could not be built; NumPy computes on the CPU. CONVGPU_CPU=1 makes"):
        assert ninja.build([target], into, tmp_path / "work") == []
    assert list(into.iterdir()) == [marker] and "-no-such-flag" in marker.read_text()
    monkeypatch.setattr(info, "BUILD_FAILED", marker)
    monkeypatch.setattr(backends, "BUILD_FAILED", marker)
    monkeypatch.setattr(info, "has_cpu_kernels", lambda: False)
    assert f"cpu not built: the build failed, so NumPy computes ({marker} has the compiler's messages)" in info.report()
    with cg.use_backend("numpy"):
        told = f"numpy (the build of backend 'cpu' failed: {marker})"
        assert f"backend     {told}\n" in str(cg.explain("linear", (2, 3), (3, 4), device="cpu"))
        assert results.environment()["backend"] == told
    built = target._replace(compile_binding="touch $out", link_library="touch $out", link_module="touch $out",
                            compile_kernel="touch $out", variants={})
    assert ninja.build([built], into, tmp_path / "another") and not marker.exists()


def test_templates_are_declared_in_headers():
    """By the engine's own header, which its callers and its instances include: no source repeats a declaration."""
    families = [ROOT / "csrc" / family for family in ("conv", "gemm", "pool", "layout")]
    sources = [path for family in families for path in family.rglob("*") if path.is_file()]
    declared = {path: [d for d in re.findall(r"^template <[^{};]*;", path.read_text(), re.MULTILINE)
                       if not re.search(r"\busing\b|\bconstexpr\b", d)] for path in sources}
    assert {path.name for path in sources if declared[path]} == {"tiled.h", "wgmma.h", "packed.h", "depthwise.h"}


def test_files_that_differ_by_a_dtype_are_written_from_lists(tmp_path):
    """One for each engine and dtype, which the header makes complete; what has not changed is not compiled again."""
    written = instances.write(tmp_path)
    names = {str(path.relative_to(tmp_path)) for path in written}
    assert {"gemm/tiled_float64.cu", "gemm/tiled_tf32.cu", "gemm/wgmma_bfloat16.cu"} <= names
    for path in written:
        text = path.read_text()
        header = re.search(r'#include "(.*)"', text)[1]
        macro = re.search(r"^(CONVGPU_\w+)\(", text, re.MULTILINE)[1]
        assert f"#define {macro}(" in (path.parent / header).read_text(), path
        assert not (ROOT / "csrc" / path.relative_to(tmp_path)).exists(), f"{path.name} stands in csrc too"
    stale, kept = tmp_path / "gemm" / "tiled_int8.cu", written[0].stat().st_mtime_ns
    stale.touch()
    written[1].write_text("")
    assert instances.write(tmp_path) == written and not stale.exists()
    assert written[0].stat().st_mtime_ns == kept and written[1].stat().st_size > 0
    built = {str(path.relative_to(ninja.GENERATED)) for path in ninja.kernel_sources()
             if path.is_relative_to(ninja.GENERATED)}
    assert built == names


@pytest.mark.parametrize("entry, message", [
    ({"name": "tiled", "header": "tiled.h", "macro": "M"}, "expected entries of header, instances, macro, name, "),
    ({"name": "tiled", "header": "gone.h", "macro": "M", "instances": {}}, "with a header that is there, got .*gone"),
    (None, "expected one entry for tiled_float32.cu, got two")])
def test_a_list_that_cannot_be_written_says_why(tmp_path, monkeypatch, entry, message):
    family = tmp_path / "csrc" / "gemm"
    family.mkdir(parents=True)
    (family / "tiled.h").touch()
    good = {"name": "tiled", "header": "tiled.h", "macro": "M", "instances": {"float32": "float"}}
    (family / "instances.json").write_text(json.dumps([good, entry or good]))
    monkeypatch.setattr(instances, "SOURCES", tmp_path / "csrc")
    with pytest.raises(ValueError, match=message):
        instances.write(tmp_path / "out")


# --- what the compiler made of the kernels


@pytest.mark.parametrize("says, status", [
    ("", 0), ("ptxas warning: something else", 0),
    ("ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized", 1),
    ("ptxas info    : (C7519) warpgroup.arrive is injected in around line 79 by compiler", 1)])
def test_the_build_fails_where_wgmma_is_serialised(tmp_path, says, status):
    compiler = tmp_path / "compiler"
    compiler.write_text(f"#!/bin/sh\necho '{says}' >&2\ntouch $1\n")
    compiler.chmod(0o755)
    command = ninja.checked(f"{compiler} $out").replace("$out", str(tmp_path / "kernel.o"))
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.returncode == status and says in done.stdout and (tmp_path / "kernel.o").exists()


def test_the_build_fails_where_the_compiler_does(tmp_path):
    done = subprocess.run(["sh", "-c", ninja.checked("echo why; false").replace("$out", str(tmp_path / "o"))],
                          capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == "why\n"


LISTING = """
Fatbin elf code:
arch = sm_80
\t\tFunction : _Z4fastPf
\t.headerflags\t@"EF_CUDA_SM80"
        /*0010*/                   LDG.E.128 R4, [R2.64] ;   /* 0x0000000002047981 */
                                                             /* 0x000fe2000c1e1d00 */
        /*0020*/              @!P0 LDG.E.EL.128.CONSTANT R4, [R2.64] ;
        /*0030*/               @P1 STG.E [R2.64], R4 ;
        /*0040*/                   HMMA.16816.F32.BF16 R4, R8, R12, R4 ;
\t\tFunction : _Z5spillPf
        /*0010*/                   STL.64 [R1], R4 ;
        /*0020*/                   LDL R4, [R1] ;
        /*0030*/                   LDGSTS.E.BYPASS.128 [R1], [R2.64] ;
arch = sm_90a
\t\tFunction : _Z4fastPf
        /*0010*/                   UTMALDG.4D [UR8], [UR4] ;
        /*0020*/                   MEMBAR.ALL.GPU ;
        /*0030*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*0040*/                   HGMMA.64x8x16.F32.BF16 R24, gdesc[UR4], R24 ;
        /*0050*/                   MEMBAR.ALL.CTA ;
        /*0060*/                   HGMMA.64x8x16.F32.BF16 R24, gdesc[UR4], R24, gsb0 ;
        /*0070*/                   MEMBAR.ALL.GPU ;
        /*0080*/               @P0 BRA 0x30 ;
        /*0090*/                   MEMBAR.ALL.GPU ;
        /*00a0*/              @!P1 BRA 0x20 ;
        /*00b0*/                   EXIT ;
"""


def test_instructions_are_counted():
    counts = {(arch, symbol): sass.Kernel(arch, symbol, instructions=found, among_products=among)
              for arch, symbol, found, among in sass._code(LISTING)}
    fast, spill = counts["sm_80", "_Z4fastPf"], counts["sm_80", "_Z5spillPf"]
    assert [fast.count(c) for c in ("LDG", "LDG/128", "STG", "STG.128", "HMMA", "LDGSTS")] == [2, 2, 1, 0, 1, 0]
    assert spill.spills == 2 and spill.count("LDGSTS") == 1 and spill.count("LDG") == 0 and fast.spills == 0
    hopper = counts["sm_90a", "_Z4fastPf"]
    assert hopper.count("UTMALDG") == 1 and hopper.count("MEMBAR") == 4 and hopper.count("MEMBAR/GPU") == 3
    # The innermost loop, from 0030 to 0080: its MEMBAR stands behind the products and is executed between them.
    among = ("HGMMA", "BAR", "MEMBAR", "MEMBAR/GPU", "UTMALDG")
    assert [hopper.count(c, among_products=True) for c in among] == [2, 1, 2, 1, 0]
    assert fast.count("HMMA", among_products=True) == 0


@pytest.fixture(scope="module")
def compiled():
    """The kernels of the built library; skipped where it was not built, and only there."""
    return sass.kernels_of(ROOT / "convgpu" / "libconvgpu_cuda.so")


@needs_cuda
def test_no_kernel_spills_its_registers(compiled):
    assert len(compiled) > 100
    assert not [(k.arch, k.name, k.registers) for k in compiled if k.spills or k.stack]


# Kernels whose template arguments name a type and the elements of one access, and how they load 16 bytes. (A gather
# of winners loads one element at a time: they are not neighbours.)
FLOAT = r"(?P<type>double|float|__half|__nv_bfloat16)"
VECTORS = {
    rf"::\w+_tiled<[\w:]+, {FLOAT}, \d+, (?P<vector>\d+)": "LDGSTS/128",  # cp.async of products' factors
    rf"::depthwise_\w+<(?:[^,<]*Direction\)\d, )?{FLOAT}, (?P<vector>\d+),": "LDG/128",
    rf"::channel_sum_\w+<{FLOAT}, (?P<vector>\d+)>": "LDG/128",
    rf"pool::(?!max_pool_gather)\w+<{FLOAT}, (?:unsigned \w+, |int, )?(?P<vector>\d+)\b": "LDG/128",
    r"layout::transpose_tiled<(?P<type>unsigned \w+), (?P<vector>\d+), \d+>": "LDG/128",
}
SIZES = {"double": 8, "float": 4, "__half": 2, "__nv_bfloat16": 2, "unsigned char": 1, "unsigned short": 2,
         "unsigned int": 4, "unsigned long": 8}


@needs_cuda
def test_vectorised_kernels_load_16_bytes_at_a_time(compiled):
    for pattern, column in VECTORS.items():
        wide = [(k, found) for k in compiled if (found := re.search(pattern, k.name))
                and int(found["vector"]) * SIZES[found["type"]] == 16]
        assert len(wide) >= 8, pattern
        assert not [(k.arch, k.name) for k, _ in wide if k.count(column) == 0]


@needs_cuda
def test_hopper_kernels_multiply_by_wgmma_and_load_by_tma(compiled):
    """Four instructions for a slot's depth, one load for each of its panels; of pairs three products and two panels.
    One store for each box of results and of parts, and no loop over lanes around any of them (BRA.U.ANY), as the
    compiler makes it for a lane that was not elected. Nothing of it on other architectures."""
    hopper = [(k, found) for k in compiled
              if (found := re.search(r"::(?P<op>\w+)_wgmma<(?P<type>[\w:]+), (?P<columns>\d+), (?P<cluster>\d)[,>]",
                                  k.name))]
    assert len({k.name for k, _ in hopper}) == (4 + 3) * (3 * 5 + 3)
    for k, found in hopper:
        there = k.arch == "sm_90a"
        pixels = 2 if found["op"] == "gemm" else 4  # there: one for images of two axes, one for three
        panels = pixels + int(found["columns"]) // 64 // int(found["cluster"])
        products, parts = (3, 2) if found["type"] == "float" else (1, 1)
        expected = (4 * products, panels * parts) if there else (0, 0)
        assert (k.count("HGMMA"), k.count("UTMALDG")) == expected, (k.arch, k.name)
        kinds = 3 if "wgrad" in found["op"] and found["type"] in ("__half", "__nv_bfloat16") else 2  # float32 too
        assert k.count("UTMASTG") == (kinds * int(found["columns"]) // 32 if there else 0), (k.arch, k.name)
        assert not k.count("HMMA") and not k.count("LDGSTS") and not k.count("BRA/ANY"), (k.arch, k.name)


@needs_cuda
def test_no_kernel_waits_for_the_memory_of_the_whole_gpu_among_its_products(compiled):
    """A cluster's barriers at both ends of a kernel are the only ones: MEMBAR.ALL.GPU takes microseconds."""
    clusters = [k for k in compiled if k.arch == "sm_90a" and re.search(r"_wgmma<[\w:]+, \d+, 2[,>]", k.name)]
    assert clusters and all(k.count("MEMBAR/GPU") == 2 for k in clusters)
    assert all(k.count("HGMMA", among_products=True) == k.count("HGMMA") > 0 for k in clusters)
    waits = {(k.arch, k.name): (k.count("MEMBAR/GPU"), k.count("MEMBAR/GPU", among_products=True)) for k in compiled}
    assert not [name for name, (everywhere, among) in waits.items() if everywhere > 2 or among > 0]


@needs_cuda
def test_the_packed_kernel_multiplies_by_wgmma_and_copies_asynchronously(compiled):
    """Two instructions for a step of 32; copies of 16, 8 and 4 bytes, for a block's first patch and for the next."""
    packed = [k for k in compiled if "::conv_fprop_packed<" in k.name]
    assert len({k.name for k in packed}) == 2 * 2 * 2  # of each dtype and tile one that normalises
    for k in packed:
        expected = (2, 0, 6) if k.arch == "sm_90a" else (0, 0, 0)
        assert (k.count("HGMMA"), k.count("UTMALDG"), k.count("LDGSTS")) == expected, (k.arch, k.name)
        assert not k.count("HMMA"), (k.arch, k.name)


def test_a_library_built_elsewhere_is_taken(machine, tmp_path):
    """No nvcc is asked for, and none runs."""
    library = tmp_path / "libconvgpu_cuda.so"
    machine(cuda="1", kernels=str(library))
    assert requirements(False) == TOOLS
    with pytest.raises(CannotBuild, match="CONVGPU_KERNELS: expected a built libconvgpu_cuda.so, found no "):
        ninja.targets_of(choose(False))
    library.touch()
    text = ninja.ninja_file(ninja.targets_of(choose(False)))
    assert f"build libconvgpu_cuda.so: cuda_library {library}" in text and "nvcc" not in text
