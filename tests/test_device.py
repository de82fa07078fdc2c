"""Device "gpu": a walk over the ops and their gradients, equal to the CPU's; what mixes and what does not; errors."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import subprocess
import sys
import threading
import types
import warnings
from typing import Any

import fake_cupy
import namespace_calls
import numpy as np
import pytest
from gpu_device import gpu, on_a_real_gpu, stand_in  # noqa: F401 - fixtures
from native_backends import CudaFromHost
from test_namespace import differentiated
from test_optim import OPTIMIZERS, gradients, parameters

import convgpu as cg
import convgpu.numpy as cnp
from convgpu import Tensor, backends, cli, device, info
from convgpu import gpu as gpu_module
from convgpu.cases.pool import CASES as POOL_CASES
from convgpu.cases.problems import FAMILIES
from convgpu.dtypes import accumulator, as_dtype, is_float
from convgpu.examples import lenet5
from convgpu.examples.data import Dataset, Scaling
from convgpu.ops.repeated import last_of_each, sums_at
from convgpu.verify import verify

DTYPES = ("float64", "float32", "float16", "bfloat16")
pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def quiet():
    """Special values warn on the CPU."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def on_gpu(value: Any) -> Any:
    """Arrays, Tensors and lists of them as Tensors on the GPU."""
    if isinstance(value, list) and value and isinstance(value[0], (np.ndarray, Tensor)):
        return [on_gpu(v) for v in value]
    return cg.tensor(value, device="gpu") if isinstance(value, (np.ndarray, Tensor)) else value


def assert_same(got: Any, expected: Any, units: float = 64) -> None:
    """Equal up to `units` roundings of the largest element; on the GPU, in shape and dtype as on the CPU."""
    if isinstance(expected, (list, tuple)):
        assert len(got) == len(expected)
        for g, e in zip(got, expected):
            assert_same(g, e, units)
        return
    if not isinstance(expected, Tensor):
        assert got == expected
        return
    assert (got.device, got.shape, got.dtype) == ("gpu", expected.shape, expected.dtype)
    if not is_float(expected.dtype):
        np.testing.assert_array_equal(got.numpy(), expected)
        return
    eps = 2.0**-8 if expected.dtype.name == "bfloat16" else float(np.finfo(expected.dtype).eps)
    units = 2 if accumulator(expected.dtype) != expected.dtype else units  # computed in float32, rounded once
    wide, exact = got.numpy().astype(np.float64), expected.numpy().astype(np.float64)
    finite = np.abs(exact)[np.isfinite(exact)]
    scale = float(finite.max()) if finite.size else 0.0
    np.testing.assert_allclose(wide, exact, rtol=units * eps, atol=units * eps * scale)


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
        "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "sigmoid", "softplus", "hard_sigmoid", "hard_tanh", "tanh",
        "softmax", "log_softmax", "logsumexp", "exp")},
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
    with pytest.raises(ValueError, match=r"one_hot: expected labels in \[0, 5\), got 5"):
        cg.one_hot(labels, 5)
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


# --- a Tensor there


def test_a_tensor_goes_and_comes_back(gpu):  # noqa: F811
    t = cg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    g = t.to("gpu")
    assert g.device == "gpu" and g.to("cuda:0") is g and (g * 2).to("cpu").device == "cpu"
    (g * g).sum().to("cpu").backward()
    assert t.grad.device == "cpu" and t.grad.tolist() == [[2, 4], [6, 8]]
    assert repr(cg.tensor([1.0], device="gpu")) == "Tensor([1.], dtype=float32, device='gpu')"
    assert g.tolist() == t.tolist() and g.numpy().tolist() == t.tolist() and not g.numpy().flags.writeable
    with pytest.raises(TypeError, match="a tensor on the GPU is not converted to NumPy in silence: use .numpy"):
        np.asarray(g)


