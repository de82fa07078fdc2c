"""The example on photographs: its data, that training learns, and that PyTorch computes the same first steps."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from convgpu.examples import photographs

pytest.importorskip("skimage", reason="the photographs are scikit-image's, which is not installed")
pytest.importorskip("sklearn", reason="some photographs are scikit-learn's, which is not installed")


@pytest.fixture(scope="module")
def data():
    return photographs.load(most_tiles=20)


def test_no_pixel_serves_training_and_testing(monkeypatch):
    """Where a photograph's pixels are their own numbers, patches say where they were cut."""
    picture = np.arange(256 * 320, dtype=np.float64).reshape(256, 320)
    monkeypatch.setattr(photographs, "photographs", lambda: [picture, picture + picture.size])
    found = photographs.load(seed=3)
    train, test = (set(np.round(part.astype(np.float64), 6).ravel()) for part in (found.x, found.test_x))
    assert len(train & test) < 1e-3 * len(test)
    assert set(found.y) == set(found.test_y) == {0, 1} and len(found.x) > 4 * len(found.test_x)


def test_patches_are_scaled_and_drawn_by_the_seed(data):
    assert data.x.shape[1:] == data.test_x.shape[1:] == (32, 32, 1) and data.x.dtype == np.float32
    assert abs(data.x.mean()) < 1e-4 and abs(data.x.std() - 1) < 1e-4
    again, other = photographs.load(most_tiles=20), photographs.load(seed=1, most_tiles=20)
    assert np.array_equal(again.test_x, data.test_x) and not np.array_equal(other.test_x, data.test_x)
    assert len(set(data.test_y)) == len(photographs.NAMES) + len(photographs.SAMPLES)


def test_training_learns_the_same_with_the_same_seed(data):
    first, again = (photographs.train(0, data, epochs=3) for _ in range(2))
    assert [right for _, right in first] == [right for _, right in again]
    assert max(right for _, right in first) > 3 / 15  # three times what guessing reaches


def test_pytorch_takes_the_same_steps(data, monkeypatch):
    pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "bench"))
    import photographs as bench

    assert "bench" in bench.__file__ and bench is sys.modules["photographs"]
    scores = []
    right = photographs.accuracy
    monkeypatch.setattr(photographs, "accuracy",
                        lambda of, data: scores.append(of(data.test_x[:50])) or right(of, data))
    few = data._replace(x=data.x[:384], y=data.y[:384])
    ours, theirs = photographs.train(1, few, 1), bench.train_torch(1, few, 1)
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-2, atol=1e-3)
    assert abs(ours[0][1] - theirs[0][1]) < 0.02
    rows = [{"convgpu": [(1.0, 0.5), (2.0, 0.9)], "torch": [(2.0, 0.6), (4.0, 0.8)]}] * 2
    found = bench.summary(rows)
    assert found["target"] == 0.8 and found["to_target_theirs_over_ours"] == 2.0
    assert found["convgpu"] == {"accuracy": 0.9, "deviation": 0.0, "seconds": 2.0, "reached": 2,
                                "seconds_to_target": 2.0}


def test_the_page_has_what_the_newest_file_has(monkeypatch):
    pytest.importorskip("torch", reason="the script that wrote the file imports PyTorch, which is not installed")
    root = Path(__file__).parent.parent
    monkeypatch.syspath_prepend(str(root / "bench"))
    import photographs as bench

    files = sorted((root / "bench" / "results" / "photographs").glob("*.json"))
    saved = max((json.loads(file.read_text(encoding="utf-8")) for file in files),
                key=lambda saved: saved["environment"]["date"])
    *rows, last = saved["rows"]
    found = bench.summary(rows)
    assert found == last["summary"] and len(rows) == 5
    page = (root / "docs" / "accuracy.md").read_text(encoding="utf-8")
    for name, of in (("convgpu", found["convgpu"]), ("PyTorch 2.13", found["torch"])):
        assert f"| {name} | {of['accuracy']:.1%} | {of['deviation']:.1%} | {of['seconds']:.1f} |" in page
    assert abs(found["convgpu"]["accuracy"] - found["torch"]["accuracy"]) < found["torch"]["deviation"]
    assert f"{last['train']}\npatches" in page and f"{last['test']} for testing" in page
