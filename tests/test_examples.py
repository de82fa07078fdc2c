"""The parts of the examples: what the network computes, how data is scaled, that training depends on nothing hidden."""

from pathlib import Path

import numpy as np
import pytest
from optional import require

import convgpu as cg
from convgpu.examples import data, lenet5, predict
from convgpu.examples import train_digits as train
from convgpu.examples.filter import KERNELS, filtered

require("PIL")
from PIL import Image  # noqa: E402 - where it is


@pytest.fixture(scope="module")
def small() -> data.Dataset:
    """The digits at the smallest size that the network takes, 60 of them."""
    digits = data.digits(seed=5, size=16)
    return data.Dataset(digits.x_train[:50], digits.y_train[:50], digits.x_test[:10], digits.y_test[:10],
                        digits.class_names, digits.scaling, "small")


# --- LeNet-5


def test_parameter_counts_of_the_notes() -> None:
    params = lenet5.initial((32, 32, 1), 10)
    counts = {name: (layer["w"].size, layer["b"].size) for name, layer in params.items()}
    assert counts == {"conv1": (150, 6), "conv2": (2400, 16), "dense1": (48000, 120), "dense2": (10080, 84),
                      "dense3": (840, 10)}


def test_forward_is_the_textbook_formula() -> None:
    """Against the network written out in float64 with loops over taps."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 18, 21, 3))
    params = cg.tree.map(lambda p: rng.standard_normal(p.shape) * 0.3, lenet5.initial((18, 21, 3), 4))

    def conv_tanh_pool(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        rows, columns = x.shape[1] - 4, x.shape[2] - 4
        y = np.tanh(b + sum(x[:, r:r + rows, c:c + columns] @ w[r, c] for r in range(5) for c in range(5)))
        y = y[:, :rows // 2 * 2, :columns // 2 * 2]
        return (y[:, ::2, ::2] + y[:, 1::2, ::2] + y[:, ::2, 1::2] + y[:, 1::2, 1::2]) / 4

    h = x
    for name in ("conv1", "conv2"):
        h = conv_tanh_pool(h, params[name]["w"], params[name]["b"])
    h = h.reshape(2, -1)
    for name in ("dense1", "dense2"):
        h = np.tanh(h @ params[name]["w"] + params[name]["b"])
    expected = h @ params["dense3"]["w"] + params["dense3"]["b"]
    np.testing.assert_allclose(lenet5.logits(params, cg.tensor(x)).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("size", [(15, 32), (32, 15), (1, 1)])
def test_too_small(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"at least 16x16 pixels.*got {size[0]}x{size[1]}"):
        lenet5.initial((*size, 1), 10)


def test_predict_gives_probabilities_whatever_the_batch(small: data.Dataset) -> None:
    params = lenet5.initial(small.shape, 10)
    whole = lenet5.predict(params, small.x_test)
    np.testing.assert_allclose(whole.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(lenet5.predict(params, small.x_test, batch_size=3), whole, rtol=1e-5)


@pytest.mark.parametrize("stop, dtype", [*[(n, "float32") for n in (0, 1, 6, 7, 10)], (6, "bfloat16"), (1, "float16")],
                         ids=lambda n: f"{n} steps" if isinstance(n, int) else n)
def test_training_goes_on_from_any_step(small: data.Dataset, tmp_path: Path, stop: int, dtype: str) -> None:
    def advance(run: lenet5.Training, steps: int) -> None:
        run.begin_epoch()
        for _ in range(steps):
            if run.step_in_epoch == run.steps:
                run.end_epoch()
                run.begin_epoch()
            run.step()

    whole = lenet5.Training(small, seed=1, batch_size=8, dtype=dtype)  # 7 steps an epoch, the last of 2 images
    advance(whole, 10)
    first = lenet5.Training(small, seed=1, batch_size=8, dtype=dtype)
    advance(first, stop)
    train.save(first, 2, tmp_path)
    second = lenet5.Training(small, seed=1, batch_size=8, dtype=dtype)
    arrays, saved = train._checkpoint(tmp_path / "checkpoint.safetensors")
    train._restore(second, arrays, saved, tmp_path)
    advance(second, 10 - stop)
    assert saved["dtype"] == dtype
    assert (second.history, second.loss_sum, second.correct) == (whole.history, whole.loss_sum, whole.correct)
    for a, b in zip(cg.tree.leaves(whole.params), cg.tree.leaves(second.params)):
        assert a.numpy().tobytes() == b.numpy().tobytes()


def test_seeds_differ(small: data.Dataset) -> None:
    a, b = lenet5.initial((16, 16, 1), 10, 0), lenet5.initial((16, 16, 1), 10, 1)
    assert not np.array_equal(a["conv1"]["w"].numpy(), b["conv1"]["w"].numpy())
    assert not np.array_equal(data.digits(0).y_test, data.digits(1).y_test)


def test_every_epoch_has_an_order_and_a_rate_of_its_own(small: data.Dataset) -> None:
    run = lenet5.Training(small)
    seen = []
    for _ in range(2):
        run.begin_epoch()
        seen.append((run.order.tolist(), run.optimizer.lr))
        run.step()
        run.end_epoch()
    assert sorted(seen[0][0]) == sorted(seen[1][0]) == list(range(50)) and seen[0][0] != seen[1][0]
    assert seen[1][1] == lenet5.DECAY * seen[0][1]


def test_shifts_repeat_the_edge_and_stay_within_a_sixteenth() -> None:
    x = np.zeros((200, 32, 16, 1), np.float32)
    x[:, 16, 8] = 1
    x[:, 0] = 2
    y = lenet5.shifted(x, np.random.default_rng(0))
    rows, columns = np.nonzero(y[:, :, :, 0] == 1)[1:]
    assert set(rows - 16) == {-2, -1, 0, 1, 2} and set(columns - 8) == {-1, 0, 1}
    assert set((y[:, :, 0, 0] == 2).sum(axis=1)) == {0, 1, 2, 3}  # a row that moves in brings copies of itself


# --- data


def test_digits_are_enlarged_and_standardised() -> None:
    digits = data.digits(0)
    assert digits.x_train.shape == (1437, 32, 32, 1) and digits.x_test.shape == (360, 32, 32, 1)
    assert digits.x_train.dtype == np.float32
    assert abs(digits.x_train.mean()) < 1e-4 and abs(digits.x_train.std() - 1) < 1e-4
    assert (digits.scaling.low, digits.scaling.high) == (0, 16)


def test_resampling() -> None:
    rng = np.random.default_rng(0)
    x = rng.random((3, 8, 8))
    up = data.resample(x, (32, 32))
    picture = Image.fromarray(x[0].astype(np.float32)).resize((32, 32), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(up[0], np.asarray(picture), atol=1e-6)
    np.testing.assert_allclose(data.resample(x, (4, 2)), x.reshape(3, 4, 2, 2, 4).mean(axis=(2, 4)))
    np.testing.assert_allclose(data.resample(x, (3, 5)).mean(axis=(1, 2)), x.mean(axis=(1, 2)))
    np.testing.assert_array_equal(data.resample(x, (8, 8)), x)


@pytest.mark.parametrize(("pixels", "low", "high"), [
    (np.uint8([0, 255]), 0, 255), (np.uint8([10, 20]), 0, 255), (np.int16([-5, 5]), -5, 5),
    (np.float64([0.25, 0.75]), 0.25, 0.75), (np.array([False, True]), 0, 1), (np.float32([3, 3]), 3, 3),
], ids=["uint8", "dark uint8", "int16", "float64", "bool", "constant"])
def test_range_of_own_data(tmp_path: Path, pixels: np.ndarray, low: float, high: float) -> None:
    x = np.tile(pixels, (4, 16, 8))
    np.savez(tmp_path / "d.npz", x_train=x, y_train=np.arange(4), x_test=x, y_test=np.arange(4))
    dataset = data.from_file(tmp_path / "d.npz")
    assert (dataset.scaling.low, dataset.scaling.high) == (low, high)
    brightness = dataset.x_test * dataset.scaling.std + dataset.scaling.mean
    expected = (x.astype(np.float64) - low) / ((high - low) or 1)
    np.testing.assert_allclose(brightness[..., 0], expected, atol=1e-6)


def test_class_names_of_own_data(tmp_path: Path) -> None:
    x = np.zeros((2, 16, 16), np.uint8)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=[0, 2], x_test=x, y_test=[1, 1], class_names=["a", "b", "c"])
    dataset = data.from_file(tmp_path / "d.npz")
    assert dataset.class_names == ("a", "b", "c") and dataset.y_test.tolist() == [1, 1]


# --- pictures in


def test_pictures_of_every_kind(tmp_path: Path) -> None:
    grey = np.uint8([[0, 51], [102, 255]])
    kinds = {"L": (Image.fromarray(grey), 1), "RGB": (Image.merge("RGB", [Image.fromarray(grey)] * 3), 3),
             "1": (Image.fromarray(grey).convert("1", dither=Image.Dither.NONE), 1),
             "P": (Image.fromarray(grey).convert("P"), 3), "I;16": (Image.fromarray(grey.astype(np.uint16) * 257), 1)}
    for mode, (picture, channels) in kinds.items():
        picture.save(tmp_path / "p.png")
        read = predict.read_picture(tmp_path / "p.png")
        assert read.shape == (2, 2, channels) and read.dtype == np.float32, mode
        expected = grey / 255 if mode != "1" else grey > 127
        np.testing.assert_allclose(read, np.repeat(expected[..., None], channels, axis=2), atol=1e-6, err_msg=mode)


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    Image.merge("LA", [Image.new("L", (2, 1), 0), Image.fromarray(np.uint8([[0, 255]]))]).save(tmp_path / "p.png")
    assert predict.read_picture(tmp_path / "p.png")[0, :, 0].tolist() == [1, 0]


def model(shape: tuple[int, int, int], **scaling: object) -> predict.Model:
    whole = {"low": 0, "high": 1, "mean": 0.25, "std": 0.5, "source": None, "background": None} | scaling
    return predict.Model(lenet5.initial(shape, 2), shape, ("a", "b"), data.Scaling(**whole))


def test_prepare_matches_the_networks_channels() -> None:
    colour = np.zeros((16, 16, 3), np.float32)
    colour[..., 1] = 1
    x, remark = predict.prepare(colour, model((16, 16, 1)))
    np.testing.assert_allclose(x, np.full((16, 16, 1), (0.587 - 0.25) / 0.5), rtol=1e-6)
    assert remark == ""
    assert predict.prepare(colour[..., :1], model((20, 16, 3)))[0].shape == (20, 16, 3)
    with pytest.raises(ValueError, match="expected a network of 1 or 3 channels, .* got 5"):
        predict.prepare(colour, model((16, 16, 5)))


def test_prepare_inverts_only_where_the_background_is_known() -> None:
    light = np.ones((16, 16, 1), np.float32)
    light[5:9, 5:9] = 0
    for background, inverted in (("dark", True), ("light", False), (None, False)):
        x, remark = predict.prepare(light, model((16, 16, 1), background=background, mean=0, std=1))
        np.testing.assert_array_equal(x, 1 - light if inverted else light)
        assert ("inverted" in remark) == inverted


def test_the_ink_is_centred_in_a_square() -> None:
    picture = np.full((100, 60, 1), 0.1, np.float32)
    picture[10:90, 40:50] = 0.9
    x, _ = predict.prepare(picture, model((32, 32, 1), source=(8, 8), background="dark", mean=0, std=1))
    np.testing.assert_allclose(x, x[:, ::-1], atol=1e-6)
    assert x[:, 15:17].min() > 0.4 and x[:, :8].max() == 0


# --- filters


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("channels", [1, 3])
def test_filters_equal_scipy(name: str, channels: int) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    picture = np.random.default_rng(0).random((12, 15, channels), np.float32)
    expected = [ndimage.correlate(picture[..., c].astype(np.float64), KERNELS[name].astype(np.float64), mode="nearest")
                for c in range(channels)]
    np.testing.assert_allclose(filtered(picture, KERNELS[name]), np.stack(expected, axis=-1), atol=1e-5)


def test_even_kernels_keep_the_size() -> None:
    assert filtered(np.ones((5, 4, 1), np.float32), np.ones((2, 4), np.float32)).shape == (5, 4, 1)
