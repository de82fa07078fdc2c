"""Handwritten digits by a convolutional network; the training curves go to training-curves.png.

    python mnist_cnn.py              the 1,797 digits of 8x8 pixels that come with scikit-learn: a few seconds
    python mnist_cnn.py mnist        MNIST, which Keras downloads: 70,000 digits of 28x28 pixels
"""

import sys

import convgpu.keras
import keras
import matplotlib.pyplot as plt
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

# N x 28 x 28 becomes N x 28 x 28 x 1: a convolution wants channels, and grey has one.
x_train, x_test = x_train[..., None].astype("float32"), x_test[..., None].astype("float32")

model = keras.Sequential([
    keras.Input(x_train.shape[1:]),
    layers.Conv2D(16, (3, 3), padding="same", activation="relu"),
    layers.MaxPooling2D((2, 2)),
    layers.Conv2D(32, (3, 3), padding="same", activation="relu"),
    layers.MaxPooling2D((2, 2)),
    layers.Flatten(),
    layers.Dropout(0.3),
    layers.Dense(10, activation="softmax"),
])
model.summary()
model.compile(optimizer=keras.optimizers.Adam(0.005), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(x_train, y_train, batch_size=64, epochs=12, validation_data=(x_test, y_test), verbose=2).history
loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"test accuracy: {accuracy:.4f}")

model.save("digits.keras")
again = keras.models.load_model("digits.keras")
same = (again.predict(x_test, verbose=0) == model.predict(x_test, verbose=0)).all()
print("the model read back from digits.keras predicts the same:", bool(same))

figure, axes = plt.subplots(1, 2, figsize=(7, 2.6), layout="constrained")
for axis, name in zip(axes, ("loss", "accuracy")):
    axis.plot(range(1, 13), history[name], label="training")
    axis.plot(range(1, 13), history[f"val_{name}"], label="test")
    axis.set(xlabel="epoch", ylabel=name, xticks=range(2, 13, 2))
    axis.legend()
figure.savefig("training-curves.png", dpi=80)
