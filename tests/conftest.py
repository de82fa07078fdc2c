"""What all tests share."""

from __future__ import annotations

import pytest

import convgpu as cg
from convgpu import backends


@pytest.fixture(params=backends.CPU_BACKENDS)
def backend(request):
    """The test runs once on every CPU backend."""
    with cg.use_backend(request.param):
        yield request.param
