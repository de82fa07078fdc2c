"""The standard's functions of linear algebra, on stacks of matrices along the last two axes."""

from __future__ import annotations

import builtins
from typing import Any, NamedTuple

import numpy as _np

from .. import numpy as _ours
from ..arguments import integer
from ..dtypes import DTypeLike
from ..numpy import matmul, outer, tensordot
from ..ops import linalg as _linalg
from ..ops.linalg import cholesky, det, eigvalsh, inv, solve
from ..tensor import Tensor, as_tensor
from . import matrix_transpose, vecdot

__all__ = ["cholesky", "cross", "det", "diagonal", "eigh", "eigvalsh", "inv", "matmul", "matrix_norm", "matrix_power",
           "matrix_rank", "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals", "tensordot",
           "trace", "vecdot", "vector_norm"]


class Eigh(NamedTuple):
    """The results of `eigh`."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class QR(NamedTuple):
    """The results of `qr`."""

    Q: Tensor
    R: Tensor


class Slogdet(NamedTuple):
    """The results of `slogdet`."""

    sign: Tensor
    logabsdet: Tensor


class SVD(NamedTuple):
    """The results of `svd`."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Tensor:
    """The cross product of vectors of 3 components."""
    a, b = as_tensor(x1, "cross"), as_tensor(x2, "cross")
    if a.shape[axis] != 3 or b.shape[axis] != 3:
        raise ValueError(f"cross: expected 3 components along axis {axis}, got {a.shape} and {b.shape}")
    return _ours.cross(a, b, axis=axis)


def diagonal(x: Any, /, *, offset: int = 0) -> Tensor:
    """The diagonals of the matrices."""
    return _ours.diagonal(x, offset, -2, -1)


def trace(x: Any, /, *, offset: int = 0, dtype: DTypeLike = None) -> Tensor:
    """The sums of the diagonals."""
    return _ours.sum(diagonal(x, offset=offset), -1, dtype)


def eigh(x: Any, /) -> Eigh:
    """Eigenvalues and eigenvectors of symmetric matrices."""
    return Eigh(*_linalg.eigh(x))


def slogdet(x: Any, /) -> Slogdet:
    """Sign and logarithm of the determinants."""
    return Slogdet(*_linalg.slogdet(x))


def qr(x: Any, /, *, mode: str = "reduced") -> QR:
    """Q with orthonormal columns and the triangular R."""
    return QR(*_linalg.qr(x, mode))


def svd(x: Any, /, *, full_matrices: builtins.bool = True) -> SVD:
    """Singular vectors and values."""
    return SVD(*_linalg.svd(x, full_matrices))


def svdvals(x: Any, /) -> Tensor:
    """Singular values, in descending order."""
    return _linalg.svd(x, compute_uv=False)


def matrix_norm(x: Any, /, *, keepdims: builtins.bool = False, ord: Any = "fro") -> Tensor:  # noqa: A002
    """A norm of each matrix."""
    return _linalg.norm(x, ord, (-2, -1), keepdims)


def vector_norm(x: Any, /, *, axis: Any = None, keepdims: builtins.bool = False, ord: Any = 2) -> Tensor:  # noqa: A002
    """A norm of the vectors along one axis, several, or all."""
    x = as_tensor(x, "vector_norm")
    axes = tuple(range(x.ndim)) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    axes = tuple([a % x.ndim for a in axes])
    if ord == 0:
        return _ours.astype(_ours.sum(x != 0, axes, keepdims=keepdims), x.dtype)
    rest = [a for a in range(x.ndim) if a not in axes]
    rows = _ours.reshape(_ours.transpose(x, (*rest, *axes)), (*[x.shape[a] for a in rest], -1))
    y = _linalg.norm(rows, ord, -1)
    return _ours.expand_dims(y, axes) if keepdims and axes else y


def matrix_power(x: Any, n: int, /) -> Tensor:
    """The n-th power of each square matrix; below 0, of its inverse."""
    x, n = as_tensor(x, "matrix_power"), integer("matrix_power", "n", n)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ValueError(f"matrix_power: expected square matrices, got {x.shape}")
    base = inv(x) if n < 0 else x
    y: Tensor | None = None
    for bit in builtins.reversed(bin(builtins.abs(n))[2:]):
        if bit == "1":
            y = base if y is None else y @ base
        base = base @ base
    return _ours.broadcast_to(as_tensor(_np.eye(x.shape[-1], dtype=x.dtype)).to(x.device), x.shape) if y is None else y


def matrix_rank(x: Any, /, *, rtol: Any = None) -> Tensor:
    """How many singular values are above rtol times the largest."""
    s = svdvals(x)
    return _ours.sum(s > _threshold("matrix_rank", x, s, rtol), -1)


def pinv(x: Any, /, *, rtol: Any = None) -> Tensor:
    """The pseudo-inverses; singular values up to rtol times the largest count as 0."""
    u, s, vh = _linalg.svd(x, False)
    large = s > _threshold("pinv", x, s, rtol)
    inverse = _ours.where(large, 1 / _ours.where(large, s, 1), 0)
    return matrix_transpose(u * _ours.expand_dims(inverse, -2) @ vh)


def _threshold(op: str, x: Any, s: Tensor, rtol: Any) -> Tensor:
    x = as_tensor(x, op)
    limit = builtins.max(x.shape[-2:]) * float(_np.finfo(s.dtype).eps) if rtol is None else rtol
    limit = _ours.expand_dims(limit, -1) if getattr(limit, "ndim", 0) else limit
    return _ours.max(s, -1, keepdims=True) * limit
