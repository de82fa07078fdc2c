"""Deeper is not better by itself: training losses of plain and of residual networks; see plain-or-residual.png."""

import convgpu.keras
import keras
import matplotlib.pyplot as plt
from keras import layers
from sklearn.datasets import load_digits

digits = load_digits()
x, y = digits.images[:400, ..., None] / 16, digits.target[:400]


def network(blocks, residual):
    """Two convolutions a block, with or without the shortcut around them."""
    inputs = keras.Input((8, 8, 1))
    h = layers.Conv2D(8, 3, padding="same", activation="relu")(inputs)
    for _ in range(blocks):
        shortcut = h
        h = layers.Conv2D(8, 3, padding="same", activation="relu")(h)
        h = layers.Conv2D(8, 3, padding="same")(h)
        if residual:
            h = layers.Add()([h, shortcut])
        h = layers.ReLU()(h)
    h = layers.MaxPooling2D(2)(h)
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(layers.Flatten()(h)))


figure, axes = plt.subplots(1, 2, figsize=(7, 2.8), sharey=True, layout="constrained")
for axis, residual in zip(axes, (False, True)):
    kind = "residual" if residual else "plain"
    for blocks in (1, 4, 9):
        keras.utils.set_random_seed(1)
        model = network(blocks, residual)
        model.compile(optimizer=keras.optimizers.Adam(0.002), loss="sparse_categorical_crossentropy")
        losses = model.fit(x, y, batch_size=40, epochs=6, verbose=0).history["loss"]
        depth = 2 * blocks + 2
        print(f"{kind}, {depth} layers: training loss {losses[-1]:.3f}")
        axis.plot(range(1, 7), losses, label=f"{depth} layers")
    axis.set(title=kind, xlabel="epoch", ylim=(0, 2.5))
    axis.legend()
axes[0].set_ylabel("training loss")
figure.savefig("plain-or-residual.png", dpi=80)
