"""Named reductions: axes that lead, trail, lie between, or are all; sizes around the threads' parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..dtypes import as_dtype
from .problem import normal


@dataclass(frozen=True)
class ReduceCase:
    """An array and the axes that are reduced.

    values: "normal"; "one_sign", which lets errors add up; "nan" (a tenth of all values), "infinite", "ties".
    """

    name: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    values: str = "normal"
    keepdims: bool = False
    tags: frozenset[str] = frozenset()

    def input(self, dtype: str) -> np.ndarray:
        """The array."""
        x = np.asarray(normal(self.name, self.shape, "float32"))
        if self.values == "one_sign":
            x = np.abs(x) + 0.1
        if self.values == "ties":
            x = np.round(x)
        some = normal(f"{self.name}/where", self.shape, "float32") > 1.3
        if self.values == "nan":
            x = np.where(some, np.nan, x)
        if self.values == "infinite":
            x = np.where(some, np.where(x > 0, np.inf, -np.inf), x)
        return np.asarray(x).astype(as_dtype(dtype))


LONG = frozenset({"long"})
CASES = [
    ReduceCase("scalar", (), ()), ReduceCase("no_axis", (3, 5), ()), ReduceCase("of_nothing", (0, 3), (1,)),
    ReduceCase("one_of_each", (7, 1, 1), (1, 2)),
    ReduceCase("all_7", (7,), (0,)), ReduceCase("all", (3, 5, 7), (0, 1, 2), keepdims=True),
    ReduceCase("rows_10", (37, 10), (1,)), ReduceCase("rows_64", (33, 64), (1,), keepdims=True),
    ReduceCase("rows_1000", (5, 1000), (1,)), ReduceCase("rows_long", (2, 40003), (1,), "one_sign", tags=LONG),
    ReduceCase("columns_3", (50, 3), (0,)), ReduceCase("columns_64", (100, 64), (0,)),
    ReduceCase("columns_odd", (300, 65), (0,), "one_sign"), ReduceCase("columns_few", (5, 1000), (0,)),
    ReduceCase("columns_one_row", (1, 40), (0,)), ReduceCase("columns_long", (40000, 8), (0,), "one_sign", tags=LONG),
    ReduceCase("nhwc", (4, 9, 11, 24), (0, 1, 2)), ReduceCase("nchw", (4, 24, 9, 11), (0, 2, 3), keepdims=True),
    ReduceCase("nchw_vectors", (3, 5, 8, 8), (0, 2, 3)), ReduceCase("middle", (3, 40, 16), (1,)),
    ReduceCase("middle_odd", (5, 33, 7), (1,)), ReduceCase("images", (3, 8, 8, 6), (1, 2)),
    ReduceCase("outer_and_inner", (6, 5, 4, 3), (0, 2)), ReduceCase("alternating", (2, 3, 4, 3, 2, 5), (0, 2, 4)),
    ReduceCase("alternating_rows", (2, 3, 4, 3, 2, 5, 8), (0, 2, 4, 6)),
    ReduceCase("broadcast_bias", (2, 3, 1, 5), (0, 2), keepdims=True),
    ReduceCase("nan", (9, 40), (1,), "nan"), ReduceCase("nan_columns", (40, 9), (0,), "nan"),
    ReduceCase("infinite", (30, 30), (0,), "infinite"), ReduceCase("ties", (8, 50), (1,), "ties"),
]
