"""`convgpu.torch`: PyTorch's own checks of ops, its own results, layers, whole models, and models that are traced."""

from __future__ import annotations

import copy
import doctest
import importlib
import itertools
import warnings
from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="convgpu.torch needs PyTorch: pip install torch")
from torch import nn  # noqa: E402

import convgpu as cg  # noqa: E402
import convgpu.torch  # noqa: E402
from convgpu.torch import functional, ops  # noqa: E402

plain = nn.functional
FORMATS = {2: (torch.contiguous_format, torch.channels_last), 3: (torch.contiguous_format, torch.channels_last_3d)}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def same(ours: torch.Tensor, theirs: torch.Tensor, rtol: float = 1e-5) -> None:
    """Equal up to rounding: relative to the largest element, since sums are taken in other orders."""
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    scale = theirs.detach().abs().max().item() if theirs.numel() else 0.0
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=rtol * max(scale, 1e-6))


def gradients(f: object, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """f's output and its gradients of first order, and one of second order."""
    given = [t.detach().clone(memory_format=torch.preserve_format).requires_grad_() for t in inputs]
    y = f(*given)
    first = torch.autograd.grad((y.double() ** 2 / 2).sum() + y.double().sum(), given, create_graph=True)
    second = torch.autograd.grad(sum((g.double() ** 2).sum() for g in first), given, allow_unused=True)
    return [y, *first, *[torch.zeros_like(t) if g is None else g for g, t in zip(second, given)]]


CONVS = [  # rank, input, filters, options
    (1, (2, 4, 11), (6, 2, 3), {"stride": 2, "padding": 1, "groups": 2}),
    (1, (2, 3, 9), (5, 3, 5), {"padding": "same"}),
    (2, (2, 3, 9, 8), (5, 3, 3, 3), {}),
    (2, (2, 4, 9, 8), (6, 2, 3, 2), {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2}),
    (2, (2, 6, 7, 7), (12, 1, 3, 3), {"padding": 1, "groups": 6}),
    (2, (3, 5, 4, 4), (7, 5, 1, 1), {}),
    (2, (1, 3, 6, 6), (4, 3, 3, 3), {"padding": "same", "dilation": 2}),
    (2, (0, 3, 6, 6), (4, 3, 3, 3), {}),
    (3, (2, 3, 5, 6, 4), (4, 3, 2, 3, 2), {"stride": 2, "padding": 1}),
]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("rank, x, w, options", CONVS)
def test_convolution_is_pytorchs(rank: int, x: tuple[int, ...], w: tuple[int, ...], options: dict, last: bool) -> None:
    if last and rank == 1:
        pytest.skip("PyTorch has no channels_last format for one spatial axis")
    x, w, b = torch.randn(x, dtype=torch.float64), torch.randn(w, dtype=torch.float64), torch.randn(w[0]).double()
    if last:
        x = x.contiguous(memory_format=FORMATS[rank][1])
    ours, theirs = (gradients(partial(getattr(lib, f"conv{rank}d"), **options), [x, w, b])
                    for lib in (functional, plain))
    for o, t in zip(ours, theirs):
        same(o, t, 1e-11)
    if last and 0 not in x.shape:
        assert ours[0].is_contiguous(memory_format=FORMATS[rank][1])


TRANSPOSED = [
    (1, (2, 4, 5), (4, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
    (2, (2, 4, 5, 6), (4, 3, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}),
    (2, (2, 4, 5, 6), (4, 3, 3, 3), {"stride": (1, 2), "dilation": 3, "output_padding": (2, 1)}),
    (3, (1, 2, 3, 3, 4), (2, 3, 2, 2, 2), {"stride": 2}),
]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("rank, x, w, options", TRANSPOSED)
def test_transposed_convolution_is_pytorchs(rank: int, x: tuple[int, ...], w: tuple[int, ...], options: dict,
                                            last: bool) -> None:
    if last and rank == 1:
        pytest.skip("PyTorch has no channels_last format for one spatial axis")
    filters = w[1] * options.get("groups", 1)
    x, w, b = (torch.randn(shape, dtype=torch.float64) for shape in (x, w, (filters,)))
    if last:
        x = x.contiguous(memory_format=FORMATS[rank][1])
    name = f"conv_transpose{rank}d"
    ours, theirs = (gradients(partial(getattr(lib, name), **options), [x, w, b]) for lib in (functional, plain))
    for o, t in zip(ours, theirs):
        same(o, t, 1e-11)


POOLS = [
    ("max_pool", (2, 3, 9), (3,), {"stride": 2, "padding": 1}),
    ("max_pool", (2, 3, 9, 8), (3, 2), {"stride": (2, 3), "padding": (1, 0), "dilation": (1, 2), "ceil_mode": True}),
    ("max_pool", (3, 9, 8), (2, 2), {}),
    ("max_pool", (2, 3, 40, 8), (20, 3), {"stride": 1}),
    ("max_pool", (1, 2, 4, 5, 6), (2, 3, 2), {}),
    ("avg_pool", (2, 3, 9), (3,), {"stride": 2, "padding": 1}),
    ("avg_pool", (2, 3, 9, 8), (3, 2), {"padding": (1, 0), "ceil_mode": True, "count_include_pad": False}),
    ("avg_pool", (1, 2, 4, 5, 6), (2, 3, 2), {}),
    ("adaptive_avg_pool", (2, 3, 9, 8), ((4, 3),), {}),
    ("adaptive_avg_pool", (2, 3, 9, 8), ((None, 1),), {}),
    ("adaptive_avg_pool", (2, 3, 7), (1,), {}),
]


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name, x, size, options", POOLS)
def test_pooling_is_pytorchs(name: str, x: tuple[int, ...], size: tuple, options: dict, last: bool) -> None:
    if last and len(x) != 4:
        pytest.skip("tried with two spatial axes and a batch")
    if name == "adaptive_avg_pool":
        rank, window = len(x) - 2, size[0]
    else:
        rank = window = len(size)
        window = size if rank > 1 else size[0]
    x = torch.randn(x, dtype=torch.float64)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    size_name = "output_size" if name == "adaptive_avg_pool" else "kernel_size"
    ours, theirs = (gradients(partial(getattr(lib, f"{name}{rank}d"), **{size_name: window}, **options), [x])
                    for lib in (functional, plain))
    for o, t in zip(ours, theirs):
        same(o, t, 1e-12)
    if name == "max_pool":
        (y, i), (y2, i2) = (getattr(lib, f"{name}{rank}d")(x, window, return_indices=True, **options)
                            for lib in (functional, plain))
        assert torch.equal(y, y2) and torch.equal(i, i2)


@pytest.mark.parametrize("affine, last", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 7), (4, 3, 5, 6), (2, 3, 4, 3, 2)])
def test_batch_norm_is_pytorchs(shape: tuple[int, ...], affine: bool, last: bool) -> None:
    if last and len(shape) != 4:
        pytest.skip("tried with two spatial axes")
    x = torch.randn(shape, dtype=torch.float64) * 3 + 1
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    parameters = [torch.randn(3).double(), torch.randn(3).double()] if affine else []
    running = [[torch.arange(3).double(), torch.ones(3).double()] for _ in range(2)]
    for training in (True, False):
        found = [gradients(lambda x, *p, lib=lib, r=r, training=training: lib.batch_norm(
            x, *r, *p, training=training, momentum=0.3), [x, *parameters])
                 for lib, r in zip((functional, plain), running)]
        for o, t in zip(*found):
            same(o, t, 1e-9)
        for o, t in zip(*running):
            same(o, t, 1e-11)
    for o, t in zip(*(gradients(lambda x, lib=lib: lib.batch_norm(x, None, None, training=True), [x])
                      for lib in (functional, plain))):
        same(o, t, 1e-9)


@pytest.mark.parametrize("x, bias", [((4, 5), True), ((5,), True), ((2, 3, 5), False), ((0, 5), True)])
def test_linear_is_pytorchs(x: tuple[int, ...], bias: bool) -> None:
    inputs = [torch.randn(x).double(), torch.randn(7, 5).double(), *([torch.randn(7).double()] if bias else [])]
    for o, t in zip(*(gradients(lib.linear, inputs) for lib in (functional, plain))):
        same(o, t, 1e-12)


@pytest.mark.parametrize("dtype, rtol", [(torch.float32, 2e-6), (torch.bfloat16, 2**-7), (torch.float16, 2**-10)])
def test_other_dtypes(dtype: torch.dtype, rtol: float) -> None:
    """The results are those of float64, rounded to the dtype; PyTorch's own are no nearer."""
    x, w = torch.randn(2, 8, 9, 8).to(dtype), torch.randn(6, 8, 3, 3).to(dtype)
    for f in (lambda lib, x, w: lib.conv2d(x, w, padding=1), lambda lib, x, w: lib.avg_pool2d(x, 3),
              lambda lib, x, w: lib.max_pool2d(x, 2), lambda lib, x, w: lib.linear(x, w.reshape(-1, 8)),
              lambda lib, x, w: lib.batch_norm(x, None, None, training=True)):
        y = f(functional, x, w)
        assert y.dtype is dtype
        exact = f(plain, x.double(), w.double())
        torch.testing.assert_close(y.double(), exact, rtol=rtol, atol=rtol * exact.abs().max().item())


def samples() -> list[tuple[object, tuple]]:
    x = torch.randn(2, 4, 8, 7, requires_grad=True)
    w, s = torch.randn(6, 2, 3, 3, requires_grad=True), torch.randn(4, requires_grad=True)
    geometry = [2, 1], [1, 1, 0, 2], [1, 2], 2
    y = ops.conv(x, w, None, *geometry).detach().requires_grad_()
    pooling = [3, 2], [2, 2], [1, 1, 0, 0], [1, 1], False
    top, offsets = (t.detach() for t in ops.max_pool(x, *pooling))
    top.requires_grad_()
    mean, rstd = torch.randn(2, 1, 4), torch.rand(1, 4) + 0.5
    cases = [
        (ops.conv, (x, w, torch.randn(6, requires_grad=True), *geometry)),
        (ops.conv_dgrad, (y, w, [8, 7], *geometry)),
        (ops.conv_wgrad, (x, y, [3, 3], *geometry)),
        (ops.max_pool, (x, *pooling)),
        (ops.max_pool_dgrad, (top, offsets, [8, 7], *pooling)),
        (ops.max_pool_gather, (x, offsets, *pooling)),
        (ops.max_pool_indices, (offsets, [8, 7], *pooling)),
        (ops.avg_pool, (x, [3, 2], [2, 2], [1, 1, 0, 0], True, False, False)),
        (ops.avg_pool, (x, [3, 2], [1, 1], [0] * 4, False, True, True)),
        (ops.avg_pool_dgrad, (top, [8, 7], [3, 2], [2, 2], [1, 1, 0, 0], False, False, False)),
        (ops.gemm, (torch.randn(3, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True), torch.randn(5), False,
                    True)),
        (ops.gemm, (torch.randn(4, 3, requires_grad=True), torch.randn(4, 5, requires_grad=True), None, True, False)),
        (ops.batch_norm, (x, s, torch.randn(4, requires_grad=True), torch.zeros(4), torch.ones(4), 0.1, 1e-5)),
        (ops.batch_norm, (x, None, None, None, None, 0.1, 1e-5)),
        (ops.batch_norm_dgrad, (torch.randn_like(x), x, s, mean, rstd)),
    ]
    last = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    return [*cases, *((op, (last, *rest[1:])) for op, rest in cases if rest[0] is x)]


@pytest.mark.parametrize("number", range(len(samples())))
def test_opcheck(number: int) -> None:
    op, arguments = samples()[number]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.library.opcheck(op, arguments)


@pytest.mark.parametrize("f", [
    lambda x, w, s: functional.conv2d(x, w, None, 2, 1, 1, 2),
    lambda x, w, s: functional.conv_transpose2d(x, w, None, 2, 1, 1, 2),
    lambda x, w, s: functional.avg_pool2d(x, 2, 1, 1),
    lambda x, w, s: functional.max_pool2d(x, 2, 1),
    lambda x, w, s: functional.batch_norm(x, None, None, s, s, training=True),
    lambda x, w, s: functional.linear(x, w.reshape(-1, 3)),
])
def test_gradcheck(f: object) -> None:
    inputs = [torch.randn(2, 4, 5, 3), torch.randn(4, 2, 3, 3), torch.rand(4) + 0.5]
    inputs = [t.double().requires_grad_() for t in inputs]
    assert torch.autograd.gradcheck(f, inputs)
    assert torch.autograd.gradgradcheck(f, inputs, atol=1e-4)


class Block(nn.Module):
    def __init__(self, c: int, k: int, stride: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(c, k, 3, stride, 1, bias=False), nn.BatchNorm2d(k)
        self.conv2, self.bn2 = nn.Conv2d(k, k, 3, 1, 1, bias=False), nn.BatchNorm2d(k)
        self.relu = nn.ReLU(inplace=True)
        self.down = nn.Sequential(nn.Conv2d(c, k, 1, stride, bias=False), nn.BatchNorm2d(k)) if stride > 1 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.down is None else self.down(x)))


