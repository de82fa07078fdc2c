"""Checks of arguments: axes, integers, numbers, shapes. An error says the rule, what was expected and what was given.
"""

from __future__ import annotations

import functools
import inspect
import math
import operator
import re
import sys
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any

import numpy as np

from .dtypes import as_dtype
from .elsewhere import renamed

LARGEST = 2**63 - 1  # the largest size or index that NumPy and the kernels can hold


def integer(op: str, name: str, value: Any, least: int = -LARGEST - 1, most: int = LARGEST) -> int:
    """`value` as an integer from `least` to `most`; booleans, floats and strings are refused."""
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        found = operator.index(value)
    except (TypeError, ValueError):
        raise TypeError(f"{op}: expected {name} to be an integer, got {value!r:.80}") from None
    if not least <= found <= most:
        rule = f"{name} >= {least}" if found < least else f"{name} <= {most}"
        raise ValueError(f"{op}: expected {rule}, got {value!r:.80}")
    return found


def number(op: str, name: str, value: Any) -> float:
    """`value` as a Python float; a tensor or array must have one element."""
    try:
        if isinstance(value, (str, bytes)):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{op}: expected {name} to be a number, got {value!r:.80}") from None
    except OverflowError:
        raise ValueError(f"{op}: expected {name} to be a number that float64 can hold, got {value!r:.80}") from None


def number_in(op: str, name: str, value: Any, least: float = 0.0, most: float = sys.float_info.max) -> float:
    """`value` as a finite Python float from `least` to `most`.

    >>> number_in("dropout", "rate", 0.5, most=1)
    0.5
    """
    found = number(op, name, value)
    if not least <= found <= most:
        rule = f"a finite {name} >= {least:g}" if most == sys.float_info.max else f"{name} in [{least:g}, {most:g}]"
        raise ValueError(f"{op}: expected {rule}, got {value!r:.80}")
    return found


def truth(op: str, name: str, value: Any) -> bool:
    """`value`, True, False, 1 or 0, as a bool; anything else is refused, strings above all."""
    if not isinstance(value, (bool, int, np.bool_, np.integer)) or value not in (0, 1):
        raise TypeError(f"{op}: expected {name} to be True or False, got {value!r:.80}")
    return bool(value)


def function(op: str, f: Any) -> Callable[..., Any]:
    """f, if it can be called."""
    if not callable(f):
        raise TypeError(f"{op}: expected a function, got {f!r:.80}")
    return f


def axis_index(op: str, axis: Any, ndim: int, name: str = "axis") -> int:
    """`axis` as a non-negative axis number.

    >>> axis_index("sum", -1, 3)
    2
    """
    found = integer(op, name, axis)
    if not -ndim <= found < ndim:
        got = f"got {axis} for an array without axes" if ndim == 0 else f"got {axis}"
        raise ValueError(f"{op}: expected {name} in [{-ndim}, {ndim}), {got}")
    return found % ndim


def axis_tuple(op: str, axis: Any, ndim: int, name: str = "axis") -> tuple[int, ...]:
    """`axis`, one axis or a sequence of axes, as non-negative numbers in the given order; no axis may appear twice."""
    given = axis if isinstance(axis, (tuple, list, range)) else (axis,)
    axes = tuple([axis_index(op, a, ndim, name) for a in given])
    if len(set(axes)) < len(axes):
        raise ValueError(f"{op}: expected no axis twice, got {name}={axis} for {ndim} axes")
    return axes


def shape_of(op: str, shape: Any, name: str = "shape", least: int = 0) -> tuple[int, ...]:
    """A shape given as an integer or a sequence of integers, with at most 64 axes and 2^63 - 1 elements."""
    if isinstance(shape, np.ndarray) and shape.ndim == 1:
        shape = shape.tolist()
    sizes = shape if isinstance(shape, (tuple, list)) else (shape,)
    found = tuple([integer(op, "sizes" if name == "shape" else name, n, least) for n in sizes])
    if len(found) > 64:
        raise ValueError(f"{op}: expected {name} of at most 64 axes, got {len(found)}")
    if math.prod(found) > LARGEST:
        raise ValueError(f"{op}: expected {name} of at most 2^63 - 1 elements, got {found}")
    return found


# --- errors of NumPy, Python or a compiled module about unchecked arguments, reworded

FOREIGN = (TypeError, ValueError, IndexError, KeyError, AttributeError, ArithmeticError, RecursionError)
# errors that begin so are the project's; NumPy's own about arange are not
_OURS = re.compile(r"(?!arange: (cannot|scalar))([A-Za-z_][\w.]*|(backend|device) '\w+'): ")
_RULES = (
    (r"broadcast|shape mismatch|same (length|shape)|must be the same", ValueError, "shapes that broadcast or agree"),
    (r"cannot reshape", ValueError, "a shape of as many elements as x has"),
    (r"not supported for the input|contain a loop|promoted|cannot use operands|Cannot cast|(unsupported|bad) operand",
     TypeError, "operands of types that it is defined for"),
    (r"too big|Maximum allowed|Unable to allocate|array size|maximum possible", ValueError,
     "sizes that memory can hold"),
    (r"out of bounds for [a-z]+\d|too large|cannot fit|(greater|less) than (max|min)imum|(infinity|NaN) to int",
     ValueError, "numbers that an integer or the dtype can hold"),
    (r"only integers|valid indices|used as indices", IndexError, "integers, slices, ..., None or masks as an index"),
    (r"out of bounds|too many indices|boolean index", IndexError, "an index that fits the shape"),
)


