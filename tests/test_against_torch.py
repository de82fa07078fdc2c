"""The engine beside PyTorch: its own operator samples and random geometries, forward and backward, against float64.

Where PyTorch is absent each test says so and is skipped; so it is where PyTorch's samples need the package expecttest.
"""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import convgpu as cg
from convgpu.cases.tolerance import worst

FIRST = {"data_format": "channels_first"}


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch", reason="PyTorch is not installed")
    module.set_num_threads(1)
    return module


def samples(torch, name):
    """PyTorch's sample inputs of one operator, with a batch axis where a sample has none."""
    try:
        from torch.testing._internal.common_methods_invocations import op_db
    except ImportError as error:
        pytest.skip(f"PyTorch's operator samples cannot be imported: {error}")
    (op,) = [o for o in op_db if o.name == f"nn.functional.{name}" and not o.variant_test_name]
    return list(op.sample_inputs("cpu", torch.float64, requires_grad=False))


def compare(torch, theirs, ours, operands, dtype, length, linear=True):
    """Both functions on the same operands, forward and backward; ours within the bound of PyTorch's float64.

    `linear`: the function is linear in each operand, so that the op on absolute values is the scale of its errors.
    """
    arrays = [o.numpy().astype(dtype) for o in operands]
    leaves = [torch.tensor(a.astype(np.float64), requires_grad=True) for a in arrays]
    y = theirs(*leaves)
    g = np.random.default_rng(0).standard_normal(y.shape).astype(dtype)
    y.backward(torch.tensor(g.astype(np.float64)))
    sizes = [torch.tensor(np.abs(a.astype(np.float64)), requires_grad=True) for a in arrays]
    scale = theirs(*sizes)
    scale.backward(torch.tensor(np.abs(g.astype(np.float64))))

    inputs = [cg.tensor(a, requires_grad=True) for a in arrays]
    z = ours(*inputs)
    z.backward(g)
    magnitude = scale if linear else y.abs()
    assert worst(z.numpy(), y.detach().numpy(), magnitude.detach().numpy(), length) <= 1
    for mine, leaf, size in zip(inputs, leaves, sizes):
        expected = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.numpy()
        scale_of = size.grad if linear else torch.ones_like(leaf) * float(np.abs(g).sum())
        assert worst(mine.grad.numpy(), expected, np.zeros(leaf.shape) if scale_of is None else scale_of.numpy(),
                     max(length, g.size)) <= 1


