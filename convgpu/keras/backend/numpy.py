"""keras.ops.numpy: functions borrowed from Keras's NumPy backend, and those that are written here."""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable
from typing import Any

from keras.src import tree
from keras.src.backend import config
from keras.src.backend.common import KerasVariable, dtypes, standardize_dtype
from keras.src.backend.common.backend_utils import _vectorize_apply_excluded, vectorize_impl

import convgpu as cg
import convgpu.numpy as cnp
from convgpu import Op, Tensor
from convgpu.device import GPU
from convgpu.dtypes import as_dtype, is_float
from convgpu.keras.borrow import borrow

from . import namespace
from .core import convert_to_tensor, of_tensors
from .rows import rows_at

borrow("numpy", globals())


for _name, _function in list(globals().items()):
    _code = getattr(_function, "__code__", None)
    if _code is not None and _code.co_filename.endswith("numpy.py") and "convert_to_tensor" not in _code.co_names:
        if _function.__module__ == __name__ and _code.co_filename != __file__:
            globals()[_name] = of_tensors(_function)


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Tensor:  # noqa: N803 - Keras's names
    """An (N, M) matrix with ones on its k-th diagonal."""
    return namespace.eye(N, M, k, dtype=dtype or config.floatx())


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> Tensor:  # noqa: N803 - Keras's names
    """An (N, M) matrix with ones at and below its k-th diagonal."""
    return namespace.tri(N, M, k, dtype=dtype or config.floatx())


def take(x: Any, indices: Any, axis: int | None = None) -> Tensor:
    """The entries of x at the indices along axis; for rows on the GPU, the host does not wait for the indices."""
    x = convert_to_tensor(x)
    given = indices.value if isinstance(indices, KerasVariable) else indices
    if isinstance(given, Tensor) and given.device == x.device == GPU and is_float(x.dtype) and axis in (0, -x.ndim):
        return rows_at(x, given.array)
    return cnp.take(x, given, axis)


# --- sequences from start to stop, which are numbers or tensors; for tensors the sequences lie along `axis`


def linspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False, dtype: Any = None,
             axis: int = 0) -> Any:
    """`num` evenly spaced values from start to stop (numbers or tensors) along `axis`; with retstep, also the step."""
    dtype = dtype or _dtype_of_sequence(start, stop)
    start, stop, fractions = _ends("linspace", start, stop, num, endpoint)
    intervals = num - 1 if endpoint else num
    step = (stop - start) / intervals if intervals > 0 else (stop - start) * float("nan")
    values = _laid_along(start + (stop - start) * fractions, axis, dtype)
    return (values, step) if retstep else values


def logspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: Any = 10, dtype: Any = None,
             axis: int = 0) -> Tensor:
    """base to the power of `num` evenly spaced values from start to stop."""
    dtype = dtype or _dtype_of_sequence(start, stop)
    exponents = linspace(start, stop, num, endpoint, dtype="float64", axis=axis)
    return _rounded(cnp.power(cnp.astype(convert_to_tensor(base), "float64"), exponents), dtype)


def geomspace(start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0) -> Tensor:
    """`num` values from start to stop with a constant ratio between neighbours."""
    dtype = dtype or _dtype_of_sequence(start, stop)
    start, stop, fractions = _ends("geomspace", start, stop, num, endpoint)
    ratio = stop / start
    if not bool(cnp.all((ratio > 0) & cnp.isfinite(ratio))):
        raise ValueError(f"geomspace: expected start and stop of one sign and not 0, got start={start} and stop={stop}")
    return _laid_along(start * cnp.power(ratio, fractions), axis, dtype)


def _dtype_of_sequence(start: Any, stop: Any) -> str:
    return dtypes.result_type(*[getattr(end, "dtype", type(end)) for end in (start, stop)], float)


