"""Batch normalisation with running statistics in the epilogue of the convolution before it."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gpu_device import stand_in  # noqa: F401 - a fixture
from native_backends import NATIVE, needs_emulated

import convgpu as cg
from convgpu.backends import load
from convgpu.cases.conv import CASES
from convgpu.cases.norm import CASES as NORM_CASES
from convgpu.cases.problem import Judge, as_results
from convgpu.cases.tolerance import C_KERNEL, C_NUMPY
from convgpu.deferred import Deferred
from convgpu.facts import FAMILIES
from convgpu.geometry import conv_geometry
from convgpu.ops.folding import folded
from convgpu.recorder import Recorder

BACKENDS = ("reference", "numpy", *NATIVE)


def draw(*shape: int, dtype: str = "float32", seed: int = 0) -> cg.Tensor:
    return cg.tensor(np.random.default_rng([seed, *shape]).standard_normal(shape), dtype=dtype)


def layer(channels: int = 8, filters: int = 16, dtype: str = "float32") -> tuple[cg.Tensor, ...]:
    """An image, filters, running mean and variance, scale and offset."""
    parameters = [draw(filters, seed=seed) for seed in range(4)]
    return (draw(2, 7, 6, channels, dtype=dtype), draw(3, 3, channels, filters, dtype=dtype), parameters[0],
            cg.numpy.abs(parameters[1]) + 0.1, *parameters[2:])


def normed(x: cg.Tensor, w: cg.Tensor, *statistics: Any, **options: Any) -> cg.Tensor:
    return cg.batch_norm(cg.conv2d(x, w, padding=1, **options), *statistics, training=False)[0]


def names(run: Callable[..., Any], *operands: cg.Tensor) -> list[str]:
    """The ops that backends would run."""
    recorder = Recorder()
    y = run(*[recorder.tensor(t.shape, t.dtype) for t in operands])
    _ = y.array
    return [call.op for call in recorder.calls]


# --- the ops of every backend


@pytest.mark.parametrize("backend", BACKENDS)
def test_conv_norm_and_norm_fold_stay_within_the_tolerance_of_the_reference(backend: str) -> None:
    """Every third case of convolution in one dtype after the other, and all that are folded."""
    seen = {"conv_norm": 0, "norm_fold": 0}
    dtypes = ("float32", "bfloat16", "float64", "float16")
    short = [case for case in CASES if "long" not in case.tags]
    cases = [("conv", case, dtypes[i % 4]) for i, case in enumerate(short[::3])]
    cases += [("norm", case, "float32") for case in NORM_CASES]
    for family, case, dtype in cases:
        for problem in FAMILIES[family].problems(case, dtype, "channels_last"):
            if problem.op not in seen or backend == "emulated" and problem.work.flops > 3e7:
                continue
            with np.errstate(all="ignore"):
                results = list(as_results(problem.run(load(backend), problem.arrays or ())))
            error = Judge(problem, C_KERNEL if backend == "emulated" else C_NUMPY).error(results)
            assert error <= 1, (case.name, problem.op, dtype, problem.call.statics[1:])
            seen[problem.op] += 1
    assert min(seen.values()) > 5


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_special_values(backend: str, dtype: str) -> None:
    """A NaN and an Inf stay where they are, relu keeps a NaN, and an Inf beside the padding makes no NaN."""
    x, w = np.ones((1, 5, 5, 2)), np.ones((3, 3, 2, 3))
    x[0, 0, 0, 0] = np.inf
    w[0, 0, 0, 0] = np.inf
    pairs = np.array([[2.0, 1.0], [0.5, np.nan], [-1.0, 0.0]])
    with cg.use_backend(backend):
        a, b = cg.tensor(x, dtype=dtype), cg.tensor(w, dtype=dtype)
        factors = cg.tensor(pairs, dtype="float64" if dtype == "float64" else "float32")
        geo = conv_geometry("conv", x.shape, w.shape, 1, 1, 1, 1, "channels_last")
        with np.errstate(all="ignore"):
            y = cg.Op.registry["conv_norm"](a, b, factors, None, geo, "relu").numpy().astype("f8")
    plain = np.full((5, 5), 18.0)
    assert np.isnan(y[..., 1]).all()
    assert y[0, 0, 0, 0] == np.inf and y[0, 4, 4, 0] == np.inf and y[0, 0, 4, 0] == 2 * (plain[0, 4] - 10) + 1
    assert y[0, 4, 4, 2] == 0 and not np.isnan(y[..., 2]).any() and not np.isnan(y[..., 0]).any()


# --- what is computed together


@pytest.mark.parametrize("after, residual, activation", [
    (lambda y: y, False, None), (cg.relu, False, "relu"), (cg.relu6, False, "relu6"), (cg.silu, False, "silu"),
    (lambda y: cg.relu(y + draw(2, 7, 6, 16)), True, "relu")])
def test_a_convolution_and_its_normalisation_are_one_op(after: Any, residual: bool, activation: Any) -> None:
    operands = layer()
    with cg.no_grad():
        fused = after(normed(*operands))
        recorder = Recorder()
        x = [recorder.tensor(t.shape) for t in (*operands, draw(2, 7, 6, 16))]
        y = normed(*x[:-1])
        y = cg.relu(y + x[-1]) if residual else after(y)
        _ = y.array
    assert [call.op for call in recorder.calls] == ["norm_fold", "conv_norm"]
    assert recorder.calls[1].statics[1] == activation and (recorder.calls[1].shapes[3] is not None) == residual
    plain = after(normed(*operands))
    assert np.allclose(fused.numpy(), plain.numpy(), rtol=1e-5, atol=1e-5)


def test_a_bias_is_folded_too_and_half_types_are_rounded_once() -> None:
    x, w, *rest = layer(dtype="bfloat16")
    bias = draw(16, dtype="bfloat16", seed=9)
    with cg.no_grad():
        y = cg.relu(cg.batch_norm(cg.conv2d(x, w, bias, padding=1), *rest, training=False)[0])
    assert y.dtype.name == "bfloat16"
    wide = [t.astype("float64") for t in (x, w, bias)]
    exact = cg.relu(cg.batch_norm(cg.conv2d(*wide, padding=1), *[t.astype("float64") for t in rest],
                                  training=False)[0]).numpy()
    once = np.abs(y.numpy().astype("f8") - exact).max() / np.abs(exact).max()
    twice = cg.relu(cg.batch_norm(cg.conv2d(x, w, bias, padding=1), *rest, training=False)[0]).numpy().astype("f8")
    assert once <= 2.0**-8 and once <= np.abs(twice - exact).max() / np.abs(exact).max()


def test_each_layer_of_a_residual_block_is_one_op() -> None:
    x, w, *rest = layer(16, 16)

    def block(x: cg.Tensor, w: cg.Tensor, *rest: cg.Tensor) -> cg.Tensor:
        y = cg.relu(normed(x, w, *rest))
        return cg.relu(normed(y, w, *rest) + normed(x, w, *rest))

    with cg.no_grad():
        ops = names(block, x, w, *rest)
        assert sorted(ops) == ["conv_norm"] * 3 + ["norm_fold"]
        fused = block(x, w, *rest)
    assert np.allclose(fused.numpy(), block(x, w, *rest).numpy(), rtol=1e-4, atol=1e-4)


def test_what_is_not_computed_together() -> None:
    """While gradients are recorded, in channels_first, in training, and after an activation."""
    operands = layer()
    assert "conv_norm" not in names(normed, *operands)
    x, w, *rest = operands
    with cg.no_grad():
        first = names(lambda x, w, *rest: cg.batch_norm(
            cg.conv2d(x, w, data_format="channels_first"), *rest, training=False, data_format="channels_first")[0],
            draw(2, 8, 7, 6), draw(16, 8, 3, 3), *rest)
        assert first == ["conv_fprop", "norm_infer"]
        other = names(lambda x, w, *rest: cg.batch_norm(cg.conv2d(x, w), *rest, training=False,
                                                        data_format="channels_first")[0],
                      draw(2, 16, 6, 8), draw(1, 3, 8, 16), *[draw(16)] * 4)
        assert other == ["conv_fprop", "norm_infer"]
        trained = names(lambda x, w, *rest: cg.batch_norm(cg.conv2d(x, w), *rest, training=True)[0], *operands)
        assert trained == ["conv_fprop", "norm_stats", "norm_apply"]
        assert "conv_norm" not in names(lambda *o: normed(*o, activation="relu"), *operands)
        layer_norm = names(lambda x, w, *rest: cg.layer_norm(cg.conv2d(x, w)), *operands)
        assert layer_norm == ["conv_fprop", "norm_stats", "norm_apply"]


def test_the_convolution_itself_may_be_needed_too() -> None:
    x, w, *rest = layer()
    with cg.no_grad():
        y = cg.conv2d(x, w, padding=1)
        z = cg.batch_norm(y, *rest, training=False)[0]
        assert type(y) is Deferred
        y.numpy()  # from here on the normalisation takes it
        after = z.numpy()
        y = cg.conv2d(x, w, padding=1)
        z = cg.batch_norm(y, *rest, training=False)[0]
        y.assign(np.zeros(y.shape))  # the values are those of the call
        assigned = z.numpy()
    want = normed(x, w, *rest).numpy()
    assert np.allclose(after, want, rtol=1e-5, atol=1e-5) and np.allclose(assigned, want, rtol=1e-5, atol=1e-5)


def test_inputs_are_those_of_the_call() -> None:
    x, w, *rest = layer()
    want = normed(x, w, *rest).numpy()
    for changed in range(6):
        operands = [cg.tensor(t) for t in (x, w, *rest)]
        with cg.no_grad():
            y = normed(*operands)
            operands[changed].assign(np.ones(operands[changed].shape))
            assert np.allclose(y.numpy(), want, rtol=1e-5, atol=1e-5), changed
            assert not np.allclose(normed(*operands).numpy(), want, rtol=1e-3, atol=1e-3), changed


def test_a_convolution_without_gradients_is_a_tensor_like_any_other() -> None:
    x, w, *_ = layer()
    want = cg.conv2d(x, w).numpy()
    with cg.no_grad():
        for y in (cg.conv2d(x, w) * 1, cg.relu(cg.conv2d(x, w)) - cg.relu(-cg.conv2d(x, w)), cg.conv2d(x, w) + 0,
                  pickle.loads(pickle.dumps(cg.conv2d(x, w))), cg.conv2d(x, w).detach(), 1 * cg.conv2d(x, w)):
            assert np.array_equal(y.numpy(), want)
        y = cg.conv2d(x, w)
        assert (y.shape, y.dtype, y.ndim, y.requires_grad, y.is_leaf) == ((2, 5, 4, 16), np.float32, 4, False, True)
    assert np.array_equal(y.numpy(), want)
    with cg.no_grad(), pytest.raises(TypeError, match="expected one dtype of"):
        cg.conv2d(x, w.astype("float64"))  # at once, and not when the values are needed


# --- folding


def test_statistics_are_folded_once_until_one_of_them_changes() -> None:
    _, _, mean, var, scale, offset = layer()
    bias = draw(16, seed=8)
    first = folded(mean, var, scale, offset, bias, 1e-3)
    assert folded(mean, var, scale, offset, bias, 1e-3) is first
    factor = scale.numpy() / np.sqrt(var.numpy() + 1e-3)
    shift = (bias.numpy() - mean.numpy()) * factor + offset.numpy()
    assert np.allclose(first.numpy(), np.stack([factor, shift], -1), rtol=1e-6, atol=1e-6)
    assert folded(mean, var, scale, offset, bias, 1e-2) is not first
    for tensor in (mean, var, scale, offset, bias):
        before = folded(mean, var, scale, offset, bias, 1e-3)
        tensor.assign(tensor.numpy() + 1)
        after = folded(mean, var, scale, offset, bias, 1e-3)
        assert after is not before and not np.array_equal(after.numpy(), before.numpy())
    assert pickle.loads(pickle.dumps(mean)).tolist() == mean.tolist()


def test_memory_that_others_may_write_is_folded_each_time() -> None:
    x, w, mean, var, scale, offset = layer()
    foreign = np.array(mean.numpy())
    shared = cg.from_dlpack(foreign).reshape(16)
    with cg.no_grad():
        before = normed(x, w, shared, var, scale, offset).numpy()
        foreign += 1
        assert not np.allclose(normed(x, w, shared, var, scale, offset).numpy(), before)


def test_what_was_folded_goes_with_the_mean() -> None:
    import weakref

    _, _, mean, var, *_ = layer()
    result = weakref.ref(folded(mean, var, None, None, None, 1e-3))
    assert result() is not None
    del mean
    gc.collect()
    assert result() is None


@needs_emulated
def test_on_the_gpu(stand_in: Any) -> None:  # noqa: F811
    operands = layer()
    want = cg.relu(normed(*operands)).numpy()
    moved = [t.to("gpu") for t in operands]
    with cg.no_grad():
        for _ in range(2):
            y = cg.relu(normed(*moved))
            assert y.device == "gpu" and np.allclose(y.numpy(), want, rtol=1e-5, atol=1e-5)


@needs_emulated
def test_explain_names_the_kernel_of_the_convolution() -> None:
    for op in ("conv_norm", "norm_fold"):
        shapes = ((8, 56, 56, 64), (3, 3, 64, 64)) if op == "conv_norm" else ()
        text = str(cg.explain(op, *shapes, (64,), (64,), dtype="bfloat16", device="H200"))
        assert ("conv_fprop_wgmma" if op == "conv_norm" else "norm_fold") in text


# --- frozen statistics, with gradients


@pytest.mark.parametrize("activation", [None, "relu", "relu6", "silu"])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_gradients_with_given_statistics_of_both_orders(activation: Any, residual: bool, data_format: str) -> None:
    x = draw(2, 3, 2, 3, dtype="float64")
    rest = [draw(3, dtype="float64", seed=seed) for seed in (1, 2, 3)]

    def f(x: cg.Tensor, mean: cg.Tensor, scale: cg.Tensor, offset: cg.Tensor, *more: cg.Tensor) -> cg.Tensor:
        laid = [t if data_format == "channels_last" else cg.numpy.transpose(t, (0, 3, 1, 2)) for t in (x, *more)]
        y = cg.batch_norm(laid[0], mean, mean * mean + 0.3, scale, offset, training=False, data_format=data_format)[0]
        y = y + laid[1] if residual else y
        return y if activation is None else getattr(cg, activation)(y)

    operands = [x, *rest, *([draw(2, 3, 2, 3, dtype="float64", seed=5)] if residual else [])]
    assert cg.check_grad(f, *operands, order=2) < 1e-5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("backend", ["numpy", *NATIVE])
def test_gradients_with_given_statistics_are_those_of_the_formula(dtype: str, backend: str) -> None:
    rng = np.random.default_rng(3)
    x, g = (rng.standard_normal((3, 4, 5, 8)) for _ in range(2))
    mean, scale, offset = (rng.standard_normal(8) for _ in range(3))
    var = np.abs(rng.standard_normal(8)) + 0.2
    with cg.use_backend(backend):
        t = [cg.tensor(x, dtype=dtype), *[cg.tensor(v, dtype="float32") for v in (mean, var, scale, offset)]]
        for p in t:
            p.requires_grad_()
        y = cg.relu(cg.batch_norm(*t, training=False, epsilon=1e-3)[0])
        y.backward(cg.tensor(g, dtype=dtype))
    x, g, mask = (a.numpy().astype("f8") for a in (t[0], cg.tensor(g, dtype=dtype), y > 0))
    rstd, g = 1 / np.sqrt(var + 1e-3), g * mask
    deviation = (g * (x - mean)).sum((0, 1, 2))
    wanted = [g * scale * rstd, -g.sum((0, 1, 2)) * scale * rstd, -0.5 * deviation * scale * rstd**3, deviation * rstd,
              g.sum((0, 1, 2))]
    for got, want in zip(t, wanted):
        tolerance = 2.0**-8 if got.dtype == t[0].dtype and dtype == "bfloat16" else 1e-4
        assert np.abs(got.grad.numpy().astype("f8") - want).max() <= tolerance * np.abs(want).max()
    assert [p.grad.dtype.name for p in t[1:]] == ["float32"] * 4


def test_a_frozen_layer_keeps_no_output_of_its_convolution_and_takes_two_kernels_back() -> None:
    """Of the convolution's output nothing is needed where scale and offset are frozen too."""
    recorder = Recorder()
    x, w = (recorder.tensor(s, requires_grad=True) for s in ((2, 7, 6, 8), (3, 3, 8, 16)))
    statistics = [recorder.tensor((16,)) for _ in range(4)]
    y = cg.relu(normed(x, w, *statistics))
    forward = [call.op for call in recorder.calls]
    assert forward == ["conv_fprop", "norm_infer"]
    y.backward(recorder.tensor(y.shape))
    back = [call.op for call in recorder.calls[len(forward):]]
    assert sorted(back) == ["activate_dgrad", "conv_dgrad", "conv_wgrad", "norm_infer"]


