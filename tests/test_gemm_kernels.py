"""The GEMM kernels below and through the ops: every layout, odd sizes, splits, TF32, views, what the crossing refuses.

`convgpu verify` runs the whole table of cases; tests/kernels/test_gemm.cpp runs every kernel under sanitizers.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from native_backends import NATIVE, only_emulated
from test_gemm import ACTIVATE, DTYPES, MATMUL_SHAPES, exact, normal

import convgpu as cg
from convgpu.backends import load
from convgpu.cases.gemm import gemm_cases
from convgpu.cases.tolerance import C_KERNEL, worst
from convgpu.dtypes import as_dtype

FEW = [case for case in gemm_cases() if case.m * case.n * case.k < 4_000_000 and max(case.m, case.n) < 4097
       and case.k < 200_000]


@pytest.fixture(autouse=True, params=NATIVE)
def backend(request):
    """Emulated without Hopper's kernels, which have a file of their own: test_gemm_wgmma.py."""
    if request.param == "emulated":
        emulated = load("emulated").module
        emulated.emulate(emulated.Device(arch=80))
        request.addfinalizer(lambda: emulated.emulate(emulated.Device()))
    with cg.use_backend(request.param):
        yield request.param


@pytest.fixture
def module(backend):
    return load(backend).module


def error_of(y, expected, a, b, length=None):
    a, b = (np.abs(t.astype(np.float64)) for t in (a, b))
    return worst(y, expected, np.matmul(a, b), length or a.shape[-1], C_KERNEL)


@pytest.mark.parametrize("i", range(len(FEW)), ids=lambda i: FEW[i].name)
def test_cases_stay_within_the_bound_of_kernels(i):
    case = FEW[i]
    for dtype in (DTYPES[i % 4], DTYPES[(i + 2) % 4]):
        a, b, c = (case.draw(role, dtype) for role in "abc")
        y = cg.gemm(a, b, c, **case.options).numpy()
        before, magnitude = exact(case, a, b, c)
        magnitude = magnitude if case.activation in (None, "relu") else magnitude + 1
        assert worst(y, ACTIVATE[case.activation](before), magnitude, case.k + 1, C_KERNEL) <= 1, dtype


@pytest.mark.parametrize("i", range(18), ids=lambda i: str(MATMUL_SHAPES[i]))
def test_matmul_of_stacks(i):
    a, b = (normal(*s, seed=j, dtype=DTYPES[i % 4]) for j, s in enumerate(MATMUL_SHAPES[i]))
    y = cg.matmul(a, b).numpy()
    expected = np.matmul(a.astype(np.float64), b.astype(np.float64))
    assert y.shape == expected.shape and y.dtype == a.dtype
    assert error_of(y, expected, a, b) <= 1


def test_integers_are_numpys():
    np.testing.assert_array_equal(cg.matmul(np.arange(6).reshape(2, 3), np.arange(12).reshape(3, 4)),
                                  np.arange(6).reshape(2, 3) @ np.arange(12).reshape(3, 4))


def test_views_are_read_where_they_lie_or_copied():
    whole = normal(7, 12, 20, dtype="float32")
    right = normal(12, 9, dtype="float32")
    for a in (whole[:, :, ::2].swapaxes(1, 2), whole[::-1, :, 3:].swapaxes(1, 2), whole[:, ::-1].swapaxes(1, 2),
              np.broadcast_to(whole[:1], whole.shape).swapaxes(1, 2), whole.swapaxes(0, 2)[:, :, :7].swapaxes(1, 2)):
        b = right if a.shape[-1] == 12 else normal(a.shape[-1], 5, dtype="float32")
        assert error_of(cg.matmul(a, b).numpy(), a.astype("f8") @ b.astype("f8"), a, b) <= 1
    transposed = np.ascontiguousarray(right.T).T
    np.testing.assert_array_equal(cg.matmul(whole.swapaxes(1, 2), transposed),
                                  cg.matmul(whole.swapaxes(1, 2), right))


