"""The compiled kernels below the ops: layouts, memory that is not theirs, plans, geometry, errors at the crossing."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
from native_backends import needs_emulated

import convgpu as cg
from convgpu import geometry, verify
from convgpu.backends import load
from convgpu.cases import layout
from convgpu.cases.pool import CASES, PoolCase
from convgpu.facts import FAMILIES

pytestmark = needs_emulated

DTYPES = ("float64", "float32", "float16", "bfloat16")
FORMATS = ("channels_last", "channels_first")


@pytest.fixture(scope="module")
def native():
    return load("emulated")


@pytest.fixture(scope="module")
def module(native):
    return native.module


def same_bits(got, expected):
    assert got.shape == expected.shape and got.dtype == expected.dtype
    assert got.tobytes() == np.ascontiguousarray(expected).tobytes()


# --- the tables of cases, within guards, poisoned, and at any address: what `convgpu verify` does


@pytest.mark.parametrize("family", FAMILIES)
def test_verify(family):
    report = verify.verify("emulated", [family], quick=family in ("conv", "gemm"))  # which have suites of their own
    if family in report.absent:
        pytest.skip(f"{family} has no kernels")
    assert report.passed([family]), str(report)


# --- layouts


def test_layouts_reach_every_kernel(module):
    sizes = {np.dtype(d).itemsize: d for d in layout.DTYPES if d != "bfloat16"}
    reached = {(module.plan_layout("nchw_to_nhwc", list(case.shape), dtype).text, dtype)
               for case in layout.CASES for dtype in sizes.values()}
    for size, dtype in sizes.items():
        full = 16 // size
        wanted = {"transpose_narrow"} | {f"transpose_tiled in={i} out={o}" for i in (1, full) for o in (1, full)}
        assert wanted == {plan for plan, d in reached if d == dtype}


def test_a_layout_of_two_axes_is_refused(module):
    x = np.zeros((2, 3), np.float32)
    array = (x.ctypes.data, x.shape, x.strides, "float32")
    with pytest.raises(ValueError, match=r"nchw_to_nhwc: expected x of 3 to 5 axes, got shape \(2, 3\)"):
        module.plan_layout("nchw_to_nhwc", x.shape, "float32")
    with pytest.raises(ValueError, match=r"nchw_to_nhwc: expected x of 3 to 5 axes, got shape \(2, 3\)"):
        module.nchw_to_nhwc(array, array, module.plan_layout("nchw_to_nhwc", (2, 3, 4), "float32"), 0)


def test_a_plan_of_a_layout_runs_what_it_was_made_for_and_nothing_else(native, module):
    x, y = np.zeros((2, 64, 64), np.float32), np.zeros((2, 64, 64), np.float32)
    shifted = np.zeros(2 * 64 * 64 + 1, np.float32)[1:].reshape(x.shape)
    plan = module.plan_layout
    for op, made, source, message in (
            ("nchw_to_nhwc", plan("nchw_to_nhwc", x.shape, "float32"), shifted, "begin at multiples of 16 bytes"),
            ("nchw_to_nhwc", plan("nchw_to_nhwc", x.shape, "float16"), x, r"\(2, 64, 64\), got one for nchw_to_nhwc"),
            ("nchw_to_nhwc", plan("nchw_to_nhwc", (2, 64, 65), "float32"), x, r"got one for .* \(2, 64, 65\)"),
            ("nhwc_to_nchw", plan("nchw_to_nhwc", x.shape, "float32"), x, "a plan for this op, dtype and sha")):
        with pytest.raises(ValueError, match=f"{op}: expected .*{message}"):
            getattr(module, op)(native.array(source), native.array(y), made, 0)
    unaligned = plan("nchw_to_nhwc", x.shape, "float32", alignment=4)
    assert unaligned.text == "transpose_tiled in=1 out=1" and unaligned.workspace == 0
    module.nchw_to_nhwc(native.array(shifted), native.array(y), unaligned, 0)


# --- memory


def test_inputs_of_any_strides_in_native_byte_order(native):
    case = PoolCase("strided", (2, 6, 8, 5), 2)
    x = np.random.default_rng(0).standard_normal((2, 6, 16, 5)).astype(np.float32)[:, ::-1, ::2]
    assert not x.flags.c_contiguous
    expected = native.max_pool(x.copy(), case.geometry(), False)[0]
    same_bits(native.max_pool(x, case.geometry(), False)[0], expected)
    with pytest.raises(TypeError, match="expected this machine's byte order, got .f4"):
        native.avg_pool(x.astype(x.dtype.newbyteorder("S")), case.geometry())


def test_offsets_from_nowhere_read_nothing(native):
    geo = PoolCase("padded", (1, 4, 4, 2), 3, 2, 1).geometry()
    x = np.ones(geo.x_shape, np.float32)
    offsets = np.array([0, 8, 9, 255, 4, 4, 4, 4], np.uint8).reshape(geo.y_shape)  # in padding, inside, past the window
    assert native.max_pool_gather(x, offsets, geo).ravel().tolist() == [0, 1, 0, 0, 1, 1, 1, 1]
    assert native.max_pool_indices(offsets, geo).ravel().tolist() == [0, 5, 0, 0, 8, 8, 10, 10]


# --- plans and geometry


def test_cases_reach_every_pooling_kernel(native, module):
    wanted = {"max_pool": {"max_pool_window", "max_pool_split"}, "avg_pool": {"avg_pool_window", "avg_pool_split"},
              "max_pool_dgrad": {"max_pool_dgrad_gather", "max_pool_dgrad_disjoint"},
              "max_pool_gather": {"max_pool_gather"}, "max_pool_indices": {"max_pool_indices"},
              "avg_pool_dgrad": {"avg_pool_dgrad_gather"}}
    for op, dtype in itertools.product(wanted, DTYPES):
        full = 16 // np.dtype("float16" if dtype == "bfloat16" else dtype).itemsize
        full = 2 if op == "max_pool_indices" else full
        dtype = "int64" if op == "max_pool_indices" else dtype
        plans = [module.plan_pool(op, native.geometry(c.geometry(f)), dtype).text.split()
                 for c in CASES for f in FORMATS if c.averages or "max" in op]
        assert {(kernel, vector) for kernel, vector, *_ in plans} == {
            (kernel, f"vector={v}") for kernel in wanted[op] for v in (1, full)}
        if op in ("max_pool", "avg_pool"):
            walked = {(vector, *rest) for kernel, vector, *rest in plans if kernel.endswith("window")}
            assert {(f"vector={v}", f"side={s}") for v in (1, full) for s in (2, 3)} <= walked


def test_there_is_one_output_size(module):
    options = (0, 1, 2, 5, 9, 224), (1, 2, 3, 7), (1, 2, 5), (1, 2, 3), (0, 1, 3), (0, 2)
    for n, f, s, d, a, b in itertools.product(*options):
        assert module.output_size(n, f, s, d, a, b) == geometry.output_size(n, f, s, d, (a, b)), (n, f, s, d, a, b)


def arguments(**changes):
    good = {"batch": 1, "channels": 1, "size": (6, 6), "window": (3, 3), "stride": (2, 2), "padding": ((0, 0), (0, 0)),
            "dilation": (1, 1), "output": (2, 2), "adaptive": False, "count_include_pad": False, "channels_last": True}
    return good | changes


@pytest.mark.parametrize("changes, message", [
    ({"output": (2, 4)}, "an output of 2, or one more to cover what is left over, got 4 along spatial axis 1"),
    ({"stride": (2, 0)}, "window, stride and dilation >= 1, got 0 along spatial axis 1"),
    ({"size": (6, -1)}, "sizes and padding >= 0, got -1 along spatial axis 1"),
    ({"window": (9, 3)}, "a window within its padded input of 6, got 9 along spatial axis 0"),
    ({"size": (2**30 + 1, 6)}, "at most 1073741824 pixels with padding, got 1073741825 along spatial axis 0"),
    ({"stride": (2,)}, r"each with every option, got size \(6, 6\) and an option \(2,\)"),
    ({"adaptive": True, "window": (7, 3)}, "a window of at most 6, got 7 along spatial axis 0"),
])
def test_geometries_that_would_leave_the_arrays_are_refused(module, changes, message):
    assert module.PoolGeometry(**arguments()).offset_dtype == "uint8"
    with pytest.raises(ValueError, match=f"pool geometry: expected .*{message}"):
        module.PoolGeometry(**arguments(**changes))


# --- counters of threads


def test_threads_share_no_counters_and_take_theirs_along(native):
    def kept():
        with native.counters():
            return list(native._kept_counters.arrays.values())

    mine, theirs = kept(), []
    thread = threading.Thread(target=lambda: theirs.extend(map(weakref.ref, kept())))
    thread.start()
    thread.join()
    assert len(theirs) == 1 and theirs[0]() is None and kept()[0] is mine[0]


def test_devices_share_no_counters(native, monkeypatch):
    with native.counters() as first:
        pass
    monkeypatch.setattr(native, "module", SimpleNamespace(device_key=lambda: -1, COUNTERS=native.module.COUNTERS))
    with native.counters() as second:
        assert second[0] != first[0]


# --- errors at the crossing


def test_arrays_that_do_not_fit_are_refused(native, module):
    geo = module.PoolGeometry(**arguments())
    plan = module.plan_pool("max_pool", geo, "float32")
    x, y = np.zeros((1, 6, 6, 1), np.float32), np.zeros((1, 2, 2, 1), np.float32)
    for args, error, message in (
            ((x, y[:, :1], None), ValueError, r"max_pool: expected y of shape \(1, 2, 2, 1\), got \(1, 1, 2, 1\)"),
            ((x, y.astype(np.float64), None), TypeError, "max_pool: expected y of dtype float32, got float64"),
            ((x, y, y), TypeError, "max_pool: expected offsets of dtype uint8, got float32"),
            ((x.transpose(0, 2, 1, 3), y, None), ValueError, "max_pool: expected x in row-major order without gaps"),
            ((x.astype(np.int32), y, None), TypeError,
             "max_pool: expected x of dtype float16, bfloat16, float32 or float64, got int32")):
        with pytest.raises(error, match=message):
            module.max_pool(*[None if a is None else native.array(a) for a in args], geo, plan, 0)
    with pytest.raises(TypeError, match="expected a dtype of float16, .*, got complex64"):
        module.max_pool(native.array(x.astype(np.complex64)), native.array(y), None, geo, plan, 0)
    address, shape, strides, dtype = native.array(x)
    for no_array in (x, None, (address, shape, strides), (str(address), shape, strides, dtype),
                     (1 << 70, shape, strides, dtype), (address, (1 << 70, *shape[1:]), strides, dtype),
                     (address, list(shape), strides, dtype), (address, shape, "strides", dtype),
                     (address, (1.0, *shape[1:]), strides, dtype), (address, shape, strides, "\udc80")):
        with pytest.raises(TypeError, match="incompatible function arguments"):
            module.max_pool(no_array, native.array(y), None, geo, plan, 0)


def test_a_plan_of_a_pooling_runs_what_it_was_made_for_and_nothing_else(native, module):
    geo, other = (module.PoolGeometry(**arguments(channels=4, window=w, output=(2, 2))) for w in ((3, 3), (4, 3)))
    x, y = np.zeros((1, 6, 6, 4), np.float32), np.zeros((1, 2, 2, 4), np.float32)
    shifted = np.zeros(x.size + 1, np.float32)[1:].reshape(x.shape)
    for plan, source, message in (
            (module.plan_pool("max_pool", geo, "float32"), shifted, "arrays that begin at multiples of 16 bytes"),
            (module.plan_pool("avg_pool", geo, "float32"), x, "a plan for this op, dtype and geometry, .* avg_pool of"),
            (module.plan_pool("max_pool", geo, "float16"), x, "a plan for this .*, got one for max_pool of float16"),
            (module.plan_pool("max_pool", other, "float32"), x, "a plan for this op, dtype and geometry")):
        with pytest.raises(ValueError, match=f"max_pool: expected .*{message}"):
            module.max_pool(native.array(source), native.array(y), None, geo, plan, 0)
    plan = module.plan_pool("max_pool", geo, "float32", alignment=4)
    assert plan.text == "max_pool_window vector=1 side=3" and plan.workspace == 0
    module.max_pool(native.array(shifted), native.array(y), None, geo, plan, 0)


def test_plans_are_made_once_and_again_where_something_they_depend_on_changes():
    native = load("emulated")
    made = []

    def count(planner):
        def plan(*arguments, **settings):
            made.append((*arguments[:-1], *settings.items()))
            return planner(*arguments, **settings)
        return plan

    whole = np.ones((9, 73), np.float16)
    a, b = whole[:, :72].copy(), np.ones((72, 8), np.float16)
    shifted = np.empty(a.size + 1, a.dtype)[1:].reshape(a.shape)
    shifted[...] = a
    fresh = type(native)("emulated", SimpleNamespace(**vars(native.module) | {
        "plan_gemm": count(native.module.plan_gemm), "plan_pool": count(native.module.plan_pool)}))

    def product(a=a, b=b):
        before = len(made)
        y = fresh.gemm(a, b, None, 1.0, 1.0, False, False, None)
        assert (y.astype("f4") == 72).all()
        return len(made) - before

    assert product() == 1 and product() == 0
    assert product(shifted) == 1 and product(shifted) == 0
    assert product(a.astype("f4"), b.astype("f4")) == 1
    assert product(a[:5], b) == 1
    with cg.set_workspace_limit(0):
        assert product() == 1 and product() == 0
    with cg.set_precision("tf32"):
        assert product(a.astype("f4"), b.astype("f4")) == 1
    try:
        native.module.emulate(native.module.Device(multiprocessors=3))
        assert product() == 1 and product() == 0
    finally:
        native.module.emulate(native.module.Device())
    assert product() == 0 and fresh.planned.cache_info().maxsize == 4096


def test_what_has_no_kernel_says_so():
    with cg.use_backend("emulated"):
        assert cg.current_backend() == "emulated"
        with pytest.raises(NotImplementedError, match="softmax of int32 is not implemented on backend 'emulated'"):
            load("emulated").softmax(np.zeros((2, 3), np.int32), -1, False)
    assert cg.current_backend() != "emulated"


def test_gradients_of_second_order_through_the_kernels():
    x = np.random.default_rng(0).permutation(2 * 5 * 6 * 2).reshape(2, 5, 6, 2) / 8.0
    with cg.use_backend("emulated"):
        cg.check_grad(lambda x: cg.max_pool(x, 3, stride=2, padding=1), x, order=2)
        cg.check_grad(lambda x: cg.avg_pool(x, 3, stride=2, padding=1), x, order=2)


# --- the same bits in any order of threads, from any number of workers, in another process


@pytest.mark.parametrize("order, workers", [("descending", "1"), ("random", "3")])
def test_bits_do_not_depend_on_the_order_of_threads(order, workers):
    program = """if True:
        import hashlib, numpy as np
        from convgpu.backends import load
        from convgpu.cases.pool import CASES
        run, digest = load("emulated"), hashlib.sha256()
        for case in CASES:
            geo, x = case.geometry(), case.input("float32")
            gy = np.random.default_rng(0).standard_normal(geo.y_shape).astype("float32")
            y, offsets = run.max_pool(x, geo, True)
            for a in (y, offsets, run.max_pool_dgrad(gy, offsets, geo), run.nhwc_to_nchw(x),
                      *([run.avg_pool(x, geo), run.avg_pool_dgrad(gy, geo)] if case.averages else [])):
                digest.update(a.tobytes())
        print(digest.hexdigest())"""

    def run(**settings):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300,
                              env=os.environ | {f"CONVGPU_EMULATOR_{k.upper()}": v for k, v in settings.items()})
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    assert run(order=order, workers=workers, seed="5") == run(order="ascending", workers="2")
