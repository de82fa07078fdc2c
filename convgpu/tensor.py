"""Tensor: an array that is a value, with a gradient and the node that made it. Its methods delegate to the ops."""

from __future__ import annotations

import importlib
import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .capturing import region
from .convert import NotAnArray, copy_of, read_only
from .device import CPU, GPU, device_of, is_gpu_array, move, parse_device, run_there, to_numpy
from .dtypes import DTypeLike, as_dtype, is_float
from .recorder import Outline

_SHOWN = 200  # the elements of which `repr` shows all; of more it shows the ends of each axis, and the shape

# PyTorch's names of what has another one here
_ELSEWHERE = {
    "view": "t.reshape(shape)", "permute": "t.transpose(axes)", "cpu": "t.to('cpu')", "cuda": "t.to('gpu')",
    "dim": "t.ndim", "numel": "t.size", "type": "t.astype(dtype)", "float": "t.astype('float32')",
    "double": "t.astype('float64')", "half": "t.astype('float16')", "bfloat16": "t.astype('bfloat16')",
    "long": "t.astype('int64')", "int": "t.astype('int32')", "bool": "t.astype('bool')", "data": "t.detach()",
    "grad_fn": "t.node", "clone": "convgpu.tensor(t)", "contiguous": "t",
    "unsqueeze": "convgpu.numpy.expand_dims(t, axis)", "clamp": "t.clip(low, high)", "expand": "t.broadcast_to(shape)",
    "repeat": "convgpu.numpy.tile(t, times)", "mm": "t @ other", "bmm": "t @ other", "add_": "t.assign(t + other)",
    "mul_": "t.assign(t * other)", "sub_": "t.assign(t - other)", "copy_": "t.assign(values)",
    "zero_": "t.assign(0 * t)", "fill_": "t.assign(values)", "exp": "convgpu.exp(t)", "log": "convgpu.log(t)",
    "sqrt": "convgpu.numpy.sqrt(t)", "relu": "convgpu.relu(t)", "sigmoid": "convgpu.sigmoid(t)",
    "softmax": "convgpu.softmax(t, axis)", "argsort": "convgpu.numpy.argsort(t)", "sort": "convgpu.numpy.sort(t)",
}


