"""Losses, and the functions that read integer labels: one-hot vectors and embeddings.

    cross_entropy = -sum over classes of t * log_softmax(logits)        mse = (x - t)^2

Logits and dense targets have one floating dtype; targets that are NumPy arrays take the dtype of the logits. Half types
are computed in float32 and rounded once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import flags
from ..arguments import axis_index
from ..autograd import is_grad_enabled
from ..device import GPU, move, run_there
from ..dtypes import DTypeLike, check_same_float, is_float
from ..geometry import positive
from ..op import Op
from ..tensor import Tensor, as_tensor, constant_beside, wrap
from .activation import sigmoid
from .elementwise import astype, clip, log, log1p, maximum, square, where
from .indexing import getitem
from .shape import expand_dims
from .softmax import log_softmax, softmax
from .widening import loss_dtype, wide

REDUCTIONS = ("mean", "sum", "none")


def _reduced(op: str, losses: Tensor, reduction: str, dtype: np.dtype) -> Tensor:
    """The losses averaged ("mean"), added up ("sum") or unchanged ("none"), in `dtype`; the mean of nothing is NaN."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"{op}: expected reduction to be one of {REDUCTIONS}, got {reduction!r}")
    dtype = loss_dtype(dtype)
    if reduction == "none":
        return _rounded(losses, dtype)
    if reduction == "sum":
        return _rounded(losses.sum(), dtype)
    return _rounded(losses.mean() if losses.size else losses.sum() + float("nan"), dtype)


@np.errstate(over="ignore")
def _rounded(losses: Tensor, dtype: np.dtype) -> Tensor:
    """The losses in `dtype`; one beyond it is Inf, as on a GPU, without a warning."""
    return astype(losses, dtype)


def _check_same_shape(op: str, **operands: Tensor) -> None:
    if len({t.shape for t in operands.values()}) > 1:
        got = ", ".join(f"{name}={t.shape}" for name, t in operands.items())
        raise ValueError(f"{op}: expected operands of one shape, got {got}")


def cross_entropy(logits: Any, labels: Any, *, label_smoothing: float = 0.0, axis: int = -1,
                  reduction: str = "mean", weight: Any = None, ignore_index: int | None = None) -> Tensor:
    """The cross-entropy between labels and the softmax of logits.

    loss = -sum over classes of t * log_softmax(logits),  t = (1 - label_smoothing) * target + label_smoothing / classes

    Args:
        logits: the classes along `axis`; typically (N, classes).
        labels: integers in [0, classes), in the shape of logits without `axis`; or dense targets in the shape and dtype
            of logits, which also receive gradients.
        label_smoothing: the part of each target, in [0, 1], that is spread evenly over the classes.
        axis: the axis of the classes.
        reduction: "mean" (over everything but the classes), "sum" or "none".
        weight: a factor for each class, (classes,). The sum over the classes becomes one of weight * t * log_softmax;
            the mean of integer labels is divided by the sum of their weights, as in PyTorch.
        ignore_index: integer labels of this number, often -100, count nowhere: their losses and gradients are 0, and
            the mean is over the others.

    Returns:
        A scalar, or with "none" the shape of logits without `axis`. The mean of an empty batch is NaN, its gradient 0.

    Raises:
        TypeError: mixed or non-floating dtypes. ValueError: shapes that do not fit together, and a label out of range.

    >>> cross_entropy([[0.0, 0.0], [1.0, 0.0]], [1, 0], reduction="none")
    Tensor([0.6931, 0.3133], dtype=float32)
    """
    op = "cross_entropy"
    logits = as_tensor(logits, op)
    labels = constant_beside(labels, logits, op)
    dense = is_float(labels.dtype)
    check_same_float(op, logits=logits, labels=labels if dense else None)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{op}: expected label_smoothing in [0, 1], got {label_smoothing}")
    axis = axis_index(op, axis, logits.ndim)
    factors = None if weight is None else _factors(op, weight, logits, axis)
    if not dense:
        given = logits, labels, axis, float(label_smoothing)
        return (_of_labels(op, *given, reduction) if factors is None and ignore_index is None else
                _of_some_labels(op, *given, reduction, factors, ignore_index))
    if ignore_index is not None:
        raise ValueError(f"{op}: expected ignore_index with integer labels alone, got dense targets")
    _check_same_shape(op, logits=logits, labels=labels)
    log_p = log_softmax(wide(logits), axis)
    if factors is not None:
        log_p = log_p * _along(factors, axis, logits.ndim)
    losses = -(log_p * wide(labels)).sum(axis=axis)
    if label_smoothing:
        losses = losses * (1 - label_smoothing) - log_p.mean(axis=axis) * label_smoothing
    return _reduced(op, losses, reduction, logits.dtype)


