"""The functions that `keras.backend` had before Keras 3, made of those of `keras.ops`: what old losses call as `K.x`.

They take and give tensors, and symbolic ones in a Lambda layer or a functional model. With
`python -m convgpu.keras --tf-keras` they are `tensorflow.keras.backend`.

>>> from convgpu.keras import legacy_backend as K
>>> K.sum(K.flatten(K.cast([[1, 0], [1, 1]], "float32"))).item()
3.0
"""
# ruff: noqa: A001, A002, N803, N812 (the names are those of Keras 2)

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops, random
from keras.config import epsilon, floatx, image_data_format
from keras.src.backend.common.global_state import get_global_attribute
from keras.src.backend.common.keras_tensor import KerasTensor

Tensor = Any

# --- tensors and variables


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str | None = None) -> Tensor:
    """The value as a tensor of floatx, in that shape: a single number fills it."""
    x = ops.convert_to_tensor(value, dtype or floatx())
    if shape is None:
        return x
    return ops.broadcast_to(x, shape) if x.size == 1 else ops.reshape(x, shape)


def variable(value: Any, dtype: Any = None, name: str | None = None, constraint: Any = None) -> keras.Variable:
    """A trainable variable of that value."""
    v = keras.Variable(value, dtype=dtype or floatx(), name=name)
    v.constraint = constraint
    return v


