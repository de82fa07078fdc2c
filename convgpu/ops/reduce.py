"""Reductions over axes."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..op import Op
from ..tensor import Tensor
from .shape import broadcast_to, reshape

_sum = Op("sum", "x; axis, keepdims -> y", lambda x, axis, keepdims: np.sum(x, axis=axis, keepdims=keepdims)).vjp(
    x=lambda g, x, axis, keepdims: spread(g, x.shape, axis, keepdims))


def sum(x: Any, axis: Any = None, *, keepdims: bool = False) -> Tensor:  # noqa: A001 - NumPy's name
    """The sum over `axis`."""
    return _sum(x, axis, keepdims)


def spread(g: Tensor, shape: tuple[int, ...], axis: Any, keepdims: bool) -> Tensor:
    """g, which belongs to a reduction over `axis`, repeated along it."""
    if not keepdims:
        axes = range(len(shape)) if axis is None else (axis,) if isinstance(axis, int) else axis
        gone = {a % len(shape) for a in axes}
        g = reshape(g, tuple(1 if i in gone else n for i, n in enumerate(shape)))
    return broadcast_to(g, shape)
