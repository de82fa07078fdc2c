"""What convgpu.numpy.linalg has: norms, and of matrices determinants, solutions and factors.

Leading axes are batches of matrices. The gradients are those of det, slogdet, inv, solve and cholesky, and of the
eigenvalues of eigh. The factors of qr, svd and eig carry none: asked for one, these raise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import summation
from ..autograd import is_grad_enabled
from ..device import run_there
from ..dtypes import accumulator
from ..op import Op
from ..tensor import Tensor, as_tensor
from .contraction import einsum
from .elementwise import abs as absolute
from .elementwise import astype, nonzero_divisor
from .gemm import matmul
from .reduce import Axes, prepare, spread
from .reduce import max as max_over
from .reduce import min as min_over
from .reduce import sum as sum_over
from .shape import expand_dims, moveaxis, swapaxes, tril
from .widening import floating, widened

# --- norms


def _norm_rule(g: Tensor, x: Tensor, axes: Axes, keepdims: bool, y: Tensor) -> Tensor:
    """x / norm; 0 where all is 0."""
    return x * spread(g / nonzero_divisor(y), x.shape, axes, keepdims)


_norm = Op("norm", "x; axes, keepdims -> y",
           lambda x, axes, keepdims: np.sqrt(summation.total(x * x, axes, keepdims))).vjp(x=_norm_rule)


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The norm of vectors along `axis`, or of all elements: sqrt(sum(x^2)); its gradient at 0 is 0.

    Args:
        ord: None, or "fro" of matrices: as above. Of vectors, along one axis: inf, -inf, 0, or a number p for
            sum(|x|^p)^(1/p). Of matrices, over two axes: 1, -1, inf, -inf: the largest or smallest sum of a column or
            row; "nuc", 2, -2: the sum, the largest, the smallest of the singular values.

    >>> norm([3.0, 4.0]).item()
    5.0
    """
    x, axes = prepare("norm", floating("norm", x), axis)
    if ord is not None and axis is None and x.ndim not in (1, 2):
        raise ValueError(f"norm: expected axis=, one for vectors or two for matrices, with ord={ord!r} of {x.shape}")
    if ord is None or (len(axes) == 2 and ord == "fro") or (len(axes) == 1 and ord == 2):
        return astype(_norm(astype(x, accumulator(x.dtype)), axes, keepdims), x.dtype)
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
    return sum_over(absolute(x) ** ord, axes, keepdims=keepdims) ** (1 / ord)


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
    """A number per matrix, with two axes of size 1 after it."""
    return expand_dims(x, (-2, -1))


def _inv_rule(g: Tensor, y: Tensor) -> Tensor:
    return -matmul(_transposed(y), matmul(g, _transposed(y)))


def _cholesky_rule(g: Tensor, y: Tensor) -> Tensor:
    """inv(L)^T phi(L^T g) inv(L), phi halving the diagonal of the lower triangle; symmetric (Murray, 2016)."""
    inverse = inv(y)
    inner = tril(matmul(_transposed(y), tril(g)))
    inner = 0.5 * (inner + tril(inner, -1))
    gx = matmul(_transposed(inverse), matmul(inner, inverse))
    return 0.5 * (gx + _transposed(gx))


def _slogdet_forward(x: Any) -> tuple[Any, Any]:
    sign, logarithm = np.linalg.slogdet(x)
    return logarithm, sign


_det = Op("det", "x -> y", widened(np.linalg.det)).vjp(
    x=lambda g, x, y: _each(g * y) * _transposed(inv(x)))
_slogdet = Op("slogdet", "x -> logarithm, sign", _slogdet_forward).vjp(
    x=lambda g, x: _each(g) * _transposed(inv(x)))
_inv = Op("inv", "x -> y", widened(np.linalg.inv)).vjp(x=_inv_rule)
_cholesky = Op("cholesky", "x -> y", widened(np.linalg.cholesky)).vjp(x=_cholesky_rule)
_solve = Op("solve", "a, b -> y", widened(np.linalg.solve), broadcasts=True).vjp(
    a=lambda g, a, y: -matmul(solve(_transposed(a), g), _transposed(y)), b=lambda g, a: solve(_transposed(a), g))


def det(x: Any) -> Tensor:
    """The determinant of each matrix; its gradient is that of regular ones.

    >>> det([[2.0, 0.0], [0.0, 3.0]]).item()
    6.0
    """
    return _det(floating("det", x))


