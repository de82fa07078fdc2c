"""CIFAR-10 by the recipe of airbench94, which reaches 94% in ten epochs: python -m convgpu.examples.cifar10 DATA

DATA is the folder `cifar-10-batches-py` of the data's authors, or an .npz file with x_train, y_train, x_test, y_test,
with pictures (N, 32, 32, 3) of uint8. The recipe is that of Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU"
(2024): a first layer that whitens patches, three groups of two convolutions, alternating flips, shifts by up to two
pixels, Nesterov's momentum with a triangular rate, a larger rate for the biases of norms, and Lookahead. It needs a GPU
(`--device gpu --dtype bfloat16`) for seconds; on a CPU an epoch takes minutes.
"""

from __future__ import annotations

import argparse
import pickle
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import convgpu as cg

MEAN, STD = np.array([[0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]], np.float32)


class Recipe(NamedTuple):
    """What one may change; the defaults are airbench94's. Rate and decay are those of 1024 examples."""

    epochs: float = 9.9
    batch: int = 1024
    rate: float = 11.5
    momentum: float = 0.85
    decay: float = 0.0153
    bias_scale: float = 64.0
    smoothing: float = 0.2
    whiten_bias_epochs: float = 3
    shift: int = 2
    widths: tuple[int, int, int] = (64, 256, 256)
    norm_momentum: float = 0.6
    scale: float = 1 / 9


