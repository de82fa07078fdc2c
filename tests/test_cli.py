"""The commands as a user runs them: what they print, what they leave, how they fail."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from optional import require

import convgpu as cg
from convgpu import cli, environment, extras, info, storage
from convgpu.benchmark import devices
from convgpu.examples import data, lock, predict
from convgpu.examples import train_digits as train

require("PIL", "safetensors", "skimage", "sklearn")
import safetensors.numpy  # noqa: E402 - where they are
import skimage.data  # noqa: E402
import sklearn.datasets  # noqa: E402
from PIL import Image  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402

PICTURES = ("confusion.png", "filters.png", "loss.png", "misread.png")
RESULTS = ("checkpoint.safetensors", "history.json", "model.safetensors")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "convgpu", *map(str, arguments)]


def run(*arguments: object, status: int = 0, **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def one_line_error(capsys: pytest.CaptureFixture[str], *arguments: object, status: int = 1) -> str:
    """Run in this process; the single line on stderr."""
    assert cli.main(list(map(str, arguments))) == status
    error = capsys.readouterr().err
    assert error.startswith(f"convgpu {arguments[0]}: ") and error.count("\n") == 1
    return error


def loaded(path: Path) -> tuple[dict[str, np.ndarray], dict]:
    """The arrays of a file under their dotted names, and its metadata."""
    specs, metadata = storage.describe(path)
    return storage.read(path, specs), metadata


@pytest.fixture(scope="session")
def default_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`convgpu train` as the README has it, in an empty folder."""
    folder = tmp_path_factory.mktemp("default")
    done = run("train", cwd=folder, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)})
    assert [p.name for p in folder.iterdir()] == ["convgpu-run"]
    (folder / "stdout").write_text(done.stdout)
    (folder / "stderr").write_text(done.stderr)
    return folder / "convgpu-run"


@pytest.fixture(scope="session")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file of colour images: each of three classes is bright in a channel of its own."""
    path = tmp_path_factory.mktemp("data") / "mine.npz"
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n in (("train", 50), ("test", 12)):
        labels = np.arange(n) % 3
        images = rng.integers(0, 100, (n, 17, 20, 3), np.uint8)
        images[np.arange(n), :, :, labels] += 120
        arrays |= {f"x_{part}": images, f"y_{part}": labels[:, None] * 10 + 5}
    np.savez(path, **arrays)
    return path


def same_results(a: Path, b: Path) -> None:
    for name in RESULTS:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


# --- train


def test_train_reaches_98_percent(default_run: Path) -> None:
    history = json.loads((default_run / "history.json").read_text())
    assert history["test_accuracy"] >= 0.98
    assert [entry["epoch"] for entry in history["epochs"]] == list(range(1, 16))
    assert history["epochs"][-1]["test_accuracy"] == history["test_accuracy"]
    assert history["epochs"][-1]["loss"] < history["epochs"][0]["loss"] / 2


def test_train_says_what_it_did(default_run: Path) -> None:
    stdout, stderr = ((default_run.parent / name).read_text() for name in ("stdout", "stderr"))
    assert "61,706 parameters" in stdout and "1,437 images to learn from, 360 to test with" in stdout
    assert "Computing on the CPU" in stdout
    assert re.search(r"epoch 15/15 .*loss \d\.\d+, accuracy \d+\.\d%, test accuracy \d+\.\d%", stderr)
    wrong = int(re.search(r"\((\d+) of 360 misread\)", stdout).group(1))
    matrix = np.array([line.split()[1:] for line in stdout.splitlines() if re.match(r" +\d( +\d+){10}$", line)], int)
    assert matrix.shape == (10, 10) and matrix.sum() == 360 and matrix.sum() - np.trace(matrix) == wrong


def test_train_leaves_exactly_these_files(default_run: Path) -> None:
    assert sorted(p.name for p in default_run.iterdir()) == sorted(PICTURES + RESULTS)


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_not_blank(default_run: Path, name: str) -> None:
    with Image.open(default_run / name) as picture:
        assert picture.format == "PNG" and min(picture.size) > 200
        grey = np.asarray(picture.convert("L"))
    assert 0.005 < (grey < 200).mean() < 0.95 and len(np.unique(grey)) > 20


def test_weights_carry_what_predict_needs(default_run: Path) -> None:
    arrays, metadata = loaded(default_run / "model.safetensors")
    assert metadata["architecture"] == "lenet5"
    assert metadata["input_size"] == [32, 32, 1]
    assert metadata["class_names"] == list("0123456789")
    assert metadata["scaling"]["source"] == [8, 8] and metadata["scaling"]["background"] == "dark"
    assert sum(a.size for name, a in arrays.items() if name != "typical.means") == 61_706
    assert arrays["typical.means"].shape == (10, 16, 16, 1) and metadata["typical_limit"] > 0


def test_ctrl_c_saves_and_resume_ends_with_the_same_bits(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x_train=rng.random((400, 16, 16)), y_train=rng.integers(0, 4, 400),
             x_test=rng.random((8, 16, 16)), y_test=rng.integers(0, 4, 8))
    arguments = command("train", "--data", tmp_path / "data.npz", "--epochs", 2, "--batch-size", 2)
    run(*arguments[3:], "--out", tmp_path / "whole")
    with subprocess.Popen([*arguments, "--out", tmp_path / "run"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as process:
        deadline = time.monotonic() + 120
        while not (tmp_path / "run" / "history.json").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)  # somewhere in the second epoch
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in stderr
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == sorted(RESULTS)
    go_on = re.search(r"Go on with: convgpu (train --resume .*)", stdout).group(1).split()
    done = json.loads((tmp_path / "run" / "history.json").read_text())
    assert len(done["epochs"]) == 1
    run(*go_on)
    same_results(tmp_path / "run", tmp_path / "whole")


def test_prolonging_a_run_equals_a_longer_one(mine: Path, tmp_path: Path) -> None:
    options = ("train", "--data", str(mine), "--seed", "3", "--batch-size", "8")
    assert cli.main([*options, "--epochs", "3", "--out", str(tmp_path / "long")]) == 0
    assert cli.main([*options, "--epochs", "1", "--out", str(tmp_path / "short")]) == 0
    assert cli.main(["train", "--data", str(mine), "--epochs", "3", "--resume", "--out", str(tmp_path / "short")]) == 0
    same_results(tmp_path / "long", tmp_path / "short")


@pytest.fixture(scope="session")
def short_run(mine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One epoch on the small file, to be copied."""
    out = tmp_path_factory.mktemp("short")
    train.train(str(mine), str(out), epochs=1, batch_size=8)
    return out


