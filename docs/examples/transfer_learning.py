"""What a network learned on the digits 0 to 4 helps it with 5 to 9, of which it sees four examples each.

The convolutions are kept and frozen (feature extraction), then the last of them learns on at a lower rate
(fine-tuning); the same network that starts from nothing is the yardstick.
"""

import convgpu.keras
import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

digits = load_digits()
images, labels = (digits.images[..., None] / 16).astype("float32"), digits.target
low, high = labels < 5, labels >= 5

# Four examples of each of 5 to 9 to learn from; all others are the test.
few = np.concatenate([np.flatnonzero(labels == digit)[:4] for digit in range(5, 10)])
rest = np.setdiff1d(np.flatnonzero(high), few)


def convolutions():
    return keras.Sequential([
        keras.Input((8, 8, 1)),
        layers.Conv2D(16, 3, padding="same", activation="relu", name="conv1"),
        layers.Conv2D(32, 3, padding="same", activation="relu", name="conv2"),
        layers.MaxPooling2D(2),
        layers.Conv2D(32, 3, padding="same", activation="relu", name="conv3"),
        layers.Flatten(),
    ], name="convolutions")


def classifier(base):
    """Five classes behind the convolutions; shifted images in training, since there are so few."""
    inputs = keras.Input((8, 8, 1))
    x = layers.RandomTranslation(0.1, 0.1, fill_mode="constant")(inputs)
    return keras.Model(inputs, layers.Dense(5, activation="softmax")(base(x)))


def train(model, x, y, rate, epochs):
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0)


def bits(layer):
    return [array.tobytes() for array in layer.get_weights()]


def report(name, model):
    print(f"{name}: test accuracy {model.evaluate(images[rest], labels[rest] - 5, verbose=0)[1]:.4f}")


keras.utils.set_random_seed(0)
base = convolutions()
train(classifier(base), images[low], labels[low], 0.003, epochs=10)
base.save_weights("zero-to-four.weights.h5")

scratch = classifier(convolutions())
train(scratch, images[few], labels[few] - 5, 0.005, epochs=60)
report("from nothing", scratch)

base = convolutions()
base.load_weights("zero-to-four.weights.h5")
before = {layer.name: bits(layer) for layer in base.layers if layer.weights}

base.trainable = False
model = classifier(base)
train(model, images[few], labels[few] - 5, 0.01, epochs=60)
report("feature extraction", model)
print("layers that kept every bit:", *(name for name in before if bits(base.get_layer(name)) == before[name]))

base.trainable = True
for layer in base.layers:
    layer.trainable = layer.name == "conv3"
train(model, images[few], labels[few] - 5, 0.001, epochs=60)
report("fine-tuning", model)
print("layers that kept every bit:", *(name for name in before if bits(base.get_layer(name)) == before[name]))
