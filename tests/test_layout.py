"""Changes of layout: every bit arrives, on every backend, and gradients take the way back."""

from __future__ import annotations

import numpy as np
import pytest

import convgpu as cg
from convgpu.backends import load
from convgpu.facts import FAMILIES
from convgpu.ops import layout

INVERSE = {"nchw_to_nhwc": "nhwc_to_nchw", "nhwc_to_nchw": "nchw_to_nhwc", "oihw_to_hwio": "hwio_to_oihw",
           "hwio_to_oihw": "oihw_to_hwio"}
FAMILY = FAMILIES["layout"]


@pytest.mark.parametrize("backend", ["numpy", "reference"])
@pytest.mark.parametrize("case", FAMILY.cases, ids=lambda case: case.name)
def test_every_bit_arrives(case, backend):
    for dtype in FAMILY.dtypes:
        for problem in FAMILY.problems(case, dtype, "channels_last"):
            y = problem.run(load(backend), problem.arrays)
            assert y.flags.c_contiguous and y.dtype == problem.dtype
            assert y.shape == problem.answer[0].shape and y.tobytes() == problem.answer[0].tobytes()


@pytest.mark.parametrize("name", INVERSE)
def test_gradients_take_the_way_back(name):
    op, back = getattr(layout, name), getattr(layout, INVERSE[name])
    x = cg.randn((2, 3, 4, 5), generator=0, dtype="float64").requires_grad_()
    y = op(x)
    g = np.random.default_rng(0).standard_normal(y.shape)
    y.backward(g)
    assert x.grad.tolist() == back(g).tolist() and back(y).tolist() == x.tolist()
    cg.check_grad(op, np.ones((2, 1, 3)), order=2)
