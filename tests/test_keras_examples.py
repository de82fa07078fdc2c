"""Every script of docs/examples runs, in a process of its own, and prints what its page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from optional import require

require("keras", "h5py", "sklearn", "PIL")
import h5py  # noqa: E402 - where they are
import keras_cache  # noqa: E402
from PIL import Image  # noqa: E402

SCRIPTS = Path(__file__).parent.parent / "docs" / "examples"
# Runs a script as `python script.py` does, but where Keras would download it stops, and what lies in its cache counts
# as the true file, whatever its hash.
OFFLINE = """
import runpy, sys
import convgpu.keras
from keras.src.utils import file_utils

def refuse(origin, *_):
    raise RuntimeError(f"a test tried to download {origin}")

file_utils.urlretrieve = refuse
file_utils.validate_file = lambda *_, **__: True
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(folder: Path, *command: str, home: Path | None = None) -> str:
    """What `python command` prints, run in `folder`."""
    environment = os.environ | {"KERAS_HOME": str(home or folder / "keras"), "MPLBACKEND": "agg", "COLUMNS": "100"}
    environment.pop("KERAS_BACKEND", None)
    done = subprocess.run([sys.executable, *command], cwd=folder, env=environment,
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "Warning" not in done.stderr
    return done.stdout


def run_script(folder: Path, name: str, *arguments: str, home: Path | None = None) -> str:
    return run(folder, "-c", OFFLINE, str(SCRIPTS / f"{name}.py"), *arguments, home=home)


def number(pattern: str, text: str) -> float:
    """The number that follows the only match of a pattern."""
    (found,) = re.findall(pattern + r":? *(-?[\d.,]+(?:e-?\d+)?)", text)
    return float(found.rstrip(".,").replace(",", ""))


def picture(path: Path) -> None:
    """A picture was written that shows something."""
    with Image.open(path) as image:
        assert min(image.size) > 50 and np.ptp(np.asarray(image.convert("L"))) > 100
    assert path.stat().st_size < 100_000


def test_every_script_has_a_test() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert [path.stem for path in SCRIPTS.glob("*.py") if f'"{path.stem}' not in source] == []


@pytest.mark.parametrize("data", [(), ("mnist",)], ids=["digits", "mnist"])
@pytest.mark.parametrize("name", ["mnist_dense", "mnist_cnn"])
def test_first_networks(name: str, data: tuple[str, ...], tmp_path: Path) -> None:
    keras_cache.mnist(tmp_path / "keras")
    printed = run_script(tmp_path, name, *data)
    side = 28 if data else 8
    if name == "mnist_dense":
        parameters = (side * side + 1) * 128 + 129 * 10
        assert "backend: convgpu" in printed
    else:
        parameters = 10 * 16 + (16 * 9 + 1) * 32 + ((side // 4) ** 2 * 32 + 1) * 10
        assert "the model read back from digits.keras predicts the same: True" in printed
        picture(tmp_path / "training-curves.png")
    assert number("Total params", printed) == parameters
    assert number("test accuracy", printed) > (0.85 if data else 0.9)  # of 397 here, and machines round differently


def test_strided_cnn(tmp_path: Path) -> None:
    printed = run_script(tmp_path, "strided_cnn")
    assert "after conv1: (None, 4, 4, 16) after conv2: (None, 2, 2, 32)" in printed
    assert number("test accuracy", printed) > 0.93


def test_sobel_equals_scipy(tmp_path: Path) -> None:
    printed = run_script(tmp_path, "sobel")
    assert "from (512, 512) to (510, 510, 2)" in printed
    for axis in "xy":  # sums of integers, exact in float32
        assert number(f"Sobel {axis}: largest difference from SciPy", printed) == 0
    picture(tmp_path / "sobel.png")


def test_colour_filters_equal_scipy(tmp_path: Path) -> None:
    printed = run_script(tmp_path, "colour_filters")
    assert "from (368, 487, 3) to (360, 479, 4)" in printed and number("weights", printed) == 976
    for name in ("red", "green", "blue", "purple"):
        assert number(f"{name}: largest difference from SciPy", printed) < 1e-5
    picture(tmp_path / "colour-filters.png")


def test_parameter_counts(tmp_path: Path) -> None:
    printed = run_script(tmp_path, "parameter_counts")
    for layer, count in {"10 filters of 3x3x3": 280, "6 filters of 5x5x3": 456, "2 filters of 3x3x1": 20,
                         "4 filters of 9x9x3": 976}.items():
        assert number(f"{layer} and a bias each", printed) == count
    for layer in ("156", "2,416", "48,120", "10,164", "850"):  # of LeNet-5
        assert re.search(rf"\(None, [\d, ]+\) *│ *{layer} │", printed)
    assert number("Total params", printed) == 61_706
    for network, count in {"AlexNet, padded": 62_378_344, "AlexNet, two groups": 60_965_224,
                           "AlexNet, unpadded": 28_823_912, "ZFNet": 62_357_608, "GoogLeNet": 6_998_552,
                           "VGG-16": 138_357_544, "VGG-19": 143_667_240, "ResNet-50": 25_636_712,
                           "InceptionV3": 23_851_784, "InceptionResNetV2": 55_873_736, "Xception": 22_910_480,
                           "MobileNet": 4_253_864, "EfficientNet-B0": 5_330_571}.items():
        assert number(network, printed) == count


def test_intermediate_outputs(tmp_path: Path) -> None:
    printed = run_script(tmp_path, "intermediate_outputs")
    for name, shape in {"conv1": (1, 16, 16, 8), "pool1": (1, 8, 8, 8), "conv2": (1, 8, 8, 8),
                        "features": (1, 8)}.items():
        assert f"{name}: {shape}" in printed
    assert "largest of each 2x2 pixels of conv1: True" in printed
    picture(tmp_path / "feature-maps.png")
    picture(tmp_path / "filters.png")


def test_flatten_grows_with_the_image_and_pooling_does_not(tmp_path: Path) -> None:
    printed = run_script(tmp_path, "flatten_or_pool")
    for size, features in ((32, 400), (52, 1600)):
        assert number(rf"{size}x{size} flatten", printed) == features
        for pool in ("average", "max"):
            assert number(rf"{size}x{size} global_{pool}_pooling2d", printed) == 16
        assert f"one network, {size}x{size}: (1, 10)" in printed
    assert "windows of 2x3: [[8.0, 11.0], [20.0, 23.0], [32.0, 35.0]]" in printed
    assert "Flatten needs a size: " in printed


def test_depth_helps_only_with_shortcuts(tmp_path: Path) -> None:
    printed = run_script(tmp_path, "plain_or_residual")
    loss = {(kind, int(depth)): float(value)
            for kind, depth, value in re.findall(r"(\w+), (\d+) layers: training loss ([\d.]+)", printed)}
    deepest = max(depth for _, depth in loss)
    assert len(loss) == 6 and loss["plain", deepest] > 2 * loss["residual", deepest]
    assert loss["plain", deepest] > loss["plain", 4] and loss["residual", deepest] < loss["residual", 4]
    picture(tmp_path / "plain-or-residual.png")


def test_one_and_three_dimensions(tmp_path: Path) -> None:
    printed = run_script(tmp_path, "one_and_three_dimensions")
    for layer in ("Conv1D", "Conv3D"):
        assert number(rf"{layer}: from .* largest difference from SciPy", printed) < 1e-5
    assert "full convolution of [1, 2, 3, 4] with [1, 2]: [1.0, 4.0, 7.0, 10.0, 8.0]" in printed


def test_transfer_learning(tmp_path: Path) -> None:
    printed = run_script(tmp_path, "transfer_learning")
    kept = re.findall(r"layers that kept every bit: (.*)", printed)
    assert kept == ["conv1 conv2 conv3", "conv1 conv2"]
    scratch, extracted, tuned = (number(f"{way}: test accuracy", printed)
                                 for way in ("from nothing", "feature extraction", "fine-tuning"))
    assert extracted > scratch and tuned > scratch and extracted > 0.7


# --- VGG-16, with random weights in the place of the trained ones


def taps(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
    """relu of a 3x3 convolution with "same" padding, as nine products of matrices."""
    rows, columns = x.shape[:2]
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    y = np.broadcast_to(b, (rows, columns, len(b))).copy()
    for r in range(3):
        for c in range(3):
            y += padded[r:r + rows, c:c + columns] @ w[r, c]
    return np.maximum(y, 0, out=y)


def vgg16_probabilities(weights: Path, image: np.ndarray) -> np.ndarray:
    """VGG-16 written out in NumPy, of an RGB image (224, 224, 3) and the file of its weights."""
    x = image[..., ::-1] - np.float32([103.939, 116.779, 123.68])
    with h5py.File(weights) as file:
        def layer(name: str) -> tuple[np.ndarray, np.ndarray]:
            return file[name][f"{name}_W_1:0"][()], file[name][f"{name}_b_1:0"][()]

        for b, block in enumerate(keras_cache.VGG16_BLOCKS, start=1):
            for c in range(1, len(block) + 1):
                x = taps(x, *layer(f"block{b}_conv{c}"))
            x = x.reshape(x.shape[0] // 2, 2, x.shape[1] // 2, 2, -1).max(axis=(1, 3))
        x = x.ravel()
        for name in ("fc1", "fc2", "predictions"):
            w, bias = layer(name)
            x = x @ w + bias
            x = np.maximum(x, 0) if name != "predictions" else np.exp(x - x.max())
    return x / x.sum()


def test_vgg16_classifies_as_its_formula_says(tmp_path: Path) -> None:
    home = tmp_path / "keras"
    weights = keras_cache.vgg16_weights(home, top=True)
    keras_cache.imagenet_classes(home)
    rng = np.random.default_rng(1)
    Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8)).resize((300, 250)).save(tmp_path / "photo.png")
    printed = run_script(tmp_path, "vgg16_classify", "photo.png", home=home)
    assert number("parameters", printed) == 138_357_544 and "probabilities: (1, 1000)" in printed
    found = [(int(i), float(p)) for i, p in re.findall(r"n\d{8} class_(\d+) ([\d.]+)", printed)]
    image = Image.open(tmp_path / "photo.png").resize((224, 224), Image.Resampling.NEAREST)  # as load_img does
    expected = vgg16_probabilities(weights, np.asarray(image, np.float32))
    best = np.argsort(-expected)[:5]
    assert [i for i, _ in found] == best.tolist()
    np.testing.assert_allclose([p for _, p in found], expected[best], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("weights", ["random", "imagenet"])
def test_vgg16_features(weights: str, tmp_path: Path) -> None:
    if weights == "imagenet":
        keras_cache.vgg16_weights(tmp_path / "keras", top=False)
    printed = run_script(tmp_path, "vgg16_features", *([weights] if weights == "imagenet" else []))
    assert "features: (None, 512) parameters: 14714688" in printed
    # 26 arrays of VGG-16, and mean, variance and count of the normalisation; 6 of them in block 5
    assert "feature extraction: 2 arrays learned, 29 kept every bit" in printed
    assert "fine-tuning: 8 arrays learned, 23 kept every bit" in printed
    assert number("fine-tuning: .* test accuracy", printed) > 0.5


# --- data sets


@pytest.mark.parametrize(("name", "images", "labels", "to_network"), [
    ("mnist", "(1400, 28, 28) uint8", "(1400,)", "(600, 28, 28, 1)"),
    ("fashion_mnist", "(1400, 28, 28) uint8", "(1400,)", "(600, 28, 28, 1)"),
    ("cifar10", "(50000, 32, 32, 3) uint8", "(50000, 1)", "(600, 32, 32, 3)"),
])
def test_data_sets(name: str, images: str, labels: str, to_network: str, tmp_path: Path) -> None:
    getattr(keras_cache, name)(tmp_path / "keras")
    printed = run_script(tmp_path, "datasets", name, "600")
    assert f"{name}: images {images}, labels {labels}; test " in printed
    assert f"to the network: images {to_network}, labels (600,), classes 10" in printed
    assert number("test accuracy", printed) > 0.6


# --- unchanged scripts


def test_tensorflow_names(tmp_path: Path) -> None:
    printed = run(tmp_path, "-m", "convgpu.keras", "--tf-keras", str(SCRIPTS / "tensorflow_names.py"))
    assert "backend: convgpu" in printed and number("test accuracy", printed) > 0.8
