"""The convolution kernels below and through the ops: a rotating choice of the tables, fuzz, gradients, special values,
TF32, plans, any order of threads.

`convgpu verify` runs the whole tables; tests/kernels/test_conv.cpp runs every kernel under sanitizers.
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
from conv_checks import DTYPES, FORMATS, by_name, check, problem, results
from native_backends import COMPILED, needs_emulated

# Tests of any backend, which run here on the kernels.
from test_conv import (  # noqa: F401
    test_denormals_are_kept,
    test_gaps_of_a_transposed_convolution_are_not_multiplied,
    test_half_types_round_once,
    test_no_channels_give_the_bias,
    test_no_images_give_zero_weight_gradients,
    test_operands_stay_unwritten,
    test_padding_is_skipped_not_multiplied,
    test_pixels_that_no_window_covers_get_zero_gradient,
    test_same_bits_every_time,
    test_special_values_reach_what_they_touch_and_nothing_else,
)
from test_conv_gradients import GRADIENTS, test_gradients  # noqa: F401

import convgpu as cg
from convgpu import geometry
from convgpu.backends import load
from convgpu.cases.conv import CASES, ODD_CHANNELS, ConvCase, grid_cases
from convgpu.cases.tolerance import C_KERNEL, worst

MANY = frozenset({"channels", "paddings"})  # of these tags every fourth case
FUZZ = int(os.environ.get("CONVGPU_FUZZ", "0"))


@pytest.fixture(params=COMPILED)
def backend(request):
    with cg.use_backend(request.param):
        yield request.param


@pytest.fixture(scope="module")
def module():
    return load("emulated").module


# --- right


@pytest.mark.parametrize("i", [i for i, c in enumerate(CASES) if not c.tags & MANY or i % 4 == 0],
                         ids=lambda i: CASES[i].name)
def test_cases_stay_within_the_bound_of_kernels(i, backend):
    """A dtype and a data format each, in turn; float64 has no promise on long sums."""
    dtypes = DTYPES[1:] if "long" in CASES[i].tags else DTYPES
    check(CASES[i], dtypes[i % len(dtypes)], FORMATS[i // 4 % 2], C_KERNEL)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_grid(rank, backend):
    for i, case in enumerate(grid_cases(rank)):
        if i % 5 == rank:
            check(case, DTYPES[i % 4], FORMATS[i // 4 % 2], C_KERNEL)


def fuzzed(seed):
    """A convolution of any options and of channels that no vector width divides, small enough for the oracle."""
    random = np.random.default_rng(seed)
    rank, groups = int(random.integers(1, 4)), int(random.integers(1, 4))
    kernel, stride, dilation = (tuple(int(n) for n in random.integers(1, most, rank)) for most in (5, 5, 4))
    padding = tuple((int(a), int(b)) for a, b in random.integers(0, 5, (rank, 2)))
    least = [max(1, (f - 1) * d + 1 - a - b) for f, d, (a, b) in zip(kernel, dilation, padding)]
    size = [n + int(random.integers(0, (40, 9, 4)[rank - 1])) for n in least]
    few = ODD_CHANNELS[:6] if rank == 3 else ODD_CHANNELS
    c, k = (groups * int(random.choice(few)) for _ in range(2))
    return ConvCase(f"fuzz_{seed}", (int(random.integers(1, 4)), *size, c), (*kernel, c // groups, k), stride=stride,
                    padding=padding, dilation=dilation, groups=groups)


@pytest.mark.parametrize("part", range(4))
def test_fuzz(part, backend):
    """CONVGPU_FUZZ=10000 runs that many."""
    for seed in range(part, FUZZ or 80, 4):
        check(fuzzed(seed), DTYPES[seed // 4 % 4], FORMATS[seed // 16 % 2], C_KERNEL)


def test_tf32_is_less_exact_and_only_on_request(backend):
    if backend == "cpu":
        pytest.skip("a CPU has no tensor cores")
    case = ConvCase("tf32", (2, 9, 8, 20), (3, 3, 20, 12), stride=(1, 2), padding=1)
    p = problem(case, "float32")
    full = results(case, p, "channels_last")
    with cg.set_precision("tf32"):
        rounded = results(case, p, "channels_last")
    for name in "yxw":
        exact = p.exact[name]
        assert worst(full[name], exact.value, exact.magnitude, p.lengths[name], C_KERNEL) <= 1
        error = np.abs(rounded[name] - exact.value)
        assert (error <= 2.0**-10 * exact.magnitude).all() and error.max() > 2.0**-20 * exact.magnitude.max()


# --- NaN that padding makes, and NaN that it does not


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_infinity_beside_the_padding(backend, dtype):
    """In sums of several tiles and of several parts, every product that exists counts, and no other."""
    case = ConvCase("infinite", (1, 6, 5, 70), (3, 3, 70, 9), stride=(2, 1), padding=((1, 2), (2, 0)))
    geo = case.geometry()
    p = problem(case, dtype)
    for at, value in (((0, 0, 7, 3), np.inf), ((2, 1, 69, 8), -np.inf), ((1, 2, 0, 0), np.nan)):
        w, x, g = p.w.copy(), p.x.copy(), p.g.copy()
        w[at], x[0, at[0], at[1], at[2]], g[0, at[0], at[1], at[3]] = value, value, value
        run, reference = load(backend), load("reference")
        for got, expected in ((run.conv_fprop(p.x, w, None, geo, None), reference.conv_fprop(p.x, w, None, geo, None)),
                              (run.conv_fprop(x, p.w, None, geo, None), reference.conv_fprop(x, p.w, None, geo, None)),
                              (run.conv_dgrad(p.g, w, None, geo, None), reference.conv_dgrad(p.g, w, None, geo, None)),
                              (run.conv_wgrad(x, p.g, geo), reference.conv_wgrad(x, p.g, geo)),
                              (run.conv_wgrad(p.x, g, geo), reference.conv_wgrad(p.x, g, geo))):
            got, expected = got.astype(np.float64), expected.astype(np.float64)
            special = ~np.isfinite(expected)
            assert special.any() and not special.all()
            np.testing.assert_array_equal(got[special], expected[special])
            assert np.isfinite(got[~special]).all()


# --- memory


@pytest.mark.parametrize("case", [c for c in CASES if c.name in (
    "filter_1x1", "groups_2", "stride_6_2", "channels_63_65", "conv3d_same_groups")], ids=by_name)
def test_results_do_not_depend_on_alignment(case, backend):
    """One element past an aligned address no vectors are loaded, and the sums are the same."""
    for dtype in ("float32", "bfloat16"):
        p = problem(case, dtype)
        geo, run = case.geometry(), load(backend)
        x, w, g = (np.concatenate([a.ravel()[:1], a.ravel()])[1:].reshape(a.shape) for a in (p.x, p.w, p.g))
        assert x.ctypes.data % 16 != 0
        for op, aligned, shifted in (("conv_fprop", (p.x, p.w, p.bias), (x, w, p.bias)),
                                     ("conv_dgrad", (p.g, p.w, None), (g, w, None))):
            function = getattr(run, op)
            np.testing.assert_array_equal(function(*aligned, geo, "relu"), function(*shifted, geo, "relu"))
        np.testing.assert_array_equal(run.conv_wgrad(p.x, p.g, geo), run.conv_wgrad(x, g, geo))


# --- plans


def native_geometry(x, w, **options):
    return load("emulated").geometry(geometry.conv_geometry("plan", x, w, options.get("stride", 1),
                                                            options.get("padding", "same"), 1,
                                                            options.get("groups", 1), "channels_last"))


@needs_emulated
@pytest.mark.parametrize(("op", "dtype", "x", "w", "options", "plan"), [
    ("conv_fprop", "float32", (64, 56, 56, 64), (3, 3, 64, 128), {}, "engine=simt tile=128 vectors=both splits=1"),
    ("conv_fprop", "bfloat16", (64, 14, 14, 32), (3, 3, 32, 256), {}, "engine=tensor_core tile=128 vectors=both"),
    ("conv_fprop", "float16", (64, 224, 224, 3), (7, 7, 3, 64), {"stride": 2}, "tile=64 vectors=b splits=1"),
    ("conv_wgrad", "float16", (64, 224, 224, 3), (7, 7, 3, 64), {"stride": 2}, "tile=64 vectors=b splits=64"),
    ("conv_wgrad", "float32", (8, 28, 28, 64), (3, 3, 64, 64), {}, "engine=simt tile=64 vectors=both splits=24"),
    ("conv_dgrad", "float32", (8, 56, 56, 3), (3, 3, 3, 64), {}, "tile=64 vectors=both splits=1 phases=1"),
    ("conv_dgrad", "float64", (8, 56, 56, 64), (3, 3, 64, 64), {"stride": 2}, "splits=1 phases=4"),
    ("conv_dgrad", "float32", (8, 56, 56, 64), (1, 1, 64, 64), {"stride": 2}, "phases=1 after=fill_channels"),
    ("conv_dgrad", "float32", (8, 57, 57, 6), (3, 3, 3, 14), {"stride": (2, 9), "groups": 2}, "vectors=none splits=1"),
])
def test_plans(module, op, dtype, x, w, options, plan):
    words = module.plan_conv(op, native_geometry(x, w, **options), dtype, device=module.Device(arch=80)).text
    assert words.startswith(f"{op}_tiled ") or plan == words
    assert plan in re.sub(" workspace=.*", "", words)


@needs_emulated
@pytest.mark.parametrize(("precision", "limit"), [("float32", None), ("tf32", 40 << 10)])
def test_what_runs_is_the_plan_that_is_explained(module, monkeypatch, precision, limit):
    """And a second call of a kind asks for no plan."""
    native, ran, asked = load("emulated"), [], []
    launch, plan_conv = native.planned, module.plan_conv
    monkeypatch.setattr(native, "planned", lambda *key: (ran.append(launch(*key)), ran[-1])[1])
    launch.cache_clear()
    monkeypatch.setattr(module, "plan_conv", lambda *a, **k: (asked.append(a), plan_conv(*a, **k))[1])
    for name, dtype, data_format in itertools.product(
            ("filter_1x1_strided", "depthwise_3x3_vectors", "batch_0"), ("float32", "bfloat16"), FORMATS):
        case = next(c for c in CASES if c.name == name)
        geo = case.geometry(data_format)
        x, w, gy = (case.draw(shape, role, dtype) for shape, role in (
            (geo.x_shape, "x"), (geo.w_shape, "w"), (geo.y_shape, "g")))
        with cg.set_precision(precision), cg.set_workspace_limit(limit):
            for _ in range(2):
                native.conv_fprop(x, w, None, geo, None)
                native.conv_dgrad(gy, w, None, geo, None)
                native.conv_wgrad(x, gy, geo)
        explained = [plan_conv(op, native.geometry(geo), dtype, precision=precision, limit=limit)
                     for op in ("conv_fprop", "conv_dgrad", "conv_wgrad")]
        assert [planned.arguments[-1].text for planned in ran] == [plan.text for plan in explained] * 2
        assert len(asked) == 3
        ran.clear(), asked.clear()


@needs_emulated
def test_every_gpu_has_a_plan_within_its_limits(module):
    gpus = [(80, 108, 163), (86, 84, 99), (89, 128, 99), (90, 132, 227), (100, 148, 227), (120, 170, 99)]
    ops = ("conv_fprop", "conv_dgrad", "conv_wgrad")
    for (arch, count, kib), case, dtype in itertools.product(gpus, CASES, DTYPES):
        device, geo = module.Device(arch, count, kib << 10), load("emulated").geometry(case.geometry())
        for op in ops:
            words = module.plan_conv(op, geo, dtype, device=device, limit=1 << 20).text.split()
            assert int(dict(word.split("=") for word in words[1:])["workspace"]) <= 1 << 20


@needs_emulated
def test_sizes_beyond_32_bits_are_refused(module):
    for op, message in (("conv_fprop", r"conv_fprop: expected at most 2147483392 pixels of an image, got 4294967296"),
                        ("conv_wgrad", r"conv_wgrad: expected at most 2147483392 pixels of an image, got 4294967296"),
                        ("conv_dgrad", r"conv_dgrad: expected at most 2147483392 pixels of an image, got 4294967296")):
        with pytest.raises(ValueError, match=message):
            module.plan_conv(op, native_geometry((1, 1 << 16, 1 << 16, 2), (1, 1, 2, 2)), "float32")


# --- the same bits


@needs_emulated
@pytest.mark.parametrize("settings", [{"order": "descending", "workers": "1"},
                                      {"order": "random", "workers": "3", "seed": "5", "copy": "eager"}], ids=str)
def test_bits_do_not_depend_on_the_order_of_threads(settings):
    program = """if True:
        import hashlib, numpy as np, convgpu as cg
        from convgpu.dtypes import as_dtype
        random, digest = np.random.default_rng(0), hashlib.sha256()
        with cg.use_backend("emulated"):
            for dtype in ("float64", "float32", "float16", "bfloat16"):
                for c, k, stride in ((3, 8, 1), (72, 40, 2)):
                    x, w = (cg.tensor(random.standard_normal(s).astype(as_dtype(dtype)), requires_grad=True)
                            for s in ((2, 15, 16, c), (3, 4, c, k)))
                    y = cg.conv(x, w, stride=stride, padding="same", activation="tanh")
                    y.sum().backward()
                    for result in (y, x.grad, w.grad):
                        digest.update(result.numpy().tobytes())
        print(digest.hexdigest())"""

    def run(**settings):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300,
                              env=os.environ | {f"CONVGPU_EMULATOR_{k.upper()}": v for k, v in settings.items()})
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    printed = run(**settings)
    assert printed == run(order="ascending", workers="2") and len(printed.strip()) == 2 * hashlib.sha256().digest_size
