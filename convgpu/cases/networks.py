"""The layers of well-known networks, for benchmarks: each distinct shape once, with the batch size that is timed."""

from __future__ import annotations

from dataclasses import dataclass

from ..geometry import ConvGeometry, PoolGeometry, conv_geometry, pool_geometry


@dataclass(frozen=True)
class ConvLayer:
    """A 2-D convolution of square images with square filters."""

    network: str
    batch: int
    size: int
    channels: int
    filters: int
    kernel: int
    stride: int = 1
    padding: int | str = "same"
    groups: int = 1

    @property
    def name(self) -> str:
        """The layer's name in tables, such as "3x3/2 64>128 @56"."""
        grouped = f">{self.filters}" + (f" in {self.groups}" if self.groups > 1 else "")
        depthwise = " depthwise" if self.groups == self.channels > 1 else grouped
        stride = f"/{self.stride}" if self.stride > 1 else ""
        return f"{self.kernel}x{self.kernel}{stride} {self.channels}{depthwise} @{self.size} b{self.batch}"

    def geometry(self, data_format: str = "channels_last") -> ConvGeometry:
        """The geometry of the layer."""
        c, image = self.channels, (self.size, self.size)
        x, w = (self.batch, *image, c), (self.kernel, self.kernel, c // self.groups, self.filters)
        if data_format == "channels_first":
            x, w = (self.batch, c, *image), (self.filters, c // self.groups, self.kernel, self.kernel)
        return conv_geometry(self.name, x, w, self.stride, self.padding, 1, self.groups, data_format)


@dataclass(frozen=True)
class PoolLayer:
    """A 2-D max pooling of square images."""

    network: str
    batch: int
    size: int
    channels: int
    window: int
    stride: int
    padding: int = 0

    @property
    def name(self) -> str:
        """The layer's name in tables, such as "pool 3x3/2 64 @112"."""
        return f"pool {self.window}x{self.window}/{self.stride} {self.channels} @{self.size} b{self.batch}"

    def geometry(self, data_format: str = "channels_last") -> PoolGeometry:
        """The geometry of the layer."""
        c, image = self.channels, (self.size, self.size)
        x = (self.batch, *image, c) if data_format == "channels_last" else (self.batch, c, *image)
        return pool_geometry(self.name, x, self.window, self.stride, self.padding, 1, False, True, data_format)


LENET5 = [ConvLayer("LeNet-5", 128, 32, 1, 6, 5, padding=0), ConvLayer("LeNet-5", 128, 14, 6, 16, 5, padding=0)]

ALEXNET = [
    ConvLayer("AlexNet", 8, 227, 3, 96, 11, 4, 0),
    ConvLayer("AlexNet", 8, 27, 96, 256, 5),
    ConvLayer("AlexNet", 8, 13, 256, 384, 3),
    ConvLayer("AlexNet", 8, 13, 384, 384, 3),
    ConvLayer("AlexNet", 8, 13, 384, 256, 3),
]
ALEXNET_POOLS = [PoolLayer("AlexNet", 8, size, c, 3, 2) for size, c in [(55, 96), (27, 256), (13, 256)]]

VGG16 = [ConvLayer("VGG-16", batch, size, c, k, 3) for batch, size, c, k in [
    (1, 224, 3, 64), (1, 224, 64, 64), (1, 112, 64, 128), (1, 112, 128, 128), (1, 56, 128, 256), (1, 56, 256, 256),
    (2, 28, 256, 512), (2, 28, 512, 512), (8, 14, 512, 512)]]
VGG16_POOLS = [PoolLayer("VGG-16", batch, size, c, 2, 2) for batch, size, c in [
    (1, 224, 64), (1, 112, 128), (1, 56, 256), (8, 28, 512), (8, 14, 512)]]

# He et al. 2015, with the stride in the 3x3 convolution of each bottleneck
RESNET50 = [ConvLayer("ResNet-50", 8, 224, 3, 64, 7, 2, 3), ConvLayer("ResNet-50", 8, 56, 64, 64, 1)] + [
    layer for size, width, before in [(56, 64, 64), (28, 128, 256), (14, 256, 512), (7, 512, 1024)]
    for layer in ([
        ConvLayer("ResNet-50", 8, size, width, 4 * width, 1),
        ConvLayer("ResNet-50", 8, size, 4 * width, width, 1),
        ConvLayer("ResNet-50", 8, size, width, width, 3)] + ([] if size == 56 else [
            ConvLayer("ResNet-50", 8, 2 * size, before, width, 1),
            ConvLayer("ResNet-50", 8, 2 * size, width, width, 3, 2, 1),
            ConvLayer("ResNet-50", 8, 2 * size, before, 4 * width, 1, 2, 0)]))]
RESNET50_POOLS = [PoolLayer("ResNet-50", 8, 112, 64, 3, 2, 1)]

_MOBILENET = [(112, 32, 64, 1), (112, 64, 128, 2), (56, 128, 128, 1), (56, 128, 256, 2), (28, 256, 256, 1),
              (28, 256, 512, 2), (14, 512, 512, 1), (14, 512, 1024, 2), (7, 1024, 1024, 1)]  # size, C, K, stride
MOBILENET = [ConvLayer("MobileNet", 8, 224, 3, 32, 3, 2, 1)] + [
    ConvLayer("MobileNet", 8, size // stride, c, k, 1) for size, c, k, stride in _MOBILENET]
MOBILENET_DEPTHWISE = [ConvLayer("MobileNet", 8, size, c, c, 3, stride, 1, c) for size, c, _, stride in _MOBILENET]

# The networks that `convgpu benchmark layers --network` knows.
NETWORKS: dict[str, list[ConvLayer | PoolLayer]] = {
    "lenet5": [*LENET5], "alexnet": [*ALEXNET, *ALEXNET_POOLS], "vgg16": [*VGG16, *VGG16_POOLS],
    "resnet50": [*RESNET50, *RESNET50_POOLS], "mobilenet": [*MOBILENET, *MOBILENET_DEPTHWISE]}

DENSE = LENET5 + ALEXNET + VGG16 + RESNET50 + MOBILENET
DEPTHWISE = MOBILENET_DEPTHWISE
MAX_POOLS = ALEXNET_POOLS + VGG16_POOLS + RESNET50_POOLS
