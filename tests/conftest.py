"""What all tests share."""

from __future__ import annotations

import pytest
from native_backends import CPU

import convgpu as cg
import convgpu.facts  # declares the ops that only facts know; else they would be gone after the test that asks first
from convgpu import backends
from convgpu.tensor import set_promotion

# Programs that tests start, each in a process of its own: to import them here would choose Keras's backend. What
# needs packages of its own; and what makes of this machine another one.
collect_ignore = ["keras_calls.py", "keras_networks.py", "keras_suite", "keras_cache.py", "only_cuda.py", "stand_in"]


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    """What a test declares is gone after it: other tests walk the registry."""
    monkeypatch.setattr(cg.Op, "registry", dict(cg.Op.registry))


@pytest.fixture(autouse=True)
def promotion_of_numpy(request):
    """Operators promote as NumPy does, but in the tests of Keras, which has its own rule once it is imported."""
    if "keras" in request.module.__name__:
        yield
        return
    before = set_promotion(None)
    yield
    set_promotion(before)


@pytest.fixture(params=[*CPU, *backends.CPU_BACKENDS])
def backend(request):
    """The test runs once on every CPU backend."""
    with cg.use_backend(request.param):
        yield request.param


@pytest.fixture
def on_numpy():
    """What the test calls runs on the numpy backend, which the test is about."""
    with cg.use_backend("numpy"):
        yield


@pytest.fixture
def one_multiprocessor():
    """The emulated backend on a Hopper GPU of one multiprocessor, where a few tiles are much to multiply."""
    module = backends.load("emulated").module
    module.emulate(module.Device(arch=90, multiprocessors=1, shared_bytes=227 << 10))
    with cg.use_backend("emulated"):
        yield
    module.emulate(module.Device())
