"""By which method the numpy backend computes a call, in words: for `convgpu.explain`."""

from __future__ import annotations

from typing import Any

from ...dtypes import accumulator, as_dtype
from ...geometry import ConvGeometry
from .conv import _backward, _forward


def method_of(call: Any) -> str:
    """The method of a convgpu.plans.Call, where no Inf or NaN meets padding."""
    op, _, statics, dtype = call
    if op in ("gemm", "matmul"):
        return "matrix products, sums in blocks of 128"
    if op == "channel_sum":
        return "sums in blocks of 32"
    if op.startswith("conv"):
        return _conv_method(op, statics[0], dtype)
    if op in ("max_pool", "avg_pool") and statics[0].is_global:
        return "one reduction of every image"
    if op in ("max_pool", "avg_pool", "avg_pool_dgrad"):
        return "separable passes along each axis, tile by tile"
    if op.startswith("max_pool"):
        return "by the winners' offsets"
    raise NotImplementedError(f"{op} is not implemented on backend 'numpy'")


def _conv_method(op: str, geo: ConvGeometry, dtype: str) -> str:
    backward = op == "conv_dgrad"
    method = _backward(geo, accumulator(as_dtype(dtype)).itemsize) if backward else _forward(geo)
    if method.empty:
        return "no sums to take"
    if method.depthwise:
        return "sums over windows"
    if method.scatters:
        return "matrix products and col2im, tile by tile"
    return ("" if method.gather.pointwise else "im2col and ") + "matrix products, tile by tile"
