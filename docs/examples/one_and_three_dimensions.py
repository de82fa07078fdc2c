"""The same layer along one axis and along three: Conv1D on a signal, Conv3D on a stack of images, equal to SciPy."""

import convgpu.keras
import keras
import numpy as np
from keras import layers
from scipy import signal

rng = np.random.default_rng(0)

wave = np.sin(np.arange(200) / 8) + rng.normal(0, 0.3, 200)
smooth = layers.Conv1D(1, 9, use_bias=False)
smooth.build((None, 200, 1))
smooth.set_weights([np.full((9, 1, 1), 1 / 9)])
y = keras.ops.convert_to_numpy(smooth(wave.reshape(1, 200, 1)))[0, :, 0]
difference = np.abs(y - signal.correlate(wave, np.full(9, 1 / 9), "valid")).max()
print("Conv1D: from", wave.shape, "to", y.shape, f"largest difference from SciPy {difference:.0e}")

volume, cube = rng.normal(size=(10, 12, 14)), rng.normal(size=(3, 3, 3))
layer = layers.Conv3D(1, 3, use_bias=False)
layer.build((None, 10, 12, 14, 1))
layer.set_weights([cube[..., None, None]])
y = keras.ops.convert_to_numpy(layer(volume[None, ..., None]))[0, ..., 0]
difference = np.abs(y - signal.correlate(volume, cube, "valid")).max()
print("Conv3D: from", volume.shape, "to", y.shape, f"largest difference from SciPy {difference:.0e}")

# A "full" convolution, which Conv1D does not offer: pad by hand, and flip the filter, since layers correlate.
full = keras.Sequential([keras.Input((4, 1)), layers.ZeroPadding1D(1), layers.Conv1D(1, 2, use_bias=False)])
full.set_weights([np.array([1.0, 2.0])[::-1].reshape(2, 1, 1)])
y = full.predict(np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1), verbose=0)
print("full convolution of [1, 2, 3, 4] with [1, 2]:", y.ravel().tolist())
