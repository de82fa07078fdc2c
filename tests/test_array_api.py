"""convgpu.array_api against array-api-strict: every function of the newest standard; and what libraries do with it."""

import inspect
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import convgpu as cg
from convgpu import array_api

strict = pytest.importorskip("array_api_strict", reason="compares with array-api-strict, which is not installed")

rng = np.random.default_rng(0)
X = rng.uniform(0.1, 0.9, (3, 4))
Y = rng.uniform(1.1, 2.0, (3, 4)) * [1, -1, 1, -1]
CUBE, SQUARE = rng.standard_normal((2, 3, 3)), rng.standard_normal((3, 3))
SPD = CUBE @ CUBE.transpose(0, 2, 1) + 3 * np.eye(3)
INTS, BOOLS = np.array([[3, 1, 2, 3], [0, 2, 2, 5], [1, 0, 7, 3]]), np.array([[True, False, True, False]] * 3)
F32, I32, U8 = np.float32(X), np.int32(INTS), np.uint8(INTS)
NAN = np.array([1.0, np.nan, 2.0, np.nan, 1.0, -np.inf, np.inf])
VECTOR = np.array([0.5, 2.0, -1.0])


def call(*args, **options):
    return args, options


def reduction(**options):
    return [call(X), call(X, axis=0), call(CUBE, axis=(0, 2), keepdims=True), call(F32, axis=-1), *[
        call(X, axis=1, **{key: value}) for key, value in options.items()]]


UNARY = [call(X), call(F32), call(np.array(0.5))]
BINARY = [call(X, Y), call(F32, np.float32(Y)), call(X, Y[0]), call(X, 0.5), call(2.0, X), call(F32, X)]
WHOLE = [call(INTS, INTS[:1]), call(I32, 2), call(U8, U8[::-1])]
COMPARED = [call(X, Y), call(X, X), call(INTS, 2), call(I32, INTS)]

