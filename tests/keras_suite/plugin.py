"""A pytest plugin that stands in for the conftest.py of Keras's tests, which its wheel leaves out.

It selects the backend, gives the markers their meaning, and skips what `exclusions.txt` lists.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import convgpu.keras  # noqa: F401
from convgpu.keras.loader import EDITS

# isort: split
from keras.src.utils import module_utils

EXCLUSIONS = Path(__file__).with_name("exclusions.txt")
PACKAGE = "keras/src/"


def skip_if_backend(given_backend: str, reason: str) -> pytest.MarkDecorator:
    """What the tests import from their conftest."""
    return pytest.mark.skipif(given_backend == "convgpu", reason=reason)


class _Absent(ModuleType):
    """What `import tensorflow` gives in a test where there is none: the test is skipped once it is used."""

    __path__: list[str] = []

    @staticmethod
    def executing_eagerly() -> bool:
        """What Keras asks wherever a module of this name is loaded."""
        return True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        pytest.skip(f"needs the package {self.__name__}", allow_module_level=True)


if importlib.util.find_spec("tensorflow") is None:
    for lazy in vars(module_utils).values():
        if isinstance(lazy, module_utils.LazyModule) and lazy.name.split(".")[0] == "tensorflow":
            lazy._available = False
    sys.modules["tensorflow"] = _Absent("tensorflow")

# This test chooses a trainer and a device by the name of the backend.
EDITS["keras.src.trainers.trainer_test"] = {
    'elif backend.backend() == "numpy":\n':
        'elif backend.backend() == "convgpu":\n'
        "    from convgpu.keras.backend.trainer import ConvgpuTrainer as Trainer\n"
        'elif backend.backend() == "numpy":\n',
    '"torch": "cpu",\n':
        '"torch": "cpu",\n'
        '            "convgpu": "cpu:0",\n',
}

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


def _is_there(reason: str) -> bool:
    """Whether the package is installed that a test `needs`."""
    needed = re.match(r"needs the package (\w+)", reason)
    return needed is not None and importlib.util.find_spec(needed[1]) is not None


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
            if beginning in excluded and not _is_there(excluded[beginning]):
                item.add_marker(pytest.mark.skip(reason=excluded[beginning]))
