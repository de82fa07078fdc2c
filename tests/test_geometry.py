"""Sizes: one formula, its inverse, and the meaning of every way to write padding."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from convgpu.geometry import conv_geometry, conv_transpose_geometry, extent, output_size


def conv(n, f, s=1, p="valid", d=1):
    return conv_geometry("conv", (1, n, 1), (f, 1, 1), s, p, d, 1, "channels_last")


def transposed(n, f, s=1, p="valid", d=1, extra=None):
    return conv_transpose_geometry("conv_transpose", (1, n, 1), (f, 1, 1), s, p, extra, d, 1, "channels_last")


def places(n, f, s, pad, d):
    """Counted, not computed: where a filter can stand inside the padded input."""
    return len([start for start in range(0, n + sum(pad), s) if start + d * (f - 1) < n + sum(pad)])


def test_output_size_counts_the_places_of_the_filter():
    for n, f, s, d, a, b in itertools.product(range(1, 12), range(1, 5), range(1, 5), range(1, 4), range(3), range(3)):
        if extent(f, d) <= n + a + b:
            count = places(n, f, s, (a, b), d)
            assert output_size(n, f, s, d, (a, b)) == count == conv(n, f, s, ((a, b),), d).output[0]


def test_same_gives_ceil_and_the_odd_pixel_at_the_end():
    for n, f, s, d in itertools.product(range(13), range(1, 6), range(1, 6), range(1, 4)):
        geo = conv(n, f, s, "same", d)
        (before, after), = geo.padding
        assert geo.output == (-(-n // s),)
        assert before <= after <= before + 1
        if s == 1:
            assert before + after == extent(f, d) - 1


def test_full_is_every_place_that_touches_a_pixel():
    for n, f, d in itertools.product(range(1, 8), range(1, 5), range(1, 4)):
        assert conv(n, f, 1, "full", d).output == (n + extent(f, d) - 1,)


def test_transposed_sizes():
    for n, f, s, d in itertools.product(range(1, 6), range(1, 5), range(1, 5), range(1, 4)):
        for extra in range(max(s, d)):
            geo = transposed(n, f, s, "valid", d, extra)
            assert geo.size == ((n - 1) * s + d * (f - 1) + 1 + extra,)
            assert geo.output[0] >= n and (extra >= s or geo.output == (n,))
        assert transposed(n, f, s, "valid", d).size == transposed(n, f, s, "valid", d, 0).size
        same = transposed(n, f, s, "same", d)
        assert same.size == (n * s,) and same.output == (n,)


def test_transposed_inverts_the_size_of_every_convolution():
    """For every convolution there is the output_padding that gives its input size back."""
    for n, f, s, a, b in itertools.product(range(4, 12), range(1, 4), range(1, 5), range(3), range(3)):
        out = conv(n, f, s, ((a, b),)).output[0]
        extra = n - ((out - 1) * s - a - b + f)
        assert 0 <= extra < s
        assert transposed(out, f, s, ((a, b),), 1, extra).size == (n,)


@pytest.mark.parametrize(("padding", "pairs"), [
    ("valid", ((0, 0), (0, 0))), (2, ((2, 2), (2, 2))), ((1, 2), ((1, 1), (2, 2))),
    ([[1, 0], [0, 3]], ((1, 0), (0, 3))), (((1, 2), 3), ((1, 2), (3, 3))), (np.int64(1), ((1, 1), (1, 1))),
    ("same", ((1, 1), (1, 2))), ("full", ((2, 2), (3, 3))),
])
def test_ways_to_write_padding(padding, pairs):
    assert conv_geometry("conv", (1, 9, 9, 1), (3, 4, 1, 1), 1, padding, 1, 1, "channels_last").padding == pairs


def test_both_formats_describe_one_problem():
    last = conv_geometry("conv", (2, 9, 8, 6), (3, 2, 3, 4), (2, 1), "same", (1, 2), 2, "channels_last")
    first = conv_geometry("conv", (2, 6, 9, 8), (4, 3, 3, 2), (2, 1), "same", (1, 2), 2, "channels_first")
    for name in ("batch", "channels", "filters", "size", "kernel", "stride", "padding", "dilation", "groups", "output",
                 "macs"):
        assert getattr(last, name) == getattr(first, name), name
    assert last.x_shape == (2, 9, 8, 6) and first.x_shape == (2, 6, 9, 8)
    assert last.w_shape == (3, 2, 3, 4) and first.w_shape == (4, 3, 3, 2)
    assert last.y_shape == (2, 5, 8, 4) and first.y_shape == (2, 4, 5, 8)
    assert last.macs == 2 * 5 * 8 * 4 * 3 * 3 * 2


def test_the_cache_is_not_fooled_by_equal_numbers():
    conv(9, 3, 1)
    for stride in (1.0, np.float32(1), "1", None):
        with pytest.raises(TypeError, match="expected stride to be an integer"):
            conv(9, 3, stride)
    assert conv(9, 3, True).stride == (1,) and type(conv(9, 3, True).stride[0]) is int


def test_sizes_beyond_32_bits():
    geo = conv_geometry("conv", (1, 2**40, 3), (2**20, 3, 2), 2**10, "valid", 2**15, 1, "channels_last")
    assert geo.output == ((2**40 - 2**15 * (2**20 - 1) - 1) // 2**10 + 1,)