CALLS = {
    **dict.fromkeys(("acos", "asin", "atan", "atanh", "asinh", "ceil", "cos", "cosh", "exp", "expm1", "floor", "log",
                     "log10", "log1p", "log2", "sin", "sinh", "sqrt", "tan", "tanh", "trunc", "round", "reciprocal"),
                    UNARY),
    **dict.fromkeys(("abs", "negative", "positive", "sign", "square"), [*UNARY, call(-INTS), call(I32), call(Y)]),
    "acosh": [call(1 + X)], "signbit": [call(Y), call(np.array([0.0, -0.0]))], "conj": UNARY, "real": UNARY,
    **dict.fromkeys(("isfinite", "isinf", "isnan"), [call(NAN), call(X), call(INTS)]),
    **dict.fromkeys(("add", "subtract", "multiply"), [*BINARY, *WHOLE]),
    **dict.fromkeys(("divide", "atan2", "hypot", "logaddexp", "copysign", "nextafter"), BINARY),
    **dict.fromkeys(("maximum", "minimum"), [*BINARY, *WHOLE]),
    **dict.fromkeys(("floor_divide", "remainder"), [*BINARY, call(INTS, 3), call(-I32, I32 + 1)]),
    "pow": [call(X, Y), call(X, 2), call(INTS, INTS), call(F32, 0.5), call(2, INTS)],
    **dict.fromkeys(("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"), COMPARED),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor"), [*WHOLE, call(BOOLS, ~BOOLS)]),
    **dict.fromkeys(("bitwise_left_shift", "bitwise_right_shift"), WHOLE),
    "bitwise_invert": [call(INTS), call(U8), call(BOOLS)],
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), [call(BOOLS, BOOLS[:, ::-1]), call(BOOLS, True)]),
    "logical_not": [call(BOOLS)],
    "where": [call(BOOLS, X, Y), call(BOOLS, X, 0.0), call(BOOLS, 1, I32)],
    "clip": [call(Y, -1, 1), call(Y, None, X), call(INTS, 1, 3), call(F32, 0.5), call(Y, X, 1 + X), call(X)],
    **dict.fromkeys(("max", "min", "mean"), reduction()), "sum": [*reduction(dtype="float32"), call(I32),
                                                                  call(U8, axis=0), call(U8, dtype="uint8")],
    "prod": [*reduction(dtype="float32"), call(I32, axis=1)],
    **dict.fromkeys(("std", "var"), reduction(correction=1.0)),
    **dict.fromkeys(("all", "any", "count_nonzero"), [call(BOOLS), call(BOOLS, axis=0, keepdims=True), call(INTS),
                                                      call(X, axis=(0, 1))]),
    **dict.fromkeys(("argmax", "argmin"), [call(X), call(X, axis=1), call(INTS, axis=0, keepdims=True)]),
    **dict.fromkeys(("cumulative_sum", "cumulative_prod"), [
        call(VECTOR), call(X, axis=1), call(I32, axis=0), call(X, axis=-1, include_initial=True),
        call(I32, axis=0, dtype="float64", include_initial=True)]),
    "diff": [call(X), call(X, axis=0, n=2), call(X, prepend=Y, append=X[:, :1]), call(INTS)],
    "sort": [call(X), call(X, axis=0, descending=True), call(INTS)],
    "argsort": [call(X), call(INTS, axis=0), call(INTS, descending=True), call(INTS, axis=0, descending=True)],
    "searchsorted": [call(np.sort(VECTOR), X), call(VECTOR, X, sorter=np.argsort(VECTOR), side="right"),
                     call(np.sort(VECTOR), 1.5)],
    "isin": [call(INTS, np.array([1, 3])), call(INTS, INTS[0])],
    "nonzero": [call(INTS), call(BOOLS)],
    **dict.fromkeys(("unique_all", "unique_counts", "unique_inverse", "unique_values"), [call(INTS), call(NAN)]),
    "take": [call(VECTOR, np.array([2, 0])), call(X, np.array([1, 1, 0]), axis=1)],
    "take_along_axis": [call(X, np.argsort(X)), call(X, INTS % 3, axis=0)],
    "concat": [call([X, Y]), call([X, Y[:, :1]], axis=1), call([X, VECTOR], axis=None), call([F32, X])],
    "stack": [call([X, Y]), call([X, Y], axis=-1)], "unstack": [call(X), call(CUBE, axis=-1)],
    "expand_dims": [call(X, 0), call(X, -1), call(X, axis=1)], "squeeze": [call(X[:1], 0), call(CUBE[:1, :1], (0, 1))],
    "flip": [call(X), call(X, axis=0), call(CUBE, axis=(0, -1))],
    "roll": [call(X, 5), call(X, (1, -1), axis=(0, 1)), call(CUBE, 1, axis=2)],
    "permute_dims": [call(CUBE, (2, 0, 1)), call(X, axes=(1, 0))], "moveaxis": [call(CUBE, 0, -1),
                                                                               call(CUBE, (0, 1), (2, 0))],
    "matrix_transpose": [call(CUBE)], "reshape": [call(X, (4, 3)), call(X, (-1,)), call(X, shape=(2, 6), copy=True)],
    "repeat": [call(X, 2), call(X, 3, axis=1), call(X, np.array([0, 1, 2]), axis=0)],
    "tile": [call(X, (2,)), call(X, (2, 1, 2))], "broadcast_to": [call(X, (2, 3, 4))],
    "broadcast_arrays": [call(X, X[:1], np.array(2.0))], "broadcast_shapes": [call((3, 1), (4,), (2, 1, 1))],
    "meshgrid": [call(VECTOR, X[0]), call(VECTOR, X[0], indexing="ij"), call(VECTOR)],
    **dict.fromkeys(("tril", "triu"), [call(SQUARE), call(CUBE, k=1), call(INTS, k=-1)]),
    "matmul": [call(CUBE, CUBE), call(X, X.T), call(X, X[0]), call(INTS, INTS.T), call(F32, F32.T)],
    "tensordot": [call(CUBE, SQUARE, axes=1), call(SQUARE, SQUARE.T), call(X, X, axes=((1,), (1,))),
                  call(X, VECTOR, axes=0)],
    "vecdot": [call(X, Y), call(CUBE, SQUARE, axis=-1), call(X, Y, axis=-2), call(I32, I32)],
    "arange": [call(5), call(2, 10, 3), call(0, 1, 0.25, dtype="float64"), call(3, dtype="int32")],
    "linspace": [call(0, 1, 5, dtype="float64"), call(0, 1, 4, dtype="float32", endpoint=False), call(1, 2, num=1,
                                                                                                   dtype="float64")],
    "eye": [call(3, dtype="float64"), call(2, 4, k=1, dtype="int32")],
    **dict.fromkeys(("zeros", "ones"), [call((2, 3), dtype="float64"), call(4, dtype="int8"), call((), dtype="bool")]),
    "full": [call((2, 2), 1.5, dtype="float64"), call(3, 7), call((), True), call((2,), 3, dtype="uint8")],
    **dict.fromkeys(("zeros_like", "ones_like"), [call(X), call(INTS, dtype="float32"), call(BOOLS)]),
    "full_like": [call(X, 2), call(INTS, 3, dtype="float64")],
    "asarray": [call(X), call(INTS, dtype="float64"), call([[1, 2], [3, 4]]), call(True), call([1.5], dtype="float64")],
    "astype": [call(X, "float32"), call(Y, "int64"), call(INTS, "bool"), call(BOOLS, "float64", copy=False)],
    "can_cast": [call("int8", "int16"), call("float64", "float32"), call("uint8", "int16"), call(X, "float64")],
    "result_type": [call("int8", "uint8"), call(F32, "float64"), call(X, INTS[0].astype("float32")), call(F32, 1.0),
                    call(I32, 1)],
    "isdtype": [call(dtype, kind) for dtype in ("bool", "int8", "uint16", "float32", "float64") for kind in (
        "bool", "signed integer", "unsigned integer", "integral", "real floating", "complex floating", "numeric",
        "same", ("bool", "real floating"))],
    "linalg.cholesky": [call(SPD), call(SPD, upper=True)], "linalg.cross": [call(SQUARE, SQUARE[::-1]),
                                                                           call(SQUARE, SQUARE.T, axis=-2)],
    "linalg.det": [call(CUBE)], "linalg.inv": [call(CUBE)], "linalg.diagonal": [call(CUBE), call(X, offset=1)],
    "linalg.trace": [call(CUBE), call(X, offset=-1), call(INTS, dtype="float64")],
    "linalg.eigh": [call(SPD)], "linalg.eigvalsh": [call(SPD)], "linalg.slogdet": [call(CUBE)],
    "linalg.qr": [call(X), call(X.T, mode="complete")], "linalg.svd": [call(CUBE), call(X, full_matrices=False)],
    "linalg.svdvals": [call(X)], "linalg.solve": [call(CUBE, CUBE[::-1]), call(SQUARE, VECTOR)],
    "linalg.matrix_norm": [call(CUBE), *[call(X, ord=o, keepdims=True) for o in (1, -1, 2, -2, np.inf, "nuc")]],
    "linalg.vector_norm": [call(X), call(CUBE, axis=(0, 2)), *[call(X, ord=o, axis=0, keepdims=True) for o in (
        0, 1, 3, np.inf, -np.inf)]],
    "linalg.matrix_power": [call(SQUARE, n) for n in (0, 1, 5, -2)],
    "linalg.matrix_rank": [call(CUBE), call(np.ones((3, 4))), call(SPD, rtol=0.5)],
    "linalg.pinv": [call(X), call(np.ones((2, 3))), call(CUBE, rtol=0.1)],
    "linalg.outer": [call(VECTOR, X[0])], "linalg.matmul": [call(X, X.T)], "linalg.matrix_transpose": [call(CUBE)],
    "linalg.tensordot": [call(X, X, axes=((0,), (0,)))], "linalg.vecdot": [call(X, Y)],
    **dict.fromkeys(("fft.fftfreq", "fft.rfftfreq"), [call(5, dtype="float64"), call(8, d=0.5, dtype="float32")]),
    **dict.fromkeys(("fft.fftshift", "fft.ifftshift"), [call(X), call(CUBE, axes=1), call(CUBE, axes=(0, 2))]),
}
CHECKED_ALONE = {"empty", "empty_like", "finfo", "iinfo", "from_dlpack"}


