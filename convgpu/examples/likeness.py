"""Tests whether a picture looks like the training images, by its distance from the nearest mean image of a class.

Networks answer pictures of anything with one of their classes, and often with high confidence. Distances between pixels
are a crude measure, but one that needs no second network: docs/getting-started.md says what it finds and what it does
not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .data import resample

SIDE = 16  # the compared images have at most so many pixels to a side
SHARE = 0.995  # this share of the training images is nearer than the limit


class Typical(NamedTuple):
    """The mean image of each class with images, (classes, h, w, C), and a distance that few training images reach."""

    means: np.ndarray
    limit: float

    def is_unlike(self, x: np.ndarray) -> bool:
        """Whether an image (H, W, C), scaled as in training, is further from all means than training images are."""
        return bool(_distances(_reduced(x[None]), self.means)[0] > self.limit)


def typical(x: np.ndarray, y: np.ndarray) -> Typical:
    """The means of images (N, H, W, C) with labels y, and the limit for their distances.

    >>> x = np.float32([0, 0, 1, 1]).reshape(4, 1, 1, 1)
    >>> found = typical(x, np.array([0, 0, 1, 1]))
    >>> found.means.ravel(), found.limit, found.is_unlike(np.float32([[[5]]]))
    (array([0., 1.], dtype=float32), 0.0, True)
    """
    small = _reduced(x)
    means = np.stack([small[y == label].mean(axis=0, dtype=np.float64) for label in np.unique(y)]).astype(np.float32)
    return Typical(means, float(np.quantile(_distances(small, means), SHARE)))


def reduced_shape(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """The shape of the images that are compared."""
    height, width, channels = shape
    return min(height, SIDE), min(width, SIDE), channels


def _reduced(x: np.ndarray) -> np.ndarray:
    height, width, _ = reduced_shape(x.shape[1:])
    planes = np.moveaxis(x, 3, 1)
    small = resample(planes.reshape(-1, *planes.shape[2:]), (height, width))
    return np.moveaxis(small.reshape(*planes.shape[:2], height, width), 1, 3)


def _distances(x: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The mean squared difference from the nearest mean, for each image."""
    return np.min([np.square(x - mean).mean(axis=(1, 2, 3), dtype=np.float64) for mean in means], axis=0)
