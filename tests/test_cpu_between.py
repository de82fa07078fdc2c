"""What backend cpu computes between convolutions and products, beyond the tables of cases: geometries drawn by chance,
data that a single pass would get wrong, views, and what the module refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from native_backends import needs_cpu

import convgpu as cg
from convgpu.backends import load
from convgpu.cases.problem import Judge, Problem, as_results
from convgpu.cases.tolerance import C_KERNEL
from convgpu.dtypes import accumulator, as_dtype
from convgpu.geometry import NormGeometry, batch_norm_geometry

pytestmark = needs_cpu

ROOT = Path(__file__).parent.parent

DTYPES = ("float32", "float64", "float16", "bfloat16")
ACTIVATIONS = (None, "relu", "relu6", "silu")


@pytest.fixture
def run():
    return load("cpu")


def drawn(rng, shape, dtype):
    return np.asarray(rng.standard_normal(shape)).astype(as_dtype(dtype))


def check(run, op, arrays, statics):
    problem = Problem.of(op, arrays, statics)
    with np.errstate(all="ignore"):
        results = list(as_results(problem.run(run, problem.arrays)))
    assert Judge(problem, C_KERNEL).error(results) <= 1, (op, statics, [a.shape for a in arrays if a is not None])
    return results


def geometries(rng):
    """Rows of few and of many channels, planes of few and of many pixels, lines, groups; some beyond one block."""
    for _ in range(60):
        groups = int(rng.choice([1, 2, 3, 5, 8]))
        channels = groups * int(rng.choice([1, 2, 7, 16]))
        rows, inner = int(rng.choice([1, 2, 3, 31, 130, 700])), int(rng.choice([1, 1, 2, 9, 49, 300]))
        yield NormGeometry(int(rng.choice([1, 1, 2, 5])), rows, channels, inner, int(rng.choice([groups, channels])))


@pytest.mark.parametrize("seed", range(4))
def test_normalisation_of_any_geometry(run, seed):
    rng = np.random.default_rng(seed)
    for i, geo in enumerate(geometries(rng)):
        if geo.size > 200_000:
            continue
        dtype, activation = DTYPES[i % 4], ACTIVATIONS[i // 4 % 4]
        kept, shape = accumulator(as_dtype(dtype)).name, (geo.outer, geo.rows, geo.channels, geo.inner)
        x, gy, beside = (drawn(rng, shape, dtype) for _ in range(3))
        x = x + as_dtype(dtype).type(rng.choice([0, 3]))
        scale, offset = (drawn(rng, geo.channels, kept) if rng.random() < 0.7 else None for _ in range(2))
        mean, rstd = check(run, "norm_stats", (x, None, None), (geo, 1e-5, 0.9, 1))
        check(run, "norm_apply", (x, mean, rstd, scale, offset), (geo, activation))
        after = activation if activation != "silu" else "relu"
        y, = check(run, "norm_apply_add", (x, mean, rstd, scale, offset, beside), (geo, after))
        wanted = tuple(bool(b) for b in rng.integers(0, 2, 3))
        check(run, "norm_dgrad", (gy, x, mean, rstd, scale, offset, None), (geo, activation, (*wanted, False)))
        check(run, "norm_dgrad", (gy, x, mean, rstd, scale, offset, y), (geo, after, (*wanted, True)))
        var = np.abs(drawn(rng, geo.channels, kept))
        check(run, "norm_infer", (x, drawn(rng, geo.channels, kept), var, scale, offset, beside),
              (geo, activation, 1e-3))


@pytest.mark.parametrize("dtype, activation", [("float32", None), ("bfloat16", "silu"), ("float64", "relu")])
@pytest.mark.parametrize("outer, groups", [(3, 1), (2, 2)])
def test_gradients_of_lines_too_long_for_sums_in_every_thread(run, dtype, activation, outer, groups):
    """Their bits depend on the number of threads no more than those of shorter lines."""
    rng = np.random.default_rng(0)
    geo = NormGeometry(outer, 1, groups * 262_200, 1, groups)
    x, gy, beside = (drawn(rng, (outer, 1, geo.channels, 1), dtype) for _ in range(3))
    kept = accumulator(as_dtype(dtype)).name
    scale, offset = (drawn(rng, geo.channels, kept) for _ in range(2))
    mean, rstd = check(run, "norm_stats", (x, None, None), (geo, 1e-5, 0.9, 1))
    given = (gy, x, mean, rstd, scale, offset, None), (geo, activation, (True, True, True, False))
    found, before = [], cg.get_num_threads()
    for threads in (1, 2, 7):
        cg.set_num_threads(threads)
        found.append(b"".join(g.tobytes() for g in check(run, "norm_dgrad", *given)))
    cg.set_num_threads(before)
    assert found[0] == found[1] == found[2]
    if activation != "silu":
        y, = check(run, "norm_apply_add", (x, mean, rstd, scale, offset, beside), (geo, activation))
        for wanted in ((True, True, True, True), (False, True, False, True), (True, False, False, False)):
            check(run, "norm_dgrad", (gy, x, mean, rstd, scale, offset, y), (geo, activation, wanted))


def test_gradients_of_a_line_of_any_length_take_at_most_64_mb():
    """In a process of its own, whose largest size is compared with what the arrays take."""
    code = """
