"""Writes the build file for ninja: for each machine a kernel library, free of Python, and a thin module over it.

    convgpu/libconvgpu_cuda.so      convgpu/_cuda.<abi>.so       by nvcc
    convgpu/libconvgpu_emulated.so  convgpu/_emulated.<abi>.so   by the C++ compiler, kernels included
    convgpu/libconvgpu_cpu.so       convgpu/_cpu.<abi>.so        by the C++ compiler, kernels once per instruction set
    convgpu/libconvgpu_ptx.so       convgpu/_ptx.<abi>.so        by the C++ compiler: the machine that runs PTX
    convgpu/libconvgpu_ptx_kernels.so  convgpu/_ptx_kernels.<abi>.so   by nvcc: PTX of the kernels, and their host code,
                                                                 linked to a stand-in for libcudart over that machine
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from . import instances, toolchain
from .choice import CannotBuild, Choice

SOURCES = Path(__file__).resolve().parent.parent
ROOT = SOURCES.parent
GENERATED = ROOT / "build" / "kernels" / "generated"
FAMILIES = ("conv", "gemm", "pool", "layout", "norm", "optim", "elementwise", "reduce", "softmax",
            "random")  # with a bind.cpp
SHARED = ("common", "device", "tile", "hopper")  # the families share these folders

# Contraction is off, so that the emulator's results do not depend on whether the host has fused multiply-adds. Unique
# symbols are off, because the libraries of both machines may be loaded into one process.
HOST_FLAGS = ["-std=c++17", "-O2", "-fPIC", "-Wall", "-Wextra", "-fno-gnu-unique"]
EMULATED_FLAGS = [*HOST_FLAGS, "-Wno-unknown-pragmas", "-Wno-psabi", "-ffp-contract=off", "-pthread"]
# The kernels for the CPU are compiled once per instruction set, each into a namespace of that name. Multiplications and
# additions are contracted, and no code asks for floating-point exceptions or errno. "plain" is for old machines and for
# comparison: -O1 halves what it takes to compile.
CPU_KERNEL_FLAGS = ["-std=c++17", "-O3", "-fPIC", "-Wall", "-Wextra", "-fno-gnu-unique", "-fno-math-errno",
                    "-fno-trapping-math", "-ffp-contract=fast", "-Wno-psabi", "-Wno-maybe-uninitialized"]
CPU_INSTRUCTION_SETS = {
    "x86_64": {"v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"], "v3": ["-march=x86-64-v3"], "plain": ["-O1"]},
    "aarch64": {"neon": [], "plain": ["-O1"]},
}
# The machine that runs PTX: its table of instructions is written with lambdas that need C++20. Results do not depend on
# whether the host contracts multiplications and additions, and rounding modes are set while it runs.
PTX_FLAGS = ["-std=c++20", "-O3", "-fPIC", "-Wall", "-Wextra", "-fno-gnu-unique", "-fno-math-errno",
             "-fno-trapping-math", "-frounding-math", "-ffp-contract=off", "-pthread"]
# nvcc only warns when device code calls a host function, and drops what follows the call. Here it is an error.
NVCC_FLAGS = ["-std=c++17", "-O3", "--expt-relaxed-constexpr", "-Werror=cross-execution-space-call",
              "-Xcompiler", "-fPIC,-fno-gnu-unique"]

# ptxas reports that it serialised wgmma instructions, or that it had to add a wait for one, as "info (C75..)", to which
# -Werror does not apply. Therefore the build searches what the compiler has printed, $out.log, for this.
SERIALISED = r"\(C75[0-9][0-9]\)"


# What a module that is not required leaves undone where it could not be built.
WITHOUT = {
    "cpu": "NumPy computes on the CPU. CONVGPU_CPU=1 makes this an error, CONVGPU_CPU=0 leaves the module out.",
    "ptx": "convgpu.ptx runs no kernels. CONVGPU_PTX_MACHINE=1 makes this an error, CONVGPU_PTX_MACHINE=0 leaves the "
           "module out.",
}


class Target(NamedTuple):
    """Names one library and its module, and the commands that build them."""

    name: str  # "cuda", "emulated", "cpu" or "ptx"
    compile_kernel: str  # commands, with ninja's $in and $out
    compile_binding: str
    link_library: str
    link_module: str
    sources: list[Path]
    bindings: list[Path]
    carried: Path | None = None  # a library that was built elsewhere and is only copied
    variants: dict[str, str] = {}  # commands that compile each of `varied` once more, by name
    varied: list[Path] = []
    required: bool = True  # whether a failure is an error, not a warning
    borrowed: tuple[str, ...] = ()  # objects and libraries of other targets that this library is linked with

    @property
    def library(self) -> str:
        """Return the file name of the kernel library."""
        return f"libconvgpu_{self.name}.so"

    @property
    def module(self) -> str:
        """Return the file name of the Python module."""
        return f"_{self.name}{sysconfig.get_config_var('EXT_SUFFIX')}"

    @property
    def failed(self) -> str:
        """Return the name of the file that takes the module's place where it could not be built."""
        return f"_{self.name}_build_failed.txt"


