"""PyTorch as a contender on tensors that already are on the GPU; results are compared there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from convgpu.benchmark.gpu import rotating
from convgpu.benchmark.peers import AGREEMENT, AGREEMENT_OF_HALVES, LAYOUTS, PREFIX, Torch
from convgpu.benchmark.verification import WrongResultError
from convgpu.cases.problem import Arrays, Problem
from convgpu.device import GPU
from convgpu.dtypes import is_half

AGREEMENT_OF_TF32 = 2e-3


class OnGpu(Torch):
    """PyTorch on tensors of its own in our layout (see gpu_operands.torch_operands)."""

    def contenders(self, problem: Problem, arrays: Arrays, device: str, cache_bytes: int = 0,
                   layouts: tuple[str, ...] = LAYOUTS) -> dict[str, Any]:
        """Contenders by name, each on copies of the tensors; images have one for each of these memory layouts."""
        layouts = layouts if problem.facts.family in ("conv", "pool") else ("",)
        return {f"{PREFIX} {device} {layout}".rstrip(): rotating(
            partial(self._contender, problem, arrays, device, layout), problem.work.bytes // 2,
            cache_bytes if device == GPU else 0) for layout in layouts}

    def allow_tf32(self, allowed: bool) -> None:
        """Set whether float32 products may be computed as TF32."""
        self.torch.backends.cudnn.allow_tf32 = self.torch.backends.cuda.matmul.allow_tf32 = allowed

    def tensor(self, array: Any, device: str = "cpu") -> Any:
        """A copy with its own memory."""
        return super().tensor(array, device) if isinstance(array, np.ndarray) else array.clone()

    def sized(self, shape: tuple[int, ...], like: Any) -> Any:
        """Zeros, for functions of PyTorch that only need the sizes."""
        return self.torch.zeros(shape, dtype=like.dtype, device=like.device)

    def indices(self, winners: Any, geo: Any) -> Any:
        """Return the winners, which are PyTorch's indices already."""
        return winners

    def agree(self, name: str, problem: Problem, contender: Callable[[], Any], ours: Any, precision: str) -> None:
        """Raise WrongResultError unless both compute the same result; `ours` is our result as a tensor.

        The measure is |theirs - ours| / |ours| in float32, which would be about 1 for another problem.
        """
        theirs = contender()
        if isinstance(theirs, tuple):
            theirs = next(part for part in theirs if part is not None)
        if problem.op == "conv_wgrad":
            theirs = theirs.permute(2, 3, 1, 0)
        elif problem.facts.family in ("conv", "pool"):
            theirs = theirs.permute(0, 2, 3, 1)
        limit = AGREEMENT_OF_HALVES if is_half(problem.dtype) else (
            AGREEMENT_OF_TF32 if precision == "tf32" else AGREEMENT)
        if theirs.shape != ours.shape or not self._distance(theirs, ours) <= limit:
            raise WrongResultError(f"{name}: expected the result of {problem.name}, got another; not timed")

    def _distance(self, theirs: Any, ours: Any) -> float:
        apart, size = 0.0, 0.0
        for a, b in zip(theirs.split(32), ours.split(32)):  # in parts, since differences need memory
            apart += float((a.float() - b.float()).norm())**2
            size += float(b.float().norm())**2
        return (apart / max(size, 1e-30))**0.5
