"""`convgpu predict` reads pictures from files, brings them to the form of the training images, and classifies them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import convgpu as cg

from .. import info
from ..architectures.lenet5 import Params, shapes
from ..extras import require
from ..files import printable
from ..storage import describe, read
from . import storage
from .data import Scaling, border, resample
from .lenet5 import predict
from .likeness import Typical, reduced_shape

LARGEST_SOURCE = 4096  # pixels to a side that a picture may be resized to on its way; no honest file needs more
LARGEST_NUMBER = 3e38  # just below the largest float32
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # the weights of red, green and blue by ITU-R BT.601


UNLIKE = "unlike the training images"


class Model(NamedTuple):
    """The content of a weights file. typical: None in files that do not say what the training images look like."""

    params: Params
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    scaling: Scaling
    typical: Typical | None = None


def predict_files(weights: str, images: Sequence[str], device: str | None = None) -> int:
    """Print the class, its probability and the runner-up for each picture, and whether it looks unlike the training
    images; returns the exit status, which is 1 if a picture could not be read.
    """
    model, chosen = load_model(Path(weights)), info.choose_device(device)[0]
    if model.typical is None:
        print(f"convgpu predict: {printable(weights)} does not say what its training images looked like, so whatever "
              "is in a picture, it gets a class", file=sys.stderr)
    params = cg.tree.map(lambda p: p.to(chosen), model.params)
    failures = 0
    for path in images:
        try:
            x, remark = prepare(read_picture(path), model, path)
        except (OSError, ValueError) as error:
            failures += 1
            print(f"convgpu predict: {printable(str(error))}", file=sys.stderr)
            continue
        probabilities = predict(params, x[None], chosen)[0]
        best, second = np.argsort(-probabilities, kind="stable")[:2]
        unlike = f"; {UNLIKE}" if model.typical is not None and model.typical.is_unlike(x) else ""
        print(f"{printable(path)}: {model.class_names[best]} ({probabilities[best]:.1%}), "
              f"then {model.class_names[second]} ({probabilities[second]:.1%}){remark}{unlike}")
    return 1 if failures else 0


def load_model(path: Path) -> Model:
    """The network of a weights file. A stranger may have made the file: everything is checked before an array is read.
    """
    specs, metadata = describe(path)
    if metadata.get("architecture") != "lenet5":
        raise ValueError(f"{path}: expected the weights of architecture 'lenet5', got {metadata.get('architecture')!r}")
    try:
        shape, names, scaling = _shape(metadata["input_size"]), _names(metadata["class_names"]), _scaling(metadata)
        template: dict[str, Any] = shapes(shape, len(names))
        if "typical_limit" in metadata:
            _number("typical_limit", metadata["typical_limit"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected a model's metadata, got incomplete or damaged ones ({error})") from error
    storage.check(template, specs, path)
    if "typical_limit" in metadata:
        told = specs["typical.means"].shape[:1] if "typical.means" in specs else ()
        classes = min(max(*told, 1, 1), len(names))  # the number of classes with images to learn from
        template["typical"] = {"means": (classes, *reduced_shape(shape))}
        storage.check(template, specs, path)
    wanted = dict(storage.flatten(template))
    unknown = sorted(specs.keys() - wanted.keys())
    if unknown:
        raise ValueError(f"{path}: expected the arrays of lenet5 alone, got {', '.join(unknown)} as well")
    arrays = read(path, wanted)
    broken = sorted(name for name, array in arrays.items() if not np.isfinite(array).all())
    if broken:
        raise ValueError(f"{path}: expected finite weights, got NaN or infinity in {', '.join(broken)}")
    filled = storage.fill(template, arrays)
    typical = filled.pop("typical", None)
    return Model(cg.tree.map(cg.tensor, filled), shape, names, scaling,
                 None if typical is None else Typical(typical["means"], metadata["typical_limit"]))


def _shape(stored: Any) -> tuple[int, int, int]:
    if not isinstance(stored, list) or len(stored) != 3 or not all(type(n) is int and n >= 1 for n in stored):
        raise ValueError(f"expected input_size of height, width and channels, got {_short(stored)}")
    return tuple(stored)  # type: ignore[return-value]


def _names(stored: Any) -> tuple[str, ...]:
    if not isinstance(stored, list) or len(stored) < 2 or not all(isinstance(name, str) for name in stored):
        raise ValueError(f"expected class_names of two strings or more, got {_short(stored)}")
    return tuple(map(printable, stored))


def _scaling(metadata: dict[str, Any]) -> Scaling:
    stored = metadata["scaling"]
    source = stored["source"]
    if source is not None and not (isinstance(source, list) and len(source) == 2
                                   and all(type(n) is int and 1 <= n <= LARGEST_SOURCE for n in source)):
        raise ValueError(f"expected a source of height and width up to {LARGEST_SOURCE}, got {_short(source)}")
    if stored["background"] not in (None, "dark", "light"):
        raise ValueError(f"expected a background of dark, light or null, got {_short(stored['background'])}")
    scaling = Scaling(**stored | {"source": source and tuple(source)})
    for name in ("low", "high", "mean", "std"):
        _number(name, stored[name])
    if scaling.std <= 0:
        raise ValueError(f"expected std > 0, got {scaling.std}")
    return scaling


def _number(name: str, value: Any) -> None:
    if type(value) not in (int, float) or not abs(value) <= LARGEST_NUMBER:
        raise ValueError(f"expected {name} to be a finite number, got {_short(value)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def read_picture(path: str | Path) -> np.ndarray:
    """A picture file as brightness in [0, 1]: (H, W, 1) if it is grey, else (H, W, 3); transparent parts are white."""
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
        raise ValueError(f"{path}: expected a picture, got a file that cannot be read as one ({error})") from error
    colour = rgba[..., :3] * rgba[..., 3:] + (1 - rgba[..., 3:])
    return colour[..., :1] if grey else colour


def prepare(picture: np.ndarray, model: Model, name: str = "picture") -> tuple[np.ndarray, str]:
    """A picture in the form that the network takes, (H, W, C), and a remark on how it was changed.

    The picture becomes grey or coloured as in training, and gets the same size. Where the training images were light on
    dark, a picture that is dark on light is inverted, and the other way round. For the digits, the ink is first cut
    out, centred in a square and reduced to 8x8, as the digits were made; a picture that already is 8x8 or 32x32 is
    taken as it is.
    """
    height, width, channels = model.shape
    if channels not in (1, 3):
        raise ValueError(f"{name}: expected a network of 1 or 3 channels, as picture files have, got {channels}")
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
    """The light figure in planes (C, H, W), stretched to the full range of brightness, in a dark square around it."""
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
