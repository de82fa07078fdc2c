"""PyTorch on the same problems: float32 without TF32, cuDNN's benchmark mode, in both of its memory layouts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..backends.numpy.workers import get_num_threads
from ..device import GPU
from ..extras import require
from .gpu import rotating
from .problems import Arrays, ConvProblem, GemmProblem, PoolProblem, Problem
from .timing import Contender
from .verification import WrongResultError

LAYOUTS = ("channels_last", "channels_first")
AGREEMENT, AGREEMENT_OF_HALVES = 1e-4, 2e-2  # |theirs - ours| / |ours|: another problem would give about 1
PREFIX = "torch"


class Torch:
    """Makes contenders named "torch cpu channels_last" and the like."""

    def __init__(self) -> None:
        torch: Any = require("torch", "--peers torch")
        self.torch = torch
        torch.set_num_threads(get_num_threads())
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False

    def can_use(self, device: str) -> str | None:
        """Why this build of PyTorch cannot compute on the device; None if it can."""
        if device != GPU or self.torch.cuda.is_available():
            return None
        return f"PyTorch {self.torch.__version__} reaches no GPU"

    def contenders(self, problem: Problem, arrays: Arrays, device: str, cache_bytes: int = 0) -> dict[str, Contender]:
        """The same call in PyTorch, once per memory layout where there are two.

        Args:
            cache_bytes: of the GPU whose cache the operands are to exceed.

        Raises:
            NotImplementedError: PyTorch has no such op.
        """
        layouts = ("",) if isinstance(problem, GemmProblem) else LAYOUTS
        found = {}
        for layout in layouts:
            make = partial(self._contender, problem, arrays, device, layout)
            name = f"{PREFIX} {device} {layout}".rstrip()
            found[name] = rotating(make, problem.work.bytes // 2, cache_bytes) if device == GPU else make()
        return found

    def check(self, name: str, problem: Problem, contender: Contender, ours: Any) -> None:
        """Raise WrongResultError unless both compute the same thing."""
        theirs, ours = self._result(problem, contender()), ours[0] if isinstance(ours, tuple) else ours
        ours = ours.astype(np.float64)
        limit = AGREEMENT_OF_HALVES if problem.dtype in ("float16", "bfloat16") else AGREEMENT
        if theirs.shape != ours.shape or float(np.linalg.norm(theirs - ours)) > limit * float(np.linalg.norm(ours)):
            raise WrongResultError(f"{name}: expected the result of {problem.name}, got another; not timed")

    def tensor(self, array: np.ndarray, device: str = "cpu") -> Any:
        """A tensor with a copy of the array's values; bfloat16 too."""
        bits = array.view(np.uint16) if array.dtype.name == "bfloat16" else array
        tensor = self.torch.from_numpy(bits.copy())
        tensor = tensor.view(self.torch.bfloat16) if array.dtype.name == "bfloat16" else tensor
        return tensor.to("cuda" if device == GPU else "cpu")

    def images(self, array: np.ndarray, device: str, layout: str) -> Any:
        """Images (N, H, W, C) as (N, C, H, W) in a memory layout."""
        return self._lay(self.tensor(array, device).permute(0, 3, 1, 2), layout)

    def filters(self, array: np.ndarray, device: str, layout: str) -> Any:
        """Filters (R, S, C, K) as (K, C, R, S) in a memory layout."""
        return self._lay(self.tensor(array, device).permute(3, 2, 0, 1), layout)

    def _lay(self, tensor: Any, layout: str) -> Any:
        formats = {"channels_last": self.torch.channels_last, "channels_first": self.torch.contiguous_format}
        return tensor.contiguous(memory_format=formats[layout])

    def _contender(self, problem: Problem, arrays: Arrays, device: str, layout: str) -> Contender:
        if isinstance(problem, ConvProblem):
            return self._conv(problem, arrays, device, layout)
        if isinstance(problem, PoolProblem):
            return self._pool(problem, arrays, device, layout)
        assert isinstance(problem, GemmProblem)
        a, b = self.tensor(arrays["a"], device), self.tensor(arrays["b"], device)
        a, b = a.T if problem.trans_a else a, b.T if problem.trans_b else b
        return lambda: self.torch.mm(a, b)

    def _conv(self, problem: ConvProblem, arrays: Arrays, device: str, layout: str) -> Contender:
        geo, torch = problem.geo, self.torch
        padding = _same_on_both_sides(geo.padding)
        x, gy = (self.images(arrays[name], device, layout) for name in ("x", "gy"))
        w = self.filters(arrays["w"], device, layout)
        if problem.direction == "fprop":
            return lambda: torch.nn.functional.conv2d(x, w, None, geo.stride, padding, geo.dilation, geo.groups)
        wanted = [problem.direction == "dgrad", problem.direction == "wgrad", False]
        return lambda: torch.ops.aten.convolution_backward(gy, x, w, None, geo.stride, padding, geo.dilation, False,
                                                           [0, 0], geo.groups, wanted)

    def _pool(self, problem: PoolProblem, arrays: Arrays, device: str, layout: str) -> Contender:
        geo, torch = problem.geo, self.torch
        padding = _same_on_both_sides(geo.padding)
        x, gy = (self.images(arrays[name], device, layout) for name in ("x", "gy"))
        if problem.average:
            options = geo.window, geo.stride, padding, False, geo.count_include_pad
            forward: Callable[[], Any] = lambda: torch.nn.functional.avg_pool2d(x, *options)  # noqa: E731
            return forward if problem.direction == "fprop" else (
                lambda: torch.ops.aten.avg_pool2d_backward(gy, x, *options, None))
        with_indices = torch.nn.functional.max_pool2d_with_indices
        if problem.direction == "fprop":
            return lambda: with_indices(x, geo.window, geo.stride, padding, geo.dilation)
        _, indices = with_indices(x, geo.window, geo.stride, padding, geo.dilation)
        return lambda: torch.ops.aten.max_pool2d_with_indices_backward(gy, x, geo.window, geo.stride, padding,
                                                                       geo.dilation, False, indices)

    def _result(self, problem: Problem, result: Any) -> np.ndarray:
        """What a contender returned, in our layout, as float64."""
        if isinstance(result, tuple):
            result = next(part for part in result if part is not None)
        wide = result.detach().to("cpu", self.torch.float64)
        if isinstance(problem, GemmProblem):
            return wide.numpy()
        return wide.permute(*((2, 3, 1, 0) if problem.direction == "wgrad" else (0, 2, 3, 1))).numpy()


def _same_on_both_sides(padding: tuple[tuple[int, int], ...]) -> list[int]:
    if any(before != after for before, after in padding):
        raise NotImplementedError(f"PyTorch pads both sides alike, not {padding}")
    return [before for before, _ in padding]
