"""Named arrays for the elementwise ops. Sizes lie around the threads' parts. One table serves all backends."""

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


@dataclass(frozen=True)
class BinaryCase:
    """Two operands that broadcast, or one and a number, which every dtype holds exactly.

    values: "normal", or "special", where the numbers of SPECIAL come first, and each meets another one.
    """

    name: str
    a: tuple[int, ...]
    b: tuple[int, ...] | None = None
    number: float | None = None
    values: str = "normal"

    def draw(self, dtype: str) -> tuple[np.ndarray, np.ndarray | None]:
        """The operands."""
        drawn = []
        for role, shape in (("a", self.a), ("b", self.b)):
            if shape is None:
                continue
            x = np.asarray(2 * normal(f"{self.name}/{role}", shape, "float64"))
            if self.values == "special":
                some = (SPECIAL if role == "a" else SPECIAL[7:] + SPECIAL[:7])[:x.size]
                x.reshape(-1)[:len(some)] = some
            with np.errstate(over="ignore"):
                drawn.append(x.astype(as_dtype(dtype)))
        return drawn[0], drawn[1] if self.b is not None else None


CASES = [
    ElementwiseCase("scalar", ()), ElementwiseCase("one", (1,), terms=1), ElementwiseCase("none", (0, 3)),
    ElementwiseCase("seven", (7,), terms=3), ElementwiseCase("odd", (3, 5, 7), terms=5),
    ElementwiseCase("block", (4096,), terms=2), ElementwiseCase("block_and_1", (4097,), terms=4),
    ElementwiseCase("rows", (37, 64), terms=8), ElementwiseCase("many_terms", (2, 130), terms=32),
    ElementwiseCase("images", (2, 9, 11, 48), terms=3),
    ElementwiseCase("special", (5, 13), values="special"), ElementwiseCase("special_vectors", (64,), values="special"),
    BinaryCase("two_scalars", (), ()), BinaryCase("number_none", (0, 3), number=2.0),
    BinaryCase("none_beside_one", (0, 3), (1,)), BinaryCase("no_pixels", (2, 0, 3), (2, 1, 3)),
    BinaryCase("equal", (3, 5, 7), (3, 5, 7)), BinaryCase("equal_block_and_1", (8193,), (8193,)),
    BinaryCase("number", (37, 19), number=-1.5), BinaryCase("number_0", (4, 8), number=0.0),
    BinaryCase("number_nan", (9,), number=float("nan")), BinaryCase("scalar_array_first", (), (5, 13)),
    BinaryCase("scalar_array", (4099,), (1,)), BinaryCase("squeeze_and_excite", (2, 7, 5, 48), (2, 1, 1, 48)),
    BinaryCase("channels", (3, 5, 16), (16,)), BinaryCase("channels_odd", (3, 5, 7), (7,)),
    BinaryCase("channels_first", (2, 6, 4, 8), (2, 6, 1, 1)), BinaryCase("rows_and_columns", (5, 1), (1, 24)),
    BinaryCase("both_repeat", (3, 1, 4, 1, 16), (1, 6, 1, 2, 16)), BinaryCase("more_axes_second", (8,), (2, 3, 1, 8)),
    BinaryCase("alternating", (2, 1) * 5, (1, 2) * 5), BinaryCase("special_pairs", (64,), (64,), values="special"),
    BinaryCase("special_odd", (3, 13), (3, 1), values="special"),
    BinaryCase("special_beside_number", (5, 13), number=61440.0, values="special"),
]
