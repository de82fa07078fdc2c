"""A small residual network learns from which photograph a patch of 32x32 grey pixels was cut.

    python -m convgpu.examples.photographs

The photographs are those that the wheels of scikit-image and scikit-learn carry. Tiles of 64x64 pixels are drawn for
training or for testing, so that no pixel serves both. `bench/photographs.py` trains the same network beside PyTorch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import convgpu as cg

from ..extras import require

TILE, PATCH = 64, 32
TRAIN_STEP, TEST_STEP = 16, 32  # pixels from one patch of a tile to the next
TEST_PART = 0.25
NAMES = ("astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "hubble_deep_field",
         "immunohistochemistry", "moon", "retina", "rocket")
SAMPLES = ("china.jpg", "flower.jpg")
EPOCHS, BATCH, RATE, MOMENTUM, DECAY = 6, 128, 0.2, 0.9, 5e-4
WIDTHS = (16, 32, 64)


class Data(NamedTuple):
    """Patches (N, 32, 32, 1), of mean 0 and standard deviation 1 over the training set, and labels (N,)."""

    x: np.ndarray
    y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def photographs() -> list[np.ndarray]:
    """All photographs, grey, (H, W) in [0, 1]."""
    photos, samples = require("skimage.data", "the example"), require("sklearn.datasets", "the example")
    pictures = [getattr(photos, name)() for name in NAMES] + [samples.load_sample_image(name) for name in SAMPLES]
    return [np.asarray(p if p.ndim == 2 else p[..., :3] @ np.array([0.299, 0.587, 0.114])) / 255 for p in pictures]


def load(seed: int = 0, most_tiles: int = 80) -> Data:
    """The data; `seed` draws the tiles for testing, and `most_tiles` of a photograph at most are used."""
    rng = np.random.default_rng(seed)
    parts: dict[bool, list[tuple[np.ndarray, int]]] = {False: [], True: []}
    for label, picture in enumerate(photographs()):
        rows, columns = (n // TILE for n in picture.shape)
        tiles = rng.permutation(rows * columns)[:most_tiles]
        tests = round(len(tiles) * TEST_PART)
        for at, tile in enumerate(tiles):
            i, j = TILE * (tile // columns), TILE * (tile % columns)
            step = TEST_STEP if at < tests else TRAIN_STEP
            for a in range(i, i + TILE - PATCH + 1, step):
                for b in range(j, j + TILE - PATCH + 1, step):
                    parts[at < tests].append((picture[a:a + PATCH, b:b + PATCH], label))
    (x, y), (test_x, test_y) = (
        (np.stack([p for p, _ in parts[test]])[..., None], np.array([label for _, label in parts[test]]))
        for test in (False, True))
    mean, std = x.mean(), x.std()
    return Data(((x - mean) / std).astype(np.float32), y, ((test_x - mean) / std).astype(np.float32), test_y)


# --- the network: conv, conv, residual block, conv; every convolution is followed by batch norm and relu


def initial(seed: int, classes: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters and running statistics, drawn by NumPy, so that another library can begin with the same."""
    rng = np.random.default_rng(seed)
    a, b, c = WIDTHS
    params: dict[str, Any] = {}
    stats: dict[str, Any] = {}
    for name, inputs, outputs in (("first", 1, a), ("second", a, b), ("left", b, b), ("right", b, b), ("last", b, c)):
        weights = rng.standard_normal((3, 3, inputs, outputs)) * np.sqrt(2 / (9 * inputs))
        params[name] = {"w": cg.tensor(weights.astype(np.float32)), "scale": cg.ones(outputs), "offset":
                        cg.zeros(outputs)}
        stats[name] = {"mean": cg.zeros(outputs), "var": cg.ones(outputs)}
    params["dense"] = {"w": cg.tensor((rng.standard_normal((c, classes)) / np.sqrt(c)).astype(np.float32)),
                       "b": cg.zeros(classes)}
    return params, stats


