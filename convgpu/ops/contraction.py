"""Sums of products. They are made of transpose, reshape and matmul, whose gradient rules give their gradients.

    tensordot(a, b)[i, j] = sum over k of a[i, k] * b[k, j]      einsum("bik,bkj->bij", a, b): the same for every b
"""

from __future__ import annotations

import operator
import string
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arguments import axis_tuple
from ..dtypes import accumulator
from ..tensor import Tensor, as_tensor
from .elementwise import astype, multiply
from .gemm import matmul
from .indexing import diagonal
from .reduce import sum as sum_over
from .shape import expand_dims, ravel, reshape, transpose


def tensordot(a: Any, b: Any, axes: Any = 2) -> Tensor:
    """The sum of products over pairs of axes.

    Args:
        axes: (axes of a, axes of b), or a number n: the last n axes of a and the first n of b.

    >>> import numpy as np
    >>> tensordot(np.ones((2, 3, 4)), np.ones((4, 3, 5)), axes=([1, 2], [1, 0])).shape
    (2, 5)
    """
    a, b = as_tensor(a, "tensordot"), as_tensor(b, "tensordot")
    try:
        n = operator.index(axes)
        of_a, of_b = tuple(range(a.ndim - n, a.ndim)), tuple(range(n))
    except TypeError:
        of_a, of_b = (axis_tuple("tensordot", axes[0], a.ndim, "axes of a"),
                      axis_tuple("tensordot", axes[1], b.ndim, "axes of b"))
    if [a.shape[i] for i in of_a] != [b.shape[i] for i in of_b]:
        raise ValueError(f"tensordot: expected pairs of axes of one size, got a={a.shape}, b={b.shape}, axes={axes}")
    labels_b = [-1 - i for i in range(b.ndim)]
    for i, j in zip(of_a, of_b):
        labels_b[j] = i
    labels_a = list(range(a.ndim))
    output = [i for i in labels_a if i not in of_a] + [i for i in labels_b if i < 0]
    return _contract(a, labels_a, b, labels_b, set(output))[0]


def dot(a: Any, b: Any) -> Tensor:
    """The sum of products over the last axis of a and the last but one of b (the last if 1-D); scalars multiply.

    >>> dot([1.0, 2.0], [3.0, 4.0]).item()
    11.0
    """
    left, right = as_tensor(a, "dot"), as_tensor(b, "dot")
    if left.ndim == 0 or right.ndim == 0:
        return multiply(a, b)
    return tensordot(left, right, (-1, max(right.ndim - 2, 0)))


def inner(a: Any, b: Any) -> Tensor:
    """The sum of products over the last axis of a and of b; a scalar multiplies the other operand.

    >>> inner([[1.0, 2.0], [0.0, 1.0]], [3.0, 4.0])
    Tensor([11.,  4.], dtype=float32)
    """
    left, right = as_tensor(a, "inner"), as_tensor(b, "inner")
    return multiply(a, b) if left.ndim == 0 or right.ndim == 0 else tensordot(left, right, (-1, -1))


def vdot(a: Any, b: Any) -> Tensor:
    """The sum of products of all elements."""
    return tensordot(ravel(a), ravel(b), 1)


def outer(a: Any, b: Any) -> Tensor:
    """The product of each element of a and each element of b: (a.size, b.size).

    >>> outer([1.0, 2.0], [3.0, 4.0])
    Tensor([[3., 4.],
            [6., 8.]], dtype=float32)
    """
    return expand_dims(ravel(a), 1) * ravel(b)


def kron(a: Any, b: Any) -> Tensor:
    """The Kronecker product: every element of a is replaced by that element times b.

    >>> kron([1.0, 10.0], [1.0, 2.0])
    Tensor([ 1.,  2., 10., 20.], dtype=float32)
    """
    a, b = as_tensor(a, "kron"), as_tensor(b, "kron")
    ndim = max(a.ndim, b.ndim)
    m, n = (1,) * (ndim - a.ndim) + a.shape, (1,) * (ndim - b.ndim) + b.shape
    wide = reshape(a, [k for size in m for k in (size, 1)]) * reshape(b, [k for size in n for k in (1, size)])
    return reshape(wide, [i * j for i, j in zip(m, n)])


