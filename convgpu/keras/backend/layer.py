"""What layers and models inherit from the backend: `zero_grad`, as from Keras's PyTorch backend."""

from __future__ import annotations

from typing import Any


class ConvgpuLayer:
    """The mixin of `keras.layers.Layer`."""

    variables: Any

    def zero_grad(self) -> None:
        """Forget the gradients of all variables of the layer and of the layers in it: `value.grad` becomes None.

        `backward` adds to the gradients that are there, so a training loop calls this before each.
        """
        for variable in self.variables:
            variable.value.zero_grad()
