"""The tests of a bare machine with a GPU: `pytest -m gpu` where `convgpu._cuda` alone was built (only_cuda.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from native_backends import needs_emulated

TESTS = Path(__file__).resolve().parent
# Files with tests that compute on a GPU, and the least number of them.
FILES = {"test_conv_kernels": 200, "test_conv_wgmma": 25, "test_depthwise_kernels": 150, "test_device": 8,
         "test_device_walk": 1000, "test_gemm_kernels": 70, "test_gemm_wgmma": 50, "test_pool": 900}
# A few of every kind: a table of cases, what the launchers decide, splits, special values, whole networks' ops.
SOME = ("test_conv_kernels.py::test_tf32_is_less_exact_and_only_on_request",
        "test_conv_wgmma.py::test_sums_that_are_split", "test_conv_wgmma.py::test_infinities_of_one_group_stay_there",
        "test_depthwise_kernels.py::test_channel_sums", "test_gemm_wgmma.py::test_epilogues",
        "test_gemm_kernels.py::test_views_are_read_where_they_lie_or_copied",
        "test_pool.py::test_padding_is_never_compared", "test_pool.py::test_long_windows_are_averaged_in_blocks",
        "test_device.py")

pytestmark = needs_emulated


def run(*arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    paths = os.pathsep.join((str(TESTS), str(TESTS.parent)))
    command = [sys.executable, "-m", "pytest", "-p", "only_cuda", "-p", "no:cacheprovider", "-m", "gpu", "-q"]
    return subprocess.run([*command, *map(str, arguments)], text=True, capture_output=True, timeout=600,
                          cwd=TESTS.parent,
                          env=environment | {"PYTHONPATH": paths, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})


def test_all_of_them_are_found_without_packages_that_it_lacks():
    done = run("--collect-only", TESTS)
    assert done.returncode == 0, done.stdout[-3000:]
    found = Counter(Path(line.split("::")[0]).stem for line in done.stdout.splitlines() if "::" in line)
    assert not [(name, least, found[name]) for name, least in FILES.items() if found[name] < least]


def test_they_run():
    done = run("-rs", *(TESTS / test for test in SOME))
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout and " skipped" not in done.stdout, done.stdout[-3000:]