def kernel_sources() -> list[Path]:
    """Return the sources of both libraries. Those that differ by a dtype alone are written first."""
    written = [path for folder in (*SHARED, *FAMILIES) for path in sorted((SOURCES / folder).rglob("*"))
               if path.suffix in (".cpp", ".cu") and path.stem != "bind"]
    return instances.write(GENERATED) + written  # files that take longest to compile come first


def binding_sources() -> list[Path]:
    """Return the sources of both modules."""
    return [SOURCES / "bind.cpp", *(SOURCES / family / "bind.cpp" for family in FAMILIES)]


def cpu_sources() -> list[Path]:
    """Return the sources of the library for the CPU that are compiled once."""
    return [*sorted((SOURCES / "common").glob("*.cpp")),
            *(path for path in sorted((SOURCES / "cpu").glob("*.cpp")) if path.stem != "bind")]


def cpu_kernels() -> list[Path]:
    """Return the sources of the library for the CPU that are compiled for every instruction set."""
    return sorted((SOURCES / "cpu" / "kernels").glob("*.cpp"))


def _join(*parts: str | Path | Sequence[str | Path]) -> str:
    words: list[str] = []
    for part in parts:
        words += [str(part)] if isinstance(part, (str, Path)) else map(str, part)
    return " ".join(words)


def _compiler(variable: str) -> str:
    cxx = toolchain.cxx_compiler()
    if cxx is None:
        raise CannotBuild(f"{variable}=1: expected a C++ compiler, found none")
    return cxx


def _binding(cxx: str, name: str, more_flags: Sequence[str] = ()) -> tuple[str, str]:
    """Return the commands that compile and link the module, by the host compiler for either machine."""
    import pybind11  # pip brings it only if a module is to be built

    includes = [f"-isystem {folder}" for folder in (sysconfig.get_path("include"), pybind11.get_include())]
    compile_ = _join(cxx, HOST_FLAGS, more_flags, "-O1", "-fvisibility=hidden", f"-DCONVGPU_MODULE=_{name}", includes,
                     "-MMD -MF $out.d -c $in -o $out")
    return compile_, _join(cxx, "-shared -o $out $in", "-Wl,-rpath,'$$ORIGIN'")


def emulated_target() -> Target:
    """Describe the library and module that run the kernels on the CPU."""
    cxx = _compiler("CONVGPU_EMULATED")
    link = _join(cxx, "-shared -pthread -o $out $in")
    return Target("emulated", _compile_emulated(cxx), *_order(_binding(cxx, "emulated"), link),
                  kernel_sources() + emulator_sources(), binding_sources())


def cpu_target(required: bool) -> Target:
    """Describe the library and module of the kernels that are written for the CPU."""
    cxx = _compiler("CONVGPU_CPU")
    link = _join(cxx, "-shared -pthread -o $out $in")
    first, *others = cpu_bindings()
    # pybind11's headers take 4 of the 5 seconds that each file would take alone.
    binding = _binding(cxx, "cpu", [f"-include {_escaped(path)}" for path in others])
    return Target("cpu", _compile_cpu(cxx), *_order(binding, link), cpu_sources(), [first],
                  variants=_cpu_variants(cxx), varied=cpu_kernels(), required=required)


