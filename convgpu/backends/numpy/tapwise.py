"""Convolution tap by tap over the pixels that each tap meets: where Inf or NaN would meet the zeros of padding.

Slower than im2col, which multiplies padding too; 0 * Inf must not arise at a border, so filters (for fprop) or a
result (of wgrad) with Inf or NaN come here.
"""

from __future__ import annotations

import itertools

import numpy as np

from ..epilogue import finish
from .tiles import Blocks, Gather, images
from .workers import parallel_for

TILE = 1 << 18  # elements of a tile's operands and results together
CHANNELS = 4096  # taken at once


def convolve_tapwise(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, gather: Gather, activation: str | None,
                     y: np.ndarray, channels_last: bool, dtype: np.dtype) -> None:
    """As gather.convolve, for filters `w` seen as (groups, taps..., C, K)."""
    count = w.shape[-1]
    channels, filters = Blocks((gather.channels,), CHANNELS), Blocks((gather.groups, count), CHANNELS)
    tiles = Blocks((gather.batch, *gather.output), max(TILE // (channels.largest + filters.largest), 1))
    x_view, y_view = images(x, gather.groups, channels_last), images(y, gather.groups, channels_last)
    bias_rows = None if bias is None else bias.astype(dtype).reshape(gather.groups, count)

    def compute(i: int) -> None:
        tile, part = divmod(i, filters.count)
        box = tiles[tile].box
        groups, k = (slice(*r) for r in filters[part].box)
        out = np.zeros((*[b - a for a, b in box], groups.stop - groups.start, k.stop - k.start), dtype)
        for tap in itertools.product(*map(range, gather.kernel)):
            at_source, at_pixels = gather.meet(box, tap)
            for c in [slice(c.start, c.stop) for c in channels]:
                operand = x_view[(slice(*box[0]), *at_source, groups, c)].astype(dtype)
                factor = w[(groups, *tap, c, k)].astype(dtype)
                out[(slice(None), *at_pixels)] += np.matmul(operand[..., None, :], factor)[..., 0, :]
        finish(out, None if bias_rows is None else bias_rows[groups, k], activation)
        y_view[(*[slice(*r) for r in box], groups, k)] = out

    parallel_for(tiles.count * filters.count, compute)


def weight_gradient_tapwise(x: np.ndarray, gy: np.ndarray, gather: Gather, gw: np.ndarray, channels_last: bool,
                            dtype: np.dtype) -> None:
    """As wgrad.weight_gradient, for `gw` seen as (groups, taps..., C, K)."""
    channels, filters = (Blocks((n,), 512) for n in gw.shape[-2:])
    blocks = Blocks((gather.groups, *gather.kernel, channels.count, filters.count), 1)
    tiles = Blocks((gather.batch, *gather.output), max(TILE // (channels.largest + filters.largest), 1))
    x_view, gy_view = images(x, gather.groups, channels_last), images(gy, gather.groups, channels_last)

    def compute(i: int) -> None:
        group, *tap, c_block, k_block = [a for a, _ in blocks[i].box]
        c, k = (slice(b.start, b.stop) for b in (channels[c_block], filters[k_block]))
        total = np.zeros((c.stop - c.start, k.stop - k.start), dtype)
        for tile in tiles:
            at_source, at_pixels = gather.meet(tile.box, tap)
            at_gradients = [slice(a + s.start, a + s.stop) for s, (a, _) in zip(at_pixels, tile.box[1:])]
            batch = slice(*tile.box[0])
            columns = x_view[(batch, *at_source, group, c)].astype(dtype).reshape(-1, total.shape[0])
            total += columns.T @ gy_view[(batch, *at_gradients, group, k)].astype(dtype).reshape(-1, total.shape[1])
        gw[(group, *tap, c, k)] = total

    parallel_for(blocks.count, compute)
