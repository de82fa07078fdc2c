"""Pooling by windows of many taps on NumPy, which goes another way than short ones do, against the plain statement."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import convgpu as cg
from convgpu.backends.numpy import kept
from convgpu.backends.numpy.pool import long_windows

CASES = {
    "1-D": ((2, 40, 3), 13, {"stride": 1, "padding": 6}),
    "stride and dilation": ((1, 61, 2), 9, {"stride": 3, "padding": ((7, 5),), "dilation": 3}),
    "dilation and full padding": ((2, 23, 1), 4, {"stride": 2, "padding": "full", "dilation": 5}),
    "ceil mode": ((1, 30, 2), 8, {"stride": 5, "padding": 2, "ceil_mode": True}),
    "2-D": ((2, 12, 15, 3), (7, 4), {"stride": (1, 2), "padding": ((3, 2), (0, 3))}),
    "channels first": ((2, 3, 9, 11), (5, 8), {"stride": 1, "padding": "same", "data_format": "channels_first"}),
    "3-D": ((1, 5, 6, 7, 2), (3, 1, 5), {"stride": (2, 1, 1), "padding": (1, 0, 2)}),
    "one tap": ((2, 7, 2), 1, {"stride": 2}),
}


@pytest.fixture(params=[False, True], ids=["short", "long"])
def always(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        monkeypatch.setattr(long_windows, "is_long", lambda geo: True)
        monkeypatch.setattr(long_windows, "BLOCK", 64)


def data(shape: tuple[int, ...], dtype: str, kind: str) -> cg.Tensor:
    rng = np.random.default_rng(3)
    x = rng.integers(-3, 4, shape).astype(float) if kind == "ties" else rng.standard_normal(shape)
    if kind == "nan":
        x[rng.random(shape) < 0.1] = np.nan
        x[rng.random(shape) < 0.1] = -np.inf
    return cg.tensor(x, dtype=dtype, requires_grad=dtype != "int32")


def pooled(run: Any, x: cg.Tensor, backend: str) -> list[np.ndarray]:
    """What a pooling gives, its gradient, and the gradient of that."""
    with cg.use_backend(backend):
        y, *places = run(x) if isinstance(run(x), tuple) else (run(x),)
        found = [y, *places]
        if x.requires_grad:
            weight = cg.tensor(np.random.default_rng(5).integers(-4, 5, y.shape), dtype=x.dtype)
            gradient = cg.tensor(weight.numpy(), requires_grad=True)
            gx = cg.grad(y, x, gradient, create_graph=True)
            found += [gx, cg.grad(gx, gradient, cg.tensor(np.ones(x.shape), dtype=x.dtype))]
    return [t.numpy().astype(float) for t in found]


@pytest.mark.parametrize("kind", ["ties", "normal", "nan"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int32"])
@pytest.mark.parametrize("case", CASES)
def test_max_pool(case: str, dtype: str, kind: str, always: None) -> None:
    if dtype == "int32" and kind == "nan":
        pytest.skip("integers have no NaN")
    shape, size, options = CASES[case]
    x = data(shape, dtype, kind)

    def run(x: cg.Tensor) -> Any:
        return cg.max_pool(x, size, return_indices=True, **options)

    for ours, right in zip(pooled(run, x, "numpy"), pooled(run, x, "reference"), strict=True):
        np.testing.assert_array_equal(ours, right)


@pytest.mark.parametrize("count_include_pad", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("case", [case for case, (_, _, options) in CASES.items() if "dilation" not in options])
def test_avg_pool(case: str, dtype: str, count_include_pad: bool, always: None) -> None:
    shape, size, options = CASES[case]
    x = data(shape, dtype, "normal")
    eps = {"float64": 1e-15, "float32": 1e-6, "float16": 2e-3, "bfloat16": 2e-2}[dtype]

    def run(x: cg.Tensor) -> Any:
        return cg.avg_pool(x, size, count_include_pad=count_include_pad, **options)

    for ours, right in zip(pooled(run, x, "numpy"), pooled(run, x, "reference"), strict=True):
        np.testing.assert_allclose(ours, right, rtol=8 * eps, atol=8 * eps)


@pytest.mark.parametrize("kind", ["ties", "nan"])
@pytest.mark.parametrize("outputs", [1, 2, 3, 7, 29, 30])
def test_adaptive_pooling(outputs: int, kind: str, always: None) -> None:
    x = data((2, 30, 2), "float64", kind)
    for ours, right in zip(*[pooled(lambda x: cg.adaptive_max_pool(x, outputs, return_indices=True), x, backend)
                             for backend in ("numpy", "reference")], strict=True):
        np.testing.assert_array_equal(ours, right)
    x = data((2, 30, 2), "float64", "normal")
    for ours, right in zip(*[pooled(lambda x: cg.adaptive_avg_pool(x, outputs), x, backend)
                             for backend in ("numpy", "reference")], strict=True):
        np.testing.assert_allclose(ours, right, rtol=1e-13, atol=1e-13)


def test_averages_cancel_nothing() -> None:
    """A window's average does not depend on what lies outside it, as differences of running sums do."""
    x = np.ones((1, 6000, 1), np.float32)
    x[0, 0], x[0, 1] = 1e30, np.inf
    assert (cg.avg_pool(x, 1500, stride=1).numpy()[0, 2:] == 1).all()


@pytest.mark.parametrize("pool", [cg.max_pool, cg.avg_pool])
def test_long_windows_take_little_memory(pool: Any) -> None:
    """A table of taps and outputs would take 1.8 GB."""
    x = cg.tensor(np.zeros((1, 200_000, 1), np.float32), requires_grad=True)
    tracemalloc.start()
    try:
        pool(x, 1001, stride=1, padding=500).sum().backward()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30e6


def test_what_is_kept_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of ever new sizes: without a bound in bytes every one of them leaves half a megabyte."""
    small = kept.Kept(2 << 20)
    monkeypatch.setattr(kept, "everything", small)

    def step(n: int) -> int:
        x = cg.tensor(np.zeros((1, n, 1), np.float32), requires_grad=True)
        y = cg.max_pool(cg.conv(x, np.ones((3, 1, 2), np.float32), padding=1), 3, stride=1, padding=1)
        cg.avg_pool(y, 3, stride=2).sum().backward()
        del x, y
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        held = [step(n) for n in range(20_000, 20_012)]
    finally:
        tracemalloc.stop()
    assert small.bytes <= small.limit
    assert held[-1] < held[6] + (1 << 20)


def test_kept_results_are_found_again_and_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "everything", kept.Kept(8_000))
    made = []

    @kept.kept
    def table(n: int) -> np.ndarray:
        made.append(n)
        return np.zeros(n, np.uint8)

    for n in (3000, 3001, 3000, 3002, 3000, 3001, 9000, 9000):
        assert table(n).size == n
    assert made == [3000, 3001, 3002, 3001, 9000, 9000]  # what takes more than half of the room is not kept
    assert kept.size_of([np.zeros(1000), {"a": np.zeros(500)}]) == pytest.approx(12_000, rel=0.1)
