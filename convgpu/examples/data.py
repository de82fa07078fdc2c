"""Images to learn from: scikit-learn's digits or a file of the user's, and the scaling that `predict` shares with them.
"""

from __future__ import annotations

import hashlib
import math
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..architectures.lenet5 import SMALLEST
from ..extras import require
from ..files import printable

if TYPE_CHECKING:
    from .likeness import Typical

KEYS = ("x_train", "y_train", "x_test", "y_test")


@dataclass(frozen=True)
class Scaling:
    """How a pixel becomes a number for the network: brightness b = (pixel - low) / (high - low), then (b - mean) / std.

    `source` is the resolution of the images before they were enlarged. `background` is "dark" or "light" where nearly
    all images have such a background, and None for photographs. `predict` brings other pictures to the same form.
    """

    low: float
    high: float
    mean: float
    std: float
    source: tuple[int, int] | None
    background: str | None


@dataclass(frozen=True)
class Dataset:
    """Images (N, H, W, C), scaled and in float32, and labels, which are indices into `class_names`."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    scaling: Scaling
    name: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (H, W, C) of one image."""
        return self.x_train.shape[1:]

    @cached_property
    def fingerprint(self) -> str:
        """A digest of every pixel and label, by which a resumed run checks that it sees the same data."""
        digest = hashlib.sha256()
        for key in KEYS:
            array = np.ascontiguousarray(getattr(self, key))
            digest.update(f"{key} {array.dtype} {array.shape}".encode())
            digest.update(array.data)
        return digest.hexdigest()

    @cached_property
    def typical(self) -> Typical:
        """The typical look of the training images, by which `convgpu predict` recognises pictures of another kind."""
        from .likeness import typical

        return typical(self.x_train, self.y_train)


def digits(seed: int = 0, size: int = 32) -> Dataset:
    """The 1,797 handwritten digits that come with scikit-learn: 80 % to learn from and 20 % to test with.

    Each digit is an 8x8 image with values from 0 to 16, light on dark, enlarged to size x size by bilinear
    interpolation. The seed decides which fifth is kept for testing.
    """
    bunch = require("sklearn.datasets", "the digits").load_digits()
    order = np.random.default_rng(seed).permutation(len(bunch.target))
    count = len(order) * 4 // 5
    train, test = order[:count], order[count:]
    brightness = resample(bunch.images.astype(np.float32) / 16, (size, size))[..., None]
    names = tuple(map(str, bunch.target_names))
    return _standardised(brightness[train], bunch.target[train], brightness[test], bunch.target[test], names,
                         0.0, 16.0, (8, 8), "scikit-learn's digits")


def from_file(path: str | Path) -> Dataset:
    """The images of an .npz file with x_train, y_train, x_test, y_test, and optionally class_names.

    Images are (N, H, W) or (N, H, W, C), integers or floats. Labels are integers, (N,) or (N, 1). uint8 pixels run from
    0 to 255, all others from the least to the greatest value of x_train. Nothing in the file is unpickled.
    """
    arrays = _read(Path(path))
    x_train, y_train = _images(arrays, "x_train"), _labels(arrays, "y_train")
    x_test, y_test = _images(arrays, "x_test"), _labels(arrays, "y_test")
    for x, y, part in ((x_train, y_train, "train"), (x_test, y_test, "test")):
        if len(x) != len(y):
            raise ValueError(f"{path}: expected a label per image, got {len(x)} in x_{part} and {len(y)} in y_{part}")
    if x_test.shape[1:] != x_train.shape[1:]:
        raise ValueError(f"{path}: expected images of one size, got {x_train.shape[1:]} in x_train and "
                         f"{x_test.shape[1:]} in x_test (height, width, channels)")
    classes, names = _classes(path, y_train, y_test, arrays.get("class_names"))
    y_train, y_test = np.searchsorted(classes, y_train), np.searchsorted(classes, y_test)
    low, high = (0.0, 255.0) if x_train.dtype == np.uint8 else (float(x_train.min()), float(x_train.max()))
    span = np.float32(high - low or 1.0)
    x_train, x_test = ((x.astype(np.float32) - np.float32(low)) / span for x in (x_train, x_test))
    return _standardised(x_train, y_train, x_test, y_test, names, low, high, None, Path(path).name)


