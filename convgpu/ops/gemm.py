"""Matrix products.

    gemm:    y = activation(alpha * op(a) @ op(b) + beta * c),   op: the matrix or its transpose
    matmul:  y[..., m, n] = sum over k of a[..., m, k] * b[..., k, n]

gemm is bilinear in a and b, and both its gradients are gemms again, so that derivatives of any order come from the
declarations below.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import check_same_float, is_float
from ..op import Op
from ..tensor import Tensor, as_tensor
from . import activation as act
from .elementwise import astype, zero
from .shape import reshape, swapaxes

_gemm = Op("gemm", "a, b, c=None; alpha=1.0, beta=1.0, trans_a=False, trans_b=False, activation=None -> y",
           broadcasts=True)
_gemm.pull_back(lambda g, y, activation: act.grad_from_output(activation, g, y), "activation")
_gemm.vjp(a=lambda g, b, alpha, trans_a, trans_b: (_product(b, g, alpha, trans_b, True) if trans_a
                                                   else _product(g, b, alpha, False, not trans_b)),
          b=lambda g, a, alpha, trans_a, trans_b: (_product(g, a, alpha, True, trans_a) if trans_b
                                                   else _product(a, g, alpha, not trans_a, False)),
          c=lambda g, beta: g if beta == 1 else g * beta if beta else zero(g))

_gemm.vjp_onto(a=lambda g, total, b, alpha, trans_a, trans_b: (_product(b, g, alpha, trans_b, True, total) if trans_a
                                                               else _product(g, b, alpha, False, not trans_b, total)),
               b=lambda g, total, a, alpha, trans_a, trans_b: (
                   _product(g, a, alpha, True, trans_a, total) if trans_b
                   else _product(a, g, alpha, not trans_a, False, total)))

# Operands have at least two axes each; leading axes broadcast.
_matmul = Op("matmul", "a, b -> y", broadcasts=True)
_matmul.vjp(a=lambda g, b: _matmul(g, swapaxes(b, -1, -2)), b=lambda g, a: _matmul(swapaxes(a, -1, -2), g))


def _product(a: Tensor, b: Tensor, alpha: float, trans_a: bool, trans_b: bool, c: Tensor | None = None) -> Tensor:
    return _gemm(a, b, c, alpha, 1.0, trans_a, trans_b, None)


def gemm(a: Any, b: Any, c: Any = None, *, alpha: float = 1.0, beta: float = 1.0, trans_a: bool = False,
         trans_b: bool = False, activation: str | None = None) -> Tensor:
    """General matrix product of two matrices, scaled, with a matrix added and an activation applied.

    y = activation(alpha * op(a) @ op(b) + beta * c)

    Args:
        a: (M, K), or (K, M) with `trans_a`.
        b: (K, N), or (N, K) with `trans_b`.
        c: anything that broadcasts to (M, N). With beta=0 its values are not read, so that NaN in c does no harm.
        alpha, beta: numbers; no gradient flows to them.
        activation: an activation by name ("relu", "tanh", ...), applied to the result.

    Returns:
        (M, N), in the one floating dtype of all operands; half types accumulate in float32. K = 0 gives beta * c.

    Raises:
        TypeError: mixed or non-floating dtypes, a Tensor for alpha or beta. ValueError: shapes that do not fit.

    >>> gemm([[1.0, 2.0], [3.0, 4.0]], [[1.0], [1.0]], [-5.0], activation="relu")
    Tensor([[0.],
            [2.]], dtype=float32)
    """
    name = "gemm"
    a, b, c = as_tensor(a, name), as_tensor(b, name), None if c is None else as_tensor(c, name)
    check_same_float(name, a=a, b=b, c=c)
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError(f"{name}: expected two matrices, got a={a.shape}, b={b.shape}; "
                         "matmul takes vectors and stacks of matrices")
    m, k = a.shape[::-1] if trans_a else a.shape
    k_of_b, n = b.shape[::-1] if trans_b else b.shape
    if k != k_of_b:
        raise ValueError(f"{name}: expected op(b) with K == {k} rows like the columns of op(a), got {k_of_b} "
                         f"(a={a.shape}, b={b.shape}, trans_a={trans_a}, trans_b={trans_b})")
    if c is not None and not _broadcasts_to(c.shape, (m, n)):
        raise ValueError(f"{name}: expected c that broadcasts to (M, N) == {(m, n)}, got {c.shape}")
    if isinstance(alpha, Tensor) or isinstance(beta, Tensor):
        raise TypeError(f"{name}: expected alpha and beta to be numbers, got a Tensor, which would get no gradient; "
                        "multiply by it, or pass .item()")
    fused, after = act.split(name, activation)
    return after(_gemm(a, b, c, float(alpha), float(beta), bool(trans_a), bool(trans_b), fused))


def _broadcasts_to(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    return len(shape) <= len(target) and all(s in (1, t) for s, t in zip(shape[::-1], target[::-1]))


def linear(x: Any, w: Any, bias: Any = None, *, activation: str | None = None) -> Tensor:
    """The fully connected layer.

    y[..., k] = activation(bias[k] + sum over c of x[..., c] * w[c, k])

    Args:
        x: (..., C).
        w: (C, K), inputs first. PyTorch's layer keeps the transpose of w.
        bias: (K,).
        activation: an activation by name.

    Returns:
        (..., K), in the one floating dtype of all operands; half types accumulate in float32.

    Raises:
        TypeError: mixed or non-floating dtypes. ValueError: shapes that do not fit.

    >>> linear([1.0, 2.0], [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]], [0.0, 0.0, 10.0])
    Tensor([ 1.,  2., 13.], dtype=float32)
    """
    name = "linear"
    x, w, bias = as_tensor(x, name), as_tensor(w, name), None if bias is None else as_tensor(bias, name)
    check_same_float(name, x=x, w=w, bias=bias)
    if x.ndim < 1 or w.ndim != 2 or x.shape[-1] != w.shape[0]:
        hint = "; w is (inputs, outputs): did you mean w.T?" if w.ndim == 2 and x.shape[-1:] == w.shape[1:] else ""
        raise ValueError(f"{name}: expected x (..., C) and w (C, K), got x={x.shape}, w={w.shape}{hint}")
    if bias is not None and bias.shape != w.shape[1:]:
        raise ValueError(f"{name}: expected bias of shape (K,) == {w.shape[1:]}, got {bias.shape}")
    fused, after = act.split(name, activation)
    y = _gemm(_as_matrix(x), w, bias, 1.0, 1.0, False, False, fused)
    return after(y if x.ndim == 2 else reshape(y, (*x.shape[:-1], w.shape[1])))


def _as_matrix(x: Tensor) -> Tensor:
    """x with all axes but the last merged; reshape's -1 would be ambiguous where a size is 0."""
    if x.ndim == 2:
        return x
    return reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))


