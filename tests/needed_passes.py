"""What a training step of a network must launch, move and keep at least: passes over memory, times sizes.

One pass reads or writes one array once. Convolutions are left out, as in the ledger's `other_bytes`. What is needed of
each layer:

    batch normalisation    forward: read x for the statistics; read x, write y (and read what is added)
                           backward: read gy and x for the sums; read gy and x, write gx. Where something was added,
                           y is read twice, because the activation's gradient needs it, and the gradient of what was
                           added is written.
    activation             in the pass of the normalisation. Between two convolutions its result is not kept, but
                           computed again for the weight gradient: one more read and write, in one launch.
    bias and activation    forward: in the convolution. Backward: read gy and y, write g; read g for the bias's
                           gradient.
    pooling                forward: read x, write y (and a byte for each winner); backward the same in reverse.
    dense layer            three products, each of which touches three arrays; bias and activation as above.
    optimizer              parameter and momentum read and written in float32, the gradient read, the copy in a half
                           type written, and that copy's gradient has the half type. One launch for all.
    gradients that meet    in the epilogue of a convolution's input gradient.

The peak holds, where the backward pass begins, all that it reads: every convolution's output (or, without
normalisation, the activations), block outputs, parameters, momentum and half copies; and two of the largest array, for
what is computed then. Where the optimizer runs, it holds old and new parameters, momentum, gradients and half copies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

HALF, SINGLE = 2, 4  # bytes of an element
product = math.prod


@dataclass
class Needed:
    """Sums over a network, per image in elements, and over its parameters."""

    batch: int
    bytes: float = 0
    launches: int = 0
    kept: float = 0
    parameters: int = 0
    largest: float = 0
    peak: float = 0

    def passes(self, elements: float, count: float, launches: int = 0) -> None:
        """So many passes over an array of so many elements per image, in a half type."""
        self.bytes += HALF * self.batch * elements * count
        self.launches += launches

    def keep(self, elements: float) -> None:
        """An array that the backward pass reads."""
        self.kept += HALF * self.batch * elements
        self.largest = max(self.largest, HALF * self.batch * elements)

    def norm(self, elements: float, again: bool, added: bool = False, keeps_result: bool = False) -> None:
        """A normalised convolution's output. `again`: its activation is computed again for the next weight gradient."""
        self.passes(elements, 3 + added, 2)
        self.passes(elements, 5 + 3 * added, 2)
        if again:
            self.passes(elements, 2, 1)
        self.keep(elements * (1 + keeps_result))

    def biased(self, elements: float) -> None:
        """A convolution with bias and activation in its epilogue."""
        self.passes(elements, 4, 3)  # the bias's sum takes two launches where it is split
        self.keep(elements)

    def pool(self, before: float, after: float, winners: bool = True) -> None:
        """A pooling."""
        self.passes(before + after, 2, 2)
        self.passes(after * winners, 1)  # two passes over bytes
        self.keep(after * (1 + winners / 2))

    def dense(self, inputs: int, outputs: int, activation: bool = True) -> None:
        """A dense layer."""
        self.parameters += inputs * outputs + outputs
        self.bytes += 3 * HALF * inputs * outputs
        self.passes(inputs + outputs, 3, 5)  # a split sum takes a second launch
        self.passes(outputs, 4 if activation else 1, 2)
        self.keep(outputs)

    def finish(self) -> Needed:
        """Loss and optimizer, and the parameters in memory."""
        self.launches += 6  # softmax and loss each way, the mean, the optimizer, the first casts
        self.bytes += self.parameters * (4 * SINGLE + 2 * HALF)
        self.bytes += self.parameters * (SINGLE + HALF)  # the casts before the first step
        backward = self.kept + 2 * self.largest + self.parameters * (2 * SINGLE + HALF)
        self.peak = max(backward, self.parameters * (3 * SINGLE + 2 * HALF))
        return self


def _conv(sides: int, kernel: int, channels: int, filters: int, needed: Needed, bias: bool) -> float:
    needed.parameters += kernel * kernel * channels * filters + (filters if bias else 2 * filters)
    return sides * sides * filters


def lenet5(batch: int) -> Needed:
    """28 x 28 and 10 x 10 with tanh and average pooling, then three dense layers."""
    n = Needed(batch)
    n.biased(_conv(28, 5, 1, 6, n, True))
    n.pool(28 * 28 * 6, 14 * 14 * 6, winners=False)
    n.biased(_conv(10, 5, 6, 16, n, True))
    n.pool(10 * 10 * 16, 5 * 5 * 16, winners=False)
    n.dense(400, 120)
    n.dense(120, 84)
    n.dense(84, 10, activation=False)
    n.keep(32 * 32)
    return n.finish()


def alexnet(batch: int) -> Needed:
    """Five convolutions with ReLU, three max poolings, three dense layers."""
    n = Needed(batch)
    n.keep(227 * 227 * 3)
    n.passes(227 * 227 * 3, 3, 1)  # the cast of the images reads float32
    n.biased(_conv(55, 11, 3, 96, n, True))
    n.pool(55 * 55 * 96, 27 * 27 * 96)
    n.biased(_conv(27, 5, 96, 256, n, True))
    n.pool(27 * 27 * 256, 13 * 13 * 256)
    for channels, filters in ((256, 384), (384, 384), (384, 256)):
        n.biased(_conv(13, 3, channels, filters, n, True))
    n.pool(13 * 13 * 256, 6 * 6 * 256)
    n.dense(9216, 4096)
    n.dense(4096, 4096)
    n.dense(4096, 1000, activation=False)
    return n.finish()


