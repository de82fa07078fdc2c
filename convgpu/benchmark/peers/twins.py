"""The benchmarks' networks in PyTorch, from the same parameters, to compare training with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...architectures import efficientnet_b0, mobilenet, resnet50, vgg16
from ..networks import LEARNING_RATE, MOMENTUM, Network
from ..verification import WrongResultError
from .ops import Torch

# wide, since rounding decides a ReLU near 0, and all layers before it see the difference
OF_LOSS, OF_GRADIENT = 1e-3, 0.05

Twin = Callable[[Any, Any, Any], Any]  # called with torch.nn.functional, parameters and images; returns scores


def _lenet5(f: Any, p: Any, x: Any) -> Any:
    for name in ("conv1", "conv2"):
        x = f.avg_pool2d(f.conv2d(x, p[name]["w"], p[name]["b"]).tanh(), 2)
    x = x.flatten(1)
    for name in ("dense1", "dense2"):
        x = f.linear(x, p[name]["w"], p[name]["b"]).tanh()
    return f.linear(x, p["dense3"]["w"], p["dense3"]["b"])


def _dense(f: Any, p: Any, x: Any) -> Any:
    x = x.flatten(1)
    for name in ("dense1", "dense2"):
        x = f.relu(f.linear(x, p[name]["w"], p[name]["b"]))
    return f.linear(x, p["dense3"]["w"], p["dense3"]["b"])


def _alexnet(f: Any, p: Any, x: Any) -> Any:
    def conv(x: Any, name: str, stride: int = 1, padding: int = 0) -> Any:
        return f.relu(f.conv2d(x, p[name]["w"], p[name]["b"], stride, padding))

    x = f.max_pool2d(conv(x, "conv1", 4), 3, 2)
    x = f.max_pool2d(conv(x, "conv2", 1, 2), 3, 2)
    for name in ("conv3", "conv4", "conv5"):
        x = conv(x, name, 1, 1)
    return _dense(f, p, f.max_pool2d(x, 3, 2))


def _vgg16(f: Any, p: Any, x: Any) -> Any:
    for i, block in enumerate(vgg16.BLOCKS, 1):
        for j in range(1, len(block) + 1):
            x = f.relu(f.conv2d(x, p[f"conv{i}_{j}"]["w"], p[f"conv{i}_{j}"]["b"], 1, 1))
        x = f.max_pool2d(x, 2)
    return _dense(f, p, x)


def _resnet50(f: Any, p: Any, x: Any) -> Any:
    def conv(x: Any, name: str, stride: int = 1, padding: int = 0) -> Any:
        y = f.conv2d(x, p[name]["w"], None, stride, padding)
        return f.batch_norm(y, None, None, p[name]["scale"], p[name]["offset"], training=True)

    x = f.max_pool2d(f.relu(conv(x, "stem", 2, 3)), 3, 2, 1)
    for s, (_, bottlenecks, first_stride) in enumerate(resnet50.STAGES, 1):
        for b in range(1, bottlenecks + 1):
            name, stride = f"stage{s}_{b}", first_stride if b == 1 else 1
            y = f.relu(conv(x, f"{name}_reduce"))
            y = f.relu(conv(y, f"{name}_3x3", stride, 1))
            around = conv(x, f"{name}_around", stride) if b == 1 else x
            x = f.relu(conv(y, f"{name}_expand") + around)
    return f.linear(x.mean((2, 3)), p["dense"]["w"], p["dense"]["b"])


def _normalised(f: Any, y: Any, layer: Any) -> Any:
    return f.batch_norm(y, None, None, layer["scale"], layer["offset"], training=True, eps=1e-3)


def _depthwise(f: Any, x: Any, w: Any, stride: int) -> Any:
    return f.conv2d(x, w.transpose(0, 1), None, stride, w.shape[-1] // 2, groups=x.shape[1])


def _mobilenet(f: Any, p: Any, x: Any) -> Any:
    x = f.relu6(_normalised(f, f.conv2d(x, p["stem"]["w"], None, 2, 1), p["stem"]))
    for i, (_, stride) in enumerate(mobilenet.BLOCKS, 1):
        layer = p[f"block{i}_depthwise"]
        x = f.relu6(_normalised(f, _depthwise(f, x, layer["w"], stride), layer))
        layer = p[f"block{i}_pointwise"]
        x = f.relu6(_normalised(f, f.conv2d(x, layer["w"]), layer))
    return f.linear(x.mean((2, 3)), p["dense"]["w"], p["dense"]["b"])


def _efficientnet_b0(f: Any, p: Any, x: Any) -> Any:
    def conv(x: Any, name: str, stride: int = 1, padding: int = 0) -> Any:
        return _normalised(f, f.conv2d(x, p[name]["w"], None, stride, padding), p[name])

    def block(x: Any, name: str, stride: int) -> Any:
        y = f.silu(conv(x, f"{name}_expand")) if f"{name}_expand" in p else x
        layer = p[f"{name}_depthwise"]
        y = f.silu(_normalised(f, _depthwise(f, y, layer["w"], stride), layer))
        weight = f.silu(f.linear(y.mean((2, 3)), p[f"{name}_squeeze"]["w"], p[f"{name}_squeeze"]["b"]))
        weight = f.linear(weight, p[f"{name}_excite"]["w"], p[f"{name}_excite"]["b"]).sigmoid()
        y = conv(y * weight[:, :, None, None], f"{name}_project")
        return y + x if y.shape == x.shape else y

    x = f.silu(conv(x, "stem", 2, 1))
    for s, (_, blocks, _, _, first_stride) in enumerate(efficientnet_b0.STAGES, 1):
        for b in range(1, blocks + 1):
            x = block(x, f"stage{s}_{b}", first_stride if b == 1 else 1)
    x = f.silu(conv(x, "top"))
    return f.linear(x.mean((2, 3)), p["dense"]["w"], p["dense"]["b"])


TWINS: dict[str, Twin] = {"lenet5": _lenet5, "alexnet": _alexnet, "vgg16": _vgg16, "resnet50": _resnet50,
                          "mobilenet": _mobilenet, "efficientnet_b0": _efficientnet_b0}


class TorchStep:
    """A step of SGD with momentum in PyTorch.

    Args:
        amp: the half type in which the network runs under autocast, float16 with a GradScaler; None for float32.
        compiled: whether torch.compile compiles the network.
    """

    def __init__(self, peer: Torch, network: Network, params: Any, x: np.ndarray, y: np.ndarray, device: str,
                 layout: str, amp: str | None = None, compiled: bool = False):
        torch = self._torch = peer.torch
        self._layout, self.amp = layout, amp
        self._params = {name: {part: self._parameter(peer, params, name, part, device) for part in layer}
                        for name, layer in params.items()}
        self._leaves = [p for layer in self._params.values() for p in layer.values()]
        self._x, self._y = peer.images(x, device, layout), peer.tensor(y, device)
        self._optimizer = torch.optim.SGD(self._leaves, lr=LEARNING_RATE, momentum=MOMENTUM)
        kind = "cuda" if device == "gpu" else "cpu"
        self._scaler = torch.amp.GradScaler(kind, enabled=amp == "float16")

        def loss(params: Any, x: Any, y: Any) -> Any:
            with torch.autocast(kind, getattr(torch, amp or "bfloat16"), enabled=amp is not None):
                scores = TWINS[network.name](torch.nn.functional, params, x)
                return torch.nn.functional.cross_entropy(scores, y, label_smoothing=network.label_smoothing)

        self._loss = torch.compile(loss, dynamic=False) if compiled else loss

    def __call__(self) -> Any:
        """Take a step, and return the loss before it."""
        self._optimizer.zero_grad()
        loss = self._loss(self._params, self._x, self._y)
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return loss

    def check(self, name: str, loss: float, grads: Any) -> None:
        """Raise WrongResultError unless loss and gradients equal ours, which are NumPy arrays in convgpu's layout."""
        theirs = self._loss(self._params, self._x, self._y)
        theirs.backward()
        worst, where = 0.0, ""
        for layer, parts in self._params.items():
            largest = max(float(np.linalg.norm(grads[layer][part])) for part in parts)
            for part, parameter in parts.items():
                ours = grads[layer][part]
                distance = np.linalg.norm(self._ours(parameter.grad, ours.ndim, layer) - ours)
                # an offset that the next normalisation takes away again has rounding errors for a gradient
                size = max(float(np.linalg.norm(ours)), 1e-3 * largest, 1e-6)
                worst, where = max((worst, where), (float(distance / size), layer))
        self._optimizer.zero_grad()
        if not (abs(theirs.item() - loss) <= OF_LOSS * max(abs(loss), 1) and worst <= OF_GRADIENT):
            raise WrongResultError(f"{name}: expected our loss {loss:.6g} and gradients, got {theirs.item():.6g} and "
                                   f"gradients {worst:.2g} away in {where}; not timed")

    def _parameter(self, peer: Torch, params: Any, name: str, part: str, device: str) -> Any:
        array = params[name][part].numpy()
        if array.ndim == 4:
            value = peer.filters(array, device, self._layout)
        elif array.ndim == 2:
            value = peer.tensor(np.ascontiguousarray(_flattened(array, _channels_before(params, name)).T), device)
        else:
            value = peer.tensor(array, device)
        return value.requires_grad_()

    def _ours(self, gradient: Any, ndim: int, name: str) -> np.ndarray:
        array = gradient.detach().cpu().float().numpy()
        if ndim == 4:
            return array.transpose(2, 3, 1, 0)
        return _unflattened(array.T, _channels_before(self._params, name)) if ndim == 2 else array


def _channels_before(params: Any, name: str) -> int | None:
    """The channels of the images that a dense layer flattens, as (H, W, C) in convgpu and (C, H, W) in PyTorch."""
    names = list(params)
    before = names[names.index(name) - 1]
    if name != "dense1":
        return None
    return int(max(params[before]["b"].shape))


def _flattened(w: np.ndarray, channels: int | None) -> np.ndarray:
    if channels is None:
        return w
    side = round((len(w) // channels)**0.5)
    return w.reshape(side, side, channels, -1).transpose(2, 0, 1, 3).reshape(w.shape)


def _unflattened(w: np.ndarray, channels: int | None) -> np.ndarray:
    if channels is None:
        return w
    side = round((len(w) // channels)**0.5)
    return w.reshape(channels, side, side, -1).transpose(1, 2, 0, 3).reshape(w.shape)
