"""The networks whose steps `convgpu ledger` and the budgets (tests/test_ledger_budgets.py) look at."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .. import optim, tree
from ..architectures import efficientnet_b0, mobilenet
from ..benchmark.networks import LEARNING_RATE, MOMENTUM, NETWORKS, Network
from ..gradients import value_and_grad
from ..mixed import mixed
from . import Spec, ledger, spec
from .result import Ledger

# these two as Keras has them, whose strided convolutions pad one side more than the other
ALL: dict[str, Network] = {**NETWORKS, "mobilenet": replace(NETWORKS["mobilenet"], loss=mobilenet.loss),
                           "efficientnet_b0": replace(NETWORKS["efficientnet_b0"], loss=efficientnet_b0.loss)}


def training_ledger(name: str, batch: int, dtype: str = "float32", device: str | None = None) -> Ledger:
    """The ledger of one step of SGD with momentum: forward, backward and update, after a step before it.

    Args:
        name: the network, a key of ALL.
        batch: the number of images, which lie on the GPU in float32.
        dtype: the type that convolutions and products compute in; parameters are float32.
        device: a GPU by name.
    """
    network = ALL[name]
    images, labels = spec((batch, *network.shape)), spec(batch, "int64")
    return ledger(training_step(network, dtype), parameters(name), images, labels, device=device, warmup=1)


def training_step(network: Network, dtype: str) -> Callable[..., Any]:
    """A step that returns the loss and the new parameters."""
    policy = mixed(dtype)
    optimizer = optim.SGD(lr=LEARNING_RATE, momentum=MOMENTUM, loss_scale=policy.loss_scale)
    gradients = value_and_grad(policy(network.loss))

    def step(params: Any, images: Any, labels: Any) -> Any:
        loss, grads = gradients(params, images, labels)
        return loss, optimizer.step(params, grads)

    return step


@functools.cache
def parameters(name: str) -> Any:
    """Specs of a network's parameters."""
    return tree.map(lambda p: Spec(p.shape, p.dtype), ALL[name].initial(_Zeros(np.random.PCG64(0))))


class _Zeros(np.random.Generator):
    """A generator whose numbers are zeros, which cost nothing to draw."""

    def standard_normal(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        """Zeros."""
        return np.zeros(size, dtype)

    def random(self, size: Any = None, dtype: Any = np.float64, out: Any = None) -> Any:
        """Zeros."""
        return np.zeros(size, dtype)
