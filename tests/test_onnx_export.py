"""convgpu.onnx.export: functions as ONNX models, which onnxruntime computes, and which come back the same."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason='needs the package onnx: pip install "convgpu[onnx]"')
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the package onnxruntime")

import convgpu as cg  # noqa: E402
import convgpu.numpy as cnp  # noqa: E402
from convgpu.architectures import lenet5  # noqa: E402

RNG = np.random.default_rng(3)


def drawn(*shape: int) -> cg.Tensor:
    return cg.tensor(RNG.standard_normal(shape).astype("float32"))


def run(model: Any, *inputs: Any) -> list[np.ndarray]:
    """What onnxruntime makes of a model, or of its file."""
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    return session.run(None, {i.name: np.asarray(x) for i, x in zip(session.get_inputs(), inputs)})


def agree(f: Any, params: Any, *inputs: Any, tolerance: float = 1e-5, **options: Any) -> Any:
    """Compare f, its model in onnxruntime, and its model read again; return the model."""
    model = cg.onnx.export(f, params, *inputs, **options)
    expected = cg.tree.leaves(f(params, *inputs))
    again = cg.onnx.load(model)
    got = again(again.params, *inputs)
    for y, theirs, ours in zip(expected, run(model, *inputs), got if isinstance(got, tuple) else (got,), strict=True):
        assert theirs.dtype == y.dtype and theirs.shape == y.shape
        scale = max(1.0, float(np.abs(y.numpy().astype("float64")).max(initial=0)))
        for z in (theirs, ours.numpy()):
            np.testing.assert_allclose(z.astype("float64"), y.numpy().astype("float64"), rtol=0, atol=tolerance * scale)
    return model


def kinds(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


# --- networks


def layer(f: int, c: int, k: int) -> dict[str, cg.Tensor]:
    return {"w": drawn(f, f, c, k) * (1 / np.float32(np.sqrt(f * f * c))), "scale": abs(drawn(k)) + 0.5,
            "offset": drawn(k), "mean": drawn(k), "var": abs(drawn(k)) + 1}


def normed(p: Any, y: Any) -> cg.Tensor:
    return cg.batch_norm(y, p["mean"], p["var"], p["scale"], p["offset"], training=False)[0]


def resnet18(params: Any, x: Any) -> cg.Tensor:
    """Blocks of two convolutions, with fewer channels than ResNet-18 has."""
    x = cg.relu(normed(params["stem"], cg.conv(x, params["stem"]["w"], stride=2, padding=3)))
    x = cg.max_pool(x, 3, stride=2, padding=1)
    for i, block in enumerate(params["blocks"]):
        stride = 2 if i in (2, 4, 6) else 1
        y = cg.relu(normed(block["a"], cg.conv(x, block["a"]["w"], stride=stride, padding=1)))
        y = normed(block["b"], cg.conv(y, block["b"]["w"], padding=1))
        if "shortcut" in block:
            x = normed(block["shortcut"], cg.conv(x, block["shortcut"]["w"], stride=stride))
        x = cg.relu(y + x)
    return cg.linear(cg.global_avg_pool(x), params["dense"]["w"], params["dense"]["b"])


def resnet18_params() -> Any:
    widths, channels, blocks = [8, 8, 12, 12, 16, 16, 24, 24], 8, []
    for width in widths:
        block = {"a": layer(3, channels, width), "b": layer(3, width, width)}
        if width != channels:
            block["shortcut"] = layer(1, channels, width)
        blocks.append(block)
        channels = width
    return {"stem": layer(7, 3, 8), "blocks": blocks, "dense": {"w": drawn(24, 10), "b": drawn(10)}}


def test_resnet18_in_the_order_of_onnx() -> None:
    model = agree(resnet18, resnet18_params(), drawn(2, 64, 64, 3), dynamic_batch=True)
    assert kinds(model).count("Conv") == 20 and kinds(model).count("BatchNormalization") == 20
    assert kinds(model).count("Transpose") <= 2  # one where the images come in, one before the product at most
    x = drawn(5, 64, 64, 3)
    assert run(model, x)[0].shape == (5, 10)
    assert [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == ["batch", 64, 64, 3]
    names = {t.name for t in model.graph.initializer}
    assert {"stem.w", "blocks.0.a.w", "dense.b"} <= names


def test_lenet() -> None:
    agree(lenet5.logits, lenet5.initial((28, 28, 1), 10), drawn(3, 28, 28, 1), dynamic_batch=True)


def mobilenet(params: Any, x: Any) -> cg.Tensor:
    """Depthwise and 1x1 convolutions, normalised and clipped to [0, 6], with Keras's padding."""
    for i, p in enumerate(params["blocks"]):
        x = cg.relu6(normed(p["depthwise"], cg.depthwise_conv(x, p["w"], stride=1 + i % 2, padding="same")))
        x = cg.relu6(normed(p["pointwise"], cg.conv(x, p["pointwise"]["w"])))
    return cg.softmax(cg.linear(cg.global_avg_pool(x), params["dense"]))