# Backends compute losses of integer labels, and what gradients need of each line of classes, in one op; a further
# result is a flag that tells whether a label is out of range.
_cross_entropy = Op("cross_entropy", "x, labels; axis, smoothing, reduction -> y, statistics, flag")
_cross_entropy_dgrad = Op("cross_entropy_dgrad", "x, labels, statistics, g; axis, smoothing, reduction -> gx")
_cross_entropy.vjp(x=lambda g, x, labels, statistics, axis, smoothing, reduction: _gradient_of_logits(
    g, x, labels, statistics, axis, smoothing, reduction))


def _gradient_of_logits(g: Tensor, x: Tensor, labels: Tensor, statistics: Any, axis: int, smoothing: float,
                        reduction: str) -> Tensor:
    """One launch; while gradients are recorded, ops that can be differentiated again."""
    if not is_grad_enabled():
        return _cross_entropy_dgrad(x, labels, statistics, g, axis, smoothing, reduction)
    classes = np.arange(x.shape[axis]).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
    hits = astype(expand_dims(labels, axis) == wrap(move(classes, x.device)), wide(x).dtype)
    targets = hits * (1 - smoothing) + smoothing / max(x.shape[axis], 1)
    share = wide(g) * (1 / max(labels.size, 1)) if reduction == "mean" else wide(g)
    return (softmax(wide(x), axis) - targets) * (expand_dims(share, axis) if reduction == "none" else share)


def _of_labels(op: str, logits: Tensor, labels: Tensor, axis: int, smoothing: float, reduction: str) -> Tensor:
    """The losses of integer labels. Where these are on the GPU nobody waits for the check of their range."""
    if reduction not in REDUCTIONS:
        raise ValueError(f"{op}: expected reduction to be one of {REDUCTIONS}, got {reduction!r}")
    shape, classes = logits.shape[:axis] + logits.shape[axis + 1:], logits.shape[axis]
    if labels.shape != shape:
        raise ValueError(f"{op}: expected integer labels of shape {shape} (logits without the axis of the classes) "
                         f"or floating targets of shape {logits.shape}, got {labels.dtype} {labels.shape}")
    if labels.device != GPU:
        _check_labels(op, "labels", labels, classes)
    elif labels.dtype.kind not in "iu":
        raise TypeError(f"{op}: expected labels of an integer dtype, got {labels.dtype}")
    y, _, flag = _cross_entropy(logits, labels, axis, smoothing, reduction)
    flags.check(op, flag.array, f"labels in [0, {classes})")
    return _rounded(y, loss_dtype(logits.dtype))


def _factors(op: str, weight: Any, logits: Tensor, axis: int) -> Tensor:
    """The weights of the classes, in the dtype that losses are computed in."""
    factors = as_tensor(weight, op)
    if not is_float(factors.dtype):
        raise TypeError(f"{op}: expected a floating weight, got {factors.dtype}")
    if factors.shape != (logits.shape[axis],):
        raise ValueError(f"{op}: expected a weight for each of the {logits.shape[axis]} classes, got shape "
                         f"{factors.shape}")
    if factors.device != logits.device:
        raise TypeError(f"{op}: expected weight on the {logits.device}, as logits, got {factors.device}")
    return astype(factors.detach(), wide(logits).dtype)


def _along(factors: Tensor, axis: int, ndim: int) -> Tensor:
    """Factors of the classes in a shape that broadcasts along `axis`."""
    return factors.reshape([-1 if a == axis else 1 for a in range(ndim)])


