"""The functions of convgpu.numpy.linalg: norms, and determinants, solutions and factors of matrices.

Leading axes are batches of matrices. Gradients exist for det, slogdet, inv, solve, cholesky, eigvalsh, eigh, svd and qr
(convgpu/ops/factors.py). eig, lstsq, pinv and matrix_rank have none: they raise an error where one is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import summation
from ..arguments import number
from ..autograd import is_grad_enabled
from ..backends import run as run_on_backend
from ..device import run_there
from ..dtypes import accumulator, is_half
from ..op import Op
from ..tensor import Tensor, as_tensor
from . import factors
from .contraction import einsum
from .elementwise import abs as absolute
from .elementwise import astype, ratio_or_zero, sign, where
from .gemm import matmul
from .indexing import trace
from .reduce import Axes, in_accumulator, prepare, spread
from .reduce import max as max_over
from .reduce import min as min_over
from .reduce import sum as sum_over
from .shape import expand_dims, moveaxis, swapaxes, tril
from .widening import floating, widened

__all__ = ["norm", "det", "slogdet", "inv", "solve", "cholesky", "eigvalsh", "eigh", "eig", "qr", "svd", "lstsq",
           "pinv", "matrix_rank"]

# --- norms


def _norm_rule(g: Tensor, x: Tensor, axes: Axes, keepdims: bool, y: Tensor) -> Tensor:
    """The gradient g * x / norm; 0 where the norm is 0."""
    return spread(g, x.shape, axes, keepdims) * ratio_or_zero(x, spread(y, x.shape, axes, keepdims))


def _power_norm_forward(x: Any, p: float, axes: Axes, keepdims: bool) -> Any:
    """sum(|x|^p)^(1/p); the magnitudes are scaled to about 1 first where their powers could overflow."""
    sizes = np.abs(x)
    if not x.size:
        return summation.total(sizes, axes, keepdims) ** (1 / p)
    scale = summation.unit_scale((np.max if p > 0 else np.min)(sizes, axis=axes, keepdims=True))
    with np.errstate(divide="ignore", over="ignore", under="ignore", invalid="ignore"):
        y = summation.total((sizes * scale) ** p, axes, True) ** (1 / p) / scale
    return y if keepdims else np.squeeze(y, axes)


def _power_norm_rule(g: Tensor, x: Tensor, p: float, axes: Axes, keepdims: bool, y: Tensor) -> Tensor:
    """The gradient g * sign(x) * (|x| / norm)^(p - 1); 0 where x or the norm is 0, in derivatives of any order."""
    y = spread(y, x.shape, axes, keepdims)
    nothing = (x == 0) | (y == 0)
    slope = where(nothing, 0, (where(nothing, 1, absolute(x)) / where(nothing, 1, y)) ** (p - 1))
    return spread(g, x.shape, axes, keepdims) * sign(x) * slope


_norm = Op("norm", "x; axes, keepdims -> y", summation.root_of_squares).vjp(x=_norm_rule)
_power_norm = Op("power_norm", "x; p, axes, keepdims -> y", _power_norm_forward).vjp(x=_power_norm_rule)


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The norm of vectors along `axis`, or of all elements. The default is sqrt(sum(x^2)), whose gradient at 0 is 0.

    Args:
        ord: None, or "fro" for matrices: sqrt(sum(x^2)). For vectors, along one axis: inf, -inf, 0, or a number p for
            sum(|x|^p)^(1/p). For matrices, over two axes: 1 and -1 are the largest and smallest sum of a column, inf
            and -inf those of a row; "nuc", 2, -2 are the sum, the largest and the smallest of the singular values.

    >>> norm([3.0, 4.0]).item()
    5.0
    """
    x, axes = prepare("norm", floating("norm", x), axis)
    if ord is not None and axis is None and x.ndim not in (1, 2):
        raise ValueError(f"norm: expected axis=, one for vectors or two for matrices, with ord={ord!r}, got none for "
                         f"shape {x.shape}")
    if ord is None or (len(axes) == 2 and ord == "fro") or (len(axes) == 1 and ord == 2):
        return in_accumulator(_norm, x, axes, keepdims)
    if len(axes) == 1 and not isinstance(ord, str):
        return _vector_norm(x, ord, axes, keepdims)
    if len(axes) == 2 and ord in (1, -1, np.inf, -np.inf, 2, -2, "nuc"):
        y = _matrix_norm(moveaxis(x, axes if axis is None else tuple(axis), (-2, -1)), ord)
        return expand_dims(y, axes) if keepdims else y
    raise ValueError(f"norm: expected ord None, a number along one axis, or 'fro', 'nuc', 1, -1, 2, -2, inf or -inf "
                     f"over two, got ord={ord!r} over axes {axes}")


