"""The dtypes of what keras.ops gives: for every function and every dtype, those that Keras's own tables say.

A table is what the function says of symbolic tensors (`compute_output_spec`), but where it names the dtype of one
operand alone: there it is Keras's rule of promotion, by which its JAX backend computes as well.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
from optional import require

require("keras")

import keras_calls  # noqa: E402

import convgpu as cg  # noqa: E402
import convgpu.numpy as cnp  # noqa: E402
from convgpu.keras.backend import math as keras_math  # noqa: E402

# isort: split
import keras  # noqa: E402
from keras.src.backend.common.dtypes import result_type  # noqa: E402

o = keras.ops

# Floating values also of integers, whatever the symbolic result says of them.
FLOAT_VALUED = set("""
arctan2 average_pool batch_normalization binary_crossentropy categorical_crossentropy celu cholesky cholesky_inverse
det eigh elu erf erfc erfinv gelu geomspace hard_sigmoid hard_silu hard_swish histogram inv linspace log_sigmoid
log_softmax logaddexp logdet logspace logsumexp lstsq lu_factor moments normalize pinv qr reciprocal rfft rsqrt selu
sigmoid silu slogdet softmax softplus softsign solve solve_triangular sparse_categorical_crossentropy sparsemax
squareplus svd swish tanh_shrink adaptive_average_pool
""".split())
PROMOTING = {"conv", "conv_transpose", "depthwise_conv", "separable_conv"}  # integers of integers
COUNTING = set("""
bitwise_left_shift bitwise_right_shift floor_divide left_shift power right_shift
""".split())
BITS = set("""
bitwise_and bitwise_invert bitwise_left_shift bitwise_not bitwise_or bitwise_right_shift bitwise_xor bincount gcd
lcm ldexp left_shift right_shift
""".split())  # of integers alone


def expected(name: str, what: str, symbolic: Any) -> list[str] | str:
    kinds = [{"True": bool, "2": int, "2.0": float}.get(kind, kind) for kind in what.split()]
    promoted = str(result_type(*kinds))
    if name == "lu_factor":
        return [result_type(*kinds, float), "int32"]
    if name in FLOAT_VALUED:
        return [result_type(*kinds, float)] * (1 if isinstance(symbolic, str) else len(symbolic))
    if name in PROMOTING:
        return [promoted]
    if name in COUNTING and promoted == "bool":
        return ["int32"]
    if name == "select":
        return [result_type(kinds[0], int)]
    if name == "meshgrid":
        return kinds
    if name == "multi_hot":
        return [keras.config.floatx()]
    return symbolic


def no_function_of_these(name: str, what: str) -> bool:
    """Booleans that are no numbers, and bits of floats: an error is right."""
    return "bool" in what or "True" in what or (name in BITS and "float" in what)


def narrowed(dtypes: Any) -> Any:
    return [dtype.replace("64", "32") for dtype in dtypes] if isinstance(dtypes, list) else dtypes


@pytest.mark.parametrize("name", sorted({name for name, *_ in keras_calls.calls()}))
def test_dtypes_of_results(name: str) -> None:
    for _, what, call, shapes, dtypes in (c for c in keras_calls.calls(name)):
        symbols = [keras.KerasTensor(s, d) for s, d in zip(shapes, dtypes)]
        tensors = [o.convert_to_tensor(keras_calls.operand(s, d), d) for s, d in zip(shapes, dtypes)]
        got = keras_calls.attempt(call, tensors)
        right = expected(name, what, keras_calls.attempt(call, symbols))
        if isinstance(got, str) and (isinstance(right, str) or no_function_of_these(name, what)):
            continue
        if "64" in what:  # 64 bits may stay, and may become 32, as in Keras on JAX
            got, right = narrowed(got), narrowed(right)
        assert got == right, f"keras.ops.{name} of {what}"


def test_every_function_of_keras_ops_is_in_the_table() -> None:
    """Those that compute are; the others make tensors, run functions, or need more of their operands than a dtype."""
    left_out = set("""
        allclose arange associative_scan bartlett blackman cast cond convert_to_numpy convert_to_tensor ctc_decode
        ctc_loss custom_gradient dtype eig empty eye fft fft2 fori_loop full hamming hanning identity ifft2 in_top_k
        irfft is_tensor istft jvp kaiser map ndim ones polar psnr rearrange scan shape size stft switch tri
        unravel_index vectorize vectorized_map view_as_complex view_as_real while_loop zeros
    """.split())
    public = {name for name in dir(o) if not name.startswith("_") and callable(getattr(o, name))}
    called = Counter(name for name in (*keras_calls.CALLS, *keras_calls.SCALARS) if "." not in name)
    assert set(called) | left_out == public, (public - left_out - set(called), set(called) - public)


@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_arrays_of_64_bits_become_tensors_of_32(dtype: str) -> None:
    """As in Keras on JAX, for every function of one array or two; with floatx float64 they would stay."""
    one, two = np.ones((2, 4), dtype), np.ones((3, 3), dtype)
    wide = {}
    for name in (*keras_calls.UNARY, *keras_calls.BINARY):
        got = keras_calls.attempt(getattr(o, name), [one] if name in keras_calls.UNARY else [two, two])
        if isinstance(got, list) and any("64" in d for d in got):
            wide[name] = got
    # Keras's formulas go back to the dtype of an array, and corrcoef's name float64.
    assert set(wide) <= {"rms_normalization", "layer_normalization", "corrcoef"}, wide


def test_operators_of_tensors_promote_as_keras() -> None:
    """As the operators of symbolic tensors say; NumPy's rules would give float64 for most of these."""
    i, f, h, b = (o.ones(3, dtype) for dtype in ("int32", "float32", "float16", "bool"))
    array, number = np.full(3, 0.5), np.sqrt(2.0)
    v = keras.Variable([1.0, 2.0, 3.0])
    for got, right in (
        (i * f, "float32"), (f - i, "float32"), (i * 0.5, "float32"), (2.5 / i, "float32"), (i / 2, "float32"),
        (i / i, "float32"), (i * h, "float16"), (b * f, "float32"), (1.0 - b, "float32"), (i**0.5, "float32"),
        (f * number, "float32"), (number * f, "float32"), (h * number, "float16"), (i * number, "float32"),
        (f * array, "float32"), (array * f, "float32"), (i + array, "float32"), (h * array, "float32"),
        (f * np.arange(3), "float32"), (i * v, "float32"), (v * i, "float32"), (i // 2, "int32"), (i + 1, "int32"),
        (i * i, "int32"), (h * 2.0, "float16"), (i // 2.0, "float32"), (i % 2.0, "float32"),
        (cg.tensor(np.ones(3)) * 0.1, "float64"), (cg.tensor(np.ones(3)) * array, "float64"),
    ):
        assert got.dtype == right
    third = np.array([1 / 3])
    assert (cg.tensor(third) * np.float64(1 / 3)).item() == (1 / 3) ** 2
    symbolic = keras.KerasTensor((3,), "int32") * keras.KerasTensor((3,), "float32")
    assert symbolic.dtype == "float32"
    x = cg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    (i * x * array).sum().backward()
    np.testing.assert_array_equal(x.grad, array)


# --- values of integers and booleans


def test_integers_are_computed_and_not_cut() -> None:
    x = o.convert_to_tensor(np.array([-3, 0, 2], "int32"))
    np.testing.assert_allclose(o.reciprocal(np.array([1, 2, 4], "int32")), [1, 0.5, 0.25])
    np.testing.assert_allclose(o.hard_sigmoid(x), [0, 0.5, 5 / 6], rtol=1e-6)
    np.testing.assert_allclose(o.softsign(x), [-0.75, 0, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(o.rsqrt(np.array([4], "int8")), [0.5])
    np.testing.assert_array_equal(o.relu(x), [0, 0, 2])
    np.testing.assert_array_equal(o.power(np.array([2, 3], "uint8"), 2), [4, 9])
    np.testing.assert_array_equal(o.power([2, 3], [True, False]), [2, 1])
    np.testing.assert_array_equal(o.mod([5, 7], 3), [2, 1])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32"])
def test_convolutions_of_integers_are_exact(dtype: str) -> None:
    draws = np.random.default_rng(0)
    x, w = draws.integers(0, 100, (1, 5, 5, 3)).astype(dtype), draws.integers(0, 100, (2, 2, 3, 2)).astype(dtype)
    whole = np.zeros((1, 4, 4, 2), np.int64)
    for r in range(2):
        for s in range(2):
            whole += np.einsum("npqc,ck->npqk", x[:, r:r + 4, s:s + 4].astype(np.int64), w[r, s].astype(np.int64))
    np.testing.assert_array_equal(o.conv(x, w, data_format="channels_last"), whole.astype(dtype))
    each = np.stack([x[0, :4, :4, c].astype(np.int64) * int(w[0, 0, c, 0]) for c in range(3)], -1)
    got = o.depthwise_conv(x[:, :4, :4], w[:1, :1, :, :1], data_format="channels_last")
    np.testing.assert_array_equal(got[0], each.astype(dtype))


@pytest.mark.parametrize("name", ["sum", "prod", "cumsum", "cumprod"])
def test_a_dtype_that_is_asked_for_is_that_of_the_result(name: str) -> None:
    x = np.array([[1, 2], [3, 100]], "int32")
    for dtype in ("int8", "int32", "uint8", "float16", "float32", "float64", "bool"):
        got, right = getattr(cnp, name)(x, 1, dtype), getattr(np, name)(x, 1, dtype=dtype)
        assert got.dtype == right.dtype == dtype
        np.testing.assert_allclose(got, right, rtol=1e-3)
    assert getattr(cnp, name)(x, 1).dtype == np.int64


# --- functions that go over pairs and segments


def test_distances_of_pairs_and_their_gradients() -> None:
    draws = np.random.default_rng(1)
    x, y = draws.standard_normal((2, 5, 3)), draws.standard_normal((1, 4, 3))
    y[0, 1] = x[1, 2]
    right = np.linalg.norm(x[:, :, None] - y[:, None], axis=-1)
    np.testing.assert_allclose(o.cdist(x.astype("float32"), y.astype("float32")), right, atol=1e-6)
    a, b = cg.tensor(x, requires_grad=True), cg.tensor(y, requires_grad=True)

    def distances(a: Any, b: Any) -> Any:
        return keras_math._cdist(a, b.broadcast_to((2, 4, 3)))

    cg.check_grad(distances, a, cg.tensor(y + 0.1, requires_grad=True))
    distances(a, b).sum().backward()
    unit = (x[:, :, None] - y[:, None]) / np.where(right == 0, np.inf, right)[..., None]
    np.testing.assert_allclose(a.grad, unit.sum(2), atol=1e-12)
    np.testing.assert_allclose(b.grad, -unit.sum((0, 1))[None], atol=1e-12)


def test_distances_of_many_pairs_take_little_memory() -> None:
    code = """if True:
    import resource, numpy as np, convgpu.keras, keras
    x = np.ones((3000, 300), "float32")
    keras.ops.cdist(x[:2], x[:2])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    keras.ops.cdist(x, x)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)"""
    megabytes = float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert megabytes < 250  # the result has 36 MB; all differences at once would have 10.8 GB


@pytest.mark.parametrize("extreme", ["max", "min"])
def test_extremes_of_segments(extreme: str) -> None:
    data = np.array([3.0, 1.0, 3.0, 2.0, 5.0, -1.0])
    ids = np.array([0, 2, 0, 0, -1, 2])
    x = cg.tensor(data, requires_grad=True)
    y = getattr(keras_math, f"segment_{extreme}")(x, ids, 4)
    nothing = -np.inf if extreme == "max" else np.inf
    np.testing.assert_array_equal(y, [3, nothing, 1, nothing] if extreme == "max" else [2, nothing, -1, nothing])
    (y[0] * 2 + y[2] * 3).backward()
    np.testing.assert_array_equal(x.grad, [1, 3, 1, 0, 0, 0] if extreme == "max" else [0, 0, 0, 2, 0, 3])
    rows = getattr(o, f"segment_{extreme}")(np.array([[1, -5], [2, -7]], "int32"), np.array([1, 1]), 2)
    np.testing.assert_array_equal(rows, [[0, 0], [2, -5] if extreme == "max" else [1, -7]])


def test_products_of_segments() -> None:
    y = o.segment_prod(np.array([2, 3, 4, 5], "int8"), np.array([2, 0, 2, -1]), 4)
    assert y.dtype == np.int8
    np.testing.assert_array_equal(y, [3, 1, 8, 1])

