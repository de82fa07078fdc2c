"""Backend "cpu" in another process: its kernels are in a C++ program, tests/cpu/served.cpp, which a pipe connects.

The program needs no Python, so that it can be compiled for another machine and run by an emulator of it:

    python tests/served.py neon         # arm64, by Zig's compiler and qemu-aarch64-static
    python tests/served.py v3 --quick   # this machine

runs the tables of cases by the named instruction set, and says how many calls there were and which are wrong.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sanitized  # noqa: F401 - it lets the build system be found
from build_system import ninja

from convgpu import facts
from convgpu.backends.cpu import BY_NUMPY, Cpu
from convgpu.backends.numpy.workers import get_num_threads, set_num_threads
from convgpu.cases.problem import Judge, as_results
from convgpu.cases.tolerance import C_KERNEL
from convgpu.verify.selection import select

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "tests" / "cpu" / "served.cpp"
EMULATOR = "qemu-aarch64-static"


def build_here() -> list[str]:
    """The command of the program for this machine, linked with the library that the installation has built."""
    work = ROOT / "build" / "served"
    work.mkdir(parents=True, exist_ok=True)
    program, library = work / "served", ROOT / "convgpu" / "libconvgpu_cpu.so"
    newest = max(path.stat().st_mtime for path in (SOURCE, library))
    if not program.exists() or program.stat().st_mtime < newest:
        subprocess.run([ninja._compiler("CONVGPU_CPU"), "-std=c++17", "-O1", "-pthread", "-o", str(program),
                        str(SOURCE), str(library), f"-Wl,-rpath,{library.parent}"], check=True)
    return [str(program)]


def obstacle() -> str | None:
    """Why the program cannot be built for arm64 and run here, or None."""
    if importlib.util.find_spec("ziglang") is None:
        return "the program for arm64 is compiled by the package ziglang, which is missing: pip install ziglang"
    if platform.machine() != "aarch64" and shutil.which(EMULATOR) is None:
        return f"the program for arm64 runs by {EMULATOR}, which is not on the PATH (package qemu-user-static)"
    return None


def build_for_arm64() -> list[str]:
    """The command of the program for arm64: its kernels for all instruction sets there, linked statically."""
    zig = f"{sys.executable} -m ziglang c++ -target aarch64-linux-musl"
    program = ninja.build_cpu_program("served", SOURCE, [], None, ROOT / "build" / "cpu_arm64", (zig, "aarch64"))
    return [str(program)] if platform.machine() == "aarch64" else [EMULATOR, str(program)]


class Module:
    """Stands in for convgpu._cpu: each call goes to the program, and arrays that it changes come back."""

    def __init__(self, command: list[str], instruction_set: str):
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.use_instruction_set(instruction_set)

    def close(self) -> None:
        """End the program."""
        self._process.stdin.close()
        self._process.wait()

    def kill(self) -> None:
        """End the program where it is."""
        self._process.kill()
        self._process.wait()

    @staticmethod
    def ConvGeometry(**fields: Any) -> list[Any]:  # noqa: N802 - the module's name
        """The fields in the order of convgpu.geometry's class."""
        return list(fields.values())

    PoolGeometry = NormGeometry = ConvGeometry

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **named: self._call(name, arguments, named)

    def _call(self, name: str, arguments: tuple[Any, ...], named: dict[str, float]) -> float:
        arrays: list[np.ndarray] = []
        parts = [_text(name), struct.pack("<I", len(arguments))]
        for argument in arguments:
            _add(parts, arrays, argument)
        parts.append(struct.pack("<I", len(named)))
        parts += [_text(key) + struct.pack("<d", value) for key, value in named.items()]
        try:
            self._process.stdin.write(b"".join(parts))
            self._process.stdin.flush()
            error = self._read(struct.unpack("<I", self._read(4))[0]).decode()
            result = struct.unpack("<d", self._read(8))[0]
            for array in arrays:
                if self._read(1) != b"\0":
                    array[...] = np.frombuffer(self._read(array.nbytes), array.dtype).reshape(array.shape)
        except (BrokenPipeError, EOFError):
            raise RuntimeError(f"{name}: the program has ended with status {self._process.wait()}") from None
        if error:
            raise ValueError(error)
        return result

    def _read(self, count: int) -> bytes:
        found = self._process.stdout.read(count)
        if len(found) != count:
            raise EOFError
        return found


