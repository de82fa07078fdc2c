"""The kernels under sanitizers: tests/kernels, a program without Python, built with g++ and run in several orders of
threads. AddressSanitizer and UBSan find what is read or written outside an array, ThreadSanitizer a missing barrier."""

from __future__ import annotations

import pytest
import sanitized
from native_backends import needs_emulated

pytestmark = needs_emulated


@pytest.fixture(scope="session", params=sanitized.BUILDS)
def program(request):
    """The path of the program; it is built in the tree, so that a second run compiles what has changed."""
    return sanitized.build(request.param)


@pytest.mark.parametrize("family", sanitized.FAMILIES)
def test_kernels_under_sanitizers(program, family):
    """Orders of threads and timings of copies go around from problem to problem; full_product.py runs all of them."""
    done = sanitized.run(program, family)
    assert done.returncode == 0 and not sanitized.reports(done.stdout), done.stdout[-6000:]
    assert "ok " in done.stdout