def vgg16(batch: int) -> Needed:
    """Thirteen convolutions with ReLU, five max poolings, three dense layers."""
    n = Needed(batch)
    n.keep(224 * 224 * 3)
    n.passes(224 * 224 * 3, 3, 1)
    side, channels = 224, 3
    for filters, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(convolutions):
            n.biased(_conv(side, 3, channels, filters, n, True))
            channels = filters
        n.pool(side * side * channels, side * side * channels // 4)
        side //= 2
    n.dense(25088, 4096)
    n.dense(4096, 4096)
    n.dense(4096, 1000, activation=False)
    return n.finish()


def _top(n: Needed, side: int, channels: int) -> Needed:
    n.passes(side * side * channels, 2, 2)  # global average pooling each way
    n.dense(channels, 1000, activation=False)
    return n.finish()


def resnet50(batch: int) -> Needed:
    """53 convolutions, all normalised; 16 shortcuts, of which 4 have a convolution."""
    n = Needed(batch)
    n.keep(224 * 224 * 3)
    n.passes(224 * 224 * 3, 3, 1)
    n.norm(_conv(112, 7, 3, 64, n, False), again=False)  # of its activation, the pooling keeps the winners alone
    n.pool(112 * 112 * 64, 56 * 56 * 64)
    side, channels = 56, 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            n.norm(_conv(side, 1, channels, width, n, False), again=True)
            side = side // stride if block == 0 else side
            n.norm(_conv(side, 3, width, width, n, False), again=True)
            if block == 0:  # the normalised shortcut is added and not kept
                n.norm(_conv(side, 1, channels, 4 * width, n, False), again=False)
            n.norm(_conv(side, 1, width, 4 * width, n, False), again=False, added=True, keeps_result=True)
            channels = 4 * width
    return _top(n, side, channels)


def resnet50_prediction(batch: int) -> tuple[int, float]:
    """Launches and bytes of a forward pass with running statistics, in a half type, parameters and images included.

    Each of 53 convolutions reads its input, its filters, a factor and a shift of each filter, and at the end of a block
    the shortcut, and writes its result, which is normalised and activated. Arrays count whole, also where a 1x1
    convolution with a stride passes over pixels. Two poolings read and write; the dense layer is one product, and a sum
    of its parts.
    """
    elements, folded, weights, launches = 0.0, 0, 0, 0

    def conv(side: int, stride: int, kernel: int, channels: int, filters: int, added: bool = False) -> None:
        nonlocal elements, folded, weights, launches
        elements += side * side * channels + (side // stride) ** 2 * filters * (1 + added)
        weights += kernel * kernel * channels * filters
        folded += 2 * filters
        launches += 1

    conv(224, 2, 7, 3, 64)
    elements += 112 * 112 * 64 + 56 * 56 * 64
    side, channels = 56, 64
    for width, blocks, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for block in range(blocks):
            step = stride if block == 0 else 1
            conv(side, 1, 1, channels, width)
            conv(side, step, 3, width, width)
            if block == 0:
                conv(side, step, 1, channels, 4 * width)
            side //= step
            conv(side, 1, 1, width, 4 * width, added=True)
            channels = 4 * width
    elements += side * side * channels + 2 * channels + 1000
    weights += channels * 1000 + 1000
    return launches + 4, HALF * (batch * elements + weights) + SINGLE * folded


def mobilenet(batch: int) -> Needed:
    """27 convolutions, all normalised, without shortcuts."""
    n = Needed(batch)
    n.keep(224 * 224 * 3)
    n.passes(224 * 224 * 3, 3, 1)
    side, channels = 112, 32
    n.norm(_conv(side, 3, 3, 32, n, False), again=True)
    for filters, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2),
                            (1024, 1)):
        side //= stride
        n.norm(_conv(side, 3, 1, channels, n, False), again=True)
        n.norm(_conv(side, 1, channels, filters, n, False), again=True)
        channels = filters
    return _top(n, side, channels)


def efficientnet_b0(batch: int) -> Needed:
    """16 blocks of three convolutions (the first of two) with squeeze and excitation."""
    n = Needed(batch)
    n.keep(224 * 224 * 3)
    n.passes(224 * 224 * 3, 3, 1)
    side, channels = 112, 32
    n.norm(_conv(side, 3, 3, 32, n, False), again=True)
    for kernel, blocks, filters, factor, stride in ((3, 1, 16, 1, 1), (3, 2, 24, 6, 2), (5, 2, 40, 6, 2),
                                                    (3, 3, 80, 6, 2), (5, 3, 112, 6, 1), (5, 4, 192, 6, 2),
                                                    (3, 1, 320, 6, 1)):
        for block in range(blocks):
            wide = channels * factor
            if factor > 1:
                n.norm(_conv(side, 1, channels, wide, n, False), again=True)
            side = side // stride if block == 0 else side
            size = _conv(side, kernel, 1, wide, n, False)
            n.norm(size, again=True)
            # Excitation: the mean reads, the product reads and writes, forward; backward the product's gradients read
            # g twice and x once and write one array, and the mean's gradient is added to it in one more pass each way.
            n.passes(size, 3 + 4 + 2, 2 + 4)
            n.keep(size)  # the product, which is the input of the projection
            n.dense(wide, channels // 4)
            n.dense(channels // 4, wide)
            adds = filters == channels and (block > 0 or stride == 1)
            n.norm(_conv(side, 1, wide, filters, n, False), again=False, added=adds, keeps_result=True)
            channels = filters
    n.norm(_conv(side, 1, channels, 1280, n, False), again=False)
    return _top(n, side, 1280)
