"""Trees of tensors as a few flat arrays, which travel better than many small ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..dtypes import is_float, is_half
from ..tensor import Tensor, wrap

BUCKET = 25 * 2**20  # bytes; PyTorch's DistributedDataParallel has 25 MB too


class Leaf(NamedTuple):
    """What is known of a leaf before it is there. travels: the dtype in which it is sent and added."""

    shape: tuple[int, ...]
    dtype: np.dtype
    travels: np.dtype
    size: int


def leaf_of(x: Tensor) -> Leaf:
    """Half types travel, and are added, in float32; bool as int64."""
    dtype = np.dtype(x.dtype)
    travels = np.dtype("float32") if is_half(dtype) else dtype if is_float(dtype) else np.dtype("int64")
    return Leaf(tuple(x.shape), dtype, travels, int(x.size))


class Bucket:
    """A flat array and the leaves that are its parts."""

    def __init__(self, dtype: np.dtype):
        self.dtype, self.size, self.places = dtype, 0, dict[int, int]()  # the offset of each leaf by its number

    def add(self, number: int, leaf: Leaf) -> None:
        self.places[number] = self.size
        self.size += leaf.size


def plan(leaves: Sequence[tuple[int, Leaf]]) -> list[Bucket]:
    """Buckets of one dtype each, which hold the leaves in the given order; one too large for a bucket has its own."""
    open_buckets: dict[np.dtype, Bucket] = {}
    buckets: list[Bucket] = []
    for number, leaf in leaves:
        bucket = open_buckets.get(leaf.travels)
        if bucket is None or (bucket.size + leaf.size) * leaf.travels.itemsize > BUCKET:
            bucket = open_buckets[leaf.travels] = Bucket(leaf.travels)
            buckets.append(bucket)
        bucket.add(number, leaf)
    return buckets


def filled(bucket: Bucket, values: Sequence[np.ndarray | None], weight: float | None) -> np.ndarray:
    """The bucket's array, times the weight; a leaf that is None, and all leaves at the weight 0, are zeros."""
    flat = np.zeros(bucket.size, bucket.dtype)
    if weight == 0:
        return flat
    for number, at in bucket.places.items():
        value = values[number]
        if value is not None:
            flat[at:at + value.size] = value.reshape(-1)
    if weight is not None:
        flat *= bucket.dtype.type(weight)
    return flat


def taken_apart(bucket: Bucket, flat: np.ndarray, leaves: Sequence[Leaf]) -> Iterator[tuple[int, Tensor]]:
    """The leaves' numbers and values, in their own dtypes."""
    for number, at in bucket.places.items():
        leaf = leaves[number]
        part = flat[at:at + leaf.size].reshape(leaf.shape)
        yield number, wrap(part.astype(leaf.dtype))


def signature(what: str, tree: Any) -> tuple[bytes, str]:
    """A hash of a call and of its tree's structure, shapes and dtypes, and these as text."""
    text = f"{what} of {described(tree)}"
    return hashlib.sha256(text.encode()).digest(), text


def described(tree: Any) -> str:
    """Structure, shapes and dtypes in one line."""
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key!r}: {described(value)}" for key, value in tree.items()) + "}"
    if isinstance(tree, (list, tuple)):
        open_, close = "[]" if isinstance(tree, list) else "()"
        return open_ + ", ".join(map(described, tree)) + close
    return f"{tree.dtype}{list(tree.shape)}" if hasattr(tree, "dtype") else type(tree).__name__


def paths(tree: Any, at: str = "") -> Iterator[str]:
    """The names of the leaves, such as conv1.w, in the order of `convgpu.tree.leaves`."""
    if isinstance(tree, (dict, list, tuple)):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from paths(value, f"{at}.{key}" if at else str(key))
    else:
        yield at or "the tensor"
