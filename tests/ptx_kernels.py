"""What the tests of convgpu.ptx share: marks, and kernels that apply one instruction to every element of arrays."""

from __future__ import annotations

import importlib.util
import os

import numpy as np
import pytest

from convgpu import ptx
from convgpu.ptx import nvrtc

BUILT = importlib.util.find_spec("convgpu._ptx") is not None or os.environ.get("CONVGPU_PTX_MACHINE") == "1"
needs_machine = pytest.mark.skipif(not BUILT, reason="convgpu._ptx was not built (an editable install builds it where "
                                                     "there is a C++ compiler)")
needs_nvrtc = pytest.mark.skipif(not nvrtc.is_installed(), reason='NVRTC is not installed (pip install "convgpu[ptx]")')

HEAD = ".version 8.5\n.target sm_90a\n.address_size 64\n"
# The register of a type: its bytes, and the type in loads and stores.
REGISTERS = {"pred": 0, "b16": 2, "u16": 2, "s16": 2, "f16": 2, "bf16": 2, "b32": 4, "u32": 4, "s32": 4, "f32": 4,
             "f16x2": 4, "bf16x2": 4, "b64": 8, "u64": 8, "s64": 8, "f64": 8}


def lanes(instruction: str, result: str, *types: str) -> ptx.Kernel:
    """A kernel (results, operands...) whose instruction has %d, %a, %b, %c as the places of its operands."""
    names = "dabce"
    parameters = ", ".join(f".param .u64 p{name}" for name, _ in zip(names, (result, *types)))
    lines = ["mov.u32 %t, %tid.x;"]
    for name, type_ in zip(names, (result, *types)):
        size = REGISTERS[type_]
        lines += [f".reg .b{8 * size} %{name};", f"ld.param.u64 %q{name}, [p{name}];",
                  f"mad.wide.u32 %q{name}, %t, {size}, %q{name};"]
        if name != "d":
            lines.append(f"ld.global.b{8 * size} %{name}, [%q{name}];")
    lines += [instruction, f"st.global.b{8 * REGISTERS[result]} [%qd], %d;", "ret;"]
    body = "\n".join(lines)
    return ptx.Module(f"{HEAD}.visible .entry k({parameters})\n{{\n.reg .b32 %t;\n.reg .pred %p, %q;\n"
                      f".reg .b64 %qd, %qa, %qb, %qc, %qe;\n{body}\n}}\n")["k"]


def apply(instruction: str, result: str, types: tuple[str, ...], dtype: type, *arrays: np.ndarray) -> np.ndarray:
    """The instruction on arrays of up to 1024 elements."""
    d = np.zeros(len(arrays[0]), dtype)
    assert d.itemsize == REGISTERS[result]
    lanes(instruction, result, *types)[1, len(d)](d, *map(np.ascontiguousarray, arrays))
    return d
