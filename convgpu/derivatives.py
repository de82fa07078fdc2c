"""Derivatives beyond one gradient: Jacobians, products of a Jacobian or a Hessian with a vector.

    jacobian: J[i, j] = d f_i / d x_j        jvp: J v        hvp: H v, with H the second derivatives of a scalar f

All of them walk back along the tape, whose gradients can be differentiated again. Within another gradient, or on
tensors that require one, results are recorded; elsewhere they are constants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from . import tree
from .creation import ones_like, zeros_like
from .device import run_there
from .dtypes import is_float
from .gradients import differentiated, grad, leads_outside, numbers
from .ops.joining import stack
from .tensor import Tensor, as_tensor, wrap


def jacobian(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """A function that returns the derivatives of every element of f's result by every element of an argument.

    J[i..., j...] = d f[i...] / d x[j...],  of f's shape followed by x's

    Args:
        f: returns a Tensor, or nested dicts, lists and tuples of them.
        argnums: which positional argument to differentiate by; for several, results are tuples.

    An argument may be a tree of Tensors too: each Tensor of the result is replaced by a tree like the argument, as
    `jax.jacrev` has it. The function walks back once for each element of the result.

    Raises:
        TypeError: f returns anything but floating Tensors, or an argument is not floating.

    >>> import convgpu as cg
    >>> jacobian(lambda x: x**2)(cg.tensor([1.0, 2.0]))
    Tensor([[2., 0.],
            [0., 4.]], dtype=float32)
    """
    chosen = numbers(argnums, "jacobian")

    def derivatives(*args: Any, **options: Any) -> Any:
        with differentiated("jacobian", args, chosen) as (given, leaves, traced):
            result = f(*given, **options)
            inputs = tree.leaves(leaves)

            def of(y: Any) -> Any:
                _check_result("jacobian", y)
                outside = traced and leads_outside([y], inputs)
                rows = [grad(y, inputs, seed, create_graph=outside, retain_graph=True) for seed in _unit_vectors(y)]
                columns = iter([_joined([row[i] for row in rows], y, x) for i, x in enumerate(inputs)])
                found = tree.map(lambda x: next(columns), leaves)
                return found if isinstance(argnums, Sequence) else found[0]

            return tree.map(of, result)

    return derivatives


def jvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """f's result, and how it changes when its arguments move along tangents: J v.

    Args:
        f: returns a Tensor, or nested dicts, lists and tuples of them.
        primals: f's positional arguments, Tensors or trees of them.
        tangents: for each argument its direction, in the same structure and shapes.

    Returns:
        (result, J v), both in the structure of f's result. It is computed by two walks back: the product of a row
        vector u with J is linear in u, and its derivative by u, along v, is J v.

    Raises:
        TypeError: f returns anything but floating Tensors, or an argument is not floating. ValueError: a tangent of
        another structure or shape than its argument.

    >>> import convgpu as cg
    >>> jvp(lambda x: x**2, [cg.tensor([1.0, 2.0])], [cg.tensor([1.0, 10.0])])
    (Tensor([1., 4.], dtype=float32), Tensor([ 2., 40.], dtype=float32))
    """
    chosen, vectors = _directions("jvp", primals, tangents)
    with differentiated("jvp", primals, chosen) as (given, leaves, traced):
        result = f(*given)
        inputs, ys = tree.leaves(leaves), tree.leaves(result)
        for y in ys:
            _check_result("jvp", y)
        outside = traced and leads_outside(ys, inputs)
        weights = [ones_like(y).requires_grad_() for y in ys]
        gradients = grad(ys, inputs, weights, create_graph=True)
        moved = iter(grad(gradients, weights, vectors, create_graph=outside) if ys else [])
        for weight in weights:
            weight.requires_grad = False
        tangent = tree.map(lambda y: next(moved), result)
        return (result if outside else tree.map(lambda y: y.detach(), result)), tangent


def hvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """f's gradient, and how it changes when the arguments move along tangents: H v, without the matrix H.

    Args:
        f: returns a scalar Tensor.
        primals: f's positional arguments, Tensors or trees of them.
        tangents: for each argument its direction, in the same structure and shapes.

    Returns:
        (gradient, H v), each a tuple with one entry per argument, in its structure.

    Raises:
        TypeError: f returns no scalar, or an argument is not floating. ValueError: a tangent of another structure or
        shape than its argument.

    >>> import convgpu as cg
    >>> hvp(lambda x: (x**3).sum(), [cg.tensor([1.0, 2.0])], [cg.tensor([1.0, 10.0])])
    ((Tensor([ 3., 12.], dtype=float32),), (Tensor([  6., 120.], dtype=float32),))
    """
    chosen, vectors = _directions("hvp", primals, tangents)
    with differentiated("hvp", primals, chosen) as (given, leaves, traced):
        value = f(*given)
        _check_result("hvp", value)
        if value.size != 1:
            raise TypeError(f"hvp: expected f to return a scalar, got shape {value.shape}")
        inputs = tree.leaves(leaves)
        outside = traced and leads_outside([value], inputs)
        first = grad(value, inputs, create_graph=True)
        second = iter(grad(first, inputs, vectors, create_graph=outside))
        moved = tree.map(lambda x: next(second), leaves)
        numbered = iter(first if outside else [g.detach() for g in first])
        return tree.map(lambda x: next(numbered), leaves), moved


def _check_result(caller: str, y: Any) -> None:
    if not isinstance(y, Tensor) or not is_float(y.dtype):
        got = f"a Tensor of {y.dtype}" if isinstance(y, Tensor) else type(y).__name__
        raise TypeError(f"{caller}: expected f to return floating Tensors, got {got}")


def _directions(caller: str, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[range, list[Tensor]]:
    """The numbers of the arguments, and the tangents' leaves."""
    for name, value in (("primals", primals), ("tangents", tangents)):
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{caller}: expected {name} to be a list or tuple of arguments, got {type(value).__name__}")
    if len(primals) != len(tangents) or not primals:
        raise ValueError(f"{caller}: expected a tangent for each of one argument or more, got {len(tangents)} for "
                         f"{len(primals)}")
    vectors: list[Tensor] = []

    def see(p: Any, v: Any) -> None:
        primal, vector = as_tensor(p, caller), as_tensor(v, caller)
        if primal.shape != vector.shape:
            raise ValueError(f"{caller}: expected a tangent of shape {primal.shape}, got {vector.shape}")
        vectors.append(vector.astype(primal.dtype))

    tree.map(see, list(primals), list(tangents))
    return range(len(primals)), vectors


def _unit_vectors(y: Tensor) -> list[Tensor]:
    """For each element of y a tensor like it, of 1 there and of 0 elsewhere."""
    def unit(i: int) -> Tensor:
        def made() -> Any:
            array = zeros_like(y).array.copy()
            array.reshape(-1)[i] = 1
            return array

        return wrap(run_there("jacobian", y.array, made))

    return [unit(i) for i in range(y.size)]


def _joined(rows: list[Tensor], y: Tensor, x: Tensor) -> Tensor:
    shape = (*y.shape, *x.shape)
    if not rows:
        return zeros_like(x).reshape(1, *x.shape)[:0].reshape(shape)
    return stack(rows).reshape(shape)
