"""The recipe for CIFAR-10, on a few small pictures that are no photographs: its parts, and that it learns."""

import pickle

import numpy as np
import pytest

import convgpu as cg
from convgpu.examples import cifar10
from convgpu.examples.cifar10 import Data, Recipe

SMALL = Recipe(epochs=3, batch=64, widths=(8, 16, 16), rate=4.0)


def pictures(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A bright square on noise, whose place is its label."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, n)
    x = rng.integers(0, 80, (n, 32, 32, 3), dtype=np.uint8)
    for i, label in enumerate(y):
        row, column = 18 * (label // 2) + 2, 11  # mirrored pictures have the same label
        x[i, row:row + 10, column:column + 10, label % 2] = 250
    return x, y


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Data:
    path = tmp_path_factory.mktemp("cifar") / "few.npz"
    (x, y), (test_x, test_y) = pictures(640, 0), pictures(100, 1)
    np.savez(path, x_train=x, y_train=y[:, None], x_test=test_x, y_test=test_y)
    return cifar10.load(path)


def test_the_folder_of_the_authors_and_an_npz_give_the_same(data, tmp_path):
    x, y = pictures(640, 0)
    rows = x.transpose(0, 3, 1, 2).reshape(640, 3072)
    for i in range(5):
        part = slice(128 * i, 128 * (i + 1))
        (tmp_path / f"data_batch_{i + 1}").write_bytes(pickle.dumps({b"data": rows[part], b"labels": y[part].tolist()}))
    test_x, test_y = pictures(100, 1)
    (tmp_path / "test_batch").write_bytes(pickle.dumps(
        {b"data": test_x.transpose(0, 3, 1, 2).reshape(100, 3072), b"labels": test_y.tolist()}))
    for got, expected in zip(cifar10.load(tmp_path), data):
        np.testing.assert_array_equal(got, expected)
    with pytest.raises(ValueError, match="cifar10: expected a folder with data_batch_1"):
        cifar10.load(tmp_path / "test_batch")
    np.savez(tmp_path / "wrong.npz", x_train=x[:, :8], y_train=y, x_test=test_x, y_test=test_y)
    with pytest.raises(ValueError, match=r"expected pictures \(N, 32, 32, 3\) of uint8, got uint8 \(640, 8, 32, 3\)"):
        cifar10.load(tmp_path / "wrong.npz")


def test_the_first_layer_whitens(data):
    y = cg.conv(data.x, cifar10.whitening(data.x, epsilon=0.0)[..., :12]).numpy().reshape(-1, 12).astype(np.float64)
    np.testing.assert_allclose(y.T @ y / len(y), np.eye(12), atol=1e-3)


def test_epochs_mirror_in_turns_and_shift(data):
    one = data._replace(x=data.x[:64], y=np.arange(64))
    epochs = cifar10.epochs_of(one, SMALL._replace(shift=0), np.random.default_rng(0))
    (x, y), = next(epochs)
    (z, w), = next(epochs)
    first, second = x[np.argsort(y)], z[np.argsort(w)]
    np.testing.assert_array_equal(first[:, :, ::-1], second)
    assert 0.2 < (first == one.x).all(axis=(1, 2, 3)).mean() < 0.8
    (x, y), = next(cifar10.epochs_of(one, SMALL, np.random.default_rng(0)))
    assert x.shape == (64, 32, 32, 3) and not (x[np.argsort(y)] == one.x).all(axis=(1, 2, 3)).all()


def test_the_rate_is_a_triangle():
    shape = cifar10.triangle(100)
    np.testing.assert_allclose([shape(s) for s in (0, 23, 100)], [0.2, 1, 0.07])


def test_the_network_without_training_passes_channels_on(data):
    weights, biases, fixed = cifar10.initial(data.x, Recipe(), 0)
    assert weights["conv00"].shape == (3, 3, 24, 64) and weights["conv20"].shape == (3, 3, 256, 256)
    np.testing.assert_array_equal(weights["conv00"].numpy()[1, 1, :, :24], np.eye(24))
    y, stats = cifar10.logits(weights, biases, fixed, cg.tensor(data.x[:4]), Recipe(), True)
    assert y.shape == (4, 10) and set(stats) == {f"conv{g}{p}" for g in range(3) for p in range(2)}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_learns_where_the_square_is(data, dtype):
    losses = []
    found = cifar10.train(data, SMALL, dtype=dtype, log=lambda epoch, seconds, loss: losses.append(loss))
    assert losses[-1] < losses[0] and found > 0.9
