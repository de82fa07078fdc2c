"""Matrix products."""

from __future__ import annotations

import numpy as np

from ...dtypes import is_float
from ...precision import current_precision
from ...workspace import workspace_limit
from .crossing import Crossing


class Gemm(Crossing):
    """gemm, matmul."""

    def gemm(self, a: np.ndarray, b: np.ndarray, c: np.ndarray | None, alpha: float, beta: float, trans_a: bool,
             trans_b: bool, activation: str | None) -> np.ndarray:
        """y = activation(alpha * op(a) @ op(b) + beta * c); with beta = 0, c is not read."""
        self.check_float("gemm", a)
        m, k = a.shape[::-1] if trans_a else a.shape
        y = self.empty((m, b.shape[0] if trans_b else b.shape[1]), a.dtype)
        addend = None if c is None or beta == 0 else self.array(np.broadcast_to(c, y.shape))
        self.run("gemm", a, b, addend, y, alpha, beta, trans_a, trans_b, activation or "", current_precision(),
                 workspace=self._workspace(1, m, y.shape[1], k, a.dtype, trans_a, trans_b))
        return y

    def matmul(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """A stack of matrix products; leading axes broadcast. Integers are the array module's affair."""
        if not is_float(a.dtype):
            return np.matmul(a, b)
        stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        shape, items = (*stack, a.shape[-2], b.shape[-1]), int(np.prod(stack))
        if items > 1 and int(np.prod(b.shape[:-2])) == 1 and a.flags.c_contiguous:  # one product, of more rows
            rows = a.reshape(items * a.shape[-2], a.shape[-1])
            return self.matmul(rows, b.reshape(b.shape[-2:])).reshape(shape)
        y = self.empty(shape, a.dtype)
        (left, trans_a), (right, trans_b) = self._matrices(a, stack, items), self._matrices(b, stack, items)
        out = y.reshape(items, *y.shape[-2:])
        self.run("matmul", self.array(left), self.array(right), out, trans_a, trans_b, current_precision(),
                 workspace=self._workspace(items, y.shape[-2], y.shape[-1], a.shape[-1], a.dtype, trans_a, trans_b,
                                           left.strides[0] == 0, right.strides[0] == 0))
        return y

    def _matrices(self, x: np.ndarray, stack: tuple[int, ...], items: int) -> tuple[np.ndarray, bool]:
        """x as (items, rows, columns) with neighbouring elements in a line, and whether these are its transposes.

        One matrix for all items is repeated by a stride of 0; other broadcasts are copied, as are strided matrices.
        """
        trans = x.strides[-2] == x.itemsize and x.strides[-1] >= x.shape[-2] * x.itemsize and x.shape[-2] > 1
        x = x.swapaxes(-1, -2) if trans else x
        shape = x.shape[-2:]
        if x.size == shape[0] * shape[1]:
            return np.broadcast_to(self.xp.ascontiguousarray(x).reshape(1, *shape), (items, *shape)), trans
        return self.xp.ascontiguousarray(np.broadcast_to(x, (*stack, *shape))).reshape(items, *shape), trans

    def _workspace(self, items: int, m: int, n: int, k: int, dtype: np.dtype, trans_a: bool, trans_b: bool,
                   one_a: bool = True, one_b: bool = True) -> int:
        return self.module.gemm_workspace(items, m, n, k, dtype.name, current_precision(), workspace_limit(), trans_a,
                                          trans_b, one_a, one_b)
