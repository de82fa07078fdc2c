"""Files as Keras downloads them, small or of random weights, put where Keras would look: under KERAS_HOME."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
from pathlib import Path

import h5py
import numpy as np
from sklearn.datasets import load_digits

from convgpu.examples import data

VGG16_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def digits(size: int) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits, enlarged: uint8 images (N, size, size) and labels (N,)."""
    bundled = load_digits()
    return (data.resample(bundled.images, (size, size)) * (255 / 16)).astype(np.uint8), bundled.target.astype(np.uint8)


def mnist(home: Path) -> None:
    x, y = digits(28)
    (home / "datasets").mkdir(parents=True)
    np.savez(home / "datasets" / "mnist.npz", x_train=x[:1400], y_train=y[:1400], x_test=x[1400:], y_test=y[1400:])


def fashion_mnist(home: Path) -> None:
    """The IDX format: a magic number, the sizes, the bytes; gzipped."""
    x, y = digits(28)
    folder = home / "datasets" / "fashion-mnist"
    folder.mkdir(parents=True)
    for name, part in (("train", slice(1400)), ("t10k", slice(1400, None))):
        sizes = np.array([0x803, *x[part].shape], ">i4").tobytes()
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(sizes + x[part].tobytes()))
        sizes = np.array([0x801, len(y[part])], ">i4").tobytes()
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(sizes + y[part].tobytes()))


def cifar10(home: Path) -> None:
    """A tar file of six pickled batches of 10,000 images, (N, 3 * 32 * 32); here the same 1,797 again and again."""
    x, y = digits(32)
    tint = np.random.default_rng(0).uniform(0.7, 1, (len(x), 3, 1, 1))
    rows = np.resize((x[:, None] * tint).astype(np.uint8), (10_000, 3 * 32 * 32))
    batch = pickle.dumps({b"data": rows, b"labels": np.resize(y, 10_000).tolist()}, protocol=3)
    (home / "datasets").mkdir(parents=True)
    with tarfile.open(home / "datasets" / "cifar-10-batches-py-target_archive", "w:gz", compresslevel=1) as archive:
        for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.size = len(batch)
            archive.addfile(entry, io.BytesIO(batch))


def vgg16_weights(home: Path, top: bool) -> Path:
    """Random weights under the names of the file that Keras downloads, in its HDF5 format, older than Keras 3."""
    rng = np.random.default_rng(0)
    layers: dict[str, tuple[int, ...]] = {}
    channels = 3
    for b, block in enumerate(VGG16_BLOCKS, start=1):
        for c, filters in enumerate(block, start=1):
            layers[f"block{b}_conv{c}"] = (3, 3, channels, filters)
            channels = filters
    if top:
        layers |= {"fc1": (7 * 7 * 512, 4096), "fc2": (4096, 4096), "predictions": (4096, 1000)}
    (home / "models").mkdir(parents=True, exist_ok=True)
    path = home / "models" / f"vgg16_weights_tf_dim_ordering_tf_kernels{'' if top else '_notop'}.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for name, shape in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}_W_1:0".encode(), f"{name}_b_1:0".encode()]
            w = rng.standard_normal(shape, np.float32)  # scaled to keep the variance through relu
            w *= np.float32(np.sqrt(2 / np.prod(shape[:-1])))
            group.create_dataset(f"{name}_W_1:0", data=w)
            group.create_dataset(f"{name}_b_1:0", data=rng.standard_normal(shape[-1:], np.float32))
    return path


def imagenet_classes(home: Path) -> None:
    (home / "models").mkdir(parents=True, exist_ok=True)
    classes = {str(i): [f"n{i:08d}", f"class_{i}"] for i in range(1000)}
    (home / "models" / "imagenet_class_index.json").write_text(json.dumps(classes))