def test_resuming_a_finished_run_changes_nothing(mine: Path, short_run: Path, tmp_path: Path) -> None:
    shutil.copytree(short_run, tmp_path / "run")
    assert cli.main(["train", "--data", str(mine), "--out", str(tmp_path / "run"), "--resume"]) == 0
    same_results(short_run, tmp_path / "run")


def test_own_data_in_colour(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a" / "b"
    assert cli.main(["train", "--data", str(mine), "--epochs", "4", "--batch-size", "10", "--out", str(out)]) == 0
    assert "17x20x3, 3 classes" in capsys.readouterr().out
    assert json.loads((out / "history.json").read_text())["test_accuracy"] == 1.0
    assert cg.load_metadata(out / "model.safetensors")["class_names"] == ["5", "15", "25"]
    with np.load(mine) as arrays:
        Image.fromarray(arrays["x_test"][1]).resize((90, 70)).save(tmp_path / "green.jpg")
    assert cli.main(["predict", "--weights", str(out / "model.safetensors"), str(tmp_path / "green.jpg")]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{tmp_path / 'green.jpg'}: 15 (")


@pytest.mark.parametrize(("change", "words"), [
    ({"batch_size": 16}, "--batch-size 8"),
    ({"seed": 1}, "--seed 0"),
    ({"dtype": "bfloat16"}, "--dtype float32"),
    ({"data": "other"}, "expected the --data that the run began with"),
], ids=["batch size", "seed", "dtype", "data"])
def test_resume_refuses_another_run(mine: Path, short_run: Path, tmp_path: Path, change: dict, words: str) -> None:
    with np.load(mine) as arrays:
        np.savez(tmp_path / "other.npz", **{**arrays, "x_train": 255 - arrays["x_train"]})
    options = {"data": str(mine), **change}
    if "data" in change:
        options["data"] = str(tmp_path / "other.npz")
    with pytest.raises(ValueError, match=re.escape(words)):
        train.train(out=str(short_run), resume=True, **options)


def test_resume_without_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no such file" in one_line_error(capsys, "train", "--resume", "--out", tmp_path)
    (tmp_path / "checkpoint.safetensors").write_bytes(b"not a checkpoint")
    assert "damaged" in one_line_error(capsys, "train", "--resume", "--out", tmp_path)


def test_resume_from_weights_alone(mine: Path, short_run: Path, tmp_path: Path,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(short_run / "model.safetensors", tmp_path / "checkpoint.safetensors")
    error = one_line_error(capsys, "train", "--data", mine, "--resume", "--out", tmp_path)
    assert "expected a checkpoint of convgpu train, got " in error


# --- wrong data


def images(n: int = 4, size: int = 16) -> np.ndarray:
    return np.arange(n * size * size, dtype=np.float32).reshape(n, size, size)


WRONG = {
    "a missing array": ({"y_test": None}, "expected x_train, y_train, x_test, y_test, got x_train, y_train, x_test"),
    "too few labels": ({"y_train": np.arange(3)}, "expected a label per image, got 4 in x_train and 3 in y_train"),
    "images too small": ({"x_train": images(4, 15), "x_test": images(4, 15)}, "at least 16x16 pixels"),
    "labels as floats": ({"y_test": np.arange(4.0)}, "y_test: expected integer labels, got float64"),
    "labels one-hot": ({"y_test": np.eye(4, dtype=int)}, "y_test: expected one label per image"),
    "no images": ({"x_test": images(0), "y_test": np.arange(0)}, "at least one, got shape (0, 16, 16)"),
    "a flat image": ({"x_train": images().reshape(4, -1)}, "expected images (N, H, W) or (N, H, W, C)"),
    "images as text": ({"x_train": np.full((4, 16, 16), "a")}, "x_train: expected integers or floats"),
    "NaN": ({"x_train": images() * np.nan}, "x_train: expected finite pixels"),
    "two sizes": ({"x_test": images(4, 18)}, "expected images of one size, got (16, 16, 1) in x_train and (18, 18, 1)"),
    "an unknown label": ({"y_test": np.array([0, 1, 2, 9])}, "expected labels that y_train has, got [9] in y_test"),
    "one class": ({"y_train": np.zeros(4, int), "y_test": np.zeros(4, int)}, "expected at least two classes, got 1"),
    "names missing": ({"class_names": np.array(["a", "b"])}, "expected labels that class_names has, got [2, 3]"),
    "names as numbers": ({"class_names": np.arange(4)}, "expected class_names to be a list of strings"),
    "pickled": ({"x_train": np.array([{}, {}, {}, {}])}, "x_train: expected an array of numbers, or class_names of "
                "strings, got Python objects, which are never unpickled"),
    "channels first": ({"x_train": np.zeros((4, 3, 17, 20))}, "got shape (4, 3, 17, 20), which looks like "
                       "(N, C, H, W): turn it round by x_train.transpose(0, 2, 3, 1)"),
}


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG.keys())
def test_wrong_data(tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict, words: str) -> None:
    path = tmp_path / "wrong.npz"
    arrays = {"x_train": images(), "y_train": np.arange(4), "x_test": images(), "y_test": np.arange(4)} | change
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})
    assert words in one_line_error(capsys, "train", "--data", path, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_that_is_no_npz_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], mine: Path) -> None:
    np.save(tmp_path / "single.npy", np.arange(3))
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "cut.npz").write_bytes(mine.read_bytes()[:2000])
    (tmp_path / "empty.npz").touch()
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.jpg")
    (tmp_path / "pickle.npz").write_bytes(b"\x80\x04]\x94.")
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:  # a header of 8 TB, and no data
        for key in ("x_train", "y_train", "x_test", "y_test"):
            with archive.open(f"{key}.npy", "w") as member:
                np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False,
                                                              "shape": (10**6, 1000, 1000)})
    for name, kind in (("single.npy", "a single array (.npy)"), ("text.npz", "something else"),
                       ("cut.npz", "a damaged zip archive"), ("empty.npz", "an empty file"),
                       ("photo.jpg", "a JPEG picture"), ("pickle.npz", "a pickle, which is never read"),
                       ("huge.npz", "float64 of shape (1000000, 1000, 1000)")):
        error = one_line_error(capsys, "train", "--data", tmp_path / name)
        assert f"{tmp_path / name}: " in error and f"got {kind}" in error and "allow_pickle" not in error
    error = one_line_error(capsys, "train", "--data", tmp_path / "nowhere.npz")
    assert error == f"convgpu train: {tmp_path / 'nowhere.npz'}: No such file or directory\n"


