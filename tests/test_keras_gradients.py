"""No gradient is lost: every trainable weight of every layer class of Keras, and its input, against central differences
in float64.

A function that left the tape would give a gradient of zero, or none, and no error: only this comparison shows it.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from optional import require

require("keras")

import convgpu as cg  # noqa: E402
import convgpu.keras  # noqa: F401, E402

# isort: split
import keras  # noqa: E402
from keras import layers as L  # noqa: N812, E402 - as in Keras's own documentation

IMAGE, CUBE, SEQUENCE, ROWS = (2, 5, 6, 2), (2, 4, 3, 4, 2), (2, 4, 3), (3, 4)


class Case:
    """A layer, the shapes of its inputs, and whether it is called with training=True."""

    def __init__(self, make: Callable[[], Any], *shapes: tuple[int, ...], training: bool = False, integers: int = 0):
        self.make, self.shapes, self.training, self.integers = make, shapes, training, integers


def of(name: str, *args: Any, shapes: Any = (ROWS,), training: bool = False, integers: int = 0,
       inner: Callable[[], Any] | None = None, **options: Any) -> Case:
    """The layer class of that name with arguments; `inner` makes the layer that it wraps."""
    def make() -> Any:
        return getattr(L, name)(*([] if inner is None else [inner()]), *args, **options)

    return Case(make, *shapes, training=training, integers=integers)


def spatial() -> dict[str, list[Case]]:
    """Convolutions and pools of every rank, in both data formats."""
    table: dict[str, list[Case]] = defaultdict(list)
    for rank, shape in ((1, SEQUENCE), (2, IMAGE), (3, CUBE)):
        here: dict[str, Any] = {"shapes": (shape,)}
        for form in ("channels_last", "channels_first"):
            weights = {**here, "data_format": form, "bias_initializer": "ones"}
            conv, transposed = f"Conv{rank}D", f"Conv{rank}DTranspose"
            table[conv] += [of(conv, 3, 2, padding="same", activation="tanh", **weights),
                            of(conv, 2, 2, strides=2, **weights)]
            table[transposed] += [of(transposed, 3, 2, strides=2, padding="same", **weights),
                                  of(transposed, 2, 2, strides=3, **weights)]
            if rank < 3:
                table[f"DepthwiseConv{rank}D"] += [of(f"DepthwiseConv{rank}D", 2, depth_multiplier=2, **weights)]
                table[f"SeparableConv{rank}D"] += [of(f"SeparableConv{rank}D", 3, 2, **weights)]
            for kind in ("Max", "Average"):
                pool = f"{kind}Pooling{rank}D"
                table[pool] += [of(pool, 2, padding="same", data_format=form, **here)]
                table[f"Global{pool}"] += [of(f"Global{pool}", data_format=form, **here)]
                table[f"Adaptive{pool}"] += [of(f"Adaptive{pool}", 2, data_format=form, **here)]
        for name, size in (("ZeroPadding", 1), ("Cropping", 1), ("UpSampling", 2)):
            table[f"{name}{rank}D"] = [of(f"{name}{rank}D", size, **here)]
        table[f"SpatialDropout{rank}D"] = [of(f"SpatialDropout{rank}D", 0.4, seed=1, training=True, **here)]
    table["Conv2D"] += [of("Conv2D", 4, 3, groups=2, shapes=(IMAGE,)),
                        of("Conv2D", 3, 2, dilation_rate=2, shapes=(IMAGE,))]
    return table


TIME: dict[str, Any] = {"shapes": (SEQUENCE,)}
PAIR: dict[str, Any] = {"shapes": (SEQUENCE, SEQUENCE)}
ACTIVATIONS = (
    "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu",
    "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink",
    "softmax",
    "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "tanh", "tanh_shrink")
CASES: dict[str, list[Case]] = {
    **spatial(),
    # weights
    "Dense": [of("Dense", 3, activation="softplus", bias_initializer="ones"), of("Dense", 2, **TIME)],
    "EinsumDense": [of("EinsumDense", "abc,cd->abd", (None, 4), bias_axes="d", **TIME)],
    "Embedding": [of("Embedding", 7, 3, shapes=((2, 5),), integers=7)],
    "ReversibleEmbedding": [of("ReversibleEmbedding", 7, 3, shapes=((2, 5),), integers=7)],
    # normalisation
    "BatchNormalization": [*[of("BatchNormalization", shapes=(IMAGE,), training=t) for t in (False, True)],
                           of("BatchNormalization", axis=1, shapes=(IMAGE,), training=True),
                           of("BatchNormalization", training=True)],
    "LayerNormalization": [of("LayerNormalization", shapes=(IMAGE,)), of("LayerNormalization", axis=[1, 2], **TIME)],
    "GroupNormalization": [of("GroupNormalization", groups=2, shapes=((2, 3, 4, 4),))],
    "RMSNormalization": [of("RMSNormalization", **TIME)],
    "UnitNormalization": [of("UnitNormalization")],
    "SpectralNormalization": [of("SpectralNormalization", inner=lambda: L.Dense(3)),
                              of("SpectralNormalization", inner=lambda: L.Conv2D(3, 2), power_iterations=2,
                                 shapes=(IMAGE,))],
    "Normalization": [of("Normalization", mean=1.0, variance=2.0)],
    # recurrent
    "LSTM": [of("LSTM", 3, **TIME), of("LSTM", 2, return_sequences=True, go_backwards=True, **TIME)],
    "GRU": [of("GRU", 3, bias_initializer="ones", **TIME),
            of("GRU", 2, return_sequences=True, reset_after=False, **TIME)],
    "SimpleRNN": [of("SimpleRNN", 3, unroll=True, **TIME), of("SimpleRNN", 3, return_sequences=True, **TIME)],
    "RNN": [of("RNN", inner=lambda: [L.LSTMCell(2), L.GRUCell(2)], **TIME)],
    "LSTMCell": [of("RNN", inner=lambda: L.LSTMCell(2), **TIME)],
    "GRUCell": [of("RNN", inner=lambda: L.GRUCell(2), **TIME)],
    "SimpleRNNCell": [of("RNN", inner=lambda: L.SimpleRNNCell(2), **TIME)],
    "StackedRNNCells": [of("RNN", inner=lambda: L.StackedRNNCells([L.LSTMCell(2), L.SimpleRNNCell(2)]), **TIME)],
    "Bidirectional": [of("Bidirectional", inner=lambda: L.LSTM(2), **TIME),
                      of("Bidirectional", inner=lambda: L.GRU(2, return_sequences=True), merge_mode="sum", **TIME)],
    "TimeDistributed": [of("TimeDistributed", inner=lambda: L.Dense(2), **TIME),
                        of("TimeDistributed", inner=lambda: L.Conv1D(2, 2), shapes=(IMAGE,))],
    "ConvLSTM1D": [of("ConvLSTM1D", 2, 2, shapes=((2, 2, 4, 2),))],
    "ConvLSTM2D": [of("ConvLSTM2D", 2, 2, shapes=((1, 2, 4, 3, 2),))],
    "ConvLSTM3D": [of("ConvLSTM3D", 1, 2, shapes=((1, 2, 3, 3, 2, 1),))],
    # attention
    "MultiHeadAttention": [of("MultiHeadAttention", 2, 3, **PAIR),
                           of("MultiHeadAttention", 2, 2, attention_axes=(1,), shapes=(SEQUENCE, (2, 5, 3)))],
    "GroupQueryAttention": [of("GroupQueryAttention", 2, 4, 2, **PAIR)],
    "Attention": [of("Attention", use_scale=True, **PAIR), of("Attention", score_mode="concat", **PAIR)],
    "AdditiveAttention": [of("AdditiveAttention", **PAIR)],
    # activations
    "PReLU": [of("PReLU", alpha_initializer="ones")],
    "ReLU": [of("ReLU", max_value=1.0, negative_slope=0.2)],
    **{name: [of(name)] for name in ("ELU", "LeakyReLU", "Softmax", "Identity", "Flatten")},
    "Activation": [of("Activation", name) for name in ACTIVATIONS],
    # noise
    **{name: [of(name, 0.4, seed=1, training=True)] for name in (
        "Dropout", "GaussianDropout", "GaussianNoise", "AlphaDropout")},
    "ActivityRegularization": [of("ActivityRegularization", 0.1, 0.1)],
    # shapes
    "Reshape": [of("Reshape", (6, 10), shapes=(IMAGE,))],
    "Permute": [of("Permute", (2, 1), **TIME)],
    "RepeatVector": [of("RepeatVector", 3)],
    "Masking": [of("Masking", **TIME)],
    "Lambda": [of("Lambda", lambda x: x * x)],
    "Rescaling": [of("Rescaling", 0.5, 1.0)],
    "Resizing": [of("Resizing", 7, 4, shapes=(IMAGE,))],
    "CenterCrop": [of("CenterCrop", 3, 3, shapes=(IMAGE,))],
    # of several inputs
    "Dot": [of("Dot", -1, **PAIR), of("Dot", -1, normalize=True, shapes=(ROWS, ROWS))],
    **{name: [of(name, shapes=(ROWS, ROWS))] for name in (
        "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate")},
    # spectra
    "STFTSpectrogram": [of("STFTSpectrogram", mode=mode, frame_length=4, frame_step=2, fft_length=8, trainable=True,
                           expand_dims=False, shapes=((2, 12, 1),))
                        for mode in ("log", "magnitude", "psd", "real", "imag")],
    "MelSpectrogram": [of("MelSpectrogram", num_mel_bins=4, fft_length=16, sequence_stride=8, sampling_rate=100,
                          max_freq=50, shapes=((2, 64),))],
}

# Without weights, and without a gradient of their input: of text and integers, random augmentation; base classes; and
# wrappers of other frameworks' modules.
WITHOUT = """
    CategoryEncoding Discretization HashedCrossing Hashing IntegerLookup StringLookup TextVectorization
    Input InputLayer InputSpec Layer Wrapper Pipeline TFSMLayer JaxLayer FlaxLayer TorchModuleWrapper
    AugMix AutoContrast ContrastLimitedAdaptiveHistogramEqualization CutMix Equalization MaxNumBoundingBoxes MixUp
    RandAugment RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
    RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHue RandomInvert
    RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness RandomShear
    RandomTranslation RandomZoom Solarization
