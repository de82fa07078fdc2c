"""Variables, conversions, and Keras's control flow, for Tensors.

A Variable holds a Tensor; for a trainable variable the Tensor is a leaf of the tape that requires a gradient. Functions
of Tensors take Variables too, and use the variable's value with its history.
"""

from __future__ import annotations

import builtins
import contextlib
import copy
import functools
import inspect
import math
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as onp
from keras.src import tree
from keras.src.backend.common import KerasVariable, global_state, standardize_dtype
from keras.src.backend.common.dtypes import result_type
from keras.src.backend.common.keras_tensor import KerasTensor
from keras.src.backend.common.stateless_scope import StatelessScope, get_stateless_scope
from keras.src.backend.common.symbolic_scope import SymbolicScope
from keras.src.backend.common.variables import AutocastScope, get_autocast_scope

import convgpu as cg
import convgpu.numpy as np
from convgpu import Tensor, autograd
from convgpu.device import GPU, is_gpu_array
from convgpu.dtypes import is_float
from convgpu.keras.borrow import borrow
from convgpu.ops.optim import cast_all
from convgpu.ops.repeated import combined_at
from convgpu.tensor import wrap

from .placement import current_device, device_scope  # noqa: F401 - device_scope is part of the backend
from .rows import sum_rows

borrow("core", globals())

SUPPORTS_SPARSE_TENSORS = False
SUPPORTS_RAGGED_TENSORS = False
SUPPORTS_COMPLEX_DTYPES = False
IS_THREAD_SAFE = True


# --- variables


class _Local(threading.local):
    differentiating = False
    casts: dict[Any, Tensor] = {}


_local = _Local()


@contextlib.contextmanager
def differentiating(casts: dict[Any, Tensor] | None = None) -> Iterator[None]:
    """Mark the forward pass of a training step, in which no trainable Variable may leave the tape.

    Args:
        casts: values of variables in other dtypes, from `cast_together`.
    """
    before, _local.differentiating = _local.differentiating, True
    try:
        with _casting(casts or {}):
            yield
    finally:
        _local.differentiating = before


@contextlib.contextmanager
def _casting(casts: dict[Any, Tensor]) -> Iterator[None]:
    """Let variables find their values in other dtypes."""
    before, _local.casts = _local.casts, casts
    try:
        yield
    finally:
        _local.casts = before


def cast_together(layers: Any) -> dict[Any, Tensor]:
    """The weights of layers that compute in a half type, on the GPU, cast by one launch for each dtype.

    The keys are the weights' tensors and the dtypes.
    """
    wanted: dict[str, dict[Tensor, None]] = {}
    for layer in layers:
        if "float16" in layer.compute_dtype:  # or bfloat16
            for v in layer._trainable_variables:
                if v._autocast and v._dtype == "float32" and v._value is not None and v._value.device == GPU:
                    wanted.setdefault(layer.compute_dtype, {})[v._value] = None
    return {(value, dtype): cast for dtype, values in wanted.items()
            for value, cast in zip(values, cast_all(list(values), dtype))}


