"""Matrix products by BLAS on blocks, so that long sums stay accurate and any number of threads gives the same bits.

BLAS adds up the terms of a sum in a plain sequence, in stretches of 192 to 320 terms, and adds the stretches in a
sequence too. The error on a constant matrix is 25 units of eps * sum|terms| where the bound is 16, and on a vector of
100,000 equal terms 300 units. So K is cut into blocks of 128 terms, and the blocks' results are added pairwise: the
error is at most 5 units on constants and 7 on random terms of one sign, at a cost of a tenth to a fifth of the time.
Tiles of the output depend on its shape alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ...dtypes import accumulator, is_float
from ..epilogue import finish
from .workers import parallel_for

BLOCK = 128  # terms that BLAS may add up in a plain sequence
# the size of a tile: with a second tile for partial results it stays in the second-level cache
ROWS, COLUMNS = 256, 512
BATCH = 1 << 16  # partial results that one call of np.matmul may produce for small tiles
PANEL = 1 << 20  # elements of a and b together that such a call may read, and convert from a half type

Tile = tuple[slice | int, ...]


def gemm(a: np.ndarray, b: np.ndarray, c: np.ndarray | None, alpha: float, beta: float, trans_a: bool, trans_b: bool,
         activation: str | None) -> np.ndarray:
    """y = activation(alpha * op(a) @ op(b) + beta * c); with beta = 0, c is not read."""
    a, b = a.T if trans_a else a, b.T if trans_b else b
    y = np.empty((a.shape[0], b.shape[1]), a.dtype)
    addend = None if c is None or beta == 0 else np.broadcast_to(c, y.shape)

    def epilogue(out: np.ndarray, at: Tile) -> None:
        if alpha != 1:
            out *= alpha
        bias = None if addend is None else addend[at].astype(out.dtype, copy=False)
        finish(out, bias if bias is None or beta == 1 else bias * beta, activation)

    _by_tiles(a, b, y, epilogue)
    return y


def matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A stack of matrix products, of floats or integers; leading axes broadcast."""
    if not is_float(a.dtype):
        return np.matmul(a, b)
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    y = np.empty((*stack, a.shape[-2], b.shape[-1]), a.dtype)
    _by_tiles(np.broadcast_to(a, stack + a.shape[-2:]), np.broadcast_to(b, stack + b.shape[-2:]), y, None)
    return y


def _by_tiles(a: np.ndarray, b: np.ndarray, y: np.ndarray, epilogue: Callable[[np.ndarray, Tile], None] | None) -> None:
    """y = a @ b, tile by tile; the epilogue gets each tile in the accumulator's dtype, and the tile's place in y."""
    acc, whole = accumulator(y.dtype), slice(None)
    places = tiles(y.shape)

    def tile(i: int) -> None:
        at = places[i]
        out = y[at] if acc == y.dtype else np.empty(y[at].shape, acc)
        product(a[(*at[:-1], whole)], b[(*at[:-2], whole, at[-1])], out)
        if epilogue is not None:
            epilogue(out, at)
        if acc != y.dtype:
            y[at] = out

    parallel_for(len(places), tile)


def tiles(shape: tuple[int, ...]) -> list[Tile]:
    """The output (..., M, N) in tiles of about ROWS * COLUMNS elements: several small matrices or part of one.
    """
    area = ROWS * COLUMNS
    if len(shape) == 2:
        m, n = shape
        rows, columns = max(ROWS, area // min(max(n, 1), COLUMNS)), max(COLUMNS, area // min(max(m, 1), ROWS))
        return [(i, j) for i in _slices(m, rows) for j in _slices(n, columns)]
    inner = math.prod(shape[1:])
    if inner > area:
        return [(i, *tile) for i in range(shape[0]) for tile in tiles(shape[1:])]
    return [(some, *[slice(None)] * len(shape[1:])) for some in _slices(shape[0], area // max(inner, 1))]


def _slices(n: int, step: int) -> list[slice]:
    """range(n) cut into parts of nearly equal size, of at most `step` each."""
    count = math.ceil(n / step)
    return [slice(n * i // count, n * (i + 1) // count) for i in range(count)]


def product(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """out = a @ b for (..., M, K) and (..., K, N): blocks of K, added pairwise. `out` has the accumulator's dtype."""
    k = a.shape[-1]
    blocks = math.ceil(k / BLOCK)
    if blocks <= 1:
        np.matmul(_for_blas(a, out.dtype), _for_blas(b, out.dtype), out=out)
    elif out.size * blocks <= BATCH and a.size + b.size <= PANEL:
        _batched(a, b, out)
    else:
        middle = (blocks + 1) // 2 * BLOCK
        product(a[..., :middle], b[..., :middle, :], out)
        rest = np.empty_like(out)
        product(a[..., middle:], b[..., middle:, :], rest)
        out += rest


def _batched(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
    """out = a @ b for a small tile, with all blocks of K in one call of np.matmul, which loops over them in C."""
    (*stack, m, k), n = a.shape, b.shape[-1]
    blocks = math.ceil(k / BLOCK)
    length = math.ceil(k / blocks)
    whole = k // length
    a, b = _for_blas(a, out.dtype), _for_blas(b, out.dtype)
    sums = np.empty((blocks, *stack, m, n), out.dtype)
    blocks_a = a[..., :whole * length].reshape(*stack, m, whole, length)
    blocks_b = b[..., :whole * length, :].reshape(*stack, whole, length, n)
    np.matmul(np.moveaxis(blocks_a, -2, 0), np.moveaxis(blocks_b, -3, 0), out=sums[:whole])
    if whole < blocks:
        np.matmul(a[..., whole * length:], b[..., whole * length:, :], out=sums[whole])
    while len(sums) > 2:
        half = len(sums) // 2
        sums[:half] += sums[-half:]
        sums = sums[:len(sums) - half]
    np.add(sums[0], sums[1], out=out)


def _for_blas(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """x in the accumulator's dtype with unit stride along one of the last two axes, which BLAS requires."""
    if x.dtype != dtype:
        return x.astype(dtype)
    return x if x.itemsize in x.strides[-2:] else np.ascontiguousarray(x)
