"""Tensors and variables, the learning phase, functions of functions, random numbers, under the names of Keras 2."""
# ruff: noqa: A001, A002, N803 (the names come from Keras 2)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops, random
from keras.config import floatx
from keras.src.backend.common.global_state import get_global_attribute
from keras.src.backend.common.keras_tensor import KerasTensor

Tensor = Any

# --- tensors and variables


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str | None = None) -> Tensor:
    """A tensor of floatx with the given value; with `shape`, a single number fills the shape."""
    x = ops.convert_to_tensor(value, dtype or floatx())
    if shape is None:
        return x
    return ops.broadcast_to(x, shape) if x.size == 1 else ops.reshape(x, shape)


def variable(value: Any, dtype: Any = None, name: str | None = None, constraint: Any = None) -> keras.Variable:
    """A trainable variable with the given value."""
    v = keras.Variable(value, dtype=dtype or floatx(), name=name)
    v.constraint = constraint
    return v


def zeros(shape: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """Zeros, by default of floatx."""
    return ops.zeros(shape, dtype or floatx())


def ones(shape: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """Ones, by default of floatx."""
    return ops.ones(shape, dtype or floatx())


def cast(x: Any, dtype: Any) -> Tensor:
    """x converted to dtype."""
    return ops.cast(x, dtype)


def cast_to_floatx(x: Any) -> Any:
    """x converted to floatx: an array stays an array."""
    return ops.cast(x, floatx()) if ops.is_tensor(x) else np.asarray(x, floatx())


def dtype(x: Any) -> str:
    """The name of the dtype."""
    return keras.backend.standardize_dtype(x.dtype)


def int_shape(x: Any) -> tuple[int | None, ...]:
    """The size along each axis; None where a symbolic tensor's size is unknown."""
    return tuple(x.shape)


def ndim(x: Any) -> int:
    """The number of axes."""
    return len(x.shape)


def count_params(x: Any) -> int:
    """The number of elements."""
    return int(np.prod(x.shape))


def eval(x: Any) -> np.ndarray:
    """The values as a NumPy array."""
    return ops.convert_to_numpy(x)


get_value = eval


def batch_get_value(tensors: Any) -> list[np.ndarray]:
    """The values of several tensors as NumPy arrays."""
    return [eval(x) for x in tensors]


def set_value(x: keras.Variable, value: Any) -> None:
    """Set the value of a variable."""
    x.assign(value)


def batch_set_value(tuples: Any) -> None:
    """Set the values of variables, given as pairs (variable, value)."""
    for x, value in tuples:
        x.assign(value)


def update(x: keras.Variable, new_x: Any) -> Tensor:
    """Set the value of a variable, and return the value."""
    return x.assign(new_x)


def update_add(x: keras.Variable, increment: Any) -> Tensor:
    """Add an increment to a variable."""
    return x.assign_add(increment)


def update_sub(x: keras.Variable, decrement: Any) -> Tensor:
    """Subtract a decrement from a variable."""
    return x.assign_sub(decrement)


def moving_average_update(x: keras.Variable, value: Any, momentum: float) -> Tensor:
    """Set the variable x to x * momentum + value * (1 - momentum), and return the new value."""
    return x.assign(x * momentum + value * (1 - momentum))


def stop_gradient(variables: Any) -> Any:
    """The values without history, of one tensor or of a list of tensors."""
    return keras.tree.map_structure(ops.stop_gradient, variables)


def is_sparse(tensor: Any) -> bool:
    """Return False: there are no sparse tensors."""
    return False


def to_dense(tensor: Any) -> Any:
    """Return the tensor, since all tensors are dense."""
    return tensor


def print_tensor(x: Any, message: str = "") -> Any:
    """Print a message and the values of x, and return x."""
    print(message, x)
    return x


def name_scope(name: str) -> Any:
    """A scope for names, like `keras.name_scope`."""
    return keras.name_scope(name)


def get_uid(prefix: str = "") -> int:
    """A number that counts up for each prefix."""
    counts = get_global_attribute("legacy_backend_uids", {}, set_to_default=True)
    counts[prefix] = counts.get(prefix, 0) + 1
    return counts[prefix]


# --- the learning phase: training or not


_phase: list[int] = []


def learning_phase() -> int:
    """1 in training, 0 otherwise: the phase that was set, or else the one that the layer being called was given."""
    if _phase:
        return _phase[-1]
    context = get_global_attribute("current_call_ctx")
    return int(bool(getattr(context, "training", False)))


def set_learning_phase(value: int) -> None:
    """Fix the phase that `learning_phase` returns."""
    _phase[:] = [int(value)]


def in_train_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """x in training, else alt; both may be functions without arguments."""
    chosen = x if (learning_phase() if training is None else training) else alt
    return chosen() if callable(chosen) else chosen


def in_test_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """alt in training, else x."""
    return in_train_phase(alt, x, training)


def function(inputs: Any, outputs: Any, updates: Any = None, **options: Any) -> Callable[[Any], Any]:
    """A function of a list of arrays that returns the values of symbolic outputs as NumPy arrays.

    A learning phase among the inputs is ignored: the function runs as `predict` does.
    """
    if updates:
        raise NotImplementedError("K.function: expected no updates, which it does not run, got some; train by "
                                  "model.fit or model.train_on_batch")
    symbolic = [x for x in keras.tree.flatten(inputs) if isinstance(x, KerasTensor)]
    model = keras.Model(symbolic, outputs[0] if isinstance(outputs, (list, tuple)) and len(outputs) == 1 else outputs)

    def run(arrays: Any) -> Any:
        given = list(arrays) if isinstance(arrays, (list, tuple)) else [arrays]
        results = model(given[:len(symbolic)] if len(symbolic) > 1 else given[0], training=False)
        results = keras.tree.map_structure(ops.convert_to_numpy, results)
        return [results] if isinstance(outputs, (list, tuple)) and len(outputs) == 1 else results

    return run


def gradients(loss: Any, variables: Any) -> Any:
    """Raise an error: there are no graphs."""
    raise NotImplementedError("K.gradients needs a graph, and Keras 3 computes at once; call loss.backward() and read "
                              "variable.value.grad, or tensor.grad of convgpu.tensor(x, requires_grad=True)")


# --- functions of functions


def map_fn(fn: Callable[[Any], Any], elems: Any, name: str | None = None, dtype: Any = None) -> Any:
    """Call fn on each entry along the first axis, and stack the results."""
    return ops.map(fn, elems)


def foldl(fn: Callable[[Any, Any], Any], elems: Any, initializer: Any = None, name: str | None = None) -> Any:
    """fn(... fn(fn(initializer, x[0]), x[1]) ..., x[n-1]); without an initializer, x[0] is the first value."""
    return _folded(fn, list(ops.unstack(elems)), initializer)


def foldr(fn: Callable[[Any, Any], Any], elems: Any, initializer: Any = None, name: str | None = None) -> Any:
    """Like `foldl`, but from the last entry to the first."""
    return _folded(fn, list(ops.unstack(elems))[::-1], initializer)


def _folded(fn: Callable[[Any, Any], Any], entries: list[Any], initializer: Any) -> Any:
    total = entries.pop(0) if initializer is None else initializer
    for entry in entries:
        total = fn(total, entry)
    return total


# --- random numbers


def random_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None,
                  seed: int | None = None) -> Tensor:
    """Values from a normal distribution."""
    return random.normal(shape, mean, stddev, dtype, seed)


def truncated_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None,
                     seed: int | None = None) -> Tensor:
    """Values from a normal distribution, within two standard deviations of the mean."""
    return random.truncated_normal(shape, mean, stddev, dtype, seed)


def random_uniform(shape: Any, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None,
                   seed: int | None = None) -> Tensor:
    """Values from [minval, maxval)."""
    return random.uniform(shape, minval, maxval, dtype, seed)


def random_bernoulli(shape: Any, p: float = 0.0, dtype: Any = None, seed: int | None = None) -> Tensor:
    """1 with probability p, else 0."""
    return ops.cast(random.uniform(shape, seed=seed) < p, dtype or floatx())


random_binomial = random_bernoulli


def random_normal_variable(shape: Any, mean: float, scale: float, dtype: Any = None, name: str | None = None,
                           seed: int | None = None) -> keras.Variable:
    """A variable of values from a normal distribution."""
    return variable(random_normal(shape, mean, scale, dtype, seed), dtype, name)


def random_uniform_variable(shape: Any, low: float, high: float, dtype: Any = None, name: str | None = None,
                            seed: int | None = None) -> keras.Variable:
    """A variable of values from [low, high)."""
    return variable(random_uniform(shape, low, high, dtype, seed), dtype, name)