class Variable(KerasVariable):
    """A Keras variable over a Tensor."""

    _value: Tensor | None

    def _initialize(self, value: Any) -> None:
        self._direct_assign(value)

    def _direct_assign(self, value: Any) -> None:
        tensor = convert_to_tensor(value, dtype=self._dtype)
        held = self._value_or_none()
        if held is not None:
            autograd.note(self, "_value")  # which a second run by `remat` has to find, and which it must not change
        device = current_device() if held is None else held.device
        leaf = (tensor if tensor.device == device else tensor.to(device)).detach()
        self._value = leaf.requires_grad_(self._trainable and is_float(leaf.dtype))

    def hold(self, tensor: Tensor) -> None:
        """Take a new tensor without history for the value, whose shape, dtype and device are the variable's."""
        if tensor.dtype != self._value.dtype or tensor.device != self._value.device:  # type: ignore[union-attr]
            self._direct_assign(tensor)
            return
        autograd.note(self, "_value")
        self._value = tensor.requires_grad_(self._trainable and is_float(tensor.dtype))

    def _value_or_none(self) -> Tensor | None:
        return getattr(self, "_value", None)

    @property
    def trainable(self) -> bool:
        """Whether gradients are computed for the variable."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        self._trainable = bool(value)
        held = self._value_or_none()
        if held is not None:
            self._value = held.detach().requires_grad_(self._trainable and is_float(held.dtype))

    def _maybe_autocast(self, value: Any) -> Any:
        scope = get_autocast_scope()
        if _local.casts and self._autocast and scope is not None:
            cast = _local.casts.get((value, scope.dtype))
            if cast is not None:
                return cast
        return super()._maybe_autocast(value)

    def _convert_to_tensor(self, value: Any, dtype: Any = None) -> Tensor:
        return convert_to_tensor(value, dtype=dtype)

    def __convgpu_tensor__(self) -> Tensor:
        return self.value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> onp.ndarray:
        if _local.differentiating and self._trainable and cg.is_grad_enabled():
            raise TypeError(f"{self.path}: a trainable variable was converted to a NumPy array while its gradient is "
                            "being recorded, and would lose it; compute with keras.ops or convgpu.numpy instead")
        return onp.asarray(self.value.numpy(), dtype=dtype)


# --- conversions

# cached for NumPy's dtypes, since Keras spells them out each time
_name = functools.lru_cache(maxsize=64)(standardize_dtype)


def is_tensor(x: Any) -> bool:
    """Whether x is a Tensor."""
    return isinstance(x, Tensor)


def convert_to_tensor(x: Any, dtype: Any = None, sparse: Any = None, ragged: Any = None) -> Tensor:
    """x as a Tensor, still on the tape if it was there; x itself where nothing changes."""
    if sparse or ragged:
        raise ValueError(f"convgpu: expected a dense tensor, got sparse={sparse}, ragged={ragged}")
    if isinstance(x, KerasVariable):
        x = x.value
    if isinstance(x, Tensor):
        if dtype is None or _name(x.dtype) == dtype:
            return x
        y = np.astype(x, standardize_dtype(dtype))
        if "_keras_logits" in x.__dict__ and is_float(y.dtype):  # a loss finds them there
            known = ("_keras_logits", "_keras_activation")
            y.__dict__.update({name: x.__dict__[name] for name in known if name in x.__dict__})
        return y
    if isinstance(x, KerasTensor):
        raise ValueError("convert_to_tensor: expected values, got a KerasTensor, which is symbolic and has none")
    if dtype is None:
        dtype = result_type(*[getattr(item, "dtype", type(item)) for item in tree.flatten(x)])
    name = standardize_dtype(dtype)
    if isinstance(x, (list, tuple)) and any(isinstance(i, (Tensor, KerasVariable)) for i in tree.flatten(x)):
        return np.asarray(x, name)
    device = current_device()
    if device == GPU and _is_constant(x):
        return _gpu_constant(x, name)
    return cg.tensor(onp.asarray(x), dtype=name, device=device)


def _is_constant(x: Any) -> bool:
    """Whether x is a Python number, or a few of them, as a shape is."""
    numbers = (bool, int, float)
    return type(x) in numbers or (type(x) in (list, tuple) and len(x) <= 8 and all([type(i) in numbers for i in x]))


_constants: dict[tuple[Any, ...], Any] = {}


def _gpu_constant(x: Any, dtype: str) -> Tensor:
    """Numbers in the GPU's memory, which are written once: Keras makes tensors of the same few in every step."""
    key = repr(x), dtype, sys.modules.get("cupy")
    if key not in _constants:
        if len(_constants) >= 1024:
            _constants.clear()
        _constants[key] = cg.tensor(onp.asarray(x), dtype=dtype, device=GPU).array
    return wrap(_constants[key])


