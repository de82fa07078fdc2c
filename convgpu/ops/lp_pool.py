"""Power pooling: the p-norm of every window, and its gradients of any order.

    lp_pool          y[n, q, c]  = (sum over r of |x[n, q*stride + r - before, c]|^p)^(1/p)      (q, r: one per axis)
    lp_pool_dgrad    gx[n, i, c] = sum over the windows q that hold pixel i of gy[n, q, c] * f(x[n, i, c] / y[n, q, c])
    lp_pool_gather   z[n, q, c]  = sum over the pixels i of window q of v[n, i, c] * f(x[n, i, c] / y[n, q, c])

f(t) = |t|^e, times the sign of t where `signed`; the gradient of the norm uses e = p - 1 with the sign. f is 0 where
the norm y is 0, and where t is 0 and e < 0. lp_pool_dgrad and lp_pool_gather are adjoint. Their gradients are again
such sums, with e - 1 and the opposite value of `signed`, so that derivatives of any order come from the declarations
below.
"""

from __future__ import annotations

import math
from typing import Any

from ..dtypes import check_same_float
from ..geometry import PoolGeometry, pool_geometry
from ..op import Op
from ..tensor import Tensor, as_tensor
from .elementwise import abs as absolute
from .elementwise import ratio_or_zero, zero
from .pool import run_max
from .rank import of_rank

_lp_pool = Op("lp_pool", "x; geo, norm_type -> y")
_dgrad = Op("lp_pool_dgrad", "gy, x, y; geo, power, signed -> gx")
_gather = Op("lp_pool_gather", "v, x, y; geo, power, signed -> z")

_lp_pool.vjp(x=lambda g, x, y, geo, norm_type: _dgrad(g, x, y, geo, norm_type - 1, True))
_dgrad.vjp(gy=lambda g, x, y, geo, power, signed: _gather(g, x, y, geo, power, signed),
           x=lambda g, gy, x, y, geo, power, signed: _in_x(g, g, gy, x, y, geo, power, signed),
           y=lambda g, gy, x, y, geo, power, signed: _in_y(g, gy, x, y, geo, power, signed))
_gather.vjp(v=lambda g, x, y, geo, power, signed: _dgrad(g, x, y, geo, power, signed),
            x=lambda g, v, x, y, geo, power, signed: _in_x(g, v, g, x, y, geo, power, signed),
            y=lambda g, v, x, y, geo, power, signed: _in_y(v, g, x, y, geo, power, signed))


def _in_x(g: Tensor, v: Tensor, gy: Tensor, x: Tensor, y: Tensor, geo: PoolGeometry, power: float,
          signed: bool) -> Tensor:
    """The gradient of <v, lp_pool_dgrad(gy, x, y)> = <gy, lp_pool_gather(v, x, y)> in x, since f'(t) = e * f(t) / t."""
    if power == 0:
        return zero(x)
    return v * (power * _dgrad(ratio_or_zero(gy, y), x, y, geo, power - 1, not signed))


def _in_y(v: Tensor, gy: Tensor, x: Tensor, y: Tensor, geo: PoolGeometry, power: float, signed: bool) -> Tensor:
    """The gradient of <v, lp_pool_dgrad(gy, x, y)> in y, since the derivative of f(x / y) in y is -e * f(x / y) / y."""
    if power == 0:
        return zero(y)
    return -power * ratio_or_zero(gy, y) * _gather(v, x, y, geo, power, signed)


def lp_pool(x: Any, norm_type: float, size: Any, *, stride: Any = None, padding: Any = "valid",
            ceil_mode: bool = False, data_format: str = "channels_last") -> Tensor:
    """The p-norm of every window of a batch of 1-D, 2-D or 3-D images, channel by channel.

    y[n, q, c] = (sum over r of |x[n, q*stride + r - before, c]|^p)^(1/p), p = norm_type

    p = 1 is the sum of absolute values, p = 2 the Euclidean norm, p = inf the largest absolute value. Powers are taken
    of |x| divided by the largest |x| of the window, so that no power overflows. The gradient sign(x) * (|x| / y)^(p-1)
    is 0 where the whole window is 0; for p = inf it goes to the first of the largest pixels. A window with NaN gives
    NaN; any other window with an infinite pixel gives inf.

    Args:
        x: channels_last (N, spatial..., C); channels_first (N, C, spatial...). Floating; half types accumulate in
            float32.
        norm_type: p, a number of at least 1, or math.inf.
        size, stride, padding, ceil_mode, data_format: as in `max_pool`. Taps in the padding count as 0.

    Returns:
        (N, out..., C) or (N, C, out...), as in `max_pool`.

    Raises:
        ValueError: options that do not fit together, a norm_type below 1, or a window that lies wholly in padding.
        TypeError: a dtype that is not floating, a norm_type that is no number.

    >>> import numpy as np
    >>> lp_pool(np.array([3.0, -4.0, 0.0, 0.0, 1.0, 1.0]).reshape(1, 6, 1), 2, 2)[0, :, 0].numpy().round(4).tolist()
    [5.0, 0.0, 1.4142]
    """
    name = "lp_pool"
    x = as_tensor(x, name)
    check_same_float(name, x=x)
    p = _norm(name, norm_type)
    geo = pool_geometry(name, x.shape, size, stride, padding, 1, bool(ceil_mode), False, data_format)
    return run_max(name, absolute(x), geo, False) if math.isinf(p) else _lp_pool(x, geo, p)


def _norm(op: str, value: Any) -> float:
    try:
        p = float(value) if not isinstance(value, (Tensor, bool, str)) else None
    except TypeError:
        p = None
    if p is None:
        raise TypeError(f"{op}: expected norm_type to be a number, got {value!r:.60}")
    if not p >= 1:
        raise ValueError(f"{op}: expected norm_type >= 1, got {value}")
    return p


lp_pool1d, lp_pool2d, lp_pool3d = (of_rank(lp_pool, n) for n in (1, 2, 3))