def matmul(a: Any, b: Any) -> Tensor:
    """The matrix product of vectors, matrices, and stacks of matrices, as `numpy.matmul`.

    y[..., m, n] = sum over k of a[..., m, k] * b[..., k, n]

    Args:
        a: (..., M, K), or a vector (K,).
        b: (..., K, N), or a vector (K,). The leading axes of a and b broadcast against each other.

    Returns:
        (..., M, N), without the axis M or N where that operand is a vector. Dtypes promote as in NumPy; half types
        accumulate in float32.

    Raises:
        ValueError: shapes that do not fit, and scalars.

    >>> matmul([[1, 2], [3, 4]], [10, 1])
    Tensor([12, 34], dtype=int64)
    """
    a, b = as_tensor(a, "matmul"), as_tensor(b, "matmul")
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"matmul: expected at least one axis each, got a={a.shape}, b={b.shape}; for scalars use *")
    if a.shape[-1] != b.shape[max(b.ndim - 2, 0)]:
        raise ValueError(f"matmul: expected b with K == {a.shape[-1]} rows like the last axis of a, "
                         f"got {b.shape[max(b.ndim - 2, 0)]} (a={a.shape}, b={b.shape})")
    try:
        np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(f"matmul: expected leading axes that broadcast, got a={a.shape}, b={b.shape}") from None
    dtype = np.result_type(a.dtype, b.dtype)
    a, b = (t if t.dtype == dtype else astype(t, dtype) for t in (a, b))
    left = a if a.ndim > 1 else reshape(a, (1, -1) if a.size else (1, 0))
    right = b if b.ndim > 1 else reshape(b, (b.size, 1))
    if is_float(dtype) and right.ndim == 2:  # w is one matrix, so that all rows of x are one product
        y = reshape(_product(_as_matrix(left), right, 1.0, False, False), (*left.shape[:-1], right.shape[1]))
    else:
        y = _matmul(left, right)
    if a.ndim == 1 or b.ndim == 1:
        shape = (*y.shape[:-2], *(y.shape[-2:-1] if a.ndim > 1 else ()), *(y.shape[-1:] if b.ndim > 1 else ()))
        y = reshape(y, shape)
    return y
