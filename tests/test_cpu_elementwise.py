"""What test_cpu_kernels.py does not ask of the elementwise kernels, optimizer steps, casts and dropout of the CPU:
accuracy over all exponents, views, lengths, special values, bits, memory that they may not read."""

from __future__ import annotations

import itertools
import mmap

import numpy as np
import pytest
from native_backends import needs_cpu

import convgpu as cg
from convgpu.backends import load
from convgpu.backends.numpy.workers import get_num_threads, set_num_threads
from convgpu.cases import optim as optim_cases
from convgpu.cases import random as random_cases
from convgpu.dtypes import accumulator, as_dtype
from convgpu.facts.elementwise import BINARY, FUNCTIONS

special = pytest.importorskip("scipy.special", reason="scipy is the judge of accuracy; pip install scipy")
pytestmark = needs_cpu
DTYPES = ("float64", "float32", "float16", "bfloat16")
NAMES = [f"{name}-{alpha}" for name, alpha, _ in FUNCTIONS]


@pytest.fixture
def run():
    return load("cpu")


@pytest.fixture(params=load("cpu").module.instruction_sets() if needs_cpu.args[0] is False else ["plain"])
def every_set(request, run):
    run.module.use_instruction_set(request.param)
    yield run
    run.module.use_instruction_set("")


def normal(*shape, seed=0, dtype="float32"):
    return np.asarray(2 * np.random.default_rng(seed).standard_normal(shape)).astype(as_dtype(dtype))


# --- accuracy


def all_exponents():
    """Numbers of float32 of every exponent and both signs, many of them where functions bend."""
    positive = np.arange(0, 0x7F800000, 9973, dtype=np.uint32).view(np.float32)
    return np.concatenate([positive, -positive, np.linspace(-106, 20, 400_001, dtype=np.float32)])


def sigmoid(x):
    return special.expit(x)


EXACT = {
    "sigmoid": sigmoid, "tanh": np.tanh, "silu": lambda x: x * sigmoid(x), "gelu": lambda x: x * special.ndtr(x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))}


@pytest.mark.parametrize("name", EXACT)
def test_float32_is_within_4_units_in_the_last_place(name, every_set):
    x = all_exponents()
    right = EXACT[name](x.astype(np.float64))
    got = every_set.activate(x, name, 1.0, 1.0).astype(np.float64)
    with np.errstate(divide="ignore"):
        unit = np.exp2(np.maximum(np.floor(np.log2(np.abs(right))) - 23, -149))
    error = np.abs(got - right) / unit
    assert error.max() < 4, (x[error.argmax()], error.max())


def gelu_of_float64(x):
    """The square in the exponent would lose digits in float64."""
    long = x.astype(np.longdouble)
    tail = special.erfcx(np.abs(x) * np.sqrt(0.5)) / 2 * np.exp(long * long * -0.5)
    return np.where(x < 0, x * tail, x * (1 - tail))


@pytest.mark.parametrize("name", EXACT)
def test_float64_keeps_its_digits_in_the_tail(name, every_set):
    x = np.linspace(-37, 12, 100_001)
    right = (gelu_of_float64 if name == "gelu" else EXACT[name])(x)
    np.testing.assert_allclose(every_set.activate(x, name, 1.0, 1.0), right.astype(np.float64), rtol=2e-15)


SLOPES = {
    "silu": lambda x: sigmoid(x) * (1 + x * sigmoid(-x)), "softplus": sigmoid,
    "gelu": lambda x: special.ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi),
    "elu": lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0)))}


@pytest.mark.parametrize("name", SLOPES)
def test_slopes_of_float32(name, every_set):
    """Within 4 units of 1, since they are sums."""
    x = all_exponents()
    x = x[np.abs(x) < 1e18]  # the judge squares it
    got = every_set.activate_dgrad(np.ones_like(x), x, name, 1.0, 1.0)
    np.testing.assert_allclose(got, SLOPES[name](x.astype(np.float64)), rtol=0, atol=4 * 2.0**-23)


# --- special values, views and lengths


