"""What optimizers inherit from the backend: updates are not recorded."""

from __future__ import annotations

from typing import Any

from keras.src.optimizers import base_optimizer

import convgpu as cg


class ConvgpuOptimizer(base_optimizer.BaseOptimizer):
    """The mixin of `keras.optimizers.Optimizer`."""

    def _backend_apply_gradients(self, grads: Any, trainable_variables: Any) -> None:
        with cg.no_grad():
            super()._backend_apply_gradients(grads, trainable_variables)
