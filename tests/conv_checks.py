"""A convolution case through the engine, forward and backward, held to the bound: what the tests share."""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace

import conv_oracle as oracle
import numpy as np

import convgpu as cg
from convgpu.cases.conv import ConvCase
from convgpu.cases.tolerance import C_NUMPY, worst
from convgpu.dtypes import as_dtype

DTYPES = ("float64", "float32", "float16", "bfloat16")
FORMATS = ("channels_last", "channels_first")


def normal(*shape, seed=0):
    """Standard normal values."""
    return np.random.default_rng(seed).standard_normal(shape)


def by_name(case):
    return case.name


def images_to(a, data_format):
    return a if data_format == "channels_last" else np.moveaxis(a, -1, 1)


def images_from(a, data_format):
    return a if data_format == "channels_last" else np.moveaxis(a, 1, -1)


def filters_to(w, case, data_format):
    return w if data_format == "channels_last" or case.form == "depthwise_conv" else np.moveaxis(w, (-1, -2), (0, 1))


def filters_from(w, case, data_format):
    return w if data_format == "channels_last" or case.form == "depthwise_conv" else np.moveaxis(w, (0, 1), (-1, -2))


@lru_cache(maxsize=8)
def problem(case: ConvCase, dtype: str) -> SimpleNamespace:
    """A case's operands in `dtype` (channels last) and its exact results."""
    shape = oracle.output_shape(case)
    arrays = {"x": case.draw(case.x, "x", dtype), "w": case.draw(case.w, "w", dtype),
              "bias": case.draw(shape[-1:], "bias", dtype), "g": case.draw(shape, "g", dtype)}
    wide = np.longdouble if dtype == "float64" else np.float64
    x, w, bias, g = (a.astype(wide) for a in arrays.values())
    kernel, (c, k) = case.w[:-2], case.w[-2:]
    taps, pixels = int(np.prod(kernel)), int(np.prod(shape[:-1]))
    lengths = {"y": taps * (k if case.form == "conv_transpose" else c) + 1,
               "x": taps * (c if case.form == "conv_transpose" else k),
               "w": int(np.prod(case.x[:-1])) if case.form == "conv_transpose" else pixels, "bias": pixels}
    return SimpleNamespace(**arrays, exact=oracle.exact(case, x, w, bias, g), lengths=lengths)


def results(case: ConvCase, p: SimpleNamespace, data_format: str) -> dict[str, np.ndarray]:
    """What the engine makes of a case, forward and backward, as arrays in channels last."""
    x = cg.tensor(images_to(p.x, data_format), requires_grad=True)
    w = cg.tensor(filters_to(p.w, case, data_format), requires_grad=True)
    bias = cg.tensor(p.bias, requires_grad=True)
    y = getattr(cg, case.form)(x, w, bias, data_format=data_format, **case.options)
    y.backward(images_to(p.g, data_format))
    return {"y": images_from(y.numpy(), data_format), "x": images_from(x.grad.numpy(), data_format),
            "w": filters_from(w.grad.numpy(), case, data_format), "bias": bias.grad.numpy()}


def check(case: ConvCase, dtype: str, data_format: str, c: float = C_NUMPY) -> None:
    p = problem(case, dtype)
    for name, got in results(case, p, data_format).items():
        exact = p.exact[name]
        assert got.dtype == as_dtype(dtype)
        error = worst(got, exact.value, exact.magnitude, p.lengths[name], c)
        assert error <= 1, f"{case.name} {dtype} {data_format}: {name} misses the bound by a factor of {error:.3g}"