def slogdet(x: Any) -> tuple[Tensor, Tensor]:
    """The sign of each determinant, and the logarithm of its absolute value."""
    x = floating("slogdet", x)
    logarithm, sign = _slogdet(astype(x, accumulator(x.dtype)))
    return astype(sign, x.dtype), astype(logarithm, x.dtype)


def inv(x: Any) -> Tensor:
    """The inverse of each matrix."""
    return _inv(floating("inv", x))


def cholesky(x: Any, *, upper: bool = False) -> Tensor:
    """The lower triangular L with L @ L.T = x, of symmetric positive definite matrices; with `upper`, L.T."""
    lower = _cholesky(floating("cholesky", x))
    return _transposed(lower) if upper else lower


def solve(a: Any, b: Any) -> Tensor:
    """The x with a @ x = b; a 1-D b is one vector, otherwise its columns are.

    >>> solve([[2.0, 0.0], [0.0, 4.0]], [1.0, 1.0])
    Tensor([0.5 , 0.25], dtype=float32)
    """
    a, b = floating("solve", a), floating("solve", b)
    dtype = np.result_type(a.dtype, b.dtype)
    a, b = astype(a, dtype), astype(b, dtype)
    return _solve(a, b[:, None])[..., 0] if b.ndim == 1 else _solve(a, b)


# --- factors


def _unrecorded(name: str, run: Callable[..., Any], *operands: Any) -> Any:
    """Tensors made by a function of NumPy that has no gradient here; an error where one would be lost."""
    tensors = [floating(name, x) for x in operands]
    if is_grad_enabled() and any([t.requires_grad for t in tensors]):
        raise NotImplementedError(f"{name}: no gradient is defined; detach() its operand or use no_grad()")
    results = run_there(name, tensors[0].array, lambda: run(*[t.array for t in tensors]))
    return tuple([as_tensor(r) for r in results]) if isinstance(results, tuple) else as_tensor(results)


def _eigenvalue_rule(g: Tensor, vectors: Tensor) -> Tensor:
    return einsum("...ij,...j,...kj->...ik", vectors, g, vectors)


_eigvalsh = Op("eigvalsh", "x -> values, vectors", lambda x: tuple(np.linalg.eigh(x))).vjp(x=_eigenvalue_rule)


def eigvalsh(x: Any) -> Tensor:
    """The eigenvalues of symmetric matrices, in ascending order.

    >>> eigvalsh([[2.0, 0.0], [0.0, 1.0]])
    Tensor([1., 2.], dtype=float32)
    """
    return _eigvalsh(floating("eigvalsh", x))[0]


def eigh(x: Any) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors (columns) of symmetric matrices; no gradient (see `eigvalsh`)."""
    return _unrecorded("eigh", lambda a: tuple(np.linalg.eigh(a)), x)


def eig(x: Any) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors (columns), where they are real; no gradient."""
    return _unrecorded("eig", lambda a: tuple(np.linalg.eig(a)), x)


def qr(x: Any, mode: str = "reduced") -> tuple[Tensor, Tensor]:
    """Q with orthonormal columns and the upper triangular R, with Q @ R = x; no gradient."""
    return _unrecorded("qr", lambda a: tuple(np.linalg.qr(a, mode)), x)  # type: ignore[call-overload]


def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """U, the singular values s in descending order, and V^T, with U @ diag(s) @ V^T = x; no gradient."""
    def run(a: Any) -> Any:
        found: Any = np.linalg.svd(a, full_matrices, compute_uv)  # type: ignore[call-overload]
        return tuple(found) if compute_uv else found

    return _unrecorded("svd", run, x)


def lstsq(a: Any, b: Any, rcond: float | None = None) -> Tensor:
    """The x for which |a @ x - b| is smallest; no gradient."""
    return _unrecorded("lstsq", lambda a, b: np.linalg.lstsq(a, b, rcond)[0], a, b)


def pinv(x: Any, rcond: float | None = None) -> Tensor:
    """The pseudo-inverse of each matrix; no gradient."""
    return _unrecorded("pinv", lambda a: np.linalg.pinv(a, rcond), x)


def matrix_rank(x: Any, tol: float | None = None) -> Tensor:
    """How many singular values of each matrix are above tol."""
    array = floating("matrix_rank", x).array
    return as_tensor(run_there("matrix_rank", array, lambda: np.linalg.matrix_rank(array, tol)))