def of_tensors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a borrowed function, which converts nothing, turn NumPy arrays into tensors (of at most 32 bits) first."""
    names = inspect.signature(function).parameters
    operands = [i for i, name in enumerate(names) if name in ("a", "array", "x", "x1", "x2")]

    @functools.wraps(function)
    def converted(*args: Any, **options: Any) -> Any:
        given = list(args)
        for i in operands:
            if i < len(given) and isinstance(given[i], (onp.ndarray, onp.generic)):
                given[i] = convert_to_tensor(given[i])
        return function(*given, **options)

    return converted


def convert_to_numpy(x: Any) -> onp.ndarray:
    """The values of x as a new NumPy array."""
    if isinstance(x, KerasVariable):
        x = x.value
    return onp.array(x.numpy() if isinstance(x, Tensor) else x)


def cast(x: Any, dtype: Any) -> Tensor:
    """x converted to dtype."""
    return convert_to_tensor(x, dtype=dtype)


def shape(x: Any) -> tuple[int, ...]:
    """The size along each axis."""
    return x.shape


def stop_gradient(variable: Any) -> Tensor:
    """The value without its history."""
    return convert_to_tensor(variable).detach()


def random_seed_dtype() -> str:
    """The dtype of the state of seed generators."""
    return "uint32"


# --- shapes without values

# Two runs with different sizes in place of None show which sizes of the output depend on them. The batch is small,
# because layers really run; other axes are large enough for the windows of a deep network.
_UNKNOWN_SIZES = ((2, 83), (3, 89))


def compute_output_spec(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The shapes and dtypes of fn's outputs, found by running fn on zeros."""
    def run(batch: int, size: int) -> Any:
        def concrete(x: Any) -> Any:
            if not isinstance(x, KerasTensor):
                return x
            sizes = [(size if axis else batch) if n is None else n for axis, n in enumerate(x.shape)]
            return cg.zeros(tuple(sizes), dtype=x.dtype, device=current_device())

        positional, named = tree.map_structure(concrete, (args, kwargs))
        return fn(*positional, **named)

    def spec(x: Any, other: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        sizes = [n if n == m else None for n, m in zip(x.shape, other.shape)]
        return KerasTensor(sizes, standardize_dtype(x.dtype))

    with StatelessScope(), SymbolicScope(), cg.no_grad(), onp.errstate(all="ignore"):
        first = run(*_UNKNOWN_SIZES[0])
        unknown = any(isinstance(x, KerasTensor) and None in x.shape for x in tree.flatten((args, kwargs)))
        second = run(*_UNKNOWN_SIZES[1]) if unknown else first
    flat = [spec(x, other) for x, other in zip(tree.flatten(first), tree.flatten(second))]
    return tree.pack_sequence_as(first, flat)


# --- indices


def scatter(indices: Any, values: Any, shape: Any) -> Tensor:
    """Zeros of `shape` with the values added at the indices; the last axis of `indices` counts the result's axes."""
    values = convert_to_tensor(values)
    numbers = convert_to_tensor(indices)
    if values.device == numbers.device == GPU and numbers.ndim:
        return _scattered(values, numbers.array, tuple(shape))
    zeros = cg.zeros(tuple(shape), dtype=values.dtype, device=values.device)
    return zeros.at[_places(indices)].add(values)


def _scattered(values: Tensor, indices: Any, shape: tuple[int, ...]) -> Tensor:
    """`scatter` on the GPU: what an index out of range would add is left out, so that the host waits for none."""
    named = indices.shape[-1]
    row, inside = onp.zeros_like(indices[..., 0]), onp.ones_like(indices[..., 0], dtype=bool)
    for axis, n in enumerate(shape[:named]):
        at = indices[..., axis]
        inside &= (at >= -n) & (at < n)
        row = row * n + at % max(n, 1)
    rows = math.prod(shape[:named])
    return np.reshape(sum_rows(values, onp.where(inside, row, rows), rows), shape)


def scatter_update(inputs: Any, indices: Any, updates: Any, reduction: str | None = None) -> Tensor:
    """inputs with the updates set at the indices, or combined with the values there by "add", "max", "min" or "mul"."""
    inputs = convert_to_tensor(inputs)
    updates = convert_to_tensor(updates, inputs.dtype)
    places = _places(indices)
    if reduction is None:
        return inputs.at[places].set(updates)
    if reduction == "add":
        return inputs.at[places].add(updates)
    if reduction not in _REDUCED:
        raise ValueError(f"scatter_update: expected reduction None, 'add', 'max', 'min' or 'mul', got {reduction!r}")
    return _reduced_at(inputs, updates, places, _REDUCED[reduction])


_REDUCED = {"max": "maximum", "min": "minimum", "mul": "multiply"}


def _reduce_at(x: Any, values: Any, places: Any, ufunc: str) -> Any:
    y = x.copy()
    if is_gpu_array(x):  # CuPy has ufunc.at for few ufuncs and dtypes
        numbers = onp.arange(x.size, like=x).reshape(x.shape)[places]
        terms = onp.broadcast_to(values, (*numbers.shape,)).reshape(-1)
        named, combined = combined_at(getattr(onp, ufunc), numbers.reshape(-1), terms, x.size)
        flat = onp.concatenate([y.reshape(-1), onp.zeros_like(y, shape=(1,))])
        flat[named] = getattr(onp, ufunc)(flat[named], combined)
        return flat[:-1].reshape(x.shape)
    getattr(onp, ufunc).at(y, places, values)
    return y


_reduced_at = cg.Op("keras_reduce_at", "x, values; places, ufunc -> y", _reduce_at)


def _places(indices: Any) -> tuple[Any, ...]:
    array = convert_to_tensor(indices).array
    return tuple(onp.moveaxis(array, -1, 0))


def slice(inputs: Any, start_indices: Any, shape: Any) -> Tensor:  # noqa: A001 - Keras's name
    """The block of that shape that begins at start_indices."""
    if len(start_indices) != len(shape):
        raise ValueError(f"slice: expected one start index per size, got {start_indices} and {shape}")
    return convert_to_tensor(inputs)[_block(start_indices, shape)]


def slice_update(inputs: Any, start_indices: Any, updates: Any) -> Tensor:
    """inputs with the block that begins at start_indices replaced by the updates."""
    inputs, updates = convert_to_tensor(inputs), convert_to_tensor(updates)
    return inputs.at[_block(start_indices, updates.shape)].set(np.astype(updates, inputs.dtype))


def _block(start: Any, sizes: Any) -> tuple[Any, ...]:
    return tuple([builtins.slice(int(i), int(i) + int(n)) for i, n in zip(start, sizes)])


def unstack(x: Any, num: int | None = None, axis: int = 0) -> list[Tensor]:
    """The entries along an axis; each entry lacks this axis."""
    return list(np.moveaxis(convert_to_tensor(x), axis, 0))


# --- control flow


def vectorized_map(function: Callable[..., Any], elements: Any) -> Any:
    """Call the function on each element along the first axis, and stack the results."""
    flat = tree.flatten(elements)
    count = flat[0].shape[0]
    results = [function(tree.map_structure(lambda x: x[i], elements)) for i in range(count)]  # noqa: B023 - used at once
    return tree.map_structure(lambda *xs: np.stack(xs), *results)


def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """Call true_fn or false_fn.

    Within a StatelessScope, where both are free of effects, and where nothing is recorded, both are called for a
    condition on the GPU; each element of what they return and assign is then taken from one of them, so that the host
    need not wait.
    """
    pred, scope = convert_to_tensor(pred), get_stateless_scope()
    if pred.device == GPU and scope is not None and not scope.collect_losses and not cg.is_grad_enabled():
        return _both(pred, true_fn, false_fn, scope)
    return true_fn() if bool(pred) else false_fn()


class _Branch(StatelessScope):
    """The scope of one of two branches: what it assigns, by variable."""

    def __init__(self, outer: StatelessScope):
        super().__init__()
        self.state_mapping = dict(outer.state_mapping)
        self.assigned: dict[int, Any] = {}

    def add_update(self, update: tuple[Any, Any]) -> None:
        """Keep an assignment."""
        super().add_update(update)
        self.assigned[id(update[0])] = update[0]


def _both(pred: Tensor, true_fn: Callable[[], Any], false_fn: Callable[[], Any], outer: StatelessScope) -> Any:
    branches, results = (_Branch(outer), _Branch(outer)), []
    for branch, function in zip(branches, (true_fn, false_fn)):
        with branch:
            results.append(function())
    for key, variable in (branches[0].assigned | branches[1].assigned).items():
        values = [branch.state_mapping.get(key, variable._value) for branch in branches]
        outer.add_update((variable, np.where(pred, *values)))
    return tree.map_structure(lambda x, y: x if x is y else np.where(pred, x, y), *results)


def associative_scan(f: Callable[..., Any], elems: Any, reverse: bool = False, axis: int = 0) -> Any:
    """The running results x0, f(x0, x1), f(f(x0, x1), x2), ... along `axis` of an associative f, halving the axis."""
    flat = [np.moveaxis(convert_to_tensor(x), axis, 0) for x in tree.flatten(elems)]
    if len({x.shape[0] for x in flat}) > 1:
        raise ValueError("Array inputs to associative_scan must have the same first dimension. "
                         f"(saw: {[x.shape for x in flat]})")

    def combine(a: list[Tensor], b: list[Tensor]) -> list[Tensor]:
        packed = [tree.pack_sequence_as(elems, [np.moveaxis(x, 0, axis) for x in xs]) for xs in (a, b)]
        return [np.moveaxis(x, axis, 0) for x in tree.flatten(f(*packed))]

    def scan(xs: list[Tensor]) -> list[Tensor]:
        n = xs[0].shape[0]
        if n < 2:
            return xs
        odd = scan(combine([x[:-1:2] for x in xs], [x[1::2] for x in xs]))
        even = combine([y[:(n - 1) // 2] for y in odd], [x[2::2] for x in xs]) if n > 2 else [x[2::2] for x in xs]
        even = [np.concatenate([x[:1], e]) for x, e in zip(xs, even)]
        order = onp.argsort(onp.concatenate([onp.arange(0, n, 2), onp.arange(1, n, 2)]))
        return [np.concatenate([e, o])[order] for e, o in zip(even, odd)]

    flat = [np.flip(x, 0) for x in flat] if reverse else flat
    results = [np.flip(x, 0) for x in scan(flat)] if reverse else scan(flat)
    return tree.pack_sequence_as(elems, [np.moveaxis(x, 0, axis) for x in results])


_with_custom_gradient = cg.Op("custom_gradient", "*xs; output, gradient -> y", lambda xs, output, gradient: output).vjp(
    xs=lambda g, gradient: gradient(g))


def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose gradient is the second value that `f` returns."""
    def differentiable(*args: Any, **kwargs: Any) -> Any:
        tensors = [convert_to_tensor(x) for x in args]
        with cg.no_grad():
            output, gradient = f(*args, **kwargs)

        def pulled_back(g: Tensor) -> list[Any]:
            grads = gradient(g)
            grads = list(grads) if isinstance(grads, (tuple, list)) else [grads]
            return grads + [None] * (len(tensors) - len(grads))

        return _with_custom_gradient(tensors, convert_to_tensor(output).array, pulled_back)

    return differentiable


def remat(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function that computes as f, and keeps only its arguments for the backward pass, which runs f again.

    The second run finds the variables, seeds, dtype of automatic casts and arguments of the call (`training`) of the
    first; what it assigns to variables is undone.
    """
    @functools.wraps(f, updated=())
    def rematerialized(*args: Any, **kwargs: Any) -> Any:
        if not cg.is_grad_enabled():
            return f(*args, **kwargs)
        scope, device, casts = get_autocast_scope(), current_device(), _local.casts
        context = copy.copy(global_state.get_global_attribute("current_call_ctx"))

        def run(*args: Any, **kwargs: Any) -> Any:
            with (AutocastScope(scope and scope.dtype), device_scope(device), _call_context(copy.copy(context)),
                  _casting(casts)):
                return f(*args, **kwargs)

        return cg.remat(run)(*args, **kwargs)

    return rematerialized


@contextlib.contextmanager
def _call_context(context: Any) -> Iterator[None]:
    """Let layers that are called find the arguments of the outer call, such as `training`, that Keras keeps there."""
    before = global_state.get_global_attribute("current_call_ctx")
    global_state.set_global_attribute("current_call_ctx", context)
    try:
        yield
    finally:
        global_state.set_global_attribute("current_call_ctx", before)
