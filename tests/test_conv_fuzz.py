"""Random convolutions, forward and backward, against the oracle. CONVGPU_FUZZ=10000 runs that many, and other ones."""

from __future__ import annotations

import os

import numpy as np
import pytest
from conv_checks import DTYPES, FORMATS, check
from optional import require

from convgpu.cases.conv import ConvCase

require("hypothesis")
from hypothesis import HealthCheck, given, settings  # noqa: E402 - where it is
from hypothesis import strategies as st  # noqa: E402

FUZZ = int(os.environ.get("CONVGPU_FUZZ", "0"))
fuzzed = settings(max_examples=FUZZ or 250, derandomize=not FUZZ, deadline=None, database=None,
                  suppress_health_check=list(HealthCheck))


def options(draw, rank):
    """Stride, dilation and kernel: numbers per axis, sometimes one number for all."""
    def each(low, high):
        values = tuple(draw(st.lists(st.integers(low, high), min_size=rank, max_size=rank)))
        return values[0] if draw(st.booleans()) else values

    kernel = draw(st.lists(st.integers(1, 5), min_size=rank, max_size=rank))
    return tuple(kernel), each(1, 4), each(1, 3)


def per_axis(value, rank):
    return (value,) * rank if isinstance(value, int) else value


@st.composite
def conv_case(draw, form):
    rank = draw(st.integers(1, 3))
    kernel, stride, dilation = options(draw, rank)
    span = [(f - 1) * d + 1 for f, d in zip(kernel, per_axis(dilation, rank))]
    pairs = tuple((draw(st.integers(0, 4)), draw(st.integers(0, 4))) for _ in range(rank))
    padding = draw(st.sampled_from(["valid", "same", "full", pairs[0][0], tuple(a for a, _ in pairs), pairs]))
    if padding == "valid":
        pairs = ((0, 0),) * rank
    elif padding == "full":
        pairs = tuple((e - 1, e - 1) for e in span)
    elif isinstance(padding, int):
        pairs = ((padding, padding),) * rank
    elif padding != "same" and isinstance(padding[0], int):
        pairs = tuple((p, p) for p in padding)
    least = [1 if padding == "same" else max(1, e - a - b) for e, (a, b) in zip(span, pairs)]
    size = [m + draw(st.integers(0, 6 if rank < 3 else 3)) for m in least]
    groups = draw(st.integers(1, 3))
    c, k, n = groups * draw(st.integers(1, 5)), groups * draw(st.integers(1, 5)), draw(st.integers(0, 3))
    w = (*kernel, c, draw(st.integers(1, 3))) if form == "depthwise_conv" else (*kernel, c // groups, k)
    return ConvCase("fuzz", (n, *size, c), w, stride=stride, padding=padding, dilation=dilation, form=form,
                    groups=1 if form == "depthwise_conv" else groups)


@st.composite
def conv_transpose_case(draw):
    rank = draw(st.integers(1, 3))
    kernel, stride, dilation = options(draw, rank)
    strides, dilations = per_axis(stride, rank), per_axis(dilation, rank)
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(strides, dilations))
    size = [draw(st.integers(1, 4)) for _ in range(rank)]
    longest = [(n - 1) * s + (f - 1) * d + 1 + e for n, s, f, d, e in zip(size, strides, kernel, dilations, extra)]
    pairs = []
    for n in longest:
        before = draw(st.integers(0, min(4, n - 1)))
        pairs.append((before, draw(st.integers(0, min(4, n - 1 - before)))))
    padding = draw(st.sampled_from(["valid", "same", tuple(pairs)]))
    groups = draw(st.integers(1, 3))
    n, c_in, c_out = draw(st.integers(0, 2)), groups * draw(st.integers(1, 4)), draw(st.integers(1, 4))
    return ConvCase("fuzz", (n, *size, c_in), (*kernel, c_out, c_in), stride=stride, padding=padding, dilation=dilation,
                    groups=groups, output_padding=None if padding == "same" else extra, form="conv_transpose")


@fuzzed
@given(conv_case("conv"), st.sampled_from(DTYPES), st.sampled_from(FORMATS))
def conv(case, dtype, data_format):
    check(case, dtype, data_format)


@fuzzed
@given(conv_case("depthwise_conv"), st.sampled_from(DTYPES), st.sampled_from(FORMATS))
def depthwise_conv(case, dtype, data_format):
    check(case, dtype, data_format)


@fuzzed
@given(conv_transpose_case(), st.sampled_from(DTYPES), st.sampled_from(FORMATS))
def conv_transpose(case, dtype, data_format):
    check(case, dtype, data_format)


@pytest.mark.parametrize("form", [conv, depthwise_conv, conv_transpose], ids=lambda f: f.__name__)
def test_random_problems(form, backend):
    with np.errstate(all="raise", under="ignore"):
        form()


def large_case(rng, i):
    """A problem of many tiles: hundreds of pixels, tens of channels."""
    rank = int(rng.integers(1, 4))
    form = ("conv", "conv_transpose", "depthwise_conv")[i % 3]
    longest = {1: 3000, 2: 60, 3: 14}[rank]
    kernel = tuple(int(f) for f in rng.integers(1, 6 if rank < 3 else 4, rank))
    stride, dilation = (tuple(int(v) for v in rng.integers(1, 4, rank)) for _ in range(2))
    size = [(f - 1) * d + 1 + int(rng.integers(0, longest)) for f, d in zip(kernel, dilation)]
    if form == "conv_transpose":
        size = [-(-n // s) for n, s in zip(size, stride)]
    groups = 1 if form == "depthwise_conv" else int(rng.choice([1, 1, 2, 5]))
    c, k = groups * int(rng.integers(1, 40)), groups * int(rng.integers(1, 40))
    w = {"conv": (c // groups, k), "conv_transpose": (k // groups, c), "depthwise_conv": (c, int(rng.integers(1, 3)))}
    return ConvCase(f"large_{i}", (int(rng.integers(1, 4)), *size, c), (*kernel, *w[form]), stride=stride,
                    padding=str(rng.choice(["valid", "same"])), dilation=dilation, groups=groups, form=form)


@pytest.mark.parametrize("block", range(3))
def test_large_random_problems(block):
    rng = np.random.default_rng(block + (0 if not FUZZ else int.from_bytes(os.urandom(4))))
    for i in range(max(FUZZ // 30, 12)):
        case = large_case(rng, i)
        check(case, ("float32", "float32", "bfloat16")[i % 3 if block else 0], FORMATS[i // 3 % 2])