@pytest.mark.parametrize("options", [
    ["--epochs", "0"], ["--batch-size", "-1"], ["--seed", "x"], ["--device", "tpu"], ["extra"],
], ids=" ".join)
def test_wrong_options(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["train", *options])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("usage: convgpu")


# --- predict


def test_predict_reads_test_digits(default_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bunch = load_digits()
    held_back = np.random.default_rng(0).permutation(1797)[1437:]
    right = 0
    for i in held_back[:20]:
        pixels = Image.fromarray(np.rint(255 / 16 * bunch.images[i]).astype(np.uint8))
        pixels.save(tmp_path / "8x8.png")
        pixels.resize((200, 200), Image.Resampling.BICUBIC).save(tmp_path / "large.png")
        paper = Image.new("RGB", (300, 400), "white")  # dark on light, in colour, with a margin
        paper.paste(Image.merge("RGB", [pixels.resize((160, 160)).point(lambda v: 255 - v)] * 3), (80, 100))
        paper.save(tmp_path / "paper.jpg")
        names = ("8x8.png", "large.png", "paper.jpg")
        arguments = ["--weights", default_run / "model.safetensors", *(tmp_path / name for name in names)]
        assert cli.main(["predict", *map(str, arguments)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert ["inverted" in line for line in lines] == [False, False, True]
        right += sum(f": {bunch.target[i]} (" in line for line in lines)
    assert right >= 57  # of 60


def test_predict_goes_on_after_a_broken_picture(default_run: Path, tmp_path: Path) -> None:
    Image.new("L", (8, 8), 0).save(tmp_path / "dark.png")
    Image.new("L", (40, 40), 200).save(tmp_path / "plain.png")
    (tmp_path / "text.png").write_text("hello")
    Image.effect_noise((99, 99), 90).save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:900])
    names = ["plain.png", "text.png", "cut.jpg", "none.png", "dark.png"]
    weights = default_run / "model.safetensors"
    done = run("predict", "--weights", weights, *(tmp_path / name for name in names), status=1)
    assert done.stdout.startswith(f"{tmp_path / 'dark.png'}: ") and done.stdout.count("\n") == 1
    errors = done.stderr.splitlines()
    assert len(errors) == 4 and all(name in error for name, error in zip(names, errors))
    assert "one brightness" in errors[0] and "No such file" in errors[3]


def test_predict_checks_the_weights(default_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays, metadata = loaded(default_run / "model.safetensors")
    Image.new("L", (8, 8), 0).save(tmp_path / "x.png")

    def error(arrays: dict, metadata: dict) -> str:
        storage.save(tmp_path / "w.safetensors", arrays, metadata)
        return one_line_error(capsys, "predict", "--weights", tmp_path / "w.safetensors", tmp_path / "x.png")

    assert "expected 'dense3.w' to be float32 of shape (84, 10)" in error(arrays | {"dense3.w": np.ones(9)}, metadata)
    assert "expected an array 'conv1.b'" in error({k: v for k, v in arrays.items() if k != "conv1.b"}, metadata)
    assert "got dense4.w as well" in error(arrays | {"dense4.w": np.ones(3)}, metadata)
    assert "architecture 'lenet5', got 'vgg'" in error(arrays, metadata | {"architecture": "vgg"})
    assert "architecture 'lenet5', got None" in error(arrays, {})
    assert "(84, 9)" in error(arrays, metadata | {"class_names": list("123456789")})
    assert "incomplete" in error(arrays, {k: v for k, v in metadata.items() if k != "scaling"})
    whole = (default_run / "model.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(whole[:-100])
    assert "damaged" in one_line_error(capsys, "predict", "--weights", tmp_path / "w.safetensors", tmp_path / "x.png")
    assert "no such file" in one_line_error(capsys, "predict", "--weights", tmp_path / "none", tmp_path / "x.png")


def test_weights_of_strangers(default_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                              monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is checked before an array is read or made, and nothing in a file steers the terminal."""
    arrays, metadata = loaded(default_run / "model.safetensors")
    Image.new("L", (8, 8), 0).save(tmp_path / "x.png")
    weights = tmp_path / "w.safetensors"

    def error(arrays: dict = arrays, **changes: object) -> str:
        storage.save(weights, arrays, metadata | changes)
        with monkeypatch.context() as patched:
            patched.setattr(predict, "read", lambda *_: pytest.fail("an array was read"))
            return one_line_error(capsys, "predict", "--weights", weights, tmp_path / "x.png")

    tracemalloc.start()
    assert "expected 'dense1.w' to be float32 of shape (5702544, 120)" in error(input_size=[2400, 2400, 1])
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    for size in ([32, 32], [32, 32, -1], [32, 32, 1.0], [True, 32, 1], "abc", None, [15, 32, 1], [10**30, 32, 1]):
        assert "expected" in error(input_size=size)
    for names in ([], ["a"], "0123456789", [1] * 10, [["a"]] * 10, {}):
        assert "expected class_names of two strings or more, got" in error(class_names=names)
    for name, value in (("std", 0.0), ("std", -1), ("std", float("nan")), ("mean", "x"), ("mean", 10**400),
                        ("source", [10**9, 8]), ("source", 8), ("background", "blue"), ("more", 1)):
        assert "incomplete or damaged" in error(scaling=metadata["scaling"] | {name: value})
    for limit in ("x", float("nan")):
        assert "expected typical_limit to be a finite number" in error(typical_limit=limit)
    assert "expected 'typical.means'" in error(arrays | {"typical.means": np.ones((10, 4, 4, 1), np.float32)})
    for classes in (0, 11):
        wrong = np.ones((classes, 16, 16, 1), np.float32)
        assert "expected 'typical.means' to be float32 of shape (1" in error(arrays | {"typical.means": wrong})

    deep = "[" * 100_000 + "]" * 100_000
    flat = {name: np.asarray(array) for name, array in arrays.items()}
    weights.write_bytes(safetensors.numpy.save(flat, {"architecture": '"lenet5"', "class_names": deep}))
    assert "metadata that are nested too deep" in one_line_error(capsys, "predict", "--weights", weights, "x.png")
    for content in (b"", b"\xff" * 8, (10**9).to_bytes(8, "little") + b"{" * 1000, b"{}" * 100):
        weights.write_bytes(content)
        assert "expected a header of 2 to" in one_line_error(capsys, "predict", "--weights", weights, "x.png")

    storage.save(weights, arrays | {"conv1.w": arrays["conv1.w"] * np.nan}, metadata)
    assert "expected finite weights, got NaN or infinity in conv1.w" in one_line_error(
        capsys, "predict", "--weights", weights, tmp_path / "x.png")

    names = [f"\x1b]0;{i}\x07\x1b[2J\u202e" for i in range(10)]
    storage.save(weights, arrays, metadata | {"class_names": names})
    assert cli.main(["predict", "--weights", str(weights), str(tmp_path / "x.png")]) == 0
    out = capsys.readouterr().out
    assert out.rstrip("\n").isprintable() and r"\x1b[2J\u202e" in out
    assert error(arrays | {"\x1b[2J": np.ones(1)}).rstrip("\n").isprintable()
    assert error(architecture="\x1b[2J").rstrip("\n").isprintable()


def test_predict_names_the_runner_up_and_what_looks_unlike(default_run: Path, tmp_path: Path,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    """False alarms on digits are few, and photographs are told: those that scikit-learn and scikit-image bring."""
    weights = default_run / "model.safetensors"
    model, digits = predict.load_model(weights), data.digits(0)
    assert np.mean([model.typical.is_unlike(x) for x in digits.x_test]) <= 0.02
    photos = [sklearn.datasets.load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    photos += [getattr(skimage.data, name)() for name in ("astronaut", "camera", "chelsea", "coffee", "coins", "moon",
                                                           "brick", "grass", "gravel", "rocket", "page", "text")]
    unlike = 0
    for i, photo in enumerate(photos):
        Image.fromarray(photo).save(tmp_path / f"{i}.png")
        unlike += model.typical.is_unlike(predict.prepare(predict.read_picture(tmp_path / f"{i}.png"), model)[0])
    assert unlike >= 13 and len(photos) == 14
    assert cli.main(["predict", "--weights", str(weights), str(tmp_path / "0.png")]) == 0
    assert re.fullmatch(r".*0.png: \d \(\d+\.\d%\), then \d \(\d+\.\d%\).*; unlike the training images\n",
                        capsys.readouterr().out)
    arrays, metadata = loaded(weights)
    del arrays["typical.means"], metadata["typical_limit"]
    storage.save(tmp_path / "old.safetensors", arrays, metadata)
    assert cli.main(["predict", "--weights", str(tmp_path / "old.safetensors"), str(tmp_path / "0.png")]) == 0
    out, err = capsys.readouterr()
    assert "unlike" not in out and "does not say what its training images looked like" in err


# --- the folder of a run


def test_two_runs_do_not_share_a_folder(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    out.mkdir()
    with lock.locked(out):
        error = one_line_error(capsys, "train", "--data", mine, "--out", out)
        assert "expected a folder that no other run writes to, got one that is in use by process " in error
        assert f"process {os.getpid()}, since 20" in error
        assert [path.name for path in out.iterdir()] == [lock.NAME]
    assert not list(out.iterdir())
    (out / lock.NAME).write_text("process 1, since long ago")  # left over by a machine that went down
    (out / "model.safetensors.123.partial").write_text("half")
    assert cli.main(["train", "--data", str(mine), "--epochs", "1", "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(RESULTS + PICTURES)


def test_a_run_is_not_overwritten_without_a_word(mine: Path, tmp_path: Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "--data", str(mine), "--epochs", "1", "--out", str(tmp_path / "run")]
    assert cli.main(arguments) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    capsys.readouterr()
    assert cli.main([*arguments, "--seed", "1"]) == 2
    error = capsys.readouterr().err
    assert "expected a folder without a run, got model.safetensors, history.json, checkpoint.safetensors" in error
    assert "--resume goes on with it, --out names another folder, --overwrite begins anew" in error
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    assert cli.main([*arguments, "--seed", "1", "--overwrite"]) == 0
    assert (tmp_path / "run" / "model.safetensors").read_bytes() != before["model.safetensors"]
    assert cli.main([*arguments, "--overwrite", "--resume"]) == 2


def test_resume_does_not_go_back(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert cli.main(["train", "--data", str(mine), "--epochs", "3", "--out", str(out)]) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    capsys.readouterr()
    assert cli.main(["train", "--data", str(mine), "--resume", "--epochs", "1", "--out", str(out)]) == 2
    assert ("--resume: expected --epochs of at least 3, because the run has 3 epochs behind it, got 1"
            in capsys.readouterr().err)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert cli.main(["train", "--data", str(mine), "--resume", "--epochs", "3", "--out", str(out)]) == 0
    arrays, saved = train._checkpoint(out / "checkpoint.safetensors")
    storage.save(out / "checkpoint.safetensors", arrays, saved | {"step_in_epoch": 1})
    assert cli.main(["train", "--data", str(mine), "--resume", "--epochs", "3", "--out", str(out)]) == 2
    assert "at least 4, because the run has begun epoch 4, got 3" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of a process are POSIX's")
@pytest.mark.parametrize("room, left, named", [(50_000, [], "model.safetensors"), (
    100_000, ["history.json", "model.safetensors"], "checkpoint.safetensors")], ids=["weights", "checkpoint"])
def test_a_full_disk_is_named_and_leaves_no_half_file(mine: Path, tmp_path: Path, room: int, left: list[str],
                                                      named: str) -> None:
    """Full: the files of this process may not grow beyond `room` bytes."""
    program = ("import resource, sys\nfrom convgpu.cli import main\n"
               f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\nsys.exit(main(sys.argv[1:]))")
    done = subprocess.run([sys.executable, "-c", program, "train", "--data", mine, "--epochs", "1", "--out",
                           tmp_path / "run"], capture_output=True, text=True, timeout=120)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1 and last == f"convgpu train: {tmp_path / 'run' / named}: File too large"
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == left


@pytest.mark.parametrize("change", [{"history": "x"}, {"seed": None}, {"step_in_epoch": "0"}, {}], ids=str)
def test_a_checkpoint_that_is_none(short_run: Path, tmp_path: Path, change: dict,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    arrays, saved = loaded(short_run / "checkpoint.safetensors")
    storage.save(tmp_path / "checkpoint.safetensors", arrays, saved | change if change else {})
    error = one_line_error(capsys, "train", "--resume", "--out", tmp_path)
    assert "expected a checkpoint of convgpu train, got " in error


# --- filter


@pytest.fixture
def edge(tmp_path: Path) -> Path:
    """The notes' picture: 100, 100, 200, 200 in every row."""
    Image.fromarray(np.uint8([[100, 100, 200, 200]] * 4)).save(tmp_path / "edge.png")
    return tmp_path / "edge.png"


@pytest.mark.parametrize(("kernel", "row"), [
    ("sobel-x", [128, 255, 255, 128]),  # 0, 400, 400, 0 around mid-grey
    ("sobel-y", [128, 128, 128, 128]),
    ("mean", [100, 133, 167, 200]),
    ("sharpen", [100, 0, 255, 200]),  # 100 - 100 = 0 and 200 + 100, cut off
], ids=["sobel-x", "sobel-y", "mean", "sharpen"])
def test_filters_of_the_notes(edge: Path, tmp_path: Path, kernel: str, row: list[int],
                              capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["filter", str(edge), "--kernel", kernel, "--out", str(tmp_path / "out.png")]) == 0
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.mode == "L"
        np.testing.assert_array_equal(np.asarray(picture), [row] * 4)
    said = capsys.readouterr().out
    if kernel == "sobel-x":
        assert "positive where brightness grows to the right" in said and "values 0.0 to 400.0" in said


def test_sobel_x_is_negative_where_brightness_falls(tmp_path: Path) -> None:
    Image.fromarray(np.uint8([[200, 200, 100, 100]] * 4)).save(tmp_path / "i.png")
    assert cli.main(["filter", str(tmp_path / "i.png"), "--kernel", "sobel-x", "--out", str(tmp_path / "o.png")]) == 0
    with Image.open(tmp_path / "o.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture)[0], [128, 1, 1, 128])


def test_filter_keeps_colours_apart(tmp_path: Path) -> None:
    pixels = np.zeros((5, 7, 3), np.uint8)
    pixels[:, :, 0], pixels[2, 3, 1] = 90, 90
    Image.fromarray(pixels).save(tmp_path / "in.png")
    assert cli.main(["filter", str(tmp_path / "in.png"), "--kernel", "mean", "--out", str(tmp_path / "o.png")]) == 0
    with Image.open(tmp_path / "o.png") as picture:
        y = np.asarray(picture)
    assert (y[:, :, 0] == 90).all() and not y[:, :, 2].any()
    np.testing.assert_array_equal(np.argwhere(y[:, :, 1] == 10), [[i, j] for i in (1, 2, 3) for j in (2, 3, 4)])


@pytest.mark.parametrize("name", ["k.npy", "k.txt", "k.csv"])
def test_kernel_from_a_file(edge: Path, tmp_path: Path, name: str) -> None:
    if name == "k.npy":
        np.save(tmp_path / name, np.array([[0.0, 0.5]]))
    else:
        (tmp_path / name).write_text("0 0.5\n" if name == "k.txt" else "0, 0.5\n")
    assert cli.main(["filter", str(edge), "--kernel", str(tmp_path / name), "--out", str(tmp_path / "o.png")]) == 0
    with Image.open(tmp_path / "o.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture)[0], [50, 100, 100, 100])


def test_wrong_filters(edge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error(image: Path = edge, kernel: object = "mean", out: str = "o.png", status: int = 1) -> str:
        return one_line_error(capsys, "filter", image, "--kernel", kernel, "--out", tmp_path / out, status=status)

    assert "expected one of sobel-x, sobel-y, gaussian, mean, sharpen or a file, got 'sobel'" in error(kernel="sobel")
    (tmp_path / "k.txt").write_text("a b")
    assert "expected a matrix of numbers" in error(kernel=tmp_path / "k.txt")
    (tmp_path / "k.txt").write_text("1 2\n3")
    assert "expected a matrix of numbers" in error(kernel=tmp_path / "k.txt")
    np.save(tmp_path / "k.npy", np.ones((3, 3, 3)))
    assert "of shape (3, 3, 3)" in error(kernel=tmp_path / "k.npy")
    np.save(tmp_path / "k.npy", np.full((3, 3), np.nan))
    assert "finite" in error(kernel=tmp_path / "k.npy")
    (tmp_path / "k.npy").write_text("no array")
    assert "objects are never unpickled" in error(kernel=tmp_path / "k.npy")
    for out in ("o.unknown", "o"):
        assert "expected a file name that ends in .png, .jpg or another" in error(out=out, status=2)
    assert "expected a folder that exists" in error(out="none/o.png", status=2)
    assert "expected a file, got a folder" in error(out=".", status=2)
    assert not list(tmp_path.glob("o*"))
    assert "No such file" in error(image=tmp_path / "none.png")


# --- the rest


def test_info_names_what_is_there_and_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    said = run("info").stdout
    assert f"NumPy      {np.__version__}" in said and f"{cg.current_backend()} (in use), " in said
    found = info._version
    monkeypatch.setattr(info, "_version", lambda name: None if name == "tqdm" else found(name))
    assert 'tqdm         missing: pip install "convgpu[demo]"' in info.report()
    monkeypatch.setattr(info, "_version", lambda name: None)
    told = info.report()
    for package, words in (("keras", '"convgpu[keras]"'), ("torch", "torch"), ("ml_dtypes", "ml_dtypes")):
        assert re.search(rf"^  {package} +missing: pip install {re.escape(words)}$", told, re.MULTILINE)


def test_the_hint_about_a_gpu_is_the_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks is told the same, and what docs/device.md says."""
    monkeypatch.setattr(info, "driver", lambda: None)
    monkeypatch.setattr(info, "has_kernels", lambda: False)
    document = (Path(__file__).parent.parent / "docs" / "device.md").read_text(encoding="utf-8")
    hint = 'CONVGPU_CUDA=1 pip install -e ".[cuda13]"'
    assert hint in document and "cuda12 for a driver of CUDA 12" in document
    assert f"{hint} (cuda12 for a driver of CUDA 12)" in info.report()
    assert f"{hint} (cuda12 for a driver of CUDA 12)" in devices.choose(None)[1]
    with pytest.raises(ImportError, match=re.escape('"convgpu[cuda13]" (cuda12 for a driver of CUDA 12)')):
        monkeypatch.setitem(sys.modules, "cupy", None)
        extras.require("cupy", "it")


@pytest.mark.parametrize("name, value, words", [
    ("CONVGPU_NUM_THREADS", "many", "expected an integer >= 1, got 'many'"),
    ("CONVGPU_NUM_THREADS", "0", "expected an integer >= 1, got '0'"),
    ("CONVGPU_NUM_THREADS", "-1", "expected an integer >= 1, got '-1'"),
    ("CONVGPU_NUM_THREADS", "²", "expected an integer >= 1, got '²'"),
    ("CONVGPU_NUM_THREADS", "9" * 5000, "expected an integer >= 1, got '9"),
    ("CONVGPU_SYNCHRONIZE", "yes", "expected 0, 1 or nothing, got 'yes'"),
])
def test_unknown_values_of_environment_variables(monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv(name, value)
    assert f"convgpu info: {name}: {words}" in one_line_error(capsys, "info", status=2)


def test_every_variable_is_checked() -> None:
    """What the package reads is in one file, which the commands ask first."""
    folder = Path(__file__).parent.parent / "convgpu"
    read = {name for path in folder.rglob("*.py") for name in re.findall(
        r'environ(?:\.get)?[(\[]\s*"(CONVGPU_\w+)"', path.read_text(encoding="utf-8"))}
    assert not read, "convgpu/environment.py is where variables are read"
    assert len(environment.VARIABLES) == 3
    assert subprocess.run([sys.executable, "-c", "import convgpu"], timeout=60, env={
        **os.environ, "CONVGPU_NUM_THREADS": "x", "CONVGPU_SYNCHRONIZE": "x"}).returncode == 0


@pytest.mark.parametrize(("kernels", "words"), [
    (False, 'CONVGPU_CUDA=1 pip install -e ".[cuda13]" in a clone'),
    (True, 'pip install --upgrade "convgpu[cuda13]"'),
], ids=["no kernels", "no cupy"])
def test_an_unused_gpu_gets_one_line(mine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                     monkeypatch: pytest.MonkeyPatch, kernels: bool, words: str) -> None:
    monkeypatch.setattr(info, "driver", lambda: info.Driver((13, 0), ("NVIDIA H200",)))
    monkeypatch.setattr(info, "has_kernels", lambda: kernels)
    monkeypatch.setattr(info.importlib.util, "find_spec", lambda name: None)
    version = info._version
    monkeypatch.setattr(info, "_version", lambda name: None if name.startswith("cupy") else version(name))
    assert cli.main(["train", "--data", str(mine), "--epochs", "1", "--out", str(tmp_path / "run")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("Computing on the CPU")
    why = "CuPy is missing" if kernels else "its kernels are not in this build of convgpu"
    assert lines[2].startswith(f"A GPU is there (NVIDIA H200) but unused: {why}") and lines[2].endswith(words)
    error = one_line_error(capsys, "train", "--device", "gpu", "--out", tmp_path)
    assert "device 'gpu': expected a usable GPU, got none: " in error
    assert "NVIDIA H200; CUDA 13.0; not usable: " in info.report()
    assert 'cupy         missing: pip install "convgpu[cuda13]"' in info.report()


def test_a_usable_gpu_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "gpu_obstacle", lambda: None)
    assert info.choose_device(None) == ("gpu", None) and info.choose_device("cuda:0") == ("gpu", None)
    assert info.choose_device("cpu") == ("cpu", None)


def test_without_a_gpu_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(info, "driver", lambda: None)
    assert info.choose_device(None) == ("cpu", None)
    with pytest.raises(ValueError, match="the NVIDIA driver shows none"):
        info.choose_device("gpu")


@pytest.mark.parametrize("missing", ["tqdm", "safetensors", "matplotlib", "sklearn"])
def test_missing_packages_are_one_sentence(missing: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    error = one_line_error(capsys, "train", "--out", tmp_path)
    package = missing if missing == "safetensors" else "convgpu[demo]"  # convgpu.save needs no more
    assert f'needs the package {missing}: pip install "{package}"' in error


def test_version_and_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert re.fullmatch(r"convgpu \d+\.\d+\.\d+\n", run("--version").stdout)
    assert "the following arguments are required: COMMAND" in run(status=2).stderr


def test_info_says_which_kernels_are_built(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if name == "convgpu._cuda" else None)
    assert info.has_kernels() and "emulated not built, cuda built" in info.report()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not info.has_kernels() and "emulated not built, cuda not built" in info.report()
