"""Normalisation: subtract a mean, divide by a standard deviation, then scale and shift.

    y = activation(xn * scale + offset + residual),   xn = (x - mean) * rstd,   rstd = 1 / sqrt(var + epsilon)

Batch, layer and group normalisation are one op over different geometries (convgpu/geometry/norm.py). A call is two
steps: `norm_stats` finds the mean and rstd, and `norm_apply` computes y. Let m be the mean over the elements that share
a mean, and g the gradient before the activation, times scale. The gradient of x is rstd * (g - m(g) - xn * m(g * xn)),
which `norm_dgrad` computes together with the other gradients. It is linear in g and a symmetric map, so that its own
gradient with respect to g is the same function: `_normalized` and `_project` below express this with ops for
derivatives of second and higher order. Half types are computed in float32, statistics included, and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import autograd, gradients
from ..arguments import axis_tuple, integer, number_in, truth
from ..deferred import Deferred, defer, normed
from ..dtypes import accumulator, check_same_float, is_float
from ..geometry import (
    NormGeometry,
    batch_norm_geometry,
    group_norm_geometry,
    is_channels_last,
    layer_norm_geometry,
    positive,
)
from ..op import Op
from ..summation import total
from ..tensor import Tensor, as_tensor, wrap
from .activation import grad_from_output, relu, silu
from .elementwise import astype, clip, power, square, where, zero
from .elementwise import positive as copied
from .joining import stack
from .reduce import Axes
from .reduce import centred as deviations
from .shape import reshape, transpose
from .widening import unrounded, wide

# --- the ops that backends run

# mean has two rows, what a mean is rounded to and what is left of it: float32 holds 1e4 in steps of 1e-3 only. The new
# running statistics are momentum * old + (1 - momentum) * batch, with the divisor count - correction in the variance.
_stats = Op("norm_stats", "x, running_mean=None, running_var=None; geo, epsilon, momentum, correction "
                          "-> mean, rstd, new_mean, new_var")
_apply = Op("norm_apply", "x, mean, rstd, scale=None, offset=None; geo, activation -> y", cheap=True)
_apply_add = Op("norm_apply_add", "x, mean, rstd, scale, offset, residual; geo, activation -> y")
# y with given statistics, which are constants of the network: mean and var have the shape of channels.
_infer = Op("norm_infer", "x, mean, var, scale=None, offset=None, residual=None; geo, activation, epsilon -> y")
# wanted says which of the results are wanted; y is given where there was a residual.
_dgrad = Op("norm_dgrad", "gy, x, mean, rstd, scale, offset, y; geo, activation, wanted "
                          "-> gx, gscale, goffset, gresidual")

ACTIVATIONS = (None, "relu", "relu6", "silu")
FROM_OUTPUT = (None, "relu", "relu6")  # the activations whose gradient follows from y: those that may follow a residual


class Statistics(NamedTuple):
    """What `norm_stats` finds of x: constants, from which `applied` computes y, and their geometry."""

    mean: Tensor
    rstd: Tensor
    geo: NormGeometry


def statistics(x: Tensor, geo: NormGeometry, epsilon: float, running: tuple[Tensor, Tensor] | None = None,
               momentum: float = 1.0, correction: int = 0) -> tuple[Statistics, tuple[Tensor, Tensor] | None]:
    """The statistics of x, and the running statistics that learn from them.

    Args:
        x: a Tensor of `geo.size` elements, in the order of `geo`.
        running: the running mean and variance, (channels,), in the accumulator's dtype; only for batch norm.
    """
    old = (None, None) if running is None else tuple([t.detach() for t in running])
    mean, rstd, *new = _stats(x.detach(), *old, geo, epsilon, momentum, correction)
    return Statistics(mean, rstd, geo), None if running is None else (new[0], new[1])


def applied(x: Tensor, stats: Statistics, scale: Tensor | None = None, offset: Tensor | None = None,
            residual: Tensor | None = None, activation: str | None = None) -> Tensor:
    """activation((x - mean) * rstd * scale + offset + residual), in the dtype of x, on the tape as one op.

    Gradients flow to x (also through its statistics), scale, offset and residual.

    Args:
        scale, offset: (channels,), in the accumulator's dtype.
        residual: a Tensor of the shape and dtype of x.
        activation: None, "relu", "relu6" or "silu".
    """
    mean, rstd, geo = stats
    if residual is None:
        return _apply(x, mean, rstd, scale, offset, geo, activation)
    if activation in FROM_OUTPUT:
        return _apply_add(x, mean, rstd, scale, offset, residual, geo, activation)
    if not _is_recorded(x, scale, offset, residual):
        return _apply_add(x, mean, rstd, scale, offset, residual, geo, activation)
    return silu(_apply_add(x, mean, rstd, scale, offset, residual, geo, None))  # its gradient needs the value before it


def inferred(x: Tensor, mean: Tensor, var: Tensor, scale: Tensor | None, offset: Tensor | None, geo: NormGeometry,
             epsilon: float, residual: Tensor | None = None, activation: str | None = None) -> Tensor:
    """As `applied`, with the given mean and variance of channels, (channels,), which may require gradients too."""
    if activation in FROM_OUTPUT or not _is_recorded(x, mean, var, scale, offset, residual):
        return _infer(x, mean, var, scale, offset, residual, geo, activation, epsilon)
    return silu(_infer(x, mean, var, scale, offset, residual, geo, None, epsilon))  # as in `applied`


def _is_recorded(*inputs: Tensor | None) -> bool:
    return autograd.is_grad_enabled() and any([t is not None and t.requires_grad for t in inputs])


# --- gradients


def _apply_rule(g: Tensor, wanted: Sequence[bool], x: Tensor, mean: Tensor, rstd: Tensor, scale: Tensor | None,
                offset: Tensor | None, geo: NormGeometry, activation: str | None) -> list[Tensor | None]:
    return _gradients(g, (x, scale, offset, None), (wanted[0], *wanted[3:], False), mean, rstd, None, geo,
                      activation)[:5]


def _apply_add_rule(g: Tensor, wanted: Sequence[bool], x: Tensor, mean: Tensor, rstd: Tensor, scale: Tensor | None,
                    offset: Tensor | None, y: Tensor, geo: NormGeometry,
                    activation: str | None) -> list[Tensor | None]:
    return _gradients(g, (x, scale, offset, None), (wanted[0], *wanted[3:]), mean, rstd, y, geo, activation)


def _gradients(g: Tensor, inputs: tuple[Tensor | None, ...], wanted: tuple[bool, ...], mean: Tensor, rstd: Tensor,
               y: Tensor | None, geo: NormGeometry, activation: str | None) -> list[Tensor | None]:
    """The gradients of x, mean, rstd (None), scale, offset and residual: by one op or, while they are recorded for
    derivatives of higher order, by a composition of ops.
    """
    x, scale, offset, _ = inputs
    if not autograd.is_grad_enabled():
        gx, *rest = _dgrad(g, x, mean, rstd, scale, offset, y, geo, activation, wanted)
        return [gx, None, None, *rest]
    before = wide(g)
    if y is not None:  # the activation's gradient follows from y; what is before it is a sum
        before = _through(activation, before, wide(y))
        activation = None

    def compose(x: Tensor, scale: Tensor | None = None, offset: Tensor | None = None) -> Tensor:
        stat = (geo.outer, 1, geo.groups, 1, 1)
        high, rest = mean.array[0].reshape(stat), mean.array[1].reshape(stat)
        xn = _normalized(reshape(wide(x), geo.split), (1, 3, 4), high, rest, rstd.array.reshape(stat))
        return _finished(reshape(xn, x.shape), scale, offset, geo, activation)

    gx, gscale, goffset = _by_composition(compose, (x, scale, offset), wanted[:3], before)
    return [gx, None, None, gscale, goffset, before if wanted[3] else None]


def _by_composition(compose: Any, inputs: Sequence[Tensor | None], wanted: Sequence[bool],
                    g: Tensor) -> list[Tensor | None]:
    """The gradients of compose(*inputs). The tape enters by copies, so that no path around them counts."""
    again = autograd.is_grad_enabled()  # whether these gradients are recorded themselves
    copies = [t if t is None or not w else copied(t) if again else t.detach().requires_grad_()
              for t, w in zip(inputs, wanted)]
    targets = [t for t, w in zip(copies, wanted) if w]
    with autograd.recording(True):
        y = compose(*copies)
    found = iter(gradients.grad([y], targets, [g], create_graph=again) if targets else [])
    return [next(found) if w else None for w in wanted]


def _through(activation: str | None, g: Tensor, y: Tensor) -> Tensor:
    """The gradient before an activation from the gradient g after it and its output y."""
    return g if activation is None else where(_open(activation, y), g, 0)


def _open(activation: str, y: Tensor) -> Tensor:
    """Where relu or relu6 passes a gradient on, by its input or output: between its corners, and at NaN."""
    outside = y.array <= 0 if activation == "relu" else (y.array <= 0) | (y.array >= 6)
    return wrap(~outside)


def _finished(xn: Tensor, scale: Tensor | None, offset: Tensor | None, geo: NormGeometry,
              activation: str | None) -> Tensor:
    """activation(xn * scale + offset), of tensors that are wide."""
    along = (1, 1, geo.channels, 1)
    y = reshape(xn, (geo.outer, geo.rows, geo.channels, geo.inner))
    y = y if scale is None else y * reshape(wide(scale), along)
    y = reshape(y if offset is None else y + reshape(wide(offset), along), xn.shape)
    return _activated(activation, y)


def _activated(activation: str | None, y: Tensor) -> Tensor:
    if activation == "relu6":
        return where(_open(activation, y), y, clip(y.detach(), 0.0, 6.0))
    return relu(y) if activation == "relu" else silu(y) if activation == "silu" else y


# With given statistics y is (x - mean) * factor + offset + residual: linear in x, so that the gradient of x is the same
# op with a mean of 0, and what it keeps is small. The other gradients follow from two sums over each channel.


def _infer_in_x(g: Tensor, mean: Tensor, var: Tensor, scale: Tensor | None, geo: NormGeometry,
                epsilon: float) -> Tensor:
    return _infer(g, zero(mean), var, scale, None, None, geo, None, epsilon)


def _infer_in_mean(g: Tensor, var: Tensor, scale: Tensor | None, geo: NormGeometry, epsilon: float) -> Tensor:
    return -_channel_sum(g, var, geo) * _powered(var, scale, epsilon, -0.5)


def _infer_in_var(g: Tensor, x: Tensor, mean: Tensor, var: Tensor, scale: Tensor | None, geo: NormGeometry,
                  epsilon: float) -> Tensor:
    return -0.5 * _deviation_sum(g, x, mean, geo) * _powered(var, scale, epsilon, -1.5)


def _infer_in_scale(g: Tensor, x: Tensor, mean: Tensor, var: Tensor, geo: NormGeometry, epsilon: float) -> Tensor:
    return _deviation_sum(g, x, mean, geo) * _powered(var, None, epsilon, -0.5)


def _powered(var: Tensor, scale: Tensor | None, epsilon: float, exponent: float) -> Tensor:
    factor = power(var + epsilon, exponent)
    return factor if scale is None else factor * scale


def _channel_sum(g: Tensor, like: Tensor, geo: NormGeometry) -> Tensor:
    """The sum of g over each channel, of the shape and dtype of `like`."""
    if not autograd.is_grad_enabled():
        return _one_sum(g, g, zero(like), geo, 2)
    return reshape(wide(g), (geo.outer * geo.rows, geo.channels, geo.inner)).sum((0, 2))


def _deviation_sum(g: Tensor, x: Tensor, mean: Tensor, geo: NormGeometry) -> Tensor:
    """The sum of g * (x - mean) over each channel."""
    if not autograd.is_grad_enabled():
        return _one_sum(g, x, mean, geo, 1)
    shape = (geo.outer * geo.rows, geo.channels, geo.inner)
    return (reshape(wide(g), shape) * (reshape(wide(x), shape) - reshape(mean, (geo.channels, 1)))).sum((0, 2))


def _one_sum(g: Tensor, x: Tensor, mean: Tensor, geo: NormGeometry, which: int) -> Tensor:
    """One of the sums that norm_dgrad takes for its gradients of scale (1) and offset (2), with a rstd of 1."""
    none = zero(mean)
    stats = reshape(stack([mean, none]), (2, *geo.statistics)), reshape(none + 1, geo.statistics)
    return _dgrad(g, x, *stats, None, None, None, geo, None, tuple([i == which for i in range(4)]))[which]


def _project_forward(gy: Any, xn: Any, rstd: Any, axes: Axes) -> Any:
    gx = gy * xn
    np.multiply(xn, _mean(gx, axes), out=gx)
    np.subtract(gy, gx, out=gx)
    gx -= _mean(gy, axes)
    gx *= rstd
    return gx


def _mean(x: Any, axes: Axes) -> Any:
    return total(x, axes, True) / max(math.prod([x.shape[a] for a in axes]), 1)


def _project_in_xn(g: Tensor, gy: Tensor, xn: Tensor, rstd: Tensor, axes: Axes) -> Tensor:
    return -rstd * (g * (gy * xn).mean(axis=axes, keepdims=True) + gy * (g * xn).mean(axis=axes, keepdims=True))


def _rstd_rule(g: Tensor, x: Tensor, axes: Axes, rstd: Tensor) -> Tensor:
    n = math.prod([x.shape[a] for a in axes])
    return deviations(x, axes) * (g * rstd * rstd * rstd * (-1 / max(n, 1)))


# `_normalized` and `_rstd` take statistics that the forward pass has found, and declare them to be functions of x.
_normalized = Op("normalized", "x; axes, mean, rest, rstd -> xn",
                 lambda x, axes, mean, rest, rstd: ((x - mean) - rest) * rstd)
_project = Op("normalize_gradient", "gy, xn, rstd; axes -> gx", _project_forward)
_rstd = Op("rstd", "x; axes, value -> rstd", lambda x, axes, value: value)

_apply.vjp_jointly(_apply_rule)
_apply_add.vjp_jointly(_apply_add_rule)
_infer.pull_back(lambda g, y, activation: grad_from_output(activation, g, y), "activation")
_infer.vjp(x=_infer_in_x, mean=_infer_in_mean, var=_infer_in_var, scale=_infer_in_scale,
           offset=lambda g, var, geo: _channel_sum(g, var, geo), residual=lambda g: g)
_normalized.vjp(x=lambda g, x, xn, rstd, axes: _project(g, xn, _rstd(x, axes, rstd), axes))
_project.vjp(gy=lambda g, xn, rstd, axes: _project(g, xn, rstd, axes),
             xn=_project_in_xn,
             rstd=lambda g, gx, rstd, axes: (g * gx).sum(axis=axes, keepdims=True) / rstd)
_rstd.vjp(x=_rstd_rule)


# --- public functions


def _as_parameter(op: str, value: Any, x: Tensor) -> Tensor:
    """A parameter or statistic of x as a Tensor. A NumPy array of a dtype that cannot stand beside x takes that of x's
    accumulator, since statistics are often computed in float64; Tensors keep their dtype.
    """
    t = as_tensor(value, op)
    fits = isinstance(value, Tensor) or t.dtype in (x.dtype, accumulator(x.dtype)) or not is_float(x.dtype)
    return t if fits or not is_float(t.dtype) else astype(t, accumulator(x.dtype))


def _operands(op: str, x: Any, **params: Any) -> list[Any]:
    """x as a Tensor, and its parameters (or None) in a wide dtype; beside x of a half type, they may be float32."""
    x = as_tensor(x, op)
    given = {name: None if p is None else _as_parameter(op, p, x) for name, p in params.items()}
    allowed = (x.dtype, accumulator(x.dtype))
    if not is_float(x.dtype) or any([p is not None and p.dtype not in allowed for p in given.values()]):
        got = ", ".join([f"x: {x.dtype}", *[f"{name}: {p.dtype}" for name, p in given.items() if p is not None]])
        raise TypeError(f"{op}: expected one floating dtype (parameters may be float32 beside a half type), got {got}; "
                        "convert with .astype(...)")
    return [x, *[None if p is None else wide(p) for p in given.values()]]


def _check_shapes(op: str, shape: tuple[int, ...], rule: str, **params: Tensor | None) -> None:
    for name, p in params.items():
        if p is not None and p.shape != shape:
            raise ValueError(f"{op}: expected {name} of shape {rule} == {shape}, got {p.shape}")


def _channel_axis(op: str, x: Tensor, data_format: str) -> int:
    last = is_channels_last(op, data_format)
    if x.ndim < 2:
        raise ValueError(f"{op}: expected x of at least 2 axes (batch, channels), got shape {x.shape}")
    return x.ndim - 1 if last else 1


def batch_norm(x: Any, running_mean: Any, running_var: Any, scale: Any = None, offset: Any = None, *, training: bool,
               momentum: float = 0.9, epsilon: float = 1e-5, correction: int = 1,
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
        correction: the batch's variance that the running one learns from has the divisor n - correction, or 1 where
            that is less: 1 as in the paper and PyTorch, 0 as in Keras. y is normalised by the variance with the divisor
            n. So a channel of one element has the variance 0, y is its offset, and the running variance shrinks;
            PyTorch refuses such a batch.

    Returns:
        (y, running_mean, running_var): with `training` the statistics are new ones, else those given. They carry no
        gradient. An empty batch leaves them unchanged. All dtypes are one floating dtype, except that scale, offset and
        statistics may be float32 beside a half type.

    Raises:
        TypeError: mixed or non-floating dtypes, a `training` that is not a bool. ValueError: shapes that do not fit
            together, a negative epsilon, a momentum that is not in [0, 1].

    From Ioffe and Szegedy, "Batch Normalization" (2015).

    >>> y, mean, var = batch_norm([[1.0], [3.0]], [0.0], [1.0], training=True, momentum=0.5)
    >>> y.tolist(), mean.item(), var.item()
    ([[-0.9999949932098389], [0.9999949932098389]], 1.0, 1.5)
    """
    op = "batch_norm"
    x = as_tensor(x, op)
    old_mean, old_var = (unrounded(_as_parameter(op, t, x)) for t in (running_mean, running_var))
    x, mean, var, scale, offset = _operands(op, x, running_mean=old_mean, running_var=old_var, scale=scale,
                                            offset=offset)
    channel = _channel_axis(op, x, data_format)
    _check_shapes(op, (x.shape[channel],), "(C,)", running_mean=mean, running_var=var, scale=scale, offset=offset)
    geo = batch_norm_geometry(x.shape, channel)
    epsilon, momentum = number_in(op, "epsilon", epsilon), number_in(op, "momentum", momentum, most=1)
    if not truth(op, "training", training):
        return _inferred_later(x, mean, var, scale, offset, geo, epsilon), old_mean, old_var
    learns = None if geo.count == 0 else (mean, var)
    stats, new = statistics(x, geo, epsilon, learns, momentum, integer(op, "correction", correction, 0))
    if new is not None:
        old_mean, old_var = astype(new[0], old_mean.dtype), astype(new[1], old_var.dtype)
    y = defer(x, lambda residual, activation: applied(x, stats, scale, offset, residual, activation),
              (x, stats.mean, stats.rstd, scale, offset))
    return y, old_mean, old_var


