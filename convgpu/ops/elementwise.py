"""Elementwise ops, one line each: the forward function is NumPy's, which calls CuPy's for CuPy arrays.

Dtypes promote as in NumPy 2, and Python scalars promote weakly. Where a function is not differentiable, the gradient is
a common choice: 0 for steps (floor, sign) and for abs at 0, half to each of equal operands of maximum and minimum.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..capturing import region
from ..deferred import Deferred, added
from ..device import device_of, move
from ..dtypes import as_dtype, is_float, is_half
from ..op import Op
from ..tensor import Tensor, as_tensor
from . import binary

LN2, LN10 = 0.6931471805599453, 2.302585092994046


def weak(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`function` of two operands, where a Python number takes the dtype of the other operand (`paired`)."""
    @functools.wraps(function)
    def forward(a: Any, b: Any) -> Any:
        if type(a) in (float, int) or type(b) in (float, int):
            a, b = paired(a, b)
        return function(a, b)

    return forward


def paired(a: Any, b: Any) -> tuple[Any, Any]:
    """Convert a Python number among two operands to the dtype of the other if that is a half type (ml_dtypes would
    widen bfloat16), and a Python float beside another Python number to float32. Beside other dtypes NumPy converts.
    """
    return _beside(b, a) if type(a) in (float, int) else a, _beside(a, b) if type(b) in (float, int) else b


def _beside(x: Any, number: float) -> Any:
    if hasattr(x, "dtype"):
        return x.dtype.type(number) if is_half(x.dtype) else number
    return np.float32(number) if type(number) is float else number


def wide(t: Tensor) -> Tensor:
    """The tensor in the dtype that gradient rules compute with; the tape rounds the rule's result to the input's dtype.

    A tensor that `convgpu.mixed` has cast is taken as it was before.
    """
    return astype(unrounded(t), np.float32) if is_half(t.dtype) else t


def unrounded(t: Tensor) -> Tensor:
    """What `convgpu.mixed` has cast, as it was before, unless `assign` has changed the cast; other tensors as they are.
    """
    return t if t.version else t.__dict__.get("source", t)


def precise(rule: Callable[..., Any]) -> Callable[..., Any]:
    """Make a gradient rule of several steps compute half types in float32, so that only the result is rounded."""
    @functools.wraps(rule)
    def run(*values: Any) -> Any:
        return rule(*[wide(v) if isinstance(v, Tensor) else v for v in values])

    return run


def zero(g: Tensor) -> Tensor:
    """The gradient of a step function."""
    return _zeros(g)


_zeros = Op("zeros_like", "x -> y", np.zeros_like, moves=True).vjp(x=zero)


# --- arithmetic


def _arithmetic(name: str, forward: Callable[[Any, Any], Any], kind: type[Op] = Op) -> Op:
    return kind(name, "a, b -> y", weak(forward), broadcasts=True, by_kernel=binary.by_kernel(name))


