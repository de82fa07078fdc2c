"""What a network sees: the outputs of its inner layers and the filters it learned.

A model from the same input to the outputs of inner layers shows them. The pictures: feature-maps.png, filters.png.
"""

import convgpu.keras
import keras
import matplotlib.pyplot as plt
from keras import layers
from sklearn.datasets import load_digits

keras.utils.set_random_seed(0)
digits = load_digits()
x = keras.ops.image.resize((digits.images[..., None] / 16).astype("float32"), (16, 16))

model = keras.Sequential([
    keras.Input((16, 16, 1)),
    layers.Conv2D(8, 5, padding="same", activation="relu", name="conv1"),
    layers.MaxPooling2D(2, name="pool1"),
    layers.Conv2D(8, 3, padding="same", activation="relu", name="conv2"),
    layers.GlobalMaxPooling2D(name="features"),
    layers.Dense(10, activation="softmax", name="class"),
])
model.compile(optimizer=keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model.fit(x, digits.target, batch_size=64, epochs=5, verbose=2)

names = ["conv1", "pool1", "conv2", "features"]
inner = keras.Model(model.inputs[0], [model.get_layer(name).output for name in names])
outputs = inner.predict(x[:1], verbose=0)
for name, output in zip(names, outputs):
    print(f"{name}: {output.shape}")
pooled = outputs[0].reshape(8, 2, 8, 2, 8).max(axis=(1, 3))  # rows, row in pair, columns, column in pair, channels
print("pool1 is the largest of each 2x2 pixels of conv1:", bool((pooled == outputs[1][0]).all()))


def pictures(arrays, name, columns=8):
    rows = len(arrays) // columns
    figure, axes = plt.subplots(rows, columns, figsize=(columns, rows), layout="constrained")
    for axis, array in zip(axes.flat, arrays):
        axis.imshow(array, cmap="gray")
        axis.axis("off")
    figure.savefig(name, dpi=60)


maps = [output[0, :, :, k] for output in outputs[:3] for k in range(8)]
pictures(maps, "feature-maps.png")
kernel, bias = model.get_layer("conv1").get_weights()
pictures(list(kernel[:, :, 0].transpose(2, 0, 1)), "filters.png")
