"""Random tensors, drawn on the device of the seed's variable by the kernels of `convgpu.Generator`.

A seed of Keras is two words of 32 bits, which choose a sequence; each draw starts at its beginning, and an op returns
the seed that follows beside the numbers, as `SeedGenerator.next` would make it. So neither a mask nor a seed passes
through the host, and every device gives the same numbers. `gamma`, `beta` and `binomial`, which draw until they accept
a number, are drawn on the host, from the seed's value.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as onp
from keras.src.backend.config import floatx
from keras.src.random.seed_generator import SeedGenerator, draw_seed, make_default_seed  # noqa: F401 - as in Keras's own

import convgpu as cg
import convgpu.numpy as np
from convgpu import Op, Tensor
from convgpu.device import run_there
from convgpu.ops import random as draws
from convgpu.ops.dropout import dropout_by
from convgpu.ops.indexing import reordered

from .core import convert_to_tensor, current_device, device_scope
from .math import erfinv


def _draw(op: Op, inputs: tuple[Tensor, ...], seed: Any, *statics: Any, device: str | None = None) -> Tensor:
    """The numbers of an op on a device, by default the current one; a SeedGenerator moves on."""
    device = device or current_device()
    if isinstance(seed, SeedGenerator) and type(seed).next is SeedGenerator.next:
        key = seed.state.value
        if key.device == device:
            numbers, following = op(*inputs, key, *statics)
            seed.state.assign(following)
            return numbers
    return op(*inputs, _drawn_seed(seed).to(device), *statics)[0]


def _drawn_seed(seed: Any) -> Tensor:
    """The seed of one draw, on the device of the seed's variable."""
    if not isinstance(seed, SeedGenerator):
        return draw_seed(seed)
    with device_scope(seed.state.value.device):  # Keras adds a new tensor to the seed
        return draw_seed(seed)


def _tensor(values: Any, dtype: Any) -> Tensor:
    return cg.tensor(onp.asarray(values), dtype=dtype or floatx(), device=current_device())


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float, onp.number)) and math.isfinite(x)


def normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Any = None) -> Tensor:
    """Normally distributed values."""
    dtype, shape = dtype or floatx(), tuple(map(int, shape))
    if _is_number(mean) and _is_number(stddev):
        return _draw(draws.normal, (), seed, shape, float(mean), float(stddev), dtype)
    values = _draw(draws.normal, (), seed, shape, 0.0, 1.0, dtype)
    return convert_to_tensor(values * convert_to_tensor(stddev, dtype) + convert_to_tensor(mean, dtype), dtype)


def uniform(shape: Any, minval: Any = 0.0, maxval: Any = 1.0, dtype: Any = None, seed: Any = None) -> Tensor:
    """Values between minval and maxval, all equally probable."""
    dtype, shape = dtype or floatx(), tuple(map(int, shape))
    if _is_number(minval) and _is_number(maxval) and math.isfinite(float(maxval) - float(minval)):
        return _draw(draws.uniform, (), seed, shape, float(minval), float(maxval), dtype)
    values = _draw(draws.uniform, (), seed, shape, 0.0, 1.0, dtype)
    low, high = convert_to_tensor(minval, dtype), convert_to_tensor(maxval, dtype)
    return convert_to_tensor(values * (high - low) + low, dtype)


def randint(shape: Any, minval: Any, maxval: Any, dtype: Any = "int32", seed: Any = None) -> Tensor:
    """Integers from minval to maxval - 1."""
    shape = tuple(map(int, shape))
    if isinstance(minval, (int, onp.integer)) and isinstance(maxval, (int, onp.integer)):
        if not minval < maxval:
            raise ValueError(f"randint: expected minval < maxval, got minval={minval}, maxval={maxval}")
        return convert_to_tensor(_draw(draws.integers, (), seed, shape, int(minval), int(maxval), "int64"), dtype)
    low, high = convert_to_tensor(minval, "int64"), convert_to_tensor(maxval, "int64")
    share = _draw(draws.uniform, (), seed, shape, 0.0, 1.0, "float64")
    return convert_to_tensor(low + np.floor(share * (high - low).astype("float64")).astype("int64"), dtype)


# The inverse of the error function between -0.9545 and 0.9545, by powers of -log(1 - x^2) - 2.5: Giles, "Approximating
# the erfinv function" (2010), for single precision.
_ERFINV = (1.50140941, 0.246640727, -0.00417768164, -0.00125372503, 0.00021858087, -4.39150654e-06, -3.5233877e-06,
           3.43273939e-07, 2.81022636e-08)
