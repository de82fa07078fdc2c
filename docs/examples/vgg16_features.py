"""The convolutions of VGG-16 under a classifier of one's own: three materials on photographs, from 32 patches of each.

    python vgg16_features.py             random convolutions, which need no download
    python vgg16_features.py imagenet    those trained on ImageNet; Keras downloads 59 MB at the first run

First only the new layers learn (feature extraction), then block 5 too, at a lower rate (fine-tuning).
"""

import sys

import convgpu.keras
import keras
import numpy as np
from keras import layers
from keras.applications.vgg16 import VGG16, preprocess_input
from skimage import data

keras.utils.set_random_seed(0)


def patches(photo, columns):
    """32x32 pixels each; grey repeated as red, green and blue."""
    return [np.stack([photo[r:r + 32, c:c + 32]] * 3, axis=-1) for r in range(0, 512, 64) for c in columns]


# The left half of each photograph for training, the right half for the test.
photos = [data.brick(), data.grass(), data.gravel()]
x_train, x_test = (preprocess_input(np.array([patch for photo in photos for patch in patches(photo, columns)]))
                   for columns in (range(0, 256, 64), range(256, 512, 64)))
y_train = y_test = np.repeat(np.arange(3), 32)

inputs = keras.Input((32, 32, 3))
x = layers.RandomFlip("horizontal_and_vertical")(inputs)  # augmentation: in training only
weights = "imagenet" if "imagenet" in sys.argv else None
base = VGG16(weights=weights, include_top=False, input_tensor=x, pooling="avg")
print("features:", base.output.shape, "parameters:", base.count_params())

scale = layers.Normalization()
scale.adapt(keras.Model(inputs, base.output).predict(x_train, verbose=0))
outputs = layers.Dense(3, activation="softmax")(scale(base.output))
model = keras.Model(inputs, outputs)


def train(name, rate, epochs):
    frozen = model.non_trainable_weights
    before = [keras.ops.convert_to_numpy(weight).tobytes() for weight in frozen]
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x_train, y_train, batch_size=16, epochs=epochs, verbose=0)
    assert before == [keras.ops.convert_to_numpy(weight).tobytes() for weight in frozen]
    print(f"{name}: {len(model.trainable_weights)} arrays learned, {len(frozen)} kept every bit; "
          f"test accuracy {model.evaluate(x_test, y_test, verbose=0)[1]:.3f}")


base.trainable = False
train("feature extraction", 0.01, epochs=6)

base.trainable = True
for layer in base.layers:
    layer.trainable = layer.name.startswith("block5")
train("fine-tuning", 1e-5, epochs=2)
