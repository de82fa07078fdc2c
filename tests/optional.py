"""Packages that some test modules need and a machine need not have, such as a bare one with a GPU."""

from __future__ import annotations

import importlib.util

import pytest


def require(*packages: str) -> None:
    """Skip the calling module where one of these is not installed. Imports none: the order of imports may matter."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed", allow_module_level=True)