def cpu_bindings() -> list[Path]:
    """Return the sources of the CPU's module, which are one compilation: the first includes the others."""
    return [SOURCES / "cpu" / "bind.cpp", *sorted((SOURCES / "cpu" / "bind").glob("*.cpp"))]


def ptx_sources() -> list[Path]:
    """Return the sources of the machine that runs PTX."""
    return [path for path in sorted((SOURCES / "ptx_machine").rglob("*.cpp")) if path.stem != "bind"]


def ptx_target(required: bool) -> Target:
    """Describe the library and module of the machine that runs PTX."""
    cxx = _compiler("CONVGPU_PTX_MACHINE")
    flags = [*PTX_FLAGS, "-march=native"] if platform.machine() == "x86_64" else PTX_FLAGS  # it runs where it is built
    compile_, link_module = _binding(cxx, "ptx", ["-std=c++20"])
    return Target("ptx", _join(cxx, flags, "-MMD -MF $out.d -c $in -o $out"), compile_,
                  _join(cxx, "-shared -pthread -o $out $in"), link_module, ptx_sources(),
                  [SOURCES / "ptx_machine" / "bind.cpp"], required=required)


def stand_in_sources() -> list[Path]:
    """Return the sources that stand in for CUDA's runtime, and for the file that asks it for the GPU's properties."""
    return [path for path in sorted((SOURCES / "ptx_kernels").glob("*.cpp")) if path.stem != "bind"]


def ptx_kernels_target(archs: Sequence[str], cuda: Target | None) -> Target:
    """Describe the library and module of the kernels as PTX, which the machine runs.

    Args:
        cuda: a target whose objects have the PTX; None: nvcc is called for PTX alone.
    """
    cxx, nvcc, machine = _compiler("CONVGPU_PTX"), _nvcc("CONVGPU_PTX"), ptx_target(True).library
    kernels = [source for source in kernel_sources() if source != SOURCES / "device" / "properties.cu"]
    headers = toolchain.find_headers()
    if headers is None:
        raise CannotBuild("CONVGPU_PTX=1: expected CUDA's headers beside nvcc, found none")
    compile_binding, link_module = _binding(cxx, "ptx_kernels", [
        "-std=c++20", "-DCONVGPU_PTX_KERNELS", f"-DCONVGPU_NVCC='\"{toolchain.version_of(nvcc)}\"'"])
    stand_in = _join(cxx, PTX_FLAGS, [f"-isystem {h}" for h in headers], "-MMD -MF $out.d -c $in -o $out")
    link = _join(cxx, "-shared -pthread -Wl,--no-undefined -o $out $in -Wl,-rpath,'$$ORIGIN'")
    own: dict[str, str] = {} if cuda else {"nvcc": _compile_cuda(nvcc, "90a" in archs, [], archs)}
    borrowed = [_object_name(source, cuda.name) for source in kernels] if cuda else []
    return Target("ptx_kernels", stand_in, compile_binding, link, link_module, stand_in_sources(),
                  [*binding_sources(), SOURCES / "ptx_kernels" / "bind.cpp"], variants=own,
                  varied=[] if cuda else kernels, borrowed=(*borrowed, machine))


def _compile_cpu(cxx: str, more_flags: Sequence[str] = (), only: str | None = None, machine: str = "") -> str:
    sets = CPU_INSTRUCTION_SETS[machine or platform.machine()]
    built = [f"-DCONVGPU_HAS_{name}" for name in sets if only in (None, name)]
    return _join(cxx, HOST_FLAGS, more_flags, built, "-pthread -MMD -MF $out.d -c $in -o $out")