_TWO_SIGMA = math.erf(math.sqrt(2))  # the share of a normal distribution within two standard deviations


def truncated_normal(shape: Any, mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Any = None) -> Tensor:
    """Normally distributed values within two standard deviations of the mean: the inverse of the distribution function.
    """
    dtype, shape = dtype or floatx(), tuple(map(int, shape))
    wide = "float64" if dtype == "float64" else "float32"
    share = _draw(draws.uniform, (), seed, shape, -_TWO_SIGMA, _TWO_SIGMA, wide)
    if wide == "float64":
        z = erfinv(share) * math.sqrt(2)
    else:
        w = -np.log((1 - share) * (1 + share)) - 2.5
        z = w * _ERFINV[-1] + _ERFINV[-2]
        for c in _ERFINV[-3::-1]:
            z = z * w + c
        z = z * share * math.sqrt(2)
    z = np.clip(z, -2.0, 2.0)
    return convert_to_tensor(z * _scalar(stddev, wide) + _scalar(mean, wide), dtype)


def _scalar(x: Any, dtype: str) -> Any:
    return float(x) if _is_number(x) else convert_to_tensor(x, dtype)


def categorical(logits: Any, num_samples: int, dtype: Any = "int64", seed: Any = None) -> Tensor:
    """Classes drawn for each row of logits with its softmax's probabilities: the largest of logits + Gumbel noise."""
    logits = convert_to_tensor(logits)
    shape = (logits.shape[0], int(num_samples), logits.shape[1])
    share = _draw(draws.uniform, (), seed, shape, 0.0, 1.0, "float64", device=logits.device)
    noise = -np.log(-np.log(np.maximum(share, 2.0**-54)))
    return convert_to_tensor(np.argmax(logits.astype("float64")[:, None] + noise, -1), dtype)


def dropout(inputs: Any, rate: float, noise_shape: Any = None, seed: Any = None) -> Tensor:
    """inputs with each element set to 0 with probability `rate`, and otherwise divided by 1 - rate."""
    inputs = convert_to_tensor(inputs)
    if rate == 0.0:
        return inputs
    if noise_shape is None:
        return _draw(dropout_by, (inputs,), seed, float(rate), device=inputs.device)
    shape = tuple([inputs.shape[i] if n is None else n for i, n in enumerate(noise_shape)])
    ones = cg.ones(shape, dtype=inputs.dtype, device=inputs.device)
    return inputs * _draw(dropout_by, (ones,), seed, float(rate), device=inputs.device)


def shuffle(x: Any, axis: int = 0, seed: Any = None) -> Tensor:
    """x with its entries along `axis` in random order."""
    x = convert_to_tensor(x)
    keys = _draw(draws.integers, (), seed, (x.shape[axis],), -(1 << 63), 1 << 63, "int64", device=x.device).array
    return reordered(x, run_there("shuffle", keys, lambda: onp.argsort(keys, kind="stable")), axis)


# --- drawn on the host


def _generator(seed: Any) -> onp.random.Generator:
    """A generator of NumPy's, of the seed's value; on a GPU the host waits for it. SFC64 is the fastest."""
    return onp.random.Generator(onp.random.SFC64(_drawn_seed(seed).numpy()))


def _host(x: Any) -> Any:
    return convert_to_tensor(x).numpy() if isinstance(x, Tensor) or hasattr(x, "__convgpu_tensor__") else x


def gamma(shape: Any, alpha: Any, dtype: Any = None, seed: Any = None) -> Tensor:
    """Values of the gamma distribution with scale 1."""
    return _tensor(_generator(seed).gamma(_host(alpha), 1.0, tuple(shape)), dtype)


def beta(shape: Any, alpha: Any, beta: Any, dtype: Any = None, seed: Any = None) -> Tensor:
    """Values of the beta distribution."""
    return _tensor(_generator(seed).beta(_host(alpha), _host(beta), tuple(shape)), dtype)


def binomial(shape: Any, counts: Any, probabilities: Any, dtype: Any = None, seed: Any = None) -> Tensor:
    """The number of successes in `counts` trials of that probability."""
    return _tensor(_generator(seed).binomial(_host(counts), _host(probabilities), tuple(shape)), dtype)
