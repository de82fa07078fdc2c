"""Named convolution problems, from everyday to awkward ones, in one table for all backends.

Shapes are written in channels_last, and can be converted to either data format.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..dtypes import DTypeLike, as_dtype
from ..geometry import ConvGeometry, conv_geometry, conv_transpose_geometry

ODD_CHANNELS = (1, 2, 3, 5, 7, 9, 15, 17, 31, 33, 63, 65)


@dataclass(frozen=True)
class ConvCase:
    """One problem: the public function that it calls (`form`), shapes in channels_last, options, tags.

    x is (N, spatial..., C). w is (spatial..., C/groups, K) for conv, (spatial..., C_out/groups, C_in) for
    conv_transpose, (spatial..., C, multiplier) for depthwise_conv.
    """

    name: str
    x: tuple[int, ...]
    w: tuple[int, ...]
    stride: Any = 1
    padding: Any = "valid"
    dilation: Any = 1
    groups: int = 1
    output_padding: Any = None
    form: str = "conv"
    tags: frozenset[str] = frozenset()

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.x) - 2

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of the call, except data_format."""
        options = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        if self.form != "depthwise_conv":
            options["groups"] = self.groups
        if self.form == "conv_transpose":
            options["output_padding"] = self.output_padding
        return options

    @property
    def conv_w(self) -> tuple[int, ...]:
        """The shape of the filters for `conv`: a depthwise convolution has C groups of one channel."""
        if self.form != "depthwise_conv":
            return self.w
        *kernel, c, multiplier = self.w
        return (*kernel, min(c, 1), c * multiplier)

    def geometry(self, data_format: str = "channels_last") -> ConvGeometry:
        """The geometry of the convolution; for conv_transpose, of the convolution that is transposed."""
        x, w = to_format(self.x, data_format), w_to_format(self.conv_w, data_format)
        if self.form == "conv_transpose":
            return conv_transpose_geometry(self.name, x, w, self.stride, self.padding, self.output_padding,
                                           self.dilation, self.groups, data_format)
        groups = max(self.w[-2], 1) if self.form == "depthwise_conv" else self.groups
        return conv_geometry(self.name, x, w, self.stride, self.padding, self.dilation, groups, data_format)

    def draw(self, shape: tuple[int, ...], role: str, dtype: DTypeLike) -> np.ndarray:
        """The values of one operand ("x", "w", "g", "bias"): normal, or positive if tagged "one_signed"."""
        rng = np.random.default_rng(zlib.crc32(f"{self.name}/{role}".encode()))
        values = rng.standard_normal(shape, np.float32)
        return (np.abs(values) if "one_signed" in self.tags else values).astype(as_dtype(dtype))


def to_format(shape: tuple[int, ...], data_format: str) -> tuple[int, ...]:
    """The shape of images (N, spatial..., C) in a data format."""
    return shape if data_format == "channels_last" else (shape[0], shape[-1], *shape[1:-1])


def w_to_format(shape: tuple[int, ...], data_format: str) -> tuple[int, ...]:
    """The shape of filters (spatial..., C/groups, K) in a data format."""
    return shape if data_format == "channels_last" else (shape[-1], shape[-2], *shape[:-2])


def conv_cases(*tags: str) -> list[ConvCase]:
    """The cases that have all of the tags (all cases where none are given)."""
    return [case for case in CASES if case.tags.issuperset(tags)]


def _case(name: str, x: tuple[int, ...], kernel: tuple[int, ...], filters: int, *tags: str, **options: Any) -> ConvCase:
    c = x[-1] // options.get("groups", 1)
    return ConvCase(name, x, (*kernel, c, filters), tags=frozenset(tags), **options)


