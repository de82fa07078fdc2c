"""A part of Keras's own tests, in a process of their own; `python tests/keras_suite/run.py --all` runs the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parent / "keras_suite" / "run.py"


def test_keras_tests_pass() -> None:
    done = subprocess.run([sys.executable, str(RUN)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_each_exclusion_has_a_reason_and_none_is_listed_twice() -> None:
    reason, listed = "", []
    for line in RUN.with_name("exclusions.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            reason = line.lstrip("# ")
        else:
            assert reason and line == line.strip()
            listed.append(line)
    assert len(set(listed)) == len(listed)
