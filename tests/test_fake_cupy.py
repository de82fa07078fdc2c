"""The stand-in for CuPy refuses what CuPy refuses, and counts when the host waits or copies, with the line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fake_cupy
import ml_dtypes
import numpy as np
import pytest

HOST = np.arange(6, dtype=np.float32).reshape(2, 3)
X = fake_cupy.asarray(HOST)
NUMBERS = fake_cupy.asarray(np.array([0, 1]))
MASK = fake_cupy.asarray(np.array([True, False]))
HALF = fake_cupy.asarray(HOST.astype(ml_dtypes.bfloat16))


@pytest.fixture(autouse=True)
def counts():
    fake_cupy.device.reset()
    yield
    fake_cupy.device.reset()


REFUSED: dict[str, Callable[[], Any]] = {
    "implicit conversion": lambda: np.asarray(X),
    "a function of SciPy or NumPy's own code": lambda: np.array([X, X]),
    "array beside": lambda: X + HOST,
    "array first": lambda: HOST * X,
    "array of no axes": lambda: X + np.array(1.0),
    "in place": lambda: X.__iadd__(HOST),
    "ufunc": lambda: np.maximum(X, HOST),
    "ufunc into an array": lambda: np.exp(X, out=np.empty_like(HOST)),
    "list beside": lambda: X + [1, 2, 3],
    "function": lambda: np.where(X > 0, HOST, X),
    "function with a host condition": lambda: np.where(HOST > 0, X, X),
    "joining": lambda: np.concatenate([X, HOST]),
    "product": lambda: np.matmul(X, HOST.T),
    "index": lambda: X[np.array([0, 1])],
    "list as index": lambda: X[[0, 1]],
    "array in assignment": lambda: X.__setitem__(0, HOST[0]),
    "list in assignment": lambda: X.__setitem__(0, [1, 2, 3]),
    "in": lambda: 1.0 in X,
    "random": lambda: np.random.default_rng(0).permutation(X),
    "absent function": lambda: np.polyder(X),
    "absent ufunc": lambda: np.spacing(X),
    "absent method of a ufunc": lambda: np.multiply.at(X, NUMBERS, 1.0),
    "bfloat16 in a ufunc": lambda: HALF + HALF,
    "bfloat16 in a sum": lambda: HALF.sum(),
    "bfloat16 in a function": lambda: np.where(MASK[:, None], HALF, HALF),
    "dtypes without a loop": lambda: np.bitwise_and(X, X),
    "text": lambda: fake_cupy.asarray(np.array(["a"])),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(what: str) -> None:
    with pytest.raises((TypeError, ValueError)):
        REFUSED[what]()


WAITING: dict[str, Callable[[], Any]] = {
    "bool": lambda: bool(X[0, 0]), "float": lambda: float(X[0, 0]), "int": lambda: int(X[0, 0]),
    "index": lambda: [0, 1][NUMBERS[0]], "item": lambda: X[0, 0].item(), "get": X.get,
    "mask": lambda: X[MASK], "mask in assignment": lambda: fake_cupy.asarray(HOST).__setitem__(MASK, 1.0),
    "nonzero": lambda: np.nonzero(MASK), "unique": lambda: np.unique(NUMBERS),
    "bincount": lambda: np.bincount(NUMBERS), "synchronize": lambda: fake_cupy.cuda.get_current_stream().synchronize()}


@pytest.mark.parametrize("what", WAITING)
def test_what_waits(what: str) -> None:
    WAITING[what]()
    assert len(fake_cupy.device.waits) == fake_cupy.device.synchronizations == 1
    assert "test_fake_cupy.py:" in fake_cupy.device.waits[0] or what in ("get",)
    fake_cupy.device.capturing = True
    with pytest.raises(RuntimeError, match="StreamCaptureUnsupported"):
        WAITING[what]()


def test_what_copies() -> None:
    fake_cupy.asarray(HOST)
    fake_cupy.asarray(np.float32(1))  # a kernel's argument
    fake_cupy.asarray(X)
    np.asarray(HOST, like=X)
    assert [nbytes for nbytes, _ in fake_cupy.device.copies] == [24, 24]
    assert "test_fake_cupy.py:" in fake_cupy.device.copies[0][1]
    assert fake_cupy.device.waits == []
    np.where(X > 1, X, 0.0).sum()
    X[NUMBERS]
    assert fake_cupy.device.waits == []
