"""Named draws: sizes around the groups of threads, parameters at their limits, states that go around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..dtypes import as_dtype
from .problem import normal

LAST = 2**64 - 1  # the largest seed, stream and counter


@dataclass(frozen=True)
class RandomCase:
    """An array for dropout, whose shape the other draws have, the state, and the parameters.

    state: the seed, the stream and the counter, or the two words of a seed of Keras. bounds: of uniform numbers.
    spread: mean and standard deviation. whole: integers are from the first to the second less 1; those of int32 too,
    where it holds both. values: "normal", or "special", where NaN, infinities, zeros and large numbers come first.
    """

    name: str
    shape: tuple[int, ...]
    rate: float = 0.5
    state: tuple[int, ...] = (7, 0, 0)
    values: str = "normal"
    bounds: tuple[float, float] = (0.0, 1.0)
    spread: tuple[float, float] = (0.0, 1.0)
    whole: tuple[int, int] = (-3, 8)

    def draw(self, dtype: str) -> np.ndarray:
        """The array."""
        x = np.asarray(normal(f"random/{self.name}", self.shape, "float64"))
        if self.values == "special":
            some = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 6e4, -6e4] * 3)[:x.size]
            x.reshape(-1)[:len(some)] = some
        return x.astype(as_dtype(dtype))

    @property
    def given(self) -> np.ndarray:
        """The state as an array."""
        return np.array(self.state, np.uint64 if len(self.state) == 3 else np.uint32)


CASES = [
    RandomCase("scalar", ()), RandomCase("one", (1,), 0.1, whole=(5, 6)), RandomCase("none", (0, 3)),
    RandomCase("three", (3,), 0.2), RandomCase("five", (5,), 0.9, (1, 2, 3), bounds=(-1.5, 2.25)),
    RandomCase("seven", (7,), 0.3, spread=(0.5, 3.0)), RandomCase("nine", (9,), 0.5, whole=(-2**31, 2**31)),
    RandomCase("odd", (3, 5, 7), 0.4, (123456789, 5, 17)), RandomCase("block", (1024,), 0.25, whole=(-2**63, 2**63)),
    RandomCase("block_and_1", (2049,), 1 / 3, whole=(-2**40, 3**30)),
    RandomCase("images", (2, 9, 11, 48), 0.2, (3, 1, 1000), bounds=(-0.05, 0.05), spread=(0.0, 0.02)),
    RandomCase("blocks_and_3", (8195,), 0.01, (2**40 + 1, 2**33 + 5, 2**32 - 9)),
    RandomCase("goes_around", (50,), 0.5, (LAST, LAST, LAST - 3)),
    RandomCase("key", (41,), 0.5, (1337, 5)), RandomCase("key_goes_around", (2, 3), 0.5, (2**32 - 1, 2**32 - 1)),
    RandomCase("key_of_none", (0,), 0.5, (1, 2)),
    RandomCase("nothing_dropped", (33,), 0.0, bounds=(2.0, 2.0), spread=(1e3, 0.0)),
    RandomCase("all_dropped", (33,), 1.0, bounds=(-6e4, 6e4), spread=(-300.0, 1e3)),
    RandomCase("seldom", (4099,), 1e-9), RandomCase("nearly_all", (4099,), 1 - 1e-9),
    RandomCase("special", (5, 13), 0.5, values="special"), RandomCase("special_vectors", (64,), 0.5, values="special"),
]
