"""Pooling: the largest pixel of every window, or the average, with their gradients.

    max_pool   y[n, p, c] = max  over r of x[n, p*stride + r*dilation - before, c]
    avg_pool   y[n, p, c] = mean over r of x[n, p*stride + r - before, c]  (p, r: one index per spatial axis)

Taps in the padding are skipped. Max pooling saves the winner's offset inside each window, one byte per output. Its
gradient op scatters to the winners; the gradient of that op gathers from the winners; and scattering and gathering are
each other's gradients. Average pooling and its gradient op are each other's gradients too. So derivatives of any order
come from the declarations below.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..arguments import integer
from ..autograd import is_grad_enabled
from ..device import move
from ..dtypes import accumulator, check_same_float, is_float
from ..geometry import PoolGeometry, adaptive_pool_geometry, pool_geometry
from ..op import Op
from ..tensor import Tensor, as_tensor, wrap
from .elementwise import astype
from .rank import of_rank
from .shape import reshape

_max_pool = Op("max_pool", "x; geo, with_offsets -> y, offsets")
_max_pool_dgrad = Op("max_pool_dgrad", "gy, offsets; geo -> gx")
_max_pool_gather = Op("max_pool_gather", "x, offsets; geo -> y")
_max_pool_indices = Op("max_pool_indices", "offsets; geo -> indices")
_avg_pool = Op("avg_pool", "x; geo -> y")
_avg_pool_dgrad = Op("avg_pool_dgrad", "gy; geo -> gx")

_max_pool.vjp(x=lambda g, offsets, geo: _max_pool_dgrad(g, offsets, geo))
_max_pool_dgrad.vjp(gy=lambda g, offsets, geo: _max_pool_gather(g, offsets, geo))
_max_pool_gather.vjp(x=lambda g, offsets, geo: _max_pool_dgrad(g, offsets, geo))
_avg_pool.vjp(x=lambda g, geo: _avg_pool_dgrad(g, geo))
_avg_pool_dgrad.vjp(gy=lambda g, geo: _avg_pool(g, geo))


def run_max(name: str, x: Tensor, geo: PoolGeometry, return_indices: bool) -> Any:
    """Max pooling by the function called `name`; offsets are computed only where a gradient or the caller needs them.
    """
    if x.dtype.kind not in "iu" and not is_float(x.dtype):
        raise TypeError(f"{name}: expected x of a floating or integer dtype, got {x.dtype}")
    records = x.requires_grad and is_grad_enabled()
    y, offsets = _max_pool(x, geo, records or return_indices)
    return (y, _max_pool_indices(offsets, geo)) if return_indices else y


def max_pool(x: Any, size: Any, *, stride: Any = None, padding: Any = "valid", dilation: Any = 1,
             ceil_mode: bool = False, return_indices: bool = False, data_format: str = "channels_last") -> Any:
    """The largest pixel of every window of a batch of 1-D, 2-D or 3-D images, channel by channel.

    y[n, p, c] = max over r of x[n, p*stride + r*dilation - before, c]

    NaN wins over numbers. Among equal values (zeros of either sign are equal) and among NaNs the first in row-major
    order wins, and it alone receives the gradient. Padding is never compared: a window of all -inf gives -inf.

    Args:
        x: channels_last (N, spatial..., C); channels_first (N, C, spatial...). Integers are allowed, without gradient.
        size: the size of the window: an integer, or one integer per spatial axis.
        stride: as `size`; the default is the size.
        padding: "valid", "same" (the output has ceil(n/stride) pixels; an odd pixel is added at the end), "full", an
            integer, one integer per axis, or one (before, after) pair per axis.
        dilation: the distance between taps: an integer, or one integer per axis.
        ceil_mode: add a window where pixels are left over, if it would start in the input or in the padding before it.
        return_indices: also return each winner's place, as int64: its flat index over the spatial axes of x.
        data_format: "channels_last" or "channels_first".

    Returns:
        (N, out..., C) or (N, C, out...), out = floor((n + before + after - dilation*(size-1) - 1) / stride) + 1; with
        `return_indices`, a pair of these.

    Raises:
        ValueError: options that do not fit, a window that lies wholly in padding. TypeError: a dtype without pooling.

    >>> import numpy as np
    >>> x = np.array([[1, 4, 2, 1], [5, 8, 3, 4], [7, 6, 4, 5], [1, 3, 1, 2]], "float32").reshape(1, 4, 4, 1)
    >>> max_pool(x, 2)[0, :, :, 0]
    Tensor([[8., 4.],
            [7., 5.]], dtype=float32)
    """
    x = as_tensor(x, "max_pool")
    geo = pool_geometry("max_pool", x.shape, size, stride, padding, dilation, bool(ceil_mode), False, data_format)
    return run_max("max_pool", x, geo, return_indices)


def avg_pool(x: Any, size: Any, *, stride: Any = None, padding: Any = "valid", ceil_mode: bool = False,
             count_include_pad: bool = False, divisor_override: int | None = None,
             data_format: str = "channels_last") -> Tensor:
    """The average of every window of a batch of 1-D, 2-D or 3-D images, channel by channel.

    y[n, p, c] = sum over r of x[n, p*stride + r - before, c] / (the number of taps r inside the input)

    Args:
        x, size, stride, padding, ceil_mode, data_format: as in `max_pool`. x is floating; half types accumulate in
            float32.
        count_include_pad: divide by the number of taps inside the input and its padding. With `ceil_mode` a window may
            reach past both; the taps beyond are not counted.
        divisor_override: divide by this integer instead, with 1 for the sums of the windows.

    Returns:
        (N, out..., C) or (N, C, out...), as in `max_pool`.

    Raises:
        ValueError: options that do not fit, a window that lies wholly in padding. TypeError: a dtype without pooling.

    >>> import numpy as np
    >>> x = np.array([[1, 4, 2, 1], [5, 8, 3, 4], [7, 6, 4, 5], [1, 3, 1, 2]], "float32").reshape(1, 4, 4, 1)
    >>> avg_pool(x, 2, stride=1)[0, :, :, 0]
    Tensor([[4.5 , 4.25, 2.5 ],
            [6.5 , 5.25, 4.  ],
            [4.25, 3.5 , 3.  ]], dtype=float32)
    """
    name = "avg_pool"
    x = as_tensor(x, name)
    check_same_float(name, x=x)
    geo = pool_geometry(name, x.shape, size, stride, padding, 1, bool(ceil_mode), bool(count_include_pad), data_format)
    return _avg_pool(x, geo) if divisor_override is None else _divided(x, geo, divisor_override)


def _divided(x: Tensor, geo: PoolGeometry, divisor: Any) -> Tensor:
    """The sums of the windows divided by a number: averages times the number of pixels in each window, over it."""
    divisor = integer("avg_pool", "divisor_override", divisor)
    if divisor == 0:
        raise ValueError("avg_pool: expected divisor_override other than 0, got 0")
    geo = replace(geo, count_include_pad=False)
    y = _avg_pool(astype(x, accumulator(x.dtype)), geo)
    taps = np.ones((1,) * geo.rank)
    for axis in range(geo.rank):
        taps = taps * geo.taps_inside(axis).reshape([-1 if a == axis else 1 for a in range(geo.rank)])
    factors = taps[None, ..., None] if geo.channels_last else taps[None, None]
    return astype(y * wrap(move(factors.astype(y.dtype), y.device)) / divisor, x.dtype)


def adaptive_max_pool(x: Any, output_size: Any, *, return_indices: bool = False,
                      data_format: str = "channels_last") -> Any:
    """Max pooling to a given output size: output o of `out` covers the pixels floor(o*n/out) to ceil((o+1)*n/out) - 1.

    Args:
        x, return_indices, data_format: as in `max_pool`.
        output_size: an integer, or one per spatial axis; None stands for the size of the input.

    Returns:
        (N, output_size..., C) or (N, C, output_size...); with `return_indices`, a pair of these.

    Raises:
        ValueError: sizes below 1. TypeError: a dtype without pooling.

    >>> import numpy as np
    >>> adaptive_max_pool(np.arange(5.0).reshape(1, 5, 1), 2)[0, :, 0]
    Tensor([2., 4.], dtype=float64)
    """
    return _adaptive_max("adaptive_max_pool", x, output_size, return_indices, data_format)


def _adaptive_max(name: str, x: Any, output_size: Any, return_indices: bool, data_format: str) -> Any:
    x = as_tensor(x, name)
    return run_max(name, x, adaptive_pool_geometry(name, x.shape, output_size, data_format), return_indices)


def adaptive_avg_pool(x: Any, output_size: Any, *, data_format: str = "channels_last") -> Tensor:
    """Average pooling to a given output size: output o of `out` covers pixels floor(o*n/out) to ceil((o+1)*n/out) - 1.

    Args:
        x, data_format: as in `avg_pool`.
        output_size: an integer, or one per spatial axis; None stands for the size of the input.

    Returns:
        (N, output_size..., C) or (N, C, output_size...).

    Raises:
        ValueError: sizes below 1. TypeError: a dtype that is not floating.

    >>> import numpy as np
    >>> adaptive_avg_pool(np.arange(5.0).reshape(1, 5, 1), 2)[0, :, 0]
    Tensor([1., 3.], dtype=float64)
    """
    return _adaptive_avg("adaptive_avg_pool", x, output_size, data_format)


def _adaptive_avg(name: str, x: Any, output_size: Any, data_format: str) -> Tensor:
    x = as_tensor(x, name)
    check_same_float(name, x=x)
    return _avg_pool(x, adaptive_pool_geometry(name, x.shape, output_size, data_format))


def global_max_pool(x: Any, *, keepdims: bool = False, data_format: str = "channels_last") -> Tensor:
    """The largest pixel of every image, channel by channel; equal values and NaN are treated as in `max_pool`.

    Args:
        x, data_format: as in `max_pool`.
        keepdims: keep the spatial axes, with size 1.

    Returns:
        (N, C); with `keepdims`, (N, 1..., C) or (N, C, 1...).

    Raises:
        ValueError: an image without pixels. TypeError: a dtype without pooling.

    >>> import numpy as np
    >>> global_max_pool(np.arange(12.0).reshape(1, 2, 3, 2))
    Tensor([[10., 11.]], dtype=float64)
    """
    return _global(_adaptive_max("global_max_pool", x, 1, False, data_format), keepdims, data_format)


def global_avg_pool(x: Any, *, keepdims: bool = False, data_format: str = "channels_last") -> Tensor:
    """The average of every image, channel by channel.

    Args:
        x, data_format: as in `avg_pool`.
        keepdims: keep the spatial axes, with size 1.

    Returns:
        (N, C); with `keepdims`, (N, 1..., C) or (N, C, 1...).

    Raises:
        ValueError: an image without pixels. TypeError: a dtype that is not floating.

    >>> import numpy as np
    >>> global_avg_pool(np.arange(12.0).reshape(1, 2, 3, 2))
    Tensor([[5., 6.]], dtype=float64)
    """
    return _global(_adaptive_avg("global_avg_pool", x, 1, data_format), keepdims, data_format)


def _global(y: Tensor, keepdims: bool, data_format: str) -> Tensor:
    if keepdims:
        return y
    return reshape(y, (y.shape[0], y.shape[-1] if data_format == "channels_last" else y.shape[1]))


max_pool1d, max_pool2d, max_pool3d = (of_rank(max_pool, n) for n in (1, 2, 3))
avg_pool1d, avg_pool2d, avg_pool3d = (of_rank(avg_pool, n) for n in (1, 2, 3))
global_max_pool1d, global_max_pool2d, global_max_pool3d = (of_rank(global_max_pool, n) for n in (1, 2, 3))
global_avg_pool1d, global_avg_pool2d, global_avg_pool3d = (of_rank(global_avg_pool, n) for n in (1, 2, 3))
adaptive_max_pool1d, adaptive_max_pool2d, adaptive_max_pool3d = (of_rank(adaptive_max_pool, n) for n in (1, 2, 3))
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = (of_rank(adaptive_avg_pool, n) for n in (1, 2, 3))
