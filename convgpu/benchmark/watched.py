"""A backend whose every result is checked as it is computed: a part of it, against the reference on that part alone.

For whole networks, whose ops are too large for the reference: of a convolution the last image and two filters (of its
weight gradient: all images and two channels), of a product 64 rows and columns, of a pooling the last image and two
channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from ..backends import load, replaced
from ..backends.epilogue import finish
from ..cases.tolerance import C_NUMPY
from ..device import to_numpy
from ..geometry import ConvGeometry, PoolGeometry
from .verification import WrongResultError, verify

SIDE = 64


@contextmanager
def watched(name: str, c: float = C_NUMPY) -> Iterator[Watched]:
    """Within it, the backend of this name raises WrongResultError where it is wrong. Yields what counts its FLOPs.

    Args:
        name: of the backend.
        c: the allowed error, see cases/tolerance.py.
    """
    stand_in = Watched(load(name), c)
    with replaced(name, stand_in):
        yield stand_in


class Watched:
    """Stands in for a backend. `flops`: of all products until now."""

    def __init__(self, backend: Any, c: float):
        self._backend, self._c = backend, c
        self.flops = 0

    def __getattr__(self, op: str) -> Callable[..., Any]:
        function = getattr(self._backend, op)

        def run(*arguments: Any) -> Any:
            result = function(*arguments)
            if op not in _CHECKS:
                raise NotImplementedError(f"{op} is not checked while a network is watched")
            _CHECKS[op](op, arguments, result, self._c)
            if op == "gemm":
                self.flops += 2 * result.size * arguments[0].shape[0 if arguments[5] else 1]
            elif op.startswith("conv_"):
                self.flops += 2 * next(a for a in arguments if isinstance(a, ConvGeometry)).macs
            return result

        return run


def _ends(n: int) -> list[int]:
    """The first and the last index."""
    return sorted({0, n - 1})


def _part(array: Any, *index: Any) -> np.ndarray | None:
    return None if array is None else to_numpy(array[index])


def _check_forward(op: str, arguments: tuple[Any, ...], result: Any, c: float) -> None:
    """fprop and dgrad: the last image, and two of the channels that come out."""
    x, w, bias, geo, activation = arguments
    _only_plain(op, geo)
    fprop = op == "conv_fprop"
    some = _ends(geo.filters if fprop else geo.channels)
    part = replace(geo, batch=1, filters=len(some)) if fprop else replace(geo, batch=1, channels=len(some))
    w = _part(w, ..., some) if fprop else _part(w, ..., some, slice(None))
    operands = _part(x, slice(-1, None)), w, _part(bias, some)
    length = int(np.prod(geo.kernel)) * (geo.channels if fprop else geo.filters)
    got = _part(_part(result, slice(-1, None)), ..., some)
    _compare(op, operands, (part, activation), (part, None), got, length, c)


def _check_wgrad(op: str, arguments: tuple[Any, ...], result: Any, c: float) -> None:
    """Two channels and two filters; over all images."""
    x, gy, geo = arguments
    _only_plain(op, geo)
    channels, filters = _ends(geo.channels), _ends(geo.filters)
    part = replace(geo, channels=len(channels), filters=len(filters))
    got = _part(_part(result, ..., channels, slice(None)), ..., filters)
    operands = _part(x, ..., channels), _part(gy, ..., filters)
    _compare(op, operands, (part,), (part,), got, geo.batch * int(np.prod(geo.output)), c)


def _only_plain(op: str, geo: ConvGeometry) -> None:
    if geo.groups != 1 or not geo.channels_last:
        raise NotImplementedError(f"{op}: only channels_last without groups is watched")


def _check_gemm(op: str, arguments: tuple[Any, ...], result: Any, c: float) -> None:
    """Up to 64 rows and columns, spread over all of it; in float64, or beyond for float64."""
    a, b, addend, alpha, beta, trans_a, trans_b, activation = arguments
    rows, columns = (np.unique(np.linspace(0, n - 1, min(n, SIDE)).astype(int)) for n in result.shape)
    a = to_numpy(a[:, rows].T if trans_a else a[rows])
    b = to_numpy(b[columns].T if trans_b else b[:, columns])
    wide = np.longdouble if a.dtype == np.float64 else np.float64
    a, b = a.astype(wide), b.astype(wide)
    exact, magnitude = alpha * (a @ b), abs(alpha) * (abs(a) @ abs(b))
    if addend is not None and beta:
        part = np.broadcast_to(to_numpy(addend), result.shape)[rows][:, columns].astype(wide)
        exact, magnitude = exact + beta * part, magnitude + abs(beta * part)
    verify(f"{op} {result.shape}", to_numpy(result[rows][:, columns]), finish(exact, None, activation), magnitude,
           a.shape[1] + 1, c)


def _check_pool(op: str, arguments: tuple[Any, ...], result: Any, c: float) -> None:
    """The last image, two channels."""
    *arrays, geo = arguments[:-1] if op == "max_pool" else arguments
    if not geo.channels_last:
        raise NotImplementedError(f"{op}: only channels_last is watched")
    some = _ends(geo.channels)
    part: PoolGeometry = replace(geo, batch=1, channels=len(some))

    def cut(array: Any) -> Any:
        return _part(_part(array, slice(-1, None)), ..., some)

    operands = tuple(map(cut, arrays))
    if op == "max_pool":
        with_offsets = arguments[-1]
        expected = load("reference").max_pool(*operands, part, with_offsets)
        if not all(np.array_equal(cut(a), b) for a, b in zip(result, expected) if b is not None):
            raise WrongResultError(f"{op} {geo.x_shape}: expected the reference's winners, got others; not timed")
        return
    _compare(op, operands, (part,), (part,), cut(result), int(np.prod(geo.window)), c)


def _check_channel_sum(op: str, arguments: tuple[Any, ...], result: Any, c: float) -> None:
    """Two channels, over all images."""
    g, *statics = arguments
    axis = -1 if statics[0] else 1
    some = _ends(g.shape[axis])
    part = to_numpy(g[..., some] if axis == -1 else g[:, some])
    _compare(op, (part,), tuple(statics), tuple(statics), _part(result, some), g.size // g.shape[axis], c)


def _compare(op: str, operands: tuple[Any, ...], statics: tuple[Any, ...], of_magnitude: tuple[Any, ...],
             got: np.ndarray | None, length: int, c: float) -> None:
    """`got` against the reference on these operands in float64."""
    function = getattr(load("reference"), op)
    wide = [a.astype(np.float64) if a is not None and a.dtype.kind != "u" else a for a in operands]
    exact = function(*wide, *statics)
    magnitude = function(*[abs(a) if a is not None and a.dtype.kind != "u" else a for a in wide], *of_magnitude)
    assert got is not None
    verify(f"{op} {got.shape}", got, exact, magnitude, length, c)


_CHECKS = {"conv_fprop": _check_forward, "conv_dgrad": _check_forward, "conv_wgrad": _check_wgrad, "gemm": _check_gemm,
           "max_pool": _check_pool, "max_pool_dgrad": _check_pool, "avg_pool": _check_pool,
           "avg_pool_dgrad": _check_pool, "channel_sum": _check_channel_sum}
