"""What bench/on_gpu.sh would run on a machine with a GPU, as far as it can be tried without one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from convgpu.facts import FAMILIES

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "bench" / "on_gpu.sh"
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not there")


def test_float32_accuracy_is_measured():
    script = ROOT / "bench" / "float32_accuracy.py"
    done = subprocess.run([sys.executable, script, "--size", "16", "8", "--lengths", "64"],
                          capture_output=True, text=True)
    assert done.stdout.count("gemm_") == 10, done.stderr[-3000:]


def test_the_cases_under_compute_sanitizer_exist():
    text = SCRIPT.read_text()
    names = set(re.search(r"cases=\((.*?)\)", text, re.DOTALL)[1].split())
    reached = {name: {case.name for case in family.cases} & names for name, family in FAMILIES.items()}
    assert set.union(*reached.values()) == names and all(reached.values())


def test_a_failing_step_stops_no_other(tmp_path):
    """On a machine without a GPU every step fails but those that need none; each leaves a log and a line."""
    assert subprocess.run(["bash", "-n", SCRIPT]).returncode == 0
    tools = tmp_path / "bin"
    tools.mkdir()
    python = tools / "python"
    python.write_text('#!/bin/sh\necho "$@"\ncase "$*" in *sass.py*) exit 0;; "-m pytest"*) sleep 30;; esac\nexit 3\n')
    python.chmod(0o755)
    out = tmp_path / "out"
    environment = os.environ | {"PYTHON": str(python), "BUDGET": "12"}
    done = subprocess.run(["bash", SCRIPT, out], capture_output=True, text=True, env=environment, timeout=120)
    summary = (out / "summary.txt").read_text()
    assert done.returncode == 1 and done.stdout.endswith(summary)
    assert re.search(r"FAILED    verify \(\d+ s\): exit status 3; .*/verify.log", summary)
    assert "-m convgpu verify --backend cuda" in (out / "verify.log").read_text()
    assert re.search(r"FAILED    pytest \(\d+ s\): longer than its \d+ s", summary)
    assert "LEFT OUT  kernels: the time is spent" in summary  # pytest took it all
    steps = re.findall(r"^(?:ok|FAILED|LEFT OUT) +(\w+)", summary, re.MULTILINE)
    assert steps == ["build", "verify", "pytest", "memcheck", "racecheck", "initcheck", "synccheck", "sass", "kernels"]
