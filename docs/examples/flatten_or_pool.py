"""Flatten ties a network to one size of image, global pooling does not: the features of 32x32 and of 52x52 pixels."""

import convgpu.keras
import keras
import numpy as np
from keras import layers


def network(size, head):
    return keras.Sequential([
        keras.Input((size, size, 1)),
        layers.Conv2D(6, 5, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(16, 5, activation="relu"),
        layers.MaxPooling2D(2),
        head,
        layers.Dense(10, activation="softmax"),
    ])


for size in (32, 52):
    for head in (layers.Flatten(), layers.GlobalAveragePooling2D(), layers.GlobalMaxPooling2D()):
        model = network(size, head)
        print(f"{size}x{size} {head.name.rstrip('_0123456789')}: {head.output.shape[1]} features, "
              f"{model.layers[-1].count_params()} weights behind them")

anysize = network(None, layers.GlobalAveragePooling2D())
for size in (32, 52):
    print(f"one network, {size}x{size}:", anysize.predict(np.ones((1, size, size, 1)), verbose=0).shape)

try:
    network(None, layers.Flatten())
except ValueError as error:
    print("Flatten needs a size:", str(error).splitlines()[0])

wide = keras.Sequential([keras.Input((6, 6, 1)), layers.MaxPooling2D((2, 3))])
print("windows of 2x3:", wide.predict(np.arange(36.0).reshape(1, 6, 6, 1), verbose=0)[0, :, :, 0].tolist())