def resnet18(width: int = 16) -> nn.Sequential:
    """ResNet-18, with fewer channels."""
    sizes = (1, 1, 1), (1, 1, 1), (1, 2, 2), (2, 2, 1), (2, 4, 2), (4, 4, 1), (4, 8, 2), (8, 8, 1)
    stages = [Block(c * width, k * width, stride) for c, k, stride in sizes]
    return nn.Sequential(nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
                         nn.MaxPool2d(3, 2, 1), *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(8 * width, 10))


@pytest.mark.parametrize("backend", ["default", "emulated"])
@pytest.mark.parametrize("last", [False, True])
def test_resnet18_trains_alike(last: bool, backend: str) -> None:
    if backend == "emulated":
        pytest.importorskip("convgpu._emulated", reason="the emulated backend is not built")
    width, steps = (8, 3) if backend == "default" else (2, 1)
    theirs = resnet18(width).double()
    ours = copy.deepcopy(theirs)
    report = convgpu.torch.replace(ours)
    assert len(report.replaced) == 20 + 20 + 3 and set(report.left.values()) == {
        "ReLU has no class in convgpu.torch", "Flatten has no class in convgpu.torch"}
    x, labels = torch.randn(4, 3, 40, 33).double(), torch.randint(0, 10, (4,))
    if backend == "emulated":
        theirs, ours, x = theirs.float(), ours.float(), x.float()
    rtol = 1e-9 if backend == "default" else 1e-3
    if last:
        theirs, ours = (model.to(memory_format=torch.channels_last) for model in (theirs, ours))
        x = x.contiguous(memory_format=torch.channels_last)
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9) for model in (ours, theirs)]
    with cg.use_backend("emulated" if backend == "emulated" else cg.current_backend()):
        for _ in range(steps):
            losses = []
            for model, optimizer in zip((ours, theirs), optimizers):
                optimizer.zero_grad()
                loss = plain.cross_entropy(model(x), labels)
                loss.backward()
                losses.append(loss.detach())
            same(*losses, rtol=rtol)
            for (name, p), q in zip(ours.named_parameters(), theirs.parameters()):
                same(p.grad, q.grad, rtol * 100), name
            for optimizer in optimizers:
                optimizer.step()
        ours.eval(), theirs.eval()
        with torch.no_grad():
            same(ours(x), theirs(x), rtol * 100)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    resnet18(width).to(x.dtype).load_state_dict(ours.state_dict())


