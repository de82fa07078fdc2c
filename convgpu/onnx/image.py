"""Images in the native layout: a value of a graph that is (N, C, spatial...) to ONNX and (N, spatial..., C) in memory.

ONNX knows channels_first alone, and convgpu's kernels like channels_last best. So a convolution turns its input once,
and what follows keeps the layout: activations, sums, pooling, normalisation. Only an operator to which the order of
the elements matters, such as Reshape, asks for the tensor in ONNX's order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import numpy as cnp
from ..tensor import Tensor


class Image:
    """A tensor in channels_last that stands for the same values in channels_first."""

    __slots__ = ("native", "_plain")

    def __init__(self, native: Tensor):
        self.native = native
        self._plain: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape in ONNX's order."""
        n, *spatial, c = self.native.shape
        return (n, c, *spatial)

    ndim = property(lambda self: self.native.ndim)
    dtype = property(lambda self: self.native.dtype)
    device = property(lambda self: self.native.device)

    @property
    def plain(self) -> Tensor:
        """The tensor in ONNX's order."""
        if self._plain is None:
            rank = self.native.ndim
            self._plain = cnp.transpose(self.native, (0, rank - 1, *range(1, rank - 1)))
        return self._plain


Value = Any  # a Tensor, an Image, or None for an input that is left out


def plain(x: Value) -> Any:
    """The value in ONNX's order."""
    return x.plain if isinstance(x, Image) else x


def native(x: Value) -> Tensor:
    """The value in channels_last."""
    return x.native if isinstance(x, Image) else cnp.transpose(x, (0, *range(2, x.ndim), 1))


def native_filters(w: Tensor) -> Tensor:
    """Filters (K, C/groups, spatial...) as (spatial..., C/groups, K)."""
    return cnp.transpose(w, (*range(2, w.ndim), 1, 0))


def each(function: Callable[[Tensor], Tensor]) -> Callable[..., Value]:
    """An operator that treats every element by itself: the layout stays as it is."""
    def run(node: Any, x: Value) -> Value:
        return Image(function(x.native)) if isinstance(x, Image) else function(x)

    return run


def on_each(function: Callable[..., Tensor]) -> Callable[..., Value]:
    """As `each`, for a function that takes the node first."""
    def run(node: Any, x: Value, *others: Value) -> Value:
        if isinstance(x, Image):
            return Image(function(node, x.native, *others))
        return function(node, x, *others)

    return run


def together(function: Callable[..., Tensor], *xs: Value) -> Value:
    """A function of tensors that broadcast, in the layout of the images among them."""
    rank = max([x.ndim for x in xs if isinstance(x, Image)], default=-1)
    if rank < 0 or max([x.ndim for x in xs]) > rank or any([isinstance(x, Image) and x.ndim != rank for x in xs]):
        return function(*[plain(x) for x in xs])
    return Image(function(*[_like_an_image(x, rank) for x in xs]))


def _like_an_image(x: Value, rank: int) -> Tensor:
    if isinstance(x, Image) or x.ndim == rank:
        return native(x)
    return x if x.ndim == 0 else native(cnp.reshape(x, (1,) * (rank - x.ndim) + x.shape))


def host(x: Value) -> np.ndarray:
    """The values as an array of NumPy."""
    return plain(x).numpy()


def ints(x: Value) -> list[int]:
    """The values as a list of integers."""
    return [int(i) for i in host(x).reshape(-1)]
