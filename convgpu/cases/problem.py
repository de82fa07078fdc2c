"""A problem: one call of a backend's op on operands, and what its result must be.

The tables of cases, `convgpu verify`, the benchmarks, and networks that are watched while they train all use problems
to judge a backend's results. The facts of the op (convgpu/facts) say how its operands are drawn, how many terms its
sums have, and which part of a large call is compared.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backends import arguments, reference
from ..dtypes import as_dtype, is_float, is_half
from ..op import Op
from ..recorder import Call
from ..roofline import Work
from ..settings import current_precision
from .tolerance import C_NUMPY, worst

Arrays = tuple[Any, ...]


@dataclass(frozen=True)
class Problem:
    """A call `op(*arrays, *statics)` of a backend's function.

    arrays: the operands; None where only the call's sizes are given, and the operands are to be drawn.
    answer: the exact results, where they do not come from the reference backend. network, layer: the names that a
    benchmark files the problem under.
    """

    call: Call
    arrays: Arrays | None = None
    answer: Arrays | None = None
    network: str = ""
    layer: str = ""

    @classmethod
    def of(cls, op: str, arrays: Arrays, statics: tuple[Any, ...] = (), answer: Arrays | None = None) -> Problem:
        """The problem of the given operands."""
        dtype = next(a.dtype for a in arrays if a is not None).name
        shapes = tuple(None if a is None else tuple(a.shape) for a in arrays)
        return cls(Call(op, shapes, statics, dtype), arrays, answer)

    @property
    def op(self) -> str:
        """The name of the op."""
        return self.call.op

    @property
    def dtype(self) -> np.dtype:
        """The dtype that the op computes in."""
        return as_dtype(self.call.dtype)

    @property
    def facts(self) -> Any:
        """The facts of the op (convgpu/facts)."""
        return Op.registry[self.op].facts

    @property
    def name(self) -> str:
        """The problem's name in messages."""
        return f"{self.op} {self.layer} {self.call.dtype}"

    @property
    def work(self) -> Work:
        """The FLOPs and bytes of the call."""
        return self.facts.work(self.call, current_precision())

    @property
    def row(self) -> dict[str, Any]:
        """The entries of a result row that identify the problem."""
        work = self.work
        return {"kind": self.facts.family, "network": self.network, "layer": self.layer,
                "direction": self.facts.direction, "op": self.op, "dtype": self.call.dtype, "flops": work.flops,
                "unit": work.unit, "bytes": work.bytes}

    def operands(self) -> Arrays:
        """The operands: the given arrays, or random values that are the same at every call."""
        return self.facts.draw(self.call) if self.arrays is None else self.arrays

    def run(self, backend: Any, arrays: Arrays) -> Any:
        """Make the call on these operands."""
        return getattr(backend, self.op)(*arguments(self.op, arrays, self.call.statics))

    def error(self, arrays: Arrays, results: Any, c: float = C_NUMPY, few: bool = False) -> float:
        """The largest error of the compared part of a backend's results, in units of the bound.

        Args:
            few: compare a smaller part, for whole networks.
        """
        part, got = self.facts.part(self, arrays, as_results(results), few)
        return Judge(part, c).error(list(got))

    @property
    def length(self) -> int | None:
        """The number of terms of each sum, for the bound; None where every element must be exact."""
        return self.facts.bound(self.call).length

    def exact(self) -> Arrays:
        """The results in float64, or in long double for a float64 problem."""
        if self.answer is not None:
            return self.answer
        return self._by_reference([_wide(a) for a in self.operands()], self.call.statics)

    def magnitude(self) -> np.ndarray:
        """The op computed on absolute values, which the errors of sums are proportional to."""
        bound = self.facts.bound(self.call)
        if bound.magnitude is not None:
            return bound.magnitude(*[_absolute(_wide(a)) for a in self.operands()])
        return self._by_reference([_absolute(_wide(a)) for a in self.operands()], bound.statics)[0] + bound.slack

    def _by_reference(self, arrays: list[Any], statics: tuple[Any, ...]) -> Arrays:
        with np.errstate(invalid="ignore"):
            return as_results(getattr(reference, self.op)(*arguments(self.op, arrays, statics)))


class Judge:
    """The exact results of a problem with given operands, computed once."""

    def __init__(self, problem: Problem, c: float):
        self._problem, self._c = problem, c
        self._exact = problem.exact()
        several, self._units = problem.facts.magnitudes, problem.facts.units
        self._magnitudes = None if several is None else several(problem)
        plain = several is None and self._units is None
        self._magnitude = problem.magnitude() if plain and problem.length is not None else None

    def error(self, results: list[np.ndarray]) -> float:
        """The largest error in units of the bound; Inf for wrong shapes, dtypes, or inexact results that must be exact.
        """
        problem = self._problem
        if [r.shape for r in results] != [e.shape for e in self._exact]:
            return math.inf
        if problem.answer is not None:
            return 0.0 if results[0].tobytes() == np.ascontiguousarray(problem.answer[0]).tobytes() else math.inf
        if self._units is not None:
            return self._units(problem, self._exact, results, self._c)
        if self._magnitudes is not None:
            return max(map(self._error_of_one, results, self._exact, self._magnitudes, self._dtypes()))
        if self._magnitude is None:
            return 0.0 if all(map(_same, results, self._exact)) else math.inf
        wanted = problem.dtype
        if problem.facts.bound(problem.call).magnitude is not None:
            wanted = as_dtype(problem.facts.results(problem.call)[0][1])
        if results[0].dtype != wanted:
            return math.inf
        return worst(results[0], self._exact[0], self._magnitude, problem.length or 0, self._c)


    def _dtypes(self) -> list[np.dtype]:
        return [as_dtype(size[1]) for size in self._problem.facts.results(self._problem.call) if size is not None]

    def _error_of_one(self, got: np.ndarray, exact: np.ndarray, magnitude: np.ndarray | None, dtype: np.dtype) -> float:
        if got.dtype != dtype:
            return math.inf
        if magnitude is None:
            return 0.0 if _same(got, exact) else math.inf
        wide = exact.astype(np.float64) if is_half(exact.dtype) else exact
        return worst(got, wide, magnitude, self._problem.length or 0, self._c)


def as_results(returned: Any) -> Arrays:
    """The results of a backend's function, always as a tuple."""
    return tuple(r for r in returned if r is not None) if isinstance(returned, tuple) else (returned,)


def _same(got: np.ndarray, exact: np.ndarray) -> bool:
    wide = got.astype(exact.dtype)
    return bool(((wide == exact) | (wide != wide) & (exact != exact)).all())


def _wide(a: np.ndarray | None) -> np.ndarray | None:
    if a is None or not is_float(a.dtype):
        return a
    return a.astype(np.longdouble if a.dtype == np.float64 else np.float64)


def _absolute(a: np.ndarray | None) -> np.ndarray | None:
    return np.abs(a) if a is not None and np.issubdtype(a.dtype, np.floating) else a


def normal(name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Normally distributed values, which are the same for the same name."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    return generator.standard_normal(shape, np.float32).astype(as_dtype(dtype))


def ends(n: int, most: int = 2) -> list[int]:
    """At most `most` indices out of n, evenly spread, including the first and the last."""
    return sorted({round(i * (n - 1) / (most - 1)) for i in range(most)}) if n > most else list(range(n))



def some_of(array: np.ndarray, indices: list[int], axis: int) -> np.ndarray:
    """The entries of an array at these indices of an axis; the array may be empty."""
    return np.take(array, np.asarray(indices, np.int64), axis=axis)
