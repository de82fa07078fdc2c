"""PyTorch on the same problems: float32 without TF32, with cuDNN's benchmark mode, in both of its memory layouts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ...backends import numpy as numpy_backend
from ...backends.numpy.workers import get_num_threads
from ...cases.problem import Arrays, Problem
from ...device import GPU
from ...dtypes import is_half
from ...extras import require
from ...geometry import ConvGeometry, PoolGeometry
from ..gpu import rotating
from ..timing import Contender
from ..verification import WrongResultError

LAYOUTS = ("channels_last", "channels_first")
# bounds of |theirs - ours| / |ours|, which is about 1 where another problem is computed
AGREEMENT, AGREEMENT_OF_HALVES = 1e-4, 2e-2
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
        """The same call in PyTorch; where PyTorch has two memory layouts, one contender for each.

        Args:
            cache_bytes: the bytes of the GPU's cache, which the operands are to exceed.

        Raises:
            NotImplementedError: PyTorch has no such op.
        """
        layouts = LAYOUTS if _of_images(problem) else ("",)
        found = {}
        for layout in layouts:
            make = partial(self._contender, problem, arrays, device, layout)
            name = f"{PREFIX} {device} {layout}".rstrip()
            found[name] = rotating(make, problem.work.bytes // 2, cache_bytes) if device == GPU else make()
        return found

    def check(self, name: str, problem: Problem, contender: Contender, ours: Any) -> None:
        """Raise WrongResultError unless both compute the same result."""
        theirs, ours = self._result(problem, contender()), ours[0] if isinstance(ours, tuple) else ours
        ours = ours.astype(np.float64)
        limit = AGREEMENT_OF_HALVES if is_half(problem.dtype) else AGREEMENT
        if theirs.shape != ours.shape or float(np.linalg.norm(theirs - ours)) > limit * float(np.linalg.norm(ours)):
            raise WrongResultError(f"{name}: expected the result of {problem.name}, got another; not timed")

    def tensor(self, array: np.ndarray, device: str = "cpu") -> Any:
        """A tensor with a copy of the array's values; bfloat16 too."""
        bits = array.view(np.uint16) if array.dtype.name == "bfloat16" else array
        tensor = self.torch.from_numpy(bits.copy())
        tensor = tensor.view(self.torch.bfloat16) if array.dtype.name == "bfloat16" else tensor
        return tensor.to("cuda" if device == GPU else "cpu")

    def sized(self, shape: tuple[int, ...], like: np.ndarray) -> np.ndarray:
        """Zeros of a shape, for calls that only need an operand's sizes."""
        return np.zeros(shape, like.dtype)

    def indices(self, winners: np.ndarray, geo: PoolGeometry) -> np.ndarray:
        """The winners of max pooling as PyTorch numbers them: by pixels in the plane of one channel."""
        return numpy_backend.max_pool_indices(winners, geo)

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
        make = getattr(self, problem.op, None)
        if make is None:
            raise NotImplementedError(f"{problem.op} in PyTorch is not written down here")
        _check_form(problem)
        return make(*_with_channels_last(problem, arrays), device, layout)

    # --- one method for each op of convgpu, under the op's name

    def gemm(self, arrays: Arrays, statics: Any, device: str, layout: str) -> Contender:
        """A product of two matrices, either of which may be given as its transpose."""
        a, b = (self.tensor(array, device) for array in arrays[:2])
        a, b = a.T if statics[2] else a, b.T if statics[3] else b
        return lambda: self.torch.mm(a, b)

    def matmul(self, arrays: Arrays, statics: Any, device: str, layout: str) -> Contender:
        """The products of two stacks of matrices."""
        a, b = (self.tensor(array, device) for array in arrays)
        return lambda: self.torch.matmul(a, b)

    def conv_fprop(self, arrays: Arrays, statics: Any, device: str, layout: str) -> Contender:
        """The convolution itself."""
        geo, padding = statics[0], _same_on_both_sides(statics[0].padding)
        x, w = self.images(arrays[0], device, layout), self.filters(arrays[1], device, layout)
        return lambda: self.torch.nn.functional.conv2d(x, w, None, geo.stride, padding, geo.dilation, geo.groups)

    def conv_dgrad(self, arrays: Arrays, statics: Any, device: str, layout: str) -> Contender:
        """The gradient of the images; PyTorch's function needs only the images' sizes."""
        gy, w = self.images(arrays[0], device, layout), self.filters(arrays[1], device, layout)
        x = self.images(self.sized(statics[0].x_shape, arrays[0]), device, layout)
        return self._backward(gy, x, w, statics[0], [True, False, False])

    def conv_wgrad(self, arrays: Arrays, statics: Any, device: str, layout: str) -> Contender:
        """The gradient of the filters; PyTorch's function needs only the filters' sizes."""
        x, gy = (self.images(array, device, layout) for array in arrays)
        w = self.filters(self.sized(statics[0].w_shape, arrays[0]), device, layout)
        return self._backward(gy, x, w, statics[0], [False, True, False])

    def _backward(self, gy: Any, x: Any, w: Any, geo: Any, wanted: list[bool]) -> Contender:
        padding = _same_on_both_sides(geo.padding)
        return lambda: self.torch.ops.aten.convolution_backward(
            gy, x, w, None, geo.stride, padding, geo.dilation, False, [0, 0], geo.groups, wanted)

    def avg_pool(self, arrays: Arrays, statics: Any, device: str, layout: str) -> Contender:
        """The averages of all windows."""
        x, options = self.images(arrays[0], device, layout), _average_options(statics[0])
        return lambda: self.torch.nn.functional.avg_pool2d(x, *options)

    def avg_pool_dgrad(self, arrays: Arrays, statics: Any, device: str, layout: str) -> Contender:
        """The gradient of the images; PyTorch's function needs only the images' sizes."""
        gy, options = self.images(arrays[0], device, layout), _average_options(statics[0])
        x = self.images(self.sized(statics[0].x_shape, arrays[0]), device, layout)
        return lambda: self.torch.ops.aten.avg_pool2d_backward(gy, x, *options, None)

    def lp_pool(self, arrays: Arrays, statics: Any, device: str, layout: str) -> Contender:
        """The norms, for even orders and windows without padding: in other cases PyTorch computes something else."""
        x, (geo, p) = self.images(arrays[0], device, layout), statics
        whole = all(start >= 0 and start + (out - 1) * stride + f <= n for start, out, stride, f, n in zip(
            (-before for before, _ in geo.padding), geo.output, geo.stride, geo.window, geo.size))
        if p % 2 or not whole:
            raise NotImplementedError(f"PyTorch's norm of order {p:g} over windows {geo.window} is another one")
        return lambda: self.torch.nn.functional.lp_pool2d(x, p, geo.window, geo.stride)

    def max_pool(self, arrays: Arrays, statics: Any, device: str, layout: str) -> Contender:
        """The maxima and their places."""
        x, geo = self.images(arrays[0], device, layout), statics[0]
        padding = _same_on_both_sides(geo.padding)
        options = geo.window, geo.stride, padding, geo.dilation
        return lambda: self.torch.nn.functional.max_pool2d_with_indices(x, *options)

    def max_pool_dgrad(self, arrays: Arrays, statics: Any, device: str, layout: str) -> Contender:
        """The gradient of the images, from the same winners; PyTorch's function needs only the images' sizes."""
        gy, geo = self.images(arrays[0], device, layout), statics[0]
        padding = _same_on_both_sides(geo.padding)
        x = self.images(self.sized(geo.x_shape, arrays[0]), device, layout)
        indices = self.images(self.indices(arrays[1], geo), device, layout)
        return lambda: self.torch.ops.aten.max_pool2d_with_indices_backward(gy, x, geo.window, geo.stride, padding,
                                                                            geo.dilation, False, indices)

    def nchw_to_nhwc(self, arrays: Arrays, statics: Any, device: str, layout: str) -> Contender:
        """A transposed copy."""
        return self.tensor(arrays[0], device).movedim(1, -1).contiguous

    def nhwc_to_nchw(self, arrays: Arrays, statics: Any, device: str, layout: str) -> Contender:
        """A transposed copy."""
        return self.tensor(arrays[0], device).movedim(-1, 1).contiguous

    def oihw_to_hwio(self, arrays: Arrays, statics: Any, device: str, layout: str) -> Contender:
        """A transposed copy."""
        return self.tensor(arrays[0], device).movedim((0, 1), (-1, -2)).contiguous

    def hwio_to_oihw(self, arrays: Arrays, statics: Any, device: str, layout: str) -> Contender:
        """A transposed copy."""
        return self.tensor(arrays[0], device).movedim((-1, -2), (0, 1)).contiguous

    def _result(self, problem: Problem, result: Any) -> np.ndarray:
        """A contender's result in convgpu's layout, as float64."""
        if isinstance(result, tuple):
            result = next(part for part in result if part is not None)
        wide = result.detach().to("cpu", self.torch.float64)
        if not _of_images(problem) or not _geometry(problem).channels_last:
            return wide.numpy()
        return wide.permute(*((2, 3, 1, 0) if problem.op == "conv_wgrad" else (0, 2, 3, 1))).numpy()


