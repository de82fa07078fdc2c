"""Convolution and transposed convolution, in the native layout."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import numpy as cnp
from ...ops.conv import conv as _conv
from ...ops.conv import conv_transpose as _conv_transpose
from ...tensor import Tensor
from ..image import Image, Value, native, native_filters, plain
from ..node import Node

Pairs = list[tuple[int, int]]


def steps(node: Node, rank: int) -> tuple[list[int], list[int]]:
    """Strides and dilations, one for each spatial axis."""
    strides, dilations = node.get("strides") or [1] * rank, node.get("dilations") or [1] * rank
    if len(strides) != rank or len(dilations) != rank:
        raise node.wrong(f"strides and dilations of {rank} numbers", f"{strides} and {dilations}")
    return list(strides), list(dilations)


def padding(node: Node, size: tuple[int, ...], kernel: list[int], strides: list[int], dilations: list[int]) -> Pairs:
    """Padding before and after each spatial axis, given by pads or by auto_pad."""
    auto, rank = node.get("auto_pad", "NOTSET"), len(kernel)
    if auto in ("NOTSET", ""):
        pads = node.get("pads") or [0] * 2 * rank
        if len(pads) != 2 * rank:
            raise node.wrong(f"pads of {2 * rank} numbers", pads)
        return list(zip(pads[:rank], pads[rank:]))
    if auto == "VALID":
        return [(0, 0)] * rank
    totals = [max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
              for n, k, s, d in zip(size, kernel, strides, dilations)]
    return halves(totals, at_end=auto == "SAME_UPPER")


def halves(totals: list[int], at_end: bool) -> Pairs:
    """Each total split into two; an odd one is added at the end or at the beginning."""
    return [(t // 2, t - t // 2) if at_end else (t - t // 2, t // 2) for t in totals]


def expect_rank(node: Node, x: Value) -> int:
    """The number of spatial axes, for which there are kernels from 1 to 3."""
    if not 3 <= x.ndim <= 5:
        raise node.refuse(f"{node.op} of {x.ndim - 2} spatial axes")
    return x.ndim - 2


def filters_of(node: Node, x: Value, w: Tensor) -> Tensor:
    if w.ndim != x.ndim:
        raise node.wrong(f"filters of {x.ndim} axes", w.shape)
    return w if node.native_filters else native_filters(w)


def conv(node: Node, x: Value, w: Value, bias: Value = None) -> Value:
    """The correlation of images with filters."""
    return conv_of(node, x, filters_of(node, x, plain(w)), bias, node.activation)


def conv_of(node: Node, x: Value, filters: Tensor, bias: Value, activation: str | None) -> Value:
    """The correlation with filters in the native layout."""
    rank = expect_rank(node, x)
    strides, dilations = steps(node, rank)
    pads = padding(node, x.shape[2:], list(filters.shape[:rank]), strides, dilations)
    return Image(_conv(native(x), filters, bias, stride=tuple(strides), dilation=tuple(dilations), padding=tuple(pads),
                       groups=node.get("group", 1), activation=activation))


def conv_transpose(node: Node, x: Value, w: Value, bias: Value = None) -> Value:
    """The gradient of a convolution in its input, as an operator."""
    rank = expect_rank(node, x)
    filters = filters_of(node, x, plain(w))
    strides, dilations = steps(node, rank)
    reached = [(n - 1) * s + (k - 1) * d + 1
               for n, s, k, d in zip(x.shape[2:], strides, filters.shape[:rank], dilations)]
    extra = list(node.get("output_padding") or [0] * rank)
    wanted, auto = node.get("output_shape"), node.get("auto_pad", "NOTSET")
    if wanted or auto in ("SAME_UPPER", "SAME_LOWER"):
        sizes = wanted[-rank:] if wanted else [n * s for n, s in zip(x.shape[2:], strides)]
        totals = [r + e - n for r, e, n in zip(reached, extra, sizes)]
        extra = [e - min(t, 0) for e, t in zip(extra, totals)]
        pads = halves([max(t, 0) for t in totals], at_end=auto != "SAME_LOWER" and auto != "NOTSET")
    else:
        pads = padding(node, x.shape[2:], list(filters.shape[:rank]), strides, dilations)
    return Image(_transposed(node, native(x), filters, bias, strides, dilations, pads, extra))


def _transposed(node: Node, x: Tensor, w: Tensor, bias: Tensor | None, strides: list[int], dilations: list[int],
                pads: Pairs, extra: list[int]) -> Tensor:
    reachable = [min(e, max(s, d) - 1) for e, s, d in zip(extra, strides, dilations)]
    beyond = [e - r for e, r in zip(extra, reachable)]
    options: dict[str, Any] = {"stride": tuple(strides), "dilation": tuple(dilations), "padding": tuple(pads),
                               "output_padding": tuple(reachable), "groups": node.get("group", 1)}
    if not any(beyond):
        return _conv_transpose(x, w, bias, activation=node.activation, **options)
    y = cnp.pad(_conv_transpose(x, w, None, **options), [(0, 0), *[(0, b) for b in beyond], (0, 0)])
    return y if bias is None else y + bias


def col2im(node: Node, x: Tensor, image: Tensor, block: Tensor) -> Tensor:
    """The sum of blocks at their places in an image: a transposed convolution with filters of one 1 each."""
    from ..image import ints

    sizes, kernel = ints(image), ints(block)
    rank, taps = len(sizes), math.prod(kernel)
    strides, dilations = steps(node, rank)
    pads = padding(node, tuple(sizes), kernel, strides, dilations)
    n, channels = x.shape[0], x.shape[1] // taps
    out = [(m + sum(p) - d * (k - 1) - 1) // s + 1 for m, p, d, k, s in zip(sizes, pads, dilations, kernel, strides)]
    extra = [m + sum(p) - ((o - 1) * s + (k - 1) * d + 1)
             for m, p, o, s, k, d in zip(sizes, pads, out, strides, kernel, dilations)]
    one_hot = np.eye(taps, dtype=x.dtype).reshape(taps, 1, *kernel)
    filters = native_filters(cnp.asarray(one_hot).to(x.device))
    images = native(x.reshape(n * channels, taps, *out))
    return plain(Image(_transposed(node, images, filters, None, strides, dilations, pads, extra))).reshape(
        n, channels, *sizes)
