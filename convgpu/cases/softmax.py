"""Named arrays for softmax and cross-entropy: axes that lead, trail and lie between, smoothing, awkward values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..dtypes import as_dtype
from .problem import normal


@dataclass(frozen=True)
class SoftmaxCase:
    """An array and the axis of its classes.

    values: "normal", "nan" (a tenth of all values), "infinite" (a tenth is -inf), "nothing" (all are -inf), "large".
    labels: the dtype of the labels. bad: whether one of them is out of range.
    """

    name: str
    shape: tuple[int, ...]
    axis: int
    values: str = "normal"
    smoothing: float = 0.0
    reduction: str = "mean"
    labels: str = "int64"
    bad: bool = False

    @property
    def lines(self) -> tuple[int, ...]:
        """The shape without the axis of the classes."""
        return self.shape[:self.axis] + self.shape[self.axis + 1:]

    def input(self, dtype: str) -> np.ndarray:
        """The logits."""
        x = 3 * normal(self.name, self.shape, "float32")
        some = normal(f"{self.name}/where", self.shape, "float32") > 1.3
        if self.values == "nan":
            x = np.where(some, np.nan, x)
        if self.values in ("infinite", "nothing"):
            x = np.where(some | (self.values == "nothing"), -np.inf, x)
        return (x + 50 if self.values == "large" else x).astype(as_dtype(dtype))

    def drawn_labels(self) -> np.ndarray:
        """A label for each line."""
        y = np.random.default_rng(len(self.name)).integers(0, max(self.shape[self.axis], 1), self.lines)
        if self.bad:
            y.reshape(-1)[-1] = self.shape[self.axis]
        return y.astype(self.labels)


CASES = [
    SoftmaxCase("digits", (128, 10), 1), SoftmaxCase("imagenet", (6, 1000), 1, smoothing=0.1, labels="int32"),
    SoftmaxCase("long_lines", (2, 5003), 1, labels="uint16"), SoftmaxCase("long_vectors", (3, 4096), 1, "large"),
    SoftmaxCase("one_class", (5, 1), 1), SoftmaxCase("two_classes", (300, 2), 1, reduction="sum", labels="uint8"),
    SoftmaxCase("segmentation_first", (2, 21, 9, 7), 1, reduction="none", labels="int16"),
    SoftmaxCase("segmentation_last", (2, 9, 7, 24), 3, smoothing=0.2, reduction="none", labels="uint32"),
    SoftmaxCase("leading", (12, 33), 0, reduction="sum", labels="int8"),
    SoftmaxCase("vector", (17,), 0, labels="uint64"),
    SoftmaxCase("no_lines", (0, 10), 1), SoftmaxCase("bad_label", (9, 8), 1, bad=True),
    SoftmaxCase("nan", (30, 24), 1, "nan", reduction="none"),
    SoftmaxCase("infinite", (30, 24), 1, "infinite", reduction="none"),
    SoftmaxCase("nothing", (3, 5), 1, "nothing", reduction="none"),
]
