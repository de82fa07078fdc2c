"""Losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import numpy as cnp
from ...ops.softmax import log_softmax
from ...tensor import Tensor
from ..node import Node


def nll_loss(node: Node, x: Tensor, labels: Tensor, weight: Tensor | None = None) -> Tensor:
    """-x at the label of every pixel, weighted by class; labels may be ignored."""
    reduction, ignored = node.get("reduction", "mean"), node.get("ignore_index")
    labels = labels.astype("int64")
    counts = cnp.ones_like(labels, "bool") if ignored is None else labels != ignored
    safe = cnp.where(counts, labels, np.int64(0))
    loss = -cnp.squeeze(cnp.take_along_axis(x, cnp.expand_dims(safe, 1), 1), 1)
    weights = counts.astype(x.dtype)
    if weight is not None:
        weights = weights * cnp.take(weight, safe)
    loss = loss * weights
    if reduction == "none":
        return loss
    return cnp.sum(loss) if reduction == "sum" else cnp.sum(loss) / cnp.sum(weights)


def softmax_cross_entropy_loss(node: Node, x: Tensor, labels: Tensor, weight: Tensor | None = None) -> Any:
    """`nll_loss` of the logarithms of softmax along axis 1, which are the second output."""
    logarithms = log_softmax(x, axis=1)
    loss = nll_loss(node, logarithms, labels, weight)
    return (loss, logarithms) if node.wants(1) else loss
