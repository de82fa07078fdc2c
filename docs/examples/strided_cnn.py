"""The functional API: strided convolutions in the place of pooling, Dropout, LeakyReLU and tanh; SGD with momentum."""

import convgpu.keras
import keras
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

keras.utils.set_random_seed(0)
digits = load_digits()
x_train, x_test, y_train, y_test = train_test_split(digits.images[..., None] / 16, digits.target, random_state=0)

inputs = keras.Input(shape=(8, 8, 1), name="digit")
x = layers.Conv2D(16, 3, strides=2, padding="same", name="conv1")(inputs)  # 8x8 to 4x4
x = layers.LeakyReLU(negative_slope=0.1)(x)
x = layers.Conv2D(32, 3, strides=2, padding="same", name="conv2")(x)  # 4x4 to 2x2
x = layers.LeakyReLU(negative_slope=0.1)(x)
x = layers.Flatten()(x)
x = layers.Dense(64, activation="tanh")(x)
x = layers.Dropout(0.25)(x)
outputs = layers.Dense(10, activation="softmax", name="class")(x)
model = keras.Model(inputs=inputs, outputs=outputs, name="strided")
model.summary()

model.compile(optimizer=keras.optimizers.SGD(learning_rate=0.05, momentum=0.9), loss="sparse_categorical_crossentropy",
              metrics=["accuracy"])
model.fit(x_train, y_train, batch_size=32, epochs=15, verbose=0)
print("after conv1:", model.get_layer("conv1").output.shape, "after conv2:", model.get_layer("conv2").output.shape)
print(f"test accuracy: {model.evaluate(x_test, y_test, verbose=0)[1]:.4f}")
