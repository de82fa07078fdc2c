"""The networks that benchmarks train, and a training step as a contender."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .. import optim, tree
from ..architectures import alexnet, efficientnet_b0, lenet5, mobilenet, resnet50, vgg16
from ..gradients import value_and_grad
from ..mixed import mixed
from ..tensor import Tensor, tensor

LEARNING_RATE, MOMENTUM = 1e-4, 0.9  # of SGD; they are small because the images are noise


@dataclass(frozen=True)
class Network:
    """A network of convgpu.architectures: its parameters, its loss, and the size of its images."""

    name: str
    title: str
    shape: tuple[int, int, int]
    classes: int
    initial: Callable[..., Any]  # of a generator or a seed, 0 by default
    loss: Callable[[Any, Any, Any], Tensor]
    batches: tuple[int, ...]  # the batch sizes that are timed by default
    layers: int  # the number of layers with weights
    label_smoothing: float = 0.0

    def data(self, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Images of noise and their labels, the same at every call."""
        generator = np.random.default_rng(0)
        x = generator.standard_normal((batch, *self.shape), np.float32)
        return x, generator.integers(0, self.classes, batch)


NETWORKS = {network.name: network for network in (
    Network("lenet5", "LeNet-5", (32, 32, 1), 10, lambda generator=0: lenet5.initial((32, 32, 1), 10, generator),
            lambda params, x, y: lenet5.loss(params, x, y)[0], (32, 128), 5, lenet5.LABEL_SMOOTHING),
    Network("alexnet", "AlexNet", alexnet.INPUT, alexnet.CLASSES, alexnet.initial, alexnet.loss, (64, 128, 256), 8),
    Network("vgg16", "VGG-16", vgg16.INPUT, vgg16.CLASSES, vgg16.initial, vgg16.loss, (16,), 16),
    Network("resnet50", "ResNet-50", resnet50.INPUT, resnet50.CLASSES, resnet50.initial, resnet50.loss, (32,), 50),
    Network("mobilenet", "MobileNet", mobilenet.INPUT, mobilenet.CLASSES, mobilenet.initial,
            partial(mobilenet.loss, even=True), (32,), 28),
    Network("efficientnet_b0", "EfficientNet-B0", efficientnet_b0.INPUT, efficientnet_b0.CLASSES,
            efficientnet_b0.initial, partial(efficientnet_b0.loss, even=True), (32,), 82),
)}


class Step:
    """A step of SGD with momentum on one batch: forward, backward and update. Each call takes the next step.

    Args:
        dtype: what the network computes in; the parameters are float32 (see `convgpu.mixed`).
    """

    def __init__(self, network: Network, params: Any, x: np.ndarray, y: np.ndarray, device: str,
                 dtype: str = "float32"):
        policy = mixed(dtype)
        self._params = tree.map(lambda p: p.to(device), params)
        self._x, self._y = tensor(x, device=device), tensor(y, device=device)
        self._optimizer = optim.SGD(lr=LEARNING_RATE, momentum=MOMENTUM, loss_scale=policy.loss_scale)
        self._value_and_grad = value_and_grad(policy(network.loss))

    def __call__(self) -> Tensor:
        """Take a step, and return the loss before it."""
        loss, grads = self._value_and_grad(self._params, self._x, self._y)
        self._params = self._optimizer.step(self._params, grads)
        return loss

    def gradients(self) -> tuple[float, Any]:
        """The loss, and the gradients as NumPy arrays, without taking a step."""
        loss, grads = self._value_and_grad(self._params, self._x, self._y)
        return loss.item(), tree.map(lambda g: g.numpy(), grads)
