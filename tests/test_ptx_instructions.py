"""Each class of instructions of the machine that runs PTX, written by hand, against NumPy and IEEE's rules."""

from __future__ import annotations

import os
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from ptx_kernels import HEAD, apply, needs_machine

from convgpu import ptx

pytestmark = needs_machine

SHARED = Path(os.environ.get("CONVGPU_SHARED", Path(__file__).resolve().parents[2] / "shared"))
NUMPY = {"u16": np.uint16, "s16": np.int16, "u32": np.uint32, "s32": np.int32, "u64": np.uint64, "s64": np.int64,
         "f32": np.float32, "f64": np.float64, "f16": np.float16, "bf16": ml_dtypes.bfloat16}
INTEGERS = ("u16", "s16", "u32", "s32", "u64", "s64")


def integers(type_: str, seed: int, n: int = 200) -> np.ndarray:
    """Random bits, small numbers, and the ends of the range."""
    info, rng = np.iinfo(NUMPY[type_]), np.random.default_rng(seed)
    ends = np.array([0, 1, 2, 3, info.max, info.max - 1, info.min, info.min + 1, info.max // 2], NUMPY[type_])
    drawn = rng.integers(info.min, info.max, n - 2 * len(ends), NUMPY[type_], endpoint=True)
    return rng.permutation(np.concatenate([ends, ends // 2, drawn]))


def floats(type_: str, seed: int, n: int = 200) -> np.ndarray:
    """Numbers of all sizes, subnormal ones, zeros of both signs, infinities and NaN."""
    dtype, rng = NUMPY[type_], np.random.default_rng(seed)
    info = ml_dtypes.finfo(dtype)
    tiny, most = float(info.smallest_subnormal), float(info.max)
    special = np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, tiny, -tiny, 3 * tiny, most, -most, 0.5, 1.5, 2.5,
                        float(info.tiny), -float(info.tiny)]).astype(dtype)
    wide = (rng.standard_normal(n - len(special)) * np.exp2(rng.integers(-12, 12, n - len(special)))).astype(dtype)
    return rng.permutation(np.concatenate([special, wide]))


def same(got: np.ndarray, expected: np.ndarray) -> None:
    """Bit for bit; any NaN is as good as another."""
    bits = f"u{got.itemsize}"
    nan = np.isnan(expected.astype(np.float64)) if expected.dtype.kind in "fV" else np.zeros(len(expected), bool)
    if expected.dtype.kind in "fV":
        np.testing.assert_array_equal(np.isnan(got.astype(np.float64)), nan)
    np.testing.assert_array_equal(got.view(bits)[~nan], expected.view(bits)[~nan])


BINARY = {  # computed in Python's own integers
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul.lo": lambda a, b: a * b, "min": min, "max": max,
    "div": lambda a, b: -1 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),
    "rem": lambda a, b: a if b == 0 else abs(a) % abs(b) * (-1 if a < 0 else 1),
}


def wrapped(values: list[int], type_: str) -> np.ndarray:
    bits = 8 * NUMPY[type_](0).itemsize
    return np.array([v % (1 << bits) for v in values], f"u{bits // 8}").view(NUMPY[type_])


@pytest.mark.parametrize("type_", INTEGERS)
@pytest.mark.parametrize("name", [*BINARY, "mul.hi"])
def test_integer_arithmetic(name: str, type_: str) -> None:
    a, b = integers(type_, 1), integers(type_, 2)
    bits = 8 * a.itemsize
    f = BINARY.get(name, lambda x, y: x * y >> bits)
    expected = wrapped([f(int(x), int(y)) for x, y in zip(a, b)], type_)
    same(apply(f"{name}.{type_} %d, %a, %b;", type_, (type_, type_), NUMPY[type_], a, b), expected)


@pytest.mark.parametrize("type_", INTEGERS)
def test_mad_and_sad(type_: str) -> None:
    a, b, c = (integers(type_, seed) for seed in (3, 4, 5))
    three = (type_, type_, type_)
    same(apply(f"mad.lo.{type_} %d, %a, %b, %c;", type_, three, NUMPY[type_], a, b, c),
         wrapped([int(x) * int(y) + int(z) for x, y, z in zip(a, b, c)], type_))
    same(apply(f"sad.{type_} %d, %a, %b, %c;", type_, three, NUMPY[type_], a, b, c),
         wrapped([abs(int(x) - int(y)) + int(z) for x, y, z in zip(a, b, c)], type_))


@pytest.mark.parametrize("narrow, wide", [("u16", "u32"), ("s16", "s32"), ("u32", "u64"), ("s32", "s64")])
def test_wide_products(narrow: str, wide: str) -> None:
    a, b = integers(narrow, 6), integers(narrow, 7)
    same(apply(f"mul.wide.{narrow} %d, %a, %b;", wide, (narrow, narrow), NUMPY[wide], a, b),
         wrapped([int(x) * int(y) for x, y in zip(a, b)], wide))


def test_carries_run_through_128_bits() -> None:
    low, high = integers("u64", 8), integers("u64", 9)
    got = apply("{.reg .b64 %u; add.cc.u64 %u, %a, %b; addc.u64 %d, %c, 0;}", "b64", ("b64", "b64", "b64"), np.uint64,
                low, low[::-1], high)
    expected = [((int(a) + int(b) >> 64) + int(c)) % 2**64 for a, b, c in zip(low, low[::-1], high)]
    np.testing.assert_array_equal(got, np.array(expected, np.uint64))


@pytest.mark.parametrize("instruction, function", [
    ("popc.b32 %d, %a;", lambda a: bin(a).count("1")),
    ("clz.b32 %d, %a;", lambda a: 32 - a.bit_length()),
    ("brev.b32 %d, %a;", lambda a: int(f"{a:032b}"[::-1], 2)),
    ("bfind.u32 %d, %a;", lambda a: a.bit_length() - 1),
    ("bfe.u32 %d, %a, 5, 9;", lambda a: a >> 5 & 511),
    ("bfe.s32 %d, %a, 28, 9;", lambda a: (a >> 28) - 16 * (a >> 31)),
    ("bfi.b32 %d, %a, 0x12345678, 8, 12;", lambda a: 0x12345678 & ~0xfff00 | (a & 0xfff) << 8),
    ("prmt.b32 %d, %a, 0xAABBCCDD, 0x0174;", lambda a: 0xAADD | (a >> 8 & 255) << 16 | (a & 255) << 24),
    ("shf.l.wrap.b32 %d, %a, 0x9ABCDEF0, 40;", lambda a: 0x9ABCDEF0 << 8 | a >> 24),
    ("shf.r.clamp.b32 %d, %a, 0x9ABCDEF0, 40;", lambda a: 0x9ABCDEF0),
    ("lop3.b32 %d, %a, 0x0F0F0F0F, 0x00FF00FF, 0x96;", lambda a: a ^ 0x0F0F0F0F ^ 0x00FF00FF),
    ("lop3.b32 %d, %a, 0x0F0F0F0F, 0x00FF00FF, 0xE2;", lambda a: a & 0x0F0F0F0F | ~0x0F0F0F0F & 0x00FF00FF),
    ("shl.b32 %d, %a, 33;", lambda a: 0),
    ("shr.s32 %d, %a, 40;", lambda a: -(a >> 31)),
    ("not.b32 %d, %a;", lambda a: ~a),
    ("cnot.b32 %d, %a;", lambda a: a == 0),
])
def test_bits(instruction, function) -> None:
    a = integers("u32", 10)
    expected = wrapped([int(function(int(x))) for x in a], "u32")
    np.testing.assert_array_equal(apply(instruction, "b32", ("b32",), np.uint32, a), expected)


FLOAT = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div.rn": np.divide}


@pytest.mark.parametrize("type_", ["f32", "f64"])
@pytest.mark.parametrize("name", FLOAT)
def test_floating_point(name: str, type_: str) -> None:
    a, b = floats(type_, 11), floats(type_, 12)
    with np.errstate(all="ignore"):
        same(apply(f"{name}.{type_} %d, %a, %b;", type_, (type_, type_), NUMPY[type_], a, b), FLOAT[name](a, b))


def test_nan_is_canonical_in_float32() -> None:
    infinite = np.array([np.inf, -np.inf, np.nan], np.float32)
    got = apply("mul.f32 %d, %a, 0f00000000;", "f32", ("f32",), np.float32, infinite)
    np.testing.assert_array_equal(got.view(np.uint32), 0x7fffffff)


def test_fused_multiply_add_rounds_once() -> None:
    a, b, c = (floats("f32", seed) for seed in (13, 14, 15))
    with np.errstate(all="ignore"):
        exact = a.astype(np.longdouble) * b.astype(np.longdouble) + c.astype(np.longdouble)
        got = apply("fma.rn.f32 %d, %a, %b, %c;", "f32", ("f32",) * 3, np.float32, a, b, c)
        same(got, exact.astype(np.float32))
        twice = a * b + c
    assert (got.view(np.uint32) != twice.view(np.uint32)).any(), "no case tells one rounding from two"


@pytest.mark.parametrize("mode, toward", [("rz", 0.0), ("rm", -np.inf), ("rp", np.inf)])
@pytest.mark.parametrize("name", ["add", "mul", "div", "fma"])
def test_directed_roundings(name: str, mode: str, toward: float) -> None:
    rng = np.random.default_rng(16)
    a, b, c = (rng.standard_normal(200).astype(np.float32) for _ in range(3))
    wide = [v.astype(np.longdouble) for v in (a, b, c)]
    exact = {"add": wide[0] + wide[1], "mul": wide[0] * wide[1], "div": wide[0] / wide[1],
             "fma": wide[0] * wide[1] + wide[2]}[name]
    near = exact.astype(np.float32)
    beyond = near.astype(np.longdouble)
    wrong = np.abs(beyond) > np.abs(exact) if mode == "rz" else beyond > exact if mode == "rm" else beyond < exact
    expected = np.where(wrong, np.nextafter(near, np.float32(toward)), near)
    operands = "%a, %b, %c" if name == "fma" else "%a, %b"
    same(apply(f"{name}.{mode}.f32 %d, {operands};", "f32", ("f32",) * 3, np.float32, a, b, c), expected)


def test_flushing_and_saturation() -> None:
    tiny = np.array([1e-40, -1e-40, 1.5, -2.0, 0.25, np.nan], np.float32)
    flushed = apply("add.ftz.f32 %d, %a, 0f80000000;", "f32", ("f32",), np.float32, tiny)
    np.testing.assert_array_equal(flushed, np.array([0, -0.0, 1.5, -2, 0.25, np.nan], np.float32))
    assert np.signbit(flushed[1])
    np.testing.assert_array_equal(apply("add.sat.f32 %d, %a, 0f00000000;", "f32", ("f32",), np.float32, tiny),
                                  np.array([1e-40, 0, 1, 0, 0.25, 0], np.float32))


@pytest.mark.parametrize("type_", ["f32", "f64", "f16", "bf16"])
def test_extremes_prefer_numbers_to_nan(type_: str) -> None:
    a, b = floats(type_, 17), floats(type_, 18)
    with np.errstate(all="ignore"):
        for name, function, nan in (("min", np.fmin, np.minimum), ("max", np.fmax, np.maximum)):
            got = apply(f"{name}.{type_} %d, %a, %b;", type_, (type_, type_), NUMPY[type_], a, b)
            expected = function(a.astype(np.float64), b.astype(np.float64)).astype(NUMPY[type_])
            np.testing.assert_array_equal(got.astype(np.float64), expected.astype(np.float64))
            if type_ != "f64":
                got = apply(f"{name}.NaN.{type_} %d, %a, %b;", type_, (type_, type_), NUMPY[type_], a, b)
                expected = nan(a.astype(np.float64), b.astype(np.float64))
                np.testing.assert_array_equal(got.astype(np.float64), expected)
    zeros = apply(f"max.{type_} %d, %a, %b;", type_, (type_, type_), NUMPY[type_],
                  np.array([0.0, -0.0], NUMPY[type_]), np.array([-0.0, 0.0], NUMPY[type_]))
    assert not np.signbit(zeros.astype(np.float64)).any()


@pytest.mark.parametrize("name, function", [
    ("sqrt.rn.f32", np.sqrt), ("rcp.rn.f32", lambda x: 1 / x), ("abs.f32", np.abs), ("neg.f32", np.negative),
    ("cvt.rni.f32.f32", np.rint), ("cvt.rzi.f32.f32", np.trunc), ("cvt.rmi.f32.f32", np.floor),
    ("cvt.rpi.f32.f32", np.ceil)])
def test_functions_that_are_rounded_once(name, function) -> None:
    a = floats("f32", 19)
    with np.errstate(all="ignore"):
        same(apply(f"{name} %d, %a;", "f32", ("f32",), np.float32, a), function(a))


@pytest.mark.parametrize("name, function, bound", [
    ("ex2.approx.f32", np.exp2, 2), ("lg2.approx.f32", np.log2, 2), ("sin.approx.f32", np.sin, 2),
    ("cos.approx.f32", np.cos, 2), ("tanh.approx.f32", np.tanh, 2), ("rsqrt.approx.f32", lambda x: 1 / np.sqrt(x), 2),
    ("sqrt.approx.f32", np.sqrt, 2), ("rcp.approx.f32", lambda x: 1 / x, 2)])
def test_approximations_are_close(name, function, bound) -> None:
    a = np.random.default_rng(20).uniform(0.01, 3, 500).astype(np.float32)
    got = apply(f"{name} %d, %a;", "f32", ("f32",), np.float32, a)
    np.testing.assert_array_max_ulp(got, function(a.astype(np.float64)).astype(np.float32), bound)


@pytest.mark.parametrize("type_", ["f16", "bf16"])
@pytest.mark.parametrize("name, function", [("add", np.add), ("sub", np.subtract), ("mul", np.multiply)])
def test_half_precision(name, function, type_: str) -> None:
    a, b = floats(type_, 21), floats(type_, 22)
    with np.errstate(all="ignore"):
        expected = function(a.astype(np.float64), b.astype(np.float64)).astype(NUMPY[type_])
    same(apply(f"{name}.{type_} %d, %a, %b;", type_, (type_, type_), NUMPY[type_], a, b), expected)
    pairs = [v.view(np.uint32) for v in (a, b)]
    got = apply(f"{name}.{type_}x2 %d, %a, %b;", "b32", ("b32", "b32"), np.uint32, *pairs).view(NUMPY[type_])
    same(got, expected)


@pytest.mark.parametrize("type_", ["f16", "bf16"])
def test_half_fma_rounds_once(type_: str) -> None:
    rng = np.random.default_rng(23)
    a, b = (rng.standard_normal(1000).astype(NUMPY[type_]) for _ in range(2))
    c = (rng.standard_normal(1000) * np.exp2(rng.integers(-20, 5, 1000))).astype(NUMPY[type_])
    exact = a.astype(np.longdouble) * b.astype(np.longdouble) + c.astype(np.longdouble)
    # To odd in a double first, so that the second rounding is right.
    near = exact.astype(np.float64)
    even = (near.view(np.uint64) & 1) == 0
    low, high = np.nextafter(near, -np.inf), np.nextafter(near, np.inf)
    odd = np.where((near.astype(np.longdouble) != exact) & even, np.where(near < exact, high, low), near)
    same(apply(f"fma.rn.{type_} %d, %a, %b, %c;", type_, (type_,) * 3, NUMPY[type_], a, b, c), odd.astype(NUMPY[type_]))


COMPARE = {"eq": lambda a, b: a == b, "ne": lambda a, b: (a < b) | (a > b), "lt": lambda a, b: a < b,
           "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b}


@pytest.mark.parametrize("type_", [*INTEGERS, "f32", "f64", "f16", "bf16"])
def test_comparisons(type_: str) -> None:
    draw = integers if type_ in INTEGERS else floats
    a, b = draw(type_, 24), draw(type_, 25)
    b[::3] = a[::3]
    unordered = {"equ": "ne", "neu": "eq", "ltu": "ge", "leu": "gt", "gtu": "le", "geu": "lt"}
    for name in [*COMPARE, *([] if type_ in INTEGERS else unordered)]:
        got = apply(f"setp.{name}.{type_} %p, %a, %b; selp.b32 %d, 1, 0, %p;", "b32", (type_, type_), np.uint32, a, b)
        expected = COMPARE[name](a, b) if name in COMPARE else ~COMPARE[unordered[name]](a, b)
        np.testing.assert_array_equal(got, np.asarray(expected, np.uint32), err_msg=name)


def test_comparisons_combine_with_predicates() -> None:
    a = np.arange(8, dtype=np.uint32)
    text = ("setp.lt.u32 %q, %a, 6; setp.gt.and.u32 %p|%q, %a, 2, !%q; selp.b32 %d, 1, 0, %p; "
            "@%q add.u32 %d, %d, 10; @!%q add.u32 %d, %d, 100;")
    np.testing.assert_array_equal(apply(text, "b32", ("b32",), np.uint32, a), [100] * 6 + [101] * 2)


@pytest.mark.parametrize("to", ["u16", "s16", "u32", "s32", "u64", "s64"])
@pytest.mark.parametrize("mode, rounding", [("rni", np.rint), ("rzi", np.trunc), ("rmi", np.floor), ("rpi", np.ceil)])
@pytest.mark.parametrize("from_", ["f32", "f64", "f16"])
def test_floats_to_integers(from_: str, mode: str, rounding, to: str) -> None:
    more = np.array([2.5, 3.5, -2.5, 1e9, -1e9, 5e9, 1e19, -1e19]).astype(NUMPY[from_])
    a, info = np.concatenate([floats(from_, 26), more]), np.iinfo(NUMPY[to])
    expected = []
    with np.errstate(all="ignore"):
        for x in a.astype(np.float64):
            nan = (1 << 63) if info.bits == 64 else 0
            expected.append(nan if np.isnan(x) else info.max if x > 1e30 else info.min if x < -1e30 else
                            min(max(int(rounding(x)), info.min), info.max))
        got = apply(f"cvt.{mode}.{to}.{from_} %d, %a;", to, (from_,), NUMPY[to], a)
    np.testing.assert_array_equal(got, wrapped(expected, to))


@pytest.mark.parametrize("from_", INTEGERS)
def test_integers_to_floats(from_: str) -> None:
    a = integers(from_, 27)
    with np.errstate(over="ignore"):
        for to in ("f32", "f64", "f16"):
            same(apply(f"cvt.rn.{to}.{from_} %d, %a;", to, (from_,), NUMPY[to], a), a.astype(NUMPY[to]))


@pytest.mark.parametrize("to", INTEGERS)
@pytest.mark.parametrize("from_", INTEGERS)
def test_integers_to_integers(from_: str, to: str) -> None:
    a = integers(from_, 28)
    same(apply(f"cvt.{to}.{from_} %d, %a;", to, (from_,), NUMPY[to], a), a.astype(NUMPY[to]))
    info = np.iinfo(NUMPY[to])
    clamped = np.array([min(max(int(x), info.min), info.max) for x in a], NUMPY[to])
    same(apply(f"cvt.sat.{to}.{from_} %d, %a;", to, (from_,), NUMPY[to], a), clamped)


@pytest.mark.parametrize("from_, to", [("f32", "f16"), ("f32", "bf16"), ("f64", "f32"), ("f64", "f16"), ("f16", "f32"),
                                       ("bf16", "f32"), ("f32", "f64"), ("f16", "f64")])
def test_floats_to_floats(from_: str, to: str) -> None:
    a = floats(from_, 29, 1000)
    mode = ".rn" if NUMPY[to](0).itemsize < NUMPY[from_](0).itemsize else ""
    with np.errstate(all="ignore"):
        same(apply(f"cvt{mode}.{to}.{from_} %d, %a;", to, (from_,), NUMPY[to], a), a.astype(NUMPY[to]))


def test_every_half_there_and_back() -> None:
    """All 65,536 patterns of f16 and bf16 to float32, and all their neighbours' midpoints back."""
    for type_ in ("f16", "bf16"):
        every = np.arange(1 << 16, dtype=np.uint16).view(NUMPY[type_])
        for part in np.split(every, 64):
            with np.errstate(all="ignore"):
                wide = part.astype(np.float32)
                same(apply(f"cvt.f32.{type_} %d, %a;", "f32", (type_,), np.float32, part), wide)
                between = (wide[:-1] + np.diff(wide) / 2).astype(np.float32)
                same(apply(f"cvt.rn.{type_}.f32 %d, %a;", type_, ("f32",), NUMPY[type_], between),
                     between.astype(NUMPY[type_]))


def test_pairs_of_halves_and_tf32() -> None:
    a, b = floats("f32", 30), floats("f32", 31)
    with np.errstate(all="ignore"):
        for type_ in ("f16", "bf16"):
            got = apply(f"cvt.rn.{type_}x2.f32 %d, %a, %b;", "b32", ("f32", "f32"), np.uint32, a, b).view(NUMPY[type_])
            same(got[0::2], b.astype(NUMPY[type_]))
            same(got[1::2], a.astype(NUMPY[type_]))
    bits = a[np.isfinite(a) & (np.abs(a) > 1e-30) & (np.abs(a) < 1e30)].view(np.uint32)
    got = apply("cvt.rna.tf32.f32 %d, %a;", "b32", ("b32",), np.uint32, bits)
    np.testing.assert_array_equal(got, bits + np.uint32(0x1000) & np.uint32(0xffffe000))


def test_narrow_loads_extend_into_wide_registers() -> None:
    x = np.array([0x80, 0x7f, 0xff], np.uint8)
    module = ptx.Module(HEAD + """.entry k(.param .u64 x, .param .u64 y) {
        .reg .b64 %x, %y; .reg .b32 %t, %s; .reg .b16 %h;
        ld.param.u64 %x, [x]; ld.param.u64 %y, [y]; mov.u32 %t, %tid.x; cvt.u64.u32 %y, %t;
        { .reg .b64 %a; cvt.u64.u32 %a, %t; add.u64 %x, %x, %a; ld.param.u64 %y, [y]; mad.wide.u32 %y, %t, 8, %y; }
        ld.global.s8 %s, [%x]; st.global.b32 [%y], %s;
        ld.global.u8 %h, [%x]; cvt.u32.u8 %s, %h; st.global.u32 [%y+4], %s; ret; }""")
    y = np.zeros((3, 2), np.int32)
    module["k"][1, 3](x, y)
    np.testing.assert_array_equal(y, [[-128, 128], [127, 127], [-1, 255]])


def test_packing_and_vectors() -> None:
    x = np.arange(8, dtype=np.uint32)
    y = np.zeros(8, np.uint32)
    ptx.Module(HEAD + """.entry k(.param .u64 x, .param .u64 y) {
        .reg .b64 %x, %y, %w; .reg .b32 %r<4>; .reg .b16 %h<2>;
        ld.param.u64 %x, [x]; ld.param.u64 %y, [y];
        ld.global.v4.b32 {%r0, %r1, %r2, %r3}, [%x]; mov.b64 %w, {%r3, %r2}; st.global.b64 [%y], %w;
        ld.global.v2.b32 {_, %r1}, [%x+16]; mov.b32 {%h0, %h1}, %r1; mov.b32 %r0, {%h1, %h0};
        st.global.v2.u32 [%y+8], {%r0, %r1}; ret; }""")["k"][1, 1](x, y)
    np.testing.assert_array_equal(y, [3, 2, 5 << 16, 5, 0, 0, 0, 0])


def warp(instruction: str, a: np.ndarray) -> np.ndarray:
    return apply(instruction, "b32", ("b32",), np.uint32, a)


@pytest.mark.parametrize("instruction, source", [
    ("shfl.sync.up.b32 %d|%p, %a, 3, 0, -1;", lambda lane: lane - 3 if lane >= 3 else lane),
    ("shfl.sync.down.b32 %d|%p, %a, 5, 31, -1;", lambda lane: lane + 5 if lane < 27 else lane),
    ("shfl.sync.bfly.b32 %d|%p, %a, 16, 31, -1;", lambda lane: lane ^ 16),
    ("shfl.sync.idx.b32 %d|%p, %a, 2, 0x181f, -1;", lambda lane: lane // 8 * 8 + 2),
    ("shfl.sync.down.b32 %d|%p, %a, 4, 0x181f, -1;", lambda lane: lane + 4 if lane % 8 < 4 else lane),
])
def test_shuffles(instruction: str, source) -> None:
    a = np.arange(64, dtype=np.uint32) * 7
    expected = [a[k // 32 * 32 + source(k % 32)] for k in range(64)]
    np.testing.assert_array_equal(warp(instruction, a), expected)


def test_votes_matches_and_reductions() -> None:
    a = np.array([3, 1, 3, 7] * 8, np.uint32)
    threes = sum(1 << k for k in range(32) if a[k] == 3)
    assert (warp("setp.eq.u32 %p, %a, 3; vote.sync.ballot.b32 %d, %p, -1;", a) == threes).all()
    assert (warp("setp.gt.u32 %p, %a, 0; vote.sync.all.pred %q, %p, -1; selp.b32 %d, 1, 0, %q;", a) == 1).all()
    assert (warp("setp.gt.u32 %p, %a, 9; vote.sync.any.pred %q, %p, -1; selp.b32 %d, 1, 0, %q;", a) == 0).all()
    assert (warp("activemask.b32 %d;", a) == 0xffffffff).all()
    np.testing.assert_array_equal(warp("match.any.sync.b32 %d, %a, -1;", a),
                                  [sum(1 << k for k in range(32) if a[k] == mine) for mine in a])
    assert (warp("redux.sync.add.u32 %d, %a, -1;", a) == a.sum()).all()
    assert (warp("redux.sync.max.s32 %d, %a, -1;", a) == 7).all()
    assert (warp("redux.sync.xor.b32 %d, %a, -1;", a) == np.bitwise_xor.reduce(a)).all()
    elected = warp("elect.sync %d|%p, -1; @%p add.u32 %d, %d, 5;", a)
    np.testing.assert_array_equal(elected, [5] + [0] * 31)


@pytest.mark.parametrize("name, type_, start, function", [
    ("add", "u32", 5, lambda a: 5 + a.sum()), ("min", "s32", 5, lambda a: a.view(np.int32).min()),
    ("max", "u32", 0, lambda a: a.max()), ("or", "b32", 0, np.bitwise_or.reduce),
    ("and", "b32", 0xffffffff, np.bitwise_and.reduce), ("xor", "b32", 0, np.bitwise_xor.reduce)])
@pytest.mark.parametrize("space", ["global", "shared", "generic"])
def test_atomics(space: str, name: str, type_: str, start: int, function) -> None:
    a, total = integers("u32", 32, 96), np.array([start], np.uint32)
    where = "[s]" if space == "shared" else "[%y]"
    before, after = ("", "") if space != "shared" else (
        "@%first st.shared.u32 [s], %total; bar.sync 0;",
        "bar.sync 0; ld.shared.u32 %total, [s]; @%first st.global.u32 [%y], %total;")
    ptx.Module(HEAD + f""".shared .align 4 .b32 s; .entry k(.param .u64 x, .param .u64 y) {{
        .reg .b64 %x, %y; .reg .b32 %t, %a, %total; .reg .pred %first;
        ld.param.u64 %x, [x]; ld.param.u64 %y, [y]; mov.u32 %t, %tid.x; setp.eq.u32 %first, %t, 0;
        mad.wide.u32 %x, %t, 4, %x; ld.global.u32 %a, [%x]; @%first ld.global.u32 %total, [%y];
        {before} red{'' if space == 'generic' else '.' + space}.{name}.{type_} {where}, %a; {after} ret;
        }}""")["k"][1, 96](a, total)
    assert total[0] == np.uint32(int(function(a)) % 2**32)


def test_atomics_return_what_was_there() -> None:
    where = "{.reg .b64 %z; ld.param.u64 %z, [pb]; atom.global."
    got = apply(where + "add.u32 %d, [%z], %a;}", "b32", ("b32", "b32"), np.uint32,
                np.ones(64, np.uint32), np.zeros(64, np.uint32))
    np.testing.assert_array_equal(np.sort(got), np.arange(64))
    got = apply(where + "cas.b32 %d, [%z], %a, 9;}", "b32", ("b32", "b32"), np.uint32,
                np.arange(32, dtype=np.uint32), np.zeros(32, np.uint32))
    np.testing.assert_array_equal(got, [0] + [9] * 31)


def test_indexed_branches_and_calls() -> None:
    text = """.func (.param .b32 r) twice(.param .b32 a) { .reg .b32 %v; .reg .pred %p; ld.param.b32 %v, [a];
        setp.gt.u32 %p, %v, 100; @%p bra BIG; add.u32 %v, %v, %v; st.param.b32 [r], %v; ret;
        BIG: mov.b32 %v, 7; st.param.b32 [r], %v; ret; }
    .entry k(.param .u64 y) { .reg .b64 %y; .reg .b32 %t, %m, %v;
        ld.param.u64 %y, [y]; mov.u32 %t, %tid.x; mad.wide.u32 %y, %t, 4, %y; and.b32 %m, %t, 3;
        targets: .branchtargets A, B, A, C;
        brx.idx %m, targets;
        A: mov.u32 %v, %t; bra DONE;
        B: mov.u32 %v, 50; bra DONE;
        C: mov.u32 %v, 101;
        DONE: { .param .b32 arg; .param .b32 out; st.param.b32 [arg], %v;
            call (out), twice, (arg); ld.param.b32 %v, [out]; }
        st.global.u32 [%y], %v; ret; }"""
    y = np.zeros(40, np.uint32)
    ptx.Module(HEAD + text)["k"][1, 40](y)
    expected = [(2 * t if 2 * t <= 200 else 7, 100, 2 * t, 7)[t % 4] for t in range(40)]
    np.testing.assert_array_equal(y, expected)


# --- tensor cores


MMA = {"bf16": ("m16n8k16", 4, 2, 16, 2), "fp16": ("m16n8k16", 4, 2, 16, 2), "tf32": ("m16n8k4", 2, 1, 4, 1)}


@pytest.mark.parametrize("format_", MMA)
def test_tensor_cores_as_recorded_on_an_h200(format_: str) -> None:
    """Each recorded dot product is one element of a matrix product: row 0 of A, column 0 of B; the others are zero."""
    path = SHARED / "data" / "tensor_core_h200.npz"
    if not path.is_file():
        pytest.skip("the results that were recorded on an H200 are not here")
    data = np.load(path)
    a, b, c, d = (data[f"{format_}_{k}"] for k in "abcd")
    shape, a_registers, b_registers, depth, per_register = MMA[format_]
    type_ = {"fp16": "f16"}.get(format_, format_)
    n = len(c)
    if per_register == 2:
        to = np.float16 if format_ == "fp16" else ml_dtypes.bfloat16
        a, b = (np.ascontiguousarray(v.view(np.float32).astype(to)).view(np.uint32) for v in (a, b))
    registers = [f"%a{k}" for k in range(a_registers)]
    # Of A's row 0, thread t of group 0 has the elements per_register * t and, in register 2, those 4 * per_register on.
    load_a = "".join(f"@%first ld.global.b32 %a{2 * k}, [%qa+{16 * k}];" for k in range(max(a_registers // 2, 1)))
    load_b = "".join(f"@%first ld.global.b32 %b{k}, [%qb+{16 * k}];" for k in range(b_registers))
    kernel = ptx.Module(HEAD + f""".entry k(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d) {{
        .reg .b32 %a<4>, %b<2>, %lane, %block; .reg .f32 %c<4>, %d<4>; .reg .pred %first, %zero;
        .reg .b64 %qa, %qb, %qc, %qd;
        mov.u32 %lane, %laneid; mov.u32 %block, %ctaid.x; setp.lt.u32 %first, %lane, 4; setp.eq.u32 %zero, %lane, 0;
        ld.param.u64 %qa, [a]; ld.param.u64 %qb, [b]; ld.param.u64 %qc, [c]; ld.param.u64 %qd, [d];
        mad.wide.u32 %qa, %block, {4 * depth // per_register}, %qa;
        mad.wide.u32 %qb, %block, {4 * depth // per_register}, %qb;
        mad.wide.u32 %qa, %lane, 4, %qa; mad.wide.u32 %qb, %lane, 4, %qb; mad.wide.u32 %qc, %block, 4, %qc;
        mad.wide.u32 %qd, %block, 4, %qd;
        {"".join(f"mov.b32 %a{k}, 0;" for k in range(4))} mov.b32 %b0, 0; mov.b32 %b1, 0;
        {"".join(f"mov.f32 %c{k}, 0f00000000;" for k in range(4))}
        {load_a} {load_b} @%zero ld.global.f32 %c0, [%qc];
        mma.sync.aligned.{shape}.row.col.f32.{type_}.{type_}.f32 {{%d0, %d1, %d2, %d3}}, {{{", ".join(registers)}}},
            {{{", ".join(f"%b{k}" for k in range(b_registers))}}}, {{%c0, %c1, %c2, %c3}};
        @%zero st.global.f32 [%qd], %d0; ret; }}""")["k"]
    got = np.zeros(n, np.uint32)
    kernel[n, 32](np.ascontiguousarray(a), np.ascontiguousarray(b), np.ascontiguousarray(c), got)
    assert (got == d).sum() == n


@pytest.mark.parametrize("shape, type_, dtype, per_register", [
    ("m16n8k8", "f16", np.float16, 2), ("m16n8k16", "f16", np.float16, 2), ("m16n8k16", "bf16", ml_dtypes.bfloat16, 2),
    ("m16n8k8", "bf16", ml_dtypes.bfloat16, 2), ("m16n8k4", "tf32", np.float32, 1), ("m16n8k8", "tf32", np.float32, 1),
    ("m16n8k16", "s8", np.int8, 4), ("m16n8k32", "s8", np.int8, 4), ("m16n8k32", "u8", np.uint8, 4)])
def test_matrix_products_place_their_elements(shape: str, type_: str, dtype: type, per_register: int) -> None:
    """Small integers, whose sums are exact in every format: wrong places show, roundings do not."""
    depth, rng = int(shape.partition("k")[2]), np.random.default_rng(33)
    low = 0 if type_ == "u8" else -8
    a, b = rng.integers(low, 9, (16, depth)).astype(dtype), rng.integers(low, 9, (depth, 8)).astype(dtype)
    integer = type_ in ("s8", "u8")
    c = rng.integers(-9, 10, (16, 8)).astype(np.int32 if integer else np.float32)
    lanes_, n = np.arange(32), per_register
    g, t = lanes_ // 4, lanes_ % 4
    registers_b = depth // (4 * n)
    fragment = {"a": [], "b": []}
    for r in range(2 * registers_b):
        fragment["a"].append(np.stack([a[g + 8 * (r & 1), n * t + 4 * n * (r >> 1) + j] for j in range(n)], 1))
    for r in range(registers_b):
        fragment["b"].append(np.stack([b[n * t + 4 * n * r + j, g] for j in range(n)], 1))
    packed = {k: np.ascontiguousarray(np.stack(v)).reshape(len(v), -1).view(np.uint32) for k, v in fragment.items()}
    places = [(g + 8 * (r >> 1), 2 * t + (r & 1)) for r in range(4)]
    fragment_c = np.stack([c[place] for place in places]).view(np.uint32)
    d = np.zeros((4, 32), np.uint32)
    load = "".join(f"ld.global.b32 %{k}{r}, [%q{k}+{128 * r}];" for k, count in
                   (("a", len(packed["a"])), ("b", len(packed["b"])), ("c", 4)) for r in range(count))
    store = "".join(f"st.global.b32 [%qd+{128 * r}], %d{r};" for r in range(4))
    listed = {k: "{" + ", ".join(f"%{k}{r}" for r in range(count)) + "}" for k, count in
              (("a", len(packed["a"])), ("b", len(packed["b"])), ("c", 4), ("d", 4))}
    sums = "s32" if integer else "f32"
    kernel = ptx.Module(HEAD + f""".entry k(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d) {{
        .reg .b32 %a<4>, %b<4>, %c<4>, %d<4>, %lane; .reg .b64 %qa, %qb, %qc, %qd; mov.u32 %lane, %laneid;
        {"".join(f"ld.param.u64 %q{k}, [{k}]; mad.wide.u32 %q{k}, %lane, 4, %q{k};" for k in "abcd")} {load}
        mma.sync.aligned.{shape}.row.col.{sums}.{type_}.{type_}.{sums}
        {listed["d"]}, {listed["a"]}, {listed["b"]}, {listed["c"]};
        {store} ret; }}""")["k"]
    kernel[1, 32](packed["a"], packed["b"], fragment_c, d)
    expected = (a.astype(np.float64) @ b.astype(np.float64) + c).astype(c.dtype)
    np.testing.assert_array_equal(d.view(c.dtype), np.stack([expected[place] for place in places]))


@pytest.mark.parametrize("trans", ["", ".trans"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_ldmatrix_and_stmatrix(count: int, trans: str) -> None:
    x = np.random.default_rng(34).integers(0, 1 << 16, (8 * count, 8)).astype(np.uint16)
    fragments, back = np.zeros((count, 32), np.uint32), np.zeros_like(x)
    registers = "{" + ", ".join(f"%r{k}" for k in range(count)) + "}"
    ptx.Module(HEAD + f""".shared .align 16 .b8 s[{128 * count}];
    .entry k(.param .u64 x, .param .u64 f, .param .u64 y) {{
        .reg .b64 %x, %f, %y; .reg .b32 %r<4>, %t, %s, %m, %v<4>; .reg .pred %p;
        ld.param.u64 %x, [x]; ld.param.u64 %f, [f]; ld.param.u64 %y, [y]; mov.u32 %t, %laneid;
        and.b32 %m, %t, {8 * count - 1}; mov.u32 %s, s; mad.lo.u32 %s, %m, 16, %s; setp.lt.u32 %p, %t, {8 * count};
        mad.wide.u32 %x, %m, 16, %x; mad.wide.u32 %y, %m, 16, %y; mad.wide.u32 %f, %t, 4, %f;
        @%p ld.global.v4.b32 {{%v0, %v1, %v2, %v3}}, [%x]; @%p st.shared.v4.b32 [%s], {{%v0, %v1, %v2, %v3}};
        bar.warp.sync -1; ldmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 {registers}, [%s]; bar.warp.sync -1;
        stmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 [%s], {registers}; bar.warp.sync -1;
        @%p ld.shared.v4.b32 {{%v0, %v1, %v2, %v3}}, [%s]; @%p st.global.v4.b32 [%y], {{%v0, %v1, %v2, %v3}};
        {"".join(f"st.global.b32 [%f+{128 * k}], %r{k};" for k in range(count))} ret;
        }}""")["k"][1, 32](x, fragments, back)
    np.testing.assert_array_equal(back, x)
    matrices = x.reshape(count, 8, 8)
    if trans:
        matrices = matrices.transpose(0, 2, 1)
    np.testing.assert_array_equal(fragments.view(np.uint16).reshape(count, 8, 8), matrices)


def test_an_unknown_instruction_is_named_with_its_line() -> None:
    module = ptx.Module(HEAD + ".entry k() {\n .reg .b32 %r;\n tex.1d.v4.f32.s32 {%r}, [t, {%r}];\n ret; }")
    with pytest.raises(ValueError, match="PTX line 6: tex.1d.v4.f32.s32, in k: the machine does not have"):
        module.check()
    module = ptx.Module(HEAD + ".entry k() {\n .reg .b32 %r;\n add.strange.u32 %r, %r, 1;\n ret; }")
    with pytest.raises(ValueError, match="PTX line 6: add.strange.u32, in k: "):
        module["k"][1, 1]()
    with pytest.raises(ValueError, match="PTX line 4: expected a directive that the machine knows, got surprise"):
        ptx.Module(HEAD + "surprise")
    with pytest.raises(ValueError, match="PTX line 6: add.u32, in k: expected a register of 32 bits, got"):
        ptx.Module(HEAD + ".entry k() {\n .reg .b64 %r;\n add.u32 %r, %r, 1;\n ret; }").check()
