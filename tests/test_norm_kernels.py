"""The kernels of normalisation: launches, counters, splits, fused residuals and activations, errors of launchers."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from native_backends import NATIVE, needs_emulated

import convgpu as cg
from convgpu.backends import load
from convgpu.cases.norm import CASES
from convgpu.facts import FAMILIES, plan_of
from convgpu.geometry import NormGeometry, batch_norm_geometry
from convgpu.ops.norm import applied, inferred, statistics
from convgpu.recorder import Call

ROWS = NormGeometry(1, 20000, 8, 1, 8)  # float32: 4 lanes in each row of threads, and several parts
GEOMETRIES = {"rows": ROWS, "planes": NormGeometry(1, 2, 3, 60000, 3), "instances": NormGeometry(3, 9000, 8, 1, 8),
              "groups": NormGeometry(2, 300, 12, 1, 4), "group planes": NormGeometry(2, 1, 6, 500, 3),
              "lines": NormGeometry(9000, 1, 16, 1, 1)}
ALL = (True,) * 4


def draw(geo, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    x, gy, residual = (rng.standard_normal(geo.size).astype(dtype) for _ in range(3))
    return x, gy, residual, rng.standard_normal(geo.channels, np.float32), rng.standard_normal(geo.channels, np.float32)


def stats_of(backend, x, geo):
    return load(backend).norm_stats(x, None, None, geo, 1e-5, 0.9, 1)[:2]


@pytest.mark.parametrize("backend", NATIVE)
@pytest.mark.parametrize("name", GEOMETRIES)
def test_split_sums_have_the_same_bits_each_time_and_leave_their_counters_at_zero(name, backend):
    geo, run = GEOMETRIES[name], load(backend)
    x, gy, _, scale, offset = draw(geo)
    mean, rstd = stats_of(backend, x, geo)
    once = run.norm_dgrad(gy, x, mean, rstd, scale, offset, None, geo, "relu", (True, True, True, False))
    for _ in range(3):
        assert [a.tobytes() for a in stats_of(backend, x, geo)] == [mean.tobytes(), rstd.tobytes()]
        again = run.norm_dgrad(gy, x, mean, rstd, scale, offset, None, geo, "relu", (True, True, True, False))
        assert [a.tobytes() for a in again[:3]] == [a.tobytes() for a in once[:3]]
    if backend == "emulated":
        assert all(not counters.any() for counters in run._kept_counters.arrays.values())
    right = load("reference").norm_dgrad(gy, x, mean, rstd, scale, offset, None, geo, "relu", (True, True, True, False))
    for got, expected in zip(once[:3], right):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("backend", NATIVE)
def test_long_lines_have_more_columns_than_there_are_counters(backend, monkeypatch):
    geo, run = NormGeometry(2, 1, 140001, 1, 1), load(backend)
    x, gy, _, scale, offset = draw(geo)
    mean, rstd = stats_of(backend, x, geo)
    if backend == "emulated":  # what lies behind the counters is not theirs
        memory = np.full(3 * run.module.COUNTERS, 7, np.int32)
        counters = memory[:run.module.COUNTERS]
        counters[:] = 0
        monkeypatch.setitem(run._kept_counters.arrays, (run.module.device_key(), 0), counters)
    got = run.norm_dgrad(gy, x, mean, rstd, scale, offset, None, geo, None, (False, True, True, False))[1:3]
    if backend == "emulated":
        assert not counters.any() and (memory[counters.size:] == 7).all()
    right = load("reference").norm_dgrad(gy, x, mean, rstd, scale, offset, None, geo, None, (False, True, True, False))
    for g, expected in zip(got, right[1:3]):
        np.testing.assert_allclose(g, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("backend", NATIVE)
def test_statistics_of_no_channels(backend):
    for shape, normalised in [((2, 3, 0), lambda x: cg.layer_norm(x)), ((0, 3, 4), lambda x: cg.layer_norm(x, axis=0)),
                              ((2, 3, 0), lambda x: cg.group_norm(x, 1))]:
        x = cg.tensor(np.zeros(shape, np.float32), requires_grad=True)
        with cg.use_backend(backend):
            y = normalised(x)
            y.backward(cg.zeros(shape))
        assert y.shape == shape and x.grad.shape == shape


@needs_emulated
def test_some_sums_of_these_tests_and_of_the_table_are_split():
    run = load("emulated")

    def parts(op, geo, dtype="float32"):
        call = Call(op, ((geo.size,),), (geo, None, ALL), dtype)
        return int(plan_of(run, call).text.partition("parts=")[2].split()[0])

    assert all(parts("norm_stats", GEOMETRIES[name]) > 1 for name in ("rows", "planes"))
    assert all(parts("norm_dgrad", GEOMETRIES[name]) > 1 for name in ("rows", "planes", "lines"))
    case = next(case for case in CASES if case.name == "many rows")
    assert all(parts(op, case.geometry(data_format)) > 1 for op in ("norm_stats", "norm_dgrad")
               for data_format in ("channels_last", "channels_first"))


@pytest.mark.parametrize("backend", NATIVE)
def test_threads_do_not_share_counters(backend):
    x = draw(ROWS)[0]
    expected = [a.tobytes() for a in stats_of(backend, x, ROWS)]
    wrong = []

    def work():
        for _ in range(5):
            if [a.tobytes() for a in stats_of(backend, x, ROWS)] != expected:
                wrong.append(threading.get_ident())

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("backend", ["reference", "numpy", *NATIVE])
@pytest.mark.parametrize("name", GEOMETRIES)
def test_results_do_not_depend_on_which_are_wanted(name, backend):
    geo, run = GEOMETRIES[name], load(backend)
    x, gy, residual, scale, offset = draw(geo)
    mean, rstd = stats_of(backend, x, geo)
    y = run.norm_apply_add(x, mean, rstd, scale, offset, residual, geo, "relu")
    whole = run.norm_dgrad(gy, x, mean, rstd, scale, offset, y, geo, "relu", ALL)
    for bits in range(16):
        wanted = tuple(bool(bits >> k & 1) for k in range(4))
        for got, right, w in zip(run.norm_dgrad(gy, x, mean, rstd, scale, offset, y, geo, "relu", wanted), whole,
                                 wanted):
            assert (got is None) if not w else np.array_equal(got, right), wanted


@pytest.mark.parametrize("backend", ["numpy", *NATIVE])
def test_a_backward_mask_is_that_of_the_forward_pass(backend):
    """Where there is no residual the value before the activation is computed again, with the same roundings."""
    geo, run = NormGeometry(1, 4000, 8, 1, 8), load(backend)
    x, gy, _, scale, _ = draw(geo)
    mean, rstd = stats_of(backend, x, geo)
    y = run.norm_apply(x, mean, rstd, scale, np.full(8, 1e-7, np.float32), geo, "relu")
    from_x = run.norm_dgrad(gy, x, mean, rstd, scale, np.full(8, 1e-7, np.float32), None, geo, "relu", ALL)
    from_y = run.norm_dgrad(gy, x, mean, rstd, scale, np.full(8, 1e-7, np.float32), y, geo, "relu", ALL)
    assert np.array_equal(from_x[3], from_y[3]) and np.array_equal(from_x[3] != 0, (y > 0) & (gy != 0))


@pytest.mark.parametrize("backend", ["reference", "numpy", *NATIVE])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("activation", [None, "relu", "relu6", "silu"])
def test_fused_gradients_are_those_of_separate_ops_of_both_orders(activation, data_format, backend):
    x, residual = (np.random.default_rng(k).standard_normal((3, 4, 2) if data_format == "channels_last" else (3, 2, 4))
                   for k in (0, 1))
    geo = batch_norm_geometry(x.shape, 2 if data_format == "channels_last" else 1)
    scale, offset = np.array([3.0, -2.0]), np.array([0.7, 1.1])

    def fused(x, scale, offset, residual=None):
        return applied(x, statistics(x, geo, 1e-3)[0], scale, offset, residual, activation)

    with cg.use_backend(backend if backend != "cuda_from_host" else "numpy"):
        cg.check_grad(fused, x, scale, offset, residual, order=2)
        cg.check_grad(fused, x, scale, offset, order=2)
        cg.check_grad(lambda x, residual: fused(x, None, None, residual), x, residual, order=2)
        mean, var = np.array([0.1, 0.2]), np.array([0.5, 1.5])
        cg.check_grad(lambda *xs: inferred(*xs[:5], geo, 1e-3, xs[5], activation), x, mean, var, scale, offset,
                      residual, order=2)


@needs_emulated
def test_a_block_of_a_network_is_one_statistics_and_one_apply_kernel(monkeypatch):
    ops, run = [], load("emulated")

    def watch(op, *args, **options):
        if op.startswith("norm"):
            ops.append(op)
        type(run).launch(run, op, *args, **options)

    monkeypatch.setattr(run, "launch", watch)
    x = cg.tensor(np.random.default_rng(0).standard_normal((2, 5, 5, 8)).astype(np.float32), requires_grad=True)
    shortcut = cg.tensor(np.ones((2, 5, 5, 8), np.float32), requires_grad=True)
    zeros, ones = np.zeros(8, np.float32), np.ones(8, np.float32)
    with cg.use_backend("emulated"):
        y = cg.relu(cg.batch_norm(x, zeros, ones, ones, zeros, training=True)[0] + shortcut)
        assert ops == ["norm_stats", "norm_apply_add"]
        (y * y).sum().backward()
        assert ops[2:] == ["norm_dgrad"]
        cg.relu(cg.batch_norm(x, zeros, ones, ones, zeros, training=False)[0]).numpy()
        assert ops[3:] == ["norm_infer"]


@needs_emulated
@pytest.mark.parametrize("name", GEOMETRIES)
def test_two_launches_each_way(name):
    geo, run = GEOMETRIES[name], load("emulated")
    launches = {op: plan_of(run, Call(op, ((geo.size,),), (geo, None, ALL), "bfloat16")).launches
                for op in FAMILIES["norm"].ops}
    assert launches == {"norm_stats": 1, "norm_apply": 1, "norm_apply_add": 1, "norm_fold": 1, "norm_infer": 1,
                        "norm_dgrad": 2}


@pytest.mark.parametrize("backend", ["numpy", *NATIVE])
def test_equal_values_have_no_variance_and_give_the_offset(backend):
    geo, run = NormGeometry(1, 3001, 7, 1, 7), load(backend)
    x = np.broadcast_to(np.float32(3333333.3) * np.arange(1, 8, dtype=np.float32), (3001, 7)).reshape(-1)
    mean, rstd = stats_of(backend, x, geo)
    assert np.array_equal(mean[0, 0], x[:7]) and not mean[1].any()
    assert (rstd == rstd[0, 0]).all() and abs(rstd[0, 0] * 1e-5**0.5 - 1) < 3e-7
    offset = np.arange(7, dtype=np.float32)
    y = run.norm_apply(np.ascontiguousarray(x), mean, rstd, None, offset, geo, None)
    assert np.array_equal(y.reshape(-1, 7), np.broadcast_to(offset, (3001, 7)))


@pytest.mark.parametrize("backend", ["numpy", *NATIVE])
@pytest.mark.parametrize("correction, divisor", [(1, 5), (0, 6), (6, 1), (9, 1)])
def test_running_statistics_learn(correction, divisor, backend):
    x = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    old_mean, old_var = np.float32([1, 2, 3]), np.float32([4, 5, 6])
    with cg.use_backend(backend if backend != "cuda_from_host" else "numpy"):
        _, mean, var = cg.batch_norm(x, old_mean, old_var, training=True, momentum=0.75, correction=correction)
    x = x.astype(np.float64)
    np.testing.assert_allclose(mean, 0.75 * old_mean + 0.25 * x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(var, 0.75 * old_var + 0.25 * ((x - x.mean(0))**2).sum(0) / divisor, rtol=1e-6)


@pytest.mark.parametrize("backend", ["numpy", *NATIVE])
def test_views_are_read_as_what_they_show(backend):
    x = np.random.default_rng(0).standard_normal((10, 6, 16)).astype(np.float32)
    view = np.ascontiguousarray(x)[::2, ::-1, 1::2]
    zeros, ones = np.zeros(8, np.float32), np.ones(16, np.float32)[::2]
    with cg.use_backend(backend if backend != "cuda_from_host" else "numpy"):
        t, copy = cg.tensor(x, requires_grad=True), cg.tensor(view, requires_grad=True)
        y = cg.batch_norm(t[::2, ::-1, 1::2], zeros, ones, training=True)[0]
        right = cg.batch_norm(copy, zeros, ones, training=True)[0]
        assert np.array_equal(y.numpy(), right.numpy())
        (y * y * y).sum().backward()
        (right * right * right).sum().backward()
    assert np.array_equal(t.grad.numpy()[::2, ::-1, 1::2], copy.grad.numpy())


@needs_emulated
def test_launchers_refuse_what_does_not_fit():
    run = load("emulated")
    geo, other = NormGeometry(1, 6, 4, 1, 4), NormGeometry(1, 4, 6, 1, 6)
    x, mean, rstd = np.ones(24, np.float32), np.zeros((2, 1, 4), np.float32), np.ones((1, 4), np.float32)
    for call, words in (
            (lambda: run.norm_apply(x, mean, rstd, None, None, geo, "tanh"), "expected relu, relu6, silu or nothing"),
            (lambda: run.norm_apply(x[:20], mean, rstd, None, None, geo, None), "expected x of 24 elements"),
            (lambda: run.norm_apply(x, mean, rstd, np.ones(6, np.float32), None, geo, None), "scale of shape (4,)"),
            (lambda: run.norm_apply(x, mean, rstd, None, None, other, None), "mean of shape (2, 1, 6)"),
            (lambda: run.norm_dgrad(x, x, mean, rstd, None, None, x, geo, "silu", ALL), "after a residual, got silu"),
            (lambda: run.norm_stats(x, rstd[0], rstd[0], NormGeometry(2, 3, 4, 1, 2), 1e-5, 0.9, 1), "in pairs, and"),
            (lambda: run.geometry(NormGeometry(1, 1, 6, 1, 4)), "groups that divide the channels")):
        with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
            call()
    with pytest.raises(NotImplementedError, match="norm_stats of int64 is not implemented on backend 'emulated'"):
        run.norm_stats(x.astype(np.int64), None, None, geo, 1e-5, 0.9, 1)