def _text(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode()


def _add(parts: list[bytes], arrays: list[np.ndarray], value: Any) -> None:
    """Append an argument as tests/cpu/served.cpp reads it, and its arrays to `arrays`."""
    if value is None:
        parts.append(b"n")
    elif isinstance(value, np.ndarray):
        arrays.append(value)
        parts += [b"a", _text(value.dtype.name), struct.pack("<I", value.ndim),
                  struct.pack(f"<{2 * value.ndim}q", *value.shape, *value.strides), value.tobytes()]
    elif isinstance(value, str):
        parts += [b"s", _text(value)]
    elif isinstance(value, (list, tuple)):
        parts += [b"l", struct.pack("<I", len(value))]
        for item in value:
            _add(parts, arrays, item)
    elif isinstance(value, (bool, int, np.integer)):
        parts += [b"i", struct.pack("<Q", int(value) % 2**64)]
    else:
        parts += [b"d", struct.pack("<d", float(value))]


class Served(Cpu):
    """Backend "cpu" by the program. Results are full of NaN before the call."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """A new array of bytes 0xff."""
        memory = super().empty(shape, dtype)
        memory.reshape(-1).view(np.uint8)[...] = 0xff
        return memory


def judged(run: Served, family: str, quick: bool) -> Iterator[tuple[str, str]]:
    """For each call of a family's cases: its name, and what is wrong with it, which is "" if nothing is.

    Calls are made on one thread and on three, whose results must have the same bits.
    """
    items, _ = select(run, "cpu", [family], quick, None)
    before = get_num_threads()
    try:
        for item in items:
            for _, problem in item.problems(quick):
                if problem.op in BY_NUMPY:
                    continue
                results = []
                for threads in (1, 3):
                    set_num_threads(threads)
                    results.append(list(as_results(problem.run(run, problem.operands()))))
                units = Judge(problem, C_KERNEL).error(results[0])
                same = [r.tobytes() for r in results[0]] == [r.tobytes() for r in results[1]]
                within = "" if units <= 1 else f"{units:.3g} times the bound"
                yield (f"{item.case.name}: {problem.op} {item.label(problem)} {item.data_format}",
                       within if same else "other bits by three threads")
    finally:
        set_num_threads(before)


def main() -> None:
    """Run all families and print how many calls each had, and which were wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("instruction_set", choices=sorted({n for s in ninja.CPU_INSTRUCTION_SETS.values() for n in s}))
    parser.add_argument("--arm64", action="store_true", help="the program for arm64, which neon implies")
    parser.add_argument("--quick", action="store_true", help="each case in only one dtype and data format")
    given = parser.parse_args()
    arm64 = given.arm64 or given.instruction_set == "neon"
    if arm64 and obstacle():
        sys.exit(obstacle())
    module = Module(build_for_arm64() if arm64 else build_here(), given.instruction_set)
    run, failed, total, start = Served(module), 0, 0, time.perf_counter()
    for family in facts.FAMILIES:
        calls = wrong = 0
        for name, what in judged(run, family, given.quick):
            calls += 1
            wrong += what != ""
            if what:
                print(f"{name}: {what}", flush=True)
        total, failed = total + calls, failed + wrong
        print(f"{family}: {calls} calls, {wrong} wrong", flush=True)
    module.close()
    print(f"{total} calls by {given.instruction_set}, {failed} wrong; {time.perf_counter() - start:.0f} s")
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