def _vector_norm(x: Tensor, ord: Any, axes: Axes, keepdims: bool) -> Tensor:
    if ord in (np.inf, -np.inf):
        return (max_over if ord > 0 else min_over)(absolute(x), axes, keepdims=keepdims)
    if ord == 0:
        return astype(sum_over(x != 0, axes, keepdims=keepdims), x.dtype)
    if ord == 1:
        return sum_over(absolute(x), axes, keepdims=keepdims)
    return in_accumulator(_power_norm, x, number("norm", "ord", ord), axes, keepdims)


def _matrix_norm(x: Tensor, ord: Any) -> Tensor:
    if ord in (1, -1, np.inf, -np.inf):
        sums = sum_over(absolute(x), -2 if abs(ord) == 1 else -1)
        return (max_over if ord > 0 else min_over)(sums, -1)
    values = svd(x, compute_uv=False)
    return sum_over(values, -1) if ord == "nuc" else values[..., 0 if ord == 2 else -1]


# --- determinants and solutions


def _transposed(x: Any) -> Tensor:
    return swapaxes(x, -1, -2)


def _each(x: Tensor) -> Tensor:
    """A number per matrix, with two axes of size 1 after it, to broadcast against the matrices."""
    return expand_dims(x, (-2, -1))


def _matrices(op: str, x: Any, square: bool = True) -> Tensor:
    """x as a Tensor of floating (square) matrices along its last two axes."""
    x = floating(op, x)
    if x.ndim < 2 or (square and x.shape[-1] != x.shape[-2]):
        what = "square matrices, x.shape[-1] == x.shape[-2]" if square else "matrices, at least two axes"
        raise ValueError(f"{op}: expected {what}, got shape {x.shape}")
    return x


def _factored(op: str, expected: str, run: Callable[..., Any]) -> Callable[..., Any]:
    """A function of NumPy's linalg that computes half types in float32 and turns LinAlgError into ValueError."""
    def forward(*arrays: Any) -> Any:
        half = arrays[0].dtype if is_half(arrays[0].dtype) else None
        try:
            found = run(*[a.astype(np.float32) if is_half(a.dtype) else a for a in arrays])
        except np.linalg.LinAlgError as error:
            raise ValueError(f"{op}: expected {expected}, got {' and '.join([str(a.shape) for a in arrays])} for which "
                             f"NumPy says: {error}") from None
        if half is None:
            return tuple(found) if isinstance(found, tuple) else found
        rounded = [y.astype(half) if y.dtype == np.float32 else y for y in _listed(found)]
        return tuple(rounded) if isinstance(found, tuple) else rounded[0]

    return forward


def _listed(found: Any) -> list[Any]:
    return list(found) if isinstance(found, tuple) else [found]


def _inv_rule(g: Tensor, y: Tensor) -> Tensor:
    return -matmul(_transposed(y), matmul(g, _transposed(y)))


def _cholesky_rule(g: Tensor, y: Tensor) -> Tensor:
    """inv(L)^T phi(L^T g) inv(L), made symmetric, where phi halves the diagonal of the lower triangle (Murray, 2016).
    """
    inverse = inv(y)
    inner = tril(matmul(_transposed(y), tril(g)))
    inner = 0.5 * (inner + tril(inner, -1))
    gx = matmul(_transposed(inverse), matmul(inner, inverse))
    return 0.5 * (gx + _transposed(gx))