def test_silu_after_a_residual_is_in_the_kernel_where_nothing_is_recorded() -> None:
    x, _, mean, var, scale, offset = layer()
    residual = draw(2, 7, 6, 8, seed=4)
    statistics = [t[:8] for t in (mean, var, scale, offset)]
    for training in (True, False):
        recorder = Recorder()
        with cg.no_grad():
            operands = [recorder.tensor(t.shape) for t in (x, *statistics, residual)]
            _ = cg.silu(cg.batch_norm(*operands[:-1], training=training)[0] + operands[-1]).array
        assert recorder.calls[-1].op == ("norm_apply_add" if training else "norm_infer")
        with cg.no_grad():
            fused = cg.silu(cg.batch_norm(x, *statistics, training=training)[0] + residual)
        plain = cg.silu(cg.batch_norm(x.detach().requires_grad_(), *statistics, training=training)[0] + residual)
        assert np.allclose(fused.numpy(), plain.numpy(), rtol=1e-5, atol=1e-5)


def test_a_ledger_counts_what_a_step_returns_deferred() -> None:
    x, w, *statistics = layer()
    for step, operands in ((cg.conv2d, (x, w)), (normed, (x, w, *statistics))):
        found = cg.ledger(cg.no_grad()(lambda *given, step=step: [step(*given), None]), *operands, device="A100")
        assert [row.op for row in found.rows][-1:] == ["conv_fprop" if step is cg.conv2d else "conv_norm"]