def test_replace_leaves_classes_of_ones_own_and_says_so() -> None:
    class Odd(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * 2

    shared = nn.Linear(3, 3)
    model = nn.Sequential(Odd(1, 2, 3), nn.AvgPool2d(2, divisor_override=3), nn.Embedding(3, 3), shared, shared)
    weight = shared.weight
    report = convgpu.torch.replace(model)
    assert report.replaced == {"3": "Linear"} and shared.weight is weight
    assert "class of its own" in report.left["0"] and "divisor_override" in report.left["1"]
    assert report.left["2"] == "Embedding has no class in convgpu.torch"
    assert convgpu.torch.replace(model).replaced == {}
    with pytest.raises(TypeError, match="expected a torch.nn.Module, got int"):
        convgpu.torch.replace(3)


def test_layers_with_other_padding_and_output_sizes() -> None:
    x = torch.randn(2, 4, 7, 6)
    for layer, arguments in ((nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"), ()),
                             (nn.Conv2d(4, 6, 3, padding=2, padding_mode="circular"), ()),
                             (nn.ConvTranspose2d(4, 3, 3, stride=2), ([16, 14],)),
                             (nn.BatchNorm2d(4, momentum=None), ()),
                             (nn.BatchNorm2d(4, track_running_stats=False), ())):
        other = copy.deepcopy(layer)
        assert convgpu.torch.replace(other).replaced == {"": type(layer).__name__}
        for _ in range(2):
            same(other(x, *arguments), layer(x, *arguments))
        for (name, ours), theirs in zip(other.state_dict().items(), layer.state_dict().values()):
            torch.testing.assert_close(ours, theirs, msg=name)


def test_autocast_computes_in_bfloat16() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 36, 5))
    convgpu.torch.replace(model)
    x = torch.randn(2, 3, 8, 8)
    exact = model(x)
    with torch.autocast("cpu", torch.bfloat16):
        y = model(x)
    assert y.dtype is torch.bfloat16
    y.float().sum().backward()
    assert model[0].weight.grad.dtype is torch.float32
    torch.testing.assert_close(y.float(), exact, rtol=0.05, atol=0.05)


