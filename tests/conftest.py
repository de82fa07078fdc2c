"""What all tests share."""

from __future__ import annotations

import pytest

import convgpu as cg


@pytest.fixture(params=["reference", "numpy"])
def backend(request):
    """The test runs once on every CPU backend."""
    with cg.use_backend(request.param):
        yield request.param