def _cpu_variants(cxx: str, more_flags: Sequence[str] = (), machine: str = "") -> dict[str, str]:
    return {name: _join(cxx, CPU_KERNEL_FLAGS, flags, more_flags, f"-DCONVGPU_ISA={name}",
                        "-MMD -MF $out.d -c $in -o $out")
            for name, flags in CPU_INSTRUCTION_SETS[machine or platform.machine()].items()}


def emulator_sources() -> list[Path]:
    """Return the sources that the emulated library has in addition."""
    return sorted((SOURCES / "emulator").glob("*.cpp"))


def _compile_emulated(cxx: str, more_flags: Sequence[str] = ()) -> str:
    headers = toolchain.find_headers()
    if headers is None:
        raise CannotBuild("CONVGPU_EMULATED=1: expected CUDA's headers in CUDA_HOME, beside nvcc, or in the packages "
                          "nvidia-cuda-runtime, nvidia-cuda-crt and nvidia-cuda-cccl, found none")
    flags = [*EMULATED_FLAGS, *more_flags]
    if platform.machine() == "x86_64":
        flags.append("-march=native")  # it runs where it is built; half types have instructions
    return _join(cxx, flags, [f"-isystem {h}" for h in headers], "-MMD -MF $out.d -x c++ -c $in -o $out")


def cuda_target(archs: Sequence[str], ptx_archs: Sequence[str] = ()) -> Target:
    """Describe the library and module for the GPU. CONVGPU_KERNELS may name a library that is already built.

    Args:
        ptx_archs: the architectures for which objects have PTX too, as text; they are linked to _ptx_kernels as well.
    """
    carried = os.environ.get("CONVGPU_KERNELS")
    if carried:
        if not Path(carried).is_file():
            raise CannotBuild(f"CONVGPU_KERNELS: expected a built libconvgpu_cuda.so, found no {carried}")
        return Target("cuda", "false", *_order(_binding(_compiler("CONVGPU_CUDA"), "cuda"), "cp $in $out"), [],
                      binding_sources(), Path(carried).resolve())
    nvcc = _nvcc("CONVGPU_CUDA")
    hopper = ["-DCONVGPU_SM_90A"] if "90a" in archs else []
    link = _join(nvcc_command(nvcc), hopper, _codes(archs), [f"-L{folder}" for folder in nvcc.libraries],
                 "-cudart static -shared -o $out $in")
    return Target("cuda", _compile_cuda(nvcc, bool(hopper), archs, ptx_archs),
                  *_order(_binding(_compiler("CONVGPU_CUDA"), "cuda"), link), kernel_sources(), binding_sources())


def _nvcc(variable: str) -> toolchain.Nvcc:
    nvcc = toolchain.find_nvcc()
    if nvcc is None:
        raise CannotBuild(f"{variable}=1: expected nvcc in CUDA_HOME, on the PATH, or in the package "
                          "nvidia-cuda-nvcc, found none")
    return nvcc


def _codes(archs: Sequence[str]) -> list[str]:
    return [f"-gencode arch=compute_{a.removeprefix('compute_')},code={a if 'compute' in a else 'sm_' + a}"
            for a in archs]


def _compile_cuda(nvcc: toolchain.Nvcc, hopper: bool, archs: Sequence[str], ptx_archs: Sequence[str]) -> str:
    """Return the command that compiles a kernel to SASS for `archs` and to PTX, as text, for `ptx_archs`."""
    wanted = dict.fromkeys([*archs, *(f"compute_{arch}" for arch in ptx_archs)])
    return checked(_join(nvcc_command(nvcc), ["-DCONVGPU_SM_90A"] if hopper else [], _codes(list(wanted)),
                         ["--no-compress"] if ptx_archs else [], [f"-I{i}" for i in nvcc.includes],
                         "-MD -MF $out.d -x cu -c $in -o $out"))


def checked(command: str) -> str:
    """Return the command for a shell, in ninja's spelling. It fails if ptxas says that it serialised wgmma."""
    return (f"{command} >$out.log 2>&1 || {{ cat $out.log; exit 1; }}; cat $out.log; "
            f"if grep -qE '{SERIALISED}' $out.log; then echo '$out: wgmma is serialised' >&2; exit 1; fi")