def test_compiled_models_are_one_graph() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                          nn.Linear(8 * 16, 5))
    convgpu.torch.replace(model)
    x = torch.randn(2, 3, 8, 8)
    traced = torch.compile(copy.deepcopy(model), backend="aot_eager", fullgraph=True)
    for training in (True, False):
        model.train(training), traced.train(training)
        y, z = model(x), traced(x)
        same(z, y)
        for model_ in (model, traced):
            model_.zero_grad()
        y.square().mean().backward(), z.square().mean().backward()
        for p, q in zip(model.parameters(), traced.parameters()):
            same(q.grad, p.grad)


@pytest.mark.parametrize("call, error, rule", [
    (lambda x: functional.conv2d(x, torch.randn(4, 2, 3, 3)), ValueError, "C/groups == 3, got 2"),
    (lambda x: functional.conv2d(x, torch.randn(4, 3, 3, 3).double()), TypeError, "one dtype"),
    (lambda x: functional.conv2d(x.int(), torch.randn(4, 3, 3, 3).int()), TypeError, "floating dtype"),
    (lambda x: functional.conv2d(x, torch.randn(4, 3, 3, 3), stride=2, padding="same"), ValueError, "strides of 1"),
    (lambda x: functional.conv2d(x, torch.randn(4, 3, 9, 9)), ValueError, "filter"),
    (lambda x: functional.conv1d(x, torch.randn(4, 3, 3)), ValueError, "2 or 3 axes"),
    (lambda x: functional.conv2d(x, torch.randn(4, 3, 3, 3), stride=(1, 2, 3)), ValueError, "integer or 2 of them"),
    (lambda x: functional.max_pool2d(x, 2, padding=2), ValueError, "half of the window"),
    (lambda x: functional.avg_pool2d(x, 2, divisor_override=3), NotImplementedError, "divisor_override"),
    (lambda x: functional.linear(x, torch.randn(3, 4)), ValueError, r"expected input \(..., 4\)"),
    (lambda x: functional.batch_norm(x[:1, :, :1, :1], None, None, training=True), ValueError, "more than 1 value"),
    (lambda x: functional.batch_norm(x, None, None), ValueError, "running_mean and running_var"),
    (lambda x: functional.relu2d(x), AttributeError, "relu2d"),
    (lambda x: functional.conv2d(np.ones((1, 3, 5, 5)), x), TypeError, "torch.Tensor, got ndarray"),
])
def test_wrong_arguments(call: object, error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=rule):
        call(torch.randn(2, 3, 6, 6))