def test_pythons_protocols(gpu):  # noqa: F811
    t = cg.tensor([0.0, 2.5], device="gpu")
    assert (t[1].item(), float(t[1]), int(t[1]), bool(t[0]), len(t), f"{t[1]:.1f}") == (2.5, 2.5, 2, False, 2, "2.5")
    assert 2.5 in t and 3 not in t and [x.item() for x in t] == [0.0, 2.5]
    assert [10, 20, 30][cg.tensor(1, device="gpu")] == 20
    u = pickle.loads(pickle.dumps(t.requires_grad_()))
    assert u.device == "gpu" and u.requires_grad and u.tolist() == t.tolist()
    assert copy.deepcopy(t).device == "gpu"
    before = t.array
    t.assign([1, 2])
    assert t.tolist() == [1.0, 2.0] and t.device == "gpu" and t.array is not before
    with pytest.raises(TypeError, match="Tensors are values"):
        t[0] = 1


def test_arrays_of_cupy_are_copied_in(gpu):  # noqa: F811
    cupy = sys.modules["cupy"]
    array = cupy.asarray(np.array([1.0, 2.0]))
    t = cg.tensor(array)
    assert (t.device, t.dtype) == ("gpu", np.float64)
    assert_same(cg.zeros(2, dtype="float64", device="gpu") + array, cg.tensor([1.0, 2.0], dtype="float64"))
    array[0] = 9
    assert t.tolist() == [1, 2]
    shared = cg.from_dlpack(t)
    assert shared.device == "gpu" and shared.tolist() == [1, 2]
    assert t.__dlpack_device__() == (2, 0)
    with pytest.raises(BufferError, match=r"expected dl_device \(2, 0\), where the tensor is"):
        t.__dlpack__(dl_device=(1, 0))


def test_no_grad_and_value_and_grad(gpu):  # noqa: F811
    x = cg.tensor([1.0, 2.0], device="gpu")
    value, gradient = cg.value_and_grad(lambda p: (p["w"] ** 2).sum())({"w": x})
    assert value.item() == 5 and gradient["w"].tolist() == [2, 4] and gradient["w"].device == "gpu"
    with cg.no_grad():
        assert not (x.requires_grad_() * 2).requires_grad
    unused = cg.tensor([1.0], device="gpu", requires_grad=True)
    assert cg.grad(x.sum(), unused).tolist() == [0] and cg.grad(x.sum(), unused).device == "gpu"


# --- indices


def test_of_several_values_for_one_element_the_last_stays(gpu):  # noqa: F811
    x = cg.zeros((3, 2), device="gpu", requires_grad=True)
    v = cg.tensor(np.arange(8.0, dtype=np.float32).reshape(4, 2), device="gpu", requires_grad=True)
    y = x.at[[2, 0, 2, -1]].set(v)
    assert y.tolist() == [[2, 3], [0, 0], [6, 7]]
    y.sum().backward()
    assert v.grad.tolist() == [[0, 0], [1, 1], [0, 0], [1, 1]] and x.grad.tolist() == [[0, 0], [1, 1], [0, 0]]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 40, 500])
@pytest.mark.parametrize("dtype", ["float64", "int64", "bool"])
def test_sums_of_many_equal_places(count, dtype):
    rng = np.random.default_rng(count)
    for size in (1, 3, 600):
        places, values = rng.integers(0, size, count), rng.integers(-9, 9, count).astype(dtype)
        expected = np.zeros(size, dtype)
        np.add.at(expected, places, values)
        np.testing.assert_array_equal(sums_at(places, values, size), expected)
        last = last_of_each(places)
        assert sorted(last) == sorted({place: i for i, place in enumerate(places.tolist())}.values())


def test_integers_are_added_exactly(gpu):  # noqa: F811
    x = cg.zeros(2, dtype="int64", device="gpu").at[[0, 0, 1]].add(cg.tensor([2**62, 1, 5], device="gpu"))
    assert x.tolist() == [2**62 + 1, 5]


