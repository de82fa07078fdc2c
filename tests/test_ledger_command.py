"""`convgpu ledger`, and the networks that it knows."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from native_backends import needs_emulated
from optional import require

import convgpu as cg
from convgpu import cli, tree
from convgpu.cli import LEDGER_NETWORKS
from convgpu.ledger.networks import ALL, parameters, training_ledger


def run(capsys, *arguments):
    status = cli.main(["ledger", *arguments])
    out, err = capsys.readouterr()
    return status, out, err


@needs_emulated
def test_the_command_prints_what_the_function_finds(capsys, tmp_path):
    status, out, _ = run(capsys, "--network", "lenet5", "--batch", "32", "--dtype", "bfloat16", "--device", "A100",
                         "--json", str(tmp_path / "out.json"))
    assert status == 0
    found = training_ledger("lenet5", 32, "bfloat16", "A100")
    assert out == f"LeNet-5, batch 32, bfloat16: one step of training\n{found}\n"
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["totals"] == found.totals and len(written["rows"]) == len(found.rows)
    assert (written["network"], written["batch"], written["dtype"], written["device"]) == (
        "lenet5", 32, "bfloat16", "A100")


@needs_emulated
def test_the_largest_batch_is_told(capsys):
    status, out, _ = run(capsys, "--network", "vgg16", "--batch", "8", "--device", "T4", "--max-batch")
    assert status == 0
    most = int(out.splitlines()[-1].removeprefix("largest batch that fits into 15 GB of the T4: "))
    assert training_ledger("vgg16", most, device="T4").peak_bytes <= 15e9 < training_ledger(
        "vgg16", most + 1, device="T4").peak_bytes


@needs_emulated
def test_a_picture_is_drawn(capsys, tmp_path):
    require("matplotlib")
    from matplotlib.image import imread

    path = tmp_path / "step.png"
    assert run(capsys, "--network", "lenet5", "--batch", "8", "--device", "H200", "--plot", str(path))[0] == 0
    picture = imread(path)
    assert picture.shape[0] > 500 and picture[..., :3].std() > 0.05


@pytest.mark.parametrize(("options", "status", "words"), [
    (("--device", "K40"), 2, "expected device 'gpu', or one of T4"),
    (("--json", "nowhere/out.json"), 2, "--json nowhere/out.json: expected a folder that exists"),
    (("--plot", "out.txt"), 2, "--plot out.txt: expected a file name that ends in"),
])
def test_wrong_options_are_one_line(capsys, options, status, words):
    require("matplotlib")
    got, out, error = run(capsys, "--network", "lenet5", *options)
    assert (got, out) == (status, "") and words in error and error.count("\n") == 1


def test_the_command_knows_every_network():
    assert set(LEDGER_NETWORKS) == set(ALL)
    done = subprocess.run([sys.executable, "-m", "convgpu", "ledger", "--network", "alexnet2"], capture_output=True,
                          text=True)
    assert done.returncode == 2 and "efficientnet_b0" in done.stderr


# Keras counts two running statistics for each normalised channel besides; its EfficientNet has a layer that normalises
# images, with 7 numbers, and its ResNet-50 has 26,560 biases before normalisations.
@pytest.mark.parametrize(("network", "in_keras", "beside", "multiply_adds"), [
    ("mobilenet", 4_253_864, 0, 569e6), ("efficientnet_b0", 5_330_571, 7, 390e6),
    ("resnet50", 25_636_712, 26_560, 4.1e9)])
def test_networks_have_the_parameters_and_the_work_of_their_papers(network, in_keras, beside, multiply_adds):
    params = parameters(network)
    count = sum(p.nbytes // 4 for p in tree.leaves(params))
    statistics = 2 * sum(layer["scale"].shape[0] for layer in params.values() if "scale" in layer)
    assert count + statistics + beside == in_keras
    logits = sys.modules[ALL[network].loss.__module__].logits
    found = cg.ledger(logits, params, cg.spec((1, *ALL[network].shape)), device="H200")
    products = sum(row.flops for row in found.rows if row.op in ("conv_fprop", "gemm")) / 2
    assert products == pytest.approx(multiply_adds, rel=0.03)
