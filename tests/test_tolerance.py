"""The bound itself: what it lets pass, and what it must not."""

from __future__ import annotations

import numpy as np
import pytest

from convgpu.cases.tolerance import bound, ulp, worst
from convgpu.dtypes import as_dtype

ONE = np.ones(1)


def error_of(got, exact, dtype="float32", magnitude=1.0, length=1):
    return worst(np.array([got], as_dtype(dtype)), np.array([exact], np.float64), magnitude * ONE, length)


def test_units_of_the_bound():
    assert error_of(1.0, 1.0) == 0
    assert error_of(1 + 2.0**-23, 1.0) == pytest.approx(1 / 16, rel=1e-6)
    assert error_of(1 + 2.0**-18, 1.0) == pytest.approx(2, rel=1e-6)
    assert error_of(1 + 2.0**-18, 1.0, magnitude=4.0) < 1
    assert worst(ONE, ONE + 2.0**-50, ONE, 1, c=8) == pytest.approx(0.5)


@pytest.mark.parametrize(("dtype", "digits"), [("float16", 10), ("bfloat16", 7)])
def test_half_types_may_err_by_two_ulp(dtype, digits):
    step = 2.0**-digits
    assert error_of(1 + 2 * step, 1.0, dtype) <= 1 < error_of(1 + 3 * step, 1.0, dtype)
    assert bound(ONE, ONE, 1600, dtype)[0] == pytest.approx(2 * step + 116 * 2.0**-23 + 1600 * 2.0**-149)


def test_ulp_is_the_spacing():
    values = np.array([1.0, 1.999, 2.0, 3.0, 1e-3, 6e4, 1e-7, 0.0])
    assert np.array_equal(ulp(values, "float16"), np.spacing(values.astype(np.float16), dtype=np.float16))
    assert np.array_equal(ulp(values, "float32"), np.spacing(values.astype(np.float32)))
    assert ulp(np.array([1.0, 0.0]), "bfloat16").tolist() == [2.0**-7, 2.0**-133]


@pytest.mark.parametrize(("got", "exact"), [
    (1.0, np.inf), (np.inf, 1.0), (np.inf, -np.inf), (np.nan, 1.0), (1.0, np.nan), (np.nan, np.inf), (np.inf, np.nan)])
def test_special_values_in_the_wrong_place(got, exact):
    assert error_of(got, exact) == np.inf


def test_special_values_in_the_right_place():
    for value in (np.inf, -np.inf, np.nan):
        assert error_of(value, value) == 0


def test_sums_beyond_the_largest_number():
    assert error_of(np.inf, 1e39, magnitude=1e39) == 0
    assert error_of(-np.inf, 1e39, magnitude=1e39) == np.inf
    assert error_of(np.inf, 65519.0, "float16", magnitude=65519.0) == 0
    assert error_of(np.inf, 3e4, "float16", magnitude=3e4) == np.inf


def test_products_below_the_smallest_number():
    assert error_of(0.0, 2.0**-149, magnitude=2.0**-149) <= 1 < error_of(0.0, 2.0**-140, magnitude=2.0**-140)


def test_shapes_must_agree():
    assert worst(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3)), 1) == 0
    with pytest.raises(AssertionError, match=r"expected shape \(1,\), got \(2,\)"):
        worst(np.ones(2), ONE, ONE, 1)