def test_indices_beyond_the_end_raise(gpu):  # noqa: F811
    x = cg.zeros((2, 3, 4), device="gpu")
    outside = cg.tensor([0, 3], device="gpu")
    for index, axis in ((cg.tensor([2], device="gpu"), 0), ((slice(None), outside), 1), ((..., [0, 4]), 2),
                        ((None, [0, 2], 0), 0), ((..., outside, slice(None)), 1), ([-3], 0)):
        with pytest.raises(IndexError, match=rf"getitem: expected indices in \[-{x.shape[axis]}, .* axis {axis}"):
            x[index]
    with pytest.raises(IndexError):
        x.at[[2]].set(1.0)
    with pytest.raises(TypeError, match="expected an index on the device of x, gpu, got cpu"):
        x[cg.tensor([0])]
    assert x[cg.tensor(1)].shape == (3, 4) and x[x == 0].shape == (24,)


# --- what does not fit together


def test_devices_are_not_mixed(gpu):  # noqa: F811
    g, c = cg.ones(2, device="gpu"), cg.ones(2)
    with pytest.raises(TypeError, match="multiply: expected all tensors on one device, got gpu, cpu; move them with"):
        g * c
    with pytest.raises(TypeError, match="concatenate: expected all tensors on one device, got cpu, gpu"):
        cnp.concatenate([c, g])
    with pytest.raises(TypeError, match="add: expected all tensors on one device"):
        g + np.ones(2, np.float32)
    with pytest.raises(TypeError, match="gemm: expected all tensors on one device, got gpu, cpu"):
        cg.linear(g, cg.ones((2, 2)))
    assert_same(g * np.float64(2), cg.tensor([2.0, 2.0], dtype="float64"))  # a scalar of NumPy's keeps its dtype
    assert_same(g * 2 + 1.5, cg.tensor([3.5, 3.5]))
    with pytest.raises(TypeError, match="expected gradients on the device of their parameters, got cpu and gpu"):
        cg.optim.SGD(lr=1).step(g, c)


def test_the_tables_of_cases_reach_the_kernels_from_host_arrays(gpu):  # noqa: F811
    case = next(c for c in POOL_CASES if c.averages)
    geo, x = case.geometry(), case.input("float32")
    for got, expected in zip(CudaFromHost().max_pool(x, geo, True), backends.load("reference").max_pool(x, geo, True)):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_allclose(CudaFromHost().avg_pool(x, geo), backends.load("reference").avg_pool(x, geo), 1e-5, 1e-6)


def test_the_kernels_are_verified_there(gpu):  # noqa: F811
    report = verify("cuda", quick=True, cases=["channels_17_33", "depthwise_3x3_strided", "odd_31_5_63",
                                               "channels-24-disjoint", "2x67x5x15"])
    assert not report.failures and not report.absent
    rows = report.rows.values()
    assert {row.family for row in rows} == set(FAMILIES) and all(row.guards and row.repeats for row in rows)


def test_what_has_no_kernel_says_so(gpu):  # noqa: F811
    with pytest.raises(NotImplementedError, match="max_pool of int32 is not implemented on backend 'cuda'"):
        cg.max_pool(cg.zeros((1, 4, 4, 1), dtype="int32", device="gpu"), 2)


def test_a_second_gpu_is_refused(stand_in):  # noqa: F811
    for spelling in ("gpu:1", "cuda:7"):
        with pytest.raises(NotImplementedError, match="only the first GPU is supported"):
            cg.zeros(1, device=spelling)
    array = fake_cupy.ndarray(np.ones(2), index=1)
    for use in (cg.tensor, cg.from_dlpack):
        with pytest.raises(NotImplementedError, match="only the first GPU is supported, got CuPy's device 1"):
            use(array)
    stand_in.current = 1
    with pytest.raises(NotImplementedError, match="got CuPy's device 1"):
        cg.zeros(1, device="gpu")


