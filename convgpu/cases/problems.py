"""What the tables of cases come to: calls of a backend's functions, and their exact results.

FAMILIES names each family's table and the function that makes calls of a case: a new family is a line there.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..backends import reference
from ..dtypes import DTypeLike, as_dtype, is_float
from ..plans import Call
from . import conv, gemm, layout, pool


@dataclass(frozen=True)
class Problem:
    """A call `op(*arrays, *statics)` of a backend's function.

    length: the number of terms of each sum, for the bound; None where every element must be exact. magnitude_statics:
    statics of the same op on absolute values, where they differ. slack: added to that, for roundings of an activation.
    answer: the exact results, where it is not the reference backend that knows them.
    """

    op: str
    arrays: tuple[np.ndarray | None, ...]
    statics: tuple[Any, ...] = ()
    length: int | None = None
    magnitude_statics: tuple[Any, ...] | None = None
    slack: float = 0.0
    answer: tuple[np.ndarray, ...] | None = None

    @property
    def dtype(self) -> np.dtype:
        """The dtype that the op computes in."""
        return next(a.dtype for a in self.arrays if a is not None)

    @property
    def call(self) -> Call:
        """What a plan may depend on."""
        return Call(self.op, tuple(None if a is None else a.shape for a in self.arrays), self.statics, self.dtype.name)

    def exact(self) -> tuple[np.ndarray, ...]:
        """The results in float64; for float64 in long double."""
        if self.answer is not None:
            return self.answer
        return self._by_reference([_wide(a) for a in self.arrays], self.statics)

    def magnitude(self) -> np.ndarray:
        """The op on absolute values."""
        arrays = [_absolute(_wide(a)) for a in self.arrays]
        statics = self.statics if self.magnitude_statics is None else self.magnitude_statics
        return self._by_reference(arrays, statics)[0] + self.slack

    def _by_reference(self, arrays: list[np.ndarray | None], statics: tuple[Any, ...]) -> tuple[np.ndarray, ...]:
        with np.errstate(invalid="ignore"):
            return as_results(getattr(reference, self.op)(*arrays, *statics))


def as_results(returned: Any) -> tuple[Any, ...]:
    """What a backend's function returned, always as a tuple."""
    return tuple(r for r in returned if r is not None) if isinstance(returned, tuple) else (returned,)


def _wide(a: np.ndarray | None) -> np.ndarray | None:
    if a is None or not is_float(a.dtype):
        return a
    return a.astype(np.longdouble if a.dtype == np.float64 else np.float64)


def _absolute(a: np.ndarray | None) -> np.ndarray | None:
    return np.abs(a) if a is not None and np.issubdtype(a.dtype, np.floating) else a


# --- the families

DTYPES = ("float64", "float32", "float16", "bfloat16")
FORMATS = ("channels_last", "channels_first")
_FUSED = (None, "relu", "tanh", "sigmoid")  # activations that ops take


def conv_problems(case: conv.ConvCase, dtype: str, data_format: str) -> Iterator[Problem]:
    """Three directions, bias and an activation on that which is the case's forward; and the bias gradient."""
    geo = case.geometry(data_format)
    x, w, gy = (case.draw(shape, role, dtype) for role, shape in (("x", geo.x_shape), ("w", geo.w_shape),
                                                                  ("g", geo.y_shape)))
    taps, forward = math.prod(geo.kernel), "conv_dgrad" if case.form == "conv_transpose" else "conv_fprop"
    for op, image, inputs, outputs in (("conv_fprop", x, geo.channels, geo.filters),
                                       ("conv_dgrad", gy, geo.filters, geo.channels)):
        bias = case.draw((outputs,), "bias", dtype) if op == forward else None
        activation = _activation_of(case.name) if op == forward else None
        yield Problem(op, (image, w, bias), (geo, activation), taps * inputs // geo.groups + 1, (geo, None),
                      _slack(activation))
    pixels = geo.batch * math.prod(geo.output)
    yield Problem("conv_wgrad", (x, gy), (geo,), pixels)
    yield Problem("channel_sum", (gy,), (geo.channels_last,), pixels)


