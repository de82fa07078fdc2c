"""What is timed: one op on one shape, its operands, the work that it is, and the check of its result.

A problem has a `row`, the words under which its timings are kept; `operands()`, NumPy arrays by name;
`run(backend, arrays)`, the call that is timed; `work`, its FLOPs and bytes; `verify(run, arrays)`, which raises unless
run(arrays) gives what the reference gives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .. import roofline
from ..backends import load
from ..cases.networks import ConvLayer, PoolLayer
from ..cases.tolerance import C_NUMPY
from ..dtypes import as_dtype
from ..geometry import ConvGeometry, PoolGeometry
from ..plans import Call, work_of
from ..settings import current_precision
from .verification import WrongResultError, verify

Arrays = dict[str, np.ndarray]
Run = Callable[[Arrays], Any]  # arrays -> NumPy array, or a tuple of them


class Problem:
    """What the three kinds share."""

    kind: str
    op: str
    direction: str
    network: str
    layer: str
    batch: int | None
    dtype: str

    @property
    def row(self) -> dict[str, Any]:
        """What its results are filed under."""
        return {"kind": self.kind, "network": self.network, "layer": self.layer, "direction": self.direction,
                "op": self.op, "dtype": self.dtype, "flops": self.work.flops, "unit": self.work.unit,
                "bytes": self.work.bytes}

    @property
    def name(self) -> str:
        """What stands in messages."""
        return f"{self.op} {self.layer} {self.dtype}"

    @property
    def call(self) -> Call:
        """The backend's call by its sizes: what plans depend on."""
        raise NotImplementedError

    @property
    def work(self) -> roofline.Work:
        """FLOPs and bytes."""
        return work_of(self.call, current_precision())

    def operands(self) -> Arrays:
        """The same random values at every call."""
        raise NotImplementedError

    def run(self, backend: Any, arrays: dict[str, Any]) -> Any:
        """The call that is timed."""
        raise NotImplementedError

    def verify(self, run: Run, arrays: Arrays, c: float = C_NUMPY) -> None:
        """Raise WrongResultError unless `run` gives what the reference gives, within the bound for `c`."""
        raise NotImplementedError


def _normal(shapes: dict[str, tuple[int, ...]], dtype: str) -> Arrays:
    generator = np.random.default_rng(0)
    return {name: generator.standard_normal(shape, np.float32).astype(as_dtype(dtype), copy=False)
            for name, shape in shapes.items()}


def _exact(op: str, *operands: Any) -> tuple[np.ndarray, np.ndarray]:
    """The reference's result in float64, and that of absolute values."""
    function = getattr(load("reference"), op)
    wide = [a.astype(np.float64) if isinstance(a, np.ndarray) else a for a in operands]
    return function(*wide), function(*[abs(a) if isinstance(a, np.ndarray) else a for a in wide])


