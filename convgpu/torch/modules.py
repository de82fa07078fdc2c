"""PyTorch's layers on convgpu's kernels, and `replace`, which changes the layers of a model that exists."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from . import functional as F  # noqa: N812 - PyTorch's custom


class _Conv:
    """The step of PyTorch's convolution layers that computes; padding that is not of zeros has been done before it."""

    def _conv_forward(self: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002
        convolve = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[weight.dim()]
        if self.padding_mode != "zeros":
            padded = nn.functional.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            return convolve(padded, weight, bias, self.stride, 0, self.dilation, self.groups)
        return convolve(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)


class Conv1d(_Conv, nn.Conv1d):
    """`torch.nn.Conv1d` on convgpu's kernels."""


class Conv2d(_Conv, nn.Conv2d):
    """`torch.nn.Conv2d` on convgpu's kernels.

    >>> import torch
    >>> Conv2d(1, 4, 3)(torch.ones(2, 1, 5, 5)).shape
    torch.Size([2, 4, 3, 3])
    """


class Conv3d(_Conv, nn.Conv3d):
    """`torch.nn.Conv3d` on convgpu's kernels."""


class _ConvTranspose:
    def forward(self: Any, input: Tensor, output_size: list[int] | None = None) -> Tensor:  # noqa: A002
        if self.padding_mode != "zeros":
            raise ValueError("Only `zeros` padding mode is supported for ConvTranspose")
        rank = self.weight.dim() - 2
        more = self._output_padding(input, output_size, self.stride, self.padding, self.kernel_size, rank,
                                    self.dilation)
        convolve = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[rank]
        return convolve(input, self.weight, self.bias, self.stride, self.padding, more, self.groups, self.dilation)


class ConvTranspose1d(_ConvTranspose, nn.ConvTranspose1d):
    """`torch.nn.ConvTranspose1d` on convgpu's kernels."""


class ConvTranspose2d(_ConvTranspose, nn.ConvTranspose2d):
    """`torch.nn.ConvTranspose2d` on convgpu's kernels."""


class ConvTranspose3d(_ConvTranspose, nn.ConvTranspose3d):
    """`torch.nn.ConvTranspose3d` on convgpu's kernels."""


class MaxPool1d(nn.MaxPool1d):
    """`torch.nn.MaxPool1d` on convgpu's kernels."""

    def forward(self, input: Tensor) -> Any:  # noqa: A002
        return F.max_pool1d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode,
                            self.return_indices)


class MaxPool2d(nn.MaxPool2d):
    """`torch.nn.MaxPool2d` on convgpu's kernels."""

    def forward(self, input: Tensor) -> Any:  # noqa: A002
        return F.max_pool2d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode,
                            self.return_indices)


class MaxPool3d(nn.MaxPool3d):
    """`torch.nn.MaxPool3d` on convgpu's kernels."""

    def forward(self, input: Tensor) -> Any:  # noqa: A002
        return F.max_pool3d(input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode,
                            self.return_indices)


class AvgPool1d(nn.AvgPool1d):
    """`torch.nn.AvgPool1d` on convgpu's kernels."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return F.avg_pool1d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AvgPool2d(nn.AvgPool2d):
    """`torch.nn.AvgPool2d` on convgpu's kernels."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return F.avg_pool2d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad,
                            self.divisor_override)


class AvgPool3d(nn.AvgPool3d):
    """`torch.nn.AvgPool3d` on convgpu's kernels."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return F.avg_pool3d(input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad,
                            self.divisor_override)


class AdaptiveAvgPool1d(nn.AdaptiveAvgPool1d):
    """`torch.nn.AdaptiveAvgPool1d` on convgpu's kernels."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return F.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(nn.AdaptiveAvgPool2d):
    """`torch.nn.AdaptiveAvgPool2d` on convgpu's kernels."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return F.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveAvgPool3d(nn.AdaptiveAvgPool3d):
    """`torch.nn.AdaptiveAvgPool3d` on convgpu's kernels."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return F.adaptive_avg_pool3d(input, self.output_size)