class Data(NamedTuple):
    """Pictures of mean 0 and deviation 1, (N, 32, 32, 3), and labels."""

    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def load(path: str | Path) -> Data:
    """Read the folder of the data's authors, or an .npz file.

    Raises:
        ValueError: the path is neither; arrays of another shape or dtype.
    """
    path = Path(path)
    if path.is_dir():
        x, y = _read([path / f"data_batch_{i}" for i in range(1, 6)])
        test_x, test_y = _read([path / "test_batch"])
    elif path.suffix == ".npz":
        with np.load(path) as found:
            x, y, test_x, test_y = (found[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    else:
        raise ValueError("cifar10: expected a folder with data_batch_1 to data_batch_5 and test_batch, or an .npz "
                         f"file, got {path}")
    for pictures in (x, test_x):
        if pictures.shape[1:] != (32, 32, 3) or pictures.dtype != np.uint8:
            raise ValueError(f"cifar10: expected pictures (N, 32, 32, 3) of uint8, got {pictures.dtype} "
                             f"{pictures.shape}")
    x, test_x = ((pictures / np.float32(255) - MEAN) / STD for pictures in (x, test_x))
    return Data(x.astype(np.float32), y.reshape(-1).astype(np.int64), test_x.astype(np.float32),
                test_y.reshape(-1).astype(np.int64))


def _read(files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    parts = []
    for file in files:
        with file.open("rb") as opened:
            parts.append(pickle.load(opened, encoding="bytes"))
    pictures = np.concatenate([part[b"data"] for part in parts]).reshape(-1, 3, 32, 32)
    return pictures.transpose(0, 2, 3, 1), np.concatenate([part[b"labels"] for part in parts])


# --- the network


def whitening(x: np.ndarray, epsilon: float = 5e-4) -> np.ndarray:
    """Filters (2, 2, 3, 24), whose results on patches of x are uncorrelated and of variance 1: +- each direction."""
    patches = np.lib.stride_tricks.sliding_window_view(x[:5000], (2, 2), axis=(1, 2))  # N, 31, 31, 3, 2, 2
    rows = patches.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 12).astype(np.float64)
    values, vectors = np.linalg.eigh(rows.T @ rows / len(rows))
    filters = (vectors / np.sqrt(values + epsilon))[:, ::-1].reshape(2, 2, 3, 12)
    return np.concatenate([filters, -filters], axis=-1).astype(np.float32)


def initial(x: np.ndarray, recipe: Recipe, seed: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Weights, biases, and what is not trained: the whitening filters and running statistics."""
    rng = np.random.default_rng(seed)
    weights: dict[str, Any] = {}
    biases: dict[str, Any] = {"whiten": cg.zeros(24)}
    fixed: dict[str, Any] = {"whiten": cg.tensor(whitening(x)), "stats": {}}
    inputs = 24
    for group, width in enumerate(recipe.widths):
        for part in range(2):
            limit = 1 / np.sqrt(9 * inputs)
            w = rng.uniform(-limit, limit, (3, 3, inputs, width))
            same = min(inputs, width)  # the first filters pass their channel on
            w[..., :same] = 0
            w[1, 1, range(same), range(same)] = 1
            name = f"conv{group}{part}"
            weights[name], biases[name] = cg.tensor(w.astype(np.float32)), cg.zeros(width)
            fixed["stats"][name] = cg.zeros(width), cg.ones(width)
            inputs = width
    limit = 1 / np.sqrt(inputs)
    weights["dense"] = cg.tensor(rng.uniform(-limit, limit, (inputs, 10)).astype(np.float32))
    return weights, biases, fixed


def logits(weights: dict[str, Any], biases: dict[str, Any], fixed: dict[str, Any], x: cg.Tensor, recipe: Recipe,
           training: bool) -> tuple[cg.Tensor, dict[str, Any]]:
    """The scores of the classes, and the running statistics after this batch."""
    y = cg.gelu(cg.conv(x, fixed["whiten"].astype(x.dtype), biases["whiten"].astype(x.dtype)))
    stats = {}
    for group in range(3):
        for part in range(2):
            name = f"conv{group}{part}"
            y = cg.conv(y, weights[name], padding=1)
            y = cg.max_pool(y, 2) if part == 0 else y
            mean, var = fixed["stats"][name]
            y, mean, var = cg.batch_norm(y, mean, var, None, biases[name], training=training,
                                         momentum=recipe.norm_momentum, epsilon=1e-12)
            stats[name] = mean, var
            y = cg.gelu(y)
    y = cg.linear(cg.global_max_pool(y), weights["dense"])  # 3x3 pixels are left
    return y * recipe.scale, stats


# --- the data's variants


def epochs_of(data: Data, recipe: Recipe, rng: np.random.Generator) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    """The batches of one epoch after the other: every second one has each picture mirrored compared to the one before.
    """
    mirrored = rng.random(len(data.x)) < 0.5
    width = recipe.shift
    padded = np.pad(data.x, ((0, 0), (width, width), (width, width), (0, 0)), mode="reflect")
    while True:
        order = rng.permutation(len(data.x))
        shifts = rng.integers(0, 2 * width + 1, (len(data.x), 2))
        parts = []
        for at in range(0, len(order) - recipe.batch + 1, recipe.batch):
            places = order[at:at + recipe.batch]
            rows, columns = (shifts[places, axis, None] + np.arange(32) for axis in (0, 1))
            x = padded[places[:, None, None], rows[:, :, None], columns[:, None, :]]
            x[mirrored[places]] = x[mirrored[places], :, ::-1]
            parts.append((x, data.y[places]))
        yield parts
        mirrored = ~mirrored


def triangle(steps: int, start: float = 0.2, end: float = 0.07, peak: float = 0.23) -> Any:
    """The factor of the rate at each step: from `start` up to 1 and down to `end`."""
    return lambda step: np.interp(step, [0, int(peak * steps), steps], [start, 1, end])


def _scaled(shape: Any, rate: float, step: Any) -> Any:
    return rate * shape(step)


# --- training


def train(data: Data, recipe: Recipe | None = None, seed: int = 0, device: str = "cpu", dtype: str = "float32",
          log: Any = lambda *_: None) -> float:
    """Train one network; returns the accuracy on the test pictures, over six views of each."""
    recipe = Recipe() if recipe is None else recipe
    rng, began = np.random.default_rng(seed), time.perf_counter()
    trees = cg.tree.map(lambda t: t.to(device), initial(data.x, recipe, seed))
    weights, biases, fixed = trees
    per_epoch = len(data.x) // recipe.batch
    steps = round(recipe.epochs * per_epoch)
    shape, scale = triangle(steps), 1024 * (1 + 1 / (1 - recipe.momentum))
    rate, decay = recipe.rate / scale, recipe.decay * recipe.batch / scale
    optimizers = [cg.optim.SGD(partial(_scaled, shape, r), recipe.momentum, True, decay / r)
                  for r in (rate, rate * recipe.bias_scale)]

    def loss(weights: Any, biases: Any, fixed: Any, x: cg.Tensor, y: cg.Tensor) -> tuple[cg.Tensor, Any]:
        found, stats = logits(weights, biases, fixed, x, recipe, True)
        return cg.cross_entropy(found, y, label_smoothing=recipe.smoothing, reduction="sum"), stats

    step = cg.value_and_grad(cg.mixed(dtype)(loss), has_aux=True, argnums=(0, 1))
    slow, at = (weights, biases), 0
    for epoch, parts in enumerate(epochs_of(data, recipe, rng)):
        for x, y in parts:
            pictures, labels = cg.tensor(x, device=device), cg.tensor(y, device=device)
            (value, stats), grads = step(weights, biases, fixed, pictures, labels)
            fixed = {**fixed, "stats": stats}
            if epoch >= recipe.whiten_bias_epochs:
                grads[1]["whiten"] = cg.zeros_like(grads[1]["whiten"])
            weights, biases = (o.step(p, g) for o, p, g in zip(optimizers, (weights, biases), grads))
            at += 1
            if at % 5 == 0 or at == steps:  # Lookahead: slow weights follow, and the fast ones go on from them
                keep = 1.0 if at == steps else 0.95**5 * (at / steps) ** 3
                slow = cg.tree.map(lambda s, p, keep=keep: s * keep + p * (1 - keep), slow, (weights, biases))
                weights, biases = slow
            if at == steps:
                break
        log(epoch, time.perf_counter() - began, value.item() / recipe.batch)
        if at == steps:
            return accuracy(weights, biases, fixed, data, recipe, device)
    raise AssertionError("the epochs have no end")


@cg.no_grad
def accuracy(weights: Any, biases: Any, fixed: Any, data: Data, recipe: Recipe, device: str) -> float:
    """The share of test pictures that are recognised: half of the score is that of the picture and its mirror image,
    half that of both shifted by a pixel to either side.
    """
    right = 0
    for at in range(0, len(data.test_x), 1000):
        x = data.test_x[at:at + 1000]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        total = np.zeros((len(x), 10))
        for share, view in ((0.5, x), (0.25, padded[:, :32, :32]), (0.25, padded[:, 2:, 2:])):
            for variant in (view, view[:, :, ::-1]):
                found = logits(weights, biases, fixed, cg.tensor(variant, device=device), recipe, False)[0].numpy()
                total = total + share * found
        right += int((np.argmax(total, 1) == data.test_y[at:at + 1000]).sum())
    return right / len(data.test_x)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    def log(epoch: int, seconds: float, loss: float) -> None:
        print(f"epoch {epoch + 1}: loss {loss:.3f} after {seconds:.1f} s", flush=True)

    print(f"{train(load(options.data), None, options.seed, options.device, options.dtype, log):.2%}")


if __name__ == "__main__":
    main()
