"""No gradient is lost: every trainable weight of every layer class of Keras, and its input, against central differences
in float64.

A function that left the tape would give a gradient of zero, or none, and no error: only this comparison shows it.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import convgpu as cg
import convgpu.keras  # noqa: F401 - before keras
import keras
from keras import layers as L  # noqa: N812 - as in Keras's own documentation

IMAGE, CUBE, SEQUENCE, ROWS = (2, 5, 6, 2), (2, 4, 3, 4, 2), (2, 4, 3), (3, 4)


class Case:
    """A layer, the shapes of its inputs, and whether it is called with training=True."""

    def __init__(self, make: Any, *shapes: tuple[int, ...], training: bool = False, integers: int = 0,
                 input_gradient: bool = True):
        self.make, self.shapes, self.training, self.integers = make, shapes, training, integers
        self.input_gradient = input_gradient and not integers


def case(make: Any, *shapes: tuple[int, ...], **options: Any) -> Case:
    return Case(make, *shapes, **options)


def convolutions() -> dict[str, list[Case]]:
    table: dict[str, list[Case]] = {}
    for rank, shape in ((1, SEQUENCE), (2, IMAGE), (3, CUBE)):
        for data_format in ("channels_last", "channels_first"):
            options: dict[str, Any] = {"data_format": data_format, "bias_initializer": "ones"}
            table.setdefault(f"Conv{rank}D", []).extend([
                case(lambda r=rank, o=options: getattr(L, f"Conv{r}D")(3, 2, padding="same", activation="tanh", **o), shape),
                case(lambda r=rank, o=options: getattr(L, f"Conv{r}D")(2, 2, strides=2, **o), shape)])
            table.setdefault(f"Conv{rank}DTranspose", []).extend([
                case(lambda r=rank, o=options: getattr(L, f"Conv{r}DTranspose")(3, 2, strides=2, padding="same", **o), shape),
                case(lambda r=rank, o=options: getattr(L, f"Conv{r}DTranspose")(2, 2, strides=3, **o), shape)])
            if rank < 3:
                table.setdefault(f"DepthwiseConv{rank}D", []).append(
                    case(lambda r=rank, o=options: getattr(L, f"DepthwiseConv{r}D")(2, depth_multiplier=2, **o), shape))
                table.setdefault(f"SeparableConv{rank}D", []).append(
                    case(lambda r=rank, o=options: getattr(L, f"SeparableConv{r}D")(3, 2, **o), shape))
            for pool in ("MaxPooling", "AveragePooling"):
                table.setdefault(f"{pool}{rank}D", []).append(
                    case(lambda p=pool, r=rank, d=data_format: getattr(L, f"{p}{r}D")(2, padding="same", data_format=d), shape))
            for pool in ("GlobalMaxPooling", "GlobalAveragePooling"):
                table.setdefault(f"{pool}{rank}D", []).append(
                    case(lambda p=pool, r=rank, d=data_format: getattr(L, f"{p}{r}D")(data_format=d), shape))
            for pool in ("AdaptiveMaxPooling", "AdaptiveAveragePooling"):
                table.setdefault(f"{pool}{rank}D", []).append(
                    case(lambda p=pool, r=rank, d=data_format: getattr(L, f"{p}{r}D")(2, data_format=d), shape))
        for name in ("ZeroPadding", "UpSampling", "Cropping"):
            table[f"{name}{rank}D"] = [case(lambda n=name, r=rank: getattr(L, f"{n}{r}D")(1 if n != "UpSampling" else 2), shape)]
        table[f"SpatialDropout{rank}D"] = [case(lambda r=rank: getattr(L, f"SpatialDropout{r}D")(0.4, seed=1), shape, training=True)]
    return table


def attended(layer: Any, shape: tuple[int, ...]) -> list[Case]:
    return [case(layer, shape, shape)]


GRU = lambda **o: L.GRU(3, bias_initializer="ones", **o)  # noqa: E731
CASES: dict[str, list[Case]] = {
    **convolutions(),
    "Conv2D ": [case(lambda: L.Conv2D(4, 3, groups=2), IMAGE), case(lambda: L.Conv2D(3, 2, dilation_rate=2), IMAGE)],
    "Dense": [case(lambda: L.Dense(3, activation="softplus", bias_initializer="ones"), ROWS), case(lambda: L.Dense(2), SEQUENCE)],
    "EinsumDense": [case(lambda: L.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d"), SEQUENCE)],
    "Embedding": [case(lambda: L.Embedding(7, 3), (2, 5), integers=7)],
    "ReversibleEmbedding": [case(lambda: L.ReversibleEmbedding(7, 3), (2, 5), integers=7)],
    "BatchNormalization": [case(lambda: L.BatchNormalization(), IMAGE, training=t)
                           for t in (False, True)] + [case(lambda: L.BatchNormalization(axis=1), IMAGE, training=True),
                                                      case(lambda: L.BatchNormalization(), ROWS, training=True)],
    "LayerNormalization": [case(lambda: L.LayerNormalization(), IMAGE), case(lambda: L.LayerNormalization(axis=[1, 2]), SEQUENCE)],
    "GroupNormalization": [case(lambda: L.GroupNormalization(groups=2), (2, 3, 4, 4))],
    "RMSNormalization": [case(lambda: L.RMSNormalization(), SEQUENCE)],
    "UnitNormalization": [case(lambda: L.UnitNormalization(), ROWS)],
    "SpectralNormalization": [case(lambda: L.SpectralNormalization(L.Dense(3)), ROWS),
                              case(lambda: L.SpectralNormalization(L.Conv2D(3, 2), power_iterations=2), IMAGE)],
    "LSTM": [case(lambda: L.LSTM(3), SEQUENCE), case(lambda: L.LSTM(2, return_sequences=True, go_backwards=True), SEQUENCE)],
    "GRU": [case(lambda: GRU(), SEQUENCE), case(lambda: GRU(return_sequences=True, reset_after=False), SEQUENCE)],
    "SimpleRNN": [case(lambda: L.SimpleRNN(3, unroll=True), SEQUENCE), case(lambda: L.SimpleRNN(3, return_sequences=True), SEQUENCE)],
    "RNN": [case(lambda: L.RNN([L.LSTMCell(2), L.GRUCell(3)]), SEQUENCE)],
    "LSTMCell": [case(lambda: L.RNN(L.LSTMCell(2)), SEQUENCE)],
    "GRUCell": [case(lambda: L.RNN(L.GRUCell(2)), SEQUENCE)],
    "SimpleRNNCell": [case(lambda: L.RNN(L.SimpleRNNCell(2)), SEQUENCE)],
    "StackedRNNCells": [case(lambda: L.RNN(L.StackedRNNCells([L.LSTMCell(2), L.SimpleRNNCell(3)])), SEQUENCE)],
    "Bidirectional": [case(lambda: L.Bidirectional(L.LSTM(2)), SEQUENCE),
                      case(lambda: L.Bidirectional(L.GRU(2, return_sequences=True), merge_mode="sum"), SEQUENCE)],
    "TimeDistributed": [case(lambda: L.TimeDistributed(L.Dense(2)), SEQUENCE),
                        case(lambda: L.TimeDistributed(L.Conv1D(2, 2)), IMAGE)],
    "ConvLSTM1D": [case(lambda: L.ConvLSTM1D(2, 2), (2, 3, 4, 2))],
    "ConvLSTM2D": [case(lambda: L.ConvLSTM2D(2, 2), (2, 3, 4, 3, 2))],
    "ConvLSTM3D": [case(lambda: L.ConvLSTM3D(1, 2), (1, 2, 3, 3, 2, 1))],
    "MultiHeadAttention": [case(lambda: L.MultiHeadAttention(2, 3), SEQUENCE, SEQUENCE),
                           case(lambda: L.MultiHeadAttention(2, 2, attention_axes=(1,)), SEQUENCE, (2, 4, 3))],
    "GroupedQueryAttention": [case(lambda: L.GroupQueryAttention(2, 4, 2), SEQUENCE, SEQUENCE)],
    "PReLU": [case(lambda: L.PReLU(alpha_initializer="ones"), ROWS)],
    "ELU": [case(lambda: L.ELU(), ROWS)],
    "ReLU": [case(lambda: L.ReLU(max_value=1.0, negative_slope=0.2), ROWS)],
    "LeakyReLU": [case(lambda: L.LeakyReLU(), ROWS)],
    "Softmax": [case(lambda: L.Softmax(), ROWS)],
    "Activation": [case(lambda n=name: L.Activation(n), ROWS) for name in (
        "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu",
        "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink",
        "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "tanh",
        "tanh_shrink")],
    "Dropout": [case(lambda: L.Dropout(0.4, seed=1), ROWS, training=True)],
    "GaussianDropout": [case(lambda: L.GaussianDropout(0.4, seed=1), ROWS, training=True)],
    "GaussianNoise": [case(lambda: L.GaussianNoise(0.4, seed=1), ROWS, training=True)],
    "AlphaDropout": [case(lambda: L.AlphaDropout(0.4, seed=1), ROWS, training=True)],
    "ActivityRegularization": [case(lambda: L.ActivityRegularization(0.1, 0.1), ROWS)],
    "Flatten": [case(lambda: L.Flatten(), IMAGE)],
    "Reshape": [case(lambda: L.Reshape((6, 10)), IMAGE)],
    "Permute": [case(lambda: L.Permute((2, 1)), SEQUENCE)],
    "RepeatVector": [case(lambda: L.RepeatVector(3), ROWS)],
    "Masking": [case(lambda: L.Masking(), SEQUENCE)],
    "Lambda": [case(lambda: L.Lambda(lambda x: x * x), ROWS)],
    "Identity": [case(lambda: L.Identity(), ROWS)],
    "Rescaling": [case(lambda: L.Rescaling(0.5, 1.0), ROWS)],
    "Normalization": [case(lambda: L.Normalization(mean=1.0, variance=2.0), ROWS)],
    "Resizing": [case(lambda: L.Resizing(7, 4), IMAGE)],
    "CenterCrop": [case(lambda: L.CenterCrop(3, 3), IMAGE)],
    "Attention": [case(lambda: L.Attention(use_scale=True), SEQUENCE, SEQUENCE),
                  case(lambda: L.Attention(score_mode="concat"), SEQUENCE, SEQUENCE)],
    "AdditiveAttention": [case(lambda: L.AdditiveAttention(), SEQUENCE, SEQUENCE)],
    "Dot": [case(lambda: L.Dot(-1), SEQUENCE, SEQUENCE), case(lambda: L.Dot(-1, normalize=True), ROWS, ROWS)],
    "Concatenate": [case(lambda: L.Concatenate(), ROWS, ROWS)],
    **{name: [case(lambda n=name: getattr(L, n)(), ROWS, ROWS)] for name in (
        "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")},
    "STFTSpectrogram": [case(lambda: L.STFTSpectrogram(mode=m, frame_length=4, frame_step=2, fft_length=8, expand_dims=False,
                                                      trainable=True), (2, 20, 1)) for m in ("log", "magnitude", "psd", "real", "imag")],
    "MelSpectrogram": [case(lambda: L.MelSpectrogram(num_mel_bins=4, fft_length=16, sequence_stride=8, sampling_rate=100, max_freq=50), (2, 64))],
}

# Layers without weights and without a gradient of their input: of text and integers, random augmentation, and what has
# to be built from other layers.
WITHOUT = {
    "CategoryEncoding", "Discretization", "HashedCrossing", "Hashing", "IntegerLookup", "StringLookup", "TextVectorization",
    "IndexLookup", "Input", "InputLayer", "InputSpec", "Layer", "Wrapper", "Pipeline", "TFSMLayer", "JaxLayer", "FlaxLayer",
    "TorchModuleWrapper", "AugMix", "AutoContrast", "CutMix", "Equalization", "MaxNumBoundingBoxes", "MixUp", "RandAugment",
    "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomCrop", "RandomElasticTransform",
    "RandomErasing", "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective",
    "RandomPosterization", "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear", "RandomTranslation",
    "RandomZoom", "Solarization", "ContrastLimitedAdaptiveHistogramEqualization", "BaseWrapper", "InputSpec",
}
ALIASES = {"GroupQueryAttention": "GroupedQueryAttention"}


@pytest.fixture(autouse=True)
def float64():
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(before)


def inputs_of(c: Case, rng: np.random.Generator) -> list[np.ndarray]:
    if c.integers:
        return [rng.integers(0, c.integers, shape).astype("int32") for shape in c.shapes]
    return [rng.standard_normal(shape) for shape in c.shapes]


def run(layer: Any, inputs: list[Any], training: bool) -> Any:
    given = inputs[0] if len(inputs) == 1 else inputs
    options = {"training": training} if layer._call_has_training_arg else {}
    if isinstance(layer, (L.MultiHeadAttention, L.GroupQueryAttention)):
        return layer(*inputs, **options)
    return layer(given, **options)


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

    tensors = [cg.tensor(a, requires_grad=c.input_gradient) for a in arrays]
    leaves = [v.value for v in layer.trainable_variables]
    for leaf in leaves:
        leaf.zero_grad()
    objective(tensors).backward()
    checked = list(zip([v.path for v in layer.trainable_variables], layer.trainable_variables, leaves))
    for path, variable, leaf in checked:
        assert leaf.grad is not None, f"{path}: no gradient"
        compare(path, np.array(variable), leaf.grad.numpy(), variable.assign,
                lambda: objective([cg.tensor(a) for a in arrays]).item())
    if c.input_gradient:
        for i, (a, t) in enumerate(zip(arrays, tensors)):
            held = list(arrays)

            def assign(value: np.ndarray, i: int = i, held: list = held) -> None:
                held[i] = value

            assert t.grad is not None, "input: no gradient"
            compare(f"input {i}", a, t.grad.numpy(), assign, lambda held=held: objective([cg.tensor(b) for b in held]).item())


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
    classes = {n for n, v in vars(L).items() if inspect.isclass(v) and not n.startswith("_")}
    covered = {n.strip() for n in CASES} | {ALIASES.get(n, n) for n in WITHOUT}
    names = {ALIASES.get(n, n) for n in classes}
    synonyms = {n for n in names for other in classes if n != other and vars(L).get(n) is vars(L).get(other)
                and (other in covered)}
    assert names - covered - synonyms == set()
