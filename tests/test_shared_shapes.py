"""The convolution problems of data/conv2d_shapes.json beside the project, in float32, forward and backward."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conv_checks import FORMATS, check

import convgpu as cg
from convgpu.cases.conv import ConvCase

SHAPES = Path(__file__).resolve().parents[2] / "shared" / "data" / "conv2d_shapes.json"


def cases():
    if not SHAPES.is_file():
        return [pytest.param(None, id="absent", marks=pytest.mark.skip(f"{SHAPES} is not there"))]
    return [pytest.param(_case(i, row), id=f"{i}-{'x'.join(str(row[k]) for k in 'NHWCKRS')}")
            for i, row in enumerate(json.loads(SHAPES.read_text()))]


def _case(i, row):
    top, bottom, left, right = row["pad"]
    return ConvCase(f"shape_{i}", (row["N"], row["H"], row["W"], row["C"]), (row["R"], row["S"], row["C"], row["K"]),
                    stride=tuple(row["stride"]), dilation=tuple(row["dilation"]),
                    padding=((top, bottom), (left, right)))


@pytest.mark.parametrize("case", cases())
def test_shape(case):
    if case.w[1] > case.x[2] + sum(case.padding[1]):  # one of them is a trap
        with pytest.raises(ValueError, match=r"spans \(3, 6\) pixels, larger than the padded input \(4, 5\)"):
            cg.conv(np.zeros(case.x, "f"), np.zeros(case.w, "f"), **case.options)
        return
    huge = case.geometry().macs > 10**9
    for data_format in FORMATS[:1] if huge else FORMATS:
        check(case, "float32", data_format)