def resample(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Images (N, H, W) at another size: enlarged bilinearly, or reduced by averaging what each new pixel covers.

    >>> resample(np.array([[[0.0, 1.0]]]), (1, 4))
    array([[[0.  , 0.25, 0.75, 1.  ]]])
    """
    rows, columns = (_resampling(n, m).astype(images.dtype) for n, m in zip(images.shape[1:], size))
    return rows @ images @ columns.T


def _resampling(n: int, size: int) -> np.ndarray:
    """The (size, n) matrix that resamples one axis."""
    matrix = np.zeros((size, n))
    if size >= n:
        centre = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
        left = np.floor(centre).astype(int)
        np.add.at(matrix, (np.arange(size), left), 1 - (centre - left))
        np.add.at(matrix, (np.arange(size), np.minimum(left + 1, n - 1)), centre - left)
    else:
        edges, pixel = np.arange(size + 1)[:, None] * n / size, np.arange(n)
        overlap = np.minimum(edges[1:], pixel + 1) - np.maximum(edges[:-1], pixel)
        matrix[:] = np.maximum(overlap, 0) * size / n
    return matrix


def border(images: np.ndarray) -> np.ndarray:
    """The pixels along the edges of images (N, H, W, ...), as (N, pixels, ...)."""
    top, bottom, left, right = images[:, 0], images[:, -1], images[:, 1:-1, 0], images[:, 1:-1, -1]
    return np.concatenate([top, bottom, left, right], axis=1)


def _standardised(x_train: np.ndarray, y_train: np.ndarray, x_test: np.ndarray, y_test: np.ndarray,
                  names: tuple[str, ...], low: float, high: float, source: tuple[int, int] | None,
                  name: str) -> Dataset:
    mean, std = float(x_train.mean(dtype=np.float64)), float(x_train.std(dtype=np.float64)) or 1.0
    surround = float(np.median(border(x_train)))
    background = "dark" if surround <= 0.1 else "light" if surround >= 0.9 else None
    x_train, x_test = ((x - np.float32(mean)) / np.float32(std) for x in (x_train, x_test))
    scaling = Scaling(low, high, mean, std, source, background)
    return Dataset(x_train, y_train.astype(np.int64), x_test, y_test.astype(np.int64), names, scaling, name)


def _read(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as opened:  # an OSError already names the file
        start = opened.read(8)
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: expected an .npz file with several arrays, got {_kind_of(start)}")
    try:
        with np.load(path, allow_pickle=False) as file:
            if not set(KEYS) <= set(file):
                raise ValueError(f"expected {', '.join(KEYS)}, got {', '.join(file) or 'nothing'}")
            return {key: _array(file, key) for key in (*KEYS, "class_names") if key in file}
    except OSError:
        raise
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise ValueError(f"{path}: {error}") from error


def _kind_of(start: bytes) -> str:
    """The kind of file that begins with these bytes, for an error message."""
    kinds = {b"\x93NUMPY": "a single array (.npy)", b"\xff\xd8\xff": "a JPEG picture", b"\x89PNG": "a PNG picture",
             b"\x89HDF": "an HDF5 file", b"\x1f\x8b": "a gzip file", b"PK": "a damaged zip archive",
             b"\x80": "a pickle, which is never read"}
    if not start:
        return "an empty file"
    return next((kind for magic, kind in kinds.items() if start.startswith(magic)), "something else")


def _array(file: Any, key: str) -> np.ndarray:
    _check_size(file, key)
    try:
        return file[key]
    except ValueError as error:
        if "allow_pickle" in str(error):  # NumPy's message advises to unpickle, which may run a stranger's code
            raise ValueError(f"{key}: expected an array of numbers, or class_names of strings, got Python objects, "
                             "which are never unpickled") from None
        raise


def _check_size(file: Any, key: str) -> None:
    """Raise ValueError, before allocating, if an array claims to be larger than its member of the archive."""
    member = file.zip.getinfo(f"{key}.npy" if f"{key}.npy" in file.zip.namelist() else key)
    with file.zip.open(member) as opened:
        version = np.lib.format.read_magic(opened)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(opened)
    if math.prod(shape) * dtype.itemsize > member.file_size:
        raise ValueError(f"{key}: expected at most the {member.file_size} bytes that the file has of it, got {dtype} "
                         f"of shape {shape}")


def _images(arrays: dict[str, np.ndarray], key: str) -> np.ndarray:
    x = arrays[key]
    if x.dtype.kind not in "buif":
        raise ValueError(f"{key}: expected integers or floats, got {x.dtype}")
    if x.ndim not in (3, 4) or 0 in x.shape:
        raise ValueError(f"{key}: expected images (N, H, W) or (N, H, W, C), at least one, got shape {x.shape}")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise ValueError(f"{key}: expected finite pixels, got NaN or infinity")
    if x.ndim == 4 and x.shape[1] <= 4 < SMALLEST <= min(x.shape[2:]):
        raise ValueError(f"{key}: expected images (N, H, W, C), got shape {x.shape}, which looks like (N, C, H, W): "
                         f"turn it round by {key}.transpose(0, 2, 3, 1)")
    return x if x.ndim == 4 else x[..., None]


def _labels(arrays: dict[str, np.ndarray], key: str) -> np.ndarray:
    y = arrays[key]
    if y.dtype.kind not in "ui":
        raise ValueError(f"{key}: expected integer labels, got {y.dtype}")
    if y.ndim != 1 and (y.ndim != 2 or y.shape[1] != 1):
        raise ValueError(f"{key}: expected one label per image, (N,) or (N, 1), got shape {y.shape}")
    return y.reshape(-1)


def _classes(path: Any, y_train: np.ndarray, y_test: np.ndarray,
             names: np.ndarray | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """The labels that occur, sorted, and their names."""
    if names is not None:
        if names.ndim != 1 or names.dtype.kind != "U":
            raise ValueError(f"{path}: expected class_names to be a list of strings, got {names.dtype} {names.shape}")
        classes = np.arange(len(names))
    else:
        classes = np.unique(y_train)
        names = classes
    for key, y in (("y_train", y_train), ("y_test", y_test)):
        unknown = np.setdiff1d(y, classes)
        if unknown.size:
            known = "class_names" if classes is not names else "y_train"
            raise ValueError(f"{path}: expected labels that {known} has, got {unknown[:5].tolist()} in {key}")
    if len(classes) < 2:
        raise ValueError(f"{path}: expected at least two classes, got {len(classes)}")
    return classes, tuple(printable(str(name)) for name in names)