# The gradient of det is the matrix of cofactors, and the gradient of <g, cofactors> is bilinear in minors: both exist
# for singular matrices too. With x = U diag(s) V^T and D = det(U) det(V), both have the form D U (...) V^T, where (...)
# is computed from s and U^T g V instead of x and g, and the minors of a diagonal matrix are products of diagonal
# elements.


def _products_without(s: Any, pairs: bool) -> Any:
    """Products along the last axis of all elements but one, or of all but two (i, j), without dividing by elements."""
    rows = np.broadcast_to(s[..., None, :], (*s.shape, s.shape[-1]))
    alone = np.where(_on_diagonal(s), s.dtype.type(1), rows)
    if not pairs:
        return np.prod(alone, axis=-1)
    before, after = np.ones_like(alone), np.ones_like(alone)
    before[..., 1:] = np.cumprod(alone[..., :-1], axis=-1)
    after[..., :-1] = np.cumprod(alone[..., :0:-1], axis=-1)[..., ::-1]
    return before * after


def _on_diagonal(s: Any) -> Any:
    """Which elements of a square matrix with rows like s are on its diagonal."""
    places = np.arange(s.shape[-1], like=s)
    return places[:, None] == places


def _rotated(x: Any) -> tuple[Any, Any, Any, Any]:
    """U, s, V^T of the SVD, and det(U) det(V) with two axes of size 1, which is NaN where x is not finite."""
    finite = np.isfinite(x).all(axis=(-2, -1), keepdims=True)
    u, s, vt = np.linalg.svd(np.where(finite, x, 0))
    return u, s, vt, np.where(finite, (np.linalg.det(u) * np.linalg.det(vt))[..., None, None], np.nan)


def _product(a: Any, b: Any) -> Any:
    return run_on_backend("matmul", [a, b], ())


def _cofactors_forward(x: Any) -> Any:
    u, s, vt, d = _rotated(x)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return (d * _product(u * _products_without(s, False)[..., None, :], vt)).astype(x.dtype)


def _cofactors_gradient_forward(g: Any, x: Any) -> Any:
    u, s, vt, d = _rotated(x)
    off = ~_on_diagonal(s)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        inner = _product(_product(np.swapaxes(u, -1, -2), g), np.swapaxes(vt, -1, -2))
        minors = _products_without(s, True)
        on_diagonal = np.sum(np.where(off, minors, 0) * np.diagonal(inner, 0, -2, -1)[..., None, :], axis=-1)
        turned = np.where(off, -minors * np.swapaxes(inner, -1, -2), on_diagonal[..., None, :])
        return (d * _product(_product(u, turned), vt)).astype(x.dtype)


def _third_derivative(g: Tensor, gy: Tensor, x: Tensor) -> Tensor:
    """The gradient of <g, gradient of <gy, cofactors of x>> with respect to x; it exists for regular matrices alone."""
    y, d = inv(x), _each(det(x))
    a, b = matmul(y, gy), matmul(y, g)
    ab, ta, tb = matmul(a, b), _each(trace(a, 0, -2, -1)), _each(trace(b, 0, -2, -1))
    inner = (ta * tb - _each(trace(ab, 0, -2, -1))) * y + matmul(ab + matmul(b, a) - tb * a - ta * b, y)
    return d * _transposed(inner)


_det = Op("det", "x -> y", widened(np.linalg.det)).vjp(x=lambda g, x: _each(g) * _cofactors(x))
_cofactors: Op = Op("cofactors", "x -> y", widened(_cofactors_forward)).vjp(
    x=lambda g, x: _cofactors_gradient(g, x))
_cofactors_gradient: Op = Op("cofactors_gradient", "gy, x -> gx", widened(_cofactors_gradient_forward)).vjp(
    gy=lambda g, x: _cofactors_gradient(g, x), x=_third_derivative)