DTYPES = ("float64", "float32", "float16")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("form", ["conv", "conv_transpose"])
def test_convolution_samples(torch, form, rank, dtype, backend):
    theirs = getattr(torch.nn.functional, f"{form}{rank}d")
    for sample in samples(torch, f"{form}{rank}d"):
        x, (w, *bias) = sample.input, sample.args
        x = x[None] if x.ndim == rank + 1 else x
        operands = [x, w, *(b for b in bias if b is not None)]
        if any(o.is_complex() for o in operands):
            continue
        options = {k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in sample.kwargs.items()}
        compare(torch, lambda *a, o=options: theirs(*a, **o),  # noqa: B023 - used at once
                lambda *a, o=options: getattr(cg, form)(*a, **o, **FIRST), operands, dtype,
                w[0].numel() * 4 + w.shape[0] * w[0, 0].numel())


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_samples(torch, dtype):
    for sample in samples(torch, "linear"):
        x, (w, *bias) = sample.input, sample.args
        operands = [x, w, *(b for b in bias if b is not None)]
        if w.ndim == 1 or x.ndim == 0:
            continue  # vectors as weights: matmul's business
        compare(torch, torch.nn.functional.linear, lambda x, w, *b: cg.linear(x, w.T, *b), operands, dtype,
                w.numel() + x.numel())


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_max_pool_samples(torch, rank, backend):
    theirs = getattr(torch.nn.functional, f"max_pool{rank}d")
    for i, sample in enumerate(samples(torch, f"max_pool{rank}d")):
        if i % 5:  # neighbours differ in one option; 5 is coprime to how they cycle
            continue
        options = dict(sample.kwargs)
        indices = options.pop("return_indices", False)
        size = options.pop("kernel_size")
        options["stride"] = options.get("stride") or None
        x = sample.input[None] if sample.input.ndim == rank + 1 else sample.input
        compare(torch, lambda t, o=options, s=size: theirs(t, s, **o),
                lambda t, o=options, s=size: cg.max_pool(t, s, **o, **FIRST), [x], "float32", 1, linear=False)
        if indices:
            _, expected = theirs(x.float(), size, return_indices=True, **options)
            _, got = cg.max_pool(x.float().numpy(), size, return_indices=True, **options, **FIRST)
            assert got.dtype == np.int64 and np.array_equal(got.numpy(), expected.numpy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_avg_pool_samples(torch, rank, dtype, backend):
    theirs = getattr(torch.nn.functional, f"avg_pool{rank}d")
    names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
    for sample in samples(torch, f"avg_pool{rank}d"):
        options = {"count_include_pad": True, **dict(zip(names, sample.args)), **sample.kwargs}
        if options.pop("divisor_override", None):
            continue  # another op: a sum times a number
        size = options.pop("kernel_size")
        options["stride"] = options.get("stride") or None
        for key in ("stride", "padding"):  # PyTorch takes one number in a tuple for all axes
            value = options.get(key)
            options[key] = value[0] if isinstance(value, tuple) and len(value) == 1 else value
        options = {k: v for k, v in options.items() if v is not None}
        x = sample.input[None] if sample.input.ndim == rank + 1 else sample.input
        compare(torch, lambda t, o=options, s=size: theirs(t, s, **o),
                lambda t, o=options, s=size: cg.avg_pool(t, s, **o, **FIRST), [x], dtype, 64)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kind", ["avg", "max"])
def test_adaptive_pool_samples(torch, kind, rank, backend):
    theirs = getattr(torch.nn.functional, f"adaptive_{kind}_pool{rank}d")
    ours = getattr(cg, f"adaptive_{kind}_pool")
    for sample in samples(torch, f"adaptive_{kind}_pool{rank}d"):
        x = sample.input[None] if sample.input.ndim == rank + 1 else sample.input
        size = sample.args[0]
        sizes = (size,) * rank if not isinstance(size, (tuple, list)) else size
        sizes = tuple(n if out is None else out for n, out in zip(x.shape[2:], sizes))  # None: as the input
        compare(torch, lambda t, s=size: theirs(t, s), lambda t, s=sizes: ours(t, s, **FIRST), [x], "float32", 64,
                linear=kind == "avg")


@pytest.mark.parametrize("form", ["conv", "conv_transpose"])
def test_random_convolutions(torch, form, backend):
    rng = np.random.default_rng(8)
    for _ in range(150):
        rank = int(rng.integers(1, 4))
        theirs = getattr(torch.nn.functional, f"{form}{rank}d")
        kernel, stride, dilation, padding = (tuple(int(v) for v in rng.integers(low, high, rank))
                                             for low, high in ((1, 5), (1, 5), (1, 4), (0, 4)))
        groups = int(rng.integers(1, 4))
        span = [d * (f - 1) + 1 for f, d in zip(kernel, dilation)]
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        c, k = groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 4))
        if form == "conv":
            size = [max(1, e - 2 * p) + int(rng.integers(0, 6)) for e, p in zip(span, padding)]
            w = (k, c // groups, *kernel)
        else:
            size = [max(1, -(-(2 * p + 2 - e) // s) + 1) + int(rng.integers(0, 3))
                    for e, p, s in zip(span, padding, stride)]
            options["output_padding"] = tuple(int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation))
            w = (c, k // groups, *kernel)
        x = (int(rng.integers(1, 3)), c, *size)
        operands = [torch.tensor(rng.standard_normal(shape)) for shape in (x, w, (k,))]
        compare(torch, lambda *a, o=options, f=theirs: f(*a, **o),
                lambda *a, o=options: getattr(cg, form)(*a, **o, **FIRST), operands, "float32",
                int(np.prod(w)) + c * k)


def test_signatures_have_what_torch_has(torch):
    """Every option of PyTorch's functional convolution has a place in ours, under the same name."""
    ours = set(inspect.signature(cg.conv).parameters)
    assert {"stride", "padding", "dilation", "groups", "bias"} <= ours
    assert "output_padding" in inspect.signature(cg.conv_transpose).parameters
