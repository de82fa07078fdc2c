"""A script that was written for tensorflow.keras, unchanged: average pooling and two inputs of one network.

    python -m convgpu.keras --tf-keras tensorflow_names.py
"""

import numpy as np
from sklearn.datasets import load_digits
from tensorflow import keras
from tensorflow.keras.layers import AveragePooling2D, Concatenate, Conv2D, Dense, Flatten, Input
from tensorflow.keras.models import Model
from tensorflow.keras.utils import to_categorical

keras.utils.set_random_seed(0)
digits = load_digits()
x, y = digits.images[..., None] / 16, to_categorical(digits.target, 10)
upper, lower = x[:, :4], x[:, 4:]

features, inputs = [], []
for name in ("upper", "lower"):
    inputs.append(Input(shape=(4, 8, 1), name=name))
    h = Conv2D(16, (3, 3), padding="same", activation="tanh")(inputs[-1])
    h = AveragePooling2D(pool_size=(2, 2))(h)
    features.append(Flatten()(h))
outputs = Dense(10, activation="softmax")(Concatenate()(features))
model = Model(inputs=inputs, outputs=outputs)

model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.01), loss="categorical_crossentropy",
              metrics=["accuracy"])
model.fit([upper[:1400], lower[:1400]], y[:1400], batch_size=50, epochs=6, verbose=2)
test_loss, test_accuracy = model.evaluate([upper[1400:], lower[1400:]], y[1400:], verbose=0)
print(f"backend: {keras.backend.backend()}")
print(f"test accuracy: {test_accuracy:.4f}")
print("first five predicted:", np.argmax(model.predict([upper[:5], lower[:5]], verbose=0), axis=1))