_slogdet = Op("slogdet", "x -> logarithm, sign", lambda x: tuple(np.linalg.slogdet(x))[::-1]).vjp(
    x=lambda g, x: _each(g) * _transposed(inv(x)))
_REGULAR, _DEFINITE = "regular matrices", "symmetric positive definite matrices"
_inv = Op("inv", "x -> y", _factored("inv", _REGULAR, np.linalg.inv)).vjp(x=_inv_rule)
_cholesky = Op("cholesky", "x -> y", _factored("cholesky", _DEFINITE, np.linalg.cholesky)).vjp(x=_cholesky_rule)
_solve = Op("solve", "a, b -> y", _factored("solve", "a of " + _REGULAR, np.linalg.solve), broadcasts=True).vjp(
    a=lambda g, a, y: -matmul(solve(_transposed(a), g), _transposed(y)), b=lambda g, a: solve(_transposed(a), g))


def det(x: Any) -> Tensor:
    """The determinant of each matrix; its gradient is the matrix of cofactors, even for singular matrices.

    >>> det([[2.0, 0.0], [0.0, 3.0]]).item()
    6.0
    """
    return _det(_matrices("det", x))


def slogdet(x: Any) -> tuple[Tensor, Tensor]:
    """The sign of each determinant and the logarithm of its absolute value; gradients need regular matrices.
    """
    x = _matrices("slogdet", x)
    logarithm, sign = _slogdet(astype(x, accumulator(x.dtype)))
    return astype(sign, x.dtype), astype(logarithm, x.dtype)


def inv(x: Any) -> Tensor:
    """The inverse of each matrix; ValueError where there is none."""
    return _inv(_matrices("inv", x))


def cholesky(x: Any, *, upper: bool = False) -> Tensor:
    """The lower triangular L with L @ L.T = x, of symmetric positive definite matrices; with `upper`, L.T."""
    lower = _cholesky(_matrices("cholesky", x))
    return _transposed(lower) if upper else lower


def solve(a: Any, b: Any) -> Tensor:
    """The x with a @ x = b; a 1-D b is one vector, else the columns of b are vectors. ValueError where a is singular.

    >>> solve([[2.0, 0.0], [0.0, 4.0]], [1.0, 1.0])
    Tensor([0.5 , 0.25], dtype=float32)
    """
    a, b = _matrices("solve", a), floating("solve", b)
    rows = b.shape[0 if b.ndim == 1 else -2] if b.ndim else None
    if rows != a.shape[-1]:
        raise ValueError(f"solve: expected b of {a.shape[-1]} rows like a, got shapes (a={a.shape}, b={b.shape})")
    dtype = np.result_type(a.dtype, b.dtype)
    a, b = astype(a, dtype), astype(b, dtype)
    return _solve(a, b[:, None])[..., 0] if b.ndim == 1 else _solve(a, b)


# --- factors


def _unrecorded(name: str, run: Callable[..., Any], *operands: Any, square: bool = False) -> Any:
    """Tensors made by a function of NumPy that has no gradient here; an error where an operand requires a gradient."""
    tensors = [_matrices(name, operands[0], square), *[floating(name, x) for x in operands[1:]]]
    if is_grad_enabled() and any([t.requires_grad for t in tensors]):
        raise NotImplementedError(f"{name}: no gradient is defined; detach() its operand or use no_grad()")
    forward = _factored(name, "matrices of finite numbers", run)
    results = run_there(name, tensors[0].array, lambda: forward(*[t.array for t in tensors]))
    return tuple([as_tensor(r) for r in results]) if isinstance(results, tuple) else as_tensor(results)


def _eigenvalue_rule(g: Tensor, vectors: Tensor) -> Tensor:
    return einsum("...ij,...j,...kj->...ik", vectors, g, vectors)


_eigvalsh = Op("eigvalsh", "x -> values, vectors", _factored("eigvalsh", "symmetric matrices of finite numbers",
                                                              lambda x: tuple(np.linalg.eigh(x)))).vjp(
    x=_eigenvalue_rule)


