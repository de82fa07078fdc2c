"""Products of matrices."""

from __future__ import annotations

from ... import numpy as cnp
from ...dtypes import is_float
from ...ops.gemm import gemm as _gemm
from ...tensor import Tensor
from ..image import plain
from ..node import Node


def matmul(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """The product of matrices, which may be stacked."""
    return cnp.matmul(a, b)


def gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """alpha * A B + beta * C, with A and B transposed on demand."""
    trans_a, trans_b = bool(node.get("transA", 0)), bool(node.get("transB", 0))
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    if a.ndim != 2 or b.ndim != 2:
        raise node.wrong("two matrices", f"{a.shape} and {b.shape}")
    if is_float(a.dtype):
        fits = c is None or c.ndim == 1
        y = _gemm(a, b, c if fits else None, alpha=alpha, beta=beta if fits and c is not None else 1.0,
                  trans_a=trans_a, trans_b=trans_b, activation=node.activation if fits else None)
        if fits:
            return y
        return (y + (c if beta == 1 else c * beta)).astype(a.dtype)
    y = cnp.matmul(cnp.transpose(a) if trans_a else a, cnp.transpose(b) if trans_b else b)
    y = y if alpha == 1 else (y * alpha).astype(a.dtype)
    return y if c is None else (y + (c if beta == 1 else c * beta)).astype(a.dtype)


def einsum(node: Node, *xs: Tensor) -> Tensor:
    """The sum of products that an equation describes."""
    return cnp.einsum(node.get("equation").replace(" ", ""), *[plain(x) for x in xs])


def det(node: Node, x: Tensor) -> Tensor:
    """The determinant of every matrix."""
    return cnp.linalg.det(x)
