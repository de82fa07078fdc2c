"""One table of calls of convgpu.numpy: name -> argument lists. What the values and gradients of every function are
checked with. Arrays of floats are differentiated; lists of them are passed on as tensors, one by one."""

from typing import Any

import numpy as np

rng = np.random.default_rng(7)
X = rng.uniform(0.3, 0.9, (2, 3)) * [[1, -1, 1], [-1, 1, -1]]  # both signs, away from 0 and 1 and from each other
Y = rng.uniform(1.2, 2.2, (2, 3)) * [[1, 1, -1], [-1, -1, 1]]
POSITIVE, ROW = np.abs(X), np.array([0.35, 1.1, 2.4])
CUBE = rng.standard_normal((2, 3, 4))
SQUARE = rng.standard_normal((3, 3))
ZEROS = np.array([[0.0, 1.5, -0.5], [0.7, 0.0, 0.0]])  # for products: none, one and two zeros per line
NANS = np.array([[np.nan, 1.5, -0.5], [np.nan, np.nan, np.nan]])
INTS = np.array([[3, 0, 2], [2, 1, 3]])
MASK = X > 0


class Call:
    """Arguments of one call; `grad=False` where the function has no gradient, or not at these arguments."""

    def __init__(self, *args: Any, grad: bool = True, **options: Any):
        self.args, self.options, self.grad = args, options, grad


def unary(*arrays: np.ndarray) -> list[Call]:
    return [Call(a) for a in arrays]


def binary(a: np.ndarray, b: np.ndarray) -> list[Call]:
    """Equal shapes, both ways of broadcasting, and Python scalars on either side."""
    return [Call(a, b), Call(a, np.abs(b[:1])), Call(a[0], b), Call(a[:, :1], b[:1]), Call(a, 1.7), Call(0.6, b)]


def reduction(**options: Any) -> list[Call]:
    axes: list[Any] = [None, 0, -1, (0, 2), (2, 1), ()]
    return [*[Call(CUBE, axis=axis, **options) for axis in axes], Call(CUBE, axis=(0, 2), keepdims=True, **options)]


def without_gradient(*calls: Call) -> list[Call]:
    for call in calls:
        call.grad = False
    return list(calls)


