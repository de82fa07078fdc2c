"""Ops that move elements and compute nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..op import Op
from ..tensor import Tensor

_reshape = Op("reshape", "x; shape -> y", lambda x, shape: np.reshape(x, shape)).vjp(
    x=lambda g, x: reshape(g, x.shape))
_transpose = Op("transpose", "x; axes -> y", lambda x, axes: np.transpose(x, axes)).vjp(
    x=lambda g, axes: transpose(g, None if axes is None else tuple(int(i) for i in np.argsort(axes))))
_broadcast_to = Op("broadcast_to", "x; shape -> y", np.broadcast_to, broadcasts=True).vjp(x=lambda g: g)
_flip = Op("flip", "x; axis -> y", np.flip).vjp(x=lambda g, axis: flip(g, axis))
_getitem = Op("getitem", "x; index -> y", lambda x, index: x[index]).vjp(
    x=lambda g, x, index: _put(g, index, x.shape))


def _put_forward(g: Any, index: Any, shape: tuple[int, ...]) -> Any:
    out = np.zeros_like(g, shape=shape)
    np.add.at(out, index, g)
    return out


_put = Op("put", "g; index, shape -> y", _put_forward).vjp(g=lambda g, index: getitem(g, index))


def reshape(x: Any, shape: Any) -> Tensor:
    """The elements of x, row-major, in another shape."""
    return _reshape(x, shape)


def transpose(x: Any, axes: Any = None) -> Tensor:
    """The axes of x permuted."""
    return _transpose(x, axes)


def broadcast_to(x: Any, shape: tuple[int, ...]) -> Tensor:
    """x repeated along new axes and axes of size 1."""
    return _broadcast_to(x, shape)


def flip(x: Any, axis: Any = None) -> Tensor:
    """x in reversed order along `axis`."""
    return _flip(x, axis)


def getitem(x: Any, index: Any) -> Tensor:
    """x[index]."""
    return _getitem(x, index)


class At:
    """What `t.at` returns."""