def zeros(shape: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """Zeros of floatx."""
    return ops.zeros(shape, dtype or floatx())


def ones(shape: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """Ones of floatx."""
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
    """The size along each axis; None where a symbolic tensor's is not known."""
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
    """The values of several as NumPy arrays."""
    return [eval(x) for x in tensors]


def set_value(x: keras.Variable, value: Any) -> None:
    """Give a variable another value."""
    x.assign(value)


def batch_set_value(tuples: Any) -> None:
    """Give each variable of pairs (variable, value) its value."""
    for x, value in tuples:
        x.assign(value)


def update(x: keras.Variable, new_x: Any) -> Tensor:
    """Give a variable another value, which is returned."""
    return x.assign(new_x)


def update_add(x: keras.Variable, increment: Any) -> Tensor:
    """Add to a variable."""
    return x.assign_add(increment)


def update_sub(x: keras.Variable, decrement: Any) -> Tensor:
    """Subtract from a variable."""
    return x.assign_sub(decrement)


def moving_average_update(x: keras.Variable, value: Any, momentum: float) -> Tensor:
    """x * momentum + value * (1 - momentum), to which the variable x is set."""
    return x.assign(x * momentum + value * (1 - momentum))


def stop_gradient(variables: Any) -> Any:
    """The values with no history, of one tensor or of a list."""
    return keras.tree.map_structure(ops.stop_gradient, variables)


def is_sparse(tensor: Any) -> bool:
    """False: there are no sparse tensors."""
    return False


def to_dense(tensor: Any) -> Any:
    """The tensor: all are dense."""
    return tensor


def print_tensor(x: Any, message: str = "") -> Any:
    """x, after its values have been printed behind a message."""
    print(message, x)
    return x


def name_scope(name: str) -> Any:
    """A scope for names, as `keras.name_scope`."""
    return keras.name_scope(name)


def get_uid(prefix: str = "") -> int:
    """A number that counts up per prefix."""
    counts = get_global_attribute("legacy_backend_uids", {}, set_to_default=True)
    counts[prefix] = counts.get(prefix, 0) + 1
    return counts[prefix]


# --- the phase: training or not

_phase: list[int] = []


def learning_phase() -> int:
    """1 in training, 0 otherwise: as was set, else as the layer that is being called was told."""
    if _phase:
        return _phase[-1]
    context = get_global_attribute("current_call_ctx")
    return int(bool(getattr(context, "training", False)))


def set_learning_phase(value: int) -> None:
    """Fix what `learning_phase` says."""
    _phase[:] = [int(value)]


def in_train_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """x in training, else alt; both may be functions of nothing."""
    chosen = x if (learning_phase() if training is None else training) else alt
    return chosen() if callable(chosen) else chosen


def in_test_phase(x: Any, alt: Any, training: Any = None) -> Any:
    """alt in training, else x."""
    return in_train_phase(alt, x, training)


def function(inputs: Any, outputs: Any, updates: Any = None, **options: Any) -> Callable[[Any], Any]:
    """A function of a list of arrays that gives the outputs of symbolic tensors as NumPy arrays.

    A learning phase among the inputs is left out: it runs as `predict` does.
    """
    if updates:
        raise NotImplementedError("K.function: updates are not run; train by model.fit or model.train_on_batch")
    symbolic = [x for x in keras.tree.flatten(inputs) if isinstance(x, KerasTensor)]
    model = keras.Model(symbolic, outputs[0] if isinstance(outputs, (list, tuple)) and len(outputs) == 1 else outputs)

    def run(arrays: Any) -> Any:
        given = list(arrays) if isinstance(arrays, (list, tuple)) else [arrays]
        results = model(given[:len(symbolic)] if len(symbolic) > 1 else given[0], training=False)
        results = keras.tree.map_structure(ops.convert_to_numpy, results)
        return [results] if isinstance(outputs, (list, tuple)) and len(outputs) == 1 else results

    return run


def gradients(loss: Any, variables: Any) -> Any:
    """Refused: there are no graphs."""
    raise NotImplementedError("K.gradients needs a graph, and Keras 3 computes at once; call loss.backward() and read "
                              "variable.value.grad, or tensor.grad of convgpu.tensor(x, requires_grad=True)")


# --- reductions


def _numbers(x: Any) -> Tensor:
    """Booleans as floatx."""
    x = ops.convert_to_tensor(x) if not isinstance(x, KerasTensor) else x
    return ops.cast(x, floatx()) if dtype(x) == "bool" else x


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The sum over axis."""
    return ops.sum(x, axis, keepdims)


def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The product over axis."""
    return ops.prod(x, axis, keepdims)


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The mean over axis; of booleans the share that is true."""
    return ops.mean(_numbers(x), axis, keepdims)


def std(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The standard deviation over axis."""
    return ops.std(_numbers(x), axis, keepdims)


def var(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The variance over axis."""
    return ops.var(_numbers(x), axis, keepdims)


def max(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The largest value over axis."""
    return ops.max(x, axis, keepdims)


def min(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The smallest value over axis."""
    return ops.min(x, axis, keepdims)


def argmax(x: Any, axis: int = -1) -> Tensor:
    """The index of the largest value along axis."""
    return ops.argmax(x, axis)


def argmin(x: Any, axis: int = -1) -> Tensor:
    """The index of the smallest value along axis."""
    return ops.argmin(x, axis)


def any(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether any element along axis is true."""
    return ops.any(ops.cast(x, "bool"), axis, keepdims)


def all(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Whether all elements along axis are true."""
    return ops.all(ops.cast(x, "bool"), axis, keepdims)


def cumsum(x: Any, axis: int = 0) -> Tensor:
    """The running sum along axis."""
    return ops.cumsum(x, axis)


def cumprod(x: Any, axis: int = 0) -> Tensor:
    """The running product along axis."""
    return ops.cumprod(x, axis)


# --- element by element


def pow(x: Any, a: Any) -> Tensor:
    """x to the power a."""
    return ops.power(x, a)


def clip(x: Any, min_value: Any, max_value: Any) -> Tensor:
    """x limited to [min_value, max_value]; None is no limit."""
    lowest = -np.inf if min_value is None else min_value
    highest = np.inf if max_value is None else max_value
    if isinstance(lowest, (int, float)) and isinstance(highest, (int, float)):
        highest = builtins.max(lowest, highest)
    return ops.clip(x, lowest, highest)


def relu(x: Any, alpha: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Tensor:
    """x above the threshold, alpha * (x - threshold) below, at most max_value."""
    return keras.activations.relu(x, negative_slope=alpha, max_value=max_value, threshold=threshold)


def hard_sigmoid(x: Any) -> Tensor:
    """0.2 * x + 0.5, limited to [0, 1]: that of Keras 2; `keras.ops.hard_sigmoid` has the slope 1/6."""
    return ops.clip(x * 0.2 + 0.5, 0.0, 1.0)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along axis."""
    return ops.softmax(x, axis)


def l2_normalize(x: Any, axis: Any = None) -> Tensor:
    """x / sqrt(max(sum(x^2), 1e-12))."""
    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis, keepdims=True), 1e-12))


def dropout(x: Any, level: float, noise_shape: Any = None, seed: int | None = None) -> Tensor:
    """x with a share `level` of its elements set to 0, the others enlarged."""
    return random.dropout(x, level, noise_shape, seed)


def switch(condition: Any, then_expression: Any, else_expression: Any) -> Tensor:
    """The one or the other, of all or element by element as the condition says; both may be functions of nothing."""
    condition = ops.cast(condition, "bool")
    if not len(condition.shape):
        def chosen(x: Any) -> Any:
            return x if callable(x) else lambda: x

        return ops.cond(condition, chosen(then_expression), chosen(else_expression))
    a, b = (x() if callable(x) else x for x in (then_expression, else_expression))
    if len(condition.shape) > ndim(a):
        raise ValueError("Rank of `condition` should be less than or equal to rank of `then_expression` and "
                         f"`else_expression`. ndim(condition)={len(condition.shape)}, ndim(then_expression)={ndim(a)}")
    return ops.where(ops.reshape(condition, (*condition.shape, *[1] * (ndim(a) - len(condition.shape)))), a, b)


# --- shapes


def reshape(x: Any, shape: Any) -> Tensor:
    """The elements in another shape; one size may be -1."""
    return ops.reshape(x, tuple(shape))


def flatten(x: Any) -> Tensor:
    """All elements along one axis."""
    return ops.reshape(x, (-1,))


def batch_flatten(x: Any) -> Tensor:
    """The elements of each sample along one axis."""
    return ops.reshape(x, (-1, int(np.prod(x.shape[1:]))))


def expand_dims(x: Any, axis: int = -1) -> Tensor:
    """x with a new axis of size 1."""
    return ops.expand_dims(x, axis)


def permute_dimensions(x: Any, pattern: Any) -> Tensor:
    """The axes in another order."""
    return ops.transpose(x, pattern)


def concatenate(tensors: Any, axis: int = -1) -> Tensor:
    """Tensors one after the other along axis."""
    return ops.concatenate(tensors, axis)


def stack(x: Any, axis: int = 0) -> Tensor:
    """Tensors along a new axis."""
    return ops.stack(x, axis)


def repeat(x: Any, n: int) -> Tensor:
    """(N, D) -> (N, n, D)."""
    return ops.repeat(ops.expand_dims(x, 1), n, 1)


def repeat_elements(x: Any, rep: int, axis: int) -> Tensor:
    """Each entry along axis `rep` times."""
    return ops.repeat(x, rep, axis)


def reverse(x: Any, axes: Any) -> Tensor:
    """Backwards along axes."""
    return ops.flip(x, axes)


def gather(reference: Any, indices: Any) -> Tensor:
    """The entries along the first axis with those numbers."""
    return ops.take(reference, indices, 0)


def arange(start: int, stop: int | None = None, step: int = 1, dtype: str = "int32") -> Tensor:
    """start, start + step, ... below stop; 0, 1, ... below the only argument."""
    return ops.arange(start, stop, step, dtype)


def temporal_padding(x: Any, padding: tuple[int, int] = (1, 1)) -> Tensor:
    """Zeros before and after the steps of (N, T, C)."""
    return ops.pad(x, ((0, 0), tuple(padding), (0, 0)))


def _padded(x: Any, padding: Any, data_format: str | None) -> Tensor:
    around = [tuple(p) for p in padding]
    first = (data_format or image_data_format()) == "channels_first"
    return ops.pad(x, [(0, 0), (0, 0), *around] if first else [(0, 0), *around, (0, 0)])


def spatial_2d_padding(x: Any, padding: Any = ((1, 1), (1, 1)), data_format: str | None = None) -> Tensor:
    """Zeros around images."""
    return _padded(x, padding, data_format)


def spatial_3d_padding(x: Any, padding: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None) -> Tensor:
    """Zeros around volumes."""
    return _padded(x, padding, data_format)


def resize_images(x: Any, height_factor: int, width_factor: int, data_format: str | None = None,
                  interpolation: str = "nearest") -> Tensor:
    """Images enlarged by whole factors."""
    return keras.layers.UpSampling2D((height_factor, width_factor), data_format, interpolation)(x)


def resize_volumes(x: Any, depth_factor: int, height_factor: int, width_factor: int,
                   data_format: str | None = None) -> Tensor:
    """Volumes enlarged by whole factors."""
    return keras.layers.UpSampling3D((depth_factor, height_factor, width_factor), data_format)(x)


# --- products


def batch_dot(x: Any, y: Any, axes: Any = None) -> Tensor:
    """Per sample the sum of products over one axis of x and one of y; (N, 1) where nothing else is left.

    Args:
        axes: an axis of both, or one of each; by default the last of x and the last but one of y, if it has three.
    """
    a, b = (axes, axes) if isinstance(axes, int) else axes or (ndim(x) - 1, builtins.max(ndim(y) - 2, 1))
    a, b = a % ndim(x), b % ndim(y)
    if 0 in (a, b):
        raise ValueError("Cannot perform batch_dot over axis 0. If your inputs are not batched, add a dummy batch "
                         "dimension to your inputs using K.expand_dims(x, 0)")
    names = "nabcdefghijklm"
    left = names[:ndim(x)]
    right = ["n", *names[ndim(x):ndim(x) + ndim(y) - 1]]
    right[b] = left[a]
    kept = [c for c in (*left, *right[1:]) if c != left[a]]
    result = ops.einsum(f"{left},{''.join(right)}->{''.join(kept)}", x, y)
    return ops.expand_dims(result, 1) if len(kept) == 1 else result


def bias_add(x: Any, bias: Any, data_format: str | None = None) -> Tensor:
    """x plus a bias per channel, or one of x's shape without the batch."""
    if ndim(bias) == 1 and (data_format or image_data_format()) == "channels_first" and ndim(x) > 2:
        return x + ops.reshape(bias, (1, -1, *[1] * (ndim(x) - 2)))
    return x + bias


def conv1d(x: Any, kernel: Any, strides: Any = 1, padding: str = "valid", data_format: str | None = None,
           dilation_rate: Any = 1) -> Tensor:
    """Convolution of (N, T, C) with a kernel (taps, C, K)."""
    return ops.conv(x, kernel, strides, padding, data_format or image_data_format(), dilation_rate)


conv2d = conv3d = conv1d


def depthwise_conv2d(x: Any, depthwise_kernel: Any, strides: Any = 1, padding: str = "valid",
                     data_format: str | None = None, dilation_rate: Any = 1) -> Tensor:
    """Convolution of each channel with filters of its own."""
    return ops.depthwise_conv(x, depthwise_kernel, strides, padding, data_format or image_data_format(), dilation_rate)


def pool2d(x: Any, pool_size: Any, strides: Any = (1, 1), padding: str = "valid", data_format: str | None = None,
           pool_mode: str = "max") -> Tensor:
    """The largest value or the average ("avg") of windows."""
    if pool_mode not in ("max", "avg"):
        raise ValueError(f"Invalid pooling mode: {pool_mode}")
    pool = ops.max_pool if pool_mode == "max" else ops.average_pool
    return pool(x, pool_size, strides, padding, data_format or image_data_format())


pool3d = pool2d


def rnn(step_function: Any, inputs: Any, initial_states: Any, **options: Any) -> Any:
    """The step function along the steps of (N, T, ...): last output, outputs, states."""
    return keras.src.backend.rnn(step_function, inputs, initial_states, **options)


# --- losses


def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Tensor:
    """-target * log(output) - (1 - target) * log(1 - output), element by element."""
    return ops.binary_crossentropy(target, output, from_logits)


def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Tensor:
    """-sum of target * log(output) along axis."""
    return ops.categorical_crossentropy(target, output, from_logits, axis)


def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Tensor:
    """-log of the probability of the class `target`."""
    return ops.sparse_categorical_crossentropy(target, output, from_logits, axis)


def in_top_k(predictions: Any, targets: Any, k: int) -> Tensor:
    """Whether the value of each target is among the k largest predictions of its row."""
    return ops.in_top_k(targets, predictions, k)


def ctc_batch_cost(y_true: Any, y_pred: Any, input_length: Any, label_length: Any) -> Tensor:
    """The CTC loss (N, 1) of labels (N, L) for probabilities (N, T, C), whose last class is the blank.

    Args:
        input_length, label_length: (N, 1), how many steps and labels of each row count.
    """
    losses = ops.ctc_loss(ops.cast(y_true, "int32"), ops.log(y_pred + epsilon()), _lengths(label_length),
                          _lengths(input_length), mask_index=y_pred.shape[-1] - 1)
    return ops.expand_dims(losses, 1)


def ctc_decode(y_pred: Any, input_length: Any, greedy: bool = True, beam_width: int = 100,
               top_paths: int = 1) -> tuple[list[Tensor], Tensor]:
    """The labels that probabilities (N, T, C) spell, -1 behind their ends: the best, or by search the best few."""
    strategy = "greedy" if greedy else "beam_search"
    decoded, scores = ops.ctc_decode(ops.log(y_pred + epsilon()), _lengths(input_length), strategy, beam_width,
                                     top_paths, mask_index=y_pred.shape[-1] - 1)
    return [decoded[i] for i in range(decoded.shape[0])], scores


def _lengths(x: Any) -> Tensor:
    return ops.reshape(ops.cast(x, "int32"), (-1,))


# --- functions of functions


def map_fn(fn: Callable[[Any], Any], elems: Any, name: str | None = None, dtype: Any = None) -> Any:
    """fn of each entry along the first axis, stacked."""
    return ops.map(fn, elems)


def foldl(fn: Callable[[Any, Any], Any], elems: Any, initializer: Any = None, name: str | None = None) -> Any:
    """fn(... fn(fn(initializer, x[0]), x[1]) ..., x[n-1]); without an initializer from x[0] on."""
    return _folded(fn, list(ops.unstack(elems)), initializer)


def foldr(fn: Callable[[Any, Any], Any], elems: Any, initializer: Any = None, name: str | None = None) -> Any:
    """As `foldl`, from the last entry on."""
    return _folded(fn, list(ops.unstack(elems))[::-1], initializer)


def _folded(fn: Callable[[Any, Any], Any], entries: list[Any], initializer: Any) -> Any:
    total = entries.pop(0) if initializer is None else initializer
    for entry in entries:
        total = fn(total, entry)
    return total


# --- random numbers


def random_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None,
                  seed: int | None = None) -> Tensor:
    """Draws from a normal distribution."""
    return random.normal(shape, mean, stddev, dtype, seed)


def truncated_normal(shape: Any, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None,
                     seed: int | None = None) -> Tensor:
    """Draws from a normal distribution within two deviations."""
    return random.truncated_normal(shape, mean, stddev, dtype, seed)


def random_uniform(shape: Any, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None,
                   seed: int | None = None) -> Tensor:
    """Draws from [minval, maxval)."""
    return random.uniform(shape, minval, maxval, dtype, seed)


def random_bernoulli(shape: Any, p: float = 0.0, dtype: Any = None, seed: int | None = None) -> Tensor:
    """1 with probability p, else 0."""
    return ops.cast(random.uniform(shape, seed=seed) < p, dtype or floatx())


random_binomial = random_bernoulli


def random_normal_variable(shape: Any, mean: float, scale: float, dtype: Any = None, name: str | None = None,
                           seed: int | None = None) -> keras.Variable:
    """A variable of draws from a normal distribution."""
    return variable(random_normal(shape, mean, scale, dtype, seed), dtype, name)


def random_uniform_variable(shape: Any, low: float, high: float, dtype: Any = None, name: str | None = None,
                            seed: int | None = None) -> keras.Variable:
    """A variable of draws from [low, high)."""
    return variable(random_uniform(shape, low, high, dtype, seed), dtype, name)


# --- other names

REPLACEMENTS = {
    "get_session": "nothing: there are no sessions", "set_session": "nothing: there are no sessions",
    "ctc_label_dense_to_sparse": "the labels as they are: K.ctc_batch_cost and keras.ops.ctc_loss take dense ones",
    "tf": "keras.ops", "placeholder": "keras.Input(shape)", "is_placeholder": "keras.backend.is_keras_tensor",
    "binary_focal_crossentropy": "keras.losses.binary_focal_crossentropy",
    "categorical_focal_crossentropy": "keras.losses.categorical_focal_crossentropy",
    "separable_conv2d": "keras.ops.separable_conv", "separable_conv1d": "keras.ops.separable_conv",
    "conv2d_transpose": "keras.ops.conv_transpose", "batch_normalization": "keras.ops.batch_normalization",
    "normalize_batch_in_training": "keras.ops.moments and keras.ops.batch_normalization",
}
SAME = set("""
abs cos dot elu equal exp eye greater greater_equal less less_equal log logsumexp maximum minimum not_equal
one_hot ones_like round shape sigmoid sign sin softplus softsign sqrt square squeeze tanh tile transpose zeros_like
""".split())  # functions that keras.ops has under these names


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    if name in SAME:
        return getattr(ops, name)
    if hasattr(keras.backend, name):
        return getattr(keras.backend, name)
    instead = REPLACEMENTS.get(name, "the functions of keras.ops")
    raise AttributeError(f"keras.backend.{name}: convgpu does not have this function of older Keras; use {instead}")