CALLS: dict[str, list[Call]] = {
    # arithmetic
    **{name: binary(X, Y) for name in (
        "add", "subtract", "multiply", "divide", "hypot", "arctan2", "maximum", "minimum", "fmax", "fmin", "logaddexp",
        "logaddexp2", "remainder", "floor_divide", "divmod")},
    "power": [*binary(POSITIVE, Y), Call(X, 3), Call(X, 2), Call(X, 1), Call(X, 0), Call(X, -2), Call(X, INTS),
              Call(POSITIVE, 0.5), Call(ZEROS, 2), Call(ZEROS, 1), Call(ZEROS, 0), Call(ZEROS, 3), Call(2, X)],
    "float_power": binary(POSITIVE, Y),
    **{name: unary(X, CUBE) for name in (
        "negative", "positive", "abs", "sign", "square", "cbrt", "reciprocal", "exp", "exp2", "expm1", "sin", "cos",
        "tan", "arctan", "sinh", "cosh", "tanh", "arcsinh", "deg2rad", "rad2deg", "floor", "ceil", "trunc", "rint",
        "copy")},
    **{name: unary(X) for name in ("arcsin", "arccos", "arctanh", "log1p")},
    **{name: unary(POSITIVE) for name in ("sqrt", "log", "log2", "log10")},
    "arccosh": unary(1 + POSITIVE),
    "round": [Call(CUBE), Call(CUBE, 1)],
    "clip": [Call(CUBE, -0.5, 0.5), Call(CUBE, -0.5, None), Call(CUBE, None, 0.5), Call(X, -POSITIVE / 2, ROW / 2),
             Call(X, 0.5, ROW[0])],
    "where": [Call(MASK, X, Y), Call(MASK[0], X, ROW), Call(MASK, X, 0.0), Call(MASK, 1.5, X), Call(True, X, Y)],
    "nan_to_num": [Call(X), Call(NANS, grad=False), Call(np.array([np.inf, -np.inf, 1.0]), grad=False)],
    # tests and comparisons
    **{name: without_gradient(*unary(NANS, X, np.array([np.inf, -np.inf]))) for name in (
        "isnan", "isinf", "isfinite", "signbit")},
    **{name: without_gradient(*binary(np.round(X), np.round(Y))) for name in (
        "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or",
        "logical_xor")},
    "logical_not": without_gradient(*unary(ZEROS)),
    **{name: [Call(INTS, INTS[:1] + 1), Call(INTS, 2), Call(MASK, ~MASK)] for name in (
        "bitwise_and", "bitwise_or", "bitwise_xor")},
    "invert": unary(INTS, MASK),
    **{name: [Call(INTS, 2), Call(INTS, INTS)] for name in ("left_shift", "right_shift")},
    "isclose": without_gradient(Call(X, X + 1e-7), Call(X, Y), Call(NANS, NANS, equal_nan=True),
                                Call(X, X + 0.1, atol=1.0)),
    "allclose": without_gradient(Call(X, X + 1e-7), Call(X, Y)),
    "array_equal": without_gradient(Call(X, X), Call(X, Y), Call(X, ROW)),
    # reductions
    **{name: reduction() for name in ("sum", "mean", "max", "min", "prod", "ptp")},
    "var": [*reduction(), Call(CUBE, ddof=1), Call(CUBE, (0, 1), ddof=1), Call(CUBE, 2, correction=0.5),
            Call(CUBE[:1], 0, ddof=1, grad=False)],
    "std": [*reduction()[:5], Call(CUBE, ddof=1), Call(CUBE, 2, correction=0.5)],
    **{name: without_gradient(*reduction()) for name in ("any", "all", "count_nonzero")},
    **{name: without_gradient(Call(CUBE), Call(CUBE, axis=1), Call(CUBE, axis=-1, keepdims=True), Call(INTS, axis=0),
                              Call(NANS, axis=1)) for name in ("argmax", "argmin")},
    **{name: [Call(X), Call(X, 0), Call(CUBE, axis=-2), Call(INTS, axis=1)] for name in ("cumsum", "cumprod")},
    "average": [Call(CUBE), Call(CUBE, axis=1), Call(CUBE, 1, ROW), Call(X, weights=np.abs(Y)), Call(X, 0, np.abs(Y)),
                Call(CUBE, (0, 2), keepdims=True), Call(CUBE, 1, ROW, keepdims=True), Call(CUBE, 1, returned=True),
                Call(X, 0, np.abs(Y), True, keepdims=True)],
    "median": [Call(CUBE), Call(CUBE, axis=0), Call(CUBE, axis=1), Call(CUBE, axis=-1, keepdims=True),
               Call(CUBE, keepdims=True)],
    "diff": [Call(X), Call(CUBE, 2, 1), Call(CUBE, axis=0), Call(MASK), Call(X, 0)],
    "nansum": [Call(X), Call(NANS, axis=1, grad=False), Call(CUBE, axis=(0, 1), keepdims=True)],
    "nanmean": [Call(X), Call(NANS[:1], axis=1, grad=False), Call(CUBE, axis=(0, 1), keepdims=True)],
    **{name: [Call(CUBE, axis=1), Call(NANS[:1], axis=1, grad=False), Call(INTS)] for name in ("nanmax", "nanmin")},
    # shape
    "reshape": [Call(CUBE, (6, 4)), Call(CUBE, (4, -1)), Call(CUBE, 24), Call(np.ones((0, 3)), (3, 0))],
    "ravel": unary(CUBE, X.T),
    "transpose": [Call(CUBE), Call(CUBE, (2, 0, 1)), Call(CUBE, (-1, 0, 1)), Call(X)],
    "moveaxis": [Call(CUBE, 0, -1), Call(CUBE, (0, 1), (2, 0)), Call(CUBE, [2], [1])],
    "swapaxes": [Call(CUBE, 0, 2), Call(CUBE, -1, 1)],
    "squeeze": [Call(CUBE[:1, :, :1]), Call(CUBE[:1, :, :1], axis=0), Call(CUBE[:1, :, :1], axis=(0, -1)), Call(CUBE)],
    "expand_dims": [Call(X, 0), Call(X, -1), Call(X, (0, 3))],
    **{name: unary(np.array(1.5), ROW, X, CUBE) for name in ("atleast_1d", "atleast_2d", "atleast_3d")},
    "broadcast_to": [Call(ROW, (2, 3)), Call(X[:, :1], (4, 2, 3)), Call(X, (2, 3)), Call(np.array(2.0), 5)],
    "broadcast_arrays": [Call(ROW, X[:, :1])],
    "flip": [Call(CUBE), Call(CUBE, 1), Call(CUBE, (0, -1))],
    **{name: unary(X, CUBE) for name in ("fliplr", "flipud")},
    "roll": [Call(CUBE, 5), Call(CUBE, 1, 1), Call(CUBE, -2, -1), Call(CUBE, (1, 2), (0, 2)), Call(X, 1, axis=(0, 1))],
    "rot90": [*[Call(CUBE, k) for k in range(-1, 5)], Call(CUBE, 1, (2, 0)), Call(CUBE, 3, axes=(0, 2))],
    **{name: [Call(SQUARE), Call(X, 1), Call(CUBE, -1), Call(ROW), Call(SQUARE, 5)] for name in ("tril", "triu")},
    "repeat": [Call(X, 2), Call(X, 3, 1), Call(X, [1, 0, 2], axis=1), Call(X, 0, 0), Call(X, [2], 0)],
    "tile": [Call(X, 2), Call(X, (2, 1)), Call(X, (2, 1, 3)), Call(CUBE, (2,)), Call(X, (0, 1))],
    "meshgrid": [Call(ROW, X[0]), Call(ROW, X[0], X[1], indexing="ij"), Call(ROW), Call(ROW, X[0], ROW[:2])],
    # joining
    "concatenate": [Call([X, Y]), Call([X, X[:, :1], Y], axis=1), Call([X, ROW], None), Call([CUBE, CUBE], -1)],
    "stack": [Call([X, Y]), Call([X, Y], 1), Call([X, Y, X], axis=-1)],
    **{name: [Call([X, Y]), Call([ROW, ROW]), Call([CUBE, CUBE, CUBE])] for name in (
        "vstack", "hstack", "dstack", "column_stack")},
    "append": [Call(X, Y), Call(X, Y, 0)],
    "split": [Call(CUBE, 2), Call(CUBE, [1, 2], 1), Call(CUBE, 4, -1), Call(ROW, [2])],
    "array_split": [Call(CUBE, 2), Call(CUBE, 3, -1), Call(ROW, 5), Call(CUBE, [3], 1), Call(ROW, [1, 2, 2])],
    "pad": [Call(X, 1), Call(X, (1, 2)), Call(X, ((0, 1), (2, 0)), constant_values=1.5),
            *[Call(CUBE, ((0, 1), (2, 1), (0, 3)), mode=mode) for mode in ("edge", "reflect", "symmetric", "wrap")]],
    # indices
    "take": [Call(X, 4), Call(X, INTS), Call(X, [0, 0, 1], 0), Call(CUBE, [[2, -1], [2, 0]], axis=1), Call(CUBE, 1, 2)],
    "take_along_axis": [Call(CUBE, np.argsort(CUBE, 1), 1), Call(X, INTS % 2, 0), Call(X, INTS[0], None),
                        Call(X, np.array([[2, 2, 0, 1], [0, 0, 0, 1]]), -1)],
    "diagonal": [Call(SQUARE), Call(CUBE, 1, 1, 2), Call(CUBE, -1, 2, 0), Call(X, 7)],
    "diag": [Call(SQUARE), Call(SQUARE, 1), Call(ROW), Call(ROW, -2)],
    "trace": [Call(SQUARE), Call(SQUARE, 1), Call(CUBE, 0, 2, 0)],
    "sort": [Call(X), Call(CUBE, 0), Call(CUBE, None), Call(CUBE, axis=1), Call(NANS, grad=False), Call(INTS)],
    "argsort": without_gradient(Call(X), Call(CUBE, 0), Call(CUBE, None)),
    "argwhere": without_gradient(Call(ZEROS)),
    "flatnonzero": without_gradient(Call(ZEROS)),
    "nonzero": without_gradient(Call(ZEROS)),
    "unique": without_gradient(Call(INTS),
                               Call(np.round(CUBE), return_index=True, return_inverse=True, return_counts=True),
                               Call(np.array([[1, 2], [1, 2]]), axis=0)),
    "searchsorted": without_gradient(Call(ROW, X), Call(ROW, ROW), Call(ROW, ROW, "right")),
    "bincount": without_gradient(Call(INTS.ravel()), Call(INTS[0], ROW, 5)),
    # sums of products
    "dot": [Call(X[0], ROW), Call(X, ROW), Call(X, X.T), Call(CUBE, CUBE[0].T), Call(X, 2.0),
            Call(CUBE, CUBE.transpose(0, 2, 1))],
    "matmul": [Call(X, X.T), Call(X, ROW), Call(CUBE, CUBE.transpose(0, 2, 1)), Call(INTS, INTS.T)],
    "inner": [Call(X[0], ROW), Call(X, SQUARE), Call(X, ROW), Call(2.0, X)],
    "vdot": [Call(X, Y)],
    "outer": [Call(X, ROW), Call(ROW, X[0])],
    "kron": [Call(X, SQUARE), Call(ROW, X), Call(ROW, ROW)],
    "tensordot": [Call(CUBE, CUBE.transpose(1, 2, 0)), Call(CUBE, SQUARE, (1, 0)), Call(X, ROW, 0),
                  Call(X, X, ([0, 1], [0, 1])),
                  Call(CUBE, CUBE, ([2, 0], [2, 0])), Call(CUBE, SQUARE, ([-2], [-1])), Call(X, X.T, 1)],
    "einsum": [Call("ij,jk->ik", X, SQUARE), Call("ij,jk", X, SQUARE), Call("ij,ij->i", X, Y), Call("ij->", X),
               Call("ij->j", X),
               Call("ii", SQUARE), Call("ii->i", SQUARE), Call("iji->j", np.ones((2, 3, 2)) * X[:, :, None]),
               Call("ji", X),
               Call("bij,bjk->bik", CUBE, CUBE.transpose(0, 2, 1)), Call("i,j->ij", ROW, X[0]),
               Call("...j,j->...", CUBE[..., :3], ROW),
               Call("...i,...i", X, ROW), Call("i...->...", CUBE), Call("ij,jk,kl->il", X, SQUARE, SQUARE),
               Call("i,i,i", ROW, ROW, X[0]),
               Call("ij,ik,il->jkl", X, Y, X), Call("ij , kj -> ik", X, Y), Call("ij,kl->", X, SQUARE),
               Call("b...,b...->b...", X, Y),
               Call("ij,j->ij", X, ROW), Call("...,...", X, Y), Call("ij,ij", X[:, :1], Y),
               Call(",i->i", np.array(2.0), ROW),
               Call("aab,bc,c->ac", CUBE[:, :2, :3], SQUARE, ROW), Call("ij,jk", INTS, INTS.T),
               Call("abc,abd->dc", CUBE, CUBE)],
    # of integers, and less common ones
    **{name: [Call(INTS, INTS[:1] + 1), Call(INTS, 2)] for name in ("gcd", "lcm")},
    **{name: binary(X, Y) for name in ("fmod", "copysign")},
    "heaviside": [Call(X, Y), Call(X, 0.5), Call(ZEROS, Y, grad=False)],
    "nextafter": [Call(X, Y), Call(X, 2.0, grad=False)],
    "ldexp": [Call(X, INTS), Call(X, INTS[0])],
    "sinc": unary(X, ZEROS, CUBE),
    "i0": without_gradient(Call(X)),
    **{name: without_gradient(*unary(np.array([np.inf, -np.inf, np.nan, 1.0]))) for name in ("isposinf", "isneginf")},
    "isreal": without_gradient(*unary(X)),
    # statistics
    "quantile": [Call(X, 0.3), Call(CUBE, [0.1, 0.5], 1), Call(CUBE, 0.7, (0, 2), keepdims=True),
                 Call(X, 0.5, keepdims=True),
                 *[Call(X, 0.4, 1, method=m) for m in ("lower", "higher", "nearest", "midpoint")],
                 Call(NANS, 0.5, 1, grad=False)],
    "percentile": [Call(X, 30.0), Call(CUBE, [10, 50], 1)],
    "nanquantile": [Call(X, 0.3, 1), Call(np.where(X > 0.8, np.nan, X), [0.25, 0.5], 1, grad=False)],
    "nanpercentile": [Call(X, 30.0, 1)],
    "nanmedian": [Call(X, 1), Call(np.where(X > 0.5, np.nan, X), 0, grad=False)],
    "nanprod": [Call(X, 1), Call(NANS, axis=1, grad=False), Call(CUBE, axis=(0, 1), keepdims=True)],
    "nanvar": [Call(X, 1), Call(NANS[:1], axis=1, grad=False), Call(CUBE, axis=(0, 1), keepdims=True)],
    "nanstd": [Call(X, 1), Call(CUBE, axis=0)],
    **{name: [Call(X, 1), Call(NANS, 0, grad=False)] for name in ("nancumsum", "nancumprod")},
    **{name: without_gradient(Call(X, 1), Call(NANS[:1], axis=1)) for name in ("nanargmax", "nanargmin")},
    "argpartition": without_gradient(Call(np.array([3.0, 1.0, 2.0]), 1)),
    "digitize": without_gradient(Call(X, np.array([-0.5, 0.0, 0.5]))),
    "isin": without_gradient(Call(INTS, np.array([0, 3])), Call(INTS, np.array([2]), invert=True)),
    "histogram": without_gradient(Call(X), Call(X, 4, (-1.0, 1.0))),
    "unravel_index": without_gradient(Call(INTS, (2, 2))),
    "corrcoef": [Call(X), Call(SQUARE), Call(X, SQUARE[:2]), Call(ROW, X[0]), Call(CUBE[0], rowvar=False),
                 Call(ROW, grad=False)],
    "cov": [Call(X), Call(ROW), Call(SQUARE, X), Call(CUBE[0], rowvar=False), Call(CUBE[0], bias=True),
            Call(CUBE[0], ddof=0), Call(CUBE[0], fweights=INTS.ravel()[:4]), Call(X, Y[0], aweights=POSITIVE[0]),
            Call(X, fweights=INTS[0], aweights=POSITIVE[0]), Call(X[:, :1], grad=False), Call(INTS),
            Call(X[:1].T, None, False)],
    # sequences and vectors
    "cross": [Call(X, SQUARE[:2]), Call(X, Y[0]), Call(SQUARE, SQUARE[:, ::-1] * 2, axis=0)],
    "correlate": [Call(X[0], ROW), Call(ROW, X[0, :2]), Call(X[0, :2], ROW, "full"), Call(CUBE[0, 0], ROW, "same")],
    "convolve": [Call(X[0], ROW), Call(X[0, :2], ROW), Call(ROW, X[0, :2], "same"), Call(X[0, :2], ROW, "valid"),
                 Call(CUBE[0, 0], ROW, "same"), Call(INTS[0], INTS[1])],
    "interp": [Call(X, np.sort(ROW), ROW[::-1]), Call(np.array([-5.0, 0.4, 1.7, 9.0]), ROW, X[0]),
               Call(np.array([0.35, 1.1, 2.4, np.nan]), ROW, X[0], grad=False), Call(X, ROW[:1], ROW[1:2], grad=False),
               Call(np.array([-5.0, 0.4, 9.0]), ROW, X[0], -1.0, 7.5), Call(CUBE, ROW, X[0], period=2.3),
               Call(INTS, np.array([0, 2, 3]), np.array([5, 1, 4]))],
    "unwrap": [Call(9 * CUBE), Call(9 * CUBE, axis=0), Call(9 * CUBE, 4.0, 1), Call(9 * CUBE, period=4.0),
               Call(7 * INTS, period=4), Call(7 * INTS, axis=0, period=5), Call(INTS), Call(X[:, :1])],
    "gradient": [Call(ROW), Call(X), Call(CUBE, 0.5), Call(CUBE, 0.5, 2.0, np.append(ROW, 3.4), axis=(0, 1, 2)),
                 Call(CUBE[0], ROW, axis=0), Call(CUBE[0], ROW, axis=0, edge_order=2),
                 Call(CUBE, axis=-1, edge_order=2), Call(CUBE, 2, axis=1), Call(INTS, axis=1)],
    "trapezoid": [Call(X), Call(X, ROW), Call(CUBE, dx=0.5, axis=0)],
    "vander": [Call(ROW), Call(ROW, 2), Call(ROW, 4, increasing=True)],
    "select": [Call([MASK, Y > 0], [X, Y], 1.5), Call([MASK], [X])],
    "diagflat": [Call(X), Call(ROW, 1)],
    "hsplit": [Call(CUBE, 3), Call(ROW, [1])],
    "vsplit": [Call(CUBE, 2)],
    "dsplit": [Call(CUBE, 2)],
    # new tensors and questions
    **{name: without_gradient(Call(X), Call(INTS)) for name in ("zeros_like", "ones_like")},
    "full_like": [Call(INTS, 7), Call(X, 2.5, grad=False)],
    "asarray": [Call(X), Call(INTS), Call(X, np.float32, grad=False)],
    "array": [Call(X), Call([X, Y])],
    "arange": [Call(5), Call(2, 8, 3)],
    "shape": without_gradient(Call(CUBE)),
    "ndim": without_gradient(Call(CUBE)),
    "size": without_gradient(Call(CUBE), Call(CUBE, 1)),
    "result_type": without_gradient(Call(X, np.float32(1)), Call(INTS, 1.5)),
    "iscomplexobj": without_gradient(Call(X), Call(INTS)),
    "astype": without_gradient(Call(X, np.int64), Call(INTS, np.float64)),
}

# Made from nothing, float32 unless told otherwise: (arguments, what NumPy is asked for)
NEW: dict[str, list[Call]] = {
    "zeros": [Call((2, 3)), Call(4), Call((), dtype="int64")],
    "ones": [Call((2, 3)), Call(4), Call(2, dtype="float64")],
    "full": [Call((2, 3), 1.5), Call(2, 7, dtype="float64")],
    "linspace": [Call(0, 1), Call(-1, 2, 7), Call(0, 1, 4, endpoint=False), Call(0, 1, 3, dtype="float64")],
    "eye": [Call(3), Call(2, 4), Call(3, k=-1), Call(2, dtype="int64")],
    "identity": [Call(3)],
    "tri": [Call(3), Call(2, 4, 1)],
    "logspace": [Call(0, 2, 5)],
    "geomspace": [Call(1, 8, 4)],
    **{name: [Call(5)] for name in ("bartlett", "blackman", "hamming", "hanning")},
    "kaiser": [Call(5, 2.0)],
}
