"""The depthwise kernels, the bias gradient, and what the launchers of convolution do around all kernels.

`convgpu verify` runs the whole tables; tests/kernels/test_depthwise.cpp runs every kernel under sanitizers.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conv_checks import DTYPES, FORMATS, by_name, check, normal, problem, results
from native_backends import NATIVE, only_emulated

import convgpu as cg
from convgpu.backends import load
from convgpu.cases.conv import CASES, ConvCase
from convgpu.cases.tolerance import C_KERNEL, worst
from convgpu.dtypes import as_dtype
from convgpu.geometry import conv_geometry

DEPTHWISE = [c for c in CASES if "depthwise" in c.tags and "empty" not in c.tags]


@pytest.fixture(autouse=True, params=NATIVE)
def backend(request):
    with cg.use_backend(request.param):
        yield request.param


@pytest.fixture
def native(backend):
    return load(backend)


@pytest.fixture
def module(native):
    return native.module


# --- right


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [c for c in DEPTHWISE if "vectors" in c.name and "long" not in c.tags], ids=by_name)
def test_full_vectors_stay_within_the_bound_of_kernels(case, dtype):
    for data_format in FORMATS:
        check(case, dtype, data_format, C_KERNEL)


@only_emulated
def test_cases_reach_every_kernel(native, module):
    for dtype, full in zip(DTYPES, (2, 4, 8, 8)):
        texts = {op: [module.plan_conv(op, native.geometry(c.geometry()), dtype).text for c in DEPTHWISE]
                 for op in ("conv_fprop", "conv_dgrad", "conv_wgrad")}
        plans = {op: {re.sub(" (parts|workspace)=.*", "", text) for text in texts[op]} for op in texts}
        for op in ("conv_fprop", "conv_dgrad"):
            windows = [(full, 3, 1), (full, 3, 2), (full, 5, 1), (full, 7, 1), (full, 4, 1), (full, 4, 2), (1, 3, 1),
                       (1, 4, 1)]
            assert plans[op] == {f"{op}_depthwise_window vector={v} taps={t} stride={s}" for v, t, s in windows} | {
                f"{op}_depthwise_any vector={v} taps=0 stride=0" for v in (1, full)}
        owned = [(3, 3, 1), (3, 3, 2), (1, 4, 1), (1, 4, 2), (1, 5, 1), (1, 5, 2), (1, 1, 0)]  # rows, taps, stride
        assert plans["conv_wgrad"] == {f"conv_wgrad_depthwise vector={full} taps={t} stride={s} rows={r}"
                                       for r, t, s in owned} | {
            "conv_wgrad_depthwise vector=1 taps=1 stride=0 rows=1"}


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [3, 5])
def test_gradients_of_second_order_through_the_windows(side, stride):
    x, w, bias = normal(1, 2, 5, 2), normal(side, side, 2, 1, seed=1), normal(2, seed=2)
    cg.check_grad(lambda *a: cg.depthwise_conv(*a, stride=stride, padding=2, activation="tanh"), x, w, bias, order=2)


# --- special values


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [
    ConvCase("windows", (1, 7, 19, 8), (3, 3, 8, 1), padding=1, form="depthwise_conv"),
    ConvCase("strided", (1, 7, 12, 8), (3, 3, 8, 1), stride=2, padding=(1, 2), form="depthwise_conv"),
    ConvCase("chunks", (1, 6, 17, 8), (2, 6, 8, 1), padding="same", form="depthwise_conv"),
    ConvCase("chunks_strided", (1, 6, 17, 8), (2, 6, 8, 1), stride=(1, 2), padding="same", form="depthwise_conv"),
    ConvCase("any", (1, 7, 11, 8), (3, 2, 8, 1), dilation=2, padding=2, form="depthwise_conv"),
    ConvCase("multiplier", (1, 6, 5, 3), (3, 3, 3, 2), padding=1, form="depthwise_conv"),
], ids=by_name)
def test_infinities_meet_the_products_that_exist_and_no_other(native, case, dtype):
    geo, p = case.geometry(), problem(case, dtype)
    reference, w = load("reference"), p.w.reshape(geo.w_shape)
    for corner, value in itertools.product((0, -1), (np.inf, np.nan)):
        infinite = [a.copy() for a in (p.x, w, p.g)]
        for a in infinite:
            a[(0, corner, corner, -1) if a.shape[0] == 1 else (corner, corner, 0, -1)] = value
        x, filters, g = infinite
        for op, arguments in (("conv_fprop", (x, w, None, geo, None)), ("conv_fprop", (p.x, filters, None, geo, None)),
                              ("conv_dgrad", (g, w, None, geo, None)), ("conv_dgrad", (p.g, filters, None, geo, None)),
                              ("conv_wgrad", (x, p.g, geo)), ("conv_wgrad", (p.x, g, geo))):
            got = getattr(native, op)(*arguments).astype(np.float64)
            expected = getattr(reference, op)(*arguments).astype(np.float64)
            special = ~np.isfinite(expected)
            np.testing.assert_array_equal(got[special], expected[special])
            assert np.isfinite(got[~special]).all() and special.any(), (op, corner, value)


# --- channels_first: as many images at a time as the workspace holds


CHUNKED = [ConvCase("dense", (7, 9, 8, 6), (3, 3, 6, 5), padding=1),
           ConvCase("dense_strided", (7, 9, 8, 6), (3, 3, 3, 4), stride=2, groups=2),
           ConvCase("depthwise", (7, 9, 8, 16), (3, 3, 16, 1), padding=1, form="depthwise_conv"),
           ConvCase("one_channel_in", (5, 9, 8, 1), (3, 3, 1, 4), padding=1),
           ConvCase("one_pixel_out", (5, 4, 3, 6), (4, 3, 6, 8))]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CHUNKED, ids=by_name)
def test_chunks_of_a_batch_add_up(native, module, case, dtype):
    """No room for more than an image, for a few, for all: every result within the bound, whatever it was cut into.

    Where filters are larger than images, what the sums of parts would take has room for all images instead.
    """
    geo = native.geometry(case.geometry("channels_first"))
    images = set()
    for limit in (0, 12 << 10, 40 << 10, 1 << 20):
        plan = module.plan_conv("conv_wgrad", geo, dtype, limit=limit).text
        settings = dict(word.split("=") for word in plan.split()[1:])
        images.add(int(settings["images"]))
        assert int(settings["workspace"]) <= max(limit, 24 << 10)
        with cg.set_workspace_limit(limit):
            check(case, dtype, "channels_first", C_KERNEL)
    assert {case.x[0] if case.name == "one_pixel_out" else 1, case.x[0]} <= images


def test_chunks_of_half_types_are_not_rounded_one_by_one(native):
    """300 images, each a chunk: a sum of them in bfloat16 would stop growing at 256."""
    geo = conv_geometry("chunks", (300, 2, 3, 1), (2, 2, 1, 1), 1, "valid", 1, 1, "channels_first")
    x, gy = np.ones(geo.x_shape, as_dtype("bfloat16")), np.ones(geo.y_shape, as_dtype("bfloat16"))
    plan = native.module.plan_conv("conv_wgrad", native.geometry(geo), "bfloat16", limit=0).text
    assert "images=1 " in plan
    with cg.set_workspace_limit(0):
        assert (native.conv_wgrad(x, gy, geo) == 900).all()


@only_emulated
def test_what_is_the_same_memory_is_not_transposed(native, module):
    def plan(op, x, w, **options):
        geo = conv_geometry("plan", x, w, options.get("stride", 1), "valid", 1, options.get("groups", 1),
                            "channels_first")
        return module.plan_conv(op, native.geometry(geo), "float32").text

    assert "transposed=x,w,y images=8" in plan("conv_fprop", (8, 6, 9, 9), (4, 6, 3, 3))
    assert "transposed=w,y images=8" in plan("conv_wgrad", (8, 1, 9, 9), (4, 1, 3, 3))
    assert "transposed=x,w images=8" in plan("conv_dgrad", (8, 6, 9, 9), (4, 6, 9, 9))
    assert "transposed=w workspace" in plan("conv_fprop", (8, 6, 1, 1), (4, 6, 1, 1))
    assert "transposed=x images=8" in plan("conv_fprop", (8, 6, 5, 5), (1, 6, 1, 1))
    assert "transposed" not in plan("conv_fprop", (8, 1, 9, 9), (1, 1, 3, 3))


# --- the bias gradient


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 5, 6, 7), (3, 40, 50, 16), (4, 1, 1, 24), (2, 333, 3), (5, 1), (7, 2, 3, 4, 40),
                                   (2, 3, 130, 2), (1, 64, 33), (0, 4, 4, 3), (2, 0, 4, 3), (2, 4, 4, 0)], ids=str)
def test_channel_sums(native, shape, dtype):
    gy = np.random.default_rng(0).uniform(0.5, 1.5, shape).astype(as_dtype(dtype))  # one sign: what drifts would show
    for channels_last in (True, False):
        axes = tuple(i for i in range(len(shape)) if i != (len(shape) - 1 if channels_last else 1))
        exact = gy.astype(np.longdouble).sum(axes).astype(np.float64)
        got = native.channel_sum(gy, channels_last)
        assert got.dtype == gy.dtype
        assert worst(got, exact, exact, int(np.prod([shape[a] for a in axes])), C_KERNEL) <= 1


def test_channel_sums_in_parts_and_in_one(native, module):
    gy = normal(4, 30, 250, 48).astype(np.float32)
    plans = [module.plan_channel_sum(gy.shape, last, "float32", limit=limit).text
             for last, limit in itertools.product((True, False), (1 << 20, 0))]
    assert [plan.split()[0] for plan in plans] == ["channel_sum_rows"] * 2 + ["channel_sum_planes"] * 2
    assert all("parts=1 workspace=0" in plan for plan in plans[1::2])
    assert all("parts=1 " not in plan for plan in plans[::2])
    for channels_last, limit in itertools.product((True, False), (1 << 20, 0)):
        axes = (0, 1, 2) if channels_last else (0, 2, 3)
        with cg.set_workspace_limit(limit):
            got = native.channel_sum(gy, channels_last)
        exact, magnitude = (a.astype(np.float64).sum(axes) for a in (gy, np.abs(gy)))
        assert worst(got, exact, magnitude, gy.size // got.size, C_KERNEL) <= 1


def in_order(parts: np.ndarray) -> np.ndarray:
    """The sum of parts in float32: every 32nd part in blocks of 64, and these 32 sums in groups of 16."""
    lanes = []
    for lane in range(32):
        total = block = np.zeros_like(parts[0])
        for k, part in enumerate(parts[lane::32], 1):
            block = block + part
            if k % 64 == 0:
                total, block = total + block, np.zeros_like(block)
        lanes.append(total + block)
    total = np.zeros_like(parts[0])
    for group in (lanes[:16], lanes[16:]):
        sums = np.zeros_like(parts[0])
        for lane in group:
            sums = sums + lane
        total = total + sums
    return total


@only_emulated
@pytest.mark.parametrize("shape, channels_last, least", [
    ((150000, 4), True, 36), ((37000, 16), True, 36), ((9000, 301), True, 70), ((9000, 16), True, 8),
    ((12000, 5), True, 11), ((2, 1, 340000), False, 41), ((2, 3, 170000), False, 20)], ids=str)
def test_the_last_blocks_add_parts_in_a_fixed_order_in_one_launch(native, module, shape, channels_last, least):
    """Each part holds the sum of one row: the bits are those of the order, and the counters are 0 again."""
    plan = module.plan_channel_sum(shape, channels_last, "float32", device=module.Device(90, 132, 227 << 10))
    parts, terms = int(plan.text.partition("parts=")[2].split()[0]), shape[0] if channels_last else shape[0] * shape[2]
    assert plan.launches == 1 and parts >= least
    channels = shape[1]
    values = normal(parts, channels).astype(np.float32)
    vector = int(plan.text.partition("vector=")[2].split()[0])
    terms, step = (terms, 1) if channels_last else (terms // vector, vector)
    starts = [terms * part // parts * step for part in range(parts)]
    rows = np.zeros((terms * step, channels), np.float32)
    rows[starts] = values
    gy = rows if channels_last else np.ascontiguousarray(rows.T.reshape(channels, shape[0], -1).swapaxes(0, 1))
    before = module.launches()
    got = native.channel_sum(gy, channels_last)
    assert module.launches() == before + 1
    assert got.tobytes() == in_order(values).tobytes()
    assert native.channel_sum(gy, channels_last).tobytes() == got.tobytes()
    assert all(not counters.any() for counters in native._kept_counters.arrays.values())


# --- the crossing


@only_emulated
def test_what_does_not_fit_is_refused(native, module):
    geo = native.geometry(conv_geometry("crossing", (2, 6, 6, 4), (3, 3, 1, 4), 1, "valid", 1, 4, "channels_last"))
    x, w, y = (np.zeros(s, np.float32) for s in ((2, 6, 6, 4), (3, 3, 1, 4), (2, 4, 4, 4)))
    plan = module.plan_conv("conv_fprop", geo, "float32")
    for arrays, error, message in (
            ((x, w, None, y[:1]), ValueError, r"conv_fprop: expected y of shape \(2, 4, 4, 4\), got \(1, 4, 4, 4\)"),
            ((x, w.reshape(3, 3, 4, 1), None, y), ValueError, r"expected w of shape .*, got \(3, 3, 4, 1\)"),
            ((x, w, w[0, 0, 0, :3].copy(), y), ValueError, r"expected bias of shape \(4,\), got \(3,\)"),
            ((x, w.astype("f8"), None, y), TypeError, "conv_fprop: expected w of dtype float32, got float64"),
            ((x, w, None, y.astype(int)), TypeError, "expected y of dtype float16, bfloat16, float32 or float64")):
        with pytest.raises(error, match=message):
            module.conv_fprop(*[None if a is None else native.array(a) for a in arrays], geo, plan, "", 0, 0, 0)
    for option, message in (("gelu", "activation: expected relu, sigmoid, tanh or nothing, got gelu"),):
        with pytest.raises(ValueError, match=message):
            module.conv_fprop(*map(native.array, (x, w)), None, native.array(y), geo, plan, option, 0, 0, 0)
    with pytest.raises(ValueError, match="precision: expected float32 or tf32, got half"):
        module.plan_conv("conv_fprop", geo, "float32", precision="half")
    with pytest.raises(ValueError, match="plan: expected conv_fprop, conv_dgrad or conv_wgrad, got conv"):
        module.plan_conv("conv", geo, "float32")
    with pytest.raises(NotImplementedError, match="conv_fprop of int32 is not implemented on backend 'emulated'"):
        native.conv_fprop(x.astype(np.int32), w, None, conv_geometry("g", x.shape, w.shape, 1, 0, 1, 4, FORMATS[0]), "")


@only_emulated
def test_a_workspace_too_small_is_refused(native, module):
    geo = native.geometry(conv_geometry("small", (2, 4, 6, 6), (4, 1, 3, 3), 1, 0, 1, 4, "channels_first"))
    x, w, y = (np.zeros(s, np.float32) for s in ((2, 4, 6, 6), (4, 1, 3, 3), (2, 4, 4, 4)))
    with pytest.raises(ValueError, match="conv_fprop: expected a workspace of [0-9]+ bytes, got 0"):
        module.conv_fprop(native.array(x), native.array(w), None, native.array(y), geo,
                          module.plan_conv("conv_fprop", geo, "float32"), "", 0, 0, 0)


def test_a_plan_of_something_else_is_refused(native, module):
    """A launcher decides nothing: it runs the plan that it is given, if that is one of these arrays."""
    def geometry(padding):
        return native.geometry(conv_geometry("plan", (2, 6, 6, 8), (3, 3, 1, 8), 1, padding, 1, 8, "channels_last"))

    x, w, bias, y = (np.zeros(s, np.float32) for s in ((2, 6, 6, 8), (3, 3, 1, 8), (8,), (2, 4, 4, 8)))
    geo, odd = geometry(0), np.zeros(x.size + 1, np.float32)[1:].reshape(x.shape)
    good = module.plan_conv("conv_fprop", geo, "float32")

    def launch(plan, x=x, bias=bias):
        module.conv_fprop(*map(native.array, (x, w, bias, y)), geo, plan, "", 0, 0, 0)

    launch(good)
    assert "vector=4" in good.text
    ampere = module.Device(arch=80)
    for op, of, dtype, device, message in (
            ("conv_dgrad", geo, "float32", None, "a plan of conv_fprop, got one of conv_dgrad"),
            ("conv_fprop", geo, "float64", None, "a plan for arrays of float32, got one for float64"),
            ("conv_fprop", geometry(1), "float32", None, "a plan of the same geometry, got one of x"),
            ("conv_fprop", geo, "float32", ampere, "a plan for the device in use, got one for another: conv_f")):
        with pytest.raises(ValueError, match=f"conv_fprop: expected {message}"):
            launch(module.plan_conv(op, of, dtype, device=device))
    assert odd.ctypes.data % 16 == 4
    with pytest.raises(ValueError, match="expected x, w and y to start at multiples of 16 bytes, as the plan was made"):
        launch(good, x=odd)
    with pytest.raises(ValueError, match="expected a bias that starts at a multiple of 16 bytes"):
        launch(good, bias=np.zeros(9, np.float32)[1:])
    any_address = module.plan_conv("conv_fprop", geo, "float32", alignment=4)
    assert "vector=1" in any_address.text
    launch(any_address, x=odd)


@pytest.mark.parametrize("alignment", [0, 3, 12, 32])
def test_an_alignment_is_a_power_of_two(native, module, alignment):
    geo = native.geometry(conv_geometry("plan", (2, 6, 6, 8), (3, 3, 1, 8), 1, 0, 1, 8, "channels_last"))
    with pytest.raises(ValueError, match=f"plan: expected an alignment of 1, 2, 4, 8 or 16 bytes, got {alignment}"):
        module.plan_conv("conv_fprop", geo, "float32", alignment=alignment)
    with pytest.raises(ValueError, match=f"plan: expected an alignment of 1, 2, 4, 8 or 16 bytes, got {alignment}"):
        module.plan_channel_sum((2, 3, 4), True, "float32", alignment=alignment)


def test_a_bias_at_any_address_takes_the_plan_of_aligned_arrays(native, monkeypatch):
    case = next(c for c in DEPTHWISE if c.name == "depthwise_3x3_vectors")
    geo, p = case.geometry(), problem(case, "float32")
    w, bias = p.w.reshape(geo.w_shape), np.concatenate([p.bias[:1], p.bias])[1:]
    assert bias.ctypes.data % 16 == 4
    made, alignments = native.planned, set()

    def planned(planner, what, settings, alignment, device):
        alignments.add(alignment)
        return made(planner, what, settings, alignment, device)

    monkeypatch.setattr(native, "planned", planned)
    first, second = (native.conv_fprop(p.x, w, b, geo, "relu") for b in (bias, p.bias))
    assert first.tobytes() == second.tobytes() and alignments == {16}


@only_emulated
def test_a_workspace_that_is_not_aligned_is_refused(native, module):
    """Whether any of it is used or not: what kernels do with it, they do in vectors."""
    memory = native.empty((4096,), np.uint8)
    assert memory.ctypes.data % 256 == 0
    shapes = ((2, 6, 6, 4), (3, 3, 1, 4), (2, 4, 4, 4), (4,), (4, 4), (4, 4))
    owned = [native.empty(shape, np.float32) for shape in shapes]  # the views below do not keep their memory
    for array in owned:
        array[...] = 0
    x, w, y, gb, a, product_of_a = map(native.array, owned)
    zeros = np.zeros(module.COUNTERS, np.int32)
    counters = native.array(zeros)
    geo = native.geometry(conv_geometry("aligned", (2, 6, 6, 4), (3, 3, 1, 4), 1, 0, 1, 4, "channels_last"))
    fprop, dgrad, wgrad = (module.plan_conv(op, geo, "float32", limit=1024) for op in (
        "conv_fprop", "conv_dgrad", "conv_wgrad"))
    product = module.plan_gemm(1, 4, 4, 4, "float32", limit=1024)
    total = module.plan_channel_sum((2, 4, 4, 4), True, "float32", limit=1024)
    for beyond in (0, 16, 255):
        lent = memory.ctypes.data + beyond, 1024, 0
        calls = {"conv_fprop": lambda: module.conv_fprop(x, w, None, y, geo, fprop, "", *lent),  # noqa: B023
                 "conv_dgrad": lambda: module.conv_dgrad(y, w, None, x, geo, dgrad, "", *lent),  # noqa: B023
                 "conv_wgrad": lambda: module.conv_wgrad(x, y, w, geo, wgrad, *lent),  # noqa: B023
                 "channel_sum": lambda: module.channel_sum(y, gb, counters, total, *lent),  # noqa: B023
                 "gemm": lambda: module.gemm(a, a, None, product_of_a, product, 1, 0, "", *lent)}  # noqa: B023
        for op, call in calls.items():
            if beyond == 0:
                call()
                continue
            with pytest.raises(ValueError, match=f"^{op}: expected a workspace at a multiple of 256 bytes, got one "
                                                 f"{beyond} bytes beyond$"):
                call()


@only_emulated
def test_geometries_that_would_leave_the_arrays_are_refused(module):
    good = {"batch": 1, "channels": 4, "filters": 4, "size": (6, 6), "kernel": (3, 3), "stride": (2, 2),
            "padding": ((0, 0), (0, 1)), "dilation": (1, 1), "groups": 2, "channels_last": True}
    assert module.ConvGeometry(**good).output == [2, 3]
    for changes, message in (({"groups": 3}, "groups that divide the channels and the filters, got 3 for 4 and 4"),
                             ({"stride": (2, 0)}, "kernel, stride and dilation >= 1, got 0 along spatial axis 1"),
                             ({"size": (-1, 6)}, "sizes and padding >= 0, got -1 along spatial axis 0"),
                             ({"kernel": (3,)}, r"each with every option, got size \(6, 6\) and an option \(3,\)"),
                             ({"size": (2**30 + 1, 6)}, "at most 1073741824 pixels with padding")):
        with pytest.raises(ValueError, match=f"conv geometry: expected .*{message}"):
            module.ConvGeometry(**(good | changes))


# --- the same bits


@only_emulated
@pytest.mark.parametrize("settings", [{"order": "descending", "workers": "1"},
                                      {"order": "random", "workers": "3", "seed": "7"}], ids=str)
def test_bits_do_not_depend_on_the_order_of_threads(settings):
    program = """if True:
        import hashlib, numpy as np, convgpu as cg
        from convgpu.dtypes import as_dtype
        random, digest = np.random.default_rng(0), hashlib.sha256()
        with cg.use_backend("emulated"):
            for dtype in ("float64", "float32", "float16", "bfloat16"):
                for c, side, stride in ((8, 3, 1), (40, 5, 2), (8, 9, 1), (3, 3, 2)):
                    x, w, b = (cg.tensor(random.standard_normal(s).astype(as_dtype(dtype)), requires_grad=True)
                               for s in ((2, 18, 19, c), (side, side, c, 1), (c,)))
                    y = cg.depthwise_conv(x, w, b, stride=stride, padding="same", activation="sigmoid")
                    y.sum().backward()
                    for result in (y, x.grad, w.grad, b.grad):
                        digest.update(result.numpy().tobytes())
        print(digest.hexdigest())"""

    def run(**settings):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300,
                              env=os.environ | {f"CONVGPU_EMULATOR_{k.upper()}": v for k, v in settings.items()})
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    printed = run(**settings)
    assert printed == run(order="ascending", workers="2") and len(printed.strip()) == 2 * hashlib.sha256().digest_size


def test_same_bits_every_time():
    case = next(c for c in DEPTHWISE if c.name == "depthwise_3x3_vectors")
    p = problem(case, "bfloat16")
    first = results(case, p, "channels_first")
    for key, again in results(case, p, "channels_first").items():
        assert again.tobytes() == first[key].tobytes(), key
