"""Convolution tap by tap, over the pixels that each tap reads, for operands with Inf or NaN at zero padding.

It is slower than im2col, which multiplies the padding too. Since 0 * Inf must not arise at a border, fprop with Inf or
NaN in the filters, and wgrad with Inf or NaN in its result, are computed here.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ..epilogue import finish
from .operands import Filters
from .tiles import Blocks, Gather, filters, images
from .workers import parallel_for

TILE = 1 << 18  # elements of a tile's operands and results together
CHANNELS = 4096  # channels that are read at once


def convolve_tapwise(x: np.ndarray, w: Filters, bias: np.ndarray | None, gather: Gather, activation: str | None,
                     y: np.ndarray, channels_last: bool) -> None:
    """y = activation(bias + the convolution), as in gather.convolve."""
    dtype, count, w_view = w.dtype, w.count, w.view()
    channels, outputs = Blocks((gather.channels,), CHANNELS), Blocks((gather.groups, count), CHANNELS)
    tiles = Blocks((gather.batch, *gather.output), max(TILE // (channels.largest + outputs.largest), 1))
    x_view, y_view = images(x, gather.groups, channels_last), images(y, gather.groups, channels_last)
    bias_rows = None if bias is None else bias.astype(dtype).reshape(gather.groups, count)

    def compute(i: int) -> None:
        tile, part = divmod(i, outputs.count)
        box = tiles[tile].box
        groups, k = (slice(*r) for r in outputs[part].box)
        out = np.zeros((*[b - a for a, b in box], groups.stop - groups.start, k.stop - k.start), dtype)
        for tap in itertools.product(*map(range, gather.kernel)):
            at_source, at_pixels = gather.meet(box, tap)
            for c in [slice(c.start, c.stop) for c in channels]:
                at_x: Any = (slice(*box[0]), *at_source, groups, c)
                at_w: Any = (groups, *tap, c, k)
                operand, factor = x_view[at_x].astype(dtype), w_view[at_w].astype(dtype)
                out[(slice(None), *at_pixels)] += np.matmul(operand[..., None, :], factor)[..., 0, :]
        finish(out, None if bias_rows is None else bias_rows[groups, k], activation)
        at_y: Any = (*[slice(*r) for r in box], groups, k)
        y_view[at_y] = out

    parallel_for(tiles.count * outputs.count, compute)


def weight_gradient_tapwise(x: np.ndarray, gy: np.ndarray, gather: Gather, gw: np.ndarray, channels_last: bool,
                            dtype: np.dtype) -> None:
    """gw becomes the gradient, as in wgrad.weight_gradient."""
    gw_view = filters(gw, gather.groups, channels_last)
    channels, outputs = (Blocks((n,), 512) for n in gw_view.shape[-2:])
    blocks = Blocks((gather.groups, *gather.kernel, channels.count, outputs.count), 1)
    tiles = Blocks((gather.batch, *gather.output), max(TILE // (channels.largest + outputs.largest), 1))
    x_view, gy_view = images(x, gather.groups, channels_last), images(gy, gather.groups, channels_last)

    def compute(i: int) -> None:
        group, *tap, c_block, k_block = [a for a, _ in blocks[i].box]
        c, k = (slice(b.start, b.stop) for b in (channels[c_block], outputs[k_block]))
        total = np.zeros((c.stop - c.start, k.stop - k.start), dtype)
        for tile in tiles:
            at_source, at_pixels = gather.meet(tile.box, tap)
            at_gradients = [slice(a + s.start, a + s.stop) for s, (a, _) in zip(at_pixels, tile.box[1:])]
            at_x: Any = (slice(*tile.box[0]), *at_source, group, c)
            at_gy: Any = (slice(*tile.box[0]), *at_gradients, group, k)
            columns = x_view[at_x].astype(dtype).reshape(-1, total.shape[0])
            total += columns.T @ gy_view[at_gy].astype(dtype).reshape(-1, total.shape[1])
        to: Any = (group, *tap, c, k)
        gw_view[to] = total

    parallel_for(blocks.count, compute)
