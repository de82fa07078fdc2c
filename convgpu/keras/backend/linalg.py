"""keras.ops.linalg: convgpu.numpy.linalg and functions that it lacks. Factors have no gradient; asking for one raises.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as onp
from keras.src import tree
from keras.src.backend.common import dtypes

import convgpu as cg
import convgpu.numpy as cnp
from convgpu import Tensor
from convgpu.dtypes import is_float
from convgpu.keras.borrow import borrow

from .core import convert_to_tensor

borrow("linalg", globals())


def cholesky_inverse(a: Any, upper: bool = False) -> Tensor:
    """The inverse of L @ L.T (with `upper`, of U.T @ U), computed from the factor."""
    a = convert_to_tensor(a)
    other = cnp.swapaxes(a, -1, -2)
    return cnp.linalg.inv(cnp.matmul(other, a) if upper else cnp.matmul(a, other))


def solve_triangular(a: Any, b: Any, lower: bool = False) -> Tensor:
    """The x with t @ x = b, where t is the lower or upper triangle of a."""
    a, b = convert_to_tensor(a), convert_to_tensor(b)
    triangle = cnp.tril(a) if lower else cnp.triu(a)
    return cnp.linalg.solve(triangle, b[..., None])[..., 0] if b.ndim == a.ndim - 1 else cnp.linalg.solve(triangle, b)


def lu_factor(a: Any) -> tuple[Tensor, Tensor]:
    """One matrix with L below the diagonal (L's diagonal is 1) and U, and the row exchanges of partial pivoting."""
    a = convert_to_tensor(a)
    if a.requires_grad and cg.is_grad_enabled():
        raise NotImplementedError("lu_factor: no gradient is defined; detach its operand")
    lu = a.numpy().copy()
    m, n = lu.shape[-2:]
    pivots = onp.empty((*lu.shape[:-2], min(m, n)), onp.int32)
    for matrix, exchanged in zip(lu.reshape(-1, m, n), pivots.reshape(-1, min(m, n))):
        for k in range(min(m, n)):
            exchanged[k] = p = k + int(onp.argmax(onp.abs(matrix[k:, k])))
            matrix[[k, p]] = matrix[[p, k]]
            if matrix[k, k] != 0:
                matrix[k + 1:, k] /= matrix[k, k]
            matrix[k + 1:, k + 1:] -= onp.outer(matrix[k + 1:, k], matrix[k, k + 1:])
    return cg.tensor(lu, device=a.device), cg.tensor(pivots, device=a.device)


def lstsq(a: Any, b: Any, rcond: float | None = None) -> Tensor:
    """The x for which |a @ x - b| is smallest."""
    return cnp.linalg.lstsq(convert_to_tensor(a), convert_to_tensor(b), rcond)


def jvp(fun: Callable[..., Any], primals: Any, tangents: Any, has_aux: bool = False) -> Any:
    """fun(*primals) and its derivative along the tangents: the gradient of a gradient, which is linear in its seed."""
    inputs = [convert_to_tensor(x).detach().requires_grad_() for x in primals]
    along = [convert_to_tensor(t) for t in tangents]
    y, aux = fun(*inputs) if has_aux else (fun(*inputs), None)
    seed = cnp.zeros_like(y).requires_grad_()
    grads = cg.grad(y, inputs, seed, create_graph=True)
    total = sum((cnp.sum(g * t) for g, t in zip(grads, along)), start=cnp.sum(seed * 0))
    change = cg.grad(total, seed)
    return (y.detach(), change, aux) if has_aux else (y.detach(), change)


# --- dtypes


def _in_floats(function: Callable[..., Any], operands: int) -> Callable[..., Any]:
    """Make a function convert its operands to one floating dtype; half types are computed in float32."""
    @functools.wraps(function)
    def computed(*args: Any, **options: Any) -> Any:
        tensors = [convert_to_tensor(x) for x in args[:operands]]
        dtype = dtypes.result_type(*[t.dtype for t in tensors], float)
        half = dtype in ("float16", "bfloat16")
        results = function(*[t.astype("float32" if half else dtype) for t in tensors], *args[operands:], **options)
        return tree.map_structure(lambda y: y.astype(dtype) if is_float(y.dtype) else y, results) if half else results

    return computed


for _operands, _names in ((1, "cholesky cholesky_inverse det eig eigh inv lu_factor matrix_rank pinv qr svd"),
                          (2, "lstsq solve solve_triangular")):
    for _name in _names.split():
        globals()[_name] = _in_floats(globals()[_name], _operands)