def functions_of_the_standard():
    """By the module that states it: functions of the namespace and of its extensions, dtypes and constants."""
    own = {"get_array_api_strict_flags", "set_array_api_strict_flags", "reset_array_api_strict_flags", "ModuleType",
           "ArrayAPIStrictFlags", "Device", "linalg", "fft"}
    names = {name for name in strict.__all__ if name not in own and name != "__version__"}
    names |= {f"linalg.{name}" for name in ("eig", "eigvals") if hasattr(strict.linalg, name)}  # new in 2025.12
    return names | {f"linalg.{n}" for n in strict.linalg.__all__} | {f"fft.{n}" for n in strict.fft.__all__}


def find(namespace, name):
    for part in name.split("."):
        namespace = getattr(namespace, part)
    return namespace


def test_the_namespace_is_the_standards_but_for_listed_exceptions():
    names = functions_of_the_standard()
    missing = {name for name in names if not hasattr(find(array_api, name.rpartition(".")[0]) if "." in name else
                                                     array_api, name.rpartition(".")[2])}
    assert missing == {name for name in array_api.MISSING if not name.startswith("__")}
    assert len(array_api.MISSING) <= 25 and all(array_api.MISSING.values())
    assert strict.__array_api_version__ == array_api.__array_api_version__
    tested = set(CALLS) | CHECKED_ALONE | missing
    constants = {"e", "inf", "nan", "newaxis", "pi", "bool", "float32", "float64", "int8", "int16", "int32", "int64",
                 "uint8", "uint16", "uint32", "uint64"}
    assert names - tested == constants | (names & {"__array_namespace_info__", "__array_api_version__"})
    for name in constants - {"bool"}:
        ours, theirs = getattr(array_api, name), getattr(strict, name)
        if name in ("e", "inf", "nan", "newaxis", "pi"):
            assert ours == theirs or ours is theirs or ours != ours
        else:
            assert np.dtype(ours).name == str(theirs).split(".")[-1]
    methods = {name for name in dir(strict.asarray(X)) if not name.startswith("_") or name.startswith("__")}
    standard = methods - set(dir(object)) - {"__module__", "__dict__", "__weakref__", "__buffer__", "__iter__",
                                             "__array_priority__"}
    absent = {name for name in standard if not hasattr(cg.Tensor, name)}
    in_place = {name for name in absent if name.startswith("__i") and name != "__index__"}  # t += u binds a new value
    assert absent - in_place == {"__complex__"}


