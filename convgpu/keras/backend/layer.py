"""The part of layers and models that comes from the backend: `zero_grad`, as in Keras's PyTorch backend."""

from __future__ import annotations

from typing import Any


class ConvgpuLayer:
    """The mixin of `keras.layers.Layer`."""

    variables: Any

    def zero_grad(self) -> None:
        """Forget the gradients of all variables of the layer and of the layers in it: `value.grad` becomes None.

        `backward` adds to existing gradients, so a training loop calls this before each `backward`.
        """
        for variable in self.variables:
            variable.value.zero_grad()
