"""Reductions, elementwise functions, products, convolutions and losses, under the names of Keras 2."""
# ruff: noqa: A001, A002, N803 (the names come from Keras 2)

from __future__ import annotations

import builtins
from typing import Any

import keras
import numpy as np
from keras import ops, random
from keras.config import epsilon, floatx, image_data_format
from keras.src.backend.common.keras_tensor import KerasTensor

from .values import Tensor, dtype, ndim

# --- reductions


def _numbers(x: Any) -> Tensor:
    """x, with booleans converted to floatx."""
    x = ops.convert_to_tensor(x) if not isinstance(x, KerasTensor) else x
    return ops.cast(x, floatx()) if dtype(x) == "bool" else x


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The sum over axis."""
    return ops.sum(x, axis, keepdims)


def prod(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The product over axis."""
    return ops.prod(x, axis, keepdims)


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The mean over axis; for booleans it is the share of true elements."""
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
    """x above the threshold, alpha * (x - threshold) below it, and at most max_value."""
    return keras.activations.relu(x, negative_slope=alpha, max_value=max_value, threshold=threshold)


def hard_sigmoid(x: Any) -> Tensor:
    """0.2 * x + 0.5, limited to [0, 1], as in Keras 2; `keras.ops.hard_sigmoid` has the slope 1/6."""
    return ops.clip(x * 0.2 + 0.5, 0.0, 1.0)


def softmax(x: Any, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along axis."""
    return ops.softmax(x, axis)


def l2_normalize(x: Any, axis: Any = None) -> Tensor:
    """x / sqrt(max(sum(x^2), 1e-12))."""
    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis, keepdims=True), 1e-12))


def dropout(x: Any, level: float, noise_shape: Any = None, seed: int | None = None) -> Tensor:
    """x with a share `level` of its elements set to 0 and the others enlarged."""
    return random.dropout(x, level, noise_shape, seed)


def switch(condition: Any, then_expression: Any, else_expression: Any) -> Tensor:
    """Choose one expression as a whole, or element by element if the condition is an array; both may be functions."""
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


# --- products


def batch_dot(x: Any, y: Any, axes: Any = None) -> Tensor:
    """For each sample, the sum of products over one axis of x and one axis of y; (N, 1) where no other axis is left.

    Args:
        axes: an axis of both, or one axis of each; by default the last of x, and the last but one of y (of 3 or more
            axes).
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
    """x plus a bias per channel, or plus a bias of x's shape without the batch."""
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
    """Convolution of each channel with its own filters."""
    return ops.depthwise_conv(x, depthwise_kernel, strides, padding, data_format or image_data_format(), dilation_rate)


def pool2d(x: Any, pool_size: Any, strides: Any = (1, 1), padding: str = "valid", data_format: str | None = None,
           pool_mode: str = "max") -> Tensor:
    """The largest value of each window, or with "avg" the average."""
    if pool_mode not in ("max", "avg"):
        raise ValueError(f"Invalid pooling mode: {pool_mode}")
    pool = ops.max_pool if pool_mode == "max" else ops.average_pool
    return pool(x, pool_size, strides, padding, data_format or image_data_format())


pool3d = pool2d


def rnn(step_function: Any, inputs: Any, initial_states: Any, **options: Any) -> Any:
    """Call the step function on the steps of (N, T, ...); return the last output, all outputs, and the states."""
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
        input_length, label_length: (N, 1), the number of steps and labels that count in each row.
    """
    losses = ops.ctc_loss(ops.cast(y_true, "int32"), ops.log(y_pred + epsilon()), _lengths(label_length),
                          _lengths(input_length), mask_index=y_pred.shape[-1] - 1)
    return ops.expand_dims(losses, 1)


def ctc_decode(y_pred: Any, input_length: Any, greedy: bool = True, beam_width: int = 100,
               top_paths: int = 1) -> tuple[list[Tensor], Tensor]:
    """The labels that probabilities (N, T, C) spell, followed by -1: the best, or by beam search the best few."""
    strategy = "greedy" if greedy else "beam_search"
    decoded, scores = ops.ctc_decode(ops.log(y_pred + epsilon()), _lengths(input_length), strategy, beam_width,
                                     top_paths, mask_index=y_pred.shape[-1] - 1)
    return [decoded[i] for i in range(decoded.shape[0])], scores


def _lengths(x: Any) -> Tensor:
    return ops.reshape(ops.cast(x, "int32"), (-1,))