class _Add(Op):
    """Addition, which a deferred operand computes together with itself."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        if Deferred in map(type, args) and len(args) == 2:
            a, b = args
            y = added(a, b) if type(a) is Deferred else added(b, a)
            if y is not None:
                return y
        return super().__call__(*args, **options)


add = _arithmetic("add", np.add, _Add).vjp(a=lambda g: g, b=lambda g: g)
subtract = _arithmetic("subtract", np.subtract).vjp(a=lambda g: g, b=lambda g: -g)
multiply = _arithmetic("multiply", np.multiply).vjp(a=lambda g, b: g * b, b=lambda g, a: g * a)
divide = _arithmetic("divide", np.divide).vjp(
    a=lambda g, b: g / b, b=precise(lambda g, b, y: -g * y / b))
floor_divide = Op("floor_divide", "a, b -> y", weak(np.floor_divide), broadcasts=True).vjp(a=zero, b=zero)
remainder = Op("remainder", "a, b -> y", weak(np.remainder), broadcasts=True).vjp(
    a=lambda g: g, b=precise(lambda g, a, b: -g * floor_divide(a, b)))


def divmod(a: Any, b: Any) -> tuple[Tensor, Tensor]:  # noqa: A001 - NumPy's name
    """(floor_divide(a, b), remainder(a, b)).

    >>> divmod([7.0, -7.0], 4.0)
    (Tensor([ 1., -2.], dtype=float32), Tensor([3., 1.], dtype=float32))
    """
    return floor_divide(a, b), remainder(a, b)


negative = Op("negative", "x -> y", np.negative).vjp(x=lambda g: -g)
positive = Op("positive", "x -> y", np.positive).vjp(x=lambda g: g)
reciprocal = Op("reciprocal", "x -> y", np.reciprocal).vjp(x=precise(lambda g, y: -g * y * y))
square = Op("square", "x -> y", np.square).vjp(x=precise(lambda g, x: g * (2 * x)))
sqrt = Op("sqrt", "x -> y", np.sqrt).vjp(x=precise(lambda g, y: g / (2 * y)))
cbrt = Op("cbrt", "x -> y", np.cbrt).vjp(x=precise(lambda g, y: g / y / y / 3))
abs = Op("abs", "x -> y", np.abs).vjp(x=lambda g, x: g * sign(x))  # noqa: A001 - NumPy's name
sign: Op = Op("sign", "x -> y", np.sign).vjp(x=zero)
hypot = Op("hypot", "a, b -> y", weak(np.hypot), broadcasts=True).vjp(
    a=precise(lambda g, a, y: g * ratio_or_zero(a, y)), b=precise(lambda g, b, y: g * ratio_or_zero(b, y)))


def ratio_or_zero(a: Any, b: Tensor) -> Tensor:
    """a / b; 0 where b is 0, in derivatives of any order."""
    return where(b == 0, 0, a / where(b == 0, 1, b))


def _power_in_base(g: Tensor, a: Any, b: Any, y: Tensor) -> Tensor:
    """b * a^(b-1); exactly 0 for b = 0, even where a is 0 or NaN."""
    if isinstance(b, (int, float)):
        if b in (0, 1, 2):
            return zero(g) if b == 0 else g if b == 1 else g * (2 * a)
        return g * (b * power(a, b - 1))
    b = b if is_float(b.dtype) else astype(b, y.dtype)
    constant = (b == 0) & ((a == 0) | isnan(as_tensor(a)))
    return g * (b * power(a, b - where(constant, 0, 1)))


def _power_in_exponent(g: Tensor, a: Any, b: Any, y: Tensor) -> Tensor:
    """a^b * ln(a); 0 at a = 0 for b >= 0."""
    a = as_tensor(a, "power").astype(y.dtype).to(y.device)
    return g * (y * log(where((a == 0) & (b >= 0), 1, a)))


# Python's operator ** uses NumPy's fast paths for the exponents 2 and 0.5; np.power does not.
power = Op("power", "a, b -> y", weak(operator.pow), broadcasts=True).vjp(
    a=precise(_power_in_base), b=precise(_power_in_exponent))
float_power = Op("float_power", "a, b -> y", np.float_power, broadcasts=True).vjp(
    a=precise(_power_in_base), b=precise(_power_in_exponent))

# --- exponentials and logarithms

exp = Op("exp", "x -> y", np.exp).vjp(x=lambda g, y: g * y)
exp2 = Op("exp2", "x -> y", np.exp2).vjp(x=precise(lambda g, y: g * (y * LN2)))
expm1 = Op("expm1", "x -> y", np.expm1).vjp(x=precise(lambda g, x: g * exp(x)))
log = Op("log", "x -> y", np.log).vjp(x=lambda g, x: g / x)
log2 = Op("log2", "x -> y", np.log2).vjp(x=precise(lambda g, x: g / x / LN2))
log10 = Op("log10", "x -> y", np.log10).vjp(x=precise(lambda g, x: g / x / LN10))
log1p = Op("log1p", "x -> y", np.log1p).vjp(x=precise(lambda g, x: g / (x + 1)))
logaddexp = Op("logaddexp", "a, b -> y", weak(np.logaddexp), broadcasts=True).vjp(
    a=precise(lambda g, a, b, y: g * _weight(a, b, y, 1)), b=precise(lambda g, a, b, y: g * _weight(b, a, y, 1)))
logaddexp2 = Op("logaddexp2", "a, b -> y", weak(np.logaddexp2), broadcasts=True).vjp(
    a=precise(lambda g, a, b, y: g * _weight(a, b, y, LN2)), b=precise(lambda g, a, b, y: g * _weight(b, a, y, LN2)))


def _weight(mine: Any, other: Any, y: Tensor, base: float) -> Tensor:
    """exp(mine) / (exp(mine) + exp(other)), from mine - other, since y is rounded; 0 where both exponentials are 0."""
    mine, other = (as_tensor(x).to(y.device) for x in (mine, other))
    equal_infinities = isinf(mine) & (mine == other)  # infinity - infinity would be NaN
    difference = where(equal_infinities, 0, mine) - where(equal_infinities, 0, other)
    from .activation import sigmoid  # imported late: the file of activations imports this one

    return where(y == -np.inf, 0, sigmoid(astype(difference * base, y.dtype)))


# --- trigonometric and hyperbolic; rules use two factors instead of 1 - x*x to keep the digits near |x| = 1

_one_less_square = Op("one_less_square", "x -> y", lambda x: (1 - x) * (1 + x)).vjp(x=lambda g, x: g * x * -2)
_root_square_less_one = Op("root_square_less_one", "x -> y", lambda x: np.sqrt(x - 1) * np.sqrt(x + 1)).vjp(
    x=lambda g, x, y: g * (x / y))

sin = Op("sin", "x -> y", np.sin).vjp(x=precise(lambda g, x: g * cos(x)))
cos: Op = Op("cos", "x -> y", np.cos).vjp(x=precise(lambda g, x: -g * sin(x)))
tan = Op("tan", "x -> y", np.tan).vjp(x=precise(lambda g, y: g * (1 + y * y)))
arcsin = Op("arcsin", "x -> y", np.arcsin).vjp(x=precise(lambda g, x: g / sqrt(_one_less_square(x))))
arccos = Op("arccos", "x -> y", np.arccos).vjp(x=precise(lambda g, x: -g / sqrt(_one_less_square(x))))
arctan = Op("arctan", "x -> y", np.arctan).vjp(x=precise(lambda g, x: _over_square(g, hypot(x, 1))))
arctan2 = Op("arctan2", "a, b -> y", weak(np.arctan2), broadcasts=True).vjp(
    a=precise(lambda g, a, b: _over_square(g * b, hypot(a, b))),
    b=precise(lambda g, a, b: _over_square(-g * a, hypot(a, b))))
sinh = Op("sinh", "x -> y", np.sinh).vjp(x=precise(lambda g, x: g * cosh(x)))
cosh: Op = Op("cosh", "x -> y", np.cosh).vjp(x=precise(lambda g, x: g * sinh(x)))
arcsinh = Op("arcsinh", "x -> y", np.arcsinh).vjp(x=precise(lambda g, x: g / hypot(x, 1)))
arccosh = Op("arccosh", "x -> y", np.arccosh).vjp(x=precise(lambda g, x: g / _root_square_less_one(x)))
arctanh = Op("arctanh", "x -> y", np.arctanh).vjp(x=precise(lambda g, x: g / _one_less_square(x)))
deg2rad = Op("deg2rad", "x -> y", np.deg2rad).vjp(x=lambda g: g * (np.pi / 180))
rad2deg = Op("rad2deg", "x -> y", np.rad2deg).vjp(x=lambda g: g * (180 / np.pi))


def _over_square(x: Tensor, r: Tensor) -> Tensor:
    """x / r^2, where r^2 may overflow; 0 where r is 0."""
    return ratio_or_zero(ratio_or_zero(x, r), r)


# --- rounding functions, which are steps

floor = Op("floor", "x -> y", np.floor).vjp(x=zero)
ceil = Op("ceil", "x -> y", np.ceil).vjp(x=zero)
trunc = Op("trunc", "x -> y", np.trunc).vjp(x=zero)
rint = Op("rint", "x -> y", np.rint).vjp(x=zero)
round = Op("round", "x; decimals=0 -> y", lambda x, decimals: _rounded(x, decimals)).vjp(  # noqa: A001 - NumPy's name
    x=zero)


def _rounded(x: Any, decimals: int) -> Any:
    """np.round, in float32 for half types; x itself where x * 10^decimals overflows, since x has no such decimals."""
    if not is_float(x.dtype) or not decimals:
        return np.round(x, decimals)
    with np.errstate(over="ignore", invalid="ignore"):
        y = np.round(x.astype(np.float32) if is_half(x.dtype) else x, decimals)
    return np.where(np.isfinite(y), y, x).astype(x.dtype)


# --- choices between operands


def _chosen(g: Tensor, mine: Any, other: Any, y: Tensor) -> Tensor:
    """The gradient of y = maximum or minimum for operand `mine`: g if y is mine, g/2 if both are equal or NaN."""
    return where(same(mine, y), where(same(other, y), g * 0.5, g), 0)


def same(x: Any, y: Tensor) -> Tensor:
    """Whether x (a number or a Tensor) equals y; NaN equals NaN."""
    return (x == y) | (isnan(y) & (isnan(x) if isinstance(x, Tensor) else x != x))


def _choice(op: Op) -> Op:
    return op.vjp(a=lambda g, a, b, y: _chosen(g, a, b, y), b=lambda g, a, b, y: _chosen(g, b, a, y))


maximum = _choice(_arithmetic("maximum", np.maximum))
minimum = _choice(_arithmetic("minimum", np.minimum))
fmax = _choice(Op("fmax", "a, b -> y", weak(np.fmax), broadcasts=True))
fmin = _choice(Op("fmin", "a, b -> y", weak(np.fmin), broadcasts=True))

_where = Op("where", "condition, a, b -> y", lambda c, a, b: np.where(_array(c), *paired(a, b)), broadcasts=True).vjp(
    condition=zero, a=lambda g, condition: where(condition, g, 0), b=lambda g, condition: where(condition, 0, g))
_clip = Op("clip", "x, low, high -> y", lambda x, low, high: _limited(x, low, high), broadcasts=True).vjp(
    x=lambda g, x, low, high: where(_inside(x, low, high), g, 0),
    low=lambda g, x, low, high: where((x < low) & (True if high is None else low < high), g, 0),
    high=lambda g, x, low, high: where((x > high) | (False if low is None else low >= high), g, 0))


def _array(condition: Any) -> Any:
    """The condition, as a NumPy bool where it is a Python bool, which CuPy's where refuses."""
    return np.bool_(condition) if type(condition) is bool else condition