def _of_images(problem: Problem) -> bool:
    """Whether the op's operands are images, which have two layouts: it then has a geometry."""
    return any(isinstance(s, (ConvGeometry, PoolGeometry)) for s in problem.call.statics)


def _geometry(problem: Problem) -> Any:
    return next((s for s in problem.call.statics if isinstance(s, (ConvGeometry, PoolGeometry))), None)


def _with_channels_last(problem: Problem, arrays: Arrays) -> tuple[Arrays, tuple[Any, ...]]:
    """The operands and static arguments of the same problem in channels_last, which the methods of `Torch` take."""
    geo = _geometry(problem)
    if geo is None or geo.channels_last:
        return arrays, problem.call.statics
    moved = [None if a is None else a.transpose(2, 3, 1, 0) if i == 1 and problem.op in ("conv_fprop", "conv_dgrad")
             else np.moveaxis(a, 1, -1) for i, a in enumerate(arrays)]
    return (tuple(None if a is None else np.ascontiguousarray(a) for a in moved),
            tuple(replace(s, channels_last=True) if s is geo else s for s in problem.call.statics))


def _check_form(problem: Problem) -> None:
    """Raise NotImplementedError for forms of an op that the methods of `Torch` leave out: 1-D and 3-D images, windows
    that adapt to a result's size, scale, bias and activation.
    """
    statics, geo = problem.call.statics, _geometry(problem)
    if geo is not None and (len(geo.size) != 2 or getattr(geo, "adaptive", False)):
        raise NotImplementedError(f"{problem.op} in PyTorch is written down here for windows over 2-D images")
    if problem.op in ("gemm", "conv_fprop", "conv_dgrad"):
        scaled = problem.op == "gemm" and statics[0] != 1
        if scaled or problem.call.shapes[2] is not None or statics[-1] is not None:  # c or the bias, the activation
            raise NotImplementedError(f"{problem.op} in PyTorch is written down here without scale, bias, activation")


def _average_options(geo: PoolGeometry) -> tuple[Any, ...]:
    return geo.window, geo.stride, _same_on_both_sides(geo.padding), False, geo.count_include_pad


def _same_on_both_sides(padding: tuple[tuple[int, int], ...]) -> list[int]:
    if any(before != after for before, after in padding):
        raise NotImplementedError(f"PyTorch pads both sides alike, not {padding}")
    return [before for before, _ in padding]
