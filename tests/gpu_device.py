"""Device "gpu" for tests: everywhere through a stand-in, and marked gpu on a GPU where there is one.

The stand-in is tests/fake_cupy.py in the place of CuPy and the emulated kernels in the place of convgpu._cuda. It shows
that our Python works around a GPU. It shows nothing of CuPy's arithmetic, of nvcc's code, or of a GPU.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import fake_cupy
import pytest
from native_backends import needs_emulated

from convgpu import backends, info
from convgpu import gpu as gpu_module

OBSTACLE = info.gpu_obstacle()  # to computing on a GPU
STAND_IN = pytest.param("stand-in", marks=needs_emulated)
REAL = pytest.param("cuda", marks=pytest.mark.gpu)


@pytest.fixture(params=[STAND_IN, *([REAL] if OBSTACLE is None else [])])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test runs on the stand-in and on a GPU, if there is one."""
    if request.param == "stand-in":
        use_stand_in(monkeypatch)
    return request.param


def on_a_real_gpu(test: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a test that the stand-in could not pass."""
    return pytest.mark.gpu(pytest.mark.skipif(OBSTACLE is not None, reason=f"no usable GPU: {OBSTACLE}")(test))


@pytest.fixture(params=[STAND_IN])
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_cupy.Device]:
    """The stand-in's device, whose faults the test may choose."""
    use_stand_in(monkeypatch)
    yield fake_cupy.device
    fake_cupy.device.reset()


def use_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the stand-in in place, for one test."""
    fake_cupy.device.reset()
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy)
    monkeypatch.setitem(sys.modules, "convgpu._cuda", importlib.import_module("convgpu._emulated"))
    monkeypatch.setattr(info, "driver", lambda: info.Driver((13, 0), ("stand-in",)))
    monkeypatch.setattr(backends, "_loaded", {})
    monkeypatch.setattr(gpu_module, "_touched", False)
    monkeypatch.setattr(gpu_module, "_lost", None)