def in_our_words(name: str, arguments: dict[str, Any], kinds: dict[str, str], error: Exception) -> Exception:
    """An error that says what `name` expected and what it got; `error` itself where it says so already.

    If an argument is not of the kind that its parameter asks for, the error names the first such argument. Otherwise it
    names all arguments and quotes the beginning of the message.
    """
    message = str(error)
    if _OURS.match(message) or isinstance(error, NotImplementedError) or type(error).__module__.startswith("convgpu"):
        return error
    for parameter, value in arguments.items():
        wanted = _violated(kinds.get(parameter, ""), value)
        if wanted:
            return TypeError(f"{name}: expected {parameter} to be {wanted}, got {_described(value)}")
    got = ", ".join([f"{parameter}={_described(value)}" for parameter, value in arguments.items()])
    words = f" ({message[:200]})" if message and "newaxis" not in message else ""
    for pattern, kind, rule in _RULES:
        if re.search(pattern, message):
            return kind(f"{name}: expected {rule}, got {got}{words}")
    plain = type(error) if type(error) in (TypeError, ValueError, IndexError) else ValueError
    return plain(f"{name}: expected arguments that fit together, got {got}{words}")


def kinds_of(function: Callable[..., Any]) -> dict[str, str]:
    """For each parameter its annotation as text; for axes and dtypes, which take many forms, "axis" or "dtype"."""
    kinds = {}
    for parameter in inspect.signature(function).parameters.values():
        name = parameter.name
        special = "axis" if name.startswith("axis") else "dtype" if name == "dtype" else None
        kinds[name] = special or str(parameter.annotation)
    return kinds


def _violated(kind: str, value: Any) -> str | None:
    """What was expected, if the value is not of that kind; else None."""
    if value is None and ("None" in kind or kind in ("Any", "axis", "dtype", "")):
        return None
    scalar = value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value
    whole = isinstance(scalar, int) and not isinstance(scalar, bool)
    plain = kind.removesuffix(" | None")
    if plain == "bool":
        return None if isinstance(scalar, (bool, int)) and scalar in (0, 1) else "True or False"
    if plain == "int":
        return None if whole and -LARGEST <= scalar <= LARGEST else "an integer that 64 bits hold"
    if plain == "float":
        return None if isinstance(scalar, (int, float)) else "a number"
    if plain == "str":
        return None if isinstance(value, str) else "a string"
    if plain == "axis":
        parts = value if isinstance(value, (tuple, list)) else [scalar]
        return None if all([isinstance(p, (int, np.integer)) for p in parts]) else "an axis, or a sequence of axes"
    if plain == "dtype":
        try:
            as_dtype(value)
        except (TypeError, ValueError, SyntaxError):
            return "a dtype or the name of one"
    return "a tensor, array or number" if plain == "tensor" and value is None else None


def _described(value: Any) -> str:
    """A short description of a value; arrays are described by dtype and shape."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype} {value.shape}" if value.shape else f"{value!r:.60}"
    return f"{value!r:.60}"


def explained(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its errors reworded by `in_our_words`."""
    @functools.wraps(function)
    def run(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except FOREIGN as error:
            traceback = error.__traceback__
            if traceback is None or traceback.tb_next is None:  # the call itself did not fit the signature
                hint = renamed(str(error), inspect.signature(function).parameters)
                if hint is None:
                    raise
                raise TypeError(hint) from None
            try:
                bound = inspect.signature(function).bind(*args, **options).arguments
            except TypeError:  # the arguments do not fit the signature, and the function's own error says what is wrong
                hint = renamed(str(error), inspect.signature(function).parameters)
                raise (error if hint is None else TypeError(hint)) from None
            ours = in_our_words(function.__name__, bound, kinds_of(function), error)
            if ours is error:
                raise
            raise ours from error

    return run


def explain_errors(namespace: dict[str, Any], names: Iterable[str]) -> None:
    """Replace the functions of these names by `explained` ones, in the namespace and in the modules that define them.
    """
    for name in names:
        if isinstance(namespace.get(name), FunctionType):
            namespace[name] = _explained_everywhere(namespace[name])


def _explained_everywhere(function: Any) -> Any:
    if not function.__module__.startswith("convgpu") or function in _wrapped.values():
        return function
    wrapped = _wrapped.setdefault(function, explained(function))
    home, name = vars(sys.modules[function.__module__]), str(function.__name__)
    if home.get(name) is function:
        home[name] = wrapped
    return wrapped


_wrapped: dict[Any, Any] = {}  # the `explained` version of each function, since a function may have several names
