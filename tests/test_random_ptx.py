"""What nvcc makes of csrc/random/draw.h, run by convgpu.ptx: no product is fused with a sum, and the bits are NumPy's.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ptx_kernels import needs_machine

import convgpu as cg
from convgpu.backends import load

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "csrc"))

from build_system import toolchain  # noqa: E402 - no package of the installation

pytestmark = [needs_machine, pytest.mark.skipif(toolchain.find_nvcc() is None or toolchain.find_headers() is None,
                                                reason="there is no nvcc, which compiles the kernels to PTX")]

LAST = 2**64 - 1
# Per draw: the type of its numbers, how many a block of words gives, its parameters, and NumPy's arguments for them.
DRAWS = {"uniform32": ("float", 4, "Uniform<float>", (1.25, 3.0), ("uniform", 1.25, 4.25, "float32")),
         "uniform64": ("double", 2, "Uniform<double>", (1.25, 3.0), ("uniform", 1.25, 4.25, "float64")),
         "normal32": ("float", 4, "Normal<float>", (1.25, 3.0), ("normal", 1.25, 3.0, "float32")),
         "normal64": ("double", 2, "Normal<double>", (1.25, 3.0), ("normal", 1.25, 3.0, "float64")),
         "integers64": ("int64_t", 2, "Integers<int64_t>", (2**64 - 7, 10**17 + 7), ("integers", -7, 10**17, "int64"))}
KERNEL = """
extern "C" __global__ void NAME(TYPE* y, int64_t size, const uint64_t* state, uint64_t* next, PARAMETER a,
                                PARAMETER b) {
    const StateAt at{state, next, uint64_t(size + EACH - 1) / EACH, false};
    const State from = at.load();
    const int64_t block = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    if (block == 0) at.advance(from);
    TYPE values[EACH];
    DRAW{a, b}(philox(from, block), values);
    for (int e = 0; e < EACH; ++e) {
        if (block * EACH + e < size) y[block * EACH + e] = values[e];
    }
}
"""


@pytest.fixture(scope="module")
def ptx(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The PTX of a kernel for each draw, one thread for each block of words."""
    source = f'#include "{ROOT}/csrc/random/draw.h"\nusing namespace convgpu::random;\n'
    for name, (type_, each, draw, _, _) in DRAWS.items():
        parameter = "uint64_t" if type_ == "int64_t" else type_
        words = {"NAME": name, "TYPE": type_, "EACH": str(each), "DRAW": draw, "PARAMETER": parameter}
        source += re.sub("|".join(words), lambda found, words=words: words[found[0]], KERNEL)
    file = tmp_path_factory.mktemp("draws") / "draws.cu"
    file.write_text(source, encoding="utf-8")
    found, headers = toolchain.find_nvcc(), toolchain.find_headers()
    assert found is not None and headers is not None
    includes = [f"-I{path}" for path in (*found.includes, *headers)]
    subprocess.run([str(found.path), "-std=c++17", "-O3", "-arch=compute_90a", "-ptx", *includes, str(file), "-o",
                    str(file.with_suffix(".ptx"))], check=True, capture_output=True)
    return str(file.with_suffix(".ptx"))


@pytest.mark.parametrize("name", DRAWS)
def test_nvccs_code_draws_numpys_bits(ptx: str, name: str) -> None:
    _, each, _, parameters, (op, low, high, dtype) = DRAWS[name]
    size, kind = 3 * 1024 + 5, np.dtype(dtype).type if op != "integers" else np.uint64
    kernel = cg.ptx.load(ptx)[name]
    for state in (np.array([7, 0, 0], np.uint64), np.array([LAST, 12345678901234567, LAST - 2], np.uint64)):
        y, following = np.zeros(size, dtype), np.zeros(3, np.uint64)
        report = kernel.launch(-(-size // each // 256), 256, [y, size, state, following, *map(kind, parameters)])
        assert not report.findings
        expected, behind = getattr(load("numpy"), op)(state, (size,), low, high, dtype)
        assert y.tobytes() == expected.tobytes() and following.tolist() == behind.tolist()


def test_nvcc_fuses_nothing(ptx: str) -> None:
    text = Path(ptx).read_text(encoding="utf-8")
    assert "mul.rn.f32" in text and "add.rn.f64" in text and not re.findall(r"\b(?:fma|mad)\.\w*\.?f(?:32|64)", text)