def test_cupy_without_a_gpu(stand_in, monkeypatch):  # noqa: F811
    stand_in.gpus = 0
    with pytest.raises(RuntimeError, match=r"device 'gpu': CuPy \d+.* finds no GPU"):
        cg.zeros(1, device="gpu")

    def no_driver() -> int:
        raise fake_cupy.CUDARuntimeError("cudaErrorInsufficientDriver")

    monkeypatch.setattr(fake_cupy.runtime, "getDeviceCount", no_driver)
    with pytest.raises(RuntimeError, match="finds no usable GPU or driver .cudaErrorInsufficientDriver"):
        cg.zeros(1, device="gpu")
    monkeypatch.setattr(fake_cupy, "__version__", "13.6.0")
    with pytest.raises(ImportError, match="device 'gpu' needs CuPy 14 or later, got 13.6.0: pip install --upgrade"):
        cg.zeros(1, device="gpu")


@pytest.mark.skipif(info.driver() is not None, reason="there is a GPU")
def test_the_real_cupy_without_a_driver():
    pytest.importorskip("cupy")
    with pytest.raises(RuntimeError, match=r"device 'gpu': CuPy \d+.* finds no usable GPU or driver"):
        cg.zeros(1, device="gpu")


def test_plans_need_no_gpu(stand_in, monkeypatch):  # noqa: F811
    stand_in.gpus = 0
    monkeypatch.setattr(backends, "_loaded", {})
    native = backends.load("cuda")
    case = POOL_CASES[0].geometry()
    assert native.module.plan_pool("max_pool", native.geometry(case), "float32").startswith("max_pool_")
    with pytest.raises(RuntimeError, match="finds no GPU"):
        native.empty((1,), "float32")


def test_missing_kernels_say_how_to_build_them(stand_in, monkeypatch):  # noqa: F811
    monkeypatch.setattr(backends, "_loaded", {})
    monkeypatch.setitem(sys.modules, "convgpu._cuda", None)
    with pytest.raises(ImportError, match=r"backend 'cuda' needs the module convgpu._cuda, .*CONVGPU_CUDA=1 pip inst"):
        cg.max_pool(cg.zeros((1, 4, 4, 1), device="gpu"), 2)
    assert (cg.zeros(2, device="gpu") + 1).tolist() == [1, 1]


# --- memory


def test_when_memory_is_short_the_cache_is_freed_and_the_op_tried_again(stand_in):  # noqa: F811
    x = cg.ones(4, device="gpu")
    stand_in.failing_allocations = 1
    assert (x + 1).tolist() == [2, 2, 2, 2] and stand_in.frees == 1
    stand_in.failing_allocations = 2
    with pytest.raises(MemoryError, match=r"add: too little memory on the GPU \(Out of memory allocating 16 bytes"):
        x + 1
    assert stand_in.frees == 3 and (x + 1).tolist() == [2, 2, 2, 2]
    stand_in.failing_allocations = 2
    stand_in.shortage = fake_cupy.CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")
    with pytest.raises(MemoryError, match="add: too little memory on the GPU .cudaErrorMemoryAllocation"):
        x + 1
    stand_in.shortage = None
    stand_in.failing_allocations = 2
    with pytest.raises(MemoryError, match="max_pool: too little memory"):
        cg.max_pool(cg.Tensor(x.array.reshape(1, 2, 2, 1)), 2)
    stand_in.failing_allocations = 2
    with pytest.raises(MemoryError, match=r"to\('gpu'\): .*allocating 4,000 bytes"):
        cg.zeros(1000, device="gpu")


def test_an_optimizer_without_memory_leaves_its_state_alone(stand_in):  # noqa: F811
    adam, p, g = cg.optim.Adam(lr=0.1), cg.ones(3, device="gpu"), cg.ones(3, device="gpu")
    p = adam.step(p, g)
    before = adam.state_dict()["mean"].copy()
    stand_in.failing_allocations = 1
    with pytest.raises(MemoryError, match="Adam.step: too little memory on the GPU"):
        adam.step(p, g)
    np.testing.assert_array_equal(adam.state_dict()["mean"], before)


@on_a_real_gpu
def test_more_memory_than_there_is():
    x = cg.zeros(1, device="gpu")
    with pytest.raises(MemoryError, match="add: too little memory on the GPU .*allocating"):
        x.broadcast_to((1 << 42,)) + 1
    assert (x + 1).tolist() == [1]