def _of_some_labels(op: str, logits: Tensor, labels: Tensor, axis: int, smoothing: float, reduction: str,
                    factors: Tensor | None, ignore_index: int | None) -> Tensor:
    """The losses of integer labels that count differently. Logits of ignored labels are replaced, since 0 * NaN is NaN.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"{op}: expected reduction to be one of {REDUCTIONS}, got {reduction!r}")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{op}: expected labels of an integer dtype, got {labels.dtype}")
    if labels.shape != logits.shape[:axis] + logits.shape[axis + 1:]:
        return _of_labels(op, logits, labels, axis, smoothing, reduction)  # which raises the error
    x = wide(logits)
    shares: Any = None
    if ignore_index is not None:
        if isinstance(ignore_index, bool) or not isinstance(ignore_index, (int, np.integer)):
            raise TypeError(f"{op}: expected ignore_index to be an integer, got {ignore_index!r:.60}")
        counts = labels != int(ignore_index)
        labels = where(counts, labels, 0)
        x = where(expand_dims(counts, axis), x, 0)
        shares = astype(counts, x.dtype)
    if factors is None:
        losses = _of_labels(op, x, labels, axis, smoothing, "none")
    else:
        losses = _of_labels(op, x, labels, axis, 0.0, "none")
        own = getitem(factors, labels)
        shares = own if shares is None else own * shares
    weighted = losses * shares
    if factors is not None and smoothing:
        spread = -(log_softmax(x, axis) * _along(factors, axis, x.ndim)).mean(axis=axis)
        if ignore_index is not None:
            spread = spread * astype(counts, x.dtype)
        weighted = weighted * (1 - smoothing) + spread * smoothing
    if reduction == "mean":
        total = shares.sum()
        return astype(weighted.sum() / where(total == 0, np.nan, total), loss_dtype(logits.dtype))
    return _reduced(op, weighted, reduction, logits.dtype)


def _check_labels(op: str, name: str, labels: Tensor, classes: int) -> None:
    """Raise an error unless the labels are integers in [0, classes); on the GPU when a value is next read from it."""
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{op}: expected {name} of an integer dtype, got {labels.dtype}")
    if not labels.size:
        return
    if labels.device == GPU:  # negative numbers are large ones without the sign
        array, unsigned = labels.array, f"u{labels.dtype.itemsize}"
        flag = run_there(op, array, lambda: (array.view(unsigned) >= classes).any())
        return flags.check(op, flag, f"{name} in [0, {classes})")
    low, high = int(labels.array.min()), int(labels.array.max())
    if low < 0 or high >= classes:
        raise ValueError(f"{op}: expected {name} in [0, {classes}), got {low if low < 0 else high}")


def _logit_losses(x: Any, t: Any) -> Any:
    return np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))


def _probability_losses(p: Any, t: Any) -> Any:
    with np.errstate(divide="ignore"):  # the logarithm of 0 is meant to be -inf
        return -(t * np.maximum(np.log(p), -100) + (1 - t) * np.maximum(np.log1p(-p), -100))


_from_logits = Op("binary_cross_entropy_from_logits", "x, t -> y", _logit_losses).vjp(
    x=lambda g, x, t: g * (sigmoid(x) - t), t=lambda g, x: -g * x)
_from_probabilities = Op("binary_cross_entropy_from_probabilities", "p, t -> y", _probability_losses).vjp(
    p=lambda g, p, t: g * (p - t) / maximum(p * (1 - p), 1e-12),
    t=lambda g, p: g * (maximum(log1p(-p), -100) - maximum(log(p), -100)))


def binary_cross_entropy(x: Any, targets: Any, *, from_logits: bool = True, reduction: str = "mean") -> Tensor:
    """The cross-entropy of independent yes-or-no decisions.

    loss = -(t * log(p) + (1 - t) * log(1 - p)),  p = sigmoid(x), or x itself without `from_logits`

    Args:
        x: logits of any shape; without `from_logits` probabilities, whose logarithms are kept above -100 as in PyTorch.
        targets: numbers in [0, 1], in the shape and dtype of x.
        from_logits: whether to apply the sigmoid to x first (the default, as in `cross_entropy`).
        reduction: "mean", "sum" or "none".

    Raises:
        TypeError: mixed or non-floating dtypes. ValueError: shapes that differ, and a probability outside [0, 1].

    >>> binary_cross_entropy([0.0, 1.0], [1.0, 1.0], reduction="none")
    Tensor([0.6931, 0.3133], dtype=float32)
    """
    op = "binary_cross_entropy"
    x, t = _pair(op, x, targets)
    if from_logits:
        return _reduced(op, _from_logits(wide(x), wide(t)), reduction, x.dtype)
    wrong = x.detach()[(x < 0) | (x > 1)]
    if wrong.size:
        raise ValueError(f"{op}: expected probabilities in [0, 1], got {wrong[0].item()}; logits need from_logits=True")
    return _reduced(op, _from_probabilities(wide(x), wide(t)), reduction, x.dtype)


def _pair(op: str, x: Any, targets: Any) -> tuple[Tensor, Tensor]:
    x = as_tensor(x, op)
    t = constant_beside(targets, x, op)
    check_same_float(op, x=x, targets=t)
    _check_same_shape(op, x=x, targets=t)
    return x, t


def mse_loss(x: Any, targets: Any, *, reduction: str = "mean") -> Tensor:
    """The squared error (x - targets)^2.

    Args:
        x, targets: tensors of one shape and dtype.
        reduction: "mean", "sum" or "none".

    Raises:
        TypeError: mixed or non-floating dtypes. ValueError: different shapes, since nothing is broadcast.

    >>> mse_loss([1.0, 2.0], [1.0, 4.0])
    Tensor(2., dtype=float32)
    """
    x, t = _pair("mse_loss", x, targets)
    return _reduced("mse_loss", square(wide(x) - wide(t)), reduction, x.dtype)


def huber_loss(x: Any, targets: Any, *, delta: float = 1.0, reduction: str = "mean") -> Tensor:
    """The Huber loss: half the squared error near the target and linear beyond, so that outliers weigh less.

    loss = d^2 / 2 where |d| <= delta, else delta * (|d| - delta / 2),  d = x - targets

    Args:
        x, targets: tensors of one shape and dtype.
        delta: the distance from the target where the linear part begins.
        reduction: "mean", "sum" or "none".

    Raises:
        TypeError: mixed or non-floating dtypes. ValueError: shapes that differ, delta <= 0.

    >>> huber_loss([0.5, 3.0], [0.0, 0.0], reduction="none")
    Tensor([0.125, 2.5  ], dtype=float32)
    """
    x, t = _pair("huber_loss", x, targets)
    if not delta > 0:
        raise ValueError(f"huber_loss: expected delta > 0, got {delta}")
    d = wide(x) - wide(t)
    limited = clip(d, -float(delta), float(delta))
    return _reduced("huber_loss", limited * (d - limited * 0.5), reduction, x.dtype)


# --- one-hot vectors and embeddings


def one_hot(labels: Any, classes: int, *, dtype: DTypeLike = "float32") -> Tensor:
    """A vector of zeros for each label with a one at the label's place, along a new last axis.

    Args:
        labels: integers in [0, classes), of any shape.
        classes: the length of the new axis.
        dtype: the dtype of the result.

    Raises:
        TypeError: labels that are not integers. ValueError: a label out of range.

    >>> one_hot([0, 2], 3)
    Tensor([[1., 0., 0.],
            [0., 0., 1.]], dtype=float32)
    """
    labels = as_tensor(labels, "one_hot")
    classes = positive("one_hot", "classes", classes, 0)
    _check_labels("one_hot", "labels", labels, classes)
    return astype(expand_dims(labels, -1) == wrap(move(np.arange(classes), labels.device)), dtype)


def embedding(ids: Any, table: Any) -> Tensor:
    """The rows of a table at given indices.

    y[...] = table[ids[...]]

    Args:
        ids: integers in [0, rows), of any shape.
        table: (rows, ...). The gradients of equal ids add up in the row of the table that they name.

    Returns:
        ids.shape + table.shape[1:].

    Raises:
        TypeError: ids that are not integers. ValueError: an id out of range.

    >>> embedding([1, 1, 0], [[1.0, 2.0], [3.0, 4.0]])
    Tensor([[3., 4.],
            [3., 4.],
            [1., 2.]], dtype=float32)
    """
    ids, table = as_tensor(ids, "embedding"), as_tensor(table, "embedding")
    if table.ndim < 1:
        raise ValueError("embedding: expected a table of at least one axis, got a scalar")
    _check_labels("embedding", "ids", ids, table.shape[0])
    return getitem(table, ids)
