"""What an installation compiles, what it asks pip for, and what it says when it cannot."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "csrc"))

from build_system import choice, kernels, toolchain  # noqa: E402 - no package of the installation
from build_system.choice import HEADERS, NVCC, CannotBuild, Choice, choose, requirements  # noqa: E402

TOOLS = ["pybind11>=2.13", "ninja"]


@pytest.fixture
def machine(monkeypatch):
    """A machine with a C++ compiler and nothing else; machine(**there) changes what there is."""
    for variable in ("CONVGPU_CUDA", "CONVGPU_EMULATED", "CONVGPU_ARCHS"):
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
    ({}, True, Choice(False, True)),
    ({"cxx": None}, True, Choice(False, False)),
    ({"platform": "darwin"}, True, Choice(False, False)),
    ({"emulated": "0"}, True, Choice(False, False)),
    ({"emulated": "1"}, False, Choice(False, True)),
    (CUDA, False, Choice(True, False, ("90a",))),
    (CUDA, True, Choice(True, True, ("90a",))),
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
    ({}, True, TOOLS + HEADERS),
    ({"headers": ("/usr/include",)}, True, TOOLS),
    ({"cuda": "1"}, False, TOOLS + NVCC + HEADERS),
    (CUDA, False, TOOLS),
    (CUDA | {"headers": ("/usr/include",)}, True, TOOLS),
])
def test_pip_is_asked_only_for_what_the_build_needs(machine, there, editable, packages):
    machine(**there)
    assert requirements(editable) == packages


@pytest.mark.parametrize("there, message", [
    ({"cxx": None, "emulated": "1"}, "CONVGPU_EMULATED=1: expected a C\\+\\+ compiler .*, found none"),
    ({"cxx": None, "cuda": "1"}, "CONVGPU_CUDA=1: expected a C\\+\\+ compiler .*, found none"),
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
        kernels.targets_of(Choice(True, False, ("90a",)))
    with pytest.raises(CannotBuild, match="CONVGPU_EMULATED=1: expected CUDA's headers in CUDA_HOME, beside nvcc, or"):
        kernels.targets_of(Choice(False, True))


@pytest.mark.parametrize("forced", ["EMULATED", "CUDA"])
def test_setup_stops_with_the_reason(tmp_path, forced):
    """As pip runs it, on a machine whose PATH holds no compiler."""
    environment = {k: v for k, v in os.environ.items() if k not in ("CXX", "CUDA_HOME", "CUDA_PATH")}
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


@pytest.mark.skipif(importlib.util.find_spec("convgpu._cuda") is None and os.environ.get("CONVGPU_CUDA") != "1",
                    reason="convgpu._cuda was not built")
def test_the_cuda_module_needs_no_driver_and_no_toolkit():
    from convgpu import _cuda

    assert _cuda.output_size(9, 3, 2, 1, 0, 0) == 4
    for library in Path(_cuda.__file__).parent.glob("*_cuda*.so"):
        needed = subprocess.run(["ldd", library], capture_output=True, text=True, check=True).stdout
        assert "libcuda.so" not in needed and "libcudart" not in needed and "not found" not in needed


# --- the sources


def test_only_the_device_and_the_emulator_know_the_machine():
    """No launch syntax, no inline assembly and no architecture in a kernel; no source is left out of the build."""
    built = {*kernels.kernel_sources(), *kernels.binding_sources()}
    for path in sorted((ROOT / "csrc").rglob("*")):
        if path.is_dir() or {"device", "emulator", "build_system"} & set(path.relative_to(ROOT / "csrc").parts):
            continue
        assert path in built or path.suffix in (".h", ".cuh"), f"{path} is not built"
        text = path.read_text()
        found = re.search(r"<<<|\basm\b|__CUDA_ARCH__|__CUDACC__|cuda_runtime", text)
        assert not found, f"{path}: {found and found[0]}"
        if path.suffix == ".cuh":
            facts = ("owns", "Layouts:", "Assumes", "Order|order of summation|Nothing is")
            missing = [fact for fact in facts if not re.search(fact, text)]
            assert not missing, f"{path}: does not say {missing}"


@pytest.mark.skipif(toolchain.find_nvcc() is None and os.environ.get("CONVGPU_CUDA") != "1", reason="nvcc is not there")
@pytest.mark.parametrize("source", [p for p in kernels.kernel_sources() if p.suffix == ".cu"], ids=lambda p: p.stem)
def test_no_kernel_spills_its_registers(source, tmp_path):
    command = [*kernels.nvcc_command(toolchain.find_nvcc()).split(), "-arch=sm_90a", "-Xptxas", "-v", "-x", "cu", "-c",
               source, "-o", tmp_path / "kernels.o"]
    says = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    spills = re.findall(r"function '(\w+)'.*\n.*\n\s+\d+ bytes stack frame, (\d+) bytes spill stores, (\d+)", says)
    assert spills and not [spill for spill in spills if spill[1:] != ("0", "0")]
