"""Four 9x9 filters on a colour photograph: a Gaussian, weighted differently in each colour; see colour-filters.png."""

import convgpu.keras
import keras
import matplotlib.pyplot as plt
import numpy as np
from scipy.signal import correlate2d
from skimage import data

photo = data.astronaut()[:368, :487].astype("float32") / 255

offset = np.arange(-4, 5)
gaussian = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 2.0**2))
gaussian /= gaussian.sum()
colours = np.array([[1, -0.5, -0.5], [-0.5, 1, -0.5], [-0.5, -0.5, 1], [0.5, -1, 0.5]])  # of red, green and blue
names = ["red", "green", "blue", "purple"]
filters = np.stack([gaussian[:, :, None] * colour for colour in colours], axis=-1).astype("float32")

model = keras.Sequential([keras.Input((368, 487, 3)), keras.layers.Conv2D(4, 9, use_bias=True)])
model.layers[0].set_weights([filters, np.zeros(4)])
print("weights:", model.count_params())
response = model.predict(photo[None], verbose=0)[0]
print("from", photo.shape, "to", response.shape)

for k in range(4):
    expected = sum(correlate2d(photo[..., c], filters[..., c, k], mode="valid") for c in range(3))
    print(f"{names[k]}: largest difference from SciPy {np.abs(response[..., k] - expected).max():.1e}")

figure, axes = plt.subplots(1, 5, figsize=(11, 2.2), layout="constrained")
axes[0].imshow(photo)
for axis, picture, name in zip(axes[1:], response.transpose(2, 0, 1), names):
    axis.imshow(picture, cmap="gray")
    axis.set_title(name)
for axis in axes:
    axis.axis("off")
figure.savefig("colour-filters.png", dpi=50)
