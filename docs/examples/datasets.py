"""The data sets of Keras: a small network on Fashion-MNIST or CIFAR-10.

    python datasets.py fashion_mnist     (or mnist, cifar10); Keras downloads the data at the first run
    python datasets.py cifar10 500       only the first 500 images of each set
"""

import sys

import convgpu.keras
import keras
from keras import layers

name, count = (sys.argv[1:] + ["fashion_mnist", None])[0], int(sys.argv[2]) if len(sys.argv) > 2 else None
(x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
print(f"{name}: images {x_train.shape} {x_train.dtype}, labels {y_train.shape}; test {x_test.shape}, {y_test.shape}")

x_train, y_train, x_test, y_test = x_train[:count], y_train[:count], x_test[:count], y_test[:count]
if x_train.ndim == 3:
    x_train, x_test = x_train[..., None], x_test[..., None]  # N x 28 x 28 to N x 28 x 28 x 1
y_train, y_test = y_train.flatten(), y_test.flatten()  # CIFAR-10 has N x 1
print(f"to the network: images {x_train.shape}, labels {y_train.shape}, classes {y_train.max() + 1}")

keras.utils.set_random_seed(0)
model = keras.Sequential([
    keras.Input(x_train.shape[1:]),
    layers.Rescaling(1 / 255),
    layers.Conv2D(16, 3, strides=2, activation="relu"),
    layers.Conv2D(32, 3, strides=2, activation="relu"),
    layers.Flatten(),
    layers.Dense(10, activation="softmax"),
])
model.compile(optimizer=keras.optimizers.Adam(0.003), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=32, epochs=6, verbose=2)
print(f"test accuracy: {model.evaluate(x_test, y_test, verbose=0)[1]:.4f}")
