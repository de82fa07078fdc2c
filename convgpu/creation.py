"""New tensors: constants, ranges, and random initial values.

Random values are drawn on the device where they are wanted, and a seed gives the same values on every device; those of
a numpy.random.Generator are drawn on the host and moved. Half types are drawn in float32 and rounded.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from . import gpu
from .arguments import number, shape_of
from .device import CPU, GPU, cupy_with_gpu, device_of, move, parse_device
from .dtypes import DTypeLike, accumulator, as_dtype, is_half
from .generator import Generator, as_generator, normal_arguments, uniform_arguments
from .geometry import is_channels_last
from .op import Op
from .ops import random as draws
from .tensor import Tensor, as_tensor, wrap

Shape = int | tuple[int, ...] | list[int]


def _shape(shape: Shape) -> tuple[int, ...]:
    return shape_of("shape", shape)


def _new(array: np.ndarray, device: str | None, requires_grad: bool) -> Tensor:
    """A Tensor over a new array, on `device`."""
    return wrap(move(array, parse_device(device or CPU))).requires_grad_(requires_grad)


def full(shape: Shape, value: float, *, dtype: DTypeLike = "float32", device: str | None = None,
         requires_grad: bool = False) -> Tensor:
    """A tensor filled with one value.

    >>> full((2, 2), 7)
    Tensor([[7., 7.],
            [7., 7.]], dtype=float32)
    """
    return _of_one_value(shape, value, dtype, device, requires_grad)


def _of_one_value(shape: Shape, value: float, dtype: DTypeLike, device: str | None, requires_grad: bool) -> Tensor:
    if parse_device(device or CPU) == GPU:
        return wrap(_filled(_shape(shape), value, as_dtype(dtype))).requires_grad_(requires_grad)
    return _new(np.full(_shape(shape), value, as_dtype(dtype)), device, requires_grad)


def _filled(shape: tuple[int, ...], value: Any, dtype: np.dtype) -> Any:
    """A CuPy array that a kernel fills, so that nothing is copied from the host."""
    cupy = cupy_with_gpu()
    value = np.full((), value, dtype)  # with NumPy's errors

    def fill() -> Any:
        array = cupy.empty(shape, dtype)
        if is_half(dtype):
            array.view(np.uint16).fill(value.view(np.uint16).item())
        else:
            array.fill(value.item())
        return array

    return gpu.run("full", fill)


def zeros(shape: Shape, *, dtype: DTypeLike = "float32", device: str | None = None,
          requires_grad: bool = False) -> Tensor:
    """A tensor of zeros.

    >>> zeros(3)
    Tensor([0., 0., 0.], dtype=float32)
    """
    return _of_one_value(shape, 0, dtype, device, requires_grad)


def ones(shape: Shape, *, dtype: DTypeLike = "float32", device: str | None = None,
         requires_grad: bool = False) -> Tensor:
    """A tensor of ones.

    >>> ones((1, 2), dtype="int64")
    Tensor([[1, 1]], dtype=int64)
    """
    return _of_one_value(shape, 1, dtype, device, requires_grad)


def zeros_like(x: Any, *, dtype: DTypeLike = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros in the shape of x; by default also in its dtype and on its device.

    >>> zeros_like([1, 2])
    Tensor([0, 0], dtype=int64)
    """
    return full_like(x, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones_like(x: Any, *, dtype: DTypeLike = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Ones in the shape of x; by default also in its dtype and on its device.

    >>> ones_like([0.5, 2.5])
    Tensor([1., 1.], dtype=float32)
    """
    return full_like(x, 1, dtype=dtype, device=device, requires_grad=requires_grad)


def full_like(x: Any, value: float, *, dtype: DTypeLike = None, device: str | None = None,
              requires_grad: bool = False) -> Tensor:
    """One value in the shape of x; by default also in its dtype and on its device.

    >>> full_like([0.0, 0.0], 3)
    Tensor([3., 3.], dtype=float32)
    """
    x = as_tensor(x, "full_like")
    return full(x.shape, value, dtype=x.dtype if dtype is None else dtype,
                device=device_of(x.array) if device is None else device, requires_grad=requires_grad)


def arange(start: float, stop: float | None = None, step: float = 1, *, dtype: DTypeLike = None,
           device: str | None = None, requires_grad: bool = False) -> Tensor:
    """The values start, start + step, ... below `stop`; they begin at 0 where only one bound is given.

    Integer arguments give int64, other arguments float32.

    >>> arange(3), arange(0.0, 1.0, 0.25)
    (Tensor([0, 1, 2], dtype=int64), Tensor([0.  , 0.25, 0.5 , 0.75], dtype=float32))
    """
    for name, value in (("start", start), ("stop", stop), ("step", step)):
        if value is not None and not math.isfinite(number("arange", name, value)):
            raise ValueError(f"arange: expected a finite {name}, got {value}")
    if step == 0:
        raise ValueError(f"arange: expected a step other than 0, got {step}")
    low, high = (0, start) if stop is None else (start, stop)
    if parse_device(device or CPU) == GPU and all([type(v) is int for v in (low, high, step)]):
        cupy = cupy_with_gpu()
        numbers = gpu.run("arange", lambda: np.arange(low, high, step, like=cupy.empty((), np.int8)))
        numbers = numbers if dtype is None else gpu.run("arange", lambda: numbers.astype(as_dtype(dtype)))
        return wrap(numbers).requires_grad_(requires_grad)
    values = np.arange(low, high, step)
    if dtype is None:
        dtype = np.int64 if values.dtype.kind in "iu" else np.float32
    return _new(values.astype(as_dtype(dtype)), device, requires_grad)


def eye(n: int, m: int | None = None, *, dtype: DTypeLike = "float32", device: str | None = None,
        requires_grad: bool = False) -> Tensor:
    """The (n, m) matrix with ones on its diagonal; square by default.

    >>> eye(2)
    Tensor([[1., 0.],
            [0., 1.]], dtype=float32)
    """
    return _new(np.eye(n, m, dtype=as_dtype(dtype)), device, requires_grad)


# --- random values


def randn(shape: Shape, *, generator: Any = None, dtype: DTypeLike = "float32", device: str | None = None,
          requires_grad: bool = False) -> Tensor:
    """Normally distributed values with mean 0 and standard deviation 1.

    Args:
        shape: the shape of the tensor.
        generator: a `Generator`, whose state moves on; by default that of `convgpu.seed`. An integer n stands for a new
            `Generator(n)`, so that each call gives the same values. A numpy.random.Generator draws on the host.
        dtype: a floating dtype.
        device: "cpu" or "gpu"; by default where the state of a given `Generator` is, else "cpu".
        requires_grad: whether `backward` fills `grad`.

    >>> randn(2, generator=0)
    Tensor([ 0.047 , -1.3547], dtype=float32)
    """
    return _random("randn", generator, device, requires_grad, draws.normal,
                   *normal_arguments("randn", shape, 0.0, 1.0, dtype))


def uniform(shape: Shape, low: float = 0.0, high: float = 1.0, *, generator: Any = None, dtype: DTypeLike = "float32",
            device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Uniformly distributed values from low to high (high is only reached by rounding). Arguments as in `randn`.

    >>> uniform(3, 5.0, 6.0, generator=0)
    Tensor([5.399 , 5.8805, 5.7357], dtype=float32)
    """
    return _random("uniform", generator, device, requires_grad, draws.uniform,
                   *uniform_arguments("uniform", shape, low, high, dtype))


def he_normal(shape: Shape, *, generator: Any = None, data_format: str = "channels_last", dtype: DTypeLike = "float32",
              device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Initial weights for layers followed by ReLU: normally distributed, with standard deviation sqrt(2 / fan_in).

    From He et al., "Delving Deep into Rectifiers" (2015). Values are not truncated, as in PyTorch's `kaiming_normal_`.

    Args:
        shape: the shape of the weights: for a linear layer (in, out); for a convolution (spatial..., C/groups, K) in
            channels_last, (K, C/groups, spatial...) in channels_first. fan_in is the number of inputs that one output
            sums: in, or taps * C/groups.
        generator: as in `randn`.
        data_format: the layout of a convolution's weights; a matrix is (in, out) in both formats.

    >>> he_normal((3, 3, 16, 32), generator=0).shape
    (3, 3, 16, 32)
    """
    fan_in, _ = _fans("he_normal", _shape(shape), data_format)
    return _random("he_normal", generator, device, requires_grad, draws.normal,
                   *normal_arguments("he_normal", shape, 0.0, math.sqrt(2 / max(fan_in, 1)), dtype))


def glorot_uniform(shape: Shape, *, generator: Any = None, data_format: str = "channels_last",
                   dtype: DTypeLike = "float32", device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Initial weights for layers followed by tanh or softmax: uniform between +-sqrt(6 / (fan_in + fan_out)).

    From Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks" (2010); this is
    Keras's default. Arguments as in `he_normal`; fan_out is out, or taps * K.

    >>> bool(abs(glorot_uniform((200, 100), generator=0)).max() <= (6 / 300) ** 0.5)
    True
    """
    fan_in, fan_out = _fans("glorot_uniform", _shape(shape), data_format)
    limit = math.sqrt(6 / max(fan_in + fan_out, 1))
    return _random("glorot_uniform", generator, device, requires_grad, draws.uniform,
                   *uniform_arguments("glorot_uniform", shape, -limit, limit, dtype))


def _fans(op: str, shape: tuple[int, ...], data_format: str) -> tuple[int, int]:
    """The number of inputs that an output sums, and the number of outputs that an input contributes to."""
    last = is_channels_last(op, data_format)
    if len(shape) < 2:
        raise ValueError(f"{op}: expected weights of at least 2 axes, (in, out) or those of a convolution, got {shape}")
    if last or len(shape) == 2:
        taps, inputs, outputs = math.prod(shape[:-2]), shape[-2], shape[-1]
    else:
        taps, inputs, outputs = math.prod(shape[2:]), shape[1], shape[0]
    return taps * inputs, taps * outputs


def _random(name: str, generator: Any, device: str | None, requires_grad: bool, op: Op, shape: tuple[int, ...],
            first: float, second: float, dtype: str) -> Tensor:
    """Numbers of the op `uniform` or `normal` with these parameters."""
    source = as_generator(name, generator, parse_device(device or CPU))
    if isinstance(source, Generator):
        where = parse_device(device or (source.device if generator is source else CPU))
        return source.draw(op, (), shape, first, second, dtype, device=where).requires_grad_(requires_grad)
    target = as_dtype(dtype)
    uniform_op = op is draws.uniform
    values = (source.random if uniform_op else source.standard_normal)(shape, dtype=accumulator(target))
    values *= second - first if uniform_op else second
    values += first
    return _new(values.astype(target, copy=False), device, requires_grad)