# --- einsum


def einsum(subscripts: str, *operands: Any) -> Tensor:
    """The sum of products that `subscripts` names, as in numpy.einsum.

    Every form of NumPy's string notation is differentiable: implicit output, "...", diagonals ("ii->i"), broadcast axes
    of size 1, any number of operands. Half types accumulate in float32. An error is raised for operands given as lists
    of integers, for booleans, and for the options of numpy.einsum.

    >>> einsum("ij,j", [[1.0, 2.0], [3.0, 4.0]], [1.0, 10.0])
    Tensor([21., 43.], dtype=float32)
    """
    if not isinstance(subscripts, str):
        raise TypeError(f"einsum: expected subscripts as a string, got {type(subscripts).__name__}")
    tensors = [as_tensor(x, "einsum") for x in operands]
    labels, output = _parse(subscripts, [t.ndim for t in tensors])
    dtype = np.result_type(*[t.dtype for t in tensors])
    if dtype.kind == "b":
        raise TypeError("einsum: expected numbers, got bool; convert with .astype(...)")
    sizes = _sizes(subscripts, tensors, labels)
    terms = [_simplify(subscripts, astype(t, accumulator(dtype)), names, sizes) for t, names in zip(tensors, labels)]
    for chosen in _order(terms, output):
        picked = [terms.pop(i) for i in sorted(chosen, reverse=True)]
        while len(picked) > 1:
            (a, names_a), (b, names_b) = picked.pop(), picked.pop()
            keep = {*output, *[n for _, names in (*terms, *picked) for n in names]}
            picked.append(_contract(a, names_a, b, names_b, keep))
        terms.append(picked[0])
    y, names = terms[0]
    y = sum_over(y, tuple([i for i, n in enumerate(names) if n not in output]))
    names = [n for n in names if n in output]
    return astype(transpose(y, [names.index(n) for n in output]), dtype)


def _parse(subscripts: str, ndims: list[int]) -> tuple[list[list[str]], list[str]]:
    """The labels of each operand's axes and of the output's axes; the axes of "..." are labelled from the last: "...0".
    """
    inputs, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = inputs.split(",")
    if len(terms) != len(ndims):
        raise ValueError(f"einsum: expected {len(terms)} operands for {subscripts!r}, got {len(ndims)}")
    labels = [_axes_of(subscripts, term, ndim - len(term.replace("...", ""))) for term, ndim in zip(terms, ndims)]
    dots = sorted({n for names in labels for n in names if len(n) > 1}, key=lambda n: -int(n[3:]))
    if not arrow:
        counts = Counter([n for names in labels for n in names])
        return labels, dots + sorted(n for n, count in counts.items() if count == 1 and len(n) == 1)
    if dots and "..." not in result:
        raise ValueError(f"einsum: expected '...' in the output too, as in the operands, got {subscripts!r}")
    output = _axes_of(subscripts, result, len(dots) if "..." in result else 0)
    unknown = set(output) - {n for names in labels for n in names}
    if unknown or len(set(output)) < len(output):
        raise ValueError(f"einsum: expected each label of the output once, and in an operand, got {subscripts!r}")
    return labels, output


def _axes_of(subscripts: str, term: str, dots: int) -> list[str]:
    before, ellipsis, after = term.partition("...")
    if not (before + after).isalpha() and before + after:
        raise ValueError(f"einsum: expected letters, ',', '->' and '...', got {subscripts!r}")
    if dots < 0 or (dots and not ellipsis):
        raise ValueError(f"einsum: expected one label for each axis of an operand, got {term!r} in {subscripts!r} for "
                         f"{dots + len(before + after)} axes")
    return [*before, *[f"...{i}" for i in reversed(range(dots))], *after]