def test_gradients_of_second_order():
    a, b, c = normal(5, 3), normal(4, 3, seed=1), normal(4, seed=2)
    cg.check_grad(lambda a, b, c: cg.gemm(a, b, c, alpha=0.5, beta=2.0, trans_b=True, activation="tanh"), a, b, c,
                  order=2)
    cg.check_grad(cg.matmul, normal(2, 3, 4), normal(4, 5, seed=1), order=2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_and_nan_go_where_arithmetic_sends_them(dtype):
    a, b = np.ones((3, 70), as_dtype(dtype)), np.ones((70, 5), as_dtype(dtype))
    a[0, 3], a[1, 69], b[5, 4] = np.inf, np.nan, -np.inf
    with np.errstate(invalid="ignore"):
        expected = a.astype("f8") @ b.astype("f8")
    np.testing.assert_array_equal(cg.gemm(a, b).numpy().astype("f8"), expected)
    np.testing.assert_array_equal(cg.gemm(np.ones((2, 3), as_dtype(dtype)), np.ones((3, 2), as_dtype(dtype)),
                                          np.full((2, 2), np.nan, as_dtype(dtype)), beta=0.0), np.full((2, 2), 3.0))


def test_tf32_is_less_exact_and_only_on_request():
    a, b = normal(40, 200, dtype="float32"), normal(200, 24, seed=1, dtype="float32")
    expected, magnitude = a.astype("f8") @ b.astype("f8"), abs(a.astype("f8")) @ abs(b.astype("f8"))
    full = cg.gemm(a, b).numpy()
    with cg.set_precision("tf32"):
        rounded = cg.gemm(a, b).numpy()
        np.testing.assert_array_equal(cg.gemm(a.astype("f8"), b.astype("f8")).numpy().round(9), expected.round(9))
    assert worst(full, expected, magnitude, 200, C_KERNEL) <= 1
    error = np.abs(rounded - expected)
    assert (error <= 2.0**-10 * magnitude).all() and error.max() > 2.0**-20 * magnitude.max()


def test_a_smaller_workspace_means_fewer_splits_and_the_same_sums(module):
    a, b = normal(9, 4000, dtype="float32"), normal(4000, 11, seed=1, dtype="float32")
    expected = a.astype("f8") @ b.astype("f8")
    wanted = [module.plan_gemm(1, 9, 11, 4000, "float32", limit=limit).workspace for limit in (0, 2000, 64 << 20)]
    assert wanted[0] == 0 < wanted[1] <= 2000 < wanted[2]
    for limit in (0, 2000, 64 << 20):
        with cg.set_workspace_limit(limit):
            assert error_of(cg.gemm(a, b).numpy(), expected, a, b) <= 1


@only_emulated
@pytest.mark.parametrize("dtype, sizes, options, plan", [
    ("float32", (1, 4096, 4096, 4096), {}, "engine=simt tile=128 vectors=both splits=1"),
    ("bfloat16", (1, 4096, 4096, 4096), {}, "engine=tensor_core tile=128 vectors=both splits=1"),
    ("float32", (1, 4096, 4096, 4096), {"precision": "tf32"}, "engine=tensor_core tile=128 vectors=both splits=1"),
    ("float64", (1, 4096, 4096, 4096), {"precision": "tf32"}, "engine=simt tile=64 vectors=both splits=1"),
    ("float16", (1, 4095, 4095, 4095), {}, "engine=tensor_core tile=64 vectors=none splits=1"),
    ("float16", (1, 64, 64, 8192), {}, "engine=tensor_core tile=64 vectors=both splits=32"),
    ("float32", (64, 128, 128, 64), {}, "engine=simt tile=64 vectors=both splits=1"),
])
def test_plans(module, dtype, sizes, options, plan):
    device = module.Device(arch=80, multiprocessors=132, shared_bytes=163 << 10)
    assert module.plan_gemm(*sizes, dtype, **options, device=device).text.startswith(f"gemm_tiled {plan} ")


@only_emulated
def test_every_gpu_has_a_plan_within_its_limits(module):
    gpus = [(80, 108, 163), (86, 84, 99), (89, 128, 99), (90, 132, 227), (100, 148, 227), (120, 170, 99)]
    for (arch, count, kib), case, dtype in itertools.product(gpus, gemm_cases(), DTYPES):
        device = module.Device(arch, count, kib << 10)
        plan = module.plan_gemm(1, case.m, case.n, case.k, dtype, case.trans_a, case.trans_b, device=device,
                                limit=1 << 20)
        settings = dict(word.split("=") for word in plan.text.split()[1:])
        assert int(settings["workspace"]) == plan.workspace <= 1 << 20 and int(settings["splits"]) >= 1


@only_emulated
def test_what_the_crossing_refuses(module):
    run = load("emulated")
    a, b, y = (np.zeros(s, np.float32) for s in ((3, 4), (4, 5), (3, 5)))

    def call(a=a, b=b, c=None, y=y, activation="", plan=((1, 3, 5, 4, "float32"), {})):
        arrays = [None if t is None else run.array(t) for t in (a, b, c, y)]
        module.gemm(*arrays, module.plan_gemm(*plan[0], **plan[1]), 1.0, 1.0, activation, 0, 0, 0)

    call()
    for changes, error, message in (
            ({"b": b[:3]}, ValueError, r"gemm: expected op\(a\) \(M, K\), op\(b\) \(K, N\) and y \(M, N\).*\(3, 5\)"),
            ({"b": b.astype("f8")}, TypeError, "gemm: expected b of dtype float32, got float64"),
            ({"a": np.zeros((3, 8), np.float32)[:, ::2]}, ValueError, "a with lines of neighbouring elements"),
            ({"y": y.T.copy().T}, ValueError, "gemm: expected y in row-major order"),
            ({"c": np.zeros(4, np.float32)}, ValueError, r"gemm: expected c that broadcasts to y \(3, 5\) .*\(4,\)"),
            ({"c": np.zeros(5)}, ValueError, r"c that broadcasts to y \(3, 5\) of float32, got \(5,\) of float64"),
            ({"c": np.zeros((1, 3, 5), np.float32)}, ValueError, r"c that broadcasts to y \(3, 5\) .*\(1, 3, 5\)"),
            ({"activation": "gelu"}, ValueError, "expected relu, sigmoid, tanh or nothing, got gelu"),
            ({"plan": ((1, 3, 5, 4, "float32"), {"precision": "fp8"})}, ValueError,
             "precision: expected float32 or tf32, got fp8")):
        with pytest.raises(error, match=message):
            call(**changes)


@only_emulated
def test_a_plan_runs_what_it_was_made_for_and_nothing_else(module):
    """Else a kernel would take for granted what does not hold, and leave the arrays."""
    run = load("emulated")
    a, b, y = (np.zeros(s, np.float16) for s in ((1, 8, 520), (1, 520, 8), (1, 8, 8)))
    whole = np.zeros(8 * 520 + 1, np.float16)[1:].reshape(a.shape)
    sizes = (1, 8, 8, 520, "float16")

    def call(plan, a=a, workspace=0):
        buffer = run.empty((max(workspace, 1),), np.uint8)
        module.matmul(*map(run.array, (a, b, y)), plan, buffer.ctypes.data, workspace, 0)

    call(module.plan_gemm(*sizes, limit=0))
    call(module.plan_gemm(*sizes, limit=0, alignment=2), whole)
    splits = module.plan_gemm(*sizes)
    assert splits.workspace > 0
    call(splits, workspace=splits.workspace)
    for plan, arguments, message in (
            (module.plan_gemm(1, 8, 8, 528, "float16"), {}, r"matmul: expected a plan for these \(items, M, N, K\), "
             r"float16 \(1, 8, 8, 520\) .*, got one for float16 \(1, 8, 8, 528\)"),
            (module.plan_gemm(1, 8, 8, 520, "float32"), {}, r"expected a plan for these .*, got one for float32"),
            (module.plan_gemm(2, 8, 8, 520, "float16"), {}, r"expected a plan for .*, got one for float16 \(2, "),
            (module.plan_gemm(*sizes, device=module.Device(multiprocessors=7)), {}, "a plan for the GPU in use"),
            (module.plan_gemm(*sizes, limit=0), {"a": whole}, "expected a and b with lines at multiples of 16 bytes"),
            (splits, {}, f"matmul: expected a workspace of {splits.workspace} bytes, got 0")):
        with pytest.raises(ValueError, match=message):
            call(plan, **arguments)


@only_emulated
@pytest.mark.parametrize("order, workers", [("descending", "1"), ("random", "3")])
def test_bits_do_not_depend_on_the_order_of_threads(order, workers):
    program = """if True:
        import hashlib, numpy as np, convgpu as cg
        from convgpu.dtypes import as_dtype
        random, digest = np.random.default_rng(0), hashlib.sha256()
        with cg.use_backend("emulated"):
            for dtype in ("float64", "float32", "float16", "bfloat16"):
                for m, n, k in ((65, 67, 50), (8, 24, 1024)):
                    a, b = (random.standard_normal(s).astype(as_dtype(dtype)) for s in ((m, k), (k, n)))
                    digest.update(cg.gemm(a, b, activation="tanh").numpy().tobytes())
        print(digest.hexdigest())"""

    def run(**settings):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300,
                              env=os.environ | {f"CONVGPU_EMULATOR_{k.upper()}": v for k, v in settings.items()})
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    printed = run(order=order, workers=workers, seed="5", copy="eager")
    assert printed == run(order="ascending", workers="2") and len(printed.strip()) == 2 * hashlib.sha256().digest_size
