"""bfloat16 on the units that multiply two terms at once, AMX and AVX512-BF16: the bound, the bits, Inf and NaN beside
padding, filters too large to be packed at once, and what the units do with subnormal numbers."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from conv_checks import check
from native_backends import needs_cpu

import convgpu as cg
from convgpu import geometry
from convgpu.backends import load
from convgpu.cases.conv import CASES
from convgpu.cases.tolerance import C_KERNEL

pytestmark = needs_cpu

UNITS = ("amx", "v4_bf16")
BF16 = ml_dtypes.bfloat16


@pytest.fixture(params=UNITS)
def run(request):
    run = load("cpu")
    if request.param not in run.module.instruction_sets():
        pytest.skip(f"this machine, or the compiler of this build, has no {request.param}")
    run.module.use_instruction_set(request.param)
    with cg.use_backend("cpu"):
        yield run
    run.module.use_instruction_set("")


@pytest.fixture
def threads():
    before = cg.get_num_threads()
    yield cg.set_num_threads
    cg.set_num_threads(before)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(BF16)


def all_three(run, x, w, data_format="channels_last", bias=None, activation=None, **options):
    """fprop, dgrad and wgrad; x and w in channels_last, results too."""
    stride, padding = options.get("stride", 1), options.get("padding", 1)
    last = data_format == "channels_last"
    turned = x if last else np.ascontiguousarray(np.moveaxis(x, -1, 1))
    filters = w if last else np.ascontiguousarray(np.moveaxis(w, (-1, -2), (0, 1)))
    geo = geometry.conv_geometry("test", turned.shape, filters.shape, stride, padding, options.get("dilation", 1),
                                 options.get("groups", 1), data_format)
    gy = normal(*geo.y_shape, seed=9)
    y = run.conv_fprop(turned, filters, bias, geo, activation)
    gx, gw = run.conv_dgrad(gy, filters, None, geo, None), run.conv_wgrad(turned, gy, geo)
    return geo, gy, [y, gx, gw]


def exact(run, geo, gy, x, w):
    """The same in float64, by backend numpy, which shares no code with the kernels."""
    numpy = load("numpy")
    x, w, gy = (a.astype(np.float64) for a in (x, w, gy))
    return [numpy.conv_fprop(x, w, None, geo, None), numpy.conv_dgrad(gy, w, None, geo, None),
            numpy.conv_wgrad(x, gy, geo)]


@pytest.mark.parametrize("part", range(4))
def test_the_table_of_cases(run, part):
    for i, case in enumerate(case for case in CASES if "long" not in case.tags):
        if i % 4 == part:
            check(case, "bfloat16", ("channels_last", "channels_first")[i // 4 % 2], C_KERNEL)


# batch, size, channels, filters, kernel, options: more than one block of terms, tile of rows and panel of columns, with
# rests of each
SHAPES = [(3, (17, 15), 70, 37, (3, 3), {}), (2, (14, 14), 64, 96, (3, 3), {"stride": 2}),
          (2, (30, 29), 3, 20, (7, 7), {"stride": 2, "padding": 3}), (5, (7, 9), 544, 33, (1, 1), {"padding": 0}),
          (2, (16, 16), 96, 65, (1, 1), {"padding": 0}), (1, (20, 19), 24, 36, (3, 3), {"groups": 3, "dilation": 2}),
          (2, (9, 12), 33, 48, (3, 2), {"padding": ((2, 0), (0, 1)), "stride": (2, 3)}),
          (2, (40,), 19, 18, (5,), {"padding": 4}), (1, (6, 7, 5), 11, 40, (3, 3, 3), {}),
          (1, (5, 5), 1, 7, (5, 5), {"padding": 4}), (1, (1, 1), 600, 1, (1, 1), {"padding": 0})]


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("shape", SHAPES, ids=[f"{s[2]}_{s[3]}_{len(s[1])}d" for s in SHAPES])
def test_against_float64(run, shape, data_format):
    batch, size, channels, filters, kernel, options = shape
    x = normal(batch, *size, channels)
    w = normal(*kernel, channels // options.get("groups", 1), filters, seed=1)
    geo, gy, got = all_three(run, x, w, data_format, **options)
    if data_format == "channels_first":
        x, w = np.moveaxis(x, -1, 1), np.moveaxis(w, (-1, -2), (0, 1))
    for ours, right, name in zip(got, exact(run, geo, gy, x, w), ("y", "gx", "gw"), strict=True):
        scale = np.sqrt((right**2).mean())
        np.testing.assert_allclose(ours.astype("f8"), right, rtol=2.0**-8, atol=1e-4 * scale, err_msg=name)


@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
def test_bias_and_activation_are_rounded_once(run, activation):
    x, w, bias = normal(2, 9, 9, 40), normal(3, 3, 40, 50, seed=1), normal(50, seed=2)
    geo, gy, (y, *_) = all_three(run, x, w, bias=bias, activation=activation)
    right = load("numpy").conv_fprop(x.astype("f8"), w.astype("f8"), bias.astype("f8"), geo, activation)
    np.testing.assert_allclose(y.astype("f8"), right, rtol=2.0**-8, atol=1e-3)


def test_the_same_bits_at_any_number_of_threads(run, threads):
    cases = [((6, 40, 39, 48), (3, 3, 48, 70), {}), ((4, 31, 30, 3), (7, 7, 3, 40), {"stride": 2, "padding": 3}),
             ((3, 16, 16, 600), (1, 1, 600, 90), {"padding": 0})]
    threads(1)
    right = [[r.tobytes() for r in all_three(run, normal(*x), normal(*w, seed=1), **o)[2]] for x, w, o in cases]
    for count in (2, 3, 7):
        threads(count)
        for (x, w, o), bits in zip(cases, right, strict=True):
            assert [r.tobytes() for r in all_three(run, normal(*x), normal(*w, seed=1), **o)[2]] == bits, count


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("channels", [3, 32])
def test_infinity_and_nan_do_not_meet_padding(run, value, channels):
    """0 * Inf is NaN: a product with the zeros of the padding would put NaN where the exact result has none."""
    for poisoned in ("x", "w", "gy"):
        x, w = normal(2, 8, 8, channels), normal(3, 3, channels, 16, seed=1)
        geo = geometry.conv_geometry("test", x.shape, w.shape, 1, 1, 1, 1, "channels_last")
        gy = normal(*geo.y_shape, seed=2)
        {"x": x, "w": w, "gy": gy}[poisoned][0, 0, 0, 0] = value
        got = (run.conv_fprop(x, w, None, geo, None), run.conv_dgrad(gy, w, None, geo, None),
               run.conv_wgrad(x, gy, geo))
        with np.errstate(all="ignore"):
            right = exact(run, geo, gy, x, w)
        for ours, theirs in zip(got, right, strict=True):
            np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
            np.testing.assert_array_equal(np.isinf(ours), np.isinf(theirs))


def test_filters_that_are_too_large_to_be_packed_at_once(run):
    x, w = normal(1, 3, 3, 1000), normal(3, 3, 1000, 950, seed=1)
    geo, gy, got = all_three(run, x, w)
    for ours, right in zip(got, exact(run, geo, gy, x, w), strict=True):
        np.testing.assert_allclose(ours.astype("f8"), right, rtol=2.0**-8, atol=2e-4 * np.sqrt((right**2).mean()))


@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 3, 2), (33, 65, 31), (300, 700, 90), (64, 512, 128), (1, 5000, 40),
                                   (257, 96, 1)])
def test_products_of_any_layout(run, sizes):
    m, k, n = sizes
    a, b, c = normal(m, k), normal(k, n, seed=1), normal(m, n, seed=2)
    right = 0.5 * (a.astype("f8") @ b.astype("f8")) - 2.0 * c.astype("f8")
    for left, factor in itertools.product((a, np.asfortranarray(a), a[::-1][::-1]), (b, np.asfortranarray(b))):
        y = run.gemm(left, factor, c, 0.5, -2.0, False, False, None)
        np.testing.assert_allclose(y.astype("f8"), right, rtol=2.0**-8, atol=1e-4 * np.sqrt(k))


@pytest.mark.parametrize("shapes", [((5, 40, 70), (70, 33)), ((5, 40, 70), (5, 70, 33)), ((0, 3, 4), (4, 6)),
                                    ((3, 0), (0, 6)), ((2, 1, 3, 64), (1, 5, 64, 6))])
def test_stacks_of_products(run, shapes):
    a, b = (normal(*shape, seed=i) for i, shape in enumerate(shapes))
    right = np.matmul(a.astype("f8"), b.astype("f8"))
    np.testing.assert_allclose(run.matmul(a, b).astype("f8"), right, rtol=2.0**-8, atol=1e-3)


def test_subnormal_operands_count_as_zeros(run):
    """The units know no others, and docs/cpu.md says so; without the units they are numbers like others."""
    x, w = np.full((4, 32), 1e-39, BF16), np.full((32, 8), 1.0, BF16)
    assert (run.matmul(x, w).astype("f8") == 0).all()
    run.module.use_instruction_set("v4")
    assert (run.matmul(x, w).astype("f8") > 3e-38).all()


def test_the_unit_is_the_first_choice_where_there_is_one():
    names = load("cpu").module.instruction_sets()
    if not set(UNITS) & set(names):
        pytest.skip("this machine, or the compiler of this build, has no unit for pairs of terms")
    assert names[0] in UNITS and "v4" in names
    code = "import convgpu; print(convgpu.backends.load('cpu').module.instruction_set())"
    for chosen, said in (("", names[0]), ("v4", "v4"), (names[0], names[0])):
        done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "CONVGPU_CPU_ISA": chosen},
                              capture_output=True, text=True, cwd=Path(__file__).parent.parent)
        assert done.stdout.strip() == said, done.stderr
