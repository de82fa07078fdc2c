"""Gradients that meet: a second one is computed on top of the first where a kernel can, and others are added."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from native_backends import needs_emulated

import convgpu as cg
import convgpu.numpy as cnp
from convgpu.backends import load
from convgpu.geometry import conv_geometry
from convgpu.recorder import Recorder

_names = itertools.count()


def leaf(*values: float) -> cg.Tensor:
    return cg.tensor(np.array(values), requires_grad=True)


def doubled(onto: Any) -> cg.Op:
    """y = 2 x, whose gradient may be computed on top of another one."""
    return cg.Op(f"doubled_{next(_names)}", "x -> y", lambda x: 2 * x).vjp(x=lambda g: g * 2).vjp_onto(x=onto)


def test_the_second_gradient_is_computed_on_top_of_the_first() -> None:
    totals = []
    op = doubled(lambda g, total: totals.append(total.tolist()) or g * 2 + total)
    x = leaf(1.0, 2.0)
    y = x * 1.0
    z = op(y)  # recorded before the product below, and so visited after it
    (z + y * 5).sum().backward()
    assert x.grad.tolist() == [7.0, 7.0] and totals == [[5.0, 5.0]]
    totals.clear()
    a = leaf(1.0)
    op(a).sum().backward()  # nothing is there yet
    assert a.grad.tolist() == [2.0] and totals == []


def test_what_cannot_be_computed_on_top_is_added() -> None:
    calls = []
    op = doubled(lambda g, total: calls.append(1))
    y = leaf(1.0, 2.0)
    (op(y) + y * 5).sum().backward()
    assert y.grad.tolist() == [7.0, 7.0] and calls == [1]


def test_three_and_more_gradients_in_every_dtype() -> None:
    for dtype in ("float64", "float32", "float16", "bfloat16"):
        for n in (2, 3, 5, 9, 40):
            x = cg.tensor(np.ones(3), dtype=dtype, requires_grad=True)
            sum((x * float(i) for i in range(n)), x * 0.0).sum().backward()
            assert x.grad.dtype == x.dtype and x.grad.tolist() == [float(x.dtype.type(n * (n - 1) / 2))] * 3
    x = cg.tensor(np.ones(2), dtype="float16", requires_grad=True)
    cnp.stack([x * 1.0 for _ in range(3000)]).sum().backward()
    assert x.grad.tolist() == [3000.0, 3000.0]  # one after the other in float16, it would stay at 2048


@pytest.mark.parametrize("declare, message", [
    (lambda op: op.vjp_onto(x=lambda g: g), "expected a gradient rule over g, total and any of"),
    (lambda op: op.vjp_onto(x=lambda g, total, x: g), r"for 'x' that needs what this one needs, \('x',\); declare it"),
    (lambda op: op.vjp_onto(w=lambda g, total: g), "for 'w' that needs what this one needs"),
])
def test_declarations_are_checked(declare, message) -> None:
    with pytest.raises(ValueError, match=message):
        declare(cg.Op("broken", "x, w -> y").vjp(x=lambda g: g))


# --- convolution and products


def draw(seed: int, *shape: int, dtype: str = "float64") -> cg.Tensor:
    return cg.tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype), requires_grad=True)


BLOCKS = {
    "residual": lambda x, w: cg.conv(x, w, padding="same") * 2 + x,
    "downsampled": lambda x, w: cg.conv(x, w, padding="same", stride=2) + cg.conv(x, w[:1, :1], stride=2),
    "three": lambda x, w: cg.conv(x, w, padding="same") + cg.conv(x, w, padding=1) * 2 + x * 3,
    "linear": lambda x, w: cg.linear(x, w[0, 0]) + x,
}


@pytest.mark.parametrize("block", BLOCKS)
def test_gradients_of_blocks_to_the_second_order(block) -> None:
    x, w = draw(0, 2, 4, 3, 3), draw(1, 3, 3, 3, 3)
    assert cg.check_grad(lambda x, w: BLOCKS[block](x * 1.0, w), x.detach(), w.detach(), order=2) < 1e-6


def test_blocks_in_channels_first_depthwise_and_by_products_of_every_transpose() -> None:
    x, w = draw(0, 2, 3, 4, 3).detach(), draw(1, 3, 3, 3, 3).detach()
    assert cg.check_grad(lambda x, w: cg.conv(x, w, padding=1, data_format="channels_first") + x, x, w, order=2) < 1e-6
    x, w = draw(0, 2, 4, 3, 2).detach(), draw(1, 3, 3, 2, 1).detach()
    assert cg.check_grad(lambda x, w: cg.depthwise_conv(x, w, padding="same") + x, x, w, order=2) < 1e-6
    a, b = draw(0, 3, 3).detach(), draw(1, 3, 3).detach()
    for trans_a, trans_b in itertools.product((False, True), repeat=2):
        f = lambda a, b: cg.gemm(a, b, alpha=0.7, trans_a=trans_a, trans_b=trans_b) + a * 2 + b * 3  # noqa: B023, E731
        assert cg.check_grad(f, a, b, order=2) < 1e-6


@pytest.mark.parametrize("data_format, groups, adds", [
    ("channels_last", 1, 0), ("channels_last", 2, 0), ("channels_last", 4, 0), ("channels_first", 1, 1)])
def test_a_residual_block_needs_no_addition(data_format, groups, adds) -> None:
    recorder = Recorder()
    last = data_format == "channels_last"
    x = recorder.tensor((2, 8, 8, 4) if last else (2, 4, 8, 8), requires_grad=True)
    w = recorder.tensor((3, 3, 4 // groups, 4) if last else (4, 4 // groups, 3, 3), requires_grad=True)
    y = cg.conv(x, w, padding=1, groups=groups, data_format=data_format) + x
    before = len(recorder.steps)
    y.backward(recorder.tensor(y.shape))
    steps = [step.name for step in recorder.steps[before:]]
    assert sorted(steps) == sorted(["conv_dgrad", "conv_wgrad", *["add_n"] * adds])
    addend = next(step for step in recorder.steps if step.name == "conv_dgrad").inputs[2]
    assert (addend is None) == bool(adds) and (addend is None or addend.shape == x.shape)


def test_an_addend_that_a_backend_does_not_take() -> None:
    try:
        native = load("emulated")
    except ImportError as error:
        pytest.skip(str(error))
    geo = conv_geometry("conv", (1, 2, 4, 4), (2, 2, 3, 3), 1, 1, 1, 1, "channels_first")
    operands = [np.ones(s, "f4") for s in (geo.y_shape, geo.w_shape, geo.x_shape)]
    with pytest.raises(NotImplementedError, match="conv_dgrad is not implemented .* channels_first"):
        native.conv_dgrad(*operands, geo, None)
    geo = conv_geometry("conv", (1, 4, 4, 2), (3, 3, 2, 2), 1, 1, 1, 1, "channels_last")
    with pytest.raises(ValueError, match="expected an addend in the place of the bias of shape"):
        native.conv_dgrad(*[np.ones(s, "f4") for s in (geo.y_shape, geo.w_shape, (1, 4, 4, 1))], geo, None)


@needs_emulated
@pytest.mark.parametrize("gradients", [2, 3, 4, 9])
def test_a_sum_in_float32_is_no_addend_of_a_half_type(gradients: int) -> None:
    x = cg.tensor(np.ones((2, 2)), dtype="bfloat16", requires_grad=True)
    w = cg.tensor(np.ones((2, 2)), dtype="bfloat16")
    with cg.use_backend("emulated"):
        loss = (x @ w).sum()
        for factor in range(1, gradients):
            loss = loss + (x * factor).sum()
        loss.backward()
    assert x.grad.dtype.name == "bfloat16" and x.grad.tolist() == [[2 + sum(range(gradients))] * 2] * 2
