"""Well-known networks that `keras.applications` lacks, as plain functional Keras models.

They run on any backend of Keras. AlexNet, ZFNet and GoogLeNet are built without their local response normalisation,
which has no parameters and which all later networks dropped.
"""
# ruff: noqa: N802 (functions that build models have the networks' names, as in keras.applications)

from __future__ import annotations

from typing import Any

from keras import Input, Model, config, layers

Shape = tuple[int | None, int | None, int]


def LeNet5(*, include_top: bool = True, weights: str | None = None, input_shape: Shape = (28, 28, 1),
           padding: str = "same", classes: int = 10) -> Model:
    """LeNet-5 (LeCun et al. 1998): tanh and average pooling; 61,706 parameters.

    `padding` is the padding of the first convolution: "same" for images of 28x28 pixels, "valid" for 32x32.

    >>> LeNet5().count_params(), LeNet5(input_shape=(32, 32, 1), padding="valid").count_params()
    (61706, 61706)
    """
    inputs = x = Input(input_shape)
    x = layers.Conv2D(6, 5, padding=padding, activation="tanh", name="conv1")(x)
    x = layers.AveragePooling2D(2, name="pool1")(x)
    x = layers.Conv2D(16, 5, activation="tanh", name="conv2")(x)
    x = layers.AveragePooling2D(2, name="pool2")(x)
    if include_top:
        x = layers.Flatten(name="flatten")(x)
        x = layers.Dense(120, activation="tanh", name="dense1")(x)
        x = layers.Dense(84, activation="tanh", name="dense2")(x)
        x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return _model(inputs, x, "lenet5", weights)


def AlexNet(*, include_top: bool = True, weights: str | None = None, input_shape: Shape = (227, 227, 3),
            padding: str = "same", groups: int = 1, classes: int = 1000) -> Model:
    """AlexNet (Krizhevsky et al. 2012) in three forms: padded, in two groups as on the paper's two GPUs, and unpadded.

    `padding` applies to the convolutions after the first, `groups` to the second, fourth and fifth convolution.

    >>> AlexNet(padding="valid", include_top=False).output_shape
    (None, 2, 2, 256)
    """
    inputs = x = Input(input_shape)
    x = layers.Conv2D(96, 11, strides=4, activation="relu", name="conv1")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    x = layers.Conv2D(256, 5, padding=padding, groups=groups, activation="relu", name="conv2")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool2")(x)
    x = layers.Conv2D(384, 3, padding=padding, activation="relu", name="conv3")(x)
    x = layers.Conv2D(384, 3, padding=padding, groups=groups, activation="relu", name="conv4")(x)
    x = layers.Conv2D(256, 3, padding=padding, groups=groups, activation="relu", name="conv5")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool5")(x)
    if include_top:
        x = _dense_top(x, classes)
    return _model(inputs, x, "alexnet", weights)


def ZFNet(*, include_top: bool = True, weights: str | None = None, input_shape: Shape = (224, 224, 3),
          classes: int = 1000) -> Model:
    """ZFNet (Zeiler and Fergus 2013): AlexNet with smaller filters and strides at the start; 62,357,608 parameters.

    >>> ZFNet(include_top=False).output_shape
    (None, 6, 6, 256)
    """
    inputs = x = Input(input_shape)
    x = layers.ZeroPadding2D(1, name="pad1")(x)
    x = layers.Conv2D(96, 7, strides=2, activation="relu", name="conv1")(x)
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)  # activations are 0 or more, so the zeros never win the maximum
    x = layers.MaxPooling2D(3, strides=2, name="pool1")(x)
    x = layers.Conv2D(256, 5, strides=2, activation="relu", name="conv2")(x)
    x = layers.ZeroPadding2D(1, name="pool2_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool2")(x)
    for i, filters in enumerate((384, 384, 256), start=3):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{i}")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool5")(x)
    if include_top:
        x = _dense_top(x, classes)
    return _model(inputs, x, "zfnet", weights)


def GoogLeNet(*, include_top: bool = True, weights: str | None = None, input_shape: Shape = (224, 224, 3),
              classes: int = 1000) -> Model:
    """GoogLeNet (Szegedy et al. 2014, table 1) without its two auxiliary classifiers; 6,998,552 parameters.

    >>> GoogLeNet(include_top=False).output_shape
    (None, 7, 7, 1024)
    """
    inputs = x = Input(input_shape)
    x = _conv(x, 64, 7, "conv1", strides=2)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool1")(x)
    x = _conv(x, 64, 1, "conv2_reduce")
    x = _conv(x, 192, 3, "conv2")
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool2")(x)
    x = _inception(x, "3a", 64, (96, 128), (16, 32), 32)
    x = _inception(x, "3b", 128, (128, 192), (32, 96), 64)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool3")(x)
    x = _inception(x, "4a", 192, (96, 208), (16, 48), 64)
    x = _inception(x, "4b", 160, (112, 224), (24, 64), 64)
    x = _inception(x, "4c", 128, (128, 256), (24, 64), 64)
    x = _inception(x, "4d", 112, (144, 288), (32, 64), 64)
    x = _inception(x, "4e", 256, (160, 320), (32, 128), 128)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool4")(x)
    x = _inception(x, "5a", 256, (160, 320), (32, 128), 128)
    x = _inception(x, "5b", 384, (192, 384), (48, 128), 128)
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dropout(0.4, name="dropout")(x)
        x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return _model(inputs, x, "googlenet", weights)


def _inception(x: Any, name: str, one: int, three: tuple[int, int], five: tuple[int, int], pool: int) -> Any:
    """Concatenate four branches: 1x1; 1x1 then 3x3; 1x1 then 5x5; pool then 1x1. Arguments are numbers of filters."""
    name = f"inception_{name}"
    branches = [_conv(x, one, 1, f"{name}_1x1")]
    for size, (reduced, filters) in ((3, three), (5, five)):
        branch = _conv(x, reduced, 1, f"{name}_{size}x{size}_reduce")
        branches.append(_conv(branch, filters, size, f"{name}_{size}x{size}"))
    pooled = layers.MaxPooling2D(3, strides=1, padding="same", name=f"{name}_pool")(x)
    branches.append(_conv(pooled, pool, 1, f"{name}_pool_proj"))
    axis = 1 if config.image_data_format() == "channels_first" else -1
    return layers.Concatenate(axis, name=name)(branches)


def _conv(x: Any, filters: int, size: int, name: str, strides: int = 1) -> Any:
    return layers.Conv2D(filters, size, strides=strides, padding="same", activation="relu", name=name)(x)


def _dense_top(x: Any, classes: int) -> Any:
    """The dense layers at the end of AlexNet and ZFNet."""
    x = layers.Flatten(name="flatten")(x)
    for name in ("fc6", "fc7"):
        x = layers.Dense(4096, activation="relu", name=name)(x)
        x = layers.Dropout(0.5, name=f"{name}_dropout")(x)
    return layers.Dense(classes, activation="softmax", name="predictions")(x)


def _model(inputs: Any, outputs: Any, name: str, weights: str | None) -> Model:
    model = Model(inputs, outputs, name=name)
    if weights is not None:
        model.load_weights(weights)
    return model
