"""Named problems of normalisation, from everyday to hostile ones, in one table for all backends.

Shapes are written in channels_last, and can be converted to either data format.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..dtypes import DTypeLike, as_dtype
from ..geometry import NormGeometry, batch_norm_geometry, group_norm_geometry, layer_norm_geometry

LARGEST = {"float16": 6e4, "bfloat16": 3e38, "float32": 3e38, "float64": 1.5e308}
TINY = {"float16": 1e-6, "bfloat16": 1e-30, "float32": 1e-30, "float64": 1e-200}


@dataclass(frozen=True)
class NormCase:
    """One problem: the shape of x (N, spatial..., C), what shares a mean, and the kind of data.

    groups: None for batch norm, 0 for layer norm over the last axis, else the groups of channels. values: "normal";
    "far" (1e4 + differences of 1e-2); "equal" (every channel has one value); "steps" (neighbouring numbers); "huge"
    (squares overflow); "largest" (differences overflow); "tiny" (squares vanish; epsilon is 0); "first" (a first value
    far from the others); "nan", "inf" (one of them). activation: what follows. parameters: whether there are scale and
    offset.
    """

    name: str
    x: tuple[int, ...]
    groups: int | None = None
    values: str = "normal"
    activation: str | None = "relu"
    parameters: bool = True
    epsilon: float = 1e-5

    def shape(self, data_format: str) -> tuple[int, ...]:
        """The shape of x in a data format."""
        n, *spatial, c = self.x
        return self.x if data_format == "channels_last" or self.groups == 0 else (n, c, *spatial)

    def geometry(self, data_format: str = "channels_last") -> NormGeometry:
        """The geometry of all calls."""
        shape = self.shape(data_format)
        channel = len(shape) - 1 if data_format == "channels_last" else 1
        if self.groups is None:
            return batch_norm_geometry(shape, channel)
        return group_norm_geometry(shape, channel, self.groups) if self.groups else layer_norm_geometry(shape, 1)

    def input(self, dtype: DTypeLike, data_format: str = "channels_last") -> np.ndarray:
        """The values of x."""
        known = as_dtype(dtype)
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        x: Any = rng.standard_normal(self.x)
        flat = x.reshape(-1)
        if self.values == "far":
            x = 1e4 + 1e-2 * x
        elif self.values == "equal":
            x = np.broadcast_to(3333333.3 + np.arange(self.x[-1]), self.x) / (100 if known == np.float16 else 1)
        elif self.values == "steps":
            x = 2000 + rng.integers(0, 2, self.x) * float(np.spacing(np.array(2000, known)))
        elif self.values in ("huge", "largest"):
            limit = LARGEST[known.name]
            x = np.clip(x / 3, -1, 1) * limit * (1 if self.values == "largest" else 1e-2)
            if self.values == "largest" and x.size:
                x.reshape(-1)[:3] = limit, limit, -limit
        elif self.values == "tiny":
            x = x * TINY[known.name]
        elif self.values == "first" and x.size:
            flat[0] = 1e4
        elif self.values in ("nan", "inf") and x.size:
            flat[len(flat) // 2] = np.nan if self.values == "nan" else np.inf
        with np.errstate(over="ignore"):
            x = np.asarray(x).astype(known)
        last = data_format == "channels_last" or self.groups == 0
        return np.ascontiguousarray(x if last else np.moveaxis(x, -1, 1))


CASES = [
    NormCase("batch", (4, 6, 5, 16)),
    NormCase("batch, odd channels", (3, 5, 7), activation=None),
    NormCase("batch of rows", (33, 24), activation="relu6"),
    NormCase("batch of volumes", (2, 3, 4, 5, 8), activation="silu"),
    NormCase("batch without parameters", (2, 9, 9, 8), parameters=False),
    NormCase("batch of ResNet's first layer", (2, 40, 40, 64)),
    NormCase("many channels", (3, 4, 4, 520)),
    NormCase("many rows", (2, 9001, 5)),
    NormCase("one channel", (3, 200, 1)),
    NormCase("one element of each channel", (1, 1, 1, 9)),
    NormCase("no images", (0, 4, 4, 6)),
    NormCase("no channels", (2, 4, 4, 0)),
    NormCase("a large mean", (4, 30, 30, 8), values="far", activation=None),
    NormCase("equal values", (5, 40, 40, 6), values="equal"),
    NormCase("neighbouring numbers", (4, 50, 50, 8), values="steps", activation=None),
    NormCase("squares overflow", (4, 30, 30, 8), values="huge"),
    NormCase("differences overflow", (4, 30, 30, 8), values="largest", activation=None),
    NormCase("squares vanish", (4, 30, 30, 8), values="tiny", activation=None, epsilon=0.0),
    NormCase("a first value far away", (4, 30, 30, 8), values="first"),
    NormCase("a NaN", (3, 9, 9, 8), values="nan"),
    NormCase("an Inf", (3, 9, 9, 5), values="inf"),
    NormCase("layer", (6, 5, 64), 0, activation=None),
    NormCase("layer of odd length", (7, 33), 0, activation="silu"),
    NormCase("layer of long lines", (3, 3000), 0),
    NormCase("layer of many lines", (3000, 16), 0, activation=None),
    NormCase("layer of nothing", (0, 16), 0),
    NormCase("layer of equal values", (9, 257), 0, "equal"),
    NormCase("layer of huge values", (9, 257), 0, "huge", activation=None),
    NormCase("group", (3, 7, 7, 12), 3),
    NormCase("group of many channels", (2, 6, 6, 64), 2, activation="silu"),
    NormCase("group of rows", (5, 12), 4),
    NormCase("instance", (3, 20, 20, 8), 8, activation=None),
    NormCase("one group", (2, 30, 30, 16), 1, "far", activation=None),
    NormCase("no images in groups", (0, 4, 4, 6), 3),
]