def eigvalsh(x: Any) -> Tensor:
    """The eigenvalues of symmetric matrices, in ascending order.

    >>> eigvalsh([[2.0, 0.0], [0.0, 1.0]])
    Tensor([1., 2.], dtype=float32)
    """
    return _eigvalsh(_matrices("eigvalsh", x))[0]


_eigh, _svd, _qr = factors.declared(_factored)


def _differentiates(x: Tensor) -> bool:
    return is_grad_enabled() and x.requires_grad


def eigh(x: Any) -> tuple[Tensor, Tensor]:
    """Eigenvalues, in ascending order, and eigenvectors (columns) of symmetric matrices.

    Vectors have a derivative where eigenvalues differ; what depends only on the space that equal ones span has one
    everywhere.
    """
    x = _matrices("eigh", x)
    if not _differentiates(x):
        return _unrecorded("eigh", lambda a: tuple(np.linalg.eigh(a)), x, square=True)
    return factors.eigh(_eigh, x)  # type: ignore[return-value]


def eig(x: Any) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors (columns), where they are real; no gradient."""
    return _unrecorded("eig", lambda a: tuple(np.linalg.eig(a)), x, square=True)


def qr(x: Any, mode: str = "reduced") -> Any:
    """Q with orthonormal columns and the upper triangular R with Q @ R = x. Mode "r" returns R alone.

    Gradients exist where the first columns are independent, and for "complete" where no matrix is higher than wide.
    """
    if mode not in ("reduced", "complete", "r"):
        raise ValueError(f"qr: expected mode 'reduced', 'complete' or 'r', got {mode!r}")
    x = _matrices("qr", x, square=False)
    if _differentiates(x) and not (mode == "complete" and x.shape[-2] > x.shape[-1]):
        found = factors.qr(_qr, x)
        return found[1] if mode == "r" else found

    def run(a: Any) -> Any:
        found: Any = np.linalg.qr(a, mode)  # type: ignore[call-overload]
        return found if mode == "r" else tuple(found)

    return _unrecorded("qr", run, x)


def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """U, the singular values s in descending order, and V^T, with U @ diag(s) @ V^T = x.

    Gradients exist where singular values differ, and with `full_matrices` for square matrices alone; those of s, which
    `compute_uv=False` returns, for all.
    """
    x = _matrices("svd", x, square=False)
    if _differentiates(x) and (not compute_uv or not full_matrices or x.shape[-1] == x.shape[-2]):
        parts = factors.svd(_svd, x)
        return parts if compute_uv else parts[1]

    def run(a: Any) -> Any:
        found: Any = np.linalg.svd(a, full_matrices, compute_uv)  # type: ignore[call-overload]
        return tuple(found) if compute_uv else found

    return _unrecorded("svd", run, x)


def lstsq(a: Any, b: Any, rcond: float | None = None) -> Tensor:
    """The x for which |a @ x - b| is smallest; no gradient."""
    rcond = None if rcond is None else number("lstsq", "rcond", rcond)
    a, b = _matrices("lstsq", a, square=False), floating("lstsq", b)
    if a.ndim != 2 or b.ndim not in (1, 2) or b.shape[0] != a.shape[0]:
        raise ValueError("lstsq: expected a of two axes and b of one or two with as many rows, got shapes "
                         f"(a={a.shape}, b={b.shape})")
    return _unrecorded("lstsq", lambda a, b: np.linalg.lstsq(a, b, rcond)[0], a, b)


def pinv(x: Any, rcond: float | None = None) -> Tensor:
    """The pseudo-inverse of each matrix; no gradient."""
    rcond = None if rcond is None else number("pinv", "rcond", rcond)
    return _unrecorded("pinv", lambda a: np.linalg.pinv(a, rcond), x)


def matrix_rank(x: Any, tol: float | None = None) -> Tensor:
    """How many singular values of each matrix are above tol."""
    tol = None if tol is None else number("matrix_rank", "tol", tol)
    return _unrecorded("matrix_rank", lambda a: np.linalg.matrix_rank(a, tol), as_tensor(x, "matrix_rank").detach())
