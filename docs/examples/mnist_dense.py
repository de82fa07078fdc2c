"""Handwritten digits by a Sequential model of Dense layers, the first program of every course on Keras.

    python mnist_dense.py            the 1,797 digits of 8x8 pixels that come with scikit-learn: a few seconds
    python mnist_dense.py mnist      MNIST, which Keras downloads: 70,000 digits of 28x28 pixels
"""

import sys

import convgpu.keras
import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

keras.utils.set_random_seed(0)

if "mnist" in sys.argv:
    (x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
    x_train, x_test = x_train / 255, x_test / 255
else:
    digits = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(digits.images / 16, digits.target, random_state=0)

# An image becomes a row of numbers, a label a row of zeros with a single one.
x_train, x_test = x_train.reshape(len(x_train), -1), x_test.reshape(len(x_test), -1)
y_train, y_test = keras.utils.to_categorical(y_train, 10), keras.utils.to_categorical(y_test, 10)

model = keras.Sequential([
    keras.Input((x_train.shape[1],)),
    layers.Dense(128, activation="relu"),
    layers.Dropout(0.2),
    layers.Dense(10, activation="softmax"),
])
model.summary()
model.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=32, epochs=12, validation_split=0.1, verbose=2)

loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"backend: {keras.backend.backend()}")
print(f"test accuracy: {accuracy:.4f}")
probabilities = model.predict(x_test[:5], verbose=0)
print("first five predicted:", np.argmax(probabilities, axis=1), "true:", np.argmax(y_test[:5], axis=1))
