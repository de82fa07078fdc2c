"""keras.ops.nn on convgpu's kernels: convolutions, pooling, normalisation, activations, losses.

Other functions are borrowed from Keras's NumPy backend. Keras stores the kernels of convolutions as (spatial...,
C/groups, K) in both data formats.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as onp
from keras.src import backend
from keras.src.backend.common.backend_utils import compute_conv_transpose_padding_args_for_jax
from keras.src.backend.common.dtypes import result_type
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.backend.common.symbolic_scope import in_symbolic_scope

import convgpu as cg
import convgpu.numpy as cnp
from convgpu import Tensor
from convgpu.device import CPU, GPU
from convgpu.dtypes import accumulator, as_dtype, is_float
from convgpu.geometry import DoesNotFit, conv_geometry, conv_transpose_geometry, pool_geometry
from convgpu.keras.borrow import borrow

from .core import cast, convert_to_tensor, of_tensors

borrow("nn", globals())
_borrowed_categorical_crossentropy = globals()["categorical_crossentropy"]
_borrowed_batch_normalization = globals()["batch_normalization"]

from .attention import dot_product_attention  # noqa: E402, F401 - in place of borrowed functions
from .ctc import ctc_decode, ctc_loss  # noqa: E402, F401


def _floating(*xs: Any) -> list[Tensor]:
    """The operands as tensors of one common floating dtype."""
    tensors = [convert_to_tensor(x) for x in xs]
    first = tensors[0].dtype
    if is_float(first) and all([t.dtype == first for t in tensors]):
        return tensors
    dtype = result_type(*[t.dtype for t in tensors], float)
    return [cast(t, dtype) for t in tensors]


def _of_floats(name: str) -> Callable[..., Tensor]:
    """The borrowed function of that name, made to compute integers in floats and to return x's floating dtype."""
    function = globals()[name]

    @functools.wraps(function)
    def of_floats(x: Any, *args: Any, **options: Any) -> Tensor:
        x, = _floating(x)
        return cast(function(x, *args, **options), backend.standardize_dtype(x.dtype))

    return of_floats


celu, hard_sigmoid, hard_silu, log_sigmoid, softsign, sparsemax, squareplus, tanh_shrink = map(_of_floats, (
    "celu", "hard_sigmoid", "hard_silu", "log_sigmoid", "softsign", "sparsemax", "squareplus", "tanh_shrink"))

soft_shrink, sparse_plus = of_tensors(globals()["soft_shrink"]), of_tensors(globals()["sparse_plus"])

# --- convolution


