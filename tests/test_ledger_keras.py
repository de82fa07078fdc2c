"""The ledger of steps through Keras, against the stand-in for a GPU, and the budget of ResNet-50."""

from __future__ import annotations

import numpy as np
import pytest
from counted import counting
from gpu_device import use_stand_in
from native_backends import needs_emulated
from optional import require
from test_ledger import cupy_launches, kernel_launches

require("keras")

import convgpu as cg  # noqa: E402
import convgpu.keras  # noqa: F401, E402
from convgpu import cli  # noqa: E402
from convgpu.ledger.keras_networks import keras_training_ledger  # noqa: E402

# isort: split
import keras  # noqa: E402
from keras import layers as L  # noqa: N812, E402 - as in Keras's own documentation

pytestmark = needs_emulated

# the goal through Keras is 600 launches, 80 GB besides convolutions, 11 GB; the limits are what was reached
LIMIT = {"launches": 574, "other_bytes": 64.4e9, "peak_bytes": 9.1e9, "host_waits": 0}


@pytest.fixture(params=["float32", "mixed_bfloat16"])
def policy(request):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def step(optimizer=keras.optimizers.Adam, loss=keras.losses.SparseCategoricalCrossentropy):
    """A step that makes its model when it is called for the first time."""
    made = []

    def train(images, labels):
        with keras.device("gpu:0"):
            if not made:
                keras.utils.set_random_seed(0)
                made.append(keras.Sequential([
                    L.Input((12, 12, 3)), L.Conv2D(8, 3, strides=2, padding="same", use_bias=False),
                    L.BatchNormalization(), L.ReLU(), L.DepthwiseConv2D(3), L.MaxPooling2D(2),
                    L.GlobalAveragePooling2D(), L.Dropout(0.3), L.Dense(5, activation="softmax", dtype="float32")]))
                made[0].compile(optimizer=optimizer(), metrics=[], loss=loss())
            return made[0].train_step((images, labels, None))

    return train


def test_a_step_through_keras_launches_what_the_ledger_says(monkeypatch, policy):
    found = cg.ledger(step(), cg.spec((4, 12, 12, 3)), cg.spec(4, "int64"), device="H200", warmup=1)
    assert {row.phase.partition(" ")[0] for row in found.rows} == {"forward", "backward", "optimizer"}
    use_stand_in(monkeypatch)
    train = step()
    images, labels = cg.zeros((4, 12, 12, 3)).to("gpu"), cg.tensor(np.zeros(4, np.int64), device="gpu")
    train(images, labels)
    with counting(monkeypatch) as counts:
        train(images, labels)
    assert cupy_launches(found) == counts.cupy
    assert kernel_launches(found) == counts.kernels
    assert found.totals["host_waits"] == counts.waits == 0


CONVOLUTIONS = {
    "Conv1D": lambda **o: L.Conv1D(8, 3, **o), "causal": lambda **o: L.Conv1D(8, 3, padding="causal", **o),
    "causal, dilated": lambda **o: L.Conv1D(8, 2, padding="causal", dilation_rate=3, **o),
    "Conv2D": lambda **o: L.Conv2D(8, 3, **o),
    "DepthwiseConv1D": lambda **o: L.DepthwiseConv1D(3, depth_multiplier=2, **o),
    "DepthwiseConv2D": lambda **o: L.DepthwiseConv2D(3, strides=2, padding="same", **o),
    "SeparableConv1D": lambda **o: L.SeparableConv1D(6, 3, **o),
    "SeparableConv2D": lambda **o: L.SeparableConv2D(6, 3, padding="same", **o),
    "Conv1DTranspose": lambda **o: L.Conv1DTranspose(6, 3, strides=2, padding="same", **o),
    "Conv2DTranspose": lambda **o: L.Conv2DTranspose(6, 3, strides=2, **o),
    "beyond the taps": lambda **o: L.Conv2DTranspose(6, 2, strides=4, **o),
}


@pytest.mark.parametrize("activation", [None, "relu", "tanh", "gelu"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_add_their_bias_and_activation_in_their_kernel(name, activation):
    shape = (2, 9, 4) if "1D" in name or "causal" in name else (2, 9, 9, 4)
    layer = CONVOLUTIONS[name](activation=activation, bias_initializer="random_normal")
    plain = CONVOLUTIONS[name](use_bias=False)
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    assert tuple(layer.compute_output_shape(shape)) == layer(x).shape
    plain.build(shape)
    plain.set_weights(layer.get_weights()[:-1])
    expected = keras.activations.get(activation)(plain(x) + layer.bias)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-6)

    def launches(**options):
        layer = CONVOLUTIONS[name](**options)

        def run(x):
            with keras.device("gpu:0"), cg.no_grad():
                return layer(x)

        return cg.ledger(run, cg.spec(shape), device="H200", warmup=1).totals["launches"]

    if name != "beyond the taps":
        assert launches(activation=activation) == launches(use_bias=False) + (activation == "gelu")


@pytest.mark.parametrize("optimizer", [
    lambda: keras.optimizers.SGD(gradient_accumulation_steps=2),
    lambda: keras.optimizers.Adam(use_ema=True, ema_overwrite_frequency=2),
    lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(clipnorm=1.0)),
    lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.RMSprop(gradient_accumulation_steps=2)),
])
def test_optimizers_and_hinge_losses_wait_for_nothing(optimizer):
    found = cg.ledger(step(optimizer, keras.losses.Hinge), cg.spec((4, 12, 12, 3)), cg.spec((4, 5)), device="H200",
                      warmup=1)
    assert found.totals["host_waits"] == 0, str(found)


def test_resnet_50_through_keras_stays_within_its_limits():
    found = keras_training_ledger("resnet50", 256, "bfloat16", "H200")
    over = {name: found.totals[name] for name, limit in LIMIT.items() if found.totals[name] > limit}
    assert not over, str(found)
    assert keras.config.dtype_policy().name == "float32"


def test_networks_that_keras_does_not_have_are_refused(capsys):
    assert cli.main(["ledger", "--keras", "--network", "alexnet"]) == 2
    assert "expected a network of keras.applications, one of vgg16" in capsys.readouterr().err