def _ends(op: str, start: Any, stop: Any, num: int, endpoint: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Start and stop in one shape, and for each of the `num` values its share of the way, on a new first axis."""
    if num < 0:
        raise ValueError(f"{op}: expected num >= 0, got {num}")
    start, stop = (convert_to_tensor(end).astype("float64") for end in (start, stop))
    start, stop = cnp.broadcast_arrays(start, stop)
    steps = builtins.max(num - 1 if endpoint else num, 1)
    numbers = cg.arange(num, dtype="float64", device=start.device)
    return start, stop, numbers.reshape((num,) + (1,) * start.ndim) / steps


def _laid_along(values: Tensor, axis: int, dtype: Any) -> Tensor:
    return _rounded(cnp.moveaxis(values, 0, axis), dtype)


def _rounded(values: Tensor, dtype: Any) -> Tensor:
    return (cnp.floor(values) if "int" in standardize_dtype(dtype) else values).astype(dtype)


# --- element by element


def reciprocal(x: Any) -> Tensor:
    """1 / x; a floating result for integers."""
    x = convert_to_tensor(x)
    return cnp.reciprocal(x if is_float(x.dtype) else x.astype(config.floatx()))


def _of_scalars(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make a borrowed function of two operands give a Python number the dtype of the tensor beside it."""
    @functools.wraps(function)
    def weak(x1: Any, x2: Any) -> Tensor:
        if isinstance(x1, (int, float)) and not isinstance(x2, (int, float)):
            x2 = convert_to_tensor(x2)
            x1 = convert_to_tensor(x1, dtypes.result_type(x2.dtype, type(x1)))
        elif isinstance(x2, (int, float)) and not isinstance(x1, (int, float)):
            x1 = convert_to_tensor(x1)
            x2 = convert_to_tensor(x2, dtypes.result_type(x1.dtype, type(x2)))
        return function(x1, x2)

    return weak


def _of_bools(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make a borrowed function of two operands return int32 for booleans."""
    @functools.wraps(function)
    def counted(x1: Any, x2: Any) -> Tensor:
        x1, x2 = (x if isinstance(x, (int, float)) else convert_to_tensor(x) for x in (x1, x2))
        if dtypes.result_type(*[getattr(x, "dtype", type(x)) for x in (x1, x2)]) == "bool":
            x1, x2 = convert_to_tensor(x1, "int32"), convert_to_tensor(x2, "int32")
        return function(x1, x2)

    return counted


for _name in ("bitwise_left_shift", "bitwise_right_shift", "floor_divide", "left_shift", "power", "right_shift"):
    globals()[_name] = _of_bools(globals()[_name])
for _name in ("arctan2", "fmod", "gcd", "heaviside", "hypot", "lcm", "logaddexp", "logaddexp2", "mod", "nextafter"):
    globals()[_name] = _of_scalars(globals()[_name])


def sign(x: Any) -> Tensor:
    """-1, 0 or 1, the sign of x."""
    x = convert_to_tensor(x)
    return x if x.dtype == bool else cnp.sign(x)


def round(x: Any, decimals: int = 0) -> Tensor:  # noqa: A001 - Keras's name
    """x rounded to `decimals` decimals; halves are rounded to even."""
    x = convert_to_tensor(x)
    return x if x.dtype == bool else cnp.round(x, decimals)


def select(condlist: Any, choicelist: Any, default: Any = 0) -> Tensor:
    """For each element, the choice that belongs to the first true condition; the default where none is true."""
    choices = [convert_to_tensor(choice) for choice in choicelist]
    dtype = dtypes.result_type(*[choice.dtype for choice in choices], getattr(default, "dtype", type(default)))
    return cnp.select(condlist, [choice.astype(dtype) for choice in choices], convert_to_tensor(default, dtype))


def histogram(x: Any, bins: Any = 10, range: Any = None) -> tuple[Tensor, Tensor]:  # noqa: A002 - Keras's name
    """The number of elements in each bin, and the edges of the bins; both in x's dtype, or in floatx for integers."""
    x = convert_to_tensor(x)
    dtype = x.dtype if is_float(x.dtype) else config.floatx()
    counts, edges = cnp.histogram(x, bins, range)
    return counts.astype(dtype), edges.astype(dtype)


def view(x: Any, dtype: Any = None) -> Tensor:
    """The bytes of x as values of another dtype; the last axis grows or shrinks with the size of an element."""
    x = convert_to_tensor(x)
    return x if dtype is None else _view(x, as_dtype(standardize_dtype(dtype)))


# view has no gradient rule, so asking for a gradient is an error: the bits of a number are no smooth function of it.
_view = Op("keras_view", "x; dtype -> y", lambda x, dtype: x.view(dtype))


def vectorize(pyfunc: Callable[..., Any], *, excluded: Any = None, signature: str | None = None) -> Callable[..., Any]:
    """Call pyfunc for each element of its broadcast arguments, or for each block of the axes that the signature names.

    Args:
        excluded: the numbers and names of arguments that are passed on unchanged.
        signature: the shapes of one call, such as "(m,n),(n)->(m)".
    """
    def vectorized(*args: Any, **options: Any) -> Any:
        function, given, named = _vectorize_apply_excluded(pyfunc, set(excluded or ()), args, options)
        return vectorize_impl(function, _mapped, signature=signature)(*given, **named)

    return vectorized


def _mapped(function: Callable[..., Any], in_axes: tuple[int | None, ...]) -> Callable[..., Any]:
    """Call the function on each entry along the first axis of the arguments whose in_axes is 0, and stack the results.
    """
    def of_all(*args: Any) -> Any:
        count = next(x.shape[0] for x, axis in zip(args, in_axes) if axis == 0)
        results = [function(*[x[i] if axis == 0 else x for x, axis in zip(args, in_axes)]) for i in range(count)]
        return tree.map_structure(lambda *parts: cnp.stack(parts), *results)

    return of_all


# --- reductions


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:  # noqa: A001 - Keras's name
    """The sum over axis."""
    x = convert_to_tensor(x)
    dtype = standardize_dtype(x.dtype)
    if dtype in ("bool", "int8", "int16"):
        dtype = "int32"
    elif dtype in ("uint8", "uint16"):
        dtype = "uint32"
    return cnp.sum(x, tuple(axis) if isinstance(axis, list) else axis, dtype, keepdims=keepdims)
