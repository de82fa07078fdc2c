"""Dropout, whose mask is drawn where its operand is, and again for the gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arguments import truth
from ..device import move
from ..dtypes import accumulator, check_same_float
from ..generator import Generator, as_generator
from ..op import Op
from ..recorder import Outline
from ..tensor import Tensor, as_tensor, wrap

dropout_by = Op("dropout", "x, state; rate -> y, next")
dropout_by.vjp(x=lambda g, state, rate: dropout_by(g, state, rate)[0])


def dropout(x: Any, rate: float, *, generator: Any = None, training: bool = True) -> Tensor:
    """Set each element to zero with probability `rate`, and scale the others so that the expectation stays the same.

    y = x * keep / (1 - rate), where keep is 0 or 1 for each element; y = x without `training`. So NaN stays NaN, and
    Inf that is dropped becomes NaN. Half types are computed in float32 and rounded once. The mask is drawn on the
    device of x, is the same on every device, and is not kept for the gradient.

    Args:
        x: a floating tensor of any shape.
        rate: the probability of a zero, in [0, 1].
        generator: a `Generator`, whose state moves on; by default that of `convgpu.seed`. An integer n stands for a new
            `Generator(n)`, so that each call drops the same elements: a training step wants a generator. The mask of a
            numpy.random.Generator is drawn on the host and copied. It is not used where no mask is needed.
        training: whether to drop elements; without it, x is returned.

    Raises:
        TypeError: x is not floating; the generator is on a GPU and x is not. ValueError: the rate is not in [0, 1].

    >>> import convgpu as cg
    >>> dropout([1.0, 1.0, 1.0, 1.0], 0.5, generator=cg.Generator(5))
    Tensor([2., 0., 2., 2.], dtype=float32)
    """
    x = as_tensor(x, "dropout")
    check_same_float("dropout", x=x)
    training = truth("dropout", "training", training)
    if not 0 <= rate <= 1:
        raise ValueError(f"dropout: expected a rate in [0, 1], got {rate}")
    if not training or rate == 0:
        return x
    source = as_generator("dropout", generator, x.device)
    if isinstance(source, Generator):
        return source.draw(dropout_by, (x,), float(rate))
    return x * wrap(_mask(source, x, rate))


def _mask(source: np.random.Generator, x: Tensor, rate: float) -> Any:
    """The factor of each element, from a generator of NumPy's, on x's device."""
    if isinstance(x.array, Outline):  # sizes are all that counts, and drawing a mask would take time and memory
        mask = x.array.like(x.shape)
        mask.recorder.copied(mask)
        return mask
    kept = source.random(x.shape, dtype=np.float32) >= rate
    return move((kept * accumulator(x.dtype).type(1 / (1 - rate) if rate < 1 else 0)).astype(x.dtype), x.device)
