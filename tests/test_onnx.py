"""convgpu.onnx.load: models from ONNX as functions that can be differentiated, and files that mean no good."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason='needs the package onnx: pip install "convgpu[onnx]"')

from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

import convgpu as cg  # noqa: E402

RNG = np.random.default_rng(7)


def drawn(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype("float32")


def info(name: str, shape: Any, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model_of(nodes: list[Any], inputs: list[Any], outputs: list[Any], arrays: dict[str, np.ndarray] | None = None,
             opset: int = 21) -> Any:
    tensors = [numpy_helper.from_array(a, name) for name, a in (arrays or {}).items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def network() -> Any:
    """A residual block with batch normalisation and a strided, grouped convolution, a shape computed from sizes, and a
    product."""
    n = helper.make_node
    nodes = [
        n("Conv", ["x", "a.w", "a.b"], ["c1"], pads=[1, 0, 1, 2], name="conv_a"),
        n("BatchNormalization", ["c1", "bn.scale", "bn.offset", "bn.mean", "bn.var"], ["n1"], epsilon=1e-3),
        n("Relu", ["n1"], ["r1"]),
        n("Conv", ["r1", "b/w"], ["c2"], pads=[1, 1, 1, 1]),
        n("BatchNormalization", ["c2", "bn.scale", "bn.offset", "bn.mean", "bn.var"], ["n2"]),
        n("Add", ["n2", "r1"], ["s"]),
        n("Relu", ["s"], ["r2"]),
        n("Conv", ["r2", "g.w", "g.b"], ["c3"], group=2, strides=[2, 1]),
        n("Sigmoid", ["c3"], ["r3"]),
        n("Mul", ["r3", "per_channel"], ["m"]),
        n("MaxPool", ["m"], ["p"], kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
        n("Concat", ["p", "p"], ["cc"], axis=1),
        n("Shape", ["cc"], ["shape"], end=1),
        n("Concat", ["shape", "minus"], ["flat"], axis=0),
        n("Reshape", ["cc", "flat"], ["f"]),
        n("Gemm", ["f", "dense.w", "dense.b"], ["y"], transB=1),
    ]
    arrays = {"a.w": drawn(4, 3, 3, 3), "a.b": drawn(4), "bn.scale": drawn(4), "bn.offset": drawn(4),
              "bn.mean": drawn(4), "bn.var": np.abs(drawn(4)) + 1, "b/w": drawn(4, 4, 3, 3), "g.w": drawn(6, 2, 1, 1),
              "g.b": drawn(6), "per_channel": drawn(6, 1, 1), "minus": np.array([-1], "int64"),
              "dense.w": drawn(5, 96), "dense.b": drawn(5)}
    return model_of(nodes, [info("x", ["batch", 3, 7, 8])], [info("y", ["batch", 5])], arrays)


def expected(proto: Any, *inputs: np.ndarray) -> np.ndarray:
    names = [i.name for i in proto.graph.input]
    return ReferenceEvaluator(proto).run(None, dict(zip(names, inputs)))[0]


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_a_network_computes_what_onnx_says(recorded: bool, batch: int) -> None:
    proto, x = network(), drawn(batch, 3, 7, 8)
    model = cg.onnx.load(proto)
    y = model(model.params, cg.tensor(x, requires_grad=recorded))
    assert y.requires_grad == recorded and y.shape == (batch, 5)
    if batch:
        np.testing.assert_allclose(y.numpy(), expected(proto, x), rtol=1e-4, atol=1e-4)


def test_parameters_are_nested_and_filters_native() -> None:
    params = cg.onnx.load(network()).params
    assert {name: sorted(value) for name, value in params.items() if isinstance(value, dict)} == {
        "a": ["b", "w"], "b": ["w"], "bn": ["offset", "scale"], "g": ["b", "w"], "dense": ["b", "w"]}
    assert params["a"]["w"].shape == (3, 3, 3, 4) and params["g"]["w"].shape == (1, 1, 2, 6)


def test_names_that_are_in_each_others_way_are_kept_whole() -> None:
    names = ["a", "a.b", "a/b", "c.", "d.e"]
    nodes = [helper.make_node("Sum", names, ["y"])]
    model = cg.onnx.load(model_of(nodes, [], [info("y", [1])], {name: drawn(1) for name in names}))
    assert set(model.params) == {"a", "a.b", "a/b", "c.", "d"} and set(model.params["d"]) == {"e"}
    assert model(model.params).shape == (1,)


def test_inference_computes_normalisation_with_the_convolution() -> None:
    model, ops = cg.onnx.load(network()), []
    from convgpu import autograd
    before = autograd.set_watcher(lambda op, *rest: ops.append(op.name))
    try:
        x = drawn(1, 3, 7, 8)
        model(model.params, x).numpy()
        ops.clear()
        model(model.params, x).numpy()
    finally:
        autograd.set_watcher(before)
    assert ops.count("conv_norm") == 1 and not {"norm_infer", "activate", "add", "divide", "norm_fold"} & set(ops)
    assert ops.count("transpose") == 3  # images come in once and go out once; a factor for each channel is turned


def test_other_parameters_are_folded_anew() -> None:
    """What is kept of the parameters at one call serves no others at the next."""
    model, x = cg.onnx.load(network()), drawn(2, 3, 7, 8)
    first = model(model.params, x).numpy()
    params = cg.tree.map(lambda t: t * 1.5, model.params)
    recorded = model(params, cg.tensor(x, requires_grad=True)).numpy()
    np.testing.assert_allclose(model(params, x).numpy(), recorded, rtol=1e-4, atol=1e-4)
    assert not np.allclose(first, recorded, rtol=1e-3)
    np.testing.assert_array_equal(model(model.params, x).numpy(), first)
    params["bn"]["scale"].assign(params["bn"]["scale"] * 2)
    recorded = model(params, cg.tensor(x, requires_grad=True)).numpy()
    np.testing.assert_allclose(model(params, x).numpy(), recorded, rtol=1e-4, atol=1e-4)


def test_gradients_are_those_of_differences() -> None:
    model = cg.onnx.load(network())
    params = cg.tree.map(lambda t: t.astype("float64"), model.params)
    x = cg.tensor(drawn(2, 3, 7, 8), dtype="float64")
    target = cg.tensor(drawn(2, 5), dtype="float64")

    def loss(params: Any) -> Any:
        return cg.mse_loss(model(params, x), target)

    value, gradients = cg.value_and_grad(loss)(params)
    leaves, found = cg.tree.leaves(params), cg.tree.leaves(gradients)
    for leaf, gradient in zip(leaves, found):
        direction = RNG.standard_normal(leaf.shape)
        step = 1e-6

        def moved(sign: int, leaf: Any = leaf, direction: Any = direction, step: float = step) -> float:
            return loss(cg.tree.map(lambda t: t + sign * step * direction if t is leaf else t, params)).item()

        slope = (moved(1) - moved(-1)) / (2 * step)
        assert abs((gradient.numpy() * direction).sum() - slope) < 1e-5 * max(1, abs(slope))


def test_the_ledger_takes_a_model() -> None:
    model = cg.onnx.load(network())
    found = cg.ledger(model, model.params, cg.spec((4, 3, 7, 8)), device="H200")
    assert not found.waits
    assert sum(row.flops for row in found.rows if row.op.startswith("conv")) > 0
    step = cg.value_and_grad(lambda params, x: cg.numpy.sum(model(params, x)))
    assert "conv_wgrad" in {row.op for row in cg.ledger(step, model.params, cg.spec((4, 3, 7, 8)), device="H200").rows}


def test_inputs_are_compared_with_the_file() -> None:
    model = cg.onnx.load(network())
    with pytest.raises(TypeError, match="expected 1 inputs, x, got 0"):
        model(model.params)
    with pytest.raises(TypeError, match="expected float32 for input 'x', got int64"):
        model(model.params, np.zeros((1, 3, 7, 8), "int64"))
    with pytest.raises(ValueError, match=r"expected shape \(batch, 3, 7, 8\) for input 'x', got \(1, 3, 7, 9\)"):
        model(model.params, drawn(1, 3, 7, 9))
    with pytest.raises(ValueError, match="params like model.params, with a > w"):
        model({}, drawn(1, 3, 7, 8))
    same = cg.onnx.load(model_of([helper.make_node("Add", ["x", "z"], ["y"])], [info("x", ["n"]), info("z", ["n"])],
                                 [info("y", ["n"])]))
    with pytest.raises(ValueError, match="expected one size for 'n', got 2 and 3, the latter of input 'z'"):
        same({}, drawn(2), drawn(3))


# --- quantised operators


@pytest.mark.parametrize("groups", [1, 2])
def test_sums_of_integers_are_exact(groups: int) -> None:
    """More than 2^24 in a sum, which float32 would round."""
    x = RNG.integers(200, 256, (2, 600 * groups, 5, 4), dtype=np.uint8)
    w = RNG.integers(100, 128, (3 * groups, 600, 3, 2), dtype=np.int8)
    node = helper.make_node("ConvInteger", ["x", "w", "xz", "wz"], ["y"], group=groups, strides=[2, 1],
                            pads=[1, 0, 0, 1], dilations=[1, 2])
    proto = model_of([node], [info("x", x.shape, TensorProto.UINT8)], [info("y", None, TensorProto.INT32)],
                     {"w": w, "xz": np.uint8(3), "wz": np.int8(-2)})
    y = cg.onnx.load(proto)({}, x).numpy()
    wide = np.pad(x.astype("int64") - 3, ((0, 0), (0, 0), (1, 0), (0, 1)))
    reference = np.zeros(y.shape, "int64")
    for n, k, p, q in np.ndindex(*y.shape):
        part = wide[n, k // 3 * 600:k // 3 * 600 + 600, 2 * p:2 * p + 3, q:q + 3:2]
        reference[n, k, p, q] = (part * (w[k].astype("int64") + 2)).sum()
    assert y.dtype == np.int32 and reference.max() > 2**24
    np.testing.assert_array_equal(y, reference)


# --- refusals


def test_a_refusal_names_node_operator_and_opset() -> None:
    strange = model_of([helper.make_node("NonMaxSuppression", ["x", "z"], ["y"], name="boxes")],
                       [info("x", [1, 2, 4]), info("z", [1, 1, 2])], [info("y", [None, 3], TensorProto.INT64)])
    with pytest.raises(NotImplementedError, match=r"node 'boxes' \(NonMaxSuppression, opset 21\)"):
        cg.onnx.load(strange)
    for opset in (5, onnx.defs.onnx_opset_version() + 1):
        late = model_of([helper.make_node("Add", ["x", "x"], ["y"], name="sum")], [info("x", [1])], [info("y", [1])],
                        opset=opset)
        with pytest.raises(NotImplementedError, match=rf"expected opset 6 to \d+, got node 'sum' \(Add, opset {opset}"):
            cg.onnx.load(late)


def _bad_graphs() -> dict[str, tuple[Any, str]]:
    n, x, y = helper.make_node, info("x", [2, 2]), info("y", [2, 2])
    lengthy = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 31, 1 << 31], raw_data=b"1234")
    negative = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[-1], raw_data=b"1234")
    huge = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 62, 1 << 62, 0])
    short = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2, 2], float_data=[1.0])

    def with_tensor(tensor: Any) -> Any:
        proto = model_of([n("Add", ["x", "w"], ["y"])], [x], [y])
        proto.graph.initializer.append(tensor)
        return proto

    constant = model_of([n("Constant", [], ["y"], value=lengthy)], [], [y])
    return {
        "cycle": (model_of([n("Add", ["x", "b"], ["y"]), n("Relu", ["y"], ["b"])], [x], [y]), "later"),
        "missing": (model_of([n("Add", ["x", "nobody"], ["y"])], [x], [y]), "'nobody', which nobody makes"),
        "output": (model_of([n("Relu", ["x"], ["z"])], [x], [y]), "outputs that nodes make"),
        "twice": (model_of([n("Relu", ["x"], ["y"]), n("Relu", ["x"], ["y"])], [x], [y]), "once"),
        "types": (model_of([n("Add", ["x", "z"], ["y"])], [x, info("z", [2, 2], TensorProto.INT64)], [y]), "valid"),
        "shapes": (model_of([n("MatMul", ["x", "z"], ["y"])], [x, info("z", [3, 2])], [y]), "valid"),
        "attribute": (model_of([n("Concat", ["x", "x"], ["y"], axis="a")], [x], [y]), "valid"),
        "no attribute": (model_of([n("Concat", ["x", "x"], ["y"])], [x], [y]), "valid"),
        "inputs": (model_of([n("Relu", ["x", "x", "x"], ["y"])], [x], [y]), "valid"),
        "long": (with_tensor(lengthy), "expected 18446744073709551616 bytes|at most 2"),
        "negative": (with_tensor(negative), "at least 0"),
        "huge": (with_tensor(huge), r"at most 2\^63"),
        "short": (with_tensor(short), "expected 16 bytes for float32"),
        "constant": (constant, "expected|at most"),
        "nothing": (onnx.ModelProto(), "output"),
    }


@pytest.mark.parametrize("name", list(_bad_graphs()))
def test_bad_graphs_are_refused(name: str) -> None:
    proto, message = _bad_graphs()[name]
    with pytest.raises(ValueError, match=message):
        cg.onnx.load(proto)


def test_a_few_numbers_make_no_tensor_larger_than_the_memory() -> None:
    many = {"s": np.array([1 << 50], "int64")}
    made = cg.onnx.load(model_of([helper.make_node("ConstantOfShape", ["s"], ["y"])], [], [info("y", None)], many))
    grown = cg.onnx.load(model_of([helper.make_node("Expand", ["x", "s"], ["y"])], [info("x", [1])], [info("y", None)],
                                  many))
    for model, inputs in ((made, []), (grown, [drawn(1)])):
        with pytest.raises(ValueError, match="expected a result of at most .* at node 'y'"):
            model(model.params, *inputs)


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    whole = network().SerializeToString()
    for length in (1, 10, len(whole) // 2, len(whole) - 1):
        path = tmp_path / "short.onnx"
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="truncated|expected"):
            cg.onnx.load(path)
    with pytest.raises(FileNotFoundError):
        cg.onnx.load(tmp_path / "none.onnx")
    with pytest.raises(TypeError, match="expected a path or an onnx.ModelProto, got bytes"):
        cg.onnx.load(whole)


# --- external data


def external(folder: Path, **changes: Any) -> Path:
    """A model x + w whose w lies in w.bin."""
    folder.mkdir(exist_ok=True)
    proto = model_of([helper.make_node("Add", ["x", "w"], ["y"])], [info("x", [3])], [info("y", [3])])
    w = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": "w.bin", "offset": 4, "length": 12, **changes}.items():
        w.external_data.add(key=key, value=str(value))
    proto.graph.initializer.append(w)
    (folder / "w.bin").write_bytes(np.arange(4, dtype="float32").tobytes())
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    return folder / "model.onnx"


def test_external_data_is_read(tmp_path: Path) -> None:
    model = cg.onnx.load(external(tmp_path))
    assert model(model.params, np.zeros(3, "float32")).tolist() == [1, 2, 3]


@pytest.mark.parametrize("changes", [
    {"location": "../w.bin"}, {"location": "a/../../w.bin"}, {"location": "/etc/passwd"}, {"location": ""},
    {"location": "..\\w.bin"}, {"location": "C:\\w.bin"}, {"location": "none.bin"}, {"location": "."},
    {"offset": 8}, {"offset": -4}, {"offset": 1 << 62}, {"length": 8}, {"length": 1 << 40}, {"offset": "x"},
], ids=str)
def test_external_data_stays_inside_folder_and_file(tmp_path: Path, changes: dict[str, Any]) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 16)
    with pytest.raises(ValueError, match="tensor 'w'"):
        cg.onnx.load(external(tmp_path / "inner", **changes))


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="there are no symbolic links here")
def test_symbolic_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "w.bin").write_bytes(b"\0" * 16)
    folder = external(tmp_path / "inner", location="link/w.bin").parent
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(ValueError, match="no symbolic link"):
        cg.onnx.load(folder / "model.onnx")
    path = external(tmp_path / "other", location="linked.bin")
    (path.parent / "linked.bin").symlink_to(tmp_path / "secret" / "w.bin")
    with pytest.raises(ValueError, match="no symbolic link"):
        cg.onnx.load(path)


def test_a_proto_has_no_external_data(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a path, since tensor 'w' is external data"):
        cg.onnx.load(onnx.load(external(tmp_path), load_external_data=False))


# --- the extra


def test_without_the_package_an_error_names_the_command() -> None:
    code = "import sys; sys.modules['onnx'] = None\nimport convgpu as cg\ncg.onnx"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == (
        'ImportError: convgpu.onnx needs the package onnx: pip install "convgpu[onnx]"')


def test_it_is_imported_when_it_is_asked_for() -> None:
    code = "import sys, convgpu as cg; assert 'onnx' not in sys.modules; cg.onnx.load; assert 'onnx' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- nodes that are computed together


def _of_channels(shape: Any, order: str) -> Any:
    n = helper.make_node
    nodes = [n("BatchNormalization", ["x", "scale", "offset", "mean", "var"], ["b"])]
    for i, op in enumerate(order):
        nodes.append(n({"m": "Mul", "a": "Add"}[op], [f"v{i}", "b" if not i else f"y{i - 1}"], [f"y{i}"]))
    arrays = {"scale": drawn(4), "offset": drawn(4), "mean": drawn(4), "var": np.abs(drawn(4)) + 1,
              **{f"v{i}": drawn(*shape) for i in range(len(order))}}
    return model_of(nodes, [info("x", [2, 4, 5, 3])], [info(f"y{len(order) - 1}", [2, 4, 5, 3])], arrays)


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1), (1, 1, 1), (3,), (2, 4, 5, 3), (4, 1, 3)], ids=str)
@pytest.mark.parametrize("order", ["ma", "am", "m", "a", "mam", "mm"])
def test_factors_after_a_normalisation(shape: tuple[int, ...], order: str) -> None:
    proto, x = _of_channels(shape, order), drawn(2, 4, 5, 3)
    model = cg.onnx.load(proto)
    np.testing.assert_allclose(model(model.params, x).numpy(), expected(proto, x), rtol=1e-4, atol=1e-5)
    y = model(model.params, cg.tensor(x, requires_grad=True))
    np.testing.assert_allclose(y.numpy(), expected(proto, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("first, last", [
    ([2, 3, 2, 5, 7], [2, 6, 5, 7]), ([2, 2, 3, 5, 7], [2, -1, 5, 7]), ([0, 3, 2, 5, 7], [0, 6, 5, 7]),
    ([2, 3, 2, -1, 7], [2, 6, 7, 5]), ([2, 3, 2, 7, 5], [2, 6, 5, 7]), ([2, 6, 1, 5, 7], [2, 6, 5, 7]),
    ([1, 4, 3, 5, 7], [2, 6, 5, 7]),
], ids=str)
def test_channel_shuffles(first: list[int], last: list[int]) -> None:
    n = helper.make_node
    nodes = [n("Relu", ["x"], ["r"]), n("Reshape", ["r", "first"], ["a"]), n("Transpose", ["a"], ["b"],
                                                                              perm=[0, 2, 1, 3, 4]),
             n("Reshape", ["b", "last"], ["c"]), n("Conv", ["c", "w"], ["y"])]
    channels = 6
    proto = model_of(nodes, [info("x", [2, 6, 5, 7])], [info("y", None)],
                     {"first": np.array(first), "last": np.array(last), "w": drawn(2, channels, 1, 1)})
    x = drawn(2, 6, 5, 7)
    try:
        reference = expected(proto, x)
    except ValueError:  # a 0 that copies another size than the one that is meant
        with pytest.raises(ValueError, match="as many elements|valid"):
            model = cg.onnx.load(proto)
            model(model.params, x)
        return
    model = cg.onnx.load(proto)
    np.testing.assert_allclose(model(model.params, x).numpy(), reference, rtol=1e-5, atol=1e-5)
