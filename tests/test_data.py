"""Batches: order, resuming, threads, errors, pictures in folders, and copies to the GPU that nobody waits for."""

from __future__ import annotations

import gc
import itertools
import threading
import time

import fake_cupy
import numpy as np
import pytest
from gpu_device import stand_in  # noqa: F401 - a fixture
from native_backends import needs_emulated

import convgpu as cg
from convgpu.data import batches, image_folder, random_crop, random_flip

X = np.arange(22, dtype=np.float32).reshape(11, 2)
Y = np.arange(11)


def ids(loader):
    return [batch[1].tolist() for batch in loader]


def names():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("convgpu.data")]


def ended(seconds=5.0):
    """Whether the threads of batches end within some seconds."""
    stop = time.monotonic() + seconds
    while names() and time.monotonic() < stop:
        time.sleep(0.01)
    return not names()


def test_batches_in_order():
    got = list(batches(X, Y, batch_size=4, epochs=2))
    assert [y.tolist() for _, y in got] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]] * 2
    for x, y in got:
        assert isinstance(x, cg.Tensor) and x.dtype == "float32" and x.tolist() == X[y.numpy()].tolist()
    assert ended()


def test_shuffled_epochs_differ_and_hold_every_example_once():
    loader = batches(X, Y, batch_size=4, shuffle=True, epochs=3, seed=5)
    assert loader.steps_per_epoch == 3
    got = ids(loader)
    epochs = [sum(got[i:i + 3], []) for i in (0, 3, 6)]
    assert all(sorted(epoch) == Y.tolist() for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert ids(batches(X, Y, batch_size=4, shuffle=True, epochs=3, seed=5)) == got
    assert ids(batches(X, Y, batch_size=4, shuffle=True, epochs=3, seed=6)) != got


def noisy(x, y, rng):
    return x + rng.standard_normal(x.shape, np.float32), y


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_and_resuming_change_no_bit(workers, tmp_path):
    options = {"batch_size": 4, "shuffle": True, "epochs": 3, "transform": noisy}
    whole = [(x.tolist(), y.tolist()) for x, y in batches(X, Y, workers=0, **options)]
    assert [(x.tolist(), y.tolist()) for x, y in batches(X, Y, workers=workers, **options)] == whole
    for taken in (0, 1, 3, 5, 9):
        first = batches(X, Y, workers=workers, **options)
        for _ in range(taken):
            next(first)
        cg.save(tmp_path / "f", first.state_dict())
        first.close()
        second = batches(X, Y, workers=workers, **options)
        second.load_state_dict(cg.load(tmp_path / "f"))
        assert [(x.tolist(), y.tolist()) for x, y in second] == whole[taken:]


def test_one_source_gives_tensors():
    assert [x.shape for x in batches(X, batch_size=6)] == [(6, 2), (5, 2)]


def test_the_last_batch_can_be_left_out():
    loader = batches(X, Y, batch_size=4, drop_last=True)
    assert loader.steps_per_epoch == 2 and [len(y) for y in ids(loader)] == [4, 4]


def test_epochs_without_end():
    assert len(list(itertools.islice(batches(X, Y, batch_size=4, epochs=None), 100))) == 100
    assert list(batches(X, batch_size=4, epochs=0)) == []
    gc.collect()
    assert ended()


def test_a_memory_map_is_read_batch_by_batch(tmp_path):
    stored = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (100, 8))
    stored[...] = np.arange(800).reshape(100, 8)
    stored.flush()
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    got = np.concatenate([batch.numpy() for batch in batches(x, batch_size=7, shuffle=True)])
    assert np.array_equal(np.sort(got, axis=0), stored)


@pytest.mark.parametrize("transform", [None, lambda x, rng: x, lambda x, rng: x[:]])
def test_tensors_share_no_memory_with_the_source(transform):
    source = np.zeros((6, 2), np.float32)
    kept = list(batches(source, batch_size=2, transform=transform))
    source += 1
    assert all(batch.sum().item() == 0 for batch in kept)


class Rows:
    """A source that answers with one of its own arrays, and in the other order of bytes."""

    def __len__(self):
        return 4

    def __getitem__(self, indices):
        return np.asarray(indices, ">i8")


def test_sources_of_ones_own():
    batch, = batches(Rows(), batch_size=4)
    assert batch.tolist() == [0, 1, 2, 3] and batch.dtype == np.dtype("int64")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_with_its_batch(workers):
    def broken(x, rng):
        if 4.0 in x:
            raise KeyError("mine")
        return x

    loader = batches(np.arange(8.0), batch_size=2, transform=broken, workers=workers)
    assert next(loader).tolist() == [0.0, 1.0] and next(loader).tolist() == [2.0, 3.0]
    with pytest.raises(KeyError, match="mine"):
        next(loader)
    assert list(loader) == [] and ended()


def test_leaving_early_ends_the_threads():
    loader = batches(X, Y, batch_size=1, epochs=None, workers=3)
    next(loader)
    assert names()
    loader.close()
    assert ended() and list(loader) == []
    loader = batches(X, Y, batch_size=1, epochs=None, workers=3)
    next(loader)
    del loader
    gc.collect()
    assert ended()


def test_workers_prepare_ahead():
    """While the consumer is busy, the next batches are made; and no more than those."""
    made = []

    def slow(x, rng):
        made.append(int(x[0]))
        return x

    loader = batches(np.arange(100.0), batch_size=1, transform=slow, workers=2)
    next(loader)
    stop = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < stop:
        time.sleep(0.01)
    time.sleep(0.05)
    assert sorted(made) == [0, 1, 2, 3]


