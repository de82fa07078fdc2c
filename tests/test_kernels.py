"""The kernels under sanitizers: tests/kernels, a program without Python, built with g++ and run in several orders of
threads. AddressSanitizer and UBSan find what is read or written outside an array, ThreadSanitizer a missing barrier."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from native_backends import needs_emulated

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "csrc"))

from build_system import kernels  # noqa: E402 - no package of the installation

pytestmark = needs_emulated

ADDRESS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
# Flags of the emulator, flags of the kernels and of what calls them.
BUILDS = {"address": (ADDRESS, ["-O1", "-g1", *ADDRESS]),
          "thread": (["-DCONVGPU_EMULATOR_TSAN"], ["-O1", "-g1", "-fsanitize=thread"])}


FAMILIES = sorted(path.stem.removeprefix("test_") for path in (ROOT / "tests" / "kernels").glob("test_*.cpp"))


@pytest.fixture(scope="session", params=BUILDS)
def program(request):
    """The path of the program; it is built in the tree, so that a second run compiles what has changed."""
    return build(request.param)


def build(sanitizer: str) -> Path:
    """One program of all families, with the emulator."""
    sources = [*sorted((ROOT / "tests" / "kernels").glob("*.cpp")), ROOT / "tests" / "emulator" / "main.cpp"]
    return kernels.build_program(f"kernels_{sanitizer}", sources, *BUILDS[sanitizer],
                                 ROOT / "build" / f"sanitized_{sanitizer}")


def run(program: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program; what it says of either kind is in stdout."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": os.environ | environment}
    done = subprocess.run([str(program), *arguments], **options)
    if "unexpected memory mapping" in done.stdout:  # ThreadSanitizer's shadow memory has met randomised addresses
        done = subprocess.run(["setarch", "-R", str(program), *arguments], **options)
    return done


@pytest.mark.parametrize("family", FAMILIES)
def test_kernels_under_sanitizers(program, family):
    """Orders of threads and timings of copies go around from problem to problem; all of them: full_product.py."""
    done = run(program, family)
    assert done.returncode == 0 and "Sanitizer" not in done.stdout, done.stdout[-6000:]
    assert "ok " in done.stdout
