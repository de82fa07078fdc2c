"""The sum of several arrays, in one pass: where gradients meet."""

from __future__ import annotations

from typing import Any

from ..dtypes import check_same_float
from ..op import Op
from ..tensor import Tensor, as_tensor

op = Op("add_n", "*xs -> y").vjp_jointly(lambda g, wanted: [g if w else None for w in wanted])


def add_n(a: Any, b: Any, *more: Any) -> Tensor:
    """The sum of tensors of one shape and floating dtype, in their order; half types are added in float32 and rounded
    once. GPUs take at most 32 tensors.

    >>> add_n([1.0], [2.0], [3.0])
    Tensor([6.], dtype=float32)
    """
    xs = [as_tensor(x, "add_n") for x in (a, b, *more)]
    check_same_float("add_n", **{f"operand {i}": x for i, x in enumerate(xs)})
    if len({x.shape for x in xs}) > 1:
        raise ValueError(f"add_n: expected tensors of one shape, got {', '.join([str(x.shape) for x in xs])}")
    return op(xs)
