"""Networks as functions of nested dicts of parameters, written to be copied: LeNet-5, AlexNet, VGG-16, ResNet-50,
MobileNet, EfficientNet-B0.
"""
