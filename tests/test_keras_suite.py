"""A part of Keras's own tests, in a process of their own; `python tests/keras_suite/run.py --all` runs the rest.

Which part, and what is run by whom, stands in keras_suite/files.txt, which holds every test file of Keras's wheel.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

from optional import require

require("keras")

sys.path.insert(0, str(Path(__file__).parent / "keras_suite"))
import run  # noqa: E402

RUN = Path(run.__file__)
LISTED = "3.15.1"  # the version whose files files.txt holds, no more and no less


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


def test_every_test_file_of_keras_is_run_or_left_out_with_a_reason() -> None:
    sources = run.package() / "src"
    installed = {path.relative_to(sources).as_posix() for path in sources.rglob("*_test.py")}
    listed = run.table()
    assert not installed - listed.keys(), "files.txt does not say what runs these"
    if importlib.metadata.version("keras") == LISTED:
        assert not listed.keys() - installed, "files.txt lists what Keras does not have"
    assert all(reason for _, reason in listed.values())
    assert {section for section, _ in listed.values()} == set(run.SECTIONS)


def test_excluded_tests_are_of_files_that_run() -> None:
    listed = run.table()
    lines = RUN.with_name("exclusions.txt").read_text(encoding="utf-8").splitlines()
    names = [line.partition("::")[0] for line in lines if line.strip() and not line.startswith("#")]
    assert {name for name in names if listed[name][0] == "not run"} == set()