@pytest.mark.parametrize(("name", "alpha", "scale"), FUNCTIONS, ids=NAMES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_infinities_and_zeros_are_those_of_numpy(name, alpha, scale, dtype, every_set):
    x = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e4, -1e4, 3.0, -3.0, 6.0, 1.0, -1.0] * 5).astype(as_dtype(dtype))
    for op, arrays in (("activate", (x,)), ("activate_dgrad", (x[::-1].copy(), x))):
        with np.errstate(all="ignore"):
            expected = getattr(load("numpy"), op)(*arrays, name, alpha, scale).astype(np.float64)
        got = getattr(every_set, op)(*arrays, name, alpha, scale).astype(np.float64)
        precision = 1e-2 if as_dtype(dtype).itemsize == 2 else 2e-6
        np.testing.assert_allclose(got, expected, rtol=precision, atol=precision)


def views_of(x):
    """Views of shape (3, 8, 6) of an array of shape (6, 8, 24)."""
    return [x[::2, :, 3:9], x[::-1][:3, :, ::4], np.broadcast_to(x[0, 0, :6], (3, 8, 6)), x[:3, :, 1:7],
            np.broadcast_to(x[:3, :1, :1], (3, 8, 6)), x.transpose(2, 1, 0)[::8, :, ::-1], x[:3, ::-1, 11:5:-1]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_views_have_the_bits_of_copies(run, dtype):
    x = normal(6, 8, 24, dtype=dtype)
    for a, b in itertools.product(views_of(x), views_of(x)):
        whole = a.copy(), b.copy()
        for op, options in (("activate_dgrad", ("gelu", 0.0, 1.0)), ("binary", ("subtract", None)), ("add_n", ())):
            arrays, copies = ([(list(pair),) if op == "add_n" else pair for pair in ((a, b), whole)])
            got, right = getattr(run, op)(*arrays, *options), getattr(run, op)(*copies, *options)
            assert got.shape == right.shape == (3, 8, 6)
            np.testing.assert_array_equal(got, right)
    for a in views_of(x):
        np.testing.assert_array_equal(run.activate(a, "relu", 0.0, 1.0), np.maximum(a, a.dtype.type(0)))


def test_results_keep_the_order_of_the_axes(run):
    x = np.moveaxis(normal(2, 5, 6, 3), -1, 1)
    y = run.activate(x, "relu", 0.0, 1.0)
    assert y.strides == np.maximum(x, 0).strides and (y == np.maximum(x, 0)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_length_has_the_bits_of_a_long_array(every_set, dtype):
    x, g = normal(150, dtype=dtype), normal(150, seed=1, dtype=dtype)
    y, gx, z = (every_set.activate(x, "gelu", 0.0, 1.0), every_set.activate_dgrad(g, x, "silu", 0.0, 1.0),
                every_set.binary(x, g, "divide", None))
    for n in range(100):
        np.testing.assert_array_equal(every_set.activate(x[:n], "gelu", 0.0, 1.0), y[:n])
        np.testing.assert_array_equal(every_set.activate_dgrad(g[:n], x[:n], "silu", 0.0, 1.0), gx[:n])
        np.testing.assert_array_equal(every_set.binary(x[:n], g[:n], "divide", None), z[:n])


def test_many_terms_and_many_axes(run):
    xs = [normal(2, 3, 70, seed=i)[:, :, ::7] for i in range(300)]
    right = np.zeros((2, 3, 10), np.float32)
    for x in xs:
        right = right + x
    np.testing.assert_array_equal(run.add_n(xs), right)
    a, b = normal(*(2, 1) * 5), normal(*(1, 2) * 5, seed=1)
    np.testing.assert_array_equal(run.binary(a, b, "multiply", None), a * b)


@pytest.mark.parametrize("name", [*BINARY, "reversed_subtract", "reversed_divide"])
def test_functions_of_two_operands_have_the_bits_of_numpy(every_set, name):
    a, b = normal(3, 40, 37), normal(40, 1, seed=1)
    a[0, 0, :3], b[3] = (np.nan, np.inf, 0), np.nan
    for second in (b, None):
        with np.errstate(all="ignore"):
            expected = load("numpy").binary(a, second, name, 0.75)
        np.testing.assert_array_equal(every_set.binary(a, second, name, 0.75), expected)


@pytest.fixture
def calls(monkeypatch):
    """The names of the ops that tensors' arithmetic gives to the backend."""
    from convgpu.ops import binary

    names = []
    right = binary.run_on_backend
    monkeypatch.setattr(binary, "run_on_backend", lambda *call: names.append(call[0]) or right(*call))
    return names


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("function", ["add", "subtract", "multiply", "divide", "maximum", "minimum"])
def test_large_arrays_of_half_types_are_computed_by_the_kernel(function, dtype, calls):
    """With the bits of NumPy; also where one operand repeats, or is a number on either side."""
    x, row = normal(300, 130, dtype=dtype), normal(130, seed=1, dtype=dtype)
    by, number = getattr(cg.numpy, function), as_dtype(dtype).type(1.5)
    with cg.use_backend("cpu"):
        got = [by(x, x[::-1]), by(x, row), by(row[:, None], x[:130]), by(x, 1.5), by(1.5, x), by(x[:30], row)]
    with np.errstate(all="ignore"):
        f = getattr(np, function)
        wanted = [f(x, x[::-1]), f(x, row), f(row[:, None], x[:130]), f(x, number), f(number, x), f(x[:30], row)]
    for y, expected in zip(got, wanted):
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(y.numpy(), expected)
    assert calls == (["binary"] * 5 if as_dtype(dtype).itemsize == 2 else [])  # 30 x 130 is not large


@pytest.mark.parametrize("other", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_large_casts_of_half_types_are_computed_by_the_kernel(dtype, other, calls):
    x = cg.tensor(normal(90, 60, dtype=dtype), requires_grad=True)
    with cg.use_backend("cpu"):
        y = x.astype(other)
        y.backward(cg.ones(y.shape, dtype=other))
        assert x[:3].astype(other).dtype == as_dtype(other)
    np.testing.assert_array_equal(y.numpy(), x.numpy().astype(as_dtype(other)))
    assert (x.grad.numpy() == 1).all()
    half = {dtype, other} & {"float16", "bfloat16"} and dtype != other
    assert len(calls) == (0 if not half else 1 if {dtype, other} == {"float64", "bfloat16"} else 2)


def test_what_does_not_fit_is_refused(run):
    ones = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="broadcast"):
        run.binary(ones, np.ones(2, np.float32), "add", None)
    with pytest.raises(TypeError, match="add: expected operands of one dtype, got float32 and float64"):
        run.binary(ones, np.ones(3), "add", None)
    with pytest.raises(ValueError, match="binary: expected the name of a function of two operands, got hypot"):
        run.binary(ones, ones, "hypot", None)
    with pytest.raises(ValueError, match="activate: expected the name of an activation, got mish"):
        run.activate(ones, "mish", 0.0, 1.0)
    with pytest.raises(ValueError, match=r"activate_dgrad: expected gy of shape \(3,\), got \(2,\)"):
        run.activate_dgrad(ones[:2], ones, "relu", 0.0, 1.0)
    with pytest.raises(ValueError, match=r"add_n: expected xs\[1\] of shape \(3,\), got \(2,\)"):
        run.add_n([ones, ones[:2]])
    with pytest.raises(TypeError, match=r"global_norm: expected xs\[1\] of dtype float32, got float64"):
        run.global_norm([ones, np.ones(3)])


# --- bits


def everything(run, dtype):
    x, g = normal(3, 101, 333, dtype=dtype), normal(3, 101, 333, seed=1, dtype=dtype)
    state = np.array([5, 0, 2**64 - 3], np.uint64)
    results = [run.activate(x, "gelu", 0.0, 1.0), run.activate(x[:, ::2], "tanh", 0.0, 1.0), run.add_n([x, g, x]),
               run.activate_dgrad(g, x, "silu", 0.0, 1.0), run.binary(x, g[:, :1], "divide", None),
               run.global_norm([x, g]), *run.cast_all([x, g], "bfloat16", False), *run.dropout(x, state, 0.3)]
    for rule in optim_cases.RULES:
        step = run.adam_step if rule.op == "adam_step" else run.sgd_step
        results += step(list(optim_cases.operands(rule, [x, g[0]])), rule)
    return b"".join(np.asarray(r).tobytes() for r in results)


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_number_of_threads_gives_the_same_bits(run, dtype):
    before = get_num_threads()
    try:
        set_num_threads(1)
        one = everything(run, dtype)
        for count in (2, 3, 7):
            set_num_threads(count)
            assert everything(run, dtype) == one, count
    finally:
        set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", optim_cases.RULES, ids=str)
def test_steps_have_the_bits_of_numpy(every_set, rule, dtype):
    params = [normal(*shape, seed=i, dtype=dtype) for i, shape in enumerate([(40_001,), (), (0, 3), (3, 3, 7, 5)])]
    for grads in {dtype, "bfloat16", "float16"} if dtype == "float32" else {dtype}:
        arrays = list(optim_cases.operands(rule, params, grads))
        arrays[3] = np.asfortranarray(arrays[3])
        results = getattr(every_set, rule.op)(arrays, rule)
        for i, right in enumerate(getattr(load("numpy"), rule.op)(arrays, rule)):
            if dtype == "float64" and right.dtype.name == "bfloat16":  # ml_dtypes rounds to float32 on the way
                right = right_bfloat16(results[i - len(params) * (1 + rule.slots)])
            got = results[i]
            assert (got.dtype, got.shape) == (right.dtype, right.shape) and got.tobytes() == right.tobytes()
        assert len(results) == i + 1


@pytest.mark.parametrize("other", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_casts_are_rounded_once(every_set, dtype, other):
    """To the nearest, ties to even; a float64 just beside a tie of a half type is on its side of it."""
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.standard_normal(3000) * 10.0**rng.integers(-9, 9, 3000), [
        np.nan, np.inf, -np.inf, 0.0, -0.0, 65519.999, 65520.0, 3.4e38, 1e-7, -1e-45, 1e300, -1e-300,
        1 + 2.0**-11 + 2.0**-40, 1 + 2.0**-11 - 2.0**-40, 1 + 2.0**-11, 1 + 2.0**-8 + 2.0**-40, -1 - 2.0**-8,
        -1 - 2.0**-8 - 2.0**-45]])
    with np.errstate(all="ignore"):
        x = x.astype(as_dtype(dtype))
        for divisor in (None, np.array([3.0], np.float32)):
            got, = every_set.cast_all([x] if divisor is None else [x, divisor], other, divisor is not None)
            wide = np.result_type(accumulator(x.dtype), accumulator(as_dtype(other)))
            y = x if divisor is None else x.astype(wide) / wide.type(3)
            right = y.astype(as_dtype(other))
            if other == "bfloat16" and y.dtype == np.float64:  # ml_dtypes rounds to float32 on the way
                right = right_bfloat16(y)
            np.testing.assert_array_equal(got.astype(np.float64), right.astype(np.float64))


def right_bfloat16(y):
    """float64 to bfloat16, by the nearest of the neighbours."""
    import ml_dtypes

    near = y.astype(ml_dtypes.bfloat16)
    candidates = [near, np.nextafter(near, near.dtype.type(np.inf)), np.nextafter(near, near.dtype.type(-np.inf))]
    best = near.copy()
    with np.errstate(all="ignore"):
        for c in candidates[1:]:
            closer = np.abs(c.astype(np.float64) - y) < np.abs(best.astype(np.float64) - y)
            best = np.where(closer & np.isfinite(y) & np.isfinite(best.astype(np.float64)), c, best)
    return best


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_dropout_has_the_bits_of_numpy(every_set, dtype, rate):
    state = np.array([2**63 + 11, 2**40 + 3, 2**64 - 5000], np.uint64)  # the counter goes around
    for shape in ((0,), (1,), (63,), (65,), (40_007,), (3, 5, 7)):
        x = normal(*shape, dtype=dtype)
        got, right = every_set.dropout(x, state, rate), load("numpy").dropout(x, state, rate)
        assert got[0].tobytes() == right[0].tobytes() and (got[1] == right[1]).all()


@pytest.mark.parametrize("case", random_cases.CASES, ids=lambda case: case.name)
def test_draws_have_the_bits_of_numpy(every_set, case):
    """States that go around, seeds of Keras, and limits included."""
    draws = [(op, *arguments, dtype) for dtype in DTYPES
             for op, arguments in (("uniform", case.bounds), ("normal", case.spread))]
    for op, *arguments in [*draws, ("integers", *case.whole, "int64"), ("integers", *case.whole, "int32")]:
        got, right = (getattr(r, op)(case.given, case.shape, *arguments) for r in (every_set, load("numpy")))
        assert got[0].dtype == right[0].dtype and got[0].shape == right[0].shape
        assert got[0].tobytes() == right[0].tobytes() and got[1].tobytes() == right[1].tobytes(), (op, arguments)


@pytest.mark.parametrize(("op", "dtype"), [("uniform", "float32"), ("normal", "float64"), ("integers", "int32")])
def test_long_draws_have_the_bits_of_numpy_by_any_number_of_threads(run, op, dtype):
    state, before = random_cases.CASES[5].given, get_num_threads()
    right = getattr(load("numpy"), op)(state, (100_003,), 0, 7, dtype)[0].tobytes()
    try:
        for threads in (1, 2, 3, 7):
            set_num_threads(threads)
            assert getattr(run, op)(state, (100_003,), 0, 7, dtype)[0].tobytes() == right
    finally:
        set_num_threads(before)


def test_draws_of_other_dtypes_are_refused(run):
    for op, dtype, numbers, text in (("uniform", np.int32, (0.0, 1.0), "uniform: expected y of"),
                                     ("normal", np.uint8, (0.0, 1.0), "normal: expected y of"),
                                     ("integers", np.float32, (0, 5), "integers: expected y of dtype int32 or int64")):
        with pytest.raises(TypeError, match=text):
            getattr(run.module, op)(np.zeros(3, dtype), 1, 2, 3, *numbers, 1)


def test_the_norm_is_that_of_float64(run):
    xs = [normal(100_003, seed=i) for i in range(3)] + [np.zeros((0, 2), np.float32), np.array(1e30, np.float32)]
    assert run.global_norm(xs) == pytest.approx(np.sqrt(sum((x.astype("f8")**2).sum() for x in xs)), rel=1e-14)
    assert np.isnan(run.global_norm([np.float32([1, np.nan])])) and run.global_norm([np.zeros(0, "f4")]) == 0


# --- memory


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_is_read_or_written_beyond_either_end_of_a_page(every_set, dtype):
    """Arrays that end, or begin, where memory that nobody may touch begins: a fault would end the process."""
    import ctypes

    page = mmap.PAGESIZE
    area = mmap.mmap(-1, 3 * page)
    at = ctypes.addressof(ctypes.c_char.from_buffer(area))
    libc = ctypes.CDLL(None, use_errno=True)
    for guard in (0, 2):
        assert libc.mprotect(ctypes.c_void_p(at + guard * page), page, 0) == 0
    kind = as_dtype(dtype)
    whole = np.frombuffer(area, np.uint8, page, page).view(kind)
    whole[:] = normal(whole.size, dtype=dtype)
    state = np.array([1, 2, 3], np.uint64)
    for n in (1, 7, 31, 33, whole.size):
        for x in (whole[:n], whole[whole.size - n:]):
            every_set.activate(x, "gelu", 0.0, 1.0)
            every_set.activate_dgrad(x, x, "relu", 0.0, 1.0)
            every_set.add_n([x, x, x])
            every_set.binary(x, x[:1], "multiply", None)
            every_set.global_norm([x])
            every_set.cast_all([x], "float16", False)
            every_set.cast_all([x], "float64", False)
            every_set.dropout(x, state, 0.5)
            every_set.module.activate(x.copy(), x, "relu", 0.0, 1.0, 1)
    for guard in (0, 2):
        assert libc.mprotect(ctypes.c_void_p(at + guard * page), page, 3) == 0


def test_elements_more_than_2_to_the_31_apart(run):
    """In memory of which only the pages with elements are touched."""
    area = mmap.mmap(-1, 2**33 + 64, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)  # no memory is reserved
    x = np.frombuffer(area, np.float16)[::2**30]
    assert x.shape == (5,)
    x[:] = [1, -2, 3, -4, 5]
    right = np.float16([1, 0, 3, 0, 5])
    np.testing.assert_array_equal(run.activate(x, "relu", 0.0, 1.0), right)
    np.testing.assert_array_equal(run.binary(x[::-1], x[:, None], "multiply", None), x[::-1] * x[:, None])
    run.module.activate(x.copy(), x, "relu", 0.0, 1.0, 1)
    np.testing.assert_array_equal(x, right)