def logits(params: dict[str, Any], stats: dict[str, Any], x: cg.Tensor, training: bool) -> tuple[cg.Tensor, Any]:
    """The scores of the classes, and the running statistics after this batch."""
    new: dict[str, Any] = {}

    def block(name: str, x: cg.Tensor) -> cg.Tensor:
        p, s = params[name], stats[name]
        y, mean, var = cg.batch_norm(cg.conv(x, p["w"], padding=1), s["mean"], s["var"], p["scale"], p["offset"],
                                     training=training)
        new[name] = {"mean": mean, "var": var}
        return y

    y = cg.max_pool(cg.relu(block("first", x)), 2)
    y = cg.max_pool(cg.relu(block("second", y)), 2)
    y = cg.relu(block("right", cg.relu(block("left", y))) + y)
    y = cg.global_avg_pool(cg.relu(block("last", y)))
    return cg.linear(y, params["dense"]["w"], params["dense"]["b"]), new


@cg.no_grad
def scores(params: dict[str, Any], stats: dict[str, Any], device: str, x: np.ndarray) -> np.ndarray:
    """The scores of a trained network."""
    return logits(params, stats, cg.tensor(x, device=device), False)[0].numpy()


def batches(data: Data, seed: int, epochs: int) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
    """For each epoch its batches: the patches in a new order, half of them mirrored."""
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order, mirrored = rng.permutation(len(data.x)), rng.random(len(data.x)) < 0.5
        x = np.where(mirrored[:, None, None, None], data.x[:, :, ::-1], data.x)
        places = [order[i:i + BATCH] for i in range(0, len(order) - BATCH + 1, BATCH)]
        yield [(x[p], data.y[p]) for p in places]


def accuracy(scores_of: Callable[[np.ndarray], np.ndarray], data: Data) -> float:
    """The share of test patches whose largest score is that of their photograph."""
    found = np.concatenate([scores_of(data.test_x[i:i + 256]).argmax(1) for i in range(0, len(data.test_x), 256)])
    return float((found == data.test_y).mean())


def schedule(steps: int) -> Any:
    """Up to the rate in the first fifth of the steps, then down to 0 along a cosine."""
    return cg.optim.cosine(RATE, steps, warmup=steps // 5)


def train(seed: int, data: Data, epochs: int = EPOCHS, log: Callable[[int, float, float], None] = lambda *_: None,
          device: str = "cpu", clock: Callable[[], float] = time.perf_counter) -> list[tuple[float, float]]:
    """Train one network; for each epoch the seconds of training so far, and the accuracy on the test patches.

    Args:
        clock: what tells the seconds.
        log: is called after each epoch with its number, the seconds and the accuracy.
    """
    params, stats = cg.tree.map(lambda t: t.to(device), initial(seed, int(data.y.max()) + 1))
    optimizer = cg.optim.SGD(schedule(len(data.x) // BATCH * epochs), momentum=MOMENTUM, weight_decay=DECAY,
                             decay_mask=lambda p: p.ndim > 1)

    def loss(params: Any, stats: Any, x: cg.Tensor, y: cg.Tensor) -> tuple[cg.Tensor, Any]:
        found, new = logits(params, stats, x, True)
        return cg.cross_entropy(found, y), new

    step = cg.value_and_grad(loss, has_aux=True)
    history, seconds = [], 0.0
    for epoch, parts in enumerate(batches(data, seed, epochs)):
        began = clock()
        for x, y in parts:
            (value, stats), grads = step(params, stats, cg.tensor(x, device=device), cg.tensor(y, device=device))
            params = optimizer.step(params, grads)
        value.item()  # waits for a GPU
        seconds += clock() - began
        right = accuracy(partial(scores, params, stats, device), data)
        history.append((seconds, right))
        log(epoch, seconds, right)
    return history


if __name__ == "__main__":
    train(0, load(), log=lambda epoch, seconds, right: print(f"epoch {epoch + 1}: {right:.2%} after {seconds:.1f} s"))