def _inferred_later(x: Tensor, mean: Tensor, var: Tensor, scale: Tensor | None, offset: Tensor | None,
                    geo: NormGeometry, epsilon: float) -> Tensor:
    """`inferred`, deferred: together with the convolution that x is the result of, unless x itself has been needed."""
    convolution = normed(x) if geo.inner == 1 else None
    together, inputs = convolution or (None, (x,))

    def compute(residual: Tensor | None, activation: str | None) -> Tensor:
        if together is not None and (type(x) is Deferred or x.version > 0):
            return together(mean, var, scale, offset, epsilon, residual, activation)
        return inferred(x, mean, var, scale, offset, geo, epsilon, residual, activation)

    return defer(x, compute, (*inputs, mean, var, scale, offset))


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
        TypeError: mixed or non-floating dtypes. ValueError: shapes that do not fit together, a negative epsilon.

    From Ba, Kiros and Hinton, "Layer Normalization" (2016).

    >>> layer_norm([[1.0, 2.0, 3.0]], epsilon=0.0)
    Tensor([[-1.2247,  0.    ,  1.2247]], dtype=float32)
    """
    op = "layer_norm"
    x, scale, offset = _operands(op, x, scale=scale, offset=offset)
    axes = tuple(sorted(axis_tuple(op, axis, x.ndim)))
    _check_shapes(op, tuple([x.shape[a] for a in axes]), "x along axis", scale=scale, offset=offset)
    kept = tuple([a for a in range(x.ndim) if a not in axes])
    moved = axes != tuple(range(len(kept), x.ndim))
    t = transpose(x, (*kept, *axes)) if moved else x
    geo = layer_norm_geometry(t.shape, len(axes))
    scale, offset = (None if p is None else reshape(p, (geo.channels,)) for p in (scale, offset))
    y = applied(t, statistics(t, geo, number_in(op, "epsilon", epsilon))[0], scale, offset)
    return transpose(y, tuple(np.argsort((*kept, *axes)).tolist())) if moved else y


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
        TypeError: mixed or non-floating dtypes. ValueError: shapes that do not fit, groups that do not divide C,
            a negative epsilon.

    From Wu and He, "Group Normalization" (2018).

    >>> group_norm([[1.0, 3.0, 10.0, 20.0]], 2, epsilon=0.0)
    Tensor([[-1.,  1., -1.,  1.]], dtype=float32)
    """
    op = "group_norm"
    x, scale, offset = _operands(op, x, scale=scale, offset=offset)
    channel = _channel_axis(op, x, data_format)
    channels = x.shape[channel]
    if channels % positive(op, "groups", groups):
        raise ValueError(f"{op}: expected groups to divide C == {channels}, got {groups} (x={x.shape})")
    _check_shapes(op, (channels,), "(C,)", scale=scale, offset=offset)
    geo = group_norm_geometry(x.shape, channel, positive(op, "groups", groups))
    return applied(x, statistics(x, geo, number_in(op, "epsilon", epsilon))[0], scale, offset)


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
