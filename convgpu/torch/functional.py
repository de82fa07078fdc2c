"""`torch.nn.functional` on convgpu's kernels: the same names, signatures, shapes and memory formats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import ops

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "batch_norm", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear",
    "max_pool1d", "max_pool2d", "max_pool3d",
]
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def _tuple(op: str, name: str, value: Any, rank: int) -> list[int]:
    if isinstance(value, int):
        return [value] * rank
    value = list(value)
    if len(value) == 1:
        return value * rank
    if len(value) != rank:
        raise ValueError(f"convgpu.torch.{op}: expected {name} to be an integer or {rank} of them, got {value}")
    return value


def _check(op: str, rank: int, **tensors: Tensor | None) -> None:
    """Raise what the tensors deserve that no kernel of ours takes."""
    for name, t in tensors.items():
        if t is None:
            continue
        if not isinstance(t, Tensor):
            raise TypeError(f"convgpu.torch.{op}: expected {name} to be a torch.Tensor, got {type(t).__name__}")
        if t.device.type not in ("cpu", "meta"):
            raise NotImplementedError(f"convgpu.torch.{op}: tensors on {t.device} are not supported yet; convgpu.torch "
                                      "computes on the CPU")
        if t.dtype not in FLOATS:
            raise TypeError(f"convgpu.torch.{op}: expected {name} of a floating dtype, got {t.dtype}")
    x = next(iter(tensors.values()))
    assert x is not None
    if rank and x.dim() not in (rank + 1, rank + 2):
        raise ValueError(f"convgpu.torch.{op}: expected input of {rank + 1} or {rank + 2} axes, got {tuple(x.shape)}")
    autocast = torch.is_autocast_enabled("cpu")
    dtypes = {t.dtype for t in tensors.values() if t is not None}
    if len(dtypes) > 1 and not autocast:
        raise TypeError(f"convgpu.torch.{op}: expected one dtype, got "
                        + ", ".join(f"{name}: {t.dtype}" for name, t in tensors.items() if t is not None))


def _batched(compute: Callable[[Tensor], Any], x: Tensor, rank: int) -> Any:
    """Images without a batch axis, (C, spatial...), are a batch of one."""
    if x.dim() == rank + 2:
        return compute(x)
    made = compute(x.unsqueeze(0))
    return tuple(t.squeeze(0) for t in made) if isinstance(made, tuple) else made.squeeze(0)


def _conv(rank: int) -> Callable[..., Tensor]:
    op = f"conv{rank}d"

    def conv(input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1,  # noqa: A002 - PyTorch's name
             padding: Any = 0, dilation: Any = 1, groups: int = 1) -> Tensor:
        _check(op, rank, input=input, weight=weight, bias=bias)
        strides, dilations = _tuple(op, "stride", stride, rank), _tuple(op, "dilation", dilation, rank)
        pairs = _conv_padding(op, padding, strides, dilations, weight.shape[2:])
        return _batched(lambda x: ops.conv(x, weight, bias, strides, pairs, dilations, groups), input, rank)

    return _named(conv, op)


def _conv_padding(op: str, padding: Any, strides: Sequence[int], dilations: Sequence[int],
                  kernel: Sequence[int]) -> list[int]:
    """One (before, after) after the other."""
    if padding == "valid":
        padding = 0
    if padding == "same":
        if any(s != 1 for s in strides):
            raise ValueError(f'convgpu.torch.{op}: expected strides of 1 with padding="same", got {list(strides)}')
        totals = [d * (f - 1) for d, f in zip(dilations, kernel)]
        return [part for total in totals for part in (total // 2, total - total // 2)]
    if isinstance(padding, str):
        raise ValueError(f'convgpu.torch.{op}: expected padding to be "valid", "same" or integers, got {padding!r}')
    return [p for p in _tuple(op, "padding", padding, len(strides)) for _ in range(2)]


def _conv_transpose(rank: int) -> Callable[..., Tensor]:
    op = f"conv_transpose{rank}d"

    def conv_transpose(input: Tensor, weight: Tensor, bias: Tensor | None = None,  # noqa: A002 - PyTorch's name
                       stride: Any = 1, padding: Any = 0, output_padding: Any = 0, groups: int = 1,
                       dilation: Any = 1) -> Tensor:
        _check(op, rank, input=input, weight=weight, bias=bias)
        strides, dilations = _tuple(op, "stride", stride, rank), _tuple(op, "dilation", dilation, rank)
        pads, more = _tuple(op, "padding", padding, rank), _tuple(op, "output_padding", output_padding, rank)
        for extra, s, d in zip(more, strides, dilations):
            if extra >= max(s, d):
                raise ValueError(f"convgpu.torch.{op}: expected output_padding below stride or dilation, got {more}")
        # Of output_padding, less than a stride is within the reach of the convolution back; no tap reaches the rest.
        reached = [min(extra, s - 1) for extra, s in zip(more, strides)]
        size = [(n - 1) * s - 2 * p + d * (f - 1) + 1 + extra for n, s, p, d, f, extra in
                zip(input.shape[-rank:], strides, pads, dilations, weight.shape[2:], reached)]
        pairs = [part for p in pads for part in (p, p)]
        y = _batched(lambda x: ops.conv_dgrad(x, weight, size, strides, pairs, dilations, groups), input, rank)
        if more != reached:
            rest = [part for extra, there in zip(more[::-1], reached[::-1]) for part in (0, extra - there)]
            y = torch.nn.functional.pad(y, rest)
        return y if bias is None else y + bias.to(y.dtype).reshape(-1, *[1] * rank)

    return _named(conv_transpose, op)


def _max_pool(rank: int) -> Callable[..., Any]:
    op = f"max_pool{rank}d"

    def max_pool(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,  # noqa: A002 - PyTorch's name
                 dilation: Any = 1, ceil_mode: bool = False, return_indices: bool = False) -> Any:
        _check(op, rank, input=input)
        window = _tuple(op, "kernel_size", kernel_size, rank)
        strides = window if stride is None or stride == [] else _tuple(op, "stride", stride, rank)
        pads = _pool_padding(op, padding, window)
        options = window, strides, pads, _tuple(op, "dilation", dilation, rank), ceil_mode

        def compute(x: Tensor) -> Any:
            y, offsets = ops.max_pool(x, *options)
            if not return_indices:
                return y
            return y, ops.max_pool_indices(offsets, list(x.shape[2:]), *options)

        return _batched(compute, input, rank)

    return _named(max_pool, op)


def _pool_padding(op: str, padding: Any, window: Sequence[int]) -> list[int]:
    pads = _tuple(op, "padding", padding, len(window))
    if any(p < 0 or 2 * p > f for p, f in zip(pads, window)):
        raise ValueError(f"convgpu.torch.{op}: expected a padding from 0 to half of the window, got {pads} for "
                         f"{window}")
    return [p for p in pads for _ in range(2)]


def _avg_pool(rank: int) -> Callable[..., Tensor]:
    op = f"avg_pool{rank}d"

    def avg_pool(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0,  # noqa: A002 - PyTorch's name
                 ceil_mode: bool = False, count_include_pad: bool = True,
                 divisor_override: int | None = None) -> Tensor:
        if divisor_override is not None:
            raise NotImplementedError(f"convgpu.torch.{op}: divisor_override is not supported")
        _check(op, rank, input=input)
        window = _tuple(op, "kernel_size", kernel_size, rank)
        strides = window if stride is None or stride == [] else _tuple(op, "stride", stride, rank)
        pads = _pool_padding(op, padding, window)
        return _batched(lambda x: ops.avg_pool(x, window, strides, pads, ceil_mode, count_include_pad, False), input,
                        rank)

    return _named(avg_pool, op)


def _adaptive_avg_pool(rank: int) -> Callable[..., Tensor]:
    op = f"adaptive_avg_pool{rank}d"

    def adaptive_avg_pool(input: Tensor, output_size: Any) -> Tensor:  # noqa: A002 - PyTorch's name
        _check(op, rank, input=input)
        sizes = [output_size] * rank if output_size is None or isinstance(output_size, int) else list(output_size)
        if len(sizes) != rank:
            raise ValueError(f"convgpu.torch.{op}: expected output_size to be an integer or {rank} of them, got "
                             f"{sizes}")
        out = [n if size is None else size for size, n in zip(sizes, input.shape[-rank:])]
        return _batched(lambda x: ops.avg_pool(x, out, [1] * rank, [0] * 2 * rank, False, True, True), input, rank)

    return _named(adaptive_avg_pool, op)


def _named(function: Callable[..., Any], op: str) -> Callable[..., Any]:
    function.__name__ = function.__qualname__ = op
    function.__doc__ = f"`torch.nn.functional.{op}` on convgpu's kernels, for tensors on the CPU."
    return function


conv1d, conv2d, conv3d = map(_conv, (1, 2, 3))
conv_transpose1d, conv_transpose2d, conv_transpose3d = map(_conv_transpose, (1, 2, 3))
max_pool1d, max_pool2d, max_pool3d = map(_max_pool, (1, 2, 3))
avg_pool1d, avg_pool2d, avg_pool3d = map(_avg_pool, (1, 2, 3))
adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d = map(_adaptive_avg_pool, (1, 2, 3))


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:  # noqa: A002 - PyTorch's name
    """`torch.nn.functional.linear` on convgpu's kernels, for tensors on the CPU: input @ weight.T + bias.

    Args:
        input: (..., inputs).
        weight: (outputs, inputs).
        bias: (outputs,).

    Raises:
        ValueError: shapes that do not fit. TypeError: mixed or other dtypes. NotImplementedError: another device.

    >>> import torch
    >>> linear(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([0.5])).tolist()
    [[11.5]]
    """
    _check("linear", 0, input=input, weight=weight, bias=bias)
    if weight.dim() != 2 or input.dim() < 1 or input.shape[-1] != weight.shape[1]:
        raise ValueError(f"convgpu.torch.linear: expected input (..., {weight.shape[-1]}) for weight "
                         f"{tuple(weight.shape)}, got {tuple(input.shape)}")
    rows = ops.gemm(input.reshape(-1, input.shape[-1]), weight, bias, False, True)
    return rows.reshape(*input.shape[:-1], weight.shape[0])


def batch_norm(input: Tensor, running_mean: Tensor | None, running_var: Tensor | None,  # noqa: A002 - PyTorch's name
               weight: Tensor | None = None, bias: Tensor | None = None, training: bool = False, momentum: float = 0.1,
               eps: float = 1e-5) -> Tensor:
    """`torch.nn.functional.batch_norm` on convgpu's kernels, for tensors on the CPU.

    In training the running statistics are changed in place, as PyTorch does.

    Raises:
        ValueError: a batch of one value per channel in training, as PyTorch. TypeError: other dtypes.
        NotImplementedError: another device.

    >>> import torch
    >>> batch_norm(torch.tensor([[1.0], [3.0]]), None, None, training=True, eps=0.0).tolist()
    [[-1.0], [1.0]]
    """
    _check("batch_norm", 0, input=input)
    if input.dim() < 2:
        raise ValueError(f"convgpu.torch.batch_norm: expected input (N, C, ...), got {tuple(input.shape)}")
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError("convgpu.torch.batch_norm: expected running_mean and running_var where training is False")
        return _with_statistics(input, running_mean, running_var, weight, bias, eps)
    if input.numel() == input.shape[1]:
        raise ValueError("convgpu.torch.batch_norm: expected more than 1 value per channel when training, got input "
                         f"{tuple(input.shape)}")
    y, _, _, mean, var = ops.batch_norm(input, weight, bias, running_mean, running_var, momentum, eps)
    if input.numel() and running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.copy_(mean)
            running_var.copy_(var)
    return y


def _with_statistics(x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None,
                     eps: float) -> Tensor:
    """Two operations per channel, which PyTorch's own arithmetic does as well as a kernel of ours."""
    wide = torch.promote_types(x.dtype, torch.float32)
    factor = (var.to(wide) + eps).rsqrt()
    factor = factor if weight is None else factor * weight.to(wide)
    shift = -mean.to(wide) * factor if bias is None else bias.to(wide) - mean.to(wide) * factor
    along = (-1, *[1] * (x.dim() - 2))
    return torch.addcmul(shift.reshape(along), x.to(wide), factor.reshape(along)).to(x.dtype)
