"""An epoch of LeNet-5 training beside the same network in PyTorch: python bench/train_lenet.py

The model of convgpu/examples/lenet5.py on as many random images as there are training digits; forward, backward and
Adam. Both start from the same parameters, and their loss and gradients are compared before anything is timed. Writes
bench/results/train_lenet.json and the tables of bench/results/README.md.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import report
import torch

import convgpu as cg
from convgpu import benchmark
from convgpu.examples import lenet5

IMAGES, RATE = 1437, 1e-3
FORMATS = {"torch channels_last": torch.channels_last, "torch channels_first": torch.contiguous_format}


class TorchLeNet5(torch.nn.Module):
    """The same network, with the parameters of ours."""

    def __init__(self, params: lenet5.Params, memory_format: torch.memory_format):
        super().__init__()
        for name in ("conv1", "conv2"):
            w, b = params[name]["w"].numpy(), params[name]["b"].numpy()
            layer = torch.nn.Conv2d(w.shape[2], w.shape[3], 5)
            self._set(layer, w.transpose(3, 2, 0, 1), b)
            setattr(self, name, layer)
        for name in ("dense1", "dense2", "dense3"):
            w, b = params[name]["w"].numpy(), params[name]["b"].numpy()
            if name == "dense1":  # flattened as (C, H, W) here, as (H, W, C) in ours
                side = int((w.shape[0] // 16)**0.5)
                w = w.reshape(side, side, 16, -1).transpose(2, 0, 1, 3).reshape(w.shape)
            layer = torch.nn.Linear(*w.shape)
            self._set(layer, w.T, b)
            setattr(self, name, layer)
        self.to(memory_format=memory_format)

    @staticmethod
    def _set(layer: Any, w: np.ndarray, b: np.ndarray) -> None:
        layer.weight.data.copy_(torch.from_numpy(w.copy()))
        layer.bias.data.copy_(torch.from_numpy(b.copy()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The scores of images (N, 1, H, W)."""
        for layer in (self.conv1, self.conv2):
            x = torch.nn.functional.avg_pool2d(torch.tanh(layer(x)), 2)
        x = torch.tanh(self.dense1(x.flatten(1)))
        return self.dense3(torch.tanh(self.dense2(x)))


def our_epoch(params: lenet5.Params, x: np.ndarray, y: np.ndarray, batch: int) -> Callable[[], None]:
    """An epoch on convgpu."""
    value_and_grad = cg.value_and_grad(lenet5.loss, has_aux=True)
    optimizer = cg.optim.Adam(lr=RATE)
    state = [params]

    def epoch() -> None:
        for i in range(0, len(x), batch):
            _, grads = value_and_grad(state[0], cg.tensor(x[i:i + batch]), cg.tensor(y[i:i + batch]))
            state[0] = optimizer.step(state[0], grads)

    return epoch


def torch_epoch(model: TorchLeNet5, x: torch.Tensor, y: torch.Tensor, batch: int) -> Callable[[], None]:
    """An epoch on PyTorch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)

    def epoch() -> None:
        for i in range(0, len(x), batch):
            optimizer.zero_grad()
            _torch_loss(model, x[i:i + batch], y[i:i + batch]).backward()
            optimizer.step()

    return epoch


def _torch_loss(model: TorchLeNet5, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(model(x), y, label_smoothing=lenet5.LABEL_SMOOTHING)


def verify(params: lenet5.Params, model: TorchLeNet5, x: np.ndarray, y: np.ndarray, tx: torch.Tensor,
           ty: torch.Tensor) -> None:
    """Both give the same loss and the same gradient of the first layer, which depends on all others."""
    (loss, _), grads = cg.value_and_grad(lenet5.loss, has_aux=True)(params, x, y)
    theirs = _torch_loss(model, tx, ty)
    theirs.backward()
    expected = model.conv1.weight.grad.numpy().transpose(2, 3, 1, 0)
    model.zero_grad()
    if not (np.isclose(loss.item(), theirs.item(), rtol=1e-5)
            and np.allclose(grads["conv1"]["w"].numpy(), expected, rtol=1e-3, atol=1e-5)):
        raise benchmark.WrongResultError("train_lenet: the two networks differ; not timed")


def main() -> None:
    """Measure, record, and render the tables."""
    benchmark.quiet_blas()
    generator = np.random.default_rng(0)
    x = generator.random((IMAGES, 32, 32, 1), np.float32)
    y = generator.integers(0, 10, IMAGES)
    ty = torch.from_numpy(y)
    params = lenet5.initial((32, 32, 1), 10)
    rows = []
    for threads in (1, 2):
        cg.set_num_threads(threads)
        torch.set_num_threads(threads)
        for batch in (32, 128):
            contenders = {"convgpu": our_epoch(params, x, y, batch)}
            for name, memory_format in FORMATS.items():
                model = TorchLeNet5(params, memory_format)
                tx = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
                verify(params, model, x[:batch], y[:batch], tx[:batch], ty[:batch])
                contenders[name] = torch_epoch(model, tx, ty, batch)
            row = {"kind": "training", "network": "LeNet-5", "layer": f"epoch of {IMAGES} b{batch}",
                   "direction": "epoch", "threads": threads, "timings": benchmark.alternate(contenders)}
            rows.append(row)
            print(report.line(row), flush=True)
    benchmark.record(Path(__file__).parent / "results" / "train_lenet.json", rows, ("numpy", "torch"))
    report.render()


if __name__ == "__main__":
    main()