def nvcc_command(nvcc: toolchain.Nvcc) -> str:
    """Return the command by which nvcc compiles every kernel."""
    return _join(nvcc.path, "-ccbin", _compiler("CONVGPU_CUDA"), NVCC_FLAGS)


def _order(binding: tuple[str, str], link_library: str) -> tuple[str, str, str]:
    compile_binding, link_module = binding
    return compile_binding, link_library, link_module


def ninja_file(targets: Sequence[Target]) -> str:
    """Return the text of the build file. Its outputs are relative to the folder that it is in.

    What families of kernels bind does not depend on the machine: it is compiled once for all modules.
    """
    lines: list[str] = []
    families, bound = set(binding_sources()[1:]), dict[Path, str]()
    for target in targets:
        lines += _rules(target)
        abi = sysconfig.get_config_var("SOABI")
        objects = [_object(lines, target, "kernel", source, target.name) for source in target.sources]
        objects += [_object(lines, target, variant, source, f"{target.name}/{variant}")
                    for source in target.varied for variant in target.variants]
        objects += [_escaped(target.carried)] if target.carried else []
        objects += target.borrowed
        lines.append(f"build {target.library}: {target.name}_library {' '.join(objects)}")
        objects = []
        for source in target.bindings:
            if source not in families:
                objects.append(_object(lines, target, "binding", source, f"{target.name}/{abi}"))
                continue
            if source not in bound:
                bound[source] = _object(lines, target, "binding", source, f"bindings/{abi}")
            objects.append(bound[source])
        libraries = [target.library, *(name for name in target.borrowed if name.endswith(".so"))]
        lines.append(f"build {target.module}: {target.name}_module {' '.join([*objects, *libraries])}")
    return "\n".join(lines) + "\n"


def _rules(target: Target) -> list[str]:
    lines = []
    for rule, command in (("kernel", target.compile_kernel), ("binding", target.compile_binding),
                          ("library", target.link_library), ("module", target.link_module),
                          *target.variants.items()):
        lines += [f"rule {target.name}_{rule}", f"  command = {command}", f"  description = {target.name}: $out"]
        if rule in ("kernel", "binding", *target.variants):
            lines += ["  depfile = $out.d", "  deps = gcc"]
    return lines


def _object(lines: list[str], target: Target, rule: str, source: Path, folder: str) -> str:
    name = _object_name(source, folder)
    lines.append(f"build {name}: {target.name}_{rule} {_escaped(source)}")
    return name


def _object_name(source: Path, folder: str) -> str:
    return f"{folder}/{source.relative_to(GENERATED if source.is_relative_to(GENERATED) else SOURCES)}.o"


def targets_of(choice: Choice) -> list[Target]:
    """Return the libraries and modules to build. Raises CannotBuild."""
    # Objects with SASS and PTX serve both modules, if Hopper's code is in both or in neither.
    both = bool(choice.cuda and choice.ptx_archs and not os.environ.get("CONVGPU_KERNELS")
                and ("90a" in choice.archs) == ("90a" in choice.ptx_archs))
    cuda = cuda_target(choice.archs, choice.ptx_archs if both else ()) if choice.cuda else None
    return ([cuda] if cuda else []) + ([emulated_target()] if choice.emulated else []) + (
        [cpu_target(choice.cpu_required)] if choice.cpu else []) + (
        [ptx_target(choice.ptx_required)] if choice.ptx else []) + (
        [ptx_kernels_target(choice.ptx_archs, cuda if both else None)] if choice.ptx_archs else [])