# --- faults


def test_a_fault_names_the_op_and_stays(stand_in, monkeypatch):  # noqa: F811
    x = cg.ones(4, device="gpu")
    stand_in.fault = "cudaErrorIllegalAddress: an illegal memory access was encountered"
    with pytest.raises(RuntimeError, match="exp: the GPU reported cudaErrorIllegalAddress.* in exp; the fault is in it "
                                           r"or an op before it \(CONVGPU_SYNCHRONIZE=1 tells which\)"):
        cg.exp(x)
    stand_in.fault = None
    for use, name in ((lambda: x + 1, "add"), (x.numpy, r"to\('cpu'\)"),
                      (lambda: cg.zeros(2, device="gpu"), "device 'gpu'"),
                      (lambda: cg.max_pool(x.reshape(1, 2, 2, 1), 2), "reshape"), (lambda: bool(x), r"to\('cpu'\)")):
        with pytest.raises(RuntimeError, match=f"{name}: .*IllegalAddress.* in exp; .*start a new one"):
            use()
    assert cg.ones(2).tolist() == [1, 1]


def test_a_fault_found_while_waiting(stand_in):  # noqa: F811
    x = cg.ones(4, device="gpu")
    stand_in.fault = "cudaErrorLaunchFailure"
    with pytest.raises(RuntimeError, match=r"to\('cpu'\): the GPU reported cudaErrorLaunchFailure"):
        x.tolist()


def test_an_error_that_leaves_the_gpu_alive_does_not_stay(stand_in, monkeypatch):  # noqa: F811
    def refuse(*args: Any) -> None:
        raise RuntimeError("launch: invalid configuration argument")

    x = cg.ones((1, 2, 2, 1), device="gpu")
    with monkeypatch.context() as patch:
        patch.setattr(backends.load("cuda"), "max_pool", refuse)
        with pytest.raises(RuntimeError, match="^launch: invalid configuration argument$"):
            cg.max_pool(x, 2)
    assert cg.max_pool(x, 2).item() == 1


def test_synchronize_waits_after_every_op(stand_in, monkeypatch):  # noqa: F811
    x = cg.ones(4, device="gpu")
    count = stand_in.synchronizations
    x + 1
    assert stand_in.synchronizations == count
    monkeypatch.setattr(gpu_module, "SYNCHRONIZE", True)
    x + 1
    assert stand_in.synchronizations == count + 1
    stand_in.fault = "cudaErrorIllegalAddress"
    with pytest.raises(RuntimeError, match="in add; the fault is in it, and the GPU is lost"):
        x + 1


def test_synchronize_is_read_from_the_environment():
    program = "from convgpu import gpu; print(gpu.SYNCHRONIZE)"
    for value, expected in (("1", "True"), ("0", "False")):
        done = subprocess.run([sys.executable, "-c", program], env={"CONVGPU_SYNCHRONIZE": value}, capture_output=True,
                              text=True, timeout=60)
        assert done.stdout.strip() == expected, done.stderr


