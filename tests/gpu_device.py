"""Device "gpu" for tests: everywhere through a stand-in, and marked gpu on a GPU where there is one.

The stand-in is tests/fake_cupy.py in the place of CuPy and the emulated kernels in the place of convgpu._cuda. It shows
that our Python works around a GPU. It shows nothing of CuPy's arithmetic, of nvcc's code, or of a GPU.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import fake_cupy
import numpy as np
import pytest
from native_backends import needs_emulated

import convgpu as cg
from convgpu import Tensor, backends, flags, info
from convgpu import gpu as gpu_module
from convgpu.dtypes import accumulator, is_float

OBSTACLE = info.gpu_obstacle()  # to computing on a GPU
STANDING_IN = sys.modules.get("cupy") is fake_cupy  # for the whole process: only_cuda.py
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
    why = f"no usable GPU: {'the stand-in' if STANDING_IN else OBSTACLE}"
    return pytest.mark.gpu(pytest.mark.skipif(STANDING_IN or OBSTACLE is not None, reason=why)(test))


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
    monkeypatch.setitem(sys.modules, "convgpu._cuda", fake_cupy.Recorded(importlib.import_module("convgpu._emulated")))
    monkeypatch.setattr(info, "driver", lambda: info.Driver((13, 0), ("stand-in",)))
    monkeypatch.setattr(backends, "_loaded", {})
    monkeypatch.setattr(gpu_module, "_touched", False)
    monkeypatch.setattr(gpu_module, "_lost", None)
    monkeypatch.setattr(flags, "_pending", {})


@pytest.fixture
def quiet() -> Iterator[None]:
    """Special values warn on the CPU."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def on_gpu(value: Any) -> Any:
    """Arrays, Tensors and lists of them as Tensors on the GPU."""
    if isinstance(value, list) and value and isinstance(value[0], (np.ndarray, Tensor)):
        return [on_gpu(v) for v in value]
    return cg.tensor(value, device="gpu") if isinstance(value, (np.ndarray, Tensor)) else value


def assert_same(got: Any, expected: Any, units: float = 64) -> None:
    """Equal up to `units` roundings of the largest element; on the GPU, in shape and dtype as on the CPU."""
    if isinstance(expected, (list, tuple)):
        assert len(got) == len(expected)
        for g, e in zip(got, expected):
            assert_same(g, e, units)
        return
    if not isinstance(expected, Tensor):
        assert got == expected
        return
    assert (got.device, got.shape, got.dtype) == ("gpu", expected.shape, expected.dtype)
    if not is_float(expected.dtype):
        np.testing.assert_array_equal(got.numpy(), expected)
        return
    eps = 2.0**-8 if expected.dtype.name == "bfloat16" else float(np.finfo(expected.dtype).eps)
    units = 2 if accumulator(expected.dtype) != expected.dtype else units  # computed in float32, rounded once
    wide, exact = got.numpy().astype(np.float64), expected.numpy().astype(np.float64)
    finite = np.abs(exact)[np.isfinite(exact)]
    scale = float(finite.max()) if finite.size else 0.0
    np.testing.assert_allclose(wide, exact, rtol=units * eps, atol=units * eps * scale)
