"""Matrix products."""

from __future__ import annotations

import math

import numpy as np

from .crossing import Crossing


class Gemm(Crossing):
    """The ops gemm and matmul, both computed by csrc/cpu/kernels/gemm.cpp."""

    def gemm(self, a: np.ndarray, b: np.ndarray, c: np.ndarray | None, alpha: float, beta: float, trans_a: bool,
             trans_b: bool, activation: str | None) -> np.ndarray:
        """y = activation(alpha * op(a) @ op(b) + beta * c); with beta = 0, c is not read."""
        self.check_float("gemm", a)
        a, b = self.readable(a.T if trans_a else a), self.readable(b.T if trans_b else b)
        y = self.empty((a.shape[0], b.shape[1]), a.dtype)
        addend = None if c is None or beta == 0 else np.broadcast_to(self.readable(c), y.shape)[None]
        self.module.gemm(a[None], b[None], addend, y[None], alpha, beta, activation or "", self.threads)
        return y

    def matmul(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """A stack of matrix products; leading axes broadcast."""
        self.check_float("matmul", a)
        a, b = self.readable(a), self.readable(b)
        stack = a.shape[:-2] if a.shape[:-2] == b.shape[:-2] else np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        shape, items = (*stack, a.shape[-2], b.shape[-1]), math.prod(stack)
        if items > 1 and math.prod(b.shape[:-2]) == 1 and a.flags.c_contiguous:  # this is one product with more rows
            rows = a.reshape(items * a.shape[-2], a.shape[-1])
            return self.matmul(rows, b.reshape(b.shape[-2:])).reshape(shape)
        y = self.empty(shape, a.dtype)
        self.module.gemm(_stacked(a, stack, items), _stacked(b, stack, items),
                         None, y.reshape(items, *y.shape[-2:]), 1.0, 0.0, "", self.threads)
        return y


def _stacked(x: np.ndarray, stack: tuple[int, ...], items: int) -> np.ndarray:
    """x as (items, rows, columns), without a copy where one matrix serves all items or the stack is whole."""
    rows, columns = x.shape[-2:]
    if math.prod(x.shape[:-2]) == 1:
        return np.broadcast_to(x.reshape(rows, columns), (items, rows, columns))
    return np.broadcast_to(x, (*stack, rows, columns)).reshape(items, rows, columns)