@pytest.mark.parametrize("name", sorted(set(CALLS)))
def test_parameters_are_the_standards(name):
    theirs = inspect.signature(find(strict, name)).parameters
    ours = find(array_api, name)
    if isinstance(ours, cg.Op):  # takes all of its arguments by position
        assert all(p.default is p.empty for p in theirs.values())
        return
    ours = inspect.signature(ours).parameters
    keywords = {p.name for p in theirs.values() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    assert keywords <= set(ours), f"{name}: {keywords - set(ours)}"


def run(namespace, name, args, options):
    ours = namespace is array_api

    def dtype_of(text):
        return getattr(namespace, text)

    def given(value):
        if isinstance(value, np.ndarray):
            return cg.tensor(value) if ours else strict.asarray(value)
        if isinstance(value, list) and value and isinstance(value[0], np.ndarray):
            return [given(v) for v in value]
        if isinstance(value, tuple) and value and isinstance(value[0], str):
            return tuple(given(v) for v in value)
        return value

    args = [given(a) for a in args]
    if name in ("can_cast", "result_type", "isdtype", "astype"):  # "bool" is a dtype or, second in isdtype, a kind
        args = [dtype_of(a) if isinstance(a, str) and hasattr(namespace, a) and (name, i, a) != ("isdtype", 1, "bool")
                else a for i, a in enumerate(args)]
        args = [args[0] if isinstance(a, str) and a == "same" else a for a in args]
    options = {key: dtype_of(v) if key == "dtype" else given(v) for key, v in options.items()}
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return find(namespace, name)(*args, **options)


def assert_same(got, expected, name):
    if isinstance(expected, (tuple, list)):
        assert isinstance(got, tuple) and len(got) == len(expected)
        assert getattr(got, "_fields", None) == getattr(expected, "_fields", None)
        for g, e in zip(got, expected):
            assert_same(g, e, name)
    elif isinstance(expected, type(strict.asarray(1))):
        assert isinstance(got, cg.Tensor) and got.shape == expected.shape
        assert got.dtype.name == str(expected.dtype).split(".")[-1], f"{got.dtype} for {expected.dtype}"
        expected = np.asarray(expected)
        tolerance = 1e-5 if got.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(np.asarray(got), expected, rtol=tolerance, atol=tolerance)
    elif name == "result_type":
        assert got.name == str(expected).split(".")[-1]
    else:
        assert got == expected and type(got) is type(expected)


@pytest.mark.parametrize(("name", "index"), [(n, i) for n in sorted(CALLS) for i in range(len(CALLS[n]))])
def test_functions_are_those_of_array_api_strict(name, index):
    args, options = CALLS[name][index]
    expected = run(strict, name, args, options)
    got = run(array_api, name, args, options)
    if name in ("linalg.svd", "linalg.qr", "linalg.eigh"):  # unique but for signs
        rebuilt = {"linalg.svd": lambda r: r[0][..., :, :r[1].shape[-1]] * r[1][..., None, :] @ r[2][
            ..., :r[1].shape[-1], :], "linalg.qr": lambda r: r[0] @ r[1],
            "linalg.eigh": lambda r: r[1] * r[0][..., None, :] @ np.swapaxes(r[1], -1, -2)}[name]
        parts, theirs = [np.asarray(p) for p in got], [np.asarray(p) for p in expected]
        assert got._fields == expected._fields and [p.shape for p in parts] == [p.shape for p in theirs]
        np.testing.assert_allclose(rebuilt(parts), rebuilt(theirs), atol=1e-12)
        return
    assert_same(got, expected, name)


def test_what_has_no_values_to_compare():
    for made in (array_api.empty((2, 3), dtype="int32"), array_api.empty_like(cg.ones((2, 3), dtype="int32"))):
        assert made.shape == (2, 3) and made.dtype == np.int32
    theirs, ours = strict.finfo(strict.float32), array_api.finfo(array_api.float32)
    for name in ("bits", "eps", "max", "min", "smallest_normal"):
        assert float(getattr(ours, name)) == float(getattr(theirs, name))
    assert array_api.iinfo(array_api.int8).max == strict.iinfo(strict.int8).max
    x = array_api.from_dlpack(X)
    assert x.tolist() == X.tolist() and array_api.from_dlpack(X, copy=True, device="cpu").tolist() == X.tolist()


def test_isin_inverted():
    """array-api-strict 2.6.1 does not invert; NumPy does."""
    assert array_api.isin(INTS, np.array([2, 3]), invert=True).tolist() == np.isin(INTS, [2, 3], invert=True).tolist()


def test_info():
    info = array_api.__array_namespace_info__()
    theirs = strict.__array_namespace_info__()
    assert info.capabilities() == theirs.capabilities() and info.default_device() in info.devices()
    assert info.default_dtypes()["real floating"] == np.float32 and set(info.default_dtypes()) == set(
        theirs.default_dtypes()) - {"complex floating"}
    for kind in (None, "bool", "integral", "real floating", ("signed integer", "unsigned integer"), "numeric"):
        expected = {name for name in theirs.dtypes(kind=kind) if not name.startswith("complex")}
        assert set(info.dtypes(kind=kind)) == expected
    with pytest.raises(ValueError, match="isdtype: expected a kind"):
        array_api.isdtype(np.float32, "floating")


def test_the_arrays_attributes():
    x = cg.tensor(CUBE, requires_grad=True)
    assert x.__array_namespace__() is x.__array_namespace__(api_version="2024.12") is array_api
    with pytest.raises(ValueError, match="expected a version up to 2025.12, got '2999.12'"):
        x.__array_namespace__(api_version="2999.12")
    assert x.mT.tolist() == CUBE.transpose(0, 2, 1).tolist() and x.mT.requires_grad
    with pytest.raises(ValueError, match="mT: expected at least 2 axes"):
        _ = cg.ones(3).mT
    assert x.to_device("cpu") is x
    with pytest.raises(NotImplementedError, match="to_device: expected stream None"):
        x.to_device("cpu", stream=1)
    i = cg.tensor([5, 6])
    assert ((i << 1).tolist(), (i >> 1).tolist(), (1 << i).tolist(), (64 >> i).tolist()) == (
        [10, 12], [2, 3], [32, 64], [2, 1])
    before = x
    x += 1
    assert x is not before and x.tolist() == (CUBE + 1).tolist() and before.tolist() == CUBE.tolist()
    with pytest.raises(TypeError, match="Tensors are values"):
        x[0] = 1


def test_the_tape_records_the_standards_functions():
    cg.check_grad(lambda x: array_api.linalg.vector_norm(array_api.vecdot(x, x * 2), ord=3) + array_api.sum(
        array_api.cumulative_prod(x, axis=1, include_initial=True)), X, order=2)
    cg.check_grad(lambda x: array_api.linalg.matrix_power(x, 3) + array_api.linalg.matrix_norm(x), SQUARE)


def test_einops_takes_tensors():
    einops = pytest.importorskip("einops.array_api", reason="uses einops, which is not installed")
    x = cg.tensor(rng.standard_normal((2, 4, 6, 3)), requires_grad=True)
    patches = einops.rearrange(x, "n (h p) (w q) c -> n (h w) (p q c)", p=2, q=3)
    assert isinstance(patches, cg.Tensor) and patches.shape == (2, 4, 18) and patches.requires_grad
    np.testing.assert_array_equal(patches, x.numpy().reshape(2, 2, 2, 2, 3, 3).transpose(0, 1, 3, 2, 4, 5).reshape(
        2, 4, 18))
    pooled = einops.reduce(x, "n h w c -> n c", "mean")
    np.testing.assert_allclose(pooled, x.numpy().mean(axis=(1, 2)))
    pooled.sum().backward()
    assert x.grad is not None
    assert einops.repeat(pooled, "n c -> n k c", k=2).shape == (2, 2, 3)


def test_scipy_and_scikit_learn_dispatch_to_the_namespace():
    pytest.importorskip("scipy", reason="uses SciPy, which is not installed")
    pytest.importorskip("sklearn", reason="uses scikit-learn, which is not installed")
    page = (Path(__file__).parent.parent / "docs" / "array-api.md").read_text(encoding="utf-8")
    script, = re.findall(r"^```py\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    done = subprocess.run([sys.executable, "-c", script + "print('done')"], capture_output=True, text=True, timeout=300)
    assert done.stdout == "done\n", done.stderr[-2000:]
