"""How many weights a layer and a network have: the summaries of LeNet-5, AlexNet and the others.

The big networks are only counted, never filled with numbers: a StatelessScope keeps their weights from being made.
"""

import convgpu.keras
import keras
from convgpu.keras.models import AlexNet, GoogLeNet, LeNet5, ZFNet
from keras import applications, layers

for filters, size, channels in [(10, 3, 3), (6, 5, 3), (2, 3, 1), (4, 9, 3)]:
    model = keras.Sequential([keras.Input((32, 32, channels)), layers.Conv2D(filters, size)])
    print(f"{filters} filters of {size}x{size}x{channels} and a bias each: {model.count_params()}")

LeNet5().summary()

networks = [
    ("AlexNet, padded", AlexNet, {}),
    ("AlexNet, two groups", AlexNet, {"groups": 2}),
    ("AlexNet, unpadded", AlexNet, {"padding": "valid"}),
    ("ZFNet", ZFNet, {}),
    ("GoogLeNet", GoogLeNet, {}),
    ("VGG-16", applications.VGG16, {}),
    ("VGG-19", applications.VGG19, {}),
    ("ResNet-50", applications.ResNet50, {}),
    ("InceptionV3", applications.InceptionV3, {}),
    ("InceptionResNetV2", applications.InceptionResNetV2, {}),
    ("Xception", applications.Xception, {}),
    ("MobileNet", applications.MobileNet, {}),
    ("EfficientNet-B0", applications.EfficientNetB0, {}),
]
for name, network, options in networks:
    with keras.StatelessScope(initialize_variables=False):
        print(f"{name:20} {network(weights=None, **options).count_params():>12,}")