def build_program(name: str, sources: Sequence[Path], emulator_flags: Sequence[str], kernel_flags: Sequence[str],
                  work: Path) -> Path:
    """Build a program from its sources and all emulated kernels, each part with its own flags, and return its path."""
    cxx = _compiler("CONVGPU_EMULATED")
    work.mkdir(parents=True, exist_ok=True)
    lines = [f"rule program\n  command = {_join(cxx, kernel_flags, '-pthread -o $out $in')}"]
    objects = []
    for rule, flags, parts in (("kernel", kernel_flags, [*sources, *kernel_sources()]),
                               ("emulator", emulator_flags, emulator_sources())):
        lines += [f"rule {rule}", f"  command = {_compile_emulated(cxx, flags)}", "  depfile = $out.d", "  deps = gcc"]
        for source in parts:
            objects.append(f"{source.relative_to(ROOT)}.o")
            lines.append(f"build {objects[-1]}: {rule} {_escaped(source)}")
    lines.append(f"build {name}: program {' '.join(objects)}")
    (work / "build.ninja").write_text("\n".join(lines) + "\n")
    subprocess.run([_ninja(), "-C", str(work)], check=True)
    return work / name


def build_cpu_program(name: str, source: Path, flags: Sequence[str], instruction_set: str | None, work: Path,
                      cross: tuple[str, str] | None = None) -> Path:
    """Build a program from one source and the CPU's kernels, and return its path.

    Args:
        instruction_set: the only one that the program has; None: all of the machine.
        cross: the command of a compiler for another machine, and that machine's name. The program is not loaded into
            another one then, and Zig's compiler takes no -fno-gnu-unique.
    """
    cxx, machine = cross or (_compiler("CONVGPU_CPU"), platform.machine())
    work.mkdir(parents=True, exist_ok=True)
    kernels = {name: command for name, command in _cpu_variants(cxx, flags, machine).items()
               if instruction_set in (None, name)}
    lines = [f"rule program\n  command = {_join(cxx, flags, '-pthread -o $out $in')}"]
    objects = []
    for rule, command, parts in (("host", _compile_cpu(cxx, flags, instruction_set, machine), [source, *cpu_sources()]),
                                 *((name, command, cpu_kernels()) for name, command in kernels.items())):
        fit = command.replace(" -fno-gnu-unique", "") if cross else command
        lines += [f"rule {rule}", f"  command = {fit}", "  depfile = $out.d", "  deps = gcc"]
        for part in parts:
            objects.append(f"{rule}/{part.relative_to(ROOT)}.o")
            lines.append(f"build {objects[-1]}: {rule} {_escaped(part)}")
    lines.append(f"build {name}: program {' '.join(objects)}")
    (work / "build.ninja").write_text("\n".join(lines) + "\n")
    subprocess.run([_ninja(), "-C", str(work)], check=True)
    return work / name


def _escaped(path: Path) -> str:
    return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


def build(targets: Sequence[Target], into: Path, work: Path = ROOT / "build" / "kernels") -> list[Path]:
    """Bring all targets up to date, and copy them to the folder `into`. Returns the copies."""
    work.mkdir(parents=True, exist_ok=True)
    into.mkdir(parents=True, exist_ok=True)
    (work / "build.ninja").write_text(ninja_file(targets))
    required = [target.module for target in targets if target.required]
    if required:
        subprocess.run([_ninja(), "-C", str(work), *required], check=True)
    copies = []
    for target in targets:
        messages = "" if target.required else _failure(work, target)
        for name in (target.library, target.module, target.failed):
            (into / name).unlink(missing_ok=True)  # a process that uses the old library keeps it
        if messages:
            (into / target.failed).write_text(messages)
            warnings.warn(f"{target.module} could not be built; {WITHOUT[target.name]}", stacklevel=2)
            continue
        for name in (target.library, target.module):
            copies.append(Path(shutil.copy2(work / name, into / name)))
    return copies


def _failure(work: Path, target: Target) -> str:
    """Build a module that is not required, and return what was said if that failed, else nothing."""
    done = subprocess.run([_ninja(), "-C", str(work), target.module], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace")
    print(done.stdout, end="", flush=True)
    return done.stdout + f"ninja ended with status {done.returncode}\n" if done.returncode else ""


def _ninja() -> str:
    beside = Path(sys.executable).parent / "ninja"
    found = str(beside) if beside.is_file() else shutil.which("ninja")
    if found is None:
        raise CannotBuild("expected ninja on the PATH (pip install ninja), found none")
    return found
