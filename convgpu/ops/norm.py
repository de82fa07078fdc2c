"""Normalisation: subtract a mean, divide by a standard deviation, then scale and shift.

    y = xn * scale + offset,     xn = (x - mean) * rstd,     rstd = 1 / sqrt(var + epsilon)

Batch, layer and group normalisation are one op over different axes. Let m be the mean over those axes. The gradient is
rstd * (g - m(g) - xn * m(g * xn)). It is linear in g and a symmetric map, so that its own gradient with respect to g is
the same function. Half types are computed in float32, statistics included, and rounded once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arguments import axis_tuple
from ..dtypes import accumulator, check_same_float, is_float
from ..geometry import is_channels_last, positive
from ..op import Op
from ..summation import centred, total, unit_scale
from ..tensor import Tensor, as_tensor
from .elementwise import astype, power, square
from .reduce import Axes
from .reduce import centred as deviations
from .shape import reshape
from .widening import unrounded, wide

# --- the op, and its gradients of any order


def _mean(x: Any, axes: Axes) -> Any:
    return total(x, axes, True) / max(math.prod([x.shape[a] for a in axes]), 1)


def _normalize_forward(x: Any, axes: Axes, epsilon: float) -> tuple[Any, Any, Any, Any]:
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        xn, mean = centred(x, axes)
        var = _mean(np.square(xn), axes)
        rstd = 1 / np.sqrt(var + epsilon)
        beyond = _beyond(xn, var, axes, epsilon) if isinstance(x, np.ndarray) else None
        xn *= rstd
        if beyond is not None and beyond.any():
            scaled, scaled_rstd = _normalize_scaled(x, axes, epsilon)
            return np.where(beyond, scaled, xn), mean, var, np.where(beyond, scaled_rstd, rstd)
    return xn, mean, var, rstd


def _beyond(xn: np.ndarray, var: np.ndarray, axes: Axes, epsilon: float) -> np.ndarray:
    """Where squares have overflowed, or have underflowed so far that epsilon does not hide the loss."""
    least = np.finfo(xn.dtype).tiny / np.finfo(xn.dtype).eps
    overflown = ~(var < np.inf)
    if epsilon >= least or not (var < least).any():
        return overflown
    return overflown | (var < least) & np.any(xn, axis=axes, keepdims=True)


def _normalize_scaled(x: np.ndarray, axes: Axes, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """xn and rstd as in the forward function, from values that are scaled to about 1 first."""
    unit = unit_scale(np.max(np.abs(x), axis=axes, keepdims=True))
    xn, _ = centred(x * unit, axes)
    scale = unit_scale(np.max(np.abs(xn), axis=axes, keepdims=True))
    xn *= scale
    scale *= unit
    std = np.sqrt(_mean(np.square(xn), axes))
    divisor = np.hypot(std, scale * x.dtype.type(math.sqrt(epsilon))) if epsilon else std
    return xn / divisor, scale / divisor


def _project_forward(gy: Any, xn: Any, rstd: Any, axes: Axes) -> Any:
    gx = gy * xn
    np.multiply(xn, _mean(gx, axes), out=gx)
    np.subtract(gy, gx, out=gx)
    gx -= _mean(gy, axes)
    gx *= rstd
    return gx


def _project_in_xn(g: Tensor, gy: Tensor, xn: Tensor, rstd: Tensor, axes: Axes) -> Tensor:
    return -rstd * (g * (gy * xn).mean(axis=axes, keepdims=True) + gy * (g * xn).mean(axis=axes, keepdims=True))


def _rstd_rule(g: Tensor, x: Tensor, axes: Axes, rstd: Tensor) -> Tensor:
    n = math.prod([x.shape[a] for a in axes])
    return deviations(x, axes) * (g * rstd * rstd * rstd * (-1 / max(n, 1)))


_normalize = Op("normalize", "x; axes, epsilon -> xn, mean, var, rstd", _normalize_forward)
_project = Op("normalize_gradient", "gy, xn, rstd; axes -> gx", _project_forward)
# `_rstd` declares a value that the forward pass has computed to be a function of x, which second derivatives need.
_rstd = Op("rstd", "x; axes, value -> rstd", lambda x, axes, value: value)

_normalize.vjp(x=lambda g, x, xn, rstd, axes: _project(g, xn, _rstd(x, axes, rstd.array), axes))
_project.vjp(gy=lambda g, xn, rstd, axes: _project(g, xn, rstd, axes),
             xn=_project_in_xn,
             rstd=lambda g, gx, rstd, axes: (g * gx).sum(axis=axes, keepdims=True) / rstd)
_rstd.vjp(x=_rstd_rule)


# --- public functions


def _operands(op: str, x: Any, **params: Any) -> list[Any]:
    """x and its parameters (or None) as Tensors in a wide dtype; beside x of a half type, parameters may be float32."""
    x = as_tensor(x, op)
    given = {name: None if p is None else as_tensor(p, op) for name, p in params.items()}
    allowed = (x.dtype, accumulator(x.dtype))
    if not is_float(x.dtype) or any([p is not None and p.dtype not in allowed for p in given.values()]):
        got = ", ".join([f"x: {x.dtype}", *[f"{name}: {p.dtype}" for name, p in given.items() if p is not None]])
        raise TypeError(f"{op}: expected one floating dtype (parameters may be float32 beside a half type), got {got}; "
                        "convert with .astype(...)")
    return [wide(x), *[None if p is None else wide(p) for p in given.values()]]


def _check_shapes(op: str, shape: tuple[int, ...], rule: str, **params: Tensor | None) -> None:
    for name, p in params.items():
        if p is not None and p.shape != shape:
            raise ValueError(f"{op}: expected {name} of shape {rule} == {shape}, got {p.shape}")


def _scaled(xn: Tensor, scale: Tensor | None, offset: Tensor | None, axes: Axes, dtype: np.dtype) -> Tensor:
    """xn * scale + offset rounded to dtype; the elements of scale and offset lie along `axes` of xn."""
    along = tuple([n if i in axes else 1 for i, n in enumerate(xn.shape)])
    y = xn if scale is None else xn * reshape(scale, along)
    return astype(y if offset is None else y + reshape(offset, along), dtype)


def _channel_axis(op: str, x: Tensor, data_format: str) -> int:
    last = is_channels_last(op, data_format)
    if x.ndim < 2:
        raise ValueError(f"{op}: expected x of at least 2 axes (batch, channels), got shape {x.shape}")
    return x.ndim - 1 if last else 1


def batch_norm(x: Any, running_mean: Any, running_var: Any, scale: Any = None, offset: Any = None, *, training: bool,
               momentum: float = 0.9, epsilon: float = 1e-5,
               data_format: str = "channels_last") -> tuple[Tensor, Tensor, Tensor]:
    """Normalise each channel with the statistics of the batch in training, else with the running statistics.

    y = (x - mean) / sqrt(var + epsilon) * scale + offset        with mean and var over all axes but the channels

    Args:
        x: channels_last (N, ..., C); channels_first (N, C, ...).
        running_mean, running_var: (C,), the statistics that earlier batches returned; zeros and ones at the start.
        scale, offset: (C,); None stands for 1 and 0.
        training: whether to use, and to learn from, the statistics of this batch.
        momentum: the weight of the old running statistics: running = momentum * running + (1 - momentum) * batch. This
            is Keras's meaning; PyTorch's momentum is 1 minus this.
        epsilon: a number that keeps the divisor above 0.

    Returns:
        (y, running_mean, running_var): with `training` the statistics are new ones, else those given. They carry no
        gradient. The batch's variance that updates them has the divisor n - 1, as in the paper and PyTorch; an empty
        batch leaves them unchanged. All dtypes are one floating dtype, except that scale, offset and statistics may be
        float32 beside a half type.

    Raises:
        TypeError: mixed or non-floating dtypes. ValueError: shapes that do not fit together.

    From Ioffe and Szegedy, "Batch Normalization" (2015).

    >>> y, mean, var = batch_norm([[1.0], [3.0]], [0.0], [1.0], training=True, momentum=0.5)
    >>> y.tolist(), mean.item(), var.item()
    ([[-0.9999949932098389], [0.9999949932098389]], 1.0, 1.5)
    """
    op = "batch_norm"
    old_mean, old_var = unrounded(as_tensor(running_mean, op)), unrounded(as_tensor(running_var, op))
    dtype = as_tensor(x, op).dtype
    x, mean, var, scale, offset = _operands(op, x, running_mean=old_mean, running_var=old_var, scale=scale,
                                            offset=offset)
    channel = _channel_axis(op, x, data_format)
    _check_shapes(op, (x.shape[channel],), "(C,)", running_mean=mean, running_var=var, scale=scale, offset=offset)
    if not training:
        along = tuple([n if i == channel else 1 for i, n in enumerate(x.shape)])
        rstd = power(var + epsilon, -0.5)
        factor = rstd if scale is None else rstd * scale
        return _scaled(x - reshape(mean, along), factor, offset, (channel,), dtype), old_mean, old_var
    axes = tuple([i for i in range(x.ndim) if i != channel])
    xn, batch_mean, batch_var, _ = _normalize(x, axes, float(epsilon))
    n = math.prod([x.shape[a] for a in axes])
    if n:
        unbiased = batch_var * (n / max(n - 1, 1))
        old_mean = astype(mean.detach() * momentum + batch_mean.reshape(-1) * (1 - momentum), old_mean.dtype)
        old_var = astype(var.detach() * momentum + unbiased.reshape(-1) * (1 - momentum), old_var.dtype)
    return _scaled(xn, scale, offset, (channel,), dtype), old_mean, old_var


def layer_norm(x: Any, scale: Any = None, offset: Any = None, *, axis: int | tuple[int, ...] = -1,
               epsilon: float = 1e-5) -> Tensor:
    """Normalise each example over `axis` with its own statistics.

    y = (x - mean) / sqrt(var + epsilon) * scale + offset        with mean and var over `axis`

    Args:
        x: any shape.
        scale, offset: tensors of x's sizes along `axis`; None stands for 1 and 0.
        axis: one axis or several.
        epsilon: a number that keeps the divisor above 0.

    Raises:
        TypeError: mixed or non-floating dtypes. ValueError: shapes that do not fit together.

    From Ba, Kiros and Hinton, "Layer Normalization" (2016).

    >>> layer_norm([[1.0, 2.0, 3.0]], epsilon=0.0)
    Tensor([[-1.2247,  0.    ,  1.2247]], dtype=float32)
    """
    op = "layer_norm"
    dtype = as_tensor(x, op).dtype
    x, scale, offset = _operands(op, x, scale=scale, offset=offset)
    axes = tuple(sorted(axis_tuple(op, axis, x.ndim)))
    _check_shapes(op, tuple([x.shape[a] for a in axes]), "x along axis", scale=scale, offset=offset)
    return _scaled(_normalize(x, axes, float(epsilon))[0], scale, offset, axes, dtype)


def group_norm(x: Any, groups: int, scale: Any = None, offset: Any = None, *, epsilon: float = 1e-5,
               data_format: str = "channels_last") -> Tensor:
    """Normalise each group of neighbouring channels of each example.

    y = (x - mean) / sqrt(var + epsilon) * scale + offset        with mean and var over a group's pixels and channels

    Args:
        x: channels_last (N, ..., C); channels_first (N, C, ...).
        groups: the number of parts that the channels are split into; 1 is layer, C is instance normalisation.
        scale, offset: (C,); None stands for 1 and 0.
        epsilon: a number that keeps the divisor above 0.

    Raises:
        TypeError: mixed or non-floating dtypes. ValueError: shapes that do not fit, groups that do not divide C.

    From Wu and He, "Group Normalization" (2018).

    >>> group_norm([[1.0, 3.0, 10.0, 20.0]], 2, epsilon=0.0)
    Tensor([[-1.,  1., -1.,  1.]], dtype=float32)
    """
    op = "group_norm"
    dtype = as_tensor(x, op).dtype
    x, scale, offset = _operands(op, x, scale=scale, offset=offset)
    channel = _channel_axis(op, x, data_format)
    channels = x.shape[channel]
    if channels % positive(op, "groups", groups):
        raise ValueError(f"{op}: expected groups to divide C == {channels}, got {groups} (x={x.shape})")
    _check_shapes(op, (channels,), "(C,)", scale=scale, offset=offset)
    split = reshape(x, (*x.shape[:channel], groups, channels // groups, *x.shape[channel + 1:]))
    axes = tuple([i for i in range(1, split.ndim) if i != channel])
    xn = reshape(_normalize(split, axes, float(epsilon))[0], x.shape)
    return _scaled(xn, scale, offset, (channel,), dtype)


# --- local response normalisation


def _window_sum_forward(x: Any, axis: int, before: int, after: int) -> Any:
    """The sum of the neighbours from -before to +after at each place of an axis."""
    y, n = x.copy(), x.shape[axis]
    lead = (slice(None),) * axis
    for shift in range(1, min(max(before, after), n - 1) + 1):
        low, high = (*lead, slice(None, n - shift)), (*lead, slice(shift, None))
        if shift <= after:
            y[low] += x[high]
        if shift <= before:
            y[high] += x[low]
    return y


_window_sum = Op("window_sum", "x; axis, before, after -> y", _window_sum_forward)
_window_sum.vjp(x=lambda g, axis, before, after: _window_sum(g, axis, after, before))


def local_response_norm(x: Any, size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0,
                        data_format: str = "channels_last") -> Tensor:
    """Divide each value by a power of the mean square of its neighbours in the channels.

    y[c] = x[c] / (k + alpha / size * sum over j of x[j]^2)^beta        with c - size//2 <= j <= c + (size-1)//2

    Args:
        x: channels_last (N, ..., C); channels_first (N, C, ...).
        size: the number of neighbouring channels, including the value's own; channels that do not exist count as 0.
        alpha, beta, k: the numbers of the formula, with PyTorch's defaults.

    AlexNet (Krizhevsky et al., 2012) does not divide alpha by size: its n=5, alpha=1e-4, beta=0.75, k=2 are size=5,
    alpha=5e-4, beta=0.75, k=2 here.

    Raises:
        TypeError: a non-floating dtype. ValueError: x of fewer than 2 axes, size < 1.

    >>> local_response_norm([[3.0, 4.0]], 3, alpha=3.0, beta=0.5, k=0.0)
    Tensor([[0.6, 0.8]], dtype=float32)
    """
    op = "local_response_norm"
    x = as_tensor(x, op)
    check_same_float(op, x=x)
    channel = _channel_axis(op, x, data_format)
    size = positive(op, "size", size)
    v = wide(x)
    squares = _window_sum(square(v), channel, size // 2, (size - 1) // 2)
    return astype(v * power(squares * (alpha / size) + k, -float(beta)), x.dtype)
