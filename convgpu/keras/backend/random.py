"""Random tensors, drawn on the host from a seed that is kept there, so that every device gets the same values."""

from __future__ import annotations

import math
from typing import Any

import numpy as onp
from keras.src.backend.config import floatx
from keras.src.random.seed_generator import SeedGenerator, draw_seed, make_default_seed  # noqa: F401 - as in Keras's own

import convgpu as cg
import convgpu.numpy as np
from convgpu import Tensor
from convgpu.device import CPU

from .core import convert_to_tensor, current_device, device_scope


def _generator(seed: Any) -> onp.random.Generator:
    with device_scope(CPU):  # Keras adds to the seed, which lies on the host, a new tensor
        drawn = draw_seed(seed).numpy()
    return onp.random.Generator(onp.random.SFC64(drawn))  # SFC64 is NumPy's fastest generator


def _tensor(values: Any, dtype: Any, device: str | None = None) -> Tensor:
    return cg.tensor(onp.asarray(values), dtype=dtype or floatx(), device=device or current_device())


def _draw(method: str, generator: onp.random.Generator, shape: Any, dtype: str) -> Any:
    """Standard values in float32, or in float64 where that is the wanted dtype."""
    return getattr(generator, method)(tuple(shape), dtype=onp.float64 if dtype == "float64" else onp.float32)


def normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Any = None) -> Tensor:
    """Normally distributed values."""
    dtype = dtype or floatx()
    values = _draw("standard_normal", _generator(seed), shape, dtype)
    return _tensor(values * _host(stddev) + _host(mean), dtype)


def uniform(shape: Any, minval: Any = 0.0, maxval: Any = 1.0, dtype: Any = None, seed: Any = None) -> Tensor:
    """Values between minval and maxval, all equally probable."""
    dtype = dtype or floatx()
    values = _draw("random", _generator(seed), shape, dtype)
    low, high = _host(minval), _host(maxval)
    return _tensor(values * (high - low) + low, dtype)


def _host(x: Any) -> Any:
    return convert_to_tensor(x).numpy() if isinstance(x, Tensor) or hasattr(x, "__convgpu_tensor__") else x


def randint(shape: Any, minval: Any, maxval: Any, dtype: Any = "int32", seed: Any = None) -> Tensor:
    """Integers from minval to maxval - 1."""
    return _tensor(_generator(seed).integers(_host(minval), _host(maxval), tuple(shape)), dtype)


def truncated_normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Any = None) -> Tensor:
    """Normally distributed values; values more than two standard deviations from the mean are drawn again."""
    dtype = dtype or floatx()
    generator, count = _generator(seed), math.prod(shape)
    values = _draw("standard_normal", generator, (count,), dtype)
    while (outside := onp.flatnonzero(onp.abs(values) > 2)).size:
        values[outside] = _draw("standard_normal", generator, outside.shape, dtype)
    return _tensor(values.reshape(shape) * _host(stddev) + _host(mean), dtype)


def categorical(logits: Any, num_samples: int, dtype: Any = "int64", seed: Any = None) -> Tensor:
    """Classes drawn for each row of logits with its softmax's probabilities: the largest of logits + Gumbel noise."""
    logits = convert_to_tensor(logits).numpy()
    noise = _generator(seed).gumbel(size=(logits.shape[0], num_samples, logits.shape[1]))
    return _tensor((logits[:, None] + noise).argmax(-1), dtype)


def dropout(inputs: Any, rate: float, noise_shape: Any = None, seed: Any = None) -> Tensor:
    """inputs with each element set to 0 with probability `rate`, and otherwise divided by 1 - rate."""
    inputs = convert_to_tensor(inputs)
    if rate == 0.0:
        return inputs
    shape = inputs.shape if noise_shape is None else tuple(
        [inputs.shape[i] if n is None else n for i, n in enumerate(noise_shape)])
    kept = _generator(seed).random(shape, dtype=onp.float32) >= rate
    scale = 0.0 if rate >= 1.0 else 1.0 / (1.0 - rate)
    return inputs * _tensor(kept * onp.float32(scale) if inputs.dtype != onp.float64 else kept * scale,
                            inputs.dtype, inputs.device)


def shuffle(x: Any, axis: int = 0, seed: Any = None) -> Tensor:
    """x with its entries along `axis` in random order."""
    x = convert_to_tensor(x)
    return np.take(x, _generator(seed).permutation(x.shape[axis]), axis)


def gamma(shape: Any, alpha: Any, dtype: Any = None, seed: Any = None) -> Tensor:
    """Values of the gamma distribution with scale 1."""
    return _tensor(_generator(seed).gamma(_host(alpha), 1.0, tuple(shape)), dtype)


def beta(shape: Any, alpha: Any, beta: Any, dtype: Any = None, seed: Any = None) -> Tensor:
    """Values of the beta distribution."""
    return _tensor(_generator(seed).beta(_host(alpha), _host(beta), tuple(shape)), dtype)


def binomial(shape: Any, counts: Any, probabilities: Any, dtype: Any = None, seed: Any = None) -> Tensor:
    """The number of successes in `counts` trials of that probability."""
    return _tensor(_generator(seed).binomial(_host(counts), _host(probabilities), tuple(shape)), dtype)
