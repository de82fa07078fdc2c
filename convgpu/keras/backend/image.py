"""keras.ops.image: sampling between pixels, blurring and edges. Gradients flow to the images.

Other functions (colour spaces, the arithmetic of resizing) are borrowed from Keras's NumPy backend.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as onp
from keras.src import backend

import convgpu as cg
import convgpu.numpy as cnp
from convgpu import Tensor
from convgpu.keras.borrow import borrow

from .core import cast, convert_to_tensor
from .random import normal

borrow("image", globals())

_INTERPOLATIONS = {"nearest": 0, "bilinear": 1}
_FILL_MODES = ("constant", "nearest", "wrap", "mirror", "reflect")

# --- sampling between pixels


def _fixed(i: Tensor, n: int, mode: str) -> tuple[Any, Any]:
    """The pixel that stands for pixel i of an axis of n pixels, and whether it exists ("constant" has none outside)."""
    if mode == "constant":
        return cnp.clip(i, 0, n - 1), (i >= 0) & (i < n)
    if mode == "nearest":
        return cnp.clip(i, 0, n - 1), None
    if mode == "wrap":
        return i % n, None
    if mode == "mirror":  # reflect about the outermost pixels
        period = max(2 * (n - 1), 1)
        return (n - 1) - cnp.abs((i % period) - (n - 1)), None
    i = i % (2 * n)  # "reflect" reflects about the outer edges of the outermost pixels
    return cnp.minimum(i, 2 * n - 1 - i), None


def _sampled(images: Tensor, coordinates: list[Tensor], order: int, mode: str, fill: float,
             lead: tuple[Any, ...] = ()) -> Tensor:
    """images at coordinates along the axes after those indexed by `lead`; order 0: nearest pixel, 1: linear."""
    if mode not in _FILL_MODES:
        raise ValueError(f"Invalid value for argument `fill_mode`. Expected one of {set(_FILL_MODES)}. Received: "
                         f"fill_mode={mode}")
    sizes = images.shape[len(lead):]
    corners = []
    for c, n in zip(coordinates, sizes):
        low = cnp.floor(c + 0.5 if order == 0 else c)
        i = low.astype("int64")
        if order == 0:
            corners.append([(*_fixed(i, n, mode), None)])
        else:
            corners.append([(*_fixed(i, n, mode), 1 - (c - low)), (*_fixed(i + 1, n, mode), c - low)])
    more = (None,) * (images.ndim - len(lead) - len(coordinates))  # the axes of channels
    total: Any = None
    for corner in itertools.product(*corners):
        value = images[(*lead, *[places for places, _, _ in corner])]
        for _, inside, _ in corner:
            if inside is not None:
                value = cnp.where(inside[(..., *more)], value, fill)
        for _, _, weight in corner:
            if weight is not None:
                value = value * weight[(..., *more)].astype(value.dtype)
        total = value if total is None else total + value
    return total


def map_coordinates(inputs: Any, coordinates: Any, order: int, fill_mode: str = "constant",
                    fill_value: float = 0.0) -> Tensor:
    """inputs at the coordinates, which are one array per axis of inputs."""
    inputs, coordinates = convert_to_tensor(inputs), convert_to_tensor(coordinates)
    if coordinates.shape[0] != inputs.ndim:
        raise ValueError("First dim of `coordinates` must be the same as the rank of `inputs`. Received inputs with "
                         f"shape: {inputs.shape} and coordinate leading dim of {coordinates.shape[0]}")
    if coordinates.ndim < 2:
        raise ValueError("Invalid coordinates rank: expected at least rank 2. "
                         f"Received input with shape: {coordinates.shape}")
    if order not in (0, 1):
        raise ValueError(f"Invalid value for argument `order`. Expected one of [0, 1]. Received: order={order}")
    dtype = backend.result_type(inputs.dtype, "float32")
    places = [cast(c, dtype) for c in coordinates]
    y = _sampled(cast(inputs, dtype), places, order, fill_mode, fill_value)
    return cast(y if inputs.dtype.kind in "fV" else cnp.round(y), inputs.dtype)


def _batch(images: Any, data_format: str | None, interpolation: str) -> tuple[Tensor, Any]:
    """Images as (N, H, W, C) in float32 or wider, and a function that converts a result back to the original form."""
    if interpolation not in _INTERPOLATIONS:
        raise ValueError(f"Invalid value for argument `interpolation`. Expected of one {set(_INTERPOLATIONS)}. "
                         f"Received: interpolation={interpolation}")
    images = convert_to_tensor(images)
    if images.ndim not in (3, 4):
        raise ValueError("Invalid images rank: expected rank 3 (single image) or rank 4 (batch of images). Received "
                         f"input with shape: images.shape={images.shape}")
    first = backend.standardize_data_format(data_format) == "channels_first"
    dtype, single = images.dtype, images.ndim == 3
    x = cast(images[None] if single else images, backend.result_type(dtype, "float32"))

    def back(y: Tensor) -> Tensor:
        y = cnp.transpose(y, (0, 3, 1, 2)) if first else y
        return cast(y[0] if single else y, dtype)

    return (cnp.transpose(x, (0, 2, 3, 1)) if first else x), back


def _at(x: Tensor, rows: Tensor, columns: Tensor, interpolation: str, mode: str, fill: float) -> Tensor:
    """The pixels of each image of (N, H, W, C) at rows and columns (N, P, Q)."""
    each = onp.arange(x.shape[0])[:, None, None]
    return _sampled(x, [rows, columns], _INTERPOLATIONS[interpolation], mode, fill, (each,))


def _grid(x: Tensor) -> tuple[Tensor, Tensor]:
    """The rows and columns of all pixels, as (H, W)."""
    rows, columns = onp.mgrid[:x.shape[1], :x.shape[2]].astype(x.dtype)
    return cg.tensor(rows, device=x.device), cg.tensor(columns, device=x.device)


def affine_transform(images: Any, transform: Any, interpolation: str = "bilinear", fill_mode: str = "constant",
                     fill_value: float = 0, data_format: str | None = None) -> Tensor:
    """Pixel (x, y) of the result is the image's pixel at (a0 x + a1 y + a2, b0 x + b1 y + b2).

    Args:
        transform: a0 a1 a2 b0 b1 b2 0 0, as (8,) or (N, 8).
    """
    x, back = _batch(images, data_format, interpolation)
    transform = cast(transform, x.dtype)
    if transform.ndim not in (1, 2):
        raise ValueError("Invalid transform rank: expected rank 1 (single transform) or rank 2 (batch of transforms). "
                         f"Received input with shape: transform.shape={transform.shape}")
    t = cnp.reshape(transform, (-1, 8, 1, 1))
    rows, columns = _grid(x)
    lying = cnp.broadcast_to(t[:, 0] * columns + t[:, 1] * rows + t[:, 2], x.shape[:3])
    standing = cnp.broadcast_to(t[:, 3] * columns + t[:, 4] * rows + t[:, 5], x.shape[:3])
    return back(_at(x, standing, lying, interpolation, fill_mode, fill_value))


def perspective_transform(images: Any, start_points: Any, end_points: Any, interpolation: str = "bilinear",
                          fill_value: float = 0, data_format: str | None = None) -> Tensor:
    """The image with its four corners `start_points` ((4, 2) or (N, 4, 2)) moved to `end_points`."""
    x, back = _batch(images, data_format, interpolation)
    start, end = convert_to_tensor(start_points), convert_to_tensor(end_points)
    for name, points in (("start_points", start), ("end_points", end)):
        if points.ndim not in (2, 3) or points.shape[-2:] != (4, 2):
            raise ValueError(f"Invalid {name} shape: expected (4,2) for a single image or (N,4,2) for a batch. "
                             f"Received shape: {points.shape}")
    if start.shape != end.shape:
        raise ValueError("start_points and end_points must have the same shape. Received "
                         f"start_points.shape={start.shape}, end_points.shape={end.shape}")
    homography = globals()["compute_homography_matrix"](cnp.reshape(start, (-1, 4, 2)), cnp.reshape(end, (-1, 4, 2)))
    t = cnp.reshape(cast(homography, x.dtype), (-1, 8, 1, 1))
    rows, columns = _grid(x)
    depth = t[:, 6] * columns + t[:, 7] * rows + 1
    lying = cnp.broadcast_to((t[:, 0] * columns + t[:, 1] * rows + t[:, 2]) / depth, x.shape[:3])
    standing = cnp.broadcast_to((t[:, 3] * columns + t[:, 4] * rows + t[:, 5]) / depth, x.shape[:3])
    return back(_at(x, standing, lying, interpolation, "constant", fill_value))


def elastic_transform(images: Any, alpha: float = 20.0, sigma: float = 5.0, interpolation: str = "bilinear",
                      fill_mode: str = "reflect", fill_value: float = 0.0, seed: Any = None,
                      data_format: str | None = None) -> Tensor:
    """Move each pixel by alpha times Gaussian noise that is blurred by sigma."""
    x, back = _batch(images, data_format, interpolation)
    alpha, sigma = float(convert_to_tensor(alpha)), float(convert_to_tensor(sigma))
    noise = normal((*x.shape[:3], 2), 0.0, sigma, x.dtype.name, seed)
    noise = noise.to(x.device)
    taps = int(6 * sigma) | 1
    moved = alpha * gaussian_blur(noise, (taps, taps), (sigma, sigma), "channels_last")
    rows, columns = _grid(x)
    return back(_at(x, rows + moved[..., 1], columns + moved[..., 0], interpolation, fill_mode, fill_value))


# --- resizing


def _scale_and_translate(x: Tensor, output_shape: Any, spatial_dims: Any, scale: Any, translation: Any, kernel: Any,
                         antialias: bool) -> Tensor:
    """x resampled along axes, one after the other; each axis is multiplied by a matrix of weights."""
    x = convert_to_tensor(x)
    integers = x.dtype.kind in "iu"
    output = x.astype("float32") if integers else x
    weights_of = globals()["_compute_weight_mat"]
    for i, d in enumerate(spatial_dims):
        weights = weights_of(x.shape[d], output_shape[d], scale[i], translation[i], kernel, antialias)
        output = cnp.moveaxis(cnp.tensordot(output, weights.astype(output.dtype), ([d], [0])), -1, d)
    return cnp.clip(cnp.round(output), x.min(), x.max()).astype(x.dtype) if integers and len(spatial_dims) else output


# --- filters


def _filtered(x: Tensor, kernel: onp.ndarray) -> Tensor:
    """Each channel of (N, H, W, C) correlated with a kernel (taps, taps), with zeros around the image."""
    w = onp.repeat(kernel[:, :, None, None], x.shape[-1], axis=2).astype(x.dtype)
    return cg.depthwise_conv2d(x, cg.tensor(w, device=x.device), padding=[((n - 1) // 2, n // 2) for n in kernel.shape])


def gaussian_blur(images: Any, kernel_size: Any = (3, 3), sigma: Any = (1.0, 1.0),
                  data_format: str | None = None) -> Tensor:
    """Images averaged with the weights of a normal distribution."""
    x, back = _batch(images, data_format, "bilinear")

    def weights(size: Any, width: Any) -> onp.ndarray:
        places = onp.arange(int(size)) - (int(size) - 1) / 2
        bell = onp.exp(-0.5 * (places / float(width)) ** 2)
        return bell / bell.sum()

    sizes, widths = convert_to_tensor(kernel_size).numpy(), convert_to_tensor(sigma).numpy()
    return back(_filtered(x, onp.outer(weights(sizes[1], widths[1]), weights(sizes[0], widths[0]))))


def sobel_edges(images: Any, data_format: str | None = None) -> Tensor:
    """Differences along rows and along columns, smoothed across, on a new last axis; the image's border is repeated."""
    first = backend.standardize_data_format(data_format) == "channels_first"
    x = convert_to_tensor(images)
    x = cnp.transpose(x, (0, 2, 3, 1)) if first else x
    wide = cast(x, backend.result_type(x.dtype, "float32"))
    padded = cnp.pad(wide, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="symmetric")
    down = onp.outer([-1, 0, 1], [1, 2, 1])
    edges = cnp.stack([_filtered(padded, k)[:, 1:-1, 1:-1] for k in (down, down.T)], -1)
    return cast(cnp.transpose(edges, (0, 3, 1, 2, 4)) if first else edges, x.dtype)