@dataclass(frozen=True)
class ConvProblem(Problem):
    """One direction of a convolution."""

    geo: ConvGeometry
    direction: str
    dtype: str = "float32"
    network: str = ""
    layer: str = ""
    kind = "conv"

    @property
    def op(self) -> str:  # type: ignore[override]
        """conv_fprop, conv_dgrad or conv_wgrad."""
        return f"conv_{self.direction}"

    @property
    def call(self) -> Call:
        """The backend's call by its sizes."""
        x, w, gy = self.geo.x_shape, self.geo.w_shape, self.geo.y_shape
        shapes = {"fprop": (x, w, None), "dgrad": (gy, w, None), "wgrad": (x, gy)}[self.direction]
        return Call(self.op, shapes, (self.geo,) if self.direction == "wgrad" else (self.geo, None), self.dtype)

    def operands(self) -> Arrays:
        """x, w and gy, of which each direction uses two."""
        return _normal({"x": self.geo.x_shape, "w": self.geo.w_shape, "gy": self.geo.y_shape}, self.dtype)

    def run(self, backend: Any, arrays: dict[str, Any]) -> Any:
        """The call that is timed."""
        return getattr(backend, self.op)(*self._arguments(arrays, self.geo))

    def _arguments(self, arrays: dict[str, Any], geo: ConvGeometry) -> tuple[Any, ...]:
        x, w, gy = arrays["x"], arrays["w"], arrays["gy"]
        return {"fprop": (x, w, None, geo, None), "dgrad": (gy, w, None, geo, None), "wgrad": (x, gy, geo)}[
            self.direction]

    def verify(self, run: Run, arrays: Arrays, c: float = C_NUMPY) -> None:
        """The whole batch is computed; two images of it are compared, which for wgrad are all that have a gradient."""
        geo = self.geo
        some = sorted({0, geo.batch - 1} - {-1})
        part = {"x": arrays["x"][some], "w": arrays["w"], "gy": arrays["gy"][some]}
        exact, magnitude = _exact(self.op, *self._arguments(part, replace(geo, batch=len(some))))
        if self.direction == "wgrad":
            sparse = np.zeros_like(arrays["gy"])
            sparse[some] = part["gy"]
            got = run({**arrays, "gy": sparse})
        else:
            got = run(arrays)[some]
        taps = arrays["w"].size // max(geo.filters, 1)
        length = {"fprop": taps, "dgrad": arrays["w"].size // max(geo.channels // geo.groups, 1),
                  "wgrad": arrays["gy"].size // max(geo.filters, 1)}[self.direction]
        verify(self.name, got, exact, magnitude, length, c)


@dataclass(frozen=True)
class PoolProblem(Problem):
    """Max or average pooling, forward (max: with offsets, as for training) or backward."""

    geo: PoolGeometry
    direction: str
    dtype: str = "float32"
    average: bool = False
    network: str = ""
    layer: str = ""
    kind = "pool"

    @property
    def op(self) -> str:  # type: ignore[override]
        """max_pool, max_pool_dgrad, avg_pool or avg_pool_dgrad."""
        return ("avg" if self.average else "max") + "_pool" + ("_dgrad" if self.direction == "dgrad" else "")

    @property
    def call(self) -> Call:
        """The backend's call by its sizes."""
        x, y = self.geo.x_shape, self.geo.y_shape
        shapes = {"max_pool_dgrad": (y, y), "avg_pool_dgrad": (y,)}.get(self.op, (x,))
        return Call(self.op, shapes, (self.geo, True) if self.op == "max_pool" else (self.geo,), self.dtype)

    def operands(self) -> Arrays:
        """x and gy; for max_pool_dgrad the offsets of x's winners."""
        arrays = _normal({"x": self.geo.x_shape, "gy": self.geo.y_shape}, self.dtype)
        if self.op == "max_pool_dgrad":
            arrays["offsets"] = load("numpy").max_pool(arrays["x"], self.geo, True)[1]
        return arrays

    def run(self, backend: Any, arrays: dict[str, Any]) -> Any:
        """The call that is timed."""
        return getattr(backend, self.op)(*self._arguments(arrays, self.geo))

    def _arguments(self, arrays: dict[str, Any], geo: PoolGeometry) -> tuple[Any, ...]:
        if self.op == "max_pool":
            return arrays["x"], geo, True
        if self.op == "max_pool_dgrad":
            return arrays["gy"], arrays["offsets"], geo
        return arrays["gy" if self.direction == "dgrad" else "x"], geo

    def verify(self, run: Run, arrays: Arrays, c: float = C_NUMPY) -> None:
        """Two images are compared: the winners and their offsets must be the reference's own, sums within the bound."""
        got, some = run(arrays), sorted({0, self.geo.batch - 1} - {-1})
        part, geo = {name: array[some] for name, array in arrays.items()}, replace(self.geo, batch=len(some))
        if self.op == "max_pool":
            expected = load("reference").max_pool(*self._arguments(part, geo))
            if not all(np.array_equal(a[some], b) for a, b in zip(got, expected)):
                raise WrongResultError(f"{self.name}: expected the reference's winners, got others; not timed")
            return
        wide = {**part, "gy": part["gy"].astype(np.float64), "x": part["x"].astype(np.float64)}
        function = getattr(load("reference"), self.op)
        exact = function(*self._arguments(wide, geo))
        magnitude = function(*self._arguments({**wide, "gy": abs(wide["gy"]), "x": abs(wide["x"])}, geo))
        verify(self.name, got[some], exact, magnitude, int(np.prod(geo.window)), c)


@dataclass(frozen=True)
class GemmProblem(Problem):
    """y = op(a) @ op(b)."""

    m: int
    n: int
    k: int
    trans_a: bool = False
    trans_b: bool = False
    dtype: str = "float32"
    network: str = ""
    kind = "gemm"
    op = "gemm"
    direction = "fprop"

    @property
    def layer(self) -> str:  # type: ignore[override]
        """The sizes, with a T behind each operand that is transposed."""
        flags = "T" * self.trans_a + ("N" if self.trans_b and not self.trans_a else "") + "T" * self.trans_b
        return f"{self.m}x{self.n}x{self.k}" + (f" {flags:N<2}" if flags else "")

    @property
    def call(self) -> Call:
        """The backend's call by its sizes."""
        m, n, k = self.m, self.n, self.k
        shapes = ((k, m) if self.trans_a else (m, k), (n, k) if self.trans_b else (k, n), None)
        return Call(self.op, shapes, (1.0, 1.0, self.trans_a, self.trans_b, None), self.dtype)

    def operands(self) -> Arrays:
        """a and b."""
        a, b, _ = self.call.shapes
        return _normal({"a": a, "b": b}, self.dtype)  # type: ignore[dict-item]

    def run(self, backend: Any, arrays: dict[str, Any]) -> Any:
        """The call that is timed."""
        return backend.gemm(arrays["a"], arrays["b"], None, *self.call.statics)

    def verify(self, run: Run, arrays: Arrays, c: float = C_NUMPY) -> None:
        """Up to 128 rows of the result are compared, spread over all of it."""
        got = run(arrays)
        rows = np.unique(np.linspace(0, max(self.m - 1, 0), min(self.m, 128)).astype(int))
        wide = np.longdouble if self.dtype == "float64" else np.float64
        a, b = arrays["a"].T if self.trans_a else arrays["a"], arrays["b"].T if self.trans_b else arrays["b"]
        a, b = a[rows].astype(wide), b.astype(wide)
        verify(self.name, got[rows], a @ b, abs(a) @ abs(b), self.k, c)


def layer_problems(layers: list[ConvLayer | PoolLayer], directions: tuple[str, ...], dtype: str = "float32",
                   batch: int | None = None) -> list[Problem]:
    """The problems of a network's layers; pools have no weight gradient.

    Args:
        batch: of all layers; None: that of each layer in the table.
    """
    problems: list[Problem] = []
    for entry in layers:
        layer = entry if batch is None else replace(entry, batch=batch)
        for direction in directions:
            if isinstance(layer, ConvLayer):
                problems.append(ConvProblem(layer.geometry(), direction, dtype, layer.network, layer.name))
            elif direction != "wgrad":
                problems.append(PoolProblem(layer.geometry(), direction, dtype, False, layer.network, layer.name))
    return problems