@pytest.mark.parametrize("module", ["functional", "modules"])
def test_examples_of_docstrings(module: str) -> None:
    failed, attempted = doctest.testmod(importlib.import_module(f"convgpu.torch.{module}"),
                                        optionflags=doctest.NORMALIZE_WHITESPACE)
    assert attempted and not failed


def test_memory_is_shared_and_not_changed() -> None:
    x, w = torch.randn(2, 3, 6, 6), torch.randn(4, 3, 3, 3)
    from convgpu.torch.arrays import images, to_torch

    assert np.shares_memory(images(x, False), x.numpy())
    last = x.contiguous(memory_format=torch.channels_last)
    assert np.shares_memory(images(last, True), last.numpy()) and images(last, True).flags.c_contiguous
    array = np.ones((2, 3), np.float32)
    assert np.shares_memory(to_torch(array).numpy(), array)
    before = x.clone()
    functional.conv2d(x[:, :, ::2], w, padding=1).add_(1)
    functional.conv2d(x.transpose(2, 3), w).add_(1)
    assert torch.equal(x, before)


def test_data_parallel_over_two_processes(tmp_path: object) -> None:
    """DistributedDataParallel is PyTorch's own; it works over our layers."""
    import subprocess
    import sys
    from pathlib import Path

    program = """
import os, sys, torch, torch.distributed as dist
from torch import nn
import convgpu.torch
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
convgpu.torch.replace(model)
ddp = nn.parallel.DistributedDataParallel(model)
torch.manual_seed(rank)
ddp(torch.randn(4, 1, 6, 6)).square().mean().backward()
mine = torch.cat([p.grad.ravel() for p in model.parameters()])
both = [torch.empty_like(mine) for _ in range(2)]
dist.all_gather(both, mine)
assert torch.equal(*both) and mine.abs().sum() > 0
dist.destroy_process_group()
"""
    jobs = [subprocess.Popen([sys.executable, "-c", program, str(rank), str(Path(tmp_path) / "meet")],
                             stderr=subprocess.PIPE, text=True) for rank in range(2)]
    for job in jobs:
        _, said = job.communicate(timeout=180)
        assert job.returncode == 0, said[-2000:]
