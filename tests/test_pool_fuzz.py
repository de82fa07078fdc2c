"""Pooling of random problems; the tables of test_pool.py are for what is known to be awkward."""

from __future__ import annotations

import numpy as np
import pytest
import test_pool
from optional import require
from test_pool import DTYPES, FORMATS, ON_EACH

import convgpu as cg
from convgpu.cases.pool import PoolCase

require("hypothesis")
from hypothesis import given, settings  # noqa: E402 - where it is
from hypothesis import strategies as st  # noqa: E402


@st.composite
def problems(draw):
    rank = draw(st.integers(1, 3))
    axes = lambda low, high: st.lists(st.integers(low, high), min_size=rank, max_size=rank).map(tuple)  # noqa: E731
    x = (draw(st.integers(0, 3)), *draw(axes(1, (24, 10, 6)[rank - 1])), draw(st.integers(0, 3)))
    values = draw(st.sampled_from(["normal", "ties", "nan", "infinite"]))
    if draw(st.booleans()):
        return PoolCase("fuzz", x, draw(axes(1, 7)), adaptive=True, values=values)
    padding = draw(st.one_of(st.sampled_from(["valid", "same", "full"]), st.integers(0, 2),
                             st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=rank, max_size=rank)))
    return PoolCase("fuzz", x, draw(axes(1, 4)), draw(st.one_of(st.none(), axes(1, 4))), padding,
                    draw(st.integers(1, 3)), draw(st.booleans()), draw(st.booleans()), values=values)


@ON_EACH
@settings(max_examples=150, deadline=None, derandomize=True)
@given(case=problems(), dtype=st.sampled_from(DTYPES), data_format=st.sampled_from(FORMATS))
def test_random_problems_agree_with_the_reference(backend, case, dtype, data_format):
    try:
        case.geometry(data_format)
    except ValueError as error:
        assert "larger than the padded input" in str(error) or "wholly in padding" in str(error)
        return
    test_pool.test_max_pool_is_exactly_the_reference(backend, case, dtype, data_format)
    test_pool.test_avg_pool_stays_within_the_tolerance_of_the_reference(backend, case, dtype, data_format)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 6), st.integers(0, 6),
       st.booleans())
def test_a_window_wholly_in_padding_is_always_found(n, size, stride, dilation, before, after, ceil_mode):
    span = dilation * (size - 1) + 1
    if span > n + before + after:
        return
    out = (n + before + after - span) // stride + 1
    if ceil_mode and (n + before + after - span) % stride and out * stride < n + before:
        out += 1
    empty = any(not any(0 <= o * stride - before + i * dilation < n for i in range(size)) for o in range(out))
    x = np.zeros((1, n, 1), np.float32)
    options = {"stride": stride, "padding": ((before, after),), "dilation": dilation, "ceil_mode": ceil_mode}
    if empty:
        with pytest.raises(ValueError, match="wholly in padding along spatial axis 0"):
            cg.max_pool(x, size, **options)
    else:
        assert cg.max_pool(x, size, **options).shape == (1, out, 1)