class Tensor:
    """A NumPy (CPU) or CuPy (GPU) array that is never changed in place, together with its place in the tape.

    Users make one with `convgpu.tensor` or another function of creation, not by calling the class. `array` is the
    underlying array, which is read-only on the CPU. `backward` fills `grad` where `requires_grad` is set; `version`
    counts the calls of `assign`.
    """

    __slots__ = ("array", "requires_grad", "grad", "node", "version", "__weakref__", "__dict__")
    __array_priority__ = 1000  # so that NumPy's arrays leave operators between an array and a Tensor to Tensor

    def __init__(self, array: Any, requires_grad: bool = False):
        self.array = array
        self.requires_grad = requires_grad
        self.grad: Tensor | None = None
        self.node: Any = None
        self.version = 0

    # --- properties

    @property
    def shape(self) -> tuple[int, ...]:
        """The size along each axis."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype:
        """The type of the elements."""
        return self.array.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.array.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.array.size

    @property
    def nbytes(self) -> int:
        """The bytes of the elements."""
        return self.array.nbytes

    @property
    def device(self) -> str:
        """"cpu" or "gpu"."""
        return device_of(self.array)

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded op made this tensor: gradients accumulate in leaves."""
        return self.node is None

    @property
    def T(self) -> Tensor:  # noqa: N802 - NumPy's name
        """All axes reversed."""
        return ops.transpose(self)

    @property
    def mT(self) -> Tensor:  # noqa: N802 - the array API's name
        """The last two axes exchanged."""
        if self.ndim < 2:
            raise ValueError(f"mT: expected at least 2 axes, got shape {self.shape}")
        return ops.swapaxes(self, -1, -2)

    def __repr__(self) -> str:
        region.refuse("printing a tensor")
        long, ends = self.size > _SHOWN, {0: 3, 1: 3, 2: 3, 3: 2}.get(self.ndim, 1)
        with np.printoptions(threshold=_SHOWN, precision=4, edgeitems=ends):
            body = np.array2string(to_numpy(self.array), separator=", ", prefix="Tensor(")
        shape = f", shape={self.shape}" if self.size == 0 or long else ""
        device = "" if self.device == CPU else f", device={self.device!r}"
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({body}{shape}, dtype={self.dtype}{device}{grad})"

    # --- values, which the tape does not record

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array: read-only, and on the CPU sharing this tensor's memory."""
        region.refuse("numpy()")
        return self.array if self.device == CPU else read_only(to_numpy(self.array))

    def item(self) -> Any:
        """The single element as a Python number."""
        if self.size != 1:
            raise ValueError(f"item: expected one element, got shape {self.shape}")
        region.refuse("item() or a conversion to a Python number")
        return to_numpy(self.array).item()

    def tolist(self) -> Any:
        """The values as nested lists of Python numbers."""
        region.refuse("tolist()")
        return to_numpy(self.array).tolist()

    def __array__(self, dtype: DTypeLike = None, copy: bool | None = None) -> np.ndarray:
        region.refuse("a conversion to a NumPy array", "use functions of convgpu and of convgpu.numpy")
        if self.device == GPU:
            raise TypeError("NumPy: expected a tensor on the CPU, got one on the GPU; .numpy() asks for the copy")
        if copy is False and dtype is not None and dtype != self.dtype:
            raise ValueError(f"NumPy: expected copy=None or True where {self.dtype} becomes {dtype}, got copy=False")
        return np.array(self.array, dtype=dtype) if copy else np.asarray(self.array, dtype=dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        return interop.dispatch_ufunc(ufunc, method, inputs, options)

    def __array_function__(self, func: Any, types: Any, args: Any, options: Any) -> Any:
        return interop.dispatch_function(func, args, options)

    def __dlpack__(self, **options: Any) -> Any:
        return interop.export_dlpack(self.array, **options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()

    def __getattr__(self, name: str) -> Any:
        if name == "__cuda_array_interface__":
            if self.device == GPU:
                return self.array.__cuda_array_interface__
            raise AttributeError("__cuda_array_interface__ exists on GPU tensors only; this one is on the cpu")
        ours = f"; here it is {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
        raise AttributeError(f"Tensor has no attribute {name!r}{ours}")

    # --- gradients

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Add to `.grad` of every leaf behind this tensor the gradient of <gradient, self>.

        Args:
            gradient: the weight of each element; may be omitted for a single element.
            retain_graph: keep the saved values, so that backward can run through this graph again.
        """
        gradients.backward(self, gradient, retain_graph)

    def detach(self) -> Tensor:
        """The same values, with no history and no gradient. Shares memory."""
        return Tensor(self.array)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` on a leaf; returns self."""
        if not self.is_leaf:
            raise RuntimeError("requires_grad_: expected a leaf; this tensor was made by a recorded op, detach() it")
        if requires_grad and not is_float(self.dtype):
            raise TypeError(f"requires_grad: expected a floating dtype, got {self.dtype}")
        self.requires_grad = requires_grad
        return self

    def zero_grad(self) -> None:
        """Forget the gradient: `grad` becomes None."""
        region.note(self, "grad")
        self.grad = None

    def assign(self, value: Any) -> Tensor:
        """Replace the values by a copy of `value` (same shape; cast to this dtype), the only mutation; return self.

        The tensor becomes a leaf. Its version goes up, so that a backward pass that needs the old values raises.
        """
        array = as_tensor(value, "assign").array
        if array.shape != self.shape:
            raise ValueError(f"assign: expected shape {self.shape}, got {array.shape}")
        array = move(array, self.device)
        autograd.note(self, "array", "node", "version")
        self.array = read_only(run_there("assign", array, lambda: array.astype(self.dtype, copy=True)))
        self.node = None
        self.version += 1
        return self

    def to(self, device: str) -> Tensor:
        """This tensor on "cpu" or "gpu" ("cuda" is understood); the tensor itself where it is already there."""
        target = parse_device(device)
        return self if target == self.device else ops.to_device(self, target)

    def to_device(self, device: str, /, *, stream: Any = None) -> Tensor:
        """This tensor on a device: the array API's name of `to`."""
        if stream is not None:
            raise NotImplementedError(f"to_device: expected stream None, got {stream!r}; the current stream is used")
        return self.to(device)

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        """The functions of the array API standard: `convgpu.array_api`."""
        namespace = importlib.import_module("convgpu.array_api")
        if api_version is not None and not "2021.12" <= api_version <= namespace.__array_api_version__:
            raise ValueError(f"__array_namespace__: expected a version up to {namespace.__array_api_version__}, got "
                             f"{api_version!r}")
        return namespace

    def __copy__(self) -> Tensor:
        return self

    def __deepcopy__(self, memo: Any) -> Tensor:
        if not self.is_leaf:
            raise RuntimeError("deepcopy: expected a leaf; this tensor was made by a recorded op, detach() it")
        copied = Tensor(read_only(run_there("deepcopy", self.array, self.array.copy)), self.requires_grad)
        copied.grad = None if self.grad is None else self.grad.detach()
        return copied

    def __reduce__(self) -> Any:
        region.refuse("saving or pickling a tensor")
        return _unpickle, (to_numpy(self.array), self.device, self.requires_grad and self.is_leaf)

    # --- Python's protocols

    def __bool__(self) -> bool:
        region.refuse("the truth of a tensor (if, while, assert, and, or, not, in)",
                      "choose by convgpu.numpy.where, or decide outside")
        return bool(to_numpy(self.array))

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        region.refuse("a tensor as a Python integer", "index by tensors, or pass the integer as an argument")
        return operator.index(to_numpy(self.array))

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[Tensor]:
        if self.ndim == 0:
            raise TypeError("iteration over a tensor: expected at least one axis, got a 0-d tensor")
        return (self[i] for i in range(len(self)))

    def __contains__(self, value: Any) -> bool:
        return bool(ops.any(self == value))

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError("Tensors are values: expected t = t.at[index].set(value), or t.assign(value) for all of it, "
                        "got t[index] = value")

    __hash__ = object.__hash__

    # --- arithmetic

    def __neg__(self) -> Tensor: return ops.negative(self)
    def __pos__(self) -> Tensor: return self
    def __abs__(self) -> Tensor: return ops.abs(self)
    def __add__(self, other: Any) -> Tensor: return _binary(ops.add, self, other)
    def __radd__(self, other: Any) -> Tensor: return _binary(ops.add, other, self)
    def __sub__(self, other: Any) -> Tensor: return _binary(ops.subtract, self, other)
    def __rsub__(self, other: Any) -> Tensor: return _binary(ops.subtract, other, self)
    def __mul__(self, other: Any) -> Tensor: return _binary(ops.multiply, self, other)
    def __rmul__(self, other: Any) -> Tensor: return _binary(ops.multiply, other, self)
    def __truediv__(self, other: Any) -> Tensor: return _binary(ops.divide, self, other)
    def __rtruediv__(self, other: Any) -> Tensor: return _binary(ops.divide, other, self)
    def __floordiv__(self, other: Any) -> Tensor: return _binary(ops.floor_divide, self, other)
    def __rfloordiv__(self, other: Any) -> Tensor: return _binary(ops.floor_divide, other, self)
    def __mod__(self, other: Any) -> Tensor: return _binary(ops.remainder, self, other)
    def __rmod__(self, other: Any) -> Tensor: return _binary(ops.remainder, other, self)
    def __divmod__(self, other: Any) -> tuple[Tensor, Tensor]: return (self // other, self % other)
    def __rdivmod__(self, other: Any) -> tuple[Tensor, Tensor]: return (other // self, other % self)
    def __pow__(self, other: Any) -> Tensor: return _binary(ops.power, self, other)
    def __rpow__(self, other: Any) -> Tensor: return _binary(ops.power, other, self)
    def __matmul__(self, other: Any) -> Tensor: return _binary(ops.matmul, self, other)
    def __rmatmul__(self, other: Any) -> Tensor: return _binary(ops.matmul, other, self)
    def __eq__(self, other: Any) -> Tensor: return _binary(ops.equal, self, other)  # type: ignore[override]
    def __ne__(self, other: Any) -> Tensor: return _binary(ops.not_equal, self, other)  # type: ignore[override]
    def __lt__(self, other: Any) -> Tensor: return _binary(ops.less, self, other)
    def __le__(self, other: Any) -> Tensor: return _binary(ops.less_equal, self, other)
    def __gt__(self, other: Any) -> Tensor: return _binary(ops.greater, self, other)
    def __ge__(self, other: Any) -> Tensor: return _binary(ops.greater_equal, self, other)
    def __and__(self, other: Any) -> Tensor: return _binary(ops.bitwise_and, self, other)
    def __rand__(self, other: Any) -> Tensor: return _binary(ops.bitwise_and, other, self)
    def __or__(self, other: Any) -> Tensor: return _binary(ops.bitwise_or, self, other)
    def __ror__(self, other: Any) -> Tensor: return _binary(ops.bitwise_or, other, self)
    def __xor__(self, other: Any) -> Tensor: return _binary(ops.bitwise_xor, self, other)
    def __rxor__(self, other: Any) -> Tensor: return _binary(ops.bitwise_xor, other, self)
    def __lshift__(self, other: Any) -> Tensor: return _binary(ops.left_shift, self, other)
    def __rlshift__(self, other: Any) -> Tensor: return _binary(ops.left_shift, other, self)
    def __rshift__(self, other: Any) -> Tensor: return _binary(ops.right_shift, self, other)
    def __rrshift__(self, other: Any) -> Tensor: return _binary(ops.right_shift, other, self)
    def __invert__(self) -> Tensor: return ops.invert(self)

    def __round__(self, decimals: int | None = None) -> Tensor: return ops.round(self, decimals or 0)

    # --- indexing and shape

    def __getitem__(self, index: Any) -> Tensor: return ops.getitem(self, index)

    @property
    def at(self) -> ops.At:
        """Functional update: `t.at[index].set(value)` and `.add(value)` return a changed copy."""
        return ops.At(self)

    def astype(self, dtype: DTypeLike) -> Tensor:
        """The values converted to `dtype`."""
        return ops.astype(self, dtype)

    def reshape(self, *shape: Any) -> Tensor:
        """The elements in row-major order in another shape; one size may be -1."""
        return ops.reshape(self, shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)

    def transpose(self, *axes: Any) -> Tensor:
        """The axes permuted; reversed where none are given."""
        return ops.transpose(self, axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else (axes or None))

    def broadcast_to(self, shape: tuple[int, ...]) -> Tensor:
        """The values repeated along new axes and axes of size 1."""
        return ops.broadcast_to(self, shape)

    def squeeze(self, axis: Any = None) -> Tensor:
        """The tensor without its axes of size 1 (all of them, or those that `axis` names)."""
        return ops.squeeze(self, axis)

    def swapaxes(self, axis1: int, axis2: int) -> Tensor:
        """Two axes exchanged."""
        return ops.swapaxes(self, axis1, axis2)

    def flatten(self) -> Tensor:
        """All elements along one axis."""
        return ops.reshape(self, (-1,))

    ravel = flatten

    # --- reductions

    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """The sum over `axis` (all axes: None)."""
        return ops.sum(self, axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """The arithmetic mean over `axis`."""
        return ops.mean(self, axis, keepdims=keepdims)

    def var(self, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
        """The variance over `axis`; the divisor is n - ddof."""
        return ops.var(self, axis, ddof=ddof, keepdims=keepdims)

    def std(self, axis: Any = None, ddof: float = 0, keepdims: bool = False) -> Tensor:
        """The standard deviation over `axis`."""
        return ops.std(self, axis, ddof=ddof, keepdims=keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """The product over `axis`."""
        return ops.prod(self, axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """The largest value over `axis`; NaN wins."""
        return ops.max(self, axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """The smallest value over `axis`; NaN wins."""
        return ops.min(self, axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """The index of the first largest value."""
        return ops.argmax(self, axis, keepdims=keepdims)

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """The index of the first smallest value."""
        return ops.argmin(self, axis, keepdims=keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Whether any element is true."""
        return ops.any(self, axis, keepdims=keepdims)

    def all(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Whether all elements are true."""
        return ops.all(self, axis, keepdims=keepdims)

    def cumsum(self, axis: int | None = None) -> Tensor:
        """The running sum along `axis`."""
        return ops.cumsum(self, axis)

    def clip(self, a_min: Any = None, a_max: Any = None) -> Tensor:
        """The values limited to [a_min, a_max]."""
        return ops.clip(self, a_min, a_max)

    def round(self, decimals: int = 0) -> Tensor:
        """The values rounded to a number of decimals, halves to the even neighbour."""
        return ops.round(self, decimals)


Promotion = Callable[[Any, Any, Any], tuple[Any, Any]]
_promotion: Promotion | None = None


def set_promotion(rule: Promotion | None) -> Promotion | None:
    """Let a rule see (op, left, right) of every operator before NumPy's promotion; return the previous rule."""
    global _promotion
    before, _promotion = _promotion, rule
    return before


def goes_along() -> tuple[type, ...]:
    """The types of operands that are moved to the GPU where another operand is there.

    These are NumPy's scalars; with a rule of `set_promotion`, by which Keras takes arrays beside tensors, arrays too.
    """
    return (np.generic,) if _promotion is None else (np.generic, np.ndarray, list, tuple)


def promoted(op: Any, left: Any, right: Any) -> tuple[Any, Any]:
    """The operands of an operator, or of NumPy's function on Tensors, after the rule of `set_promotion`, if any."""
    return (left, right) if _promotion is None else _promotion(op, left, right)


def _binary(op: Any, left: Any, right: Any) -> Tensor:
    """Apply an operator; NotImplemented (Python then asks the other operand) for what is no tensor, array or number."""
    if left is None or right is None:
        return NotImplemented
    try:
        return op(*promoted(op, left, right))
    except NotAnArray:
        return NotImplemented


def wrap(array: Any) -> Tensor:
    """A Tensor over an array that nobody else will write to. Ops wrap their results; users want `convgpu.tensor`.
    """
    if isinstance(array, np.ndarray):
        array.flags.writeable = False
        return Tensor(array)
    if isinstance(array, Outline) or is_gpu_array(array):
        return Tensor(array)
    return Tensor(read_only(np.asarray(array)))  # NumPy's scalars, which for instance full reductions return


def as_tensor(value: Any, caller: str = "tensor") -> Tensor:
    """`value` itself if it is a Tensor, the Tensor that its `__convgpu_tensor__` gives, or a Tensor with a copy."""
    if isinstance(value, Tensor):
        return value
    if hasattr(value, "__convgpu_tensor__"):
        return value.__convgpu_tensor__()
    return Tensor(read_only(copy_of(value, caller)))


def constant_beside(value: Any, x: Tensor, caller: str) -> Tensor:
    """`value` as a Tensor; NumPy's floating arrays and numbers take the dtype of x, whose constants they are.

    Tensors keep theirs: two tensors of different dtypes are a mistake that the caller's check names.
    """
    t = as_tensor(value, caller)
    constant = isinstance(value, (np.ndarray, np.generic)) and is_float(t.dtype) and is_float(x.dtype)
    return Tensor(read_only(t.array.astype(x.dtype))) if constant and t.dtype != x.dtype else t


def _unpickle(array: np.ndarray, device: str, requires_grad: bool) -> Tensor:
    return tensor(array, device=device, requires_grad=requires_grad)


def tensor(data: Any, *, dtype: DTypeLike = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A Tensor with a copy of `data`.

    Args:
        data: a number, nested lists, an array, a Tensor. Python floats become float32; arrays keep their dtype.
        dtype: convert to this dtype.
        device: "cpu" or "gpu"; by default the device where the data is.
        requires_grad: whether `backward` fills `grad`.

    >>> tensor([[1.0, 2.0], [3.0, 4.0]])
    Tensor([[1., 2.],
            [3., 4.]], dtype=float32)
    """
    array = run_there("tensor", data.array, data.array.copy) if isinstance(data, Tensor) else copy_of(data, "tensor")
    if dtype is not None:
        array = run_there("tensor", array, lambda: array.astype(as_dtype(dtype), copy=False))
    if device is not None:
        array = move(array, parse_device(device))
    return Tensor(read_only(array)).requires_grad_(requires_grad)


from . import autograd, gradients, interop, ops  # noqa: E402 - a cycle: ops are functions of Tensors, whose methods are ops