def test_mobilenet() -> None:
    widths = [3, 8, 12, 16, 24]
    blocks = [{"w": drawn(3, 3, a, 1) / 3, "depthwise": layer(1, a, a), "pointwise": layer(1, a, b)}
              for a, b in zip(widths, widths[1:])]
    model = agree(mobilenet, {"blocks": blocks, "dense": drawn(24, 7)}, drawn(2, 33, 31, 3), dynamic_batch=True)
    assert [a.i for n in model.graph.node if n.op_type == "Conv" for a in n.attribute if a.name == "group"] == [
        3, 1, 8, 1, 12, 1, 16, 1]


def transformer(params: Any, tokens: Any) -> cg.Tensor:
    """Two layers of attention with four heads, over embedded tokens."""
    x = params["embedding"][tokens] + params["positions"]
    n, t, d = x.shape
    for p in params["layers"]:
        h = cg.layer_norm(x, p["scale"], p["offset"])
        q, k, v = [cnp.transpose((h @ p[name]).reshape(n, t, 4, d // 4), (0, 2, 1, 3)) for name in "qkv"]
        scores = cnp.where(cnp.tril(cnp.ones((t, t), "bool")), q @ cnp.swapaxes(k, 2, 3) / float(np.sqrt(d // 4)), -1e9)
        mixed = cnp.transpose(cg.softmax(scores) @ v, (0, 2, 1, 3)).reshape(n, t, d)
        x = x + cg.linear(mixed, p["o"])
        x = x + cg.linear(cg.gelu(cg.linear(x, p["up"], p["b"])), p["down"])
    return x[:, -1] @ params["embedding"].transpose()


def test_transformer() -> None:
    d = 16
    layers = [{"scale": drawn(d), "offset": drawn(d), **{n: drawn(d, d) / 4 for n in "qkvo"}, "up": drawn(d, 4 * d) / 4,
               "b": drawn(4 * d), "down": drawn(4 * d, d) / 8} for _ in range(2)]
    params = {"embedding": drawn(11, d), "positions": drawn(6, d), "layers": layers}
    model = agree(transformer, params, RNG.integers(0, 11, (3, 6)))
    assert {"LayerNormalization", "Gelu", "Gather", "Softmax"} <= set(kinds(model))


# --- ops, each in several forms

X4, X3 = (2, 5, 6, 4), (2, 7, 3)
W = drawn(3, 3, 4, 6)
CASES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "conv": (lambda x: cg.conv(x, W, drawn_bias(6), stride=(2, 1), padding=((1, 0), (0, 2)), activation="relu"), X4),
    "conv silu": (lambda x: cg.conv(x, W, dilation=2, padding="same", activation="silu"), X4),
    "conv first": (lambda x: cg.conv(x, np.ones((10, 1, 3, 2), "float32"), groups=5, data_format="channels_first",
                                     padding=1), X4),
    "depthwise": (lambda x: cg.depthwise_conv(x, np.ones((3, 3, 4, 2), "float32"), padding="same", stride=2), X4),
    "conv1d": (lambda x: cg.conv(x, np.ones((2, 3, 5), "float32"), padding="full"), X3),
    "conv_transpose": (lambda x: cg.conv_transpose(x, np.ones((3, 2, 5, 4), "float32"), stride=2, output_padding=1,
                                                   padding=1), X4),
    "max_pool": (lambda x: cg.max_pool(x, (2, 3), stride=2, padding=1, ceil_mode=True), X4),
    "avg_pool": (lambda x: cg.avg_pool(x, 3, stride=2, padding="same"), X4),
    "avg_pool with padding": (lambda x: cg.avg_pool(x, 2, padding=1, count_include_pad=True), X4),
    "lp_pool": (lambda x: cg.lp_pool(x, 2, 2), X4),
    "global max": (lambda x: cg.global_max_pool(x), X4),
    "group_norm": (lambda x: cg.group_norm(x, 2, W[0, 0, :, 0], W[0, 0, :, 1]), X4),
    "layer_norm": (lambda x: cg.layer_norm(x, axis=(-2, -1)), X4),
    "instance first": (lambda x: cg.group_norm(x, 5, data_format="channels_first"), X4),
    "batch": (lambda x: cg.batch_norm(x, cg.zeros(4), cg.ones(4), training=True)[0], X4),
    "batch of one channel": (lambda x: cg.batch_norm(x, cg.ones(1), cg.ones(1) * 2, training=False)[0], (2, 3, 4, 1)),
    "batch of features": (lambda x: cg.batch_norm(x, W[0, 0, :, 0], cg.ones(4), training=False)[0], (5, 4)),
    "lrn": (lambda x: cg.local_response_norm(x, 3), X4),
    "channel factors": (lambda x: cg.conv(x, W) * W[0, 0, 0] + W[0, :1, 0], X4),
    "reversed division": (lambda x: 1 / (2 + x * x), X3),
    "maximum": (lambda x: cnp.maximum(x, 0.5) - cnp.minimum(x, 0.25), X3),
    "power": (lambda x: (x * x + 1) ** 1.5, X3),
    "comparisons": (lambda x: cnp.where((x > 0) & (x <= 1) | (x != x), x, -x), X3),
    "clip": (lambda x: cnp.clip(x, -0.5, 0.75), X3),
    "erf": (lambda x: cg.gelu(x) + cg.gelu(x, approximate=True), X3),
    "activations": (lambda x: cg.elu(x, 0.5) + cg.selu(x) + cg.leaky_relu(x, 0.2) + cg.softplus(x) + cg.relu6(x)
                    + cg.hard_sigmoid(x) + cg.hard_tanh(x) + cg.silu(x) + cg.sigmoid(x) + cg.tanh(x), X3),
    "bits": (lambda x: ((x * 9).astype("int32") ^ 5, ~(x * 9).astype("int32"), ~(x > 0)), X3),
    "functions": (lambda x: cnp.exp(x) + cnp.log(x * x + 1) + cnp.sqrt(abs(x)) + cnp.expm1(x) + cnp.log1p(abs(x))
                  + cnp.exp2(x) + cnp.log2(abs(x) + 1) + cnp.log10(abs(x) + 1) + cnp.square(x), X3),
    "trigonometry": (lambda x: cnp.sin(x) + cnp.cos(x) + cnp.arctan(x) + cnp.sinh(x) + cnp.floor(x) + cnp.ceil(x)
                     + cnp.sign(x) + cnp.rint(x * 3) + cnp.reciprocal(x + 9), X3),
    "reductions": (lambda x: (cnp.sum(x, 1), cnp.mean(x, (0, 2), keepdims=True), cnp.max(x), cnp.min(x, -1),
                              cnp.var(x, 1), cnp.std(x, ddof=1), cg.logsumexp(x, 2), cnp.prod(x, 1)), X3),
    "reductions of images": (lambda x: (cnp.mean(cg.conv(x, W), (1, 2)), cnp.max(cg.conv(x, W), -1),
                                        cnp.sum(cg.conv(x, W), (0, 3))), X4),
    "places": (lambda x: (cnp.argmax(x, 1), cnp.argmin(x, -1, keepdims=True)), X3),
    "cumsum": (lambda x: cnp.cumsum(x, 1), X3),
    "softmax": (lambda x: cg.softmax(x, axis=1) + cg.log_softmax(x), X3),
    "products": (lambda x: cg.gemm(x[0], x[1], None, alpha=0.5, trans_b=True), X3),
    "einsum": (lambda x: cnp.einsum("nij,nkj->nik", x, x), X3),
    "linear": (lambda x: cg.linear(x, W[0, 0, :3], W[0, 0, 0], activation="tanh"), X3),
    "joined": (lambda x: cnp.concatenate([cg.conv(x, W), cg.conv(x, W)], -1), X4),
    "stacked": (lambda x: cnp.stack([x, x * 2], 1), X3),
    "split": (lambda x: tuple(cnp.split(x, [2, 3], 1)), X3),
    "pad": (lambda x: cnp.pad(x, ((0, 0), (1, 2), (0, 1)), constant_values=2), X3),
    "reflected": (lambda x: cnp.pad(x, ((0, 0), (2, 1), (0, 0)), mode="reflect"), X3),
    "indices": (lambda x: (x[:, 1:-1], x[..., 0], x[:, ::-2], x[:, None, -1], x[0, [2, 0, 2]], x[:, [[1], [3]]]), X3),
    "flipped": (lambda x: cnp.flip(x, 1) + cnp.flip(x), X3),
    "triangles": (lambda x: cnp.tril(x) + cnp.triu(x, 1), X3),
    "shapes": (lambda x: cnp.broadcast_to(cnp.transpose(x)[:, :, :1], (3, 7, 4)), X3),
    "casts": (lambda x: (x.astype("float64") * 2, (x * 3).astype("int32"), (x > 0).astype("float32")), X3),
    "mixed dtypes": (lambda x: x + cg.tensor(np.arange(3.0)), X3),
    "an input": (lambda x: (x, x, cg.ones(2)), X3),
}


def drawn_bias(n: int) -> np.ndarray:
    return np.linspace(-1, 1, n, dtype="float32")


@pytest.mark.parametrize("name", CASES)
def test_ops(name: str) -> None:
    f, shape = CASES[name]
    agree(lambda params, x: f(x), {}, drawn(*shape))


# --- what may go wrong


def test_values_that_leave_the_engine_are_refused() -> None:
    with pytest.raises(ValueError, match="expected constants that do not depend on the inputs, got 'constant'"):
        cg.onnx.export(lambda p, x: x * cg.tensor(x.numpy().mean()), {}, drawn(3))
    with pytest.raises(ValueError, match="runs the same ops with other values"):
        cg.onnx.export(lambda p, x: cg.relu(x) if x[0].item() > 1.2 else x + 1, {}, cg.tensor([1.5, 1.0]))
    with pytest.raises(ValueError, match="and another batch"):
        cg.onnx.export(lambda p, x: x / len(x), {}, drawn(3), dynamic_batch=True)


def test_ops_that_onnx_lacks_are_named() -> None:
    with pytest.raises(NotImplementedError, match="for the op 'solve' of float32"):
        cg.onnx.export(lambda p, x: cnp.linalg.solve(x, x), {}, cg.eye(3))


def test_structures_files_and_shared_parameters(tmp_path: Path) -> None:
    shared = drawn(3, 3)
    params = {"a": [shared, {"b": drawn(3)}], "c": shared, "unused": drawn(2)}

    def f(p: Any, x: Any, y: Any) -> Any:
        return {"z": x["one"] @ p["a"][0] + p["a"][1]["b"], "w": (y @ p["c"],)}

    path = tmp_path / "model.onnx"
    model = cg.onnx.export(f, params, {"one": drawn(2, 3)}, drawn(1, 3), path=path)
    names = [t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    assert names == ["c", "a.1.b"]  # the shared one is there once, and none that nobody reads
    assert onnx.load(path) == model
    x, y = drawn(2, 3), drawn(1, 3)
    expected = cg.tree.leaves(f(params, {"one": x}, y))
    for theirs, ours in zip(run(path, x, y), expected, strict=True):
        np.testing.assert_allclose(theirs, ours.numpy(), atol=1e-6)


def test_large_parameters_lie_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["convgpu.onnx.export"], "INLINE", 1000)
    w, x, path = drawn(40, 30), drawn(2, 40), tmp_path / "large.onnx"
    cg.onnx.export(lambda p, x: x @ p["w"], {"w": w}, x, path=path)
    assert (tmp_path / "large.onnx.data").stat().st_size >= w.nbytes
    model = cg.onnx.load(path)
    np.testing.assert_array_equal(model.params["w"].numpy(), w.numpy())
    np.testing.assert_allclose(run(path, x)[0], (x @ w).numpy(), rtol=1e-5)