def _sizes(subscripts: str, tensors: Sequence[Tensor], labels: list[list[str]]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for t, names in zip(tensors, labels):
        for name, n in zip(names, t.shape):
            if sizes.setdefault(name, n) == 1:
                sizes[name] = n
            elif n not in (1, sizes[name]):
                raise ValueError(f"einsum: expected one size for each label, got {sizes[name]} and {n} for {name!r} in "
                                 f"{subscripts!r} ({', '.join([str(t.shape) for t in tensors])})")
    return sizes


def _simplify(subscripts: str, x: Tensor, names: list[str], sizes: dict[str, int]) -> tuple[Tensor, list[str]]:
    """Make each label of an operand unique by taking diagonals, and drop axes of size 1 that broadcast."""
    while len(set(names)) < len(names):
        i, j = next((i, j) for j in range(len(names)) for i in range(j) if names[i] == names[j])
        if x.shape[i] != x.shape[j]:
            raise ValueError(f"einsum: expected one size for the label {names[i]!r} of an operand, got shape {x.shape} "
                             f"in {subscripts!r}")
        x, names = diagonal(x, 0, i, j), [n for k, n in enumerate(names) if k not in (i, j)] + [names[i]]
    kept = [i for i, n in enumerate(names) if x.shape[i] == sizes[n]]
    return reshape(x, [x.shape[i] for i in kept]), [names[i] for i in kept]


def _order(terms: list[tuple[Tensor, list[str]]], output: list[str]) -> Sequence[tuple[int, ...]]:
    """The order of contraction: each group of terms is contracted to one term, which goes to the end of the list."""
    if len(terms) < 3:
        return [tuple(range(len(terms)))]
    letters = dict(zip({n: None for _, names in terms for n in names}, string.ascii_letters))
    spelled = ["".join([letters[n] for n in names]) for names in (*[names for _, names in terms], output)]
    subscripts = ",".join(spelled[:-1]) + "->" + spelled[-1]
    return np.einsum_path(subscripts, *[np.broadcast_to(0.0, t.shape) for t, _ in terms], optimize="greedy")[0][1:]


def _contract(a: Tensor, names_a: Sequence[Any], b: Tensor, names_b: Sequence[Any],
              keep: set[Any]) -> tuple[Tensor, list[Any]]:
    """Multiply two operands, and sum over the labels that they share, except those in `keep`."""
    a, names_a = _sum_own(a, names_a, names_b, keep)
    b, names_b = _sum_own(b, names_b, names_a, keep)
    shared = [n for n in names_a if n in names_b]
    batch, summed = [n for n in shared if n in keep], [n for n in shared if n not in keep]
    free_a, free_b = [n for n in names_a if n not in shared], [n for n in names_b if n not in shared]
    sizes = {**dict(zip(names_a, a.shape)), **dict(zip(names_b, b.shape))}
    output = batch + free_a + free_b

    def arranged(x: Tensor, names: Sequence[Any], *groups: list[Any]) -> Tensor:
        """x with the batch axes first, and one axis for each group of labels."""
        order = [names.index(n) for group in (batch, *groups) for n in group]
        merged = [int(np.prod([sizes[n] for n in group], dtype=int)) for group in groups]
        return reshape(transpose(x, order), [sizes[n] for n in batch] + merged)

    if summed and (free_a or free_b or not batch):
        y = matmul(arranged(a, names_a, free_a, summed), arranged(b, names_b, summed, free_b))
    else:  # there are no matrices to multiply, only elements
        y = arranged(a, names_a, free_a, [], summed) * arranged(b, names_b, [], free_b, summed)
        y = sum_over(y, -1) if summed else y
    return reshape(y, [sizes[n] for n in output]), output


def _sum_own(x: Tensor, names: Sequence[Any], others: Sequence[Any], keep: set[Any]) -> tuple[Tensor, list[Any]]:
    """Sum x over its labels that the other operand does not have and that are not in `keep`."""
    own = [i for i, n in enumerate(names) if n not in others and n not in keep]
    return (sum_over(x, tuple(own)) if own else x), [n for i, n in enumerate(names) if i not in own]
