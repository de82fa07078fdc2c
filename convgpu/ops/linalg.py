"""What convgpu.numpy.linalg has: norms."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import summation
from ..dtypes import accumulator
from ..op import Op
from ..tensor import Tensor
from .elementwise import abs as absolute
from .elementwise import astype, nonzero_divisor
from .reduce import Axes, prepare, spread
from .reduce import max as max_over
from .reduce import min as min_over
from .reduce import sum as sum_over


def _norm_rule(g: Tensor, x: Tensor, axes: Axes, keepdims: bool, y: Tensor) -> Tensor:
    """x / norm; 0 where all is 0."""
    return x * spread(g / nonzero_divisor(y), x.shape, axes, keepdims)


_norm = Op("norm", "x; axes, keepdims -> y",
           lambda x, axes, keepdims: np.sqrt(summation.total(x * x, axes, keepdims))).vjp(x=_norm_rule)


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The norm of vectors along `axis`, or of all elements: sqrt(sum(x^2)); its gradient at 0 is 0.

    Args:
        ord: None, or "fro" over two axes: as above. 1, 2, inf and -inf: of vectors, along one axis.

    >>> norm([3.0, 4.0]).item()
    5.0
    """
    x, axes = prepare("norm", x, axis)
    if ord is not None and not (len(axes) == 1 and ord in (1, 2, np.inf, -np.inf)) and not (
            len(axes) == 2 and ord == "fro"):
        raise NotImplementedError(f"norm: expected ord None, 1, 2, inf or -inf along one axis, or 'fro' over two, got "
                                  f"ord={ord!r} over axes {axes}")
    if ord == 1:
        return sum_over(absolute(x), axes, keepdims=keepdims)
    if ord in (np.inf, -np.inf):
        return (max_over if ord > 0 else min_over)(absolute(x), axes, keepdims=keepdims)
    return astype(_norm(astype(x, accumulator(x.dtype)), axes, keepdims), x.dtype)
