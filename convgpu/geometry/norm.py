"""The geometry of normalisation: which elements share a mean, and which share a scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class NormGeometry:
    """x seen as x[outer][rows][channels][inner], in row-major order.

    The channels are in `groups` equal parts of neighbours. The statistics are those of (outer, group): they are taken
    over rows, the group's channels, and inner. scale and offset belong to channels.

    | | outer | rows | channels | inner | groups |
    |---|---|---|---|---|---|
    | batch norm, channels_last | 1 | N * pixels | C | 1 | C |
    | batch norm, channels_first | 1 | N | C | pixels | C |
    | group norm, channels_last | N | pixels | C | 1 | G |
    | group norm, channels_first | N | 1 | C | pixels | G |
    | layer norm over the last axes | what is left | 1 | their product | 1 | 1 |
    """

    outer: int
    rows: int
    channels: int
    inner: int
    groups: int

    @property
    def size(self) -> int:
        """The number of elements of x."""
        return self.outer * self.rows * self.channels * self.inner

    @cached_property
    def count(self) -> int:
        """The number of elements that share a mean."""
        return self.rows * (self.channels // max(self.groups, 1)) * self.inner

    @property
    def statistics(self) -> tuple[int, int]:
        """The shape of an array with one value for each mean."""
        return self.outer, self.groups

    @property
    def split(self) -> tuple[int, int, int, int, int]:
        """The shape of x with an axis for groups and one for the channels of a group."""
        return self.outer, self.rows, self.groups, self.channels // max(self.groups, 1), self.inner


def batch_norm_geometry(shape: tuple[int, ...], channel: int) -> NormGeometry:
    """One mean for each channel, which is axis `channel` of x."""
    before, channels, inner = math.prod(shape[:channel]), shape[channel], math.prod(shape[channel + 1:])
    return NormGeometry(1, 1, 1, before * inner, 1) if channels == 1 else NormGeometry(1, before, channels, inner,
                                                                                       channels)


def group_norm_geometry(shape: tuple[int, ...], channel: int, groups: int) -> NormGeometry:
    """One mean for each image and each of `groups` parts of its channels; axis `channel` of x has the channels."""
    return NormGeometry(shape[0], math.prod(shape[1:channel]), shape[channel], math.prod(shape[channel + 1:]), groups)


def layer_norm_geometry(shape: tuple[int, ...], axes: int) -> NormGeometry:
    """One mean for each run over the last `axes` axes of x."""
    kept = len(shape) - axes
    return NormGeometry(math.prod(shape[:kept]), 1, math.prod(shape[kept:]), 1, 1)
