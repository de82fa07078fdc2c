"""`convgpu predict`: pictures from files, brought to what a network was trained on, and read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import convgpu as cg

from .. import info
from ..extras import require
from . import storage
from .data import Scaling, border, resample
from .lenet5 import Params, initial, predict

LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as everyone turns colour to grey


class Model(NamedTuple):
    """What a weights file holds."""

    params: Params
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    scaling: Scaling


def predict_files(weights: str, images: Sequence[str], device: str | None = None) -> int:
    """Print the class and its probability for each picture; returns the exit status: 1 if one could not be read."""
    model, chosen = load_model(Path(weights)), info.choose_device(device)[0]
    params = cg.tree.map(lambda p: p.to(chosen), model.params)
    failures = 0
    for path in images:
        try:
            x, remark = prepare(read_picture(path), model, path)
        except (OSError, ValueError) as error:
            failures += 1
            print(f"convgpu predict: {error}", file=sys.stderr)
            continue
        probabilities = predict(params, x[None], chosen)[0]
        best = int(probabilities.argmax())
        print(f"{path}: {model.class_names[best]} ({probabilities[best]:.1%}){remark}")
    return 1 if failures else 0


def load_model(path: Path) -> Model:
    """The network of a weights file, every array checked against the architecture."""
    arrays, metadata = storage.load(path)
    if metadata.get("architecture") != "lenet5":
        raise ValueError(f"{path}: expected the weights of architecture 'lenet5', got {metadata.get('architecture')!r}")
    try:
        shape, names = tuple(metadata["input_size"]), tuple(metadata["class_names"])
        stored = metadata["scaling"]
        scaling = Scaling(**stored | {"source": stored["source"] and tuple(stored["source"])})
        template = initial(shape, len(names))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: the metadata of the weights is incomplete or damaged ({error})") from error
    filled = storage.fill(template, arrays, path)
    unknown = sorted(arrays.keys() - dict(storage.flatten(template)).keys())
    if unknown:
        raise ValueError(f"{path}: expected the arrays of lenet5 alone, got {', '.join(unknown)} as well")
    return Model(cg.tree.map(cg.tensor, filled), shape, names, scaling)


def read_picture(path: str | Path) -> np.ndarray:
    """A picture file as brightness in [0, 1], (H, W, 1) if it is grey, else (H, W, 3); transparent parts are white."""
    image_module = require("PIL.Image", "reading pictures")
    try:
        with image_module.open(path) as file:
            picture = require("PIL.ImageOps", "reading pictures").exif_transpose(file)
            if picture.mode.startswith(("I", "F")):  # 16-bit grey, which Pillow would clip at 255
                deep = np.asarray(picture, np.float32)
                return (deep / (65535.0 if picture.mode != "F" else max(float(deep.max()), 1.0))).clip(0, 1)[..., None]
            grey = picture.mode in ("1", "L", "LA")
            rgba = np.asarray(picture.convert("RGBA"), np.float32) / 255
    except OSError as error:
        raise OSError(f"{path}: {error.strerror or 'not a picture that can be read, or a damaged one'}") from error
    except (SyntaxError, ValueError, EOFError, image_module.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a picture that can be read ({error})") from error
    colour = rgba[..., :3] * rgba[..., 3:] + (1 - rgba[..., 3:])
    return colour[..., :1] if grey else colour


def prepare(picture: np.ndarray, model: Model, name: str = "picture") -> tuple[np.ndarray, str]:
    """A picture as the network wants it, (H, W, C), and a remark on what had to be done to it.

    Grey or colour as in training, and the same size. Where the training images were light on dark, a picture that is
    dark on light is inverted (and the other way round). For the digits, the ink is first cut out, centred in a square
    and reduced to 8x8, as those were made; a picture that is 8x8 or 32x32 already is taken as it is.
    """
    height, width, channels = model.shape
    if channels not in (1, 3):
        raise ValueError(f"{name}: the network takes images of {channels} channels, which no picture file has")
    if picture.shape[2] == 3 and channels == 1:
        picture = (picture @ LUMINANCE)[..., None]
    x = np.repeat(picture, channels, axis=2) if picture.shape[2] < channels else picture
    remark = ""
    if model.scaling.background is not None:
        light = float(np.median(border(x[None]))) > 0.5
        if light != (model.scaling.background == "light"):
            x, remark = 1 - x, f"; inverted: the network knows figures on a {model.scaling.background} background"
    planes = np.moveaxis(x, 2, 0)
    if model.scaling.source is not None and planes.shape[1:] not in (model.scaling.source, (height, width)):
        planes = resample(_cut_out(planes, name), model.scaling.source)
    planes = resample(planes, (height, width))
    x = (np.moveaxis(planes, 0, 2) - np.float32(model.scaling.mean)) / np.float32(model.scaling.std)
    return np.ascontiguousarray(x), remark


def _cut_out(planes: np.ndarray, name: str) -> np.ndarray:
    """The light figure (C, H, W), stretched to the full range, in a dark square around it."""
    low, high = float(np.median(border(planes))), float(planes.max())
    if high - low < 0.05:
        raise ValueError(f"{name}: expected a figure on a background, got a picture of one brightness")
    planes = ((planes - low) / (high - low)).clip(0, 1)
    ink = planes.max(axis=0) > 0.5
    (top, bottom), (left, right) = ((np.flatnonzero(ink.any(axis=axis))[[0, -1]]) for axis in (1, 0))
    figure = planes[:, top:bottom + 1, left:right + 1]
    side = max(figure.shape[1:])
    margins: Any = [(0, 0)] + [((side - n) // 2, side - n - (side - n) // 2) for n in figure.shape[1:]]
    return np.pad(figure, margins)
