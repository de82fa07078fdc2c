"""Named arrays for dropout: sizes around the groups of threads, rates at their limits, states that go around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..dtypes import as_dtype
from ..generator import State
from .problem import normal

LAST = 2**64 - 1  # the largest seed, stream and counter


@dataclass(frozen=True)
class RandomCase:
    """An array, the state from which its mask follows, and the rate.

    values: "normal", or "special", where NaN, infinities, zeros and the largest numbers come first.
    """

    name: str
    shape: tuple[int, ...]
    rate: float = 0.5
    state: State = (7, 0, 0)
    values: str = "normal"

    def draw(self, dtype: str) -> np.ndarray:
        """The array."""
        x = np.asarray(normal(f"random/{self.name}", self.shape, "float64"))
        if self.values == "special":
            some = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 6e4, -6e4] * 3)[:x.size]
            x.reshape(-1)[:len(some)] = some
        return x.astype(as_dtype(dtype))


CASES = [
    RandomCase("scalar", ()), RandomCase("one", (1,), 0.1), RandomCase("none", (0, 3)), RandomCase("three", (3,), 0.2),
    RandomCase("five", (5,), 0.9, (1, 2, 3)), RandomCase("seven", (7,), 0.3), RandomCase("nine", (9,), 0.5),
    RandomCase("odd", (3, 5, 7), 0.4, (123456789, 5, 17)), RandomCase("block", (1024,), 0.25),
    RandomCase("block_and_1", (2049,), 1 / 3), RandomCase("images", (2, 9, 11, 48), 0.2, (3, 1, 1000)),
    RandomCase("blocks_and_3", (8195,), 0.01, (2**40 + 1, 2**33 + 5, 2**32 - 9)),
    RandomCase("goes_around", (50,), 0.5, (LAST, LAST, LAST - 3)),
    RandomCase("nothing_dropped", (33,), 0.0), RandomCase("all_dropped", (33,), 1.0),
    RandomCase("seldom", (4099,), 1e-9), RandomCase("nearly_all", (4099,), 1 - 1e-9),
    RandomCase("special", (5, 13), 0.5, values="special"), RandomCase("special_vectors", (64,), 0.5, values="special"),
]
