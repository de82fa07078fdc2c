"""Draws operands on the GPU, and shares them with PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convgpu.cases.problem import Arrays, Problem
from convgpu.device import cupy_with_gpu
from convgpu.dtypes import as_dtype
from convgpu.geometry import PoolGeometry

Draw = Callable[[tuple[int, ...], str], Any]  # called with a shape and a dtype; returns normal numbers


class CupyDraw:
    """Draws normal numbers by CuPy's generator; bfloat16 is the upper half of float32, which needs no further kernel.
    """

    def __init__(self, seed: int = 0) -> None:
        self._cupy = cupy_with_gpu()
        self._generator = self._cupy.random.default_rng(seed)

    def __call__(self, shape: tuple[int, ...], dtype: str) -> Any:
        if dtype == "float64":
            return self._generator.standard_normal(shape, dtype=np.float64)
        wide = self._generator.standard_normal(shape, dtype=np.float32)
        if dtype != "bfloat16":
            return wide.astype(dtype, copy=False)
        return (wide.view(np.uint32) >> np.uint32(16)).astype(np.uint16).view(as_dtype("bfloat16"))


def operands(problem: Problem, draw: Draw, backend: Any) -> Arrays:
    """A problem's operands on the GPU; for max pooling's gradient the backend computes the offsets of the winners."""
    call = problem.call
    if call.op == "max_pool_dgrad":
        geo = call.statics[0]
        return draw(geo.y_shape, call.dtype), backend.max_pool(draw(geo.x_shape, call.dtype), geo, True)[1]
    return tuple(None if shape is None else draw(shape, call.dtype) for shape in call.shapes)


def as_torch(torch: Any, array: Any) -> Any:
    """A tensor on a CuPy array's memory; bfloat16 is passed as bits."""
    if array.dtype.name == "bfloat16":
        return torch.from_dlpack(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_dlpack(array)


def torch_operands(torch: Any, problem: Problem, arrays: Arrays) -> Arrays:
    """The same operands as tensors, with offsets of winners converted to PyTorch's indices."""
    tensors = tuple(None if array is None else as_torch(torch, array) for array in arrays)
    return (tensors[0], indices_of(torch, tensors[1], problem.call.statics[0])) \
        if problem.op == "max_pool_dgrad" else tensors


def torch_drawn(torch: Any, problem: Problem, device: str) -> Arrays:
    """Operands from PyTorch's generator, with PyTorch's indices of winners."""
    call = problem.call

    def draw(shape: tuple[int, ...]) -> Any:
        return torch.randn(shape, device=device, dtype=getattr(torch, call.dtype))

    if call.op == "max_pool_dgrad":
        geo = call.statics[0]
        padding = [before for before, _ in geo.padding]
        _, indices = torch.nn.functional.max_pool2d_with_indices(draw(geo.x_shape).permute(0, 3, 1, 2), geo.window,
                                                                 geo.stride, padding, geo.dilation)
        return draw(geo.y_shape), indices.permute(0, 2, 3, 1)
    return tuple(None if shape is None else draw(shape) for shape in call.shapes)


def indices_of(torch: Any, offsets: Any, geo: PoolGeometry) -> Any:
    """PyTorch's indices of winners, which count pixels of an image's plane, from our offsets in a window."""
    row, column = offsets.long() // geo.window[1], offsets.long() % geo.window[1]
    at = []
    for axis, tap in ((0, row), (1, column)):
        first = torch.arange(geo.output[axis], device=offsets.device) * geo.stride[axis] - geo.padding[axis][0]
        at.append(tap * geo.dilation[axis] + first.reshape((1, -1, 1, 1) if axis == 0 else (1, 1, -1, 1)))
    return at[0] * geo.size[1] + at[1]
