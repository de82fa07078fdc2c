"""Makes the operators of Tensors promote like Keras's functions, once Keras runs on convgpu, instead of like NumPy.

In NumPy, an int32 times a float32, an int32 times 0.5 and a float32 times a float64 array are float64; in Keras, as in
JAX and PyTorch, they are float32. Two Tensors of floating dtypes still promote as in NumPy, since a user asked for a
float64 Tensor.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras.src.backend import config
from keras.src.backend.common import KerasVariable

from convgpu import ops
from convgpu.dtypes import is_float
from convgpu.tensor import Tensor, set_promotion

_ARITHMETIC = {ops.add, ops.subtract, ops.multiply, ops.divide, ops.floor_divide, ops.remainder, ops.power}


def _promoted(op: Any, left: Any, right: Any) -> tuple[Any, Any]:
    """The operands of an operator, each converted as Keras converts it beside the other."""
    if op not in _ARITHMETIC or (_settled(left, right) and _settled(right, left)):
        return left, right
    left, right = (x.value if isinstance(x, KerasVariable) else x for x in (left, right))
    return _beside(op, left, right), _beside(op, right, left)


def _settled(x: Any, other: Any) -> bool:
    """Whether x is a floating Tensor or a number beside a Tensor, as nearly always; then nothing needs to be converted.
    """
    return is_float(x.dtype) if isinstance(x, Tensor) else type(x) in (int, float) and isinstance(other, Tensor)


def _beside(op: Any, x: Any, other: Any) -> Any:
    """x in the dtype that it has beside the other operand."""
    if isinstance(x, np.float64):
        x = float(x)  # Keras treats this as a Python number, which promotes weakly
    if not isinstance(x, (Tensor, np.ndarray, np.generic)):
        return x
    kept = other.dtype if isinstance(other, Tensor) and is_float(other.dtype) else None
    if is_float(x.dtype):
        narrow = x.dtype == np.float64 and not isinstance(x, Tensor) and kept != np.float64
        return x.astype(config.floatx()) if narrow else x
    if kept is not None:
        return x.astype(kept)
    becomes_float = isinstance(other, float) or is_float(getattr(other, "dtype", np.dtype(bool))) or op is ops.divide
    return x.astype(config.floatx()) if becomes_float else x


set_promotion(_promoted)
