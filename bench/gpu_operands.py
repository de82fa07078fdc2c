"""Operands that are drawn on the GPU, and PyTorch's view of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convgpu.benchmark.problems import ConvProblem, GemmProblem, PoolProblem, Problem
from convgpu.device import cupy_with_gpu
from convgpu.dtypes import as_dtype

Draw = Callable[[tuple[int, ...], str], Any]  # shape, dtype -> normal numbers


def shapes_of(problem: Problem) -> dict[str, tuple[int, ...]]:
    """The shapes of a problem's arrays, but for the offsets of max pooling: all that either side of it takes."""
    if isinstance(problem, ConvProblem):
        return {"x": problem.geo.x_shape, "w": problem.geo.w_shape, "gy": problem.geo.y_shape}
    if isinstance(problem, PoolProblem):
        return {"x": problem.geo.x_shape, "gy": problem.geo.y_shape}
    shapes = [shape for shape in problem.call.shapes if shape is not None]
    return dict(zip(("a", "b") if isinstance(problem, GemmProblem) else ("x",), shapes))


class CupyDraw:
    """Normal numbers by CuPy's generator; bfloat16 by the upper halves of float32, which needs no kernel of its own."""

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


def operands(problem: Problem, draw: Draw, backend: Any) -> dict[str, Any]:
    """A problem's operands on the GPU; for the gradient of max pooling the offsets of x's winners, by the backend."""
    arrays = {name: draw(shape, problem.dtype) for name, shape in shapes_of(problem).items()}
    if isinstance(problem, PoolProblem) and problem.op == "max_pool_dgrad":
        arrays["offsets"] = backend.max_pool(arrays["x"], problem.geo, True)[1]
    return arrays


def as_torch(torch: Any, array: Any) -> Any:
    """A CuPy array's memory as a tensor; bfloat16 as the bits that it is."""
    if array.dtype.name == "bfloat16":
        return torch.from_dlpack(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_dlpack(array)


def torch_draw(torch: Any, device: str) -> Draw:
    """Normal numbers by PyTorch's generator."""
    def draw(shape: tuple[int, ...], dtype: str) -> Any:
        return torch.randn(shape, device=device, dtype=getattr(torch, dtype))

    return draw
