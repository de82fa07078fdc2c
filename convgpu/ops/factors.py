"""The factors of matrices, with gradients: eigenvectors of symmetric matrices, singular vectors, Q and R.

An op has one output that carries a gradient, so each op here returns all factors of a matrix in one array, and the
functions cut them out. Then one rule sees the gradients of all factors, and derivatives of any order follow.

Factors are not unique where eigenvalues or singular values are equal, and have no derivative there. What depends only
on what they span has one; in its rule, the quotients 1 / (a - b) with a = b have the factor 0, so they count as 0.

From Giles, "Collected matrix derivative results for forward and reverse mode" (2008), Townsend, "Differentiating the
singular value decomposition" (2016), and Walter and Lehmann, "Algorithmic differentiation of linear algebra functions"
(2010).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..op import Op
from ..tensor import Tensor
from .elementwise import ratio_or_zero
from .gemm import matmul
from .joining import concatenate
from .shape import expand_dims, swapaxes, tril

Factors = tuple[Tensor, ...]


def transposed(x: Any) -> Any:
    """Each matrix turned over."""
    return swapaxes(x, -1, -2)


def _flat(x: Any) -> Any:
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


def _scaled(x: Tensor, s: Tensor) -> Tensor:
    """x @ diag(s)."""
    return x * expand_dims(s, -2)


def _split(packed: Any, *shapes: tuple[int, ...]) -> Factors:
    """The parts of the last axis, in these shapes."""
    parts, at = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        parts.append(packed[..., at:at + size].reshape(*packed.shape[:-1], *shape))
        at += size
    return tuple(parts)


def _packed(run: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of NumPy's linalg whose factors stand in one array, one after another along the last axis."""
    def forward(x: Any) -> Any:
        parts = [_flat(part) if part.ndim == x.ndim else part for part in run(x)]
        return np.concatenate(parts, axis=-1)

    return forward


def _inverse_differences(s: Tensor) -> Tensor:
    """1 / (s[j] - s[i]) in row i and column j, and 0 where they are equal."""
    difference = expand_dims(s, -2) - expand_dims(s, -1)
    return ratio_or_zero(difference * 0 + 1, difference)


def _eigh_rule(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """V (diag(gw) + F * (V^T gV)) V^T, made symmetric, with F[i, j] = 1 / (w[j] - w[i])."""
    n = x.shape[-1]
    (w, v), (gw, gv) = _split(y, (n,), (n, n)), _split(g, (n,), (n, n))
    inner = _inverse_differences(w) * matmul(transposed(v), gv)
    gx = matmul(_scaled(v, gw) + matmul(v, inner), transposed(v))
    return 0.5 * (gx + transposed(gx))


def _svd_rule(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """With F[i, j] = 1 / (s[j]^2 - s[i]^2) and S = diag(s):

    U (F * (U^T gU - gU^T U) S + S F * (V^T gV - gV^T V) + diag(gs)) V^T
        + (I - U U^T) gU S^-1 V^T + U S^-1 gV^T (I - V V^T)
    """
    rows, columns = x.shape[-2:]
    k = min(rows, columns)
    shapes = (rows, k), (k,), (k, columns)
    (u, s, vt), (gu, gs, gvt) = _split(y, *shapes), _split(g, *shapes)
    ut, v, gv = transposed(u), transposed(vt), transposed(gvt)
    apart, inverse = _inverse_differences(s * s), ratio_or_zero(s * 0 + 1, s)
    turned_u, turned_v = matmul(ut, gu), matmul(vt, gv)
    inner = _scaled(apart * (turned_u - transposed(turned_u)), s) + expand_dims(s, -1) * (
        apart * (turned_v - transposed(turned_v)))
    gx = matmul(matmul(u, inner) + _scaled(u, gs), vt)
    if rows > k:
        gx = gx + matmul(_scaled(gu - matmul(u, turned_u), inverse), vt)
    if columns > k:
        gx = gx + matmul(_scaled(u, inverse), transposed(gv - matmul(v, turned_v)))
    return gx


def _qr_rule(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(gQ + Q (tril(M) + tril(M, -1)^T)) R^-T with M = R gR^T - gQ^T Q, of matrices that are no wider than high."""
    from .linalg import solve

    rows, n = x.shape[-2:]
    (q, r), (gq, gr) = _split(y, (rows, n), (n, n)), _split(g, (rows, n), (n, n))
    m = matmul(r, transposed(gr)) - matmul(transposed(gq), q)
    return transposed(solve(r, transposed(gq + matmul(q, tril(m) + transposed(tril(m, -1))))))


def declared(factored: Callable[[str, str, Any], Any]) -> tuple[Op, Op, Op]:
    """The ops, whose forward functions `factored` makes of those of NumPy."""
    finite = "matrices of finite numbers"
    return (Op("eigh", "x -> y", factored("eigh", finite, _packed(np.linalg.eigh))).vjp(x=_eigh_rule),
            Op("svd", "x -> y", factored("svd", finite, _packed(lambda x: np.linalg.svd(x, False)))).vjp(x=_svd_rule),
            Op("qr", "x -> y", factored("qr", finite, _packed(np.linalg.qr))).vjp(x=_qr_rule))


def eigh(op: Op, x: Tensor) -> Factors:
    """Eigenvalues and eigenvectors."""
    n = x.shape[-1]
    return _split(op(x), (n,), (n, n))


def svd(op: Op, x: Tensor) -> Factors:
    """U, s and V^T, as many columns and rows as there are singular values."""
    rows, columns = x.shape[-2:]
    k = min(rows, columns)
    return _split(op(x), (rows, k), (k,), (k, columns))


def qr(op: Op, x: Tensor) -> Factors:
    """Q and R. Of a matrix that is wider than high, Q is that of the first columns, and R = Q^T x."""
    rows, columns = x.shape[-2:]
    n = min(rows, columns)
    q, r = _split(op(x[..., :n]), (rows, n), (n, n))
    return q, r if columns == n else concatenate([r, matmul(transposed(q), x[..., n:])], axis=-1)
