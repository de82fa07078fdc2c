"""`convgpu filter` runs hand-made filters over a picture, as in every first lecture on convolution."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

import convgpu as cg

from ..extras import require
from ..files import UsageError, check_writable, replace
from .predict import read_picture

SOBEL_X = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32)  # positive where brightness grows to the right


def gaussian(size: int = 9, sigma: float = 2.0) -> np.ndarray:
    """A bell-shaped filter of size x size pixels whose sum is 1.

    >>> float(gaussian().sum().round(6))
    1.0
    """
    bell = np.exp(-((np.arange(size) - (size - 1) / 2) ** 2) / (2 * sigma**2))
    return (np.outer(bell, bell) / bell.sum() ** 2).astype(np.float32)


KERNELS = {
    "sobel-x": SOBEL_X,
    "sobel-y": SOBEL_X.T,  # positive where brightness grows downwards
    "gaussian": gaussian(),
    "mean": np.full((3, 3), 1 / 9, np.float32),
    "sharpen": np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], np.float32),
}


def filtered(picture: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Correlate each channel of a picture (H, W, C) with a kernel (h, w); the size stays and the border is repeated.

    >>> edge = np.float32([100, 100, 200, 200]).reshape(1, 4, 1).repeat(4, axis=0)
    >>> filtered(edge, SOBEL_X)[0, :, 0]
    array([  0., 400., 400.,   0.], dtype=float32)
    """
    (h, w), channels = kernel.shape, picture.shape[2]
    padded = np.pad(picture, (((h - 1) // 2, h // 2), ((w - 1) // 2, w // 2), (0, 0)), mode="edge")
    weights = np.repeat(kernel.astype(picture.dtype)[:, :, None, None], channels, axis=2)
    return cg.depthwise_conv(padded[None], weights)[0].numpy()


def load_kernel(name: str) -> np.ndarray:
    """One of `KERNELS`, or the matrix in a file: .npy, or text with one row per line."""
    if name in KERNELS:
        return KERNELS[name]
    path = Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"--kernel: expected one of {', '.join(KERNELS)} or a file, got {name!r}")
    try:
        if path.suffix == ".npy":
            # memory-mapped, so that a false size in the file allocates nothing
            kernel = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            kernel = np.loadtxt(path.read_text(encoding="utf-8").replace(",", " ").splitlines(), ndmin=2)
        kernel = kernel.astype(np.float32)
    except (ValueError, EOFError) as error:
        why = "no .npy file of numbers; objects are never unpickled" if "pickle" in str(error) else error
        raise ValueError(f"{path}: expected a matrix of numbers, got something else ({why})") from error
    if kernel.ndim != 2 or kernel.size == 0 or not np.isfinite(kernel).all():
        raise ValueError(f"{path}: expected a matrix of finite numbers, got {kernel.dtype} of shape {kernel.shape}")
    return kernel


def filter_file(image: str, kernel: str, out: str) -> int:
    """Filter a picture and save the result; returns the exit status.

    Kernels that sum to 0, such as edge detectors, give values of both signs: 0 becomes mid-grey, positive values
    lighter and negative ones darker, scaled so that the largest fits. Other kernels keep the brightness, clipped at
    black and white.
    """
    pillow = require("PIL.Image", "saving pictures")
    check_writable(out, "--out")
    form = pillow.registered_extensions().get(Path(out).suffix.lower())
    if form not in pillow.SAVE:
        raise UsageError(f"--out {out}: expected a file name that ends in .png, .jpg or another picture format that "
                         f"Pillow writes, got {Path(out).name!r}")
    weights = load_kernel(kernel)
    y = 255 * filtered(read_picture(image), weights)
    if abs(float(weights.sum())) < 1e-4 * float(np.abs(weights).sum()):
        noise = 1e-4 * 255 * float(np.abs(weights).sum())  # mere rounding errors must not be scaled up to a picture
        scale = 127 / max(float(np.abs(y).max()), noise)
        pixels, how = 128 + scale * y, f"0 is mid-grey, positive lighter, negative darker; scaled by {scale:.3g}"
    else:
        pixels, how = y, "cut off below 0 and above 255"
    pixels = np.rint(pixels.clip(0, 255)).astype(np.uint8)
    pixels = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    picture = io.BytesIO()
    pillow.fromarray(pixels).save(picture, format=form)
    replace(out, picture.getvalue())
    meaning = {"sobel-x": ", positive where brightness grows to the right",
               "sobel-y": ", positive where brightness grows downwards"}.get(kernel, "")
    size = "x".join(map(str, weights.shape))
    print(f"{out}: {kernel} {size}{meaning}; values {y.min():z.1f} to {y.max():z.1f}; {how}")
    return 0
