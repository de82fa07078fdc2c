"""A Conv2D layer whose weights are set by hand: the Sobel filters on a photograph; the picture goes to sobel.png."""

import convgpu.keras
import keras
import matplotlib.pyplot as plt
import numpy as np
from scipy.signal import convolve2d
from skimage import data

camera = data.camera().astype("float32")  # 512x512, grey
sobel_x = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], "float32")  # positive where brightness grows to the right
sobel_y = sobel_x.T  # positive where brightness grows downwards

layer = keras.layers.Conv2D(filters=2, kernel_size=3, padding="valid", use_bias=False)
model = keras.Sequential([keras.Input((512, 512, 1)), layer])
print("weights of the layer:", layer.get_weights()[0].shape)  # rows, columns, channels in, filters
layer.set_weights([np.stack([sobel_x, sobel_y], axis=-1)[:, :, None, :]])

edges = model.predict(camera[None, :, :, None], verbose=0)[0]
print("from", camera.shape, "to", edges.shape)

# A layer correlates: SciPy's convolution does the same with the filter flipped in both axes.
for name, kernel, edge in zip(("x", "y"), (sobel_x, sobel_y), edges.transpose(2, 0, 1)):
    expected = convolve2d(camera, np.fliplr(np.flipud(kernel)), mode="valid")
    print(f"Sobel {name}: largest difference from SciPy", np.abs(edge - expected).max())

magnitude = np.hypot(edges[..., 0], edges[..., 1])
figure, axes = plt.subplots(1, 4, figsize=(10, 2.8), layout="constrained")
pictures = {"camera": camera, "x": edges[..., 0], "y": edges[..., 1], "magnitude": magnitude}
for axis, title in zip(axes, pictures):
    axis.imshow(pictures[title], cmap="gray")
    axis.set_title(title)
    axis.axis("off")
figure.savefig("sobel.png", dpi=60)
