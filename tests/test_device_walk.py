"""Device "gpu": a walk over the namespace, the layers, the optimizers and a training run, equal to the CPU's."""

from __future__ import annotations

from typing import Any

import namespace_calls
import numpy as np
import pytest
from gpu_device import assert_same, gpu, on_gpu, quiet  # noqa: F401 - fixtures
from test_namespace import differentiated
from test_optim import OPTIMIZERS, gradients, parameters

import convgpu as cg
import convgpu.numpy as cnp
from convgpu import Tensor, cli
from convgpu.dtypes import as_dtype, is_float
from convgpu.examples import lenet5
from convgpu.examples.data import Dataset, Scaling

DTYPES = ("float64", "float32", "float16", "bfloat16")
pytestmark = pytest.mark.usefixtures("quiet")


def with_gradients(f: Any, xs: list[np.ndarray], where: str) -> tuple[Any, list[Tensor | None]]:
    """f at tensors on a device, and the gradients of a weighted sum of its floating results."""
    inputs = [cg.tensor(x, device=where, requires_grad=True) for x in xs]
    result = f(*inputs)
    ys = [y for y in (result if isinstance(result, (list, tuple)) else [result])
          if isinstance(y, Tensor) and y.requires_grad]
    rng = np.random.default_rng(3)
    for y in ys:
        weights = cg.tensor(rng.uniform(0.5, 1.0, y.shape).astype(y.dtype), device=where)
        (y * weights).sum().backward(retain_graph=True)
    return result, [x.grad for x in inputs]


# --- the walk

NAMESPACE = [pytest.param(name, call, id=f"{name}-{i}") for name, calls in namespace_calls.CALLS.items()
             for i, call in enumerate(calls) if name != "arange"]  # which is made of nothing


@pytest.mark.parametrize(("name", "call"), NAMESPACE)
def test_the_namespace(gpu, name, call):  # noqa: F811
    function = getattr(cnp, name)
    expected = function(*[[cg.tensor(v) for v in a] if isinstance(a, list) and isinstance(a[0], np.ndarray)
                          else cg.tensor(a) if isinstance(a, np.ndarray) else a for a in call.args], **call.options)
    options = {k: on_gpu(v) for k, v in call.options.items()}
    assert_same(function(*map(on_gpu, call.args), **options), expected)


def without_gradient_on_gpu(value: Any) -> Any:
    """What `differentiated` leaves where it is: arrays of integers and booleans."""
    if isinstance(value, list):
        return [without_gradient_on_gpu(v) for v in value]
    return on_gpu(value) if isinstance(value, np.ndarray) and value.dtype != np.float64 else value


@pytest.mark.parametrize(("name", "call"), [p for p in NAMESPACE if p.values[1].grad and differentiated(*p.values)[1]])
def test_gradients_of_the_namespace(gpu, name, call):  # noqa: F811
    f, arrays = differentiated(name, call)
    _, expected = with_gradients(f, arrays, "cpu")

    def g(*xs: Tensor) -> Any:
        moved = namespace_calls.Call(*map(without_gradient_on_gpu, call.args),
                                     **{k: on_gpu(v) for k, v in call.options.items()})
        return differentiated(name, moved)[0](*xs)

    _, got = with_gradients(g, arrays, "gpu")
    assert_same([d for d in got if d is not None], [d for d in expected if d is not None])


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


