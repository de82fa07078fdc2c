"""Convolution together with a normalisation whose statistics are given, as in inference.

    y = activation(conv(x, w) * factor + shift + residual),    factor = scale / sqrt(var + epsilon)
                                                               shift = offset + (bias - mean) * factor

Where nothing is recorded, the result of `conv` is deferred, and `batch_norm` with running statistics computes it by one
op, which rounds once; the convolution's own result is never made. Factors and shifts are folded once for the arrays
that they come from. Both ops are for inference alone and have no gradients.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .. import autograd
from ..deferred import defer
from ..device import owns_memory
from ..geometry import ConvGeometry
from ..op import Op
from ..tensor import Tensor
from .widening import wide

# folded has (factor, shift) of each filter.
conv_norm = Op("conv_norm", "x, w, folded, residual=None; geo, activation -> y")
_fold = Op("norm_fold", "mean, var, scale=None, offset=None, bias=None; epsilon -> folded")


class _Like(NamedTuple):
    """The shape, dtype and device of a result."""

    shape: tuple[int, ...]
    dtype: np.dtype
    device: str


class _Folded(NamedTuple):
    """What was folded from these arrays."""

    arrays: tuple[object, ...]
    epsilon: float
    result: Tensor


def folded(mean: Tensor, var: Tensor, scale: Tensor | None, offset: Tensor | None, bias: Tensor | None,
           epsilon: float) -> Tensor:
    """The factor and the shift of each channel, (channels, 2), in the dtype of the statistics.

    They are kept beside `mean` for the next call with the same arrays: `assign` makes new ones. Arrays that somebody
    else may write, as those of `from_dlpack`, are folded at every call.
    """
    arrays = tuple([None if t is None else t.array for t in (mean, var, scale, offset, bias)])
    kept: _Folded | None = mean.__dict__.get("_folded")
    if kept is not None and kept.epsilon == epsilon and all([a is b for a, b in zip(kept.arrays, arrays)]):
        return kept.result
    with autograd.recording(False):
        result = _fold(mean, var, scale, offset, None if bias is None else wide(bias), epsilon)
    if all([a is None or owns_memory(a) for a in arrays]):
        mean.__dict__["_folded"] = _Folded(arrays, epsilon, result)
    return result


def later(x: Tensor, w: Tensor, bias: Tensor | None, geo: ConvGeometry, plain: Op) -> Tensor | None:
    """The convolution, deferred; None where it is not computed together with a normalisation that follows: while
    gradients are recorded, and in channels_first.

    Args:
        plain: the op that computes the convolution by itself.
    """
    if autograd.is_grad_enabled() or not geo.channels_last:
        return None

    def normed(mean: Tensor, var: Tensor, scale: Tensor | None, offset: Tensor | None, epsilon: float,
               residual: Tensor | None, activation: str | None) -> Tensor:
        return conv_norm(x, w, folded(mean, var, scale, offset, bias, epsilon), residual, geo, activation)

    return defer(_Like(geo.y_shape, x.dtype, x.device), lambda residual, activation: plain(x, w, bias, geo, None),
                 (x, w, bias), normed)