def where(condition: Any, a: Any = None, b: Any = None) -> Any:
    """a where the condition holds, elsewhere b; for a condition alone, the indices where it holds (`nonzero`).

    >>> where([True, False], [1.0, 2.0], 0.0)
    Tensor([1., 0.], dtype=float32)
    """
    if a is None and b is None:
        return nonzero(condition)
    if a is None or b is None:
        raise TypeError("where: expected a condition alone, or a condition and two values, got one value")
    return _where(condition, a, b)


def clip(x: Any, a_min: Any = None, a_max: Any = None) -> Tensor:
    """min(max(x, a_min), a_max); None is no bound. The gradient passes where a_min <= x <= a_max.

    >>> clip([-2.0, 0.5, 3.0], 0, 1)
    Tensor([0. , 0.5, 1. ], dtype=float32)
    """
    return positive(x) if a_min is None and a_max is None else _clip(x, a_min, a_max)


_maximum, _minimum = weak(np.maximum), weak(np.minimum)


def _limited(x: Any, low: Any, high: Any) -> Any:
    y = x if low is None else _maximum(x, low)
    return y if high is None else _minimum(y, high)


def _inside(x: Tensor, low: Any, high: Any) -> Tensor:
    if low is None or high is None:
        return x <= high if low is None else x >= low
    return (x >= low) & (x <= high)


