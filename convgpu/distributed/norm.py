"""Batch normalisation with the statistics of all processes' batches."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dtypes import accumulator, is_float
from ..op import Op
from ..ops.norm import batch_norm as of_one
from ..tensor import Tensor, as_tensor
from .collectives import start_sum
from .job import joined


def _sum_forward(x: np.ndarray) -> np.ndarray:
    mpi = joined("batch_norm")
    return x if mpi is None else start_sum(mpi, np.ascontiguousarray(x).reshape(-1), True).wait().reshape(x.shape)


# The sum over processes, in the order of ranks. What a loss on each process depends on is the sum of all, so that the
# gradient of one process's part is the sum of all processes' gradients.
_total = Op("total_of_processes", "x -> y", _sum_forward)
_total.vjp(x=lambda g: _total(g))


def batch_norm(x: Any, running_mean: Any, running_var: Any, scale: Any = None, offset: Any = None, *, training: bool,
               momentum: float = 0.9, epsilon: float = 1e-5, correction: int = 1,
               data_format: str = "channels_last") -> tuple[Tensor, Tensor, Tensor]:
    """`convgpu.batch_norm` as if all processes' batches were one: synchronised batch normalisation.

    y = (x - mean) / sqrt(var + epsilon) * scale + offset        with mean and var over the batches of all processes

    Arguments, results and errors are those of `convgpu.batch_norm`. The batches may differ in length and be empty. The
    gradient of x counts the losses of all processes, each as it is: together with a mean of gradients over the
    processes, it is the gradient of the mean of the losses.

    >>> import convgpu as cg
    >>> y, mean, var = cg.distributed.batch_norm(cg.tensor([[1.0], [3.0]]), [0.0], [1.0], training=True, momentum=0.5)
    >>> y.numpy().round(3).tolist(), mean.item(), var.item()
    ([[-1.0], [1.0]], 1.0, 1.5)
    """
    options: dict[str, Any] = {"momentum": momentum, "epsilon": epsilon, "correction": correction,
                               "data_format": data_format}
    if joined("batch_norm") is None or not training:
        return of_one(x, running_mean, running_var, scale, offset, training=training, **options)
    x, old = as_tensor(x, "batch_norm"), [as_tensor(t, "batch_norm") for t in (running_mean, running_var)]
    of_one(x[:0].detach(), old[0], old[1], scale, offset, training=True, **options)  # raises what its arguments deserve
    if not is_float(x.dtype):
        raise TypeError(f"batch_norm: expected a floating dtype, got {x.dtype}")
    channel = x.ndim - 1 if data_format == "channels_last" else 1
    axes = tuple(a for a in range(x.ndim) if a != channel)
    here = math.prod([x.shape[a] for a in axes])
    wide = x.astype(accumulator(x.dtype))
    shape = tuple(x.shape[a] if a == channel else 1 for a in range(x.ndim))
    count = float(_sum_forward(np.array([here], np.float64))[0])
    if count == 0:
        return wide.astype(x.dtype), *old
    mean = _total(wide.sum(axis=axes)) / count
    centred = wide - mean.reshape(shape)
    var = _total((centred * centred).sum(axis=axes)) / count
    y = centred / ((var + epsilon) ** 0.5).reshape(shape)
    for parameter, apply in ((scale, Tensor.__mul__), (offset, Tensor.__add__)):
        if parameter is not None:
            y = apply(y, as_tensor(parameter, "batch_norm").astype(wide.dtype).reshape(shape))
    unbiased = var.detach() * (count / max(count - correction, 1))
    new = [(momentum * o.astype(wide.dtype) + (1 - momentum) * t).astype(o.dtype)
           for o, t in zip(old, (mean.detach(), unbiased))]
    return y.astype(x.dtype), new[0], new[1]
