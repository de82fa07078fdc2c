"""Named matrix products, from everyday to awkward ones, in one table for all backends."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..dtypes import DTypeLike, as_dtype

ODD_SIZES = (1, 2, 3, 5, 7, 9, 15, 17, 31, 33, 63, 65)


@dataclass(frozen=True)
class GemmCase:
    """One problem y = activation(alpha * op(a) @ op(b) + beta * c): sizes, options, tags.

    `c` is the shape of c, or None.
    """

    name: str
    m: int
    n: int
    k: int
    c: tuple[int, ...] | None = None
    alpha: float = 1.0
    beta: float = 1.0
    trans_a: bool = False
    trans_b: bool = False
    activation: str | None = None
    tags: frozenset[str] = frozenset()

    @property
    def shapes(self) -> dict[str, tuple[int, ...] | None]:
        """The shapes of the operands a, b and c, as they are stored."""
        return {"a": (self.k, self.m) if self.trans_a else (self.m, self.k),
                "b": (self.n, self.k) if self.trans_b else (self.k, self.n), "c": self.c}

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of the call."""
        return {"alpha": self.alpha, "beta": self.beta, "trans_a": self.trans_a, "trans_b": self.trans_b,
                "activation": self.activation}

    def draw(self, role: str, dtype: DTypeLike) -> np.ndarray | None:
        """The values of an operand ("a", "b", "c"), or of the output's gradient ("g").

        Normal values; positive ones where the case is tagged "one_signed", equal ones where it is tagged "constant".
        """
        shape = (self.m, self.n) if role == "g" else self.shapes[role]
        if shape is None:
            return None
        if "constant" in self.tags:
            return np.full(shape, {"a": 0.1, "b": 0.3}.get(role, 0.7), np.float32).astype(as_dtype(dtype))
        values = np.random.default_rng(zlib.crc32(f"{self.name}/{role}".encode())).standard_normal(shape, np.float32)
        return (np.abs(values) if "one_signed" in self.tags else values).astype(as_dtype(dtype))


def gemm_cases(*tags: str) -> list[GemmCase]:
    """The cases that have all of the tags (all cases where none are given)."""
    return [case for case in CASES if case.tags.issuperset(tags)]


def _case(name: str, m: int, n: int, k: int, *tags: str, **options: Any) -> GemmCase:
    return GemmCase(name, m, n, k, tags=frozenset(tags), **options)


def _edge_cases() -> Iterator[GemmCase]:
    yield _case("m_0", 0, 4, 5, "empty", c=(4,))
    yield _case("n_0", 3, 0, 5, "empty", c=(3, 1))
    yield _case("k_0", 3, 4, 0, "empty", c=(3, 4), beta=2.0)
    yield _case("k_0_bare", 3, 4, 0, "empty")
    yield _case("all_0", 0, 0, 0, "empty")
    yield _case("one_element", 1, 1, 1, c=(1, 1))
    yield _case("row_times_matrix", 1, 37, 29)
    yield _case("matrix_times_column", 37, 1, 29, trans_b=True)
    yield _case("outer_product", 33, 31, 1)
    yield _case("dot_product", 1, 1, 3001)


def _options() -> Iterator[GemmCase]:
    for trans_a in (False, True):
        for trans_b in (False, True):
            yield _case(f"transposed_{'ny'[trans_a]}{'ny'[trans_b]}", 13, 7, 21, trans_a=trans_a, trans_b=trans_b,
                        c=(13, 7), alpha=-0.5, beta=1.5)
    for c in ((13, 7), (7,), (1, 7), (13, 1), (1, 1), (1,), ()):
        yield _case("c_" + ("x".join(map(str, c)) or "scalar"), 13, 7, 21, c=c, beta=0.5)
    yield _case("beta_0", 13, 7, 21, c=(7,), beta=0.0)
    yield _case("alpha_0", 13, 7, 21, c=(7,), alpha=0.0)
    for activation in ("relu", "sigmoid", "tanh"):
        yield _case(f"activation_{activation}", 13, 7, 21, c=(7,), alpha=0.3, activation=activation)


def _sizes() -> Iterator[GemmCase]:
    for i, n in enumerate(ODD_SIZES):
        m, k = ODD_SIZES[(i + 5) % len(ODD_SIZES)], ODD_SIZES[(i + 7) % len(ODD_SIZES)]
        yield _case(f"odd_{m}_{n}_{k}", m, n, k, trans_a=i % 2 == 1, trans_b=i % 4 > 1)
    for k in (127, 128, 129, 256, 257, 1000):
        yield _case(f"block_edge_{k}", 9, 10, k, trans_b=k % 2 == 0)
    yield _case("tile_edges", 257, 513, 130, c=(513,))
    yield _case("tall", 4097, 33, 27)
    yield _case("wide", 27, 4097, 33)
    yield _case("lenet_dense", 128, 120, 400, "network", c=(120,), activation="tanh")
    yield _case("resnet_classifier", 8, 1000, 2048, "network", c=(1000,))
    yield _case("pointwise_weights", 64, 64, 3136, "network", trans_a=True)


def _long_sums() -> Iterator[GemmCase]:
    """Sums on which a plain sequence of float32 additions misses the bound."""
    yield _case("long_one_signed", 17, 5, 100_000, "one_signed", "long")
    yield _case("long_row_one_signed", 1, 33, 100_000, "one_signed", "long")
    yield _case("long_column_one_signed", 33, 1, 100_000, "one_signed", "long", trans_a=True)
    yield _case("long_dot_one_signed", 1, 1, 1_000_000, "one_signed", "long")
    yield _case("constant", 40, 50, 256, "constant")
    yield _case("constant_long_row", 1, 9, 100_000, "constant", "long")


CASES = [*_edge_cases(), *_options(), *_sizes(), *_long_sums()]

# Cases large enough for Hopper's kernels for float32.
LARGE = [_case("large_float32", 1016, 1000, 1000, "float32", c=(1000,))]
