"""Mixed precision: a loss function computes in a half type, and its parameters stay in float32.

    policy = convgpu.mixed("float16")
    optimizer = convgpu.optim.Adam(loss_scale=policy.loss_scale)
    loss, grads = convgpu.value_and_grad(policy(loss_of))(params, x, y)     gradients in float32
    params = optimizer.step(params, grads)

All float32 tensors among the arguments are cast by one launch, and their gradients are cast back by one. Where a
function computes half types in float32 (norms, their statistics, losses), it takes the tensors as they were before.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from . import tree
from .arguments import function
from .device import is_gpu_array
from .dtypes import DTypeLike, as_dtype, is_half
from .op import Op
from .ops.elementwise import astype
from .ops.optim import cast_all, linked
from .ops.widening import losses_in_float32
from .optim import LossScale
from .tensor import Tensor, as_tensor, wrap

FLOAT32 = np.dtype(np.float32)

_scaled = Op("scaled_gradient", "x; scaling -> y", lambda x, scaling: x, moves=True).vjp(
    x=lambda g, scaling: g * wrap(scaling[:1]).reshape(()))


class Mixed:
    """A policy of mixed precision, which `mixed` makes; calling it with a loss function gives another one.

    dtype: the dtype that is computed in. loss_scale: for the optimizer; None unless dtype is float16.
    """

    def __init__(self, dtype: DTypeLike, loss_scale: LossScale | None = None):
        self.dtype = as_dtype(dtype)
        if not is_half(self.dtype) and self.dtype != FLOAT32:
            raise ValueError(f"mixed: expected bfloat16, float16 or float32, got {self.dtype}")
        if loss_scale is not None and not isinstance(loss_scale, LossScale):
            raise TypeError(f"mixed: expected loss_scale to be a LossScale or None, got {loss_scale!r:.80}")
        if loss_scale is not None and self.dtype != np.float16:
            raise ValueError(f"mixed: expected a loss scale for float16 alone, got one for {self.dtype}")
        self.loss_scale = LossScale() if loss_scale is None and self.dtype == np.float16 else loss_scale

    def __call__(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """The loss function f with tensors and arrays of float32 among its arguments cast to the policy's dtype.

        The loss, which is what f returns or the first of a pair or sequence, comes in float32; everything else that f
        returns stays as it is. Gradients have the dtypes of the parameters.
        """
        function("mixed", f)
        if self.dtype == FLOAT32:
            return f

        @functools.wraps(f)
        def run(*args: Any, **options: Any) -> Any:
            args, options, scaling = self._cast((args, options))
            with losses_in_float32():
                result = f(*args, **options)
            if isinstance(result, (tuple, list)) and len(result) and isinstance(result[0], Tensor):
                values = [_loss(result[0], scaling), *result[1:]]
                return type(result)(*values) if hasattr(result, "_fields") else type(result)(values)
            return _loss(result, scaling) if isinstance(result, Tensor) else result

        return run

    def _cast(self, arguments: Any) -> tuple[Any, Any, Any]:
        """Positional arguments and options with casts, and the array of the loss scale, if there is one."""
        tensors = [as_tensor(a, "mixed") for a in tree.leaves(arguments) if _is_float32(a)]
        scaling = None if self.loss_scale is None or not tensors else self.loss_scale.beside(tensors[0].array)
        halves, sources = self._halves(tensors, scaling)
        for half, source in zip(halves, sources):
            half.source = source  # type: ignore[attr-defined] # what ops.widening.wide takes in its place
        following = iter(halves)
        args, options = tree.map(lambda a: next(following) if _is_float32(a) else a, arguments)
        return args, options, scaling

    def _halves(self, tensors: list[Tensor], scaling: Any) -> tuple[list[Tensor], list[Tensor]]:
        """The tensors in the policy's dtype, and as they are; gradients of both are divided by the scale."""
        if scaling is None:
            return cast_all(tensors, self.dtype), tensors
        scale = wrap(scaling[:1])

        def back(gs: list[Tensor]) -> list[Tensor]:
            if any([g.requires_grad for g in gs]):
                raise NotImplementedError("mixed: gradients of gradients are not implemented beneath a loss scale; "
                                          "apply the policy to the outermost function that is differentiated")
            return cast_all(gs, FLOAT32, scale)

        halves = cast_all([x.detach() for x in tensors], self.dtype)
        return linked(tensors, halves, back), linked(tensors, [x.detach() for x in tensors], back)


def mixed(dtype: DTypeLike, loss_scale: LossScale | None = None) -> Mixed:
    """A policy that lets loss functions compute in a half type while parameters and gradients stay in float32.

    Args:
        dtype: bfloat16 or float16; float32 changes nothing, so that one program serves all three.
        loss_scale: for float16, the number that gradients are multiplied by on their way; None: one that begins at
            2^16. The policy divides the gradients by it again. An optimizer that is given `policy.loss_scale` skips
            steps with gradients of Inf or NaN, and then halves it.

    Convolutions, products, pooling and activations compute in dtype, with sums in float32. Norms take their parameters
    and running statistics in float32, losses their targets, and the losses' results are float32.

    Raises:
        ValueError: another dtype, or a loss scale for another dtype than float16. NotImplementedError, by the function:
            with a loss scale, its gradient is differentiated again; the policy belongs around the outer function then.

    >>> import convgpu as cg
    >>> def loss_of(params, x):
    ...     return (cg.linear(x, params["w"])**2).mean()
    >>> params = {"w": cg.tensor([[1.0], [2.0]])}
    >>> loss, grads = cg.value_and_grad(cg.mixed("bfloat16")(loss_of))(params, cg.tensor([[1.0, 1.0]]))
    >>> loss.item(), grads["w"]
    (9.0, Tensor([[6.],
            [6.]], dtype=float32))
    """
    return Mixed(dtype, loss_scale)


def _is_float32(a: Any) -> bool:
    return (isinstance(a, (Tensor, np.ndarray)) or is_gpu_array(a)) and a.dtype == FLOAT32


def _loss(y: Tensor, scaling: Any) -> Tensor:
    """The loss in float32; its gradient is multiplied by the scale."""
    y = astype(y, FLOAT32) if is_half(y.dtype) else y
    return y if scaling is None else _scaled(y, scaling)
