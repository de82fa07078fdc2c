"""ONNX models on device "gpu": constants follow, shapes stay on the host, integers are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gpu_device import gpu  # noqa: F401 - a fixture

pytest.importorskip("onnx", reason='needs the package onnx: pip install "convgpu[onnx]"')

from onnx import TensorProto, helper  # noqa: E402
from test_onnx import drawn, info, model_of, network  # noqa: E402

import convgpu as cg  # noqa: E402

pytestmark = pytest.mark.usefixtures("gpu")


def there(value: Any) -> Any:
    return cg.tree.map(lambda t: cg.tensor(t, device="gpu"), value)


def test_a_network_and_its_gradients() -> None:
    model, x = cg.onnx.load(network()), drawn(2, 3, 7, 8)
    expected = model(model.params, x).numpy()
    params = there(model.params)
    for _ in range(2):  # constants are moved by the first call
        y = model(params, there(x))
        assert y.device == "gpu"
        np.testing.assert_allclose(y.to("cpu").numpy(), expected, rtol=1e-3, atol=1e-3)
    _, gradients = cg.value_and_grad(lambda p, x: cg.numpy.sum(model(p, x)))(params, there(x))
    assert {t.device for t in cg.tree.leaves(gradients)} == {"gpu"}


def test_indices_on_both_devices() -> None:
    table = drawn(5, 3)
    from_input = cg.onnx.load(model_of(
        [helper.make_node("Gather", ["table", "x"], ["rows"]), helper.make_node("Mul", ["rows", "two"], ["y"])],
        [info("x", [2], TensorProto.INT64)], [info("y", None)], {"table": table, "two": np.array([2], "float32")}))
    y = from_input(there(from_input.params), there(np.array([4, 1])))
    np.testing.assert_array_equal(y.to("cpu").numpy(), 2 * table[[4, 1]])
    constant = cg.onnx.load(model_of([helper.make_node("Gather", ["x", "i"], ["y"], axis=1)], [info("x", [5, 3])],
                                     [info("y", None)], {"i": np.array([2, 0])}))
    np.testing.assert_array_equal(constant({}, there(table)).to("cpu").numpy(), table[:, [2, 0]])


@pytest.mark.parametrize("op", ["ConvInteger", "MatMulInteger"])
def test_quantised_operators_are_refused(op: str) -> None:
    shape = (1, 2, 4, 4) if op == "ConvInteger" else (4, 4)
    w = np.ones((1, 2, 2, 2) if op == "ConvInteger" else (4, 4), "uint8")
    model = cg.onnx.load(model_of([helper.make_node(op, ["x", "w"], ["y"], name="sums")],
                                  [info("x", shape, TensorProto.UINT8)], [info("y", None)], {"w": w}))
    with pytest.raises(NotImplementedError, match=rf"{op} on the GPU is not implemented, which node 'sums'"):
        model({}, there(np.ones(shape, "uint8")))
