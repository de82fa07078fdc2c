"""A pytest plugin that saves each test as a row when it ends, and skips tests whose row exists (bench/rows.py).

    CONVGPU_ROWS=FILE python -m pytest -p pytest_rows -m gpu        CONVGPU_ROWS_AGAIN=1: try failed tests again
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from kernels import LOST, here, is_lost
from rows import Rows, own

LONGEST = 30.0  # seconds of a test
_rows: Rows | None = None


def pytest_configure(config: pytest.Config) -> None:
    """Open the file of rows."""
    global _rows
    _rows = Rows(Path(os.environ["CONVGPU_ROWS"]), here(), True, os.environ.get("CONVGPU_ROWS_AGAIN") == "1")


def _key(name: str) -> str:
    return f"pytest: {name}"


@pytest.hookimpl(trylast=True)  # behind -m, so that what it left is shared out evenly
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests that have a row, and tests that belong to another process."""
    wanted = [item for item in own(items) if _rows is not None and _key(item.nodeid) not in _rows]
    names = {item.nodeid for item in wanted}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in names])
    items[:] = wanted


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """End the process where a test takes longer than it may."""
    assert _rows is not None
    with _rows.at(_key(item.nodeid), LONGEST):
        return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Record the result of a test; end the process where the GPU is lost."""
    assert _rows is not None
    if report.failed:
        _rows.fail(_key(report.nodeid), f"{report.when}: {report.longreprtext[-1500:]}")
        if is_lost():
            os._exit(LOST)
    elif report.skipped or report.when == "call":
        _rows.add(_key(report.nodeid), {"outcome": report.outcome, "seconds": round(report.duration, 3)})


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """If all tests already have rows, pytest collects none: count this as success."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK
