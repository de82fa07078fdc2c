"""debug_nans: the op that makes NaN is named, forward and backward, on every device, and nothing stays afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from gpu_device import stand_in  # noqa: F401 - a fixture

import convgpu as cg
from convgpu import autograd


@pytest.fixture(autouse=True)
def quiet():
    with np.errstate(all="ignore"):
        yield
    assert not autograd.is_watched()


def test_the_first_op_that_makes_nan_is_named_with_its_shapes() -> None:
    x = cg.tensor([[1.0, -1.0]])
    y = (cg.log(x) * 2).sum()
    assert np.isnan(y.item())
    words = r"^log: expected numbers, got NaN in the result float32 \(1, 2\), from x=float32 \(1, 2\) without NaN$"
    with cg.debug_nans(), pytest.raises(FloatingPointError, match=words):
        (cg.log(x) * 2).sum()
    with cg.debug_nans(), pytest.raises(FloatingPointError, match=r"with NaN"):
        cg.tensor([np.nan]) + 1


def test_numbers_integers_and_inf_pass() -> None:
    with cg.debug_nans():
        assert (cg.tensor([1, 2]) + 1).tolist() == [2, 3]
        assert cg.exp(cg.tensor([1e3])).tolist() == [np.inf]


def test_in_a_backward_pass_the_op_whose_gradient_it_is_is_named_too() -> None:
    x = cg.tensor([0.0], requires_grad=True)
    y = cg.numpy.sqrt(x * x).sum()  # the gradient is 0 / 0
    with cg.debug_nans(), pytest.raises(FloatingPointError, match=r"^\w+\.backward: \w+: expected numbers, got NaN"):
        cg.grad(y, x)


def test_on_the_gpu(stand_in) -> None:  # noqa: F811
    x = cg.tensor([1.0, -1.0], device="gpu")
    with cg.debug_nans(), pytest.raises(FloatingPointError, match="log: expected numbers, got NaN"):
        cg.log(x)