# --- tests and comparisons: booleans, which carry no gradient

isnan = Op("isnan", "x -> y", np.isnan)
isinf = Op("isinf", "x -> y", np.isinf)
isfinite = Op("isfinite", "x -> y", np.isfinite)
signbit = Op("signbit", "x -> y", np.signbit)
equal = Op("equal", "a, b -> y", weak(np.equal))
not_equal = Op("not_equal", "a, b -> y", weak(np.not_equal))
less = Op("less", "a, b -> y", weak(np.less))
less_equal = Op("less_equal", "a, b -> y", weak(np.less_equal))
greater = Op("greater", "a, b -> y", weak(np.greater))
greater_equal = Op("greater_equal", "a, b -> y", weak(np.greater_equal))
isclose = Op("isclose", "a, b; rtol=1e-05, atol=1e-08, equal_nan=False -> y", np.isclose)
logical_and = Op("logical_and", "a, b -> y", np.logical_and)
logical_or = Op("logical_or", "a, b -> y", np.logical_or)
logical_xor = Op("logical_xor", "a, b -> y", np.logical_xor)
logical_not = Op("logical_not", "x -> y", np.logical_not)
bitwise_and = Op("bitwise_and", "a, b -> y", np.bitwise_and)
bitwise_or = Op("bitwise_or", "a, b -> y", np.bitwise_or)
bitwise_xor = Op("bitwise_xor", "a, b -> y", np.bitwise_xor)
invert = Op("invert", "x -> y", np.invert)
left_shift = Op("left_shift", "a, b -> y", np.left_shift)
right_shift = Op("right_shift", "a, b -> y", np.right_shift)