@on_a_real_gpu
def test_a_kernel_that_writes_where_it_may_not():
    program = """if True:
        import cupy, convgpu as cg
        x = cg.ones(4, device="gpu")
        cupy.RawKernel('extern "C" __global__ void f(float* p) { p[threadIdx.x] = 0; }', "f")((1,), (1,), (0,))
        for _ in range(2):
            try:
                (x + 1).numpy()
            except RuntimeError as error:
                assert "the GPU is lost to this process: start a new one" in str(error), error
                print("lost")"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["lost", "lost"], done.stderr


def _use_gpu(connection: Any) -> None:
    try:
        connection.send(cg.zeros(2, device="gpu").tolist())
    except RuntimeError as error:
        connection.send(str(error))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
def test_a_forked_child_is_told_to_spawn(gpu, monkeypatch):  # noqa: F811
    fork = multiprocessing.get_context("fork")

    def ask() -> Any:
        receiver, sender = fork.Pipe(duplex=False)
        child = fork.Process(target=_use_gpu, args=(sender,))
        child.start()
        answer = receiver.recv() if receiver.poll(60) else "no answer"
        child.join(60)
        return answer

    if gpu != "cuda":
        monkeypatch.setattr(gpu_module, "_touched", False)
        assert ask() == [0, 0]  # nothing had touched the GPU: a child may
    cg.zeros(1, device="gpu")
    assert "device 'gpu': this process was forked from one that had used the GPU" in ask() and "use spawn" in ask()
    assert cg.zeros(2, device="gpu").tolist() == [0, 0]


# --- streams and threads


def test_kernels_run_in_the_current_stream(stand_in, monkeypatch):  # noqa: F811
    native = backends.load("cuda")
    streams = []

    def max_pool(*args: Any) -> None:
        streams.append(args[-1])
        emulated.max_pool(*args)

    emulated = native.module
    names = {name: getattr(emulated, name) for name in dir(emulated) if not name.startswith("_")}
    monkeypatch.setattr(native, "module", types.SimpleNamespace(**names | {"max_pool": max_pool}))
    x = cg.ones((1, 2, 2, 1), device="gpu")
    cg.max_pool(x, 2)
    with fake_cupy.cuda.Stream(0xabc):
        cg.max_pool(x, 2)
    assert streams == [0, 0xabc]


@on_a_real_gpu
def test_work_in_a_stream_of_ones_own():
    stream = sys.modules["cupy"].cuda.Stream(non_blocking=True)
    with stream:
        y = cg.avg_pool(cg.ones((4, 64, 64, 8), device="gpu") * 2, 2)
        stream.synchronize()
    assert (y.numpy() == 2).all()


def test_threads(gpu):  # noqa: F811
    x = cg.tensor(IMAGES, device="gpu")
    expected = cg.max_pool(cg.tanh(x), 2).tolist()
    got: list[Any] = [None] * 8

    def work(i: int) -> None:
        for _ in range(5):
            got[i] = cg.max_pool(cg.tanh(x), 2).tolist()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(g == expected for g in got)


# --- the crossing, and what says what is there


def test_workspace_and_strided_operands_cross(stand_in, monkeypatch):  # noqa: F811
    native = backends.load("cuda")
    calls = []
    monkeypatch.setattr(native, "module", types.SimpleNamespace(
        Array=lambda *a: a, op=lambda *args: calls.append(args)))
    x = fake_cupy.asarray(np.arange(6.0).reshape(2, 3)).transpose(1, 0)
    native.run("op", x, None, 2.5, workspace=64)
    native.run("op", workspace=0)
    native.run("op")
    (array, none, number, pointer, nbytes, stream), empty, bare = calls
    assert array[1:] == ((3, 2), (16, 8), "float64") and (none, number, nbytes, stream) == (None, 2.5, 64, 0)
    assert pointer and empty == (0, 0, 0) and bare == (0,)


def test_the_stand_in_has_nothing_that_cupy_has_not():
    public = {name for name in vars(fake_cupy.ndarray) if not name.startswith("_")}
    assert public <= set(fake_cupy._surface["attributes"])
    names = {name for name in vars(fake_cupy) if not name.startswith("_")}
    assert {"asarray", "ascontiguousarray", "empty", "from_dlpack", "get_default_memory_pool"} <= names


def test_the_surface_is_that_of_the_installed_cupy():
    real = pytest.importorskip("cupy")
    if real.__version__ != fake_cupy._surface["version"]:
        pytest.skip(f"the table is of CuPy {fake_cupy._surface['version']}")
    assert fake_cupy.surface() == fake_cupy._surface


def test_a_machine_with_a_gpu(stand_in, monkeypatch):  # noqa: F811
    assert device.parse_device("cuda") == "gpu"
    assert info.gpu_obstacle() is None and info.choose_device(None) == ("gpu", None)
    assert info.choose_device("gpu") == ("gpu", None) and info.choose_device("cpu") == ("cpu", None)