class _BatchNorm:
    """What PyTorch's batch norm layers do, with our function in the place of theirs."""

    def forward(self: Any, input: Tensor) -> Tensor:  # noqa: A002
        self._check_input_dim(input)
        momentum = 0.0 if self.momentum is None else self.momentum
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                momentum = 1.0 / float(self.num_batches_tracked)
        by_batch = self.training or (self.running_mean is None and self.running_var is None)
        learns = not self.training or self.track_running_stats
        return F.batch_norm(input, self.running_mean if learns else None, self.running_var if learns else None,
                            self.weight, self.bias, by_batch, momentum, self.eps)


class BatchNorm1d(_BatchNorm, nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` on convgpu's kernels."""


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` on convgpu's kernels."""


class BatchNorm3d(_BatchNorm, nn.BatchNorm3d):
    """`torch.nn.BatchNorm3d` on convgpu's kernels."""


class Linear(nn.Linear):
    """`torch.nn.Linear` on convgpu's kernels."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        return F.linear(input, self.weight, self.bias)


_OURS: dict[type[nn.Module], type[nn.Module]] = {base: ours for ours in (
    Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, MaxPool1d, MaxPool2d, MaxPool3d,
    AvgPool1d, AvgPool2d, AvgPool3d, AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d, BatchNorm1d, BatchNorm2d,
    BatchNorm3d, Linear) for base in ours.__mro__ if base.__module__.startswith("torch.nn") and base.__name__ ==
    ours.__name__}


@dataclass
class Replaced:
    """What `replace` has done. The names are those of `model.named_modules()`.

    Attributes:
        replaced: the layers that compute with convgpu's kernels now, and the name of their class.
        left: the layers with computations of their own that stay PyTorch's, and why.
    """

    replaced: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [f"{len(self.replaced)} layers compute with convgpu's kernels; {len(self.left)} are left to PyTorch"]
        return "\n".join([*lines, *(f"  {name or 'the model'}: {why}" for name, why in self.left.items())])


def replace(model: nn.Module) -> Replaced:
    """Let the layers of a model compute with convgpu's kernels, in place; returns what was changed and what was left.

    A layer of exactly one of PyTorch's classes gets the class of the same name of `convgpu.torch`. It stays the same
    object, with its parameters, buffers, hooks and names, so that optimizers that hold the parameters, `state_dict` and
    files of weights go on working.

    Args:
        model: any module. Containers are gone through; a layer used in several places is changed once.

    Raises:
        TypeError: no torch.nn.Module. NotImplementedError: parameters on a GPU; nothing is changed then.

    >>> import torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveMaxPool2d(1))
    >>> print(replace(model))
    1 layers compute with convgpu's kernels; 2 are left to PyTorch
      1: ReLU has no class in convgpu.torch
      2: AdaptiveMaxPool2d has no class in convgpu.torch
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"convgpu.torch.replace: expected a torch.nn.Module, got {type(model).__name__}")
    elsewhere = {t.device.type for t in (*model.parameters(), *model.buffers())} - {"cpu", "meta"}
    if elsewhere:
        raise NotImplementedError(f"convgpu.torch.replace: parameters on {', '.join(sorted(elsewhere))} are not "
                                  'supported yet; model.to("cpu") first')
    report = Replaced()
    for name, module in model.named_modules():
        kind = type(module)
        why = _why_not(module)
        if kind in _OURS and why is None:
            module.__class__ = _OURS[kind]
            report.replaced[name] = kind.__name__
        elif kind not in _OURS.values() and (why is not None or not list(module.children())):
            report.left[name] = why or f"{kind.__name__} has no class in convgpu.torch"
    return report


def _why_not(module: nn.Module) -> str | None:
    """Why a layer of a class that we have stays PyTorch's, or None."""
    if isinstance(module, (nn.AvgPool2d, nn.AvgPool3d)) and module.divisor_override is not None:
        return f"{type(module).__name__} has divisor_override"
    if any(p.is_floating_point() is False for p in module.parameters(recurse=False)):
        return f"{type(module).__name__} has parameters of {next(module.parameters()).dtype}"
    if any(isinstance(base, tuple(_OURS)) for base in [module]) and type(module) not in (*_OURS, *_OURS.values()):
        return f"{type(module).__name__} is a class of its own over one of PyTorch's layers"
    return None