def _nonzero_forward(x: Any) -> Any:
    region.refuse_size("nonzero")
    return np.nonzero(x)


_nonzero_forward.__doc__ = np.nonzero.__doc__
nonzero = Op("nonzero", "x -> y", _nonzero_forward)

# --- conversions

_astype = Op("astype", "x; dtype, source -> y", lambda x, dtype, source: x.astype(dtype), moves=True, cheap=True,
             by_kernel=binary.cast_by_kernel).vjp(
    x=np.errstate(over="ignore")(lambda g, source: astype(g, source)))
_to_device = Op("to_device", "x; target, source -> y", lambda x, target, source: move(x, target), moves=True).vjp(
    x=lambda g, source: to_device(g, source))


def astype(x: Any, dtype: Any) -> Tensor:
    """x converted to `dtype`; gradients are converted back.

    >>> astype([1.5, 2.5], "int64")
    Tensor([1, 2], dtype=int64)
    """
    x, dtype = as_tensor(x, "astype"), as_dtype(dtype)
    return x if x.dtype == dtype else _astype(x, dtype, x.dtype)


def to_device(x: Any, target: str) -> Tensor:
    """x on the device `target`, "cpu" or "gpu"; gradients are moved back to x's device."""
    x = as_tensor(x, "to")
    return _to_device(x, target, device_of(x.array))


def nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Tensor:
    """x with NaN, +inf and -inf replaced (None: by the extreme finite values) and without gradient there.
    """
    x = as_tensor(x, "nan_to_num")
    if not is_float(x.dtype):
        return x
    number = x.dtype.type  # np.nan_to_num does not know bfloat16 as floating, and would leave it unchanged
    largest = np.nextafter(number(np.inf), number(0))
    high = largest if posinf is None else number(posinf)
    low = -largest if neginf is None else number(neginf)
    return where(isfinite(x), x, where(isnan(x), number(nan), where(signbit(x), low, high)))
