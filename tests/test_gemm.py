"""gemm, matmul and linear: against float64 within the bound, their gradients, and what they refuse."""

from __future__ import annotations

import importlib
import subprocess
import sys

import numpy as np
import pytest

import convgpu as cg
from convgpu.backends.numpy.workers import get_num_threads, set_num_threads
from convgpu.cases.gemm import GemmCase, gemm_cases
from convgpu.cases.tolerance import worst
from convgpu.dtypes import as_dtype
from convgpu.tensor import wrap

blocked = importlib.import_module("convgpu.backends.numpy.gemm")  # the package has a function of that name
DTYPES = ("float64", "float32", "float16", "bfloat16")
SMALL = [case for case in gemm_cases() if case.m * case.n * case.k < 50_000]


def normal(*shape, seed=0, dtype="float64"):
    return np.random.default_rng(seed).standard_normal(shape).astype(as_dtype(dtype))


def exact(case: GemmCase, a, b, c):
    """The product before the activation in higher precision, and the same on absolute values."""
    def value(a, b, c, alpha, beta):
        product = alpha * ((a.T if case.trans_a else a) @ (b.T if case.trans_b else b))
        return product if c is None or case.beta == 0 else product + beta * c

    wide = [None if t is None else t.astype(np.longdouble if t.dtype == np.float64 else np.float64) for t in (a, b, c)]
    absolute = [None if t is None else np.abs(t) for t in wide]
    return (value(*wide, case.alpha, case.beta).astype(np.float64),
            value(*absolute, abs(case.alpha), abs(case.beta)).astype(np.float64))


ACTIVATE = {None: lambda y: y, "relu": lambda y: np.maximum(y, 0), "tanh": np.tanh,
            "sigmoid": lambda y: 1 / (1 + np.exp(-y))}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", gemm_cases(), ids=lambda case: case.name)
def test_cases_stay_within_the_bound(case, dtype, backend):
    if dtype == "float64" and "long" in case.tags:
        pytest.skip("the higher precision takes minutes, and float64 has digits to spare")
    a, b, c = (case.draw(role, dtype) for role in "abc")
    y = cg.gemm(a, b, c, **case.options)
    before, magnitude = exact(case, a, b, c)
    after = ACTIVATE[case.activation](before)
    assert y.dtype == as_dtype(dtype)
    # slopes are at most 1, and tanh and sigmoid add roundings of their own to values of at most 1
    magnitude = magnitude if case.activation in (None, "relu") else magnitude + 1
    assert worst(y.numpy(), after, magnitude, case.k + 1) <= 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", gemm_cases("long"), ids=lambda case: case.name)
def test_gradients_of_long_sums_stay_within_the_bound(case, dtype, backend):
    a, b, g = (case.draw(role, dtype) for role in "abg")
    ta, tb = (cg.tensor(t, requires_grad=True) for t in (a, b))
    cg.gemm(ta, tb, **case.options).backward(g)
    a64, b64, g64 = (t.astype(np.float64) for t in (a, b, g))
    ga, gb = g64 @ b64.T, (a64 @ g64 if case.trans_a else a64.T @ g64)
    ga_size, gb_size = abs(g64) @ abs(b64).T, abs(a64) @ abs(g64) if case.trans_a else abs(a64).T @ abs(g64)
    assert worst(ta.grad.numpy(), ga.T if case.trans_a else ga, ga_size.T if case.trans_a else ga_size, case.n) <= 1
    assert worst(tb.grad.numpy(), gb, gb_size, case.m) <= 1


@pytest.mark.parametrize("case", [case for case in SMALL if "empty" not in case.tags], ids=lambda case: case.name)
def test_adjoint(case, backend):
    """<g, gemm(a, b)> = <gemm's gradient in a, a> = <gemm's gradient in b, b>: it is bilinear."""
    a, b = (cg.tensor(case.draw(role, "float64"), requires_grad=True) for role in "ab")
    g = case.draw("g", "float64")
    options = {**case.options, "activation": None}
    y = cg.gemm(a, b, **options)
    y.backward(g)
    inner = float((y.numpy() * g).sum())
    for t in (a, b):
        np.testing.assert_allclose((t.grad.numpy() * t.numpy()).sum(), inner, rtol=1e-11, atol=1e-11)


OPTIONS = [case for case in SMALL if "empty" not in case.tags and case.k == 21]


