"""What is on a photograph, by VGG-16 trained on ImageNet. Keras downloads its weights (553 MB) at the first run.

    python vgg16_classify.py photo.jpg       without a name: the cat that comes with scikit-image
"""

import sys
from pathlib import Path

import convgpu.keras
import numpy as np
import skimage
from keras.applications.vgg16 import VGG16, decode_predictions, preprocess_input
from keras.utils import img_to_array, load_img

path = sys.argv[1] if len(sys.argv) > 1 else Path(skimage.__file__).parent / "data" / "chelsea.png"
model = VGG16(weights="imagenet")
print("parameters:", model.count_params())

image = img_to_array(load_img(path, target_size=(224, 224)))
x = preprocess_input(np.expand_dims(image, axis=0))  # blue, green, red, less the means of ImageNet
probabilities = model.predict(x, verbose=0)
print("probabilities:", probabilities.shape)
for wordnet, name, probability in decode_predictions(probabilities, top=5)[0]:
    print(f"{wordnet} {name} {probability:.6f}")
