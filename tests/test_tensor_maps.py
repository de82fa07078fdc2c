"""bench/tensor_maps.py: every tensor map of the tables of cases goes through the encoder, and nothing runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import fake_cupy
import pytest
from gpu_device import stand_in  # noqa: F401 - a fixture
from native_backends import needs_emulated

from convgpu import backends

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "bench" / "tensor_maps.py"
sys.path.insert(0, str(SCRIPT.parent))

import tensor_maps  # noqa: E402 - no package of the installation

pytestmark = needs_emulated


def run(*arguments, **environment):
    return subprocess.run([sys.executable, SCRIPT, "--backend", "emulated", *map(str, arguments)], text=True,
                          capture_output=True, env=os.environ | environment, timeout=300)


def test_all_maps_of_the_tables_are_encoded(tmp_path):
    path = tmp_path / "maps.jsonl"
    path.write_text('{"case": "of an earlier run"}\n')
    done = run("--json", path)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    first, *rows = map(json.loads, path.read_text().splitlines())
    assert first == {"case": "of an earlier run"}  # appended to
    assert done.stdout == f"{len(rows)} calls with tensor maps on backend emulated, 0 refused\n"
    assert all(row["ok"] and row["error"] is None and row["backend"] == "emulated" for row in rows)
    ops = ("conv_fprop", "conv_dgrad", "conv_wgrad", "gemm", "matmul")
    assert {(row["op"], row["dtype"]) for row in rows} >= {(op, t) for op in ops for t in ("float16", "bfloat16")}
    assert {(row["op"], row["dtype"]) for row in rows} >= {(op, t) for op in ops[:3] for t in ("float32", "tf32")}
    cases = {row["case"] for row in rows}
    assert {"lines_3d", "lines_dilated_strided", "lines_transposed", "AlexNet 5x5 96>256 @27 b8"} <= cases
    assert {"channels_last", "channels_first"} <= {row["data_format"] for row in rows}
    for setting in ("cluster=2", "splits=4"):
        assert any(setting in row["plan"] for row in rows)


BEYOND_THE_RULES = """
import numpy as np
from convgpu import backends
native = backends.load("emulated")
line = native.empty((4096,), np.uint8)
a = (line.ctypes.data, (2, 64), (1 << 40, 2), "float16")  # two lines, a terabyte from each other
b, y = (native.array(np.ones(shape, np.float16)) for shape in ((64, 64), (2, 64)))
plan = native.module.plan_gemm(1, 2, 64, 64, "float16")
native.module.gemm(a, b, None, y, plan, 1, 0, "", 0, 0, 0)
"""


def test_maps_are_held_to_the_rules_where_nothing_runs():
    done = subprocess.run([sys.executable, "-c", BEYOND_THE_RULES], text=True, capture_output=True, timeout=60,
                          env=os.environ | {"CONVGPU_EMULATOR_RUN": "no"})
    assert "tensor map: expected strides that are multiples of 16 bytes below 2^40, got 1099511627776" in done.stderr


def test_what_is_refused_has_a_row_with_its_error(tmp_path):
    """Here a launch that the machine has no shared memory for."""
    path = tmp_path / "maps.jsonl"
    done = run("--json", path, "--case", "lines_whole", CONVGPU_EMULATOR_SHARED_BYTES="102400")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert done.returncode == 1 and len(rows) > 3 and not any(row["ok"] for row in rows)
    assert done.stdout.count("REFUSED lines_whole conv_") == len(rows)
    assert all("at most 102400 bytes of shared memory, got " in row["error"] for row in rows)
    assert done.stdout.endswith(f"{len(rows)} calls with tensor maps on backend emulated, {len(rows)} refused\n")


def test_on_a_gpu_a_stream_captures_the_launches(stand_in):  # noqa: F811
    rows = list(tensor_maps.rows(backends.load("cuda"), "lines_1d"))
    assert len(rows) >= 6 and all(row["ok"] for row in rows), rows
    assert fake_cupy.device.captures == len(rows) and not fake_cupy.device.capturing


def test_a_capture_ends_where_a_call_fails(stand_in):  # noqa: F811
    """Else the next one could not begin."""
    native = backends.load("cuda")
    with pytest.raises(ValueError, match="refused"), tensor_maps.nothing_runs(native):
        assert fake_cupy.device.capturing
        with pytest.raises(RuntimeError, match="capturing"):
            native.xp.cuda.get_current_stream().synchronize()
        raise ValueError("refused")
    assert not fake_cupy.device.capturing
