"""Random numbers. The caller always names the generator, and numbers are the same on every device.

Masks of `Generator` are made by the op `dropout`, on the device of its operand; those of NumPy's generators are drawn
on the host. The mask is not kept for the gradient: the same op makes it again, from the same state.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import autograd
from ..device import move
from ..dtypes import accumulator, check_same_float
from ..generator import Generator
from ..op import Op
from ..rewinding import generator_in_use
from ..tensor import Tensor, as_tensor, wrap

_dropout = Op("dropout", "x; state, rate -> y")
_dropout.vjp(x=lambda g, state, rate: _dropout(g, state, rate))


def as_generator(op: str, generator: Any) -> np.random.Generator | Generator:
    """The generator itself, what `remat` puts in its place, or a new one of NumPy's from an integer seed."""
    if isinstance(generator, Generator):
        return generator
    if isinstance(generator, np.random.Generator):
        autograd.note(generator.bit_generator, "state")
        return generator_in_use(generator)
    if isinstance(generator, (int, np.integer)) and not isinstance(generator, bool):
        return np.random.default_rng(int(generator))
    raise TypeError(f"{op}: expected generator=, a Generator, a numpy.random.Generator or an integer seed, got "
                    f"{generator!r:.40}")


def dropout(x: Any, rate: float, *, generator: Any, training: bool = True) -> Tensor:
    """Set each element to zero with probability `rate`, and scale the others so that the expectation stays the same.

    y = x * keep / (1 - rate), where keep is 0 or 1 for each element; y = x without `training`. So NaN stays NaN, and
    Inf that is dropped becomes NaN. Half types are computed in float32 and rounded once with a `Generator`, which
    draws the same mask on every device and keeps none for the gradient.

    Args:
        x: a floating tensor of any shape.
        rate: the probability of a zero, in [0, 1].
        generator: a Generator of convgpu or of numpy.random, whose state advances, or an integer seed, which draws the
            same mask each time. It is not used where no mask is needed.
        training: whether to drop elements; without it, x is returned.

    Raises:
        TypeError: x is not floating. ValueError: the rate is not in [0, 1].

    >>> dropout([1.0, 1.0, 1.0, 1.0], 0.5, generator=0)
    Tensor([2., 2., 2., 0.], dtype=float32)
    """
    x = as_tensor(x, "dropout")
    check_same_float("dropout", x=x)
    if not 0 <= rate <= 1:
        raise ValueError(f"dropout: expected a rate in [0, 1], got {rate}")
    if not training or rate == 0:
        return x
    source = as_generator("dropout", generator)
    if isinstance(source, Generator):
        return _dropout(x, source.advance(-(-math.prod(x.shape) // 4)), float(rate))
    kept = source.random(x.shape, dtype=np.float32) >= rate
    scale = kept * accumulator(x.dtype).type(1 / (1 - rate) if rate < 1 else 0)
    return x * wrap(move(scale.astype(x.dtype), x.device))
