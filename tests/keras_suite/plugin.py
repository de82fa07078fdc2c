"""A pytest plugin that stands in for the conftest.py of Keras's tests, which its wheel leaves out.

It selects the backend, gives the markers their meaning, and skips what `exclusions.txt` lists.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

import convgpu.keras  # noqa: F401 - before keras

EXCLUSIONS = Path(__file__).with_name("exclusions.txt")
PACKAGE = "keras/src/"


def skip_if_backend(given_backend: str, reason: str) -> pytest.MarkDecorator:
    """What the tests import from their conftest."""
    return pytest.mark.skipif(given_backend == "convgpu", reason=reason)


sys.modules["conftest"] = ModuleType("conftest")
sys.modules["conftest"].skip_if_backend = skip_if_backend  # type: ignore[attr-defined]


def exclusions() -> dict[str, str]:
    """Per test, or the beginning of its name up to a `::` or `[`, why it is left out."""
    listed: dict[str, str] = {}
    reason = ""
    for line in EXCLUSIONS.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            reason = line.lstrip("# ")
        elif line.strip():
            listed[line.strip()] = reason
    return listed


def pytest_configure(config: pytest.Config) -> None:
    for name in ("requires_trainable_backend", "multi_device"):
        config.addinivalue_line("markers", f"{name}: of Keras's tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    excluded = exclusions()
    for item in items:
        name = item.nodeid[item.nodeid.index(PACKAGE) + len(PACKAGE):] if PACKAGE in item.nodeid else item.nodeid
        if "multi_device" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="convgpu computes on one device"))
        for beginning in (name, name.split("[")[0], name.rsplit("::", 1)[0], name.split("::")[0]):
            if beginning in excluded:
                item.add_marker(pytest.mark.skip(reason=excluded[beginning]))
