"""Creation, random initial values and dropout; the ops uniform, normal and integers are in test_generator.py."""

from __future__ import annotations

import math

import numpy as np
import pytest

import convgpu as cg
from convgpu.dtypes import as_dtype

DTYPES = ("float16", "bfloat16", "float32", "float64")
CREATORS = {
    "zeros": lambda **o: cg.zeros((2, 3), **o), "ones": lambda **o: cg.ones((2, 3), **o),
    "full": lambda **o: cg.full((2, 3), 2.5, **o), "eye": lambda **o: cg.eye(2, 3, **o),
    "randn": lambda **o: cg.randn((2, 3), generator=0, **o),
    "uniform": lambda **o: cg.uniform((2, 3), generator=0, **o),
    "he_normal": lambda **o: cg.he_normal((2, 3), generator=0, **o),
    "glorot_uniform": lambda **o: cg.glorot_uniform((2, 3), generator=0, **o),
}
RANDOM = {
    "randn": cg.randn, "uniform": cg.uniform, "he_normal": cg.he_normal, "glorot_uniform": cg.glorot_uniform,
}


@pytest.mark.parametrize("name", CREATORS)
def test_shape_dtype_device_and_gradient(name):
    make = CREATORS[name]
    t = make()
    assert (t.shape, t.dtype, t.device, t.requires_grad) == ((2, 3), np.float32, "cpu", False)
    for dtype in DTYPES:
        assert make(dtype=dtype).dtype == as_dtype(dtype)
    t = make(device="cpu", requires_grad=True)
    (t * t).sum().backward()
    assert t.grad.shape == (2, 3)
    with pytest.raises(ValueError, match="read-only"):
        t.array[0, 0] = 1


def test_constants():
    assert cg.zeros(2).tolist() == [0, 0] and cg.ones([2], dtype="int32").tolist() == [1, 1]
    assert cg.full((), 3, dtype="bool").item() is True and cg.full((0, 2), 1).shape == (0, 2)
    assert cg.eye(3, 2).tolist() == [[1, 0], [0, 1], [0, 0]]
    x = cg.tensor(np.ones((2, 1), np.float64))
    assert cg.zeros_like(x).tolist() == [[0], [0]] and cg.zeros_like(x).dtype == np.float64
    assert cg.ones_like([3, 4]).tolist() == [1, 1] and cg.full_like(x, 2, dtype="float32").dtype == np.float32


def test_arange():
    assert cg.arange(4).tolist() == [0, 1, 2, 3] and cg.arange(4).dtype == np.int64
    assert cg.arange(2, 8, 3).tolist() == [2, 5] and cg.arange(3, 0, -1).tolist() == [3, 2, 1]
    assert cg.arange(0, 1, 0.5).dtype == np.float32 and cg.arange(3, dtype="float16").dtype == np.float16
    assert cg.arange(3.0, requires_grad=True).requires_grad


@pytest.mark.parametrize("name", RANDOM)
def test_the_generator_decides(name):
    make = RANDOM[name]
    first, same, other = make((3, 4), generator=7), make((3, 4), generator=7), make((3, 4), generator=8)
    np.testing.assert_array_equal(first, same)
    assert (first.numpy() != other.numpy()).any()
    for generator, again in ((cg.Generator(7), cg.Generator(7)), (np.random.default_rng(7), np.random.default_rng(7))):
        drawn = make((3, 4), generator=generator)
        np.testing.assert_array_equal(drawn, make((3, 4), generator=again))
        assert (make((3, 4), generator=generator).numpy() != drawn.numpy()).all()  # it has moved on
        assert isinstance(generator, np.random.Generator) or (drawn.numpy() == first.numpy()).all()
    np.testing.assert_array_equal(make((3, 4), generator=7, dtype="bfloat16"), first.astype("bfloat16"))
    for wrong in ("7", 1.5, True):
        with pytest.raises(TypeError, match=name):
            make((3, 4), generator=wrong)
    with pytest.raises(TypeError, match=f"{name}.*int32"):
        make((3, 4), generator=7, dtype="int32")


def test_distributions():
    n = 200_000
    x = cg.randn(n, generator=1, dtype="float64").numpy()
    assert abs(x.mean()) < 0.01 and abs(x.std() - 1) < 0.01 and abs((x**4).mean() - 3) < 0.1
    x = cg.uniform(n, -3, 5, generator=1, dtype="float64").numpy()
    assert x.min() >= -3 and x.max() <= 5 and abs(x.mean() - 1) < 0.03 and abs(x.std() - 8 / math.sqrt(12)) < 0.02