def _transposed(name: str, x: tuple[int, ...], kernel: tuple[int, ...], filters: int, *tags: str,
                **options: Any) -> ConvCase:
    w = (*kernel, filters // options.get("groups", 1), x[-1])
    return ConvCase(name, x, w, form="conv_transpose", tags=frozenset({"transposed", *tags}), **options)


def _depthwise(name: str, x: tuple[int, ...], kernel: tuple[int, ...], multiplier: int, *tags: str,
               **options: Any) -> ConvCase:
    return ConvCase(name, x, (*kernel, x[-1], multiplier), form="depthwise_conv", tags=frozenset({"depthwise", *tags}),
                    **options)


def _edge_cases() -> Iterator[ConvCase]:
    """Empty images, single pixels, and options that other libraries get wrong."""
    yield _case("batch_0", (0, 5, 6, 3), (3, 3), 4, "empty")
    yield _case("channels_0", (2, 5, 6, 0), (3, 3), 4, "empty")
    yield _case("filters_0", (2, 5, 6, 3), (3, 3), 0, "empty")
    yield _case("channels_0_grouped", (2, 5, 6, 0), (3, 3), 4, "empty", groups=2)
    yield _case("width_0_same", (2, 5, 0, 3), (3, 3), 4, "empty", padding="same", stride=(1, 2))
    yield _case("width_0_padded", (2, 5, 0, 3), (3, 2), 4, "empty", padding=1)
    yield _case("width_0_batch_0_3d", (0, 2, 0, 2, 3), (1, 1, 1), 4, "empty", padding="same")
    yield _case("output_1x1", (2, 4, 5, 3), (4, 5), 6)
    yield _case("output_1x1_strided", (2, 4, 5, 3), (3, 3), 6, stride=7)
    yield _case("pixel_1x1_padded", (1, 1, 1, 8), (1, 1), 8, padding=1)
    yield _case("pixel_1x1_same", (1, 1, 1, 5), (3, 3), 4, padding="same")
    yield _case("filter_1x1", (2, 6, 5, 9), (1, 1), 7)
    yield _case("filter_1x1_strided", (2, 7, 6, 9), (1, 1), 7, stride=(2, 3))
    yield _case("filter_1x1_groups", (2, 4, 4, 6), (1, 1), 9, groups=3)
    yield _case("filter_1x7", (2, 9, 9, 3), (1, 7), 4, padding="same")
    yield _case("filter_7x1", (2, 9, 9, 3), (7, 1), 4, padding=((3, 3), (0, 0)))
    yield _case("filter_7x5", (1, 13, 11, 4), (7, 5), 5, stride=(3, 5), padding=(11, 7))
    yield _case("padding_asymmetric", (2, 6, 7, 3), (3, 3), 4, padding=((1, 0), (1, 0)))
    yield _case("padding_asymmetric_after", (2, 6, 7, 3), (2, 4), 4, padding=((0, 1), (0, 3)), stride=2)
    yield _case("padding_one_side_axis", (2, 6, 7, 3), (3, 3), 4, padding=((2, 0), (0, 5)), stride=(1, 3))
    yield _case("padding_beyond_filter", (1, 3, 4, 2), (2, 2), 3, padding=4)
    yield _case("padding_11_7", (1, 9, 8, 4), (3, 3), 6, padding=((11, 11), (7, 7)), stride=(3, 4))
    yield _case("padding_full", (2, 5, 4, 3), (3, 2), 4, padding="full")
    yield _case("padding_full_dilated", (2, 5, 4, 3), (3, 2), 4, padding="full", dilation=(2, 3))
    yield _case("same_even_filter", (2, 7, 6, 3), (4, 2), 4, padding="same")
    yield _case("same_even_strided", (2, 7, 6, 3), (4, 2), 4, padding="same", stride=(3, 2))
    yield _case("same_dilated", (2, 9, 8, 3), (3, 2), 4, padding="same", dilation=(2, 3))
    yield _case("same_dilated_strided", (2, 9, 8, 3), (4, 3), 4, padding="same", dilation=(2, 3), stride=(2, 3))
    yield _case("same_stride_beyond_filter", (2, 9, 8, 3), (2, 2), 4, padding="same", stride=(5, 4))
    yield _case("same_filter_beyond_input", (2, 3, 2, 3), (7, 5), 4, padding="same")
    yield _case("stride_3_5", (2, 11, 13, 3), (3, 3), 4, stride=(3, 5))
    yield _case("stride_6_2", (1, 32, 32, 4), (3, 3), 5, stride=(6, 2), padding=1)
    yield _case("stride_beyond_filter", (2, 9, 8, 3), (2, 1), 4, stride=(4, 3))
    yield _case("stride_skips_the_end", (1, 10, 9, 3), (3, 3), 4, stride=(4, 5))
    yield _case("stride_huge", (1, 8, 8, 3), (3, 3), 4, stride=10**9)
    yield _case("dilation_over_stride", (2, 11, 12, 3), (3, 3), 4, dilation=(4, 3), stride=(2, 2), padding=2)
    yield _case("dilation_common_factor", (1, 13, 13, 3), (3, 2), 4, dilation=(2, 4), stride=(4, 2), padding=(3, 1))
    yield _case("groups_2", (2, 6, 6, 4), (3, 3), 6, groups=2)
    yield _case("groups_3_strided", (2, 7, 7, 9), (3, 2), 6, groups=3, stride=2, padding=1)
    yield _case("groups_equal_channels", (2, 6, 6, 5), (3, 3), 5, groups=5, padding=1)
    yield _case("groups_equal_filters", (2, 6, 6, 15), (3, 3), 5, groups=5)
    yield _case("groups_one_filter_each", (1, 5, 4, 6), (2, 1), 3, groups=3)
    yield _case("groups_one_image_one_pixel", (1, 1, 1, 4), (1, 1), 2, groups=2)
    yield _case("conv1d", (3, 17, 4), (5,), 6, stride=2, padding=((2, 1),))
    yield _case("conv1d_same", (3, 16, 4), (4,), 6, padding="same", dilation=3)
    yield _case("conv3d", (2, 5, 6, 7, 3), (2, 3, 4), 5, stride=(1, 2, 3), padding=(0, 1, 2))
    yield _case("conv3d_same_groups", (1, 5, 4, 6, 4), (3, 2, 3), 6, padding="same", groups=2, dilation=(1, 2, 1))


def _long_cases() -> Iterator[ConvCase]:
    """Sums of thousands of terms of one sign, where a plain sequence of float32 additions drifts off."""
    yield _case("long_channels", (1, 4, 4, 4608), (1, 1), 5, "long", "one_signed")
    yield _case("long_taps", (1, 9, 9, 512), (3, 3), 6, "long", "one_signed", padding=1)
    yield _case("long_filters", (1, 5, 5, 3), (3, 3), 1024, "long", "one_signed")  # dgrad sums 9 * 1024 terms
    yield _case("long_pixels", (8, 112, 112, 3), (1, 1), 4, "long", "one_signed")  # wgrad sums 100,352 terms
    yield _case("long_pixels_3x3", (4, 64, 64, 3), (3, 3), 4, "long", "one_signed", padding=1)
    yield _case("long_signed", (1, 9, 9, 512), (3, 3), 6, "long", padding="same", stride=2)
    yield _depthwise("long_depthwise_31", (1, 40, 40, 3), (31, 31), 1, "long", "one_signed")
    yield _depthwise("long_depthwise_vectors", (1, 33, 70, 8), (13, 13), 1, "long", "one_signed", padding="same")
    yield _depthwise("long_depthwise_pixels", (2, 128, 128, 2), (3, 3), 2, "long", "one_signed", padding="same")
    yield _transposed("long_transposed", (1, 4, 4, 1024), (4, 4), 3, "long", "one_signed", stride=2, padding=1)


def _channel_cases() -> Iterator[ConvCase]:
    """Every pair of channel counts that no tile and no vector width divides."""
    for c, k in itertools.product(ODD_CHANNELS, ODD_CHANNELS):
        yield _case(f"channels_{c}_{k}", (2, 4, 5, c), (3, 2), k, "channels", padding=((1, 0), (0, 1)))


def _depthwise_cases() -> Iterator[ConvCase]:
    for f in (3, 5, 7, 11, 31):
        yield _depthwise(f"depthwise_{f}x{f}", (2, 17, 16, 5), (f, f), 1, padding="same")
        yield _depthwise(f"depthwise_{f}x{f}_strided", (1, 17, 16, 3), (f, f), 2, stride=2, padding=f // 2)
    yield _depthwise("depthwise_multiplier_3", (2, 7, 6, 7), (3, 3), 3, padding=((1, 0), (0, 2)))
    yield _depthwise("depthwise_dilated", (2, 11, 12, 6), (3, 3), 1, dilation=(2, 3), padding=2)
    yield _depthwise("depthwise_2x4_stride_3", (2, 11, 12, 6), (2, 4), 2, stride=3)
    yield _depthwise("depthwise_1d", (2, 15, 9), (4,), 2, padding="same", stride=2)
    yield _depthwise("depthwise_3d", (1, 5, 6, 4, 3), (2, 3, 3), 2, padding=1, stride=(1, 2, 1))
    # for kernels with sliding windows: channels that fill vectors of 16 bytes (24 channels: three vectors)
    for f, size in ((3, (9, 11)), (5, (8, 9)), (7, (7, 10)), (9, (5, 13)), (1, (3, 6))):
        yield _depthwise(f"depthwise_{f}x{f}_vectors", (2, *size, 8), (f, f), 1, padding="same")
        yield _depthwise(f"depthwise_{f}x{f}_vectors_strided", (1, *size, 24), (f, f), 1, stride=2, padding=f // 2)
    yield _depthwise("depthwise_vectors_uneven", (2, 10, 9, 8), (3, 3), 1, padding=((0, 2), (1, 0)), stride=(3, 2))
    yield _depthwise("depthwise_vectors_full", (1, 5, 18, 8), (3, 5), 1, padding="full")
    yield _depthwise("depthwise_vectors_padding_beyond", (1, 4, 6, 8), (2, 3), 1, padding=4)
    yield _depthwise("depthwise_vectors_rows_dilated", (1, 9, 8, 16), (3, 3), 1, dilation=(2, 1), padding=1)
    yield _depthwise("depthwise_vectors_dilated", (1, 9, 8, 8), (3, 3), 1, dilation=2, padding=(1, 2), stride=(1, 2))
    yield _depthwise("depthwise_vectors_stride_3", (1, 9, 11, 8), (3, 4), 1, stride=(1, 3), padding=1)
    yield _depthwise("depthwise_vectors_1d", (2, 19, 40), (3,), 1, padding=((2, 1),), stride=2)
    yield _depthwise("depthwise_vectors_3d", (1, 4, 5, 9, 8), (3, 3, 3), 1, padding=1, stride=(2, 1, 1))
    yield _depthwise("depthwise_channels_0", (2, 5, 5, 0), (3, 3), 2, "empty")
    yield _depthwise("depthwise_batch_0", (0, 5, 5, 3), (3, 3), 2, "empty")


def _transposed_cases() -> Iterator[ConvCase]:
    for pads in itertools.product(range(3), repeat=4):
        top, bottom, left, right = pads
        yield _transposed(f"transposed_padding_{top}{bottom}{left}{right}", (1, 4, 3, 2), (4, 3), 3, "paddings",
                          stride=(2, 3), padding=((top, bottom), (left, right)))
    for stride, extra in ((2, 1), (3, 1), (3, 2), ((4, 3), (3, 0))):
        yield _transposed(f"transposed_output_padding_{stride}_{extra}", (2, 4, 3, 3), (3, 3), 4, stride=stride,
                          padding=1, output_padding=extra)
    yield _transposed("transposed_output_padding_dilated", (1, 4, 3, 2), (4, 5), 3, stride=(3, 2), padding=(1, 2),
                      output_padding=(2, 3), dilation=4)
    yield _transposed("transposed_output_padding_beyond_stride", (2, 4, 3, 2), (2, 3), 3, stride=(1, 2),
                      output_padding=(2, 3), dilation=(3, 4))
    yield _transposed("transposed_4x4_stride_2", (2, 5, 6, 4), (4, 4), 3, stride=2, padding=1)
    yield _transposed("transposed_stride_beyond_filter", (2, 4, 3, 3), (2, 2), 4, stride=(3, 5))
    yield _transposed("transposed_same", (2, 4, 5, 3), (3, 4), 2, stride=2, padding="same")
    yield _transposed("transposed_same_stride_beyond_filter", (2, 4, 5, 3), (1, 2), 2, stride=3, padding="same")
    yield _transposed("transposed_same_dilated", (2, 4, 5, 3), (3, 2), 2, stride=(1, 3), padding="same", dilation=2)
    yield _transposed("transposed_full", (1, 6, 7, 3), (2, 3), 2, padding="full")
    yield _transposed("transposed_groups", (2, 4, 4, 6), (3, 3), 4, groups=2, stride=2)
    yield _transposed("transposed_depthwise", (2, 4, 4, 3), (3, 3), 3, groups=3, stride=2, padding=1)
    yield _transposed("transposed_1x1", (2, 4, 5, 7), (1, 1), 9)
    yield _transposed("transposed_1d", (2, 7, 3), (4,), 5, stride=3, padding=((2, 1),), output_padding=1)
    yield _transposed("transposed_3d", (1, 3, 2, 4, 4), (2, 3, 3), 6, stride=(2, 1, 3), padding=(0, 1, 1), groups=2)
    yield _transposed("transposed_batch_0", (0, 4, 5, 3), (3, 3), 2, "empty", stride=2)
    yield _transposed("transposed_channels_0", (2, 4, 5, 0), (3, 3), 2, "empty", stride=2)
    yield _transposed("transposed_filters_0", (2, 4, 5, 3), (3, 3), 0, "empty", stride=2)
    yield _transposed("transposed_width_0_same", (2, 4, 0, 3), (3, 3), 2, "empty", stride=2, padding="same")


def _line_cases() -> Iterator[ConvCase]:
    """Channels that fill lines of 64 channels wholly or in part, for kernels that load whole lines."""
    yield _case("lines_whole", (2, 9, 11, 64), (3, 3), 64, "lines", padding="same")
    yield _case("lines_in_part", (2, 6, 7, 72), (3, 3), 136, "lines", padding=1)
    yield _case("lines_many", (1, 9, 8, 320), (3, 3), 40, "lines", padding=1)
    yield _case("lines_strided", (3, 15, 17, 64), (3, 3), 96, "lines", stride=2, padding="same")
    yield _case("lines_dilated", (2, 15, 17, 40), (3, 3), 40, "lines", dilation=(2, 3), padding=((1, 2), (0, 3)))
    yield _case("lines_dilated_strided", (2, 20, 21, 64), (4, 5), 64, "lines", dilation=2, stride=3, padding="same")
    yield _case("lines_groups", (2, 9, 9, 256), (3, 3), 256, "lines", groups=4, padding=1)
    yield _case("lines_1d", (2, 70, 64), (5,), 64, "lines", stride=2, padding=2, dilation=3)
    yield _case("lines_3d", (2, 5, 6, 7, 64), (3, 3, 2), 64, "lines", stride=(1, 2, 1), padding=1)
    # Tiles of gw reach beyond the last tap: by one in a block, by three in a cluster of two blocks with 128 filters.
    yield _case("lines_3d_far", (1, 5, 4, 4, 64), (3, 1, 1), 64, "lines", dilation=(11, 1, 1), padding=(11, 0, 0))
    yield _case("lines_3d_dilated", (1, 5, 4, 4, 64), (9, 1, 1), 128, "lines", dilation=(3, 1, 1), padding=(12, 0, 0))
    yield _transposed("lines_transposed", (2, 7, 8, 64), (3, 3), 72, "lines", stride=2, padding=1, output_padding=1)


def _packed_cases() -> Iterator[ConvCase]:
    """Few channels and sums of 360 to 500 terms, for Hopper's packed kernel: it copies 16, 8, 4 and 2 bytes."""
    yield _case("packed_11x11_strided", (2, 64, 64, 3), (11, 11), 64, "packed", stride=4, padding=2)
    yield _case("packed_9x9", (1, 16, 20, 5), (9, 9), 60, "packed", padding=4)
    yield _case("packed_9x9_narrow", (1, 20, 15, 6), (9, 9), 130, "packed", padding=4)
    yield _case("packed_5x5_strided", (1, 25, 34, 16), (5, 5), 100, "packed", stride=2, padding=2)
    yield _case("packed_1d", (1, 500, 6), (61,), 64, "packed", padding=30)
    yield _case("packed_3d", (1, 5, 12, 13, 4), (5, 5, 5), 72, "packed", padding=2)


def grid_cases(rank: int) -> Iterator[ConvCase]:
    """Kernels 1 to 4, strides 1 to 4, dilation 1 to 3, padding 0 to 4, groups 1 to 3: in 1-D all 720 combinations.

    In 2-D and 3-D each axis walks through that list in its own way, so that no two axes agree for long.
    """
    steps = list(itertools.product(range(1, 5), range(1, 5), range(1, 4), range(5)))
    count = {1: 3 * len(steps), 2: 240, 3: 80}[rank]
    for i in range(count):
        groups = 1 + i % 3
        axes = [steps[(i // 3 if rank == 1 else i * 7 + 101 * axis * (i + 1)) % len(steps)] for axis in range(rank)]
        kernel, stride, dilation, padding = (tuple(values) for values in zip(*axes))
        spans = [d * (f - 1) + 1 for f, d in zip(kernel, dilation)]
        size = [max(span - 2 * p, 1) + (i + axis) % 5 for axis, (span, p) in enumerate(zip(spans, padding))]
        x = (1 + i % 2, *size, groups * (1 + i % 4))
        yield _case(f"grid_{rank}d_{i}", x, kernel, groups * (1 + i % 5), "grid", stride=stride, dilation=dilation,
                    padding=padding, groups=groups)


CASES: tuple[ConvCase, ...] = (*_edge_cases(), *_depthwise_cases(), *_transposed_cases(), *_channel_cases(),
                               *_long_cases(), *_line_cases(), *_packed_cases())

# Cases large enough for Hopper's kernels for float32.
LARGE: tuple[ConvCase, ...] = (_case("large_float32", (8, 28, 28, 128), (3, 3), 128, "float32", padding="same"),)

# Cases that must raise an error, and what the message must say (a regular expression).
REFUSED: tuple[tuple[ConvCase, str], ...] = (
    (_case("filter_larger", (1, 4, 5, 3), (5, 3), 4), r"spans \(5, 3\) pixels, larger than the padded input \(4, 5\)"),
    (_case("filter_larger_padded", (1, 2, 5, 3), (7, 3), 4, padding=2), r"spans \(7, 3\).*padded input \(6, 9\)"),
    (_case("filter_larger_dilated", (1, 4, 5, 3), (3, 3), 4, dilation=2), r"spans \(5, 5\).*padded input \(4, 5\)"),
    (_case("filter_on_width_0", (1, 4, 0, 3), (1, 1), 4), r"spans \(1, 1\).*padded input \(4, 0\)"),
    (_case("filter_without_taps", (1, 4, 4, 3), (0, 3), 4), r"at least one tap per axis, got \(0, 3\)"),
    (_case("stride_0", (1, 4, 4, 3), (3, 3), 4, stride=0), r"expected stride >= 1, got 0"),
    (_case("stride_negative", (1, 4, 4, 3), (3, 3), 4, stride=(1, -2)), r"expected stride >= 1, got -2"),
    (_case("dilation_0", (1, 4, 4, 3), (3, 3), 4, dilation=0), r"expected dilation >= 1, got 0"),
    (_case("padding_negative", (1, 4, 4, 3), (3, 3), 4, padding=((0, -1), (0, 0))), r"expected padding >= 0, got -1"),
    (_case("padding_unknown", (1, 4, 4, 3), (3, 3), 4, padding="SAME"), r"'valid', 'same', 'full'.*got 'SAME'"),
    (ConvCase("groups_0", (1, 4, 4, 3), (3, 3, 3, 4), groups=0), r"expected groups >= 1, got 0"),
    (ConvCase("groups_do_not_divide", (1, 4, 4, 3), (3, 3, 1, 4), groups=2),
     r"groups to divide C and K, got groups=2, C=3, K=4"),
    (ConvCase("groups_do_not_divide_filters", (1, 4, 4, 4), (3, 3, 2, 5), groups=2), r"groups=2, C=4, K=5"),
    (ConvCase("channels_mismatch", (1, 4, 4, 3), (3, 3, 5, 4)), r"== C/groups == 3, got 5"),
    (ConvCase("ranks_mismatch", (1, 4, 4, 3), (3, 3, 4)), r"expected w of 4 axes like x"),
    (ConvCase("rank_0", (4, 3), (3, 4)), r"expected x of 3 to 5 axes"),
    (ConvCase("rank_4", (1, 2, 2, 2, 2, 3), (1, 1, 1, 1, 3, 4)), r"expected x of 3 to 5 axes"),
    (_transposed("transposed_same_output_padding", (1, 4, 4, 3), (3, 3), 2, stride=2, padding="same",
                 output_padding=0), r"no output_padding with padding='same'"),
    (_transposed("transposed_output_padding_large", (1, 4, 4, 3), (3, 3), 2, stride=2, output_padding=2),
     r"output_padding < max\(stride, dilation\), got output_padding=\(2, 2\)"),
    (_transposed("transposed_nothing_left", (1, 2, 2, 3), (1, 1), 2, padding=1), r"at least one pixel per axis"),
    (_transposed("transposed_width_0", (1, 2, 0, 3), (3, 3), 2), r"at least one pixel per axis"),
    (ConvCase("transposed_mismatch", (1, 4, 4, 3), (3, 3, 2, 5), form="conv_transpose"), r"== C of x == 3, got 5"),
    (ConvCase("depthwise_mismatch", (1, 4, 4, 3), (3, 3, 5, 1), form="depthwise_conv"), r"== C == 3, got 5"),
)
