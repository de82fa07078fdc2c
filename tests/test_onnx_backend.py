"""ONNX's own tests of operators and models, on the CPU: those that tests/onnx_backend.txt lists."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx", reason='ONNX\'s tests need the package onnx: pip install "convgpu[onnx]"')

from onnx.backend.test import BackendTest  # noqa: E402
from onnx.backend.test.loader import load_model_tests  # noqa: E402

import convgpu as cg  # noqa: E402

LISTED = (Path(__file__).parent / "onnx_backend.txt").read_text(encoding="utf-8").split()
# These compare float16 and bfloat16 with a tolerance below their rounding, after several operators that round.
ROUNDED_OTHERWISE = {f"test_attention_{case}_expanded" for case in (
    "3d_causal_bf16", "4d_attn_mask_causal_bf16", "4d_causal_bf16", "4d_causal_fp16", "4d_causal_padded_kv_bf16",
    "4d_padded_kv_bf16")}


@cache
def cases() -> dict[str, Any]:
    """The functions that onnx makes of its tests, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, while onnx computes what is expected
        groups = BackendTest(cg.onnx.backend, __name__).test_cases.values()
    return {name: case for group in groups for name, case in vars(group).items() if name.endswith("_cpu")}


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A folder of its own for what onnx's runner writes."""
    before = os.environ.get("ONNX_HOME")
    os.environ["ONNX_HOME"] = str(tmp_path_factory.mktemp("onnx"))
    yield
    del os.environ["ONNX_HOME"]
    if before is not None:
        os.environ["ONNX_HOME"] = before


@pytest.mark.parametrize("name", LISTED)
def test_listed(name: str) -> None:
    case = cases().get(name + "_cpu")
    if case is None:
        pytest.skip("this version of onnx has no such test")
    case(None)


def test_what_is_not_listed_is_refused() -> None:
    """The list lacks no test of a node that could run."""
    wrongly = []
    for case in load_model_tests(kind="node"):
        if case.name in LISTED:
            continue
        try:
            cg.onnx.load(case.model)
        except NotImplementedError:
            continue
        if case.name not in ROUNDED_OTHERWISE:
            wrongly.append(case.name)
    assert not wrongly