@pytest.mark.parametrize("case", OPTIONS, ids=lambda case: case.name)
def test_gradients_of_first_and_second_order(case):
    small = GemmCase(**{**case.__dict__, "m": 3, "n": 2, "k": 4,
                        "c": case.c and tuple({13: 3, 7: 2}.get(n, n) for n in case.c)})
    operands = [small.draw(role, "float64") for role in "abc"]
    cg.check_grad(lambda *xs: cg.gemm(*xs, **small.options), *operands, order=2)


@pytest.mark.parametrize("activation", ["gelu", "elu", "leaky_relu", "softmax"])
def test_activations_that_are_not_fused_follow(activation):
    a, b, c = normal(3, 4), normal(4, 5, seed=1), normal(5, seed=2)
    np.testing.assert_array_equal(cg.gemm(a, b, c, activation=activation), getattr(cg, activation)(cg.gemm(a, b, c)))
    cg.check_grad(lambda *xs: cg.gemm(*xs, activation=activation), a, b, c, order=2)


@pytest.mark.parametrize("shape", [(3, 0), (0, 3)])
def test_empty_batches_have_zero_gradients(shape, backend):
    x, w, bias = (cg.tensor(normal(*s), requires_grad=True) for s in (shape, (shape[1], 4), (4,)))
    y = cg.linear(x, w, bias)
    assert y.shape == (shape[0], 4)
    np.testing.assert_array_equal(y, np.broadcast_to(bias, y.shape))
    y.sum().backward()
    assert x.grad.shape == x.shape and not w.grad.numpy().any()
    np.testing.assert_array_equal(bias.grad, np.full(4, shape[0]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_infinities_and_nan_go_where_ieee_sends_them(dtype, backend):
    a = np.zeros((4, 300))
    a[0, 5], a[1, 299], a[2, 0], a[3, 7] = np.inf, np.nan, -np.inf, 1
    b = np.ones((300, 3))
    b[:, 1], b[5, 2] = -1, 0
    with np.errstate(invalid="ignore"):
        y = cg.gemm(a.astype(as_dtype(dtype)), b.astype(as_dtype(dtype))).numpy().astype(np.float64)
    np.testing.assert_array_equal(y, [[np.inf, -np.inf, np.nan], [np.nan] * 3, [-np.inf, np.inf, -np.inf], [1, -1, 1]])


def test_c_is_not_read_where_beta_is_zero(backend):
    c = cg.tensor([np.nan, np.inf], requires_grad=True)
    y = cg.gemm([[1.0]], [[2.0, 3.0]], c.astype("float32"), beta=0)
    np.testing.assert_array_equal(y, [[2, 3]])
    y.backward([[np.inf, np.nan]])
    np.testing.assert_array_equal(c.grad, [0, 0])


def test_denormal_products_are_kept(backend):
    y = cg.gemm(np.float32([[1e-20]]), np.float32([[1e-20]]))
    assert y.item() == np.float32(1e-20) * np.float32(1e-20) != 0


@pytest.mark.parametrize("layout", ["reversed", "strided", "broadcast", "fortran", "read_only"])
def test_any_strides(layout, backend):
    a, b = normal(40, 300), normal(300, 30, seed=1)
    view = {"reversed": lambda t: t[::-1, ::-1], "strided": lambda t: t.repeat(2, 0).repeat(3, 1)[::2, ::3],
            "broadcast": lambda t: np.broadcast_to(t[:1], t.shape), "fortran": np.asfortranarray,
            "read_only": lambda t: t}[layout]
    a, b = view(a), view(b)
    a.flags.writeable = False
    np.testing.assert_allclose(cg.gemm(wrap(a), wrap(b)), a @ b, atol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("sizes", [(700, 900, 500), (3, 5, 70_000), (1, 2000, 300)])
def test_the_same_bits_at_any_thread_count(sizes, dtype):
    m, n, k = sizes
    a, b, c = normal(m, k, dtype=dtype), normal(k, n, seed=1, dtype=dtype), normal(n, seed=2, dtype=dtype)
    before, results = get_num_threads(), []
    try:
        for threads in (1, 2, 3, 1):
            set_num_threads(threads)
            results.append(cg.gemm(a, b, c, activation="tanh").numpy().tobytes())
    finally:
        set_num_threads(before)
    assert len(set(results)) == 1


def test_the_same_bits_in_another_process_with_other_blas_threads():
    code = ("import numpy as np, convgpu as cg, zlib\n"
            "r = np.random.default_rng(0)\n"
            "a, b = r.random((300, 700), np.float32), r.random((700, 600), np.float32)\n"
            "print(zlib.crc32(cg.gemm(a, b).numpy().tobytes()), zlib.crc32(cg.matmul(a[0], b).numpy().tobytes()))\n")
    printed = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                              env={"OPENBLAS_NUM_THREADS": n, "PYTHONPATH": ":".join(sys.path)}).stdout for n in "12"}
    assert len(printed) == 1


def test_tiles_cover_every_output_once():
    for shape in [(0, 5), (1, 1), (257, 513), (5000, 3), (3, 9000), (2, 3, 70, 40), (0, 4, 4), (5, 0, 4),
                  (3, 600, 700), (2, 3, 600, 700), (900, 2, 20, 30), (5, 3, 0)]:
        hits = np.zeros(shape, int)
        for at in blocked.tiles(shape):
            hits[at] += 1
        assert (hits == 1).all(), shape


@pytest.mark.parametrize("k", [1, 127, 128, 129, 255, 256, 257, 383, 385, 1000, 4097])
@pytest.mark.parametrize("limit", [1, 1 << 16])
def test_blocks_of_k_cover_every_term_once(k, limit, monkeypatch):
    """Small integers, whose sums are exact: a lost or doubled term shows. One call per block, and batched."""
    monkeypatch.setattr(blocked, "BATCH", limit)
    a, b = np.ones((3, k), np.float32), np.ones((k, 2), np.float32)
    b[:, 1] = 2
    out = np.full((3, 2), np.nan, np.float32)
    blocked.product(a, b, out)
    np.testing.assert_array_equal(out, [[k, 2 * k]] * 3)


# --- matmul


MATMUL_SHAPES = [((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 5)), ((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((2, 3, 4), (4,)),
                 ((4,), (2, 4, 5)), ((2, 3, 4), (2, 4, 5)), ((6, 1, 3, 4), (2, 4, 5)), ((2, 1, 3, 4), (1, 6, 4, 5)),
                 ((3, 4), (2, 4, 5)), ((0, 3, 4), (4, 5)), ((2, 3, 0), (2, 0, 5)), ((2, 0, 4), (2, 4, 5)), ((0,), (0,)),
                 ((0,), (0, 3)), ((3, 0), (0,)), ((2, 300, 200), (2, 200, 600)), ((50, 2, 300), (300, 4)),
                 ((500, 1, 20, 30), (2, 30, 25)), ((2, 3, 200, 300), (3, 300, 700))]


@pytest.mark.parametrize("dtype", [*DTYPES, "int64", "bool"])
@pytest.mark.parametrize("shapes", MATMUL_SHAPES, ids=str)
def test_matmul_is_numpys(shapes, dtype, backend):
    a, b = (normal(*s, seed=i) * 3 for i, s in enumerate(shapes))
    a, b = a.astype(as_dtype(dtype)), b.astype(as_dtype(dtype))
    y = cg.matmul(a, b)
    wide = np.float64 if dtype in DTYPES else a.dtype
    expected = np.matmul(a.astype(wide), b.astype(wide))
    assert y.dtype == a.dtype and y.shape == expected.shape
    if dtype in DTYPES:
        assert worst(y.numpy(), expected, np.matmul(abs(a.astype(wide)), abs(b.astype(wide))), a.shape[-1]) <= 1
    else:
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("shapes", MATMUL_SHAPES[:11], ids=str)
def test_matmul_gradients(shapes):
    cg.check_grad(cg.matmul, *(normal(*s, seed=i) for i, s in enumerate(shapes)), order=2)


@pytest.mark.parametrize("dtypes", [("float32", "float64"), ("float16", "float32"), ("bfloat16", "float32"),
                                    ("int32", "float64"), ("int32", "int64"), ("bool", "float32")])
def test_matmul_promotes(dtypes, backend):
    a, b = (np.ones(s, as_dtype(d)) for s, d in zip([(2, 3), (3, 2)], dtypes))
    y = cg.matmul(a, b)
    assert y.dtype == np.result_type(a, b)
    np.testing.assert_array_equal(y.astype("float64"), np.full((2, 2), 3))


def test_matmul_gradients_come_back_in_the_dtype_of_their_operand():
    a, b = cg.tensor(normal(2, 3, dtype="float32"), requires_grad=True), cg.tensor(normal(3, 2), requires_grad=True)
    (a @ b).sum().backward()
    assert a.grad.dtype == np.float32 and b.grad.dtype == np.float64


def test_the_operator_is_matmul():
    a, b = normal(2, 3), normal(3, 4, seed=1)
    np.testing.assert_array_equal(cg.tensor(a) @ cg.tensor(b), cg.matmul(a, b))
    np.testing.assert_array_equal(a @ cg.tensor(b), cg.matmul(a, b))


# --- linear


@pytest.mark.parametrize("shape", [(5,), (4, 5), (2, 3, 5), (0, 5), (2, 0, 5), (3, 0)], ids=str)
@pytest.mark.parametrize("activation", [None, "relu", "silu"])
def test_linear(shape, activation, backend):
    x, w, bias = normal(*shape), normal(shape[-1], 3, seed=1), normal(3, seed=2)
    y = cg.linear(x, w, bias, activation=activation)
    expected = x @ w + bias
    expected = {None: expected, "relu": np.maximum(expected, 0), "silu": expected / (1 + np.exp(-expected))}[activation]
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("activation", [None, "tanh", "sigmoid", "gelu"])
def test_linear_gradients(activation):
    cg.check_grad(lambda x, w, b: cg.linear(x, w, b, activation=activation), normal(2, 2, 3), normal(3, 2, seed=1),
                  normal(2, seed=2), order=2)


# --- what is refused


@pytest.mark.parametrize("call, error, words", [
    (lambda: cg.gemm(np.ones((2, 3)), np.ones((4, 5))), ValueError, ["K == 3", "got 4", "(2, 3)", "(4, 5)"]),
    (lambda: cg.gemm(np.ones((2, 3)), np.ones((3, 5)), trans_a=True), ValueError, ["K == 2", "got 3", "trans_a=True"]),
    (lambda: cg.gemm(np.ones(3), np.ones((3, 5))), ValueError, ["two matrices", "(3,)", "matmul"]),
    (lambda: cg.gemm(np.ones((2, 3)), np.ones((3, 5)), np.ones((3, 5))), ValueError, ["(2, 5)", "(3, 5)"]),
    (lambda: cg.gemm(np.ones((2, 3)), np.ones((3, 5)), np.ones((1, 2, 5))), ValueError, ["(2, 5)", "(1, 2, 5)"]),
    (lambda: cg.gemm(np.ones((2, 3)), np.ones((3, 5), "float32")), TypeError, ["a: float64", "b: float32"]),
    (lambda: cg.gemm(np.ones((2, 3)), np.ones((3, 5)), np.ones(5, "float16")), TypeError, ["c: float16"]),
    (lambda: cg.gemm(np.ones((2, 3), int), np.ones((3, 5), int)), TypeError, ["a: int64"]),
    (lambda: cg.gemm(np.ones((2, 3)), np.ones((3, 5)), alpha=cg.tensor(2.0)), TypeError, ["alpha", ".item()"]),
    (lambda: cg.gemm(np.ones((2, 3)), np.ones((3, 5)), activation="swoosh"), ValueError, ["swoosh", "relu"]),
    (lambda: cg.linear(np.ones((2, 3)), np.ones((5, 3))), ValueError, ["(2, 3)", "(5, 3)", "w.T"]),
    (lambda: cg.linear(np.ones((2, 3)), np.ones((3, 5)), np.ones(3)), ValueError, ["(5,)", "(3,)"]),
    (lambda: cg.linear(np.float32(1), np.ones((3, 5), "float32")), ValueError, ["()", "(3, 5)"]),
    (lambda: cg.linear(np.ones((2, 3)), np.ones((3, 5), "float32")), TypeError, ["x: float64", "w: float32"]),
    (lambda: cg.matmul(np.ones((2, 3)), np.ones((2, 3))), ValueError, ["K == 3", "got 2"]),
    (lambda: cg.matmul(np.ones((2, 2, 3)), np.ones((3, 3, 4))), ValueError, ["leading axes", "(2, 2, 3)", "(3, 3, 4)"]),
    (lambda: cg.matmul(2.0, np.ones((2, 3))), ValueError, ["at least one axis", "()"]),
])
def test_errors_name_what_was_expected_and_what_came(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert all(word in str(caught.value) for word in words), str(caught.value)