""".split()


@pytest.fixture(autouse=True)
def float64():
    before = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")  # which does not follow floatx once a test has set it
    yield
    keras.config.set_floatx(before[0])
    keras.config.set_dtype_policy(before[1])


def inputs_of(c: Case, rng: np.random.Generator) -> list[np.ndarray]:
    if c.integers:
        return [rng.integers(0, c.integers, shape).astype("int32") for shape in c.shapes]
    return [rng.standard_normal(shape) for shape in c.shapes]


def run(layer: Any, inputs: list[Any], training: bool) -> Any:
    given = inputs[0] if len(inputs) == 1 else inputs
    options = {"training": training} if layer._call_has_training_arg else {}
    several = isinstance(layer, (L.MultiHeadAttention, L.GroupQueryAttention))
    return layer(*inputs, **options) if several else layer(given, **options)


@pytest.mark.parametrize(("name", "number"), [(n, i) for n, cases in CASES.items() for i in range(len(cases))])
def test_gradients(name: str, number: int) -> None:
    c = CASES[name][number]
    rng = np.random.default_rng(len(name) + number)
    keras.utils.set_random_seed(1)
    arrays = inputs_of(c, rng)
    layer = c.make()
    run(layer, [cg.tensor(a) for a in arrays], c.training)
    for v in layer.variables:  # away from the zeros and ones of the initializers
        if v.dtype == "float64":
            v.assign(np.asarray(v) + rng.uniform(0.1, 0.3, v.shape))
    state = [(v, np.array(v)) for v in layer.non_trainable_variables]
    weights: list[Any] = []

    def objective(tensors: list[Any]) -> Any:
        for v, value in state:
            v.assign(value)
        y = run(layer, tensors, c.training)
        y = y[0] if isinstance(y, (list, tuple)) else y
        if not weights:
            weights.append(rng.standard_normal(y.shape))
        return (y * cg.tensor(weights[0])).sum() + sum(layer.losses)

    tensors = [cg.tensor(a, requires_grad=not c.integers) for a in arrays]
    leaves = [v.value for v in layer.trainable_variables]
    for leaf in leaves:
        leaf.zero_grad()
    objective(tensors).backward()
    checked = list(zip([v.path for v in layer.trainable_variables], layer.trainable_variables, leaves))
    for path, variable, leaf in checked:
        assert leaf.grad is not None, f"{path}: no gradient"
        compare(path, np.array(variable), leaf.grad.numpy(), variable.assign,
                lambda: objective([cg.tensor(a) for a in arrays]).item())
    if not c.integers:
        for i, (a, t) in enumerate(zip(arrays, tensors)):
            held = list(arrays)

            def assign(value: np.ndarray, i: int = i, held: list = held) -> None:
                held[i] = value

            assert t.grad is not None, "input: no gradient"
            compare(f"input {i}", a, t.grad.numpy(), assign,
                    lambda held=held: objective([cg.tensor(b) for b in held]).item())


def compare(path: str, at: np.ndarray, gradient: np.ndarray, assign: Any, value: Any, most: int = 6) -> None:
    """The gradient against central differences, at `most` elements."""
    rng, step = np.random.default_rng(3), 1e-6
    for flat in rng.permutation(at.size)[:most]:
        place = np.unravel_index(flat, at.shape)
        sides = []
        for sign in (1, -1):
            moved = at.copy()
            moved[place] += sign * step
            assign(moved)
            sides.append(value())
        assign(at)
        difference = (sides[0] - sides[1]) / (2 * step)
        assert abs(gradient[place] - difference) <= 1e-6 * max(1, abs(difference)) + 1e-7, (
            f"{path}{place}: gradient {gradient[place]}, differences {difference}")


def test_every_layer_class_of_keras_is_here() -> None:
    classes = {v for n, v in vars(L).items() if inspect.isclass(v)}
    missing = classes - {vars(L).get(name) for name in (*CASES, *WITHOUT)}
    assert {c.__name__ for c in missing} == set()
