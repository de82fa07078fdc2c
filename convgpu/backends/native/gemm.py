"""Matrix products."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...dtypes import is_float
from ...settings import current_precision, workspace_limit
from .crossing import Crossing


class Gemm(Crossing):
    """The ops gemm and matmul."""

    def gemm(self, a: np.ndarray, b: np.ndarray, c: np.ndarray | None, alpha: float, beta: float, trans_a: bool,
             trans_b: bool, activation: str | None) -> np.ndarray:
        """y = activation(alpha * op(a) @ op(b) + beta * c); with beta = 0, c is not read."""
        self.check_float("gemm", a)
        m, k = a.shape[::-1] if trans_a else a.shape
        y = self.empty((m, b.shape[0] if trans_b else b.shape[1]), a.dtype)
        addend = None
        if c is not None and beta != 0:
            c = self.xp.ascontiguousarray(c)
            addend = self.array(c)  # the elements of c are loaded one by one, from any address
        sizes = (1, m, y.shape[1], k, a.dtype, trans_a, trans_b)
        self._launch_gemm("gemm", (a, b, addend, self.array(y)), sizes, alpha, beta, activation or "", one_a=True,
                          one_b=True)
        return y

    def matmul(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """A stack of matrix products; leading axes broadcast. The array module's own matmul computes integers."""
        if not is_float(a.dtype):
            return np.matmul(a, b)
        stack = a.shape[:-2] if a.shape[:-2] == b.shape[:-2] else np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        shape, items = (*stack, a.shape[-2], b.shape[-1]), math.prod(stack)
        if items > 1 and math.prod(b.shape[:-2]) == 1 and a.flags.c_contiguous:  # this is one product with more rows
            rows = a.reshape(items * a.shape[-2], a.shape[-1])
            return self.matmul(rows, b.reshape(b.shape[-2:])).reshape(shape)
        y = self.empty(shape, a.dtype)
        (left, trans_a), (right, trans_b) = self._matrices(a, stack, items), self._matrices(b, stack, items)
        out = self.array(y.reshape(items, *y.shape[-2:]))
        sizes = (items, y.shape[-2], y.shape[-1], a.shape[-1], a.dtype, trans_a, trans_b)
        self._launch_gemm("matmul", (left, right, out), sizes, one_a=len(left) == 1, one_b=len(right) == 1)
        return y

    def _matrices(self, x: np.ndarray, stack: tuple[int, ...], items: int) -> tuple[np.ndarray, bool]:
        """x as (items, rows, columns) with contiguous lines, and whether the matrices are transposed for that.

        A matrix that all items share is passed once, as (1, rows, columns). Matrices that broadcast in another way are
        copied, and so are strided matrices.
        """
        (rows, columns), (down, along), step = x.shape[-2:], x.strides[-2:], x.itemsize
        trans = down == step and along >= rows * step and rows > 1
        if trans:
            x, rows, columns = x.swapaxes(-1, -2), columns, rows
        shape = rows, columns
        if x.size == rows * columns:
            return x.reshape(1, *shape), trans
        return np.broadcast_to(x, (*stack, *shape)).reshape(items, *shape), trans

    def _launch_gemm(self, op: str, arrays: tuple[Any, ...], sizes: tuple[Any, ...], *options: Any, one_a: bool,
                     one_b: bool) -> None:
        """Launch with a plan that depends on the addresses of a and b, not of y: kernels store to any address.
        """
        self.launch(op, arrays, "plan_gemm", sizes, *options, precision=current_precision(), limit=workspace_limit(),
                    one_a=one_a, one_b=one_b)