@pytest.mark.parametrize("call, error, words", [
    (lambda: batches(batch_size=1), TypeError, "at least one source"),
    (lambda: batches(3, batch_size=1), TypeError, "with a length, got int"),
    (lambda: batches(X, Y[:5], batch_size=1), ValueError, r"one length, from 1 on, got \[11, 5\]"),
    (lambda: batches(X[:0], batch_size=1), ValueError, r"got \[0\]"),
    (lambda: batches(X, batch_size=0), ValueError, "batch_size of at least 1"),
    (lambda: batches(X, batch_size=2.0), TypeError, "batch_size to be an integer"),
    (lambda: batches(X, batch_size=2, workers=-1), ValueError, "workers of at least 0"),
    (lambda: batches(X, batch_size=2, seed=-1), ValueError, "seed of at least 0"),
    (lambda: batches(X, batch_size=2, epochs="all"), TypeError, "epochs to be an integer"),
    (lambda: batches(X, batch_size=12, drop_last=True), ValueError, "at least batch_size=12 examples"),
    (lambda: batches(X, batch_size=2, transform=3), TypeError, "transform to be a function"),
    (lambda: batches(X, batch_size=2, device="tpu"), ValueError, "'cpu' or 'gpu'"),
    (lambda: list(batches(X, batch_size=2, transform=lambda x, rng: (x, x))), ValueError, "return 1 arrays, got 2"),
    (lambda: batches(X, batch_size=2).load_state_dict({"epoch": 0, "batch": 6}), ValueError, "got epoch 0, batch 6"),
    (lambda: batches(X, batch_size=2).load_state_dict({"epoch": 2, "batch": 0}), ValueError, "got epoch 2"),
])
def test_wrong_calls(call, error, words):
    with pytest.raises(error, match=words):
        call()


# --- pictures


@pytest.fixture
def pictures(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for name, colour in (("dog", (255, 0, 0)), ("cat", (0, 255, 0))):
        for i in range(3):
            (tmp_path / name / "deep").mkdir(parents=True, exist_ok=True)
            image.new("RGB", (5 + i, 7), colour).save(tmp_path / name / "deep" / f"{i}.png")
    image.new("L", (4, 4), 7).save(tmp_path / "dog" / "grey.jpg")
    (tmp_path / "dog" / "notes.txt").write_text("no picture")
    return tmp_path


def test_folders_of_pictures(pictures):
    folder = image_folder(pictures, (4, 6))
    assert folder.class_names == ["cat", "dog"] and folder.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    (x, y), = batches(folder, folder.labels, batch_size=10)
    assert x.shape == (7, 4, 6, 3) and x.dtype == "uint8" and y.tolist() == folder.labels.tolist()
    assert x[0, 0, 0].tolist() == [0, 255, 0] and x[3, 2, 5].tolist() == [255, 0, 0]
    assert x[6, 0, 0].tolist() == [7, 7, 7]


def test_wrong_folders(pictures):
    with pytest.raises(FileNotFoundError, match="expected a folder"):
        image_folder(pictures / "none", 4)
    with pytest.raises(ValueError, match="a subfolder for each class"):
        image_folder(pictures / "dog" / "deep", 4)
    with pytest.raises(ValueError, match="height and width"):
        image_folder(pictures, (4, 0))
    (pictures / "cat" / "broken.png").write_bytes(b"no picture")
    folder = image_folder(pictures, 4)
    with pytest.raises(ValueError, match="broken.png: expected a picture that can be read"):
        list(batches(folder, batch_size=8))


def test_augmentation():
    x = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    seen = [random_flip(x, np.random.default_rng(seed)) for seed in range(20)]
    for flipped in seen:
        assert all(np.array_equal(a, b) or np.array_equal(a, b[:, ::-1]) for a, b in zip(flipped, x))
    assert len({flipped.tobytes() for flipped in seen}) == 4
    padded = np.pad(x, [(0, 0), (2, 2), (2, 2), (0, 0)])
    windows = {padded[0, i:i + 4, j:j + 5].tobytes() for i in range(5) for j in range(5)}
    assert {random_crop(x, np.random.default_rng(seed), 2)[0].tobytes() for seed in range(300)} == windows


# --- the GPU


@needs_emulated
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_on_the_gpu_nobody_waits(workers, stand_in):  # noqa: F811
    """Every array is copied from pinned memory in a stream of its own, and read only after that."""
    loader = batches(X, Y, batch_size=4, shuffle=True, epochs=2, transform=noisy, workers=workers, device="gpu")
    waits, got = len(fake_cupy.device.waits), []
    for x, y in loader:
        assert x.device == "gpu"
        got.append((x, y, (x * 2).sum()))
        assert len(fake_cupy.device.waits) == waits
    expected = list(batches(X, Y, batch_size=4, shuffle=True, epochs=2, transform=noisy))
    for (x, y, _), (cx, cy) in zip(got, expected, strict=True):
        assert x.tolist() == cx.tolist() and y.tolist() == cy.tolist()
    assert len(fake_cupy.device.copies) == 2 * len(expected)


@needs_emulated
def test_copies_begin_a_batch_ahead(stand_in):  # noqa: F811
    loader = batches(X, batch_size=2, device="gpu")
    for _ in range(3):
        next(loader)
        for _, job in loader._ahead:
            job.result()
    assert len(fake_cupy.device.copies) in (3, 4)  # whether the second next found the third batch prepared
    next(loader)
    assert len(fake_cupy.device.copies) == 5  # four were taken
    assert len(list(loader)) == 2
