"""Wraps setuptools as the build backend (PEP 517, PEP 660), so that pip brings compilers and headers only if needed."""

from __future__ import annotations

from typing import Any

from setuptools.build_meta import (
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

from .choice import requirements

__all__ = [
    "build_editable", "build_sdist", "build_wheel", "get_requires_for_build_editable", "get_requires_for_build_sdist",
    "get_requires_for_build_wheel", "prepare_metadata_for_build_editable", "prepare_metadata_for_build_wheel",
]


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Return the packages that `pip install .` needs."""
    return requirements(editable=False)


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """Return the packages that `pip install -e .` needs."""
    return requirements(editable=True)
