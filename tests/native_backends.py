"""The backends that are compiled, as parameters of tests: skipped where they were not built, but never where
CONVGPU_EMULATED=1 says that they must be there."""

from __future__ import annotations

import importlib.util
import os

import pytest

BUILT = importlib.util.find_spec("convgpu._emulated") is not None or os.environ.get("CONVGPU_EMULATED") == "1"

needs_emulated = pytest.mark.skipif(not BUILT, reason="convgpu._emulated was not built (an editable install builds it)")
NATIVE = [pytest.param("emulated", marks=needs_emulated)]