import resource, numpy as np
from convgpu.backends import load
from convgpu.geometry import NormGeometry
run, n = load("cpu"), 6_000_000
x, scale = np.ones((1, 1, n, 1), np.float32), np.ones(n, np.float32)
geo = NormGeometry(1, 1, n, 1, 1)
mean, rstd = run.norm_stats(x, None, None, geo, 1e-5, 0.9, 1)[:2]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
results = run.norm_dgrad(x, x, mean, rstd, scale, scale, None, geo, None, (True, True, True, False))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 - sum(r.nbytes for r in results[:3]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert int(done.stdout) <= 64 << 20


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("last", [True, False])
def test_a_first_part_far_from_the_rest_costs_no_digits(run, dtype, last):
    """Sums about the first values alone, or about 0, would cancel."""
    x = np.random.default_rng(0).standard_normal((40, 30, 30, 5)) * 1e-3
    x[0] += 1e4
    x[1:] += 3e3
    x = np.ascontiguousarray(x.astype(dtype) if last else np.moveaxis(x, 3, 1).astype(dtype))
    check(run, "norm_stats", (x, None, None), (batch_norm_geometry(x.shape, 3 if last else 1), 1e-5, 0.9, 1))


def test_views_are_normalised_as_their_copies(run):
    x = np.random.default_rng(0).standard_normal((6, 8, 9, 10)).astype(np.float32)
    for view in (x[::2], x[:, 1:-1], x.transpose(0, 2, 3, 1), x[..., ::-1], np.broadcast_to(x[:1], x.shape)):
        geo = batch_norm_geometry(view.shape, 3)
        whole = np.ascontiguousarray(view)
        mean, rstd, *_ = run.norm_stats(view, None, None, geo, 1e-5, 0.9, 1)
        for ours, right in zip((mean, rstd), run.norm_stats(whole, None, None, geo, 1e-5, 0.9, 1)):
            np.testing.assert_array_equal(ours, right)
        for op, ours, right in (("norm_apply", (view,), (whole,)), ("norm_dgrad", (view, view), (whole, whole))):
            rest = (mean, rstd, None, None) + ((None, geo, "relu", (True, False, False, False)) if op == "norm_dgrad"
                                               else (geo, "relu"))
            for a, b in zip(as_results(getattr(run, op)(*ours, *rest)), as_results(getattr(run, op)(*right, *rest))):
                np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(run.softmax(view, 1, False), run.softmax(whole, 1, False))
        assert run.reduce(view, "sum", (0, 2), False, view.shape).flags.c_contiguous
        np.testing.assert_allclose(run.reduce(view, "sum", (0, 2), False, view.shape), whole.sum((0, 2)), atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_softmax_and_reductions_of_any_shape(run, seed):
    rng = np.random.default_rng(seed)
    for i in range(60):
        dtype = DTYPES[i % 4]
        shape = tuple(int(n) for n in rng.choice([1, 2, 3, 7, 16, 33, 65, 150], int(rng.integers(1, 6))))
        if np.prod(shape) > 100_000:
            continue
        x, gy, axis = drawn(rng, shape, dtype) * as_dtype(dtype).type(4), drawn(rng, shape, dtype), i % len(shape)
        for log_of in (False, True):
            y, = check(run, "softmax", (x, ), (axis, log_of))
            check(run, "softmax_dgrad", (gy, y), (axis, log_of))
        lines = shape[:axis] + shape[axis + 1:]
        labels = rng.integers(0, shape[axis], lines).astype(rng.choice(["uint8", "int16", "int32", "int64", "uint64"]))
        statics = (axis, float(rng.choice([0, 0.1])), str(rng.choice(["none", "sum", "mean"])))
        _, statistics, flag = check(run, "cross_entropy", (x, labels), statics)
        assert flag.tolist() == [0]
        g = drawn(rng, lines if statics[2] == "none" else (), accumulator(as_dtype(dtype)).name)
        check(run, "cross_entropy_dgrad", (x, labels, statistics, g), statics)
        axes = tuple(a for a in range(len(shape)) if rng.random() < 0.5)
        for function in ("sum", "mean", "max", "min"):
            check(run, "reduce", (x,), (function, axes, bool(i % 2), shape))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("axis", [0, 1])
def test_sums_whose_parts_alone_overflow(run, dtype, axis):
    largest = np.finfo(dtype).max
    x = np.empty((300, 70) if axis == 0 else (70, 300), dtype)
    np.moveaxis(x, axis, 0)[:150], np.moveaxis(x, axis, 0)[150:] = largest, -largest
    assert run.reduce(x, "sum", (axis,), False, x.shape).tolist() == [0] * 70
    np.testing.assert_allclose(run.reduce(np.abs(x), "mean", (axis,), False, x.shape), largest)
    np.moveaxis(x, axis, 0)[1, 3] = np.nan
    for function in ("sum", "mean", "max", "min"):
        assert np.flatnonzero(np.isnan(run.reduce(x, function, (axis,), False, x.shape))).tolist() == [3]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exp_is_right_to_the_last_digits_down_to_the_smallest_numbers(run, dtype):
    """The smaller probability of two is exp(-d) / (1 + exp(-d)); so far down the divisor is 1."""
    depth = 103.2 if dtype == "float32" else 744.4
    d = np.linspace(40, depth, 20001).astype(dtype)
    got = run.softmax(np.stack([np.zeros_like(d), -d], 1), 1, False)[:, 1]
    right = np.exp(-d.astype(np.longdouble))
    unit = np.maximum(np.spacing(np.abs(right).astype(dtype)), np.finfo(dtype).smallest_subnormal)
    assert (np.abs(got - right) <= 1.2 * unit).all()


def test_what_does_not_fit_is_refused(run):
    x, rows = np.ones((4, 6), np.float32), run.geometry(NormGeometry(1, 4, 6, 1, 6))
    small, y = np.ones((1, 6), np.float32), np.empty((4, 6), np.float32)
    mean = np.ones((2, 1, 6), np.float32)
    with pytest.raises(ValueError, match=r"norm_apply: expected x of 24 elements, got shape \(4, 5\)"):
        run.module.norm_apply(x[:, :5].copy(), mean, small, None, None, None, y, rows, "", 1)
    with pytest.raises(TypeError, match="norm_apply: expected rstd of dtype float32, got float64"):
        run.module.norm_apply(x, mean, small.astype(float), None, None, None, y, rows, "", 1)
    with pytest.raises(ValueError, match="norm activation: expected relu, relu6, silu or nothing, got tanh"):
        run.module.norm_apply(x, mean, small, None, None, None, y, rows, "tanh", 1)
    with pytest.raises(ValueError, match="norm_stats: expected running statistics, all four"):
        run.module.norm_stats(x, mean[0, 0], None, mean, small, None, None, rows, 1e-5, 0.9, 1, 1)
    with pytest.raises(ValueError, match=r"softmax: expected an axis of x, got 2 and shape \(4, 6\)"):
        run.module.softmax(x, y, 2, False, 1)
    with pytest.raises(TypeError, match="cross_entropy: expected labels of dtype uint8, uint16, int32 or int64, got"):
        run.module.cross_entropy(x, x[:, 0].copy(), np.empty((), np.float32), np.empty((2, 4), np.float32),
                                 np.empty(1, np.int32), 1, 0.0, "mean", 1)
    with pytest.raises(ValueError, match="reduce: expected sum, mean, max or min, got prod"):
        run.module.reduce(x.reshape(1, 4, 6, 1), y, "prod", 1)
    with pytest.raises(ValueError, match=r"reduce: expected y of shape \(4, 1\), got \(4, 6\)"):
        run.module.reduce(x.reshape(1, 4, 6, 1), y, "sum", 1)


def test_networks_train_as_on_numpy():
    """Batch norm, its activation, a residual, a mean over pixels and the loss, with their gradients."""
    rng = np.random.default_rng(0)
    given = [rng.standard_normal(s).astype(np.float32) for s in ((6, 9, 9, 12), (12,), (12,), (12, 5))]
    labels = rng.integers(0, 5, 6)

    def gradients(backend):
        with cg.use_backend(backend):
            x, scale, offset, w = (cg.tensor(a, requires_grad=True) for a in given)
            y, *_ = cg.batch_norm(x, np.zeros(12, "f4"), np.ones(12, "f4"), scale, offset, training=True)
            loss = cg.cross_entropy(cg.relu(y + x).mean((1, 2)) @ w, labels, label_smoothing=0.1)
            loss.backward()
            return [loss.numpy(), *[t.grad.numpy() for t in (x, scale, offset, w)]]

    for ours, right in zip(gradients("cpu"), gradients("reference")):
        np.testing.assert_allclose(ours, right, rtol=1e-4, atol=1e-6)
