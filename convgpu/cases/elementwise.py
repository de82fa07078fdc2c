"""Named arrays for the elementwise ops; their sizes lie around the threads' parts. One table serves all backends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..dtypes import as_dtype
from .problem import normal

# Corners and limits of the activations, and their neighbours; infinities, NaN, zeros and denormal numbers.
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 1.0, -1.0, 3.0, -3.0, 6.0, -6.0, 5.97, 2.98, 0.996, -2.98,
           4.2, 9.0, 40.0, -40.0, 41.0, -90.0, 90.0, 700.0, -751.0, 1e4, -1e4, 6e4, -6e4]


@dataclass(frozen=True)
class ElementwiseCase:
    """Arrays of one shape.

    terms: how many arrays are added. values: "normal", or "special", where the numbers of SPECIAL come first.
    """

    name: str
    shape: tuple[int, ...]
    terms: int = 2
    values: str = "normal"

    def draw(self, role: str, dtype: str) -> np.ndarray:
        """The array of that role: "x", "g", or a term of the sum."""
        x = np.asarray(2 * normal(f"{self.name}/{role}", self.shape, "float64"))
        if self.values == "special" and role == "x":
            some = SPECIAL[:x.size]
            x.reshape(-1)[:len(some)] = some
        return x.astype(as_dtype(dtype))


CASES = [
    ElementwiseCase("scalar", ()), ElementwiseCase("one", (1,), terms=1), ElementwiseCase("none", (0, 3)),
    ElementwiseCase("seven", (7,), terms=3), ElementwiseCase("odd", (3, 5, 7), terms=5),
    ElementwiseCase("block", (4096,), terms=2), ElementwiseCase("block_and_1", (4097,), terms=4),
    ElementwiseCase("rows", (37, 64), terms=8), ElementwiseCase("many_terms", (2, 130), terms=32),
    ElementwiseCase("images", (2, 9, 11, 48), terms=3),
    ElementwiseCase("special", (5, 13), values="special"), ElementwiseCase("special_vectors", (64,), values="special"),
]