def _of_integers(convolve: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make a convolution of integers return integers: computed in float64, which is exact below 2^53, then wrapped."""
    @functools.wraps(convolve)
    def convolved(inputs: Any, kernel: Any, *args: Any, **options: Any) -> Tensor:
        x, w = convert_to_tensor(inputs), convert_to_tensor(kernel)
        if is_float(x.dtype) or is_float(w.dtype):
            return convolve(x, w, *args, **options)
        y = convolve(x.astype("float64"), w.astype("float64"), *args, **options)
        return (y if in_symbolic_scope() else y.astype("int64")).astype(result_type(x.dtype, w.dtype))

    return convolved


def _per_axis(value: Any, rank: int) -> tuple[int, ...]:
    return (value,) * rank if isinstance(value, int) else tuple(value)


def _laid_out(kernel: Tensor, data_format: str) -> Tensor:
    """A kernel of Keras in the layout of convgpu: for channels_first (K, C/groups, spatial...)."""
    if data_format == "channels_last":
        return kernel
    rank = kernel.ndim - 2
    return cnp.transpose(kernel, (rank + 1, rank, *range(rank)))


def _padding(padding: Any) -> Any:
    return padding.lower() if isinstance(padding, str) else [tuple(p) for p in padding]


@_of_integers
def conv(inputs: Any, kernel: Any, strides: Any = 1, padding: Any = "valid", data_format: str | None = None,
         dilation_rate: Any = 1) -> Tensor:
    """Convolution with a kernel (spatial..., C/groups, K)."""
    x, w = _floating(inputs, kernel)
    return _convolved(x, w, None, None, strides, padding, data_format, dilation_rate)


def _convolved(x: Tensor, w: Tensor, bias: Tensor | None, activation: str | None, strides: Any, padding: Any,
               data_format: str | None, dilation_rate: Any) -> Tensor:
    """activation(conv(x, w) + bias), in one call."""
    data_format = backend.standardize_data_format(data_format)
    channels = x.shape[-1] if data_format == "channels_last" else x.shape[1]
    if channels % w.shape[-2]:
        raise ValueError("The number of input channels must be evenly divisible by kernel's in_channels. Received "
                         f"input channels {channels} and kernel in_channels {w.shape[-2]}.")
    groups, rank = channels // w.shape[-2], x.ndim - 2
    options = {"stride": _per_axis(strides, rank), "padding": _padding(padding),
               "dilation": _per_axis(dilation_rate, rank), "groups": groups, "data_format": data_format}
    w = _laid_out(w, data_format)
    try:
        if in_symbolic_scope():
            return _zeros(conv_geometry("conv", x.shape, w.shape, **options).y_shape, x)
        return cg.conv(x, w, bias, activation=activation, **options)
    except DoesNotFit as error:
        raise ValueError(f"The convolution operation resulted in an empty output. {error}") from error


def conv_of(layer: Any, inputs: Any) -> Tensor | None:
    """What a layer of convolution gives, with bias and activation in the same call; None where Keras computes it."""
    from keras.src.layers.convolutional.base_conv import BaseConv  # imported late: this class calls this function

    if type(layer).convolution_op is not BaseConv.convolution_op:
        return None

    def convolved(x: Tensor, w: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
        before = [(d * (k - 1), 0) for k, d in zip(layer.kernel_size, layer.dilation_rate)]
        padding = before if layer.padding == "causal" else layer.padding
        return _convolved(x, w, bias, activation, layer.strides, padding, layer.data_format, layer.dilation_rate)

    return _with_bias_of(layer, convolved, inputs, layer.kernel, fuses=layer.padding == "causal")


def depthwise_conv_of(layer: Any, inputs: Any) -> Tensor | None:
    """As `conv_of`, for layers of depthwise convolution."""
    def convolved(x: Tensor, w: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
        return _depthwise_convolved(x, w, bias, activation, layer.strides, layer.padding, layer.data_format,
                                    layer.dilation_rate)

    return _with_bias_of(layer, convolved, inputs, layer.kernel)


def separable_conv_of(layer: Any, inputs: Any) -> Tensor | None:
    """As `conv_of`, for layers of separable convolution."""
    def convolved(x: Tensor, depthwise: Tensor, pointwise: Tensor, bias: Tensor | None,
                  activation: str | None) -> Tensor:
        middle = _depthwise_convolved(x, depthwise, None, None, layer.strides, layer.padding, layer.data_format,
                                      layer.dilation_rate)
        return _convolved(middle, pointwise, bias, activation, 1, "valid", layer.data_format, 1)

    return _with_bias_of(layer, convolved, inputs, layer.depthwise_kernel, layer.pointwise_kernel)


def conv_transpose_of(layer: Any, inputs: Any) -> Tensor | None:
    """As `conv_of`, for layers of transposed convolution."""
    def convolved(x: Tensor, w: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
        return _transposed(x, w, bias, activation, layer.strides, layer.padding, layer.output_padding,
                           layer.data_format, layer.dilation_rate)

    return _with_bias_of(layer, convolved, inputs, layer.kernel)


def _with_bias_of(layer: Any, convolved: Callable[..., Tensor], inputs: Any, *kernels: Any,
                  fuses: bool = False) -> Tensor | None:
    """What `convolved` gives for the inputs, the kernels, and the layer's bias and activation in the same call.

    None where the layer has neither, unless `convolved` fuses something else.
    """
    activation, rest = _fused_activation(layer.activation)
    if layer.bias is None and activation is None and not fuses:
        return None
    operands = _floating(inputs, *kernels, *([] if layer.bias is None else [layer.bias]))
    y = convolved(*operands, *([None] if layer.bias is None else []), activation)
    return y if rest is None else rest(y)


def dense_of(layer: Any, inputs: Any) -> Tensor | None:
    """What the layer Dense gives, with bias and activation in the same call; None where Keras computes it."""
    activation, rest = _fused_activation(layer.activation)
    if layer.bias is None and activation is None:
        return None
    x, w, *bias = _floating(inputs, layer.kernel, *([] if layer.bias is None else [layer.bias]))
    if x.ndim < 2 or x.shape[-1] != w.shape[0]:
        return None
    y = _zeros((*x.shape[:-1], w.shape[1]), x) if in_symbolic_scope() else cg.linear(
        x, w, *bias, activation=activation)
    return y if rest is None else rest(y)


def _fused_activation(function: Any) -> tuple[str | None, Callable[[Tensor], Tensor] | None]:
    """The name of an activation that the kernel computes, or the function that is called on its result (or None)."""
    from keras.src import activations  # imported late: activations call this module

    if function in (None, activations.linear):
        return None, None
    return {activations.relu: ("relu", None), activations.tanh: ("tanh", None)}.get(function, (None, function))


def _zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Zeros that stand for a result while only shapes are computed."""
    return cg.zeros(shape, dtype=like.dtype, device=like.device)


def _check_channels(x: Tensor, kernel_channels: int, data_format: str) -> None:
    """Raise Keras's error for a kernel made for another number of channels."""
    channels = x.shape[-1 if data_format == "channels_last" else 1]
    if channels != kernel_channels:
        raise ValueError("The number of input channels must match the kernel's input channels. Received: "
                         f"input channels={channels}, kernel input channels={kernel_channels}, {data_format=}.")


@_of_integers
def depthwise_conv(inputs: Any, kernel: Any, strides: Any = 1, padding: Any = "valid", data_format: str | None = None,
                   dilation_rate: Any = 1) -> Tensor:
    """Convolution of each channel with its own filters, from a kernel (spatial..., C, multiplier)."""
    x, w = _floating(inputs, kernel)
    return _depthwise_convolved(x, w, None, None, strides, padding, data_format, dilation_rate)


def _depthwise_convolved(x: Tensor, w: Tensor, bias: Tensor | None, activation: str | None, strides: Any, padding: Any,
                         data_format: str | None, dilation_rate: Any) -> Tensor:
    data_format = backend.standardize_data_format(data_format)
    _check_channels(x, w.shape[-2], data_format)
    w = cnp.reshape(w, (*w.shape[:-2], 1, w.shape[-2] * w.shape[-1]))
    return _convolved(x, w, bias, activation, strides, padding, data_format, dilation_rate)


def separable_conv(inputs: Any, depthwise_kernel: Any, pointwise_kernel: Any, strides: Any = 1, padding: Any = "valid",
                   data_format: str | None = None, dilation_rate: Any = 1) -> Tensor:
    """A depthwise convolution followed by a convolution of a single tap."""
    middle = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return conv(middle, pointwise_kernel, 1, "valid", data_format, 1)


@_of_integers
def conv_transpose(inputs: Any, kernel: Any, strides: Any = 1, padding: str = "valid", output_padding: Any = None,
                   data_format: str | None = None, dilation_rate: Any = 1) -> Tensor:
    """Transposed convolution with a kernel (spatial..., C_out, C_in).

    Keras's output sizes are, for "valid", (n-1)*s + max(extent, s), and for "same", n*s; with output_padding they are
    (n-1)*s + extent - (0 if "valid" else extent - extent%2) + output_padding.
    """
    x, w = _floating(inputs, kernel)
    return _transposed(x, w, None, None, strides, padding, output_padding, data_format, dilation_rate)


def _transposed(x: Tensor, w: Tensor, bias: Tensor | None, activation: str | None, strides: Any, padding: str,
                output_padding: Any, data_format: str | None, dilation_rate: Any) -> Tensor:
    data_format = backend.standardize_data_format(data_format)
    _check_channels(x, w.shape[-1], data_format)
    rank = x.ndim - 2
    stride, dilation = _per_axis(strides, rank), _per_axis(dilation_rate, rank)
    around = compute_conv_transpose_padding_args_for_jax(x.shape, w.shape, strides, padding, output_padding,
                                                         dilation_rate)
    spans = [(f - 1) * d + 1 for f, d in zip(w.shape, dilation)]
    # JAX's padding around x corresponds to a crop of the pixels that taps reach, or to zeros after them.
    crop = [(span - 1 - a, max(span - 1 - b, 0)) for span, (a, b) in zip(spans, around)]
    after = [max(b - span + 1, 0) for span, (a, b) in zip(spans, around)]
    extra = [e if e < max(s, d) else 0 for e, s, d in zip(after, stride, dilation)]
    options: dict[str, Any] = {"stride": stride, "padding": crop, "output_padding": extra, "dilation": dilation,
                               "groups": 1, "data_format": data_format}
    w = _laid_out(w, data_format)
    if in_symbolic_scope():
        y = _zeros(conv_transpose_geometry("conv_transpose", x.shape, w.shape, **options).x_shape, x)
    else:
        with_bias: dict[str, Any] = {"bias": bias, "activation": activation} if extra == after else {}
        y = cg.conv_transpose(x, w, **with_bias, **options)
    if extra == after:
        return y
    beyond = [(0, a - e) for a, e in zip(after, extra)]
    channels_last = data_format == "channels_last"
    y = cnp.pad(y, [(0, 0), *beyond, (0, 0)] if channels_last else [(0, 0), (0, 0), *beyond])
    if bias is not None:
        y = y + (bias if channels_last else cnp.reshape(bias, (-1, *[1] * rank)))
    return y if activation is None else {"relu": cg.relu, "tanh": cnp.tanh}[activation](y)


# --- pooling


def _pooled(pool: Any, name: str, inputs: Any, size: Any, strides: Any, padding: str,
            data_format: str | None) -> Tensor:
    data_format = backend.standardize_data_format(data_format)
    if padding not in ("same", "valid"):
        raise ValueError(f"Invalid padding '{padding}', must be 'same' or 'valid'.")
    x = convert_to_tensor(inputs)
    rank = x.ndim - 2
    window = _per_axis(size, rank)
    stride = window if strides is None else _per_axis(strides, rank)
    if in_symbolic_scope():
        return _zeros(pool_geometry(name, x.shape, window, stride, padding, 1, False, False, data_format).y_shape, x)
    return pool(x, window, stride=stride, padding=padding, data_format=data_format)


def max_pool(inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid",
             data_format: str | None = None) -> Tensor:
    """The largest value of every window."""
    x, back = _for_max(inputs)
    return back(_pooled(cg.max_pool, "max_pool", x, pool_size, strides, padding, data_format))


def _for_max(inputs: Any) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """A tensor that max pooling takes on its device, and what gives the result the dtype of the inputs.

    The GPU's kernels pool floats; float64 holds integers of up to 53 bits exactly.
    """
    x = convert_to_tensor(inputs)
    if x.device == CPU or is_float(x.dtype):
        return x, lambda y: y
    return x.astype("float64"), lambda y: y.astype(x.dtype)


def average_pool(inputs: Any, pool_size: Any, strides: Any = None, padding: str = "valid",
                 data_format: str | None = None) -> Tensor:
    """The average of every window, not counting its padding."""
    x, = _floating(inputs)
    return _pooled(cg.avg_pool, "avg_pool", x, pool_size, strides, padding, data_format)


def adaptive_average_pool(inputs: Any, output_size: Any, data_format: str | None = None) -> Tensor:
    """Average pooling to an output size."""
    x, = _floating(inputs)
    return cg.adaptive_avg_pool(x, output_size, data_format=backend.standardize_data_format(data_format))


def adaptive_max_pool(inputs: Any, output_size: Any, data_format: str | None = None) -> Tensor:
    """Max pooling to an output size."""
    x, back = _for_max(inputs)
    return back(cg.adaptive_max_pool(x, output_size, data_format=backend.standardize_data_format(data_format)))


# --- activations


def relu(x: Any) -> Tensor:
    """max(x, 0), an integer for integers."""
    x = convert_to_tensor(x)
    return cg.relu(x) if is_float(x.dtype) else cnp.maximum(x, cnp.zeros_like(x))


def sigmoid(x: Any) -> Tensor:
    """1 / (1 + exp(-x))."""
    return _made_by(cg.sigmoid(convert_to_tensor(x)), "sigmoid")


def tanh(x: Any) -> Tensor:
    """The hyperbolic tangent."""
    return cnp.tanh(convert_to_tensor(x))


def softplus(x: Any) -> Tensor:
    """log(1 + exp(x))."""
    return cg.softplus(convert_to_tensor(x))


def silu(x: Any) -> Tensor:
    """x * sigmoid(x)."""
    return cg.silu(convert_to_tensor(x))


def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """x where x > 0, else alpha * (exp(x) - 1)."""
    return cg.elu(convert_to_tensor(x), alpha)


def selu(x: Any) -> Tensor:
    """1.0507 * elu(x, 1.67326)."""
    return cg.selu(convert_to_tensor(x))


def gelu(x: Any, approximate: bool = True) -> Tensor:
    """x * cdf(x), where cdf is the normal distribution function."""
    return cg.gelu(convert_to_tensor(x), approximate)


def softmax(x: Any, axis: int | None = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along axis; over all elements where axis is None."""
    y = _along(cg.softmax, x, axis)
    return _made_by(y, "softmax", None if axis is None else axis % max(y.ndim, 1))


def log_softmax(x: Any, axis: int | None = -1) -> Tensor:
    """x - log(sum(exp(x))) along axis; over all elements where axis is None."""
    return _along(cg.log_softmax, x, axis)


def _along(function: Any, x: Any, axis: int | None) -> Tensor:
    x = convert_to_tensor(x)
    return cnp.reshape(function(cnp.ravel(x)), x.shape) if axis is None else function(x, axis=axis)


# --- labels and losses


def _made_by(y: Tensor, *activation: Any) -> Tensor:
    """y with a note of the activation that has made it, for a loss that can start from what was before it."""
    y._keras_activation = activation  # type: ignore[attr-defined]
    return y


def _logits_before(output: Tensor, *activation: Any) -> Tensor | None:
    """What was before the activation where the output is that of Keras's activation; losses are more exact from there.

    Keras's activations keep it in the attribute `_keras_logits`, which its TensorFlow backend uses in the same way.
    """
    logits = getattr(output, "_keras_logits", None)
    if logits is None or getattr(output, "_keras_activation", None) != activation:
        return None
    return cast(logits, output.dtype.name)


def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Tensor:
    """1 at the index of the class along a new axis, and 0 elsewhere; all 0 for a class that does not exist."""
    if sparse:
        raise ValueError("convgpu has no sparse tensors")
    x = convert_to_tensor(x)
    axis = axis if axis >= 0 else axis + x.ndim + 1
    classes = cg.arange(num_classes, device=x.device).reshape((-1,) + (1,) * (x.ndim - axis))
    return cnp.equal(cnp.expand_dims(x, axis), classes).astype(dtype or "float32")


def sparse_categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Tensor:
    """-log of the probability of the class `target`."""
    target, (output,) = convert_to_tensor(target, "int32"), _floating(output)
    if target.ndim == output.ndim and target.shape[-1] == 1:
        target = cnp.squeeze(target, -1)
    if output.ndim < 1:
        raise ValueError(f"Argument `output` must be at least rank 1. Received: output.shape={output.shape}")
    axis = axis % output.ndim
    if target.shape != output.shape[:axis] + output.shape[axis + 1:]:
        raise ValueError("Arguments `target` and `output` must have the same shape up until the last dimension: "
                         f"target.shape={target.shape}, output.shape={output.shape}")
    logits = output if from_logits else _logits_before(output, "softmax", axis)
    if logits is not None:
        losses = cg.cross_entropy(logits, target, axis=axis, reduction="none")
        return cast(losses, backend.standardize_dtype(output.dtype))
    logarithms = cnp.log(_probabilities(output, axis))
    if target.device == GPU:  # a lookup would wait to see whether the targets are in range
        classes = cg.arange(output.shape[axis], device=GPU).reshape((-1,) + (1,) * (output.ndim - 1 - axis))
        target = cnp.expand_dims(target, axis)
        chosen = cnp.sum(cnp.where(target == classes, logarithms, 0), axis)
        known = (target >= 0) & (target < output.shape[axis])
        return -cnp.where(cnp.squeeze(known, axis), chosen, float("nan"))
    return -cnp.squeeze(cnp.take_along_axis(logarithms, cnp.expand_dims(target, axis), axis), axis)


def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Tensor:
    """-sum of target * log(output), where output holds probabilities along axis, or their logits."""
    target, output = _floating(target, output)
    logits = None if from_logits else _logits_before(output, "softmax", axis % max(output.ndim, 1))
    if logits is not None:
        output, from_logits = logits, True
    return _borrowed_categorical_crossentropy(target, output, from_logits, axis)


def _probabilities(output: Tensor, axis: int) -> Tensor:
    """output scaled to the sum 1 along axis, and kept away from 0 and 1."""
    output = output / cnp.sum(output, axis, keepdims=True)
    return cnp.clip(output, backend.epsilon(), 1.0 - backend.epsilon())


def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Tensor:
    """-target * log(output) - (1 - target) * log(1 - output), element by element."""
    target, output = _floating(target, output)
    if target.shape != output.shape:
        raise ValueError("Arguments `target` and `output` must have the same shape. Received: "
                         f"target.shape={target.shape}, output.shape={output.shape}")
    logits = output if from_logits else _logits_before(output, "sigmoid")
    if logits is not None:
        return cg.softplus(logits) - target * logits
    output = cnp.clip(output, backend.epsilon(), 1.0 - backend.epsilon())
    return -(target * cnp.log(output) + (1.0 - target) * cnp.log(1.0 - output))


# --- normalisation


def moments(x: Any, axes: Any, keepdims: bool = False, synchronized: bool = False) -> tuple[Tensor, Tensor]:
    """Mean and variance over axes, computed in two passes; half types are computed in float32."""
    if synchronized:
        raise NotImplementedError("moments: synchronized=True needs several devices; convgpu computes on one")
    x, = _floating(x)
    axes = tuple(axes) if isinstance(axes, list) else axes
    if x.dtype.name != "float16":
        return cnp.mean(x, axes, keepdims=keepdims), cnp.var(x, axes, keepdims=keepdims)
    wide = moments(cast(x, "float32"), axes, keepdims)
    largest = float(cnp.finfo("float16").max)
    return tuple([cast(cnp.clip(m, -largest, largest), "float16") for m in wide])  # type: ignore[return-value]


def batch_normalization(x: Any, mean: Any, variance: Any, axis: int, offset: Any = None, scale: Any = None,
                        epsilon: float = 1e-3) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) * scale + offset."""
    x, mean, variance = (convert_to_tensor(v) for v in (x, mean, variance))
    dtype = result_type(x.dtype, mean.dtype, variance.dtype, float)
    x, mean, variance = (v if is_float(v.dtype) else cast(v, dtype) for v in (x, mean, variance))
    return _borrowed_batch_normalization(x, mean, variance, axis, offset, scale, epsilon)


def _parameters(x: Tensor, *parameters: Any) -> bool:
    """Whether the parameters of a normalisation (or None) have dtypes that convgpu's takes beside x."""
    allowed = (x.dtype, accumulator(x.dtype)) if is_float(x.dtype) else ()
    return all([p is None or _numpy_dtype(p) in allowed for p in parameters]) and is_float(x.dtype)


def _numpy_dtype(x: Any) -> Any:
    dtype = x.dtype
    return as_dtype(dtype) if isinstance(dtype, str) else dtype


def batch_norm_of(layer: Any, inputs: Any, training: Any, mask: Any) -> Tensor | None:
    """What the layer BatchNormalization gives, whose statistics learn from the batch; None where Keras computes it.

    That is where there is a mask, renormalisation or a statistic of several devices, and where the channels lie neither
    on the last axis nor on the second.
    """
    x = convert_to_tensor(inputs)
    gamma, beta = layer.gamma, layer.beta
    axis = layer.axis % x.ndim
    if mask is not None or layer.renorm or layer.synchronized or x.ndim < 2 or axis not in (1, x.ndim - 1):
        return None
    if x.dtype != as_dtype(layer.compute_dtype) or not _parameters(x, gamma, beta, layer.moving_mean,
                                                                   layer.moving_variance):
        return None
    if in_symbolic_scope():
        return _zeros(x.shape, x)
    learns = bool(training) and layer.trainable
    y, mean, variance = cg.batch_norm(
        x, layer.moving_mean, layer.moving_variance, gamma, beta, training=learns, momentum=layer.momentum,
        epsilon=layer.epsilon, correction=0, data_format="channels_last" if axis == x.ndim - 1 else "channels_first")
    if learns:
        for variable, learned in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            variable.assign(learned) if in_stateless_scope() else variable.hold(learned)
    return y


def group_norm_of(layer: Any, inputs: Any) -> Tensor | None:
    """What the layer GroupNormalization gives; None where Keras computes it: its channels lie elsewhere."""
    x = convert_to_tensor(inputs)
    axis = layer.axis % x.ndim
    if x.ndim < 2 or axis not in (1, x.ndim - 1) or x.dtype != as_dtype(layer.compute_dtype):
        return None
    if not _parameters(x, layer.gamma, layer.beta):
        return None
    if in_symbolic_scope():
        return _zeros(x.shape, x)
    return cg.group_norm(x, layer.groups, layer.gamma, layer.beta, epsilon=layer.epsilon,
                         data_format="channels_last" if axis == x.ndim - 1 else "channels_first")


def layer_norm(x: Any, gamma: Any, beta: Any, axis: Any, epsilon: float | None, rms_scaling: bool) -> Tensor | None:
    """keras.ops.layer_normalization; None where Keras computes it: parameters that broadcast, and its rms_scaling."""
    x = convert_to_tensor(x)
    axes = tuple(sorted([a % max(x.ndim, 1) for a in ([axis] if isinstance(axis, int) else axis)]))
    sizes = tuple([x.shape[a] for a in axes])
    gamma, beta = (None if p is None else convert_to_tensor(p) for p in (gamma, beta))
    if rms_scaling or not _parameters(x, gamma, beta) or {p.shape for p in (gamma, beta) if p is not None} - {sizes}:
        return None
    if in_symbolic_scope():
        return _zeros(x.shape, x)
    return cg.layer_norm(x, gamma, beta, axis=axes, epsilon=backend.epsilon() if epsilon is None else epsilon)


# --- patches


def _patch_places(size: tuple[int, ...], kernel: Any, dilation: Any, stride: Any) -> tuple[Any, Any]:
    """The rows and columns of all taps of all patches of an image: (kh*kw, patches)."""
    (kh, kw), (dh, dw), (sh, sw) = (_per_axis(v, 2) for v in (kernel, dilation, stride))
    out = [(n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(size, (kh, kw), (dh, dw), (sh, sw))]
    r, c = onp.mgrid[:kh, :kw].reshape(2, -1, 1)
    p, q = onp.mgrid[:out[0], :out[1]].reshape(2, 1, -1)
    return p * sh + r * dh, q * sw + c * dw


def unfold(input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:  # noqa: A002
    """The patches of images (N, C, H, W) as columns: (N, C * kh * kw, patches)."""
    ph, pw = _per_axis(padding, 2)
    x = cnp.pad(convert_to_tensor(input), [(0, 0), (0, 0), (ph, ph), (pw, pw)])
    rows, columns = _patch_places(x.shape[2:], kernel_size, dilation, stride)
    return cnp.reshape(x[:, :, rows, columns], (x.shape[0], -1, rows.shape[1]))


def fold(x: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Tensor:
    """Images (N, C, *output_size) in which the columns of `unfold` are added up at their places."""
    x = convert_to_tensor(x)
    (ph, pw), (h, w) = _per_axis(padding, 2), _per_axis(output_size, 2)
    rows, columns = _patch_places((h + 2 * ph, w + 2 * pw), kernel_size, dilation, stride)
    x = cnp.reshape(x, (x.shape[0], -1, *rows.shape))
    y = _zeros((*x.shape[:2], h + 2 * ph, w + 2 * pw), x).at[:, :, rows, columns].add(x)
    return y[:, :, ph:ph + h, pw:pw + w]