IMAGES, VECTORS = normal(2, 5, 6, 3), normal(4, 6)
LABELS = np.array([0, 5, 2, 2])
LAYERS: dict[str, tuple[Any, list[np.ndarray]]] = {
    **{name: (getattr(cg, name), [VECTORS * 3]) for name in (
        "relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "sigmoid", "softplus", "hard_sigmoid",
        "hard_tanh", "tanh", "softmax", "log_softmax", "logsumexp", "exp")},
    "gelu approximate": (lambda x: cg.gelu(x, approximate=True), [VECTORS]),
    "leaky_relu by condition": (lambda x: cg.leaky_relu(x, -0.5), [VECTORS]),
    "max_pool": (lambda x: cg.max_pool(x, 3, stride=2, padding=1), [IMAGES]),
    "avg_pool": (lambda x: cg.avg_pool(x, 2), [IMAGES]),
    "global pooling": (lambda x: cg.global_avg_pool(x) + cg.global_max_pool(x), [IMAGES]),
    "adaptive_avg_pool": (lambda x: cg.adaptive_avg_pool(x, 2, data_format="channels_first"), [IMAGES]),
    "conv": (lambda x, w, b: cg.conv(x, w, b, stride=(2, 1), padding=1, activation="relu"),
             [IMAGES, normal(3, 2, 3, 4) / 4, normal(4)]),
    "conv channels_first": (lambda x, w: cg.conv(x, w, dilation=2, data_format="channels_first"),
                            [normal(2, 3, 6, 6), normal(4, 3, 2, 2)]),
    "conv_transpose": (lambda x, w: cg.conv_transpose(x, w, stride=2), [IMAGES, normal(2, 2, 4, 3)]),
    "depthwise_conv": (lambda x, w: cg.depthwise_conv(x, w, padding="same"), [IMAGES, normal(3, 3, 3, 2)]),
    "linear": (lambda x, w, b: cg.linear(x, w, b, activation="tanh"), [VECTORS, normal(6, 3), normal(3)]),
    "gemm": (lambda a, b, c: cg.gemm(a, b, c, alpha=0.5, beta=2.0, trans_a=True), [VECTORS, normal(4, 3), normal(3)]),
    "batch_norm": (lambda x, s, o: cg.batch_norm(x, cg.zeros(3, dtype=x.dtype, device=x.device),
                                                 cg.ones(3, dtype=x.dtype, device=x.device), s, o, training=True)[0],
                   [IMAGES, normal(3), normal(3)]),
    "layer_norm": (lambda x, s, o: cg.layer_norm(x, s, o), [VECTORS, normal(6), normal(6)]),
    "group_norm": (lambda x: cg.group_norm(x, 3), [IMAGES]),
    "local_response_norm": (lambda x: cg.local_response_norm(x, 3, alpha=1.0), [IMAGES]),
    "cross_entropy": (lambda x: cg.cross_entropy(x, cg.tensor(LABELS, device=x.device), label_smoothing=0.1),
                      [VECTORS]),
    "dense cross_entropy": (lambda x, t: cg.cross_entropy(x, t, reduction="none"), [VECTORS, np.abs(normal(4, 6))]),
    "binary_cross_entropy": (cg.binary_cross_entropy, [VECTORS, 0.5 * np.abs(np.tanh(VECTORS))]),
    "binary_cross_entropy of probabilities": (lambda p, t: cg.binary_cross_entropy(p, t, from_logits=False),
                                              [0.1 + 0.8 / (1 + np.exp(VECTORS)), 0.5 * np.abs(np.tanh(VECTORS))]),
    "mse_loss": (cg.mse_loss, [VECTORS, normal(4, 6, seed=1)]),
    "huber_loss": (lambda x, t: cg.huber_loss(x, t, reduction="sum"), [VECTORS, normal(4, 6, seed=1)]),
    "embedding": (lambda t: cg.embedding(cg.tensor(LABELS, device=t.device), t), [normal(6, 3)]),
    "dropout": (lambda x: cg.dropout(x, 0.4, generator=5), [VECTORS]),
    "arithmetic": (lambda x, y: (0.1 * x + y / 3 - 2) ** 2 * np.float32(0.5).astype(x.dtype), [VECTORS, VECTORS + 1]),
    "comparisons": (lambda x: cnp.where(x > 0.25, x, 0.0) + cnp.maximum(x, 0.5) + cnp.clip(x, -1, 1), [VECTORS]),
    "extremes": (lambda x: [x.max(0), x.min(1), cnp.sort(x, 1), cnp.median(x), x.argmax(1)], [VECTORS]),
    "moments": (lambda x: [x.sum(0), x.mean(), cnp.var(x, 1), cnp.std(x), cnp.linalg.norm(x), cnp.prod(x, 0)],
                [VECTORS]),
    "triangles": (lambda x: [cnp.tril(x), cnp.triu(x, 1), cnp.round(x, 1), cnp.pad(x, 1), cnp.roll(x, 2, 1)],
                  [VECTORS]),
    "linalg": (lambda x: [cnp.linalg.det(x @ x.T), cnp.linalg.inv(x @ x.T), cnp.linalg.cholesky(x @ x.T),
                          cnp.linalg.solve(x @ x.T, x), cnp.linalg.slogdet(x @ x.T)[1]], [VECTORS + 2 * np.eye(4, 6)]),
    "indices": (lambda x: [x[[0, 0, 3]], x[1:, ::2], x[:, None, -1], x[..., [1, 1, 2]], x.at[[1, 1]].set(2.0 * x[:2]),
                           x.at[[1, 1, 0]].add(x[:3]), x.at[:2].set(0.0)], [VECTORS]),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_and_their_gradients(gpu, name, dtype):  # noqa: F811
    f, arrays = LAYERS[name]
    arrays = [a.astype(as_dtype(dtype)) for a in arrays]
    expected, expected_gradients = with_gradients(f, arrays, "cpu")
    got, got_gradients = with_gradients(f, arrays, "gpu")
    units = 64 if dtype in ("float64", "float32") else 4
    assert_same(got, expected, units)
    assert_same([g for g in got_gradients if g is not None], [g for g in expected_gradients if g is not None], units)
    assert [g is None for g in got_gradients] == [g is None for g in expected_gradients]


@pytest.mark.parametrize("other", ["bool", "int8", "int16", "int64", "float16", "float32", "float64"])
def test_what_bfloat16_is_promoted_to(gpu, other):  # noqa: F811
    x, y = VECTORS.astype(as_dtype("bfloat16")), (np.abs(VECTORS) * 3).astype(other)
    results = [cg.tensor(x, device=where) + cg.tensor(y, device=where) for where in ("cpu", "gpu")]
    assert_same(results[1], results[0], units=2)


def test_gradients_of_second_order(gpu):  # noqa: F811
    for f, *xs in ((cg.tanh, VECTORS), (lambda x: cg.avg_pool(x, 2), IMAGES[:1]), (cg.linear, VECTORS, normal(6, 2))):
        cg.check_grad(f, *[cg.tensor(x, device="gpu") for x in xs], order=2)


@pytest.mark.parametrize("dtype", [*DTYPES, "int64", "bool"])
def test_new_tensors(gpu, dtype):  # noqa: F811
    for new in (lambda **o: cg.zeros((2, 3), **o), lambda **o: cg.full(3, 2, **o), lambda **o: cg.ones((), **o),
                lambda **o: cg.arange(5, **o), lambda **o: cg.eye(2, 3, **o)):
        assert_same(new(dtype=dtype, device="gpu:0"), new(dtype=dtype), units=0)
    if is_float(as_dtype(dtype)):
        for random in (cg.randn, cg.uniform, cg.he_normal, cg.glorot_uniform):
            expected = random((3, 4), generator=1, dtype=dtype)
            assert_same(random((3, 4), generator=1, dtype=dtype, device="gpu"), expected, units=0)
    like = cg.zeros((2, 2), dtype=dtype, device="gpu")
    for made in (cg.zeros_like(like), cg.ones_like(like), cg.full_like(like, 1), cnp.full_like(like, 1),
                 cnp.zeros_like(like), cg.tensor(like)):
        assert made.device == "gpu" and made.dtype == like.dtype


def test_one_hot_and_labels(gpu):  # noqa: F811
    labels = cg.tensor(LABELS, device="gpu")
    assert_same(cg.one_hot(labels, 6), cg.one_hot(LABELS, 6))
    with pytest.raises(ValueError, match=r"one_hot: expected labels in \[0, 5\), got others"):
        cg.one_hot(labels, 5).numpy()  # the flag of a call is read with values
    with pytest.raises(ValueError, match=r"expected probabilities in \[0, 1\], got 1.5"):
        cg.binary_cross_entropy(cg.tensor([0.5, 1.5], device="gpu"), cg.zeros(2, device="gpu"), from_logits=False)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(gpu, name, dtype):  # noqa: F811
    results = []
    for where in ("cpu", "gpu"):
        optimizer = OPTIMIZERS[name]()
        params = cg.tree.map(lambda p, where=where: p.to(where), parameters(dtype))
        for step in range(3):
            grads = cg.tree.map(lambda g, where=where: g.to(where), gradients(step, dtype))
            params = optimizer.step(params, grads)
            if step == 1:  # what it remembers travels through the host
                state, optimizer = optimizer.state_dict(), OPTIMIZERS[name]()
                optimizer.load_state_dict(state)
        results.append(cg.tree.leaves(params))
    assert_same(results[1], results[0])


def digits(count: int) -> Dataset:
    x = np.random.default_rng(0).random((count, 16, 16, 1), np.float32)
    y = np.arange(count) % 3
    return Dataset(x, y, x[:6], y[:6], ("a", "b", "c"), Scaling(0.0, 1.0, 0.0, 1.0, None, None), "noise")


def test_a_run_of_training(gpu):  # noqa: F811
    runs = []
    for where in ("cpu", "gpu"):
        run = lenet5.Training(digits(16), batch_size=8, device=where)
        run.begin_epoch()
        run.step()
        run.step()
        runs.append(run)
    assert_same(cg.tree.leaves(runs[1].params), cg.tree.leaves(runs[0].params), units=2e4)  # Adam: small / small
    assert runs[1].loss_sum == pytest.approx(runs[0].loss_sum, rel=1e-5)
    entry = runs[1].end_epoch()
    assert entry["epoch"] == 1 and 0 <= entry["test_accuracy"] <= 1


def test_the_command(gpu, tmp_path, capsys):  # noqa: F811
    for module in ("tqdm", "safetensors", "matplotlib"):
        pytest.importorskip(module)
    data = digits(24)
    np.savez(tmp_path / "data.npz", x_train=data.x_train, y_train=data.y_train, x_test=data.x_test, y_test=data.y_test)
    command = ["train", "--data", str(tmp_path / "data.npz"), "--out", str(tmp_path / "run"), "--device", "gpu"]
    assert cli.main([*command, "--epochs", "1"]) == 0
    assert "Computing on the GPU (" in capsys.readouterr().out
    assert cli.main([*command, "--epochs", "2", "--resume"]) == 0