def pool_problems(case: pool.PoolCase, dtype: str, data_format: str) -> Iterator[Problem]:
    """Both kinds of pooling, their gradients, and what the gradients of these need."""
    geo, x = case.geometry(data_format), case.input(dtype, data_format)
    gy = _normal(case.name, geo.y_shape, dtype)
    offsets = reference.max_pool(x, geo, True)[1]
    taps = math.prod(geo.window)
    yield Problem("max_pool", (x,), (geo, True))
    yield Problem("max_pool", (x,), (geo, False))
    yield Problem("max_pool_dgrad", (gy, offsets), (geo,), taps)
    yield Problem("max_pool_gather", (x, offsets), (geo,))
    yield Problem("max_pool_indices", (offsets,), (geo,))
    if case.averages:
        yield Problem("avg_pool", (x,), (geo,), taps)
        yield Problem("avg_pool_dgrad", (gy,), (geo,), taps)


def gemm_problems(case: gemm.GemmCase, dtype: str, data_format: str) -> Iterator[Problem]:
    """The product, its gradients in a and b as gemms, and the product of stacks."""
    a, b, c, g = (case.draw(role, dtype) for role in "abcg")
    ta, tb, alpha = case.trans_a, case.trans_b, case.alpha
    yield _gemm(a, b, c, alpha, case.beta, ta, tb, case.activation, case.k)
    yield _gemm(*((b, g, None, alpha, 1.0, tb, True) if ta else (g, b, None, alpha, 1.0, False, not tb)), None, case.n)
    yield _gemm(*((g, a, None, alpha, 1.0, True, ta) if tb else (a, g, None, alpha, 1.0, not ta, False)), None, case.m)
    if a is not None and b is not None and not (ta or tb or {"long", "float32"} & case.tags):
        yield Problem("matmul", (np.stack([a, -a, a]), b), (), case.k)
        yield Problem("matmul", (np.stack([a, -a]), np.stack([b, b])), (), case.k)


def layout_problems(case: layout.LayoutCase, dtype: str, data_format: str) -> Iterator[Problem]:
    """All four changes of one array, taken for images and for filters."""
    x = case.input(dtype)
    for op, source, target in (("nchw_to_nhwc", 1, -1), ("nhwc_to_nchw", -1, 1), ("oihw_to_hwio", (0, 1), (-1, -2)),
                               ("hwio_to_oihw", (-1, -2), (0, 1))):
        yield Problem(op, (x,), answer=(np.moveaxis(x, source, target),))


class Family(NamedTuple):
    """A table of named cases, what calls a case comes to, and in which dtypes and data formats it is run.

    tf32: whether there are kernels that multiply float32 as TF32, where that is asked for.
    """

    cases: Sequence[Any]
    problems: Callable[[Any, str, str], Iterator[Problem]]
    dtypes: tuple[str, ...] = DTYPES
    formats: tuple[str, ...] = FORMATS
    tf32: bool = False

    def variants(self, case: Any, tf32: bool = False) -> list[tuple[str, str]]:
        """The (dtype, data format) pairs of a case: float64 makes no promise on long sums, where it is not blocked, and
        cases tagged "float32" are for kernels of that dtype.

        Args:
            tf32: with "tf32" among the dtypes, where there are kernels for it.
        """
        tags = getattr(case, "tags", ())
        long, dtypes = "long" in tags, ("float32",) if "float32" in tags else self.dtypes
        dtypes = (*dtypes, "tf32") if tf32 and self.tf32 else dtypes
        return [(d, f) for d in dtypes if not (long and d == "float64") for f in self.formats]


FAMILIES = {"conv": Family((*conv.CASES, *conv.LARGE), conv_problems, tf32=True),
            "pool": Family(pool.CASES, pool_problems),
            "gemm": Family((*gemm.CASES, *gemm.LARGE), gemm_problems, formats=FORMATS[:1], tf32=True),
            "layout": Family(layout.CASES, layout_problems, layout.DTYPES, FORMATS[:1])}


def _gemm(a: Any, b: Any, c: Any, alpha: float, beta: float, trans_a: bool, trans_b: bool, activation: str | None,
          k: int) -> Problem:
    return Problem("gemm", (a, b, c), (alpha, beta, trans_a, trans_b, activation), k + 1,
                   (abs(alpha), abs(beta), trans_a, trans_b, None), _slack(activation))


def _activation_of(name: str) -> str | None:
    return _FUSED[zlib.crc32(name.encode()) % len(_FUSED)]


def _slack(activation: str | None) -> float:
    """Slopes are at most 1; tanh and sigmoid add roundings of their own to values of at most 1."""
    return 0.0 if activation in (None, "relu") else 1.0


def _normal(name: str, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(as_dtype(dtype))
