"""tests/kernels as a program under sanitizers: how it is built and run, and what the sanitizers said."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "csrc"))

from build_system import ninja  # noqa: E402 - no package of the installation

ADDRESS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
# Flags of the emulator, flags of the kernels and of what calls them.
BUILDS = {"address": (ADDRESS, ["-O1", "-g1", *ADDRESS]),
          "thread": (["-DCONVGPU_EMULATOR_TSAN"], ["-O1", "-g1", "-fsanitize=thread"])}


FAMILIES = sorted(path.stem.removeprefix("test_") for path in (ROOT / "tests" / "kernels").glob("test_*.cpp"))


def build(sanitizer: str) -> Path:
    """One program of all families, with the emulator."""
    sources = sorted((ROOT / "tests" / "kernels").glob("*.cpp"))
    return ninja.build_program(f"kernels_{sanitizer}", sources, *BUILDS[sanitizer],
                                 ROOT / "build" / f"sanitized_{sanitizer}")


CPU_FLAGS = {"address": ["-O1", "-g1", *ADDRESS], "thread": ["-O1", "-g1", "-fsanitize=thread"]}


def build_for_cpu(sanitizer: str, instruction_set: str) -> Path:
    """The program of the kernels that are written for the CPU, tests/cpu/main.cpp. amx and v4_bf16 are parts of v4."""
    instruction_set = "v4" if instruction_set in ("amx", "v4_bf16") else instruction_set
    return ninja.build_cpu_program(f"cpu_{sanitizer}", ROOT / "tests" / "cpu" / "main.cpp", CPU_FLAGS[sanitizer],
                                   instruction_set, ROOT / "build" / f"sanitized_cpu_{sanitizer}")


def run(program: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program; what it says of either kind is in stdout."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": os.environ | environment}
    done = subprocess.run([str(program), *arguments], **options)
    if "unexpected memory mapping" in done.stdout:  # ThreadSanitizer's shadow memory has met randomised addresses
        done = subprocess.run(["setarch", "-R", str(program), *arguments], **options)
    return done


def reports(output: str) -> list[str]:
    """The first line of every report of a sanitizer."""
    return re.findall(r"^.*(?:(?:ERROR|WARNING): \w+Sanitizer|runtime error:).*$", output, re.MULTILINE)