@pytest.mark.parametrize("shape, data_format, fan_in, fan_out", [
    ((300, 200), "channels_last", 300, 200), ((300, 200), "channels_first", 300, 200),
    ((3, 5, 16, 80), "channels_last", 15 * 16, 15 * 80), ((80, 16, 3, 5), "channels_first", 15 * 16, 15 * 80),
    ((7, 50, 60), "channels_last", 350, 420), ((60, 50, 7), "channels_first", 350, 420),
    ((2, 3, 3, 10, 90), "channels_last", 180, 1620)])
def test_fans(shape, data_format, fan_in, fan_out):
    w = cg.he_normal(shape, generator=0, data_format=data_format).numpy()
    assert abs(w.std() / math.sqrt(2 / fan_in) - 1) < 0.05 and abs(w.mean()) < 3 * w.std() / math.sqrt(w.size)
    limit = math.sqrt(6 / (fan_in + fan_out))
    w = cg.glorot_uniform(shape, generator=0, data_format=data_format).numpy()
    assert 0.99 * limit < np.abs(w).max() <= limit * (1 + 1e-6) and abs(w.std() / (limit / math.sqrt(3)) - 1) < 0.05


def test_errors():
    for make in (cg.he_normal, cg.glorot_uniform):
        with pytest.raises(ValueError, match=r"at least 2 axes.*\(3,\)"):
            make(3, generator=0)
        with pytest.raises(ValueError, match="data_format.*NCHW"):
            make((3, 3, 2, 2), generator=0, data_format="NCHW")
    with pytest.raises(ValueError, match="^shape: expected sizes >= 0, got -1$"):
        cg.zeros((2, -1))
    with pytest.raises(ValueError, match="device"):
        cg.zeros(2, device="tpu")
    with pytest.raises(TypeError, match="floating"):
        cg.zeros(2, dtype="int32", requires_grad=True)


# --- dropout


def test_dropout_drops_at_its_rate_and_keeps_the_expectation():
    x = np.ones((300, 400), np.float32)
    for rate in (0.1, 0.5, 0.9):
        y = cg.dropout(x, rate, generator=0).numpy()
        assert abs((y == 0).mean() - rate) < 0.01
        np.testing.assert_allclose(y[y != 0], 1 / (1 - rate), rtol=1e-6)


def test_dropout_at_rest():
    x = cg.tensor([1.0, 2.0])
    assert cg.dropout(x, 0.5, generator=0, training=False) is x and cg.dropout(x, 0.0, generator=None) is x
    assert cg.dropout(x, 1.0, generator=0).tolist() == [0, 0]
    generator = np.random.default_rng(3)
    cg.dropout(x, 0.5, generator=generator, training=False)
    assert generator.random() == np.random.default_rng(3).random()
    y = cg.dropout(np.ones(64, np.float32), 0.5, generator=generator)  # it is drawn on the host
    kept = np.random.default_rng(3)
    kept.random()
    np.testing.assert_array_equal(y, (kept.random(64, dtype=np.float32) >= 0.5) * np.float32(2))


def test_dropout_gradient_is_the_mask():
    x = cg.tensor(np.random.default_rng(0).standard_normal((4, 5)), requires_grad=True)
    y = cg.dropout(x, 0.4, generator=5)
    y.sum().backward()
    np.testing.assert_allclose(x.grad * x, y)
    cg.check_grad(lambda x: cg.dropout(x, 0.4, generator=5)**2, x, order=2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_keeps_the_dtype_and_the_mask(dtype):
    y = cg.dropout(np.ones(100, as_dtype(dtype)), 0.5, generator=1)
    assert y.dtype == as_dtype(dtype)
    np.testing.assert_array_equal(y.astype("float64"), cg.dropout(np.ones(100), 0.5, generator=1))


def test_dropout_errors():
    for rate in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match=r"rate in \[0, 1\]"):
            cg.dropout([1.0], rate, generator=0)
    with pytest.raises(TypeError, match="int64"):
        cg.dropout([1], 0.5, generator=0)
    with pytest.raises(TypeError, match="generator"):
        cg.dropout([1.0], 0.5, generator="7")
