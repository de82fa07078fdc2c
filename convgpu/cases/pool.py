"""Named pooling problems, from everyday to awkward ones, in one table for all backends.

Shapes are written in channels_last, and can be converted to either data format.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..dtypes import DTypeLike, as_dtype
from ..geometry import PoolGeometry, adaptive_pool_geometry, pool_geometry


@dataclass(frozen=True)
class PoolCase:
    """One problem: the input's shape (N, spatial..., C), the options, and the kind of data.

    size: the window; with `adaptive`, the output size. values: "normal", "ties" (few distinct integers), "negative",
    "nan" (a tenth of all values), "infinite" (mostly -inf).
    """

    name: str
    x: tuple[int, ...]
    size: Any
    stride: Any = None
    padding: Any = "valid"
    dilation: Any = 1
    ceil_mode: bool = False
    count_include_pad: bool = False
    adaptive: bool = False
    values: str = "normal"

    @property
    def averages(self) -> bool:
        """Whether avg_pool has the case's options: it has no dilation."""
        return self.dilation == 1

    @property
    def max_options(self) -> dict[str, Any]:
        """The keyword arguments of max_pool, except data_format."""
        return {} if self.adaptive else {"stride": self.stride, "padding": self.padding, "dilation": self.dilation,
                                         "ceil_mode": self.ceil_mode}

    @property
    def avg_options(self) -> dict[str, Any]:
        """The keyword arguments of avg_pool, except data_format."""
        return {} if self.adaptive else {"stride": self.stride, "padding": self.padding, "ceil_mode": self.ceil_mode,
                                         "count_include_pad": self.count_include_pad}

    def shape(self, data_format: str) -> tuple[int, ...]:
        """The input's shape in a data format."""
        n, *spatial, c = self.x
        return self.x if data_format == "channels_last" else (n, c, *spatial)

    def geometry(self, data_format: str = "channels_last") -> PoolGeometry:
        """The geometry that every direction uses."""
        shape = self.shape(data_format)
        if self.adaptive:
            return adaptive_pool_geometry(self.name, shape, self.size, data_format)
        return pool_geometry(self.name, shape, self.size, self.stride, self.padding, self.dilation, self.ceil_mode,
                             self.count_include_pad, data_format)

    def input(self, dtype: DTypeLike, data_format: str = "channels_last") -> np.ndarray:
        """The input, which is the same at every call and in either format, apart from the layout."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        x = rng.standard_normal(self.x)
        if self.values == "ties":
            x = np.round(x)
        elif self.values == "negative":
            x = -1 - np.abs(x)
        elif self.values == "nan":
            x = np.where(rng.random(self.x) < 0.1, np.nan, np.round(x))
        elif self.values == "infinite":
            x = np.where(rng.random(self.x) < 0.7, -np.inf, x)
        x = x.astype(as_dtype(dtype))
        return x if data_format == "channels_last" else np.ascontiguousarray(np.moveaxis(x, -1, 1))


CASES = [
    # smaller versions of textbook networks' poolings
    PoolCase("lenet", (2, 28, 28, 6), 2),
    PoolCase("alexnet", (2, 27, 27, 16), 3, 2),
    PoolCase("zfnet", (1, 22, 22, 8), 3, 2, 1),
    PoolCase("resnet", (2, 24, 24, 8), 3, 2, 1),
    PoolCase("googlenet-ceil", (1, 28, 28, 8), 3, 2, ceil_mode=True),
    PoolCase("inception", (2, 9, 9, 12), 3, 1, "same"),
    # numbers of spatial axes
    PoolCase("1d", (3, 17, 5), 3, 2, 1),
    PoolCase("1d-pair-padding", (2, 10, 3), 4, 3, ((1, 3),)),
    PoolCase("3d", (2, 6, 7, 8, 3), 2),
    PoolCase("3d-overlapping", (1, 5, 6, 7, 2), (2, 3, 3), (1, 2, 2), 1),
    PoolCase("3d-anisotropic", (2, 4, 9, 5, 2), (1, 3, 2), (1, 3, 1), "same"),
    # shapes of windows
    PoolCase("window-2x3", (2, 8, 9, 4), (2, 3)),
    PoolCase("window-1x1", (2, 4, 5, 3), 1),
    PoolCase("window-1x1-strided", (2, 7, 8, 3), 1, (2, 3)),
    PoolCase("window-7x5", (1, 20, 18, 3), (7, 5), (3, 2)),
    PoolCase("window-of-256-taps", (1, 17, 18, 2), 16, 1),
    PoolCase("window-of-289-taps", (1, 18, 19, 2), 17, 1),
    PoolCase("window-is-the-image", (2, 6, 5, 3), (6, 5)),
    PoolCase("gaps", (2, 11, 12, 3), 2, (3, 5)),
    PoolCase("stride-3-5", (2, 13, 17, 3), (4, 3), (3, 5), 1),
    PoolCase("stride-6-2", (1, 20, 9, 2), 3, (6, 2)),
    PoolCase("one-output", (2, 3, 3, 5), 3, 2),
    # padding, dilation, ceil_mode
    PoolCase("asymmetric-padding", (2, 7, 8, 3), 3, 2, ((1, 0), (2, 1))),
    PoolCase("full-padding", (1, 5, 6, 2), 3, 1, "full"),
    PoolCase("same-even", (2, 7, 9, 2), 2, 2, "same"),
    PoolCase("dilation", (2, 11, 12, 3), 3, 2, 1, dilation=(2, 3)),
    PoolCase("dilation-in-padding", (1, 3, 9, 2), (2, 3), 1, ((2, 2), (3, 3)), dilation=(3, 2)),
    PoolCase("disjoint-dilation", (2, 10, 10, 3), 2, 4, dilation=3),
    PoolCase("ceil", (2, 6, 8, 3), 3, 2, ceil_mode=True),
    PoolCase("ceil-past-padding", (1, 5, 7, 2), 2, (4, 3), 1, ceil_mode=True),
    PoolCase("count-include-pad", (2, 7, 6, 3), 3, 2, 1, count_include_pad=True),
    PoolCase("count-include-pad-ceil", (2, 6, 9, 3), 3, 2, 1, ceil_mode=True, count_include_pad=True),
    # values
    PoolCase("negative-in-padding", (2, 6, 7, 3), 3, 2, 1, values="negative"),
    PoolCase("ties", (2, 9, 10, 6), 3, 2, 1, values="ties"),
    PoolCase("ties-disjoint", (2, 10, 10, 6), 2, values="ties"),
    PoolCase("ties-3d", (1, 6, 6, 6, 2), 3, 1, 1, values="ties"),
    PoolCase("nan", (2, 9, 10, 6), 3, 2, 1, values="nan"),
    PoolCase("nan-disjoint", (2, 8, 10, 6), 2, values="nan"),
    PoolCase("nan-global", (2, 8, 10, 6), (8, 10), values="nan"),
    PoolCase("infinite", (2, 9, 10, 6), 3, 2, 1, values="infinite"),
    PoolCase("infinite-dilated", (2, 9, 10, 6), 2, 1, 2, dilation=3, values="infinite"),
    # pooling to a given output size
    PoolCase("adaptive-even", (2, 8, 9, 3), (4, 3), adaptive=True),
    PoolCase("adaptive-uneven", (2, 7, 10, 3), (3, 4), adaptive=True),
    PoolCase("adaptive-upward", (2, 3, 4, 2), (5, 7), adaptive=True),
    PoolCase("adaptive-1d", (2, 13, 3), 5, adaptive=True),
    PoolCase("adaptive-3d", (1, 5, 6, 7, 2), (2, 3, 4), adaptive=True, values="ties"),
    PoolCase("adaptive-nan", (2, 7, 10, 3), (3, 4), adaptive=True, values="nan"),
    # channels that fill vectors: windows that many threads share, and windows that one thread walks through
    PoolCase("channels-16-shared-window", (1, 9, 8, 16), (8, 8), 1, values="ties"),
    PoolCase("channels-8-window-of-289-taps", (1, 19, 18, 8), 17, 1, values="nan"),
    PoolCase("channels-40-overlapping", (1, 9, 9, 40), 3, 2, 1, values="ties"),
    PoolCase("channels-24-disjoint", (1, 7, 8, 24), 2, values="nan"),
    PoolCase("channels-72-3d", (1, 4, 4, 4, 72), 2),
    PoolCase("channels-16-adaptive", (1, 7, 10, 16), (3, 4), adaptive=True),
    # arrays without elements
    PoolCase("no-images", (0, 6, 6, 3), 2),
    PoolCase("no-channels", (2, 6, 6, 0), 3, 2, 1),
    PoolCase("no-images-adaptive", (0, 7, 6, 3), 3, adaptive=True),
]
